//! Conventions that every metric keeps to, and closed sets that are those of the code.

use std::collections::BTreeSet;

use super::*;

#[test]
fn names_keep_to_the_conventions() {
    let mut seen = BTreeSet::new();
    for Metric { name, kind, unit, .. } in ALL {
        assert!(name.starts_with("tidegate_"), "{name}");
        assert!(snake_case(name), "{name}");
        assert!(seen.insert(name), "{name} is there twice");
        assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}: counters, and no others, end so");
        let stem = name.strip_suffix("_total").unwrap_or(name);
        for of in [Unit::Seconds, Unit::Bytes] {
            assert_eq!(*unit == of, stem.ends_with(of.suffix()), "{name}: its unit, and no other, ends it");
        }
        for scaled in ["milliseconds", "minutes", "kilobytes", "percent", "millis"] {
            assert!(!name.contains(scaled), "{name} is not in a base unit");
        }
        if name.contains("timestamp") {
            assert!(*kind == Kind::Gauge && name.ends_with("_timestamp_seconds"), "{name}");
        }
        for reserved in ["_sum", "_count", "_bucket", "_info"] {
            assert!(!name.ends_with(reserved) || *name == BUILD_INFO, "{name}: {reserved} means something else");
        }
    }
}

#[test]
fn every_metric_says_what_it_is_and_what_for() {
    for Metric { name, help, usage, .. } in ALL {
        for (what, text) in [("help", help), ("use", usage)] {
            let advice = "write NAME = \"name\", Kind of Unit by [LABELS]: \"What it says.\", \"Its use.\";";
            assert!(!text.is_empty(), "{name} has no {what}; {advice}");
            assert!(text.ends_with('.'), "the {what} of {name} ends without a full stop: {text}");
            assert!(text.chars().next().is_some_and(|c| c.is_uppercase() || c.is_numeric()), "{name}: {text}");
            assert!(!text.contains("Labels:"), "labels of {name} are data: {advice}");
            // In a Markdown table, and in a HELP line.
            assert!(!text.contains(['|', '\n', '\\']), "{name}: {text}");
        }
    }
}

#[test]
fn labels_are_bounded_sets() {
    for Metric { name, labels, kind, .. } in ALL {
        let mut seen = BTreeSet::new();
        for label in *labels {
            assert!(snake_case(label.name), "{name}: {}", label.name);
            assert!(seen.insert(label.name), "{name} has {} twice", label.name);
            let reserved = *kind == Kind::Histogram && label.name == "le";
            assert!(!reserved && !name.contains(&format!("_by_{}", label.name)), "{name}: {}", label.name);
            match label.closed_values() {
                Some(values) => {
                    let distinct: BTreeSet<_> = values.iter().collect();
                    assert!(!values.is_empty() && distinct.len() == values.len(), "{name}: {values:?}");
                    assert!(values.len() <= 40, "{name}: {} values of {} are too many", values.len(), label.name);
                }
                // Whoever adds another argues here what bounds it.
                None => assert!(
                    ["connection", "namespace", "autoscaler", "trigger", "version"].contains(&label.name),
                    "{name}: what bounds {}?",
                    label.name
                ),
            }
        }
    }
}

#[test]
fn closed_sets_are_those_of_the_code() {
    use crate::model::{FailureKind, ReadFailure, Reason};
    use crate::target::ScaleError;

    // By its discriminant, because the compiler does not count variants.
    for (position, reason) in Reason::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, position, "{reason:?}");
    }
    let id = crate::model::AutoscalerId::new("a", "b");
    let own = [
        ScaleError::Conflict { expected: 1, found: 2 },
        ScaleError::Unknown(id),
        ScaleError::OutOfRange(-1),
        ScaleError::Forbidden("".into()),
        ScaleError::Invalid("".into()),
        ScaleError::Throttled { retry_after: std::time::Duration::ZERO },
        ScaleError::NotLeading,
        ScaleError::Owned("".into()),
    ];
    let failed = FailureKind::ALL.map(|kind| ScaleError::Failed(ReadFailure::new(kind, "")));
    let labels: Vec<_> =
        ["ok", "superseded"].into_iter().chain(own.iter().chain(&failed).map(ScaleError::label)).collect();
    assert_eq!(SCALE_OUTCOME.closed_values(), Some(labels));
}

#[test]
fn what_grows_with_autoscalers_can_be_turned_down() {
    for Metric { name, labels, .. } in ALL {
        let of_each = labels.iter().any(|label| label.name == "autoscaler");
        assert_eq!(
            of_each,
            OF_AUTOSCALERS.contains(name),
            "{name}: a series for each autoscaler belongs to that detail"
        );
    }
    for name in OF_NAMESPACES {
        let labels: Vec<_> = describe(name).unwrap().labels.iter().map(|label| label.name).collect();
        assert_eq!(labels, ["namespace"], "{name}");
    }
}

fn snake_case(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !text.contains("__")
        && !text.ends_with('_')
}
