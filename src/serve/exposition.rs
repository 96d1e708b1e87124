//! The gauges of autoscalers and of namespaces, written from the board at the moment of a scrape, a
//! [piece](super::pieces) at a time.
//!
//! Not through the recorder: ten thousand autoscalers deciding four times a second would set gauges a hundred
//! thousand times a second for a scrape every fifteen, and a gauge of an autoscaler that is gone would have to be
//! taken back.
//!
//! One family after another, as the format wants it. Between pieces only the name of the last autoscaler is held, and
//! the board is looked at anew, so that a scraper that takes its time keeps no old decisions alive.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Bound;
use std::sync::Arc;

use super::pieces::{PIECE, room};
use crate::board::{Board, Published};
use crate::clock::Clock;
use crate::model::{AutoscalerId, Tick, TriggerReport};
use crate::telemetry::names::{self, Detail};

/// The pieces of one scrape. Writing to memory cannot fail; a piece that did would end the scrape.
pub(super) fn pieces(detail: Detail, board: Arc<Board>, clock: Clock) -> Box<dyn Iterator<Item = Vec<u8>> + Send> {
    let tenants = tenants(&board).ok().into_iter();
    match detail {
        Detail::Autoscaler => Box::new(tenants.chain(Autoscalers { board, clock, family: 0, after: None })),
        Detail::Namespace => {
            Box::new(tenants.chain(Namespaces { sums: sums(&board, clock.now()), family: 0, after: None }))
        }
        Detail::Process => Box::new(tenants),
    }
}

/// Demand and allowance of every namespace that is held back, at any detail: who is held back is to be told. The others'
/// would only be noise.
fn tenants(board: &Board) -> io::Result<Vec<u8>> {
    let shares = board.shares().load();
    let mut out = Vec::new();
    let held_back = shares.iter().any(|(_, share)| share.is_held_back());
    for name in [names::POLL_DEMAND, names::POLL_ALLOWED].into_iter().filter(|_| held_back) {
        heading(&mut out, name)?;
        for (namespace, share) in shares.iter().filter(|(_, share)| share.is_held_back()) {
            let value = if name == names::POLL_DEMAND { share.demand } else { share.allowed };
            Line { out: &mut out, name, namespace, autoscaler: None }.write(&[], value)?;
        }
    }
    Ok(out)
}

fn heading(out: &mut Vec<u8>, name: &str) -> io::Result<()> {
    match names::describe(name) {
        Some(metric) => writeln!(out, "# HELP {name} {}\n# TYPE {name} {}", metric.help, metric.kind.as_str()),
        None => Ok(()),
    }
}

// === by autoscaler ===

/// Writes one autoscaler's lines of one family.
type Lines = fn(&mut Line<'_>, &Published, Tick) -> io::Result<()>;

const OF_AUTOSCALERS: [(&str, Lines); 14] = [
    (names::BACKLOG, |line, published, _| each_trigger(line, published, |report| report.value)),
    (names::DUE, |line, published, _| each_trigger(line, published, |report| report.facts.due.get())),
    (names::IN_FLIGHT, |line, published, _| each_trigger(line, published, |report| report.facts.in_flight.get())),
    (names::OLDEST_ITEM_AGE, |line, published, _| {
        each_trigger(line, published, |report| report.facts.oldest_age.get())
    }),
    (names::PARTITIONS, |line, published, _| each_trigger(line, published, |report| report.facts.partitions.get())),
    (names::UNOWNED, |line, published, _| each_trigger(line, published, |report| report.facts.unowned.get())),
    (names::REBALANCING, |line, published, _| {
        // Who tells of owners tells of this.
        let told = |report: &TriggerReport| report.facts.unowned.get().map(|_| f64::from(report.facts.rebalancing));
        each_trigger(line, published, told)
    }),
    (names::SAMPLE_AGE, |line, published, now| each_trigger(line, published, |report| age(report, now))),
    (names::TRIGGER_FAILING, |line, published, _| {
        triggers(published).try_for_each(|(name, report)| match &report.failure {
            Some(failure) => line.write(&[("trigger", name), ("kind", failure.kind.as_str())], 1.0),
            None => Ok(()),
        })
    }),
    (names::CURRENT_REPLICAS, |line, published, _| match &published.decision {
        Some(decision) if decision.current_known => line.write(&[], f64::from(decision.current)),
        _ => Ok(()),
    }),
    (names::DESIRED_REPLICAS, |line, published, _| match &published.decision {
        Some(decision) => line.write(&[], f64::from(decision.desired)),
        None => Ok(()),
    }),
    (names::MIN_REPLICAS, |line, published, _| line.write(&[], f64::from(published.spec.bounds.min))),
    (names::MAX_REPLICAS, |line, published, _| line.write(&[], f64::from(published.spec.bounds.max))),
    (names::ACTIVE, |line, published, _| match &published.decision {
        Some(decision) => line.write(&[], f64::from(u8::from(decision.active))),
        None => Ok(()),
    }),
];

struct Autoscalers {
    board: Arc<Board>,
    clock: Clock,
    /// Position in [`OF_AUTOSCALERS`], and the last that was written of it.
    family: usize,
    after: Option<AutoscalerId>,
}

impl Autoscalers {
    fn write(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let now = self.clock.now();
        let cells = self.board.all();
        while let Some((name, lines)) = OF_AUTOSCALERS.get(self.family) {
            let from = match &self.after {
                Some(last) => Bound::Excluded(last),
                None => Bound::Unbounded,
            };
            if self.after.is_none() {
                heading(out, name)?;
            }
            for (id, cell) in cells.range::<AutoscalerId, _>((from, Bound::Unbounded)) {
                let mut line = Line { out, name, namespace: &id.namespace, autoscaler: Some(&id.name) };
                cell.peek(|published| lines(&mut line, published, now))?;
                if out.len() >= PIECE {
                    self.after = Some(id.clone());
                    return Ok(());
                }
            }
            self.family += 1;
            self.after = None;
        }
        Ok(())
    }
}

impl Iterator for Autoscalers {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut out = room();
        self.write(&mut out).ok()?;
        (!out.is_empty()).then_some(out)
    }
}

