//! Times in all the ways that people write them.

use super::super::time::{Moments, decimal, length, shown};
use super::super::{Options, Unit};
use super::{S, imported, refused};

const NOON: i64 = 1_769_860_800_000_000_000;

fn read(cell: &str) -> Option<i64> {
    Moments::new(None).read(cell.as_bytes(), None).ok()
}

#[test]
fn one_moment_in_many_forms() {
    for cell in [
        "1769860800",
        "1769860800.0",
        "1769860800000",
        "1769860800000000",
        "1769860800000000000",
        "1.7698608e9",
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00.000z",
        "2026-01-31 12:00:00",
        "2026-01-31 12:00",
        "2026/01/31 12:00:00",
        "2026-01-31T13:00:00+01:00",
        "2026-01-31T06:30:00-0530",
        "2026-01-31 12:00:00 UTC",
        "2026-01-31 12:00:00 +0000 UTC",
        "2026-01-31T14:00:00+02",
        "2026-01-31 11:59:60",
        " 2026-01-31 12:00:00,000 ",
    ] {
        assert_eq!(read(cell), Some(NOON), "{cell}");
    }
    assert_eq!(read("2026-01-31"), Some(NOON - 12 * 3600 * 1_000_000_000));
    assert_eq!(read("2023-11-16 18:17:03.9799600"), Some(1_700_158_623_979_960_000));
    assert_eq!(read("1700158623.9799600"), Some(1_700_158_623_979_960_000), "exact, not as an f64");
    assert_eq!(read("12.5"), Some(12_500_000_000), "since the beginning");
}

#[test]
fn what_is_no_time() {
    for cell in [
        "",
        "x",
        "-",
        "-5",
        "2026-13-01 00:00:00",
        "2026-02-30",
        "2026-01-31T25:00:00Z",
        "2026-01-31T12:00:00 Mars",
        "1.2.3",
        "1e",
        "e5",
        "99999999999999999999",
        "300000000",
        "9223372036854775807",
        "1e300",
        "0x10",
        "2026-01-31x",
        "1850-01-01",
        "nan",
        "inf",
        "\u{661}\u{662}",
    ] {
        assert_eq!(read(cell), None, "{cell}");
    }
    assert_eq!(decimal(b"-0.000000001"), Some((true, 0, 1)));
    assert_eq!(decimal(b"."), None);
}

#[test]
fn a_told_unit_wins_over_the_magnitude() {
    let ms = Options { time_unit: Some(Unit::Millis), ..Options::default() };
    assert_eq!(imported("t,service\n0,1\n250,1\n", &ms).arrivals, [0, S / 4]);
    assert_eq!(imported("time_ms,service\n0,1\n250,1\n", &Options::default()).arrivals, [0, S / 4]);
    let errors = refused("t,service\n5000000000000,1\n", &ms).to_string();
    assert!(errors.contains("outside of the years 1990 to 2100"), "{errors}");
}

#[test]
fn moments_and_lengths_are_readable() {
    assert_eq!(shown(NOON, true), "2026-01-31T12:00:00Z");
    assert_eq!(shown(61_000_000_000, false), "61 s");
    for (ns, text) in [(0, "0 ns"), (1_500_000, "1 ms"), (S, "1 s"), (90 * S, "1 min 30 s"), (7 * 86_400 * S, "7 d")] {
        assert_eq!(length(ns), text);
    }
}
