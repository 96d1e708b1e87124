//! What a Redis says when it says no, in our words: a kind for machines, and a sentence with its cure for people.
//!
//! Server texts are passed on where they help. Where a secret was in play (authentication) they are not: our own
//! sentence says all there is to say.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerError};

pub(super) use crate::source::network::{clipped, io_failure, plain, shown, timeout};

use crate::model::{FailureKind, ReadFailure};

/// Why `address` as a whole could not be asked.
#[must_use]
pub(super) fn connection_failure(address: &str, error: &RedisError) -> ReadFailure {
    if let Some(server) = error.source().and_then(|source| source.downcast_ref::<ServerError>()) {
        return server_failure(address, server);
    }
    if let Some(io) = io_error(error) {
        return io_failure(address, io);
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => wrong_password(address),
        ErrorKind::InvalidClientConfig => failure(
            FailureKind::Configuration,
            format!("the connection to {address} cannot be made: {}", plain(&error.to_string())),
        ),
        ErrorKind::Io => io_failure(address, &io::ErrorKind::ConnectionAborted.into()),
        _ => not_redis(address, &error.to_string()),
    }
}

/// Why nothing that `address` says can be understood.
#[must_use]
pub(super) fn not_redis(address: &str, detail: &str) -> ReadFailure {
    failure(
        FailureKind::Protocol,
        format!(
            "{address} answered something that is not Redis' protocol ({}); is another service listening there, or is \
             `tls` wanted?",
            plain(detail)
        ),
    )
}

/// The I/O error beneath. The library keeps it in an `Arc`, and the `Arc` is what its `source` shows.
fn io_error(error: &RedisError) -> Option<&io::Error> {
    type Shared = Arc<dyn std::error::Error + Send + Sync>;
    let source = error.source()?;
    source.downcast_ref().or_else(|| source.downcast_ref::<Shared>()?.downcast_ref())
}

/// What an error reply means for the server as a whole.
#[must_use]
pub(super) fn server_failure(address: &str, error: &ServerError) -> ReadFailure {
    let detail = plain(error.details().unwrap_or(""));
    match error.code() {
        "WRONGPASS" => wrong_password(address),
        "NOAUTH" => failure(
            FailureKind::Authentication,
            format!("{address} wants a password and the Connection names none; add `passwordFrom`"),
        ),
        "DENIED" => failure(
            FailureKind::Authentication,
            format!("{address} is in protected mode and serves its own host only; give it a password, or bind it"),
        ),
        "NOPERM" => failure(
            FailureKind::PermissionDenied,
            format!(
                "{address} denies this user a command ({detail}); it needs `+select +llen +scard +zcard +hlen +type`"
            ),
        ),
        "LOADING" => failure(
            FailureKind::NotServing,
            format!("{address} is still loading its data into memory; it will answer when that is done"),
        ),
        "BUSY" => failure(
            FailureKind::NotServing,
            format!("{address} is busy with somebody's script and answers nobody; `SCRIPT KILL` there ends it"),
        ),
        "MASTERDOWN" => failure(
            FailureKind::NotServing,
            format!(
                "{address} is a replica that lost its master and may not serve old data; read from the master, or set \
                 `replica-serve-stale-data yes` there"
            ),
        ),
        "CLUSTERDOWN" => failure(
            FailureKind::NotServing,
            format!("{address}: its cluster is down ({detail}); look at `CLUSTER INFO` there"),
        ),
        "ERR" if detail.contains("max number of clients") => failure(
            FailureKind::TooManyClients,
            format!("{address} has reached its limit of clients; raise `maxclients` there, or close idle clients"),
        ),
        "ERR" if detail.contains("AUTH") && detail.contains("without any password configured") => failure(
            FailureKind::Authentication,
            format!("{address} has no password for the default user, yet one was given; remove it, or name a user"),
        ),
        "ERR" if detail.contains("DB index is out of range") => failure(
            FailureKind::Configuration,
            format!("{address} does not have this database; lower `database`, or raise `databases` there"),
        ),
        code => failure(FailureKind::Protocol, format!("{address} answered {} {detail}", plain(code))),
    }
}

