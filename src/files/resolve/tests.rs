//! What is in force after changes that are broken here and there, and how often it took a look.

use std::cell::Cell;
use std::sync::Mutex;

use super::super::scan::Seen;
use super::*;
use crate::spec::load::{Terms, load};

const CONNECTION: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: Connection
metadata: { name: main, namespace: pulse }
spec: { redis: { address: \"redis:6379\" } }
";

fn autoscaler(name: &str, max: &str) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: {{ name: {name}, namespace: pulse }}\n\
         spec:\n  scaleTargetRef: {{ name: {name} }}\n  maxReplicas: {max}\n  triggers:\n    - connection: main\n      \
         redisList: {{ keys: [{name}] }}\n      policy: {{ backlogPerReplica: {{ target: 5 }} }}\n"
    )
}

fn source(file: &str, text: &str) -> Arc<SourceText> {
    Arc::new(SourceText { file: file.to_owned(), text: text.to_owned() })
}

fn set(files: &[(&str, &str)]) -> Set {
    let key = |file: &str| Key { given: 0, file: file.into() };
    files.iter().map(|(file, text)| (key(file), source(file, text))).collect()
}

fn look(files: &[(&str, &str)]) -> Look {
    let seen = |(file, text): &(&str, &str)| Seen { file: file.into(), text: Ok(source(file, text)) };
    Look { given: vec![Ok(files.iter().map(seen).collect())] }
}

fn plainly(texts: &[Arc<SourceText>]) -> Result<Loaded, Problems> {
    load(texts, &Terms::default())
}

