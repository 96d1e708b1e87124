//! The file: how long it is, what becomes of it when it is cut off or changed, and what never stands in it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate::engine::Event;
use tidegate::model::*;
use tidegate::record::{Ending, RecordError, Recorder, Replay, Segment};
use tidegate::spec::keda_metadata::{Ask, ScaledObject, read};
use tidegate::spec::load::{SourceText, Terms, load};
use tidegate::spec::recorded::{self, Masks};
use tidegate::spec::{AutoscalerSpec, Origin};

use super::rig::{Recorded, Rig, manifest, replay, specs};
use super::support::tidegate::until;

/// One autoscaler, a few rounds.
fn short(rounds: u64) -> Recorded {
    let spec = specs(&manifest("worker", ""));
    let mut rig = Rig::start(256 << 20);
    rig.spec(Key(0), &spec[0]);
    rig.turn();
    for round in 0..rounds {
        rig.pass(100);
        rig.backlog(Key(0), round, (round * 7 % 40) as f64);
        rig.turn();
    }
    rig.finish()
}

fn segment(path: &Path, bytes: &[u8]) -> Result<Segment, RecordError> {
    fs::write(path, bytes).unwrap();
    Segment::open(path)
}

// === how long, how fast ===

#[test]
fn a_sample_takes_some_twenty_bytes() {
    let autoscalers = 200;
    let manifests: Vec<String> = (0..autoscalers).map(|n| manifest(&format!("worker-{n}"), "")).collect();
    let specs = specs(&manifests.join("---\n"));
    let size = |recorded: &Recorded| recorded.path().metadata().unwrap().len() as f64;
    let of = |rounds: u64, alone: bool| {
        let mut rig = Rig::start(256 << 20);
        for (key, spec) in specs.iter().enumerate() {
            rig.spec(Key(key as u32), spec);
        }
        rig.turn();
        for round in 0..rounds {
            rig.pass(100);
            for key in 0..autoscalers {
                if alone {
                    rig.now = rig.now.after(Duration::from_nanos(456_789));
                }
                // Some change each time, most do not.
                let backlog = if key % 10 == 0 { (round * 13 + key) % 300 } else { key * 3 };
                rig.backlog(Key(key as u32), round, backlog as f64);
                if alone {
                    rig.turn();
                }
            }
            rig.turn();
        }
        rig.finish()
    };
    let nothing = size(&of(0, false));
    let rounds = 300;
    let together = of(rounds, false);
    let in_rounds = (size(&together) - nothing) / (rounds * autoscalers) as f64;
    let by_itself = (size(&of(rounds, true)) - nothing) / (rounds * autoscalers) as f64;
    println!("bytes of a sample with its decision: {in_rounds:.1} in a round of {autoscalers}, {by_itself:.1} alone");
    println!("bytes of an autoscaler: {:.0}", nothing / autoscalers as f64);
    assert!((12.0..25.0).contains(&in_rounds), "{in_rounds}");
    assert!((20.0..40.0).contains(&by_itself), "{by_itself}");

    // What it costs the engine's thread, beside what the engine itself does.
    let costs = |recording: bool| {
        let mut rig = Rig::start(256 << 20);
        rig.spec(Key(0), &specs[0]);
        let begun = Instant::now();
        for round in 0..100_000_u64 {
            rig.pass(1);
            let value = Ok(Observation::of_backlog((round % 7) as f64));
            let event = Event::Sample { trigger: 0, round: Round(round), taken: rig.now, value };
            if recording {
                rig.handle(Key(0), event);
            } else {
                rig.engine.handle(rig.now, Key(0), event, &mut Vec::new());
            }
        }
        begun.elapsed().as_nanos() / 100_000
    };
    println!("ns of an event: {} without a recorder, {} with one", costs(false), costs(true));

    let begun = Instant::now();
    let replayed = replay(&together.files);
    let speed = replayed.found().decisions as f64 / begun.elapsed().as_secs_f64();
    println!("decisions replayed a second: {speed:.0}");
    assert!(replayed.found().is_identical());
    assert!(speed > 20_000.0, "{speed} a second, even where nothing is optimised");
}

// === cut off, changed, foreign ===

