//! Kubernetes quantities (`100m`, `1.5k`, `2Gi`, `1e3`), with what the HPA controller makes of them.
//!
//! Why not a plain decimal: the controller sees a quantity after the API server rewrote it in canonical form, and
//! converts it in ways of its own. `59m` as a tolerance is 59 x 0.001, a last digit more than 0.059; `6E` in
//! milli-units does not fit and reads as 0. A ratio exactly on the edge of a tolerance band tells the difference.

use std::fmt;
use std::str::FromStr;

/// Nano is the finest that Kubernetes keeps; what is finer is rounded away from zero.
const NANO_PLACES: i32 = 9;
/// Up to this many digits Kubernetes computes in int64, and overflows in its own way; beyond, in arbitrary precision.
const INT64_DIGITS: usize = 18;
/// The same for binary suffixes: fewer digits than this, those of the suffix included.
const BINARY_DIGITS: usize = 15;

/// A number with the kind of suffix it was written with.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Quantity {
    /// Billionths: every value that Kubernetes can tell apart, up to 10^29.
    nanos: i128,
    format: Format,
    /// The text itself, where Kubernetes takes it for canonical (it is not always: `5.` stays `5.`).
    kept: Option<Box<str>>,
}

/// Kind of suffix, which the canonical form keeps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Format {
    /// n u m k M G T P E
    Decimal,
    /// e3, E3
    Exponent,
    /// Ki Mi Gi Ti Pi Ei
    Binary,
}

/// Why a text is not a quantity, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QuantityError {
    #[error("a quantity is missing; write a number such as 10, 500m or 1.5k")]
    Empty,
    #[error("{text:?} is not a quantity; write a number such as 10, 0.5, 500m or 1.5k")]
    Syntax { text: String },
    #[error(
        "{text:?} has the unknown suffix {suffix:?}; use n, u, m, k, M, G, T, P or E, Ki, Mi, Gi, Ti, Pi or Ei, or an exponent such as e3"
    )]
    Suffix { text: String, suffix: String },
    #[error("{text:?} is too large; write a number below 10^29")]
    TooLarge { text: String },
    #[error("{text:?} does not fit in thousandths, in which Kubernetes counts; write a number below 9.2P")]
    NoMilli { text: String },
}

impl Quantity {
    /// The form in which the API server stores it: no fraction, and the largest suffix that allows that.
    #[must_use]
    pub fn canonical(&self) -> String {
        if let Some(kept) = &self.kept {
            return kept.to_string();
        }
        if self.nanos == 0 {
            return "0".to_owned();
        }
        if let Some((mantissa, thousands)) = self.binary_parts() {
            let suffix = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].get(thousands).copied().unwrap_or_default();
            return format!("{mantissa}{suffix}");
        }
        let (mantissa, exponent) = self.mantissa_and_exponent();
        let suffix = match (exponent, self.format) {
            (0, _) => "",
            (_, Format::Exponent) => return format!("{mantissa}e{exponent}"),
            (-9, _) => "n",
            (-6, _) => "u",
            (-3, _) => "m",
            (3, _) => "k",
            (6, _) => "M",
            (9, _) => "G",
            (12, _) => "T",
            (15, _) => "P",
            (18, _) => "E",
            _ => return format!("{mantissa}e{exponent}"),
        };
        format!("{mantissa}{suffix}")
    }

    /// Thousandths, rounded away from zero.
    ///
    /// # Errors
    /// A value that int64 cannot hold in thousandths.
    pub fn milli(&self) -> Result<i64, QuantityError> {
        i64::try_from(self.exact_milli()).map_err(|_| QuantityError::NoMilli { text: self.canonical() })
    }

    /// Thousandths as the controller gets them, overflow included: wrapped around or zero, depending on how
    /// Kubernetes holds the number. Only for the baseline; everybody else wants [`Quantity::milli`].
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "wrapping around is what Go does here")]
    pub fn wrapping_milli(&self) -> i64 {
        let exact = self.exact_milli();
        // From 10^12 up the factor is applied ten by ten, and an overflow on the way is noticed.
        let (_, exponent) = self.mantissa_and_exponent();
        if exponent >= 9 && self.is_held_in_int64() && i64::try_from(exact).is_err() {
            return 0;
        }
        exact as i64
    }

    /// The value as the controller reads a tolerance: the canonical number times the rounded power of ten (or
    /// billionths, where int64 does not do), which is not always the nearest float to the decimal.
    #[must_use]
    pub fn to_f64(&self) -> f64 {
        if !self.is_held_in_int64() {
            return self.nanos as f64 * 1e-9;
        }
        let (mantissa, exponent) = self.mantissa_and_exponent();
        let power = match exponent {
            0 => return mantissa as f64,
            -9 => 1e-9,
            -6 => 1e-6,
            -3 => 1e-3,
            3 => 1e3,
            6 => 1e6,
            9 => 1e9,
            12 => 1e12,
            15 => 1e15,
            18 => 1e18,
            21 => 1e21,
            24 => 1e24,
            // Nothing larger fits.
            _ => 1e27,
        };
        mantissa as f64 * power
    }

    /// Below zero.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    fn exact_milli(&self) -> i128 {
        let (quotient, remainder) = (self.nanos / 1_000_000, self.nanos % 1_000_000);
        quotient + remainder.signum()
    }

    /// Whether Kubernetes holds the canonical number as an int64 and a power of ten, or in arbitrary precision and
    /// billionths. It goes by the count of digits, of which 2^10 takes about three.
    fn is_held_in_int64(&self) -> bool {
        match self.binary_parts() {
            Some((mantissa, thousands)) => digit_count(mantissa) + 3 * thousands < BINARY_DIGITS,
            None => digit_count(self.mantissa_and_exponent().0) <= INT64_DIGITS,
        }
    }

    /// Mantissa and power of ten of the canonical form: the largest multiple of three without a fraction.
    fn mantissa_and_exponent(&self) -> (i128, i32) {
        if self.nanos == 0 {
            return (0, 0);
        }
        if let Some(whole) = self.binary_integer() {
            return (whole, 0);
        }
        let (mut mantissa, mut exponent) = (self.nanos, -NANO_PLACES);
        while mantissa % 1000 == 0 {
            mantissa /= 1000;
            exponent += 3;
        }
        (mantissa, exponent)
    }

    /// The value, where it is written as a binary one: whole, and not below 1024.
    fn binary_integer(&self) -> Option<i128> {
        let whole = self.nanos / 1_000_000_000;
        let binary = self.format == Format::Binary && self.nanos % 1_000_000_000 == 0 && whole.abs() >= 1024;
        binary.then_some(whole)
    }

    /// The same, as mantissa and power of 1024. (The cap at 2^63 - 1 keeps the power below seven.)
    fn binary_parts(&self) -> Option<(i128, usize)> {
        let mut mantissa = self.binary_integer()?;
        let mut thousands = 0;
        while mantissa % 1024 == 0 {
            mantissa /= 1024;
            thousands += 1;
        }
        Some((mantissa, thousands))
    }
}

