//! The real binary, as a child of the test: manifests in a folder of its own, free ports of loopback, its log kept.
//!
//! ```ignore
//! let tidegate = Tidegate::start(&manifests, &["--target", "memory"]);   // returns once it serves
//! tidegate.until_ready();                                                // every trigger has been asked once
//!
//! // HTTP, blocking: an Answer has `status`, `body` and `json()`.
//! tidegate.get("/metrics").body;
//! tidegate.detail("pulse", "mail")["desired"].as_i64();
//! tidegate.workload("pulse", "mail")["replicas"].as_i64();               // rehearsals only
//! tidegate.scale("pulse", "mail", 3);                                    // as `kubectl scale` would
//! tidegate.mark("pulse", "mail");
//! until("two replicas", || tidegate.replicas("pulse", "mail") == 2);
//!
//! // gRPC, as KEDA asks; inside a tokio runtime. `client()` and `channel()` are tonic's own.
//! let mut keda = tidegate.keda("pulse", &[("autoscaler", "mail")]).await;
//! keda.specs().await?;  keda.value("").await?;  keda.active().await?;
//!
//! // Its log, one JSON object a line, and its end.
//! tidegate.until_log("ready: everything was asked once");
//! tidegate.signal("-TERM");  tidegate.wait();                            // -> ExitStatus
//! ```
//!
//! What blocks (HTTP, `wait`, [`until`]) blocks a test's gRPC client, too, where both share a thread: that one then
//! answers no GOAWAY, and the process waits five seconds for it. [`Tidegate::wait_along`] and [`until_along`] let it run.
//!
//! [`command`] runs one that ends by itself. A `Tidegate` that is dropped is killed; the log of one that is dropped in
//! a panic is printed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tidegate::proto::externalscaler::external_scaler_client::ExternalScalerClient;
use tidegate::proto::externalscaler::{GetMetricsRequest, ScaledObjectRef};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// How long anything may take that has no bound of its own to be tested. Busy machines are slow.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where standard output goes, in the folder of the manifests.
const STDOUT: &str = "stdout.txt";

/// A running `tidegate run`. Killed on drop.
pub struct Tidegate {
    child: Child,
    grpc: SocketAddr,
    http: SocketAddr,
    log: Arc<Log>,
    /// Holds the manifests.
    folder: TempDir,
}

/// Lines of standard error, filled by a thread of its own.
#[derive(Default)]
struct Log {
    lines: Mutex<Lines>,
    grown: Condvar,
}

#[derive(Default)]
struct Lines {
    all: Vec<String>,
    /// Nothing more will come.
    ended: bool,
}

/// What an HTTP request was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }
}

impl Tidegate {
    /// `tidegate run` with these manifests (YAML documents; none if empty) and further arguments. Returns when it
    /// serves, which is before it is ready.
    pub fn start(manifests: &str, arguments: &[&str]) -> Self {
        Tidegate::start_within(&[], manifests, arguments)
    }

