//! A real Prometheus behind TLS and a login, and what is sent to whom.

use std::sync::Arc;
use std::time::Duration;

use tidegate::model::FailureKind;
use tidegate::spec::{ClientTls, HttpServer, Secret, SecretRef};

use crate::rig::{FAST, asking, fails, http, prometheus_at};
use crate::support::polling::{Polling, autoscaler};
use crate::support::prometheus::PrometheusProcess;
use crate::support::redis::Certificates;
use crate::support::web::{Reply, Web};

/// bcrypt of [`PASSWORD`], at the least cost.
const HASH: &str = "$2b$04$JezFvcn6jFL./snRlyBRAOFIAkzbYotPUI4BOCEVv12AjUO1tQpXm";
const PASSWORD: &str = "open-sesame";

#[test]
fn tls_and_a_login_are_spoken_and_a_changed_password_is_found() {
    let folder = tempfile::TempDir::new().unwrap();
    let certificates = Certificates::make(folder.path());
    let server = PrometheusProcess::with(&[], &[], |_| {
        format!(
            "tls_server_config: {{ cert_file: {}, key_file: {} }}\nbasic_auth_users: {{ tidegate: '{HASH}' }}\n",
            certificates.certificate.display(),
            certificates.key.display()
        )
    });
    let secret = folder.path().join("password");
    std::fs::write(&secret, "wrong-sesame").unwrap();
    let address = server.address().replace("127.0.0.1", "localhost");
    let tls = ClientTls { authorities: Some(certificates.authority.clone().into()), ..ClientTls::default() };
    let mut at = HttpServer {
        username: Some("tidegate".into()),
        password: Some(SecretRef::File(secret.clone())),
        tls: Some(tls),
        ..http(&address, "")
    };
    at.url.encrypted = true;
    at.response_timeout = Duration::from_secs(5);

    let polling = Polling::start_with(|poller| poller.looking_every(Duration::from_millis(200)));
    polling.set(0, &autoscaler("a", FAST, &[(&prometheus_at(at.clone()), asking("vector(4)"))]));
    let sentence = fails(&polling, 0, FailureKind::Authentication, &["does not accept our login"]);
    std::fs::write(&secret, PASSWORD).unwrap();
    polling.until_backlog(0, 4.0);

    // Whom we do not trust is not told the password, and who speaks TLS is told in it.
    let strangers = HttpServer { tls: Some(ClientTls::default()), ..at.clone() };
    polling.set(1, &autoscaler("b", FAST, &[(&prometheus_at(strangers), asking("vector(4)"))]));
    let untrusted = fails(&polling, 1, FailureKind::Configuration, &["caFile"]);
    let mut plain = HttpServer { tls: None, ..at };
    plain.url.encrypted = false;
    polling.set(2, &autoscaler("c", FAST, &[(&prometheus_at(plain), asking("vector(4)"))]));
    let clear = fails(&polling, 2, FailureKind::Protocol, &["HTTPS"]);
    let said = format!("{sentence}{untrusted}{clear}{}", polling.log());
    assert!(!said.contains("sesame"), "{said}");
}

#[test]
fn who_asks_says_who_it_is_and_what_it_understands() {
    let answer = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"4"]},"warnings":["careful"]}"#;
    let web = Web::saying(Reply::json(answer));
    let server = HttpServer {
        password: Some(SecretRef::Inline(Secret::new("planted-token"))),
        headers: vec![("X-Scope-OrgID".to_owned(), "team-a".to_owned())],
        ..http(&web.address(), "/prometheus")
    };
    let polling = Polling::start();
    polling.set(0, &autoscaler("a", FAST, &[(&prometheus_at(server), asking("sum(jobs)"))]));
    polling.until_backlog(0, 4.0);
    polling.collect(FAST * 5);
    let asked = web.asked();
    let first = asked.first().unwrap();
    assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/prometheus/api/v1/query"));
    assert_eq!(first.body, "query=sum%28jobs%29&timeout=900ms");
    assert_eq!(first.header("authorization"), Some("Bearer planted-token"));
    assert_eq!(first.header("x-scope-orgid"), Some("team-a"));
    assert_eq!(first.header("host"), Some(web.address().as_str()));
    assert!(first.header("user-agent").unwrap().starts_with("tidegate/"));
    // One connection for all rounds, and a warning once.
    assert!(asked.len() >= 3 && web.connections() == 1, "{} in {}", asked.len(), web.connections());
    let log = polling.log();
    assert_eq!(log.matches("warns: careful").count(), 1, "{log}");
    assert!(!log.contains("planted"), "{log}");
    let connection = Arc::clone(&prometheus_at(http(&web.address(), "")));
    assert!(!format!("{connection:?}").contains("planted"));
}
