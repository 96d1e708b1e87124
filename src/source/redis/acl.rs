//! The least of rights that a source takes: which commands, on which keys, as a line for `ACL SETUSER`.
//!
//! What is one number's read is derived from the reads themselves, so that it cannot be forgotten; what surveys send
//! stands here. A test creates every user by the line that is printed, reads as that user all that the source reads, and
//! finds every write denied.
//!
//! Keys are read-only patterns (`%R~`), which Redis has since 7.0, and no subcommand is named that 7.0 does not know: one
//! such, and the whole line is refused.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::queues;
use crate::source::{Count, Read};
use crate::spec::{Celery, CeleryInFlight, ReadFrom, RedisServer, Source, StreamBacklog, Topology, UserRef};

/// What every connection sends, whatever it reads: protocol and name, and what it takes to be told when an idle queue
/// gets its first item.
const CONNECTING: [&str; 5] = ["hello", "ping", "client|setname", "client|tracking", "client|caching"];

/// What is said to a sentinel before it is asked anything.
const GREETING: [&str; 3] = ["hello", "ping", "client|setname"];

/// Who reads, where the Connection does not name a user, or names one that only tidegate can read.
const USER: &str = "tidegate";

/// Commands, and patterns of the keys that they are sent for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rights {
    commands: BTreeSet<&'static str>,
    keys: BTreeSet<String>,
}

impl Rights {
    /// Takes in what this source takes.
    pub fn add(&mut self, source: &Source) {
        self.add_numbers(source);
        match source {
            Source::RedisList(list) if !list.matching.is_empty() => {
                // SCAN tells the names of all keys: no pattern keeps them from it.
                self.allow(&["scan", "llen"], []);
                self.keys.extend(list.matching.iter().map(|pattern| without_spaces(pattern)));
            }
            Source::RedisStream(stream) if stream.backlog != StreamBacklog::Length => {
                self.allow(&["xinfo|stream", "xinfo|groups"], [exactly(&stream.key)]);
                if stream.backlog == StreamBacklog::Lag {
                    self.allow(&["xrange"], []);
                }
            }
            Source::Celery(celery) => self.add_celery(celery),
            Source::Sidekiq(sidekiq) => {
                self.allow(&["zcount", "zrange"], ["schedule".to_owned(), "retry".to_owned()]);
                // An identity is `host:pid:nonce`.
                self.allow(&["scard", "srandmember"], ["processes".to_owned()]);
                self.allow(&["hvals"], ["*:*:*:work".to_owned(), "*:*:*:workers".to_owned()]);
                if sidekiq.oldest_age {
                    self.allow(&["lindex"], []);
                }
            }
            Source::BullMq(bull) => {
                for queue in &bull.queues {
                    let base = format!("{}:{queue}:", bull.prefix);
                    self.allow(&["hmget"], [exactly(&format!("{base}meta"))]);
                    if bull.oldest_age {
                        // Jobs lie beside the queue's own keys.
                        self.allow(&["lindex", "hget"], [exactly(&base) + "*"]);
                    }
                }
            }
            Source::Rq(rq) => {
                self.allow(&["exists"], ["rq:suspended".to_owned()]);
                if rq.oldest_age {
                    self.allow(&["lindex", "hget"], ["rq:job:*".to_owned()]);
                }
            }
            Source::Resque(resque) => {
                let key = |what: &str| format!("{}:{what}", exactly(&resque.namespace));
                self.allow(&["scard", "srandmember", "get"], [key("workers"), key("worker:*")]);
            }
            Source::Dramatiq(dramatiq) => {
                for queue in &dramatiq.queues {
                    let key = |what: &str| exactly(&format!("{}:{queue}{what}", dramatiq.namespace));
                    self.allow(&["llen", "hlen"], [key(".msgs")]);
                    self.allow(&["lrange", "hmget"], [key(".DQ"), key(".DQ.msgs")]);
                }
                if dramatiq.oldest_age {
                    self.allow(&["lindex", "hget"], []);
                }
            }
            Source::Arq(arq) => {
                self.allow(&["zcount", "zrange"], arq.queues.iter().map(|queue| exactly(queue)));
                self.allow(&["exists"], ["arq:in-progress:*".to_owned()]);
            }
            Source::RedisList(_)
            | Source::RedisStream(_)
            | Source::RedisSet { .. }
            | Source::RedisHash { .. }
            | Source::RedisSortedSet { .. }
            | Source::Postgres(_)
            | Source::PrometheusQuery(_)
            | Source::PrometheusScrape(_)
            | Source::Memory { .. } => {}
        }
    }

