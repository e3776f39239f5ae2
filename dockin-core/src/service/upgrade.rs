use std::num::NonZeroU16;

use bytes::Bytes;
use dockin_stream::{
    io::into_socket,
    portforward::channel,
    upgrade::{Accepted, Protocol, UpgradeError},
};
use http::{Request, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{serve::BufferedTcp, transport::ServedTcp};
use crate::{Error, ErrorKind, kubernetes::query::parse_ports};

/// A connection of any kind.
pub type BoxIo = Box<dyn Io>;

/// What a connection can do.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A checked request for exec or attach.
///
/// # Errors
///
/// `Malformed` when it is no upgrade we know, `Forbidden` when no version is in common, as the
/// Kubernetes servers answer.
pub fn remote_command<B>(request: &Request<B>) -> Result<Accepted, Error> {
    Accepted::remote_command(request.headers()).map_err(refused)
}

/// A checked request for port-forward.
#[derive(Clone, Debug)]
pub struct PortsUpgrade {
    accepted: Accepted,
    protocol: PortsProtocol,
}

/// What a port-forward session speaks.
#[derive(Clone, Debug)]
pub struct PortsProtocol {
    pub(super) protocol: Protocol,
    /// The query's, where no stream names them.
    pub(super) ports: Vec<NonZeroU16>,
}

impl PortsProtocol {
    /// The ports that the request names; none where each connection names its own.
    #[cfg_attr(
        not(feature = "gateway"),
        expect(dead_code, reason = "agents judge no ports")
    )]
    pub(crate) fn ports(&self) -> &[NonZeroU16] {
        &self.ports
    }
}

impl PortsUpgrade {
    /// What will be spoken.
    #[must_use]
    pub fn protocol(&self) -> PortsProtocol {
        self.protocol.clone()
    }

    /// The 101.
    #[must_use]
    pub fn into_response<B: Default>(self) -> Response<B> {
        self.accepted.into_response()
    }
}

/// Checks a request for port-forward.
///
/// # Errors
///
/// As [`remote_command`]; `Malformed` too when the protocol takes its ports from the query, and
/// there are none, too many, or one is no port.
pub fn port_forward<B>(request: &Request<B>) -> Result<PortsUpgrade, Error> {
    let accepted = Accepted::port_forward(request.headers()).map_err(refused)?;
    let protocol = accepted.protocol();
    let mut ports = Vec::new();
    if let Protocol::ChannelPorts(subprotocol) = protocol {
        let named = parse_ports(request.uri().query().unwrap_or_default())?;
        ports = named.into_iter().filter_map(NonZeroU16::new).collect();
        // Made only to be asked: behind the 101 nobody could be told.
        channel::Server::new(subprotocol, &ports)
            .map_err(|error| Error::new(ErrorKind::Malformed, format!("`ports`: {error}")))?;
    }
    let protocol = PortsProtocol { protocol, ports };
    Ok(PortsUpgrade { accepted, protocol })
}

fn refused(error: UpgradeError) -> Error {
    let kind = match error {
        UpgradeError::NoCommonVersion { .. } => ErrorKind::Forbidden,
        _ => ErrorKind::Malformed,
    };
    Error::new(kind, error.to_string())
}

/// The connection below an HTTP upgrade, and the bytes that came right behind the head.
///
/// # Errors
///
/// The peer went away before the switch.
pub async fn upgraded<T>(message: T) -> Result<(BoxIo, Bytes), Error>
where
    T: sealed::CanUpgrade,
{
    let upgraded: Upgraded = message.on_upgrade().await.map_err(|error| {
        Error::new(ErrorKind::Unavailable, "connection lost before the upgrade").with_source(error)
    })?;
    // Past hyper's own wrapper: one layer less on the data path.
    let upgraded = match into_socket::<tokio_rustls::server::TlsStream<ServedTcp>>(upgraded) {
        Ok((socket, early)) => return Ok((Box::new(socket), early)),
        Err(upgraded) => upgraded,
    };
    let upgraded = match into_socket::<ServedTcp>(upgraded) {
        Ok((socket, early)) => return Ok((Box::new(socket), early)),
        Err(upgraded) => upgraded,
    };
    match into_socket::<tokio_rustls::client::TlsStream<BufferedTcp>>(upgraded) {
        Ok((socket, early)) => Ok((Box::new(socket), early)),
        Err(upgraded) => Ok((Box::new(TokioIo::new(upgraded)), Bytes::new())),
    }
}

mod sealed {
    use http::{Request, Response};
    use hyper::{body::Incoming, upgrade::OnUpgrade};

    pub trait CanUpgrade {
        fn on_upgrade(self) -> OnUpgrade;
    }

    impl CanUpgrade for Request<Incoming> {
        fn on_upgrade(self) -> OnUpgrade {
            hyper::upgrade::on(self)
        }
    }

    impl CanUpgrade for Response<Incoming> {
        fn on_upgrade(self) -> OnUpgrade {
            hyper::upgrade::on(self)
        }
    }

    impl CanUpgrade for OnUpgrade {
        fn on_upgrade(self) -> OnUpgrade {
            self
        }
    }
}