fn digit_count(mantissa: i128) -> usize {
    mantissa.unsigned_abs().checked_ilog10().map_or(1, |log| log as usize + 1)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}

/// The pieces of a quantity's text.
struct Parts<'a> {
    negative: bool,
    /// Digits before the point, without leading zeros.
    whole: &'a str,
    /// Digits after it.
    fraction: &'a str,
    suffix: &'a str,
}

impl<'a> Parts<'a> {
    /// `[+-] digits [. digits] suffix`, with at least one digit.
    fn of(text: &'a str) -> Option<Self> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let (whole, rest) = super::digits(unsigned);
        let (fraction, suffix) = rest.strip_prefix('.').map_or(("", rest), super::digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole = whole.trim_start_matches('0');
        Some(Parts { negative: text.starts_with('-'), whole, fraction, suffix })
    }

    fn digit_count(&self) -> usize {
        self.whole.len().max(1) + self.fraction.len()
    }

    /// All digits as one number; `None` beyond 38 of them.
    fn mantissa(&self) -> Option<i128> {
        self.whole
            .bytes()
            .chain(self.fraction.bytes())
            .try_fold(0_i128, |sum, digit| sum.checked_mul(10)?.checked_add(i128::from(digit - b'0')))
    }
}

/// What a suffix multiplies by: a power of ten, or of two.
#[derive(Clone, Copy)]
enum Factor {
    Ten { power: i32, format: Format },
    Two { power: u32 },
}

impl Factor {
    fn of(suffix: &str) -> Option<Self> {
        let ten = |power| Some(Factor::Ten { power, format: Format::Decimal });
        match suffix {
            "n" => ten(-9),
            "u" => ten(-6),
            "m" => ten(-3),
            "" => ten(0),
            "k" => ten(3),
            "M" => ten(6),
            "G" => ten(9),
            "T" => ten(12),
            "P" => ten(15),
            "E" => ten(18),
            "Ki" => Some(Factor::Two { power: 10 }),
            "Mi" => Some(Factor::Two { power: 20 }),
            "Gi" => Some(Factor::Two { power: 30 }),
            "Ti" => Some(Factor::Two { power: 40 }),
            "Pi" => Some(Factor::Two { power: 50 }),
            "Ei" => Some(Factor::Two { power: 60 }),
            _ => {
                let power = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
                Some(Factor::Ten { power, format: Format::Exponent })
            }
        }
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Empty);
        }
        let parts = Parts::of(text).ok_or_else(|| QuantityError::Syntax { text: text.to_owned() })?;
        let factor = Factor::of(parts.suffix)
            .ok_or_else(|| QuantityError::Suffix { text: text.to_owned(), suffix: parts.suffix.to_owned() })?;
        let too_large = || QuantityError::TooLarge { text: text.to_owned() };
        let mantissa = parts.mantissa().ok_or_else(too_large)?;
        let places = i32::try_from(parts.fraction.len()).map_err(|_| too_large())?;
        let (power, multiplier, format) = match factor {
            Factor::Ten { power, format } => (power, 1, format),
            Factor::Two { power } => (0, 1_i128 << power, Format::Binary),
        };
        let scale = power.saturating_sub(places);
        let nanos = mantissa
            .checked_mul(multiplier)
            .and_then(|value| times_power_of_ten(value, scale.saturating_add(NANO_PLACES)))
            .ok_or_else(too_large)?;
        // Kubernetes cuts binary quantities, silently, at the highest int64.
        let cap = if format == Format::Binary { i128::from(i64::MAX) * 1_000_000_000 } else { i128::MAX };
        let nanos = nanos.min(cap);
        let kept = keeps_text(&parts, factor, scale, mantissa).then(|| text.into());
        Ok(Quantity { nanos: if parts.negative { -nanos } else { nanos }, format, kept })
    }
}

