//! Users and passwords in files: replaced, half written, empty, gone, swapped, on a mount that hangs.

use std::fs;
use std::path::Path;
use std::process::Command;

use tidegate::model::{FailureKind, Key};
use tidegate::source::Material;
use tidegate::spec::manifest::{ConnectionBody, Login, PasswordText, RedisConnection};
use tidegate::spec::{Change, RedisServer, Secret, SecretRef, UserRef};

use super::rig::{Mount, Rig, client, rotations, until};
use crate::support::polling::{autoscaler, connection, list, redis_server};
use crate::support::redis::{CONNECTIONS, RedisProcess};

/// In every password here, so that one search finds any of them.
const PLANTED: &str = "planted";
const STAYS: &str = "the old one stays";

fn user(server: &RedisProcess, name: &str, rules: &[&str]) {
    let _: String = server.command(&[&["ACL", "SETUSER", name], rules].concat());
}

fn login(server: &RedisProcess, username: Option<UserRef>, password: &Path) -> RedisServer {
    RedisServer { username, password: Some(SecretRef::File(password.to_owned())), ..redis_server(server.address()) }
}

fn app() -> RedisProcess {
    RedisProcess::with(&["user app on >planted-0 ~* +llen +client|setname"])
}

#[test]
fn a_password_is_rotated_as_redis_means_it_and_no_round_fails() {
    let server = app();
    let mut mount = Mount::new(&[("password", "planted-0\n")]);
    let rig = Rig::start(login(&server, Some("app".into()), &mount.path("password")));
    let mut id = client(&server, "id");
    let rotations = rotations(6, 200);
    for rotation in 1..=rotations {
        let (old, new) = (format!("planted-{}", rotation - 1), format!("planted-{rotation}"));
        user(&server, "app", &[&format!(">{new}")]);
        mount.swap(&[("password", &new)]);
        rig.until_renewals(f64::from(rotation));
        user(&server, "app", &[&format!("<{old}")]);
        let now = client(&server, "id");
        assert_ne!(now, id, "another connection");
        id = now;
        rig.some_rounds(2.0);
    }
    until("the old connections' end", || server.clients("tidegate") == CONNECTIONS);
    assert_eq!(rig.renewals(), (f64::from(rotations), 0.0));
    rig.assert_unharmed();
    assert!(!rig.polling.log().contains(PLANTED));

    // What took over last was made with the last password: the one before does no longer open anything.
    let _: i64 = server.command(&["CLIENT", "KILL", "USER", "app"]);
    rig.polling.until_failure(0, FailureKind::Unreachable);
    rig.polling.until_backlog(0, 0.0);
}

#[test]
fn a_user_is_replaced_by_another_and_deleted() {
    let server = app();
    let mut mount = Mount::new(&[("username", "app\n"), ("password", "planted-0\n")]);
    let username = UserRef::File(mount.path("username"));
    let rig = Rig::start(login(&server, Some(username), &mount.path("password")));
    assert_eq!(client(&server, "user"), "app");
    user(&server, "app-2", &["on", ">planted-two", "~*", "+llen", "+client|setname"]);
    mount.swap(&[("username", "app-2\n"), ("password", "planted-two\n")]);
    until("the new user", || client(&server, "user") == "app-2");
    rig.until_renewals(1.0);
    // Redis ends the connections of a user that is deleted.
    assert_eq!(server.command::<i64>(&["ACL", "DELUSER", "app"]), 1);
    rig.some_rounds(4.0);
    rig.assert_unharmed();
}

#[test]
fn a_file_that_is_half_written_empty_or_missing_costs_a_warning_and_nothing_else() {
    let server = app();
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "planted-0").unwrap();
    let rig = Rig::start(login(&server, Some("app".into()), &file));
    let id = client(&server, "id");

    fs::write(&file, "planted-").unwrap();
    rig.until_log(&[STAYS, "rejected the user or the password"]);
    fs::write(&file, "").unwrap();
    rig.until_log(&[STAYS, "is empty"]);
    fs::remove_file(&file).unwrap();
    rig.until_log(&[STAYS, "cannot be read"]);
    fs::write(&file, "planted-0").unwrap();
    rig.until_log(&["again what the connection was made with"]);
    assert_eq!(client(&server, "id"), id, "the old connection lives");
    assert_eq!(rig.renewals().0, 0.0);

    // A password that the server does not know yet: tried again, with pauses, but said once.
    fs::write(&file, "planted-new").unwrap();
    let before = rig.renewals().1;
    until("three attempts", || rig.renewals().1 >= before + 3.0);
    assert_eq!(rig.logged(STAYS), 4, "{}", rig.polling.log());
    user(&server, "app", &[">planted-new", "<planted-0"]);
    rig.until_renewals(1.0);
    assert_ne!(client(&server, "id"), id);
    rig.some_rounds(2.0);
    rig.assert_unharmed();
    assert!(!rig.polling.log().contains(PLANTED), "{}", rig.polling.log());
    assert!(!rig.polling.metrics().contains(PLANTED));
}

