//! What no honest client sends: connections from other addresses of loopback, and gRPC requests of whatever bytes.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::codegen::http::{Method, Request, Version};
use tonic::codegen::{Bytes, Service};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::support::tidegate::PATIENCE;

/// The method that most of them call.
pub const GET_METRICS: &str = "/externalscaler.ExternalScaler/GetMetrics";

/// Another peer than the test's honest clients, which are 127.0.0.1. (All of 127.0.0.0/8 is loopback.)
pub fn stranger(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 1, number))
}

/// A connection from there that takes next to nothing of what it does not read.
pub async fn connect_from(source: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(SocketAddr::new(source, 0)).unwrap();
    timeout(PATIENCE, socket.connect(to)).await.unwrap().unwrap()
}

pub async fn channel_from(source: IpAddr, to: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{to}")).unwrap();
    endpoint.local_address(Some(source)).connect().await.unwrap()
}

/// A request's body: these pieces, and then its end.
pub fn pieces(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    Body::new(StreamBody::new(pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece)))))
}

/// Calls `path` with these headers besides gRPC's own, and says what the call ended with.
pub async fn call(mut channel: Channel, path: &str, headers: &[(&'static str, &'static str)], body: Body) -> Code {
    let mut request = Request::new(body);
    *request.uri_mut() = path.parse().unwrap();
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    for (name, value) in [("te", "trailers"), ("content-type", "application/grpc")].iter().chain(headers) {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let answer = async {
        poll_fn(|context| channel.poll_ready(context)).await.map_err(|error| Status::from_error(error.into()))?;
        let answer = channel.call(request).await.map_err(|error| Status::from_error(error.into()))?;
        if let Some(status) = Status::from_header_map(answer.headers()) {
            return Ok(status);
        }
        let trailers = answer.into_body().collect().await?.trailers().cloned().unwrap_or_default();
        Status::from_header_map(&trailers).ok_or_else(|| Status::unknown("no status"))
    };
    let status: Result<Status, Status> = timeout(PATIENCE, answer).await.expect("an end of the call");
    status.map_or_else(|status| status.code(), |status| status.code())
}

/// Whether this process and the one under test may have so many files open; says so where they may not.
pub fn may_open(files: usize) -> bool {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let may = line.split_whitespace().next().unwrap().parse().unwrap_or(usize::MAX);
    if may < files {
        println!("not run: {files} open files are needed, {may} are allowed (ulimit -n)");
    }
    may >= files
}

/// For somebody who is slow.
pub const NOW_AND_THEN: Duration = Duration::from_millis(500);
