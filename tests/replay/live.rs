//! The real binary writes, is killed, and what it wrote is decided again alike.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tidegate::record::{Ending, Part, Replay, Segment};

use super::rig::{files, manifest, replay};
use super::support::redis::RedisProcess;
use super::support::tidegate::{Tidegate, command, until};

/// Replays files and returns what became of each, too.
fn parts(path: &Path) -> (Replay, Vec<Part>) {
    let mut replay = Replay::new();
    let parts = files(path).iter().map(|file| replay.segment(&Segment::open(file).unwrap()).unwrap()).collect();
    (replay, parts)
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

#[test]
fn the_demo_is_killed_and_replayed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("demo.rec");
    let mut demo = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["demo", "--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0", "--record"])
        .arg(&path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("some seconds of it", || size(&path) > 5_000);
    demo.kill().unwrap();
    demo.wait().unwrap();
    let (replayed, parts) = parts(&path);
    let found = replayed.found();
    assert!(found.is_identical(), "{:?}", found.first_difference);
    assert!(found.decisions > 50 && found.autoscalers.len() == 2, "{}", found.decisions);
    assert!(matches!(parts[0].ending, Ending::Open | Ending::Torn { .. }), "{:?}", parts[0].ending);
}

#[test]
fn a_real_redis_is_recorded_over_a_kill_and_a_second_process() {
    let redis = RedisProcess::with(&["requirepass planted-by-hand"]);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("redis.rec");
    let state = folder.path().join("state").display().to_string();
    let record = path.display().to_string();
    let connection = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: main, namespace: shop }}\n\
         spec: {{ redis: {{ address: \"{}\", password: planted-by-hand }} }}\n---\n",
        redis.address()
    );
    let text = manifest("worker", "")
        .replace("memory: { queue: worker }", "connection: main\n    redisList: { keys: [jobs] }");
    let manifests = connection + &text;
    let arguments = ["--target", "memory", "--record", &record, "--state-dir", &state];

    let mut tidegate = Tidegate::start(&manifests, &arguments);
    tidegate.until_ready();
    let _: i64 = redis.command(&[&["RPUSH", "jobs"][..], &["x"; 95]].concat());
    until("ten replicas", || tidegate.replicas("shop", "worker") == 10);
    let _: String = redis.command(&["LTRIM", "jobs", "0", "0"]);
    let enough = size(&path) + 2_000;
    until("more of it", || size(&path) > enough);
    assert_eq!(tidegate.metric("tidegate_recording"), Some(1.0));
    tidegate.signal("-KILL");
    tidegate.wait();

    // Another one goes on, in a file of its own, and ends in good order.
    let mut tidegate = Tidegate::start(&manifests, &arguments);
    tidegate.until_ready();
    let enough = size(&path) + 1_000;
    until("some of it", || size(&path) > enough);
    tidegate.signal("-TERM");
    assert!(tidegate.wait().success());
    tidegate.until_log("recording complete");

    let (replayed, parts) = parts(&path);
    let found = replayed.found();
    assert!(found.is_identical(), "{:?}", found.first_difference);
    assert!(found.decisions > 60, "{}", found.decisions);
    assert_eq!(parts.len(), 2);
    assert!(matches!(parts[0].ending, Ending::Open | Ending::Torn { .. }), "{:?}", parts[0].ending);
    assert_eq!((parts[1].ending.clone(), parts[1].continues), (Ending::Complete, false));
    for file in files(&path) {
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"planted"), "{} has the password", file.display());
        assert!(bytes.windows(6).any(|window| window == b"worker"), "is it searched at all?");
    }
    // The same by the command, which is given them in the wrong order.
    let [older, newer] = &files(&path)[..] else { panic!("two files") };
    let output = command(&["replay", newer.to_str().unwrap(), older.to_str().unwrap()]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("identical: all"), "{said}");
}

