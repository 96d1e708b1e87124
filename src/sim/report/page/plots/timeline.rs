//! A run, moment by moment: what came, what it did to the queue, and what the policy made of it.

use std::fmt::Write as _;

use plotters::series::{AreaSeries, LineSeries};
use plotters::style::Color;

use super::super::axis::Axis;
use super::super::ink::Ink;
use super::super::model::{Action, Report, Step, Timeline};
use super::super::text::{cut, escape, plural, seconds, short};
use super::{Anchor, Chart, Drawn, Paper, Room, WHOLE, inside, picture, px};

/// Rows of all runs together: more make the page heavy and no picture better.
const ROWS: usize = 8000;
/// Bytes of all runs: what pictures and rows leave of them is for the marks of changes, but these have some anyway.
const BYTES: usize = 760_000;
const LEAST_MARKS: usize = 100_000;
/// And that much is enough for one picture.
const MOST_MARKS: usize = 40_000;

/// Upper edges and heights of the panels.
const ARRIVALS: (i32, i32) = (0, 88);
const WAITING: (i32, i32) = (98, 98);
const OLDEST: (i32, i32) = (206, 112);
const REPLICAS: (i32, i32) = (328, 222);
const HEIGHT: i32 = 550;
const LEFT: i32 = 58;
const RIGHT: i32 = 14;
/// Within the replicas' panel, above what is drawn there.
const STRIP: i32 = 14;

/// The pictures of a run.
pub(in super::super) struct Run {
    pub(in super::super) whole: String,
    /// When the worst of it was, and that nearer.
    pub(in super::super) worst: Option<(f64, f64, String)>,
    /// The rows for the pointer, as JSON.
    pub(in super::super) rows: String,
}

/// A moment, and the time that it stands for.
#[derive(Clone, Copy)]
struct Row {
    since: f64,
    at: f64,
    until: f64,
    rate: f64,
    waiting: f64,
    oldest: f64,
    wanted: Option<f64>,
    asked: f64,
    ready: f64,
    busy: f64,
}

#[expect(clippy::cast_precision_loss, reason = "jobs of some seconds")]
fn rows(timeline: &Timeline, most: usize) -> Vec<Row> {
    let gauges = timeline.wanted.iter().zip(&timeline.asked).zip(timeline.ready.iter().zip(&timeline.busy));
    let queue = timeline.arrived.iter().zip(&timeline.waiting).zip(&timeline.oldest);
    let mut all: Vec<(Row, f64)> = Vec::new();
    for ((at, ((arrived, waiting), oldest)), ((wanted, asked), (ready, busy))) in
        timeline.at.iter().zip(queue).zip(gauges)
    {
        if ![at, oldest, busy].into_iter().all(|value| value.is_finite()) {
            continue;
        }
        let row = Row {
            since: 0.0,
            at: *at,
            until: *at,
            rate: 0.0,
            waiting: *waiting as f64,
            oldest: *oldest,
            wanted: wanted.map(f64::from),
            asked: f64::from(*asked),
            ready: f64::from(*ready),
            busy: *busy,
        };
        all.push((row, *arrived as f64));
    }
    let together = all.len().div_ceil(most.max(1)).max(1);
    let mut kept: Vec<(Row, f64)> = all.chunks(together).filter_map(join).collect();
    // What arrived did so since the row before; the first stands for as long as the second.
    let gap = kept.windows(2).find_map(|pair| match pair {
        [(one, _), (other, _)] => Some(other.at - one.at),
        _ => None,
    });
    let mut before = kept.first().map_or(0.0, |(row, _)| (row.at - gap.unwrap_or(1.0)).max(0.0));
    for (row, arrived) in &mut kept {
        row.since = before;
        row.rate = if row.at > before { *arrived / (row.at - before) } else { 0.0 };
        before = row.at;
    }
    let next: Vec<f64> = kept.iter().skip(1).map(|(row, _)| row.at).collect();
    for ((row, _), next) in kept.iter_mut().zip(next) {
        row.until = next;
    }
    kept.into_iter().map(|(row, _)| row).collect()
}

