//! What is said of input that is wrong.

use super::rig::{AUTOSCALER, CONNECTION, Folder, QUIET, has_lines, names, number};

#[test]
fn without_a_scenario_there_is_nothing_to_simulate() {
    let message = Folder::new().refused(&[]);
    assert!(message.starts_with("no Scenario in these files; add one with -f"), "{message}");
    assert!(message.ends_with("or replay what was recorded with --trace"), "{message}");
}

#[test]
fn without_an_autoscaler_there_is_nobody_to_simulate() {
    let folder = Folder::new();
    let message = folder.tidegate(&["simulate", "-f", "quiet.yaml"]).refusal();
    assert_eq!(message, "no QueueAutoscaler in these files; add a manifest with -f");
    let usage = folder.tidegate(&["simulate"]).usage();
    assert!(usage.contains("--file <PATH>"), "{usage}");
}

#[test]
fn of_several_scenarios_one_is_chosen_by_name() {
    let folder = Folder::new();
    folder.write("busy.yaml", &QUIET.replace("name: quiet", "name: busy").replace("seeds: 2", "seeds: 1"));
    let message = folder.refused(&["quiet.yaml", "busy.yaml"]);
    assert_eq!(message, "several Scenarios in these files (quiet, busy); choose one with --scenario");
    let message = folder.refused(&["quiet.yaml", "busy.yaml", "--scenario", "bussy"]);
    assert_eq!(message, "no Scenario `bussy` in these files; they have quiet, busy");
    assert_eq!(folder.report(&["quiet.yaml", "busy.yaml", "--scenario", "busy"])["scenario"]["name"], "busy");
}

#[test]
fn everything_that_is_wrong_with_a_scenario_is_said_at_once() {
    let folder = Folder::new();
    folder.write(
        "wrong.yaml",
        "apiVersion: tidegate.dev/v1alpha1
kind: Scenario
metadata: { name: wrong }
spec:
  durration: 20m
  slo: { percent: 0 }
  seeds: many
  jobs:
    - arrivals:
        - constant: { perSecond: 1 }
          spike: { perSecond: 5, at: 8m, lasts: 1m }
        - sine: { mean: 2, amplitude: 3, period: 5m }
  workers: { slots: 0, startUp: { init: { fixed: 1s, gamma: { mean: 1s } } } }
",
    );
    // What is wrong with the manifests is said along with it.
    let other = AUTOSCALER.replace("maxReplicas: 10", "maxReplicas: 0");
    folder.write("other.yaml", &format!("{CONNECTION}---\n{other}"));
    let message = folder.tidegate(&["simulate", "-f", "other.yaml", "-f", "wrong.yaml"]).refusal();
    for part in [
        "wrong.yaml:5: spec.durration: unknown field `durration`; did you mean `duration`?",
        "wrong.yaml:6: spec.slo.percent: must be above 0; e.g. percent: 99",
        "wrong.yaml:7: spec.seeds: a whole number expected, found the text `many`; write a plain number, such as 1",
        "wrong.yaml:10: spec.jobs[0].arrivals[0]: exactly one block is needed, found constant and spike",
        "wrong.yaml:12: spec.jobs[0].arrivals[1].sine.amplitude: an amplitude of 3 around 2 would go below zero; write 2 or less",
        "wrong.yaml:9: spec.jobs[0].service: missing: how long a job takes; e.g. service: { fixed: 500ms }",
        "wrong.yaml:13: spec.workers.slots: must be 1 to 10000, found 0",
        "wrong.yaml:13: spec.workers.startUp.init: exactly one block is needed, found fixed and gamma",
        "other.yaml:12: spec.maxReplicas: ",
    ] {
        assert_eq!(message.lines().filter(|line| line.starts_with(part)).count(), 1, "{part}\n{message}");
    }
    assert_eq!(message.lines().count(), 9, "nothing twice: {message}");
}

