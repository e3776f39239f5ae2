use std::net::IpAddr;

use crate::{
    Family, Span,
    address::{from_number, to_number},
};

/// Bits of a word, and so words below one bit of the level above.
const WORD: usize = 64;

/// Which addresses of a span are free, in memory: for whoever gives many a second.
///
/// A tree of words. A bit of the lowest level is an address, a bit above says that the word below
/// has any: 2²⁴ addresses are four levels and 2 MiB, and the next free one is a look at each level.
///
/// ```
/// use dockin_net::{FreeAddresses, Span};
///
/// let mut free = FreeAddresses::new(Span::parse("10.0.0.0-10.0.0.2")?).unwrap();
/// let taken: Vec<_> = std::iter::from_fn(|| free.take()).map(|it| it.to_string()).collect();
/// assert_eq!(taken, ["10.0.0.0", "10.0.0.1", "10.0.0.2"]);
/// assert!(free.release("10.0.0.1".parse()?));
/// assert_eq!(free.take(), Some("10.0.0.1".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FreeAddresses {
    span: Span,
    /// The lowest first.
    levels: Vec<Vec<u64>>,
    length: usize,
    cursor: usize,
}

impl FreeAddresses {
    /// The most addresses that a span may have: 8 MiB of memory.
    pub const LARGEST: u128 = 1 << 26;

    /// All of the span; none when it has more than [`LARGEST`](Self::LARGEST) addresses.
    #[must_use]
    pub fn new(span: Span) -> Option<Self> {
        let size = (to_number(span.last()) - to_number(span.first())).checked_add(1)?;
        let length = usize::try_from(Some(size).filter(|it| *it <= Self::LARGEST)?).ok()?;
        let mut levels = Vec::new();
        let mut bits = length;
        loop {
            let mut words = vec![u64::MAX; bits / WORD];
            if bits % WORD > 0 {
                words.push((1 << (bits % WORD)) - 1);
            }
            bits = words.len();
            levels.push(words);
            if bits <= 1 {
                break;
            }
        }
        Some(Self {
            span,
            levels,
            length,
            cursor: 0,
        })
    }

    /// Addresses that are free.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Is nothing free?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Is the address of the span and free?
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.index(address).is_some_and(|it| self.is_free(it))
    }

    /// The next free address after the one taken last, from the start again at the end, so that a
    /// released one comes back late; none when nothing is free.
    pub fn take(&mut self) -> Option<IpAddr> {
        let index = self
            .first_from(self.cursor)
            .or_else(|| self.first_from(0))?;
        self.set(index, false);
        self.cursor = index + 1;
        let first = to_number(self.span.first());
        Some(from_number(
            Family::of(self.span.first()),
            first + index as u128,
        ))
    }

    /// Takes this address; was it free?
    pub fn claim(&mut self, address: IpAddr) -> bool {
        let index = self.index(address).filter(|it| self.is_free(*it));
        index.map(|it| self.set(it, false)).is_some()
    }

    /// Gives an address back; was it taken?
    pub fn release(&mut self, address: IpAddr) -> bool {
        let index = self.index(address).filter(|it| !self.is_free(*it));
        index.map(|it| self.set(it, true)).is_some()
    }

    fn index(&self, address: IpAddr) -> Option<usize> {
        let within = self.span.contains(address);
        let offset = within.then(|| to_number(address) - to_number(self.span.first()))?;
        usize::try_from(offset).ok()
    }

    fn is_free(&self, index: usize) -> bool {
        self.word(0, index / WORD) >> (index % WORD) & 1 == 1
    }

    fn word(&self, level: usize, index: usize) -> u64 {
        let words = self.levels.get(level);
        words.and_then(|it| it.get(index)).copied().unwrap_or(0)
    }

    /// The first free place that is not before `from`.
    fn first_from(&self, from: usize) -> Option<usize> {
        let (mut level, mut place) = (0, from);
        // Up until a word has something at or after the place, and down along the first bits.
        let mut found = loop {
            let rest = self.word(level, place / WORD) & (u64::MAX << (place % WORD));
            if rest != 0 {
                break place / WORD * WORD + rest.trailing_zeros() as usize;
            }
            level += 1;
            place = place / WORD + 1;
            if level == self.levels.len() {
                return None;
            }
        };
        while level > 0 {
            level -= 1;
            found = found * WORD + self.word(level, found).trailing_zeros() as usize;
        }
        Some(found)
    }

    /// Makes a place free or taken, which it is not yet.
    fn set(&mut self, index: usize, free: bool) {
        match free {
            true => self.length += 1,
            false => self.length -= 1,
        }
        let mut place = index;
        for words in &mut self.levels {
            let Some(word) = words.get_mut(place / WORD) else {
                return;
            };
            let before = *word;
            let bit = 1 << (place % WORD);
            *word = if free { before | bit } else { before & !bit };
            // Above nothing changes while the word has others.
            if before != 0 && *word != 0 {
                return;
            }
            place /= WORD;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::IpAddr};

    use proptest::prelude::*;

    use super::FreeAddresses;
    use crate::{Span, next};

    fn all(span: Span) -> BTreeSet<IpAddr> {
        let addresses = std::iter::successors(Some(span.first()), |it| next(*it));
        addresses.take_while(|it| span.contains(*it)).collect()
    }

    #[test]
    fn a_span_that_is_too_large_is_none() {
        assert!(FreeAddresses::new(Span::parse("fd00::/64").unwrap()).is_none());
        assert!(FreeAddresses::new(Span::parse("::/0").unwrap()).is_none());
    }

    #[test]
    fn everything_is_given_once_and_then_nothing() {
        let span = Span::parse("10.0.0.0/15").unwrap();
        let mut free = FreeAddresses::new(span).unwrap();
        let taken: BTreeSet<_> = std::iter::from_fn(|| free.take()).collect();
        assert_eq!(taken, all(span));
        assert!(free.is_empty());
    }

    proptest! {
        /// It says what a plain set says, whatever is taken, claimed and released.
        #[test]
        fn agrees_with_a_set(
            last in 0_u8..=255,
            steps in prop::collection::vec((0_u8..3, any::<u16>()), 0..600),
        ) {
            let span = Span::parse(&format!("fd00::1:0-fd00::1:{last:x}ff")).unwrap();
            let mut free = FreeAddresses::new(span).unwrap();
            let mut model = all(span);
            for (step, place) in steps {
                let address: IpAddr = format!("fd00::1:{place:x}").parse().unwrap();
                match step {
                    0 => match free.take() {
                        Some(taken) => prop_assert!(model.remove(&taken)),
                        None => prop_assert!(model.is_empty()),
                    },
                    1 => prop_assert_eq!(free.claim(address), model.remove(&address)),
                    _ => {
                        let released = span.contains(address) && model.insert(address);
                        prop_assert_eq!(free.release(address), released);
                    }
                }
                prop_assert_eq!(free.len(), model.len());
                prop_assert_eq!(free.contains(address), model.contains(&address));
            }
        }
    }
}
