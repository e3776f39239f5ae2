//! Who has what: members, roles and policies as numbered nodes, links as sorted edges.

use std::{collections::HashMap, ops::Range};

use super::names::number;

/// Fewest policies at the end of one node's links in one domain that are put into one bundle, so
/// that their rules have one index in place of many.
const BUNDLE: usize = 24;

/// A link as numbers.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Edge {
    pub(super) member: u32,
    pub(super) domain: u32,
    pub(super) role: u32,
}

/// The edges, sorted, with the place of each node's.
#[derive(Debug, Default)]
pub(super) struct Graph {
    edges: Vec<Edge>,
    /// Where each node's edges start; one more at the end.
    starts: Vec<u32>,
}

/// Leaves that one node has been given in one place: a node that is none of the source.
#[derive(Debug)]
pub(super) struct Bundle {
    /// The nodes whose rules it holds.
    pub(super) leaves: Vec<u32>,
}

impl Graph {
    pub(super) fn new(mut edges: Vec<Edge>, nodes: usize) -> Self {
        edges.sort_unstable();
        edges.dedup();
        let mut starts = vec![0; nodes + 1];
        for edge in &edges {
            if let Some(count) = starts.get_mut(edge.member as usize + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        Self { edges, starts }
    }

    pub(super) fn nodes(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// All edges of a node, in the order of domains.
    pub(super) fn all(&self, node: u32) -> &[Edge] {
        let node = node as usize;
        match (self.starts.get(node), self.starts.get(node + 1)) {
            (Some(from), Some(to)) => self
                .edges
                .get(*from as usize..*to as usize)
                .unwrap_or_default(),
            _ => &[],
        }
    }

    /// The edges of a node in one domain.
    pub(super) fn in_domain(&self, node: u32, domain: u32) -> &[Edge] {
        let all = self.all(node);
        let from = all.partition_point(|edge| edge.domain < domain);
        let rest = all.get(from..).unwrap_or_default();
        let to = rest.partition_point(|edge| edge.domain == domain);
        rest.get(..to).unwrap_or_default()
    }

    /// Every edge, in order.
    pub(super) fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// The same graph with the leaves of well-supplied nodes in bundles, which are numbered from
    /// the end of the nodes. `leaf` tells how many rules a node has that ends every chain;
    /// `budget` is how many rules may be copied.
    pub(super) fn bundled(
        &self,
        leaf: impl Fn(u32) -> usize,
        mut budget: usize,
    ) -> (Self, Vec<Bundle>) {
        let ends = |edge: &&Edge| self.all(edge.role).is_empty() && leaf(edge.role) > 0;
        let mut bundles = Vec::new();
        let mut known: HashMap<Vec<u32>, u32> = HashMap::new();
        let mut edges = Vec::with_capacity(self.edges.len());
        let same =
            |one: &Edge, other: &Edge| (one.member, one.domain) == (other.member, other.domain);
        for group in self.edges.chunk_by(same) {
            let leaves: Vec<u32> = match group.len() >= BUNDLE {
                true => group.iter().filter(ends).map(|edge| edge.role).collect(),
                false => Vec::new(),
            };
            let rules: usize = leaves.iter().map(|role| leaf(*role)).sum();
            let bundle = match known.get(&leaves) {
                Some(bundle) => Some(*bundle),
                None if leaves.len() < BUNDLE || rules > budget => None,
                None => {
                    budget -= rules;
                    let bundle = number(self.nodes() + bundles.len());
                    known.insert(leaves.clone(), bundle);
                    bundles.push(Bundle { leaves });
                    Some(bundle)
                }
            };
            match (bundle, group.first()) {
                (Some(role), Some(first)) => {
                    edges.extend(group.iter().filter(|edge| !ends(edge)));
                    edges.push(Edge { role, ..*first });
                }
                _ => edges.extend(group),
            }
        }
        (Self::new(edges, self.nodes() + bundles.len()), bundles)
    }
}

/// Nodes in the order in which they were reached, each once. The first few need no memory.
#[derive(Debug)]
pub(super) struct Reached {
    few: [u32; FEW],
    count: usize,
    more: Vec<u32>,
    seen: std::collections::HashSet<u32, foldhash::fast::FixedState>,
}

const FEW: usize = 32;

impl Reached {
    pub(super) fn from(start: u32) -> Self {
        let mut few = [0; FEW];
        few[0] = start;
        Self {
            few,
            count: 1,
            more: Vec::new(),
            seen: Default::default(),
        }
    }

    pub(super) fn add(&mut self, node: u32) {
        if let Some(reached) = self.few.get(..self.count) {
            if reached.contains(&node) {
                return;
            }
            if let Some(slot) = self.few.get_mut(self.count) {
                *slot = node;
                self.count += 1;
                return;
            }
            self.seen.extend(self.few);
        }
        if self.seen.insert(node) {
            self.more.push(node);
            self.count += 1;
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    pub(super) fn get(&self, index: usize) -> Option<u32> {
        match index.checked_sub(FEW) {
            None => self.few.get(index).copied(),
            Some(behind) => self.more.get(behind).copied(),
        }
    }
}

/// A range as it is stored.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    pub(super) const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub(super) const fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}
