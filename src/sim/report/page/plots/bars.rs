//! What the cost is made of: of the distance from the best, and of replicas that did not work.

use super::super::axis::Axis;
use super::super::ink::Ink;
use super::super::model::{Policy, Report};
use super::super::text::{count, on_time, seconds, short};
use super::{Anchor, Chart, Drawn, Paper, Room, WHOLE, label, picture, px};

const ROW: i32 = 26;
const NAMES: i32 = 200;
const MIDDLE: i32 = 664;

/// Where bars of regret end: one that is far beyond the others is cut, so that these can be seen.
fn most(policies: &[Policy]) -> f64 {
    let mut all: Vec<f64> = policies.iter().filter_map(|policy| policy.regret.map(|regret| regret.percent)).collect();
    all.retain(|percent| percent.is_finite() && *percent > 0.0);
    all.sort_by(f64::total_cmp);
    let top = all.last().copied().unwrap_or(10.0);
    let second = all.iter().rev().nth(1).copied().unwrap_or(top);
    if top > second * 3.0 { second * 1.6 } else { top * 1.18 }
}

pub(in super::super) fn bars(report: &Report) -> String {
    let rows_count = i32::try_from(report.policies.len()).unwrap_or(i32::MAX / 64);
    let height = 24 + rows_count * ROW + 26;
    let regrets = report.policies.iter().any(|policy| policy.regret.is_some());
    picture(WHOLE, height, "Regret and shares of the cost, a row for each policy", |paper| {
        let rows = Axis::straight(0.0, f64::from(rows_count.max(1)), 1.0).mute();
        let room = Room { left: 1, top: 24, right: 16, bottom: 24 };
        let (mut left, mut right) = (None, None);
        let most = most(&report.policies);
        let x = Axis::straight(0.0, most, 6.0).unit(" %");
        let place = ((NAMES, 0), (MIDDLE - NAMES - 26, height));
        let regret = paper.chart(&mut left, place, room, (x, rows.clone()))?;
        let x = Axis::straight(0.0, 100.0, 5.0).unit(" %");
        let share = paper.chart(&mut right, ((MIDDLE, 0), (WHOLE - MIDDLE, height)), room, (x, rows))?;
        let words = "regret: dearer than the best with the same longest wait, by";
        paper.text(words, (px(NAMES), px(2)), Anchor::TopLeft, Ink::Title.plain())?;
        paper.text(
            "replicas that did not work: share of the cost",
            (px(MIDDLE), px(2)),
            Anchor::TopLeft,
            Ink::Title.plain(),
        )?;
        for (number, policy) in report.policies.iter().enumerate() {
            let row = Row::new(number);
            paper.mark(number, (px(8), row.middle), px(5))?;
            paper.text(&label(number, &policy.name), (px(20), row.middle), Anchor::Left, Ink::Name.of(number))?;
            row.regret(paper, &regret, policy, most, regrets)?;
            row.shares(paper, &share, policy)?;
        }
        Ok(())
    })
}

struct Row {
    top: i32,
    middle: i32,
    bottom: i32,
}

impl Row {
    fn new(number: usize) -> Self {
        let number = i32::try_from(number).unwrap_or_default();
        let top = px(24 + number * ROW + 4);
        Self { top, middle: top + px(ROW - 8) / 2, bottom: top + px(ROW - 8) }
    }

    /// Blocks one after the other, each with its amount if it is wide enough, and where they end.
    fn stack(&self, paper: &Paper<'_>, chart: &Chart<'_, '_>, parts: &[(f64, Ink)]) -> Drawn<i32> {
        let mut sum = 0.0;
        let (mut x, _) = chart.backend_coord(&(0.0, 0.0));
        for (amount, ink) in parts.iter().filter(|(amount, _)| amount.is_finite() && *amount > 0.0) {
            sum += amount;
            let (to, _) = chart.backend_coord(&(sum, 0.0));
            if to > x {
                paper.block((x, self.top), (to, self.bottom), ink.plain())?;
                let words = short_percent(*amount);
                let on = if *ink == Ink::Work { Ink::Note } else { Ink::Amount };
                if to - x > super::width(&words) + px(8) {
                    paper.text(&words, ((x + to) / 2, self.middle), Anchor::Middle, on.plain())?;
                }
            }
            x = to;
        }
        Ok(x)
    }

    fn regret(&self, paper: &mut Paper<'_>, chart: &Chart<'_, '_>, policy: &Policy, most: f64, any: bool) -> Drawn {
        let start = chart.backend_coord(&(0.0, 0.0)).0;
        let Some(regret) = policy.regret else {
            let words = if any { "not worked out for this one" } else { "not worked out" };
            return paper.text(words, (start + px(6), self.middle), Anchor::Left, Ink::Note.plain());
        };
        let parts = [(regret.unavoidable_percent, Ink::Unavoidable), (regret.own_percent, Ink::Own)];
        let end = self.stack(paper, chart, &parts)?;
        let cut = regret.percent > most;
        let total = format!("{}{} %", if cut { "» " } else { "" }, count(regret.percent));
        // There is no room behind a bar that was cut: its sum stands in it.
        let wide = super::width(&total) + px(4);
        let limit = chart.backend_coord(&(most, 0.0)).0;
        if end + wide > limit {
            paper.block((end - wide - px(6), self.top), (end, self.bottom), Ink::Own.plain())?;
            paper.text(&total, (end - px(5), self.middle), Anchor::Right, Ink::Amount.plain())?;
        } else {
            paper.text(&total, (end + px(5), self.middle), Anchor::Left, Ink::Note.plain())?;
        }
        let words = format!(
            "{}: {} % above the best that leaves nobody waiting for more than {}; of which an \
             estimated {} % are the price of only reacting, and {} % its own",
            policy.name,
            count(regret.percent),
            seconds(regret.wait_seconds),
            count(regret.unavoidable_percent),
            count(regret.own_percent)
        );
        paper.hover_block((start, self.top), (end.max(start + px(8)), self.bottom), &words);
        Ok(())
    }

    fn shares(&self, paper: &mut Paper<'_>, chart: &Chart<'_, '_>, policy: &Policy) -> Drawn {
        let start = chart.backend_coord(&(0.0, 0.0)).0;
        let rest = 100.0 - policy.start_up_percent - policy.idle_percent;
        let parts = [(policy.start_up_percent, Ink::StartUp), (policy.idle_percent, Ink::Idle), (rest, Ink::Work)];
        let end = self.stack(paper, chart, &parts)?;
        let words = format!(
            "{}: {} % starting, {} % with nothing to do, {} % at work; {} % in time",
            policy.name,
            short(policy.start_up_percent),
            short(policy.idle_percent),
            short(rest),
            on_time(policy.on_time_percent.mean)
        );
        paper.hover_block((start, self.top), (end.max(start + px(8)), self.bottom), &words);
        Ok(())
    }
}

/// A bar says no more than its length shows.
fn short_percent(amount: f64) -> String {
    if amount >= 9.95 { format!("{amount:.0} %") } else { format!("{} %", short((amount * 10.0).round() / 10.0)) }
}