/// `value` x 10^`power`, rounded up; `None` when it does not fit. `value` is not negative.
fn times_power_of_ten(value: i128, power: i32) -> Option<i128> {
    if value == 0 {
        return Some(0);
    }
    let factor = 10_i128.checked_pow(power.unsigned_abs());
    match (factor, power >= 0) {
        (Some(factor), true) => value.checked_mul(factor),
        (Some(factor), false) => Some(value / factor + i128::from(value % factor != 0)),
        (None, true) => None,
        // Finer than anything: the least there is.
        (None, false) => Some(1),
    }
}

/// Whether Kubernetes takes the text for canonical as it stands. Its test is a shortcut for numbers that fit in int64:
/// decimal, the digits taken together at a multiple of three places, no three zeros at the end and none in front;
/// binary, an odd number of eighths.
fn keeps_text(parts: &Parts<'_>, factor: Factor, scale: i32, mantissa: i128) -> bool {
    match factor {
        Factor::Ten { .. } => {
            let ends_in_thousands = if parts.fraction.len() >= 3 {
                parts.fraction.ends_with("000")
            } else {
                mantissa % 1000 == 0 && parts.digit_count() >= 3
            };
            parts.digit_count() <= INT64_DIGITS
                && scale >= -NANO_PLACES
                && scale % 3 == 0
                && !parts.whole.is_empty()
                && !ends_in_thousands
        }
        Factor::Two { power } => {
            let digits = parts.digit_count() + (power * 3 / 10) as usize;
            parts.fraction.is_empty() && digits < BINARY_DIGITS && mantissa % 8 != 0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Quantity {
        text.parse().expect(text)
    }

    #[test]
    fn quantities_take_their_canonical_form() {
        let cases = [
            ("0.1", "100m"),
            ("0.1234", "123400u"),
            ("1500", "1500"),
            ("1000", "1k"),
            ("0.5Ki", "512"),
            ("1.5Gi", "1536Mi"),
            ("1024Ki", "1Mi"),
            ("8Ei", "9223372036854775807"),
            ("1e-400", "1e-9"),
            ("12e2", "1200"),
            ("12000e2", "1200e3"),
            ("1000E", "1e21"),
            ("-1.5", "-1500m"),
            ("-0", "0"),
        ];
        for (text, canonical) in cases {
            assert_eq!(read(text).canonical(), canonical, "{text}");
        }
    }

    #[test]
    fn thousandths_round_away_from_zero_and_say_when_they_do_not_fit() {
        assert_eq!(read("100u").milli(), Ok(1));
        assert_eq!(read("1.0001").milli(), Ok(1001));
        assert_eq!(read("-1.0001").milli(), Ok(-1001));
        assert_eq!(read("9.2P").milli(), Ok(9_200_000_000_000_000_000));
        assert!(matches!(read("10P").milli(), Err(QuantityError::NoMilli { .. })));
        assert_eq!(read("10P").wrapping_milli(), 0);
    }

    #[test]
    fn what_is_no_quantity_is_told_the_cure() {
        let cases = [
            ("", "missing"),
            (".", "not a quantity"),
            ("m", "not a quantity"),
            ("+-1", "not a quantity"),
            ("abc", "not a quantity"),
            ("1e", "suffix \"e\""),
            ("1K", "suffix \"K\""),
            ("1 k", "suffix \" k\""),
            ("1.5.5", "suffix \".5\""),
            ("1e1.5", "suffix \"e1.5\""),
            ("1e99999999999", "suffix"),
            ("1e40", "too large"),
            ("99999999999999999999999999999999999999999", "too large"),
        ];
        for (text, part) in cases {
            let message = text.parse::<Quantity>().expect_err(text).to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
