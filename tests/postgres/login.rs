//! Who is let in, how, and what it is called when nobody is: users, passwords, URLs, TLS, the fence, and secrets that
//! change.

use std::io::Write as _;
use std::time::Duration;

use tempfile::NamedTempFile;
use tidegate::model::FailureKind;
use tidegate::spec::grants::Fence;
use tidegate::spec::{ClientTls, PostgresServer, Secret, SecretRef};

use crate::rig::{Rig, query};
use crate::support::polling::Polling;
use crate::support::postgres::{ENCRYPTED, PASSWORDS, PostgresProcess, READER, READER_PASSWORD};
use crate::support::redis::free_port;

fn secret(text: &str) -> Option<SecretRef> {
    Some(SecretRef::Inline(Secret::new(text)))
}

fn trusting(server: &PostgresProcess) -> ClientTls {
    ClientTls {
        authorities: Some(server.certificates.as_ref().unwrap().authority.clone().into()),
        ..ClientTls::default()
    }
}

/// A Connection that is a URL and nothing else.
fn at(server: &PostgresProcess, url: &str) -> PostgresServer {
    PostgresServer {
        address: String::new(),
        database: String::new(),
        username: None,
        password: None,
        url: secret(url),
        ..server.server("")
    }
}

fn assert_reads(server: PostgresServer) {
    let rig = Rig::on(server);
    rig.set(0, query("select 5"));
    rig.polling.until_backlog(0, 5.0);
}

fn assert_fails(server: PostgresServer, kind: FailureKind, words: &str) {
    let rig = Rig::on(server);
    rig.set(0, query("select 5"));
    let sentence = rig.failure(0, kind);
    println!("{sentence}");
    assert!(sentence.contains(words), "said: {sentence}\n not: {words}");
    assert!(!rig.polling.log().contains("planted"), "{}", rig.polling.log());
}

#[test]
fn passwords_users_databases_and_sockets() {
    use FailureKind::{Authentication, Configuration, PermissionDenied, Unreachable};
    let server = PostgresProcess::start();
    let mut db = server.database("shop");
    db.run("create role asleep nologin password 'planted'");
    db.run("create database closed");
    db.run("revoke all on database closed from public");
    let good = server.server("shop");
    assert_reads(good.clone());
    let socket = format!("{}:{}", server.folder().display(), server.port());
    assert_reads(PostgresServer { address: socket.clone(), ..good.clone() });

    assert_fails(
        PostgresServer { password: secret("planted-wrong"), ..good.clone() },
        Authentication,
        "rejected the user or the password; check `username` and `passwordFrom`",
    );
    assert_fails(
        PostgresServer { username: Some("nobody".into()), ..good.clone() },
        Authentication,
        "rejected the user or the password",
    );
    assert_fails(
        PostgresServer { password: None, ..good.clone() },
        Authentication,
        "wants a password and the Connection names none; add `passwordFrom`",
    );
    assert_fails(PostgresServer { username: None, ..good.clone() }, Configuration, "no user is named; add `username`");
    assert_fails(
        PostgresServer { username: Some("asleep".into()), password: secret("planted"), ..good.clone() },
        Authentication,
        "does not let this user in (role \"asleep\" is not permitted to log in)",
    );
    assert_fails(
        PostgresServer { database: "shopp".into(), ..good.clone() },
        Configuration,
        "has no such database (database \"shopp\" does not exist); check `database`",
    );
    assert_fails(
        PostgresServer { database: "closed".into(), ..good.clone() },
        PermissionDenied,
        "does not let this user into the database",
    );
    assert_fails(
        PostgresServer { tls: Some(ClientTls { insecure_skip_verify: true, ..ClientTls::default() }), ..good.clone() },
        Configuration,
        "offers no TLS; set `ssl = on` there, or take `tls` out",
    );
    assert_fails(
        PostgresServer { address: socket, tls: Some(ClientTls::default()), ..good.clone() },
        Configuration,
        "a Unix socket cannot be encrypted",
    );
    assert_fails(
        PostgresServer { address: format!("127.0.0.1:{}", free_port()), ..good.clone() },
        Unreachable,
        "refused the connection",
    );
    // Somebody else listens there.
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    assert_fails(
        PostgresServer { address, ..good.clone() },
        FailureKind::Protocol,
        "is another service listening there?",
    );
    // Nobody of this address.
    drop(server);
    let shut = PostgresProcess::letting_in("local all all scram-sha-256\n");
    shut.database("shop");
    assert_fails(shut.server("shop"), Authentication, "has no line in its pg_hba.conf that lets this user in");
}

