//! Pages that are made: every form that a line may have, in either format.

use std::fmt::Write as _;

use tidegate::source::prometheus::exposition::{Format, Line, everything, picked};

use super::readings::{difference, ours, page, theirs};

/// Xorshift64, shifts 13, 7, 17 (Marsaglia).
struct Luck(u64);

impl Luck {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, many: usize) -> usize {
        (self.next() >> 11) as usize % many
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        &some[self.below(some.len())]
    }
}

const STEMS: [&str; 6] = ["jobs", "http_requests", "a", "_x:y", "queue_length", "Z9"];
const LABELS: [&str; 5] = ["queue", "le_", "instance", "_", "A1"];
const VALUES: [&str; 12] =
    ["", "a", "high priority", "}", "{,=", "#", "\\\\", "\\\"", "\\n", "C:\\\\dir\\\\", "ünïcode 世界", "a\\\\n\\\"b"];
const NUMBERS: [&str; 16] = [
    "0",
    "1",
    "17",
    "4503599627370496",
    "-3",
    "+4",
    "1.5",
    "-0.25",
    "1e3",
    "1.5e-9",
    "6.02e+23",
    "NaN",
    "+Inf",
    "-Inf",
    "00",
    "123456789012345678",
];
const HELPS: [&str; 5] = ["Waiting.", "", "a \\\\ b\\nc", "# TYPE in help", "ünï"];