/// Whether an error reply to one read tells of the server's state and not of the key.
#[must_use]
pub(super) fn concerns_server(error: &ServerError) -> bool {
    matches!(error.code(), "LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "NOAUTH")
}

/// What an error reply means for the read of `key`, which fails alone. Wrong types have their own sentence
/// ([`wrong_type`]), because it depends on what the type is.
#[must_use]
pub(super) fn read_failure(key: &str, command: &str, error: &ServerError) -> ReadFailure {
    let detail = plain(error.details().unwrap_or(""));
    match error.code() {
        "NOPERM" => failure(
            FailureKind::PermissionDenied,
            format!(
                "key {}: this user may not run {command} on it; grant `~{} +{}`",
                shown(key),
                clipped(key).escape_debug(),
                command.to_lowercase()
            ),
        ),
        "MOVED" | "ASK" => failure(
            FailureKind::Configuration,
            format!(
                "key {} lives on another node of a Redis Cluster ({detail}); write `cluster` in place of `address`",
                shown(key)
            ),
        ),
        "TRYAGAIN" => failure(
            FailureKind::NotServing,
            format!("key {key:?} is on its way to another node of its Redis Cluster; the next round asks again"),
        ),
        "WRONGTYPE" => failure(
            FailureKind::WrongType,
            format!("key {} changed its type between two commands; the next round asks again", shown(key)),
        ),
        code => failure(
            FailureKind::Protocol,
            format!("key {}: {command} was answered {} {detail}", shown(key), plain(code)),
        ),
    }
}

/// The failure of a key whose type has no length that we count.
#[must_use]
pub(super) fn wrong_type(key: &str, kind: &str) -> ReadFailure {
    let sentence = if kind == "stream" {
        format!("key {} holds a stream, whose length is not its backlog; use a `redisStream` source for it", shown(key))
    } else {
        format!(
            "key {} holds a {}; a `redisList` source counts lists, sets, sorted sets and hashes: check the key's name and \
             the database",
            shown(key),
            plain(kind)
        )
    };
    failure(FailureKind::WrongType, sentence)
}

fn wrong_password(address: &str) -> ReadFailure {
    failure(
        FailureKind::Authentication,
        format!("{address} rejected the user or the password; check `username` and `passwordFrom`"),
    )
}

fn failure(kind: FailureKind, sentence: String) -> ReadFailure {
    ReadFailure::new(kind, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::Value;

    fn reply(line: &str) -> ServerError {
        match redis::parse_redis_value(format!("{line}\r\n").as_bytes()).unwrap() {
            Value::ServerError(error) => error,
            other => panic!("not an error: {other:?}"),
        }
    }

    #[test]
    fn every_reply_of_a_server_has_its_kind() {
        use FailureKind::*;
        let cases = [
            ("-WRONGPASS invalid username-password pair or user is disabled.", Authentication),
            ("-NOAUTH Authentication required.", Authentication),
            ("-NOPERM this user has no permissions to run the 'select' command", PermissionDenied),
            ("-ERR max number of clients reached", TooManyClients),
            ("-LOADING Redis is loading the dataset in memory", NotServing),
            ("-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", NotServing),
            ("-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", NotServing),
            ("-CLUSTERDOWN Hash slot not served", NotServing),
            ("-ERR DB index is out of range", Configuration),
            ("-ERR AUTH <password> called without any password configured for the default user.", Authentication),
            ("-DENIED Redis is running in protected mode", Authentication),
            ("-ERR unknown command 'LLEN'", Protocol),
        ];
        for (line, kind) in cases {
            assert_eq!(server_failure("redis:6379", &reply(line)).kind, kind, "{line}");
        }
    }

    #[test]
    fn every_reply_to_a_key_has_its_kind_and_names_the_key() {
        use FailureKind::*;
        let cases = [
            ("-NOPERM No permissions to access a key", PermissionDenied),
            ("-MOVED 3999 127.0.0.1:6381", Configuration),
            ("-WRONGTYPE Operation against a key holding the wrong kind of value", WrongType),
            ("-ERR something else", Protocol),
        ];
        for (line, kind) in cases {
            let failure = read_failure("jobs", "LLEN", &reply(line));
            assert_eq!(failure.kind, kind, "{line}");
            assert!(failure.message.contains("\"jobs\""), "{failure}");
        }
        assert!(wrong_type("jobs", "stream").message.contains("redisStream"));
        assert!(!wrong_type("jobs", "string").message.contains("redisStream"));
    }

    #[test]
    fn io_errors_have_their_kind() {
        let of = |kind: io::ErrorKind| connection_failure("redis:6379", &RedisError::from(io::Error::from(kind))).kind;
        assert_eq!(of(io::ErrorKind::TimedOut), FailureKind::Timeout);
        assert_eq!(of(io::ErrorKind::ConnectionRefused), FailureKind::Unreachable);
        assert_eq!(of(io::ErrorKind::UnexpectedEof), FailureKind::Unreachable);
    }
}
