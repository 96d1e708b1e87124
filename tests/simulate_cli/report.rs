//! The table, the JSON and the page.

use super::rig::{AUTOSCALER, CONNECTION, Folder, QUIET, names, number};

const ROWS: [&str; 7] = [
    "HPA on depth",
    "HPA on depth + in flight",
    "KEDA + HPA",
    "KEDA + HPA, tuned",
    "best static size",
    "tidegate",
    "tidegate with load",
];

#[test]
fn the_table_has_everybody_who_could_scale() {
    let folder = Folder::new();
    let table = folder.simulated(&["quiet.yaml"]);
    let lines: Vec<&str> = table.lines().collect();
    let header = lines.iter().position(|line| line.contains("policy") && line.contains("regret %")).unwrap();
    let mut rows: Vec<&str> = lines[header + 1..header + 8]
        .iter()
        .map(|line| {
            let (mark, rest) = line.trim().split_once(' ').unwrap();
            assert!(["✓", "✗"].contains(&mark), "{line}");
            rest.trim().split("  ").next().unwrap()
        })
        .collect();
    rows.sort_unstable();
    assert_eq!(rows, ROWS);
    assert_eq!(lines[header + 8], "", "{table}");

    assert!(lines[0].contains("95 % within 5s") && lines[0].contains("; KEDA + HPA"), "a verdict comes first: {table}");
    assert!(lines[1].starts_with("A pod takes work 10.021s after it is seen to be needed"), "{table}");
    let world = "in 20 m, 1.3";
    assert!(lines[3].starts_with("quiet: 1") && lines[3].contains(world), "{table}");
    assert!(lines[3].ends_with("(2 a replica), start-up 10 s, objective 95 % within 5 s, 2 seeds"), "{table}");
    for setting in [
        "tidegate: backlogPerReplica 10, polls every 1s, down after 1m, 1 to 10 replicas",
        "KEDA + HPA: 10 a replica, defaults (polls every 30s)",
        "KEDA + HPA, tuned: 10 a replica, polls every 1s; cooldown 5m, behavior and fallback of the manifest",
    ] {
        assert!(lines.contains(&setting), "{setting}\n{table}");
    }
    let with_load = lines.iter().find(|line| line.starts_with("tidegate with load: ")).unwrap();
    // A quarter of what jobs may wait: starting a pod takes longer than all of it.
    let setting = "drained within 1.25s), polls every 1s, down after 1m, 1 to 10 replicas";
    assert!(with_load.contains(": load (2 slots, 1") && with_load.ends_with(setting), "{with_load}");
    assert!(lines.last().unwrap().starts_with("note: \"with load\" supposes"), "{table}");
}

#[test]
fn the_json_is_a_whole_report_of_policies_in_order() {
    let folder = Folder::new();
    let report = folder.report(&["quiet.yaml"]);
    assert_eq!(report["schema"], "tidegate.dev/simulation/v1");
    assert_eq!(report["tidegate"], env!("CARGO_PKG_VERSION"));
    let about = &report["scenario"];
    assert_eq!((about["name"].as_str(), about["about"].as_str()), (Some("quiet"), Some("A small shop.")));
    assert_eq!(about["autoscaler"], "shop/mail");
    assert_eq!(about["seeds"], serde_json::json!([1, 2]));
    assert_eq!((number(&about["seconds"]), number(&about["sloPercent"])), (1200.0, 95.0));
    let inputs = about["inputs"].as_array().unwrap();
    let files: Vec<&str> = inputs.iter().map(|input| input["name"].as_str().unwrap()).collect();
    assert_eq!(files, ["shop.yaml", "quiet.yaml"]);
    assert_eq!(number(&inputs[1]["bytes"]), QUIET.len() as f64);

    let mut all = names(&report);
    all.sort_unstable();
    assert_eq!(all, ROWS);
    let policies = report["policies"].as_array().unwrap();
    let meets: Vec<bool> = policies.iter().map(|policy| policy["meetsSlo"].as_bool().unwrap()).collect();
    assert!(meets.contains(&true) && meets.contains(&false), "the test tells nothing if all do, or none: {meets:?}");
    assert!(meets.is_sorted_by_key(|meets| !meets), "{meets:?}");
    let of = |policy: &serde_json::Value, field: &str| number(&policy[field]["mean"]);
    for pair in policies.windows(2) {
        match (pair[0]["meetsSlo"].as_bool().unwrap(), pair[1]["meetsSlo"].as_bool().unwrap()) {
            (true, true) => assert!(of(&pair[0], "cost") <= of(&pair[1], "cost")),
            (false, false) => assert!(of(&pair[0], "onTimePercent") >= of(&pair[1], "onTimePercent")),
            _ => {}
        }
    }
    for policy in policies {
        let met = of(policy, "onTimePercent") >= 95.0;
        assert_eq!(policy["meetsSlo"].as_bool(), Some(met), "{}", policy["name"]);
        assert!(of(policy, "costOverWork") >= 1.0, "nobody does it for less than the work: {}", policy["name"]);
    }
}

