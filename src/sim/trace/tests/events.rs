//! An item per row or line.

use super::super::{Format, Options, Rows, SecondsPerToken, Unit, parse};
use super::{S, has_note, imported, refused, tenths};

#[test]
fn rows_with_services_in_any_order() {
    let text = "id,Timestamp,duration,class\n7,1700000001.5,0.25,gold\n8,1700000000,2,tin\n9,1700000003,1e-3,gold\n";
    let trace = imported(text, &Options::default());
    assert_eq!(trace.origin, Format::Csv);
    assert_eq!(trace.arrivals, tenths(&[0, 15, 30]));
    assert_eq!(trace.services, Some(vec![2 * S, S / 4, 1_000_000]));
    assert_eq!(trace.span, 3 * S);
    has_note(&trace, "sorted");
    has_note(&trace, "columns left out: `id`, `class`");
}

#[test]
fn units_of_services_are_in_the_name_or_told() {
    let text = "ts\tduration_ms\n0\t250\n1\t500\n";
    assert_eq!(imported(text, &Options::default()).services, Some(vec![S / 4, S / 2]));
    let told = Options { service_unit: Some(Unit::Micros), ..Options::default() };
    assert_eq!(imported("ts;runtime\n0;250\n", &told).services, Some(vec![250_000]));
}

#[test]
fn tokens_become_services_if_told_how() {
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n";
    let plain = imported(text, &Options::default());
    assert_eq!((plain.arrivals, plain.services.as_ref()), (vec![0, 52_000_000], None));
    assert!(plain.notes.iter().any(|note| note.contains("--seconds-per-token")));
    let told = Options { seconds_per_token: Some(SecondsPerToken { input: 0.001, output: 0.1 }), ..Options::default() };
    assert_eq!(imported(text, &told).services, Some(vec![5_808_000_000, 3_980_000_000]));
    // As a manifest's `0.0002` is read.
    let small = SecondsPerToken { input: 200.0 * 1e-6, output: 0.02 };
    let trace = imported(text, &Options { seconds_per_token: Some(small), ..Options::default() });
    has_note(&trace, "services are 0.0002 s for each token read and 0.02 s for each written");
    let same = Options { seconds_per_token: Some(SecondsPerToken::same(0.5)), ..Options::default() };
    assert_eq!(imported(text, &same).services, Some(vec![2409 * S, 1594 * S]));
}

#[test]
fn lines_of_json() {
    let text = "{\"t\":0.5,\"service\":0.2,\"class\":\"a\"}\n\n{\"t\":0,\"service\":0.1}\n{\"t\":2,\"tags\":[1]}\n";
    let trace = imported(text, &Options::default());
    assert_eq!(trace.origin, Format::Ndjson);
    assert_eq!(trace.arrivals, tenths(&[0, 5, 20]));
    assert_eq!(trace.services, Some(vec![S / 10, S / 5, S / 5]), "the median stands in for what is unknown");
    has_note(&trace, "the service of 1 of 3 items is unknown");
    let text = "{\"timestamp\":\"2026-01-31T12:00:00Z\",\"duration_ms\":5}\n{\"timestamp\":\"2026-01-31T12:00:01Z\",\"duration_ms\":7}";
    let trace = imported(text, &Options::default());
    assert_eq!((trace.arrivals, trace.services), (vec![0, S], Some(vec![5_000_000, 7_000_000])));
}

#[test]
fn lines_of_json_may_be_samples() {
    let text = "{\"ts\":0,\"enqueued_total\":5,\"depth\":1}\n{\"ts\":1,\"enqueued_total\":7,\"depth\":2}\n";
    let trace = imported(text, &Options::default());
    assert_eq!(trace.arrivals, [S / 4, 3 * S / 4]);
    assert_eq!(trace.depth, Some(vec![(0, 1.0), (S, 2.0)]));
}

#[test]
fn times_alone_are_arrivals() {
    let trace = imported("timestamp\n10\n12\n11\n", &Options::default());
    assert_eq!(trace.arrivals, [0, S, 2 * S]);
    assert_eq!(trace.services, None);
    let rows = Options { rows: Some(Rows::Events), ..Options::default() };
    assert_eq!(imported("time,foo\n1,3\n2,4\n", &rows).arrivals, [0, S]);
}

#[test]
fn a_silent_day_is_told_and_kept() {
    let trace = imported("timestamp,service\n2026-01-01T00:00:00Z,1\n2026-01-08T00:00:00Z,1\n", &Options::default());
    assert_eq!(trace.span, 7 * 86_400 * S);
    assert!(trace.gaps.is_empty());
    has_note(&trace, "nothing came from 2026-01-01T00:00:00Z to 2026-01-08T00:00:00Z (7 d)");
}

#[test]
fn batch_jobs() {
    let text = "; Version: 2.2\n; UnixStartTime: 0\n\
        1 0 5 60 1 -1 -1 1 -1 -1 1 1 1 -1 1 -1 -1 -1\n\
        2 10 0 30 8 -1 -1 8 -1 -1 0 1 1 -1 1 -1 -1 -1\n\
        3 11 0 -1 1 -1 -1 1 -1 -1 1 1 1 -1 1 -1 -1 -1\n\
        4 12 -1 0 1 -1 -1 1 -1 -1 5 1 1 -1 1 -1 -1 -1\n\
        5 13 -1 4 1 -1 -1 1 -1 -1 5 1 1 -1 1 -1 -1 -1\n\
        5 13 -1 2 1 -1 -1 1 -1 -1 2 1 1 -1 1 -1 -1 -1\n\
        6 -1 -1 4 1 -1 -1 1 -1 -1 1 1 1 -1 1 -1 -1 -1\n";
    let trace = imported(text, &Options::default());
    assert_eq!(trace.origin, Format::Swf);
    assert_eq!(trace.arrivals, [0, 10 * S, 11 * S, 13 * S]);
    assert_eq!(trace.services, Some(vec![60 * S, 30 * S, 30 * S, 4 * S]));
    for note in [
        "1 jobs ran on several",
        "1 jobs failed",
        "1 jobs were cancelled while",
        "1 jobs were cancelled before",
        "1 jobs are parts",
        "1 jobs have no time of submission",
        "the service of 1 of 4 items is unknown",
    ] {
        has_note(&trace, note);
    }
    let errors = refused("; x\n1 0 5\n2 3 x 4 5\n3 0 5 60 1\n", &Options::default()).to_string();
    assert_eq!(
        errors,
        "t:2: 3 fields; a job has 18: number, submit, wait, run, processors, ...\n\
         t:3: field 3 is `x`, no number; -1 is what is unknown"
    );
}

#[test]
fn more_than_allowed_is_refused() {
    let few = Options { max_arrivals: 2, ..Options::default() };
    for text in [
        "timestamp\n1\n2\n3\n",
        "1 1 1\n",
        "2 1\n",
        "timestamp,arrivals\n1,2\n2,1\n",
        "{\"t\":1}\n{\"t\":1}\n{\"t\":1}",
    ] {
        assert!(refused(text, &few).to_string().contains("it has more than 2 arrivals"), "{text}");
    }
    let small = Options { max_bytes: 5, ..Options::default() };
    let errors = parse("t", b"1 2 3\n", &small).unwrap_err().to_string();
    assert!(errors.contains("it is larger than 5 bytes"), "{errors}");
}
