//! Files that change while the process runs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use tokio::time::timeout;

use super::authority::{Authority, Mount, Pair, Style};
use super::clients::{Seen, channel, connect, keda};
use super::manifests;
use super::support::redis::RedisProcess;
use super::support::tidegate::{PATIENCE, Tidegate, until_along};

const BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// mTLS at the gRPC door; HTTP in plain text, to look at the metrics.
struct Rig {
    server_ca: Authority,
    mount: Mount,
    tidegate: Tidegate,
    redis: RedisProcess,
}

impl Rig {
    fn start(clients: &Authority) -> Self {
        let (server_ca, redis) = (Authority::new("ours"), RedisProcess::start());
        let mount = Mount::new(&server_ca.server());
        let (certificate, key) = (text(&mount.certificate()), text(&mount.key()));
        let ca = text(&mount.write("clients.pem", &clients.pem()));
        let flags = ["--grpc-tls-cert", &certificate, "--grpc-tls-key", &key, "--grpc-client-ca", &ca];
        let tidegate = Tidegate::start(&manifests(&redis.address()), &flags);
        tidegate.until_ready();
        Rig { server_ca, mount, tidegate, redis }
    }

    fn showing(&self, own: &Pair) -> Arc<ClientConfig> {
        self.server_ca.trusting(Some(own), "h2", &BOTH)
    }

    fn reloads(&self, outcome: &str) -> f64 {
        let series = format!("tidegate_tls_reloads_total{{door=\"grpc\",outcome=\"{outcome}\"}}");
        self.tidegate.metric(&series).unwrap_or(0.0)
    }

    fn failing(&self) -> bool {
        self.tidegate.metric("tidegate_tls_reload_failing{door=\"grpc\"}") == Some(1.0)
    }

    /// What a new connection is shown now.
    async fn shown(&self, config: &Arc<ClientConfig>) -> Vec<u8> {
        let stream = connect(self.tidegate.grpc_address(), config).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
}

#[tokio::test]
async fn a_pair_that_does_not_match_leaves_the_last_good_one() {
    let clients = Authority::new("clients");
    let mut rig = Rig::start(&clients);
    let config = rig.showing(&clients.client());
    let first = rig.shown(&config).await;

    let (next, another) = (rig.server_ca.server(), rig.server_ca.server());
    let torn = Pair { certificate: next.certificate.clone(), key: another.key };
    rig.mount.replace(&torn, Style::Rename);
    until_along("the mismatch is noticed", || rig.failing()).await;
    assert_eq!(rig.shown(&config).await, first, "the last good one serves on");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let log = rig.tidegate.log();
    let said = log.lines().filter(|line| line.contains("cannot be used")).collect::<Vec<_>>();
    assert_eq!(said.len(), 1, "said once: {said:?}");
    assert!(said[0].contains("cannot serve together") && said[0].contains("tls.crt"), "{said:?}");
    assert_eq!((rig.reloads("error"), rig.reloads("ok")), (1.0, 0.0));

    // Another problem is said, too; then all is well again.
    std::fs::remove_file(rig.mount.certificate()).unwrap();
    let said = rig.tidegate.until_log("must be there and readable");
    assert!(said.contains("No such file"), "{said}");
    rig.mount.replace(&next, Style::Rewrite);
    until_along("the good pair is taken", || !rig.failing() && rig.reloads("ok") == 1.0).await;
    assert_ne!(rig.shown(&config).await, first);
    assert!(!rig.tidegate.log().contains("PRIVATE KEY"), "no key is logged");
}

#[tokio::test]
async fn a_replaced_client_ca_refuses_old_certificates_and_old_streams_live_on() {
    let (before, after) = (Authority::new("before"), Authority::new("after"));
    let mut rig = Rig::start(&before);
    let (old, new) = (rig.showing(&before.client()), rig.showing(&after.client()));
    let grpc = rig.tidegate.grpc_address();
    let mut open = keda(grpc, &old).await.unwrap();
    open.until_value(0.0).await;
    let mut stream = open.client.stream_is_active(open.object.clone()).await.unwrap().into_inner();
    let mut next = async || timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap().result;
    let first = rig.shown(&old).await;

    rig.mount.write("clients.pem", &after.pem());
    until_along("the client CA is taken", || rig.reloads("ok") == 1.0).await;
    rig.mount.replace(&rig.server_ca.server(), Style::Swap);
    until_along("the certificate is taken", || rig.reloads("ok") == 2.0).await;

    assert_ne!(rig.shown(&new).await, first, "new connections see the new certificate");
    keda(grpc, &new).await.unwrap().until_value(0.0).await;
    for version in BOTH {
        // Its configuration may remember sessions: they are of no use.
        let refused = match channel(grpc, &old, &Seen::default()).await {
            Ok(channel) => {
                let client =
                    tidegate::proto::externalscaler::external_scaler_client::ExternalScalerClient::new(channel);
                let mut keda = super::support::tidegate::Keda::new(client, "pulse", &[("autoscaler", "mail")]);
                keda.value("").await.is_err()
            }
            Err(_) => true,
        };
        assert!(refused, "{version:?}: a certificate of the old CA is refused");
    }
    // The one that was open still asks, and is still told.
    assert_eq!(open.value("").await.unwrap(), (0, 0.0));
    rig.redis.command::<i64>(&["LPUSH", "mail", "item"]);
    assert!(next().await, "an edge on the stream of before");
}

#[tokio::test]
async fn files_may_vanish_and_come_back_as_they_were() {
    let clients = Authority::new("clients");
    let rig = Rig::start(&clients);
    let config = rig.showing(&clients.client());
    let first = rig.shown(&config).await;
    let (path, away) = (rig.mount.path().join("clients.pem"), rig.mount.path().join("away.pem"));
    std::fs::rename(&path, &away).unwrap();
    until_along("the loss is noticed", || rig.failing()).await;
    assert_eq!(rig.shown(&config).await, first);
    std::fs::rename(&away, &path).unwrap();
    until_along("it is well again", || !rig.failing()).await;
    assert_eq!((rig.reloads("ok"), rig.reloads("error")), (0.0, 1.0), "nothing had to be loaded");
    let began = Instant::now();
    assert_eq!(rig.shown(&config).await, first);
    assert!(began.elapsed() < PATIENCE);
}
