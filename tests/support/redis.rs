//! A real redis-server, as a child of the test: started on a free port of loopback, without persistence, ended with
//! the value that stands for it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Client, Connection, FromRedisValue, Value};
use tempfile::TempDir;

/// How long a server may take to begin or to end. A start takes some 20 ms; the rest is for busy machines.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connections of one link to one server: one for numbers, and one for whatever is asked with care.
pub const CONNECTIONS: usize = 2;

/// A running redis-server. Killed on drop.
pub struct RedisProcess {
    child: Child,
    port: u16,
    folder: TempDir,
    /// Further lines of the configuration file.
    lines: Vec<String>,
    /// What the test's own client logs in with.
    password: Option<String>,
    kind: Kind,
}

/// What the program is started as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Server,
    Sentinel,
}

impl RedisProcess {
    /// A server with Redis' defaults, apart from persistence.
    pub fn start() -> Self {
        RedisProcess::with(&[])
    }

    /// A server with these lines in its configuration file, e.g. `maxclients 10` or `user alice on >secret +llen ~q:*`.
    pub fn with(lines: &[&str]) -> Self {
        RedisProcess::of_kind(Kind::Server, lines)
    }

    /// A sentinel with these lines in its configuration file.
    pub fn sentinel(lines: &[&str]) -> Self {
        RedisProcess::of_kind(Kind::Sentinel, lines)
    }

    fn of_kind(kind: Kind, lines: &[&str]) -> Self {
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let password = lines.iter().find_map(|line| line.strip_prefix("requirepass ")).map(str::to_owned);
        // Between finding a port and taking it somebody else may take it.
        for _ in 0..5 {
            let port = free_port();
            let folder = TempDir::new().unwrap();
            let child = spawn(kind, port, &folder, &lines);
            let mut server =
                RedisProcess { child, port, folder, lines: lines.clone(), password: password.clone(), kind };
            if server.await_ready() {
                return server;
            }
        }
        panic!("redis-server does not start; its configuration: {lines:?}");
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Of loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder that it runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs one command on a connection of its own and returns its answer.
    pub fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = self.connect().expect("redis-server accepts a connection");
        self.command_on(&mut connection, words)
    }

    /// Runs one command on `connection`.
    pub fn command_on<T: FromRedisValue>(&self, connection: &mut Connection, words: &[&str]) -> T {
        let (name, arguments) = words.split_first().expect("a command");
        redis::cmd(name).arg(arguments).query(connection).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// A blocking connection, logged in.
    pub fn connect(&self) -> redis::RedisResult<Connection> {
        let login = self.password.as_ref().map_or(String::new(), |password| format!(":{password}@"));
        let client = Client::open(format!("redis://{login}127.0.0.1:{}", self.port))?;
        client.get_connection_with_timeout(Duration::from_secs(1))
    }

    /// How often `command` was called since the server began; subcommands are named `client|list`.
    pub fn calls(&self, command: &str) -> u64 {
        let info: String = self.command(&["INFO", "commandstats"]);
        let prefix = format!("cmdstat_{command}:calls=");
        info.lines().find_map(|line| line.strip_prefix(&prefix)?.split(',').next()?.parse().ok()).unwrap_or(0)
    }

    /// Connections whose client's name is `name`.
    pub fn clients(&self, name: &str) -> usize {
        let list: String = self.command(&["CLIENT", "LIST"]);
        list.lines().filter(|line| line.split(' ').any(|field| field == format!("name={name}"))).count()
    }

    /// Ends the server at once, as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, empty, on the same port.
    pub fn restart(&mut self) {
        self.kill();
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            self.child = spawn(self.kind, self.port, &self.folder, &self.lines);
            if self.await_ready() {
                return;
            }
        }
        panic!("redis-server does not start again on port {}", self.port);
    }

    /// Stops its process without closing anything: connections stay open and nobody answers.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// CPU time it has used, seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let info: String = self.command(&["INFO", "cpu"]);
        let field =
            |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok()).unwrap_or(0.0);
        field("used_cpu_sys:") + field("used_cpu_user:")
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success(), "kill {signal} failed");
    }

    /// Whether it answers, as opposed to having ended.
    fn await_ready(&mut self) -> bool {
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if let Ok(mut connection) = self.connect()
                // Unlike PING it is answered by a replica that has lost its master, too.
                && redis::cmd("INFO").query::<Value>(&mut connection).is_ok()
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("redis-server on port {} does not answer", self.port);
    }
}

impl Drop for RedisProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port of loopback that nobody listened on a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// An authority and a certificate of its for `localhost`, made anew: files of `folder`.
pub struct Certificates {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificates {
    /// Made by the `openssl` command.
    pub fn make(folder: &Path) -> Self {
        let at = |name: &str| folder.join(name);
        std::fs::write(at("extensions"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n").unwrap();
        let days = ["-days", "2"];
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        openssl(
            folder,
            &["req", "-x509", "-subj", "/CN=test-ca", "-keyout", "ca.key", "-out", "ca.pem"],
            &[&curve, &days],
        );
        openssl(folder, &["req", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"], &[&curve]);
        let sign = ["x509", "-req", "-in", "server.csr", "-out", "server.pem", "-extfile", "extensions"];
        openssl(folder, &sign, &[&["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"], &days]);
        Certificates { authority: at("ca.pem"), certificate: at("server.pem"), key: at("server.key") }
    }
}

fn openssl(folder: &Path, arguments: &[&str], more: &[&[&str]]) {
    let output = Command::new("openssl").args(arguments).args(more.concat()).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("openssl not found ({error}); tests/run installs it"));
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn spawn(kind: Kind, port: u16, folder: &TempDir, lines: &[String]) -> Child {
    let mut text = format!("port {port}\nbind 127.0.0.1\ndir {}\nlogfile redis.log\n", folder.path().display());
    if kind == Kind::Server {
        text.push_str("save \"\"\nappendonly no\n");
    }
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    let file = folder.path().join("redis.conf");
    std::fs::write(&file, text).unwrap();
    let mut program = Command::new("redis-server");
    program.arg(&file);
    if kind == Kind::Sentinel {
        program.arg("--sentinel");
    }
    let child = program.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    child.unwrap_or_else(|error| panic!("redis-server not found ({error}); tests/run installs it"))
}
