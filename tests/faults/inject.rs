//! The faults, each with a redis-server of its own to do it to: how it begins, how it ends, and what it is called.

use redis::{Connection, Value};
use tidegate::model::FailureKind;

use crate::support::redis::RedisProcess;

/// The key that everybody reads.
pub const KEY: &str = "jobs";
const ASIDE: &str = "jobs:aside";
const PASSWORD: &str = "correct-horse";
/// Clients beside the test's own that keep a full server full.
const FILLERS: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The process is killed; what comes back is empty.
    Killed,
    /// SIGSTOP: connections stay open, and the kernel accepts new ones.
    Frozen,
    /// Another password, and everybody has to log in again.
    Password,
    /// The list is gone, and a text stands in its place.
    WrongType,
    /// Our user may not see the key any more.
    Denied,
    /// At its limit of clients.
    Full,
}

impl Fault {
    pub const ALL: [Fault; 6] =
        [Fault::Killed, Fault::Frozen, Fault::Password, Fault::WrongType, Fault::Denied, Fault::Full];

    /// Also the name of the connection, and of the autoscalers that read it.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Killed => "killed",
            Fault::Frozen => "frozen",
            Fault::Password => "password",
            Fault::WrongType => "wrong-type",
            Fault::Denied => "denied",
            Fault::Full => "full",
        }
    }

    /// What it has to be called, by everybody who speaks of it.
    pub fn kind(self) -> FailureKind {
        match self {
            Fault::Killed => FailureKind::Unreachable,
            Fault::Frozen => FailureKind::Timeout,
            Fault::Password => FailureKind::Authentication,
            Fault::WrongType => FailureKind::WrongType,
            Fault::Denied => FailureKind::PermissionDenied,
            Fault::Full => FailureKind::TooManyClients,
        }
    }

    /// Whether nothing can be asked of the server, as opposed to one key failing alone on a connection that is fine.
    pub fn takes_the_server(self) -> bool {
        !matches!(self, Fault::WrongType | Fault::Denied)
    }

    fn configuration(self) -> &'static [&'static str] {
        match self {
            Fault::Password => &["requirepass correct-horse"],
            Fault::Denied => &["user reader on >correct-horse +llen +type +client|setname ~jobs"],
            Fault::Killed | Fault::Frozen | Fault::WrongType | Fault::Full => &[],
        }
    }

    /// Further fields of the Connection.
    pub fn login(self) -> &'static str {
        match self {
            Fault::Password => ", password: correct-horse",
            Fault::Denied => ", username: reader, password: correct-horse",
            Fault::Killed | Fault::Frozen | Fault::WrongType | Fault::Full => "",
        }
    }
}

/// A server, and what is done to it.
pub struct Victim {
    pub fault: Fault,
    server: RedisProcess,
    /// The test's own way in, which outlives changes of passwords and limits.
    own: Connection,
    fillers: Vec<Connection>,
}

impl Victim {
    pub fn start(fault: Fault) -> Self {
        let server = RedisProcess::with(fault.configuration());
        let own = server.connect().unwrap();
        Victim { fault, server, own, fillers: Vec::new() }
    }

    pub fn address(&self) -> String {
        self.server.address()
    }

    pub fn push(&mut self, items: usize) {
        push(&mut self.own, items);
    }

    pub fn drain(&mut self) {
        self.tell(&["DEL", KEY]);
    }

    pub fn begin(&mut self) {
        match self.fault {
            Fault::Killed => self.server.kill(),
            Fault::Frozen => self.server.freeze(),
            Fault::Password => {
                self.tell(&["CONFIG", "SET", "requirepass", "battery-staple"]);
                // It spares the connection that says so.
                self.tell(&["CLIENT", "KILL", "TYPE", "normal"]);
            }
            Fault::WrongType => {
                self.tell(&["RENAME", KEY, ASIDE]);
                self.tell(&["SET", KEY, "hello"]);
            }
            Fault::Denied => self.tell(&["ACL", "SETUSER", "reader", "resetkeys", "~others"]),
            Fault::Full => {
                self.fillers = (0..FILLERS).map(|_| self.server.connect().unwrap()).collect();
                // The limit first: whoever is closed below finds its place taken already.
                self.tell(&["CONFIG", "SET", "maxclients", &(FILLERS + 1).to_string()]);
                let list: String = self.server.command_on(&mut self.own, &["CLIENT", "LIST"]);
                for line in list.lines().filter(|line| line.contains(" name=tidegate ")) {
                    let id = line.split(' ').find_map(|field| field.strip_prefix("id=")).unwrap();
                    self.tell(&["CLIENT", "KILL", "ID", id]);
                }
            }
        }
    }

    pub fn end(&mut self) {
        match self.fault {
            Fault::Killed => {
                self.server.restart();
                self.own = self.server.connect().unwrap();
            }
            Fault::Frozen => self.server.thaw(),
            Fault::Password => self.tell(&["CONFIG", "SET", "requirepass", PASSWORD]),
            // In one step: nobody is to see the key missing.
            Fault::WrongType => self.tell(&["RENAME", ASIDE, KEY]),
            Fault::Denied => self.tell(&["ACL", "SETUSER", "reader", &format!("~{KEY}")]),
            Fault::Full => {
                self.fillers.clear();
                self.tell(&["CONFIG", "SET", "maxclients", "1000"]);
            }
        }
    }

    fn tell(&mut self, words: &[&str]) {
        let _: Value = self.server.command_on(&mut self.own, words);
    }
}

/// Puts `items` into the queue.
pub fn push(connection: &mut Connection, items: usize) {
    let items = vec!["x"; items];
    redis::cmd("RPUSH").arg(KEY).arg(items).query::<Value>(connection).unwrap();
}
