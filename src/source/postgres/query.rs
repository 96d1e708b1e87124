//! A query of the user's: any `select` that gives one number.
//!
//! It is put into a statement of ours, so that what comes back is one column of floating-point numbers and at most two
//! rows, however many it would have given. What it gives is looked at once for each connection, before it is run: how
//! many columns, and of what type. Nothing is guessed: what is not one plain number is a failure that says what to write.

use tokio_postgres::types::{Kind, Type};

use super::stores::EXACT;
use crate::model::{FailureKind, ReadFailure};
use crate::source::network::shown;

/// `text` as one statement, without the semicolon that may end it.
///
/// # Errors
/// There is another statement behind it, or there is none.
pub(super) fn alone(text: &str) -> Result<&str, ReadFailure> {
    let ends = Scan::new(text).next_semicolon();
    let (statement, rest) = text.split_at(ends.unwrap_or(text.len()));
    if !Scan::new(rest.trim_start_matches(';')).is_blank() {
        return Err(configuration("has several statements; write one `select`"));
    }
    if Scan::new(statement).is_blank() {
        return Err(configuration("is empty; write a `select` that gives one number"));
    }
    Ok(statement)
}

/// What is prepared to learn what the query gives; not run.
pub(super) fn examination(statement: &str) -> String {
    // The line's end closes a comment that the statement may end in.
    format!("select * from (\n{statement}\n) as tidegate limit 0")
}

/// What is run.
pub(super) fn wrapped(statement: &str) -> String {
    format!("select tidegate.value::float8 from (\n{statement}\n) as tidegate(value) limit 2")
}

/// Whether the query gives one column of numbers and asks for no arguments.
pub(super) fn examine(arguments: usize, columns: &[tokio_postgres::Column]) -> Result<(), ReadFailure> {
    if arguments > 0 {
        return Err(configuration("has placeholders such as $1; write the values into it"));
    }
    match columns {
        [column] if is_number(column.type_()) => Ok(()),
        [column] => Err(ReadFailure::new(
            FailureKind::WrongType,
            format!(
                "the query's column {} is of type {}; cast it: {0}::float8",
                shown(column.name()),
                column.type_().name()
            ),
        )),
        several => Err(configuration(&format!(
            "gives {} columns ({}); select one",
            several.len(),
            several.iter().take(5).map(|column| shown(column.name())).collect::<Vec<_>>().join(", ")
        ))),
    }
}

fn is_number(kind: &Type) -> bool {
    if let Kind::Domain(inner) = kind.kind() {
        return is_number(inner);
    }
    [Type::INT2, Type::INT4, Type::INT8, Type::FLOAT4, Type::FLOAT8, Type::NUMERIC].contains(kind)
}

/// The number that the rows are.
pub(super) fn number(rows: &[Option<f64>]) -> Result<f64, ReadFailure> {
    let number = match rows {
        [] => {
            return Err(configuration(
                "gives no row; aggregate, as in `select count(*) ...`, or let it say what none means",
            ));
        }
        [Some(number)] => *number,
        [None] => return Err(configuration("gives NULL; if that means zero, write `coalesce(..., 0)`")),
        _ => return Err(configuration("gives several rows; aggregate, or add `limit 1` with an `order by`")),
    };
    let odd = |what: &str| Err(ReadFailure::new(FailureKind::WrongType, format!("the query gives {what}")));
    if number.is_nan() {
        odd("NaN, which is no number of items; leave NaN out with a `where`, or `nullif` it")
    } else if number.is_infinite() {
        odd("infinity, which is no number of items; bound it with `least(..., ...)`")
    } else if number < 0.0 {
        odd(&format!("{number}, and there cannot be fewer than no items; if that means none, write `greatest(..., 0)`"))
    } else if number >= EXACT {
        odd(&format!(
            "{number}, beyond 2^53, which cannot be counted exactly; is it a position or a time, not a difference?"
        ))
    } else {
        Ok(number)
    }
}

fn configuration(what: &str) -> ReadFailure {
    ReadFailure::new(FailureKind::Configuration, format!("the query {what}"))
}

/// Walks through SQL as far as needed to tell its semicolons from those in texts, names and comments.
struct Scan<'a> {
    rest: &'a str,
    text: &'a str,
}

/// What stands next.
enum Piece {
    Space,
    Semicolon,
    Other,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Self {
        Scan { rest: text, text }
    }

    /// Where the first semicolon of the statement itself is.
    fn next_semicolon(&mut self) -> Option<usize> {
        loop {
            let here = self.text.len() - self.rest.len();
            if let Piece::Semicolon = self.piece()? {
                return Some(here);
            }
        }
    }

    /// Whether there is nothing but spaces, comments and semicolons.
    fn is_blank(&mut self) -> bool {
        loop {
            match self.piece() {
                None => return true,
                Some(Piece::Other) => return false,
                Some(Piece::Space | Piece::Semicolon) => {}
            }
        }
    }

