//! Manifest files from the outside: what `check` says of every broken one, and what it understands of the good ones.
//!
//! The messages are the product here. Read the snapshots aloud: would an engineer know at two in the morning what to
//! change, in which line of which file?
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

use kube::CustomResourceExt as _;
use proptest::prelude::*;
use tidegate::cli::check::{Output, print};
use tidegate::files;
use tidegate::spec::load::{Loaded, SourceText, Terms, load};
use tidegate::spec::manifest;
use tidegate::spec::problem::Problems;

/// A password that stands in several manifests, in the right places and in wrong ones.
const PLANTED: &str = "planted-secret";

fn folder(name: &str) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests").join(name);
    let mut files: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Loads one file under its bare name, so that the snapshots do not depend on where they were made.
fn load_file(path: &Path) -> Result<Loaded, Problems> {
    let file = path.file_name().unwrap().to_string_lossy().into_owned();
    load(&[SourceText { file, text: fs::read_to_string(path).unwrap() }], &Terms::default())
}

fn load_text(text: &str) -> Result<Loaded, Problems> {
    load(&[SourceText { file: "test.yaml".to_owned(), text: text.to_owned() }], &Terms::default())
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

#[test]
fn every_broken_manifest_is_answered_with_line_path_and_cure() {
    let files = folder("broken");
    assert!(files.len() >= 30);
    for path in files {
        let problems = load_file(&path).expect_err(&format!("{} is broken", path.display()));
        assert!(!problems.0.is_empty());
        for problem in &problems.0 {
            assert!(problem.place.as_ref().is_some_and(|place| place.line > 0), "a line: {problem}");
            assert!(!problem.cure.is_empty(), "a cure: {problem}");
            let nowhere = problem.message.starts_with("cannot be read") || problem.message == "an object expected";
            assert!(!problem.path.is_empty() || nowhere, "a path: {problem}");
            assert!(!problem.to_string().contains('\n'), "one line: {problem}");
        }
        insta::assert_snapshot!(format!("broken__{}", stem(&path)), problems.to_string());
    }
}

#[test]
fn good_manifests_are_printed_with_every_default() {
    for path in folder("good") {
        let loaded = load_file(&path).unwrap_or_else(|problems| panic!("{problems}"));
        let mut text = String::new();
        for warning in &loaded.warnings {
            text.push_str(&format!("# warning: {warning}\n"));
        }
        text.push_str(&print(&loaded, Output::Yaml).unwrap());
        insta::assert_snapshot!(format!("good__{}", stem(&path)), text);
    }
}

#[test]
fn what_check_prints_reads_back_as_the_same() {
    for path in folder("good") {
        let loaded = load_file(&path).unwrap();
        for output in [Output::Yaml, Output::Json] {
            let again = load_text(&print(&loaded, output).unwrap()).unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(loaded.autoscalers.len(), again.autoscalers.len());
            if !print(&loaded, output).unwrap().contains("[redacted]") {
                assert_eq!(loaded.autoscalers, again.autoscalers, "{}", path.display());
            }
        }
    }
}

#[test]
fn problems_of_all_files_come_together() {
    let text = |file: &str, text: &str| SourceText { file: file.to_owned(), text: text.to_owned() };
    let header = "apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: { name: worker }\n";
    let trigger = "triggers: [{ memory: { queue: jobs }, policy: { fixed: { replicas: 1 } } }]";
    let problems = load(
        &[
            text("a.yaml", &format!("{header}spec: {{ scaleTargetRef: {{ name: worker }}, {trigger} }}")),
            text("b.yaml", "metadata: [unclosed"),
            text(
                "c.yaml",
                &format!("{header}spec: {{ scaleTargetRef: {{ name: worker }}, maxReplicas: 0, {trigger} }}"),
            ),
            text(
                "d.yaml",
                &format!("{header}spec: {{ scaleTargetRef: {{ name: worker }}, {trigger} }}")
                    .replace("name: worker }\n", "name: other }\n"),
            ),
        ],
        &Terms::default(),
    )
    .unwrap_err();
    insta::assert_snapshot!("several_files", problems.to_string());
}

#[test]
fn a_connection_may_stand_in_another_file() {
    let read = |path: &str| SourceText { file: path.to_owned(), text: path.to_owned() };
    let connection = "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: { name: redis-main }\nspec: { redis: { host: redis } }";
    let autoscaler = "apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: { name: worker }\nspec: { scaleTargetRef: { name: worker }, triggers: [{ connection: redis-main, redisList: { keys: [a, b] }, policy: { backlogPerReplica: { target: 0.5 } } }] }";
    let loaded =
        load(&[read(autoscaler), read(connection)], &Terms::default()).unwrap_or_else(|problems| panic!("{problems}"));
    let trigger = &loaded.autoscalers[0].triggers[0];
    assert_eq!(&*trigger.connection.name, "default/redis-main");
    assert_eq!(&*trigger.metric_name, "redis-a-b");
}

#[test]
fn a_broken_connection_is_reported_once_and_not_where_it_is_used() {
    let problems = load_text(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: { name: redis-main }\nspec: { redis: {} }\n---\n\
         apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: { name: worker }\nspec: { scaleTargetRef: { name: worker }, triggers: [{ connection: redis-main, redisList: { keys: [a] }, policy: { fixed: { replicas: 1 } } }] }",
    )
    .unwrap_err();
    assert_eq!(problems.to_string(), "test.yaml:4: spec.redis.address: missing; e.g. address: redis-service:6379");
}

#[test]
fn nobody_can_forge_a_line_of_a_log() {
    let header = "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\n";
    let problems =
        load_text(&format!("{header}metadata: {{ name: \"a\\nerror: b\" }}\nspec: {{ memory: {{}} }}")).unwrap_err();
    assert_eq!(problems.to_string().lines().count(), 1);
    assert!(problems.to_string().contains(r"`a\nerror: b` is not a name"), "{problems}");
}

#[test]
fn a_password_is_printed_nowhere() {
    for path in folder("good").into_iter().chain(folder("broken")) {
        let printed = match load_file(&path) {
            Ok(loaded) => {
                let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
                format!(
                    "{loaded:?} {} {} {warnings:?}",
                    print(&loaded, Output::Yaml).unwrap(),
                    print(&loaded, Output::Json).unwrap()
                )
            }
            Err(problems) => format!("{problems} {problems:?}"),
        };
        assert!(!printed.contains(PLANTED), "{}", path.display());
        assert!(!printed.contains("12345678"), "{}", path.display());
    }
}

#[test]
fn a_folder_is_read_like_a_mounted_config_map() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("..2026_01_01");
    fs::create_dir(&data).unwrap();
    for name in ["b.yaml", "a.yml", "c.json", "notes.txt"] {
        fs::write(data.join(name), name).unwrap();
        std::os::unix::fs::symlink(data.join(name), folder.path().join(name)).unwrap();
    }
    std::os::unix::fs::symlink(&data, folder.path().join("..data")).unwrap();
    fs::write(folder.path().join(".hidden.yaml"), "hidden").unwrap();

    let named_twice = folder.path().join("b.yaml");
    let texts = files::read(&[folder.path().to_owned(), named_twice]).unwrap();
    let texts: Vec<&str> = texts.values().map(|text| text.text.as_str()).collect();
    assert_eq!(texts, ["a.yml", "b.yaml", "c.json"]);
}