/// Several rows as one: how bad it was, and how it was in the end.
fn join(rows: &[(Row, f64)]) -> Option<(Row, f64)> {
    let (mut row, _) = *rows.last()?;
    let mut arrived = 0.0;
    for (other, jobs) in rows {
        arrived += jobs;
        row.waiting = row.waiting.max(other.waiting);
        row.oldest = row.oldest.max(other.oldest);
    }
    Some((row, arrived))
}

/// The highest of everything.
#[derive(Clone, Copy, Default)]
struct Tops {
    rate: f64,
    waiting: f64,
    oldest: f64,
    replicas: f64,
}

impl Tops {
    fn of(rows: &[Row], best: &[Step]) -> Self {
        let mut tops = Self::default();
        for row in rows {
            tops.rate = tops.rate.max(row.rate);
            tops.waiting = tops.waiting.max(row.waiting);
            tops.oldest = tops.oldest.max(row.oldest);
            tops.replicas = tops.replicas.max(row.asked).max(row.ready).max(row.busy);
        }
        tops.replicas = best.iter().fold(tops.replicas, |top, step| top.max(f64::from(step.replicas)));
        tops
    }

    /// One scale for all runs, so that they can be compared; but nobody is to be squeezed flat by another's replicas.
    fn shared(self, all: Self) -> Self {
        let replicas = if all.replicas > self.replicas * 3.0 { self.replicas } else { all.replicas };
        Self { replicas, ..all }
    }
}

/// For each policy in turn, if it has a timeline.
pub(in super::super) fn runs(report: &Report) -> Vec<Option<Run>> {
    let timelines = || report.policies.iter().map(|policy| policy.timeline.as_ref());
    let count = timelines().flatten().count().max(1);
    let most = (ROWS / count).clamp(60, 800);
    let all: Vec<Option<Vec<Row>>> = timelines()
        .map(|timeline| timeline.map(|timeline| rows(timeline, most)).filter(|rows| rows.len() > 1))
        .collect();
    let mut tops = Tops::default();
    for own in all.iter().flatten().map(|rows| Tops::of(rows, &report.hindsight)) {
        tops = Tops {
            rate: tops.rate.max(own.rate),
            waiting: tops.waiting.max(own.waiting),
            oldest: tops.oldest.max(own.oldest),
            replicas: tops.replicas.max(own.replicas),
        };
    }
    let slo = report.scenario.slo_wait_seconds;
    let ends = all.iter().flatten().filter_map(|rows| rows.last()).map(|row| row.at);
    let end = ends.fold(0.0, f64::max);
    let drawn: Vec<Option<Draft<'_>>> = report
        .policies
        .iter()
        .zip(&all)
        .map(|(policy, rows)| {
            let (timeline, rows) = (policy.timeline.as_ref()?, rows.as_ref()?);
            let start = rows.first()?.since;
            let view = View { rows, actions: &timeline.actions, best: &report.hindsight, slo, name: &policy.name };
            let whole = view.draw(start, end, Tops::of(rows, &report.hindsight).shared(tops));
            let worst = worst(rows, slo).map(|(from, to)| {
                let near: Vec<Row> = rows.iter().copied().filter(|row| row.until >= from && row.since <= to).collect();
                let best = steps(&report.hindsight, from, to);
                (from, to, View { rows: &near, ..view }.draw(from, to, Tops::of(&near, &best)))
            });
            Some((whole, worst, json(rows)))
        })
        .collect();
    let used: usize = drawn
        .iter()
        .flatten()
        .map(|(whole, worst, rows)| {
            whole.svg.len() + worst.as_ref().map_or(0, |(_, _, near)| near.svg.len()) + rows.len()
        })
        .sum();
    let room = (BYTES.saturating_sub(used).max(LEAST_MARKS) / count / 2).min(MOST_MARKS);
    let finished = drawn.into_iter().map(|run| {
        let (whole, worst, rows) = run?;
        let worst = worst.map(|(from, to, near)| (from, to, near.finish(room)));
        Some(Run { whole: whole.finish(room), worst, rows })
    });
    finished.collect()
}

