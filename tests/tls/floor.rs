//! What the doors speak, to whom, and what they say about files that they cannot use.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::AsyncReadExt;

use super::authority::{Authority, Mount, Pair};
use super::clients::{connect, get, keda};
use super::manifests;
use super::support::redis::RedisProcess;
use super::support::tidegate::{Tidegate, command};

const BOTH: [&rustls::SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

fn text(path: &std::path::Path) -> String {
    path.display().to_string()
}

#[tokio::test]
async fn both_doors_speak_tls_to_anybody_without_a_client_ca() {
    let (authority, redis) = (Authority::new("ours"), RedisProcess::start());
    let mount = Mount::new(&authority.server());
    let (certificate, key) = (text(&mount.certificate()), text(&mount.key()));
    let flags = ["--grpc-tls-cert", &certificate, "--grpc-tls-key", &key];
    let more = ["--http-tls-cert", &certificate, "--http-tls-key", &key];
    let tidegate = Tidegate::start(&manifests(&redis.address()), &[&flags[..], &more[..]].concat());
    for version in BOTH {
        let config = authority.trusting(None, "h2", &[version]);
        let mut keda = keda(tidegate.grpc_address(), &config).await.unwrap();
        keda.until_value(0.0).await;
        let config = authority.trusting(None, "http/1.1", &[version]);
        assert_eq!(get(tidegate.http_address(), &config, "/livez").await.unwrap().0, 200);
    }
    let config = authority.trusting(None, "http/1.1", &BOTH);
    let (status, metrics) = get(tidegate.http_address(), &config, "/metrics").await.unwrap();
    assert_eq!(status, 200);
    for series in
        ["tidegate_tls_handshakes_total{door=\"http\",outcome=\"ok\"} ", "tidegate_connections{door=\"grpc\"} "]
    {
        assert!(metrics.contains(series), "{series} is not in {metrics}");
    }

    // Plain text gets nothing, and a stranger's CA is not believed by an honest client.
    assert!(tidegate.try_ask("GET", "/livez", "").is_err());
    let stranger = Authority::new("stranger").trusting(None, "h2", &BOTH);
    assert!(connect(tidegate.grpc_address(), &stranger).await.is_err());
    // Each door speaks its own protocol only.
    for (address, wrong) in [(tidegate.grpc_address(), "http/1.1"), (tidegate.http_address(), "h2")] {
        let config = authority.trusting(None, wrong, &BOTH);
        assert!(connect(address, &config).await.is_err(), "{wrong} at {address}");
    }
}

/// One that cannot, so that the check of the server's answer cannot pass for want of trying.
fn s_client(address: SocketAddr, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-servername", "localhost"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn old_versions_and_weak_ciphers_are_refused_by_the_server() {
    let authority = Authority::new("ours");
    let mount = Mount::new(&authority.server());
    let (certificate, key) = (text(&mount.certificate()), text(&mount.key()));
    let flags = ["--grpc-tls-cert", &certificate, "--grpc-tls-key", &key];
    let more = ["--http-tls-cert", &certificate, "--http-tls-key", &key];
    let tidegate = Tidegate::start("", &[&flags[..], &more[..]].concat());
    for address in [tidegate.grpc_address(), tidegate.http_address()] {
        for good in [
            &["-tls1_3"][..],
            &["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
        ] {
            let said = s_client(address, good);
            assert!(said.contains("Cipher is") && !said.contains("Cipher is (NONE)"), "{good:?}: {said}");
        }
        for weak in [
            &["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"][..],
            &["-tls1", "-cipher", "DEFAULT:@SECLEVEL=0"],
            // No AEAD; no forward secrecy.
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"],
            &["-tls1_2", "-cipher", "AES128-GCM-SHA256:@SECLEVEL=0"],
        ] {
            let said = s_client(address, weak);
            // An alert is what the other side says: this one has tried.
            assert!(said.contains("SSL alert number") && said.contains("Cipher is (NONE)"), "{weak:?}: {said}");
        }
    }
}

/// mTLS on both doors of one process.
struct Mutual {
    authority: Authority,
    clients: Authority,
    tidegate: Tidegate,
    _redis: RedisProcess,
    _mount: Mount,
}

impl Mutual {
    fn start() -> Self {
        let (authority, clients, redis) = (Authority::new("ours"), Authority::new("clients"), RedisProcess::start());
        let mount = Mount::new(&authority.server());
        let (certificate, key) = (text(&mount.certificate()), text(&mount.key()));
        let ca = text(&mount.write("clients.pem", &clients.pem()));
        let grpc = ["--grpc-tls-cert", &certificate, "--grpc-tls-key", &key, "--grpc-client-ca", &ca];
        let http = ["--http-tls-cert", &certificate, "--http-tls-key", &key, "--http-client-ca", &ca];
        let tidegate = Tidegate::start(&manifests(&redis.address()), &[&grpc[..], &http[..]].concat());
        Mutual { authority, clients, tidegate, _redis: redis, _mount: mount }
    }

    fn showing(&self, own: Option<&Pair>, alpn: &str) -> Arc<ClientConfig> {
        self.authority.trusting(own, alpn, &BOTH)
    }
}

#[tokio::test]
async fn without_the_right_client_certificate_grpc_answers_nothing_and_http_only_probes() {
    let mutual = Mutual::start();
    let (grpc, http) = (mutual.tidegate.grpc_address(), mutual.tidegate.http_address());
    let right = mutual.clients.client();
    let mut keda_with = keda(grpc, &mutual.showing(Some(&right), "h2")).await.unwrap();
    keda_with.until_value(0.0).await;

    let wrong = Authority::new("somebody else").client();
    for (who, own) in [("none", None), ("another CA's", Some(&wrong))] {
        // In TLS 1.3 the client believes itself connected until it is told otherwise.
        let answer = match keda(grpc, &mutual.showing(own, "h2")).await {
            Ok(mut keda) => keda.value("").await.map_err(|status| status.to_string()),
            Err(error) => Err(error.to_string()),
        };
        assert!(answer.is_err(), "{who}: {answer:?}");
        let config = mutual.authority.trusting(own, "h2", &[&TLS12]);
        assert!(connect(grpc, &config).await.is_err(), "{who}, TLS 1.2");
    }

    let with = mutual.showing(Some(&right), "http/1.1");
    let without = mutual.showing(None, "http/1.1");
    for path in ["/", "/metrics", "/api/v1/autoscalers", "/readyz/../metrics", "//livez", "/nothing"] {
        let refused = get(http, &without, path).await.unwrap();
        assert_eq!(refused.0, 403, "{path}: {}", refused.1);
        assert!(refused.1.contains("a client certificate is needed") && !refused.1.contains("mail"), "{}", refused.1);
    }
    for path in ["/livez", "/readyz", "/metrics", "/api/v1/autoscalers"] {
        assert_eq!(get(http, &with, path).await.unwrap().0, 200, "{path}");
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(get(http, &without, path).await.unwrap().0, 200, "{path}");
    }
    // A wrong one is worse than none.
    let wrong = get(http, &mutual.showing(Some(&wrong), "http/1.1"), "/livez").await;
    assert!(wrong.is_err(), "{wrong:?}");
}

#[tokio::test]
async fn every_handshake_is_a_full_one() {
    let mutual = Mutual::start();
    let own = mutual.clients.client();
    for version in BOTH {
        // The configuration is what keeps a client's sessions.
        let config = mutual.authority.trusting(Some(&own), "http/1.1", &[version]);
        for turn in 0..3 {
            let mut stream = connect(mutual.tidegate.http_address(), &config).await.unwrap();
            // An answer, so that a ticket sent after the handshake would have come.
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /livez HTTP/1.0\r\n\r\n").await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            let (_, session) = stream.get_ref();
            assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full), "{version:?}, turn {turn}");
            assert_eq!(session.tls13_tickets_received(), 0);
        }
    }
}