    /// As [`Tidegate::start`], with these variables in its environment.
    pub fn start_within(environment: &[(&str, &str)], manifests: &str, arguments: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut command = binary();
        command.envs(environment.iter().copied());
        command.args(["run", "--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0", "--log-format", "json"]);
        if !manifests.is_empty() {
            let file = folder.path().join("manifests.yaml");
            std::fs::write(&file, manifests).unwrap();
            command.arg("-f").arg(file);
        }
        let stdout = File::create(folder.path().join(STDOUT)).unwrap();
        let mut child = command.args(arguments).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::collect(child.stderr.take().unwrap());
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut tidegate = Tidegate { child, grpc: nowhere, http: nowhere, log, folder };
        let serving = tidegate.until_log("\"serving\"");
        let serving: Value = serde_json::from_str(&serving).unwrap();
        let address = |name: &str| serving[name].as_str().and_then(|text| text.parse().ok());
        tidegate.grpc = address("grpc_address").unwrap_or_else(|| panic!("no gRPC address: {serving}"));
        tidegate.http = address("http_address").unwrap_or_else(|| panic!("no HTTP address: {serving}"));
        tidegate
    }

    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc
    }

    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory, MiB.
    pub fn rss_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok());
        kib.map_or_else(|| panic!("no VmRSS in:\n{status}"), |kib: f64| kib / 1024.0)
    }

    /// CPU time it has used, seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // Behind the name, which may hold anything: state is the third field, utime and stime the 14th and 15th, in
        // hundredths (`USER_HZ` is 100 on every Linux).
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
    }

    /// Where the manifests are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    // === HTTP ===

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    /// One request on a connection of its own.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.try_ask(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// As [`Tidegate::ask`], where the process may not listen any more.
    pub fn try_ask(&self, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&self.http, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        let head = "Host: tidegate\r\nConnection: close\r\nContent-Type: application/json";
        write!(stream, "{method} {path} HTTP/1.1\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let broken = || std::io::Error::other(format!("no HTTP answer: {text:?}"));
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(broken)?;
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { unchunked(body).ok_or_else(broken)? } else { body.to_owned() };
        Ok(Answer { status, body })
    }

    /// Whether `/readyz` says so.
    pub fn is_ready(&self) -> bool {
        self.try_ask("GET", "/readyz", "").is_ok_and(|answer| answer.status == 200)
    }

    pub fn until_ready(&self) {
        until("ready", || self.is_ready());
    }

    /// `/api/v1/autoscalers/{namespace}/{name}`.
    pub fn detail(&self, namespace: &str, name: &str) -> Value {
        self.get(&format!("/api/v1/autoscalers/{namespace}/{name}")).json()
    }

    /// `/api/v1/workloads/{namespace}/{name}`; only a rehearsal has them.
    pub fn workload(&self, namespace: &str, name: &str) -> Value {
        self.get(&format!("/api/v1/workloads/{namespace}/{name}")).json()
    }

    /// Replicas asked for of a workload; only in a rehearsal.
    pub fn replicas(&self, namespace: &str, name: &str) -> i64 {
        let workload = self.workload(namespace, name);
        workload["replicas"].as_i64().unwrap_or_else(|| panic!("no replicas: {workload}"))
    }

    /// What `kubectl scale` would do; only in a rehearsal.
    pub fn scale(&self, namespace: &str, name: &str, replicas: i64) {
        let body = serde_json::json!({ "replicas": replicas }).to_string();
        let answer = self.ask("PUT", &format!("/api/v1/workloads/{namespace}/{name}/replicas"), &body);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Begins `lowest` and `highest` anew; only in a rehearsal.
    pub fn mark(&self, namespace: &str, name: &str) -> Value {
        self.ask("POST", &format!("/api/v1/workloads/{namespace}/{name}/mark"), "").json()
    }

    /// The value of one series of `/metrics`, written as it stands there, labels included.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = self.get("/metrics").body;
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.trim().parse().ok())
    }

    // === gRPC ===

    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap();
        endpoint.connect().await.unwrap_or_else(|error| panic!("no gRPC at {}: {error}", self.grpc))
    }

    pub async fn client(&self) -> ExternalScalerClient<Channel> {
        ExternalScalerClient::new(self.channel().await)
    }

    /// One trigger of a ScaledObject `worker` of `namespace`.
    pub async fn keda(&self, namespace: &str, metadata: &[(&str, &str)]) -> Keda {
        Keda::new(self.client().await, namespace, metadata)
    }

    // === the process ===

    /// Everything it has written to standard output, where nothing belongs.
    pub fn stdout(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(STDOUT)).unwrap()
    }

    /// Everything it has logged, one JSON object a line.
    pub fn log(&self) -> String {
        self.log.lines().all.join("\n")
    }

    /// The first line that contains `text`, waiting for it.
    pub fn until_log(&self, text: &str) -> String {
        let give_up = Instant::now() + PATIENCE;
        let mut lines = self.log.lines();
        loop {
            if let Some(line) = lines.all.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = give_up.saturating_duration_since(Instant::now());
            let hopeless = lines.ended || left.is_zero();
            assert!(!hopeless, "tidegate never logged {text:?}, but:\n{}", lines.all.join("\n"));
            lines = self.log.grown.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// As the `kill` command has it: `-TERM`, `-INT`, `-KILL`, `-STOP`, `-CONT`.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success(), "kill {signal} failed");
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end and for the last line of its log.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the end of tidegate", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        until("the end of its log", || self.log.lines().ended);
        status.unwrap()
    }

    /// As [`Tidegate::wait`], while the runtime goes on.
    pub async fn wait_along(&mut self) -> ExitStatus {
        until_along("the end of tidegate", || self.ended().is_some()).await;
        self.wait()
    }
}

