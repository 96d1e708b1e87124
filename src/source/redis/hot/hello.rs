//! The first words on a new connection: who we are, which version of the protocol, which database, and whether the
//! server tells us of changes.
//!
//! One after the other, and `AUTH` apart from `HELLO`: a server at its limit of clients says so in place of the first
//! reply, then closes; and one that does not know `HELLO` quotes what it was sent, which is then no password.

use redis::Value;

use super::line::{Broken, Line};
use super::wire;
use crate::model::{FailureKind, ReadFailure};
use crate::source::redis::classify;
use crate::source::redis::connect::{CLIENT_NAME, without_quotes};
use crate::spec::Secret;

/// What it takes to log in to one server.
pub(in crate::source::redis) struct Login<'a> {
    pub(in crate::source::redis) address: &'a str,
    pub(in crate::source::redis) username: Option<&'a str>,
    pub(in crate::source::redis) password: Option<&'a Secret>,
    pub(in crate::source::redis) database: u32,
    /// It is a replica of a Cluster, and to answer for what its primary holds.
    pub(in crate::source::redis) readonly: bool,
}

/// What was agreed on.
pub(super) struct Agreed {
    /// `Err`: why the server does not tell of changes, in its own words.
    pub(super) tracking: Result<(), String>,
}

pub(super) async fn shake_hands(line: &mut Line, login: &Login<'_>) -> Result<Agreed, ReadFailure> {
    let address = login.address;
    if login.username.is_some() || login.password.is_some() {
        // A user without a password (`nopass`) accepts any.
        let password = login.password.map_or("", Secret::reveal);
        let mut auth: Vec<&[u8]> = vec![b"AUTH"];
        auth.extend(login.username.map(str::as_bytes));
        auth.push(password.as_bytes());
        demand(line, address, &auth).await.map_err(|failure| without_quotes(address, failure))?;
    }
    let hello = ask(line, address, &[b"HELLO", b"3"]).await?;
    if let Value::ServerError(error) = &hello {
        let failure = classify::server_failure(address, error);
        // Whoever does not know it (before Redis 6, or a proxy) speaks the version before.
        if failure.kind != FailureKind::Protocol && failure.kind != FailureKind::PermissionDenied {
            return Err(failure);
        }
    }
    match demand(line, address, &[b"CLIENT", b"SETNAME", CLIENT_NAME.as_bytes()]).await {
        // A user with `+llen` alone is a good user: the name is a courtesy.
        Err(failure) if failure.kind == FailureKind::PermissionDenied => {}
        other => other?,
    }
    if login.database != 0 {
        demand(line, address, &[b"SELECT", login.database.to_string().as_bytes()]).await?;
    }
    if login.readonly {
        demand(line, address, &[b"READONLY"]).await?;
    }
    let tracking = match hello {
        Value::ServerError(_) => Err("it does not speak RESP3".to_owned()),
        _ => track(line, address).await?,
    };
    Ok(Agreed { tracking })
}

/// Asks to be told of changes of the keys that we say. (A user may be allowed this and not to say so: the first round
/// finds out.)
async fn track(line: &mut Line, address: &str) -> Result<Result<(), String>, ReadFailure> {
    Ok(match ask(line, address, &[b"CLIENT", b"TRACKING", b"ON", b"OPTIN"]).await? {
        Value::ServerError(error) => Err(words(&error)),
        _ => Ok(()),
    })
}

/// What the server said, fit for messages.
pub(super) fn words(error: &redis::ServerError) -> String {
    classify::plain(&format!("{} {}", error.code(), error.details().unwrap_or_default()))
}

/// Sends what is not to be refused.
async fn demand(line: &mut Line, address: &str, words: &[&[u8]]) -> Result<(), ReadFailure> {
    match ask(line, address, words).await? {
        Value::ServerError(error) => Err(classify::server_failure(address, &error)),
        _ => Ok(()),
    }
}

async fn ask(line: &mut Line, address: &str, words: &[&[u8]]) -> Result<Value, ReadFailure> {
    let mut request = Vec::new();
    wire::command(&mut request, words);
    let reply = async {
        line.send(&request).await?;
        next_reply(line, |_| {}).await
    };
    reply.await.map_err(|broken| broken.failure(address))
}

/// The next frame that is a reply, with what it says; pushes before it go to `pushed`.
pub(super) async fn next_reply(line: &mut Line, mut pushed: impl FnMut(&[u8])) -> Result<Value, Broken> {
    loop {
        match line.frame()? {
            None => line.fill().await?,
            Some(frame) => match frame.first() {
                Some(b'>') => pushed(frame),
                Some(b'|') => {}
                _ => return Ok(value(frame)),
            },
        }
    }
}

/// What a whole frame says. Texts that are none (not UTF-8, where they have to be) say nothing.
pub(super) fn value(frame: &[u8]) -> Value {
    redis::parse_redis_value(frame).unwrap_or(Value::Nil)
}
