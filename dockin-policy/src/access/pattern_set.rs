//! Which of many patterns match a text, without asking each.

use std::collections::BTreeMap;

use aho_corasick::AhoCorasick;

use super::{
    names::number,
    pattern::{Kind, Lowered, Patterns, STAR},
};

/// How many are asked one after the other, because that is faster than any index.
pub(super) const FEW: usize = 8;

/// Numbers of patterns with what belongs to each, found by the literal text before the first
/// star, and where many share one, by a literal text behind it.
#[derive(Debug)]
pub(super) struct PatternSet<T> {
    /// Literal texts, in order.
    heads: Vec<Head>,
    bytes: Vec<u8>,
    entries: Vec<(u32, T)>,
    automata: Vec<Pieces>,
}

#[derive(Debug)]
struct Head {
    start: u32,
    length: u32,
    /// The longest other head that this one starts with.
    parent: Option<u32>,
    first: u32,
    count: u32,
    /// Its index of pieces, when it has many entries.
    pieces: Option<u32>,
}

/// The entries of one head by a literal text somewhere behind it.
#[derive(Debug)]
struct Pieces {
    automaton: AhoCorasick,
    /// For each text of the automaton, the entries that need it.
    needing: Vec<Vec<u32>>,
    /// Entries that have none.
    always: Vec<u32>,
}

impl<T> PatternSet<T> {
    pub(super) fn new(patterns: &Patterns, members: Vec<(u32, T)>) -> Self {
        let mut by_head: BTreeMap<&[u8], Vec<(u32, T)>> = BTreeMap::new();
        for (id, value) in members {
            by_head
                .entry(head_of(patterns, id))
                .or_default()
                .push((id, value));
        }
        let mut set = Self {
            heads: Vec::with_capacity(by_head.len()),
            bytes: Vec::new(),
            entries: Vec::new(),
            automata: Vec::new(),
        };
        let mut open: Vec<u32> = Vec::new();
        for (head, members) in by_head {
            // In order, a head's parents are those before it that it starts with.
            while let Some(last) = open.last() {
                if head.starts_with(set.head_bytes(*last)) {
                    break;
                }
                open.pop();
            }
            let (start, first) = (number(set.bytes.len()), number(set.entries.len()));
            set.bytes.extend_from_slice(head);
            let count = number(members.len());
            let pieces = (members.len() > FEW)
                .then(|| Pieces::new(patterns, first, &members))
                .flatten()
                .map(|pieces| {
                    set.automata.push(pieces);
                    number(set.automata.len() - 1)
                });
            set.entries.extend(members);
            let parent = open.last().copied();
            open.push(number(set.heads.len()));
            set.heads.push(Head {
                start,
                length: number(head.len()),
                parent,
                first,
                count,
                pieces,
            });
        }
        set
    }

    /// Calls `visit` with what belongs to each pattern that matches, until it says true.
    pub(super) fn any(
        &self,
        patterns: &Patterns,
        text: Lowered<'_>,
        mut visit: impl FnMut(&T) -> bool,
    ) -> bool {
        let bytes = text.bytes();
        let mut try_entry = |index: u32| {
            self.entries
                .get(index as usize)
                .is_some_and(|(id, value)| patterns.matches(*id, text) && visit(value))
        };
        let behind = self.heads.partition_point(|head| self.span(head) <= bytes);
        // Every head that the text starts with is the last one before it, or a parent of that.
        let mut next = behind.checked_sub(1).map(number);
        while let Some(head) = next.and_then(|index| self.heads.get(index as usize)) {
            next = head.parent;
            if !bytes.starts_with(self.span(head)) {
                continue;
            }
            let found = match head.pieces.and_then(|at| self.automata.get(at as usize)) {
                None => (head.first..head.first + head.count).any(&mut try_entry),
                Some(pieces) => pieces.any(bytes.get(head.length as usize..), &mut try_entry),
            };
            if found {
                return true;
            }
        }
        false
    }

    fn head_bytes(&self, index: u32) -> &[u8] {
        self.heads
            .get(index as usize)
            .map_or(&[], |head| self.span(head))
    }

    fn span(&self, head: &Head) -> &[u8] {
        let (start, length) = (head.start as usize, head.length as usize);
        self.bytes.get(start..start + length).unwrap_or_default()
    }
}

impl Pieces {
    fn new<T>(patterns: &Patterns, first: u32, members: &[(u32, T)]) -> Option<Self> {
        let mut by_piece: BTreeMap<&[u8], Vec<u32>> = BTreeMap::new();
        let mut always = Vec::new();
        for ((id, _), index) in members.iter().zip(first..) {
            let behind = patterns.bytes(*id).split(|byte| *byte == STAR).skip(1);
            match behind.max_by_key(|piece| piece.len()) {
                Some(piece) if !piece.is_empty() => by_piece.entry(piece).or_default().push(index),
                _ => always.push(index),
            }
        }
        let (texts, needing): (Vec<_>, Vec<_>) = by_piece.into_iter().unzip();
        let automaton = AhoCorasick::new(&texts).ok()?;
        Some(Self {
            automaton,
            needing,
            always,
        })
    }

    fn any(&self, behind: Option<&[u8]>, try_entry: &mut impl FnMut(u32) -> bool) -> bool {
        if self.always.iter().any(|index| try_entry(*index)) {
            return true;
        }
        self.automaton
            .find_overlapping_iter(behind.unwrap_or_default())
            .filter_map(|found| self.needing.get(found.pattern().as_usize()))
            .flatten()
            .any(|index| try_entry(*index))
    }
}

/// The text that everything starts with that the pattern matches.
fn head_of(patterns: &Patterns, id: u32) -> &[u8] {
    let bytes = patterns.bytes(id);
    match patterns.kind(id) {
        Kind::Regex(_) | Kind::Poison | Kind::Any => &[],
        Kind::Literal => bytes,
        Kind::Prefix | Kind::Glob => bytes.split(|byte| *byte == STAR).next().unwrap_or_default(),
    }
}
