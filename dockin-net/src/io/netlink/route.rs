//! The part of rtnetlink that a bridge network needs.
//!
//! Source: the kernel's `linux/if_link.h`, `linux/if_addr.h`, `linux/rtnetlink.h`,
//! `linux/neighbour.h`, `linux/if_bridge.h`; rtnetlink(7).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::RawFd,
};

use super::message::{APPEND, Batch, CREATE, DUMP, ECHO, EXCLUSIVE, REPLACE, Reader, number, text};
use crate::{
    Cidr, Family,
    bridge::{Assigned, Detection, KernelRoute, Link, Mac},
    cni::Route,
};

const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
pub(super) const NEW_ADDRESS: u16 = 20;
const DEL_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
const NEW_NEIGHBOUR: u16 = 28;

const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_BRIDGE: u8 = 7;
const AF_INET6: u8 = 10;

const IFF_UP: u32 = 1;
const IFF_PROMISC: u32 = 0x100;
const OPERATIONAL_UNKNOWN: u8 = 0;
const OPERATIONAL_UP: u8 = 6;

const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;

/// Attributes of links.
mod ifla {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const LINK: u16 = 5;
    pub(super) const MASTER: u16 = 10;
    pub(super) const OPERATIONAL: u16 = 16;
    pub(super) const INFO: u16 = 18;
    pub(super) const OF_FAMILY: u16 = 26;
    pub(super) const GROUP: u16 = 27;
    pub(super) const NAMESPACE: u16 = 28;
    pub(super) const FILTER: u16 = 29;
    pub(super) const PROMISCUITY: u16 = 30;
}

/// `IFLA_INFO_…`
const KIND: u16 = 1;
const DATA: u16 = 2;
const PORT_KIND: u16 = 4;
const PORT_DATA: u16 = 5;
const PEER: u16 = 1;
const BRIDGE_VLAN_FILTERING: u16 = 7;
const PORT_HAIRPIN: u16 = 4;
const PORT_ISOLATED: u16 = 33;
/// Leave the counters out: the kernel would add them up over all processors.
const SKIP_STATISTICS: u32 = 8;

/// `IFLA_BRIDGE_…`, and the flags of a VLAN.
const VLAN_INFO: u16 = 2;
const VLAN_PVID: u16 = 2;
const VLAN_UNTAGGED: u16 = 4;
const DEFAULT_VLAN: u16 = 1;

/// `IFLA_INET_CONF` and the number in it.
const INET_CONF: u16 = 1;
const ARP_NOTIFY: u16 = 22;

/// `RTMGRP_IPV6_IFADDR`: who joins it hears of every address of IPv6.
pub(super) const NEWS_OF_IPV6_ADDRESSES: u32 = 0x100;

/// `IFA_…`
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const TENTATIVE: u32 = 0x40;
const WITHOUT_DETECTION: u32 = 0x02;
const OPTIMISTIC: u32 = 0x04;
const DAD_FAILED: u32 = 0x08;

/// `RTA_…`
const RTA_DESTINATION: u16 = 1;
const RTA_INTERFACE: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_METRICS: u16 = 8;
const RTA_TABLE: u16 = 15;
const METRIC_MTU: u16 = 2;
const METRIC_ADVMSS: u16 = 8;
const TABLE_MAIN: u32 = 254;
const PROTOCOL_BOOT: u8 = 3;
const UNICAST: u8 = 1;

/// `NDA_…`
const NDA_DESTINATION: u16 = 1;
const NDA_ADDRESS: u16 = 2;
const STALE: u16 = 4;

/// What is set on a link that is made or changed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    pub(super) flags: u32,
    pub(super) mask: u32,
    pub(super) mac: Option<Mac>,
    /// Announce addresses when the hardware address is set or the link comes up.
    pub(super) arp_notify: bool,
}

impl Change {
    pub(super) const fn up() -> Self {
        Self {
            flags: IFF_UP,
            mask: IFF_UP,
            mac: None,
            arp_notify: false,
        }
    }

    pub(super) const fn promiscuous(mut self) -> Self {
        self.flags |= IFF_PROMISC;
        self.mask |= IFF_PROMISC;
        self
    }
}

fn link_header(family: u8, index: u32, flags: u32, mask: u32) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    let numbers = [u32::from(family), index, flags, mask];
    // The first byte is the family; the type behind it is the kernel's to know.
    let little = |number: u32| number.to_ne_bytes();
    for (slot, value) in header.chunks_exact_mut(4).zip(numbers) {
        slot.copy_from_slice(&little(value));
    }
    header
}

