//! What the engine was given, and what it made of it, written down so that it can be replayed.
//!
//! The engine is deterministic: the same events at the same ticks give the same decisions, byte for byte. So the log of its
//! events is a test that writes itself: replayed as it is, it shows that a release decides as the one before did; replayed
//! under changed manifests, it shows what a change would have decided, before it is made.
//!
//! ```text
//!   runtime ──► Recorder: events and decisions as bytes ──(bounded)──► Writer, a thread: specs as manifests, files
//!   Segment: a file read back ──► Replay: an engine that is given the same, and compared
//! ```
//!
//! * [`codec`] is what an event is in bytes, `frame` how bytes become records that survive being cut off.
//! * A recording is several files, **segments**, each of which can be replayed alone: before an autoscaler's first event in
//!   a segment stands a snapshot of its state, exact to the byte. It is taken when that event comes, and not when the
//!   segment begins, so that ten thousand autoscalers are not written down at once.
//! * Nothing is ever left out in the middle. Where the disk cannot keep up, is full or fails, deciding goes on and the
//!   recording ends, at a whole record, and says so as far as it can.
//! * Specs are in it as manifests, without secrets: see [`crate::spec::recorded`].
//!
//! A sample with the decision that follows from it takes 15 bytes where a round has many, and 30 where it is alone in its
//! round; an autoscaler some 800 in each segment (measured by `tests/replay/format.rs`).

mod change;
pub mod codec;
mod files;
mod fingerprint;
mod frame;
mod reader;
mod recorder;
mod replay;
mod writer;

pub use self::change::{Changed, Changes};
pub use self::files::{OpenError, SEGMENTS};
pub use self::fingerprint::of as fingerprint;
pub use self::frame::VERSION;
pub use self::reader::{Ending, Header, RecordError, Segment};
pub use self::recorder::Recorder;
pub use self::replay::{Difference, Found, Part, Replay};
pub use self::writer::Writing;
