//! Cost against lateness: how many were late, and how long the last one waited.

use super::super::axis::{Axis, round_up};
use super::super::ink::Ink;
use super::super::model::{Estimate, Policy, Report};
use super::super::text::{number, on_time, seconds, short, with_interval};
use super::{Anchor, Chart, Drawn, HALF, Paper, Room, Taken, Wish, inside, label, labels, picture, px};

const HEIGHT: i32 = 372;
const ROOM: Room = Room { left: 58, top: 24, right: 14, bottom: 38 };

/// Percent of late jobs that nobody can have: one of a thousand million.
const NEXT_TO_NONE: f64 = 1e-7;

/// From the cheapest to the dearest, and from how late to how late: of policies, or of variants.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    low: f64,
    high: f64,
}

impl Extent {
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        values.filter(|value| value.is_finite() && *value > 0.0).fold(None, |extent, value| {
            let Self { low, high } = extent.unwrap_or(Self { low: value, high: value });
            Some(Self { low: low.min(value), high: high.max(value) })
        })
    }
}

/// What things cost over the work, from no less than nothing to spare.
pub(super) fn cost_axis(values: impl Iterator<Item = f64>) -> Axis {
    let Extent { low, high } = Extent::of(values).unwrap_or(Extent { low: 1.0, high: 2.0 });
    if high / low > 8.0 {
        return Axis::log(low / 1.15, high * 1.2, 0.1, "");
    }
    let spare = ((high - low) * 0.08).max(low * 0.05);
    // One is what perfection costs: worth seeing if it is near.
    let start = if low - 1.0 < ((high - low) * 1.5).max(0.4) { low.min(1.0) - spare / 2.0 } else { low - spare };
    Axis::straight(start.max(0.0), high + spare, 7.0)
}

/// Percent of jobs that were late, with a floor for none if anybody had none; `gap` as in [`Axis::log`].
pub(super) fn late_axis(on_time: impl Iterator<Item = f64> + Clone, slo_percent: f64, gap: f64) -> Axis {
    let allowed = 100.0 - slo_percent;
    let values = on_time.map(|percent| 100.0 - percent).chain([allowed]);
    let none = values.clone().any(|late| late <= NEXT_TO_NONE);
    let Extent { low, high } =
        Extent::of(values.filter(|late| *late > NEXT_TO_NONE)).unwrap_or(Extent { low: 1.0, high: 1.0 });
    let high = if high > 30.0 { 100.0 } else { round_up(high * 1.2).min(100.0) };
    let low = low.min(high / 10.0);
    if none {
        Axis::log(low / 4.0, high, gap, " %").floor("none", gap * 0.8)
    } else {
        Axis::log(low / 1.5, high, gap, " %")
    }
}

fn late(estimate: &Estimate) -> (f64, f64, f64) {
    (100.0 - estimate.high.min(100.0), 100.0 - estimate.mean, 100.0 - estimate.low)
}

fn costs(policies: &[Policy]) -> impl Iterator<Item = f64> + Clone {
    policies.iter().flat_map(|policy| {
        let Estimate { mean, low, high } = policy.cost_over_work;
        [mean, low, high]
    })
}

/// Says what an axis measures: above its end, and below the other's.
pub(super) fn measures(paper: &Paper<'_>, up: &str, along: &str) -> Drawn {
    paper.text(up, (px(2), px(2)), Anchor::TopLeft, Ink::Title.plain())?;
    paper.text(along, (px(HALF - ROOM.right), px(HEIGHT - 2)), Anchor::BottomRight, Ink::Title.plain())
}

/// The part of the plot that misses the objective, its edge, and the words there.
pub(super) fn objective(paper: &Paper<'_>, chart: &Chart<'_, '_>, at: f64, words: &str) -> Drawn<Taken> {
    let bounds = inside(chart);
    let (_, y) = chart.backend_coord(&(0.0, at));
    paper.block((bounds.left, bounds.top), (bounds.right, y), Ink::Zone.plain())?;
    paper.line(vec![(bounds.left, y), (bounds.right, y)], Ink::Slo.plain())?;
    let place = (bounds.right - px(4), y - px(2));
    paper.text(words, place, Anchor::BottomRight, Ink::SloText.plain())?;
    Ok(Taken::text(words, place, Anchor::BottomRight))
}

fn frame() -> ((i32, i32), (i32, i32)) {
    ((0, 0), (HALF, HEIGHT))
}

/// Percent of jobs late over what it cost.
pub(in super::super) fn late_jobs(report: &Report) -> String {
    let slo = report.scenario.slo_percent;
    let x = cost_axis(costs(&report.policies));
    let all = report.policies.iter().flat_map(|policy| [policy.on_time_percent.mean, policy.on_time_percent.low]);
    let y = late_axis(all, slo, 0.075);
    picture(HALF, HEIGHT, "Percent of jobs late over cost, one point for each policy", |paper| {
        let mut part = None;
        let chart = paper.chart(&mut part, frame(), ROOM, (x, y))?;
        measures(paper, "jobs late", "cost over work")?;
        let words = format!("objective: {} % late at most", short(100.0 - slo));
        let mut taken = vec![objective(paper, &chart, 100.0 - slo, &words)?];
        let mut wishes = Vec::new();
        for (number, policy) in report.policies.iter().enumerate() {
            let cost = policy.cost_over_work;
            let (least, mean, most) = late(&policy.on_time_percent);
            let at = chart.backend_coord(&(cost.mean, mean));
            for (from, to) in [((cost.low, mean), (cost.high, mean)), ((cost.mean, least), (cost.mean, most))] {
                let (from, to) = (chart.backend_coord(&from), chart.backend_coord(&to));
                if from != to {
                    paper.line(vec![from, to], Ink::Whisker.of(number))?;
                    let (left, right) = (from.0.min(to.0), from.0.max(to.0));
                    let (top, bottom) = (from.1.min(to.1), from.1.max(to.1));
                    taken.push(Taken { left: left - 2, top: top - 2, right: right + 2, bottom: bottom + 2 });
                }
            }
            wishes.push(Wish { at, policy: number, long: label(number, &policy.name) });
        }
        for wish in wishes.iter().rev() {
            paper.mark(wish.policy, wish.at, px(5))?;
        }
        labels(paper, &wishes, &inside(&chart), taken)?;
        for (wish, policy) in wishes.iter().zip(&report.policies) {
            let words = format!(
                "{}: {} % in time, cost over work {}",
                wish.long,
                with_interval(&policy.on_time_percent, on_time),
                with_interval(&policy.cost_over_work, number)
            );
            paper.hover(wish.at, px(9), &words);
        }
        Ok(())
    })
}