/// A run without its marks: all of it, the worst of it, and its rows.
type Draft<'a> = (Drawing<'a>, Option<(f64, f64, Drawing<'a>)>, String);

/// A picture, and the changes that are to be marked in it: how far from the left, and at which height.
struct Drawing<'a> {
    svg: String,
    changes: Vec<(i32, &'a Action)>,
    height: i32,
}

impl Drawing<'_> {
    /// A small mark for every change, with its reason; those that are too near to each other share one.
    fn finish(mut self, room: usize) -> String {
        let mut text = String::new();
        for near in [7, 10, 14, 20, 30, 45, 70, 110, 200] {
            text = marks(&self.changes, px(near), self.height);
            if text.len() <= room {
                break;
            }
        }
        if let Some(end) = self.svg.rfind("</svg>") {
            self.svg.insert_str(end, &text);
        }
        self.svg
    }
}

/// Around the moment when the oldest was oldest: while it was late, or near to it, and some time before and after.
fn worst(rows: &[Row], slo: f64) -> Option<(f64, f64)> {
    let (first, last) = (rows.first()?, rows.last()?);
    let (top, _) = rows.iter().enumerate().reduce(|top, row| if row.1.oldest > top.1.oldest { row } else { top })?;
    let peak = rows.get(top).filter(|row| row.oldest > 0.0)?;
    let line = if peak.oldest > slo { slo.max(peak.oldest * 0.02) } else { peak.oldest * 0.3 };
    let bad = |row: &&Row| row.oldest > line;
    let from = rows.iter().take(top + 1).rev().take_while(bad).last().map_or(peak.at, |row| row.since);
    let to = rows.iter().skip(top).take_while(bad).last().map_or(peak.at, |row| row.until);
    let whole = last.at - first.since;
    let spare = ((to - from) * 0.6).max(whole * 0.025);
    let (from, to) = ((from - spare).max(first.since), (to + spare).min(last.at));
    (to - from < whole * 0.6 && rows.len() > 40).then_some((from, to))
}

/// What hindsight does in that time.
fn steps(best: &[Step], from: f64, to: f64) -> Vec<Step> {
    let before = best.iter().rfind(|step| step.at <= from).map(|step| Step { at: from, ..*step });
    let within = best.iter().filter(|step| step.at > from && step.at < to && step.at.is_finite()).copied();
    before.into_iter().chain(within).collect()
}

#[derive(Clone, Copy)]
struct View<'r, 'a> {
    rows: &'r [Row],
    actions: &'a [Action],
    best: &'r [Step],
    slo: f64,
    name: &'r str,
}

