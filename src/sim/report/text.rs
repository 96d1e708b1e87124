//! Words and numbers of a report: with as many digits as mean something, and escaped for the page.

use super::Estimate;

/// Text between tags, or in an attribute with double quotes. What XML cannot hold becomes a replacement character.
pub(in crate::sim::report) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(printable(other)),
        }
    }
    out
}

/// The same text for plotters, which escapes by itself but lets control characters through.
pub(in crate::sim::report) fn plain(text: &str) -> String {
    text.chars().map(printable).collect()
}

fn printable(c: char) -> char {
    let odd = c.is_control() && !matches!(c, '\n' | '\t' | '\r');
    if odd || matches!(c, '\u{fffe}' | '\u{ffff}') { '\u{fffd}' } else { c }
}

/// Numbers and their units stay on a line.
pub(in crate::sim::report) fn together(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split(' ') {
        if !out.is_empty() {
            let unit = out.ends_with(|c: char| c.is_ascii_digit()) && word.chars().count() <= 3;
            out.push(if unit { '\u{a0}' } else { ' ' });
        }
        out.push_str(word);
    }
    out
}

/// At most so many characters, the last of them an ellipsis if there were more.
pub(in crate::sim::report) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(most.saturating_sub(1)).collect();
    out.truncate(out.trim_end().len());
    out.push('…');
    out
}

/// Three digits that count, with thousands set apart: `0.042`, `1.42`, `14.2`, `142`, `1 420`.
pub(in crate::sim::report) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    let text = if size < 5e-7 {
        "0".to_owned()
    } else if size < 0.01 {
        let mut decimals: usize = 3;
        while decimals < 8 && size * power(decimals) < 9.5 {
            decimals += 1;
        }
        bare(&format!("{size:.decimals$}"))
    } else if size < 0.9995 {
        bare(&format!("{size:.3}"))
    } else if size < 9.995 {
        format!("{size:.2}")
    } else if size < 99.95 {
        format!("{size:.1}")
    } else if size < 1e15 {
        grouped(&format!("{size:.0}"))
    } else {
        format!("{size:.1e}")
    };
    if value < 0.0 && text != "0" { format!("−{text}") } else { text }
}

fn power(decimals: usize) -> f64 {
    (0..decimals).fold(1.0, |so_far, _| so_far * 10.0)
}

/// The same without zeros that say nothing: for ticks and for counts.
pub(in crate::sim::report) fn short(value: f64) -> String {
    bare(&number(value))
}

fn bare(text: &str) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
}