#[test]
fn a_word_that_is_none_of_those_known_is_told_with_them() {
    let folder = Folder::new();
    let text = QUIET.replace("slots: 2,", "termination: { victim: youngest },");
    folder.write("odd.yaml", &text);
    let message = folder.refused(&["odd.yaml"]);
    let told = "spec.workers.termination.victim: `youngest` is not one of newest, oldest";
    assert!(message.starts_with("odd.yaml:") && message.contains(told), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn a_scenario_needs_jobs() {
    let folder = Folder::new();
    let head = "apiVersion: tidegate.dev/v1alpha1\nkind: Scenario\nmetadata: { name: x }\n";
    for (text, part) in [
        (head.to_owned(), "x.yaml:1: spec: missing"),
        (format!("{head}spec: {{ duration: 1h }}\n"), "x.yaml:4: spec.jobs: missing: what arrives; e.g. jobs: ["),
        (
            format!("{head}spec: {{ jobs: [{{ service: {{ fixed: 1s }} }}] }}\n"),
            "x.yaml:4: spec.jobs[0].arrivals: missing: when they come; e.g. arrivals: [",
        ),
        (
            format!("{head}spec: {{ jobs: [{{ arrivals: [{{}}], service: {{ fixed: 1s }} }}] }}\n"),
            "x.yaml:4: spec.jobs[0].arrivals[0]: exactly one block is needed",
        ),
        (QUIET.replace("v1alpha1", "v9"), "x.yaml:1: apiVersion: `tidegate.dev/v9` is not ours"),
        (QUIET.replace("name: quiet", "title: quiet"), "metadata.name: missing; e.g. metadata: { name: black-friday }"),
    ] {
        folder.write("x.yaml", &text);
        let message = folder.refused(&["x.yaml"]);
        assert!(message.lines().any(|line| line.contains(part)), "{part}\n{message}");
    }
}

#[test]
fn a_file_that_is_no_yaml_is_said_once() {
    let folder = Folder::new();
    folder.write("torn.yaml", "kind: Scenario\nspec: [unclosed");
    let message = folder.refused(&["torn.yaml"]);
    assert!(message.starts_with("torn.yaml:") && message.lines().count() == 1, "{message}");
    let message = folder.refused(&["nowhere.yaml"]);
    assert!(message.contains("nowhere.yaml") && message.lines().count() == 1, "{message}");
}

#[test]
fn a_scenario_means_an_autoscaler_and_triggers_that_exist() {
    let folder = Folder::new();
    let refused = |text: &str| {
        folder.write("other.yaml", text);
        folder.refused(&["other.yaml"])
    };
    assert_eq!(
        refused(&QUIET.replace("spec:", "spec:\n  autoscaler: post")),
        "Scenario quiet is for QueueAutoscaler `post`, and no file declares one; add it with -f"
    );
    assert_eq!(
        refused(&QUIET.replace("- arrivals:", "- trigger: parcels\n      arrivals:")),
        "Scenario quiet has jobs for trigger `parcels`, which shop/mail does not have; it has letters"
    );
    let more = "    - { arrivals: [{ constant: { perSecond: 1 } }], service: { fixed: 1s } }\n  workers:";
    let message = refused(&QUIET.replace("  workers:", more));
    assert!(message.starts_with("nobody reads spec.jobs[1] of Scenario quiet: shop/mail has 1 trigger"), "{message}");
}

#[test]
fn varied_fields_and_values_are_read_as_a_manifest_is() {
    let folder = Folder::new();
    let refused = |field: &str| folder.refused(&["quiet.yaml", "--seeds", "1", "--vary", field]);
    for (field, path, message) in [
        ("spec.minReplica=1,2", "spec.minReplica", "unknown field `minReplica`; did you mean `minReplicas`?"),
        (
            "spec.minReplicas=1,20",
            "spec.minReplicas",
            "minReplicas 20 is above maxReplicas 10; raise maxReplicas to 20 or more",
        ),
        (
            "spec.minReplicas=1,soon",
            "spec.minReplicas",
            "a whole number expected, found the text `soon`; write a plain number, such as 1",
        ),
        (
            "spec.pollingInterval=1s,1parsec",
            "spec.pollingInterval",
            "\"1parsec\" is not a duration (at \"1parsec\"); write one such as 250ms, 30s, 5m or 1h30m",
        ),
    ] {
        let said = refused(field);
        let value = field.rsplit(['=', ',']).find(|value| said.contains(&format!("={value}"))).unwrap();
        assert!(said.starts_with(&format!("--vary {path}={value}")), "the variant is named: {said}");
        assert!(said.ends_with(&format!(" {path}: {message}")), "{said}");
    }
    assert_eq!(
        refused("spec.triggers[1].policy.backlogPerReplica.target=1"),
        "spec.triggers[1].policy.backlogPerReplica.target: there is no entry [1], the list has 1; count from 0"
    );
    let both = folder.refused(&["quiet.yaml", "--vary", "spec.minReplicas=-1", "--vary", "spec.maxReplicas=x"]);
    assert_eq!(both.lines().count(), 2, "{both}");
    let twice = folder.refused(&["quiet.yaml", "--vary", "spec.minReplicas=1,2", "--vary", "spec.minReplicas=3"]);
    assert_eq!(twice, "spec.minReplicas is varied twice; write all of its values behind one --vary");
    let many: Vec<String> = (0..400).map(|value| value.to_string()).collect();
    let (one, other) = (format!("spec.minReplicas={}", many.join(",")), format!("spec.maxReplicas={}", many.join(",")));
    let message = folder.refused(&["quiet.yaml", "--vary", &one, "--vary", &other]);
    assert_eq!(message, "more than 100000 combinations; leave values out");
}

#[test]
fn a_varied_field_has_a_path_and_values() {
    let folder = Folder::new();
    let usage = |field: &str| folder.simulate(&["quiet.yaml", "--vary", field]).usage();
    for (field, part) in [
        ("spec.minReplicas", "`spec.minReplicas` has no values; write PATH=VALUE,VALUE, e.g. spec.minReplicas=0,1,2"),
        ("spec.minReplicas=", "an empty value among those of spec.minReplicas"),
        ("spec.minReplicas=1,,2", "an empty value among those of spec.minReplicas"),
        ("minReplicas=1", "`minReplicas` is no path of a field; write it as in messages, e.g. spec.triggers[0]."),
        ("spec.triggers[x].name=1", "`spec.triggers[x].name` is no path of a field"),
        ("spec..name=1", "`spec..name` is no path of a field"),
    ] {
        let usage = usage(field);
        assert!(usage.contains(part), "{field}: {usage}");
    }
}

#[test]
fn an_impossible_objective_is_told_with_the_floor_that_it_takes() {
    let folder = Folder::new();
    let burst = |size: u32| {
        format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Scenario\nmetadata: {{ name: burst }}\nspec:\n  duration: 20m\n\
             \x20 slo: {{ wait: 1s }}\n  seeds: 1\n\
             \x20 jobs: [{{ arrivals: [{{ cron: {{ size: {size}, every: 10m, at: 5m }} }}], service: {{ fixed: 1s }} }}]\n\
             \x20 workers: {{ slots: 2, startUp: {{ init: {{ fixed: 60s }} }} }}\n"
        )
    };
    let reason = "A pod takes work 1m0.021s after it is seen to be needed, and jobs may wait 1s: what comes beyond the \
                  replicas that are ready is late, whoever reacts to it. ";
    // Sixteen at once within a second of waiting: two seconds of eight slots.
    folder.write("burst.yaml", &burst(16));
    let table = folder.simulated(&["burst.yaml"]);
    assert_eq!(table.lines().nth(1).unwrap(), format!("{reason}minReplicas: 4 would meet 99 % here (seed 1)."));
    assert!(
        table.starts_with("No tidegate policy here meets 99 % within 1s; best static size does: 100.00 %"),
        "{table}"
    );
    let report = folder.report(&["burst.yaml", "--vary", "spec.minReplicas=3,4"]);
    let points = report["sweep"]["points"].as_array().unwrap();
    let met: Vec<&serde_json::Value> = points.iter().map(|point| &point["meetsSlo"]).collect();
    assert_eq!(met, [false, true], "the advice is true, and not too much");

    folder.write("burst.yaml", &burst(300));
    let report = folder.report(&["burst.yaml"]);
    assert_eq!(
        report["feasibility"].as_str().unwrap(),
        format!(
            "{reason}Not even 10 replicas all the time (maxReplicas) meet 99 % here: allow more of them, or longer waits."
        )
    );
    assert!(report["verdict"].as_str().unwrap().starts_with("Nobody here meets 99 % within 1s"), "{report}");
    assert!(!names(&report).contains(&"best static size"), "there is none");
    assert!(
        report["policies"].as_array().unwrap().iter().all(|policy| number(&policy["onTimePercent"]["mean"]) < 99.0)
    );
}

#[test]
fn a_world_in_which_nothing_happens_is_refused() {
    let folder = Folder::new();
    let cron = "        - cron: { size: 5, at: 50m }\n      service";
    let (jobs, rest) = QUIET.split_once("        - constant").unwrap();
    folder.write("none.yaml", &format!("{jobs}{cron}{}", rest.split_once("      service").unwrap().1));
    let message = "no job ever arrives; raise the rates, or simulate a longer time";
    assert_eq!(folder.refused(&["none.yaml"]), message);
    assert_eq!(folder.refused(&["none.yaml", "--vary", "spec.minReplicas=1,2"]), message);
    assert_eq!(folder.refused(&["none.yaml", "--tune", "--vary", "spec.minReplicas=1,2"]), message);
}

#[test]
fn check_leaves_scenarios_alone_and_says_so() {
    let folder = Folder::new();
    folder.write("odd.yaml", &QUIET.replace("perSecond: 1 }", "perSecond: none }"));
    for file in ["quiet.yaml", "odd.yaml"] {
        let said = folder.tidegate(&["check", "-f", "shop.yaml", "-f", file]);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        let warning = format!(
            "warning: {file}:2: kind: a Scenario means nothing here and is left alone; it is for tidegate simulate"
        );
        assert!(said.stderr.lines().any(|line| line == warning), "{}", said.stderr);
        assert!(!said.stderr.contains("error") && !said.stdout.contains("Scenario"), "{}", said.stdout);
    }
}

#[test]
fn flags_that_mean_nothing_together_are_refused() {
    let folder = Folder::new();
    let all = |flags: &[&str]| folder.simulate(&[&["quiet.yaml"], flags].concat()).usage();
    for (flags, part) in [
        (&["--slo", "1s"][..], "--trace <FILE>"),
        (&["--start-up", "1s"], "--trace <FILE>"),
        (&["--service", "1s"], "--trace <FILE>"),
        (&["--column", "arrivals=value"], "--trace <FILE>"),
        (&["--trace", "x.csv", "--replicas", "2"], "--service <DURATION>"),
        (&["--trace", "x.csv", "--scenario", "quiet"], "cannot be used with"),
        (
            &["--trace", "x.csv", "--column", "arrivals"],
            "`arrivals` names no column; write ROLE=NAME, e.g. arrivals=value",
        ),
        (&["--trace", "x.csv", "--column", "arrival=value"], "unknown role `arrival`; write one of time, service"),
        (&["--trace", "x.csv", "--service", "fast"], "--service <DURATION>"),
        (&["--seeds", "0"], "--seeds <N>"),
        (&["--shard", "0/3", "--json", "x.json"], "--vary <PATH=VALUE,...>"),
        (
            &["--shard", "3/3", "--vary", "spec.minReplicas=1", "--json", "x.json"],
            "`3/3` is no shard; write INDEX/COUNT, the first is 0: 0/4, 1/4, 2/4, 3/4",
        ),
        (&["--tune", "--output", "json"], "cannot be used with"),
        (&["--tune", "--shard", "0/3", "--vary", "spec.minReplicas=1", "--json", "x.json"], "cannot be used with"),
    ] {
        let usage = all(flags);
        assert!(usage.contains(part), "{flags:?}: {usage}");
    }
    assert!(!folder.path("x.json").exists());
}

#[test]
fn only_one_autoscaler_is_varied() {
    let folder = Folder::new();
    let other = AUTOSCALER.replace("name: mail,", "name: newer,").replace("mail-worker", "newer-worker");
    folder.write("new.yaml", &other);
    for more in [&["--vary", "spec.minReplicas=1,2"][..], &["--tune"]] {
        let message = folder.refused(&[&["new.yaml", "quiet.yaml"], more].concat());
        has_lines(
            &message,
            &["several QueueAutoscalers, and one is varied; name it in the Scenario: autoscaler: mail"],
        );
    }
}
