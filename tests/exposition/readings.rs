//! What two readers make of a page, in one form: every number with everything that tells it from others.

use std::collections::BTreeMap;

use openmetrics_parser::openmetrics::parse_openmetrics;
use openmetrics_parser::prometheus::parse_prometheus;
use openmetrics_parser::{HistogramValue, MetricNumber, OpenMetricsValue, PrometheusValue, SummaryValue};
use tidegate::source::prometheus::exposition::{Format, Line, Page, everything};

/// One number of a page.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Number {
    name: String,
    labels: BTreeMap<String, String>,
    /// The bucket or the quantile, where it is one: they may be written in several ways.
    bound: Option<u64>,
    value: u64,
    time: Option<u64>,
}

pub type Reading = Result<Vec<Number>, String>;

fn bits(number: f64) -> u64 {
    if number.is_nan() { f64::NAN.to_bits() } else { (number + 0.0).to_bits() }
}

pub fn page(text: &str, format: Format) -> Page<'_> {
    Page { body: text.as_bytes(), format, whole: false }
}

pub fn ours(text: &str, format: Format) -> Reading {
    let lines = everything(page(text, format)).map_err(|broken| broken.to_string())?;
    let kinds: BTreeMap<String, String> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Type { metric, of } => Some((metric.clone(), of.clone())),
            _ => None,
        })
        .collect();
    let mut numbers: Vec<Number> = lines
        .into_iter()
        .filter_map(|line| match line {
            Line::Series(series) => Some(series),
            _ => None,
        })
        .map(|series| {
            let mut labels: BTreeMap<String, String> = series.labels.into_iter().collect();
            let family = series.name.strip_suffix("_bucket").unwrap_or(&series.name);
            let bound = match kinds.get(family).map(String::as_str) {
                Some("histogram" | "gaugehistogram") => labels.remove("le"),
                Some("summary") => labels.remove("quantile"),
                _ => None,
            };
            let bound = bound.map(|text| bits(text.parse().unwrap_or(f64::NAN)));
            Number { name: series.name, labels, bound, value: bits(series.value), time: series.time.map(bits) }
        })
        .collect();
    numbers.sort();
    Ok(numbers)
}

pub fn theirs(text: &str, format: Format) -> Reading {
    let mut numbers = Vec::new();
    match format {
        Format::Text => {
            let read = parse_prometheus(text).map_err(|error| error.to_string())?;
            for family in read.families.values() {
                for sample in family.iter_samples() {
                    let labels = sample.get_labelset().map_err(|error| error.to_string())?;
                    let labels = labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
                    let time = sample.timestamp.map(|millis| millis / 1000.0);
                    let mut sheet = Sheet { name: &family.family_name, labels, time, numbers: &mut numbers };
                    match &sample.value {
                        PrometheusValue::Unknown(value) | PrometheusValue::Gauge(value) => {
                            sheet.add("", None, value.as_f64());
                        }
                        PrometheusValue::Counter(value) => sheet.add("", None, value.value.as_f64()),
                        PrometheusValue::Histogram(value) => sheet.histogram(value, ["_bucket", "_sum", "_count"]),
                        PrometheusValue::Summary(value) => sheet.summary(value),
                    }
                }
            }
        }
        Format::OpenMetrics => {
            let read = parse_openmetrics(text).map_err(|error| error.to_string())?;
            for family in read.families.values() {
                for sample in family.iter_samples() {
                    let labels = sample.get_labelset().map_err(|error| error.to_string())?;
                    let labels = labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
                    let mut sheet =
                        Sheet { name: &family.family_name, labels, time: sample.timestamp, numbers: &mut numbers };
                    match &sample.value {
                        OpenMetricsValue::Unknown(value)
                        | OpenMetricsValue::Gauge(value)
                        | OpenMetricsValue::StateSet(value) => sheet.add("", None, value.as_f64()),
                        OpenMetricsValue::Counter(value) => {
                            sheet.add("_total", None, value.value.as_f64());
                            sheet.created(value.created);
                        }
                        OpenMetricsValue::Histogram(value) => sheet.histogram(value, ["_bucket", "_sum", "_count"]),
                        OpenMetricsValue::GaugeHistogram(value) => {
                            sheet.histogram(value, ["_bucket", "_gsum", "_gcount"]);
                        }
                        OpenMetricsValue::Info => sheet.add("_info", None, 1.0),
                        OpenMetricsValue::Summary(value) => sheet.summary(value),
                    }
                }
            }
        }
    }
    numbers.sort();
    Ok(numbers)
}

/// The numbers of one metric of theirs.
struct Sheet<'a> {
    name: &'a str,
    labels: BTreeMap<String, String>,
    time: Option<f64>,
    numbers: &'a mut Vec<Number>,
}

impl Sheet<'_> {
    fn add(&mut self, suffix: &str, bound: Option<f64>, value: f64) {
        self.numbers.push(Number {
            name: format!("{}{suffix}", self.name),
            labels: self.labels.clone(),
            bound: bound.map(bits),
            value: bits(value),
            time: self.time.map(bits),
        });
    }

    fn created(&mut self, created: Option<f64>) {
        if let Some(created) = created {
            self.add("_created", None, created);
        }
    }

    fn histogram(&mut self, value: &HistogramValue, [bucket, sum, count]: [&str; 3]) {
        for one in &value.buckets {
            self.add(bucket, Some(one.upper_bound), one.count.as_f64());
        }
        self.whole(value.sum, sum, value.count, count);
        self.created(value.created);
    }

    fn summary(&mut self, value: &SummaryValue) {
        for one in &value.quantiles {
            self.add("", Some(one.quantile), one.value.as_f64());
        }
        self.whole(value.sum, "_sum", value.count, "_count");
        self.created(value.created);
    }

    fn whole(&mut self, sum: Option<MetricNumber>, of_sum: &str, count: Option<u64>, of_count: &str) {
        if let Some(sum) = sum {
            self.add(of_sum, None, sum.as_f64());
        }
        if let Some(count) = count {
            self.add(of_count, None, count as f64);
        }
    }
}

/// What the two do not have in common, for messages.
pub fn difference(ours: &Reading, theirs: &Reading) -> String {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => {
            let only = |some: &[Number], others: &[Number]| -> Vec<Number> {
                some.iter().filter(|number| !others.contains(number)).take(5).cloned().collect()
            };
            format!("only ours: {:#?}\nonly theirs: {:#?}", only(ours, theirs), only(theirs, ours))
        }
        (ours, theirs) => format!(
            "ours: {}\ntheirs: {}",
            ours.as_ref().map_or_else(Clone::clone, |numbers| format!("{} numbers", numbers.len())),
            theirs.as_ref().map_or_else(Clone::clone, |numbers| format!("{} numbers", numbers.len())),
        ),
    }
}
