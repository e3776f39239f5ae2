use std::net::{IpAddr, Ipv6Addr};

use super::{Mac, Place};
use crate::{Cidr, Family, cni::Route};

/// How an IPv6 address is tested for a double.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the kernel knows no others")]
pub enum Detection {
    /// Not at all: the address plugin gives each address once.
    Off,
    /// Usable at once, tested meanwhile (RFC 4429). For up to two seconds neighbours that do not
    /// know the address yet are not found: Linux leaves a question without its hardware address
    /// unanswered.
    Optimistic,
    /// Tested first, as `enabledad` asks.
    First,
}

/// Whose rules these are: the text that packet filter rules carry as their comment.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Owner(String);

impl Owner {
    /// The comment of an attachment's rules, at most 127 bytes: the pair's name on the host stands
    /// for container and interface, which may be longer.
    #[must_use]
    pub fn new(network: &str, host_name: &str) -> Self {
        let network: String = network.chars().take(96).collect();
        Self(format!("dockin {host_name} {network}"))
    }

    /// The comment.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The pair's name on the host.
    #[must_use]
    pub fn host_name(&self) -> Option<&str> {
        self.0.split(' ').nth(1)
    }

    /// Reads a comment; `None` when it is not one of ours.
    #[must_use]
    pub fn parse(comment: &str) -> Option<Self> {
        let mut words = comment.splitn(3, ' ');
        let ours = words.next() == Some("dockin") && words.count() == 2;
        ours.then(|| Self(comment.to_owned()))
    }
}

/// One thing to be done in the kernel.
///
/// A step and what undoes it are values: nothing is done here. Steps that make what attachments
/// share (the bridge, its address, forwarding) are undone by nobody: another attachment may have
/// begun to use it in between.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// Make the bridge; success when it is there. Shared.
    MakeBridge {
        /// Its name.
        name: String,
        /// The kernel's choice when `None`.
        mtu: Option<u32>,
        /// Fixed when given; else the kernel takes that of a port.
        mac: Option<Mac>,
        /// Does it tell VLANs apart?
        vlan_filtering: bool,
    },
    /// Have a new bridge take no routes from others, and use its IPv6 addresses at once: nobody is
    /// on it yet who could have them. Shared.
    SettleBridge {
        /// Its name.
        name: String,
    },
    /// Switch the bridge on. Shared.
    RaiseBridge {
        /// Its name.
        name: String,
        /// Take packets for everybody?
        promiscuous: bool,
        /// Fix its hardware address, so that it does not change with its ports.
        mac: Option<Mac>,
    },
    /// Give the bridge an address; success when it has it. Shared.
    AddBridgeAddress {
        /// The bridge.
        name: String,
        /// Its address.
        address: Cidr,
    },
    /// Take an address from the bridge, as `forceAddress` asks. Shared.
    RemoveBridgeAddress {
        /// The bridge.
        name: String,
        /// Its address.
        address: Cidr,
    },
    /// Let the host forward packets of this family. Shared.
    Forward(Family),
    /// Make the pair: one end on the bridge and up, the other in the container.
    MakePair {
        /// The end on the host.
        host: String,
        /// The end in the container.
        pod: String,
        /// The bridge.
        bridge: String,
        /// The kernel's choice when `None`.
        mtu: Option<u32>,
        /// Of the end in the container.
        mac: Mac,
        /// The mark of the network.
        group: u32,
    },
    /// Remove an interface, and a pair with it; success when it is gone.
    RemoveLink {
        /// Where.
        place: Place,
        /// Its name.
        name: String,
    },
    /// Set what a port of the bridge does.
    SetPort {
        /// The end on the host.
        host: String,
        /// May packets go back where they came from?
        hairpin: bool,
        /// May it talk to the other isolated ports?
        isolated: bool,
    },
    /// Set the VLANs of a port: `untagged` is the one for packets without tag.
    SetVlans {
        /// The end on the host.
        host: String,
        /// Access VLAN, 0 for none.
        untagged: u16,
        /// Trunk VLANs.
        tagged: Vec<u16>,
        /// Take it out of VLAN 1?
        leave_default: bool,
    },
    /// Drop packets of a port that do not come from its own hardware address.
    CheckSource {
        /// The end on the host.
        host: String,
        /// The only one allowed.
        mac: Mac,
        /// The mark of the rule.
        owner: Owner,
    },
    /// Let packets of an address leave its network under the host's address.
    Masquerade {
        /// The address and its network.
        address: Cidr,
        /// The mark of the rule.
        owner: Owner,
    },
    /// Remove all rules with this mark.
    RemoveRules(Owner),
    /// Switch IPv6 on in the container, on `lo` and on this interface.
    EnableIpv6 {
        /// The interface.
        name: String,
        /// How addresses are tested.
        detection: Detection,
        /// Will its addresses be advertised?
        announce: bool,
    },
    /// Switch the container's interface on.
    RaisePod {
        /// The interface.
        name: String,
    },
    /// Ask who has the address, before it is used; fails when somebody answers in time.
    Probe {
        /// The interface.
        name: String,
        /// The address.
        address: IpAddr,
        /// How long answers are awaited, in milliseconds.
        wait: u32,
    },
    /// Give the container's interface an address.
    AddAddress {
        /// The interface.
        name: String,
        /// The address.
        address: Cidr,
        /// For IPv6.
        detection: Detection,
    },
    /// Wait until the kernel has taken the IPv6 addresses into use; fails when it tested one and
    /// somebody has it.
    AwaitDetection {
        /// The interface.
        name: String,
        /// The addresses, which were added since IPv6 was switched on.
        addresses: Vec<Ipv6Addr>,
    },
    /// Add a route in the container; success when the same is there.
    AddRoute {
        /// The interface.
        name: String,
        /// The route, with its gateway filled in.
        route: Route,
    },
    /// Wait until the bridge's port carries packets.
    AwaitPort {
        /// The end on the host.
        host: String,
    },
    /// Point what the host remembers of an address at its new holder, where it remembers anything.
    UpdateNeighbour {
        /// The bridge.
        bridge: String,
        /// The address.
        address: IpAddr,
        /// Whose it is now.
        mac: Mac,
    },
    /// Tell everybody whose the IPv4 addresses are: gratuitous ARP.
    Announce {
        /// The interface.
        name: String,
        /// Its hardware address.
        mac: Mac,
    },
    /// Tell everybody whose the IPv6 addresses are: unsolicited neighbour advertisements.
    Advertise {
        /// The interface.
        name: String,
        /// The addresses.
        addresses: Vec<Ipv6Addr>,
        /// Its hardware address.
        mac: Mac,
        /// Is it to replace what neighbours know? Not while an address is tested.
        overriding: bool,
    },
}

