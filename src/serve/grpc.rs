//! The gRPC server: the external scaler with its health (`grpc.health.v1`) and reflection beside it.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::keda::KedaScaler;
use super::limits::{Admission, LARGEST_REQUEST, Limits};
use super::listen::{Door, Listener};
use super::ready::Readiness;
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::externalscaler::external_scaler_server::{ExternalScalerServer, SERVICE_NAME};

/// A peer that went away without a word is noticed after interval plus timeout. KEDA sends no pings of its own, and
/// the kernel alone would need some fifteen minutes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a connection may send ahead of our reading on one stream: HTTP/2's own default, and the largest request.
const STREAM_WINDOW: u32 = 65_535;
/// And on all of its streams, where hyper would allow a mebibyte. Not less: h2 bounds the small frames that are not read
/// yet in proportion to it, and a turn of reading (`listen/connection.rs`) may bring two hundred requests.
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// gRPC's own headers have some three hundred bytes; a token and a trace that a mesh adds, some two thousand.
const HEADER_LIST: u32 = 8 * 1024;

/// From the signal to closing what is still open. Our own streams end at once; somebody else's (a health watch) may
/// never.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    #[error("the descriptors for server reflection do not decode")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("gRPC server failed")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves until `shutdown`, then until what is open has ended, at most five seconds more.
///
/// # Errors
/// The listener failed as a whole, or the built-in descriptors do not decode.
pub async fn serve(
    listener: TcpListener,
    scaler: KedaScaler,
    readiness: Arc<Readiness>,
    shutdown: CancellationToken,
) -> Result<(), GrpcError> {
    let incoming = Listener::new(Door::Grpc, listener).incoming();
    serve_incoming(incoming, scaler, readiness, shutdown, Limits::default()).await
}

/// As [`serve`], over connections that somebody else accepts (TLS, say), and with limits on the calls.
///
/// # Errors
/// As [`serve`].
pub async fn serve_incoming<I, IO, IE>(
    incoming: I,
    scaler: KedaScaler,
    readiness: Arc<Readiness>,
    shutdown: CancellationToken,
    limits: Limits,
) -> Result<(), GrpcError>
where
    I: Stream<Item = Result<IO, IE>>,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    IE: Into<Box<dyn StdError + Send + Sync>>,
{
    let (reporter, health) = tonic_health::server::health_reporter();
    let descriptors = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let reflection = descriptors().build_v1()?.max_decoding_message_size(LARGEST_REQUEST);
    // grpcurl and others still ask in the old dialect first.
    let reflection_alpha = descriptors().build_v1alpha()?.max_decoding_message_size(LARGEST_REQUEST);
    let health = health.max_decoding_message_size(LARGEST_REQUEST);
    let scaler = ExternalScalerServer::new(scaler).max_decoding_message_size(LARGEST_REQUEST);

    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        // No cap on streams: KEDA sends every push trigger's streams and all unary calls over one connection, and
        // calls beyond a cap would queue there without a deadline.
        .max_concurrent_streams(None)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(HEADER_LIST)
        // What h2 does against streams that are reset as soon as they are opened stays at its defaults.
        .layer(Admission::new(limits))
        .add_service(scaler)
        .add_service(health)
        .add_service(reflection)
        .add_service(reflection_alpha)
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled());

    let too_long = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server => ended.map_err(GrpcError::from),
        never = report(&reporter, &readiness) => match never {},
        () = too_long => Ok(()),
    }
}

/// Keeps `grpc.health.v1` equal to readiness, for the server as a whole (the empty name) and for the service.
async fn report(reporter: &HealthReporter, readiness: &Readiness) -> std::convert::Infallible {
    let mut checks = readiness.watch();
    loop {
        let status = match checks.borrow_and_update().ready() {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        reporter.set_service_status("", status).await;
        reporter.set_service_status(SERVICE_NAME, status).await;
        if checks.changed().await.is_err() {
            // Nobody is left to change it.
            std::future::pending::<()>().await;
        }
    }
}
