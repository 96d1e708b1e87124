//! What is asked of one Prometheus: each query once, however many triggers have it, and what is known of how to ask it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use super::verdict::Outcome;
use crate::model::{ReadFailure, Tick};

/// How often a query that was asked alone must have been answered before it is trusted among others again: some minutes
/// at the paces that Prometheus is good for.
const TRUSTED: u8 = 100;

/// How often the request that a query was part of may fail, while the query itself does not, before it is asked alone.
const SUSPECT: u8 = 3;

/// The label that tells answers apart.
pub(super) const MARK: &str = "tidegate_query";

/// A query's place in the book.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Number(u32);

/// Every query, by place and by text.
pub(super) struct Book {
    questions: Vec<Question>,
    by_text: HashMap<Arc<str>, Number>,
    free: Vec<Number>,
    /// Changes whenever any query is to be asked another way.
    edition: u64,
    /// What the label of a query begins with in this process: nobody's own query can pretend to be another.
    nonce: u64,
}

pub(super) struct Question {
    pub(super) text: Arc<str>,
    users: usize,
    habit: Habit,
    /// Requests that failed because of others, since it was last moved.
    suspect: u8,
    /// Not asked again before, and why: the server took too long over it.
    pub(super) rests: Option<(Tick, ReadFailure)>,
    /// How often it took too long in a row.
    pub(super) late: u32,
    pub(super) outcome: Option<Result<Outcome, ReadFailure>>,
}

/// How to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Habit {
    /// Alone, because nobody knows yet what it answers with; or because it was refused, so and so many answers ago.
    Alone {
        answered: u8,
    },
    /// Never with others: what is between its brackets and quotes does not stay there.
    Loner,
    Vector,
    Scalar,
}

impl Book {
    pub(super) fn new() -> Self {
        let nonce = RandomState::new().hash_one(MARK);
        Book { questions: Vec::new(), by_text: HashMap::new(), free: Vec::new(), edition: 0, nonce }
    }

    /// One user more for a query.
    pub(super) fn enter(&mut self, text: &Arc<str>) -> Number {
        if let Some(number) = self.by_text.get(text).copied() {
            if let Some(question) = self.get_mut(number) {
                question.users += 1;
            }
            return number;
        }
        let habit = if is_closed(text) { Habit::Alone { answered: TRUSTED } } else { Habit::Loner };
        let text = Arc::clone(text);
        let question =
            Question { text: Arc::clone(&text), users: 1, habit, suspect: 0, rests: None, late: 0, outcome: None };
        let number = self.free.pop().unwrap_or(Number(u32::try_from(self.questions.len()).unwrap_or(u32::MAX)));
        match self.questions.get_mut(number.0 as usize) {
            Some(place) => *place = question,
            None => self.questions.push(question),
        }
        self.by_text.insert(text, number);
        self.edition += 1;
        number
    }

    /// One user fewer.
    pub(super) fn leave(&mut self, number: Number) {
        let Some(question) = self.get_mut(number) else { return };
        question.users = question.users.saturating_sub(1);
        if question.users == 0 {
            question.outcome = None;
            let text = Arc::clone(&question.text);
            self.by_text.remove(&text);
            self.free.push(number);
        }
    }

    pub(super) fn get(&self, number: Number) -> Option<&Question> {
        self.questions.get(number.0 as usize)
    }

    pub(super) fn get_mut(&mut self, number: Number) -> Option<&mut Question> {
        self.questions.get_mut(number.0 as usize)
    }

    pub(super) fn edition(&self) -> u64 {
        self.edition
    }

    pub(super) fn is_scalar(&self, number: Number) -> bool {
        self.get(number).is_some_and(|question| question.habit == Habit::Scalar)
    }

    /// What its answers are marked with.
    pub(super) fn mark(&self, number: Number) -> String {
        format!("{:016x}-{}", self.nonce, number.0)
    }

    /// Whom an answer is for.
    pub(super) fn marked(&self, mark: &str) -> Option<Number> {
        let (nonce, number) = mark.split_once('-')?;
        let is_ours = u64::from_str_radix(nonce, 16).is_ok_and(|nonce| nonce == self.nonce);
        if is_ours { number.parse().ok().map(Number) } else { None }
    }

    /// The query so that it can stand among others, marked.
    pub(super) fn write_marked(&self, number: Number, text: &mut String) {
        let Some(question) = self.get(number) else { return };
        // On lines of its own: a comment at its end must not reach what follows.
        let (open, close) = if question.habit == Habit::Scalar { ("vector(\n", "\n)") } else { ("(\n", "\n)") };
        let mark = self.mark(number);
        let _ = write!(text, "label_replace({open}{}{close},\"{MARK}\",\"{mark}\",\"\",\"\")", question.text);
    }

