//! Manifests: what colleagues write, and what a tool or a broken disk makes of it.

use std::fs;
use std::path::Path;

use tidegate::cli::check::{Output, print};
use tidegate::spec::load::{Loaded, SourceText, Terms, load};
use tidegate::spec::problem::Problems;

use super::drive::{Target, drive};
use super::mutate::{self, Dictionary, Rng};
use super::promises::{self, SECRET, only_as_userinfo};

#[test]
fn manifests() {
    drive("manifests", Manifests::new, &["loads", "broken syntax", "broken"]);
}

/// YAML's own words.
const TOKENS: [&str; 44] = [
    "&a ",
    "*a",
    "<<: *a",
    "<<: [*a, *a]",
    "\n---\n",
    "\n...\n",
    "!!str ",
    "!!binary ",
    "!!null ",
    "!<tag:x> ",
    "|\n ",
    ">-\n ",
    "? ",
    ": ",
    "- ",
    " # ",
    "\t",
    "{",
    "}",
    "[",
    "]",
    "{}",
    "[]",
    "\"",
    "'",
    "''",
    "%YAML 1.2\n",
    "%TAG ! x\n",
    "null",
    "~",
    "Null",
    "true",
    "yes",
    "off",
    ".inf",
    ".nan",
    "-.INF",
    "0b1",
    "@",
    "`",
    "\\x00",
    "\\u0000",
    "\\ud800",
    "\\U0010FFFF",
];

struct Manifests {
    corpus: Vec<String>,
    dictionary: Dictionary,
}

impl Manifests {
    fn new() -> Self {
        let mut corpus = Vec::new();
        // The good ones several times: they have further to fall.
        for (folder, times) in [("good", 20), ("broken", 1)] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests").join(folder);
            let mut files: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            let texts = files.iter().map(|file| fs::read_to_string(file).unwrap().replace("planted-secret", SECRET));
            let texts: Vec<String> = texts.collect();
            (0..times).for_each(|_| corpus.extend(texts.clone()));
        }
        let dictionary = Dictionary::of(&TOKENS, &corpus);
        Manifests { corpus, dictionary }
    }
}

impl Target for Manifests {
    type Input = String;

    fn input(&self, rng: &mut Rng) -> String {
        let mut text = rng.pick(&self.corpus).clone();
        if rng.once_in(3) {
            for _ in 0..1 + rng.below(3) {
                another_value(rng, &mut text);
            }
            return text;
        }
        for _ in 0..1 + rng.below(2) * rng.below(4) {
            let other = rng.pick(&self.corpus);
            mutate::text(rng, &mut text, other, &self.dictionary);
        }
        if rng.once_in(10) {
            let (key, value) = rng.pick(&[
                ("address", "\"redis://me:SECRET@redis:6379\""),
                ("host", "\"me:SECRET@redis\""),
                ("connection", "\"redis://:SECRET@redis:6379/1\""),
                ("password", "SECRET"),
                ("pasword", "SECRET"),
                ("password", "[SECRET]"),
                ("passwordFrom", "SECRET"),
                ("name", "\"u:SECRET@x\""),
                ("target", "\":SECRET@\""),
                ("pollingInterval", "\":SECRET@1s\""),
            ]);
            let line = format!("{key}: {}", value.replace("SECRET", SECRET));
            plant(rng, &mut text, &line);
        }
        text
    }

    fn check(&mut self, text: &String) -> Result<&'static str, String> {
        let mut said = String::new();
        let (kind, problems) = match read(text) {
            Ok(loaded) => {
                sound(&loaded)?;
                for warning in &loaded.warnings {
                    said.push_str(&warning.to_string());
                }
                said.push_str(&reads_back(&loaded)?);
                ("loads", loaded.warnings)
            }
            Err(problems) => {
                if problems.0.is_empty() {
                    return Err("refused without a reason".to_owned());
                }
                for problem in &problems.0 {
                    promises::problem(problem)?;
                    if problem.place.as_ref().is_none_or(|place| place.line == 0) {
                        return Err(format!("no line: {problem}"));
                    }
                    said.push_str(&problem.to_string());
                }
                let syntax = problems.0.iter().any(|problem| problem.message.starts_with("cannot be read"));
                (if syntax { "broken syntax" } else { "broken" }, problems.0)
            }
        };
        if said.len() > (64 << 10) + 60 * text.len() {
            return Err(format!("{} problems of {} bytes for {} bytes", problems.len(), said.len(), text.len()));
        }
        // A trigger may have any name, and what loads is printed with it.
        let is_a_name = kind == "loads" && text.contains("name: \"u:");
        if !is_a_name && keeps_a_secret(text) && said.contains(SECRET) {
            let at = said.find(SECRET).unwrap_or_default();
            let around: String = said.chars().skip(said[..at].chars().count().saturating_sub(150)).take(300).collect();
            return Err(format!("the planted password is shown: {around}"));
        }
        Ok(kind)
    }

    fn literal(&self, text: &String) -> String {
        format!("{text:?}")
    }
}

pub fn read(text: &str) -> Result<Loaded, Problems> {
    load(&[SourceText { file: "fuzz.yaml".to_owned(), text: text.to_owned() }], &Terms::default())
}