#[test]
fn a_tail_that_was_torn_at_any_byte_costs_only_the_last_record() {
    let recorded = short(30);
    let bytes = fs::read(recorded.path()).unwrap();
    let whole = replay(&recorded.files).found().decisions;
    assert_eq!(whole, 31);
    let cut = recorded.folder().join("cut");
    let mut seen = Vec::new();
    for length in (bytes.len() - 220..bytes.len()).rev() {
        let mut replayed = Replay::new();
        let part =
            replayed.segment(&segment(&cut, &bytes[..length]).unwrap()).unwrap_or_else(|error| panic!("{error}"));
        let found = replayed.found();
        assert!(found.is_identical(), "{length}: {:?}", found.first_difference);
        match part.ending {
            Ending::Torn { left_out } => {
                let mut rest = Replay::new();
                // What is left out is the rest, to the byte.
                let part = rest.segment(&segment(&cut, &bytes[..length - left_out]).unwrap()).unwrap();
                assert_eq!((part.ending, rest.found().decisions), (Ending::Open, found.decisions));
            }
            Ending::Open => seen.push(found.decisions),
            other => panic!("{length}: {other:?}"),
        }
        // Zeros that a machine without power left behind are no damage.
        let mut padded = bytes[..length].to_vec();
        padded.extend([0; 600]);
        let mut again = Replay::new();
        let part = again.segment(&segment(&cut, &padded).unwrap()).unwrap_or_else(|error| panic!("{length}: {error}"));
        assert!(matches!(part.ending, Ending::Torn { left_out } if left_out >= 600), "{:?}", part.ending);
        assert_eq!(again.found().decisions, found.decisions);
    }
    // Between two records nothing is torn: each decision was the last one once.
    let expected: Vec<u64> = (31 - seen.len() as u64 + 1..=31).rev().collect();
    assert!(seen.len() >= 5, "{seen:?}");
    assert_eq!(seen, expected);
}

#[test]
fn what_was_changed_in_the_middle_is_an_error_that_names_the_place() {
    let recorded = short(30);
    let bytes = fs::read(recorded.path()).unwrap();
    let changed = recorded.folder().join("changed");
    // Magic and version have messages of their own, and the last record may have been torn.
    for at in (20..bytes.len() - 60).step_by(7) {
        let mut wrong = bytes.clone();
        wrong[at] ^= 0x10;
        let outcome = segment(&changed, &wrong).and_then(|segment| Replay::new().segment(&segment));
        let error = outcome.expect_err("it was changed").to_string();
        let offset: usize =
            error.split("at byte ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap();
        assert!(offset <= at && error.contains("truncate -s"), "{at}: {error}");
        // The cure is one.
        let mut replayed = Replay::new();
        if let Ok(segment) = segment(&changed, &wrong[..offset]) {
            let part = replayed.segment(&segment).unwrap();
            assert_eq!(part.ending, Ending::Open);
            assert!(replayed.found().is_identical());
        }
    }
}

#[test]
fn who_outgrows_every_bound_stops_at_a_whole_record_and_says_so() {
    // Room for one spec, and not for two.
    let spec = specs(&[manifest("mail", ""), manifest("pdf", "")].join("---\n"));
    let mut rig = Rig::start(1500);
    rig.spec(Key(0), &spec[0]);
    rig.turn();
    for round in 0..4 {
        rig.pass(100);
        rig.backlog(Key(0), round, round as f64);
        rig.turn();
    }
    rig.spec(Key(1), &spec[1]);
    rig.backlog(Key(0), 5, 5.0);
    rig.turn();
    let recorded = rig.finish();
    let mut parts = Vec::new();
    let mut replayed = Replay::new();
    for file in &recorded.files {
        parts.push(replayed.segment(&Segment::open(file).unwrap()).unwrap());
    }
    assert!(replayed.found().is_identical());
    let ending = &parts.last().unwrap().ending;
    assert!(matches!(ending, Ending::Stopped(why) if why.contains("--record-max-bytes")), "{ending:?}");
    let decisions = replayed.found().decisions;
    assert!((1..recorded.decisions - 1).contains(&decisions), "{decisions}");
}

#[test]
fn a_file_that_is_somebody_elses_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let start = |path: &Path| {
        let started = Recorder::start(path, 1 << 20, 1, Duration::ZERO, Tick::ZERO);
        started.map(|(recorder, writing)| {
            drop(recorder);
            writing.finish();
        })
    };
    let notes = folder.path().join("notes.txt");
    fs::write(&notes, "tidegate is a queue-depth autoscaler").unwrap();
    let refused = start(&notes).unwrap_err().to_string();
    assert!(refused.contains("is not a recording; it is left alone"), "{refused}");
    assert_eq!(fs::read_to_string(&notes).unwrap(), "tidegate is a queue-depth autoscaler");
    let refused = start(folder.path()).unwrap_err().to_string();
    assert!(refused.contains("is a folder"), "{refused}");
    let refused = start(&folder.path().join("no/such/folder")).unwrap_err().to_string();
    assert!(refused.contains("cannot write"), "{refused}");

    let path = folder.path().join("rec");
    let held = Recorder::start(&path, 1 << 20, 1, Duration::ZERO, Tick::ZERO).unwrap();
    let refused = start(&path).unwrap_err().to_string();
    assert!(refused.contains("another process records into"), "{refused}");
    drop(held.0);
    held.1.finish();
    // What is there goes on being there, and no more than eight of them.
    for _ in 0..12 {
        // A child that another test is just starting holds the lock, too, until it is one.
        until("it is free", || start(&path).is_ok());
    }
    assert_eq!(super::rig::files(&path).len(), 8);
}

