use super::{
    Applied, BridgeConfig, KernelError, Link, Mac, Names, Owner, Place, Step, World, check,
    complete,
    mac::{host_name, is_host_name},
    plan,
};
use crate::{
    Attachment,
    cni::{
        CniError, CniResult, Dns, Environment, ErrorCode, Interface, Json, Plugin, Request, Verb,
    },
};

pub(super) struct Bridge<'a> {
    pub(super) world: &'a mut dyn World,
}

impl Plugin for Bridge<'_> {
    fn add(&mut self, request: &Request<'_>, of: &Attachment) -> Result<CniResult, CniError> {
        let config = BridgeConfig::read(request)?;
        let names = Names::new(request.network().as_str(), of);
        self.enter(&request.environment().netns)?;
        let mut bridge = self.bridge(&config)?;
        if let Some(bridge) = bridge.as_mut().filter(|_| config.gateway) {
            let addresses = self.world.addresses(Place::Host, bridge);
            bridge.addresses = addresses.map_err(|error| told("list addresses", &error))?;
        }
        let mut result = self.allocate(&config, request)?;
        let made = self.make(&config, &names, bridge.as_ref(), &mut result);
        if let Err(error) = made {
            if config.ipam.is_some() {
                // The error that came first is the one that is told.
                let _ = self.address_plugin(&config, request, Verb::Del);
            }
            return Err(error);
        }
        if config.dns != Dns::default() {
            result.dns = config.dns;
        }
        if let Some(end) = result.interfaces.get_mut(2) {
            end.sandbox = Some(request.environment().netns.clone());
        }
        Ok(result)
    }

    /// Removes the pair, then releases the address, then the rules. Each may be gone already.
    fn del(&mut self, request: &Request<'_>, of: &Attachment) -> Result<(), CniError> {
        let config = BridgeConfig::read(request)?;
        let names = Names::new(request.network().as_str(), of);
        let netns = &request.environment().netns;
        let inside = !netns.is_empty() && self.world.enter(netns).map_err(|it| namespace(&it))?;
        let mut steps = vec![Step::RemoveLink {
            place: Place::Host,
            name: names.host,
        }];
        if inside {
            // An interface that the reference's plugin made has another name on the host.
            steps.push(Step::RemoveLink {
                place: Place::Pod,
                name: names.pod,
            });
        }
        self.carry_out(&steps)?;
        if config.ipam.is_some() {
            self.address_plugin(&config, request, Verb::Del)?;
        }
        if config.masquerade || config.check_source {
            self.carry_out(&[Step::RemoveRules(names.owner)])?;
        }
        Ok(())
    }

    fn check(&mut self, request: &Request<'_>, of: &Attachment) -> Result<(), CniError> {
        let config = BridgeConfig::read(request)?;
        let names = Names::new(request.network().as_str(), of);
        self.enter(&request.environment().netns)?;
        if config.ipam.is_some() {
            self.address_plugin(&config, request, Verb::Check)?;
        }
        check::check(self.world, &config, &names, request)
    }

    /// Removes the network's pairs and rules that belong to no attachment of the list, and has
    /// the address plugin do the same.
    fn collect(&mut self, request: &Request<'_>) -> Result<(), CniError> {
        let config = BridgeConfig::read(request)?;
        let network = request.network().as_str();
        let valid = request.attachments_to_keep()?;
        let valid: Vec<String> = valid
            .iter()
            .map(|(container, interface)| host_name(network, container, interface))
            .collect();
        let group = super::mac::group(network);
        let links = self
            .world
            .group(group)
            .map_err(|error| told("list links", &error))?;
        let mut steps: Vec<_> = links
            .into_iter()
            .filter(|name| is_host_name(name) && !valid.contains(name))
            .map(|name| Step::RemoveLink {
                place: Place::Host,
                name,
            })
            .collect();
        let stay: Vec<_> = valid.iter().map(|host| Owner::new(network, host)).collect();
        let of_network = |owner: &Owner| {
            owner
                .host_name()
                .is_some_and(|host| Owner::new(network, host) == *owner)
        };
        let owners = self
            .world
            .owners()
            .map_err(|error| told("list rules", &error))?;
        steps.extend(
            owners
                .into_iter()
                .filter(|owner| of_network(owner) && !stay.contains(owner))
                .map(Step::RemoveRules),
        );
        let removed = self.carry_out(&steps);
        if config.ipam.is_some() {
            self.address_plugin(&config, request, Verb::Gc)?;
        }
        removed
    }

    fn status(&mut self, request: &Request<'_>) -> Result<(), CniError> {
        let unavailable =
            |error: &CniError| CniError::new(ErrorCode::NOT_AVAILABLE, error.to_string());
        let config = BridgeConfig::read(request)?;
        self.bridge(&config).map_err(|error| unavailable(&error))?;
        if config.ipam.is_some() {
            self.address_plugin(&config, request, Verb::Status)?;
        }
        Ok(())
    }

    fn is_own_namespace(&mut self, path: &str) -> bool {
        self.world.is_own_namespace(path)
    }
}

