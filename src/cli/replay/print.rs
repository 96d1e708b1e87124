//! What a replay has found, for people and for programs.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Output, Threshold};
use crate::model::{AutoscalerId, Decision, Health, Steps};
use crate::record::{Changed, Changes, Difference, Ending, Found, Part};

pub(super) struct Findings<'a> {
    pub(super) parts: &'a [Part],
    pub(super) found: &'a Found,
    pub(super) changes: Option<&'a Changes>,
    pub(super) limit: Option<Threshold>,
}

impl Findings<'_> {
    pub(super) fn is_good(&self) -> bool {
        self.found.is_identical() && self.beyond().is_empty() && !self.judges_nobody()
    }

    /// A threshold that nobody was held against must not look like one that was kept: a misspelt namespace, say.
    fn judges_nobody(&self) -> bool {
        self.limit.is_some() && self.changes.is_some_and(|changes| changes.changed().is_empty())
    }

    /// Autoscalers that changed more than they may.
    fn beyond(&self) -> Vec<&AutoscalerId> {
        let Some((changes, limit)) = self.changes.zip(self.limit) else { return Vec::new() };
        changes.changed().iter().filter(|(_, changed)| limit.is_exceeded_by(changed)).map(|(id, _)| id).collect()
    }
}

pub(super) fn print(findings: &Findings<'_>, output: Output) -> io::Result<()> {
    let text = match output {
        Output::Text => text(findings),
        Output::Json => format!("{:#}\n", to_json(findings)),
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        // `replay | head`: who has seen enough has heard the verdict from the exit code.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writing to a `String` cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => { let _ = writeln!($out, $($arg)*); };
}

fn text(findings: &Findings<'_>) -> String {
    let mut out = String::new();
    let Findings { parts, found, changes, limit } = findings;
    for part in *parts {
        let Part { path, header, from, to, events, decisions, bytes, ending, continues } = part;
        let follows = if *continues { ", goes on where the one before ended" } else { "" };
        line!(out, "{} (tidegate {}{follows})", path.display(), header.release);
        line!(out, "  {} to {}, {events} events, {decisions} decisions, {bytes} bytes", time(*from), time(*to));
        line!(out, "  {}", ended(ending));
    }
    let Found { autoscalers, events, samples, decisions, identical, .. } = found;
    line!(out, "{} autoscalers, {events} events ({samples} samples), {decisions} decisions", autoscalers.len());
    if found.is_identical() {
        line!(out, "identical: all {decisions}");
    } else {
        line!(out, "identical: {identical} of {decisions}");
        if found.exact < found.snapshots {
            let others = found.snapshots - found.exact;
            line!(out, "{others} of {} states at the beginning of a segment are others", found.snapshots);
        }
        if let Some(difference) = &found.first_difference {
            first_difference(&mut out, difference);
        }
    }
    let Some(changes) = changes else { return out };
    line!(out, "");
    line!(out, "Under the manifests of -f (the world did not react to the changed decisions):");
    for id in changes.not_recorded() {
        line!(out, "{id} is not in the recording");
    }
    for (id, changed) in changes.changed() {
        one_changed(&mut out, id, changed);
    }
    if findings.judges_nobody() {
        line!(
            out,
            "none of these manifests is in the recording: compare their namespaces and names with what was recorded"
        );
    } else if let Some(limit) = limit {
        let beyond = findings.beyond();
        let verdict = if beyond.is_empty() { "no autoscaler changed" } else { "changed" };
        let who: Vec<String> = beyond.iter().map(ToString::to_string).collect();
        line!(out, "{verdict} by more than {limit}{}{}", if who.is_empty() { "" } else { ": " }, who.join(", "));
    }
    out
}

fn ended(ending: &Ending) -> String {
    match ending {
        Ending::Complete => "complete".to_owned(),
        Ending::Stopped(reason) => format!("recording stopped here, and the process went on: {reason}"),
        Ending::Open => "ends without a word, at a whole record: the process was killed, or still records".to_owned(),
        Ending::Torn { left_out } => {
            format!("ends in the middle of a record, of which {left_out} bytes are left out: the process was killed")
        }
    }
}

fn first_difference(out: &mut String, difference: &Difference) {
    let Difference { path, at, id, recorded, replayed } = difference;
    let who = id.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string);
    line!(out, "the first difference is at {} in {}, of {who}:", time(*at), path.display());
    match recorded {
        Some(said) => {
            line!(out, "  recorded: {} -> {} ({})", said.current, said.desired, said.reason.as_str());
            steps(out, &said.steps);
        }
        None => {
            line!(out, "  recorded: no decision here, or another state than the replay's");
        }
    }
    match replayed {
        Some(decision) => replayed_as(out, "replayed", decision),
        None => {
            line!(out, "  replayed: no decision");
        }
    }
    let alike = recorded.as_ref().zip(replayed.as_ref()).is_some_and(|(said, new)| **said == new.into());
    if alike {
        line!(out, "  both say the same: what they differ in is the time, the round or what the triggers reported");
    }
}

fn replayed_as(out: &mut String, how: &str, decision: &Decision) {
    let Decision { current, desired, reason, .. } = decision;
    line!(out, "  {how}: {current} -> {desired} ({})", reason.as_str());
    steps(out, &decision.steps);
    for (at, trigger) in decision.triggers.iter().enumerate() {
        let value = trigger.value.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
        let wants = trigger.wants.map_or_else(|| "nothing".to_owned(), |wants| wants.to_string());
        let (health, reason) = (trigger.health.as_str(), trigger.reason.as_str());
        line!(out, "    trigger {at}: {value} read, {health}; wants {wants} ({reason})");
        if let (Some(failure), true) = (&trigger.failure, trigger.health != Health::Fresh) {
            line!(out, "      {failure}");
        }
    }
}

