//! Connections: opened, encrypted where the URL says so, counted, and what becomes of them in words.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::{Identity, Lost, Open, Place, configuration};
use crate::model::{FailureKind, ReadFailure};
use crate::source::network::{io_failure, plain};
use crate::source::tls;
use crate::spec::ClientTls;

/// Opens a connection that can be asked over. Nobody gets past the fence.
pub(super) async fn open(place: &Place, identity: &Identity) -> Result<Open, ReadFailure> {
    let name = &place.name;
    if !identity.fence.permits(&place.address) {
        return Err(configuration(format!(
            "no connection may lead to {}: it is not in --only-addresses; add it there",
            place.address
        )));
    }
    let stream = TcpStream::connect((place.host.as_str(), place.port)).await;
    // A question is one small segment, and waits for nobody's acknowledgement (Nagle).
    let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    let stream = stream.map_err(|error| io_failure(name, &error))?;
    if !place.encrypted {
        return shake_hands(name, counted(stream, identity)).await;
    }
    let trusting = ClientTls::default();
    let tls = identity.server.tls.as_ref().unwrap_or(&trusting);
    let stream = tls::encrypt(stream, name, &place.host, tls, &identity.credentials).await?;
    shake_hands(name, counted(stream, identity)).await
}

async fn shake_hands<S>(name: &str, stream: Counted<S>) -> Result<Open, ReadFailure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let made = http1::Builder::new().handshake(TokioIo::new(stream)).await;
    let (sender, connection) = made.map_err(|error| match lost(name, &error) {
        Lost::Silently(failure) | Lost::Failed(failure) => failure,
    })?;
    let driver = tokio::spawn(async move {
        // What goes wrong is said to whoever asks.
        let _ = connection.await;
    });
    Ok(Open { sender, _driver: AbortOnDropHandle::new(driver) })
}

/// Why a question came to nothing before its answer began.
pub(super) fn lost(name: &str, error: &hyper::Error) -> Lost {
    if error.is_parse() {
        let detail = plain(&error.to_string());
        return Lost::Failed(ReadFailure::new(
            FailureKind::Protocol,
            format!("{name} answered something that is not HTTP ({detail}); check the port, and whether it is https"),
        ));
    }
    Lost::Silently(io_failure(name, &beneath(error)))
}

/// Why an answer came to nothing after it had begun.
pub(super) fn broken_off(name: &str, error: &hyper::Error) -> ReadFailure {
    let detail = plain(&error.to_string());
    let sentence = format!("{name} broke off in the middle of its answer ({detail}); what came of it is not used");
    ReadFailure::new(FailureKind::Unreachable, sentence)
}

/// The socket's error, or the one that is like what happened.
fn beneath(error: &hyper::Error) -> io::Error {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match io {
        // Not ours to take, so one like it; what TLS said is inside, and that says it all.
        Some(io) => match io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => io::Error::other(tls.clone()),
            None if io.kind() == io::ErrorKind::Other => io::Error::other(io.to_string()),
            None => io.kind().into(),
        },
        None if error.is_canceled() || error.is_closed() || error.is_incomplete_message() => {
            io::ErrorKind::ConnectionAborted.into()
        }
        None => io::Error::other(error.to_string()),
    }
}

/// A stream, and how much goes over it.
struct Counted<S> {
    inner: S,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
}

fn counted<S>(inner: S, identity: &Identity) -> Counted<S> {
    let tally = &identity.tally;
    Counted { inner, sent: Arc::clone(&tally.sent), received: Arc::clone(&tally.received) }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, into);
        self.received.fetch_add((into.filled().len() - before) as u64, Ordering::Relaxed);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = written {
            self.sent.fetch_add(count as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        if let Poll::Ready(Ok(count)) = written {
            self.sent.fetch_add(count as u64, Ordering::Relaxed);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
