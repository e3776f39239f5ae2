//! A resource manager of our own: the predecessor's calls, answered from pools.
//!
//! A pod has its addresses for good: it gets them at the first question, the same ones at every
//! other, and loses them when it is released. Each network has a [`Register`] of its own, in files
//! or in a store that several resource managers share.
//!
//! | call | answer's `data` |
//! | --- | --- |
//! | `getPodMultiNetwork?podName&namespace&containerId` | the pod's networks; it gets addresses |
//! | `getPodNetworkInfo?podName&namespace` | address, mask and gateway in the master network |
//! | `getPodInfoByPodName?podName&namespace` | the pod |
//! | `getPodInfoByPodIp?podIp` | the pod |
//! | `releasePod?podName&namespace` (`POST`) | nothing; the pod's addresses are free again |
//!
//! Without `namespace` it is `default`, as the predecessor's plugin asks. Calls about hosts,
//! subsystems and pod sets are refused: nothing here knows them.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::register::{Register, RegisterError};
use crate::{
    Cidr, InterfaceName, Pool, StoreError,
    lease::{Owner, StickyKey, Timestamp},
    parse_address,
};

/// A network that every pod gets an address of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Network {
    /// Its name, which the plugin's files carry, such as `webank`.
    pub name: String,
    /// Its interface in the pod.
    pub interface: InterfaceName,
    /// Does the pod's default route go here?
    pub master: bool,
    /// Its addresses, of one set.
    pub pool: Pool,
}

/// What the service touches outside itself.
pub trait World {
    /// The time.
    fn now(&mut self) -> Timestamp;

    /// Opens the register of a network, which others wait for where it is a file.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn open(&mut self, network: &str) -> Result<Box<dyn Register>, StoreError>;
}

/// An answer of HTTP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response {
    /// 200 also for a refusal, which the envelope tells with `code` -1; 404 for an unknown call,
    /// 405 for a wrong method, 503 for what may succeed later.
    pub status: u16,
    /// The envelope `{code, message, data, reqId}`.
    pub body: String,
}

/// Why a call is not answered with data.
#[derive(Debug)]
enum Refused {
    Wrong(String),
    Later(String),
    Unknown,
    Method,
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Later(error.to_string())
    }
}

impl From<RegisterError> for Refused {
    fn from(error: RegisterError) -> Self {
        match error.is_later() {
            true => Self::Later(error.to_string()),
            false => Self::Wrong(error.to_string()),
        }
    }
}

/// Answers one call; `call` is what follows `/rmController/`, with its query.
pub fn answer(networks: &[Network], method: &str, call: &str, world: &mut dyn World) -> Response {
    let (name, query) = call.split_once('?').unwrap_or((call, ""));
    let service = Service {
        networks,
        query,
        world,
    };
    match service.data(method, name) {
        Ok(data) => response(200, 0, Value::Null, data),
        Err(refused) => {
            let (status, message) = match refused {
                Refused::Wrong(message) => (200, message),
                Refused::Later(message) => (503, message),
                Refused::Unknown => (404, format!("there is no call `{name}`")),
                Refused::Method => (405, format!("`{name}` is not called with {method}")),
            };
            response(status, -1, message.into(), Value::Null)
        }
    }
}

fn response(status: u16, code: i32, message: Value, data: Value) -> Response {
    let body = json!({"code": code, "message": message, "data": data, "reqId": null});
    Response {
        status,
        body: body.to_string(),
    }
}

struct Service<'a> {
    networks: &'a [Network],
    query: &'a str,
    world: &'a mut dyn World,
}

