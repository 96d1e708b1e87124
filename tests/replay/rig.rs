//! An engine with a recorder beside it, as the runtime has them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidegate::engine::{Engine, Event, Memory, Role};
use tidegate::model::*;
use tidegate::record::{Ending, Recorder, Replay, SEGMENTS, Segment, Writing};
use tidegate::spec::AutoscalerSpec;
use tidegate::spec::load::{SourceText, Terms, load};

/// In a folder of its own.
pub struct Rig {
    pub engine: Engine,
    recorder: Recorder,
    writing: Writing,
    pub now: Tick,
    pub decisions: u64,
    folder: TempDir,
}

/// A finished recording, oldest file first.
pub struct Recorded {
    pub files: Vec<PathBuf>,
    pub decisions: u64,
    folder: TempDir,
}

impl Rig {
    /// `most`: bytes of all files.
    pub fn start(most: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let now = Tick::from_millis(1_000_000);
        let epoch = Duration::from_secs(1_700_000_000);
        let (recorder, writing) = Recorder::start(&folder.path().join("rec"), most, 7, epoch, now).unwrap();
        Rig { engine: Engine::new(), recorder, writing, now, decisions: 0, folder }
    }

    pub fn handle(&mut self, key: Key, event: Event) {
        self.recorder.before(&self.engine, self.now, key, &event);
        self.engine.handle(self.now, key, event, &mut Vec::new());
        self.recorder.after(&self.engine, key);
        self.decisions += u64::from(self.engine.decision(key).is_some());
    }

    pub fn observe(&mut self, sample: Sample) {
        self.recorder.observing(&self.engine, self.now, &sample);
        self.engine.observe(sample);
    }

    pub fn restore(&mut self, key: Key, memory: &Memory, elapsed: Duration, complete: bool) {
        self.recorder.restoring(&self.engine, self.now, key, memory, elapsed, complete);
        self.engine.restore(self.now, key, memory, elapsed, complete);
    }

    pub fn spec(&mut self, key: Key, spec: &Arc<AutoscalerSpec>) {
        self.handle(key, Event::Spec { spec: Arc::clone(spec), role: Role::Controls });
    }

    /// One trigger's backlog, just read.
    pub fn backlog(&mut self, key: Key, round: u64, backlog: f64) {
        let value = Ok(Observation::of_backlog(backlog));
        self.handle(key, Event::Sample { trigger: 0, round: Round(round), taken: self.now, value });
    }

    pub fn pass(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
    }

    /// The end of a turn of the runtime.
    pub fn turn(&mut self) {
        self.recorder.hand_over(self.now);
    }

    pub fn finish(mut self) -> Recorded {
        self.turn();
        drop(self.recorder);
        self.writing.finish();
        Recorded { files: files(&self.folder.path().join("rec")), decisions: self.decisions, folder: self.folder }
    }
}

impl Recorded {
    /// The newest file.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("rec")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// The files of a recording, oldest first.
pub fn files(path: &Path) -> Vec<PathBuf> {
    let older = (1..=SEGMENTS).rev().map(|n| PathBuf::from(format!("{}.{n}", path.display())));
    older.chain([path.to_owned()]).filter(|path| path.exists()).collect()
}

/// Replays these files, each of which is complete, with one engine.
pub fn replay(files: &[PathBuf]) -> Replay {
    let mut replay = Replay::new();
    for file in files {
        let segment = Segment::open(file).unwrap_or_else(|error| panic!("{error}"));
        let part = replay.segment(&segment).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(part.ending, Ending::Complete, "{}", file.display());
    }
    replay
}

pub fn manifest(name: &str, more: &str) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: {{ name: {name}, namespace: shop }}\nspec:\n  \
         scaleTargetRef: {{ name: {name} }}\n  maxReplicas: 50\n  cooldownPeriod: 5s\n  pollingInterval: 50ms\n  triggers:\n  - name: jobs\n    memory: {{ queue: {name} }}\n    \
         policy: {{ backlogPerReplica: {{ target: 10 }} }}\n{more}"
    )
}

pub fn specs(manifests: &str) -> Vec<Arc<AutoscalerSpec>> {
    let text = SourceText { file: "manifests.yaml".to_owned(), text: manifests.to_owned() };
    load(&[text], &Terms::default()).unwrap_or_else(|problems| panic!("{problems}\n{manifests}")).autoscalers
}
