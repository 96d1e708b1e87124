//! The crude queue of a made-up report, and the ways to scale it.

use crate::sim::report::page::model::{Action, Timeline};

pub(super) const SECONDS: usize = 14_400;
pub(super) const SERVICE: f64 = 0.8;
pub(super) const SLOTS: f64 = 4.0;
pub(super) const START_UP: usize = 20;
pub(super) const SLO: f64 = 20.0;
pub(super) const PERCENT: f64 = 98.0;
pub(super) const ROWS: usize = 800;

pub(super) struct Luck(pub(super) u64);

impl Luck {
    pub(super) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1_u32 << 31)
    }
}

/// Jobs of each second.
pub(super) fn arrivals(seed: u64) -> Vec<u64> {
    let mut luck = Luck(seed.wrapping_mul(7919).wrapping_add(17));
    let bursts: Vec<(usize, f64)> =
        (0..5).map(|_| ((luck.next() * SECONDS as f64) as usize, 15.0 + luck.next() * 45.0)).collect();
    (0..SECONDS)
        .map(|at| {
            let wave = 22.0 - 16.0 * (at as f64 / SECONDS as f64 * 7.0).cos();
            let burst: f64 = bursts
                .iter()
                .filter(|(start, _)| at >= *start && at < start + 300)
                .map(|(start, size)| size * ((at - start) as f64 / 60.0).min(1.0))
                .sum();
            let jobs = (wave + burst) * (0.6 + 0.8 * luck.next());
            jobs.round() as u64
        })
        .collect()
}

#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// Enough to drain within so many seconds, read every so many.
    Load {
        drain: f64,
        every: usize,
        spare: f64,
        down: usize,
    },
    /// Backlog over a target.
    Backlog {
        target: f64,
        every: usize,
        down: usize,
    },
    Always(i32),
}

#[derive(Default)]
pub(super) struct Outcome {
    pub(super) waits: Vec<(f64, u64)>,
    pub(super) cost: f64,
    pub(super) idle: f64,
    pub(super) starting: f64,
    pub(super) work: f64,
    pub(super) late_by: f64,
    pub(super) breach: f64,
    pub(super) peak: i32,
    pub(super) reversals: u32,
    pub(super) actions: u32,
    pub(super) timeline: Timeline,
}

pub(super) fn run(rule: Rule, jobs: &[u64], chatty: bool) -> Outcome {
    let mut out = Outcome::default();
    let mut queue: std::collections::VecDeque<(usize, f64)> = std::collections::VecDeque::new();
    let mut pods: Vec<usize> = vec![0; 2];
    let mut asked = 2_i32;
    let mut wishes: Vec<(usize, i32)> = Vec::new();
    let mut last: Option<(usize, bool)> = None;
    let mut breach = 0.0;
    let mut wanted = None;
    let mut since = 0;
    let mut rate = 0.0;
    let mut luck = Luck(3);
    for at in 0..SECONDS + 1800 {
        let new = jobs.get(at).copied().unwrap_or(0);
        since += new;
        rate += (new as f64 - rate) / 15.0;
        if new > 0 {
            queue.push_back((at, new as f64));
        }
        let ready = pods.iter().filter(|start| **start <= at).count() as f64;
        let mut room = ready * SLOTS / SERVICE;
        let full = room;
        while let Some((came, left)) = queue.front_mut() {
            let take = left.min(room);
            if take > 0.0 {
                let wait = (at - *came) as f64 * (0.9 + 0.2 * luck.next()) + 0.012 + 0.4 * luck.next().powi(4);
                out.waits.push((wait, take.ceil() as u64));
                out.late_by += (wait - SLO).max(0.0) * take;
                room -= take;
                *left -= take;
            }
            if *left > 1e-9 {
                break;
            }
            queue.pop_front();
        }
        let waiting: f64 = queue.iter().map(|(_, left)| left).sum();
        let oldest = queue.front().map_or(0.0, |(came, _)| (at - came) as f64);
        breach = if oldest > SLO { breach + 1.0 } else { 0.0 };
        out.breach = out.breach.max(breach);
        let busy = if full > 0.0 { ready * (1.0 - room / full) } else { 0.0 };
        out.cost += pods.len() as f64;
        out.starting += pods.len() as f64 - ready;
        out.idle += ready - busy;
        out.work += busy;
        let (look, down, wish) = match rule {
            Rule::Load { drain, every, spare, down } => {
                (at % every == 0, down, ((rate * SERVICE * spare + waiting * SERVICE / drain) / SLOTS).ceil() as i32)
            }
            Rule::Backlog { target, every, down } => {
                (at % every == 0, down, ((waiting + busy * SLOTS) / target).ceil() as i32)
            }
            Rule::Always(replicas) => (at % 60 == 0, 0, replicas),
        };
        if look {
            wanted = Some(wish);
            wishes.push((at, wish));
            wishes.retain(|(then, _)| then + down >= at);
            let held = wishes.iter().map(|(_, wish)| *wish).max().unwrap_or(wish);
            let to = held.clamp(1, 60);
            if to != asked || (chatty && at.is_multiple_of(14)) {
                let why = if to > asked {
                    format!("load needs {wish} replicas for {waiting:.0} waiting and {rate:.0} a second")
                } else {
                    format!("stabilization window kept {held} until now")
                };
                let up = to > asked;
                out.reversals += u32::from(last.is_some_and(|(then, was)| was != up && at - then < 600));
                last = Some((at, up));
                out.actions += 1;
                if out.timeline.actions.len() < 1000 {
                    out.timeline.actions.push(Action { at: at as f64, from: asked, to, why });
                }
                let count = to.max(0) as usize;
                pods.truncate(count);
                while pods.len() < count {
                    pods.push(at + START_UP);
                }
                asked = to;
                out.peak = out.peak.max(to);
            }
        }
        if at.is_multiple_of(SECONDS / ROWS) && at < SECONDS && at > 0 {
            let t = &mut out.timeline;
            t.at.push(at as f64);
            t.arrived.push(since);
            t.waiting.push(waiting.round() as u64);
            t.oldest.push(oldest);
            t.wanted.push(wanted);
            t.asked.push(asked);
            t.ready.push(ready as i32);
            t.busy.push(busy);
            since = 0;
        }
        if at > SECONDS && queue.is_empty() {
            break;
        }
    }
    out.waits.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    out
}