    fn turn(&mut self, number: Number, habit: Habit) {
        let Some(question) = self.get_mut(number) else { return };
        if question.habit != habit {
            let moved = is_shared(question.habit) != is_shared(habit);
            question.habit = habit;
            question.suspect = 0;
            self.edition += u64::from(moved);
        }
    }

    /// It was asked alone and answered, with a scalar or with a vector.
    pub(super) fn answered_alone(&mut self, number: Number, scalar: bool) {
        let Some(Habit::Alone { answered }) = self.get(number).map(|question| question.habit) else { return };
        self.turn(
            number,
            match answered.saturating_add(1) {
                answered if answered < TRUSTED => Habit::Alone { answered },
                _ if scalar => Habit::Scalar,
                _ => Habit::Vector,
            },
        );
    }

    /// It was asked alone and refused, or answered with what nobody can use.
    pub(super) fn refused_alone(&mut self, number: Number) {
        if self.get(number).is_some_and(|question| question.habit != Habit::Loner) {
            self.turn(number, Habit::Alone { answered: 0 });
        }
    }

    /// The request that it was part of was refused, and it alone was not.
    pub(super) fn suspected(&mut self, number: Number) {
        let Some(question) = self.get_mut(number) else { return };
        question.suspect += 1;
        if question.suspect >= SUSPECT {
            self.turn(number, Habit::Alone { answered: 0 });
        }
    }

    /// The request that it was part of took too long: next time it is asked alone, and if it is not the one, it
    /// comes back at once.
    pub(super) fn delayed(&mut self, number: Number) {
        if self.get(number).is_some_and(|question| is_shared(question.habit)) {
            self.turn(number, Habit::Alone { answered: TRUSTED });
        }
    }
}

impl Question {
    pub(super) fn is_shared(&self) -> bool {
        is_shared(self.habit)
    }
}

fn is_shared(habit: Habit) -> bool {
    matches!(habit, Habit::Vector | Habit::Scalar)
}

/// Whether a text that is put between two parentheses stays there: all its brackets and quotes are closed, and none
/// closes one that it has not opened. Otherwise it could change what others are asked.
fn is_closed(text: &str) -> bool {
    let mut open = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.pop() != Some(c) => return false,
            '"' | '\'' | '`' => loop {
                match chars.next() {
                    None => return false,
                    Some('\\') if c != '`' => drop(chars.next()),
                    Some(other) if other == c => break,
                    Some(_) => {}
                }
            },
            // Up to the end of the line, whatever stands there.
            '#' => drop(chars.find(|c| *c == '\n')),
            _ => {}
        }
    }
    open.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_stay_between_parentheses_is_found() {
        for closed in
            ["up", "sum(a{b=\"}\"}) / (c)", "a{b=')'}[5m]", "a{b=`\\`}", "a # (", "a # x\n+ b", "{a=\"\\\"\"}", "\"#\""]
        {
            assert!(is_closed(closed), "{closed}");
        }
        for open in ["(", "a) or (b", "a{b=\"}", "a{b='\\'}", "sum(a]", "`", "a #\n)", "]"] {
            assert!(!is_closed(open), "{open}");
        }
    }

    #[test]
    fn queries_find_their_company_and_lose_it() {
        let mut book = Book::new();
        let (one, two) = (book.enter(&"up".into()), book.enter(&"a) or (b".into()));
        assert_eq!(book.enter(&"up".into()), one);
        let shared = |book: &Book, number| book.get(number).unwrap().is_shared();
        assert!(!shared(&book, one) && !shared(&book, two));
        book.answered_alone(one, false);
        book.answered_alone(two, false);
        assert!(shared(&book, one) && !shared(&book, two));
        assert_eq!(book.marked(&book.mark(one)), Some(one));
        assert_eq!(book.marked("0000000000000000-0"), None);
        book.delayed(one);
        assert!(!shared(&book, one));
        book.answered_alone(one, true);
        let mut text = String::new();
        book.write_marked(one, &mut text);
        assert!(text.starts_with("label_replace(vector(\nup\n),\"tidegate_query\",\""), "{text}");
        for _ in 0..SUSPECT {
            book.suspected(one);
        }
        assert!(!shared(&book, one));
        let edition = book.edition();
        for _ in 1..TRUSTED {
            book.answered_alone(one, false);
        }
        assert!(!shared(&book, one) && book.edition() == edition);
        book.answered_alone(one, false);
        assert!(shared(&book, one) && book.edition() > edition);
        book.leave(one);
        assert_eq!(book.enter(&"up".into()), one);
        book.leave(one);
        book.leave(one);
        let next = book.enter(&"other".into());
        assert_eq!(next, one);
        assert_eq!(&*book.get(next).unwrap().text, "other");
    }
}
