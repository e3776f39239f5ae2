use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    BridgeConfig, Detection, Link, Mac, Owner, Step,
    mac::{group, host_name},
};
use crate::{
    Attachment, Cidr, Family,
    cni::{CniError, CniResult, ErrorCode, IpConfig, Route},
    next,
};

/// The names of an attachment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Names {
    /// The end on the host.
    pub host: String,
    /// The end in the container.
    pub pod: String,
    /// The mark of its rules.
    pub owner: Owner,
    /// The mark of its network's links.
    pub group: u32,
}

impl Names {
    /// The names are functions of the network and the attachment.
    #[must_use]
    pub fn new(network: &str, of: &Attachment) -> Self {
        let host = host_name(network, of.container_id().as_str(), of.interface_text());
        Self {
            owner: Owner::new(network, &host),
            host,
            pod: of.interface_text().to_owned(),
            group: group(network),
        }
    }
}

/// Fills in what an address plugin may leave out: gateways, when the bridge is one, and default
/// routes, when it is asked for them. Every route gets its gateway.
pub fn complete(config: &BridgeConfig, result: &mut CniResult) {
    for ip in &mut result.ips {
        if config.gateway && ip.gateway.is_none() {
            ip.gateway = next(ip.address.first());
        }
    }
    if config.default_gateway {
        for ip in &result.ips {
            let family = ip.address.family();
            let leads_out = |route: &Route| {
                route.destination.prefix() == 0
                    && route.destination.family() == family
                    && route.gateway.is_some()
            };
            if !result.routes.iter().any(leads_out) {
                result.routes.extend(everywhere(ip));
            }
        }
    }
}

/// The steps that make an attachment, in order.
///
/// `bridge` is the bridge as it is, `None` when it is to be made; `addresses` what the address
/// plugin gave, completed; `mac` that of the container's end.
///
/// # Errors
///
/// Code 7 when the bridge has another address and `forceAddress` is not set.
pub fn plan(
    config: &BridgeConfig,
    names: &Names,
    bridge: Option<&Link>,
    addresses: &CniResult,
    mac: Mac,
) -> Result<Vec<Step>, CniError> {
    let mut steps = plan_bridge(config, bridge, addresses)?;
    let host = || names.host.clone();
    let name = || names.pod.clone();
    steps.push(Step::MakePair {
        host: host(),
        pod: name(),
        bridge: config.bridge.clone(),
        mtu: config.mtu,
        mac,
        group: names.group,
    });
    if config.hairpin || config.isolated {
        steps.push(Step::SetPort {
            host: host(),
            hairpin: config.hairpin,
            isolated: config.isolated,
        });
    }
    if config.vlan_filtering() {
        steps.push(Step::SetVlans {
            host: host(),
            untagged: config.vlan,
            tagged: config.trunk.clone(),
            leave_default: !config.preserve_default_vlan,
        });
    }
    if config.check_source {
        steps.push(Step::CheckSource {
            host: host(),
            mac,
            owner: names.owner.clone(),
        });
    }
    if config.masquerade {
        steps.extend(addresses.ips.iter().map(|ip| Step::Masquerade {
            address: ip.address,
            owner: names.owner.clone(),
        }));
    }
    plan_pod(config, names, addresses, mac, &mut steps);
    Ok(steps)
}

fn plan_pod(
    config: &BridgeConfig,
    names: &Names,
    addresses: &CniResult,
    mac: Mac,
    steps: &mut Vec<Step>,
) {
    let name = || names.pod.clone();
    let await_port = Step::AwaitPort {
        host: names.host.clone(),
    };
    if config.keep_down {
        return;
    }
    let ips = addresses.ips.iter();
    let ipv6 = ips.filter_map(|ip| match ip.address.address() {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address),
    });
    let ipv6: Vec<_> = ipv6.collect();
    // What comes back through a port in hairpin mode would look like somebody else's claim while
    // an address is tested.
    let announce = !ipv6.is_empty() && !config.hairpin;
    let detection = match (config.detect_first, config.optimistic) {
        (true, _) => Detection::First,
        (_, true) => Detection::Optimistic,
        _ => Detection::Off,
    };
    if !ipv6.is_empty() {
        steps.push(Step::EnableIpv6 {
            name: name(),
            detection,
            announce,
        });
    }
    steps.push(Step::RaisePod { name: name() });
    if config.probe > 0 {
        steps.push(await_port.clone());
        let asked = addresses.ips.iter().map(|ip| ip.address.address());
        steps.extend(asked.filter(IpAddr::is_ipv4).map(|address| Step::Probe {
            name: name(),
            address,
            wait: config.probe,
        }));
    }
    // Those of IPv6 first: a worker of the kernel takes them into use while the rest is done.
    let (later, first): (Vec<_>, Vec<_>) = addresses
        .ips
        .iter()
        .partition(|ip| ip.address.family() == Family::V4);
    steps.extend(first.iter().chain(&later).map(|ip| Step::AddAddress {
        name: name(),
        address: ip.address,
        detection,
    }));
    steps.extend(addresses.routes.iter().map(|route| Step::AddRoute {
        name: name(),
        route: Route {
            gateway: route.gateway.or_else(|| gateway(route, &addresses.ips)),
            ..route.clone()
        },
    }));
    steps.extend(addresses.ips.iter().map(|ip| Step::UpdateNeighbour {
        bridge: config.bridge.clone(),
        address: ip.address.address(),
        mac,
    }));
    steps.push(await_port);
    // The kernel takes a moment to use an address also when it does not test it: before that it
    // hears no question for it and takes no packet, whatever the address's flags say.
    if !ipv6.is_empty() && detection != Detection::Optimistic {
        steps.push(Step::AwaitDetection {
            name: name(),
            addresses: ipv6.clone(),
        });
    }
    if !addresses.ips.is_empty() {
        steps.push(Step::Announce { name: name(), mac });
    }
    if announce {
        steps.push(Step::Advertise {
            name: name(),
            addresses: ipv6,
            mac,
            overriding: detection != Detection::Optimistic,
        });
    }
}

