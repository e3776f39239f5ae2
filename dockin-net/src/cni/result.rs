use std::net::IpAddr;

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::{Version, json::Field, json::FieldError, version::Shape};
use crate::{AddressError, Cidr, Family, parse_address};

/// An interface that an attachment made.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: Option<String>,
    /// Its MTU; known from 1.1.0 on.
    pub mtu: Option<i64>,
    /// The path of the namespace it is in; none on the host.
    pub sandbox: Option<String>,
    /// The path of its socket; known from 1.1.0 on.
    pub socket_path: Option<String>,
    /// Its PCI address; known from 1.1.0 on.
    pub pci_id: Option<String>,
}

/// An address that an attachment has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IpConfig {
    /// The address with its prefix.
    pub address: Cidr,
    /// The gateway.
    pub gateway: Option<IpAddr>,
    /// An index into the interfaces.
    pub interface: Option<i64>,
}

/// A route that the attachment needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// Where to; host bits are kept as written.
    pub destination: Cidr,
    /// Through whom; none means the address's gateway.
    pub gateway: Option<IpAddr>,
    /// 0: not said.
    pub mtu: i64,
    /// 0: not said.
    pub advmss: i64,
    /// 0: not said.
    pub priority: i64,
    /// The routing table.
    pub table: Option<i64>,
    /// The scope.
    pub scope: Option<i64>,
}

/// What resolvers are told.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Dns {
    /// Addresses, not checked.
    pub nameservers: Vec<String>,
    /// The local domain.
    pub domain: Option<String>,
    /// Search domains.
    pub search: Vec<String>,
    /// Resolver options.
    pub options: Vec<String>,
}

/// What an `ADD` made: one type for every version.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CniResult {
    /// Interfaces made.
    pub interfaces: Vec<Interface>,
    /// Addresses given.
    pub ips: Vec<IpConfig>,
    /// Routes needed.
    pub routes: Vec<Route>,
    /// Name servers.
    pub dns: Dns,
}

/// Why a result cannot be read or written.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ResultError {
    /// 0.1.0 and 0.2.0 cannot say that there is no address.
    #[error("a result of version {0} needs an address")]
    NoAddress(Version),
    /// A field is of the wrong kind.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A field holds no address.
    #[error("`{path}`: {error}")]
    Address {
        /// The field.
        path: String,
        /// What is wrong.
        error: AddressError,
    },
    /// A required field is absent.
    #[error("`{0}` is missing")]
    Missing(String),
    /// A result of another family of versions than the configuration.
    #[error("a result of version `{found}` in a configuration of version {wanted}")]
    Version {
        /// The result's.
        found: String,
        /// The configuration's.
        wanted: Version,
    },
}

impl CniResult {
    /// The object for standard output in the form of `version`.
    ///
    /// Going down loses what the version cannot say: to 0.1.0 and 0.2.0 all but the first address
    /// of a family, routes of a family without address, interfaces, and all of a route but its
    /// destination and gateway.
    ///
    /// # Errors
    ///
    /// [`ResultError::NoAddress`].
    pub fn encode(&self, version: Version) -> Result<Value, ResultError> {
        let mut object = Map::new();
        object.insert("cniVersion".into(), version.as_str().into());
        let dns = encode_dns(&self.dns);
        if version.shape() == Shape::PerFamily {
            for (key, family) in [("ip4", Family::V4), ("ip6", Family::V6)] {
                if let Some(value) = self.encode_family(family) {
                    object.insert(key.into(), value);
                }
            }
            if object.len() == 1 {
                return Err(ResultError::NoAddress(version));
            }
            object.insert("dns".into(), dns.into());
            return Ok(object.into());
        }
        let interfaces = self.interfaces.iter().map(|one| one.encode(version));
        insert_list(&mut object, "interfaces", interfaces.collect());
        let ips = self.ips.iter().map(|ip| ip.encode(version));
        insert_list(&mut object, "ips", ips.collect());
        let routes = self.routes.iter().map(Route::encode);
        insert_list(&mut object, "routes", routes.collect());
        if version.shape() == Shape::Tagged || !dns.is_empty() {
            object.insert("dns".into(), dns.into());
        }
        Ok(object.into())
    }

