//! What a file is, told from its beginning. Names of files lie, and exports come through pipes.

use super::names::classify;
use super::time::looks_like_time;
use super::wrong::Wrong;
use super::{Format, Role};

pub(super) const KNOWN: &str = "known are: CSV or TSV with a header (`timestamp,depth,enqueued_total,replicas`, \
                     `timestamp,arrivals` or `timestamp,service`), NDJSON (`{\"t\":0.5,\"service\":0.2}` per line), \
                     Prometheus query_range JSON, CloudWatch get-metric-data JSON, counts per bin (numbers alone), \
                     and Standard Workload Format (`;` header)";

pub(super) fn format(head: &[u8], wrong: &mut Wrong) -> Option<Format> {
    if let Some((what, cure)) = binary(head) {
        wrong.file(what, cure);
        return None;
    }
    let text = head.trim_ascii_start();
    let found = match text.first() {
        Some(b'{' | b'[') => json(text, wrong)?,
        Some(b';') if swf(text) => Some(Format::Swf),
        Some(b'#') | None => lines(text),
        Some(_) => lines(text),
    };
    if found.is_none() {
        wrong.file("its format is not known", format!("{KNOWN}; format: in a Scenario tells which it is"));
    }
    found
}

fn binary(head: &[u8]) -> Option<(&'static str, &'static str)> {
    match head {
        [0x1f, 0x8b, ..] => Some(("it is compressed (gzip)", "unpack it first: gunzip FILE")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(("it is compressed (zstd)", "unpack it first: unzstd FILE")),
        [b'P', b'K', 3, 4, ..] => Some(("it is a zip archive or a spreadsheet", "unpack it, or save it as CSV")),
        [b'P', b'A', b'R', b'1', ..] => Some(("it is a Parquet file", "convert it to CSV first")),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(("it is written in UTF-16", "save it as UTF-8")),
        _ if head.trim_ascii_start().first() == Some(&b'<') => {
            Some(("it is HTML or XML", "is it the page of a login or of an error? Export it as CSV or JSON"))
        }
        _ if head.contains(&0) => Some(("it is not text", "export it as CSV or JSON")),
        _ => None,
    }
}

/// The outer None is a format that is told by name.
fn json(text: &[u8], wrong: &mut Wrong) -> Option<Option<Format>> {
    let has = |word: &str| text.windows(word.len()).any(|part| part == word.as_bytes());
    if has("\"MetricDataResults\"") {
        return Some(Some(Format::CloudWatch));
    }
    if has("\"resultType\"") || has("\"errorType\"") || (has("\"metric\"") && has("\"values\"")) || error_answer(text) {
        return Some(Some(Format::Prometheus));
    }
    if has("\"Datapoints\"") {
        wrong.file("it is an answer of get-metric-statistics", "use aws cloudwatch get-metric-data instead");
        return None;
    }
    if text.first() == Some(&b'[') {
        wrong.file("it is one JSON array", "write one object per line: jq -c '.[]' FILE");
        return None;
    }
    // A line that the head ends in the middle of is no proof against it.
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(line);
    match object {
        Ok(_) => Some(Some(Format::Ndjson)),
        Err(error) => {
            wrong.file(
                format!("its first line is no JSON object: {error}"),
                format!("write one object per line (jq -c . FILE); {KNOWN}"),
            );
            None
        }
    }
}

fn error_answer(text: &[u8]) -> bool {
    let start = text.get(..200).unwrap_or(text);
    let plain: Vec<u8> = start.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    plain.starts_with(b"{\"status\":\"error\"")
}

/// `;` lines, then numbers. A table between semicolons may begin with one, too.
fn swf(text: &[u8]) -> bool {
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    match lines.find(|line| !line.is_empty() && line.first() != Some(&b';')) {
        Some(line) => line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).all(numeric),
        None => true,
    }
}

fn lines(text: &[u8]) -> Option<Format> {
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.find(|line| !line.is_empty() && line.first() != Some(&b'#'))?;
    let words = || first.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    if words().all(numeric) {
        // A number this large is a time: a table without its header, which the table tells better.
        let time = words().next().is_some_and(looks_like_time);
        if words().count() >= 18 && words().any(|word| word == b"-1") {
            return Some(Format::Swf);
        }
        return Some(if time { Format::Csv } else { Format::Counts });
    }
    let table = first.iter().any(|byte| matches!(byte, b',' | b'\t' | b';'));
    let name = std::str::from_utf8(first).unwrap_or_default().trim_matches('"');
    let time = classify(name).is_some_and(|guess| guess.role == Role::Time);
    (table || time || looks_like_time(first)).then_some(Format::Csv)
}

fn numeric(word: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E');
    word.iter().all(plain) && word.iter().any(u8::is_ascii_digit)
}
