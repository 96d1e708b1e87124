//! Rows of what was measured at times.

use super::super::{Format, Options, Role, Spread, Stamp};
use super::{S, has_note, imported, mapped, refused, tenths};

#[test]
fn counts_per_bin_are_spread_evenly() {
    let text = "date,requests,replicas\n2026-01-31 12:00:10,1,2\n2026-01-31 12:00:00,2,1\n2026-01-31 12:00:20,0,2\n";
    let trace = imported(text, &Options::default());
    assert_eq!(trace.origin, Format::Csv);
    assert_eq!(trace.arrivals, tenths(&[25, 75, 150]));
    assert_eq!(trace.span, 30 * S);
    assert_eq!(trace.replicas, Some(vec![(0, 1.0), (10 * S, 2.0), (20 * S, 2.0)]));
    assert!(trace.gaps.is_empty());
    let end = Options { stamp: Some(Stamp::End), ..Options::default() };
    let trace = imported(text, &end);
    assert_eq!(trace.arrivals, tenths(&[25, 75, 150]), "the bins moved, and the beginning with them");
    assert_eq!(trace.replicas, Some(vec![(10 * S, 1.0), (20 * S, 2.0), (30 * S, 2.0)]));
}

#[test]
fn counts_may_be_spread_by_luck_which_is_always_the_same() {
    let text = format!("timestamp,arrivals\n{}", (0..200).map(|i| format!("{},40\n", i * 10)).collect::<String>());
    let by = |seed| imported(&text, &Options { spread: Spread::Random { seed }, ..Options::default() }).arrivals;
    assert_eq!(by(1), by(1));
    assert_ne!(by(1), by(2));
    let arrivals = by(3);
    assert_eq!(arrivals.len(), 8000);
    for (bin, arrivals) in (0u64..).zip(arrivals.chunks(40)) {
        assert!(arrivals.iter().all(|at| (bin * 10 * S..(bin + 1) * 10 * S).contains(at)));
    }
    // The gaps of a Poisson process have a coefficient of variation of one; those of even arrivals have none.
    let gaps: Vec<f64> =
        arrivals.windows(2).map(|pair| pair.last().unwrap().abs_diff(*pair.first().unwrap()) as f64).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    assert!((0.9..1.1).contains(&(variance.sqrt() / mean)), "{}", variance.sqrt() / mean);
}

#[test]
fn missing_bins_are_gaps() {
    let text = "timestamp,value\n0,2\n10,1\n40,1\n50,\n60,2\n";
    let trace = imported(text, &mapped(&[(Role::Arrivals, "value")]));
    assert_eq!(trace.arrivals, tenths(&[25, 75, 150, 450, 625, 675]));
    assert_eq!(trace.gaps, [20 * S..40 * S, 50 * S..60 * S]);
    assert_eq!(trace.span, 70 * S);
    has_note(&trace, "nothing is known from 20 s to 40 s (20 s): no arrivals are made up there");
}

#[test]
fn a_week_without_rows_is_told_with_its_times() {
    let rows: String = (1..4).chain(11..13).map(|day| format!("2026-01-{day:02},24\n")).collect();
    let trace = imported(&format!("date,count\n{rows}"), &Options::default());
    assert_eq!(trace.arrivals.len(), 5 * 24);
    assert_eq!(trace.gaps, [3 * 86_400 * S..10 * 86_400 * S]);
    has_note(&trace, "nothing is known from 2026-01-04T00:00:00Z to 2026-01-11T00:00:00Z (7 d)");
}

#[test]
fn rates_and_averages_are_rounded_in_sum() {
    let trace = imported("timestamp,rps\n0,0.25\n2,0.25\n4,0.5\n", &Options::default());
    // 0.5, 1.0 and 2.0 in sum: one in the first bin, none in the second, one in the third.
    assert_eq!(trace.arrivals, tenths(&[10, 50]));
    has_note(&trace, "rounded in sum");
}

#[test]
fn counters_with_resets_and_gaps() {
    let text = "timestamp,enqueued_total,depth\n0,100,5\n10,102,6\n20,1,0\n30,1,0\n40,3,2\n90,13,1\n100,14,2\n";
    let trace = imported(text, &Options::default());
    assert_eq!(trace.arrivals, tenths(&[25, 75, 150, 325, 375, 950]));
    assert_eq!(trace.gaps, [40 * S..90 * S]);
    has_note(&trace, "`enqueued_total` was reset 1 times");
    has_note(&trace, "grew by 10 in gaps");
    assert_eq!(trace.depth.map(|depth| depth.len()), Some(7));
    let named = imported("time,jobs\n0,7\n10,8\n", &mapped(&[(Role::Enqueued, "jobs")]));
    assert_eq!(named.arrivals, tenths(&[50]));
}

#[test]
fn a_counter_that_often_falls_is_none() {
    let rows: String = (0..20).map(|i| format!("{i},{}\n", i * 7 % 5)).collect();
    let errors = refused(&format!("timestamp,enqueued\n{rows}"), &Options::default()).to_string();
    assert!(errors.starts_with("t (enqueued): it goes down in "), "{errors}");
    assert!(errors.contains("--column: arrivals=enqueued"), "{errors}");
    refused("timestamp,enqueued\n0,5\n1,3\n2,6\n3,2\n", &Options::default());
}

#[test]
fn completions_and_depths_tell_what_came() {
    let text = "timestamp,completed_total,depth,in_flight\n0,0,0,0\n10,1,2,1\n20,5,0,0\n30,5,0,0\n";
    let trace = imported(text, &Options::default());
    // 1 done + 2 waiting + 1 at work; then 4 done - 2 - 1.
    assert_eq!(trace.arrivals, [1_250_000_000, 3_750_000_000, 6_250_000_000, 8_750_000_000, 15_000_000_000]);
    assert_eq!(trace.uncertainty, None);
    let without = imported("timestamp,completed_total,depth\n0,0,0\n10,1,2\n20,5,0\n", &Options::default());
    assert_eq!(without.arrivals.len(), 5);
    has_note(&without, "in_flight is not recorded");
    let errors = refused("timestamp,completed\n0,1\n1,2\n", &Options::default()).to_string();
    assert!(errors.contains("completions tell when work ended, not when it came"), "{errors}");
}

#[test]
fn text_columns_are_no_depths() {
    let trace = imported("timestamp,queue,arrivals\n0,mail,1\n10,mail,1\n", &Options::default());
    assert_eq!(trace.arrivals, tenths(&[50, 150]));
    has_note(&trace, "`queue` holds text");
}

#[test]
fn rows_of_one_time() {
    let trace = imported("timestamp,arrivals\n0,1\n0,1\n10,1\n", &Options::default());
    assert_eq!(trace.arrivals, tenths(&[25, 75, 150]));
    has_note(&trace, "1 samples at the time of another one: added up");
    let errors = refused("timestamp,queue_name,enqueued\n0,a,1\n0,b,1\n10,a,3\n10,b,9\n", &Options::default());
    assert!(errors.to_string().contains("several queues or pods in one export?"), "{errors}");
}
