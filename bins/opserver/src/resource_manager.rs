//! The resource manager that `dockin-cni` asks, on a port of its own: `/rmController/…` over TLS,
//! for plugins with a certificate of the authority or with the token.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};

use dockin_core::{
    Error, ErrorKind,
    service::{Body, Peer, Server, json, serve, text},
    tls::{self, Identity},
};
use dockin_net::{
    Cidr, Format, InterfaceName, LeaseStore, NetworkName, Place, Pool, Range, RangeSet, RangeSpec,
    Span, StoreError, Timestamp,
    io::Host,
    ipam, parse_address,
    resource_manager::{Network, World, answer},
};
use hyper::{Request, Response, StatusCode, body::Incoming, header};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Where the predecessor's resource manager has its calls.
const PREFIX: &str = "/rmController/";

/// `resource_manager` of the configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourceManager {
    /// Address to serve; port 0 picks one.
    pub(crate) listen: SocketAddr,
    /// Where the addresses given are kept.
    pub(crate) data: PathBuf,
    /// Authority whose certificates plugins have.
    #[serde(default)]
    pub(crate) authority: Option<PathBuf>,
    /// File with the token that plugins send instead.
    #[serde(default)]
    pub(crate) token: Option<PathBuf>,
    /// What every pod gets.
    networks: Vec<NetworkEntry>,
}

/// One network.
#[derive(Debug, Deserialize)]
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
        let optional = [self.authority.as_mut(), self.token.as_mut()];
        optional
            .into_iter()
            .flatten()
            .chain(std::iter::once(&mut self.data))
    }

    /// The networks, checked.
    ///
    /// # Errors
    ///
    /// `Misuse` naming the network and what is wrong.
    pub(crate) fn networks(&self) -> Result<Vec<Network>, Error> {
        if self.authority.is_none() && self.token.is_none() {
            return Err(misuse(
                "`resource_manager` needs `authority` or `token`: anyone could take addresses",
            ));
        }
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

/// The running service.
struct Service {
    networks: Arc<[Network]>,
    directory: String,
    /// SHA-256 of the token, so that comparing tells nothing by its time.
    token: Option<[u8; 32]>,
}

/// Serves `config` until `stop`.
///
/// # Errors
///
/// A file cannot be read, or the address not be listened on.
pub(crate) async fn start(
    config: &ResourceManager,
    identity: Identity,
    stop: CancellationToken,
) -> Result<(), Error> {
    let authority = config.authority.as_deref().map(tls::certificates);
    let authority = authority.transpose()?;
    let token = match &config.token {
        None => None,
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|error| {
                misuse(format!("token `{}` cannot be read", path.display())).with_source(error)
            })?;
            if text.trim().len() < 16 {
                return Err(misuse(format!(
                    "token `{}` has less than 16 characters",
                    path.display()
                )));
            }
            Some(Sha256::digest(text.trim()).into())
        }
    };
    // With both, a certificate is asked for: the token is then a second proof.
    let server_tls = tls::server_config(identity, authority.as_deref())?;
    let unavailable = |error| {
        let what = format!("cannot listen on {}", config.listen);
        Error::new(ErrorKind::Unavailable, what).with_source(error)
    };
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(unavailable)?;
    let address = listener.local_addr().map_err(unavailable)?;
    let service = Arc::new(Service {
        networks: config.networks()?.into(),
        directory: config.data.display().to_string(),
        token,
    });
    eprintln!("resource manager on https://{address}{PREFIX}");
    tokio::spawn(serve(listener, server_tls, service, stop));
    Ok(())
}

impl Server for Service {
    async fn handle(self: Arc<Self>, _peer: Peer, request: Request<Incoming>) -> Response<Body> {
        if !self.is_known(&request) {
            return text(StatusCode::UNAUTHORIZED, "the token is missing or wrong\n");
        }
        let call = request.uri().path_and_query().map(|it| it.as_str());
        let Some(call) = call.and_then(|it| it.strip_prefix(PREFIX)) else {
            return text(StatusCode::NOT_FOUND, "calls are under /rmController/\n");
        };
        let (method, call) = (request.method().to_string(), call.to_owned());
        let networks = Arc::clone(&self.networks);
        let directory = self.directory.clone();
        // Files are locked, read and made durable: not on a thread that others wait for.
        let answered = tokio::task::spawn_blocking(move || {
            answer(&networks, &method, &call, &mut Disk { directory })
        });
        let Ok(answered) = answered.await else {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "the call was cut off\n");
        };
        let Ok(value) = serde_json::from_str(&answered.body) else {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "no answer\n");
        };
        let mut response = json(&value);
        let status = StatusCode::from_u16(answered.status);
        *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response
    }
}

impl Service {
    fn is_known(&self, request: &Request<Incoming>) -> bool {
        let Some(token) = self.token else {
            // The certificate was verified before there was a request.
            return true;
        };
        let given = request.headers().get(header::AUTHORIZATION);
        let given = given.and_then(|it| it.to_str().ok()?.strip_prefix("Bearer "));
        given.is_some_and(|given| <[u8; 32]>::from(Sha256::digest(given)) == token)
    }
}

/// The leases of each network, in files.
struct Disk {
    directory: String,
}

impl World for Disk {
    fn now(&mut self) -> Timestamp {
        ipam::World::now(&mut Host)
    }

    fn open(&mut self, network: &str) -> Result<Box<dyn LeaseStore>, StoreError> {
        let wrong = |error: dockin_net::NameError| StoreError::Io {
            path: self.directory.clone(),
            message: error.to_string(),
        };
        ipam::World::open(
            &mut Host,
            &Place {
                directory: self.directory.clone(),
                network: NetworkName::parse(network).map_err(wrong)?,
                format: Format::Table,
            },
        )
    }
}

fn misuse(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Misuse, what.into())
}