#[test]
fn paths_that_cannot_be_read_are_all_named() {
    let empty = tempfile::tempdir().unwrap();
    let missing = empty.path().join("missing.yaml");
    let errors = files::read(&[missing, empty.path().to_owned()]).unwrap_err();
    let mut errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    errors.sort();
    assert_eq!(errors.len(), 2);
    assert!(errors[0].contains("holds no .yaml"), "{errors:?}");
    assert!(errors[1].contains("missing.yaml"), "{errors:?}");
}

#[test]
fn the_same_types_make_the_custom_resource_definitions() {
    let crds = [manifest::QueueAutoscaler::crd(), manifest::Connection::crd(), manifest::ClusterConnection::crd()];
    for crd in crds {
        let text = serde_json::to_string(&crd).unwrap();
        assert!(text.contains("openAPIV3Schema") && text.contains("\"description\""), "{text}");
        // What the API server refuses in a structural schema.
        assert!(!text.contains("$ref") && !text.contains("\"const\""), "{text}");
    }
}

proptest! {
    /// Whatever an editor does to a file, the answer is a list of problems with lines, or none.
    #[test]
    fn no_text_makes_it_panic(edits in prop::collection::vec((0..2500_usize, 0..3_usize, "[ \\[\\]{}:,&*\"'a-z0-9\n\t|>!%#-]{0,3}"), 1..6)) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests/good/02-everything.yaml");
        let mut text: Vec<char> = fs::read_to_string(path).unwrap().chars().collect();
        for (at, cut, insert) in edits {
            let at = at.min(text.len());
            text.splice(at..(at + cut).min(text.len()), insert.chars());
        }
        if let Err(problems) = load_text(&text.into_iter().collect::<String>()) {
            prop_assert!(problems.0.iter().all(|problem| problem.place.is_some() && !problem.cure.is_empty()), "{problems}");
        }
    }
}

