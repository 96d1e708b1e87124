//! The share of jobs that waited longer, by how long.

use plotters::series::LineSeries;
use plotters::style::Color;

use super::super::axis::{Axis, decade_below};
use super::super::ink::Ink;
use super::super::model::{Policy, Report};
use super::super::text::{seconds, short};
use super::{Anchor, At, Paper, Room, Taken, WHOLE, Wish, inside, label, labels, picture, px};

const HEIGHT: i32 = 400;

fn points(policy: &Policy) -> impl Iterator<Item = (f64, f64)> + Clone {
    let known = policy.longer_than.iter().copied();
    known.filter(|(wait, share)| wait.is_finite() && share.is_finite() && *wait >= 0.0 && (0.0..=1.0).contains(share))
}

pub(in super::super) fn tail(report: &Report) -> String {
    let (slo, percent) = (report.scenario.slo_wait_seconds, report.scenario.slo_percent);
    let all = || report.policies.iter().flat_map(points);
    let longest = all().map(|(wait, _)| wait).fold(slo.max(1e-3), f64::max);
    let shortest = all().map(|(wait, _)| wait).filter(|wait| *wait > 0.0).fold(slo.max(1e-3), f64::min);
    let rarest = all().map(|(_, share)| share).filter(|share| *share > 0.0).fold(0.01, f64::min);
    let x = Axis::log_time(shortest.max(slo / 300.0).max(longest / 1e7), longest * 1.3, 0.035);
    // In percent, as everywhere on the page.
    let y = Axis::log(decade_below(rarest * 100.0).max(1e-6), 100.0, 0.09, " %");
    let (from, bottom) = (x.low(), y.low());
    picture(WHOLE, HEIGHT, "Share of jobs that waited longer than a time, one line for each policy", |paper| {
        let mut part = None;
        let room = Room { left: 64, top: 24, right: 14, bottom: 38 };
        let mut chart = paper.chart(&mut part, ((0, 0), (WHOLE, HEIGHT)), room, (x, y))?;
        paper.text("jobs that waited longer", (px(2), px(2)), Anchor::TopLeft, Ink::Title.plain())?;
        paper.text("than this", (px(WHOLE - 14), px(HEIGHT - 2)), Anchor::BottomRight, Ink::Title.plain())?;
        let bounds = inside(&chart);
        let corner = chart.backend_coord(&(slo, 100.0 - percent));
        paper.block((corner.0, bounds.top), (bounds.right, corner.1), Ink::Zone.plain())?;
        paper.line(vec![(corner.0, bounds.top), (corner.0, bounds.bottom)], Ink::Slo.plain())?;
        paper.line(vec![corner, (bounds.right, corner.1)], Ink::Slo.plain())?;
        let words = format!("misses the objective: more than {} % after {}", short(100.0 - percent), seconds(slo));
        let place = (bounds.right - px(6), bounds.top + px(6));
        paper.text(&words, place, Anchor::TopRight, Ink::SloText.plain())?;
        let taken = vec![Taken::text(&words, place, Anchor::TopRight)];
        let mut wishes = Vec::new();
        for (number, policy) in report.policies.iter().enumerate().rev() {
            let mut line: Vec<(f64, f64)> = Vec::new();
            let mut gone = false;
            let mut last = None;
            for (wait, share) in points(policy) {
                // Lines that went to the bottom stay there.
                if gone {
                    break;
                }
                let point = (wait.max(from), (share * 100.0).max(bottom));
                let (x, y) = chart.backend_coord(&point);
                gone = share * 100.0 <= bottom;
                let near = last.is_some_and(|(was_x, was_y): At| (x - was_x).abs().max((y - was_y).abs()) < px(1));
                if near {
                    // Of points within a pixel the last one counts.
                    line.pop();
                } else {
                    last = Some((x, y));
                }
                line.push(point);
            }
            let Some(end) = line.last().copied() else { continue };
            chart.draw_series(LineSeries::new(line, Ink::Line.of(number).stroke_width(1)))?;
            let at = chart.backend_coord(&end);
            paper.mark(number, at, px(4))?;
            wishes.push(Wish { at, policy: number, long: label(number, &policy.name) });
        }
        wishes.reverse();
        let room = Taken { bottom: bounds.bottom - px(2), ..bounds };
        labels(paper, &wishes, &room, taken)?;
        hover(paper, report, &wishes);
        Ok(())
    })
}

fn hover(paper: &mut Paper<'_>, report: &Report, wishes: &[Wish]) {
    for wish in wishes {
        let Some(policy) = report.policies.get(wish.policy) else { continue };
        let waits = policy.waits;
        let words = format!(
            "{}: half within {}, 95 % within {}, 99 % within {}, 99.9 % within {}, all within {}",
            wish.long,
            seconds(waits.p50),
            seconds(waits.p95),
            seconds(waits.p99),
            seconds(waits.p999),
            seconds(waits.max)
        );
        paper.hover(wish.at, px(8), &words);
    }
}
