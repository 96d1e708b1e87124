//! Names, and the annotations that pause or force an autoscaler.

use crate::spec::Pause;
use crate::spec::manifest::GROUP;
use crate::spec::report::{Report, closest};

/// What the annotations say.
#[derive(Clone, Copy, Default)]
pub(crate) struct Annotations {
    pub(super) pause: Pause,
    pub(super) force_activation: bool,
}

const KNOWN: [&str; 5] = ["paused", "paused-replicas", "paused-scale-in", "paused-scale-out", "force-activation"];

/// Reads the annotations that are ours; everybody else's are left alone.
pub(crate) fn annotations<'m>(
    written: impl IntoIterator<Item = (&'m str, &'m str)>,
    report: &mut Report<'_>,
) -> Annotations {
    let mut read = Annotations::default();
    for (key, value) in written {
        let Some(name) = key.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix('/')) else { continue };
        let path = format!("metadata.annotations[{key}]");
        match name {
            "paused" => read.pause.frozen = means_true(value),
            "paused-scale-in" => read.pause.scale_in = means_true(value),
            "paused-scale-out" => read.pause.scale_out = means_true(value),
            "force-activation" => read.force_activation = means_true(value),
            "paused-replicas" => match value.trim().parse::<i32>() {
                Ok(replicas) if replicas >= 0 => read.pause.at_replicas = Some(replicas),
                _ => {
                    let message = format!("`{value}` is not a number of replicas");
                    report.problem(&path, message, "write a whole number in quotes, such as \"3\"");
                }
            },
            _ => {
                let cure = match closest(name, KNOWN) {
                    Some(meant) => format!("did you mean `{GROUP}/{meant}`?"),
                    None => format!("known: {}", KNOWN.map(|known| format!("{GROUP}/{known}")).join(", ")),
                };
                report.problem(&path, "unknown annotation", cure);
            }
        }
    }
    read
}

/// KEDA's habit: what Go's ParseBool takes for false is false, and everything else is true.
fn means_true(value: &str) -> bool {
    !matches!(value.trim(), "0" | "f" | "F" | "false" | "FALSE" | "False")
}

/// Reports a name that Kubernetes would refuse.
pub(crate) fn check_name(name: &str, path: &str, report: &mut Report<'_>) {
    let fine = name.len() <= 253 && name.split('.').all(is_label);
    if !fine {
        let message = format!("`{name}` is not a name that Kubernetes takes");
        report.problem(path, message, "use lower-case letters, digits and `-`, e.g. celery-high");
    }
}

/// Reports a namespace that Kubernetes would refuse.
pub(crate) fn check_namespace(namespace: &str, path: &str, report: &mut Report<'_>) {
    if !(is_label(namespace) && namespace.len() <= 63) {
        let message = format!("`{namespace}` is not a namespace that Kubernetes takes");
        report.problem(path, message, "use lower-case letters, digits and `-`, at most 63");
    }
}

fn is_label(label: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    label.starts_with(plain) && label.ends_with(plain) && label.chars().all(|c| plain(c) || c == '-')
}
