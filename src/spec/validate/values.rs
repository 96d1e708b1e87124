//! Durations, quantities and texts of a manifest: parsed, held against their limits, reported in the user's words.

use std::time::Duration;

use crate::spec::MilliValue;
use crate::spec::manifest::{DurationText, QuantityText};
use crate::spec::report::Report;
use crate::spec::units::{self, Quantity, QuantityError};

/// Both ends allowed.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) min: Duration,
    pub(super) max: Duration,
}

/// No lower limit; the upper one only keeps arithmetic far from its ends.
pub(super) const ANY: Limits = Limits { min: Duration::ZERO, max: Duration::from_secs(365 * 24 * 3600) };

/// The duration written at `path`, or `default`, also as a stand-in for one that cannot be used.
pub(super) fn duration(
    written: Option<&DurationText>,
    path: &str,
    limits: Limits,
    default: Duration,
    report: &mut Report<'_>,
) -> Duration {
    let Some(DurationText(text)) = written else { return default };
    match units::parse_duration(text.trim()) {
        Ok(duration) if duration < limits.min || duration > limits.max => {
            let (min, max) = (show(limits.min), show(limits.max));
            report.problem(
                path,
                format!("must be {min} to {max}, found {text}"),
                format!("e.g. {}", show(default.max(limits.min))),
            );
            default
        }
        Ok(duration) => duration,
        Err(error) => {
            let (message, cure) = halves(&error);
            report.problem(path, message, cure);
            default
        }
    }
}

/// How old a reading may be, where somebody says so.
pub(super) fn sample_age(
    written: Option<&DurationText>,
    path: &str,
    polling_interval: Duration,
    report: &mut Report<'_>,
) -> Option<Duration> {
    let written = written?;
    let three = polling_interval.saturating_mul(3);
    let age = duration(Some(written), path, ANY, three, report);
    let cure = || format!("write {} or more, or take maxSampleAge out", show(three));
    if age < polling_interval {
        let (age, interval) = (show(age), show(polling_interval));
        report.problem(
            path,
            format!(
                "maxSampleAge {age} is below pollingInterval {interval}: every reading would be stale before the next"
            ),
            cure(),
        );
    } else if age < polling_interval.saturating_mul(2) {
        report.warn(path, "a single late reading makes the source stale", cure());
    }
    Some(age)
}

pub(super) fn show(duration: Duration) -> String {
    units::format_duration(duration)
}

/// A quantity in thousandths, rounded up.
pub(super) fn quantity(written: &QuantityText, path: &str, report: &mut Report<'_>) -> Option<MilliValue> {
    match parse_quantity(written).and_then(|quantity| quantity.milli()) {
        Ok(milli) => Some(MilliValue(milli)),
        Err(error) => {
            let (message, cure) = halves(&error);
            report.problem(path, message, cure);
            None
        }
    }
}

pub(super) fn parse_quantity(written: &QuantityText) -> Result<Quantity, QuantityError> {
    written.0.trim().parse()
}

/// What is wrong and what to write instead: `units` puts a semicolon between the two.
pub(super) fn halves(error: &impl ToString) -> (String, String) {
    let text = error.to_string();
    let (message, cure) = text.split_once("; ").unwrap_or((text.as_str(), ""));
    (message.to_owned(), cure.to_owned())
}

/// A text that must be there and not be empty; `example` is the line to write.
pub(super) fn text(written: Option<&str>, path: &str, example: &str, report: &mut Report<'_>) -> String {
    match written {
        Some(text) if !text.trim().is_empty() => text.to_owned(),
        Some(_) => {
            report.problem(path, "empty", format!("e.g. {example}"));
            String::new()
        }
        None => {
            report.problem(path, "missing", format!("e.g. {example}"));
            String::new()
        }
    }
}
