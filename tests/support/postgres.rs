//! A real PostgreSQL, as a child of the test: its own data, its own port of loopback, its passwords and certificates,
//! ended with the value that stands for it.
//!
//! It does not run as root, so there it is started as the user `postgres` that Debian's package makes. What initdb makes
//! is made once for a build and copied for each server.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate::spec::{PostgresServer, Secret, SecretRef};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};
use tokio_util::task::AbortOnDropHandle;

use super::redis::{Certificates, free_port};

/// How long a server may take to begin or to end. A start takes a fifth of a second; the rest is for busy machines.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who may do everything.
pub const ADMIN: &str = "admin";
pub const ADMIN_PASSWORD: &str = "planted-admin-password";
/// Who may read, and no more.
pub const READER: &str = "reader";
pub const READER_PASSWORD: &str = "planted-reader-password";

/// Lines that say who may log in and how: everybody, with a password, also unencrypted.
pub const PASSWORDS: &str = "local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n";
/// Encrypted connections only.
pub const ENCRYPTED: &str = "local all all scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256\n";

/// Whoever makes what initdb makes.
static MAKING: Mutex<()> = Mutex::new(());

/// A running server. Killed on drop.
pub struct PostgresProcess {
    child: Child,
    port: u16,
    folder: TempDir,
    /// Where it has certificates, for `localhost`.
    pub certificates: Option<Certificates>,
}

impl PostgresProcess {
    /// With passwords and without TLS.
    pub fn start() -> Self {
        PostgresProcess::with(&[])
    }

    /// With these lines in its configuration file, e.g. `max_connections = 10`.
    pub fn with(lines: &[&str]) -> Self {
        PostgresProcess::of(lines, false, PASSWORDS)
    }

    /// With a certificate, and these lines about who may log in.
    pub fn with_tls(lets_in: &str) -> Self {
        PostgresProcess::of(&["ssl = on", "ssl_cert_file = 'server.pem'", "ssl_key_file = 'server.key'"], true, lets_in)
    }

    /// Without TLS, with these lines about who may log in.
    pub fn letting_in(lets_in: &str) -> Self {
        PostgresProcess::of(&[], false, lets_in)
    }

