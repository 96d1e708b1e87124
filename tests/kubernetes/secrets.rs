//! Secrets as they come, change and go; and a password that is rotated under a real Redis.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test may break"
)]

use serde_json::{Value, json};
use tidegate::cluster::client::Scope;
use tidegate::source::secrets::Absent;
use tidegate::spec::SecretKey;

use super::watched::{Follower, autoscaler, connection, install_kinds};
use crate::support::apiserver::{ApiServer, Fault, Refusal};
use crate::support::polling::Polling;
use crate::support::redis::RedisProcess;

fn secret(name: &str, password: &str) -> Value {
    // Base64 of short ASCII, so that the test needs no library for it.
    let encoded = |text: &str| {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = String::new();
        for chunk in text.as_bytes().chunks(3) {
            let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            for place in 0..4 {
                let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
                out.push(if place > chunk.len() { '=' } else { char::from(digit) });
            }
        }
        out
    };
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": "shop" },
        "data": { "password": encoded(password), "unasked": encoded("planted-unasked") } })
}

fn with_password(address: &str, secret: &str) -> Value {
    connection(json!({ "address": address, "passwordFrom": { "secretKeyRef": { "name": secret, "key": "password" } } }))
}

fn key(name: &str) -> SecretKey {
    SecretKey { namespace: "shop".into(), name: name.into(), key: "password".into() }
}

#[tokio::test]
async fn a_secret_is_followed_while_somebody_names_it() {
    let server = ApiServer::start();
    install_kinds(&server);
    server.insert(&with_password("redis:6379", "first"));
    server.insert(&secret("stranger", "planted"));
    let mut follower = Follower::start(&server, Scope::Cluster);
    follower.complete().await;
    follower.until("the Secret's absence", |now| now.secrets.get(&key("first")) == Err(Absent::NoSecret)).await;
    server.insert(&secret("first", "planted-1"));
    let reads = |now: &Follower, name: &str, text: &str| {
        now.secrets.get(&key(name)).is_ok_and(|secret| secret.reveal() == text)
    };
    follower.until("the Secret", |now| reads(now, "first", "planted-1")).await;
    server.insert(&secret("first", "planted-2"));
    follower.until("its change", |now| reads(now, "first", "planted-2")).await;
    let unasked = SecretKey { key: "unasked".into(), ..key("first") };
    assert_eq!(follower.secrets.get(&unasked), Err(Absent::NoKey), "what nobody asked for is not kept");

    // Another takes its place.
    server.insert(&secret("second", "planted-3"));
    server.insert(&with_password("redis:6379", "second"));
    follower.until("the other Secret", |now| reads(now, "second", "planted-3")).await;
    follower.until("the first's end", |now| now.secrets.get(&key("first")) == Err(Absent::NotRead)).await;
    server.delete("secrets", "shop", "second");
    follower.until("its deletion", |now| now.secrets.get(&key("second")) == Err(Absent::NoSecret)).await;

    let asked = server.requests().resource("secrets");
    assert!(!asked.is_empty());
    for request in &asked.0 {
        assert!(matches!(request.verb, "list" | "watch"), "{}", asked.lines());
        let one = ["first", "second"]
            .iter()
            .any(|name| request.path.contains(&format!("fieldSelector=metadata.name={name}")));
        assert!(one && request.namespace == "shop", "one object at a time: {}", request.path);
    }
}

#[tokio::test]
async fn a_secret_that_may_not_be_read_says_so_and_one_that_was_read_stays() {
    let server = ApiServer::start();
    install_kinds(&server);
    server.insert(&with_password("redis:6379", "redis"));
    server.insert(&secret("redis", "planted"));
    let forbidden = Refusal::forbidden("tidegate", "list", "secrets", "", "", "redis", "shop");
    let fault = server.fault(Fault::on("list", "secrets").answer(forbidden));
    let mut follower = Follower::start(&server, Scope::Cluster);
    follower.complete().await;
    let sentence = |now: &Follower| match now.secrets.get(&key("redis")) {
        Err(absent) => absent.of(&key("redis")),
        Ok(_) => String::new(),
    };
    follower.until("the refusal", |now| sentence(now).contains("tidegate may not get, list and watch it")).await;
    fault.lift();
    follower.until("the Secret", |now| now.secrets.get(&key("redis")).is_ok()).await;
}

#[tokio::test]
async fn a_password_is_rotated_in_its_secret_and_no_round_fails() {
    let redis = RedisProcess::with(&["requirepass planted-0"]);
    let mut admin = redis.connect().unwrap();
    let _: String = redis.command_on(&mut admin, &["AUTH", "planted-0"]);
    let server = ApiServer::start();
    install_kinds(&server);
    server.insert(&with_password(&redis.address(), "redis"));
    server.insert(&autoscaler("jobs", 10));
    server.insert(&secret("redis", "planted-0"));
    let mut follower = Follower::start(&server, Scope::Cluster);
    follower.complete().await;
    follower.until("the spec", |now| now.spec("jobs").is_some()).await;
    follower.until("the Secret", |now| now.secrets.get(&key("redis")).is_ok()).await;

    let secrets = follower.secrets.clone();
    // Looks by the clock come too late for this test: what is noticed is noticed because the Secret changed.
    let polling =
        Polling::start_with(|poller| poller.with_secrets(secrets).looking_every(std::time::Duration::from_secs(3600)));
    polling.set(0, follower.spec("jobs").unwrap());
    polling.until_backlog(0, 0.0);
    let renewals =
        |outcome: &str| polling.metric(&["tidegate_credential_renewals_total", &format!("outcome=\"{outcome}\"")]);
    for rotation in 1..=5 {
        let password = format!("planted-{rotation}");
        let _: String = redis.command_on(&mut admin, &["CONFIG", "SET", "requirepass", &password]);
        server.insert(&secret("redis", &password));
        follower.until("the new connection", |_| renewals("ok") >= f64::from(rotation)).await;
    }
    let failures = polling.metric(&["tidegate_poll_failures_total"]);
    let errors = polling.metric(&["tidegate_poll_rounds_total", "outcome=\"error\""]);
    assert_eq!((failures, errors, renewals("error")), (0.0, 0.0, 0.0), "{}", polling.log());
    assert_eq!(polling.metric(&["tidegate_connection_attempts_total"]), 1.0, "one ordinary connect");
    assert!(!polling.log().contains("planted"));

    // Gone: what is connected goes on, and says so once.
    server.delete("secrets", "shop", "redis");
    follower.until("the warning", |_| polling.log().contains("there is no Secret shop/redis")).await;
    polling.drain();
    polling.until_backlog(0, 0.0);
    assert_eq!(polling.metric(&["tidegate_poll_rounds_total", "outcome=\"error\""]), 0.0);
}
