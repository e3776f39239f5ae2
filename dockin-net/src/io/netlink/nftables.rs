//! Packet filter rules, as netlink messages to `nf_tables`.
//!
//! Every attachment's rules stand for themselves in one chain and carry their owner as their
//! comment, as `nft list ruleset` shows it, so nothing has to be remembered to remove them:
//!
//! ```text
//! table inet dockin { chain masquerade { type nat hook postrouting priority srcnat;
//!     meta nfproto ipv4 ip saddr ADDRESS ip daddr != NETWORK ip daddr != 224.0.0.0/4 masquerade
//! } }
//! table bridge dockin { chain sources { type filter hook prerouting priority -300;
//!     iifname HOST ether saddr != MAC drop
//! } }
//! ```
//!
//! Source: the kernel's `linux/netfilter/nf_tables.h`, `linux/netfilter/nfnetlink.h`; the comment's
//! form is that of libnftnl's user data.

use std::net::IpAddr;

use super::message::{APPEND, Attributes, Batch, CREATE, DUMP, Reader, text};
use crate::{
    Cidr,
    bridge::{Mac, Owner},
};

const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const NF_TABLES: u16 = 10;
const NEW_TABLE: u16 = NF_TABLES << 8;
const NEW_CHAIN: u16 = (NF_TABLES << 8) | 3;
const NEW_RULE: u16 = (NF_TABLES << 8) | 6;
const GET_RULE: u16 = (NF_TABLES << 8) | 7;
const DELETE_RULE: u16 = (NF_TABLES << 8) | 8;

const FAMILY_UNSPECIFIED: u8 = 0;
const HEADER: usize = 4;

const TABLE: &str = "dockin";

const NAME: u16 = 1;
const TABLE_OF_CHAIN: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USER_DATA: u16 = 7;
const ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const VALUE: u16 = 1;
const VERDICT: u16 = 2;
const COMMENT: u8 = 0;

const REGISTER: u32 = 1;
const REGISTER_VERDICT: u32 = 0;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const LINK_LAYER: u32 = 0;
const NETWORK_LAYER: u32 = 1;
const META_PROTOCOL: u32 = 15;
const META_INPUT_NAME: u32 = 6;
const DROP: u32 = 0;

/// A chain that packets pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Chain {
    family: u8,
    name: &'static str,
    kind: &'static str,
    hook: u32,
    priority: i32,
}

/// `inet`, after the routing decision, where source addresses are translated.
pub(super) const MASQUERADE: Chain = Chain {
    family: 1,
    name: "masquerade",
    kind: "nat",
    hook: 4,
    priority: 100,
};
/// `bridge`, before anything else looks at the packet.
pub(super) const SOURCES: Chain = Chain {
    family: 7,
    name: "sources",
    kind: "filter",
    hook: 0,
    priority: -300,
};

/// A rule that is there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Rule {
    pub(super) chain: Chain,
    pub(super) handle: Vec<u8>,
    pub(super) owner: Owner,
}

const fn header(family: u8) -> [u8; HEADER] {
    [family, 0, 0, 0]
}

fn begin_or_end(batch: &mut Batch, sequence: u32, kind: u16) {
    let [high, low] = NF_TABLES.to_be_bytes();
    batch.message(
        sequence,
        kind,
        0,
        &[FAMILY_UNSPECIFIED, 0, high, low],
        |_| (),
    );
}

/// One transaction. `next` gives sequence numbers.
pub(super) fn transaction(
    next: &mut dyn FnMut() -> u32,
    fill: impl FnOnce(&mut Batch, &mut dyn FnMut() -> u32),
) -> Batch {
    let mut batch = Batch::default();
    begin_or_end(&mut batch, next(), BEGIN);
    fill(&mut batch, next);
    begin_or_end(&mut batch, next(), END);
    batch
}

fn chain(batch: &mut Batch, next: &mut dyn FnMut() -> u32, chain: Chain) {
    batch.push(next(), NEW_TABLE, CREATE, &header(chain.family), |it| {
        it.text(NAME, TABLE)
    });
    batch.push(next(), NEW_CHAIN, CREATE, &header(chain.family), |it| {
        it.text(TABLE_OF_CHAIN, TABLE);
        it.text(CHAIN_NAME, chain.name);
        it.nest(CHAIN_HOOK, |it| {
            it.big(HOOK_NUMBER, chain.hook);
            it.put(HOOK_PRIORITY, &chain.priority.to_be_bytes());
        });
        it.text(CHAIN_TYPE, chain.kind);
    });
}

