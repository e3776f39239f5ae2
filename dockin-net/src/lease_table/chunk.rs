use crate::{
    Timestamp,
    fields::{Reader, Writer},
};

/// Addresses of a chunk.
pub(super) const CHUNK: u128 = 512;
const WORDS: usize = 8;

/// 512 bits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Bits([u64; WORDS]);

impl Bits {
    pub(super) fn set(&mut self, index: usize, value: bool) {
        if let Some(word) = self.0.get_mut(index / 64) {
            let bit = 1 << (index % 64);
            *word = if value { *word | bit } else { *word & !bit };
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn is_full(&self) -> bool {
        self.0.iter().all(|word| *word == u64::MAX)
    }

    /// The first bit from `from` on that is not set.
    pub(super) fn first_zero(&self, from: usize) -> Option<usize> {
        let words = self.0.iter().enumerate().skip(from / 64);
        let mut skipped = from % 64;
        for (index, word) in words {
            let zeros = !word & (u64::MAX << skipped);
            skipped = 0;
            if zeros != 0 {
                return Some(index * 64 + zeros.trailing_zeros() as usize);
            }
        }
        None
    }

    pub(super) fn ones(&self) -> impl Iterator<Item = usize> {
        let words = self.0.into_iter().enumerate();
        words.flat_map(|(index, word)| {
            let bits = (0..64).filter(move |bit| word >> bit & 1 == 1);
            bits.map(move |bit| index * 64 + bit)
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let mut bits = Self::default();
        for word in &mut bits.0 {
            *word = reader.number()?;
        }
        Some(bits)
    }
}

/// Which of 512 addresses are in use, and which of those only until a time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Chunk {
    /// No use ends before; it may be later than that.
    earliest: u64,
    used: Bits,
    timed: Bits,
}

impl Default for Chunk {
    fn default() -> Self {
        Self {
            earliest: u64::MAX,
            used: Bits::default(),
            timed: Bits::default(),
        }
    }
}

impl Chunk {
    pub(super) fn mark(&mut self, index: usize, used: bool, until: Option<Timestamp>) {
        self.used.set(index, used);
        self.timed.set(index, until.is_some());
        if let Some(until) = until {
            self.earliest = self.earliest.min(until.0);
        }
        if self.timed.is_empty() {
            self.earliest = u64::MAX;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// Will no address ever be free but by a change?
    pub(super) fn is_full(&self) -> bool {
        self.used.is_full() && self.timed.is_empty()
    }

    pub(super) const fn earliest(&self) -> Timestamp {
        Timestamp(self.earliest)
    }

    pub(super) const fn set_earliest(&mut self, earliest: Timestamp) {
        self.earliest = earliest.0;
    }

    pub(super) fn first_unused(&self, first: usize, last: usize) -> Option<usize> {
        self.used.first_zero(first).filter(|it| *it <= last)
    }

    /// The addresses from `first` to `last` that are in use until a time.
    pub(super) fn timed(&self, first: usize, last: usize) -> impl Iterator<Item = usize> {
        let timed = self.timed.ones();
        timed.filter(move |it| (first..=last).contains(it))
    }

    /// Does this chunk mark what `other` does, and end no later?
    pub(super) fn says(&self, other: &Self) -> bool {
        self.used == other.used && self.timed == other.timed && self.earliest <= other.earliest
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(self.earliest);
        writer.bytes(&self.used.encode());
        writer.bytes(&self.timed.encode());
        writer.into_bytes()
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            earliest: reader.number()?,
            used: Bits::decode(reader)?,
            timed: Bits::decode(reader)?,
        })
    }
}
