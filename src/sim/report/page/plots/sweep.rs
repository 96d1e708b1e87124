//! What became of variants of the manifest.

use std::collections::BTreeSet;

use plotters::series::LineSeries;
use plotters::style::Color;

use super::super::axis::Axis;
use super::super::ink::Ink;
use super::super::model::{Field, Point, Sweep};
use super::super::text::{cut, number, on_time, seconds, short, with_interval};
use super::cost::{Extent, cost_axis, late_axis, measures, objective};
use super::{Anchor, Chart, Drawn, HALF, Paper, Room, Taken, inside, picture, px};

const HEIGHT: i32 = 372;

/// Variants that are described one by one; of more only those on the front are.
const TOLD: usize = 400;

/// What cells of the map are coloured by, from the cheapest to the dearest.
pub(in super::super) fn range(sweep: &Sweep) -> Option<(f64, f64)> {
    let mut all = sweep.points.iter().map(|point| point.cost_over_work.mean).filter(|cost| cost.is_finite());
    let first = all.next()?;
    Some(all.fold((first, first), |(low, high), cost| (low.min(cost), high.max(cost))))
}

fn heat(cost: f64, (low, high): (f64, f64)) -> Ink {
    let share = if high > low { (cost.max(low) / low).ln() / (high / low).ln() } else { 0.0 };
    let share = if share.is_finite() { share } else { 0.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from nought to six")]
    let place = (share * 7.0).clamp(0.0, 6.0) as usize;
    Ink::HEAT.get(place).copied().unwrap_or(Ink::Heat6)
}

/// The path of a field, from behind if it is long: that is where it differs.
fn field(path: &str, most: usize) -> String {
    let count = path.chars().count();
    if count <= most {
        return path.to_owned();
    }
    let end: String = path.chars().skip(count + 1 - most).collect();
    format!("…{end}")
}

fn values(field: &Field) -> Vec<String> {
    field.values.iter().map(|value| cut(value, 9)).collect()
}

fn told(sweep: &Sweep, point: &Point) -> bool {
    let few = |count: usize| count <= TOLD;
    few(sweep.points.len()) || point.on_front && few(sweep.points.iter().filter(|point| point.on_front).count())
}

fn words(sweep: &Sweep, point: &Point) -> String {
    let fields = sweep.fields.iter().zip(&point.values);
    let set: Vec<String> = fields.map(|(field, value)| format!("{} = {value}", field.path)).collect();
    format!(
        "{}\ncost over work {}, {} % in time{}, 99th percentile {}, {} changes an hour",
        set.join("\n"),
        with_interval(&point.cost_over_work, number),
        with_interval(&point.on_time_percent, on_time),
        if point.meets_slo { "" } else { " (misses)" },
        seconds(point.p99_wait_seconds),
        number(point.actions_per_hour)
    )
}

/// Two fields: a cell for each pair of their values.
pub(in super::super) fn map(sweep: &Sweep, down: &Field, across: &Field) -> String {
    let range = range(sweep).unwrap_or((1.0, 1.0));
    let about = format!("Cost over work by {} and {}", down.path, across.path);
    picture(HALF, HEIGHT, &about, |paper| {
        let mut part = None;
        let room = Room { left: 74, top: 24, right: 14, bottom: 42 };
        let axes = (Axis::places(&values(across)), Axis::places(&values(down)));
        let chart = paper.chart(&mut part, ((0, 0), (HALF, HEIGHT)), room, axes)?;
        paper.text(&field(&down.path, 60), (px(2), px(2)), Anchor::TopLeft, Ink::Title.plain())?;
        let end = (px(HALF - 14), px(HEIGHT - 2));
        paper.text(&field(&across.path, 60), end, Anchor::BottomRight, Ink::Title.plain())?;
        let mut drawn = BTreeSet::new();
        for point in &sweep.points {
            let [row, column] = point.values.as_slice() else { continue };
            let place = |field: &Field, value: &String| field.values.iter().position(|other| other == value);
            let (Some(row), Some(column)) = (place(down, row), place(across, column)) else { continue };
            if !drawn.insert((column, row)) {
                continue;
            }
            cell(paper, &chart, (column, row), point, range)?;
            let (one, other) = corners(&chart, (column, row));
            if told(sweep, point) {
                paper.hover_block(one, other, &words(sweep, point));
            }
        }
        Ok(())
    })
}

fn corners(chart: &Chart<'_, '_>, (column, row): (usize, usize)) -> ((i32, i32), (i32, i32)) {
    #[expect(clippy::cast_precision_loss, reason = "a few values of a field")]
    let (x, y) = (column as f64, row as f64);
    let one = chart.backend_coord(&(x - 0.5, y + 0.5));
    let other = chart.backend_coord(&(x + 0.5, y - 0.5));
    ((one.0 + 3, one.1 + 3), (other.0 - 3, other.1 - 3))
}

fn cell(paper: &Paper<'_>, chart: &Chart<'_, '_>, place: (usize, usize), point: &Point, range: (f64, f64)) -> Drawn {
    let (one, other) = corners(chart, place);
    let cost = point.cost_over_work.mean;
    let ink = heat(cost, range);
    paper.block(one, other, ink.plain())?;
    if !point.meets_slo {
        paper.block(one, other, Ink::Hatch.plain())?;
    }
    let middle = (i32::midpoint(one.0, other.0), i32::midpoint(one.1, other.1));
    let (wide, high) = (other.0 - one.0, other.1 - one.1);
    let amount = number(cost);
    if wide > super::width(&amount) + px(6) && high > px(15) {
        // Cells of the front stand out by a star.
        let text =
            if point.on_front && wide > super::width(&amount) + px(22) { format!("★ {amount}") } else { amount };
        let hot = matches!(ink, Ink::Heat4 | Ink::Heat5 | Ink::Heat6);
        let words = if hot { Ink::CellHot } else { Ink::Cell };
        paper.text(&text, middle, Anchor::Middle, words.plain())?;
    }
    Ok(())
}

/// One field: what it costs, and how many are late.
pub(in super::super) fn line(sweep: &Sweep, along: &Field, slo_percent: f64) -> String {
    let about = format!("Cost over work and jobs late by {}", along.path);
    let costs = sweep.points.iter().flat_map(|point| [point.cost_over_work.low, point.cost_over_work.high]);
    let y = cost_axis(costs.filter(|cost| cost.is_finite()));
    let late = late_axis(sweep.points.iter().map(|point| point.on_time_percent.mean), slo_percent, 0.15);
    picture(HALF, HEIGHT, &about, |paper| {
        let (mut upper, mut lower) = (None, None);
        let half = (HEIGHT - 42) / 2 + 10;
        let names = Axis::places(&values(along));
        let room = Room { left: 58, top: 24, right: 14, bottom: 1 };
        let mut chart = paper.chart(&mut upper, ((0, 0), (HALF, half)), room, (names.clone().mute(), y))?;
        paper.text("cost over work", (px(2), px(2)), Anchor::TopLeft, Ink::Title.plain())?;
        series(paper, &mut chart, sweep, along, |point| point.cost_over_work.mean)?;
        let room = Room { bottom: 42, ..room };
        let mut chart = paper.chart(&mut lower, ((0, half), (HALF, HEIGHT - half)), room, (names, late))?;
        paper.text("jobs late", (px(2), px(half + 2)), Anchor::TopLeft, Ink::Title.plain())?;
        let words = format!("objective: {} %", short(100.0 - slo_percent));
        objective(paper, &chart, 100.0 - slo_percent, &words)?;
        series(paper, &mut chart, sweep, along, |point| 100.0 - point.on_time_percent.mean)?;
        let end = (px(HALF - 14), px(HEIGHT - 2));
        paper.text(&field(&along.path, 60), end, Anchor::BottomRight, Ink::Title.plain())
    })
}

fn series<'a>(
    paper: &mut Paper<'a>,
    chart: &mut Chart<'a, '_>,
    sweep: &Sweep,
    along: &Field,
    value: fn(&Point) -> f64,
) -> Drawn {
    let place = |point: &Point| along.values.iter().position(|value| Some(value) == point.values.first());
    #[expect(clippy::cast_precision_loss, reason = "a few values of a field")]
    let placed: Vec<(f64, &Point)> =
        sweep.points.iter().filter_map(|point| Some((place(point)? as f64, point))).collect();
    let line: Vec<(f64, f64)> = placed.iter().map(|(at, point)| (*at, value(point))).collect();
    chart.draw_series(LineSeries::new(line, Ink::Front.plain().stroke_width(1)))?;
    let placed: Vec<_> =
        placed.into_iter().map(|(x, point)| (chart.backend_coord(&(x, value(point))), point)).collect();
    spots(paper, &placed)?;
    for (at, point) in placed.iter().filter(|(_, point)| told(sweep, point)) {
        paper.hover(*at, px(8), &words(sweep, point));
    }
    Ok(())
}

