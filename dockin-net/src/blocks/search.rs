use std::collections::VecDeque;

use super::{
    block::{Block, Names, SIZE},
    record::{BlockRecord, decode},
    state::Intent,
    transaction::{Entry, Request},
};
use crate::{Family, Pool, RangeSet, address::to_number};

/// Keys of one list.
const PAGE: u32 = 64;

/// Looks for addresses of one set that nobody has: first a block without a record, then one with
/// free addresses. It begins at a place of the node's own, so that nodes do not meet.
#[derive(Debug)]
pub(super) struct Search {
    /// The pool and its set.
    pub(super) of: (usize, usize),
    family: Family,
    stage: Stage,
    start: u64,
    /// Numbers of blocks, first and last, still to be looked at.
    segments: VecDeque<(u128, u128)>,
    candidates: VecDeque<Block>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Gaps,
    Free,
    Over,
}

/// What a search comes to next.
pub(super) enum Found {
    List(Request),
    Read(String),
    Take(Intent),
    Nothing,
    Damaged(String),
}

impl Search {
    pub(super) fn new(of: (usize, usize), set: &RangeSet, start: u64) -> Self {
        let mut search = Self {
            of,
            family: set.family(),
            stage: Stage::Gaps,
            start,
            segments: VecDeque::new(),
            candidates: VecDeque::new(),
        };
        search.rewind(set);
        search
    }

    /// The blocks of the set, from the node's own place around.
    fn rewind(&mut self, set: &RangeSet) {
        let numbers = set.ranges().iter().map(|range| {
            let span = range.span();
            (
                to_number(span.first()) / SIZE,
                to_number(span.last()) / SIZE,
            )
        });
        let segments: Vec<(u128, u128)> = numbers.collect();
        let count = |(first, last): &(u128, u128)| last - first + 1;
        let total = segments
            .iter()
            .fold(0_u128, |sum, it| sum.saturating_add(count(it)));
        let mut skip = u128::from(self.start) % total.max(1);
        let mut before = Vec::new();
        self.segments.clear();
        for segment in segments {
            if !self.segments.is_empty() {
                self.segments.push_back(segment);
            } else if skip >= count(&segment) {
                skip -= count(&segment);
                before.push(segment);
            } else {
                let place = segment.0 + skip;
                self.segments.push_back((place, segment.1));
                if place > segment.0 {
                    before.push((segment.0, place - 1));
                }
            }
        }
        self.segments.extend(before);
    }

    pub(super) fn next(
        &mut self,
        names: &Names,
        (pool, set): (&Pool, &RangeSet),
        known: &super::intent::Known,
        block_size: u32,
    ) -> Found {
        loop {
            if let Some(block) = self.candidates.front().copied() {
                let usable = block.usable(pool, set);
                let key = names.block(block);
                let (record, share) = match self.stage {
                    Stage::Gaps => (BlockRecord::default(), block_size),
                    _ => match known.get(&key) {
                        None => return Found::Read(key),
                        Some(entry) => match decode(&key, entry.as_ref()) {
                            // Little is left: others want some, too.
                            Ok(record) => (record.unwrap_or_default(), (block_size / 8).max(1)),
                            Err(message) => return Found::Damaged(message),
                        },
                    },
                };
                self.candidates.pop_front();
                let bits = lowest(usable & !record.assigned(), share);
                if bits == 0 {
                    continue;
                }
                return Found::Take(Intent::Take {
                    block: block.first(),
                    bits,
                    usable,
                });
            }
            let Some((first, last)) = self.segments.front().copied() else {
                match self.stage {
                    Stage::Gaps => {
                        self.stage = Stage::Free;
                        self.rewind(set);
                    }
                    Stage::Free => self.stage = Stage::Over,
                    Stage::Over => return Found::Nothing,
                }
                continue;
            };
            let key = |number| {
                let block = Block::numbered(self.family, number);
                match self.stage {
                    Stage::Gaps => names.block(block),
                    _ => names.free(block),
                }
            };
            return Found::List(Request::List {
                from: key(first),
                // Nothing comes between a key and the same with a byte more.
                to: format!("{}\0", key(last)),
                limit: PAGE,
                keys_only: true,
            });
        }
    }

    /// Takes a list of the blocks from the first segment's start on.
    pub(super) fn take(&mut self, names: &Names, entries: &[(String, Entry)], more: bool) {
        let Some((first, last)) = self.segments.pop_front() else {
            return;
        };
        let kind = match self.stage {
            Stage::Gaps => "block/",
            _ => "free/",
        };
        let listed = entries
            .iter()
            .filter_map(|(key, _)| names.address(kind, key))
            .map(Block::of);
        let mut next = first;
        match self.stage {
            Stage::Gaps => {
                let mut gap = None;
                for block in listed {
                    if block.number() > next {
                        gap = Some(next);
                        break;
                    }
                    next = block.number() + 1;
                }
                if gap.is_none() && !more && next <= last {
                    gap = Some(next);
                }
                if let Some(gap) = gap {
                    self.candidates.push_back(Block::numbered(self.family, gap));
                    next = gap + 1;
                }
                if next <= last && (more || gap.is_some()) {
                    self.segments.push_front((next, last));
                }
            }
            _ => {
                for block in listed {
                    self.candidates.push_back(block);
                    next = block.number() + 1;
                }
                if more && next <= last {
                    self.segments.push_front((next, last));
                }
            }
        }
    }
}

/// The lowest `count` bits that are set.
fn lowest(bits: u64, count: u32) -> u64 {
    let mut rest = bits;
    for _ in 0..count {
        // The lowest one of the rest goes.
        rest &= rest.wrapping_sub(1);
    }
    bits & !rest
}

#[cfg(test)]
mod tests {
    use super::lowest;

    #[test]
    fn the_lowest_bits_are_taken() {
        assert_eq!(lowest(0b1011_0100, 2), 0b1_0100);
        assert_eq!(lowest(u64::MAX, 64), u64::MAX);
        assert_eq!(lowest(0, 3), 0);
    }
}
