//! Forced take-overs, one after the other, and the search of the record.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::judge::Verdict;
use crate::rig::{Rig, SHORT, WORKLOADS, Who, faketime, until};
use crate::support::apiserver::Net;

/// What is done to the leader.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Harm {
    /// kill -9.
    Kill,
    /// SIGSTOP until another has acted everywhere, then SIGCONT.
    Stop,
    /// Nothing gets through, in either direction; what was sent meanwhile arrives in the end.
    Frozen,
    /// Connections end, and so do new ones.
    Cut,
    /// What it asks for is done, and it is never told.
    Deaf,
    /// Somebody writes times into the Lease that are hours ahead; then kill -9.
    Ahead,
    /// Hours behind, while it lives: nothing may come of that. Then kill -9.
    Behind,
    /// SIGTERM.
    Terminate,
}

const HARMS: [Harm; 8] =
    [Harm::Kill, Harm::Stop, Harm::Frozen, Harm::Cut, Harm::Deaf, Harm::Ahead, Harm::Behind, Harm::Terminate];

/// A take-over that was forced.
struct Forced {
    harm: Harm,
    /// From the last accepted write of the old leader to the first of the new one.
    gap: Duration,
}

impl Harm {
    /// What the gap consists of at most, apart from what a busy machine adds: the lease from the last renewal that was
    /// seen, two periods until a candidate looks where its watch is silent, and one for the first evaluation.
    fn bound(self) -> Duration {
        let (lease, _, retry) = SHORT;
        let retry = retry.mul_f64(1.2);
        match self {
            Harm::Terminate => 2 * retry,
            // One renewal more may be accepted after the last answer that arrived, and with it a lease more.
            Harm::Deaf => 2 * lease + 3 * retry,
            // The record with other times in it is a new one, and counts from when it was seen.
            _ => lease + 3 * retry,
        }
    }
}

impl Rig {
    /// Waits until one leads and has written to every workload; says who, and in which term.
    fn until_settled(&self) -> (usize, i64) {
        let mut settled = None;
        until("a leader that acts", || {
            let verdict = self.recent();
            settled = verdict.turn().filter(|turn| verdict.workloads_in(turn.number) == WORKLOADS).cloned();
            settled.is_some()
        });
        let turn = settled.unwrap();
        (self.index(&turn.client), turn.number)
    }

    /// Waits until somebody else has written to every workload in a later term.
    fn until_taken_over(&self, from: usize, term: i64) {
        until("another leader that acts", || {
            let verdict = self.recent();
            let turn = verdict.turn().unwrap();
            turn.number > term && self.index(&turn.client) != from && verdict.workloads_in(turn.number) == WORKLOADS
        });
    }

    /// Forces one. Both run afterwards, with an open network.
    fn force(&mut self, harm: Harm, shift: i64) -> Forced {
        self.go_on();
        let (leader, term) = self.until_settled();
        let other = 1 - leader;
        match harm {
            Harm::Kill => self.contenders[leader].kill(),
            Harm::Stop => self.contenders[leader].signal("-STOP"),
            Harm::Frozen => self.contenders[leader].net(Net::Frozen),
            Harm::Cut => self.contenders[leader].net(Net::Cut),
            Harm::Deaf => self.contenders[leader].net(Net::Deaf),
            Harm::Ahead => {
                self.shift_lease(5);
                self.contenders[leader].kill();
            }
            Harm::Behind => {
                for _ in 0..5 {
                    self.shift_lease(-5);
                    std::thread::sleep(SHORT.2);
                }
                let verdict = self.recent();
                assert_eq!(verdict.turn().unwrap().number, term, "a living leader was succeeded");
                self.contenders[leader].kill();
            }
            Harm::Terminate => self.contenders[leader].signal("-TERM"),
        }
        self.until_taken_over(leader, term);
        // Before it can: one that finds a living leader only watches from then on.
        let back = self.server.mark();
        match harm {
            Harm::Stop => self.contenders[leader].signal("-CONT"),
            Harm::Frozen | Harm::Cut | Harm::Deaf => self.contenders[leader].net(Net::Open),
            Harm::Terminate => {
                self.contenders[leader].wait();
                self.contenders[leader].start(shift);
            }
            Harm::Kill | Harm::Ahead | Harm::Behind => self.contenders[leader].start(shift),
        }
        until("an answer to whoever came back", || self.answered(leader, back) > 0);
        let verdict = self.recent();
        let next = verdict.turns.iter().find(|turn| turn.number > term && self.index(&turn.client) == other).unwrap();
        let last = verdict.last_act_before(next.rv).unwrap();
        let first = verdict.first_act(next.number).unwrap();
        Forced { harm, gap: first.saturating_sub(last) }
    }
}

