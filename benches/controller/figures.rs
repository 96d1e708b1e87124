//! Numbers out of what was measured.

use std::time::{Duration, SystemTime};

/// Seconds since 1970: the clock that the API server's log goes by.
pub fn wall() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

pub fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = (sorted.len().saturating_sub(1) as f64 * at).round() as usize;
    sorted.get(position).copied().unwrap_or(f64::NAN)
}

/// Median, 99th percentile and the highest, in milliseconds.
pub fn millis(values: &[f64]) -> String {
    let at = |q| quantile(values, q) * 1e3;
    format!("p50 {:.0}, p99 {:.0}, max {:.0} ms", at(0.5), at(0.99), at(1.0))
}

/// The same in seconds.
pub fn seconds(values: &[f64]) -> String {
    let at = |q| quantile(values, q);
    format!("p50 {:.2}, p99 {:.2}, max {:.2} s", at(0.5), at(0.99), at(1.0))
}

/// Spearman's: how well the order by the first agrees with the order by the second; equals share their place.
pub fn rank_correlation(pairs: &[(f64, f64)]) -> f64 {
    let first = places(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
    let second = places(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>());
    let mean = (pairs.len() as f64 + 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    product(&first, &second) / (product(&first, &first) * product(&second, &second)).sqrt()
}

fn places(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut places = vec![0.0; values.len()];
    let mut from = 0;
    while from < order.len() {
        let equal = order[from..].iter().take_while(|index| values[**index] == values[order[from]]).count();
        for index in &order[from..from + equal] {
            places[*index] = from as f64 + (equal as f64 + 1.0) / 2.0;
        }
        from += equal;
    }
    places
}

/// CPU time that a process has used, seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// A metric over all its labels.
pub fn sum(text: &str, name: &str) -> f64 {
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// The next of a sequence without a pattern.
pub fn odd(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Polls until `holds`; whether it did in time.
pub fn within(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let give_up = wall() + patience.as_secs_f64();
    while !holds() {
        if wall() > give_up {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}
