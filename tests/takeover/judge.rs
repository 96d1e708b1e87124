//! Reads the API server's record: who led when, and who wrote what in which term.
//!
//! Revisions are the server's own order of everything that it accepted, of the Lease and of workloads alike; no clock is
//! needed to say what came first. A writer's term is the last that it had acquired by then.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::rig::{LEASE, NAMESPACE, Rig, Who};
use crate::support::apiserver::{Entry, Requests};

/// A term, from the write that began it.
#[derive(Clone, Debug)]
pub struct Turn {
    pub number: i64,
    pub client: String,
    pub rv: u64,
    pub at: Duration,
}

/// An accepted write to a workload.
#[derive(Clone, Debug)]
pub struct Act {
    pub number: i64,
    pub client: String,
    pub workload: String,
    pub rv: u64,
    pub at: Duration,
}

#[derive(Debug, Default)]
pub struct Verdict {
    pub turns: Vec<Turn>,
    pub acts: Vec<Act>,
    /// Accepted where the leader of a later term had acted already: what must never be.
    pub wrong: Vec<String>,
    /// Accepted after a later term had begun, where its leader had not acted yet. It did no harm.
    pub late: usize,
    /// Refused because of its resourceVersion, from whoever led no more: what the version is there for.
    pub fenced: usize,
}

impl Verdict {
    pub fn of(record: &Requests) -> Self {
        Verdict::after(Vec::new(), record)
    }

    /// Of a part of the record, before which there were these terms.
    pub fn after(turns: Vec<Turn>, record: &Requests) -> Self {
        let mut verdict = Verdict { turns, ..Verdict::default() };
        let mut accepted: Vec<&Entry> = record.0.iter().filter(|entry| entry.applied && entry.rv.is_some()).collect();
        accepted.sort_by_key(|entry| entry.rv);
        // The highest term in which each workload was written to, and in which anybody was leader.
        let mut acted: BTreeMap<String, i64> = BTreeMap::new();
        for entry in accepted {
            let rv = entry.rv.unwrap();
            if entry.resource == "leases" {
                verdict.leased(entry, rv);
            } else if entry.resource.ends_with("/scale") {
                let workload = entry.name.clone();
                let turn = verdict.turns.iter().rfind(|turn| turn.client == entry.client);
                let Some(number) = turn.map(|turn| turn.number) else {
                    verdict.wrong.push(format!("{} was never the leader: {entry:?}", entry.client));
                    continue;
                };
                let highest = acted.entry(workload.clone()).or_insert(number);
                if number < *highest {
                    let client = &entry.client;
                    verdict.wrong.push(format!("{client} of term {number} wrote after term {highest}: {entry:?}"));
                }
                *highest = number.max(*highest);
                verdict.late += usize::from(verdict.turns.last().is_some_and(|last| last.number > number));
                let act = Act { number, client: entry.client.clone(), workload, rv, at: entry.at };
                verdict.acts.push(act);
            }
        }
        verdict.fenced = record
            .0
            .iter()
            .filter(|entry| entry.resource.ends_with("/scale") && entry.code() == Some(409))
            .filter(|entry| {
                let begun = verdict.turns.iter().rfind(|turn| turn.at <= entry.at);
                begun.is_some_and(|turn| turn.client != entry.client)
            })
            .count();
        verdict
    }

    fn leased(&mut self, entry: &Entry, rv: u64) {
        let spec = &entry.body["spec"];
        let holder = spec["holderIdentity"].as_str().unwrap_or_default();
        let number = spec["leaseTransitions"].as_i64().unwrap_or(0);
        let last = self.turns.last();
        if holder.is_empty() || last.is_some_and(|last| last.number == number && last.client == entry.client) {
            return;
        }
        if let Some(last) = last.filter(|last| number <= last.number) {
            self.wrong.push(format!("term {number} of {} after {} of {}", entry.client, last.number, last.client));
        }
        self.turns.push(Turn { number, client: entry.client.clone(), rv, at: entry.at });
    }

    /// The last term.
    pub fn turn(&self) -> Option<&Turn> {
        self.turns.last()
    }

    /// When anybody first wrote to a workload in this term.
    pub fn first_act(&self, number: i64) -> Option<Duration> {
        self.acts.iter().find(|act| act.number == number).map(|act| act.at)
    }

    /// When anybody last wrote to a workload before revision `rv`.
    pub fn last_act_before(&self, rv: u64) -> Option<Duration> {
        self.acts.iter().rfind(|act| act.rv < rv).map(|act| act.at)
    }

    /// How many workloads were written to in this term.
    pub fn workloads_in(&self, number: i64) -> usize {
        let names: std::collections::BTreeSet<&str> =
            self.acts.iter().filter(|act| act.number == number).map(|act| act.workload.as_str()).collect();
        names.len()
    }
}

/// Takes the Lease, by force.
async fn lead(client: &kube::Client, number: i32) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let spec = json!({"holderIdentity": format!("holder-{number}"), "leaseTransitions": number});
    if number == 1 {
        let lease = json!({"metadata": {"name": LEASE}, "spec": spec});
        leases.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap();
    } else {
        let patch = Patch::Merge(json!({"spec": spec}));
        leases.patch(LEASE, &PatchParams::default(), &patch).await.unwrap();
    }
}

async fn act(client: &kube::Client, workload: &str, replicas: i32) {
    let workloads: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    workloads.patch_scale(workload, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn a_write_of_an_old_term_is_found_in_the_record() {
    let rig = Rig::start(Who::StandIn);
    let client = |which: usize| kube::Client::try_from(rig.contenders[which].client.config()).unwrap();
    let (one, two) = (client(0), client(1));
    lead(&one, 1).await;
    act(&one, "work-0", 10).await;
    lead(&two, 2).await;
    act(&two, "work-0", 20).await;
    // Not where the new leader has acted yet.
    act(&one, "work-1", 30).await;
    let verdict = rig.verdict();
    assert!(verdict.wrong.is_empty(), "{:?}", verdict.wrong);
    assert_eq!((verdict.acts.len(), verdict.late), (3, 1));
    act(&two, "work-1", 40).await;
    act(&one, "work-0", 50).await;
    let verdict = rig.verdict();
    assert_eq!(verdict.wrong.len(), 1, "{:?}", verdict.wrong);
    assert!(verdict.wrong[0].contains("one of term 1 wrote after term 2"), "{:?}", verdict.wrong);
}