#[test]
fn files_that_cannot_be_used_are_named_with_a_cure() {
    let authority = Authority::new("ours");
    let (pair, other) = (authority.server(), authority.server());
    let mount = Mount::new(&pair);
    let good = (text(&mount.certificate()), text(&mount.key()));
    let other_key = text(&mount.write("other.key", &other.key));
    let empty = text(&mount.write("empty.pem", "nothing here\n"));
    let torn = text(&mount.write("torn.pem", &pair.certificate[..pair.certificate.len() / 2]));
    let missing = text(&mount.path().join("missing.pem"));
    let cases: [(&str, &str, &str, &[&str]); 7] = [
        (&missing, &good.1, "", &["missing.pem", "must be there and readable", "No such file"]),
        (&empty, &good.1, "", &["empty.pem holds no certificate", "BEGIN CERTIFICATE"]),
        (&torn, &good.1, "", &["torn.pem is not PEM"]),
        (&good.0, &empty, "", &["empty.pem holds no private key", "PKCS#8 or SEC1 or PKCS#1"]),
        (&good.0, &other_key, "", &["tls.crt", "other.key cannot serve together", "first certificate"]),
        (&good.0, &good.1, &empty, &["empty.pem holds no certificate"]),
        (&good.0, &good.1, &good.1, &["tls.key holds no certificate"]),
    ];
    for door in ["grpc", "http"] {
        for (certificate, key, ca, words) in cases {
            let flags = [format!("--{door}-tls-cert"), format!("--{door}-tls-key"), format!("--{door}-client-ca")];
            let mut arguments = vec!["run", "--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0"];
            arguments.extend([&flags[0], certificate, &flags[1], key]);
            if !ca.is_empty() {
                arguments.extend([&flags[2], ca]);
            }
            let output = command(&arguments);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{said}");
            for word in words.iter().chain([&&*format!("TLS of the {door} door")]) {
                assert!(said.contains(word), "{word:?} is not in {said}");
            }
            assert!(!said.contains("PRIVATE KEY-----"), "{said}");
        }
    }

    let half = command(&["run", "--grpc-tls-cert", &good.0]);
    assert!(String::from_utf8_lossy(&half.stderr).contains("add --grpc-tls-key FILE"));
    let box_ = ["run", "--target", "keda-box", "--grpc-tls-cert", &good.0, "--grpc-tls-key", &good.1];
    let said = command(&box_);
    assert!(String::from_utf8_lossy(&said.stderr).contains("KEDA in a box asks over plain gRPC"), "{said:?}");
}
