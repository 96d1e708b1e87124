//! Which node of a Cluster holds which key: the hash of a key's slot, and the map of slots to nodes that a node gives
//! out. All of it is pure; a map may come from a server that lies, and is bounded by the number of slots.

use redis::{ServerError, Value};

use super::shown;
use crate::model::{FailureKind, ReadFailure};
use crate::spec::address;

/// Slots of every Cluster there is.
pub(super) const SLOTS: u16 = 16_384;

/// Replicas of one primary that are remembered. Nobody has more to choose from.
const MOST_REPLICAS: usize = 8;

/// The slot of a key: of what stands between its first braces, if anything does.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let inside = key.get(open + 1..)?;
        let close = inside.iter().position(|byte| *byte == b'}')?;
        inside.get(..close).filter(|tag| !tag.is_empty())
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM, which Redis' specification of the Cluster names: polynomial 0x1021, from zero, nothing reflected.
fn crc16(bytes: &[u8]) -> u16 {
    const TABLE: [u16; 256] = table();
    bytes.iter().fold(0, |crc: u16, byte| {
        let index = usize::from((crc >> 8) as u8 ^ byte);
        (crc << 8) ^ TABLE.get(index).copied().unwrap_or(0)
    })
}

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "worked out by the compiler")]
const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// A primary, and those who follow it. Addresses are `host:port`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Shard {
    pub(super) primary: String,
    pub(super) replicas: Vec<String>,
}

/// Who holds which slots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SlotMap {
    shards: Vec<Shard>,
    /// The position in [`SlotMap::shards`] by slot.
    owners: Vec<u16>,
}

/// Of slots that nobody holds.
const NOBODY: u16 = u16::MAX;

impl SlotMap {
    /// Nobody holds anything.
    pub(super) fn none() -> Self {
        SlotMap { shards: Vec::new(), owners: vec![NOBODY; usize::from(SLOTS)] }
    }

    pub(super) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The position of the shard that holds `slot`.
    pub(super) fn owner(&self, slot: u16) -> Option<usize> {
        self.owners.get(usize::from(slot)).copied().filter(|owner| *owner != NOBODY).map(usize::from)
    }

    fn give(&mut self, from: i64, to: i64, shard: Shard) -> Option<()> {
        let (from, to) = (usize::try_from(from).ok()?, usize::try_from(to).ok()?);
        let position = match self.shards.iter().position(|known| known.primary == shard.primary) {
            Some(known) => known,
            None => {
                self.shards.push(shard);
                self.shards.len() - 1
            }
        };
        let position = u16::try_from(position).ok().filter(|position| *position < SLOTS)?;
        self.owners.get_mut(from..=to)?.fill(position);
        Some(())
    }

    /// From the reply to `CLUSTER SLOTS` of a node at `asked` (`host:port`): a node may leave its own host out.
    pub(super) fn of_slots(reply: &Value, asked: &str) -> Result<Self, ReadFailure> {
        let mut map = SlotMap::none();
        let ranges = list(reply).ok_or_else(|| strange(asked, "CLUSTER SLOTS"))?;
        for range in ranges {
            let read = || {
                let [Value::Int(from), Value::Int(to), primary, replicas @ ..] = list(range)? else { return None };
                let primary = node(primary, asked)?;
                let replicas = replicas.iter().filter_map(|replica| node(replica, asked)).take(MOST_REPLICAS);
                Some((*from, *to, Shard { primary, replicas: replicas.collect() }))
            };
            // A range whose node has no address that anybody knows is nobody's for us: its reads say so.
            if let Some((from, to, shard)) = read() {
                map.give(from, to, shard).ok_or_else(|| strange(asked, "CLUSTER SLOTS"))?;
            }
        }
        map.not_empty(asked)
    }