impl<'a> View<'_, 'a> {
    fn draw(&self, from: f64, to: f64, tops: Tops) -> Drawing<'a> {
        let about = format!("{}: arrivals, queue and replicas from {} to {}", self.name, seconds(from), seconds(to));
        let (mut changes, mut height) = (Vec::new(), 0);
        let svg = picture(WHOLE, HEIGHT, &about, |paper| {
            (changes, height) = self.panels(paper, from, to, tops)?;
            Ok(())
        });
        // The script finds out where and when the pointer is.
        let (left, right) = (px(LEFT), px(WHOLE - RIGHT));
        let place =
            format!("<svg data-left=\"{left}\" data-right=\"{right}\" data-from=\"{from:.3}\" data-to=\"{to:.3}\" ");
        Drawing { svg: svg.replacen("<svg ", &place, 1), changes, height }
    }

    fn panels(&self, paper: &Paper<'_>, from: f64, to: f64, tops: Tops) -> Drawn<(Vec<(i32, &'a Action)>, i32)> {
        let clock = Axis::clock(from, to, 12.0);
        let mut parts = [None, None, None, None];
        let [one, two, three, four] = &mut parts;
        let part = |(top, height)| ((0, top), (WHOLE, height));
        let room = Room { left: LEFT, top: 18, right: RIGHT, bottom: 1 };
        let title = |paper: &Paper<'_>, top: i32, words: &str| {
            paper.text(words, (px(LEFT), px(top + 1)), Anchor::TopLeft, Ink::Title.plain())
        };

        let y = Axis::straight(0.0, tops.rate.max(1e-3) * 1.1, 3.0);
        let mut chart = paper.chart(one, part(ARRIVALS), room, (clock.clone().mute(), y))?;
        title(paper, ARRIVALS.0, "arrivals per second")?;
        let rate = self.rows.iter().flat_map(|row| [(row.since, row.rate), (row.at, row.rate)]);
        chart.draw_series(AreaSeries::new(clip(rate, from, to), 0.0, Ink::Arrivals.plain().filled()))?;

        let y = Axis::log1p(tops.waiting * 1.3, 0.2);
        let mut chart = paper.chart(two, part(WAITING), room, (clock.clone().mute(), y))?;
        title(paper, WAITING.0, "jobs waiting (logarithm)")?;
        let waiting = self.rows.iter().map(|row| (row.at, row.waiting));
        chart.draw_series(LineSeries::new(clip(waiting, from, to), Ink::Depth.plain().stroke_width(1)))?;

        let y = Axis::log1p_time(tops.oldest.max(self.slo) * 1.3, self.slo / 4.0, 0.17);
        let mut chart = paper.chart(three, part(OLDEST), room, (clock.clone().mute(), y))?;
        title(paper, OLDEST.0, "age of the oldest waiting job (logarithm)")?;
        let oldest: Vec<_> = clip(self.rows.iter().map(|row| (row.at, row.oldest)), from, to);
        let late = crossed(&oldest, self.slo);
        chart.draw_series(AreaSeries::new(late, self.slo, Ink::Breach.plain().filled()))?;
        let bounds = inside(&chart);
        let (_, line) = chart.backend_coord(&(from, self.slo));
        paper.line(vec![(bounds.left, line), (bounds.right, line)], Ink::Slo.plain())?;
        chart.draw_series(LineSeries::new(oldest, Ink::Oldest.plain().stroke_width(1)))?;
        let words = format!("objective: {}", seconds(self.slo));
        paper.text(&words, (px(WHOLE - RIGHT), px(OLDEST.0 + 1)), Anchor::TopRight, Ink::SloText.plain())?;

        let room = Room { top: 18 + STRIP, bottom: 22, ..room };
        let y = Axis::straight(0.0, tops.replicas.max(1.0) * 1.06, 5.0);
        let mut chart = paper.chart(four, part(REPLICAS), room, (clock, y))?;
        title(paper, REPLICAS.0, "replicas")?;
        self.replicas(&mut chart, from, to)?;
        let within = self.actions.iter().filter(|action| action.at >= from && action.at <= to);
        let changes = within.map(|action| (chart.backend_coord(&(action.at, 0.0)).0, action));
        Ok((changes.collect(), inside(&chart).top - px(3)))
    }

    fn replicas(&self, chart: &mut Chart<'_, '_>, from: f64, to: f64) -> Drawn {
        let held = |value: fn(&Row) -> f64| {
            let steps = self.rows.iter().flat_map(move |row| [(row.at, value(row)), (row.until, value(row))]);
            clip(steps, from, to)
        };
        chart.draw_series(AreaSeries::new(held(|row| row.ready), 0.0, Ink::Ready.plain().filled()))?;
        chart.draw_series(AreaSeries::new(held(|row| row.busy), 0.0, Ink::Busy.plain().filled()))?;
        // Before it has looked it wants nothing: lines with gaps.
        for known in self.rows.chunk_by(|one, other| one.wanted.is_some() == other.wanted.is_some()) {
            let steps = known.iter().filter_map(|row| Some((row, row.wanted?)));
            let steps = clip(steps.flat_map(|(row, wanted)| [(row.at, wanted), (row.until, wanted)]), from, to);
            if !steps.is_empty() {
                chart.draw_series(LineSeries::new(steps, Ink::Wanted.plain().stroke_width(1)))?;
            }
        }
        chart.draw_series(LineSeries::new(held(|row| row.asked), Ink::Asked.plain().stroke_width(1)))?;
        let best = steps(self.best, from, to);
        let ends = best.iter().skip(1).map(|step| step.at).chain([to]);
        let line = best.iter().zip(ends).flat_map(|(step, end)| {
            let replicas = f64::from(step.replicas);
            [(step.at, replicas), (end, replicas)]
        });
        let line: Vec<_> = line.collect();
        if !line.is_empty() {
            chart.draw_series(LineSeries::new(line, Ink::Best.plain().stroke_width(1)))?;
        }
        Ok(())
    }
}