#[test]
fn a_new_user_without_rights_does_not_take_over() {
    let server = app();
    let mut mount = Mount::new(&[("username", "app"), ("password", "planted-0")]);
    let username = UserRef::File(mount.path("username"));
    let rig = Rig::start(login(&server, Some(username), &mount.path("password")));
    let id = client(&server, "id");
    user(&server, "app-2", &["on", ">planted-two", "~other", "+llen", "+client|setname"]);
    mount.swap(&[("username", "app-2"), ("password", "planted-two")]);
    rig.until_log(&[STAYS, "may not run LLEN"]);
    rig.some_rounds(4.0);
    assert_eq!(rig.renewals().0, 0.0);
    until("the old connection alone", || server.clients("tidegate") == CONNECTIONS && client(&server, "id") == id);

    user(&server, "app-2", &["~jobs"]);
    rig.until_renewals(1.0);
    assert_eq!(client(&server, "user"), "app-2");
    rig.some_rounds(4.0);
    assert_eq!(rig.logged(STAYS), 1);
    rig.assert_unharmed();

    // What the old user was denied as well is no reason against the new one.
    user(&server, "app", &["resetkeys"]);
    user(&server, "app-2", &["resetkeys"]);
    rig.polling.until_failure(0, FailureKind::PermissionDenied);
    mount.swap(&[("username", "app"), ("password", "planted-0")]);
    rig.until_renewals(2.0);
    assert_eq!(client(&server, "user"), "app");
}

#[test]
fn a_server_that_ends_the_old_connection_itself_is_met_with_the_new_password() {
    let server = app();
    let mut mount = Mount::new(&[("password", "planted-0")]);
    let rig = Rig::start(login(&server, Some("app".into()), &mount.path("password")));
    user(&server, "app", &["resetpass", ">planted-1"]);
    mount.swap(&[("password", "planted-1")]);
    let _: i64 = server.command(&["CLIENT", "KILL", "USER", "app"]);
    // Whether a round met the gap or the new connection was there already: it is read again, and by the new password.
    rig.some_rounds(5.0);
    assert_eq!(rig.polling.metric(&["tidegate_poll_failures_total", "kind=\"authentication\""]), 0.0);
}

#[test]
fn a_mount_that_hangs_holds_up_no_round_and_takes_one_thread() {
    let server = app();
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "planted-0").unwrap();
    let rig = Rig::start(login(&server, Some("app".into()), &file));

    // Opening a pipe that nobody writes to takes for ever.
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::rename(&pipe, &file).unwrap();
    let readers = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.trim() == "credentials").count()
    };
    until("a reader that hangs", || readers() >= 1);
    rig.some_rounds(20.0);
    // The server ends the connection: each connect that follows wants to read, too, and says what it waits for.
    rig.assert_unharmed();
    let _: i64 = server.command(&["CLIENT", "KILL", "USER", "app"]);
    let sentence = rig.polling.until_failure(0, FailureKind::Configuration);
    assert!(sentence.contains("does the mount of their files hang"), "{sentence}");
    // The other tests of this file have readers, too, but short ones: somewhere in many looks there is only ours.
    until("one reader", || readers() == 1);

    // The mount comes back.
    let opened = fs::OpenOptions::new().write(true).open(&file).unwrap();
    fs::write(&pipe, "planted-0").unwrap();
    fs::rename(&pipe, &file).unwrap();
    drop(opened);
    rig.polling.until_backlog(0, 0.0);
}

#[test]
fn whatever_holds_a_secret_prints_without_it() {
    let password = Some(SecretRef::Inline(Secret::new(PLANTED)));
    let redis = connection(RedisServer { password, ..redis_server("redis:6379".into()) });
    let spec = autoscaler("jobs", std::time::Duration::from_secs(1), &[(&redis, list(&["jobs"]))]);
    let written = RedisConnection {
        login: Login { password: Some(PasswordText(PLANTED.to_owned())), ..Login::default() },
        ..RedisConnection::default()
    };
    let body = ConnectionBody { redis: Some(written), ..ConnectionBody::default() };
    for shown in [
        format!("{redis:?}"),
        format!("{redis:#?}"),
        format!("{:?}", Change::Set(Key(0), spec)),
        format!("{:?}", Secret::new(PLANTED)),
        format!("{body:?}"),
        serde_json::to_string(&body).unwrap(),
        format!("{:?}", Material::from_hash(1)),
    ] {
        assert!(shown.contains("[redacted]") && !shown.contains(PLANTED), "{shown}");
    }
}
