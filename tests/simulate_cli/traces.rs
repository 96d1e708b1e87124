//! Recordings, as they are exported.

use std::fmt::Write as _;

use serde_json::Value;

use super::rig::{Folder, has_lines, names, notes, number};

/// A hundred items, six seconds apart, which took half a second on average.
fn events() -> String {
    let row = |i: u64| format!("{},0.{}\n", 1_700_000_000 + i * 6, i % 9 + 1);
    format!("timestamp,service\n{}", (0..100).map(row).collect::<String>())
}

/// Ten minutes, eighty items.
const COUNTS: &str = "date,value
2026-01-31T12:00:00Z,12
2026-01-31T12:02:00Z,20
2026-01-31T12:04:00Z,30
2026-01-31T12:06:00Z,6
2026-01-31T12:08:00Z,12
";

fn about<'r>(report: &'r Value, field: &str) -> &'r Value {
    &report["scenario"][field]
}

#[test]
fn items_with_their_services() {
    let folder = Folder::new();
    folder.write("events.csv", &events());
    let report = folder.report(&["--trace", "events.csv", "--seeds", "1", "--slo", "10s", "--start-up", "20s"]);
    assert!((99.0..=100.0).contains(&number(about(&report, "jobs"))), "{}", report["scenario"]);
    assert_eq!(number(about(&report, "seconds")), 594.0);
    // 0.1 to 0.9, eleven times, and the first of them once more.
    assert!((49.4..49.7).contains(&number(about(&report, "workSeconds"))), "{}", report["scenario"]);
    assert_eq!(number(about(&report, "sloWaitSeconds")), 10.0);
    assert_eq!(number(about(&report, "sloPercent")), 99.0);
    assert_eq!(number(about(&report, "startUpSeconds")), 20.0);
    let inputs = about(&report, "inputs").as_array().unwrap();
    assert_eq!(inputs.last().unwrap()["name"], "events.csv");
    assert_eq!(inputs.last().unwrap()["bytes"], events().len());
    assert!(notes(&report).contains("events.csv: each row is taken for one item that came"), "{}", notes(&report));
    assert!(report["command"].as_str().unwrap().contains("--trace events.csv"), "{}", report["command"]);
}

#[test]
fn counts_per_bin_with_a_column_of_another_name() {
    let folder = Folder::new();
    folder.write("counts.csv", COUNTS);
    let with = ["--trace", "counts.csv", "--column", "arrivals=value", "--seeds", "1"];
    let report = folder.report(&[&with[..], &["--service", "2s", "--slots", "4"]].concat());
    assert_eq!(number(about(&report, "jobs")), 80.0);
    assert_eq!(number(about(&report, "seconds")), 600.0);
    assert_eq!(number(about(&report, "slotsPerReplica")), 4.0);
    // Exponential with this mean: of eighty, within a third of it.
    let mean = number(about(&report, "workSeconds")) / 80.0;
    assert!((1.3..2.7).contains(&mean), "{mean}");
    for note in ["arrivals are from `value`, a count per bin", "taken for the start of its bin of 2 min"] {
        assert!(notes(&report).contains(&format!("counts.csv: {note}")) || notes(&report).contains(note), "{note}");
    }
    assert!(names(&report).contains(&"tidegate with load"), "the time of a job is known");

    // Without the column it could as well be a depth, and the cure is named.
    let message = folder.refused(&["--trace", "counts.csv", "--service", "2s"]);
    assert!(message.starts_with("counts.csv (value): it is taken for a depth"), "{message}");
    assert!(message.ends_with("arrivals=value"), "{message}");
    let message = folder.refused(&["--trace", "counts.csv", "--service", "2s", "--column", "arrivals=valu"]);
    assert!(message.contains("there is no column `valu`") && message.contains("`date`, `value`"), "{message}");
}

#[test]
fn a_trace_that_does_not_say_how_long_jobs_take_needs_a_service() {
    let folder = Folder::new();
    folder.write("counts.csv", COUNTS);
    let message = folder.refused(&["--trace", "counts.csv", "--column", "arrivals=value"]);
    assert!(
        message.contains("does not say how long its jobs take") && message.contains("--service 500ms"),
        "{message}"
    );
}

#[test]
fn services_that_were_recorded_are_not_made_up() {
    let folder = Folder::new();
    folder.write("events.csv", &events());
    let work = |more: &[&str]| {
        let report = folder.report(&[&["--trace", "events.csv", "--seeds", "1"], more].concat());
        number(about(&report, "workSeconds"))
    };
    let recorded = work(&[]);
    assert!((work(&["--service", "5s"]) - recorded).abs() < 1e-9, "--service is for where the trace does not say");
}

