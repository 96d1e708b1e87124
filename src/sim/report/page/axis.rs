//! Axes that know where their ticks are, and what is written there.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use super::text::{seconds, short};

/// From where to where, and how it bends.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    bend: Bend,
    ticks: Vec<(f64, String)>,
}

#[derive(Clone, Copy, Debug)]
enum Bend {
    Straight,
    Log,
    /// Of one and so many of these.
    Log1p(f64),
}

/// Ticks of times on a logarithmic axis: the more important first.
const TIMES: [&[f64]; 3] = [
    &[0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 864_000.0],
    &[0.002, 0.02, 0.2, 2.0, 30.0, 300.0, 1800.0, 7200.0, 43_200.0, 172_800.0],
    &[0.005, 0.05, 0.5, 5.0, 20.0, 120.0, 14_400.0],
];

/// Distances of ticks along the time of a run.
const PACES: [f64; 22] = [
    1.0,
    2.0,
    5.0,
    10.0,
    15.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    900.0,
    1800.0,
    3600.0,
    7200.0,
    10_800.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    604_800.0,
    1_209_600.0,
    2_419_200.0,
];

const DECADES: [f64; 25] = [
    1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
    1e12, 1e13, 1e14, 1e15,
];

impl Axis {
    fn new(low: f64, high: f64, bend: Bend) -> Self {
        let low = if low.is_finite() { low } else { 0.0 };
        let low = if matches!(bend, Bend::Log) { low.max(1e-9) } else { low };
        let high = if high.is_finite() && high > low { high } else { low + low.abs().max(1.0) };
        Self { low, high, bend, ticks: Vec::new() }
    }

    /// Straight, with about so many round ticks.
    pub(super) fn straight(low: f64, high: f64, count: f64) -> Self {
        let mut axis = Self::new(low, high, Bend::Straight);
        let pace = round_up((axis.high - axis.low) / count.max(1.0));
        // As many decimals as tell one tick from the next.
        let decimals = (0..9).find(|decimals| pace * 10_f64.powi(*decimals) >= 0.999).unwrap_or(9);
        let decimals = usize::try_from(decimals).unwrap_or_default();
        axis.every(pace, |at| if decimals == 0 { short(at) } else { format!("{at:.decimals$}").replace('-', "−") });
        axis
    }

    /// Places without a measure: 0, 1, 2; each with room to both sides.
    pub(super) fn places(names: &[String]) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a few values of a field")]
        let at = |place: usize| place as f64;
        let mut axis = Self::new(-0.5, at(names.len()) - 0.5, Bend::Straight);
        axis.ticks = names.iter().enumerate().map(|(place, name)| (at(place), name.clone())).collect();
        axis
    }

    /// The time of a run.
    pub(super) fn clock(low: f64, high: f64, count: f64) -> Self {
        let mut axis = Self::new(low, high, Bend::Straight);
        let least = (axis.high - axis.low) / count.max(1.0);
        let pace = PACES.into_iter().find(|pace| *pace >= least).unwrap_or_else(|| round_up(least));
        axis.every(pace, |at| if at == 0.0 { "0".to_owned() } else { seconds(at) });
        axis
    }

    /// Logarithmic, for counts, costs and percentages; `gap` is the least share of the axis between two ticks.
    pub(super) fn log(low: f64, high: f64, gap: f64, unit: &str) -> Self {
        let mut axis = Self::new(low, high, Bend::Log);
        for factor in [1.0, 3.0, 2.0, 5.0, 1.5, 7.0] {
            let tier: Vec<f64> = DECADES.iter().map(|power| power * factor).collect();
            // Threes only where there is no room for both two and five.
            axis.add(&tier, if factor == 3.0 { gap * 2.5 } else { gap }, |at| format!("{}{unit}", short(at)));
        }
        axis
    }

    /// Logarithmic, for waits.
    pub(super) fn log_time(low: f64, high: f64, gap: f64) -> Self {
        let mut axis = Self::new(low, high, Bend::Log);
        for tier in TIMES {
            axis.add(tier, gap, seconds);
        }
        axis
    }

    /// The logarithm of one more, so that there is room for nothing.
    pub(super) fn log1p(high: f64, gap: f64) -> Self {
        let mut axis = Self::new(0.0, high.max(1.0), Bend::Log1p(1.0));
        axis.add(&[0.0], gap, short);
        axis.add(&DECADES, gap, short);
        axis
    }

    /// The same for times; straight up to about `unit`.
    pub(super) fn log1p_time(high: f64, unit: f64, gap: f64) -> Self {
        let unit = if unit.is_finite() && unit > 1e-3 { unit } else { 1.0 };
        let mut axis = Self::new(0.0, high.max(unit), Bend::Log1p(unit));
        axis.add(&[0.0], gap, |_| "0".to_owned());
        for tier in TIMES {
            axis.add(tier, gap, seconds);
        }
        axis
    }

    /// A name for the very bottom, in the place of what would be too near to it.
    pub(super) fn floor(mut self, name: &str, gap: f64) -> Self {
        let near: Vec<bool> = self.ticks.iter().map(|(at, _)| self.share(*at) < gap).collect();
        let mut near = near.into_iter();
        self.ticks.retain(|_| !near.next().unwrap_or(false));
        self.ticks.insert(0, (self.low, name.to_owned()));
        self
    }

    /// The same with a unit behind every number.
    pub(super) fn unit(mut self, unit: &str) -> Self {
        for (_, name) in &mut self.ticks {
            name.push_str(unit);
        }
        self
    }

    /// The same without ticks' names.
    pub(super) fn mute(mut self) -> Self {
        for (_, name) in &mut self.ticks {
            name.clear();
        }
        self
    }

    fn every(&mut self, pace: f64, say: impl Fn(f64) -> String) {
        if !(pace.is_finite() && pace > 0.0) {
            return;
        }
        let mut step = (self.low / pace - 1e-9).ceil();
        while self.ticks.len() < 100 && step * pace <= self.high + pace * 1e-9 {
            // Adding nought makes a negative zero a common one.
            let at = step * pace + 0.0;
            self.ticks.push((at, say(at)));
            step += 1.0;
        }
    }

    fn add(&mut self, tier: &[f64], gap: f64, say: impl Fn(f64) -> String) {
        for &at in tier {
            let inside = at >= self.low * (1.0 - 1e-9) && at <= self.high * (1.0 + 1e-9);
            let share = self.share(at);
            if inside && self.ticks.iter().all(|(other, _)| (self.share(*other) - share).abs() >= gap) {
                self.ticks.push((at, say(at)));
            }
        }
        self.ticks.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    }

    pub(super) const fn low(&self) -> f64 {
        self.low
    }

    pub(super) const fn high(&self) -> f64 {
        self.high
    }

    fn bent(&self, value: f64) -> f64 {
        match self.bend {
            Bend::Straight => value,
            Bend::Log => value.max(self.low).ln(),
            Bend::Log1p(unit) => (value.max(0.0) / unit).ln_1p(),
        }
    }

    /// How far along the axis; what is beyond is at its end.
    pub(super) fn share(&self, value: f64) -> f64 {
        let (low, high) = (self.bent(self.low), self.bent(self.high));
        let share = (self.bent(value) - low) / (high - low);
        if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
    }
}

