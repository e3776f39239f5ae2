use super::{BridgeConfig, Names, Place, World, plugin::told};
use crate::{
    Family,
    cni::{CniError, CniResult, ErrorCode, Interface, Request},
};

/// Is the attachment as `prevResult` says?
pub(super) fn check(
    world: &mut dyn World,
    config: &BridgeConfig,
    names: &Names,
    request: &Request<'_>,
) -> Result<(), CniError> {
    let previous = request.config().get("prevResult")?;
    previous.members()?;
    if !previous.is_present() {
        let missing = "missing, CHECK compares with it";
        return Err(CniError::field(ErrorCode::INTERNAL, "prevResult", missing));
    }
    let expected = CniResult::decode(&previous, request.version())
        .map_err(|error| CniError::new(ErrorCode::INTERNAL, error.to_string()))?;
    let netns = request.environment().netns.as_str();
    let mut find = |place, name: &str| {
        let link = world.link(place, name);
        let link = link.map_err(|error| told(&format!("look for `{name}`"), &error))?;
        link.ok_or_else(|| differs(format!("`{name}` is not there")))
    };
    let bridge = find(Place::Host, &config.bridge)?;
    let pod = find(Place::Pod, &names.pod)?;
    if bridge.kind != "bridge" || pod.kind != "veth" {
        return Err(differs(format!(
            "`{}` is no bridge, or `{}` no end of a pair",
            bridge.name, pod.name
        )));
    }
    if bridge.promiscuous != config.promiscuous {
        return Err(differs(format!(
            "`promiscMode` of `{}` differs",
            bridge.name
        )));
    }
    let of_pod = |it: &&Interface| it.name == names.pod && it.sandbox.as_deref() == Some(netns);
    let end = expected.interfaces.iter().find(of_pod);
    let end =
        end.ok_or_else(|| differs(format!("`prevResult` has no `{}` in `{netns}`", names.pod)))?;
    has_mac(end, &pod)?;
    // The end on the host is the one whose other end is the container's; its name is ours, or the
    // reference's when its plugin made it.
    let mut port = None;
    for interface in expected.interfaces.iter().filter(|it| it.sandbox.is_none()) {
        if interface.name == bridge.name {
            has_mac(interface, &bridge)?;
        } else if let Ok(link) = find(Place::Host, &interface.name)
            && link.peer == pod.index
            && pod.peer == link.index
        {
            has_mac(interface, &link)?;
            port = Some(link);
        }
    }
    let port = port.ok_or_else(|| differs("the end on the host is not there".into()))?;
    if port.master != bridge.index {
        return Err(differs(format!(
            "`{}` is no port of `{}`",
            port.name, bridge.name
        )));
    }
    let addresses = world.addresses(Place::Pod, &pod);
    let addresses = addresses.map_err(|error| told("list addresses", &error))?;
    for ip in &expected.ips {
        let held = addresses.iter().find(|it| it.address == ip.address);
        let held = held.ok_or_else(|| differs(format!("`{}` has no {}", pod.name, ip.address)))?;
        if held.duplicate {
            return Err(differs(format!("somebody else has {}", ip.address)));
        }
    }
    check_routes(world, &expected)
}

fn check_routes(world: &mut dyn World, expected: &CniResult) -> Result<(), CniError> {
    let routes = world
        .routes()
        .map_err(|error| told("list routes", &error))?;
    for route in &expected.routes {
        let family = route.destination.family();
        let first = expected.ips.iter().filter_map(|ip| ip.gateway);
        let mut first = first.filter(|it| Family::of(*it) == family);
        let gateway = route.gateway.or_else(|| first.next());
        let there = routes.iter().any(|it| {
            it.destination.first() == route.destination.first()
                && it.destination.prefix() == route.destination.prefix()
                && it.gateway == gateway
                && route.table.is_none_or(|table| i64::from(it.table) == table)
        });
        if !there {
            return Err(differs(format!(
                "the route to {} is not there",
                route.destination
            )));
        }
    }
    Ok(())
}

fn has_mac(expected: &Interface, found: &super::Link) -> Result<(), CniError> {
    match &expected.mac {
        Some(mac) if *mac != found.mac.to_string() => Err(differs(format!(
            "`{}` has {} and not {mac}",
            found.name, found.mac
        ))),
        _ => Ok(()),
    }
}

fn differs(what: String) -> CniError {
    CniError::new(ErrorCode::ATTACHMENT, what)
}
