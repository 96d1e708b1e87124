//! `SCAN` through all nodes of a Cluster, one after the other.
//!
//! Whoever scans knows nothing of nodes: the number of the node that the walk has come to stands in the upper bits of
//! the cursor that it is given, and hands back.

use std::sync::Arc;

use redis::{Arg, Cmd, Value};

/// Bits of a node's own cursor. Redis' have as many as its largest table, and the slot's fourteen.
const OWN: u32 = 54;

/// One step of a walk.
#[derive(Clone, Debug)]
pub(super) struct Step {
    node: u64,
    of: u64,
}

impl Step {
    /// The step that `command` is, if it is one; the node to ask, and what to ask it. `nodes` are in a fixed order.
    pub(super) fn of(command: &Cmd, nodes: &[Arc<str>]) -> Option<(Step, Arc<str>, Cmd)> {
        let mut words = command.args_iter().filter_map(|arg| match arg {
            Arg::Simple(word) => Some(word),
            _ => None,
        });
        if words.next() != Some(b"SCAN") {
            return None;
        }
        let cursor: u64 = str::from_utf8(words.next()?).ok()?.parse().ok()?;
        let of = u64::try_from(nodes.len()).ok()?;
        // Nodes that are gone are none to walk through: the last one has the rest of them.
        let node = (cursor >> OWN).min(of.checked_sub(1)?);
        let own = if node == cursor >> OWN { cursor & ((1 << OWN) - 1) } else { 0 };
        let mut asked = redis::cmd("SCAN");
        asked.arg(own);
        for word in words {
            asked.arg(word);
        }
        let address = Arc::clone(nodes.get(usize::try_from(node).ok()?)?);
        Some((Step { node, of }, address, asked))
    }

    /// The reply as if all nodes were one. What is no reply to `SCAN` stays what it is.
    pub(super) fn taken(&self, reply: Value) -> Value {
        let Value::Array(mut parts) = reply else { return reply };
        let own = match parts.first() {
            Some(Value::BulkString(cursor)) => {
                str::from_utf8(cursor).ok().and_then(|cursor| cursor.parse::<u64>().ok())
            }
            _ => None,
        };
        let next = match own {
            Some(0) if self.node + 1 < self.of => Some((self.node + 1) << OWN),
            Some(0) => Some(0),
            Some(own) if own >> OWN == 0 => Some(self.node << OWN | own),
            // A cursor that leaves no room: the walk ends here, and is none. It is no number any more.
            _ => None,
        };
        if let Some(first) = parts.first_mut() {
            *first = next.map_or(Value::Nil, |next| Value::BulkString(next.to_string().into_bytes()));
        }
        Value::Array(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(cursor: &str, nodes: usize) -> (Step, String, Vec<String>) {
        let nodes: Vec<Arc<str>> = (0..nodes).map(|node| format!("n{node}:1").into()).collect();
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg("q:*");
        let (step, address, asked) = Step::of(&command, &nodes).unwrap();
        let words = asked.args_iter().map(|arg| match arg {
            Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
            _ => panic!(),
        });
        (step, address.to_string(), words.collect())
    }

    fn next(step: &Step, own: &str) -> String {
        let reply = Value::Array(vec![Value::BulkString(own.as_bytes().to_vec()), Value::Array(vec![])]);
        match step.taken(reply) {
            Value::Array(parts) => match parts.first().unwrap() {
                Value::BulkString(cursor) => String::from_utf8_lossy(cursor).into_owned(),
                other => format!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_nodes_are_walked_through_and_then_the_walk_is_over() {
        let (step, address, words) = walk("0", 2);
        assert_eq!((address.as_str(), words.join(" ").as_str()), ("n0:1", "SCAN 0 MATCH q:*"));
        let cursor = next(&step, "17");
        let (step, address, words) = walk(&cursor, 2);
        assert_eq!((address.as_str(), words.get(1).unwrap().as_str()), ("n0:1", "17"));
        let cursor = next(&step, "0");
        assert_ne!(cursor, "0");
        let (step, address, words) = walk(&cursor, 2);
        assert_eq!((address.as_str(), words.get(1).unwrap().as_str()), ("n1:1", "0"));
        let (last, ..) = walk(&next(&step, "5"), 2);
        assert_eq!(next(&last, "0"), "0");
        assert_eq!(next(&last, &u64::MAX.to_string()), "nil", "no cursor at all");
        // A node less in between.
        let (step, address, words) = walk(&cursor, 1);
        assert_eq!((address.as_str(), words.get(1).unwrap().as_str()), ("n0:1", "0"));
        assert_eq!(next(&step, "0"), "0");
        assert!(Step::of(redis::cmd("TIME").arg("0"), &["n:1".into()]).is_none());
    }
}
