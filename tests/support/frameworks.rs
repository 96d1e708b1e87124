//! Real queue libraries at work: a small program around each (`tests/frameworks/`; `protocol.py` tells how they are
//! talked to), which a test tells what to do while it watches the Redis that they use.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::redis::RedisProcess;

/// Longer than a driver waits for anything: it then says what it waited for.
const PATIENCE: Duration = Duration::from_secs(45);
/// A driver that outlives its test, which it does not, ends after this.
const LIFETIME_SECONDS: u32 = 180;

/// A library and, where two layouts are about, its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    Celery,
    Dramatiq,
    Arq,
    /// From 3.0 on.
    Rq3,
    /// 2.x.
    Rq2,
    /// 5.x, which renames the list when a queue is paused.
    BullMq5,
    /// 6.x, which does not.
    BullMq6,
    /// Debian's, 6.4.
    Sidekiq,
}

/// How to run a driver.
struct Program {
    interpreter: PathBuf,
    file: &'static str,
    options: Value,
}

impl Library {
    fn program(self) -> Result<Program, String> {
        let (home, file) = match self {
            Library::Celery => ("python", "celery_driver.py"),
            Library::Dramatiq => ("python", "dramatiq_driver.py"),
            Library::Rq3 => ("python", "rq_driver.py"),
            Library::Rq2 => ("python-arq", "rq_driver.py"),
            Library::Arq => ("python-arq", "arq_driver.py"),
            Library::BullMq5 | Library::BullMq6 => ("node", "bullmq.mjs"),
            Library::Sidekiq => {
                on_path("sidekiq")?;
                return Ok(Program { interpreter: on_path("ruby")?, file: "sidekiq.rb", options: json!({}) });
            }
        };
        let home = installed(home)?;
        Ok(match self {
            Library::BullMq5 => node(&home, file, "bullmq5")?,
            Library::BullMq6 => node(&home, file, "bullmq6")?,
            _ => Program { interpreter: home.join("bin/python"), file, options: json!({}) },
        })
    }
}

fn node(home: &Path, file: &'static str, package: &str) -> Result<Program, String> {
    Ok(Program { interpreter: on_path("node")?, file, options: json!({ "modules": home, "package": package }) })
}

/// What `tests/run` installed, of exactly the versions that are asked for now.
///
/// # Errors
/// It is not there, or of other versions.
pub fn installed(home: &str) -> Result<PathBuf, String> {
    let wanted = match home {
        "node" => "package.json",
        "python" => "requirements.txt",
        "kubernetes" => "requirements-kubernetes.txt",
        "node-kubernetes" => "package-kubernetes.json",
        _ => "requirements-arq.txt",
    };
    let folder = std::env::var_os("TIDEGATE_FRAMEWORKS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("frameworks"), PathBuf::from)
        .join(home);
    let read = |path: &Path| std::fs::read(path).ok();
    if read(&folder.join("installed")) == read(&drivers().join(wanted)) {
        Ok(folder)
    } else {
        Err(format!("tests/frameworks/{wanted} is not installed in {}", folder.display()))
    }
}

fn on_path(program: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    found.ok_or_else(|| format!("there is no {program}"))
}

fn drivers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frameworks")
}

/// What a library itself says; `None` where it has no word.
#[derive(Clone, Debug)]
pub struct Report {
    /// Items that wait and could be taken now, without delayed ones, due or not.
    pub depth: Option<f64>,
    pub in_flight: Option<f64>,
    /// Delayed items that are due, and wait for a worker to promote them.
    pub due: Option<f64>,
    /// Seconds.
    pub oldest_age: Option<f64>,
    /// The whole answer: some libraries say more.
    pub answer: Value,
}

/// A running driver. It and its workers are killed on drop.
pub struct Driver {
    child: Child,
    commands: ChildStdin,
    answers: Receiver<String>,
    /// Has what it leaves, and the file that its stderr goes to.
    folder: TempDir,
    /// E.g. `rq 3.0.0`.
    pub name: String,
}

