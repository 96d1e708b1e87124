//! A real Prometheus, as a child of the test: in a temporary folder, on a free port of loopback, scraping what it is
//! told once a second.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::redis::free_port;

/// How long it may take to begin. Half a second, mostly; the rest is for busy machines.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running Prometheus. Killed on drop.
pub struct PrometheusProcess {
    child: Child,
    port: u16,
    folder: TempDir,
    flags: Vec<String>,
}

impl PrometheusProcess {
    /// Scrapes these addresses.
    pub fn scraping(targets: &[String]) -> Self {
        PrometheusProcess::with(targets, &[], |_| String::new())
    }

    /// Scrapes these addresses, and evaluates these files of rules.
    pub fn evaluating(targets: &[String], rules: &[PathBuf]) -> Self {
        PrometheusProcess::made(targets, rules, &[], |_| String::new())
    }

    /// With further flags, and a file for its own door (TLS, users) that is made in its folder.
    pub fn with(targets: &[String], flags: &[&str], web: impl FnOnce(&Path) -> String) -> Self {
        PrometheusProcess::made(targets, &[], flags, web)
    }

    fn made(targets: &[String], rules: &[PathBuf], flags: &[&str], web: impl FnOnce(&Path) -> String) -> Self {
        let folder = TempDir::new().unwrap();
        let rules: Vec<String> = rules.iter().map(|file| format!("'{}'", file.display())).collect();
        let targets: Vec<String> = targets.iter().map(|target| format!("'{target}'")).collect();
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n\
             rule_files: [{}]\n\
             scrape_configs:\n- job_name: tests\n  static_configs: [{{ targets: [{}] }}]\n",
            rules.join(", "),
            targets.join(", ")
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let web = web(folder.path());
        let mut flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        let is_open = web.is_empty();
        if !is_open {
            std::fs::write(folder.path().join("web.yml"), web).unwrap();
            flags.push(format!("--web.config.file={}", folder.path().join("web.yml").display()));
        }
        for _ in 0..5 {
            let port = free_port();
            let child = spawn(port, folder.path(), &flags);
            let mut server = PrometheusProcess { child, port, folder: TempDir::new().unwrap(), flags: flags.clone() };
            if server.await_ready(is_open) {
                server.folder = folder;
                return server;
            }
        }
        panic!("prometheus does not start");
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again with what it has stored, on the same port.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.port, self.folder.path(), &self.flags);
        assert!(self.await_ready(true), "prometheus does not start again");
    }

    fn await_ready(&mut self, is_open: bool) -> bool {
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            // Behind a door of its own it is enough that it listens.
            if self.get("/-/ready").is_some_and(|answer| answer.contains(" 200 ") || !is_open) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("prometheus on port {} does not become ready", self.port);
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Some(String::from_utf8_lossy(&answer).into_owned())
    }
}

impl Drop for PrometheusProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(port: u16, folder: &Path, flags: &[String]) -> Child {
    let mut program = Command::new("prometheus");
    program
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--log.level=error")
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    program.spawn().unwrap_or_else(|error| panic!("prometheus not found ({error}); tests/run installs it"))
}
