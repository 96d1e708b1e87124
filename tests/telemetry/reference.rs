//! The reference is what the binary prints, and the committed copy is that.

use std::collections::BTreeSet;

use serde_json::Value;
use tidegate::telemetry::names;

use crate::support::tidegate::command;

fn printed(arguments: &[&str]) -> String {
    let output = command(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_committed_copy_is_what_the_binary_prints() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/monitoring/metrics.md");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let printed = printed(&["metrics"]);
    let different = printed.lines().zip(committed.lines().chain(std::iter::repeat(""))).find(|(new, old)| new != old);
    assert!(
        printed == committed,
        "deploy/monitoring/metrics.md is not what `tidegate metrics` prints; renew it and read the diff:\n  \
         cargo run -- metrics > deploy/monitoring/metrics.md\nthe first line that differs (new, old): {different:#?}"
    );
}

#[test]
fn every_metric_is_in_both_forms_with_its_labels_and_their_values() {
    let markdown = printed(&["metrics"]);
    let json: Vec<Value> = serde_json::from_str(&printed(&["metrics", "-o", "json"])).unwrap();
    assert_eq!(json.len(), names::ALL.len());
    for (metric, entry) in names::ALL.iter().zip(&json) {
        assert!(markdown.contains(&format!("| `{}` |", metric.name)), "{}", metric.name);
        assert_eq!(entry["name"], metric.name);
        assert_eq!((&entry["help"], &entry["use"]), (&metric.help.into(), &metric.usage.into()));
        let labels: Vec<&str> =
            entry["labels"].as_array().unwrap().iter().map(|l| l["name"].as_str().unwrap()).collect();
        assert_eq!(labels, metric.labels.iter().map(|label| label.name).collect::<Vec<_>>());
    }
    for value in ["`superseded`", "`too_many_clients`", "`ScaleDownStabilized`", "`RESOURCE_EXHAUSTED`", "`manifest`"] {
        assert!(markdown.contains(value), "{value}");
    }
    let headings: BTreeSet<usize> = markdown
        .lines()
        .filter(|line| line.starts_with("| `tidegate_"))
        .map(|line| line.matches(" | ").count())
        .collect();
    assert_eq!(headings, BTreeSet::from([6]), "seven columns in each row");
}