impl Step {
    /// What undoes this step; `None` when nothing has to: what is shared stays, and what is on the
    /// pair goes with the pair.
    #[must_use]
    pub fn inverse(&self) -> Option<Self> {
        match self {
            Self::MakePair { host, .. } => Some(Self::RemoveLink {
                place: Place::Host,
                name: host.clone(),
            }),
            Self::CheckSource { owner, .. } | Self::Masquerade { owner, .. } => {
                Some(Self::RemoveRules(owner.clone()))
            }
            _ => None,
        }
    }

    /// Where it is done.
    #[must_use]
    pub const fn place(&self) -> Place {
        match self {
            Self::RemoveLink { place, .. } => *place,
            Self::EnableIpv6 { .. }
            | Self::RaisePod { .. }
            | Self::Probe { .. }
            | Self::AddAddress { .. }
            | Self::AwaitDetection { .. }
            | Self::AddRoute { .. }
            | Self::Announce { .. }
            | Self::Advertise { .. } => Place::Pod,
            _ => Place::Host,
        }
    }

    /// What is done, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::MakeBridge { name, .. } => format!("make bridge `{name}`"),
            Self::SettleBridge { name } => format!("set the parameters of bridge `{name}`"),
            Self::RaiseBridge { name, .. } => format!("switch bridge `{name}` on"),
            Self::AddBridgeAddress { name, address } => format!("add {address} to `{name}`"),
            Self::RemoveBridgeAddress { name, address } => {
                format!("remove {address} from `{name}`")
            }
            Self::Forward(family) => format!("forward IPv{}", family.digit()),
            Self::MakePair { pod, bridge, .. } => {
                format!("make `{pod}` in the container and its port on `{bridge}`")
            }
            Self::RemoveLink { name, .. } => format!("remove `{name}`"),
            Self::SetPort { host, .. } => format!("set port `{host}`"),
            Self::SetVlans { host, .. } => format!("set the VLANs of port `{host}`"),
            Self::CheckSource { host, .. } => format!("check the sources of port `{host}`"),
            Self::Masquerade { address, .. } => format!("masquerade {address}"),
            Self::RemoveRules(owner) => format!("remove the rules of `{}`", owner.as_str()),
            Self::EnableIpv6 { name, .. } => format!("switch IPv6 of `{name}` on"),
            Self::RaisePod { name } => format!("switch `{name}` on"),
            Self::Probe { address, .. } => format!("ask who has {address}"),
            Self::AddAddress { name, address, .. } => format!("add {address} to `{name}`"),
            Self::AwaitDetection { name, .. } => format!("take the addresses of `{name}` into use"),
            Self::AddRoute { name, route } => {
                format!("add the route to {} on `{name}`", route.destination)
            }
            Self::AwaitPort { host } => format!("wait for port `{host}`"),
            Self::UpdateNeighbour { address, .. } => format!("update neighbour {address}"),
            Self::Announce { name, .. } => format!("announce the addresses of `{name}`"),
            Self::Advertise { name, .. } => format!("advertise the addresses of `{name}`"),
        }
    }
}
