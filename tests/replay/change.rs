//! `tidegate replay`: what it says, and with which exit code.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use tidegate::engine::{Event, Role};
use tidegate::model::*;

use super::rig::{Recorded, Rig, manifest, specs};
use super::support::tidegate::command;

const AT_ONCE: &str = "  behavior:\n    scaleDown: { stabilizationWindowSeconds: 0 }\n";

/// Two autoscalers whose workloads follow at once: a wave of up to 100 items, ten for each replica.
fn waves() -> Recorded {
    let specs = specs(&[manifest("mail", AT_ONCE), manifest("pdf", AT_ONCE)].join("---\n"));
    let mut rig = Rig::start(256 << 20);
    for (key, spec) in specs.iter().enumerate() {
        rig.spec(Key(key as u32), spec);
        rig.handle(Key(key as u32), Event::Current { replicas: 1, set_by: SetBy::Other, another: false });
    }
    rig.turn();
    let mut standing = [1; 2];
    for round in 0..400_u64 {
        rig.pass(100);
        for (key, from) in standing.iter_mut().enumerate() {
            let key = Key(key as u32);
            rig.backlog(key, round, if round % 200 < 100 { (round % 100) as f64 } else { 0.0 });
            let to = rig.engine.decision(key).unwrap().desired;
            if to != *from {
                rig.handle(key, Event::Applied { from: *from, to, succeeded: true });
                *from = to;
            }
        }
        rig.turn();
    }
    rig.finish()
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(&[&["replay"], arguments].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn written(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn as_it_was_it_is_identical() {
    let recorded = waves();
    let path = recorded.path().display().to_string();
    let (code, said, errors) = run(&[&path]);
    assert_eq!((code, errors.as_str()), (0, ""), "{said}");
    let all = format!("identical: all {}", recorded.decisions);
    assert!(said.contains(&all) && said.contains("2 autoscalers") && said.contains("complete"), "{said}");
    assert!(said.contains("2023-11-14T22:30:00"), "the span is in wall-clock time: {said}");
    let (code, said, _) = run(&[&path, "-o", "json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(code, 0);
    assert_eq!(said["identical"].as_u64(), Some(recorded.decisions));
    assert_eq!(said["allIdentical"], true);
    assert_eq!(said["recordings"][0]["ending"], "complete");
}

#[test]
fn a_change_shows_what_differs_first_and_fails_beyond_its_threshold() {
    let recorded = waves();
    let path = recorded.path().display().to_string();
    let same = written(recorded.folder(), "same.yaml", &manifest("mail", AT_ONCE));
    let (code, said, _) = run(&[&path, "-f", &same, "--max-changed", "0"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("shop/mail: 0 of") && said.contains("no autoscaler changed by more than 0"), "{said}");
    assert!(!said.contains("shop/pdf: "), "who is not in the manifests stays as it was: {said}");

    let other =
        manifest("mail", AT_ONCE).replace("maxReplicas: 50", "maxReplicas: 6") + "---\n" + &manifest("new", AT_ONCE);
    let other = written(recorded.folder(), "other.yaml", &other);
    let (code, said, _) = run(&[&path, "-f", &other]);
    assert_eq!(code, 0, "without a threshold a change is no failure: {said}");
    assert!(said.contains("shop/new is not in the recording"), "{said}");
    assert!(said.contains("TooManyReplicas") && said.contains("the world did not react"), "{said}");

    let (code, said, _) = run(&[&path, "-f", &other, "-o", "json", "--max-changed", "1%"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    let mail = &said["changed"]["shop/mail"];
    assert_eq!((code, &said["changedTooMuch"][0]), (1, &Value::from("shop/mail")), "{said:#}");
    assert_eq!(mail["range"]["changed"][1], 6);
    assert_eq!(mail["range"]["recorded"][1], 10);
    // The first that wants seven is the one with 61 items, six seconds into the first wave.
    let first = &mail["first"];
    assert_eq!((&first["recorded"]["desired"], &first["changed"]["desired"]), (&7.into(), &6.into()), "{first:#}");
    assert_eq!(first["at"], "2023-11-14T22:30:06.200Z");
    let (before, after) = (mail["replicaSeconds"]["recorded"].as_f64(), mail["replicaSeconds"]["changed"].as_f64());
    assert!(before > after && after > Some(50.0), "{before:?} {after:?}");
    let differing = mail["differing"].as_u64().unwrap();
    assert!(differing > 30 && differing < mail["decisions"].as_u64().unwrap(), "{differing}");

    // A guard that was held against nobody is none.
    let strange = written(recorded.folder(), "strange.yaml", &manifest("mial", ""));
    let (code, said, _) = run(&[&path, "-f", &strange, "--max-changed", "100%"]);
    assert!(code == 1 && said.contains("none of these manifests is in the recording"), "{said}");
    assert_eq!(run(&[&path, "-f", &strange]).0, 0);

    for (limit, code) in [("100%", 0), (&*differing.to_string(), 0), (&*(differing - 1).to_string(), 1), ("0.1%", 1)] {
        assert_eq!(run(&[&path, "-f", &other, "--max-changed", limit]).0, code, "{limit}");
    }
}

#[test]
fn triggers_are_those_of_the_same_name_and_what_was_never_read_is_said() {
    let recorded = waves();
    let path = recorded.path().display().to_string();
    // Before the recorded one stands another that was never read.
    let text = manifest("mail", AT_ONCE).replace(
        "triggers:\n",
        "triggers:\n  - name: other\n    memory: { queue: other }\n    policy: { fixed: { replicas: 3 } }\n",
    );
    let other = written(recorded.folder(), "other.yaml", &text);
    let (code, said, _) = run(&[&path, "-f", &other]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("trigger other is not in the recording"), "{said}");
    assert!(said.contains("NoSampleYet"), "{said}");
    let (_, said, _) = run(&[&path, "-f", &other, "-o", "json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    let (first, seconds) = (&said["changed"]["shop/mail"]["first"], &said["changed"]["shop/mail"]["replicaSeconds"]);
    assert_eq!((&first["recorded"]["desired"], &first["changed"]["desired"]), (&1.into(), &10.into()), "{first:#}");
    assert!(seconds["changed"].as_f64() > seconds["recorded"].as_f64(), "nothing goes down on that: {seconds}");
}

#[test]
fn wrong_input_is_said_with_its_cure() {
    let recorded = waves();
    let folder = recorded.folder();
    let path = recorded.path().display().to_string();
    let bytes = fs::read(&path).unwrap();
    let mut newer = bytes.clone();
    newer[19] = 9;
    let newer_path = folder.join("newer.rec");
    fs::write(&newer_path, &newer).unwrap();
    let text = written(folder, "some.yaml", "apiVersion: v1\n");
    let empty = written(folder, "empty.rec", "");
    let missing = folder.join("missing.rec").display().to_string();
    let directory = folder.display().to_string();
    let broken =
        written(folder, "broken.yaml", &manifest("mail", AT_ONCE).replace("maxReplicas: 50", "maxReplicas: 0"));
    let nothing = written(folder, "nothing.yaml", "apiVersion: v1\nkind: List\nitems: []\n");
    let newer = newer_path.display().to_string();
    for (arguments, expected) in [
        (vec![text.as_str()], "is not a recording; one is written by tidegate run --record FILE"),
        (vec![missing.as_str()], "No such file"),
        (vec![directory.as_str()], "is a folder; name the files in it"),
        (vec![newer.as_str()], "has version 9 of the format, and this release reads 2"),
        (vec![empty.as_str()], "nothing was recorded"),
        (vec![path.as_str(), "-f", &broken], "the manifests cannot be used:\n"),
        (vec![path.as_str(), "-f", &nothing], "the manifests declare no QueueAutoscaler"),
        (vec![path.as_str(), "-f", &missing], "cannot read"),
        (vec![path.as_str(), "--max-changed", "5%"], "--file"),
        (vec![path.as_str(), "-f", &broken, "--max-changed", "lots"], "write a share, e.g. 5%"),
        (vec![], "RECORDING"),
    ] {
        let (code, said, errors) = run(&arguments);
        assert_ne!(code, 0, "{arguments:?}");
        assert!(errors.contains(expected), "{arguments:?}: {errors}");
        assert_eq!(said, "", "{arguments:?}");
    }
}

#[test]
fn a_decision_that_differs_is_shown_beside_what_was_recorded() {
    // A recording that another release made, which decided otherwise: made of one whose words are changed, and whose
    // checksums fit.
    let recorded = waves();
    let folder = TempDir::new().unwrap();
    let bytes = fs::read(recorded.path()).unwrap();
    let mut out = bytes[..20].to_vec();
    let (mut at, mut record) = (20, 0);
    while at < bytes.len() {
        let length = usize::from(bytes[at]) | usize::from(bytes[at + 1]) << 8 | usize::from(bytes[at + 2]) << 16;
        let mut payload = bytes[at + 8..at + 8 + length].to_vec();
        if record == 50 {
            // One of the eight bytes of a fingerprint: the record of a round ends with one, where nothing else was said.
            *payload.last_mut().unwrap() ^= 1;
        }
        out.extend_from_slice(&bytes[at..at + 4]);
        out.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
        out.extend_from_slice(&payload);
        (at, record) = (at + 8 + length, record + 1);
    }
    let path = folder.path().join("other.rec");
    fs::write(&path, out).unwrap();
    let (code, said, _) = run(&[&path.display().to_string()]);
    assert_eq!(code, 1, "{said}");
    let identical = format!("identical: {} of {}", recorded.decisions - 1, recorded.decisions);
    assert!(said.contains(&identical), "{said}");
    assert!(said.contains("the first difference is at") && said.contains("of shop/pdf:"), "{said}");
    assert!(said.contains("  recorded: ") && said.contains("  replayed: ") && said.contains("stabilization"), "{said}");
    assert!(said.contains("both say the same"), "{said}");
}

/// A lease that is won in the recording gives nobody the word who only advises now.
#[test]
fn a_dry_run_stays_one_though_the_lease_was_won_in_the_recording() {
    let specs = specs(&manifest("mail", AT_ONCE));
    let mut rig = Rig::start(256 << 20);
    rig.handle(Key(0), Event::Spec { spec: Arc::clone(&specs[0]), role: Role::Follows });
    rig.handle(Key(0), Event::Current { replicas: 3, set_by: SetBy::Other, another: false });
    rig.turn();
    rig.pass(100);
    rig.handle(Key(0), Event::Role { role: Role::Controls });
    // Somebody stops it, and means it; advice goes on.
    rig.handle(Key(0), Event::Current { replicas: 0, set_by: SetBy::Other, another: false });
    rig.backlog(Key(0), 1, 100.0);
    assert_eq!(rig.engine.decision(Key(0)).map(|decision| decision.desired), Some(0));
    rig.turn();
    let recorded = rig.finish();
    let path = recorded.path().display().to_string();
    let changed = written(recorded.folder(), "dry.yaml", &manifest("mail", &format!("{AT_ONCE}  dryRun: true\n")));
    let (code, said, errors) = run(&[&path, "-f", &changed, "-o", "json"]);
    assert_eq!((code, errors.as_str()), (0, ""), "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["changed"]["shop/mail"]["range"]["changed"][1], 10, "{said:#}");
}
