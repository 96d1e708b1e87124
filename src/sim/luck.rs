//! Everybody's luck: random numbers that are looked up, not drawn.
//!
//! A number is a function of (seed, stream, ordinal), so that job 17 takes as long and pod 3 starts as slowly under every
//! policy: policies are compared with the same luck (common random numbers), and a run does not depend on the order in
//! which anything asks. The function is SplitMix64's output at place `ordinal` of a sequence that seed and stream begin
//! (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).

/// What a sequence is for. The numbers are part of what a seed means: they stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Arrivals of a job stream, by its position.
    Arrivals(u16),
    /// Services of a job stream.
    Service(u16),
    /// One of a pod's start-up parts.
    StartUp(u8),
    /// Whether a start fails.
    StartFails,
    /// Which pod goes.
    Victim,
    /// Whether a reading fails.
    Reading,
    /// Whether a change of the scale meets another's.
    Conflict,
    /// When periodic things begin.
    Phase,
    /// Where in its bin an arrival of a count is put.
    Spread,
}

impl Stream {
    fn number(self) -> u64 {
        match self {
            Stream::Arrivals(at) => 0x1_0000 + u64::from(at),
            Stream::Service(at) => 0x2_0000 + u64::from(at),
            Stream::StartUp(at) => 0x3_0000 + u64::from(at),
            Stream::StartFails => 0x4_0000,
            Stream::Victim => 0x5_0000,
            Stream::Reading => 0x6_0000,
            Stream::Conflict => 0x7_0000,
            Stream::Phase => 0x8_0000,
            Stream::Spread => 0x9_0000,
        }
    }
}

/// One sequence of numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Luck {
    start: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Luck {
    #[must_use]
    pub fn new(seed: u64, stream: Stream) -> Self {
        Luck { start: mix(mix(seed.wrapping_add(GOLDEN)) ^ stream.number().wrapping_mul(GOLDEN)) }
    }

    /// The sequence that begins at a place of this one, for what takes several numbers.
    #[must_use]
    pub fn at(self, ordinal: u64) -> Luck {
        Luck { start: self.bits(ordinal) }
    }

    #[must_use]
    pub fn bits(self, ordinal: u64) -> u64 {
        mix(self.start.wrapping_add(ordinal.wrapping_mul(GOLDEN)).wrapping_add(GOLDEN))
    }

    /// Evenly from 0 to 1, neither included.
    #[must_use]
    pub fn unit(self, ordinal: u64) -> f64 {
        // 53 bits, in the middle of their steps.
        ((self.bits(ordinal) >> 11) as f64 + 0.5) * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Whether something of this probability happens.
    #[must_use]
    pub fn happens(self, ordinal: u64, probability: f64) -> bool {
        probability > 0.0 && self.unit(ordinal) < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_even_and_streams_are_strangers() {
        let luck = Luck::new(7, Stream::Service(0));
        let mean = |luck: Luck| (0..100_000).map(|i| luck.unit(i)).sum::<f64>() / 1e5;
        assert!((mean(luck) - 0.5).abs() < 0.005, "{}", mean(luck));
        let others = [Luck::new(8, Stream::Service(0)), Luck::new(7, Stream::Service(1)), luck.at(3)];
        for other in others {
            let both: f64 =
                (0..100_000).map(|i| (luck.unit(i) - 0.5) * (other.unit(i) - 0.5)).sum::<f64>() / 1e5 * 12.0;
            assert!(both.abs() < 0.015, "correlated by {both}");
        }
        assert_eq!(luck.bits(5), Luck::new(7, Stream::Service(0)).bits(5));
    }
}
