//! What replies say, and what is said of those that say something else.

use redis::Value;

use super::classify;
use crate::model::{FailureKind, ReadFailure};

/// Where a reply comes from, for messages.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) command: &'static str,
    pub(super) key: &'a str,
}

impl Asked<'_> {
    /// A whole number, not below zero.
    pub(super) fn count(self, reply: Option<&Value>) -> Result<f64, ReadFailure> {
        match reply {
            // Exact up to 2^53 items, which is beyond any Redis' memory.
            Some(Value::Int(items)) => Ok((*items as f64).max(0.0)),
            other => Err(self.odd(other)),
        }
    }

    /// A text, or `None` where there is none. What is no UTF-8 is taken as well as can be.
    pub(super) fn text(self, reply: Option<&Value>) -> Result<Option<String>, ReadFailure> {
        match reply {
            Some(Value::Nil) => Ok(None),
            Some(Value::BulkString(bytes)) => Ok(Some(String::from_utf8_lossy(bytes).into_owned())),
            Some(Value::SimpleString(text)) => Ok(Some(text.clone())),
            other => Err(self.odd(other)),
        }
    }

    /// The bytes of a text, or `None` where there is none.
    pub(super) fn bytes(self, reply: Option<&Value>) -> Result<Option<&[u8]>, ReadFailure> {
        match reply {
            Some(Value::Nil) => Ok(None),
            Some(Value::BulkString(bytes)) => Ok(Some(bytes)),
            Some(Value::SimpleString(text)) => Ok(Some(text.as_bytes())),
            other => Err(self.odd(other)),
        }
    }

    /// The members of an array or a set; none where there is no such thing.
    pub(super) fn list(self, reply: Option<&Value>) -> Result<&[Value], ReadFailure> {
        match reply {
            Some(Value::Nil) => Ok(&[]),
            Some(Value::Array(items) | Value::Set(items)) => Ok(items),
            other => Err(self.odd(other)),
        }
    }

    /// Why a reply that is none of the above is of no use.
    pub(super) fn odd(self, reply: Option<&Value>) -> ReadFailure {
        let Asked { command, key } = self;
        let kind = match reply {
            Some(Value::ServerError(error)) => return classify::read_failure(key, command, error),
            None => "nothing at all",
            Some(Value::Nil) => "nothing",
            Some(Value::Int(_)) => "a number",
            Some(Value::BulkString(_) | Value::SimpleString(_) | Value::Okay) => "a text",
            Some(Value::Array(_)) => "an array",
            Some(_) => "something else",
        };
        ReadFailure::new(
            FailureKind::Protocol,
            format!(
                "key {}: {command} was answered by {kind}, which is not what Redis answers; is a proxy in between?",
                classify::shown(key)
            ),
        )
    }
}

/// The value under `name` of a map, whichever way the protocol's version writes one.
pub(super) fn field<'v>(map: &'v Value, name: &str) -> Option<&'v Value> {
    let is_it = |key: &Value| match key {
        Value::BulkString(bytes) => bytes == name.as_bytes(),
        Value::SimpleString(text) => text == name,
        _ => false,
    };
    match map {
        Value::Map(pairs) => pairs.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value),
        Value::Array(flat) => {
            flat.chunks_exact(2).find_map(|pair| matches!(pair, [key, _] if is_it(key)).then(|| pair.last()).flatten())
        }
        _ => None,
    }
}

/// The failure of the server as a whole, if that is what a reply speaks of.
pub(super) fn of_server(address: &str, reply: &Value) -> Option<ReadFailure> {
    match reply {
        Value::ServerError(error) if classify::concerns_server(error) => Some(classify::server_failure(address, error)),
        _ => None,
    }
}

/// Fewer replies than commands.
#[cold]
pub(super) fn missing(address: &str) -> ReadFailure {
    ReadFailure::new(FailureKind::Protocol, format!("{address} left a question unanswered"))
}