impl Drop for Tidegate {
    #[expect(clippy::print_stdout, reason = "for whoever reads why a test failed")]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- tidegate's log ---\n{}\n--- end of it ---", self.log());
        }
    }
}

impl Log {
    /// Also after a panic of whoever held it: the log is what explains that.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(stderr: impl Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Log::default());
        let filled = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                filled.lines().all.push(line);
                filled.grown.notify_all();
            }
            filled.lines().ended = true;
            filled.grown.notify_all();
        });
        log
    }
}

/// Runs `tidegate` with these arguments to its end.
pub fn command(arguments: &[&str]) -> Output {
    binary().args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Polls until `holds`.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// As [`until`], while the runtime goes on.
pub async fn until_along(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The binary under test, unaffected by whatever the environment says.
fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("TIDEGATE_") || text == "RUST_LOG" || text == "KUBECONFIG" {
            command.env_remove(&name);
        }
    }
    command
}

fn unchunked(mut body: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.push_str(rest.get(..size)?);
        body = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}

/// KEDA's side of one trigger.
#[derive(Clone)]
pub struct Keda {
    pub client: ExternalScalerClient<Channel>,
    pub object: ScaledObjectRef,
}

/// Name, whole target, target.
pub type Spec = (String, i64, f64);

impl Keda {
    pub fn new(client: ExternalScalerClient<Channel>, namespace: &str, metadata: &[(&str, &str)]) -> Self {
        let scaler_metadata: HashMap<String, String> =
            metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Keda { client, object: ScaledObjectRef { name: "worker".into(), namespace: namespace.into(), scaler_metadata } }
    }

    /// GetMetricSpec.
    pub async fn specs(&mut self) -> Result<Vec<Spec>, Status> {
        let specs = self.client.get_metric_spec(self.object.clone()).await?.into_inner().metric_specs;
        Ok(specs.into_iter().map(|spec| (spec.metric_name, spec.target_size, spec.target_size_float)).collect())
    }

    /// GetMetrics of the metric of this name (the first if empty): the whole value and the value.
    pub async fn value(&mut self, metric: &str) -> Result<(i64, f64), Status> {
        let object = Some(self.object.clone());
        let request = GetMetricsRequest { scaled_object_ref: object, metric_name: metric.to_owned() };
        let values = self.client.get_metrics(request).await?.into_inner().metric_values;
        assert_eq!(values.len(), 1, "KEDA adds several values up: {values:?}");
        Ok((values[0].metric_value, values[0].metric_value_float))
    }

    /// IsActive.
    pub async fn active(&mut self) -> Result<bool, Status> {
        Ok(self.client.is_active(self.object.clone()).await?.into_inner().result)
    }

    /// Asks GetMetrics until it answers `wanted`.
    pub async fn until_value(&mut self, wanted: f64) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let answer = self.value("").await;
            if answer.as_ref().is_ok_and(|(_, value)| *value == wanted) {
                return;
            }
            assert!(Instant::now() < give_up, "never {wanted}, but {answer:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