fn marks(placed: &[(i32, &Action)], near: i32, y: i32) -> String {
    let mut out = String::new();
    let mut rest = placed;
    while let Some((start, first)) = rest.first() {
        let count = rest.iter().take_while(|(x, _)| x - start < near).count().max(1);
        let (group, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
        rest = after;
        let Some((end, last)) = group.last() else { break };
        let x = i32::midpoint(*start, *end);
        let mut words = String::new();
        if count > 1 {
            let _ = write!(words, "{count} changes, {} → {}", first.from, last.to);
        }
        for (_, action) in group.iter().take(3) {
            if !words.is_empty() {
                words.push('\n');
            }
            let _ = write!(words, "{}: {} → {}, {}", seconds(action.at), action.from, action.to, cut(&action.why, 140));
        }
        if count > 3 {
            let _ = write!(words, "\nand {}", plural(count - 3, "more", "more"));
        }
        let (class, shape) = if last.to >= first.from { ("up", "l14 26h-28z") } else { ("down", "l14-26h-28z") };
        let top = if class == "up" { y - 28 } else { y - 2 };
        let _ = write!(out, "<path class=\"{class}\" d=\"M{x} {top}{shape}\"><title>{}</title></path>", escape(&words));
    }
    out
}

/// Points within a time; those just outside are moved to its ends.
fn clip(points: impl Iterator<Item = (f64, f64)>, from: f64, to: f64) -> Vec<(f64, f64)> {
    let mut out: Vec<(f64, f64)> = Vec::new();
    let mut before: Option<(f64, f64)> = None;
    for (at, value) in points {
        if at < from {
            before = Some((from, value));
        } else if at > to {
            if let Some((_, value)) = out.last().copied().or_else(|| before.take()) {
                out.push((to, value));
            }
            break;
        } else {
            out.extend(before.take());
            out.push((at, value));
        }
    }
    out
}

/// What is above a line, with the points where it crosses it; elsewhere on it.
fn crossed(points: &[(f64, f64)], line: f64) -> Vec<(f64, f64)> {
    let mut out = Vec::new();
    let mut before: Option<(f64, f64)> = None;
    for &(at, value) in points {
        if let Some((then, was)) = before
            && (was > line) != (value > line)
        {
            out.push((then + (at - then) * (line - was) / (value - was), line));
        }
        out.push((at, value.max(line)));
        before = Some((at, value));
    }
    out
}

type Column = fn(&Row) -> Option<f64>;

/// Columns of short numbers.
fn json(rows: &[Row]) -> String {
    let mut out = String::from("{");
    let columns: [(&str, Column); 8] = [
        ("at", |row| Some(row.at)),
        ("rate", |row| Some(row.rate)),
        ("waiting", |row| Some(row.waiting)),
        ("oldest", |row| Some(row.oldest)),
        ("wanted", |row| row.wanted),
        ("asked", |row| Some(row.asked)),
        ("ready", |row| Some(row.ready)),
        ("busy", |row| Some(row.busy)),
    ];
    for (position, (name, value)) in columns.into_iter().enumerate() {
        let _ = write!(out, "{}\"{name}\":[", if position > 0 { "," } else { "" });
        for (place, row) in rows.iter().enumerate() {
            if place > 0 {
                out.push(',');
            }
            // An element that is left out is nothing at all.
            out.push_str(&value(row).map_or_else(|| "null".to_owned(), tenths));
        }
        out.push(']');
    }
    out.push('}');
    out
}

fn tenths(value: f64) -> String {
    let text = if value.abs() < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") };
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Waits of the worst stretch in words.
pub(in super::super) fn stretch(from: f64, to: f64) -> String {
    format!("{} to {}", if from <= 0.0 { short(0.0) } else { seconds(from) }, seconds(to))
}