fn steps(out: &mut String, steps: &Steps) {
    for step in steps.iter() {
        let (stage, reason) = (step.stage.as_str(), step.reason.as_str());
        line!(out, "    {stage:<13} {:>4} -> {:<4} {reason}", step.before, step.after);
    }
}

fn one_changed(out: &mut String, id: &AutoscalerId, changed: &Changed) {
    let Changed { decisions, differing, first, notes, .. } = changed;
    line!(out, "{id}: {differing} of {decisions} decisions want another number ({:.2}%)", changed.share() * 100.0);
    let range =
        |range: Option<(i32, i32)>| range.map_or_else(|| "none".to_owned(), |(low, high)| format!("{low}..{high}"));
    let (before, after) = (changed.recorded_replica_seconds, changed.changed_replica_seconds);
    line!(out, "  replica-seconds wanted: {before:.0} recorded, {after:.0} changed");
    line!(
        out,
        "  lowest..highest wanted: {} recorded, {} changed",
        range(changed.recorded_range),
        range(changed.changed_range)
    );
    for note in notes {
        line!(out, "  note: {note}");
    }
    if let Some(first) = first {
        line!(out, "  first at {}:", time(first.at));
        let said = &first.recorded;
        line!(out, "  recorded: {} -> {} ({})", said.current, said.desired, said.reason.as_str());
        steps(out, &said.steps);
        replayed_as(out, "changed", &first.changed);
    }
}

fn time(since_epoch: Duration) -> String {
    jiff::Timestamp::try_from(UNIX_EPOCH + since_epoch).map(|time| format!("{time:.3}")).unwrap_or_default()
}

// === JSON ===

fn to_json(findings: &Findings<'_>) -> Value {
    let Findings { parts, found, changes, limit } = findings;
    let Found { autoscalers, events, samples, decisions, identical, snapshots, exact, first_difference } = found;
    let parts: Vec<Value> = parts.iter().map(part).collect();
    let mut out = json!({
        "recordings": parts,
        "autoscalers": autoscalers.len(),
        "events": events,
        "samples": samples,
        "decisions": decisions,
        "identical": identical,
        "states": snapshots,
        "identicalStates": exact,
        "allIdentical": found.is_identical(),
        "firstDifference": first_difference.as_ref().map(|difference| json!({
            "recording": difference.path.display().to_string(),
            "at": time(difference.at),
            "autoscaler": difference.id.as_ref().map(ToString::to_string),
            "recorded": difference.recorded.as_ref().map(|said| {
                decided(said.current, said.desired, said.reason.as_str(), &said.steps)
            }),
            "replayed": difference.replayed.as_ref().map(|d| decided(d.current, d.desired, d.reason.as_str(), &d.steps)),
        })),
    });
    if let (Some(changes), Some(out)) = (changes, out.as_object_mut()) {
        let changed = changes.changed().iter().map(|(id, changed)| (id.to_string(), changed_json(changed)));
        out.insert("changed".to_owned(), Value::Object(changed.collect()));
        let missing: Vec<String> = changes.not_recorded().iter().map(ToString::to_string).collect();
        out.insert("notRecorded".to_owned(), json!(missing));
        if limit.is_some() {
            let beyond: Vec<String> = findings.beyond().iter().map(ToString::to_string).collect();
            out.insert("changedTooMuch".to_owned(), json!(beyond));
        }
    }
    out
}

fn part(part: &Part) -> Value {
    let (ending, more) = match &part.ending {
        Ending::Complete => ("complete", Value::Null),
        Ending::Stopped(reason) => ("stopped", json!(reason)),
        Ending::Open => ("open", Value::Null),
        Ending::Torn { left_out } => ("torn", json!(left_out)),
    };
    json!({
        "path": part.path.display().to_string(),
        "release": part.header.release,
        "from": time(part.from),
        "to": time(part.to),
        "events": part.events,
        "decisions": part.decisions,
        "bytes": part.bytes,
        "continues": part.continues,
        "ending": ending,
        "endingDetail": more,
    })
}

fn changed_json(changed: &Changed) -> Value {
    json!({
        "decisions": changed.decisions,
        "differing": changed.differing,
        "share": changed.share(),
        "replicaSeconds": { "recorded": changed.recorded_replica_seconds, "changed": changed.changed_replica_seconds },
        "range": { "recorded": changed.recorded_range, "changed": changed.changed_range },
        "notes": changed.notes,
        "first": changed.first.as_ref().map(|first| {
            let (said, new) = (&first.recorded, &first.changed);
            json!({
                "at": time(first.at),
                "recorded": decided(said.current, said.desired, said.reason.as_str(), &said.steps),
                "changed": decided(new.current, new.desired, new.reason.as_str(), &new.steps),
            })
        }),
    })
}

fn decided(current: i32, desired: i32, reason: &str, steps: &Steps) -> Value {
    let steps = steps.iter().map(|step| {
        let (stage, reason) = (step.stage.as_str(), step.reason.as_str());
        json!({ "stage": stage, "before": step.before, "after": step.after, "reason": reason })
    });
    json!({ "current": current, "desired": desired, "reason": reason, "steps": steps.collect::<Vec<_>>() })
}
