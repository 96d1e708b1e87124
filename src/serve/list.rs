//! `GET /api/v1/autoscalers`, written a [piece](super::pieces) at a time.
//!
//! Between pieces only the name of the last autoscaler is held, and the board is looked at anew: a reader that takes a
//! minute keeps nothing of a minute ago alive. So each row is true when it is written, and each autoscaler that is there
//! all the while is in the list once.

use std::ops::Bound;
use std::sync::Arc;

use super::pieces::{PIECE, room};
use super::view::Moment;
use crate::board::Board;
use crate::clock::Clock;
use crate::model::AutoscalerId;

pub(super) struct List {
    board: Arc<Board>,
    clock: Clock,
    at: At,
}

enum At {
    Head { ready: bool, manifest_problems: usize },
    After(AutoscalerId),
    End,
}

impl List {
    pub(super) fn new(board: Arc<Board>, clock: Clock, ready: bool, manifest_problems: usize) -> Self {
        List { board, clock, at: At::Head { ready, manifest_problems } }
    }

    /// `None` where something cannot be written as JSON, which nothing here can: better a document that breaks off
    /// than one that lies.
    fn write(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let moment = Moment::new(self.clock);
        let cells = self.board.all();
        let (mut first, rest) = match &self.at {
            At::Head { ready, manifest_problems } => {
                serde_json::to_writer(&mut *out, &moment.head(*ready, *manifest_problems)).ok()?;
                // Its closing brace follows at the end.
                out.pop();
                out.extend_from_slice(b",\"items\":[");
                (true, cells.range::<AutoscalerId, _>(..))
            }
            At::After(last) => (false, cells.range((Bound::Excluded(last), Bound::Unbounded))),
            At::End => return None,
        };
        for (id, cell) in rest {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            cell.peek(|published| serde_json::to_writer(&mut *out, &moment.summary(published))).ok()?;
            if out.len() >= PIECE {
                self.at = At::After(id.clone());
                return Some(());
            }
        }
        out.extend_from_slice(b"]}");
        self.at = At::End;
        Some(())
    }
}

impl Iterator for List {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut out = room();
        self.write(&mut out)?;
        Some(out)
    }
}
