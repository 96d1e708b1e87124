//! Figures out of two scrapes of `/metrics`: what happened between them.

/// How late rounds were, by the buckets of a histogram.
pub struct Lateness {
    /// Upper bounds in seconds, ascending, and how many rounds were at most so late.
    buckets: Vec<(f64, f64)>,
}

impl Lateness {
    pub fn between(before: &str, after: &str) -> Self {
        const BUCKET: &str = "tidegate_poll_round_lateness_seconds_bucket";
        let count = |text: &str, bound: &str| -> f64 {
            let of_bound = |line: &&str| line.starts_with(BUCKET) && line.contains(&format!("le=\"{bound}\""));
            text.lines().filter(of_bound).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        let lines = after.lines().filter(|line| line.starts_with(BUCKET));
        let mut bounds: Vec<&str> = lines.filter_map(|line| line.split("le=\"").nth(1)?.split('"').next()).collect();
        bounds.sort_by(|a, b| a.parse::<f64>().unwrap().total_cmp(&b.parse::<f64>().unwrap()));
        bounds.dedup();
        let bucket = |bound: &&str| (bound.parse().unwrap(), count(after, bound) - count(before, bound));
        Lateness { buckets: bounds.iter().map(bucket).collect() }
    }

    pub fn rounds(&self) -> f64 {
        self.buckets.last().map_or(0.0, |(_, count)| *count)
    }

    /// The upper bound of the bucket that holds this quantile, milliseconds; 1 is the latest of all.
    pub fn quantile(&self, q: f64) -> f64 {
        let all = self.rounds();
        let found = self.buckets.iter().find(|(_, count)| *count >= all * q && *count > 0.0);
        found.map_or(f64::NAN, |(bound, _)| bound * 1000.0)
    }
}

/// A metric over all its labels.
pub fn sum(text: &str, name: &str) -> f64 {
    let series = text.lines().filter(|line| line.starts_with(name));
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
