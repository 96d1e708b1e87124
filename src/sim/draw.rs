//! Random durations, by their distributions. `libm`, so that every machine draws the same.

use std::time::Duration;

use crate::sim::luck::Luck;
use crate::sim::{nanos, whole};
use crate::spec::scenario::Draw;

/// A distribution, ready to be drawn from. Nanoseconds.
#[derive(Clone, Debug)]
pub enum Distribution {
    Fixed(u64),
    Exponential { mean: f64 },
    Lognormal { mu: f64, sigma: f64 },
    Gamma { shape: f64, scale: f64 },
    Pareto { min: f64, max: f64, alpha: f64 },
    Empirical(Vec<u64>),
}

fn rounded(nanos: f64) -> u64 {
    whole(nanos + 0.5)
}

impl Distribution {
    #[must_use]
    pub fn of(draw: &Draw) -> Self {
        let float = |duration: Duration| nanos(duration) as f64;
        match draw {
            Draw::Fixed(it) => Distribution::Fixed(nanos(*it)),
            Draw::Exponential(mean) => Distribution::Exponential { mean: float(*mean) },
            Draw::Pareto { min, max, .. } if min == max => Distribution::Fixed(nanos(*min)),
            Draw::Lognormal { mean, cv } | Draw::Gamma { mean, cv } if *cv <= 0.0 => Distribution::Fixed(nanos(*mean)),
            Draw::Lognormal { mean, cv } => {
                let variance = libm::log(1.0 + cv * cv);
                Distribution::Lognormal { mu: libm::log(float(*mean)) - variance / 2.0, sigma: variance.sqrt() }
            }
            Draw::Gamma { mean, cv } => {
                let shape = 1.0 / (cv * cv);
                Distribution::Gamma { shape, scale: float(*mean) / shape }
            }
            Draw::Pareto { min, max, alpha } => {
                Distribution::Pareto { min: float(*min), max: float(*max), alpha: *alpha }
            }
            Draw::Empirical(values) => Distribution::Empirical(values.iter().map(|value| nanos(*value)).collect()),
        }
    }

    /// The draw at a place of the sequence.
    #[must_use]
    pub fn draw(&self, luck: Luck, ordinal: u64) -> u64 {
        match self {
            Distribution::Fixed(it) => *it,
            Distribution::Exponential { mean } => rounded(-mean * libm::log(luck.unit(ordinal))),
            Distribution::Lognormal { mu, sigma } => rounded(libm::exp(mu + sigma * normal(luck.at(ordinal), 0))),
            Distribution::Gamma { shape, scale } => rounded(scale * gamma(*shape, luck.at(ordinal))),
            Distribution::Pareto { min, max, alpha } => {
                // The inverse of the distribution function between the two ends.
                let cut = 1.0 - libm::pow(min / max, *alpha);
                rounded((min / libm::pow(1.0 - luck.unit(ordinal) * cut, 1.0 / alpha)).min(*max))
            }
            Distribution::Empirical(values) => {
                let count = values.len() as u64;
                let at = luck.bits(ordinal).checked_rem(count).and_then(|at| usize::try_from(at).ok());
                at.and_then(|at| values.get(at)).copied().unwrap_or(0)
            }
        }
    }

    #[must_use]
    pub fn mean(&self) -> f64 {
        match self {
            Distribution::Fixed(it) => *it as f64,
            Distribution::Exponential { mean } => *mean,
            Distribution::Lognormal { mu, sigma } => libm::exp(mu + sigma * sigma / 2.0),
            Distribution::Gamma { shape, scale } => shape * scale,
            Distribution::Pareto { min, max, alpha } => {
                let cut = 1.0 - libm::pow(min / max, *alpha);
                if (alpha - 1.0).abs() < 1e-9 {
                    min * libm::log(max / min) / cut
                } else {
                    alpha * min / (alpha - 1.0) * (1.0 - libm::pow(min / max, alpha - 1.0)) / cut
                }
            }
            Distribution::Empirical(values) => {
                values.iter().map(|value| *value as f64).sum::<f64>() / values.len().max(1) as f64
            }
        }
    }
}

/// Box and Muller's.
fn normal(luck: Luck, ordinal: u64) -> f64 {
    let radius = (-2.0 * libm::log(luck.unit(2 * ordinal))).sqrt();
    radius * libm::cos(std::f64::consts::TAU * luck.unit(2 * ordinal + 1))
}

/// Marsaglia and Tsang's, "A simple method for generating gamma variables", 2000; a shape below 1 by their section 6.
fn gamma(shape: f64, luck: Luck) -> f64 {
    if shape < 1.0 {
        let boost = libm::pow(luck.unit(u64::MAX), 1.0 / shape);
        return boost * gamma(shape + 1.0, luck);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    for attempt in 0.. {
        let own = luck.at(attempt);
        let x = normal(own, 1);
        let v = (1.0 + c * x) * (1.0 + c * x) * (1.0 + c * x);
        if v > 0.0 && libm::log(own.unit(0)) < 0.5 * x * x + d - d * v + d * libm::log(v) {
            return d * v;
        }
    }
    d
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::luck::Stream;

    #[test]
    fn draws_have_the_mean_and_the_spread_that_they_were_asked_for() {
        let mean = Duration::from_secs(2);
        let cases = [
            (Draw::Fixed(mean), 0.0),
            (Draw::Exponential(mean), 1.0),
            (Draw::Lognormal { mean, cv: 0.5 }, 0.5),
            (Draw::Lognormal { mean, cv: 1.5 }, 1.5),
            (Draw::Gamma { mean, cv: 0.5 }, 0.5),
            (Draw::Gamma { mean, cv: 2.0 }, 2.0),
        ];
        let luck = Luck::new(1, Stream::Service(0));
        for (draw, cv) in cases {
            let distribution = Distribution::of(&draw);
            let drawn: Vec<f64> = (0..400_000).map(|i| distribution.draw(luck, i) as f64 / 1e9).collect();
            let count = drawn.len() as f64;
            let found = drawn.iter().sum::<f64>() / count;
            let spread = (drawn.iter().map(|x| (x - found) * (x - found)).sum::<f64>() / count).sqrt() / found;
            assert!((found - 2.0).abs() < 0.02, "{draw:?}: mean {found}");
            assert!((spread - cv).abs() < 0.03 * cv.max(1.0), "{draw:?}: cv {spread}");
            assert!((distribution.mean() / 1e9 - 2.0).abs() < 1e-9, "{draw:?}: says {}", distribution.mean());
        }
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(60));
        for alpha in [0.8, 1.0, 1.5, 3.0] {
            let distribution = Distribution::of(&Draw::Pareto { min, max, alpha });
            let drawn: Vec<u64> = (0..400_000).map(|i| distribution.draw(luck, i)).collect();
            assert!(drawn.iter().all(|it| (100_000_000..=60_000_000_000).contains(it)));
            let found = drawn.iter().map(|it| *it as f64).sum::<f64>() / 4e5;
            assert!((found / distribution.mean() - 1.0).abs() < 0.05, "{alpha}: {found} {}", distribution.mean());
        }
        let some = Distribution::of(&Draw::Empirical(vec![Duration::from_nanos(3), Duration::from_nanos(5)]));
        assert!((0..50).all(|i| matches!(some.draw(luck, i), 3 | 5)));
    }
}