pub(super) fn get_link(batch: &mut Batch, sequence: u32, name: &str) {
    let header = link_header(AF_UNSPEC, 0, 0, 0);
    batch.push(sequence, GET_LINK, 0, &header, |it| {
        it.text(ifla::NAME, name);
        it.number(ifla::FILTER, SKIP_STATISTICS);
    });
}

pub(super) fn list_links(batch: &mut Batch, sequence: u32) {
    let header = link_header(AF_UNSPEC, 0, 0, 0);
    batch.push(sequence, GET_LINK, DUMP, &header, |it| {
        it.number(ifla::FILTER, SKIP_STATISTICS);
    });
}

pub(super) fn list_addresses(batch: &mut Batch, sequence: u32) {
    batch.push(sequence, GET_ADDRESS, DUMP, &[0; ADDRESS_HEADER], |_| ());
}

pub(super) fn list_routes(batch: &mut Batch, sequence: u32) {
    batch.push(sequence, GET_ROUTE, DUMP, &[0; ROUTE_HEADER], |_| ());
}

pub(super) fn make_bridge(
    batch: &mut Batch,
    sequence: u32,
    name: &str,
    mtu: Option<u32>,
    mac: Option<Mac>,
    vlan_filtering: bool,
) {
    let header = link_header(AF_UNSPEC, 0, 0, 0);
    batch.push(sequence, NEW_LINK, CREATE | EXCLUSIVE, &header, |it| {
        it.text(ifla::NAME, name);
        if let Some(mtu) = mtu {
            it.number(ifla::MTU, mtu);
        }
        if let Some(Mac(mac)) = mac {
            it.put(ifla::ADDRESS, &mac);
        }
        it.nest(ifla::INFO, |it| {
            it.text(KIND, "bridge");
            if vlan_filtering {
                it.nest(DATA, |it| it.put(BRIDGE_VLAN_FILTERING, &[1]));
            }
        });
    });
}

/// The ends of a pair that is to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'a> {
    pub(super) host: &'a str,
    pub(super) pod: &'a str,
    pub(super) bridge: u32,
    pub(super) mtu: Option<u32>,
    pub(super) mac: Mac,
    pub(super) group: u32,
    pub(super) namespace: RawFd,
}

/// One message makes both ends, each in its namespace, and puts the first on the bridge. The other
/// cannot be made switched on: the kernel would find it without its peer. Since Linux 6.2 the
/// first comes back as it is made, with the number of the other.
pub(super) fn make_pair(batch: &mut Batch, sequence: u32, pair: Pair<'_>) {
    let header = link_header(AF_UNSPEC, 0, IFF_UP, IFF_UP);
    let peer = link_header(AF_UNSPEC, 0, 0, 0);
    let flags = CREATE | EXCLUSIVE | ECHO;
    batch.push(sequence, NEW_LINK, flags, &header, |it| {
        it.text(ifla::NAME, pair.host);
        it.number(ifla::MASTER, pair.bridge);
        it.number(ifla::GROUP, pair.group);
        if let Some(mtu) = pair.mtu {
            it.number(ifla::MTU, mtu);
        }
        it.nest(ifla::INFO, |it| {
            it.text(KIND, "veth");
            it.nest(DATA, |it| {
                it.nest_behind(PEER, &peer, |it| {
                    it.text(ifla::NAME, pair.pod);
                    it.put(ifla::ADDRESS, &pair.mac.0);
                    it.put(ifla::NAMESPACE, &pair.namespace.to_ne_bytes());
                    if let Some(mtu) = pair.mtu {
                        it.number(ifla::MTU, mtu);
                    }
                });
            });
        });
    });
}

pub(super) fn remove_link(batch: &mut Batch, sequence: u32, name: &str) {
    let header = link_header(AF_UNSPEC, 0, 0, 0);
    batch.push(sequence, DEL_LINK, 0, &header, |it| {
        it.text(ifla::NAME, name)
    });
}

pub(super) fn change_link(batch: &mut Batch, sequence: u32, name: &str, change: Change) {
    let header = link_header(AF_UNSPEC, 0, change.flags, change.mask);
    batch.push(sequence, SET_LINK, 0, &header, |it| {
        it.text(ifla::NAME, name);
        if change.arp_notify {
            it.nest(ifla::OF_FAMILY, |it| {
                it.nest(u16::from(AF_INET), |it| {
                    it.nest(INET_CONF, |it| it.number(ARP_NOTIFY, 1));
                });
            });
        }
        if let Some(Mac(mac)) = change.mac {
            it.put(ifla::ADDRESS, &mac);
        }
    });
}

