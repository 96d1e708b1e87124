//! Records in a file: how a whole one is told from one that was cut off, and that from one that was changed.
//!
//! ```text
//! "tidegate recording\n"  version: u8
//! (length: u24  check of the length: u8  checksum: u32, CRC-32 of the payload  payload)*
//! ```
//! Numbers are little-endian. The payload's first byte says what it is.
//!
//! A process that is killed, or a disk that is full, leaves a last record that ends too early; a machine that loses power
//! may also leave zeros where something was to be written. Either is a torn tail: everything before it counts. A record that
//! is wrong while others follow it is neither, and nothing behind it can be trusted to follow from what is before it.

pub(super) const MAGIC: &[u8] = b"tidegate recording\n";
/// Raise it when anything changes in what is written: a layout, the order of a closed set that is written by position, what
/// a fingerprint is made of, or what a snapshot holds.
pub const VERSION: u8 = 2;
/// Length, its check, checksum.
pub(super) const HEAD: usize = 8;
/// The longest payload whose length can be written.
pub(super) const LONGEST: usize = (1 << 24) - 1;

/// Before the first record.
pub(super) fn opening() -> Vec<u8> {
    [MAGIC, &[VERSION]].concat()
}

/// A payload as a record; `None` where it is too long to be one.
pub(super) fn framed(payload: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= LONGEST)?;
    let [a, b, c, _] = length.to_le_bytes();
    let mut out = Vec::with_capacity(HEAD + payload.len());
    out.extend_from_slice(&[a, b, c, check([a, b, c])]);
    out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    out.extend_from_slice(payload);
    Some(out)
}

/// Finds every change of up to eight bits in a row, and the length that zeros would be.
fn check(length: [u8; 3]) -> u8 {
    let mut check = 0x5a_u8;
    for byte in length {
        check ^= byte;
        for _ in 0..8 {
            check = if check & 0x80 != 0 { (check << 1) ^ 0x07 } else { check << 1 };
        }
    }
    check
}

/// What stands at the beginning of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found<'a> {
    Record(&'a [u8]),
    /// The file ends here, between two records.
    End,
    /// The file ends within a record.
    Torn,
    /// Something else than what was written.
    Corrupt,
}

/// Looks at the record at the beginning of `rest`, which goes to the end of the file.
pub(super) fn next(rest: &[u8]) -> Found<'_> {
    if rest.is_empty() {
        return Found::End;
    }
    let Some((&[a, b, c, checked], after)) = rest.split_first_chunk::<4>() else { return Found::Torn };
    if check([a, b, c]) != checked {
        // Of the length not all bytes may have been written.
        return if rest.iter().skip(3).all(|byte| *byte == 0) { Found::Torn } else { Found::Corrupt };
    }
    let length = usize::try_from(u32::from_le_bytes([a, b, c, 0])).unwrap_or(usize::MAX);
    let Some((checksum, after)) = after.split_first_chunk::<4>() else { return Found::Torn };
    let Some((payload, after)) = after.split_at_checked(length) else { return Found::Torn };
    if crc32fast::hash(payload) == u32::from_le_bytes(*checksum) {
        return Found::Record(payload);
    }
    // The last one may have been given its place and not all of its bytes.
    if after.iter().all(|byte| *byte == 0) { Found::Torn } else { Found::Corrupt }
}

/// Bytes that a record takes which begins `rest`.
pub(super) fn taken(payload: &[u8]) -> usize {
    HEAD + payload.len()
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may break")]
mod tests {
    use super::*;
    use crate::model::{FailureKind, Health, Reason, Stage};

    #[test]
    fn the_words_are_those_of_this_version() {
        let mut words: Vec<&str> = Reason::ALL.map(Reason::as_str).to_vec();
        words.extend(Stage::ALL.map(Stage::as_str));
        words.extend(FailureKind::ALL.map(FailureKind::as_str));
        words.extend(Health::ALL.map(Health::as_str));
        let seen = (VERSION, words.len(), crc32fast::hash(words.join(" ").as_bytes()));
        assert_eq!(seen, (2, 53, WORDS), "a closed set has changed: raise VERSION, and write the new number here");
        assert!(Reason::ALL.iter().enumerate().all(|(at, reason)| *reason as usize == at), "in order of declaration");
        assert!(Stage::ALL.iter().enumerate().all(|(at, stage)| *stage as usize == at), "in order of declaration");
    }

    const WORDS: u32 = 2_430_625_951;

    #[test]
    fn a_record_reads_back_and_a_cut_one_is_torn_at_every_byte() {
        let record = framed(b"something that happened").unwrap();
        assert_eq!(next(&record), Found::Record(b"something that happened"));
        for length in 1..record.len() {
            assert_eq!(next(&record[..length]), Found::Torn, "{length}");
        }
        assert_eq!(next(&[]), Found::End);
        assert_eq!(next(&[0; 40]), Found::Torn);
        assert!(framed(&vec![0; LONGEST + 1]).is_none());
    }

    #[test]
    fn a_changed_bit_is_corruption_while_something_follows_and_a_torn_tail_at_the_end() {
        let record = framed(b"something that happened").unwrap();
        let two = [record.clone(), record.clone()].concat();
        for at in 0..record.len() {
            for bit in 0..8 {
                let mut changed = two.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(next(&changed), Found::Corrupt, "byte {at}, bit {bit}");
            }
        }
        let mut last = record.clone();
        *last.last_mut().unwrap() ^= 1;
        assert_eq!(next(&last), Found::Torn);
    }
}
