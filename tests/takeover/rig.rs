//! An API server, workloads, and two processes that want to lead, each with a network and a clock of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::backlog::Backlog;
use crate::judge::{Turn, Verdict};
use crate::stand_in;
use crate::support::apiserver::{ApiServer, Client, Net, Outcome};

pub const NAMESPACE: &str = "tidegate";
pub const LEASE: &str = "tidegate";
pub const WORKLOADS: usize = 6;

/// Lease, deadline, period: short, so that hundreds of take-overs take minutes.
pub const SHORT: (Duration, Duration, Duration) =
    (Duration::from_secs(1), Duration::from_millis(700), Duration::from_millis(200));

/// How long anything may take that has no bound of its own to be tested. Busy machines are slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the two processes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// [`stand_in`].
    StandIn,
    /// The same without a version in its patches.
    Unfenced,
    /// `tidegate run --target kubernetes`.
    Tidegate,
}

pub struct Rig {
    pub server: ApiServer,
    pub contenders: Vec<Contender>,
    /// The record was read so far, and these were the terms in it.
    mark: usize,
    turns: Vec<Turn>,
    _backlog: Option<Backlog>,
}

/// One process, or one after the other, under one name and with one network.
pub struct Contender {
    pub client: Client,
    who: Who,
    process: Option<Process>,
    /// Of all its processes.
    log: NamedTempFile,
}

/// Killed on drop, also while it is stopped.
struct Process(Child);

impl Rig {
    pub fn start(who: Who) -> Self {
        let server = ApiServer::start();
        for number in 0..WORKLOADS {
            let name = format!("work-{number}");
            let labels = json!({"app": name});
            let pods =
                json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "worker", "image": "w"}]}});
            server.insert(&json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": NAMESPACE, "name": name},
                "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": pods},
            }));
        }
        let backlog = (who == Who::Tidegate).then(Backlog::start);
        if let Some(backlog) = &backlog {
            backlog.declare(&server);
        }
        let contenders = ["one", "two"].map(|name| Contender {
            client: server.client(name),
            who,
            process: None,
            log: NamedTempFile::new().unwrap(),
        });
        Rig { server, contenders: contenders.into(), mark: 0, turns: Vec::new(), _backlog: backlog }
    }

    /// On everything.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(&self.server.requests())
    }

    /// On what came since the last [`Rig::go_on`]: the whole record grows too long to be read again and again.
    pub fn recent(&self) -> Verdict {
        Verdict::after(self.turns.clone(), &self.server.since(self.mark))
    }

    pub fn go_on(&mut self) {
        let mark = self.server.mark();
        self.turns = self.recent().turns;
        self.mark = mark;
    }

    pub fn index(&self, client: &str) -> usize {
        self.contenders.iter().position(|contender| contender.client.name == client).unwrap()
    }

    /// Requests of a contender for the Lease that were answered since `mark`.
    pub fn answered(&self, which: usize, mark: usize) -> usize {
        let name = &self.contenders[which].client.name;
        let asked = self.server.since(mark).client(name).resource("leases");
        asked.that(|entry| matches!(entry.outcome, Outcome::Answered(_))).len()
    }

    /// Somebody rewrites the times in the Lease.
    pub fn shift_lease(&self, hours: i64) {
        let mut lease = self.server.get("leases.coordination.k8s.io", NAMESPACE, LEASE).unwrap();
        for field in ["renewTime", "acquireTime"] {
            let time: Timestamp = lease["spec"][field].as_str().unwrap().parse().unwrap();
            let shifted = time + SignedDuration::from_hours(hours);
            lease["spec"][field] = json!(format!("{shifted:.6}"));
        }
        self.server.insert_as("somebody", &lease);
    }
}

impl Contender {
    /// `shift`: hours by which its wall clock is off, where something can do that.
    pub fn start(&mut self, shift: i64) {
        let mut command = match self.who {
            Who::StandIn | Who::Unfenced => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args(["--exact", "stand_in::contender", "--ignored", "--nocapture"]);
                command.env(stand_in::NAME, &self.client.name);
                if self.who == Who::Unfenced {
                    command.env(stand_in::UNFENCED, "1");
                }
                command
            }
            Who::Tidegate => {
                let (lease, deadline, retry) = SHORT;
                let millis = |time: Duration| format!("{}ms", time.as_millis());
                let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
                command.args(["run", "--target", "kubernetes", "--no-checkpoints"]);
                command.args(["--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0"]);
                command.args(["--lease-namespace", NAMESPACE, "--lease-name", LEASE, "--identity", &self.client.name]);
                command.args(["--lease-duration", &millis(lease), "--renew-deadline", &millis(deadline)]);
                command.args(["--retry-period", &millis(retry), "--kube-qps", "1000", "--kube-burst", "1000"]);
                command
            }
        };
        command.env("KUBECONFIG", self.client.kubeconfig());
        if let Some(library) = faketime()
            && shift != 0
        {
            command.env("LD_PRELOAD", library).env("FAKETIME", format!("{shift:+}h"));
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
        }
        let log = std::fs::OpenOptions::new().append(true).open(self.log.path()).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.process = Some(Process(child));
    }

    pub fn signal(&self, signal: &str) {
        let process = self.process.as_ref().unwrap();
        let status = Command::new("kill").args([signal, &process.0.id().to_string()]).status().unwrap();
        assert!(status.success(), "kill {signal} failed");
    }

    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Waits for an end that was asked for.
    pub fn wait(&mut self) {
        let process = self.process.as_mut().unwrap();
        let name = &self.client.name;
        until(&format!("the end of {name}"), || {
            process.0.try_wait().unwrap().is_some_and(|status| {
                assert!(status.success(), "{name} ended with {status}");
                true
            })
        });
        self.process = None;
    }

    pub fn net(&self, net: Net) {
        self.client.net(net);
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.log.path()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            println!("--- the end of {}'s log ---", self.client.name);
            println!("{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Debian's libfaketime, which shifts the wall clock of a process and leaves the monotonic one alone.
pub fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.exists())
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
