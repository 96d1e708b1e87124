//! Times as people export them: numbers since 1970 in four units, numbers since the trace began, and texts in ISO order.
//!
//! One column has one kind of time. The first row says which, and a row of another kind is a mistake worth telling,
//! not a moment fifty thousand years from now.

use super::{Unit, wrong::quoted};

pub(super) const SECOND: u64 = 1_000_000_000;

/// 1990 and 2100: outside of them a number was read in the wrong unit, or is no time.
const EARLIEST: i64 = 631_152_000_000_000_000;
const LATEST: i64 = 4_102_444_800_000_000_000;

/// Numbers below this are seconds since the trace began: three years, and as an epoch time it would be 1973.
const RELATIVE: u64 = 100_000_000;

/// What a time is written as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Text,
    Relative(Unit),
    Epoch(Unit),
}

impl Kind {
    fn name(self) -> String {
        match self {
            Kind::Text => "a date with a time of day".to_owned(),
            Kind::Relative(unit) => format!("{} since the beginning", unit.name()),
            Kind::Epoch(unit) => format!("{} since 1970", unit.name()),
        }
    }
}

/// Reads the times of one column.
pub(super) struct Moments {
    told: Option<Unit>,
    /// Kind of the first time, and its line.
    first: Option<(Kind, Option<u64>)>,
    /// The date read last, and its midnight: most rows share it with the row before.
    day: Option<([u8; 10], i64)>,
    /// Some text had no zone.
    pub(super) zoneless: bool,
}

/// Why a cell is no time: a kind for counting, what is wrong, and the cure.
pub(super) type NoTime = (&'static str, String, String);

impl Moments {
    pub(super) fn new(told: Option<Unit>) -> Self {
        Moments { told, first: None, day: None, zoneless: false }
    }

    /// Whether the times are of a calendar.
    pub(super) fn absolute(&self) -> bool {
        !matches!(self.first, Some((Kind::Relative(_), _)))
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        self.first.map(|(kind, _)| kind)
    }

    /// ns since 1970, or since the beginning.
    pub(super) fn read(&mut self, cell: &[u8], line: Option<u64>) -> Result<i64, NoTime> {
        let cell = cell.trim_ascii();
        let (at, kind) = match self.text(cell) {
            Some(at) => (at, Kind::Text),
            None => self.number(cell)?,
        };
        match self.first {
            None => self.first = Some((kind, line)),
            Some((first, before)) if first != kind => {
                let place = before.map_or_else(String::new, |line| format!(" (line {line})"));
                return Err((
                    "mixed",
                    format!("{} is {}, but the first time is {}{place}", quoted(cell), kind.name(), first.name()),
                    "write all times of the column in one unit".to_owned(),
                ));
            }
            Some(_) => {}
        }
        if !matches!(kind, Kind::Relative(_)) && !(EARLIEST..=LATEST).contains(&at) {
            return Err((
                "range",
                format!("{} read as {} is outside of the years 1990 to 2100", quoted(cell), kind.name()),
                "is this the column of the time?".to_owned(),
            ));
        }
        Ok(at)
    }

    fn number(&self, cell: &[u8]) -> Result<(i64, Kind), NoTime> {
        let range = || {
            let cure = "is this the column of the time?";
            ("range", format!("{} is too large for a time", quoted(cell)), cure.to_owned())
        };
        let Some((negative, whole, billionths)) = decimal(cell) else {
            return Err((
                "time",
                format!("{} is no time", quoted(cell)),
                "write seconds since 1970, or e.g. 2026-01-31T12:00:00Z".to_owned(),
            ));
        };
        if negative && (whole, billionths) != (0, 0) {
            let cure = "times count from 1970, or from the beginning of the trace";
            return Err(("negative", format!("the time {} is negative", quoted(cell)), cure.to_owned()));
        }
        let kind = match (self.told, whole) {
            (None, ..RELATIVE) => Kind::Relative(Unit::Seconds),
            (None, ..100_000_000_000) => Kind::Epoch(Unit::Seconds),
            (None, ..100_000_000_000_000) => Kind::Epoch(Unit::Millis),
            (None, ..100_000_000_000_000_000) => Kind::Epoch(Unit::Micros),
            (None, _) => Kind::Epoch(Unit::Nanos),
            // Told a unit, what is before 1990 is relative: ten years of a trace are enough.
            (Some(unit), _) if i128::from(whole) * i128::from(unit.nanos()) < i128::from(EARLIEST) / 2 => {
                Kind::Relative(unit)
            }
            (Some(unit), _) => Kind::Epoch(unit),
        };
        let (Kind::Relative(unit) | Kind::Epoch(unit)) = kind else { return Err(range()) };
        let part = i64::from(billionths) * i64::from(unit.nanos()) / 1_000_000_000;
        let whole = i64::try_from(whole).ok().and_then(|whole| whole.checked_mul(i64::from(unit.nanos())));
        let at = whole.and_then(|whole| whole.checked_add(part)).ok_or_else(range)?;
        Ok((at, kind))
    }

    /// `2026-01-31[T ]12:00[:00[.123456789]][Z|+01:00|+0100| UTC]`, `/` for `-` too, a `,` before the fraction too.
    fn text(&mut self, cell: &[u8]) -> Option<i64> {
        let (date, rest) = cell.split_first_chunk::<10>()?;
        let midnight = match self.day {
            Some((day, midnight)) if day == *date => midnight,
            _ => {
                let midnight = midnight(date)?;
                self.day = Some((*date, midnight));
                midnight
            }
        };
        let rest = match rest {
            [] => {
                self.zoneless = true;
                return Some(midnight);
            }
            [b'T' | b't' | b' ', rest @ ..] => rest,
            _ => return None,
        };
        let [h1, h2, b':', m1, m2, rest @ ..] = rest else { return None };
        let minutes = two(*h1, *h2, 24)? * 60 + two(*m1, *m2, 60)?;
        let (seconds, rest) = match rest {
            // A leap second is the first of the next minute.
            [b':', s1, s2, rest @ ..] => (two(*s1, *s2, 61)?, rest),
            rest => (0, rest),
        };
        let (nanos, rest) = match rest {
            [b'.' | b',', rest @ ..] => fraction(rest),
            rest => (0, rest),
        };
        let offset = match rest.trim_ascii() {
            [] => {
                self.zoneless = true;
                0
            }
            zone => zone_seconds(zone)?,
        };
        let seconds = minutes * 60 + seconds - offset;
        midnight.checked_add(seconds * 1_000_000_000 + i64::from(nanos))
    }
}

fn midnight(date: &[u8; 10]) -> Option<i64> {
    let [y1, y2, y3, y4, b'-' | b'/', m1, m2, b'-' | b'/', d1, d2] = *date else { return None };
    let year = two(y1, y2, 100)? * 100 + two(y3, y4, 100)?;
    let (year, month, day) = (i16::try_from(year).ok()?, two(m1, m2, 13)?, two(d1, d2, 32)?);
    let date = jiff::civil::Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let at = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    at.checked_mul(1_000_000_000)
}

/// A number of two digits, below `end`.
fn two(tens: u8, ones: u8, end: i64) -> Option<i64> {
    if !tens.is_ascii_digit() || !ones.is_ascii_digit() {
        return None;
    }
    let number = i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
    (number < end).then_some(number)
}

/// Billionths of the digits at the beginning, and what follows them. Digits beyond the ninth are less than a ns.
fn fraction(text: &[u8]) -> (u32, &[u8]) {
    let (mut nanos, mut unit, mut rest) = (0, 100_000_000, text);
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        nanos += u32::from(*digit - b'0') * unit;
        unit /= 10;
        rest = after;
    }
    (nanos, rest)
}

