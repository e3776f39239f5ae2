//! `resource_manager` of `opserver.yaml`.

use std::{
    borrow::Cow,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use dockin_core::{Error, ErrorKind};
use dockin_net::{
    Cidr, InterfaceName, NetworkName, Pool, Range, RangeSet, RangeSpec, Span, ipam::StoreConfig,
    parse_address, resource_manager::Network,
};
use serde::Deserialize;
use serde_json::json;

/// The resource manager, checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourceManager {
    /// Address of its own to serve, port 0 picks one; the gateway's when absent.
    #[serde(default)]
    pub(crate) listen: Option<SocketAddr>,
    /// Where the addresses given are kept by this server alone.
    #[serde(default)]
    pub(super) data: Option<PathBuf>,
    /// Where they are kept by several.
    #[serde(default)]
    store: Option<SharedStore>,
    /// Authority whose certificates plugins have.
    #[serde(default)]
    pub(crate) authority: Option<PathBuf>,
    /// File with the token that plugins send instead.
    #[serde(default)]
    pub(super) token: Option<PathBuf>,
    /// What every pod gets.
    networks: Vec<NetworkEntry>,
}

/// etcd, as a plugin's `ipam.store` names it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SharedStore {
    /// `etcd`.
    r#type: String,
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    endpoints: Vec<String>,
    /// What keys begin with.
    #[serde(default)]
    prefix: Option<String>,
    /// Authority of etcd's certificate.
    #[serde(default)]
    authority: Option<PathBuf>,
    /// Our own certificate, without a common name.
    #[serde(default)]
    certificate: Option<PathBuf>,
    #[serde(default)]
    key: Option<PathBuf>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    password_file: Option<PathBuf>,
}

/// One network.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkEntry {
    /// The `name` in the plugin's file.
    name: String,
    /// The interface in the pod.
    interface: String,
    /// Does the default route go here?
    #[serde(default)]
    master: bool,
    /// The network's addresses, such as `10.1.0.0/16`.
    subnet: String,
    #[serde(default)]
    first: Option<String>,
    #[serde(default)]
    last: Option<String>,
    #[serde(default)]
    gateway: Option<String>,
    /// Addresses, `first-last` or networks that are never given.
    #[serde(default)]
    exclude: Vec<String>,
}

impl ResourceManager {
    /// The paths, to be made absolute.
    pub(crate) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let of_store = self.store.as_mut().map(|store| {
            [
                store.authority.as_mut(),
                store.certificate.as_mut(),
                store.key.as_mut(),
                store.password_file.as_mut(),
            ]
        });
        [
            self.authority.as_mut(),
            self.token.as_mut(),
            self.data.as_mut(),
        ]
        .into_iter()
        .chain(of_store.into_iter().flatten())
        .flatten()
    }

    /// Whether all of it can be meant.
    ///
    /// # Errors
    ///
    /// `Misuse` naming the key and what is wrong.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.authority.is_none() && self.token.is_none() {
            return Err(misuse(
                "`resource_manager` needs `authority` or `token`: anyone could take addresses",
            ));
        }
        if self.data.is_some() == self.store.is_some() {
            return Err(misuse(
                "`resource_manager` needs either `data`, a directory, or `store`, an etcd that \
                 several share",
            ));
        }
        self.store()?;
        self.networks().map(drop)
    }

    /// The networks, checked.
    ///
    /// # Errors
    ///
    /// `Misuse` naming the network and what is wrong.
    pub(super) fn networks(&self) -> Result<Vec<Network>, Error> {
        let networks: Result<Vec<_>, _> = self.networks.iter().map(NetworkEntry::read).collect();
        let networks = networks?;
        if networks.iter().filter(|it| it.master).count() != 1 {
            return Err(misuse(
                "`resource_manager.networks`: exactly one must be `master`",
            ));
        }
        for (index, network) in networks.iter().enumerate() {
            let mut others = networks.iter().skip(index + 1);
            if others.any(|it| it.name == network.name || it.interface == network.interface) {
                return Err(misuse(format!(
                    "network `{}` shares its name or interface with another one",
                    network.name
                )));
            }
        }
        Ok(networks)
    }

    /// The shared store, where there is one.
    ///
    /// # Errors
    ///
    /// `Misuse` naming the key.
    pub(super) fn store(&self) -> Result<Option<StoreConfig>, Error> {
        self.store.as_ref().map(SharedStore::read).transpose()
    }
}

impl SharedStore {
    fn read(&self) -> Result<StoreConfig, Error> {
        for (one, other, names) in [
            (
                self.certificate.is_some(),
                self.key.is_some(),
                "`certificate` and `key`",
            ),
            (
                self.user.is_some(),
                self.password_file.is_some(),
                "`user` and `password_file`",
            ),
        ] {
            if one != other {
                let what = format!("`resource_manager.store`: {names} go together");
                return Err(misuse(what));
            }
        }
        let text = json!({
            "type": self.r#type,
            "endpoints": self.endpoints,
            "prefix": self.prefix,
            "authority": text(self.authority.as_deref()),
            "certificate": text(self.certificate.as_deref()),
            "key": text(self.key.as_deref()),
            "user": self.user,
            "passwordFile": text(self.password_file.as_deref()),
        });
        StoreConfig::parse(&text.to_string())
            .map_err(|error| misuse(format!("`resource_manager.store`: {error}")))
    }
}

impl NetworkEntry {
    fn read(&self) -> Result<Network, Error> {
        let wrong = |what: &dyn std::fmt::Display| {
            misuse(format!(
                "`resource_manager`, network `{}`: {what}",
                self.name
            ))
        };
        NetworkName::parse(&self.name).map_err(|error| wrong(&error))?;
        let address = |text: &Option<String>| {
            let parsed = text.as_deref().map(parse_address).transpose();
            parsed.map_err(|error| wrong(&error))
        };
        let range = Range::new(&RangeSpec {
            subnet: Some(Cidr::parse(&self.subnet).map_err(|error| wrong(&error))?),
            first: address(&self.first)?,
            last: address(&self.last)?,
            gateway: address(&self.gateway)?,
        });
        let set = range.and_then(|range| RangeSet::new(vec![range]));
        let pool = set.and_then(|set| Pool::new("", vec![set]));
        let excluded: Result<Vec<_>, _> = self.exclude.iter().map(|it| Span::parse(it)).collect();
        Ok(Network {
            name: self.name.clone(),
            interface: InterfaceName::parse(&self.interface).map_err(|error| wrong(&error))?,
            master: self.master,
            pool: pool
                .map_err(|error| wrong(&error))?
                .without(excluded.map_err(|error| wrong(&error))?),
        })
    }
}

fn text(path: Option<&Path>) -> Option<Cow<'_, str>> {
    path.map(Path::to_string_lossy)
}

pub(super) fn misuse(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Misuse, what.into())
}