fn grouped(digits: &str) -> String {
    if digits.len() <= 3 {
        return digits.to_owned();
    }
    let mut out = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A percentage near a hundred: as many decimals as tell it from that, and never rounded up to it.
pub(in crate::sim::report) fn on_time(percent: f64) -> String {
    if !percent.is_finite() {
        return "–".to_owned();
    }
    let percent = percent.clamp(0.0, 100.0);
    if percent >= 100.0 {
        return "100".to_owned();
    }
    let gap = 100.0 - percent;
    let mut decimals: usize = 1;
    while decimals < 5 && gap * power(decimals) < 1.0 {
        decimals += 1;
    }
    let text = format!("{percent:.decimals$}");
    if text.starts_with("100") { ">99.99999".to_owned() } else { text }
}

/// How often something happened, on average: `0`, `0.6`, `6.5`, `28`, `1 420`.
pub(in crate::sim::report) fn count(value: f64) -> String {
    if value.is_finite() && value.abs() < 9.95 && value.abs() >= 0.05 {
        let text = bare(&format!("{:.1}", value.abs()));
        return if value < 0.0 { format!("−{text}") } else { text };
    }
    if value.abs() < 0.05 && value.abs() > 5e-7 { "<0.1".to_owned() } else { short(value.round()) }
}

/// Sums that may be huge: `863`, `14.2 k`, `18.1 M`.
pub(in crate::sim::report) fn compact(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    let (scaled, unit) = if size < 9999.5 {
        return if size < 99.95 { short(value) } else { number(value) };
    } else if size < 999_500.0 {
        (value / 1e3, "k")
    } else if size < 999_500_000.0 {
        (value / 1e6, "M")
    } else {
        (value / 1e9, "G")
    };
    format!("{} {unit}", number(scaled))
}

/// A difference in percent, with its sign and a proper minus: `+0.42`, `−2.9`, `+182`.
pub(in crate::sim::report) fn difference(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let text = if value.abs() >= 9.95 { short(value.round()) } else { short((value * 100.0).round() / 100.0) };
    let text = if value.abs() < 9.95 && value.abs() >= 0.995 { short((value * 10.0).round() / 10.0) } else { text };
    if value > 0.0 && text != "0" { format!("+{text}") } else { text }
}

/// `340 ms`, `2.1 s`, `41 s`, `4 m 10 s`, `2 h`, `3 d 4 h`.
pub(in crate::sim::report) fn seconds(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value < 0.0 {
        return format!("−{}", seconds(-value));
    }
    let tenths = (value * 10.0).round() / 10.0;
    if value < 5e-7 {
        "0 s".to_owned()
    } else if value < 0.009_95 {
        format!("{} ms", short((value * 10_000.0).round() / 10.0))
    } else if value < 0.9995 {
        format!("{} ms", short((value * 1000.0).round()))
    } else if tenths < 10.0 {
        format!("{} s", bare(&format!("{tenths:.1}")))
    } else if value.round() < 60.0 {
        format!("{:.0} s", value.round())
    } else if value.round() < 3600.0 {
        pair(value.round(), 60.0, "m", 1.0, "s")
    } else if value < 86_370.0 {
        pair((value / 60.0).round() * 60.0, 3600.0, "h", 60.0, "m")
    } else {
        pair((value / 3600.0).round() * 3600.0, 86_400.0, "d", 3600.0, "h")
    }
}

fn pair(value: f64, large: f64, large_name: &str, small: f64, small_name: &str) -> String {
    let whole = (value / large).floor();
    let rest = ((value - whole * large) / small).round();
    let whole = short(whole);
    if rest < 1.0 { format!("{whole} {large_name}") } else { format!("{whole} {large_name} {rest:.0} {small_name}") }
}

/// `1 seed`, `3 seeds`.
pub(in crate::sim::report) fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `1.2 MB`, for files.
pub(in crate::sim::report) fn bytes(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let count = count as f64;
    if count < 1000.0 {
        format!("{} B", short(count))
    } else if count < 1e6 {
        format!("{} kB", short(count / 1e3))
    } else if count < 1e9 {
        format!("{} MB", short(count / 1e6))
    } else {
        format!("{} GB", short(count / 1e9))
    }
}

/// The interval in words, if there is one.
pub(in crate::sim::report) fn interval(estimate: &Estimate, say: impl Fn(f64) -> String) -> Option<String> {
    let Estimate { low, high, .. } = *estimate;
    (low.is_finite() && high.is_finite() && high > low).then(|| {
        // A dash between numbers that may have signs would be read as one.
        let (low, high) = (say(low), say(high));
        let between = if low.starts_with(['+', '−']) { " to " } else { "–" };
        format!("{low}{between}{high}")
    })
}

/// The value, and its interval in brackets.
pub(in crate::sim::report) fn with_interval(estimate: &Estimate, say: impl Fn(f64) -> String) -> String {
    let mean = say(estimate.mean);
    interval(estimate, say).map_or_else(|| mean.clone(), |interval| format!("{mean} ({interval})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_sensible_digits() {
        for (value, text) in [
            (0.0, "0 s"),
            (0.000_4, "0.4 ms"),
            (0.034, "34 ms"),
            (0.34, "340 ms"),
            (0.9996, "1 s"),
            (2.1, "2.1 s"),
            (2.0, "2 s"),
            (9.97, "10 s"),
            (41.3, "41 s"),
            (59.7, "1 m"),
            (250.0, "4 m 10 s"),
            (3599.7, "1 h"),
            (7200.0, "2 h"),
            (7500.0, "2 h 5 m"),
            (86_399.0, "1 d"),
            (273_600.0, "3 d 4 h"),
            (-2.1, "−2.1 s"),
            (f64::NAN, "–"),
            (f64::INFINITY, "–"),
        ] {
            assert_eq!(seconds(value), text, "{value}");
        }
    }

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.000_123, "0.00012"),
            (0.042, "0.042"),
            (0.5, "0.5"),
            (1.0, "1.00"),
            (1.424, "1.42"),
            (14.24, "14.2"),
            (142.4, "142"),
            (1424.0, "1\u{202f}424"),
            (1_424_000.0, "1\u{202f}424\u{202f}000"),
            (-3.5, "−3.50"),
        ] {
            assert_eq!(number(value), text, "{value}");
        }
        assert_eq!(short(20.0), "20");
        for (value, text) in [(12.4, "+12"), (-9.96, "−10"), (-2.93, "−2.9"), (0.423, "+0.42"), (0.001, "0")] {
            assert_eq!(difference(value), text, "{value}");
        }
        for (value, text) in
            [(0.0, "0"), (0.56, "0.6"), (0.01, "<0.1"), (6.55, "6.5"), (28.1, "28.0"), (1424.0, "1\u{202f}424")]
        {
            assert_eq!(count(value).trim_end_matches(".0"), text.trim_end_matches(".0"), "{value}");
        }
        for (value, text) in [(0.0, "0"), (863.4, "863"), (14_210.0, "14.2 k"), (18_147_831.0, "18.1 M")] {
            assert_eq!(compact(value), text, "{value}");
        }
    }

    #[test]
    fn nearly_everybody_is_not_everybody() {
        for (value, text) in [
            (100.0, "100"),
            (97.25, "97.2"),
            (99.4, "99.4"),
            (99.93, "99.93"),
            (99.9988, "99.999"),
            (99.999_999_9, ">99.99999"),
            (100.4, "100"),
            (0.0, "0.0"),
        ] {
            assert_eq!(on_time(value), text, "{value}");
        }
    }

    #[test]
    fn texts_are_escaped_and_cut() {
        assert_eq!(escape("<a b=\"c\">&'\u{0}"), "&lt;a b=&quot;c&quot;&gt;&amp;&#39;\u{fffd}");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcd", 4), "abcd");
        assert_eq!(bytes(1_234_567), "1.23 MB");
    }
}
