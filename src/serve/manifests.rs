//! How the manifests stand: what is in force, since when, and what was wrong with the last change.
//!
//! Written by `app` as changes come in, read by the API, `/readyz?verbose` and the status page. Broken manifests do not
//! make the process unready: what is in force is as good as it was, and a restart would lose it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;

use super::view::Moment;
use crate::model::Tick;
use crate::spec::problem::Problem;

/// Problems and warnings that are kept, each: more than anybody reads, and a bound on the memory that ten thousand
/// broken manifests take.
const SHOWN: usize = 200;

/// The state, shared by whoever knows and whoever answers.
#[derive(Debug, Default)]
pub struct Manifests(ArcSwap<Standing>);

/// How the manifests stand.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    pub files: Vec<File>,
    /// Objects in force.
    pub autoscalers: usize,
    pub connections: usize,
    /// When what is in force was read.
    pub loaded: Option<Tick>,
    /// When a change was last read, whatever came of it; the start, if none was.
    pub read: Option<Tick>,
    pub problems: Listed,
    pub warnings: Listed,
}

/// One file, and whether it is in force as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    pub name: String,
    pub state: FileState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum FileState {
    InForce,
    /// An earlier version of it is.
    LastGood,
    /// Nothing of it is.
    LeftOut,
}

/// The first of many, and how many there are.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Listed {
    pub first: Vec<Problem>,
    pub count: usize,
}

impl Listed {
    #[must_use]
    pub fn new(mut all: Vec<Problem>) -> Self {
        let count = all.len();
        all.truncate(SHOWN);
        all.shrink_to_fit();
        Listed { first: all, count }
    }
}

impl Manifests {
    #[must_use]
    pub fn new(standing: Standing) -> Self {
        Manifests(ArcSwap::from_pointee(standing))
    }

    #[must_use]
    pub fn get(&self) -> Arc<Standing> {
        self.0.load_full()
    }

    pub fn set(&self, standing: Standing) {
        self.0.store(Arc::new(standing));
    }
}

impl Standing {
    /// The line of `/readyz?verbose`.
    pub(super) fn line(&self) -> String {
        match self.problems.count {
            0 => "[+]manifests ok\n".to_owned(),
            1 => "[!]manifests: 1 problem, the last good ones are in force; see /api/v1/manifests\n".to_owned(),
            n => format!("[!]manifests: {n} problems, the last good ones are in force; see /api/v1/manifests\n"),
        }
    }

    pub(super) fn view(&self, moment: Moment) -> View {
        View {
            time: moment.now_written(),
            failing: self.problems.count > 0,
            loaded_at: self.loaded.map(|at| moment.written(at)),
            loaded_age_seconds: self.loaded.map(|at| moment.age(at)),
            read_at: self.read.map(|at| moment.written(at)),
            autoscalers: self.autoscalers,
            connections: self.connections,
            files: self.files.iter().map(|file| FileView { file: file.name.clone(), state: file.state }).collect(),
            problem_count: self.problems.count,
            problems: self.problems.first.iter().map(ProblemView::of).collect(),
            warning_count: self.warnings.count,
            warnings: self.warnings.first.iter().map(ProblemView::of).collect(),
        }
    }
}

/// `GET /api/v1/manifests`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    time: String,
    /// The last change could not be used, or not all of it.
    failing: bool,
    loaded_at: Option<String>,
    loaded_age_seconds: Option<f64>,
    read_at: Option<String>,
    autoscalers: usize,
    connections: usize,
    files: Vec<FileView>,
    problem_count: usize,
    problems: Vec<ProblemView>,
    warning_count: usize,
    warnings: Vec<ProblemView>,
}

#[derive(Serialize)]
struct FileView {
    file: String,
    state: FileState,
}

#[derive(Serialize)]
struct ProblemView {
    file: Option<String>,
    line: Option<u32>,
    column: Option<u32>,
    path: String,
    message: String,
    cure: String,
}

impl ProblemView {
    fn of(problem: &Problem) -> Self {
        let place = problem.place.as_ref();
        ProblemView {
            file: place.map(|place| place.file.to_string()),
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            path: problem.path.clone(),
            message: problem.message.clone(),
            cure: problem.cure.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_problems_are_counted_and_the_first_are_kept() {
        let problems = Listed::new(vec![Problem::new("", "broken", ""); 10_000]);
        assert_eq!((problems.first.len(), problems.count), (SHOWN, 10_000));
        let standing = Standing { problems, ..Standing::default() };
        assert!(standing.line().contains("10000 problems"));
        assert_eq!(Standing::default().line(), "[+]manifests ok\n");
    }
}