    fn encode_family(&self, family: Family) -> Option<Value> {
        let ip = self.ips.iter().find(|ip| ip.address.family() == family)?;
        let mut object = Map::new();
        object.insert("ip".into(), ip.address.to_string().into());
        insert_text(
            &mut object,
            "gateway",
            ip.gateway.map(|one| one.to_string()),
        );
        let routes = self
            .routes
            .iter()
            .filter(|route| route.destination.family() == family)
            .map(|route| {
                let mut object = Map::new();
                object.insert("dst".into(), route.destination.to_string().into());
                insert_text(&mut object, "gw", route.gateway.map(|one| one.to_string()));
                object.into()
            });
        insert_list(&mut object, "routes", routes.collect());
        Some(object.into())
    }

    /// Reads a result that a plugin printed, or `prevResult`, of a configuration of `version`.
    ///
    /// A result without version is of the configuration's.
    ///
    /// # Errors
    ///
    /// [`ResultError`]; [`ResultError::Version`] when the two write results in different shapes.
    pub fn decode(field: &Field<'_>, version: Version) -> Result<Self, ResultError> {
        let found = field.get("cniVersion")?.string()?.unwrap_or_default();
        let same_shape = Version::parse(found).is_some_and(|it| it.shape() == version.shape());
        if !found.is_empty() && !same_shape {
            return Err(ResultError::Version {
                found: found.into(),
                wanted: version,
            });
        }
        let mut result = Self {
            dns: decode_dns(&field.get("dns")?)?,
            ..Self::default()
        };
        if version.shape() == Shape::PerFamily {
            for key in ["ip4", "ip6"] {
                let family = field.get(key)?;
                family.members()?;
                if family.is_present() {
                    result.ips.push(IpConfig {
                        address: decode_cidr(&family.get("ip")?)?,
                        gateway: decode_address(&family.get("gateway")?)?,
                        interface: None,
                    });
                    result.routes.extend(decode_routes(&family.get("routes")?)?);
                }
            }
            return Ok(result);
        }
        for interface in field.get("interfaces")?.elements()? {
            result.interfaces.push(Interface::decode(&interface)?);
        }
        for ip in field.get("ips")?.elements()? {
            ip.get("version")?.string()?;
            result.ips.push(IpConfig {
                address: decode_cidr(&ip.get("address")?)?,
                gateway: decode_address(&ip.get("gateway")?)?,
                interface: ip.get("interface")?.integer()?,
            });
        }
        result.routes = decode_routes(&field.get("routes")?)?;
        Ok(result)
    }
}

impl Interface {
    fn encode(&self, version: Version) -> Value {
        let mut object = Map::new();
        object.insert("name".into(), self.name.clone().into());
        insert_text(&mut object, "mac", self.mac.clone());
        insert_text(&mut object, "sandbox", self.sandbox.clone());
        if version >= Version::V1_1_0 {
            if let Some(mtu) = self.mtu {
                object.insert("mtu".into(), mtu.into());
            }
            insert_text(&mut object, "socketPath", self.socket_path.clone());
            insert_text(&mut object, "pciID", self.pci_id.clone());
        }
        object.into()
    }

    fn decode(field: &Field<'_>) -> Result<Self, ResultError> {
        let text = |name| -> Result<Option<String>, FieldError> {
            Ok(field.get(name)?.string()?.map(str::to_owned))
        };
        Ok(Self {
            name: text("name")?.unwrap_or_default(),
            mac: text("mac")?.filter(|mac| !mac.is_empty()),
            mtu: field.get("mtu")?.integer()?,
            sandbox: text("sandbox")?.filter(|path| !path.is_empty()),
            socket_path: text("socketPath")?,
            pci_id: text("pciID")?,
        })
    }
}

impl IpConfig {
    fn encode(&self, version: Version) -> Value {
        let mut object = Map::new();
        if version.shape() == Shape::Tagged {
            object.insert("version".into(), self.address.family().digit().into());
        }
        if let Some(index) = self.interface {
            object.insert("interface".into(), index.into());
        }
        object.insert("address".into(), self.address.to_string().into());
        insert_text(
            &mut object,
            "gateway",
            self.gateway.map(|it| it.to_string()),
        );
        object.into()
    }
}

