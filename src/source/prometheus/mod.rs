//! Prometheus: a backlog that is a number in its database, or that exporters expose for it.
//!
//! Two backends on one HTTP client (`http`). `query` asks a server that speaks Prometheus' API; `scrape` reads pages of
//! metrics itself, of one URL or of every ready pod, with a reader of its own (`exposition`), as fast as somebody polls and
//! not as seldom as a Prometheus scrapes.

pub mod exposition;
mod http;
mod query;
mod scrape;

pub use self::query::{QueryBackend, forms, judge};
pub use self::scrape::ScrapeBackend;
use crate::model::{FailureKind, ReadFailure};

/// A number of items, if it is one.
///
/// # Errors
/// It is none that anything may be scaled by; `what` it is, and how to cure it.
fn items(value: f64, what: impl FnOnce() -> String) -> Result<f64, ReadFailure> {
    /// Beyond, not every whole number is one: 2^53.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let wrong = if value.is_nan() {
        "is not a number (NaN)"
    } else if value.is_infinite() {
        "is infinite"
    } else if value < 0.0 {
        "is negative, which no backlog is"
    } else if value >= EXACT {
        "is 2^53 or more, which no backlog is"
    } else {
        return Ok(value);
    };
    Err(ReadFailure::new(FailureKind::WrongType, format!("{} {wrong}: {value}", what())))
}