// === specs ===

fn hidden_and_back(spec: &AutoscalerSpec) -> String {
    let hidden = Masks::default().hide(spec);
    let text = recorded::write(&hidden).unwrap();
    let again = recorded::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(again, hidden, "{text}");
    text
}

#[test]
fn every_spec_reads_back_as_the_same() {
    let mut count = 0;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifests/good");
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = SourceText { file: path.display().to_string(), text: fs::read_to_string(&path).unwrap() };
        for spec in load(&[text], &Terms::default()).unwrap().autoscalers {
            hidden_and_back(&spec);
            hidden_and_back(&AutoscalerSpec { origin: Origin::Resource, ..AutoscalerSpec::clone(&spec) });
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}

#[test]
fn what_kedas_calls_register_reads_back_as_the_same() {
    let text = "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: { name: redis-main, namespace: pulse }\n\
                spec: { redis: { address: \"redis:6379\", username: tidegate, password: planted-secret } }\n---\n\
                apiVersion: tidegate.dev/v1alpha1\nkind: ClusterConnection\nmetadata: { name: shared }\n\
                spec: { allowedNamespaces: [\"*\"], redis: { address: \"redis.shared.svc:6379\", database: 1 } }\n";
    let text = SourceText { file: "grants.yaml".to_owned(), text: text.to_owned() };
    let terms = Terms { allow_addresses: vec!["*:*".to_owned()], ..Terms::default() };
    let grants = load(&[text], &terms).unwrap().grants;
    let cases: [&[(&str, &str)]; 7] = [
        &[("address", "redis:6379"), ("listName", "jobs"), ("listLength", "5")],
        &[("address", "elsewhere.svc:6379"), ("listName", "jobs"), ("databaseIndex", "3"), ("username", "me")],
        &[("connection", "shared"), ("listName", "a/b: {c}"), ("databaseIndex", "7"), ("activationListLength", "2")],
        &[("addresses", "a.svc:6379,b.svc:6379"), ("listName", "jobs")],
        &[("addresses", "a.svc:26379"), ("sentinelMaster", "my/master"), ("listName", "jobs")],
        &[("address", "x.svc:6379"), ("stream", "s"), ("consumerGroup", "g"), ("pendingEntriesCount", "5")],
        &[("address", "x.svc:6379"), ("listName", "jobs"), ("enableTLS", "true"), ("unsafeSsl", "true")],
    ];
    for case in cases {
        let metadata: HashMap<String, String> = case.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let long = "a".repeat(250);
        for name in ["worker", long.as_str()] {
            let Ask::Trigger(asked) =
                read(&ScaledObject { namespace: "pulse", name, metadata: &metadata }, &grants).unwrap()
            else {
                panic!("no trigger: {case:?}")
            };
            let spec = asked.registration.unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(spec.origin, Origin::KedaMetadata);
            let text = hidden_and_back(&spec);
            assert!(!text.contains("planted-secret"), "{text}");
        }
    }
}

#[test]
fn a_spec_of_which_only_the_password_changed_is_another_one_and_shows_neither() {
    let with = |password: &str| {
        let connection = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: main, namespace: shop }}\n\
             spec: {{ redis: {{ address: \"redis:6379\", password: {password} }} }}\n---\n"
        );
        let text = manifest("worker", "")
            .replace("memory: { queue: worker }", "connection: main\n    redisList: { keys: [jobs] }");
        specs(&(connection + &text)).remove(0)
    };
    let mut masks = Masks::default();
    let (one, other) = (masks.hide(&with("first-secret")), masks.hide(&with("second-secret")));
    assert_ne!(one, other);
    assert_eq!(one, masks.hide(&with("first-secret")));
    for spec in [one, other] {
        let text = recorded::write(&spec).unwrap();
        assert!(!text.contains("-secret"), "{text}");
        assert!(text.contains("TIDEGATE_RECORDED_SECRET_"), "{text}");
    }
}