    /// From the reply to `CLUSTER SHARDS`, for those who may not ask for the slots. `tls`: which ports are wanted.
    pub(super) fn of_shards(reply: &Value, asked: &str, tls: bool) -> Result<Self, ReadFailure> {
        let mut map = SlotMap::none();
        for shard in list(reply).ok_or_else(|| strange(asked, "CLUSTER SHARDS"))? {
            let mut primary = None;
            let mut replicas = Vec::new();
            for node in field(shard, "nodes").and_then(list).unwrap_or_default() {
                let healthy = field(node, "health").and_then(text).is_none_or(|health| health == "online");
                let port = field(node, if tls { "tls-port" } else { "port" }).or_else(|| field(node, "port"));
                let Some(address) = place(field(node, "endpoint"), port, asked) else { continue };
                match field(node, "role").and_then(text) {
                    Some("master") => primary = primary.or(Some(address)),
                    _ if healthy && replicas.len() < MOST_REPLICAS => replicas.push(address),
                    _ => {}
                }
            }
            let Some(primary) = primary else { continue };
            let slots = field(shard, "slots").and_then(list).unwrap_or_default();
            for range in slots.chunks_exact(2) {
                let [Value::Int(from), Value::Int(to)] = range else { continue };
                let shard = Shard { primary: primary.clone(), replicas: replicas.clone() };
                map.give(*from, *to, shard).ok_or_else(|| strange(asked, "CLUSTER SHARDS"))?;
            }
        }
        map.not_empty(asked)
    }

    fn not_empty(self, asked: &str) -> Result<Self, ReadFailure> {
        if self.shards.is_empty() {
            let sentence =
                format!("{asked} is part of a Cluster in which nobody holds any slots; look at `CLUSTER NODES`");
            return Err(ReadFailure::new(FailureKind::NotServing, sentence));
        }
        Ok(self)
    }
}

/// Where a node sends us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Redirect {
    /// The slot is there now.
    Moved(String),
    /// The slot is on its way there, and this key has arrived, or was never here: for this once.
    Ask(String),
}

impl Redirect {
    /// `None`: another error. `asked`: who answered so.
    pub(super) fn of(error: &ServerError, asked: &str) -> Option<Redirect> {
        let to = |details: Option<&str>| {
            let (_, to) = details?.split_once(' ')?;
            let (host, port) = to.trim().rsplit_once(':')?;
            at(host, port.parse().ok()?, asked)
        };
        match error.code() {
            "MOVED" => to(error.details()).map(Redirect::Moved),
            "ASK" => to(error.details()).map(Redirect::Ask),
            _ => None,
        }
    }

    pub(super) fn address(&self) -> &str {
        match self {
            Redirect::Moved(address) | Redirect::Ask(address) => address,
        }
    }
}

/// A node of `CLUSTER SLOTS`: endpoint, port, and what is of no interest.
fn node(node: &Value, asked: &str) -> Option<String> {
    let [endpoint, port, ..] = list(node)? else { return None };
    place(Some(endpoint), Some(port), asked)
}

fn place(endpoint: Option<&Value>, port: Option<&Value>, asked: &str) -> Option<String> {
    let Some(Value::Int(port)) = port else { return None };
    let host = match endpoint {
        None | Some(Value::Nil) => "",
        Some(endpoint) => text(endpoint)?,
    };
    at(host, u16::try_from(*port).ok()?, asked)
}

/// `host:port`; no host is the host that was asked, and `?` is one that nobody knows.
fn at(host: &str, port: u16, asked: &str) -> Option<String> {
    let host = if host.is_empty() { address::split(asked)?.0 } else { host };
    let joined = address::join(host, port);
    // Whatever a server says is an address only if it could have been written as one.
    address::split(&joined).is_some().then_some(joined)
}

fn list(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) | Value::Set(items) => Some(items),
        _ => None,
    }
}

pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// The value under `name` of a map, whichever way the protocol's version writes one.
pub(super) fn field<'v>(map: &'v Value, name: &str) -> Option<&'v Value> {
    match map {
        Value::Map(pairs) => pairs.iter().find(|(key, _)| text(key) == Some(name)).map(|(_, value)| value),
        Value::Array(flat) => flat.chunks_exact(2).find_map(|pair| match pair {
            [key, value] if text(key) == Some(name) => Some(value),
            _ => None,
        }),
        _ => None,
    }
}