impl Service<'_> {
    fn data(mut self, method: &str, name: &str) -> Result<Value, Refused> {
        let expected = match name {
            "getPodMultiNetwork"
            | "getPodNetworkInfo"
            | "getPodInfoByPodName"
            | "getPodInfoByPodIp" => "GET",
            "releasePod" => "POST",
            "getPodInfoByHostIp"
            | "getPodInfoBySubsystem"
            | "getPodInfoByPodSetId"
            | "getClusterId" => {
                let message =
                    format!("`{name}`: this resource manager knows pods and addresses alone");
                return Err(Refused::Wrong(message));
            }
            _ => return Err(Refused::Unknown),
        };
        if method != expected {
            return Err(Refused::Method);
        }
        match name {
            "getPodMultiNetwork" => self.networks_of_pod(),
            "getPodNetworkInfo" => {
                let owner = self.owner()?;
                let (network, held) = self.of_master(&owner)?;
                let (address, gateway) = addressed(network, &held)?;
                Ok(json!({
                    "podIp": address.address().to_string(),
                    "subnetMask": mask(address),
                    "gateway": gateway.to_string(),
                }))
            }
            "getPodInfoByPodName" => {
                let owner = self.owner()?;
                let (network, held) = self.of_master(&owner)?;
                pod_info(network, &held, &owner)
            }
            "getPodInfoByPodIp" => self.pod_of_address(),
            _ => self.release(),
        }
    }

    /// The pod's networks, with the addresses that it has or gets now.
    fn networks_of_pod(&mut self) -> Result<Value, Refused> {
        let owner = self.owner()?;
        let (namespace, pod) = owner.as_str().split_once('/').unwrap_or_default();
        let now = self.world.now();
        let mut data = Vec::with_capacity(self.networks.len());
        for network in self.networks {
            let mut register = self.world.open(&network.name)?;
            let held = register.give(&network.pool, &key(&owner, network), now)?;
            let (address, gateway) = addressed(network, &held)?;
            data.push(json!({
                "type": network.name,
                "podIp": address.address().to_string(),
                "subnetMask": mask(address),
                "gateway": gateway.to_string(),
                "ifName": network.interface.as_str(),
                "master": network.master,
                "podName": pod,
                "namespace": namespace,
            }));
        }
        Ok(data.into())
    }

    fn pod_of_address(&mut self) -> Result<Value, Refused> {
        let text = self.parameter("podIp")?;
        let address = parse_address(&text).map_err(|error| wrong("podIp", &error))?;
        let now = self.world.now();
        for network in self.networks.iter().filter(|it| it.pool.contains(address)) {
            let mut register = self.world.open(&network.name)?;
            if let Some(of) = register.pod_at(address, now)? {
                return pod_info(network, &[address], &of.owner);
            }
        }
        Err(Refused::Wrong(format!("no pod has {address}")))
    }

    fn release(&mut self) -> Result<Value, Refused> {
        let owner = self.owner()?;
        for network in self.networks {
            let mut register = self.world.open(&network.name)?;
            register.release(&key(&owner, network))?;
        }
        Ok(Value::Null)
    }

    /// What the pod has in the master network.
    fn of_master(&mut self, owner: &Owner) -> Result<(&Network, Vec<IpAddr>), Refused> {
        let mut networks = self.networks.iter();
        let network = networks
            .find(|it| it.master)
            .ok_or_else(|| unknown(owner))?;
        let mut register = self.world.open(&network.name)?;
        match register.addresses(&key(owner, network))? {
            held if held.is_empty() => Err(unknown(owner)),
            held => Ok((network, held)),
        }
    }

    fn owner(&self) -> Result<Owner, Refused> {
        let pod = self.parameter("podName")?;
        let namespace = match parameter(self.query, "namespace")? {
            Some(namespace) if !namespace.is_empty() => namespace,
            _ => "default".into(),
        };
        check_name("podName", &pod)?;
        check_name("namespace", &namespace)?;
        Ok(Owner::new(&namespace, &pod))
    }

    fn parameter(&self, name: &str) -> Result<String, Refused> {
        let value = parameter(self.query, name)?.filter(|it| !it.is_empty());
        value.ok_or_else(|| Refused::Wrong(format!("`{name}` is missing")))
    }
}

/// What a pod's addresses in a network are kept under.
fn key(owner: &Owner, network: &Network) -> StickyKey {
    StickyKey {
        owner: owner.clone(),
        interface: network.interface.clone(),
    }
}

fn addressed(network: &Network, held: &[IpAddr]) -> Result<(Cidr, IpAddr), Refused> {
    let given = held.iter().find_map(|address| {
        let mut sets = network.pool.sets().iter();
        let range = sets.find_map(|set| set.range_of(*address))?;
        Some((range.with_prefix(*address)?, range.gateway()))
    });
    given.ok_or_else(|| {
        Refused::Wrong(format!(
            "network `{}` has no range any more for the pod's address; release the pod",
            network.name
        ))
    })
}

fn pod_info(network: &Network, held: &[IpAddr], owner: &Owner) -> Result<Value, Refused> {
    let (address, gateway) = addressed(network, held)?;
    let (namespace, pod) = owner.as_str().split_once('/').unwrap_or_default();
    Ok(json!({
        "podName": pod,
        "namespace": namespace,
        "podIp": address.address().to_string(),
        "subnetMask": mask(address),
        "gateway": gateway.to_string(),
        "type": network.name,
        "status": "ALLOCATED",
    }))
}

/// Dotted in IPv4, as the predecessor's plugin needs it, the prefix's length in IPv6.
fn mask(address: Cidr) -> String {
    match address.address() {
        IpAddr::V4(_) => {
            let host_bits = u32::from(32 - address.prefix().min(32));
            let bits = u32::MAX.checked_shl(host_bits).unwrap_or(0);
            std::net::Ipv4Addr::from(bits).to_string()
        }
        IpAddr::V6(_) => address.prefix().to_string(),
    }
}

/// The value of a parameter, its escapes taken out; a second one of the same name is an error.
fn parameter(query: &str, name: &str) -> Result<Option<String>, Refused> {
    let pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut values = pairs
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Refused::Wrong(format!("`{name}` is given twice")));
    }
    let escape = || Refused::Wrong(format!("`{name}` has a wrong escape"));
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || {
                    let digit = char::from(rest.next()?).to_digit(16)?;
                    u8::try_from(digit).ok()
                };
                let (high, low) = (digit(), digit());
                high.zip(low)
                    .map(|(high, low)| high << 4 | low)
                    .ok_or_else(escape)?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map(Some).map_err(|_| escape())
}

/// Names of Kubernetes: a slash would make two pods one owner.
fn check_name(field: &str, text: &str) -> Result<(), Refused> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if text.len() <= 253 && text.bytes().all(good) {
        return Ok(());
    }
    Err(wrong(
        field,
        &format_args!("`{}` is no name", text.escape_debug()),
    ))
}

fn unknown(owner: &Owner) -> Refused {
    Refused::Wrong(format!("pod `{owner}` has no address"))
}

fn wrong(field: &str, what: &dyn std::fmt::Display) -> Refused {
    Refused::Wrong(format!("`{field}`: {what}"))
}