/// Full on the front, hollow behind it, crossed where it misses the objective. Those of a kind one after the other, since
/// they become one path.
fn spots(paper: &Paper<'_>, placed: &[((i32, i32), &Point)]) -> Drawn {
    let r = px(4);
    let square = |(x, y): (i32, i32)| vec![(x - r, y), (x, y - r), (x + r, y), (x, y + r), (x - r, y)];
    for (at, _) in placed.iter().filter(|(_, point)| !point.on_front) {
        paper.line(square(*at), Ink::Other.plain())?;
    }
    for (at, _) in placed.iter().filter(|(_, point)| point.on_front) {
        paper.shape(square(*at), Ink::FrontMark.plain())?;
    }
    let r = px(5);
    for ((x, y), _) in placed.iter().filter(|(_, point)| !point.meets_slo) {
        paper.line(vec![(x - r, y - r), (x + r, y + r)], Ink::Miss.plain())?;
        paper.line(vec![(x - r, y + r), (x + r, y - r)], Ink::Miss.plain())?;
    }
    Ok(())
}

/// All points, and the front that none of them is better than.
pub(in super::super) fn front(sweep: &Sweep, slo_percent: f64) -> String {
    let costs = sweep.points.iter().map(|point| point.cost_over_work.mean);
    let x = cost_axis(costs.clone());
    let y = late_axis(sweep.points.iter().map(|point| point.on_time_percent.mean), slo_percent, 0.075);
    picture(HALF, HEIGHT, "Jobs late over cost, one point for each variant", |paper| {
        let mut part = None;
        let room = Room { left: 58, top: 24, right: 14, bottom: 38 };
        let chart = paper.chart(&mut part, ((0, 0), (HALF, HEIGHT)), room, (x, y))?;
        measures(paper, "jobs late", "cost over work")?;
        let words_there = format!("objective: {} % late at most", short(100.0 - slo_percent));
        objective(paper, &chart, 100.0 - slo_percent, &words_there)?;
        let at = |point: &Point| chart.backend_coord(&(point.cost_over_work.mean, 100.0 - point.on_time_percent.mean));
        let mut edge: Vec<(i32, i32)> = sweep.points.iter().filter(|point| point.on_front).map(at).collect();
        edge.sort_unstable_by_key(|(x, y)| (*x, -*y));
        let Taken { top, right, .. } = inside(&chart);
        let mut line = Vec::new();
        let mut before = top;
        for (x, y) in edge {
            line.extend([(x, before), (x, y)]);
            before = y;
        }
        if !line.is_empty() {
            line.push((right, before));
            paper.line(line, Ink::Front.plain())?;
        }
        let placed: Vec<_> = sweep.points.iter().map(|point| (at(point), point)).collect();
        spots(paper, &placed)?;
        for point in sweep.points.iter().filter(|point| told(sweep, point)) {
            paper.hover(at(point), px(7), &words(sweep, point));
        }
        Ok(())
    })
}

/// That there is anything to make axes of.
pub(in super::super) fn drawable(sweep: &Sweep) -> bool {
    Extent::of(sweep.points.iter().map(|point| point.cost_over_work.mean)).is_some()
}
