//! TLS with certificates on both sides, replaced on both sides while rounds go on; and whom we refuse.

use std::path::PathBuf;

use tempfile::TempDir;
use tidegate::model::FailureKind;
use tidegate::spec::{ClientCertificate, ClientTls, PemRef, RedisServer};

use super::rig::{Authority, Mount, Rig, Signed, client, rotations, until};
use crate::support::polling::redis_server;
use crate::support::redis::{RedisProcess, free_port};

const FILES: [&str; 3] = ["ca.crt", "tls.crt", "tls.key"];

/// A server that speaks TLS, its files, and its port for that; commands of the test go to its other port.
struct Encrypted {
    server: RedisProcess,
    folder: TempDir,
    port: u16,
}

impl Encrypted {
    fn start(authority: &str, own: &Signed, lines: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let port = free_port();
        let [ca, certificate, key] = write(&folder, "0", [authority, &own.certificate, &own.key]);
        let mut all = vec![
            format!("tls-port {port}"),
            format!("tls-ca-cert-file {ca}"),
            format!("tls-cert-file {certificate}"),
            format!("tls-key-file {key}"),
        ];
        all.extend(lines.iter().map(ToString::to_string));
        let server = RedisProcess::with(&all.iter().map(String::as_str).collect::<Vec<_>>());
        Encrypted { server, folder, port }
    }

    /// Whom it trusts and what it shows, to whoever connects from now on.
    fn change(&self, generation: &str, authority: &str, own: &Signed) {
        let [ca, certificate, key] = write(&self.folder, generation, [authority, &own.certificate, &own.key]);
        let words = ["tls-ca-cert-file", &ca, "tls-cert-file", &certificate, "tls-key-file", &key];
        let _: String = self.server.command(&[&["CONFIG", "SET"], words.as_slice()].concat());
    }

    fn reached_with(&self, tls: ClientTls) -> RedisServer {
        RedisServer { tls: Some(tls), ..redis_server(format!("localhost:{}", self.port)) }
    }
}

fn write(folder: &TempDir, generation: &str, contents: [&str; 3]) -> [String; 3] {
    let mut number = 0;
    contents.map(|text| {
        number += 1;
        let path = folder.path().join(format!("{generation}-{number}.pem"));
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    })
}

fn mount(authority: &str, own: &Signed) -> Mount {
    Mount::new(&files(authority, own))
}

fn files<'a>(authority: &'a str, own: &'a Signed) -> [(&'static str, &'a str); 3] {
    [(FILES[0], authority), (FILES[1], &own.certificate), (FILES[2], &own.key)]
}

fn of(mount: &Mount) -> ClientTls {
    let [ca, certificate, key] = FILES.map(|name| PemRef::File(mount.path(name)));
    let client = Some(ClientCertificate { certificate, key });
    ClientTls { authorities: Some(ca), client, ..ClientTls::default() }
}

#[test]
fn a_server_that_wants_certificates_is_shown_the_right_one_or_says_so() {
    let (authority, foreign) = (Authority::new("ours"), Authority::new("theirs"));
    let redis = Encrypted::start(&authority.pem, &authority.sign("localhost"), &["tls-auth-clients yes"]);
    let good = mount(&authority.pem, &authority.sign("tidegate"));
    Rig::start(redis.reached_with(of(&good)));
    Rig::start(redis.reached_with(ClientTls { authorities: None, insecure_skip_verify: true, ..of(&good) }));

    let refused = |tls: ClientTls, words: &[&str]| {
        let rig = Rig::start_blind(redis.reached_with(tls));
        let sentence = rig.polling.until_failure(0, FailureKind::Configuration);
        assert!(words.iter().all(|word| sentence.contains(word)), "{sentence}");
        assert!(!rig.polling.log().contains("PRIVATE KEY"));
    };
    refused(
        ClientTls { client: None, ..of(&good) },
        &["does not accept our certificate, or wants one", "tls.certFile"],
    );
    let stranger = mount(&authority.pem, &foreign.sign("tidegate"));
    refused(of(&stranger), &["does not accept our certificate"]);
    let misled = mount(&foreign.pem, &authority.sign("tidegate"));
    refused(of(&misled), &["certificate is not trusted", "tls.caFile"]);
    let Signed { certificate, .. } = authority.sign("tidegate");
    let crossed = mount(&authority.pem, &Signed { certificate, key: authority.sign("tidegate").key });
    refused(of(&crossed), &["is not the key of the certificate"]);
    let Signed { certificate, key } = authority.sign("tidegate");
    let swapped = mount(&authority.pem, &Signed { certificate: key, key: certificate });
    refused(of(&swapped), &["holds no private key"]);
    let cut = Signed { certificate: "-----BEGIN CERTIFICATE-----\nMIIB".to_owned(), key: authority.sign("a").key };
    refused(of(&mount(&authority.pem, &cut)), &["tls.certFile", "holds no certificates"]);
    refused(
        ClientTls { authorities: Some(PathBuf::from("/nowhere/ca.crt").into()), ..of(&good) },
        &["tls.caFile", "cannot be read"],
    );
}

