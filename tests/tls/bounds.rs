//! Caps and timeouts of both doors, with limits low enough to be met.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use tidegate::board::Board;
use tidegate::clock::Clock;
use tidegate::proto::externalscaler::external_scaler_client::ExternalScalerClient;
use tidegate::proto::externalscaler::{IsActiveResponse, ScaledObjectRef};
use tidegate::serve::keda::{KedaScaler, Parts};
use tidegate::serve::listen::{Door, Limits, Listener};
use tidegate::serve::ready::Readiness;
use tidegate::serve::tls::Files;
use tidegate::serve::tls::reload::Tls;
use tidegate::serve::{grpc, http, limits};
use tidegate::spec::grants::Grants;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::authority::{Authority, Mount};
use super::support::tidegate::{PATIENCE, until_along};

/// Long enough for an honest client on a busy machine.
const SHORT: Duration = Duration::from_millis(400);

async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn serve_http(limits: Limits, router: Router) -> (SocketAddr, DropGuard) {
    let (socket, address) = bind().await;
    let shutdown = CancellationToken::new();
    let listener = Listener::new(Door::Http, socket).with_limits(limits);
    tokio::spawn(http::serve_on(listener, router, shutdown.clone()));
    (address, shutdown.drop_guard())
}

async fn serve_grpc(limits: Limits, calls: limits::Limits) -> (SocketAddr, DropGuard) {
    let (socket, address) = bind().await;
    let (asks, _) = mpsc::channel(1);
    let (readiness, shutdown) = (Arc::new(Readiness::new()), CancellationToken::new());
    readiness.specs_loaded();
    readiness.first_round_done();
    let scaler = KedaScaler::new(Parts {
        board: Arc::new(Board::new(asks)),
        grants: Arc::new(ArcSwap::from_pointee(Grants::new(&[]))),
        readiness: Arc::clone(&readiness),
        clock: Clock::start(),
        shutdown: shutdown.clone(),
    });
    let incoming = Listener::new(Door::Grpc, socket).with_limits(limits).incoming();
    tokio::spawn(grpc::serve_incoming(incoming, scaler, readiness, shutdown.clone(), calls));
    (address, shutdown.drop_guard())
}

async fn grpc_channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

async fn from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Whether the other side ends it, saying nothing more than `at_most` bytes.
async fn is_closed(stream: &mut TcpStream, at_most: usize) -> bool {
    let mut rest = Vec::new();
    match timeout(PATIENCE, stream.read_to_end(&mut rest)).await {
        Ok(Ok(_)) => rest.len() <= at_most,
        Ok(Err(_)) => true,
        Err(_) => false,
    }
}