    /// What one command on one key answers.
    fn add_numbers(&mut self, source: &Source) {
        for wanted in queues::wanted_by(source) {
            let (commands, key): (&[&'static str], _) = match &wanted.read {
                // Whatever it is of: that is learnt.
                Read::Length(key) => (&["llen", "type", "scard", "zcard", "hlen"], key),
                Read::Count { command, key } => (counting(*command), key),
                Read::Scored { key, .. } => (&["zcount"], key),
                Read::Survey(_) | Read::Query(_) | Read::Scrape(_) | Read::Lag(_) | Read::Queue(_) => continue,
            };
            self.allow(commands, [exactly(key)]);
            // Which of many cold queues are there at all is asked in one command.
            self.allow(&["exists"], []);
        }
    }

    fn add_celery(&mut self, celery: &Celery) {
        let key = |name: &str| exactly(&format!("{}{name}", celery.global_keyprefix));
        if let Some(exchange) = &celery.bound_to {
            self.allow(&["smembers"], [key(&format!("_kombu.binding.{exchange}"))]);
            // Which queues are bound is seen only then, and each has its name for a key.
            self.allow(&["llen"], [key("") + "*"]);
        }
        match celery.in_flight {
            CeleryInFlight::None => {}
            CeleryInFlight::All => self.allow(&["zcount"], [key("unacked_index")]),
            CeleryInFlight::ByQueue => {
                self.allow(&["zcount", "zrange", "hmget"], [key("unacked_index"), key("unacked")]);
            }
        }
    }

    fn allow(&mut self, commands: &[&'static str], keys: impl IntoIterator<Item = String>) {
        self.commands.extend(commands);
        self.keys.extend(keys);
    }
}

/// The line that makes a user who may do this and nothing else, `PASSWORD` standing for its password; for `redis-cli`,
/// or, from its user on, for an ACL file.
#[must_use]
pub fn setuser(server: &RedisServer, rights: &Rights) -> String {
    let mut commands = rights.commands.clone();
    commands.extend(CONNECTING);
    if server.database != 0 {
        commands.insert("select");
    }
    let replica = server.read_from == ReadFrom::Replica;
    match &server.topology {
        // Whoever may be another is asked what it is.
        Topology::Single if replica => drop(commands.insert("role")),
        Topology::Single => {}
        Topology::Sentinel(_) => drop(commands.insert("role")),
        Topology::Cluster { .. } => {
            commands.extend(["cluster|slots", "asking"]);
            // A replica is read while it is in step, and says so itself.
            commands.extend(["readonly", "role"].into_iter().filter(|_| replica));
        }
    }
    user(server.username.as_ref(), &rights.keys, &commands)
}

/// The same for the sentinels, where there are some: they have users of their own.
#[must_use]
pub fn setuser_of_sentinels(server: &RedisServer) -> Option<String> {
    let Topology::Sentinel(sentinel) = &server.topology else { return None };
    let mut commands = BTreeSet::from(GREETING);
    commands.insert("sentinel|get-master-addr-by-name");
    if server.read_from == ReadFrom::Replica {
        commands.insert("sentinel|replicas");
    }
    Some(user(sentinel.username.as_ref(), &BTreeSet::new(), &commands))
}

fn user(name: Option<&UserRef>, keys: &BTreeSet<String>, commands: &BTreeSet<&'static str>) -> String {
    let name = name.and_then(UserRef::name).unwrap_or(USER);
    // Whatever the user may have been allowed before.
    let mut line = format!("ACL SETUSER {} reset on >PASSWORD resetchannels -@all", quoted(name));
    for key in keys {
        let _ = write!(line, " {}", quoted(&format!("%R~{key}")));
    }
    for command in commands {
        let _ = write!(line, " +{command}");
    }
    line
}

fn counting(command: Count) -> &'static [&'static str] {
    match command {
        Count::List => &["llen"],
        Count::Set => &["scard"],
        Count::SortedSet => &["zcard"],
        Count::Hash => &["hlen"],
        Count::Stream => &["xlen"],
    }
}

/// A pattern that this key matches and no other, spaces aside.
fn exactly(key: &str) -> String {
    let mut pattern = String::with_capacity(key.len());
    for letter in key.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    without_spaces(&pattern)
}

/// Redis takes no spaces in a pattern; any one letter will do.
fn without_spaces(pattern: &str) -> String {
    // C's `isspace`, which has the vertical tab as well.
    pattern.replace(|letter: char| letter.is_ascii_whitespace() || letter == '\u{b}', "?")
}

/// As `redis-cli` reads words.
fn quoted(word: &str) -> String {
    let plain = |letter: char| !letter.is_control() && !letter.is_whitespace() && letter != '"' && letter != '\'';
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    for letter in word.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            // All control characters of one byte.
            letter if letter.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(source: &Source, database: u32) -> String {
        let mut rights = Rights::default();
        rights.add(source);
        let server = RedisServer { database, ..RedisServer::at("redis:6379", Duration::from_secs(1)) };
        setuser(&server, &rights)
    }

    #[test]
    fn a_list_and_the_queues_of_celery() {
        assert_eq!(
            line(&Source::lists(vec!["jobs".into()]), 0),
            "ACL SETUSER tidegate reset on >PASSWORD resetchannels -@all %R~jobs +client|caching +client|setname \
             +client|tracking +exists +hello +hlen +llen +ping +scard +type +zcard"
        );
        let celery = Celery {
            queues: vec!["high".into()],
            bound_to: None,
            priority_steps: vec![0, 3],
            separator: "\u{6}\u{16}".into(),
            global_keyprefix: "".into(),
            in_flight: CeleryInFlight::All,
            visibility_timeout: Duration::from_secs(3600),
        };
        assert_eq!(
            line(&Source::Celery(celery), 2),
            "ACL SETUSER tidegate reset on >PASSWORD resetchannels -@all %R~high \"%R~high\\x06\\x163\" \
             %R~unacked_index +client|caching +client|setname +client|tracking +exists +hello +llen +ping +select +zcount"
        );
    }

    #[test]
    fn each_topology_takes_what_finds_its_servers() {
        let of = |topology, read_from| {
            let server = RedisServer { topology, read_from, ..RedisServer::at("redis:6379", Duration::from_secs(1)) };
            let commands = |line: &str| -> Vec<String> {
                line.split(" +").skip(1).map(str::to_owned).filter(|c| !GREETING.contains(&c.as_str())).collect()
            };
            let own = setuser(&server, &Rights::default());
            let beyond = commands(&own).into_iter().filter(|command| !CONNECTING.contains(&command.as_str()));
            (beyond.collect::<Vec<_>>().join(" "), setuser_of_sentinels(&server).map(|line| commands(&line).join(" ")))
        };
        let sentinel = || {
            Topology::Sentinel(Box::new(crate::spec::Sentinel {
                addresses: vec!["s:26379".to_owned()],
                master: "main".to_owned(),
                username: None,
                password: None,
                tls: None,
            }))
        };
        let cluster = || Topology::Cluster { addresses: vec!["n:6379".to_owned()] };
        assert_eq!(of(Topology::Single, ReadFrom::Primary), (String::new(), None));
        assert_eq!(of(Topology::Single, ReadFrom::Replica), ("role".to_owned(), None));
        let master = "sentinel|get-master-addr-by-name".to_owned();
        assert_eq!(of(sentinel(), ReadFrom::Primary), ("role".to_owned(), Some(master.clone())));
        assert_eq!(of(sentinel(), ReadFrom::Replica), ("role".to_owned(), Some(master + " sentinel|replicas")));
        assert_eq!(of(cluster(), ReadFrom::Primary), ("asking cluster|slots".to_owned(), None));
        assert_eq!(of(cluster(), ReadFrom::Replica), ("asking cluster|slots readonly role".to_owned(), None));
    }

    #[test]
    fn a_keys_own_letters_are_no_wildcards_and_spaces_are_any_letter() {
        assert_eq!(exactly(r"a*b?[c]\d"), r"a\*b\?\[c\]\\d");
        assert_eq!(exactly("two words"), "two?words");
        assert_eq!(quoted("%R~a b"), "\"%R~a b\"");
        assert_eq!(quoted(r"%R~a\*b"), r"%R~a\*b");
        assert_eq!(quoted("say \"hi\"\n"), "\"say \\\"hi\\\"\\x0a\"");
    }
}
