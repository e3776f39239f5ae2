use crate::cni::{CniResult, Dns, Interface};

/// What one network's plugins made.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) master: bool,
    pub(super) interface: String,
    pub(super) result: CniResult,
}

/// One result out of all: the master's first, so that versions with room for one address of a
/// family have the master's.
///
/// Interfaces are renumbered. A network in a version without interfaces gets one, so that every
/// address says where it is. Default routes are the master's alone, one of each family; name
/// servers are the master's, or else the first there are.
pub(super) fn merge(parts: Vec<Part>, netns: &str) -> CniResult {
    let (masters, others): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| part.master);
    let mut merged = CniResult::default();
    for part in masters.into_iter().chain(others) {
        let mut result = part.result;
        let offset = i64::try_from(merged.interfaces.len()).unwrap_or(i64::MAX);
        if result.interfaces.is_empty() {
            result.interfaces.push(Interface {
                name: part.interface,
                sandbox: Some(netns.to_owned()),
                ..Interface::default()
            });
            result.ips.iter_mut().for_each(|ip| ip.interface = Some(0));
        }
        for ip in &mut result.ips {
            ip.interface = ip.interface.map(|index| index.saturating_add(offset));
        }
        merged.interfaces.append(&mut result.interfaces);
        merged.ips.append(&mut result.ips);
        for route in result.routes {
            let default = route.destination.prefix() == 0;
            let same_family = |other: &crate::cni::Route| {
                other.destination.prefix() == 0
                    && other.destination.family() == route.destination.family()
            };
            if !default || (part.master && !merged.routes.iter().any(same_family)) {
                merged.routes.push(route);
            }
        }
        if merged.dns == Dns::default() {
            merged.dns = result.dns;
        }
    }
    merged
}