/// Cost over work of the cheapest that hindsight knows, by the longest wait that it may leave; `None`: not possible.
fn frontier(report: &Report) -> Vec<(f64, Option<f64>)> {
    let points = report.frontier.iter().filter(|least| least.wait_seconds.is_finite() && least.wait_seconds >= 0.0);
    let costs = points.filter(|least| least.cost_over_work.is_none_or(f64::is_finite));
    let mut all: Vec<_> = costs.map(|least| (least.wait_seconds, least.cost_over_work)).collect();
    all.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    all
}

/// The longest wait and the 99th percentile over what it cost, and what nobody can do.
pub(in super::super) fn longest_waits(report: &Report) -> String {
    let slo = report.scenario.slo_wait_seconds;
    let best = frontier(report);
    let cheapest = best.iter().filter_map(|(_, cost)| *cost).reduce(f64::min);
    let x = cost_axis(costs(&report.policies).chain(cheapest));
    let waits = report.policies.iter().flat_map(|policy| [policy.waits.p99, policy.longest_detour_seconds]);
    let known = best.iter().map(|(wait, _)| *wait).filter(|wait| *wait > 0.0);
    let Extent { low, high } = Extent::of(waits.chain([slo]).chain(known).filter(|wait| *wait > 1e-4))
        .unwrap_or(Extent { low: 0.1, high: 10.0 });
    let y = Axis::log_time((low / 4.0).min(slo.max(1e-3) / 2.0), high * 1.5, 0.075).floor("none", 0.06);
    picture(HALF, HEIGHT, "Longest wait and 99th percentile over cost, one point for each policy", |paper| {
        let mut part = None;
        let top = y.high();
        let chart = paper.chart(&mut part, frame(), ROOM, (x, y))?;
        measures(paper, "wait: longest, and 99th percentile (hollow)", "cost over work")?;
        let bounds = inside(&chart);
        impossible(paper, &chart, &best, top)?;
        let (_, line) = chart.backend_coord(&(0.0, slo));
        paper.line(vec![(bounds.left, line), (bounds.right, line)], Ink::Slo.plain())?;
        let words = format!("objective: {}", seconds(slo));
        let place = (bounds.right - px(4), line - px(2));
        paper.text(&words, place, Anchor::BottomRight, Ink::SloText.plain())?;
        let mut taken = vec![Taken::text(&words, place, Anchor::BottomRight)];
        let mut wishes = Vec::new();
        for (number, policy) in report.policies.iter().enumerate() {
            let cost = policy.cost_over_work.mean;
            let at = chart.backend_coord(&(cost, policy.longest_detour_seconds));
            let most = chart.backend_coord(&(cost, policy.waits.p99));
            paper.line(vec![at, most], Ink::Whisker.of(number))?;
            paper.ring(number, most, px(4))?;
            taken.push(Taken {
                left: most.0 - px(5),
                top: most.1.min(at.1),
                right: most.0 + px(5),
                bottom: most.1 + px(5),
            });
            wishes.push(Wish { at, policy: number, long: label(number, &policy.name) });
        }
        for wish in wishes.iter().rev() {
            paper.mark(wish.policy, wish.at, px(5))?;
        }
        labels(paper, &wishes, &bounds, taken)?;
        for (wish, policy) in wishes.iter().zip(&report.policies) {
            let words = format!(
                "{}: longest wait {}, 99th percentile {}, cost over work {}",
                wish.long,
                seconds(policy.longest_detour_seconds),
                seconds(policy.waits.p99),
                number(policy.cost_over_work.mean)
            );
            paper.hover(wish.at, px(9), &words);
        }
        Ok(())
    })
}

/// Left of the frontier. Between two points of it only the laxer one is certain, hence steps.
fn impossible(paper: &Paper<'_>, chart: &Chart<'_, '_>, best: &[(f64, Option<f64>)], top: f64) -> Drawn {
    let bounds = inside(chart);
    let Some(((last, _), _)) = best.split_last() else { return Ok(()) };
    let end = chart.backend_coord(&(0.0, last.min(top))).1;
    let mut edge = vec![];
    let mut y = bounds.bottom;
    for (wait, cost) in best {
        let x = cost.map_or(bounds.right, |cost| chart.backend_coord(&(cost, *wait)).0);
        edge.push((x, y));
        y = chart.backend_coord(&(0.0, *wait)).1;
        edge.push((x, y));
    }
    let mut region = vec![(bounds.left, bounds.bottom)];
    region.extend(&edge);
    region.push((bounds.left, end));
    paper.shape(region, Ink::Forbidden.plain())?;
    paper.line(edge, Ink::Frontier.plain())
}