async fn livez(stream: &mut TcpStream) -> bool {
    let mut answer = Vec::new();
    let whole = async {
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await?;
        while !answer.ends_with(b"ok\n") {
            if stream.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        std::io::Result::Ok(())
    };
    timeout(PATIENCE, whole).await.is_ok_and(|read| read.is_ok()) && answer.starts_with(b"HTTP/1.1 200 OK")
}

#[tokio::test]
async fn connections_are_capped_in_all_and_from_one_address() {
    let limits = Limits { connections: 3, per_peer: 2, ..Limits::of(Door::Http) };
    let (address, _serving) = serve_http(limits, Router::new().route("/livez", get(async || "ok\n"))).await;
    let (mut one, mut two) = (from("127.0.0.1", address).await, from("127.0.0.1", address).await);
    assert!(livez(&mut one).await && livez(&mut two).await);
    assert!(is_closed(&mut from("127.0.0.1", address).await, 0).await, "a third from one address");
    let mut other = from("127.0.0.2", address).await;
    assert!(livez(&mut other).await, "another address has its own");
    assert!(is_closed(&mut from("127.0.0.3", address).await, 0).await, "a fourth in all");
    drop(one);
    let mut again = from("127.0.0.3", address).await;
    while !livez(&mut again).await {
        sleep(Duration::from_millis(10)).await;
        again = from("127.0.0.3", address).await;
    }
    assert!(livez(&mut two).await && livez(&mut other).await, "those that were open never noticed");
}

#[tokio::test]
async fn whoever_does_not_begin_to_speak_is_let_go() {
    let limits = Limits { opening: SHORT, handshake: SHORT, ..Limits::of(Door::Grpc) };
    let (address, _serving) = serve_grpc(limits, limits::Limits::default()).await;
    let mut honest = HealthClient::new(grpc_channel(address).await);
    honest.check(HealthCheckRequest::default()).await.unwrap();

    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut hesitant = TcpStream::connect(address).await.unwrap();
    // All of the preface but its last byte.
    hesitant.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r").await.unwrap();
    // The server's SETTINGS are out before the client's preface is in.
    assert!(is_closed(&mut silent, 256).await && is_closed(&mut hesitant, 256).await);
    sleep(2 * SHORT).await;
    honest.check(HealthCheckRequest::default()).await.expect("one that has spoken may be silent");

    let limits = Limits { opening: SHORT, ..Limits::of(Door::Http) };
    let (address, _serving) = serve_http(limits, Router::new()).await;
    assert!(is_closed(&mut TcpStream::connect(address).await.unwrap(), 0).await);
}

#[tokio::test]
async fn a_handshake_has_a_time_limit_and_holds_up_nobody() {
    let authority = Authority::new("ours");
    let mount = Mount::new(&authority.server());
    let files = Files { certificate: mount.certificate(), key: mount.key(), client_ca: None };
    let tls = Tls::load(Door::Http, files).unwrap();
    let (socket, address) = bind().await;
    let limits = Limits { handshake: SHORT, opening: SHORT, connections: 4, per_peer: 4, ..Limits::of(Door::Http) };
    let shutdown = CancellationToken::new();
    let listener = Listener::new(Door::Http, socket).with_limits(limits).with_tls(Some(tls.secured()));
    let router = Router::new().route("/livez", get(async || "ok\n"));
    tokio::spawn(http::serve_on(listener, router, shutdown.clone()));
    let _serving = shutdown.drop_guard();

    let mut slow = TcpStream::connect(address).await.unwrap();
    let mut slower = TcpStream::connect(address).await.unwrap();
    slower.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let config = authority.trusting(None, "http/1.1", &[&rustls::version::TLS13]);
    assert_eq!(super::clients::get(address, &config, "/livez").await.unwrap().0, 200);
    assert!(is_closed(&mut slow, 0).await && is_closed(&mut slower, 0).await);

    // And after it, as in plain text: say something.
    let mut shaken = super::clients::connect(address, &config).await.unwrap();
    let mut rest = Vec::new();
    assert!(timeout(PATIENCE, shaken.read_to_end(&mut rest)).await.is_ok(), "let go");
    assert!(rest.is_empty());
}

#[tokio::test]
async fn whoever_does_not_read_is_let_go_and_others_are_served() {
    // More than the kernel's buffers take.
    let large = || get(async || "x".repeat(64 * 1024 * 1024));
    let router = Router::new().route("/large", large()).route("/livez", get(async || "ok\n"));
    let limits = Limits { stall: 2 * SHORT, per_peer: 1, ..Limits::of(Door::Http) };
    let (address, _serving) = serve_http(limits, router).await;
    let mut greedy = from("127.0.0.1", address).await;
    greedy.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut beginning = [0; 1024];
    greedy.read_exact(&mut beginning).await.unwrap();

    assert!(livez(&mut from("127.0.0.2", address).await).await, "another address meanwhile");
    // Its one slot comes back: it was let go.
    let mut again = from("127.0.0.1", address).await;
    let began = tokio::time::Instant::now();
    while !livez(&mut again).await {
        assert!(began.elapsed() < PATIENCE, "it holds its slot");
        sleep(Duration::from_millis(20)).await;
        again = from("127.0.0.1", address).await;
    }

    // Who reads slowly, but reads, gets all of it.
    let mut patient = from("127.0.0.4", address).await;
    patient.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let (mut total, mut chunk) = (0, vec![0; 8 * 1024 * 1024]);
    loop {
        let read = patient.read(&mut chunk).await.unwrap();
        if read == 0 {
            break;
        }
        total += read;
        sleep(Duration::from_millis(10)).await;
    }
    assert!(total > 64 * 1024 * 1024, "{total}");
}

#[tokio::test]
async fn heads_and_bodies_of_http_are_bounded() {
    let echo = axum::routing::put(async |ConnectInfo(peer): ConnectInfo<SocketAddr>, body: String| {
        format!("{} from {}", body.len(), peer.ip())
    });
    let (address, _serving) = serve_http(Limits::of(Door::Http), Router::new().route("/echo", echo)).await;
    let ask = async |head: String, body: Vec<u8>| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("PUT /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n");
        // The server may have heard enough before all of it is sent.
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(&body).await;
        let mut text = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut text)).await.unwrap();
        String::from_utf8_lossy(&text).into_owned()
    };
    let length = |bytes: usize| format!("Content-Length: {bytes}\r\nContent-Type: text/plain\r\n");
    let fine = ask(length(1000), vec![b'x'; 1000]).await;
    assert!(fine.starts_with("HTTP/1.1 200") && fine.ends_with("1000 from 127.0.0.1"), "{fine}");
    assert!(fine.contains("x-request-id: "), "{fine}");
    let named = ask(length(1) + "X-Request-Id: mine-7\r\n", vec![b'x']).await;
    assert!(named.contains("x-request-id: mine-7"), "{named}");
    let large = ask(length(70_000), vec![b'x'; 70_000]).await;
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
    let long = ask(format!("X-Long: {}\r\n", "x".repeat(9_000)), Vec::new()).await;
    assert!(long.starts_with("HTTP/1.1 431"), "{long}");
    let many = ask((0..70).map(|number| format!("X-{number}: x\r\n")).collect(), Vec::new()).await;
    assert!(many.starts_with("HTTP/1.1 431"), "{many}");
}

