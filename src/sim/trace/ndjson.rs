//! A JSON object per line: logs of events, and what `jq -c` writes. The keys are the columns of a table.

use std::collections::BTreeSet;
use std::io::BufRead;

use serde_json::{Map, Value};

use super::columns::SAMPLE;
use super::table::Table;
use super::wrong::{Wrong, quoted};
use super::{Format, Job, Trace, lines};

pub(super) fn import(job: &Job<'_>, input: &mut dyn BufRead, wrong: &mut Wrong) -> Option<Trace> {
    let mut reading = Reading { job, first: Vec::new(), names: Vec::new(), table: None };
    let read = lines(input, wrong, |number, line, wrong| reading.line(number, line, wrong));
    if reading.table.is_none() && wrong.is_empty() {
        reading.begin(wrong);
    }
    if !read {
        return None;
    }
    reading.table?.finish(wrong)
}

/// A line is planned with once there are enough of them, and read.
struct Reading<'a> {
    job: &'a Job<'a>,
    first: Vec<(u64, Map<String, Value>)>,
    names: Vec<String>,
    table: Option<Table<'a>>,
}

impl Reading<'_> {
    fn line(&mut self, number: u64, line: &[u8], wrong: &mut Wrong) -> bool {
        if line.is_empty() {
            return true;
        }
        let object = match serde_json::from_slice::<Map<String, Value>>(line) {
            Ok(object) => object,
            Err(error) => {
                wrong.row("json", Some(number), "", || {
                    (
                        format!("{} is no JSON object: {error}", quoted(line)),
                        "write one object per line (jq -c . FILE)".to_owned(),
                    )
                });
                return true;
            }
        };
        if let Some(table) = &mut self.table {
            return row(table, &self.names, number, &object, wrong);
        }
        self.first.push((number, object));
        self.first.len() < SAMPLE || self.begin(wrong)
    }

    fn begin(&mut self, wrong: &mut Wrong) -> bool {
        let first = std::mem::take(&mut self.first);
        if first.is_empty() {
            wrong.file("there are no objects in it", "write one JSON object per line");
            return false;
        }
        let names: BTreeSet<&String> = first.iter().flat_map(|(_, object)| object.keys()).collect();
        self.names = names.into_iter().cloned().collect();
        let cells: Vec<Vec<String>> =
            first.iter().map(|(_, object)| self.names.iter().map(|name| cell(object.get(name))).collect()).collect();
        let sample: Vec<Vec<&[u8]>> = cells.iter().map(|row| row.iter().map(String::as_bytes).collect()).collect();
        let Some(table) = Table::plan(self.job, Format::Ndjson, &self.names, &sample, wrong) else { return false };
        let table = self.table.insert(table);
        first.iter().all(|(number, object)| row(table, &self.names, *number, object, wrong))
    }
}

fn row(table: &mut Table<'_>, names: &[String], number: u64, object: &Map<String, Value>, wrong: &mut Wrong) -> bool {
    let cells: Vec<String> = names.iter().map(|name| cell(object.get(name))).collect();
    table.row(Some(number), |index| cells.get(index).map(String::as_bytes), wrong)
}

/// A number as it was written (as far as an f64 holds it); nothing for what is no single value.
fn cell(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(truth)) => truth.to_string(),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => String::new(),
    }
}