fn sound(loaded: &Loaded) -> Result<(), String> {
    for spec in &loaded.autoscalers {
        promises::spec(spec)?;
    }
    for declared in loaded.grants.declared() {
        promises::connection(declared.connection)?;
    }
    loaded.warnings.iter().try_for_each(|warning| {
        // Of somebody else's objects there is nothing to be cured.
        let left_alone = warning.message.ends_with("is left alone");
        if left_alone && warning.to_string().len() < 1000 { Ok(()) } else { promises::problem(warning) }
    })
}

/// What is printed means the same; returns it.
pub fn reads_back(loaded: &Loaded) -> Result<String, String> {
    let mut said = String::new();
    for output in [Output::Yaml, Output::Json] {
        let printed = print(loaded, output).map_err(|error| format!("cannot be printed: {error}"))?;
        // A file of nothing but other people's objects loads and prints as nothing.
        if loaded.autoscalers.is_empty() && loaded.grants.declared().is_empty() {
            continue;
        }
        let again = read(&printed).map_err(|problems| format!("printed, it does not load: {problems}\n{printed}"))?;
        let (before, after) = (loaded.grants.declared(), again.grants.declared());
        let names = |declared: &[tidegate::spec::grants::Declared<'_>]| -> Vec<_> {
            declared
                .iter()
                .map(|d| (d.namespace.map(str::to_owned), d.name.to_owned(), d.allowed_namespaces.to_vec()))
                .collect()
        };
        let inline = before.iter().any(|declared| {
            let logins = declared.connection.server.logins();
            logins.iter().any(|login| matches!(login.password, Some(tidegate::spec::SecretRef::Inline(_))))
        });
        let same = names(&before) == names(&after)
            && loaded.autoscalers.len() == again.autoscalers.len()
            && (inline
                || (loaded.autoscalers == again.autoscalers
                    && before.iter().zip(&after).all(|(before, after)| before.connection == after.connection)));
        if !same {
            return Err(format!(
                "printed, it means something else:\n{:?}\n{:?}\n{printed}",
                loaded.autoscalers, again.autoscalers
            ));
        }
        said.push_str(&printed);
    }
    Ok(said)
}

/// Values of some field or other, as they are written between `: ` and the end of the line, or a comma: what stays a
/// manifest, more often than not.
const VALUES: [&str; 40] = [
    "0",
    "1",
    "2147483647",
    "3",
    "0.1",
    "\"0.1\"",
    "1e3",
    "500m",
    "1n",
    "9.2P",
    "1Ki",
    "50ms",
    "600s",
    "1h30m",
    "1.5s",
    "0.000000001s",
    "8760h",
    "Max",
    "Min",
    "Disabled",
    "Percent",
    "static",
    "currentReplicasIfHigher",
    "shared",
    "redis-main",
    "celery-high",
    "team-a",
    "redis:6379",
    "\"[::1]:6379\"",
    "\"*\"",
    "[a, b]",
    "[\" \", \"a: b\", \"null\", \"- x\", \"1.0\", \"#\"]",
    "\"\\u0085\\u2028\\ufeff\"",
    "\"tab\\t, line\\n, bell\\a, \\\"quoted\\\"\"",
    "'it''s'",
    "\"~\"",
    "\"  \"",
    "\"🚦 Übersicht\"",
    "\"---\"",
    "\"yes\"",
];

fn another_value(rng: &mut Rng, text: &mut String) {
    let places = text.match_indices(": ").map(|(at, _)| at + 2);
    // Blocks stay as they are.
    let places: Vec<usize> = places.filter(|at| !text[*at..].starts_with(['{', '[', '&', '*', '|', '>'])).collect();
    if places.is_empty() {
        return;
    }
    let start = *rng.pick(&places);
    let end = text[start..].find(['\n', ',', '}', '{']).map_or(text.len(), |length| start + length);
    let value = *rng.pick(&VALUES);
    text.replace_range(start..end, value);
}

/// A line in the place of another, as deep.
fn plant(rng: &mut Rng, text: &mut String, line: &str) {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let at = rng.below(lines.len());
    let depth = lines[at].len() - lines[at].trim_start().len();
    let planted = format!("{}{line}", " ".repeat(depth));
    if rng.once_in(2) {
        lines[at] = planted;
    } else {
        lines.insert(at, planted);
    }
    *text = lines.join("\n");
}

/// Whether every planted password stands, alone on the line of a field for passwords or before an `@`, where it may
/// not be shown. What anchors copy, or a comment, a key or a block text hold, is somebody else's business.
fn keeps_a_secret(text: &str) -> bool {
    let spans_lines = |line: &str| line.matches('"').count() % 2 == 1 || line.matches('\'').count() % 2 == 1;
    if text.contains(['&', '*', '|', '>', '#', '?']) || text.lines().any(spans_lines) {
        return false;
    }
    text.lines().filter(|line| line.contains(SECRET)).all(|line| {
        let line = line.trim().trim_start_matches("- ");
        let Some((key, value)) = line.split_once(": ") else { return false };
        let plain = !value.contains([',', ':']) || value.starts_with('"');
        match key {
            "password" | "pasword" | "passwordFrom" => plain && value.matches(SECRET).count() == 1,
            "address" | "host" | "connection" | "name" | "target" | "pollingInterval" => {
                value.len() < 60 && only_as_userinfo(value)
            }
            _ => false,
        }
    })
}
