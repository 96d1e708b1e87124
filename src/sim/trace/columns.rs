//! Which column of a table is what: told by the options, by names, and by what stands in the first rows. What cannot be
//! told is asked, never guessed: a depth that is taken for arrivals makes a workload that never was.

use super::names::{bystander, classify};
use super::time::looks_like_time;
use super::wrong::{Wrong, listed};
use super::{Options, Role, Rows, Unit};

/// Rows that are looked at before the first is read.
pub(super) const SAMPLE: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) unit: Option<Unit>,
    weak: bool,
}

/// What a table has.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) time: Column,
    pub(super) rows: Rows,
    /// Without the time.
    pub(super) columns: Vec<Column>,
    pub(super) notes: Vec<String>,
}

/// The first rows of a table.
pub(super) struct Sample<'a> {
    pub(super) names: &'a [String],
    pub(super) rows: &'a [Vec<&'a [u8]>],
}

impl Sample<'_> {
    /// Whether all cells of a column that has any are like this.
    fn all(&self, column: usize, like: impl Fn(&[u8]) -> bool) -> bool {
        let mut cells = self.rows.iter().filter_map(|row| row.get(column)).filter(|cell| !missing(cell)).peekable();
        cells.peek().is_some() && cells.all(|cell| like(cell))
    }

    fn name(&self, column: usize) -> &str {
        self.names.get(column).map_or("", String::as_str)
    }

    /// Columns of numbers that no name explains.
    fn unexplained(&self, found: &[Column]) -> Vec<&str> {
        let free = |column: &usize| found.iter().all(|found| found.index != *column);
        let columns = (0..self.names.len()).filter(free).filter(|column| self.all(*column, numeric));
        columns.map(|column| self.name(column)).filter(|name| !bystander(name)).collect()
    }
}

/// What stands for nothing in the exports of this world.
pub(super) fn missing(cell: &[u8]) -> bool {
    let cell = cell.trim_ascii();
    matches!(cell, b"" | b"-")
        || [&b"nan"[..], b"null", b"none", b"na", b"n/a", b"nil"].iter().any(|word| cell.eq_ignore_ascii_case(word))
}

pub(super) fn number(cell: &[u8]) -> Option<f64> {
    std::str::from_utf8(cell.trim_ascii()).ok()?.parse().ok()
}

fn numeric(cell: &[u8]) -> bool {
    number(cell).is_some()
}

pub(super) fn plan(sample: &Sample<'_>, options: &Options, wrong: &mut Wrong) -> Option<Plan> {
    let mut notes = Vec::new();
    let mut found = mapped(sample, options, wrong);
    guessed(sample, options, &mut found, &mut notes);
    let mut columns = one_each(&found, wrong);
    let time = columns.iter().position(|column| column.role == Role::Time).map(|at| columns.remove(at));
    let Some(time) = time else {
        if wrong.is_empty() {
            no_time(sample, wrong);
        }
        return None;
    };
    if !wrong.is_empty() {
        return None;
    }
    if let Some(other) = swapped(sample, &time, &columns) {
        wrong.row("swapped", Some(2), &time.name, || {
            (
                format!("its values are no times, and those of `{}` look like times", other.name),
                format!("do columns `{}` and `{}` stand in each other's place?", other.name, time.name),
            )
        });
        return None;
    }
    let rows = rows(sample, options, &time, &mut columns, &mut notes, wrong)?;
    let taken = |index| index == time.index || columns.iter().any(|column| column.index == index);
    let rest: Vec<&str> =
        (0..sample.names.len()).filter(|index| !taken(*index)).map(|index| sample.name(index)).collect();
    if !rest.is_empty() {
        notes.push(format!("columns left out: {}", listed(rest.into_iter())));
    }
    Some(Plan { time, rows, columns, notes })
}

fn mapped(sample: &Sample<'_>, options: &Options, wrong: &mut Wrong) -> Vec<Column> {
    let mut found = Vec::new();
    for (role, to) in &options.map {
        match sample.names.iter().position(|name| name == to) {
            Some(index) => {
                let unit = classify(to).and_then(|guess| guess.unit);
                found.push(Column { index, name: to.clone(), role: *role, unit, weak: false });
            }
            None => wrong.file(
                format!("there is no column `{to}`, which --column names for {}", role.name()),
                format!("its columns are {}", listed(sample.names.iter().map(String::as_str))),
            ),
        }
    }
    found
}