#[test]
fn the_servers_name_may_be_another_than_its_addresss() {
    let authority = Authority::new("ours");
    let redis = Encrypted::start(&authority.pem, &authority.sign("redis.example.test"), &["tls-auth-clients no"]);
    let mount = mount(&authority.pem, &authority.sign("tidegate"));
    let named = |name: Option<&str>| ClientTls { server_name: name.map(str::to_owned), client: None, ..of(&mount) };
    Rig::start(redis.reached_with(named(Some("redis.example.test"))));
    for wrong in [None, Some("other.example.test")] {
        let rig = Rig::start_blind(redis.reached_with(named(wrong)));
        let sentence = rig.polling.until_failure(0, FailureKind::Configuration);
        assert!(sentence.contains("for another name") && sentence.contains("tls.serverName"), "{sentence}");
    }
}

#[test]
fn every_certificate_is_rotated_and_no_round_fails() {
    let mut old = Authority::new("ours 0");
    let mut server_has = old.sign("localhost");
    let mut client_has = old.sign("tidegate");
    let redis = Encrypted::start(&old.pem, &server_has, &["tls-auth-clients yes"]);
    let mut mount = mount(&old.pem, &client_has);
    let rig = Rig::start(redis.reached_with(of(&mount)));
    let mut id = client(&redis.server, "id");
    let mut renewals = 0.0;
    for rotation in 1..=rotations(3, 60) {
        // Both sides trust both authorities before anybody shows what the new one has signed.
        let new = Authority::new(&format!("ours {rotation}"));
        let both = format!("{}{}", old.pem, new.pem);
        redis.change(&format!("{rotation}-both"), &both, &server_has);
        mount.swap(&files(&both, &client_has));
        renewals += 1.0;
        rig.until_renewals(renewals);

        server_has = new.sign("localhost");
        redis.change(&format!("{rotation}-server"), &both, &server_has);

        // A certificate whose key is not there yet.
        let fresh = new.sign("tidegate");
        let (_, refused) = rig.renewals();
        mount.swap(&[(FILES[0], &both), (FILES[1], &fresh.certificate), (FILES[2], &client_has.key)]);
        until("a refusal", || rig.renewals().1 > refused);
        rig.until_log(&["the old one stays", "is not the key of the certificate"]);
        client_has = fresh;
        mount.swap(&files(&both, &client_has));
        renewals += 1.0;
        rig.until_renewals(renewals);

        // From here on what the old authority has signed is worth nothing to either.
        redis.change(&format!("{rotation}-new"), &new.pem, &server_has);
        mount.swap(&files(&new.pem, &client_has));
        renewals += 1.0;
        rig.until_renewals(renewals);
        let now = client(&redis.server, "id");
        assert_ne!(now, id, "another connection");
        (id, old) = (now, new);
    }
    rig.some_rounds(4.0);
    assert_eq!(rig.renewals().0, renewals);
    rig.assert_unharmed();
    assert!(!rig.polling.log().contains("PRIVATE KEY"));
}

#[test]
fn tls_one_point_one_is_refused() {
    let authority = Authority::new("ours");
    // Without level 0 OpenSSL would not offer it either, and the test would show nothing.
    let old = ["tls-auth-clients no", "tls-protocols \"TLSv1.1\"", "tls-ciphers DEFAULT:@SECLEVEL=0"];
    let redis = Encrypted::start(&authority.pem, &authority.sign("localhost"), &old);
    let offers = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl")
            .args(["s_client", "-connect", &format!("localhost:{}", redis.port), "-cipher", "DEFAULT:@SECLEVEL=0"])
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        output.status.success()
    };
    assert!(offers(&["-tls1_1"]), "the server speaks 1.1, to whoever wants it");
    assert!(!offers(&["-tls1_2"]));
    let mount = mount(&authority.pem, &authority.sign("tidegate"));
    let rig = Rig::start_blind(redis.reached_with(ClientTls { client: None, ..of(&mount) }));
    let sentence = rig.polling.until_failure(0, FailureKind::Configuration);
    assert!(sentence.contains("offers no TLS that we accept") && sentence.contains("tls-protocols"), "{sentence}");
}

#[test]
fn a_cipher_without_forward_secrecy_is_refused_and_the_least_that_is_accepted_works() {
    let authority = Authority::new("ours");
    let mount = mount(&authority.pem, &authority.sign("tidegate"));
    let tls = || ClientTls { client: None, ..of(&mount) };
    let with = |cipher: &str| {
        let lines = ["tls-auth-clients no", "tls-protocols \"TLSv1.2\"", &format!("tls-ciphers {cipher}")];
        Encrypted::start(&authority.pem, &authority.sign("localhost"), &lines)
    };
    let least = with("ECDHE-ECDSA-AES128-GCM-SHA256");
    Rig::start(least.reached_with(tls()));
    // ECDHE, but no AEAD.
    let weak = with("ECDHE-ECDSA-AES128-SHA");
    let rig = Rig::start_blind(weak.reached_with(tls()));
    let sentence = rig.polling.until_failure(0, FailureKind::Configuration);
    assert!(sentence.contains("offers no TLS that we accept") && sentence.contains("tls-ciphers"), "{sentence}");
}
