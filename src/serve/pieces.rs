//! Long documents, a piece at a time: ten thousand autoscalers are ten megabytes, and a reader that takes its time
//! must hold a piece of memory and not all of that, nor keep this thread from answering KEDA while it is written.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Where a piece ends: at the first line or item that reaches this. Small enough that writing one takes well below a
/// millisecond, large enough that ten megabytes are not ten thousand writes.
pub(super) const PIECE: usize = 64 * 1024;

/// Room for a piece: the line that reaches [`PIECE`] has a beginning.
pub(super) fn room() -> Vec<u8> {
    Vec::with_capacity(PIECE + 4 * 1024)
}

/// Who writes documents, one piece at a time over all of them, so that a hundred readers keep everybody else waiting for
/// no longer than one does. Cheap to clone; clones share the turns.
#[derive(Clone)]
pub(super) struct Writer {
    turns: Arc<Semaphore>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Writer { turns: Arc::new(Semaphore::new(1)) }
    }

    /// A body of these pieces. The next one is made when the one before has left this process, and after everybody else
    /// on this thread has had a turn.
    ///
    /// "Has left" is when the memory is given back. So this is for a server, which writes a piece and drops it; who
    /// would collect the pieces as they are waits for ever, and has to copy them.
    pub(super) fn body(&self, pieces: impl Iterator<Item = Vec<u8>> + Send + 'static) -> Body {
        // HTTP libraries queue some hundred kilobytes for a socket that is full; one permit keeps it at one piece.
        let room = Arc::new(Semaphore::new(1));
        Body::from_stream(stream::unfold((pieces, room, self.clone()), async |(pieces, room, writer)| {
            let permit = Arc::clone(&room).acquire_owned().await.ok()?;
            let (text, pieces) = writer.clone().next(pieces).await?;
            let piece = Bytes::from_owner(Piece { text, _until_sent: permit });
            Some((Ok::<_, Infallible>(piece), (pieces, room, writer)))
        }))
    }

    /// In a task of its own: a body that nobody polls any more must not keep the turn.
    async fn next<P>(self, mut pieces: P) -> Option<(Vec<u8>, P)>
    where
        P: Iterator<Item = Vec<u8>> + Send + 'static,
    {
        let written = tokio::spawn(async move {
            let _turn = self.turns.acquire().await.ok()?;
            tokio::task::yield_now().await;
            let text = pieces.next()?;
            Some((text, pieces))
        });
        written.await.ok().flatten()
    }
}

struct Piece {
    text: Vec<u8>,
    _until_sent: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_piece_is_made_when_the_one_before_is_gone() {
        let made = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&made);
        let pieces = (0..3).map(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            vec![0; PIECE]
        });
        let mut body = Writer::new().body(pieces).into_data_stream();
        let first = body.next().await.unwrap().unwrap();
        assert_eq!(made.load(Ordering::Relaxed), 1);
        tokio::select! {
            biased;
            _ = body.next() => panic!("two pieces at once"),
            () = tokio::time::sleep(std::time::Duration::from_millis(20)) => {}
        }
        assert_eq!(made.load(Ordering::Relaxed), 1);
        drop(first);
        while let Some(piece) = body.next().await {
            assert_eq!(piece.unwrap().len(), PIECE);
        }
        assert_eq!(made.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn others_have_their_turn_between_pieces_whosever_they_are() {
        let turns = Arc::new(AtomicUsize::new(0));
        let taken = Arc::clone(&turns);
        let other = tokio::spawn(async move {
            loop {
                taken.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let writer = Writer::new();
        let documents = (0..8).map(|_| {
            let mut body = writer.body((0..100).map(|_| vec![0; 16])).into_data_stream();
            async move {
                let mut pieces = 0;
                while body.next().await.is_some() {
                    pieces += 1;
                }
                pieces
            }
        });
        let pieces: usize = futures_util::future::join_all(documents).await.into_iter().sum();
        other.abort();
        assert_eq!(pieces, 800);
        assert!(turns.load(Ordering::Relaxed) >= 800, "{turns:?}");
    }

    #[tokio::test]
    async fn a_body_that_is_left_alone_keeps_nobody_waiting() {
        let writer = Writer::new();
        let mut left = writer.body((0..3).map(|_| vec![0; 16])).into_data_stream();
        tokio::select! {
            biased;
            _ = left.next() => panic!("a piece needs a turn of the runtime"),
            () = std::future::ready(()) => {}
        }
        let other = writer.body((0..3).map(|_| vec![0; 16])).into_data_stream();
        assert_eq!(other.count().await, 3);
    }
}
