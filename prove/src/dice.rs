//! Numbers that follow from a seed and from nothing else: the same on every machine and in every version.

/// SplitMix64's step: every bit of the input changes half of the output's.
pub fn mixed(state: u64) -> u64 {
    let z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number that belongs to these parts under this seed, however often and in whatever order it is asked for.
pub fn drawn(seed: u64, parts: &[u64]) -> u64 {
    parts
        .iter()
        .fold(mixed(seed), |hash, part| mixed(hash ^ part))
}

/// The same in [0, 1).
pub fn drawn_unit(seed: u64, parts: &[u64]) -> f64 {
    unit(drawn(seed, parts))
}

/// A number for a text, to be one of the parts.
pub fn of_text(text: &str) -> u64 {
    of_bytes(text.as_bytes())
}

/// FNV-1a with a last mix: tells payloads apart, keeps no secrets.
pub fn of_bytes(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    });
    mixed(hash)
}

fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// A row of draws.
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// The row that belongs to this seed.
    pub fn new(seed: u64) -> Self {
        Self { state: mixed(seed) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(1);
        mixed(self.state)
    }

    /// A number from `range`, which is not empty.
    pub fn within(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        let (low, high) = range.into_inner();
        low + self.next() % (high - low + 1)
    }

    /// True in this part of all cases.
    pub fn chance(&mut self, part: f64) -> bool {
        unit(self.next()) < part
    }

    /// One of `all`, which is not empty.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.within(0..=all.len() as u64 - 1) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_row_never_changes() {
        let mut dice = Dice::new(7);
        let row: Vec<u64> = (0..6).map(|_| dice.within(0..=9)).collect();
        assert_eq!(row, [7, 7, 2, 3, 1, 3]);
    }
}