// === calls ===

#[tokio::test]
async fn calls_are_capped_and_a_place_comes_back() {
    let calls = limits::Limits { calls: 3, ..limits::Limits::default() };
    let (address, _serving) = serve_grpc(Limits::of(Door::Grpc), calls).await;
    let health_channel = grpc_channel(address).await;
    let mut health = HealthClient::new(health_channel.clone());
    let mut watches = Vec::new();
    for _ in 0..3 {
        let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
        watch.message().await.unwrap();
        watches.push(watch);
    }
    let refused = health.check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("more than 3 calls"), "{refused}");
    assert_eq!(never_asks(health_channel).await.code(), Code::ResourceExhausted);
    watches.pop();
    let began = tokio::time::Instant::now();
    while health.check(HealthCheckRequest::default()).await.is_err() {
        assert!(began.elapsed() < PATIENCE, "no place came back");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn one_address_cannot_take_every_place() {
    let calls = limits::Limits { calls_per_peer: 2, ..limits::Limits::default() };
    let (address, _serving) = serve_grpc(Limits::of(Door::Grpc), calls).await;
    // Two connections are one address.
    let mut watches = Vec::new();
    for _ in 0..2 {
        let mut health = HealthClient::new(grpc_channel(address).await);
        watches.push((health.watch(HealthCheckRequest::default()).await.unwrap(), health));
    }
    let mut third = HealthClient::new(grpc_channel(address).await);
    let refused = third.check(HealthCheckRequest::default()).await.unwrap_err();
    assert!(refused.message().contains("more than 2 calls and streams of one address"), "{refused}");
    let elsewhere = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let elsewhere = elsewhere.local_address(Some([127, 0, 0, 2].into())).connect().await.unwrap();
    HealthClient::new(elsewhere).check(HealthCheckRequest::default()).await.expect("another address has its own");
}

#[tokio::test]
async fn conversations_are_capped_and_calls_go_on() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    let calls = limits::Limits { conversations: 2, conversing: SHORT, ..limits::Limits::default() };
    let (address, _serving) = serve_grpc(Limits::of(Door::Grpc), calls).await;
    let channel = grpc_channel(address).await;
    let silence = tokio_stream::pending::<ServerReflectionRequest>;
    let mut reflection = ServerReflectionClient::new(channel.clone());
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(reflection.server_reflection_info(silence()).await.unwrap().into_inner());
    }
    let refused = reflection.server_reflection_info(silence()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("more than 2 conversations"), "{refused}");
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.expect("calls go on");
    for mut stream in open {
        let ended = timeout(PATIENCE, stream.message()).await.expect("an end in time");
        assert!(!matches!(ended, Ok(Some(_))), "{ended:?}");
    }
    reflection.server_reflection_info(silence()).await.expect("a place came back");
}

