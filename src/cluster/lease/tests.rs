//! The race for a Lease in paused time: an API server in memory, and processes that are cut off, stopped, killed, and
//! that disagree about the time of day.

mod chaos;
mod rig;

use std::time::Duration;

use k8s_openapi::jiff::SignedDuration;

use self::rig::{Process, Server, settings};
use super::election::Election;
use super::*;
use crate::clock::Clock;

const LEASE: Duration = Settings::LEASE_DURATION;
const DEADLINE: Duration = Settings::RENEW_DEADLINE;
const RETRY: Duration = Settings::RETRY_PERIOD;
/// Of calls and watches here, and of timers.
const A_LITTLE: Duration = Duration::from_millis(100);

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_one_leads_at_once_and_the_second_waits() {
    let server = Server::new();
    let first = Process::start(&server, "first");
    pass(A_LITTLE).await;
    let second = Process::start(&server, "second");
    assert_eq!(first.number(), Some(1));
    pass(Duration::from_secs(300)).await;
    assert_eq!((first.number(), second.number()), (Some(1), None));
    let spec = server.spec();
    assert_eq!(spec.lease_duration_seconds, Some(15));
    assert!(spec.holder_identity.unwrap().starts_with("first_"));
}

#[tokio::test(start_paused = true)]
async fn a_term_ends_at_the_deadline_counted_from_before_the_renewal_was_sent() {
    let server = Server::new();
    let process = Process::start(&server, "one");
    process.slow(Duration::from_secs(1));
    let before = server.clock.now();
    process.until_leads().await;
    let term = process.leadership.term(server.clock.now()).unwrap();
    // One call to look, of two seconds; the term begins with the next.
    assert_eq!(term.until.since(before).as_secs(), 12);
    assert_eq!(process.leadership.term(term.until), None);
    assert!(process.leadership.term(term.until.before(Duration::from_nanos(1))).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_quiet_pair_costs_one_write_a_period_and_no_reads() {
    let server = Server::new();
    let first = Process::start(&server, "first");
    first.until_leads().await;
    let second = Process::start(&server, "second");
    pass(Duration::from_secs(10)).await;
    let before = (first.calls(), second.calls());
    pass(Duration::from_secs(200)).await;
    let writes = first.calls() - before.0;
    assert!((80..=100).contains(&writes), "{writes} in a hundred periods of up to 2.4 s");
    assert_eq!(second.calls() - before.1, 0, "its watch tells it everything");
}

#[tokio::test(start_paused = true)]
async fn a_release_is_seen_at_once() {
    let server = Server::new();
    let first = Process::start(&server, "first");
    first.until_leads().await;
    let second = Process::start(&server, "second");
    pass(Duration::from_secs(60)).await;
    let asked = server.clock.now();
    first.shut_down().await;
    assert_eq!(first.number(), None);
    second.until_leads().await;
    assert!(server.clock.now().since(asked) < A_LITTLE, "{:?}", server.clock.now().since(asked));
    assert_eq!(second.number(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_release_is_seen_within_a_period_where_watching_is_forbidden() {
    let server = Server::new();
    let first = Process::start(&server, "first");
    first.until_leads().await;
    let second = Process::start(&server, "second");
    second.faults().no_watch = true;
    pass(Duration::from_secs(60)).await;
    let asked = server.clock.now();
    first.shut_down().await;
    second.until_leads().await;
    assert!(server.clock.now().since(asked) < RETRY.mul_f64(1.2) + A_LITTLE);
}

/// Kills a leader and says how long after its last renewal another led.
async fn gap_after_a_kill(server: &Server, first: &Process, second: &Process) -> Duration {
    first.until_leads().await;
    pass(Duration::from_secs(60)).await;
    let renewed = server.last_write();
    first.kill();
    second.until_leads().await;
    server.clock.now().since(renewed)
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_succeeded_one_lease_after_its_last_renewal() {
    let server = Server::new();
    let first = Process::start(&server, "first");
    first.until_leads().await;
    let second = Process::start(&server, "second");
    let gap = gap_after_a_kill(&server, &first, &second).await;
    assert!(gap >= LEASE && gap < LEASE + A_LITTLE, "{gap:?}");
}

#[tokio::test(start_paused = true)]
async fn wall_clocks_that_are_hours_apart_change_nothing() {
    for (of_first, of_second) in [(5, 0), (-5, 0), (0, 5), (0, -5), (-100, 100)] {
        let server = Server::new();
        let hours = SignedDuration::from_hours;
        let first = Process::start_shifted(&server, "first", hours(of_first));
        first.until_leads().await;
        let second = Process::start_shifted(&server, "second", hours(of_second));
        let gap = gap_after_a_kill(&server, &first, &second).await;
        assert!(gap >= LEASE && gap < LEASE + A_LITTLE, "{of_first} h, {of_second} h: {gap:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_costs_nothing() {
    let server = Server::new();
    let first = Process::start(&server, "first");
    first.until_leads().await;
    let second = Process::start(&server, "second");
    for _ in 0..20 {
        first.faults().lose_answers = 1;
        pass(Duration::from_secs(7)).await;
        assert_eq!((first.number(), second.number()), (Some(1), None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_taking_whose_answer_was_lost_is_found_by_reading() {
    let server = Server::new();
    let first = Process::start(&server, "first");
    first.faults().lose_answers = 1;
    let began = server.clock.now();
    first.until_leads().await;
    assert_eq!(first.number(), Some(1));
    // It took one call's time to find out, which is part of the term.
    let term = first.leadership.term(server.clock.now()).unwrap();
    assert!(term.until.since(began) < DEADLINE + A_LITTLE, "{:?}", term.until.since(began));
    assert_eq!(server.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_five_seconds_costs_nothing_whenever_it_begins() {
    let server = Server::new();
    let first = Process::start(&server, "first");
    first.until_leads().await;
    let second = Process::start(&server, "second");
    for _ in 0..50 {
        pass(Duration::from_millis(14_370)).await;
        first.faults().cut = true;
        pass(Duration::from_secs(5)).await;
        first.faults().cut = false;
        assert_eq!((first.number(), second.number()), (Some(1), None));
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_renew_steps_down_before_another_leads() {
    let server = Server::new();
    let first = Process::start(&server, "first");
    first.until_leads().await;
    let second = Process::start(&server, "second");
    pass(Duration::from_secs(60)).await;
    let renewed = server.last_write();
    first.faults().cut = true;
    let stepped_down = first.until_told_otherwise().await.since(renewed);
    assert_eq!(first.number(), None);
    // Told at its end, not when the call that was under way gave up.
    assert!(stepped_down <= DEADLINE && stepped_down > DEADLINE - A_LITTLE, "{stepped_down:?}");
    second.until_leads().await;
    assert!(server.clock.now().since(renewed) >= LEASE);
    first.faults().cut = false;
    pass(Duration::from_secs(60)).await;
    assert_eq!((first.number(), second.number()), (None, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn who_lost_its_term_and_finds_the_lease_its_own_begins_a_new_one() {
    let server = Server::new();
    let only = Process::start(&server, "only");
    only.until_leads().await;
    only.faults().cut = true;
    pass(Duration::from_secs(60)).await;
    assert_eq!(only.number(), None);
    only.faults().cut = false;
    only.until_leads().await;
    assert_eq!(only.number(), Some(2));
    assert_eq!(server.spec().lease_transitions, Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_process_finds_its_term_over_before_it_does_anything() {
    let server = Server::new();
    let first = Process::start(&server, "first");
    first.until_leads().await;
    let second = Process::start(&server, "second");
    pass(Duration::from_secs(60)).await;
    first.freeze();
    second.until_leads().await;
    let writes = server.writes_of("first");
    // Not thawed yet, and asked all the same: this is what a patch would ask in the first moment after.
    assert_eq!(first.number(), None);
    first.thaw();
    pass(Duration::from_secs(60)).await;
    assert_eq!((first.number(), second.number()), (None, Some(2)));
    assert_eq!(server.writes_of("first"), writes, "not even its renewal was accepted");
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_was_stopped_does_not_take_a_lease_that_lives() {
    let server = Server::new();
    let first = Process::start(&server, "first");
    first.until_leads().await;
    let second = Process::start(&server, "second");
    pass(Duration::from_secs(5)).await;
    second.freeze();
    pass(Duration::from_secs(600)).await;
    second.thaw();
    pass(Duration::from_secs(600)).await;
    assert_eq!((first.number(), second.number()), (Some(1), None));
    assert_eq!(server.writes_of("second"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_process_started_again_under_the_same_name_is_another_holder() {
    let server = Server::new();
    let first = Process::start(&server, "pod-0");
    first.until_leads().await;
    let renewed = server.last_write();
    first.kill();
    let again = Process::start(&server, "pod-0");
    again.until_leads().await;
    assert!(server.clock.now().since(renewed) >= LEASE);
    assert_eq!(again.number(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn labels_on_the_lease_neither_end_a_term_nor_prolong_a_dead_ones() {
    let server = Server::new();
    let first = Process::start(&server, "first");
    first.until_leads().await;
    let second = Process::start(&server, "second");
    for round in 0..50 {
        server.label(&format!("round-{round}"));
        pass(Duration::from_millis(500)).await;
        assert_eq!((first.number(), second.number()), (Some(1), None));
    }
    let renewed = server.last_write();
    first.kill();
    let give_up = server.clock.now().after(LEASE + RETRY);
    while second.number().is_none() {
        assert!(server.clock.now() < give_up, "the labels keep a dead leader alive");
        server.label("again");
        pass(Duration::from_millis(700)).await;
    }
    assert!(server.clock.now().since(renewed) >= LEASE);
    assert_eq!(second.number(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn who_finds_another_holder_steps_down_at_once() {
    let server = Server::new();
    let first = Process::start(&server, "first");
    first.until_leads().await;
    server.seize("somebody-else");
    pass(RETRY.mul_f64(1.2) + A_LITTLE).await;
    assert_eq!(first.number(), None);
    pass(LEASE).await;
    assert_eq!(first.number(), Some(3), "two was somebody else's, who never renewed");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_is_made_anew_by_its_holder_and_not_by_another() {
    let server = Server::new();
    let first = Process::start(&server, "first");
    first.until_leads().await;
    let second = Process::start(&server, "second");
    pass(Duration::from_secs(60)).await;
    server.delete();
    pass(RETRY.mul_f64(1.2) + A_LITTLE).await;
    assert_eq!((first.number(), second.number()), (Some(2), None));
    // And where its holder is gone, too, the other waits for the end of the lease that was.
    let renewed = server.last_write();
    first.kill();
    server.delete();
    second.until_leads().await;
    let gap = server.clock.now().since(renewed);
    assert!(gap >= LEASE && gap < LEASE + A_LITTLE, "{gap:?}");
    assert_eq!(second.number(), Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_waited_for() {
    let server = Server::new();
    let process = Process::start(&server, "only");
    process.faults().forbidden = true;
    pass(Duration::from_secs(600)).await;
    assert_eq!(process.number(), None);
    assert!(process.calls() < 310, "{} in 300 periods", process.calls());
    process.faults().forbidden = false;
    process.until_leads().await;
}

#[tokio::test(start_paused = true)]
async fn of_many_that_begin_together_one_leads() {
    let server = Server::new();
    let many: Vec<_> = (0..20).map(|number| Process::start(&server, &format!("pod-{number}"))).collect();
    for _ in 0..5 {
        pass(LEASE * 2).await;
        let leaders: Vec<_> = many.iter().filter(|process| process.number().is_some()).collect();
        assert_eq!(leaders.len(), 1);
        leaders.first().unwrap().shut_down().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_not_answered_does_not_hold_up_the_end() {
    let server = Server::new();
    let process = Process::start(&server, "only");
    process.until_leads().await;
    process.faults().cut = true;
    let asked = server.clock.now();
    process.shut_down().await;
    assert!(server.clock.now().since(asked) <= Duration::from_secs(5) + A_LITTLE);
    assert_eq!(process.number(), None);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_in_the_middle_of_a_taking_leaves_no_holder_behind() {
    let mut taken = 0;
    for millis in 0..40 {
        let server = Server::new();
        let process = Process::start(&server, "only");
        pass(Duration::from_millis(millis)).await;
        process.shut_down().await;
        assert_eq!(process.number(), None);
        if server.writes() > 0 {
            taken += 1;
            assert_eq!(server.spec().holder_identity.as_deref(), Some(""), "after {millis} ms");
        }
    }
    assert!(taken > 20, "{taken} of 40 came after its request had arrived");
}

#[test]
fn a_number_beyond_what_a_lease_can_hold_still_grows() {
    assert_eq!(record::as_transitions(u64::from(i32::MAX.unsigned_abs()) + 5), i32::MAX);
    assert_eq!(record::whole_seconds(Duration::from_millis(1_001)), 2);
    assert_eq!(record::whole_seconds(Duration::from_secs(15)), 15);
}

#[test]
fn times_that_cannot_work_are_refused_with_the_flag_to_change() {
    let changed = |change: fn(&mut Settings)| {
        let mut settings = settings("one");
        change(&mut settings);
        settings.check().map_err(|error| error.to_string())
    };
    assert_eq!(changed(|_| {}), Ok(()));
    let short = |settings: &mut Settings| {
        settings.lease_duration = Duration::from_secs(1);
        settings.renew_deadline = Duration::from_millis(700);
        settings.retry_period = Duration::from_millis(200);
    };
    assert_eq!(changed(short), Ok(()));
    for (change, flag) in [
        ((|settings| settings.lease_duration = Duration::from_millis(999)) as fn(&mut Settings), "--lease-duration"),
        (|settings| settings.renew_deadline = LEASE, "--renew-deadline"),
        (|settings| settings.retry_period = Duration::ZERO, "--retry-period"),
        (|settings| settings.retry_period = Duration::from_millis(5_001), "--retry-period"),
        (|settings| settings.name.clear(), "--lease-name"),
    ] {
        let said = changed(change).unwrap_err();
        assert!(said.contains(flag), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn settings_that_cannot_work_end_the_task() {
    let server = Server::new();
    let mut settings = settings("one");
    settings.renew_deadline = Duration::from_secs(60);
    let (election, _) = Election::new(server.client("one"), Clock::start(), settings);
    let ended = election.run(CancellationToken::new()).await;
    assert!(matches!(ended, Err(LeaseError::LateDeadline { .. })), "{ended:?}");
}