pub(super) fn set_port(
    batch: &mut Batch,
    sequence: u32,
    host: &str,
    hairpin: bool,
    isolated: bool,
) {
    let header = link_header(AF_UNSPEC, 0, 0, 0);
    batch.push(sequence, NEW_LINK, 0, &header, |it| {
        it.text(ifla::NAME, host);
        it.nest(ifla::INFO, |it| {
            it.text(PORT_KIND, "bridge");
            it.nest(PORT_DATA, |it| {
                it.put(PORT_HAIRPIN, &[u8::from(hairpin)]);
                it.put(PORT_ISOLATED, &[u8::from(isolated)]);
            });
        });
    });
}

pub(super) fn leave_default_vlan(batch: &mut Batch, sequence: u32, index: u32) {
    let header = link_header(AF_BRIDGE, index, 0, 0);
    batch.push(sequence, DEL_LINK, 0, &header, |it| {
        it.nest(ifla::OF_FAMILY, |it| {
            it.put(VLAN_INFO, &vlan(DEFAULT_VLAN, false));
        });
    });
}

pub(super) fn join_vlans(
    batch: &mut Batch,
    sequence: u32,
    index: u32,
    untagged: u16,
    tagged: &[u16],
) {
    let header = link_header(AF_BRIDGE, index, 0, 0);
    batch.push(sequence, SET_LINK, 0, &header, |it| {
        it.nest(ifla::OF_FAMILY, |it| {
            if untagged != 0 {
                it.put(VLAN_INFO, &vlan(untagged, true));
            }
            for id in tagged {
                it.put(VLAN_INFO, &vlan(*id, false));
            }
        });
    });
}

fn vlan(id: u16, untagged: bool) -> [u8; 4] {
    let flags = if untagged {
        VLAN_PVID | VLAN_UNTAGGED
    } else {
        0
    };
    let ([a, b], [c, d]) = (flags.to_ne_bytes(), id.to_ne_bytes());
    [a, b, c, d]
}

fn address_header(address: Cidr, index: u32) -> [u8; ADDRESS_HEADER] {
    let [a, b, c, d] = index.to_ne_bytes();
    [family(address.family()), address.prefix(), 0, 0, a, b, c, d]
}

pub(super) fn add_address(
    batch: &mut Batch,
    sequence: u32,
    index: u32,
    address: Cidr,
    detection: Detection,
) {
    let header = address_header(address, index);
    let bytes = octets(address.address());
    batch.push(sequence, NEW_ADDRESS, CREATE | EXCLUSIVE, &header, |it| {
        it.put(IFA_LOCAL, &bytes);
        it.put(IFA_ADDRESS, &bytes);
        // Two addresses have no broadcast address beside them.
        if address.family() == Family::V4 && address.host_bits() > 1 {
            it.put(IFA_BROADCAST, &octets(address.last()));
        }
        if address.family() == Family::V6 {
            match detection {
                Detection::Off => it.number(IFA_FLAGS, WITHOUT_DETECTION),
                Detection::Optimistic => it.number(IFA_FLAGS, OPTIMISTIC),
                Detection::First => {}
            }
        }
    });
}

pub(super) fn remove_address(batch: &mut Batch, sequence: u32, index: u32, address: Cidr) {
    let header = address_header(address, index);
    batch.push(sequence, DEL_ADDRESS, 0, &header, |it| {
        it.put(IFA_LOCAL, &octets(address.address()));
    });
}

pub(super) fn add_route(batch: &mut Batch, sequence: u32, index: u32, route: &Route) {
    let positive = |number: i64| u32::try_from(number).ok().filter(|it| *it > 0);
    let table = route.table.and_then(positive).unwrap_or(TABLE_MAIN);
    let small = u8::try_from(table).unwrap_or(0);
    let scope = route
        .scope
        .and_then(|it| u8::try_from(it).ok())
        .unwrap_or(0);
    let header = [
        family(route.destination.family()),
        route.destination.prefix(),
        0,
        0,
        small,
        PROTOCOL_BOOT,
        scope,
        UNICAST,
        0,
        0,
        0,
        0,
    ];
    batch.push(sequence, NEW_ROUTE, CREATE | APPEND, &header, |it| {
        it.put(RTA_DESTINATION, &octets(route.destination.first()));
        it.number(RTA_INTERFACE, index);
        it.number(RTA_TABLE, table);
        if let Some(gateway) = route.gateway {
            it.put(RTA_GATEWAY, &octets(gateway));
        }
        if let Some(priority) = positive(route.priority) {
            it.number(RTA_PRIORITY, priority);
        }
        let metrics = [(METRIC_MTU, route.mtu), (METRIC_ADVMSS, route.advmss)];
        if metrics.iter().any(|(_, value)| *value > 0) {
            it.nest(RTA_METRICS, |it| {
                for (kind, value) in metrics {
                    if let Some(value) = positive(value) {
                        it.number(kind, value);
                    }
                }
            });
        }
    });
}

