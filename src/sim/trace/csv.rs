//! Tables between commas, tabs or semicolons, row by row: the largest exports are CSV, and none is held in memory.

use std::io::BufRead;

use ::csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};

use super::columns::SAMPLE;
use super::detect::KNOWN;
use super::names::classify;
use super::table::Table;
use super::time::looks_like_time;
use super::wrong::{Wrong, quoted};
use super::{Format, Job, Trace};

pub(super) fn import(job: &Job<'_>, head: &[u8], input: &mut dyn BufRead, wrong: &mut Wrong) -> Option<Trace> {
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter(head))
        .comment(Some(b'#'))
        .flexible(true)
        .has_headers(false)
        .buffer_capacity(1 << 18)
        .from_reader(input);
    let mut header = ByteRecord::new();
    if !next(&mut reader, &mut header, wrong) {
        if wrong.is_empty() {
            wrong.file("there are no rows in it", "write a header such as timestamp,depth and a row per sample");
        }
        return None;
    }
    let data = |cell: &[u8]| cell.first().is_some_and(u8::is_ascii_digit) || looks_like_time(cell);
    if header.iter().all(data) {
        wrong.row("header", Some(1), "", || {
            (
                format!(
                    "the first line has no names, it looks like a row: {}",
                    quoted(header.get(0).unwrap_or_default())
                ),
                "write a header such as timestamp,depth (or timestamp alone, if each line is one arrival)".to_owned(),
            )
        });
        return None;
    }
    let names: Vec<String> = header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();

    // What the columns are is told by their names and by the first rows.
    let mut first = Vec::new();
    let mut record = ByteRecord::new();
    while first.len() < SAMPLE && next(&mut reader, &mut record, wrong) {
        first.push(record.clone());
    }
    if !wrong.is_empty() {
        return None;
    }
    if first.is_empty() && job.options.format.is_none() && names.iter().all(|name| classify(name).is_none()) {
        // A sentence with a comma in it.
        wrong.file("its format is not known", format!("{KNOWN}; format: in a Scenario tells which it is"));
        return None;
    }
    if first.is_empty() {
        wrong.file("it has a header and no rows", "export again; is the time range right?");
        return None;
    }
    let sample: Vec<Vec<&[u8]>> = first.iter().map(|record| record.iter().collect()).collect();
    let mut table = Table::plan(job, Format::Csv, &names, &sample, wrong)?;
    let mut go_on = true;
    for record in &first {
        go_on = go_on && table.row(line(record), |index| record.get(index), wrong);
    }
    while go_on && next(&mut reader, &mut record, wrong) {
        go_on = table.row(line(&record), |index| record.get(index), wrong);
    }
    table.finish(wrong)
}

fn line(record: &ByteRecord) -> Option<u64> {
    record.position().map(::csv::Position::line)
}

/// Reads a row; false at the end, and where reading failed, which is told.
fn next(reader: &mut Reader<&mut dyn BufRead>, record: &mut ByteRecord, wrong: &mut Wrong) -> bool {
    match reader.read_byte_record(record) {
        Ok(more) => more,
        Err(error) => {
            if let ErrorKind::Io(error) = error.kind() {
                super::unreadable(error, wrong);
            } else {
                wrong.file(format!("it is no CSV: {error}"), "export it again as CSV");
            }
            false
        }
    }
}

/// What the first line has most of.
fn delimiter(head: &[u8]) -> u8 {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let line = lines.find(|line| !line.is_empty() && line.first() != Some(&b'#')).unwrap_or_default();
    let count = |delimiter: u8| line.iter().filter(|byte| **byte == delimiter).count();
    // The last of equals wins, so that no delimiter at all is a comma.
    [b';', b'\t', b','].into_iter().max_by_key(|delimiter| count(*delimiter)).unwrap_or(b',')
}
