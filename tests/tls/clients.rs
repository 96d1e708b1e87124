//! Clients of both doors over TLS, which say what certificate they were shown.

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

use super::support::tidegate::{Keda, PATIENCE};
use tidegate::proto::externalscaler::external_scaler_client::ExternalScalerClient;

/// The certificates that clients were shown, each once.
pub type Seen = Arc<Mutex<HashSet<Vec<u8>>>>;

pub async fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").unwrap();
    timeout(PATIENCE, TlsConnector::from(Arc::clone(config)).connect(name, tcp)).await?
}

/// What tonic connects with.
#[derive(Clone)]
struct Connector {
    address: SocketAddr,
    config: Arc<ClientConfig>,
    seen: Seen,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Connector { address, config, seen } = self.clone();
        Box::pin(async move {
            let stream = connect(address, &config).await?;
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).unwrap().to_vec();
            seen.lock().unwrap().insert(shown);
            Ok(TokioIo::new(stream))
        })
    }
}

/// One connection.
pub async fn channel(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    seen: &Seen,
) -> Result<Channel, tonic::transport::Error> {
    let connector = Connector { address, config: Arc::clone(config), seen: Arc::clone(seen) };
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await
}

/// KEDA's trigger for `mail`, on a connection of its own.
pub async fn keda(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<Keda, tonic::transport::Error> {
    let channel = channel(address, config, &Seen::default()).await?;
    Ok(Keda::new(ExternalScalerClient::new(channel), "pulse", &[("autoscaler", "mail")]))
}

/// `GET` on a connection of its own: the status and everything that came.
pub async fn get(address: SocketAddr, config: &Arc<ClientConfig>, path: &str) -> io::Result<(u16, String)> {
    let mut stream = connect(address, config).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await??;
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or_else(|| io::Error::other(format!("no HTTP answer: {text:?}")))?, text))
}
