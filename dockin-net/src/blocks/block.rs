use std::net::IpAddr;

use crate::{
    Family, Pool, RangeSet, Span,
    address::{from_number, to_number},
    lease::StickyKey,
};

/// Addresses of one record.
pub(super) const SIZE: u128 = 64;

/// 64 addresses in a row, the first one a multiple of 64. A set of them is the bits of a `u64`,
/// the lowest bit the first address.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Block {
    first: IpAddr,
}

impl Block {
    /// The block that `address` is in.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let number = to_number(address) / SIZE * SIZE;
        Self {
            first: from_number(Family::of(address), number),
        }
    }

    pub(super) fn numbered(family: Family, number: u128) -> Self {
        Self {
            first: from_number(family, number * SIZE),
        }
    }

    pub(super) fn number(self) -> u128 {
        to_number(self.first) / SIZE
    }

    /// Its first address.
    #[must_use]
    pub const fn first(self) -> IpAddr {
        self.first
    }

    /// The bit of one of its addresses; no bit for another one.
    #[must_use]
    pub fn bit(self, address: IpAddr) -> u64 {
        if Self::of(address) != self {
            return 0;
        }
        1 << (to_number(address) % SIZE)
    }

    /// The addresses of bits, in order.
    pub fn addresses(self, bits: u64) -> impl Iterator<Item = IpAddr> {
        let (family, first) = (Family::of(self.first), to_number(self.first));
        let set = (0..64_u32).filter(move |index| bits >> index & 1 == 1);
        set.map(move |index| from_number(family, first + u128::from(index)))
    }

    /// The addresses of bits as spans, in order.
    #[must_use]
    pub fn spans(self, bits: u64) -> Vec<Span> {
        let mut spans: Vec<(IpAddr, IpAddr)> = Vec::new();
        for address in self.addresses(bits) {
            match spans.last_mut() {
                Some((_, last)) if crate::next(*last) == Some(address) => *last = address,
                _ => spans.push((address, address)),
            }
        }
        let spans = spans.into_iter();
        spans
            .filter_map(|(first, last)| Span::new(first, last))
            .collect()
    }

    /// The addresses of a set that nodes may have: neither a gateway, nor excluded, nor set aside
    /// by the configuration.
    #[must_use]
    pub fn usable(self, pool: &Pool, set: &RangeSet) -> u64 {
        let usable = |address: &IpAddr| {
            set.range_of(*address)
                .is_some_and(|range| range.gateway() != *address)
                && pool.exclusion_of(*address).is_none()
                && !pool.reservations().iter().any(|it| it.address == *address)
        };
        self.addresses(u64::MAX)
            .filter(usable)
            .fold(0, |bits, address| bits | self.bit(address))
    }
}

/// What the keys of one network are called.
///
/// | key | value |
/// | --- | --- |
/// | `node/NAME` | the node's [session](super::record::SessionRecord), gone with its lease |
/// | `block/4/0a000040` | [who has which address](super::record::BlockRecord) of 64 from there on |
/// | `free/4/0a000040` | nothing: some address of that block is nobody's |
/// | `sticky/NAMESPACE/POD/INTERFACE` | [what a pod keeps](super::record::StickyRecord), and where it is |
/// | `aside/4/0a000043` | nothing: set aside by an operator, for nobody |
/// | `at/4/0a000043` | `NAMESPACE/POD/INTERFACE`, which a resource manager gave that address |
/// | `want/NAME` | nothing: that node finds no address; gone with its session |
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Names {
    root: String,
}

impl Names {
    /// The keys under `prefix/network/`.
    #[must_use]
    pub fn new(prefix: &str, network: &str) -> Self {
        Self {
            root: format!("{}/{network}/", prefix.trim_end_matches('/')),
        }
    }

    pub(super) fn node(&self, name: &str) -> String {
        format!("{}node/{name}", self.root)
    }

    pub(super) fn want(&self, name: &str) -> String {
        format!("{}want/{name}", self.root)
    }

    pub(super) fn block(&self, block: Block) -> String {
        format!("{}block/{}", self.root, text(block.first))
    }

    pub(super) fn free(&self, block: Block) -> String {
        format!("{}free/{}", self.root, text(block.first))
    }

    pub(super) fn aside(&self, address: IpAddr) -> String {
        format!("{}aside/{}", self.root, text(address))
    }

    pub(super) fn at(&self, address: IpAddr) -> String {
        format!("{}at/{}", self.root, text(address))
    }

    pub(super) fn sticky(&self, key: &StickyKey) -> String {
        format!(
            "{}sticky/{}/{}",
            self.root,
            key.owner,
            key.interface.as_str()
        )
    }

    /// All keys of a kind, `block/` for one: the first and the first behind them.
    pub(super) fn all(&self, kind: &str) -> (String, String) {
        let kind = kind.trim_end_matches('/');
        // `0` comes after `/`.
        (
            format!("{}{kind}/", self.root),
            format!("{}{kind}0", self.root),
        )
    }

    /// What follows the kind in a key.
    pub(super) fn tail<'a>(&self, kind: &str, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(self.root.as_str())?.strip_prefix(kind)
    }

    /// The address in a key of that kind.
    pub(super) fn address(&self, kind: &str, key: &str) -> Option<IpAddr> {
        let (family, digits) = self.tail(kind, key)?.split_once('/')?;
        let family = match family {
            "4" => Family::V4,
            "6" => Family::V6,
            _ => return None,
        };
        Some(from_number(family, u128::from_str_radix(digits, 16).ok()?))
    }
}

/// An address so that the order of texts is that of addresses.
fn text(address: IpAddr) -> String {
    let number = to_number(address);
    match Family::of(address) {
        Family::V4 => format!("4/{number:08x}"),
        Family::V6 => format!("6/{number:032x}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{Block, Names};
    use crate::{Cidr, Pool, Range, RangeSet, RangeSpec, Span, parse_address};

    #[test]
    fn keys_name_addresses_in_order() {
        let names = Names::new("/dockin/", "pods");
        let block = Block::of(parse_address("10.0.0.70").unwrap());
        assert_eq!(names.block(block), "/dockin/pods/block/4/0a000040");
        assert_eq!(
            names.address("block/", &names.block(block)),
            Some(block.first())
        );
        let six = Block::of(parse_address("fd00::1:47").unwrap());
        assert_eq!(six.first().to_string(), "fd00::1:40");
        assert_eq!(names.address("free/", &names.free(six)), Some(six.first()));
        let (from, to) = names.all("block/");
        assert!(from < names.block(block) && names.block(six) < to);
        assert!(names.free(six) > to);
    }

    #[test]
    fn gateways_exclusions_and_other_ranges_are_not_usable() {
        let range = Range::new(&RangeSpec {
            subnet: Some(Cidr::parse("10.0.0.0/26").unwrap()),
            ..RangeSpec::default()
        })
        .unwrap();
        let set = RangeSet::new(vec![range]).unwrap();
        let pool = Pool::new("", vec![set.clone()]).unwrap();
        let pool = pool.without(vec![Span::parse("10.0.0.4-10.0.0.61").unwrap()]);
        let block = Block::of(parse_address("10.0.0.9").unwrap());
        let bits = block.usable(&pool, &set);
        let usable: Vec<_> = block.addresses(bits).map(|it| it.to_string()).collect();
        assert_eq!(usable, ["10.0.0.2", "10.0.0.3", "10.0.0.62"]);
        let spans: Vec<_> = block.spans(bits).iter().map(Span::to_string).collect();
        assert_eq!(spans, ["10.0.0.2-10.0.0.3", "10.0.0.62-10.0.0.62"]);
    }
}