fn plan_bridge(
    config: &BridgeConfig,
    bridge: Option<&Link>,
    addresses: &CniResult,
) -> Result<Vec<Step>, CniError> {
    let name = || config.bridge.clone();
    let mut steps = Vec::new();
    let own: Vec<Cidr> = addresses
        .ips
        .iter()
        .filter(|_| config.gateway)
        .filter_map(|ip| Cidr::new(ip.gateway?, ip.address.prefix()))
        .collect();
    let mut present: Vec<Cidr> = Vec::new();
    present.extend(
        bridge
            .iter()
            .flat_map(|it| &it.addresses)
            .map(|it| it.address),
    );
    let changes = plan_bridge_addresses(config, &own, present)?;
    match bridge {
        Some(bridge) => {
            let fixed = (!changes.is_empty()).then_some(bridge.mac);
            let promiscuous = config.promiscuous && !bridge.promiscuous;
            if !bridge.up || promiscuous || fixed.is_some() {
                steps.push(Step::RaiseBridge {
                    name: name(),
                    promiscuous,
                    mac: fixed,
                });
            }
        }
        None => {
            steps.push(Step::MakeBridge {
                name: name(),
                mtu: config.mtu,
                mac: own.first().map(|it| Mac::of_address(it.address())),
                vlan_filtering: config.vlan_filtering(),
            });
            steps.push(Step::SettleBridge { name: name() });
            steps.push(Step::RaiseBridge {
                name: name(),
                promiscuous: config.promiscuous,
                mac: None,
            });
        }
    }
    steps.extend(changes);
    for family in [Family::V4, Family::V6] {
        if own.iter().any(|it| it.family() == family) {
            steps.push(Step::Forward(family));
        }
    }
    Ok(steps)
}

/// Gives the bridge the addresses of `own` that it does not have, one after the other.
fn plan_bridge_addresses(
    config: &BridgeConfig,
    own: &[Cidr],
    mut present: Vec<Cidr>,
) -> Result<Vec<Step>, CniError> {
    let mut steps = Vec::new();
    for address in own {
        if present.contains(address) {
            continue;
        }
        let against = |other: &&Cidr| contradicts(**other, *address);
        for other in present.iter().filter(against) {
            if !config.force_address {
                let message = format_args!(
                    "`{}` has {other} and would need {address}; `forceAddress` replaces it",
                    config.bridge
                );
                return Err(CniError::field(
                    ErrorCode::INVALID_CONFIG,
                    "bridge",
                    message,
                ));
            }
            steps.push(Step::RemoveBridgeAddress {
                name: config.bridge.clone(),
                address: *other,
            });
        }
        present.retain(|other| !contradicts(*other, *address));
        present.push(*address);
        steps.push(Step::AddBridgeAddress {
            name: config.bridge.clone(),
            address: *address,
        });
    }
    Ok(steps)
}

/// May a bridge not have both? One IPv4 address is enough; IPv6 networks must not overlap.
fn contradicts(other: Cidr, address: Cidr) -> bool {
    if other.family() != address.family() {
        return false;
    }
    other.family() == Family::V4
        || other.contains(address.address())
        || address.contains(other.address())
}

/// The gateway of a route that names none: the first of its family.
fn gateway(route: &Route, ips: &[IpConfig]) -> Option<IpAddr> {
    let family = route.destination.family();
    ips.iter()
        .filter_map(|ip| ip.gateway)
        .find(|gateway| Family::of(*gateway) == family)
}

fn everywhere(ip: &IpConfig) -> Option<Route> {
    let destination = match ip.address.family() {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    Some(Route {
        destination: Cidr::new(destination, 0)?,
        gateway: ip.gateway,
        mtu: 0,
        advmss: 0,
        priority: 0,
        table: None,
        scope: None,
    })
}
