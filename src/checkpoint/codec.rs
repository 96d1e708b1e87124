//! A shard of a checkpoint as bytes: versioned, with the moment of its writing, and with a checksum, because a file that
//! was cut off must not pass for a short one.
//!
//! ```text
//! "tidegate checkpoint"  version: u8  written: u64, milliseconds since the epoch
//! (namespace: u16 + bytes  name: u16 + bytes  memory: u32 + bytes)*  checksum: u64, FNV-1a of all before it
//! ```
//! Numbers are little-endian.

use std::time::{Duration, SystemTime};

use crate::engine::Memory;
use crate::model::{AutoscalerId, fnv1a};

const MAGIC: &[u8] = b"tidegate checkpoint";
/// Raise it when the layout changes, and keep reading the old one. Memories have a version of their own.
const VERSION: u8 = 1;
const CHECKSUM: usize = size_of::<u64>();

/// Bytes that are no shard, or none that can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodecError {
    #[error("it is no checkpoint of tidegate's; it is left alone, and better moved elsewhere")]
    Foreign,
    #[error("it has version {0} of the format, and this release reads {VERSION}; it is started without")]
    Version(u8),
    #[error("it is cut off or damaged; it is started without")]
    Damaged,
}

/// What a shard says.
#[derive(Clone, PartialEq, Debug)]
pub struct Shard {
    /// By the clock of whoever wrote it.
    pub written: SystemTime,
    pub memories: Vec<(AutoscalerId, Memory)>,
    /// Memories that this release cannot read.
    pub unreadable: usize,
}

/// A shard being written.
pub struct Writer {
    bytes: Vec<u8>,
    room: usize,
    left_out: usize,
}

impl Writer {
    /// At most `room` bytes.
    #[must_use]
    pub fn new(written: SystemTime, room: usize) -> Self {
        let since = written.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        bytes.extend_from_slice(&u64::try_from(since.as_millis()).unwrap_or(u64::MAX).to_le_bytes());
        Writer { bytes, room, left_out: 0 }
    }

    /// Appends one, if there is room for it.
    pub fn push(&mut self, id: &AutoscalerId, memory: &Memory) {
        let memory = memory.to_bytes();
        let lengths = (u16::try_from(id.namespace.len()), u16::try_from(id.name.len()), u32::try_from(memory.len()));
        let (Ok(namespace), Ok(name), Ok(length)) = lengths else {
            self.left_out += 1;
            return;
        };
        let more = 8 + id.namespace.len() + id.name.len() + memory.len();
        if self.bytes.len() + more + CHECKSUM > self.room {
            self.left_out += 1;
            return;
        }
        self.bytes.extend_from_slice(&namespace.to_le_bytes());
        self.bytes.extend_from_slice(id.namespace.as_bytes());
        self.bytes.extend_from_slice(&name.to_le_bytes());
        self.bytes.extend_from_slice(id.name.as_bytes());
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&memory);
    }

    /// The bytes, and how many memories found no room in them.
    #[must_use]
    pub fn finish(mut self) -> (Vec<u8>, usize) {
        let checksum = fnv1a(self.bytes.iter().copied());
        self.bytes.extend_from_slice(&checksum.to_le_bytes());
        (self.bytes, self.left_out)
    }
}

/// Reads what [`Writer`] wrote.
///
/// # Errors
/// Something else wrote it, a later release did, or it is damaged.
pub fn read(bytes: &[u8]) -> Result<Shard, CodecError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(CodecError::Foreign)?;
    let (&version, _) = rest.split_first().ok_or(CodecError::Damaged)?;
    if version != VERSION {
        return Err(CodecError::Version(version));
    }
    let (checked, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(CodecError::Damaged)?;
    if fnv1a(checked.iter().copied()) != u64::from_le_bytes(*checksum) {
        return Err(CodecError::Damaged);
    }
    let body = checked.get(MAGIC.len() + 1..).ok_or(CodecError::Damaged)?;
    shard(body).ok_or(CodecError::Damaged)
}

fn shard(mut rest: &[u8]) -> Option<Shard> {
    let written = Duration::from_millis(u64::from_le_bytes(take(&mut rest)?));
    let mut shard =
        Shard { written: SystemTime::UNIX_EPOCH.checked_add(written)?, memories: Vec::new(), unreadable: 0 };
    while !rest.is_empty() {
        let length = usize::from(u16::from_le_bytes(take(&mut rest)?));
        let namespace = text(&mut rest, length)?;
        let length = usize::from(u16::from_le_bytes(take(&mut rest)?));
        let name = text(&mut rest, length)?;
        let length = usize::try_from(u32::from_le_bytes(take(&mut rest)?)).ok()?;
        let (memory, after) = rest.split_at_checked(length)?;
        rest = after;
        match Memory::from_bytes(memory) {
            Ok(memory) => shard.memories.push((AutoscalerId::new(namespace, name), memory)),
            Err(_) => shard.unreadable += 1,
        }
    }
    Some(shard)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

fn text<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a str> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    std::str::from_utf8(taken).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let written = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        Writer::new(written, 1024).finish().0
    }

    #[test]
    fn what_is_not_ours_cut_off_or_newer_is_told_apart() {
        let bytes = sample();
        let shard = read(&bytes).unwrap();
        assert_eq!(shard.written, SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123));
        assert_eq!((shard.memories.len(), shard.unreadable), (0, 0));
        assert_eq!(read(b"replicas: 3\n"), Err(CodecError::Foreign));
        assert_eq!(read(&[]), Err(CodecError::Foreign));
        for length in MAGIC.len()..bytes.len() {
            assert_eq!(read(bytes.get(..length).unwrap()), Err(CodecError::Damaged), "{length} bytes");
        }
        let mut newer = bytes.clone();
        *newer.get_mut(MAGIC.len()).unwrap() = 9;
        assert_eq!(read(&newer), Err(CodecError::Version(9)));
        for position in MAGIC.len() + 1..bytes.len() {
            let mut flipped = bytes.clone();
            *flipped.get_mut(position).unwrap() ^= 0x10;
            assert_eq!(read(&flipped), Err(CodecError::Damaged), "byte {position}");
        }
    }
}
