//! A poller that looks for changed files ten times a second, a folder with secrets, and authorities to sign with.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;
use tidegate::spec::{ConnectionSpec, RedisServer};

use crate::support::polling::{self, Polling, autoscaler, list};
use crate::support::redis::RedisProcess;

pub const FAST: Duration = Duration::from_millis(50);
const LOOK_EVERY: Duration = Duration::from_millis(100);

const RENEWALS: &str = "tidegate_credential_renewals_total";

/// One connection, polled every 50 ms under key 0, and what became of it.
pub struct Rig {
    pub polling: Polling,
}

impl Rig {
    /// Returns when the first round was answered.
    pub fn start(server: RedisServer) -> Self {
        let rig = Rig::start_blind(server);
        rig.polling.until_backlog(0, 0.0);
        rig
    }

    pub fn start_blind(server: RedisServer) -> Self {
        let polling = Polling::start_with(|poller| poller.looking_every(LOOK_EVERY));
        let connection: std::sync::Arc<ConnectionSpec> = polling::connection(server);
        polling.set(0, &autoscaler("jobs", FAST, &[(&connection, list(&["jobs"]))]));
        Rig { polling }
    }

    /// How many connections took over, and how many attempts at that failed.
    pub fn renewals(&self) -> (f64, f64) {
        let of = |outcome: &str| self.polling.metric(&[RENEWALS, &format!("outcome=\"{outcome}\"")]);
        (of("ok"), of("error"))
    }

    pub fn until_renewals(&self, number: f64) {
        until("a renewal", || self.renewals().0 >= number);
    }

    /// Waits for a line of the log that contains each of `words`.
    pub fn until_log(&self, words: &[&str]) {
        until(&format!("a line with {words:?}"), || {
            self.polling.log().lines().any(|line| words.iter().all(|word| line.contains(word)))
        });
    }

    pub fn logged(&self, words: &str) -> usize {
        self.polling.log().lines().filter(|line| line.contains(words)).count()
    }

    /// Rounds that were answered so far.
    pub fn rounds(&self) -> f64 {
        self.polling.metric(&["tidegate_poll_rounds_total", "outcome=\"ok\""])
    }

    /// At least `more` rounds later.
    pub fn some_rounds(&self, more: f64) {
        let before = self.rounds();
        until("more rounds", || self.rounds() >= before + more);
    }

    /// Not one round has failed, and not one sample.
    pub fn assert_unharmed(&self) {
        let failures = self.polling.metric(&["tidegate_poll_failures_total"]);
        let errors = self.polling.metric(&["tidegate_poll_rounds_total", "outcome=\"error\""]);
        assert_eq!((failures, errors), (0.0, 0.0), "{}\n{}", self.polling.log(), self.polling.metrics());
        assert!(self.rounds() > 0.0);
        assert_eq!(self.polling.metric(&["tidegate_connection_attempts_total"]), 1.0, "one ordinary connect");
    }
}

/// So many rotations; with the tests that take their time, about a minute of them.
pub fn rotations(few: i32, many: i32) -> i32 {
    if std::env::var_os("TIDEGATE_LONG").is_none_or(|value| value.is_empty() || value == "0") { few } else { many }
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + polling::PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A field of our one line in `CLIENT LIST`. While a connection takes over there may be two: the younger one counts.
pub fn client(server: &RedisProcess, field: &str) -> String {
    let list: String = server.command(&["CLIENT", "LIST"]);
    let ours = list.lines().rfind(|line| line.contains(" name=tidegate ")).unwrap_or_else(|| panic!("{list}"));
    let prefix = format!("{field}=");
    ours.split(' ').find_map(|word| word.strip_prefix(&prefix)).unwrap().to_owned()
}

/// A mount as the kubelet makes it: `name` -> `..data/name`, `..data` -> a folder that is never changed.
pub struct Mount {
    folder: TempDir,
    generation: usize,
}

impl Mount {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let mut mount = Mount { folder: TempDir::new().unwrap(), generation: 0 };
        mount.swap(files);
        for (name, _) in files {
            std::os::unix::fs::symlink(Path::new("..data").join(name), mount.path(name)).unwrap();
        }
        mount
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// All files at once: a new folder, and one rename of the link to it.
    pub fn swap(&mut self, files: &[(&str, &str)]) {
        let at = |name: &str| self.folder.path().join(name);
        self.generation += 1;
        let name = format!("..generation-{}", self.generation);
        std::fs::create_dir(at(&name)).unwrap();
        for (file, contents) in files {
            std::fs::write(at(&name).join(file), contents).unwrap();
        }
        std::os::unix::fs::symlink(&name, at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        let old = at(&format!("..generation-{}", self.generation - 1));
        if old.exists() {
            std::fs::remove_dir_all(old).unwrap();
        }
    }
}

/// Signs certificates.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// PEM.
pub struct Signed {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `name`.
    pub fn sign(&self, name: &str) -> Signed {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Signed { certificate, key: key.serialize_pem() }
    }
}
