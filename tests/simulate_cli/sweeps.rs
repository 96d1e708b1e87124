//! Variants: `--vary`, shards of it, and `--tune`.

use serde_json::Value;

use super::rig::{CONNECTION, Folder, QUIET, Said, has_lines, number};

const FLOOR: &str = "spec.minReplicas=1,2,3";
const WINDOW: &str = "spec.behavior.scaleDown.stabilizationWindowSeconds=0,120";
const SWEEP: [&str; 7] = ["quiet.yaml", "--seeds", "1", "--vary", FLOOR, "--vary", WINDOW];

fn values(point: &Value) -> [&str; 2] {
    [point["values"][0].as_str().unwrap(), point["values"][1].as_str().unwrap()]
}

#[test]
fn every_combination_is_tried_and_the_front_is_marked() {
    let folder = Folder::new();
    let table = folder.simulated(&[&SWEEP[..], &["--json", "report.json"]].concat());
    let report = folder.json("report.json");
    let sweep = &report["sweep"];
    let paths: Vec<&str> =
        sweep["fields"].as_array().unwrap().iter().map(|field| field["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["spec.minReplicas", "spec.behavior.scaleDown.stabilizationWindowSeconds"]);
    let points = sweep["points"].as_array().unwrap();
    let tried: Vec<[&str; 2]> = points.iter().map(values).collect();
    assert_eq!(tried, [["1", "0"], ["1", "120"], ["2", "0"], ["2", "120"], ["3", "0"], ["3", "120"]]);

    let figures = |point: &Value| (number(&point["cost"]["mean"]), number(&point["onTimePercent"]["mean"]));
    for point in points {
        let (cost, on_time) = figures(point);
        let beaten = points
            .iter()
            .map(figures)
            .any(|(other, punctual)| other <= cost && punctual >= on_time && (other < cost || punctual > on_time));
        assert_eq!(point["onFront"].as_bool(), Some(!beaten), "{:?}", values(point));
        assert_eq!(point["meetsSlo"].as_bool(), Some(on_time >= 95.0), "{:?}", values(point));
    }
    let front = points.iter().filter(|point| point["onFront"] == true).count();
    assert!((2..6).contains(&front), "cheap ones and punctual ones, and some are neither: {front}");
    let rows: Vec<&str> = table.lines().skip_while(|line| !line.contains("behavior.scaleDown.")).skip(1).collect();
    for (row, point) in rows.iter().zip(points) {
        let mut words = row.split_whitespace().skip(1);
        assert_eq!([words.next().unwrap(), words.next().unwrap()], values(point), "{table}");
        assert_eq!(row.contains("on the front"), point["onFront"] == true, "{table}");
    }
    assert!(rows.len() >= points.len(), "{table}");

    // What is varied is the same as what is written: the manifest's own values come to the manifest's own figures.
    folder.write("narrow.yaml", &folder.read("shop.yaml").replace("WindowSeconds: 60", "WindowSeconds: 120"));
    let written = folder.tidegate(&["simulate", "-f", "narrow.yaml", "quiet.yaml", "--seeds", "1", "-o", "json"]);
    let written: Value = serde_json::from_str(&written.stdout).unwrap();
    let own = written["policies"].as_array().unwrap().iter().find(|policy| policy["name"] == "tidegate").unwrap();
    assert_eq!(own["cost"], points[1]["cost"]);
    assert_eq!(own["onTimePercent"], points[1]["onTimePercent"]);
}

/// The whole, and its three shards.
fn shards(folder: &Folder) {
    let whole = folder.simulated(&[&SWEEP[..], &["--json", "whole.json", "--html", "whole.html"]].concat());
    folder.write("whole.txt", &whole);
    for i in 0..2 {
        let (shard, file) = (format!("{i}/3"), format!("{i}.json"));
        folder.simulated(&[&SWEEP[..], &["--shard", &shard, "--json", &file]].concat());
    }
    // What is printed does as well.
    folder.write("2.json", &folder.simulated(&[&SWEEP[..], &["--shard", "2/3", "-o", "json"]].concat()));
}

fn merge(folder: &Folder, arguments: &[&str]) -> Said {
    folder.tidegate(&[&["simulate", "merge"], arguments].concat())
}

#[test]
fn shards_in_any_order_are_the_same_as_one_process() {
    let folder = Folder::new();
    shards(&folder);
    let parts: Vec<usize> =
        (0..3).map(|i| folder.json(&format!("{i}.json"))["sweep"]["points"].as_array().unwrap().len()).collect();
    assert_eq!(parts, [2, 2, 2]);
    assert_eq!(folder.json("1.json")["shard"], serde_json::json!({ "index": 1, "of": 3 }));
    for order in [["0.json", "1.json", "2.json"], ["2.json", "0.json", "1.json"], ["1.json", "2.json", "0.json"]] {
        let said = merge(&folder, &[&order[..], &["--json", "merged.json", "--html", "merged.html"]].concat());
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
        assert!(folder.read("merged.json") == folder.read("whole.json"), "byte for byte: {order:?}");
        assert!(folder.read("merged.html") == folder.read("whole.html"), "byte for byte: {order:?}");
        assert_eq!(said.stdout, folder.read("whole.txt"));
    }
    let printed = merge(&folder, &["2.json", "1.json", "0.json", "-o", "json"]);
    assert!(printed.stdout == folder.read("whole.json"), "byte for byte");
}

#[test]
fn everything_that_speaks_against_a_merge_is_said_at_once() {
    let folder = Folder::new();
    shards(&folder);
    folder.simulated(&[&SWEEP[..], &["--seed", "2", "--shard", "1/3", "--json", "other.json"]].concat());
    folder.write("hello.txt", "hello\n");
    folder.write("later.json", "{ \"schema\": \"tidegate.dev/simulation/v2\", \"shard\": [0, 3] }");
    let refused = |files: &[&str]| merge(&folder, files).refusal();

    assert_eq!(refused(&["0.json", "1.json"]), "shard 2/3 is missing; run it, or give its file");
    assert_eq!(refused(&["0.json"]), "shard 1/3, 2/3 are missing; run it, or give its file");
    has_lines(&refused(&["0.json", "1.json", "2.json", "1.json"]), &["shard 1/3 is there twice: 1.json, 1.json"]);
    has_lines(
        &refused(&["0.json", "other.json", "2.json"]),
        &["other.json: of another sweep than 0.json; both say what they are in `command`"],
    );
    let torn = "hello.txt: not a report (expected value at line 1 column 1); make one with tidegate simulate --shard \
                INDEX/COUNT --json FILE";
    has_lines(
        &refused(&["0.json", "0.json", "other.json", "whole.json", "hello.txt", "later.json", "nowhere.json"]),
        &[
            "nowhere.json: cannot be read: No such file or directory (os error 2)",
            torn,
            "later.json: schema tidegate.dev/simulation/v2, and this version reads tidegate.dev/simulation/v1",
            "whole.json: no shard; make it with --shard INDEX/COUNT",
            "shard 0/3 is there twice: 0.json, 0.json",
            "shard 2/3 is missing; run it, or give its file",
            "other.json: of another sweep than 0.json; both say what they are in `command`",
        ],
    );
    has_lines(&refused(&["hello.txt"]), &[torn, "no shard to merge"]);
    // A shard of nothing, or of more than there can be, is nobody's work.
    for of in ["0", "18446744073709551615"] {
        folder.write("odd.json", &folder.read("0.json").replace("\"of\": 3", &format!("\"of\": {of}")));
        has_lines(
            &refused(&["odd.json"]),
            &["odd.json: no shard; make it with --shard INDEX/COUNT", "no shard to merge"],
        );
    }
    let usage = merge(&folder, &[]).usage();
    assert!(usage.contains("<FILE>"), "{usage}");
}

#[test]
fn what_was_tuned_can_be_applied() {
    let folder = Folder::new();
    let said = folder.simulate(&[
        "quiet.yaml",
        "--tune",
        "--vary",
        "spec.minReplicas=1,2,3,4",
        "--vary",
        WINDOW,
        "--json",
        "report.json",
    ]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let report = folder.json("report.json");

    // The cheapest of those that meet the objective.
    let points = report["sweep"]["points"].as_array().unwrap();
    assert_eq!(points.len(), 8, "few enough to try all of them with all seeds");
    let cost = |point: &Value| number(&point["cost"]["mean"]);
    let meeting = points.iter().filter(|point| point["meetsSlo"] == true);
    let best = meeting.min_by(|one, other| cost(one).total_cmp(&cost(other))).unwrap();
    assert_ne!(values(best)[0], "1", "the floor that is written does not do, so there was something to find");

    let documents: Vec<Value> = serde_saphyr::from_multiple(&said.stdout).unwrap();
    let [autoscaler, scaled_object] = &documents[..] else { panic!("{}", said.stdout) };
    assert_eq!((&autoscaler["kind"], &autoscaler["metadata"]["name"]), (&"QueueAutoscaler".into(), &"mail".into()));
    let spec = &autoscaler["spec"];
    let found = [&spec["minReplicas"], &spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"]];
    assert_eq!(found.map(ToString::to_string), values(best), "{}", said.stdout);
    assert_eq!(spec["triggers"][0]["policy"]["backlogPerReplica"]["target"], 10, "the rest is as it was written");

    assert_eq!(scaled_object["kind"], "ScaledObject");
    assert_eq!(scaled_object["metadata"], serde_json::json!({ "name": "mail", "namespace": "shop" }));
    let wanted = &scaled_object["spec"];
    assert_eq!(
        wanted["scaleTargetRef"],
        serde_json::json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "mail-worker" })
    );
    assert_eq!((&wanted["minReplicaCount"], &wanted["maxReplicaCount"]), (&spec["minReplicas"], &spec["maxReplicas"]));
    assert_eq!(wanted["triggers"][0]["type"], "external-push");
    assert_eq!(wanted["triggers"][0]["metadata"]["autoscaler"], "mail");

    // What to expect, for people, in comments.
    let comments: Vec<&str> = said.stdout.lines().take_while(|line| line.starts_with('#')).collect();
    let comments = comments.join("\n");
    let percent = number(&best["onTimePercent"]["mean"]);
    let dear = number(&best["costOverWork"]["mean"]);
    for part in [
        "# Found by: tidegate simulate --file shop.yaml --file quiet.yaml --seed 1 --vary spec.minReplicas=1,2,3,4"
            .to_owned(),
        "--tune\n".to_owned(),
        format!("# Expected in Scenario quiet (2 seeds, 95 % intervals): {percent:.2} ("),
        "% started within 5s (objective 95 %)".to_owned(),
        format!("# cost {dear:.2} ("),
    ] {
        assert!(comments.contains(&part), "{part}\n{comments}");
    }
    assert!(!comments.contains("MISSED"), "{comments}");
    assert!(report["command"].as_str().unwrap().ends_with(" --tune"), "{}", report["command"]);

    // The table stands beside it.
    assert!(said.stderr.contains("KEDA + HPA, tuned") && said.stderr.contains("on the front"), "{}", said.stderr);

    // Both go where they belong: `check` takes it with its Connection, and `simulate` comes to the same figures.
    folder.write("tuned.yaml", &format!("{CONNECTION}---\n{}", said.stdout));
    let checked = folder.tidegate(&["check", "-f", "tuned.yaml"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(checked.stdout.contains(&format!("minReplicas: {}", values(best)[0])), "{}", checked.stdout);
    let again = folder.tidegate(&["simulate", "-f", "tuned.yaml", "-f", "quiet.yaml", "-o", "json"]);
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    let own = again["policies"].as_array().unwrap().iter().find(|policy| policy["name"] == "tidegate").unwrap();
    assert_eq!(own["cost"], best["cost"]);
    assert_eq!(own["onTimePercent"], best["onTimePercent"]);
}

#[test]
fn where_nothing_meets_the_objective_tuning_says_so() {
    let folder = Folder::new();
    folder.write("hard.yaml", &QUIET.replace("wait: 5s, percent: 95", "wait: 1ms, percent: 100").replace("20m", "10m"));
    let said = folder.simulate(&["hard.yaml", "--seeds", "1", "--tune", "--vary", "spec.minReplicas=1,2"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.contains("(objective 100 %, MISSED: nothing that was tried meets it)"), "{}", said.stdout);
    assert!(said.stdout.contains("\n  minReplicas: 2\n"), "the most punctual of them: {}", said.stdout);
}

#[test]
fn without_fields_the_usual_ones_are_tuned() {
    let folder = Folder::new();
    folder.write("short.yaml", &QUIET.replace("20m", "5m").replace("at: 8m", "at: 2m"));
    let said = folder.simulate(&["short.yaml", "--seeds", "1", "--tune", "--json", "report.json"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let fields = folder.json("report.json")["sweep"]["fields"].clone();
    let paths: Vec<&str> = fields.as_array().unwrap().iter().map(|field| field["path"].as_str().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "spec.triggers[0].policy.backlogPerReplica.target",
            "spec.behavior.scaleDown.stabilizationWindowSeconds",
            "spec.minReplicas"
        ]
    );
    assert!(said.stdout.contains("kind: QueueAutoscaler") && said.stdout.contains("kind: ScaledObject"));
}