fn triggers(published: &Published) -> impl Iterator<Item = (&str, &TriggerReport)> {
    let reports = published.decision.iter().flat_map(|decision| &decision.triggers);
    published.spec.triggers.iter().map(|trigger| &*trigger.name).zip(reports)
}

fn each_trigger(
    line: &mut Line<'_>,
    published: &Published,
    value: impl Fn(&TriggerReport) -> Option<f64>,
) -> io::Result<()> {
    triggers(published).try_for_each(|(name, report)| match value(report) {
        Some(value) => line.write(&[("trigger", name)], value),
        None => Ok(()),
    })
}

fn age(report: &TriggerReport, now: Tick) -> Option<f64> {
    report.taken.map(|taken| now.since(taken).as_secs_f64())
}

// === by namespace ===

/// What the autoscalers of one namespace add up to.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Sums {
    autoscalers: f64,
    backlog: f64,
    current: f64,
    desired: f64,
    active: f64,
    failing: f64,
    oldest: Option<f64>,
}

/// Picks the value of one family.
type Sum = fn(&Sums) -> Option<f64>;

const OF_NAMESPACES: [(&str, Sum); 7] = [
    (names::NAMESPACE_AUTOSCALERS, |sums| Some(sums.autoscalers)),
    (names::NAMESPACE_BACKLOG, |sums| Some(sums.backlog)),
    (names::NAMESPACE_CURRENT_REPLICAS, |sums| Some(sums.current)),
    (names::NAMESPACE_DESIRED_REPLICAS, |sums| Some(sums.desired)),
    (names::NAMESPACE_ACTIVE, |sums| Some(sums.active)),
    (names::NAMESPACE_FAILING, |sums| Some(sums.failing)),
    (names::NAMESPACE_SAMPLE_AGE, |sums| sums.oldest),
];

/// One walk over the board: some ten bytes of sums for each autoscaler at most, and a millisecond for ten thousand.
fn sums(board: &Board, now: Tick) -> BTreeMap<Arc<str>, Sums> {
    let mut namespaces: BTreeMap<Arc<str>, Sums> = BTreeMap::new();
    for (id, cell) in board.all().iter() {
        let sums = namespaces.entry(Arc::clone(&id.namespace)).or_default();
        sums.autoscalers += 1.0;
        cell.peek(|published| {
            let Some(decision) = &published.decision else { return };
            if decision.current_known {
                sums.current += f64::from(decision.current);
            }
            sums.desired += f64::from(decision.desired);
            sums.active += f64::from(u8::from(decision.active));
            for report in &decision.triggers {
                sums.backlog += report.value.unwrap_or(0.0);
                sums.failing += f64::from(u8::from(report.failure.is_some()));
                sums.oldest = sums.oldest.into_iter().chain(age(report, now)).reduce(f64::max);
            }
        });
    }
    namespaces
}

struct Namespaces {
    sums: BTreeMap<Arc<str>, Sums>,
    /// Position in [`OF_NAMESPACES`], and the last that was written of it.
    family: usize,
    after: Option<Arc<str>>,
}

impl Namespaces {
    fn write(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        while let Some((name, value)) = OF_NAMESPACES.get(self.family) {
            let from = match &self.after {
                Some(last) => Bound::Excluded(&**last),
                None => Bound::Unbounded,
            };
            if self.after.is_none() {
                heading(out, name)?;
            }
            for (namespace, sums) in self.sums.range::<str, _>((from, Bound::Unbounded)) {
                if let Some(value) = value(sums) {
                    Line { out, name, namespace, autoscaler: None }.write(&[], value)?;
                }
                if out.len() >= PIECE {
                    self.after = Some(Arc::clone(namespace));
                    return Ok(());
                }
            }
            self.family += 1;
            self.after = None;
        }
        Ok(())
    }
}

impl Iterator for Namespaces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut out = room();
        self.write(&mut out).ok()?;
        (!out.is_empty()).then_some(out)
    }
}

// === the format ===

/// One sample about one autoscaler, or one namespace.
struct Line<'a> {
    out: &'a mut Vec<u8>,
    name: &'a str,
    namespace: &'a str,
    autoscaler: Option<&'a str>,
}

impl Line<'_> {
    fn write(&mut self, more: &[(&str, &str)], value: f64) -> io::Result<()> {
        let out = &mut *self.out;
        write!(out, "{}{{namespace=\"", self.name)?;
        escaped(out, self.namespace);
        let autoscaler = self.autoscaler.map(|name| ("autoscaler", name));
        for (key, text) in autoscaler.iter().chain(more) {
            write!(out, "\",{key}=\"")?;
            escaped(out, text);
        }
        writeln!(out, "\"}} {value}")
    }
}

/// A label's value, as the format wants it.
fn escaped(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\n' => out.extend_from_slice(b"\\n"),
            byte => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_the_reference_says() {
        assert_eq!(OF_AUTOSCALERS.map(|(name, _)| name), names::OF_AUTOSCALERS);
        assert_eq!(OF_NAMESPACES.map(|(name, _)| name), names::OF_NAMESPACES);
    }
}