#[test]
fn whole_urls() {
    use FailureKind::{Authentication, Configuration};
    let server = PostgresProcess::start();
    let mut db = server.database("shop");
    let address = server.address();
    assert_reads(at(&server, &format!("postgres://{READER}:{READER_PASSWORD}@{address}/shop")));
    assert_reads(at(
        &server,
        &format!("postgresql+asyncpg://{READER}:{READER_PASSWORD}@{address}/shop?sslmode=prefer&pool_size=3\n"),
    ));
    let folder = server.folder().display().to_string().replace('/', "%2F");
    assert_reads(at(&server, &format!("postgres://{READER}:{READER_PASSWORD}@{folder}:{}/shop", server.port())));
    assert_fails(at(&server, &format!("postgres://{READER}:planted@{address}/shop")), Authentication, "rejected");
    assert_fails(
        at(&server, &format!("postgres://{READER}:planted@{address}/shop?sslmode=require")),
        Configuration,
        "does not say whom to trust; add `tls`",
    );
    assert_fails(at(&server, "planted"), Configuration, "does not begin with postgres://");

    // Its options are kept, ours count where both say something.
    db.run("create schema hidden; create table hidden.x as select 9 as y; grant usage on schema hidden to reader; grant select on hidden.x to reader");
    let url = format!(
        "postgres://{READER}:{READER_PASSWORD}@{address}/shop?options=-c%20search_path%3Dhidden%20-c%20default_transaction_read_only%3Doff"
    );
    let rig = Rig::on(at(&server, &url));
    rig.set(0, query("select y from x where current_setting('default_transaction_read_only') = 'on' and current_setting('application_name') = 'tidegate' and current_setting('statement_timeout') = '1s'"));
    rig.polling.until_backlog(0, 9.0);

    let fenced = |only: &str| {
        let fence = Fence::new(Some(&[only.to_owned()]));
        let polling = Polling::start_with(|poller| poller.behind(fence));
        let rig = Rig::beside(polling, at(&server, &format!("postgres://{READER}:{READER_PASSWORD}@{address}/shop")));
        rig.set(0, query("select 5"));
        rig
    };
    fenced("127.0.0.1:*").polling.until_backlog(0, 5.0);
    let sentence = fenced("db.shop.svc:5432").failure(0, Configuration);
    assert!(sentence.contains("it is not in --only-addresses"), "{sentence}");
}

#[test]
fn encrypted_or_not_at_all() {
    use FailureKind::{Authentication, Configuration};
    let server = PostgresProcess::with_tls(ENCRYPTED);
    server.database("shop");
    let plain = server.server("shop");
    let named = PostgresServer { address: format!("localhost:{}", server.port()), ..plain.clone() };
    let trusted = PostgresServer { tls: Some(trusting(&server)), ..named.clone() };
    let rig = Rig::on(trusted.clone());
    rig.set(0, query("select count(*) from pg_stat_ssl where pid = pg_backend_pid() and ssl and version in ('TLSv1.3', 'TLSv1.2')"));
    rig.polling.until_backlog(0, 1.0);
    assert_reads(PostgresServer {
        tls: Some(ClientTls { insecure_skip_verify: true, ..ClientTls::default() }),
        ..plain.clone()
    });
    let url = format!(
        "postgres://{READER}:{READER_PASSWORD}@localhost:{}/shop?sslmode=verify-full&channel_binding=require",
        server.port()
    );
    assert_reads(PostgresServer { tls: Some(trusting(&server)), ..at(&server, &url) });

    assert_fails(plain.clone(), Authentication, "if it has one for encrypted connections, add `tls` to the Connection");
    assert_fails(PostgresServer { tls: Some(trusting(&server)), ..plain }, Configuration, "is for another name");
    assert_fails(
        PostgresServer { tls: Some(ClientTls::default()), ..named.clone() },
        Configuration,
        "the authorities to trust",
    );
    let other = PostgresProcess::with_tls(PASSWORDS);
    other.database("shop");
    assert_fails(PostgresServer { tls: Some(trusting(&other)), ..named }, Configuration, "is not trusted");
    // It lets anybody in plainly, and we do not go that way when we are told to encrypt.
    let rig = Rig::on(PostgresServer {
        tls: Some(trusting(&other)),
        address: format!("localhost:{}", other.port()),
        ..other.server("shop")
    });
    rig.set(0, query("select count(*) from pg_stat_ssl where pid = pg_backend_pid() and ssl"));
    rig.polling.until_backlog(0, 1.0);
}

#[test]
fn a_password_that_changes_is_used_before_the_old_one_is_needed_again() {
    let server = PostgresProcess::start();
    let mut db = server.database("shop");
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{READER_PASSWORD}\n")).unwrap();
    let polling = Polling::start_with(|poller| poller.looking_every(Duration::from_millis(100)));
    let rig = Rig::beside(
        polling,
        PostgresServer { password: Some(SecretRef::File(file.path().to_owned())), ..server.server("shop") },
    );
    rig.set(0, query("select 5"));
    rig.polling.until_backlog(0, 5.0);
    for number in 1..=3 {
        let password = format!("planted-{number}");
        db.run(&format!("alter role {READER} password '{password}'"));
        std::fs::write(file.path(), &password).unwrap();
        let give_up = std::time::Instant::now() + Duration::from_secs(10);
        while rig.polling.metric(&["tidegate_credential_renewals_total", "outcome=\"ok\""]) < f64::from(number) {
            assert!(std::time::Instant::now() < give_up, "{}", rig.polling.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    rig.until(0, "read", |seen| seen.backlog == 5.0);
    assert_eq!(rig.polling.metric(&["tidegate_poll_failures_total"]), 0.0, "{}", rig.polling.log());
    assert!(!rig.polling.log().contains("planted"));
}
