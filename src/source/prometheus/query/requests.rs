//! Requests: which queries go together, and what they say.
//!
//! Fifty to a request, joined by `or`, each behind a mark of its own. On a Prometheus 2.42 a thousand distinct queries
//! take 165 to 195 ms of its CPU when they are asked one by one over four kept connections, and 45 to 60 ms so (a third of
//! it with `sum(rate(...))`, half with sums over twenty series); a client spends a tenth. Larger requests save no more. A
//! tree, not a chain: `or` walks all that stands on its left, so that a chain of two hundred costs three times as much.

use std::time::Duration;

use hyper::body::Bytes;

use super::book::{Book, Number};
use crate::model::Tick;
use crate::source::prometheus::http;

/// Queries in one request.
const TOGETHER: usize = 50;

/// Bytes of queries in one request, before they are encoded. Far below what any server takes in a form.
const LENGTH: usize = 32 << 10;

/// How much of `responseTimeout` the server is given: it then says so itself, and works no longer for nobody.
const SERVERS_PART: f64 = 0.9;

/// One request, ready to be sent again and again.
pub(super) struct Request {
    pub(super) members: Vec<Number>,
    pub(super) form: Bytes,
}

impl Request {
    /// One query, as it is.
    pub(super) fn alone(book: &Book, number: Number, bound: Duration) -> Self {
        let text = book.get(number).map_or("", |question| &question.text);
        Request { members: vec![number], form: form(text, bound) }
    }

    /// Several, marked.
    fn together(book: &Book, members: Vec<Number>, bound: Duration) -> Self {
        let mut text = String::new();
        tree(book, &members, &mut text);
        Request { form: form(&text, bound), members }
    }

    pub(super) fn is_alone(&self) -> bool {
        self.members.len() == 1
    }
}

fn tree(book: &Book, members: &[Number], text: &mut String) {
    match members {
        [] => {}
        [one] => book.write_marked(*one, text),
        several => {
            let (left, right) = several.split_at_checked(several.len() / 2).unwrap_or_default();
            text.push('(');
            tree(book, left, text);
            text.push_str(" or ");
            tree(book, right, text);
            text.push(')');
        }
    }
}

fn form(query: &str, bound: Duration) -> Bytes {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("query", query);
    form.append_pair("timeout", &http::duration(bound.mul_f64(SERVERS_PART)));
    form.finish().into()
}

/// The requests for `wanted`: those of several first, because most depend on them.
pub(super) fn requests(book: &Book, wanted: &[Number], bound: Duration) -> Vec<Request> {
    let length = |number: &Number| book.get(*number).map_or(0, |question| question.text.len());
    let (shared, alone): (Vec<Number>, Vec<Number>) =
        wanted.iter().partition(|number| book.get(**number).is_some_and(super::book::Question::is_shared));
    let mut requests = Vec::with_capacity(alone.len() + shared.len() / TOGETHER + 1);
    let mut members = Vec::with_capacity(TOGETHER.min(shared.len()));
    let mut room = LENGTH;
    for number in shared {
        let length = length(&number);
        if !members.is_empty() && (members.len() == TOGETHER || length > room) {
            requests.push(join(book, std::mem::take(&mut members), bound));
            room = LENGTH;
        }
        room = room.saturating_sub(length);
        members.push(number);
    }
    if !members.is_empty() {
        requests.push(join(book, members, bound));
    }
    requests.extend(alone.into_iter().map(|number| Request::alone(book, number, bound)));
    requests
}

fn join(book: &Book, members: Vec<Number>, bound: Duration) -> Request {
    match members.as_slice() {
        [one] => Request::alone(book, *one, bound),
        _ => Request::together(book, members, bound),
    }
}

/// Without those that rest.
pub(super) fn awake(book: &Book, wanted: &[Number], now: Tick) -> Vec<Number> {
    let rests =
        |number: &Number| book.get(*number).is_some_and(|q| q.rests.as_ref().is_some_and(|(until, _)| now < *until));
    wanted.iter().copied().filter(|number| !rests(number)).collect()
}