fn strange(asked: &str, command: &str) -> ReadFailure {
    let sentence = format!("{} answered {command} with something that is no map of slots", shown(asked));
    ReadFailure::new(FailureKind::Protocol, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Value {
        redis::parse_redis_value(text.as_bytes()).unwrap()
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        // The check value of CRC-16/XMODEM, and slots that `CLUSTER KEYSLOT` of a Redis 7.0.15 gives.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (key, slot) in [
            ("foo", 12182),
            ("bar", 5061),
            ("{user1000}.following", 3443),
            ("{user1000}.followers", 3443),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("foo{bar}{zap}", 5061),
            ("", 0),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
    }

    #[test]
    fn a_map_is_read_whatever_nodes_call_themselves() {
        let node = |host: &str, port: u16| format!("*3\r\n{host}:{port}\r\n$1\r\nx\r\n");
        let text = format!(
            "*3\r\n*4\r\n:0\r\n:5460\r\n{}{}*3\r\n:5461\r\n:10922\r\n{}*3\r\n:10923\r\n:16383\r\n{}",
            node("$8\r\n10.0.0.1\r\n", 7000),
            node("$8\r\n10.0.0.9\r\n", 7009),
            node("$-1\r\n", 7001),
            node("$0\r\n\r\n", 7002),
        );
        let map = SlotMap::of_slots(&reply(&text), "redis.shop.svc:6379").unwrap();
        let primaries: Vec<&str> = map.shards().iter().map(|shard| shard.primary.as_str()).collect();
        assert_eq!(primaries, ["10.0.0.1:7000", "redis.shop.svc:7001", "redis.shop.svc:7002"]);
        assert_eq!(map.shards().first().unwrap().replicas, ["10.0.0.9:7009"]);
        assert_eq!((map.owner(0), map.owner(5461), map.owner(16383)), (Some(0), Some(1), Some(2)));
    }

    #[test]
    fn shards_say_the_same_as_slots() {
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        let node = |port: u16, role: &str, health: &str| {
            let words = ["endpoint", "127.0.0.1", "role", role, "health", health].map(bulk).concat();
            format!("*8\r\n{}:{port}\r\n{words}", bulk("port"))
        };
        let nodes = format!(
            "*3\r\n{}{}{}",
            node(7000, "master", "online"),
            node(7001, "replica", "online"),
            node(7002, "replica", "failed")
        );
        let text = format!("*1\r\n*4\r\n{}*4\r\n:0\r\n:10\r\n:20\r\n:30\r\n{}{nodes}", bulk("slots"), bulk("nodes"));
        let map = SlotMap::of_shards(&reply(&text), "127.0.0.1:7000", false).unwrap();
        assert_eq!(map.shards(), [Shard { primary: "127.0.0.1:7000".into(), replicas: vec!["127.0.0.1:7001".into()] }]);
        assert_eq!((map.owner(10), map.owner(15), map.owner(30)), (Some(0), None, Some(0)));
    }

    #[test]
    fn what_is_no_map_is_refused() {
        for text in [
            ":1\r\n",
            "*0\r\n",
            "*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n",
            "*1\r\n*3\r\n:-1\r\n:5\r\n*2\r\n$1\r\na\r\n:1\r\n",
            "*1\r\n*3\r\n:9\r\n:5\r\n*2\r\n$1\r\na\r\n:1\r\n",
            "*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n$1\r\n?\r\n:1\r\n",
            "*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n$7\r\nme@evil\r\n:1\r\n",
            "*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n$1\r\na\r\n:70000\r\n",
        ] {
            assert!(SlotMap::of_slots(&reply(text), "redis:6379").is_err(), "{text:?}");
        }
    }

    #[test]
    fn redirections_are_told_from_other_errors() {
        let of = |line: &str| match reply(&format!("{line}\r\n")) {
            Value::ServerError(error) => Redirect::of(&error, "redis:6379"),
            other => panic!("not an error: {other:?}"),
        };
        assert_eq!(of("-MOVED 3999 127.0.0.1:6381"), Some(Redirect::Moved("127.0.0.1:6381".into())));
        assert_eq!(of("-ASK 3999 ::1:6381"), Some(Redirect::Ask("[::1]:6381".into())));
        assert_eq!(of("-MOVED 3999 :6381"), Some(Redirect::Moved("redis:6381".into())));
        for other in ["-MOVED 3999 ?:6381", "-MOVED", "-MOVED 3999 a b:1", "-ASK 1 host:99999", "-TRYAGAIN later"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
