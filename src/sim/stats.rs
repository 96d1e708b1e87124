//! Means over seeds, and how sure they are.

use crate::sim::report::Estimate;

/// 97.5 % quantiles of Student's t by degrees of freedom, from one on; beyond, the normal's.
const T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];
const NORMAL: f64 = 1.96;

#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The mean of one value a seed, with its 95 % confidence interval by Student's t. Of one value nothing is known but it.
#[must_use]
pub fn estimate(values: &[f64]) -> Estimate {
    let mean = mean(values);
    let freedom = values.len().saturating_sub(1);
    if freedom == 0 {
        return Estimate { mean, low: mean, high: mean };
    }
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / freedom as f64;
    let half = T.get(freedom - 1).copied().unwrap_or(NORMAL) * (variance / values.len() as f64).sqrt();
    Estimate { mean, low: mean - half, high: mean + half }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_students() {
        let found = estimate(&[1.0, 2.0, 3.0, 4.0]);
        // s = 1.29099, t(3) = 3.182, half = 2.05396.
        assert!((found.mean - 2.5).abs() < 1e-12 && (found.high - 4.553_96).abs() < 1e-4, "{found:?}");
        assert_eq!(estimate(&[7.0]), Estimate { mean: 7.0, low: 7.0, high: 7.0 });
        assert!((estimate(&vec![5.0; 100]).high - 5.0).abs() < 1e-12);
    }
}