#[test]
fn ten_thousand_autoscalers_fit_into_one_file() {
    let mut text = String::from(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: { name: redis }\n\
         spec: { redis: { address: \"redis:6379\" } }\n",
    );
    for index in 0..10_000 {
        text += &format!(
            "---\napiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: {{ name: a{index} }}\nspec:\n  \
             scaleTargetRef: {{ name: a{index} }}\n  triggers:\n    - connection: redis\n      \
             redisList: {{ keys: [q{index}] }}\n      policy: {{ backlogPerReplica: {{ target: 5 }} }}\n"
        );
    }
    let loaded = load(&[SourceText { file: "many.yaml".to_owned(), text }], &Terms::default()).unwrap();
    assert_eq!(loaded.autoscalers.len(), 10_000);
}

#[test]
fn any_tolerance_is_printed_as_the_same_number() {
    for tolerance in ["0.1", "0.059", "59m", "1n", "2147483647.1", "123456789.123456789", "1e3", "0", "99999999999.999"]
    {
        let text = with_triggers("[{ memory: { queue: jobs }, policy: { fixed: { replicas: 1 } } }]");
        let spec = text.strip_suffix(" }\n").unwrap();
        let text = format!("{spec}, behavior: {{ scaleUp: {{ tolerance: \"{tolerance}\" }} }} }}\n");
        let loaded = load_text(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        let printed = print(&loaded, Output::Yaml).unwrap();
        let again = load_text(&printed).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(loaded.autoscalers, again.autoscalers, "{tolerance}:\n{printed}");
    }
}

/// One QueueAutoscaler with this as its triggers.
fn with_triggers(triggers: &str) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: {{ name: worker }}\nspec: {{ scaleTargetRef: \
         {{ name: worker }}, triggers: {triggers} }}\n"
    )
}

fn problems_of(text: &str) -> String {
    let problems = load_text(text).expect_err("is broken");
    assert!(problems.0.len() <= 1001, "{} problems", problems.0.len());
    problems.to_string()
}

#[test]
fn blocks_may_not_be_deeper_than_a_stack_by_aliases() {
    // Each of these anchors is a hundred blocks deep, and the next one begins where it ends.
    let (open, close) = ("[".repeat(100), "]".repeat(100));
    let mut text = format!("a0: &a0 {open}{close}\n");
    for i in 1..500 {
        text.push_str(&format!("a{i}: &a{i} {open}*a{}{close}\n", i - 1));
    }
    assert!(
        problems_of(&text).contains("more than 200 blocks in blocks; write fewer aliases"),
        "{}",
        problems_of(&text)
    );
    // The parser has a limit of its own for what is written out.
    assert!(problems_of(&"[".repeat(100_000)).contains("recursion limit"), "{}", problems_of(&"[".repeat(100_000)));
}

#[test]
fn what_anchors_and_aliases_copy_is_counted() {
    let long = "x".repeat(1 << 20);
    // A thousand megabytes, if they were copied.
    let aliases = "*a, ".repeat(1000);
    assert!(problems_of(&format!("[ &a {long}, {aliases} ]")).contains("values in one file"), "long texts");
    // Each of the blocks around these is kept for aliases that never come.
    let anchors: String = (0..150).map(|i| format!("&a{i} [")).collect();
    let text = format!("{anchors}{}{}", "a, ".repeat(20_000), "]".repeat(150));
    assert!(problems_of(&text).contains("values in one file"), "blocks that are kept: {}", problems_of(&text));
}

#[test]
fn many_mistakes_are_counted_and_the_first_ones_named() {
    let strangers: String = (0..50_000).map(|i| format!("stranger{i}: 1, ")).collect();
    let problems = problems_of(&with_triggers(&format!("[{{ {strangers} }}]")));
    assert!(
        problems.contains("stranger0`")
            && problems.ends_with("in this object; correct those that are named; many have one cause")
            && problems.len() < 50_000,
        "{problems}"
    );
    let problems = problems_of(&with_triggers(&format!("[{}]", "{}, ".repeat(20_000))));
    assert!(problems.contains("20000 triggers are more than 1000") && problems.len() < 50_000, "{problems}");
    let keys: String = (0..200_000).map(|i| format!("k{}, ", i % 150_000)).collect();
    let policy = "policy: { fixed: { replicas: 1 } }";
    let problems =
        problems_of(&with_triggers(&format!("[{{ connection: a, redisList: {{ keys: [{keys}] }}, {policy} }}]")));
    assert!(problems.contains("200000 keys are more than 1000") && problems.len() < 50_000, "{problems}");
    let objects = format!("{}---\n", with_triggers("[]")).repeat(2000);
    assert!(problems_of(&objects).contains("more problems from here on"), "2000 broken objects");
}