/// The next of 1, 2, 5, 10 and so on.
pub(super) fn round_up(value: f64) -> f64 {
    if !(value.is_finite() && value > 0.0) {
        return 1.0;
    }
    let power = decade_below(value);
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|at| *at >= value * (1.0 - 1e-9))
        .unwrap_or(power * 10.0)
}

/// The power of ten at or below.
pub(super) fn decade_below(value: f64) -> f64 {
    DECADES.into_iter().rfind(|power| *power <= value * (1.0 + 1e-9)).unwrap_or(1e-9)
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    #[expect(clippy::cast_possible_truncation, reason = "a share of the picture")]
    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + (f64::from(limit.1 - limit.0) * self.share(*value)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.iter().map(|(at, _)| *at).collect()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let known = self.ticks.iter().find(|(at, _)| at.to_bits() == value.to_bits());
        known.map(|(_, name)| name.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|(_, name)| name.clone()).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(
            names(&Axis::straight(0.93, 2.1, 6.0)),
            ["1.0", "1.2", "1.4", "1.6", "1.8", "2.0"].map(str::to_owned)
        );
        assert_eq!(names(&Axis::straight(1.255, 1.275, 3.0)), ["1.26", "1.27"].map(str::to_owned));
        assert_eq!(names(&Axis::clock(0.0, 14_400.0, 5.0)), ["0", "1 h", "2 h", "3 h", "4 h"].map(str::to_owned));
        assert_eq!(names(&Axis::log(0.1, 10.0, 0.3, " %")), ["0.1 %", "1 %", "10 %"].map(str::to_owned));
        assert_eq!(names(&Axis::log_time(0.1, 60.0, 0.2)), ["100 ms", "1 s", "10 s", "1 m"].map(str::to_owned));
    }

    #[test]
    fn nothing_is_off_the_axis() {
        for axis in [Axis::straight(0.0, 1.0, 3.0), Axis::log(1e-3, 1.0, 0.1, ""), Axis::log1p(100.0, 0.1)] {
            for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -5.0, 0.0, 0.3, 1e300] {
                assert!((0..=100).contains(&axis.map(&value, (0, 100))), "{axis:?} {value}");
            }
        }
        for (low, high) in [(f64::NAN, f64::NAN), (1.0, 1.0), (3.0, 1.0), (0.0, f64::INFINITY)] {
            assert!(Axis::straight(low, high, 5.0).ticks.len() < 20);
            assert!(Axis::log(low, high, 0.1, "").ticks.len() < 20);
        }
    }
}