/// A page, and one of its metrics.
fn page_of(luck: &mut Luck, format: Format) -> (String, String) {
    let mut text = String::new();
    let mut chosen = String::new();
    let families = 1 + luck.below(3);
    let mut names: Vec<String> = Vec::new();
    while names.len() < families {
        let name = format!("{}{}", luck.pick(&STEMS), luck.below(100));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    for name in &names {
        let metric = family(luck, format, name, &mut text);
        if chosen.is_empty() || luck.once_in(3) {
            chosen = metric;
        }
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    (text, chosen)
}

/// Writes a family; returns the name that one of its series has.
fn family(luck: &mut Luck, format: Format, name: &str, text: &mut String) -> String {
    let quoted = luck.once_in(8);
    // Names beyond ASCII are in quotes, and so may others be.
    let name = if quoted && luck.once_in(2) { format!("{name}.ü") } else { name.to_owned() };
    let shown = if quoted { format!("\"{name}\"") } else { name.clone() };
    let kind = *luck.pick(&["", "gauge", "counter", "histogram", "summary"]);
    let kind = if quoted && kind != "gauge" { "" } else { kind };
    if luck.once_in(2) {
        let help = *luck.pick(&HELPS);
        let _ = writeln!(text, "# HELP {shown} {help}");
    }
    if !kind.is_empty() {
        let _ = writeln!(text, "# TYPE {shown} {kind}");
    } else {
        // Where there is no such line, their grammar takes another metric for one more series of what stands before.
        let untyped = if format == Format::OpenMetrics { "unknown" } else { "untyped" };
        let _ = writeln!(text, "# TYPE {shown} {untyped}");
    }
    let keys: Vec<&str> = {
        let many = luck.below(3);
        (0..many).map(|at| LABELS[(at * 2 + 1) % LABELS.len()]).collect()
    };
    let series = if keys.is_empty() { 1 } else { 1 + luck.below(3) };
    for number in 0..series {
        // Each series has labels of its own.
        let mut pairs: Vec<String> =
            keys.iter().map(|key| format!("{key}=\"{}{number}\"", luck.pick(&VALUES))).collect();
        let time = if luck.once_in(4) {
            match format {
                Format::Text => format!(" {}", 1_395_066_363_000 + luck.below(100_000)),
                Format::OpenMetrics => format!(" {}.{}", 1_395_066_363 + luck.below(100_000), luck.below(1_000)),
            }
        } else {
            String::new()
        };
        let count = luck.below(1_000);
        match kind {
            "histogram" => {
                for (bound, part) in [("0.1", 0), ("1", count / 2), ("+Inf", count)] {
                    let le = format!("le=\"{bound}\"");
                    let exemplar = if format == Format::OpenMetrics && luck.once_in(4) {
                        " # {trace_id=\"oHg5SJ#YRHA0\"} 9.8 1520879607.789"
                    } else {
                        ""
                    };
                    let all = pairs.iter().chain([&le]).cloned().collect::<Vec<_>>().join(",");
                    let _ = writeln!(text, "{name}_bucket{{{all}}} {part}{time}{exemplar}");
                }
                let labels = braces(luck, &pairs);
                let _ = writeln!(text, "{name}_sum{labels} {}{time}", luck.pick(&["0", "1.5", "17e3"]));
                let _ = writeln!(text, "{name}_count{labels} {count}{time}");
            }
            "summary" => {
                pairs.push("quantile=\"0.5\"".to_owned());
                let _ = writeln!(text, "{name}{{{}}} {}{time}", pairs.join(","), luck.pick(&["0", "0.25", "NaN"]));
                pairs.pop();
                let labels = braces(luck, &pairs);
                let _ = writeln!(text, "{name}_sum{labels} {}{time}", luck.pick(&["0", "1.5"]));
                let _ = writeln!(text, "{name}_count{labels} {count}{time}");
            }
            "counter" => {
                let total = if format == Format::OpenMetrics { "_total" } else { "" };
                let labels = braces(luck, &pairs);
                let _ = writeln!(text, "{name}{total}{labels} {count}{time}");
            }
            _ if quoted => {
                let all = std::iter::once(&shown).chain(&pairs).cloned().collect::<Vec<_>>().join(",");
                let _ = writeln!(text, "{{{all}}} {}{time}", luck.pick(&NUMBERS));
            }
            _ => {
                let labels = braces(luck, &pairs);
                let _ = writeln!(text, "{name}{labels} {}{time}", luck.pick(&NUMBERS));
            }
        }
    }
    match kind {
        "histogram" | "summary" => format!("{name}_count"),
        "counter" if format == Format::OpenMetrics => format!("{name}_total"),
        _ => name,
    }
}

fn braces(luck: &mut Luck, pairs: &[String]) -> String {
    match pairs {
        [] if luck.once_in(2) => String::new(),
        _ => format!("{{{}}}", pairs.join(",")),
    }
}

fn cases() -> u64 {
    let long = !cfg!(debug_assertions) && std::env::var_os("TIDEGATE_LONG").is_some();
    if long { 1_000_000 } else { 20_000 }
}

#[test]
fn generated_pages_are_read_alike() {
    let mut both = 0;
    for case in 0..cases() {
        let mut luck = Luck((case + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let format = if case % 2 == 0 { Format::Text } else { Format::OpenMetrics };
        let (text, metric) = page_of(&mut luck, format);
        let (ours, theirs) = (ours(&text, format), theirs(&text, format));
        assert!(ours == theirs && ours.is_ok(), "case {case}, {format:?}:\n{text}\n{}", difference(&ours, &theirs));
        both += ours.map_or(0, |numbers| numbers.len());
        // And the reader in the hot path finds the same of one metric.
        let lines = everything(page(&text, format)).unwrap();
        let all: Vec<(u64, Option<u64>)> = lines
            .iter()
            .filter_map(|line| match line {
                Line::Series(series) if series.name == metric => {
                    Some((series.value.to_bits(), series.time.map(f64::to_bits)))
                }
                _ => None,
            })
            .collect();
        let found = picked(page(&text, format), &metric, &[]).unwrap();
        let found: Vec<_> = found.into_iter().map(|(value, time)| (value.to_bits(), time.map(f64::to_bits))).collect();
        assert!(!all.is_empty() && found == all, "case {case}: {metric}\n{text}");
    }
    println!("{} pages, {both} numbers read alike", cases());
}