#[test]
fn an_answer_of_prometheus() {
    let folder = Folder::new();
    folder.write(
        "prom.json",
        r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"jobs_enqueued_total","pod":"p1"},
            "values":[[1700000000,"10"],[1700000060,"22"],[1700000120,"40"],[1700000180,"70"],[1700000240,"71"]]}]}}"#,
    );
    let report = folder.report(&["--trace", "prom.json", "--service", "1s", "--seeds", "1"]);
    assert_eq!(number(about(&report, "jobs")), 61.0);
    assert_eq!(number(about(&report, "seconds")), 240.0);
    assert!(
        notes(&report).contains("prom.json: arrivals are from `jobs_enqueued_total{pod=\"p1\"}`, a counter"),
        "{}",
        notes(&report)
    );
    folder.write("prom.json", r#"{"status":"error","errorType":"bad_data","error":"no such query"}"#);
    let message = folder.refused(&["--trace", "prom.json", "--service", "1s"]);
    assert!(message.starts_with("prom.json: the answer is an error (bad_data): no such query"), "{message}");
}

#[test]
fn batch_jobs_of_the_standard_workload_format() {
    let folder = Folder::new();
    let mut text = "; Version: 2.2\n; UnixStartTime: 0\n".to_owned();
    for i in 1..=40 {
        writeln!(text, "{i} {} 0 {} 1 -1 -1 1 -1 -1 1 1 1 -1 1 -1 -1 -1", i * 30, i % 7 + 5).unwrap();
    }
    folder.write("batch.swf", &text);
    let report = folder.report(&["--trace", "batch.swf", "--seeds", "1"]);
    assert!((39.0..=40.0).contains(&number(about(&report, "jobs"))), "{}", report["scenario"]);
    let mean = number(about(&report, "workSeconds")) / number(about(&report, "jobs"));
    assert!((7.0..9.0).contains(&mean), "{mean}");
}

#[test]
fn a_gap_of_a_week_is_told_and_kept() {
    let folder = Folder::new();
    folder.write("gap.csv", "date,count\n2026-01-01,24\n2026-01-02,24\n2026-01-03,24\n2026-01-11,24\n2026-01-12,24\n");
    let report = folder.report(&["--trace", "gap.csv", "--service", "1m", "--seeds", "1", "--slo", "1h"]);
    assert_eq!(number(about(&report, "jobs")), 120.0);
    assert_eq!(number(about(&report, "seconds")), 12.0 * 86_400.0);
    let note =
        "nothing is known from 2026-01-04T00:00:00Z to 2026-01-11T00:00:00Z (7 d): no arrivals are made up there";
    assert!(notes(&report).contains(note), "{}", notes(&report));
}

#[test]
fn what_is_wrong_with_a_trace_is_told_with_its_line() {
    let folder = Folder::new();
    for (text, message) in [
        (
            "time,depth,arrivals\n5,1700000000,1\n3,1700000010,1\n4,1700000020,1\n",
            "t.csv:2 (time): its values are no times, and those of `depth` look like times; do columns `depth` and \
             `time` stand in each other's place?",
        ),
        (
            "timestamp,arrivals\n1700000000,5\n1700000010,3\n1700000020000,4\n",
            "t.csv:4 (timestamp): `1700000020000` is milliseconds since 1970, but the first time is seconds since 1970 \
             (line 2); write all times of the column in one unit",
        ),
        ("timestamp,arrivals\n1700000000,5\n1700000010,-3\n", "t.csv:3 (arrivals): `-3` is negative"),
        ("", "t.csv: it is empty"),
        ("<html>502</html>", "t.csv: it is HTML or XML"),
    ] {
        folder.write("t.csv", text);
        let said = folder.refused(&["--trace", "t.csv", "--service", "1s"]);
        assert!(said.starts_with(message), "{said}");
    }
    let said = folder.refused(&["--trace", "nowhere.csv", "--service", "1s"]);
    assert!(said.starts_with("nowhere.csv: it cannot be read: ") && said.lines().count() == 1, "{said}");
}

#[test]
fn a_depth_alone_is_refused_until_the_workers_are_told() {
    let folder = Folder::new();
    let rows: String = (0..20).map(|i| format!("{},{}\n", 1_700_000_000 + i * 30, i % 5 + 2)).collect();
    folder.write("depth.csv", &format!("time,depth\n{rows}"));
    let why = "depth.csv (depth): it is taken for a depth, and a depth alone does not tell arrivals";
    let message = folder.refused(&["--trace", "depth.csv"]);
    assert!(message.starts_with(why) && message.contains("--replicas and --service"), "{message}");
    let message = folder.refused(&["--trace", "depth.csv", "--service", "10s"]);
    assert!(message.starts_with(why) && message.contains("--replicas"), "{message}");

    let told = ["--trace", "depth.csv", "--service", "10s", "--replicas", "2", "--slots", "2", "--seeds", "1"];
    let report = folder.report(&told);
    let jobs = number(about(&report, "jobs"));
    // Four slots, ten seconds each, for 570 seconds: 228, and what the depth grew by.
    assert!((200.0..260.0).contains(&jobs), "{jobs}");
    let notes = notes(&report);
    assert!(notes.contains("2 replicas of 2 slots and a service of 10 s"), "{notes}");
    let band = notes.lines().find(|note| note.contains("reconstructed from depths")).unwrap();
    assert!(band.starts_with(&format!("depth.csv: reconstructed from depths, {jobs} jobs; ")), "{band}");
    assert!(band.contains(" are possible, and every figure here is as uncertain as that: --band low and"), "{band}");
    let numbers: Vec<f64> = band.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(matches!(numbers[..], [said, low, high] if low < said && said < high), "{band}");
}

