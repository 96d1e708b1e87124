//! Small fixtures of every format, made by hand, with the arrivals that they mean.

#![expect(clippy::single_range_in_vec_init, reason = "a trace with one gap has one range")]

mod depth;
mod events;
mod formats;
mod fuzz;
mod problems;
mod series;
mod times;

use super::{Options, Role, Trace, TraceErrors, parse};

const S: u64 = 1_000_000_000;

/// Tenths of a second, which most fixtures are made of.
fn tenths(times: &[u64]) -> Vec<u64> {
    times.iter().map(|time| time * S / 10).collect()
}

fn imported(text: &str, options: &Options) -> Trace {
    match parse("t", text.as_bytes(), options) {
        Ok(trace) => {
            sound(&trace);
            trace
        }
        Err(errors) => panic!("{errors}"),
    }
}

fn refused(text: &str, options: &Options) -> TraceErrors {
    match parse("t", text.as_bytes(), options) {
        Ok(trace) => panic!("imported: {trace:?}"),
        Err(errors) => {
            assert!(!errors.problems.is_empty() && errors.problems.len() <= 20);
            errors
        }
    }
}

fn mapped(map: &[(Role, &str)]) -> Options {
    Options { map: map.iter().map(|(role, name)| (*role, (*name).to_owned())).collect(), ..Options::default() }
}

/// What holds for every trace.
fn sound(trace: &Trace) {
    let within = |arrivals: &[u64]| arrivals.is_sorted() && arrivals.last().is_none_or(|last| *last <= trace.span);
    assert!(within(&trace.arrivals), "{trace:?}");
    assert!(trace.services.as_ref().is_none_or(|services| services.len() == trace.arrivals.len()), "{trace:?}");
    let ends: Vec<u64> = trace.gaps.iter().flat_map(|gap| [gap.start, gap.end]).collect();
    assert!(ends.is_sorted() && ends.last().is_none_or(|end| *end <= trace.span), "{trace:?}");
    let in_gap = |at: &u64| trace.gaps.iter().any(|gap| gap.contains(at));
    assert!(trace.gaps.len() > 100 || !trace.arrivals.iter().any(in_gap), "made up: {trace:?}");
    if let Some(band) = &trace.uncertainty {
        assert!(within(&band.low) && within(&band.high), "{trace:?}");
        assert!(band.low.len() <= trace.arrivals.len() && trace.arrivals.len() <= band.high.len(), "{trace:?}");
    }
    for shown in [&trace.depth, &trace.replicas].into_iter().flatten() {
        assert!(shown.is_sorted_by_key(|sample| sample.0) && shown.iter().all(|sample| sample.0 <= trace.span));
    }
}

fn has_note(trace: &Trace, part: &str) {
    assert!(trace.notes.iter().any(|note| note.contains(part)), "no note of `{part}`: {:#?}", trace.notes);
}