pub(super) fn update_neighbour(
    batch: &mut Batch,
    sequence: u32,
    index: u32,
    address: IpAddr,
    mac: Mac,
) {
    let [a, b, c, d] = index.to_ne_bytes();
    let [low, high] = STALE.to_ne_bytes();
    let family = family(Family::of(address));
    let header = [family, 0, 0, 0, a, b, c, d, low, high, 0, 0];
    batch.push(sequence, NEW_NEIGHBOUR, REPLACE, &header, |it| {
        it.put(NDA_DESTINATION, &octets(address));
        it.put(NDA_ADDRESS, &mac.0);
    });
}

/// A link without its addresses, and its group.
pub(super) fn read_link(payload: &[u8]) -> Option<(Link, u32)> {
    let (header, rest) = payload.split_at_checked(LINK_HEADER)?;
    let attributes = Reader(rest);
    let flags = number(header.get(8..)?)?;
    let of = |kind| attributes.find(kind).and_then(number).unwrap_or_default();
    let info = attributes.nest(ifla::INFO);
    let mac = attributes
        .find(ifla::ADDRESS)
        .and_then(|it| it.try_into().ok());
    let state = attributes.find(ifla::OPERATIONAL).and_then(|it| it.first());
    let link = Link {
        index: number(header.get(4..)?)?,
        name: text(attributes.find(ifla::NAME).unwrap_or_default()),
        kind: text(info.find(KIND).unwrap_or_default()),
        mac: Mac(mac.unwrap_or_default()),
        mtu: of(ifla::MTU),
        master: of(ifla::MASTER),
        peer: of(ifla::LINK),
        operational: matches!(state, Some(&(OPERATIONAL_UP | OPERATIONAL_UNKNOWN))),
        up: flags & IFF_UP != 0,
        promiscuous: flags & IFF_PROMISC != 0 || of(ifla::PROMISCUITY) != 0,
        addresses: Vec::new(),
    };
    Some((link, of(ifla::GROUP)))
}

/// An address and the number of its link.
pub(super) fn read_address(payload: &[u8]) -> Option<(u32, Assigned)> {
    let (header, rest) = payload.split_at_checked(ADDRESS_HEADER)?;
    let attributes = Reader(rest);
    let address = attributes
        .find(IFA_LOCAL)
        .or_else(|| attributes.find(IFA_ADDRESS));
    let old_flags = u32::from(*header.get(2)?);
    let flags = attributes
        .find(IFA_FLAGS)
        .and_then(number)
        .unwrap_or(old_flags);
    let assigned = Assigned {
        address: Cidr::new(read_octets(address?)?, *header.get(1)?)?,
        tentative: flags & TENTATIVE != 0 && flags & OPTIMISTIC == 0,
        duplicate: flags & DAD_FAILED != 0,
    };
    Some((number(header.get(4..)?)?, assigned))
}

/// A route that is no entry for local addresses.
pub(super) fn read_route(payload: &[u8]) -> Option<KernelRoute> {
    let (header, rest) = payload.split_at_checked(ROUTE_HEADER)?;
    let attributes = Reader(rest);
    let small = u32::from(*header.get(4)?);
    let anywhere = match *header.first()? {
        AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let destination = match attributes.find(RTA_DESTINATION) {
        Some(bytes) => read_octets(bytes)?,
        None => anywhere,
    };
    Some(KernelRoute {
        destination: Cidr::new(destination, *header.get(1)?)?,
        gateway: attributes.find(RTA_GATEWAY).and_then(read_octets),
        table: attributes.find(RTA_TABLE).and_then(number).unwrap_or(small),
    })
}

const fn family(family: Family) -> u8 {
    match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn read_octets(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(bytes.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}