fn guessed(sample: &Sample<'_>, options: &Options, found: &mut Vec<Column>, notes: &mut Vec<String>) {
    for (index, name) in sample.names.iter().enumerate() {
        let Some(guess) = classify(name) else { continue };
        let told = options.mapped(guess.role).is_some() || found.iter().any(|column| column.index == index);
        // `queue` is the name of a queue as often as its depth.
        let text = guess.role != Role::Time && sample.all(index, |cell| !numeric(cell));
        if text && sample.rows.len() > 1 && !sample.all(index, looks_like_time) {
            notes.push(format!("`{name}` holds text, not {}", guess.role.name()));
        } else if !told {
            found.push(Column { index, name: name.clone(), role: guess.role, unit: guess.unit, weak: guess.weak });
        }
    }
}

/// One column for each role: two are a question.
fn one_each(found: &[Column], wrong: &mut Wrong) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for role in Role::ALL {
        let mut of: Vec<&Column> = found.iter().filter(|column| column.role == role).collect();
        if of.iter().any(|column| !column.weak) {
            of.retain(|column| !column.weak);
        }
        if let [first, _, ..] = of.as_slice() {
            let names = listed(of.iter().map(|column| column.name.as_str()));
            wrong.file(
                format!("columns {names} could each be the {}", role.name()),
                format!("choose with --column, e.g. {}={}", role.name(), first.name),
            );
        }
        columns.extend(of.into_iter().take(1).cloned());
    }
    // `value` gives way to anything that tells more than a depth does.
    let flow = |column: &Column| matches!(column.role, Role::Arrivals | Role::Rate | Role::Enqueued);
    if columns.iter().any(flow) {
        columns.retain(|column| !column.weak);
    }
    columns
}

fn no_time(sample: &Sample<'_>, wrong: &mut Wrong) {
    let like = (0..sample.names.len()).find(|column| sample.all(*column, looks_like_time));
    let cure = match like.map(|column| sample.name(column)) {
        Some(name) => format!("`{name}` looks like it: use --column: time={name}"),
        None => "name it `timestamp`, or use --column: time=COLUMN".to_owned(),
    };
    let names = listed(sample.names.iter().map(String::as_str));
    wrong.row("time", Some(1), "", || (format!("no column is the time; there are {names}"), cure));
}

/// The column that has the times, if the one that should have them has none.
fn swapped<'a>(sample: &Sample<'_>, time: &Column, columns: &'a [Column]) -> Option<&'a Column> {
    if sample.all(time.index, looks_like_time) {
        return None;
    }
    let mut last = f64::NEG_INFINITY;
    let increasing = sample.rows.iter().all(|row| {
        let now = row.get(time.index).and_then(|cell| number(cell)).unwrap_or(f64::NAN);
        now > std::mem::replace(&mut last, now)
    });
    columns.iter().find(|column| {
        // A counter may be as large as an epoch; beside a time that increases, it is one.
        let counter = matches!(column.role, Role::Enqueued | Role::Completed);
        let text = sample.all(column.index, |cell| !numeric(cell));
        sample.all(column.index, looks_like_time) && (text || !increasing || !counter)
    })
}

fn rows(
    sample: &Sample<'_>,
    options: &Options,
    time: &Column,
    columns: &mut Vec<Column>,
    notes: &mut Vec<String>,
    wrong: &mut Wrong,
) -> Option<Rows> {
    let of_event = |role| matches!(role, Role::Service | Role::InputTokens | Role::OutputTokens);
    let has = |columns: &[Column], like: &dyn Fn(Role) -> bool| columns.iter().any(|column| like(column.role));
    let flow =
        |role| matches!(role, Role::Arrivals | Role::Rate | Role::Enqueued | Role::Completed | Role::Completions);
    let rows = match options.rows {
        Some(rows) => rows,
        None if has(columns, &flow) => Rows::Series,
        None if has(columns, &of_event) => Rows::Events,
        // Gauges alone tell no arrivals, but a row of them is no item either.
        None if has(columns, &|role| !of_event(role)) => Rows::Series,
        None => {
            let mut explained = columns.clone();
            explained.push(time.clone());
            let unexplained = sample.unexplained(&explained);
            if let [first, ..] = unexplained.as_slice() {
                let names = listed(unexplained.iter().copied());
                wrong.row("unexplained", Some(1), "", || {
                    (
                        format!("what is counted in {names} is not told by the name"),
                        format!(
                            "use --column: arrivals={first} (per row), rate=, enqueued= (a counter), depth= or \
                             service="
                        ),
                    )
                });
                return None;
            }
            Rows::Events
        }
    };
    let before = columns.len();
    match rows {
        Rows::Events => columns.retain(|column| of_event(column.role)),
        Rows::Series => columns.retain(|column| !of_event(column.role)),
    }
    if rows == Rows::Events {
        notes.push("each row is taken for one item that came".to_owned());
        if columns.len() < before {
            notes.push("what was measured beside the items is left out".to_owned());
        }
    }
    Some(rows)
}
