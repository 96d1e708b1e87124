//! A socket with a buffer: bytes out, frames in.
//!
//! Whatever kind of stream it is, a round costs it some fifty calls; that they go through a table costs nothing that
//! could be measured, so there is one kind of `Line` for TCP, Unix sockets and TLS.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::super::classify;
use super::wire::{LONGEST, Malformed, Scanner};
use crate::model::ReadFailure;

/// Room for what is read at once: more than the replies to a whole chunk of requests (`request::CHUNK`), so that these
/// come with one call.
const ROOM: usize = 16 * 1024;

/// Any stream of bytes both ways.
pub(in crate::source::redis) trait Socket:
    AsyncRead + AsyncWrite + Unpin + Send + Sync
{
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Socket for T {}

/// Why a connection is of no use any more.
#[derive(Debug)]
pub(super) enum Broken {
    Io(io::Error),
    Malformed(Malformed),
    /// No answer within this time.
    Late(Duration),
}

impl Broken {
    pub(super) fn failure(&self, address: &str) -> ReadFailure {
        match self {
            Broken::Io(error) => classify::io_failure(address, error),
            Broken::Malformed(Malformed(what)) => classify::not_redis(address, what),
            Broken::Late(bound) => classify::timeout(address, "responseTimeout", *bound),
        }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Broken::Io(error)
    }
}

impl From<Malformed> for Broken {
    fn from(malformed: Malformed) -> Self {
        Broken::Malformed(malformed)
    }
}

pub(super) struct Line {
    socket: Box<dyn Socket>,
    /// What has come, of which so much has been taken.
    buffer: Vec<u8>,
    taken: usize,
    scanner: Scanner,
    sent: u64,
    received: u64,
}

impl Line {
    pub(super) fn new(socket: Box<dyn Socket>) -> Self {
        let (buffer, scanner) = (Vec::with_capacity(ROOM), Scanner::default());
        Line { socket, buffer, taken: 0, scanner, sent: 0, received: 0 }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.socket.write_all(bytes).await?;
        // TLS keeps a record back otherwise.
        self.socket.flush().await?;
        self.sent += bytes.len() as u64;
        Ok(())
    }

    /// Waits for more bytes. Nothing is lost when it is dropped while it waits.
    pub(super) async fn fill(&mut self) -> Result<(), Broken> {
        self.make_room();
        match self.socket.read_buf(&mut self.buffer).await? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            more => {
                self.received += more as u64;
                Ok(())
            }
        }
    }

    fn make_room(&mut self) {
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            self.taken = 0;
            // After a giant.
            self.buffer.shrink_to(4 * ROOM);
        } else if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        // A frame that does not end is given up by the scanner before the buffer is much longer than it may be.
        if self.buffer.capacity() - self.buffer.len() < ROOM / 4 {
            self.buffer.reserve(ROOM.max(self.buffer.len().min(LONGEST)));
        }
    }

    /// Bytes sent and received since the last call.
    pub(super) fn take_traffic(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.sent), std::mem::take(&mut self.received))
    }

    /// What has come and has not been taken.
    pub(super) fn unread(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    /// Takes whole frames of so many bytes, found without [`Line::frame`].
    pub(super) fn take(&mut self, bytes: usize) {
        self.taken = (self.taken + bytes).min(self.buffer.len());
    }

    /// Takes the next frame; `None` while it is not all there.
    pub(super) fn frame(&mut self) -> Result<Option<&[u8]>, Malformed> {
        let begin = self.taken;
        let Some(length) = self.scanner.frame(self.buffer.get(begin..).unwrap_or_default())? else { return Ok(None) };
        self.taken = begin + length;
        Ok(self.buffer.get(begin..self.taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::DuplexStream;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    fn line() -> (Line, DuplexStream) {
        let (near, far) = tokio::io::duplex(4 * LONGEST);
        (Line::new(Box::new(near)), far)
    }

    #[test]
    fn frames_come_whole_whatever_the_pieces() {
        block_on(async {
            let (mut line, mut far) = line();
            for byte in b"+OK\r\n$3\r\nabc\r\n:1" {
                far.write_all(&[*byte]).await.unwrap();
                line.fill().await.unwrap();
            }
            assert_eq!(line.frame().unwrap(), Some(b"+OK\r\n".as_slice()));
            assert_eq!(line.frame().unwrap(), Some(b"$3\r\nabc\r\n".as_slice()));
            assert_eq!(line.frame().unwrap(), None);
            far.write_all(b"2\r\n").await.unwrap();
            line.fill().await.unwrap();
            assert_eq!(line.frame().unwrap(), Some(b":12\r\n".as_slice()));
            drop(far);
            assert!(
                matches!(line.fill().await, Err(Broken::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof)
            );
        });
    }

    #[test]
    fn a_giant_is_given_up_and_its_room_too() {
        block_on(async {
            let (mut line, mut far) = line();
            let giant = [format!("${LONGEST}\r\n").as_bytes(), &b"x".repeat(LONGEST), b"\r\n"].concat();
            far.write_all(&giant).await.unwrap();
            let refused = loop {
                match line.frame() {
                    Ok(Some(frame)) => panic!("{} bytes are a frame", frame.len()),
                    Ok(None) => line.fill().await.unwrap(),
                    Err(refused) => break refused,
                }
            };
            assert_eq!(refused, Malformed("a reply is too long"));
            assert!(line.buffer.capacity() <= 3 * LONGEST, "{}", line.buffer.capacity());

            let (mut line, mut far) = self::line();
            far.write_all(&[b"$500000\r\n".as_slice(), &b"x".repeat(500_000), b"\r\n"].concat()).await.unwrap();
            while line.frame().unwrap().is_none() {
                line.fill().await.unwrap();
            }
            far.write_all(b":1\r\n").await.unwrap();
            line.fill().await.unwrap();
            assert!(line.buffer.capacity() <= 4 * ROOM, "{}", line.buffer.capacity());
        });
    }
}
