//! Numbers of a page: values, and the two kinds of times.

/// A value: a decimal number, `NaN`, or an infinity with or without a sign, in any case. Neither hexadecimal numbers nor
/// underscores, which Go's own reader of numbers knows and Prometheus' refuses.
#[inline]
pub(super) fn value(token: &[u8]) -> Option<f64> {
    whole(token).or_else(|| real(token))
}

/// Seconds, with a fraction: a time of OpenMetrics.
pub(super) fn seconds(token: &[u8]) -> Option<f64> {
    value(token).filter(|seconds| seconds.is_finite())
}

/// A whole number of milliseconds: a time of 0.0.4. In seconds.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since the epoch have 41 bits")]
pub(super) fn millis(token: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(token).ok()?;
    text.parse::<i64>().ok().map(|millis| millis as f64 / 1000.0)
}

/// Most values are counts: digits, and few enough to be exact in every step.
#[inline]
fn whole(token: &[u8]) -> Option<f64> {
    const EXACT: usize = 15;
    if token.is_empty() || token.len() > EXACT {
        return None;
    }
    let mut number = 0_u64;
    for byte in token {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u64::from(digit);
    }
    #[expect(clippy::cast_precision_loss, reason = "fifteen digits fit into 53 bits")]
    Some(number as f64)
}

fn real(token: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(token).ok()?;
    let number: f64 = text.parse().ok()?;
    if number.is_finite() {
        return Some(number);
    }
    let unsigned = token.strip_prefix(b"+").or_else(|| token.strip_prefix(b"-")).unwrap_or(token);
    match unsigned.first()?.to_ascii_lowercase() {
        b'i' => Some(number),
        // There is no other NaN than NaN.
        b'n' if unsigned.len() == token.len() => Some(number),
        // Digits beyond what a number holds.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_prometheus_takes_for_numbers() {
        let numbers = [
            ("0", 0.0),
            ("1", 1.0),
            ("-1", -1.0),
            ("+1", 1.0),
            ("1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1E+3", 1000.0),
            ("1.5e-3", 0.0015),
            ("999999999999999", 999_999_999_999_999.0),
            ("9007199254740993", 9_007_199_254_740_992.0),
            ("1.7976931348623157e308", f64::MAX),
            ("4.9e-324", 5e-324),
            ("1e-400", 0.0),
            ("+Inf", f64::INFINITY),
            ("inf", f64::INFINITY),
            ("-Inf", f64::NEG_INFINITY),
            ("Infinity", f64::INFINITY),
        ];
        for (text, number) in numbers {
            assert_eq!(value(text.as_bytes()), Some(number), "{text}");
        }
        assert!(value(b"NaN").is_some_and(f64::is_nan) && value(b"nan").is_some_and(f64::is_nan));
        let none = [
            "", "-", "+", ".", "e3", "1e", "0x10", "0x1p-2", "1_000", "1,5", "--1", "+NaN", "-nan", "nan1", "1e999",
            "-1e999", "infinit", "1\r", "١",
        ];
        for text in none {
            assert_eq!(value(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn times_are_whole_milliseconds_or_seconds() {
        assert_eq!(millis(b"1395066363000"), Some(1_395_066_363.0));
        assert_eq!(millis(b"-3982045"), Some(-3982.045));
        assert_eq!(millis(b"1395066363.5"), None);
        assert_eq!(seconds(b"1520879607.789"), Some(1_520_879_607.789));
        assert_eq!(seconds(b"NaN"), None);
        assert_eq!(seconds(b"+Inf"), None);
    }
}
