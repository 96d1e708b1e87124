//! What a PostgreSQL says when it says no, in our words: its SQLSTATE becomes a kind for machines, and a sentence with its
//! cure for people.
//!
//! Server texts are passed on where they help, and never where a secret was in play. A statement's failure says what
//! was asked; whose trigger it was is added by whoever reports it.

use std::error::Error as _;
use std::io;

use tokio_postgres::error::{DbError, Severity};

use crate::model::{FailureKind, ReadFailure};
use crate::source::network::{io_failure, plain};

/// Why no session could be had from `address`.
#[must_use]
pub(super) fn refusal(address: &str, error: &tokio_postgres::Error) -> ReadFailure {
    match error.as_db_error() {
        Some(error) => refusal_of(address, error),
        None => broken(address, error),
    }
}

/// What the server says in place of letting us in.
fn refusal_of(address: &str, error: &DbError) -> ReadFailure {
    let text = error.message();
    let detail = plain(text);
    let (kind, sentence) = match error.code().code() {
        "28P01" => (
            FailureKind::Authentication,
            "rejected the user or the password; check `username` and `passwordFrom`".into(),
        ),
        "28000" => authorization(text, &detail),
        "3D000" => (FailureKind::Configuration, format!("has no such database ({detail}); check `database`")),
        "42501" => (
            FailureKind::PermissionDenied,
            format!("does not let this user into the database ({detail}); `grant connect on database` there"),
        ),
        // What PgBouncer says of settings that it cannot keep for one client.
        "08P01" if text.contains("startup parameter") => (
            FailureKind::Configuration,
            format!(
                "is a pooler that refuses our session's settings ({detail}); name the server itself, or set \
                 `ignore_startup_parameters = options` there and `default_transaction_read_only` for the user"
            ),
        ),
        code => match of_server(code, &detail) {
            Some(known) => known,
            None => (FailureKind::Protocol, format!("answered {detail} ({code})")),
        },
    };
    ReadFailure::new(kind, format!("{address} {sentence}"))
}

/// SQLSTATE 28000 has many reasons.
fn authorization(text: &str, detail: &str) -> (FailureKind, String) {
    let sentence = if text.contains("pg_hba.conf") {
        // It says so of every connection that is not encrypted.
        let perhaps = if text.contains("no encryption") || text.contains("SSL off") {
            "; if it has one for encrypted connections, add `tls` to the Connection"
        } else {
            ""
        };
        format!(
            "has no line in its pg_hba.conf that lets this user in ({detail}); add one, or check `username`{perhaps}"
        )
    } else if text.contains("certificate") {
        format!("wants a client's certificate ({detail}); name it in `tls.certFrom` and `tls.keyFrom`")
    } else {
        format!("does not let this user in ({detail}); check `username`, and that the role may log in")
    };
    (FailureKind::Authentication, sentence)
}

/// What tells of the server and not of one statement; without its address.
fn of_server(code: &str, detail: &str) -> Option<(FailureKind, String)> {
    Some(match code {
        "53300" => (
            FailureKind::TooManyClients,
            format!("has reached a limit of connections ({detail}); close idle ones, or raise max_connections there"),
        ),
        "57P03" => (
            FailureKind::NotServing,
            format!("is starting or shutting down ({detail}); it will answer when that is done"),
        ),
        "57P01" | "57P02" => {
            (FailureKind::NotServing, format!("ended the connection: it shuts down, or somebody ended it ({detail})"))
        }
        "57P05" => (FailureKind::NotServing, format!("ended the connection because it was idle ({detail})")),
        code if code.starts_with("08") => {
            (FailureKind::Protocol, format!("lost the thread of the conversation ({detail})"))
        }
        code if code.starts_with("53") => {
            (FailureKind::NotServing, format!("is out of memory, disk or another resource ({detail})"))
        }
        code if code.starts_with("58") || code.starts_with("F0") => {
            (FailureKind::NotServing, format!("has a defect of its own ({detail}); look at its log"))
        }
        _ => return None,
    })
}

