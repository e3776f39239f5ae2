use std::net::IpAddr;

use super::Mac;
use crate::Cidr;

/// A namespace that a call touches.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(clippy::exhaustive_enums, reason = "an attachment has two ends")]
pub enum Place {
    /// Where the plugin runs.
    Host,
    /// The container's.
    Pod,
}

/// An interface as the kernel has it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its driver's word: `bridge`, `veth`, or empty for hardware.
    pub kind: String,
    /// Its hardware address.
    pub mac: Mac,
    /// Bytes of the largest packet.
    pub mtu: u32,
    /// The number of the bridge it is a port of, 0 for none.
    pub master: u32,
    /// The number of the other end of a pair in that end's namespace, 0 for none.
    pub peer: u32,
    /// Is it able to carry packets, both ends up?
    pub operational: bool,
    /// Is it switched on?
    pub up: bool,
    /// Does it take packets for everybody because somebody asked for it?
    pub promiscuous: bool,
    /// Its addresses, where they were asked for.
    pub addresses: Vec<Assigned>,
}

/// An address on an interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Assigned {
    /// The address.
    pub address: Cidr,
    /// Is it still being tested for a double, and not to be used?
    pub tentative: bool,
    /// Did somebody else have it?
    pub duplicate: bool,
}

/// A route in the container.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KernelRoute {
    /// Where to, host bits zero.
    pub destination: Cidr,
    /// Through whom.
    pub gateway: Option<IpAddr>,
    /// The routing table.
    pub table: u32,
}