fn zone_seconds(zone: &[u8]) -> Option<i64> {
    let (sign, digits) = match zone {
        b"Z" | b"z" | b"UTC" | b"GMT" => return Some(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    // Go prints `+0000 UTC`.
    let digits = digits.strip_suffix(b" UTC").unwrap_or(digits);
    let (hours, minutes) = match digits {
        [h1, h2] => (two(*h1, *h2, 24)?, 0),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => (two(*h1, *h2, 24)?, two(*m1, *m2, 60)?),
        _ => return None,
    };
    Some(sign * (hours * 60 + minutes) * 60)
}

/// Whether it is negative, the whole, and the billionths of a number, exactly: as an f64, a time in ns is off by 128.
pub(super) fn decimal(cell: &[u8]) -> Option<(bool, u64, u32)> {
    let (negative, digits) = match cell {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let (mut whole, mut rest, mut any) = (0u64, digits, false);
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        whole = whole.checked_mul(10)?.checked_add(u64::from(*digit - b'0'))?;
        (rest, any) = (after, true);
    }
    match rest {
        [] if any => Some((negative, whole, 0)),
        [b'.', part @ ..] if any || part.first().is_some_and(u8::is_ascii_digit) => {
            let (billionths, rest) = fraction(part);
            if rest.is_empty() { Some((negative, whole, billionths)) } else { scientific(cell) }
        }
        [b'e' | b'E', ..] if any => scientific(cell),
        _ => None,
    }
}

/// `1.7e9`, as tools write that hold times as floats.
fn scientific(cell: &[u8]) -> Option<(bool, u64, u32)> {
    let value = std::str::from_utf8(cell).ok()?.parse::<f64>().ok().filter(|value| value.abs() < 1e19)?;
    let size = value.abs();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and bounded just above")]
    let (whole, billionths) = (size.trunc() as u64, (size.fract() * 1e9) as u32);
    Some((value < 0.0, whole, billionths))
}

/// Whether a cell is a time of the calendar: a date, or a number of a plausible epoch.
pub(super) fn looks_like_time(cell: &[u8]) -> bool {
    let mut moments = Moments::new(None);
    moments.read(cell, None).is_ok() && moments.absolute()
}

/// A time in seconds since 1970, as an f64: exact to the ms, which is all that those who write it so have.
pub(super) fn nanos_of_seconds(seconds: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and the range is checked below")]
    let millis = (seconds * 1e3).round() as i64;
    millis.checked_mul(1_000_000).filter(|at| (EARLIEST..=LATEST).contains(at))
}

/// A moment as notes print it.
pub(super) fn shown(at: i64, absolute: bool) -> String {
    let seconds = at.div_euclid(1_000_000_000);
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) if absolute => time.to_string(),
        _ => format!("{seconds} s"),
    }
}

/// A length of time as notes print it, in its two largest units.
pub(super) fn length(ns: u64) -> String {
    let units = [(86_400 * SECOND, "d"), (3_600 * SECOND, "h"), (60 * SECOND, "min"), (SECOND, "s"), (1_000_000, "ms")];
    let Some(at) = units.iter().position(|(unit, _)| ns >= *unit) else { return format!("{ns} ns") };
    let mut words = Vec::new();
    let mut rest = ns;
    for (unit, name) in units.iter().skip(at).take(2) {
        if rest / unit > 0 {
            words.push(format!("{} {name}", rest / unit));
        }
        rest %= unit;
    }
    words.join(" ")
}