    fn piece(&mut self) -> Option<Piece> {
        let first = self.rest.chars().next()?;
        if self.rest.starts_with("--") {
            self.skip_to("\n", 2);
            return Some(Piece::Space);
        }
        if self.rest.starts_with("/*") {
            self.skip_comment();
            return Some(Piece::Space);
        }
        match first {
            ';' => self.skip(1),
            '\'' => self.skip_to("'", 1),
            '"' => self.skip_to("\"", 1),
            '$' => self.skip_dollars(),
            'e' | 'E' if self.rest.get(1..2) == Some("'") => self.skip_escaped(),
            _ if first.is_alphanumeric() || first == '_' => self.skip_word(),
            _ => self.skip(first.len_utf8()),
        }
        Some(match first {
            ';' => Piece::Semicolon,
            _ if first.is_whitespace() => Piece::Space,
            _ => Piece::Other,
        })
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or("");
    }

    /// Past the next `end`, which may not begin before `from`; to the end of the text where there is none.
    fn skip_to(&mut self, end: &str, from: usize) {
        let found = self.rest.get(from..).and_then(|rest| rest.find(end));
        self.skip(found.map_or(self.rest.len(), |at| from + at + end.len()));
    }

    /// A whole word, so that a `$` or an `e` in it begins nothing.
    fn skip_word(&mut self) {
        let part_of_it = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        self.skip(self.rest.find(|c| !part_of_it(c)).unwrap_or(self.rest.len()));
    }

    /// Comments nest.
    fn skip_comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            if self.rest.starts_with("/*") {
                depth += 1;
                self.skip(2);
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.skip(2);
                if depth == 0 {
                    return;
                }
            } else {
                let Some(next) = self.rest.chars().next() else { return };
                self.skip(next.len_utf8());
            }
        }
    }

    /// A text whose backslashes escape: `E'it\'s'`.
    fn skip_escaped(&mut self) {
        self.skip(2);
        while let Some(next) = self.rest.chars().next() {
            self.skip(next.len_utf8());
            match next {
                '\'' => return,
                '\\' => self.skip(self.rest.chars().next().map_or(0, char::len_utf8)),
                _ => {}
            }
        }
    }

    /// A text between dollars (`$$ ... $$`, `$x$ ... $x$`), or a dollar.
    fn skip_dollars(&mut self) {
        let inside = self.rest.get(1..).unwrap_or("");
        let tag = inside.find('$').and_then(|end| inside.get(..end));
        let is_tag = |tag: &&str| {
            !tag.starts_with(|c: char| c.is_ascii_digit()) && tag.chars().all(|c| c.is_alphanumeric() || c == '_')
        };
        match tag.filter(is_tag) {
            Some(tag) => {
                let quote = format!("${tag}$");
                self.skip_to(&quote, quote.len());
            }
            None => self.skip(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_semicolon_that_ends_a_query_is_cut_off_and_no_other() {
        for (text, statement) in [
            ("select 1", "select 1"),
            ("select 1;", "select 1"),
            ("select 1 ; -- the end", "select 1 "),
            ("select 1;;\n/* a /* nested ; */ b */ ;", "select 1"),
            ("select 1 -- not; the end", "select 1 -- not; the end"),
            ("select ';' , \";\" , 'it''s;'", "select ';' , \";\" , 'it''s;'"),
            ("select E'\\';', $$;$$, $x$ $$;' $x$, a$b ;", "select E'\\';', $$;$$, $x$ $$;' $x$, a$b "),
            ("select name'x;'", "select name'x;'"),
            ("select 'ü;' ;", "select 'ü;' "),
            ("select 'never closed ;", "select 'never closed ;"),
            ("select /* never closed ;", "select /* never closed ;"),
            ("select $1 + $2;", "select $1 + $2"),
        ] {
            assert_eq!(alone(text).unwrap(), statement, "{text}");
        }
        for (text, why) in [
            ("select 1; select 2", "several statements"),
            ("select 1; -- x\n drop table y", "several statements"),
            (" ; ", "is empty"),
            ("-- nothing", "is empty"),
        ] {
            let failure = alone(text).unwrap_err();
            assert!(failure.message.contains(why), "{text}: {failure}");
        }
    }

    #[test]
    fn only_one_plain_number_is_a_number() {
        assert_eq!(number(&[Some(0.0)]).unwrap(), 0.0);
        assert_eq!(number(&[Some(7.5)]).unwrap(), 7.5);
        for (rows, why) in [
            (vec![], "no row"),
            (vec![None], "NULL"),
            (vec![Some(1.0), Some(2.0)], "several rows"),
            (vec![Some(f64::NAN)], "NaN"),
            (vec![Some(f64::INFINITY)], "infinity"),
            (vec![Some(f64::NEG_INFINITY)], "infinity"),
            (vec![Some(-0.5)], "fewer than no items"),
            (vec![Some(EXACT)], "2^53"),
        ] {
            let failure = number(&rows).unwrap_err();
            assert!(failure.message.contains(why), "{rows:?}: {failure}");
        }
    }
}