#[test]
fn a_trace_of_a_scenario_stands_beside_the_scenario() {
    let folder = Folder::new();
    let scenario = |trace: &str| {
        format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Scenario\nmetadata: {{ name: replay }}\nspec:\n  seeds: 1\n  jobs:\n\
             \x20   - arrivals: [{trace}]\n"
        )
    };
    folder.write("worlds/replay.yaml", &scenario("{ trace: { file: recorded/events.csv } }"));
    folder.write("worlds/recorded/events.csv", &events());
    let by_file = folder.report(&["worlds/replay.yaml"]);
    assert!((99.0..=100.0).contains(&number(about(&by_file, "jobs"))), "{}", by_file["scenario"]);
    let by_folder = folder.report(&["worlds"]);
    assert_eq!(by_folder["policies"], by_file["policies"]);
    let absolute = folder.path("worlds/recorded/events.csv");
    folder.write("far.yaml", &scenario(&format!("{{ trace: {{ file: {} }} }}", absolute.display())));
    assert_eq!(folder.report(&["far.yaml"])["policies"], by_file["policies"]);

    // Twice as many of it.
    folder.write("worlds/replay.yaml", &scenario("{ trace: { file: recorded/events.csv, scale: 2 } }"));
    let doubled = folder.report(&["worlds/replay.yaml"]);
    assert_eq!(number(about(&doubled, "jobs")), 2.0 * number(about(&by_file, "jobs")));

    // What is wrong with several of them is said at once, with the file that was looked for.
    let traces = "{ trace: { file: lost.csv } }, { trace: { file: recorded/events.csv, format: xml } }, \
                  { trace: { file: recorded/events.csv, columns: { hour: timestamp } } }";
    folder.write("worlds/replay.yaml", &scenario(traces));
    let message = folder.refused(&["worlds/replay.yaml"]);
    let known = "time, service, input_tokens, output_tokens, arrivals, rate, enqueued, completed, completions, depth, \
                 in_flight, replicas, age";
    has_lines(
        &message,
        &[
            "worlds/lost.csv: it cannot be read: No such file or directory (os error 2); name a file that this user may read",
            "worlds/recorded/events.csv: unknown format `xml`; write one of csv, ndjson, prometheus, cloudwatch, counts, swf",
            &format!("worlds/recorded/events.csv: unknown role `hour`; write one of {known}"),
        ],
    );
}

#[test]
fn both_ends_of_what_depths_allow_for_can_be_simulated() {
    let folder = Folder::new();
    let rows = |depth: &dyn Fn(u64) -> u64| -> String {
        (0..20).map(|i| format!("{},{}\n", 1_700_000_000 + i * 30, depth(i))).collect()
    };
    folder.write("depth.csv", &format!("time,depth\n{}", rows(&|i| i % 4)));
    let told = ["--trace", "depth.csv", "--service", "10s", "--replicas", "2", "--seeds", "1"];
    let jobs = |band: &str| number(about(&folder.report(&[&told[..], &["--band", band]].concat()), "jobs"));
    let (low, likely, high) = (jobs("low"), jobs("likely"), jobs("high"));
    assert!(low < likely && likely < high, "{low} {likely} {high}");
    let report = folder.report(&[&told[..], &["--band", "high"]].concat());
    assert!(notes(&report).contains(&format!("{low} to {high} are possible")), "{}", notes(&report));
    assert!(report["command"].as_str().unwrap().contains("--band high"), "{}", report["command"]);

    // Whoever has enough workers sees no depth at all.
    folder.write("depth.csv", &format!("time,depth\n{}", rows(&|_| 0)));
    let message = folder.refused(&told);
    assert!(message.contains("nothing has to have come") && message.contains("--band high"), "{message}");
    assert!(jobs("high") > 100.0);

    folder.write("counts.csv", COUNTS);
    let counts = ["--trace", "counts.csv", "--column", "arrivals=value", "--service", "2s", "--band", "low"];
    let message = folder.refused(&counts);
    assert_eq!(
        message,
        "counts.csv: a band is of what depths allow for, and this trace tells what came; take band out"
    );
}