/// Files in force with their greatest replicas, and what is held.
fn outcome(resolution: &Resolution) -> (Vec<String>, Vec<String>) {
    let loaded = plainly(&texts(&resolution.set)).expect("what is in force loads");
    if let Some(said) = &resolution.loaded {
        assert_eq!(said.autoscalers, loaded.autoscalers);
    }
    let force = loaded.autoscalers.iter().map(|spec| format!("{} {}", spec.id.name, spec.bounds.max)).collect();
    let held = resolution
        .held
        .iter()
        .map(|held| format!("{} {}", held.file, if held.last_good { "last good" } else { "left out" }));
    (force, held.collect())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_right_is_in_force_after_one_load() {
    let (a, b) = (autoscaler("a", "10"), autoscaler("a", "20"));
    let good = set(&[("a.yaml", &a), ("c.yaml", CONNECTION)]);
    let loads = Mutex::new(0);
    let counting = |texts: &[Arc<SourceText>]| {
        *loads.lock().unwrap() += 1;
        plainly(texts)
    };
    let resolution = resolve(&good, &look(&[("a.yaml", &b), ("c.yaml", CONNECTION)]), &counting);
    assert_eq!(outcome(&resolution), (words(&["a 20"]), vec![]));
    assert_eq!((resolution.problems.len(), resolution.changed, *loads.lock().unwrap()), (0, 1, 1));
}

#[test]
fn one_broken_file_does_not_hold_up_the_others() {
    let good = set(&[("a.yaml", &autoscaler("a", "10")), ("b.yaml", &autoscaler("b", "10")), ("c.yaml", CONNECTION)]);
    let seen = look(&[
        ("a.yaml", &autoscaler("a", "many")),
        ("b.yaml", &autoscaler("b", "20")),
        ("c.yaml", CONNECTION),
        ("d.yaml", &autoscaler("d", "20")),
        ("e.yaml", &autoscaler("e", "-1")),
    ]);
    let resolution = resolve(&good, &seen, &plainly);
    assert_eq!(
        outcome(&resolution),
        (words(&["a 10", "b 20", "d 20"]), words(&["a.yaml last good", "e.yaml left out"]))
    );
    assert_eq!((resolution.problems.len(), resolution.changed), (2, 2));
}

#[test]
fn a_connection_that_others_need_stays_and_the_rest_of_the_change_counts() {
    let (a, b) = (autoscaler("a", "10"), autoscaler("b", "10"));
    let good = set(&[("a.yaml", &a), ("b.yaml", &b), ("c.yaml", CONNECTION)]);
    let resolution = resolve(&good, &look(&[("a.yaml", &a), ("b.yaml", &autoscaler("b", "20"))]), &plainly);
    assert_eq!(outcome(&resolution), (words(&["a 10", "b 20"]), words(&["c.yaml last good"])));
    let texts: Vec<String> = resolution.problems.iter().map(ToString::to_string).collect();
    assert!(texts.iter().any(|text| text.starts_with("a.yaml:")), "{texts:?}");
    assert!(texts.iter().any(|text| text.starts_with("c.yaml was removed")), "{texts:?}");
}

#[test]
fn a_new_file_that_takes_a_name_is_left_out_and_the_owner_s_change_counts() {
    let good = set(&[("b.yaml", &autoscaler("b", "10")), ("c.yaml", CONNECTION)]);
    // The problem shows in b.yaml, which comes later.
    let thief = ("a.yaml", autoscaler("b", "99"));
    let seen = [(thief.0, thief.1.as_str()), ("b.yaml", &autoscaler("b", "20")), ("c.yaml", CONNECTION)];
    let resolution = resolve(&good, &look(&seen), &plainly);
    assert_eq!(outcome(&resolution), (words(&["b 20"]), words(&["a.yaml left out"])));
}

#[test]
fn a_broken_connection_keeps_its_last_version_for_those_who_use_it() {
    let broken = CONNECTION.replace("redis:6379", "no port here");
    let good = set(&[("a.yaml", &autoscaler("a", "10")), ("c.yaml", CONNECTION)]);
    let seen = look(&[("a.yaml", &autoscaler("a", "20")), ("c.yaml", &broken)]);
    assert_eq!(outcome(&resolve(&good, &seen, &plainly)), (words(&["a 20"]), words(&["c.yaml last good"])));
}

#[test]
fn an_autoscaler_and_its_new_connection_are_had_together_though_another_change_is_refused() {
    let other = CONNECTION.replace("name: main", "name: other");
    let (a, thief) = (autoscaler("a", "10"), autoscaler("a", "99"));
    let new = autoscaler("new", "20").replace("connection: main", "connection: other");
    let good = set(&[("m.yaml", &a), ("n.yaml", CONNECTION)]);
    let seen =
        look(&[("b.yaml", &thief), ("c.yaml", &new), ("m.yaml", &a), ("n.yaml", CONNECTION), ("z.yaml", &other)]);
    assert_eq!(outcome(&resolve(&good, &seen, &plainly)), (words(&["new 20", "a 10"]), words(&["b.yaml left out"])));
}

#[test]
fn nothing_at_all_is_a_broken_change() {
    let a = autoscaler("a", "10");
    let good = set(&[("a.yaml", &a), ("c.yaml", CONNECTION)]);
    let gone = Look { given: vec![Err(Problem::new("", "the folder is empty", ""))] };
    let blank = look(&[("a.yaml", ""), ("c.yaml", " \n")]);
    let comments = look(&[("a.yaml", "# later"), ("c.yaml", "# later")]);
    for (seen, held) in [(gone, 2), (blank, 2), (comments, 2)] {
        let resolution = resolve(&good, &seen, &plainly);
        assert_eq!((&resolution.set, resolution.held.len()), (&good, held), "{resolution:?}");
        assert!(!resolution.problems.is_empty() && resolution.held.iter().all(|held| held.last_good));
    }
    // One of several may be blank only if it is not there any more.
    let resolution = resolve(&good, &look(&[("a.yaml", ""), ("c.yaml", CONNECTION)]), &plainly);
    assert_eq!(outcome(&resolution), (words(&["a 10"]), words(&["a.yaml last good"])));
    let resolution = resolve(&good, &look(&[("c.yaml", CONNECTION)]), &plainly);
    assert_eq!((outcome(&resolution), resolution.problems.len()), ((vec![], vec![]), 0));
}

#[test]
fn a_cure_that_restores_the_last_good_version_ends_the_problems() {
    let a = autoscaler("a", "10");
    let good = set(&[("a.yaml", &a), ("c.yaml", CONNECTION)]);
    let resolution = resolve(&good, &look(&[("a.yaml", &a), ("c.yaml", CONNECTION)]), &plainly);
    assert!(resolution.loaded.is_some() && resolution.problems.is_empty() && resolution.changed == 0);
}

#[test]
fn loads_are_bounded_however_much_is_broken() {
    // Every file refuses whenever another one has changed: nothing can be had, and nothing is blamed.
    let files: Vec<(String, String)> = (0..200).map(|i| (format!("{i:03}"), "new".to_owned())).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    let good: Vec<(&str, &str)> = files.iter().map(|(file, _)| (*file, "old")).collect();
    let loads = Mutex::new(Cell::new(0));
    let refusing = |texts: &[Arc<SourceText>]| {
        let loads = loads.lock().unwrap();
        loads.set(loads.get() + 1);
        match texts.iter().all(|text| text.text == "old") {
            true => Ok(Loaded::default()),
            false => Err(Problems(vec![Problem::new("", "no", "")])),
        }
    };
    let good = set(&good);
    let resolution = resolve(&good, &look(&files), &refusing);
    assert!(resolution.set == good && resolution.loaded.is_none() && resolution.held.len() == 200);
    assert_eq!(loads.lock().unwrap().get(), LOADS);
}