#[test]
fn the_command_of_a_report_makes_the_same_report_again() {
    let folder = Folder::new();
    let first = folder.simulated(&["quiet.yaml", "--seeds", "1", "--output", "json", "--threads", "1"]);
    let report: serde_json::Value = serde_json::from_str(&first).unwrap();
    let command = report["command"].as_str().unwrap();
    assert_eq!(command, "tidegate simulate --file shop.yaml --file quiet.yaml --seed 1 --seeds 1");
    let again = folder.shell(&format!("{command} --output json"));
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""));
    assert!(again.stdout == first, "byte for byte");
}

#[test]
fn a_shell_takes_the_command_back_whatever_files_are_called() {
    let folder = Folder::new();
    folder.write("it's a shop/busy day.yaml", QUIET);
    folder.write("what came.csv", "timestamp\n0\n20\n60\n90\n");
    for arguments in [
        &["it's a shop", "--scenario", "quiet", "--seeds", "1", "--seed", "7"][..],
        &[
            "--trace",
            "what came.csv",
            "--service",
            "1500ms",
            "--slots",
            "2",
            "--start-up",
            "5s",
            "--slo",
            "1m30s",
            "--column",
            "time=timestamp",
            "--seeds",
            "1",
        ],
        &["quiet.yaml", "--seeds", "1", "--vary", "spec.minReplicas=1,2"],
    ] {
        let first = folder.simulated(&[arguments, &["-o", "json"]].concat());
        let report: serde_json::Value = serde_json::from_str(&first).unwrap();
        let command = report["command"].as_str().unwrap();
        let again = folder.shell(&format!("{command} -o json"));
        assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""), "{command}");
        assert_eq!(again.stdout, first, "{command}");
    }
}

