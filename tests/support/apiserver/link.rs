//! The network between one client and the server, which a test may cut or freeze.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Net {
    Open,
    /// Connections end, and new ones end at once.
    Cut,
    /// Nothing gets through in either direction, and nothing is lost: what was sent meanwhile arrives once it is open.
    Frozen,
    /// Requests arrive and are carried out; answers and watch events wait until it is open.
    Deaf,
}

/// Shared by all connections of a client.
pub struct Link {
    state: watch::Sender<Net>,
    waiting: Mutex<Vec<Waker>>,
}

impl Link {
    pub fn new() -> Arc<Self> {
        Arc::new(Link { state: watch::Sender::new(Net::Open), waiting: Mutex::default() })
    }

    pub fn set(&self, state: Net) {
        self.state.send_replace(state);
        for waker in self.waiting.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            waker.wake();
        }
    }

    pub fn is(&self, state: Net) -> bool {
        *self.state.borrow() == state
    }

    /// Returns once it is cut.
    pub async fn cut(&self) {
        let _ = self.state.subscribe().wait_for(|state| *state == Net::Cut).await;
    }

    /// Whether to wait, and if so, to be woken at the next change.
    fn holds_up(&self, context: &Context<'_>, held: &[Net]) -> bool {
        // Under the lock, so that no change comes between the look and the waiting.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.contains(&*self.state.borrow());
        if held {
            waiting.push(context.waker().clone());
        }
        held
    }
}

/// A connection over a link.
pub struct Wire {
    pub stream: TcpStream,
    pub link: Arc<Link>,
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.link.holds_up(context, &[Net::Frozen]) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.link.holds_up(context, &[Net::Frozen, Net::Deaf]) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