    fn of(lines: &[&str], tls: bool, lets_in: &str) -> Self {
        // Between finding a port and taking it somebody else may take it.
        for _ in 0..5 {
            let folder = TempDir::new().unwrap();
            let data = folder.path().join("data");
            copy(&template(), &data);
            let certificates = tls.then(|| certify(folder.path(), &data));
            let port = free_port();
            let settings = format!(
                "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nfsync = off\n\
                 synchronous_commit = on\nfull_page_writes = off\nautovacuum = off\nmax_connections = 40\n{}\n",
                folder.path().display(),
                lines.join("\n")
            );
            // Later lines count.
            let before = fs::read_to_string(data.join("postgresql.conf")).unwrap();
            fs::write(data.join("postgresql.conf"), format!("{before}\n{settings}")).unwrap();
            fs::write(data.join("pg_hba.conf"), lets_in).unwrap();
            give_away(folder.path());
            let child = spawn(&data);
            let mut server = PostgresProcess { child, port, folder, certificates };
            if server.await_ready() {
                return server;
            }
        }
        panic!("PostgreSQL does not start with {lines:?}");
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its Unix socket is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A Connection to a database as the reader, with timeouts short enough for tests.
    pub fn server(&self, database: &str) -> PostgresServer {
        PostgresServer {
            address: self.address(),
            database: database.to_owned(),
            username: Some(READER.into()),
            password: Some(SecretRef::Inline(Secret::new(READER_PASSWORD))),
            url: None,
            tls: None,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
        }
    }

    /// A database of this name, and the admin's session on it. The reader may read whatever is made there.
    pub fn database(&self, name: &str) -> Session {
        let mut admin = self.session("postgres");
        admin.run(&format!("create database {name}"));
        if admin.number(&format!("select count(*) from pg_roles where rolname = '{READER}'")) == 0 {
            admin.run(&format!("create role {READER} login password '{READER_PASSWORD}'"));
        }
        let mut session = self.session(name);
        session.run(&format!("alter default privileges grant select on tables to {READER}"));
        session.run(&format!("alter default privileges grant usage on schemas to {READER}"));
        session
    }

    /// The admin's session on a database.
    pub fn session(&self, database: &str) -> Session {
        self.try_session(database, ADMIN, ADMIN_PASSWORD).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Over the Unix socket, which is never encrypted.
    pub fn try_session(&self, database: &str, user: &str, password: &str) -> Result<Session, String> {
        let path = self.folder.path().join(format!(".s.PGSQL.{}", self.port));
        Session::open(&path, database, user, password)
    }

    /// Ends the server at once, as a crash would: whoever is connected is cut off.
    pub fn kill(&mut self) {
        // Its other processes are ended by it, even if it is frozen.
        self.signal_all("-CONT");
        signal(self.child.id(), "-QUIT");
        let give_up = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            if Instant::now() > give_up {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Starts it again with its data, on the same port.
    pub fn restart(&mut self) {
        self.kill();
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            self.child = spawn(&self.folder.path().join("data"));
            if self.await_ready() {
                return;
            }
        }
        panic!("PostgreSQL does not start again on port {}", self.port);
    }

    /// Starts it again as a replica, which only reads, of nobody.
    pub fn become_replica(&mut self) {
        self.kill();
        fs::write(self.folder.path().join("data/standby.signal"), "").unwrap();
        give_away(self.folder.path());
        self.restart();
    }

    /// Stops all its processes without closing anything: connections stay open and nobody answers.
    pub fn freeze(&self) {
        self.signal_all("-STOP");
    }

    /// Lets frozen processes go on.
    pub fn thaw(&self) {
        self.signal_all("-CONT");
    }

    /// CPU time that the processes of these sessions have used, seconds.
    pub fn cpu_seconds(&self, pids: &[i64]) -> f64 {
        /// Of the kernel's clock, a second.
        const TICKS: f64 = 100.0;
        let of = |pid: &i64| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
            (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS
        };
        pids.iter().map(of).sum()
    }

    fn signal_all(&self, name: &str) {
        let parent = self.child.id();
        let mut pids = vec![parent];
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            let Some((_, fields)) = stat.rsplit_once(") ") else { continue };
            if fields.split(' ').nth(1).and_then(|parent| parent.parse().ok()) == Some(parent) {
                pids.push(pid);
            }
        }
        for pid in pids {
            signal(pid, name);
        }
    }

    /// Whether it lets somebody in, as opposed to having ended.
    fn await_ready(&mut self) -> bool {
        let give_up = Instant::now() + PATIENCE;
        let mut said = String::new();
        while Instant::now() < give_up {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            match self.try_session("postgres", ADMIN, ADMIN_PASSWORD) {
                Ok(_) => return true,
                Err(error) => said = error,
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("PostgreSQL on port {} does not answer: {said}", self.port);
    }
}

impl Drop for PostgresProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A session of the test's own, which blocks.
pub struct Session {
    runtime: Runtime,
    client: Client,
    _driver: AbortOnDropHandle<()>,
}

impl Session {
    fn open(socket: &Path, database: &str, user: &str, password: &str) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut config = Config::new();
        config.user(user).password(password).dbname(database).application_name("test");
        let opening = async {
            let stream = tokio::net::UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
            let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(|error| format!("{error:?}"))?;
            let driver = tokio::spawn(async {
                let _ = connection.await;
            });
            Ok::<_, String>((client, AbortOnDropHandle::new(driver)))
        };
        let (client, driver) = runtime.block_on(opening)?;
        Ok(Session { runtime, client, _driver: driver })
    }

    /// Runs statements.
    pub fn run(&mut self, sql: &str) {
        self.try_run(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub fn try_run(&mut self, sql: &str) -> Result<(), String> {
        self.runtime.block_on(self.client.batch_execute(sql)).map_err(|error| format!("{error:?}"))
    }

    /// The rows of a query, as text.
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        let messages = self.runtime.block_on(self.client.simple_query(sql));
        let messages = messages.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let row = |message: SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            _ => None,
        };
        messages.into_iter().filter_map(row).collect()
    }

    /// The one value of a query.
    pub fn text(&mut self, sql: &str) -> String {
        self.rows(sql)
            .first()
            .and_then(|row| row.first().cloned().flatten())
            .unwrap_or_else(|| panic!("{sql}: nothing"))
    }

    pub fn number(&mut self, sql: &str) -> i64 {
        self.text(sql).parse().unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

/// Who the server runs as, where it is not whoever runs the test.
fn is_root() -> bool {
    // The owner of what a process makes.
    let probe = TempDir::new().unwrap();
    std::os::unix::fs::MetadataExt::uid(&fs::metadata(probe.path()).unwrap()) == 0
}

/// Where a program of PostgreSQL's is: the newest that is installed.
fn path_of(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").map(|folder| {
        let mut paths: Vec<PathBuf> = folder.flatten().map(|entry| entry.path().join("bin").join(name)).collect();
        paths.retain(|path| path.exists());
        paths.sort_by_key(|path| version(path).parse::<u32>().ok());
        paths
    });
    let path = versions.ok().and_then(|mut paths| paths.pop());
    path.unwrap_or_else(|| panic!("PostgreSQL's {name} is not there; tests/run installs it"))
}

/// Of `/usr/lib/postgresql/15/bin/postgres`: 15.
fn version(path: &Path) -> String {
    path.iter().nth(4).unwrap_or_default().to_string_lossy().into_owned()
}

fn program(name: &str) -> Command {
    let path = path_of(name);
    if !is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    // What it starts is the program itself: one process, which signals reach.
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path);
    command
}

/// A folder with what initdb makes, which nobody changes.
fn template() -> PathBuf {
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("postgres-{}", version(&path_of("postgres"))));
    if kept.exists() {
        return kept;
    }
    let folder = TempDir::new().unwrap();
    let password = folder.path().join("password");
    fs::write(&password, ADMIN_PASSWORD).unwrap();
    give_away(folder.path());
    let data = folder.path().join("data");
    let made = program("initdb")
        .arg("-D")
        .arg(&data)
        .args(["-U", ADMIN, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
        .arg(format!("--pwfile={}", password.display()))
        .output()
        .unwrap();
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    // Whoever is first with another test binary keeps his.
    let ours = kept.with_extension(std::process::id().to_string());
    copy(&data, &ours);
    if fs::rename(&ours, &kept).is_err() {
        let _ = fs::remove_dir_all(&ours);
    }
    kept
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "cp -a {} {}", from.display(), to.display());
}

/// To whom the server runs as.
fn give_away(folder: &Path) {
    if is_root() {
        let status = Command::new("chown").args(["-R", "postgres:postgres"]).arg(folder).status().unwrap();
        assert!(status.success(), "chown {}", folder.display());
        // Whoever runs the test goes on reading it.
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    }
}

fn certify(folder: &Path, data: &Path) -> Certificates {
    let made = folder.join("certificates");
    fs::create_dir(&made).unwrap();
    let certificates = Certificates::make(&made);
    for (from, to) in [(&certificates.certificate, "server.pem"), (&certificates.key, "server.key")] {
        fs::copy(from, data.join(to)).unwrap();
        fs::set_permissions(data.join(to), Permissions::from_mode(0o600)).unwrap();
    }
    certificates
}

fn spawn(data: &Path) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(data.with_file_name("log")).unwrap();
    let errors = log.try_clone().unwrap();
    let mut server = program("postgres");
    server.arg("-D").arg(data).stdin(Stdio::null()).stdout(log).stderr(errors);
    server.spawn().unwrap()
}

fn signal(pid: u32, name: &str) {
    // It may have ended a moment ago.
    let _ = Command::new("kill").args([name, &pid.to_string()]).stderr(Stdio::null()).status();
}
