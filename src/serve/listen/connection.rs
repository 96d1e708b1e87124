//! One connection, watched: it must begin to speak, and must go on reading.
//!
//! It also reads in turns: after some kibibytes the tasks of its streams and the other connections go first. What one
//! peer sends in a burst is thus handled in the order in which it came, never heaped up, and h2, which counts small
//! frames that nobody has read yet and ends the connection over too many, does not take ten thousand honest streams that
//! open at once for an attack.
//!
//! The watch lies above TLS, so that it sees what the protocol sees. While what was written cannot leave, nothing is
//! read either: a peer that asks and does not take its answers gets no more questions in, and what it asked for cannot
//! pile up. (Peers of HTTP/2 and HTTP/1 read whether or not they can write, so that this cannot lock two honest ones.)

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use metrics::counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::slots::{Shared, Slot};
use super::{Door, Limits};
use crate::telemetry::names;

/// Who takes less than this in [`Limits::stall`] has stalled. Without it, one byte each half minute would do, and hold
/// a connection and an answer for hours.
const PROGRESS: usize = 16 * 1024;

/// Read at a turn: some thirty usual requests, or two hundred of the smallest.
const TURN: usize = 8 * 1024;

/// Who is on the other side; an extension of every request.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    pub tls: bool,
    /// It has shown a certificate that our client CA vouches for.
    pub certified: bool,
    pub(crate) shared: Arc<Shared>,
}

impl Peer {
    pub(super) fn new(address: SocketAddr, shared: Arc<Shared>) -> Self {
        Peer { address, tls: false, certified: false, shared }
    }
}

/// An accepted connection; gives its slot back when dropped.
pub struct Connection {
    stream: Transport,
    peer: Peer,
    door: Door,
    /// `None` once the peer has begun to speak.
    opening: Option<Opening>,
    /// Read since somebody else had a turn.
    read: usize,
    stall_limit: Duration,
    /// `None` while everything written has left.
    stall: Option<Stall>,
    /// Last, so that the socket is closed before its slot is free.
    _slot: Slot,
}

enum Transport {
    Plain(TcpStream),
    /// Boxed: it is a kilobyte.
    Tls(Box<TlsStream<TcpStream>>),
}

struct Opening {
    missing: usize,
    too_late: Pin<Box<Sleep>>,
}

struct Stall {
    moved: usize,
    too_long: Pin<Box<Sleep>>,
    /// Wants to read, and may when this is over.
    reader: Option<Waker>,
}

impl Connection {
    pub(super) fn plain(stream: TcpStream, peer: Peer, slot: Slot, door: Door, limits: &Limits) -> Self {
        Connection::new(Transport::Plain(stream), peer, slot, door, limits)
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>, peer: Peer, slot: Slot, door: Door, limits: &Limits) -> Self {
        Connection::new(Transport::Tls(Box::new(stream)), peer, slot, door, limits)
    }

    fn new(stream: Transport, peer: Peer, slot: Slot, door: Door, limits: &Limits) -> Self {
        let opening = Opening { missing: limits.opening_bytes, too_late: Box::pin(sleep(limits.opening)) };
        let stall_limit = limits.stall;
        Connection { stream, peer, door, opening: Some(opening), read: 0, stall_limit, stall: None, _slot: slot }
    }

    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    fn give_up(&self, reason: &'static str, message: &'static str) -> io::Error {
        counter!(names::CONNECTIONS_ABANDONED, "door" => self.door.as_str(), "reason" => reason).increment(1);
        tracing::debug!(door = self.door.as_str(), peer = %self.peer.address, reason, "connection closed");
        io::Error::new(io::ErrorKind::TimedOut, message)
    }

    /// Something cannot leave: begins to count, or says that it was too long.
    fn stalled<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let limit = self.stall_limit;
        let stall =
            self.stall.get_or_insert_with(|| Stall { moved: 0, too_long: Box::pin(sleep(limit)), reader: None });
        match stall.too_long.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(self.give_up("stalled", "the peer does not read what it asked for"))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn flows(&mut self) {
        if let Some(reader) = self.stall.take().and_then(|stall| stall.reader) {
            reader.wake();
        }
    }

    fn wrote(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Pending => self.stalled(context),
            Poll::Ready(Ok(bytes)) => {
                if let Some(stall) = &mut self.stall {
                    stall.moved += bytes;
                    if stall.moved >= PROGRESS {
                        self.flows();
                    }
                }
                Poll::Ready(Ok(bytes))
            }
            failed @ Poll::Ready(Err(_)) => failed,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.stall.is_some() {
            let waiting = this.stalled(context);
            if let Some(stall) = &mut this.stall {
                stall.reader = Some(context.waker().clone());
            }
            return waiting;
        }
        if this.read >= TURN {
            this.read = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = match &mut this.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
        };
        let read = buffer.filled().len().saturating_sub(before);
        this.read = if polled.is_pending() { 0 } else { this.read + read };
        let Some(opening) = &mut this.opening else { return polled };
        match polled {
            Poll::Pending if opening.too_late.as_mut().poll(context).is_ready() => {
                Poll::Ready(Err(this.give_up("silent", "the peer has not begun to speak")))
            }
            Poll::Ready(Ok(())) => {
                opening.missing = opening.missing.saturating_sub(read);
                if opening.missing == 0 {
                    this.opening = None;
                }
                polled
            }
            _ => polled,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        };
        self.wrote(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(context, slices),
        };
        self.wrote(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        };
        match polled {
            Poll::Pending => self.stalled(context),
            Poll::Ready(Ok(())) => {
                // The protocols flush when their own buffers are empty: everything has left.
                self.flows();
                polled
            }
            Poll::Ready(Err(_)) => polled,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.stream {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        };
        match polled {
            Poll::Pending => self.stalled(context),
            Poll::Ready(_) => polled,
        }
    }
}
