//! Each key of each layout, once of a type that nobody expects and once forbidden: the trigger fails alone, and says
//! what about; where only the age hung on it, only the age is unknown.

use tidegate::model::{FailureKind, Measure, Observation};

use super::blocks::lay_out;
use super::layouts::{self, Layout, Loss};
use super::rig::{Observed, assert_fails, assert_same, observe_as, run};
use crate::support::redis::RedisProcess;

const NEIGHBOUR: &str = "redisList: { keys: [healthy] }";
const LOGIN: &str = ", username: reader, password: correct-horse";

fn check(layout: &Layout, key: &str, loss: Loss, found: &[Observed], kind: FailureKind) {
    let what = format!("{} without {key:?}", layout.name);
    match loss {
        Loss::Trigger => {
            assert_fails(&what, &found[0], kind);
            let sentence = found[0].as_ref().unwrap_err().message.to_string();
            assert!(sentence.contains(&format!("{key:?}")), "{what}: {sentence}");
        }
        Loss::Age => {
            let expected = Observation { oldest_age: Measure::UNKNOWN, ..layout.holds };
            assert_same(&what, found[0].as_ref().unwrap(), &expected);
        }
    }
    assert_eq!(found[1], Ok(Observation::of_backlog(1.0)), "the neighbour of {what}");
}

#[test]
fn a_key_of_another_type_costs_its_trigger_alone() {
    let server = RedisProcess::start();
    for layout in layouts::all() {
        for (key, loss) in &layout.keys {
            lay_out(&server, &layout);
            run(&server, &["RPUSH", "healthy", "a"]);
            let kind: String = server.command(&["TYPE", key]);
            run(&server, &["DEL", key]);
            if kind == "string" {
                run(&server, &["RPUSH", key, "a"]);
            } else {
                run(&server, &["SET", key, "a"]);
            }
            let found = observe_as(&server, "", &[layout.block, NEIGHBOUR]);
            check(&layout, key, *loss, &found, FailureKind::WrongType);
        }
    }
}

#[test]
fn a_key_that_may_not_be_read_costs_its_trigger_alone() {
    let server = RedisProcess::with(&["user reader on >correct-horse"]);
    for layout in layouts::all() {
        lay_out(&server, &layout);
        run(&server, &["RPUSH", "healthy", "a"]);
        for (key, loss) in &layout.keys {
            let mut user: Vec<String> = ["ACL", "SETUSER", "reader", "resetkeys", "+@all"].map(str::to_owned).to_vec();
            user.extend(all_but(key).iter().map(|pattern| format!("%R~{pattern}")));
            let user: Vec<&str> = user.iter().map(String::as_str).collect();
            run(&server, &user);
            let found = observe_as(&server, LOGIN, &[layout.block, NEIGHBOUR]);
            check(&layout, key, *loss, &found, FailureKind::PermissionDenied);
        }
    }
}

/// Patterns that together match every key but this one: what begins like it and goes on otherwise, what ends before it
/// does, and what goes on after it.
fn all_but(key: &str) -> Vec<String> {
    let escaped = |text: &str| -> String {
        let special = |c: char| ['*', '?', '[', ']', '^', '-', '\\'].contains(&c).then_some('\\');
        text.chars().flat_map(|c| special(c).into_iter().chain([c])).collect()
    };
    let mut patterns = vec![format!("{}?*", escaped(key))];
    for (at, c) in key.char_indices() {
        let before = escaped(&key[..at]);
        patterns.push(format!("{before}[^{}]*", escaped(&c.to_string())));
        patterns.extend((at > 0).then_some(before));
    }
    patterns
}