/// Opens IsActive, a unary call, with a request that never comes.
async fn never_asks(channel: Channel) -> tonic::Status {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/externalscaler.ExternalScaler/IsActive");
    let codec = tonic_prost::ProstCodec::<ScaledObjectRef, IsActiveResponse>::default();
    let request = tonic::Request::new(tokio_stream::pending());
    timeout(PATIENCE, grpc.client_streaming(request, path, codec)).await.expect("an end in time").unwrap_err()
}

#[tokio::test]
async fn a_request_must_come_in_time_and_be_of_a_sane_size() {
    let calls = limits::Limits { receiving: SHORT, ..limits::Limits::default() };
    let (address, _serving) = serve_grpc(Limits::of(Door::Grpc), calls).await;
    let channel = grpc_channel(address).await;
    let late = never_asks(channel.clone()).await;
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    assert!(late.message().contains("did not arrive within 0.4 s"), "{late}");

    let mut client = ExternalScalerClient::new(channel);
    let mut object = ScaledObjectRef { name: "worker".into(), namespace: "shop".into(), ..Default::default() };
    object.scaler_metadata.insert("listName".into(), "x".repeat(70_000));
    let large = client.is_active(object.clone()).await.unwrap_err();
    assert_eq!(large.code(), Code::OutOfRange, "{large}");
    // Large and allowed: refused for what it says, by those who read it.
    object.scaler_metadata.insert("listName".into(), "x".repeat(60_000));
    assert_eq!(client.is_active(object.clone()).await.unwrap_err().code(), Code::InvalidArgument);
    // Metadata of HTTP/2, beyond its own limit.
    let mut request = tonic::Request::new(object);
    request.metadata_mut().insert("x-long", "x".repeat(20_000).parse().unwrap());
    assert!(client.is_active(request).await.is_err());
    let mut health = HealthClient::new(grpc_channel(address).await);
    health.check(HealthCheckRequest::default()).await.expect("others are served");
}

#[tokio::test]
async fn every_call_has_a_name() {
    let calls = limits::Limits { calls: 1, ..limits::Limits::default() };
    let (address, _serving) = serve_grpc(Limits::of(Door::Grpc), calls).await;
    let mut health = HealthClient::new(grpc_channel(address).await);
    let own = health.check(HealthCheckRequest::default()).await.unwrap();
    let own = own.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned();
    assert!(own.len() >= 10, "{own}");
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    request.metadata_mut().insert("x-request-id", "from-keda-1".parse().unwrap());
    let named = health.check(request).await.unwrap();
    assert_eq!(named.metadata().get("x-request-id").unwrap(), "from-keda-1");
    // Refusals have one, too.
    let _watch = health.watch(HealthCheckRequest::default()).await.unwrap();
    let refused = health.check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.metadata().get("x-request-id").is_some(), "{refused:?}");
}

/// What KEDA's push triggers do, all at once and over one connection.
#[tokio::test]
async fn ten_thousand_streams_of_one_connection_are_served() {
    const STREAMS: usize = 10_000;
    let (address, serving) = serve_grpc(Limits::of(Door::Grpc), limits::Limits::default()).await;
    let health = HealthClient::new(grpc_channel(address).await);
    let opened = (0..STREAMS).map(|_| {
        let mut health = health.clone();
        tokio::spawn(async move {
            let mut watch = health.watch(HealthCheckRequest::default()).await?.into_inner();
            watch.message().await.map(|first| (first.is_some(), watch))
        })
    });
    let mut watches = Vec::new();
    for one in opened.collect::<Vec<_>>() {
        let (first, watch) = timeout(PATIENCE, one).await.unwrap().unwrap().unwrap();
        assert!(first);
        watches.push(watch);
    }
    let mut health = health.clone();
    health.check(HealthCheckRequest::default()).await.expect("a call beside them");
    drop(watches);
    drop(serving);
    until_along("the door closes", || std::net::TcpStream::connect(address).is_err()).await;
}
