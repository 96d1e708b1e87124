//! Numbers as bytes: what memories, snapshots and recordings are written with, and read with.
//!
//! Integers of variable length, seven bits a byte, so that small ones are small; durations in nanoseconds; floats as they
//! lie in memory. A reader takes nothing for granted: bytes that end in the middle, or a count that nothing could follow,
//! are `None` and never a panic.

use std::time::Duration;

use crate::model::{Measure, Replicas, Tick};

/// Bytes in the making.
#[derive(Clone, Debug, Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    /// Seven bits a byte, lowest first.
    #[expect(clippy::cast_possible_truncation, reason = "masked to seven bits")]
    pub fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// Zigzag, so that small negative numbers stay small.
    #[expect(clippy::cast_sign_loss, reason = "zigzag maps signs to the lowest bit")]
    pub fn signed(&mut self, value: Replicas) {
        self.number(u64::from(((value << 1) ^ (value >> 31)) as u32));
    }

    pub fn duration(&mut self, value: Duration) {
        self.number(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn float(&mut self, value: f64) {
        self.0.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    pub fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.number(u64::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// A moment; as long as the number is, so that those in the first hours of a process are short.
    pub fn tick(&mut self, value: Tick) {
        self.number(value.as_nanos());
    }

    /// Every duration there is: [`Writer::duration`] ends at 584 years.
    pub fn whole_duration(&mut self, value: Duration) {
        self.number(value.as_secs());
        self.number(u64::from(value.subsec_nanos()));
    }

    /// A difference of two numbers that lie close together, in whichever direction.
    pub fn difference(&mut self, value: u64, from: u64) {
        let apart = value.wrapping_sub(from).cast_signed();
        self.number(((apart << 1) ^ (apart >> 63)).cast_unsigned());
    }

    pub fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Up to eight of them, the first in the lowest bit.
    pub fn flags<const N: usize>(&mut self, flags: [bool; N]) {
        self.byte(flags.iter().rev().fold(0, |bits, &flag| bits << 1 | u8::from(flag)));
    }

    pub fn bytes(&mut self, value: &[u8]) {
        self.number(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub fn measure(&mut self, value: Measure) {
        self.optional(value.get(), Writer::float);
    }
}

/// What is left to be read.
#[derive(Clone, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    #[expect(clippy::cast_possible_wrap, reason = "zigzag maps signs to the lowest bit")]
    pub fn signed(&mut self) -> Option<Replicas> {
        let raw = u32::try_from(self.number()?).ok()?;
        Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    /// A position in a list; bounded, so that a broken memory cannot make one overflow.
    pub fn slot(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok().filter(|slot| *slot < u32::MAX / 2)
    }

    pub fn duration(&mut self) -> Option<Duration> {
        self.number().map(Duration::from_nanos)
    }

    pub fn float(&mut self) -> Option<f64> {
        let (bytes, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(f64::from_bits(u64::from_le_bytes(*bytes))).filter(|value| value.is_finite() && *value >= 0.0)
    }

    pub fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.number()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    /// A list; its length is checked against what is left, so that a broken one cannot ask for all memory.
    pub fn many<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::try_from(self.number()?).ok().filter(|count| *count <= self.0.len())?;
        (0..count).map(|_| read(self)).collect()
    }

    pub fn measure(&mut self) -> Option<Measure> {
        Some(self.optional(Self::float)?.map(Measure::new).unwrap_or_default())
    }

    pub fn tick(&mut self) -> Option<Tick> {
        self.number().map(Tick::from_nanos)
    }

    pub fn whole_duration(&mut self) -> Option<Duration> {
        let (seconds, nanos) = (self.number()?, u32::try_from(self.number()?).ok()?);
        // Nanoseconds that make a second would carry over, and may not find room.
        (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
    }

    pub fn difference(&mut self, from: u64) -> Option<u64> {
        let raw = self.number()?;
        let apart = (raw >> 1).cast_signed() ^ -(raw & 1).cast_signed();
        Some(from.wrapping_add(apart.cast_unsigned()))
    }

    pub fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    pub fn flags<const N: usize>(&mut self) -> Option<[bool; N]> {
        let bits = self.byte()?;
        let known = N >= 8 || bits >> N == 0;
        known.then(|| std::array::from_fn(|at| bits >> at & 1 != 0))
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// Any float, also one that no count is.
    pub fn any_float(&mut self) -> Option<f64> {
        let (bytes, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(f64::from_bits(u64::from_le_bytes(*bytes)))
    }
}