/// Once round, and some, so that both have begun anew with another clock. The stand-ins show that the rig works; that is
/// enough of them.
fn rounds(who: Who) -> usize {
    let long = std::env::var_os("TIDEGATE_LONG").is_some_and(|value| !value.is_empty() && value != "0");
    match who {
        Who::Tidegate if long => 208,
        Who::Tidegate | Who::StandIn | Who::Unfenced => HARMS.len() + 4,
    }
}

#[test]
fn nothing_of_an_old_term_is_applied_where_the_new_leader_has_acted() {
    force_many(Who::StandIn);
}

#[test]
fn nothing_of_tidegates_old_terms_is_applied_where_the_new_leader_has_acted() {
    force_many(Who::Tidegate);
}

/// The term is asked for right before each patch is sent; what a network held back arrives all the same.
#[test]
fn without_versions_the_same_search_finds_writes_of_old_terms() {
    let mut rig = Rig::start(Who::Unfenced);
    rig.contenders.iter_mut().for_each(|contender| contender.start(0));
    for _ in 0..5 {
        rig.force(Harm::Frozen, 0);
        if !rig.recent().wrong.is_empty() {
            return;
        }
    }
    panic!("five frozen leaders, and nothing of theirs arrived late: this rig proves nothing");
}

fn force_many(who: Who) {
    let mut rig = Rig::start(who);
    let shifts = if faketime().is_some() {
        [0, 5, -5, 100]
    } else {
        println!("no libfaketime here: wall clocks are shifted in the Lease only (apt-get install faketime)");
        [0; 4]
    };
    for (contender, shift) in rig.contenders.iter_mut().zip(shifts) {
        contender.start(shift);
    }
    let mut forced = Vec::new();
    for round in 0..rounds(who) {
        forced.push(rig.force(HARMS[round % HARMS.len()], shifts[round % shifts.len()]));
        let recent = rig.recent();
        assert!(recent.wrong.is_empty(), "{:#?}", recent.wrong);
    }
    let verdict = rig.verdict();
    assert!(verdict.wrong.is_empty(), "{:#?}", verdict.wrong);
    report(&verdict, &forced);
    let hours = apart(&rig).as_secs() / 3_600;
    println!("the wall clocks of the holders were {hours} h apart");
    assert!(faketime().is_none() || hours >= 99, "no clock was shifted");
}

/// How far apart the wall clocks of the holders were, as the Lease has them.
fn apart(rig: &Rig) -> Duration {
    let renewals = rig.server.requests().resource("leases").applied();
    let times = renewals.0.iter().filter_map(|entry| entry.body["spec"]["renewTime"].as_str()?.parse().ok());
    let times: Vec<Timestamp> = times.collect();
    let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    last.duration_since(*first).unsigned_abs()
}

fn report(verdict: &Verdict, forced: &[Forced]) {
    let (lease, deadline, retry) = SHORT;
    let (number, terms) = (forced.len(), verdict.turns.len());
    println!("{number} forced take-overs, {terms} terms; lease {lease:?}, deadline {deadline:?}, period {retry:?}");
    let Verdict { acts, wrong, late, fenced, .. } = verdict;
    println!(
        "{} writes accepted; {} of an old term where the new leader had acted, {late} where it had not yet; {fenced} \
         of an old term refused by their version",
        acts.len(),
        wrong.len()
    );
    for harm in HARMS {
        let mut gaps: Vec<u128> = forced.iter().filter(|f| f.harm == harm).map(|f| f.gap.as_millis()).collect();
        gaps.sort_unstable();
        let (Some(longest), Some(median)) = (gaps.last(), gaps.get(gaps.len() / 2)) else { continue };
        let (name, number, bound) = (format!("{harm:?}"), gaps.len(), harm.bound().as_millis());
        println!("{name:10} {number:3} gaps: median {median} ms, longest {longest} ms; bound {bound} ms");
    }
}