impl Route {
    fn encode(&self) -> Value {
        let mut object = Map::new();
        object.insert("dst".into(), self.destination.to_string().into());
        insert_text(&mut object, "gw", self.gateway.map(|it| it.to_string()));
        for (key, number) in [
            ("mtu", self.mtu),
            ("advmss", self.advmss),
            ("priority", self.priority),
        ] {
            if number != 0 {
                object.insert(key.into(), number.into());
            }
        }
        for (key, number) in [("table", self.table), ("scope", self.scope)] {
            if let Some(number) = number {
                object.insert(key.into(), number.into());
            }
        }
        object.into()
    }

    fn decode(field: &Field<'_>) -> Result<Self, ResultError> {
        let number = |name| -> Result<Option<i64>, FieldError> { field.get(name)?.integer() };
        Ok(Self {
            destination: decode_cidr(&field.get("dst")?)?,
            gateway: decode_address(&field.get("gw")?)?,
            mtu: number("mtu")?.unwrap_or_default(),
            advmss: number("advmss")?.unwrap_or_default(),
            priority: number("priority")?.unwrap_or_default(),
            table: number("table")?,
            scope: number("scope")?,
        })
    }
}

/// Routes of a configuration or a result.
///
/// # Errors
///
/// [`ResultError::Missing`] for an element that is `null` or has no `dst`, [`ResultError::Field`]
/// and [`ResultError::Address`] for wrong content.
pub(crate) fn decode_routes(field: &Field<'_>) -> Result<Vec<Route>, ResultError> {
    let mut routes = Vec::new();
    for route in field.elements()? {
        let named = |key: &str| key.eq_ignore_ascii_case("dst");
        if !route.members()?.iter().any(|(key, _)| named(key)) {
            return Err(ResultError::Missing(format!("{}.dst", route.path())));
        }
        routes.push(Route::decode(&route)?);
    }
    Ok(routes)
}

/// `dns` of a configuration or a result.
///
/// # Errors
///
/// [`FieldError`].
pub(crate) fn decode_dns(field: &Field<'_>) -> Result<Dns, FieldError> {
    let list = |name| -> Result<Vec<String>, FieldError> {
        Ok(field
            .get(name)?
            .strings()?
            .into_iter()
            .map(str::to_owned)
            .collect())
    };
    Ok(Dns {
        nameservers: list("nameservers")?,
        domain: field
            .get("domain")?
            .string()?
            .filter(|domain| !domain.is_empty())
            .map(str::to_owned),
        search: list("search")?,
        options: list("options")?,
    })
}

/// An address that may be absent or empty.
///
/// # Errors
///
/// [`ResultError::Field`], [`ResultError::Address`].
pub(crate) fn decode_address(field: &Field<'_>) -> Result<Option<IpAddr>, ResultError> {
    match field.string()? {
        None | Some("") => Ok(None),
        Some(text) => parse_address(text)
            .map(Some)
            .map_err(|error| address_error(field, error)),
    }
}

/// An address with a prefix that must be there.
///
/// # Errors
///
/// [`ResultError::Field`], [`ResultError::Address`].
pub(crate) fn decode_cidr(field: &Field<'_>) -> Result<Cidr, ResultError> {
    Cidr::parse(field.string()?.unwrap_or_default()).map_err(|error| address_error(field, error))
}

fn address_error(field: &Field<'_>, error: AddressError) -> ResultError {
    ResultError::Address {
        path: field.path(),
        error,
    }
}

fn encode_dns(dns: &Dns) -> Map<String, Value> {
    let mut object = Map::new();
    let list = |texts: &[String]| texts.iter().map(|text| json!(text)).collect::<Vec<_>>();
    insert_list(&mut object, "nameservers", list(&dns.nameservers));
    insert_text(&mut object, "domain", dns.domain.clone());
    insert_list(&mut object, "search", list(&dns.search));
    insert_list(&mut object, "options", list(&dns.options));
    object
}

fn insert_text(object: &mut Map<String, Value>, key: &str, text: Option<String>) {
    if let Some(text) = text {
        object.insert(key.into(), text.into());
    }
}

fn insert_list(object: &mut Map<String, Value>, key: &str, list: Vec<Value>) {
    if !list.is_empty() {
        object.insert(key.into(), list.into());
    }
}

#[cfg(test)]
mod tests;