impl Bridge<'_> {
    fn enter(&mut self, netns: &str) -> Result<(), CniError> {
        if self.world.enter(netns).map_err(|error| namespace(&error))? {
            return Ok(());
        }
        Err(CniError::field(
            ErrorCode::INVALID_ENVIRONMENT,
            "CNI_NETNS",
            format_args!("`{netns}` leads to no namespace"),
        ))
    }

    /// The bridge, where it is there.
    fn bridge(&mut self, config: &BridgeConfig) -> Result<Option<Link>, CniError> {
        let found = self.world.link(Place::Host, &config.bridge);
        let found = found.map_err(|error| told("look for the bridge", &error))?;
        if let Some(other) = found.as_ref().filter(|it| it.kind != "bridge") {
            return Err(CniError::field(
                ErrorCode::INVALID_CONFIG,
                "bridge",
                format_args!("`{}` is there and is no bridge", other.name),
            ));
        }
        Ok(found)
    }

    fn allocate(
        &mut self,
        config: &BridgeConfig,
        request: &Request<'_>,
    ) -> Result<CniResult, CniError> {
        if config.ipam.is_none() {
            return Ok(CniResult::default());
        }
        let stdout = self.address_plugin(config, request, Verb::Add)?;
        let wrong = |error: &dyn std::fmt::Display| {
            let what = format!("the result of the address plugin: {error}");
            CniError::new(ErrorCode::UNDECODABLE, what)
        };
        let read = || -> Result<CniResult, CniError> {
            let json = Json::parse(&stdout).map_err(|error| wrong(&error))?;
            let result = CniResult::decode(&json.root(), request.version());
            let mut result = result.map_err(|error| wrong(&error))?;
            if result.ips.is_empty() {
                return Err(wrong(&"it has no address"));
            }
            result.interfaces.clear();
            Ok(result)
        };
        read().inspect_err(|_| {
            let _ = self.address_plugin(config, request, Verb::Del);
        })
    }

    fn make(
        &mut self,
        config: &BridgeConfig,
        names: &Names,
        bridge: Option<&Link>,
        result: &mut CniResult,
    ) -> Result<(), CniError> {
        complete(config, result);
        let mac = config.mac.unwrap_or_else(|| {
            let first = result.ips.first().map(|ip| ip.address.address());
            first.map_or_else(|| Mac::of_name(&names.host), Mac::of_address)
        });
        let steps = plan(config, names, bridge, result, mac)?;
        let applied = self.world.apply(&steps);
        if let Some((step, error)) = &applied.failed {
            let error = step_error(step, error);
            self.undo(&applied);
            return Err(error);
        }
        let ends = self.ends(config, names);
        let (bridge, host, pod) = ends.inspect_err(|_| self.undo(&applied))?;
        result.interfaces = [bridge, host, pod]
            .into_iter()
            .map(|link| Interface {
                name: link.name,
                mac: Some(link.mac.to_string()),
                mtu: Some(i64::from(link.mtu)),
                ..Interface::default()
            })
            .collect();
        result.ips.iter_mut().for_each(|ip| ip.interface = Some(2));
        Ok(())
    }

    /// The bridge and both ends as they are now. The bridge's hardware address may be that of its
    /// first port.
    fn ends(
        &mut self,
        config: &BridgeConfig,
        names: &Names,
    ) -> Result<(Link, Link, Link), CniError> {
        let mut get = |place, name: &str| {
            if let Some(link) = self.world.seen(place, name) {
                return Ok(link);
            }
            let link = self.world.link(place, name);
            let link = link.map_err(|error| told(&format!("look for `{name}`"), &error))?;
            link.ok_or_else(|| {
                CniError::new(
                    ErrorCode::TRY_AGAIN,
                    format!("`{name}` was removed meanwhile"),
                )
            })
        };
        Ok((
            get(Place::Host, &config.bridge)?,
            get(Place::Host, &names.host)?,
            get(Place::Pod, &names.pod)?,
        ))
    }

    fn undo(&mut self, applied: &Applied) {
        let inverses: Vec<_> = applied
            .done
            .iter()
            .rev()
            .filter_map(Step::inverse)
            .collect();
        // What cannot be undone now is what DEL and GC are for.
        for inverse in inverses {
            let _ = self.world.apply(&[inverse]);
        }
    }

    fn carry_out(&mut self, steps: &[Step]) -> Result<(), CniError> {
        match self.world.apply(steps).failed {
            Some((step, error)) => Err(step_error(&step, &error)),
            None => Ok(()),
        }
    }

    /// Has the address plugin do the same, with the same configuration.
    fn address_plugin(
        &mut self,
        config: &BridgeConfig,
        request: &Request<'_>,
        verb: Verb,
    ) -> Result<Vec<u8>, CniError> {
        let plugin = config.ipam.as_deref().unwrap_or_default();
        let environment = Environment {
            command: verb.as_str().into(),
            ..request.environment().clone()
        };
        let ran = self.world.allocate(plugin, &environment, request.stdin());
        let ran =
            ran.map_err(|error| CniError::field(ErrorCode::INVALID_CONFIG, "ipam.type", error))?;
        if ran.success {
            return Ok(ran.stdout);
        }
        Err(plugin_error(plugin, &ran.stdout))
    }
}