#[test]
fn a_long_recording_is_several_files_that_are_bounded_together() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("long.rec");
    let record = path.display().to_string();
    let manifests: Vec<String> = (0..60).map(|n| manifest(&format!("worker-{n}"), "")).collect();
    let arguments = ["--target", "memory", "--record", &record, "--record-max-bytes", "1Mi"];
    let mut tidegate = Tidegate::start(&manifests.join("---\n"), &arguments);
    until("a fourth file", || folder.path().join("long.rec.3").exists());
    tidegate.signal("-TERM");
    assert!(tidegate.wait().success());
    let all = files(&path);
    assert!(all.iter().map(|file| size(file)).sum::<u64>() <= 1 << 20);
    let (together, parts) = parts(&path);
    assert!(together.found().is_identical(), "{:?}", together.found().first_difference);
    assert!(parts.iter().skip(1).all(|part| part.continues) && parts.len() >= 4);
    assert!(parts.iter().all(|part| part.ending == Ending::Complete));
    assert!(together.found().snapshots >= 120, "all 60 in two of them at least: {}", together.found().snapshots);
    for file in &all {
        let alone = replay(std::slice::from_ref(file));
        assert!(alone.found().is_identical(), "{:?}", alone.found().first_difference);
        // The newest may just have begun.
        assert!(*file == path || alone.found().autoscalers.len() == 60, "{}", alone.found().autoscalers.len());
    }
}

/// Everywhere a secret can stand in a manifest: none of it is in the file.
#[test]
fn no_secret_stands_in_a_recording() {
    const PLANTED: &str = "s3cr3t-planted";
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("secrets.rec");
    let record = path.display().to_string();
    let servers = [
        ("redis", "redis: { address: \"127.0.0.1:1\", password: s3cr3t-planted-1 }", "redisList: { keys: [jobs] }"),
        (
            "sentinel",
            "redis: { sentinel: { addresses: [\"127.0.0.1:1\"], master: m, password: s3cr3t-planted-2 }, password: s3cr3t-planted-3 }",
            "redisList: { keys: [jobs] }",
        ),
        (
            "postgres",
            "postgres: { address: \"127.0.0.1:1\", database: d, username: u, password: s3cr3t-planted-4 }",
            "postgres: { query: \"select 1\" }",
        ),
        (
            "prometheus",
            "prometheus: { url: \"http://127.0.0.1:1\", username: u, password: s3cr3t-planted-5, headers: { X-Key: s3cr3t-planted-6 } }",
            "prometheusQuery: { query: up }",
        ),
    ];
    let mut manifests = Vec::new();
    for (name, server, source) in servers {
        manifests.push(format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: {name}, namespace: shop }}\nspec: {{ {server} }}\n"
        ));
        let queue = format!("memory: {{ queue: {name} }}");
        manifests.push(
            manifest(name, "").replace(&queue, &format!("connection: {name}\n    {source}")).replace("50ms", "1s"),
        );
    }
    let mut tidegate = Tidegate::start(&manifests.join("---\n"), &["--record", &record]);
    tidegate.until_ready();
    tidegate.signal("-TERM");
    tidegate.wait();
    let bytes = fs::read(&path).unwrap();
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(!holds(PLANTED), "a secret is in the recording");
    for (name, ..) in servers {
        assert!(holds(name), "nothing was recorded of {name}: is it searched at all?");
    }
    let (replayed, _) = parts(&path);
    assert!(replayed.found().is_identical() && replayed.found().samples >= 4);
}

/// A file that may not grow any further stands for a disk that is full.
#[test]
fn where_the_disk_is_full_deciding_goes_on_and_the_recording_ends_at_a_whole_record() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("full.rec");
    let limited = "trap '' XFSZ; ulimit -f 8; exec \"$0\" demo --grpc-address 127.0.0.1:0 --http-address 127.0.0.1:0 \
                   --duration 8s --record \"$1\"";
    let output = std::process::Command::new("sh")
        .args(["-c", limited, env!("CARGO_BIN_EXE_tidegate"), path.to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("recording stopped; deciding goes on"), "{said}");
    let (replayed, parts) = parts(&path);
    let found = replayed.found();
    assert!(found.is_identical() && found.decisions > 10, "{:?}", found.first_difference);
    // A full disk may have room for the reason, or not.
    assert!(matches!(parts[0].ending, Ending::Stopped(_) | Ending::Open), "{:?}", parts[0].ending);
    assert!(size(&path) <= 8 * 1024);
}