/// Why the connection to `address` is of no use any more.
#[must_use]
pub(super) fn broken(address: &str, error: &tokio_postgres::Error) -> ReadFailure {
    if let Some(error) = error.as_db_error() {
        return refusal_of(address, error);
    }
    if let Some(error) = error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        // What the library makes of bytes that it cannot parse, or of too few of them.
        let text = error.to_string();
        if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
            || text.contains("remaining")
        {
            return not_postgres(address, &text);
        }
        return io_failure(address, error);
    }
    if error.is_closed() {
        return closed(address);
    }
    let text = error.to_string();
    if text.starts_with("invalid configuration") {
        return ReadFailure::new(
            FailureKind::Authentication,
            format!("{address} wants a password and the Connection names none; add `passwordFrom`"),
        );
    }
    if text.starts_with("authentication error") {
        return ReadFailure::new(
            FailureKind::Authentication,
            format!(
                "{address} wants another way to log in than password, md5 or scram-sha-256, or cannot prove that it knows \
                 the password; change its pg_hba.conf, or check the address"
            ),
        );
    }
    not_postgres(address, &text)
}

/// Why nobody is there any more.
#[must_use]
pub(super) fn closed(address: &str) -> ReadFailure {
    io_failure(address, &io::ErrorKind::UnexpectedEof.into())
}

/// Why nothing that `address` says can be understood.
#[must_use]
pub(super) fn not_postgres(address: &str, detail: &str) -> ReadFailure {
    ReadFailure::new(
        FailureKind::Protocol,
        format!(
            "{address} answered something that is not PostgreSQL's protocol ({}); is another service listening there?",
            plain(detail)
        ),
    )
}

/// Whether an error of a statement ended the session.
#[must_use]
pub(super) fn ends_session(error: &DbError) -> bool {
    matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
        || matches!(error.severity(), "FATAL" | "PANIC")
}

/// Whether a prepared statement is to be prepared anew: its tables have changed, or the server has forgotten it.
#[must_use]
pub(super) fn wants_preparing(error: &DbError) -> bool {
    matches!(error.code().code(), "0A000" | "26000")
}

/// Whether a statement took longer than it may.
#[must_use]
pub(super) fn took_too_long(error: &DbError) -> bool {
    error.code().code() == "57014"
}

/// What an error means for the reads of one statement, which fail alone; `what` says what was asked.
#[must_use]
pub(super) fn statement(what: &str, error: &DbError) -> ReadFailure {
    let text = error.message();
    let detail = plain(text);
    let (kind, sentence) = match error.code().code() {
        "57014" => (
            FailureKind::Timeout,
            format!(
                "took longer than responseTimeout, and was cancelled ({detail}); make it cheaper (an index?), or raise \
                 responseTimeout"
            ),
        ),
        "55P03" => (
            FailureKind::Timeout,
            format!("had to wait for somebody's lock ({detail}); a migration? The next round asks again"),
        ),
        "42501" => (
            FailureKind::PermissionDenied,
            format!("is denied to this user ({detail}); grant usage on its schema and select on its tables"),
        ),
        "42P01" | "3F000" => (
            FailureKind::Configuration,
            format!(
                "needs what is not in this database ({detail}); check the names (case counts), the schema and `database`"
            ),
        ),
        "42703" => (
            FailureKind::Configuration,
            format!(
                "needs a column that is not there ({detail}); check the names: is the store laid out in another way?"
            ),
        ),
        "42883" => (
            FailureKind::Configuration,
            format!(
                "needs a function or an operator that is not there ({detail}); check the schema, and columns' types"
            ),
        ),
        "42601" => (
            FailureKind::Configuration,
            format!("is not understood ({detail}){}; it must be one `select`", position(error)),
        ),
        "25006" => (
            FailureKind::Configuration,
            format!("writes ({detail}), and tidegate only reads; write a `select` without side effects"),
        ),
        "42846" | "42804" | "22P02" | "22003" => (
            FailureKind::WrongType,
            format!("finds something that is no whole number where positions are ({detail}); check the columns"),
        ),
        "40001" | "40P01" => (
            FailureKind::NotServing,
            format!("was cancelled on a replica that had to catch up ({detail}); the next round asks again"),
        ),
        "26000" => (
            FailureKind::Configuration,
            format!(
                "was prepared on another connection ({detail}): a pooler in between changes connections under us; name \
                 the server itself, or set `pool_mode = session` there"
            ),
        ),
        code => match of_server(code, &detail) {
            Some((kind, sentence)) => (kind, format!("was not answered: the server {sentence}")),
            None => (FailureKind::Protocol, format!("was answered: {detail} ({code})")),
        },
    };
    ReadFailure::new(kind, format!("{what} {sentence}"))
}

fn position(error: &DbError) -> String {
    match error.position() {
        Some(tokio_postgres::error::ErrorPosition::Original(position)) => format!(" at character {position}"),
        _ => String::new(),
    }
}