/// The error object of an address plugin, with its own code.
fn plugin_error(plugin: &str, stdout: &[u8]) -> CniError {
    let object: serde_json::Value = serde_json::from_slice(stdout).unwrap_or_default();
    let code = object.get("code").and_then(serde_json::Value::as_u64);
    let code = code.and_then(|code| u32::try_from(code).ok());
    let message = object.get("msg").and_then(serde_json::Value::as_str);
    CniError::new(
        code.map_or(ErrorCode::INTERNAL, ErrorCode),
        format!(
            "{plugin}: {}",
            message.unwrap_or("it failed without an error object")
        ),
    )
}

fn step_error(step: &Step, error: &KernelError) -> CniError {
    let code = match (step, error) {
        (Step::MakePair { .. }, KernelError::Exists) => ErrorCode::ATTACHMENT,
        (_, KernelError::Taken(_) | KernelError::Duplicate | KernelError::TooLate(_)) => {
            ErrorCode::TRY_AGAIN
        }
        _ => ErrorCode::IO,
    };
    CniError::new(code, format!("could not {}: {error}", step.describe()))
}

pub(super) fn told(what: &str, error: &KernelError) -> CniError {
    CniError::new(ErrorCode::IO, format!("could not {what}: {error}"))
}

fn namespace(error: &KernelError) -> CniError {
    CniError::field(ErrorCode::INVALID_ENVIRONMENT, "CNI_NETNS", error)
}