fn rule(
    batch: &mut Batch,
    sequence: u32,
    chain: Chain,
    owner: &Owner,
    fill: impl FnOnce(&mut Attributes<'_>),
) {
    batch.push(
        sequence,
        NEW_RULE,
        CREATE | APPEND,
        &header(chain.family),
        |it| {
            it.text(RULE_TABLE, TABLE);
            it.text(RULE_CHAIN, chain.name);
            it.nest(RULE_EXPRESSIONS, fill);
            let length = u8::try_from(owner.as_str().len() + 1).unwrap_or(u8::MAX);
            let mut data = vec![COMMENT, length];
            data.extend_from_slice(owner.as_str().as_bytes());
            data.push(0);
            it.put(RULE_USER_DATA, &data);
        },
    );
}

/// What leaves the network of `address` from it gets the address of the interface it leaves by.
pub(super) fn masquerade(
    batch: &mut Batch,
    next: &mut dyn FnMut() -> u32,
    address: Cidr,
    owner: &Owner,
) {
    chain(batch, next, MASQUERADE);
    let network = Cidr::new(address.first(), address.prefix()).unwrap_or(address);
    // (protocol, where the source and the destination are, the group addresses)
    let (protocol, source, destination, group, bits) = match address.address() {
        IpAddr::V4(_) => (2, 12, 16, vec![224, 0, 0, 0], 4),
        IpAddr::V6(_) => {
            let mut group = vec![0; 16];
            if let Some(first) = group.first_mut() {
                *first = 0xff;
            }
            (10, 8, 24, group, 8)
        }
    };
    let own = octets(address.address());
    let length = u32::try_from(own.len()).unwrap_or(16);
    rule(batch, next(), MASQUERADE, owner, |it| {
        meta(it, META_PROTOCOL);
        compare(it, EQUAL, &[protocol]);
        payload(it, NETWORK_LAYER, source, length);
        compare(it, EQUAL, &own);
        for (prefix, value) in [(network.prefix(), octets(network.address())), (bits, group)] {
            payload(it, NETWORK_LAYER, destination, length);
            mask(it, &mask_bytes(prefix, own.len()));
            compare(it, NOT_EQUAL, &value);
        }
        expression(it, "masq", |_| ());
    });
}

/// What comes in at `host` from another hardware address than `mac` is dropped.
pub(super) fn check_source(
    batch: &mut Batch,
    next: &mut dyn FnMut() -> u32,
    host: &str,
    mac: Mac,
    owner: &Owner,
) {
    chain(batch, next, SOURCES);
    let mut name = host.as_bytes().to_vec();
    name.resize(16, 0);
    rule(batch, next(), SOURCES, owner, |it| {
        meta(it, META_INPUT_NAME);
        compare(it, EQUAL, &name);
        payload(it, LINK_LAYER, 6, 6);
        compare(it, NOT_EQUAL, &mac.0);
        expression(it, "immediate", |it| {
            it.big(1, REGISTER_VERDICT);
            it.nest(2, |it| it.nest(VERDICT, |it| it.big(1, DROP)));
        });
    });
}

pub(super) fn remove(batch: &mut Batch, sequence: u32, rule: &Rule) {
    batch.push(sequence, DELETE_RULE, 0, &header(rule.chain.family), |it| {
        it.text(RULE_TABLE, TABLE);
        it.text(RULE_CHAIN, rule.chain.name);
        it.put(RULE_HANDLE, &rule.handle);
    });
}

pub(super) fn list(batch: &mut Batch, sequence: u32, chain: Chain) {
    batch.push(sequence, GET_RULE, DUMP, &header(chain.family), |it| {
        it.text(RULE_TABLE, TABLE);
        it.text(RULE_CHAIN, chain.name);
    });
}

/// A rule of ours; `None` for others.
pub(super) fn read(bytes: &[u8], chain: Chain) -> Option<Rule> {
    let attributes = Reader(bytes.get(HEADER..)?);
    if text(attributes.find(RULE_TABLE)?) != TABLE
        || text(attributes.find(RULE_CHAIN)?) != chain.name
    {
        return None;
    }
    let data = attributes.find(RULE_USER_DATA)?;
    let comment = data.get(2..).filter(|_| data.first() == Some(&COMMENT))?;
    Some(Rule {
        chain,
        handle: attributes.find(RULE_HANDLE)?.to_vec(),
        owner: Owner::parse(&text(comment))?,
    })
}

fn expression(it: &mut Attributes<'_>, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
    it.nest(ELEMENT, |it| {
        it.text(EXPRESSION_NAME, name);
        it.nest(EXPRESSION_DATA, fill);
    });
}

fn meta(it: &mut Attributes<'_>, key: u32) {
    expression(it, "meta", |it| {
        it.big(1, REGISTER);
        it.big(2, key);
    });
}

fn payload(it: &mut Attributes<'_>, base: u32, offset: u32, length: u32) {
    expression(it, "payload", |it| {
        it.big(1, REGISTER);
        it.big(2, base);
        it.big(3, offset);
        it.big(4, length);
    });
}

fn compare(it: &mut Attributes<'_>, how: u32, value: &[u8]) {
    expression(it, "cmp", |it| {
        it.big(1, REGISTER);
        it.big(2, how);
        it.nest(3, |it| it.put(VALUE, value));
    });
}

fn mask(it: &mut Attributes<'_>, mask: &[u8]) {
    let length = u32::try_from(mask.len()).unwrap_or(16);
    expression(it, "bitwise", |it| {
        it.big(1, REGISTER);
        it.big(2, REGISTER);
        it.big(3, length);
        it.nest(4, |it| it.put(VALUE, mask));
        it.nest(5, |it| it.put(VALUE, &vec![0; mask.len()]));
    });
}

fn mask_bytes(prefix: u8, length: usize) -> Vec<u8> {
    let bits = usize::from(prefix);
    (0..length)
        .map(|index| match bits.saturating_sub(index * 8) {
            left @ 0..8 => !(0xff_u8 >> left),
            _ => 0xff,
        })
        .collect()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
