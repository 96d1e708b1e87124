//! A request's body on its way in: in time, and within what all requests together may hold.
//!
//! What is charged is what a message announces in its five bytes of prefix: that much is set aside for it as soon as
//! they are read, however slowly the rest comes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::Frame;
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;

use super::{Account, LARGEST_REQUEST};

/// A flag for compression, and the length of what follows.
const PREFIX: usize = 5;

pub(super) struct Receiving {
    body: Body,
    account: Arc<Account>,
    patience: Duration,
    /// Armed when the body is first waited for.
    too_late: Option<Pin<Box<Sleep>>>,
    message: Message,
    /// Charged to the account.
    held: usize,
}

/// Where in a message the body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Message {
    prefix: [u8; PREFIX],
    /// Bytes of the prefix that are there.
    read: usize,
    /// Bytes still to come after the prefix.
    missing: usize,
}

impl Receiving {
    pub(super) fn watch(body: Body, account: &Arc<Account>, converses: bool) -> Body {
        let limits = &account.limits;
        let patience = if converses { limits.conversing } else { limits.receiving };
        let account = Arc::clone(account);
        Body::new(Receiving { body, account, patience, too_late: None, message: Message::default(), held: 0 })
    }

    /// Holds `bytes` on the account, if there is room for them.
    fn hold(&mut self, bytes: usize) -> Result<(), Status> {
        let total = if bytes >= self.held {
            let more = bytes - self.held;
            self.account.bytes.fetch_add(more, Ordering::Relaxed) + more
        } else {
            self.account.bytes.fetch_sub(self.held - bytes, Ordering::Relaxed);
            0
        };
        self.held = bytes;
        let limits = &self.account.limits;
        if total <= limits.bytes || bytes <= limits.modest {
            return Ok(());
        }
        self.account.too_large.increment(1);
        let limit = limits.modest;
        let refusal =
            format!("too many large requests are being received; one of at most {limit} bytes would pass now");
        Err(Status::resource_exhausted(refusal))
    }

    fn received(&mut self, data: &[u8]) -> Result<(), Status> {
        let mut message = self.message;
        let ends = message.advance(data);
        self.message = message;
        // A message that is whole is read at once, and its bytes are free again.
        self.hold(if ends { 0 } else { message.announced() })
    }
}

impl Message {
    /// Takes `data` in; true if what is there ends with the end of a message.
    fn advance(&mut self, mut data: &[u8]) -> bool {
        while !data.is_empty() {
            if let Some(place) = self.prefix.get_mut(self.read) {
                if let Some((first, rest)) = data.split_first() {
                    *place = *first;
                    data = rest;
                }
                self.read += 1;
                if self.read == PREFIX {
                    self.missing = self.length();
                }
            } else {
                let taken = self.missing.min(data.len());
                self.missing -= taken;
                data = data.get(taken..).unwrap_or_default();
            }
            if self.read == PREFIX && self.missing == 0 {
                *self = Message::default();
            }
        }
        self.read == 0
    }

    fn length(&self) -> usize {
        let [_, a, b, c, d] = self.prefix;
        usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX)
    }

    /// What is set aside for the message that is under way. Of one that is too large, nothing: it is refused by its
    /// prefix.
    fn announced(&self) -> usize {
        if self.read < PREFIX {
            self.read
        } else {
            Some(self.length()).filter(|length| *length <= LARGEST_REQUEST).unwrap_or(0)
        }
    }
}

impl http_body::Body for Receiving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Pending => {
                let patience = this.patience;
                let too_late = this.too_late.get_or_insert_with(|| Box::pin(sleep(patience)));
                if too_late.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                this.account.too_slow.increment(1);
                let late = format!("the request did not arrive within {} s of its headers", patience.as_secs_f64());
                Poll::Ready(Some(Err(Status::deadline_exceeded(late))))
            }
            Poll::Ready(Some(Ok(frame))) => match frame.data_ref().map_or(Ok(()), |data| this.received(data)) {
                Ok(()) => Poll::Ready(Some(Ok(frame))),
                Err(refusal) => Poll::Ready(Some(Err(refusal))),
            },
            end => end,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.account.bytes.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::UnboundedReceiverStream;
    use tonic::Code;

    use super::*;
    use crate::serve::limits::{Admission, Limits};

    type Frames = mpsc::UnboundedSender<Result<Frame<Bytes>, Status>>;

    /// A body that is being received, and what it is received from.
    fn body(account: &Arc<Account>) -> (Frames, Body) {
        let (sender, frames) = mpsc::unbounded_channel();
        (sender, Receiving::watch(Body::new(StreamBody::new(UnboundedReceiverStream::new(frames))), account, false))
    }

    /// The prefix of a message of this length arrives.
    async fn announce((sender, body): &mut (Frames, Body), length: u32) -> Result<(), Code> {
        let prefix = [&[0][..], &length.to_be_bytes()].concat();
        sender.send(Ok(Frame::data(Bytes::from(prefix)))).unwrap();
        body.frame().await.unwrap().map(drop).map_err(|status| status.code())
    }

    #[tokio::test(start_paused = true)]
    async fn large_requests_are_refused_while_much_is_held_and_modest_ones_pass() {
        let limits = Limits { bytes: 20_000, modest: 1_000, ..Limits::default() };
        let account = Admission::new(limits).0;
        let held = || account.bytes.load(Ordering::Relaxed);
        let mut first = body(&account);
        assert_eq!(announce(&mut first, 15_000).await, Ok(()));
        assert_eq!(held(), 15_000, "as announced, though nothing of it is there");
        let mut large = body(&account);
        assert_eq!(announce(&mut large, 6_000).await, Err(Code::ResourceExhausted));
        let mut modest = body(&account);
        assert_eq!(announce(&mut modest, 1_000).await, Ok(()));
        drop(large);
        drop(modest);
        assert_eq!(held(), 15_000);
        // The rest of the first: it is read as a message, and holds nothing any more.
        first.0.send(Ok(Frame::data(Bytes::from(vec![0; 15_000])))).unwrap();
        assert!(first.1.frame().await.unwrap().is_ok());
        assert_eq!(held(), 0);
        let mut again = body(&account);
        assert_eq!(announce(&mut again, 6_000).await, Ok(()));

        // It never comes; time is paused, so that this takes none.
        let late = again.1.frame().await.unwrap().unwrap_err();
        assert_eq!(late.code(), Code::DeadlineExceeded);
        drop(again);
        assert_eq!(held(), 0);
    }

    #[test]
    fn what_a_message_announces_is_held_until_it_is_whole() {
        let mut message = Message::default();
        assert!(!message.advance(&[0, 0, 0]));
        assert_eq!(message.announced(), 3);
        assert!(!message.advance(&[0, 10, b'a']));
        assert_eq!(message.announced(), 10);
        // The rest of it, and the beginning of another.
        assert!(!message.advance(b"bcdefghij\0\0\0\x01"));
        assert_eq!(message.announced(), 4);
        assert!(!message.advance(&[0]));
        assert_eq!(message.announced(), 256);
        assert!(message.advance(&[b'x'; 256]));
        assert!(message.advance(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), "empty messages");
        assert!(!message.advance(&[0, 255, 255, 255, 255]));
        assert_eq!(message.announced(), 0, "refused by its prefix");
    }
}