#[test]
fn the_number_of_threads_changes_nothing_and_the_seed_does() {
    let folder = Folder::new();
    let with = |more: &[&str]| folder.simulated(&[&["quiet.yaml", "-o", "json"], more].concat());
    let one = with(&["--threads", "1"]);
    assert_eq!(one, with(&["--threads", "2"]));
    let other = with(&["--seed", "3"]);
    let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let (one, other) = (parsed(&one), parsed(&other));
    assert_eq!(other["scenario"]["seeds"], serde_json::json!([3, 4]));
    assert_ne!(one["scenario"]["jobs"], other["scenario"]["jobs"], "other luck, other jobs");
    assert_ne!(one["policies"], other["policies"]);
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let folder = Folder::new();
    let files = |folder: &Folder| {
        let entries = std::fs::read_dir(folder.path("")).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    };
    let arguments = ["quiet.yaml", "--seeds", "1", "--vary", "spec.minReplicas=1,2"];
    let table = folder.simulated(&[&arguments[..], &["--html", "page.html", "--json", "report.json"]].concat());
    assert_eq!(files(&folder), ["page.html", "quiet.yaml", "report.json", "shop.yaml"]);
    assert!(table.contains("on the front"), "the files are beside the table, not instead of it: {table}");

    let page = folder.read("page.html");
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    assert!(page.trim_start().to_lowercase().starts_with("<!doctype html>"));
    assert!(page.trim_end().ends_with("</html>"));
    for scheme in ["http://", "https://"] {
        for (at, _) in page.match_indices(scheme) {
            let before: String = page[..at].chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect();
            let is_namespace = before.trim_end_matches(['"', '\'']).trim_end_matches('=').ends_with("xmlns")
                || page[at..].starts_with("http://www.w3.org/2000/svg");
            assert!(is_namespace, "{before}{scheme}");
        }
    }
    // Its icon is in it, too.
    assert_eq!(page.matches("<link").count(), page.matches("<link rel=\"icon\" href=\"data:").count());
    for reference in ["@import", "<iframe", "<img", " src=", "fetch("] {
        assert!(!page.contains(reference), "{reference}");
    }
    // Styles lead to marks of the page itself.
    assert_eq!(page.matches("url(").count(), page.matches("url(#").count() + page.matches("url(data:").count());
    for part in ["quiet", "KEDA + HPA", "best static size", "minReplicas", "<svg"] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn standard_output_has_data_only_and_nobody_is_told_of_progress_who_does_not_look() {
    let folder = Folder::new();
    let said = folder.simulate(&["quiet.yaml", "-o", "json"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    assert!(said.stdout.starts_with("{\n") && said.stdout.ends_with("}\n"));
    assert!(serde_json::from_str::<serde_json::Value>(&said.stdout).is_ok());
    let said = folder.simulate(&["quiet.yaml", "--seeds", "1"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    assert!(!said.stdout.contains(['\u{1b}', '\r']), "no colours, no carriage returns: {:?}", said.stdout);
}

#[test]
fn what_is_printed_and_what_is_written_are_the_same_report() {
    let folder = Folder::new();
    let printed = folder.simulated(&["quiet.yaml", "--seeds", "1", "-o", "json", "--json", "report.json"]);
    assert!(printed == folder.read("report.json"), "byte for byte");
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let folder = Folder::new();
    for flag in ["--json", "--html"] {
        let message = folder.refused(&["quiet.yaml", "--seeds", "1", flag, "no/such/folder"]);
        assert!(message.starts_with("cannot write no/such/folder: "), "{message}");
    }
}

#[test]
fn manifests_of_several_files_are_compared_side_by_side() {
    let folder = Folder::new();
    let other = AUTOSCALER.replace("name: mail,", "name: newer,").replace("mail-worker", "newer-worker");
    folder.write("new.yaml", &other.replace("target: 10", "target: 5"));
    let report = folder.report(&["new.yaml", "quiet.yaml", "--seeds", "1"]);
    let names = names(&report);
    for name in ["tidegate mail", "tidegate newer", "tidegate mail with load"] {
        assert!(names.contains(&name), "{names:?}");
    }
    // The Scenario may say which of them it means.
    folder.write("mine.yaml", &QUIET.replace("spec:", "spec:\n  autoscaler: newer"));
    let report = folder.report(&["new.yaml", "mine.yaml", "--seeds", "1"]);
    assert_eq!(report["scenario"]["autoscaler"], "shop/newer");
    assert!(self::names(&report).contains(&"tidegate"));
}

#[test]
fn an_old_and_a_new_manifest_of_one_workload_are_compared() {
    let folder = Folder::new();
    let newer = AUTOSCALER.replace("name: mail,", "name: newer,").replace("target: 10", "target: 5");
    folder.write("new.yaml", &newer);
    let report = folder.report(&["new.yaml", "quiet.yaml", "--seeds", "1"]);
    let names = names(&report);
    assert!(names.contains(&"tidegate mail") && names.contains(&"tidegate newer"), "{names:?}");
}

#[test]
fn everything_may_come_from_standard_input() {
    let folder = Folder::new();
    folder.write("all.yaml", &format!("{CONNECTION}---\n{AUTOSCALER}---\n{QUIET}"));
    let said = folder.shell("tidegate simulate -f - --seeds 1 < all.yaml");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    assert!(said.stdout.contains("objective 95 % within 5 s, 1 seed\n"), "{}", said.stdout);
}

#[test]
fn the_help_tells_what_there_is() {
    let folder = Folder::new();
    let help = folder.tidegate(&["simulate", "--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for part in [
        "merge",
        "--file <PATH>",
        "--scenario <NAME>",
        "--seed <N>",
        "--threads <N>",
        "--output <OUTPUT>",
        "--html <FILE>",
        "--vary <PATH=VALUE,...>",
        "spec.behavior.scaleDown.stabilizationWindowSeconds=0,60,300",
        "--tune",
        "--shard <INDEX/COUNT>",
        "--trace <FILE>",
        "--column <ROLE=NAME>",
        "arrivals=value",
        "Prometheus",
        "CloudWatch",
        "SWF",
        "[default: 30s]",
        "Examples:",
    ] {
        assert!(help.stdout.contains(part), "{part}\n{}", help.stdout);
    }
    let example = "benches/scenarios/pulse-high.yaml";
    assert!(help.stdout.contains(example) && std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(example).exists());

    let help = folder.tidegate(&["simulate", "merge", "--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for part in ["<FILE>...", "--json <FILE>", "--html <FILE>", "--output <OUTPUT>", "shard"] {
        assert!(help.stdout.contains(part), "{part}\n{}", help.stdout);
    }
    let top = folder.tidegate(&["--help"]).stdout;
    assert!(top.contains("simulate"), "{top}");
}