impl Driver {
    /// Starts it against `server`, with options that its file tells of. `None`, after a line that says why, where the
    /// library is not installed and `TIDEGATE_FRAMEWORKS=required` is not set.
    pub fn start(library: Library, server: &RedisProcess, queue: &str, options: &Value) -> Option<Self> {
        match library.program() {
            Ok(program) => Some(Driver::run(&program, server, queue, options)),
            Err(reason) => {
                let required = std::env::var("TIDEGATE_FRAMEWORKS").is_ok_and(|word| word == "required");
                assert!(!required, "cannot run {library:?}: {reason}; tests/run installs it");
                // Past the capture of what passing tests print.
                let _ = writeln!(std::io::stderr(), "cannot run: {library:?}: {reason}; tests/run installs it");
                None
            }
        }
    }

    fn run(program: &Program, server: &RedisProcess, queue: &str, options: &Value) -> Self {
        let folder = TempDir::new().unwrap();
        let mut given = json!({ "port": server.port(), "queue": queue, "seconds": LIFETIME_SECONDS });
        for more in [&program.options, options] {
            given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        }
        let mut child = Command::new(&program.interpreter)
            .arg(drivers().join(program.file))
            .arg(given.to_string())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            // It is killed and cannot tidy up.
            .env("TMPDIR", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.path().join("stderr")).unwrap())
            // Its workers are in the group too, and go with it.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.interpreter.display()));
        let commands = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, answers) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut driver = Driver { child, commands, answers, folder, name: program.file.to_owned() };
        let ready = driver.answer("its start");
        driver.name = format!("{} {}", ready["ready"].as_str().unwrap(), ready["version"].as_str().unwrap());
        driver
    }

    /// Tells it to do something, and waits for its answer.
    pub fn tell(&mut self, command: &Value) -> Value {
        writeln!(self.commands, "{command}").unwrap_or_else(|error| self.fail(&format!("{command}: {error}")));
        let answer = self.answer(&command.to_string());
        if answer["ok"] != true {
            self.fail(&format!("{command}: {answer}"));
        }
        answer
    }

    /// Puts items on the queue.
    pub fn enqueue(&mut self, count: u32) {
        self.tell(&json!({ "do": "enqueue", "count": count }));
    }

    /// Puts items on it that are for later.
    pub fn enqueue_delayed(&mut self, count: u32, seconds: f64) {
        self.tell(&json!({ "do": "enqueue", "count": count, "delay_s": seconds }));
    }

    /// Puts items on it with a priority, as this library counts priorities.
    pub fn enqueue_prioritized(&mut self, count: u32, priority: u32) {
        self.tell(&json!({ "do": "enqueue", "count": count, "priority": priority }));
    }

    /// Has real workers take so many items, and hold them.
    pub fn take(&mut self, count: u32) {
        self.tell(&json!({ "do": "take", "count": count }));
    }

    /// Lets so many held items end well. Nothing else is taken meanwhile.
    pub fn finish(&mut self, count: u32) {
        self.tell(&json!({ "do": "finish", "count": count }));
    }

    pub fn report(&mut self) -> Report {
        let answer = self.tell(&json!({ "do": "report" }));
        let number = |field: &str| {
            let value = answer.get(field).unwrap_or_else(|| panic!("{}: no {field} in {answer}", self.name));
            value.as_f64()
        };
        let (depth, in_flight) = (number("depth"), number("in_flight"));
        Report { depth, in_flight, due: number("due"), oldest_age: number("oldest_age_s"), answer }
    }

    fn answer(&self, to: &str) -> Value {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(line) => serde_json::from_str(&line).unwrap_or_else(|error| self.fail(&format!("{line}: {error}"))),
            Err(RecvTimeoutError::Timeout) => self.fail(&format!("no answer to {to} within {PATIENCE:?}")),
            Err(RecvTimeoutError::Disconnected) => self.fail(&format!("ended instead of answering to {to}")),
        }
    }

    fn fail(&self, what: &str) -> ! {
        let said = std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(40)..].join("\n");
        panic!("{}: {what}; the end of its stderr:\n{last}", self.name)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}
