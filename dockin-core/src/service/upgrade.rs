use std::time::Instant;

use bytes::Bytes;
use dockin_stream::{
    StreamSet, Subprotocol, channel, choose,
    io::BoxCodec,
    offers, portforward, spdy,
    websocket::{TUNNEL_SUBPROTOCOL, handshake},
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Body, empty, serve::BufferedTcp};
use crate::{Error, ErrorKind};

/// A connection of any kind.
pub type BoxIo = Box<dyn Io>;

/// What a connection can do.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What the client wants to speak after the 101.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Protocol {
    /// remotecommand over WebSocket channels.
    WebSocket(Subprotocol),
    /// remotecommand over SPDY streams.
    Spdy(Subprotocol),
    /// Port-forward over SPDY.
    SpdyPorts,
    /// Port-forward over SPDY inside WebSocket messages.
    TunnelledPorts,
}

/// A checked request to upgrade: the protocol, and the answer that switches to it.
#[derive(Debug)]
pub struct Upgrade {
    protocol: Protocol,
    response: Response<Body>,
}

const STREAM_VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_VERSIONS: HeaderName =
    HeaderName::from_static("x-accepted-stream-protocol-versions");

impl Upgrade {
    /// Checks a request for exec or attach.
    ///
    /// # Errors
    ///
    /// `Malformed` when it is no upgrade we know, `Forbidden` when no version is in common, as
    /// the Kubernetes servers answer.
    pub fn remote_command(request: &Request<Incoming>) -> Result<Self, Error> {
        let headers = request.headers();
        if handshake::is_upgrade(pairs(headers)) {
            let offered = values(headers, &header::SEC_WEBSOCKET_PROTOCOL);
            let named = handshake::choose_channel(offered)
                .map_err(|_| no_common(&Subprotocol::WEBSOCKET.map(Subprotocol::as_str)))?;
            // Without any offer the oldest protocol is meant, and none is named back.
            let subprotocol = named.unwrap_or(Subprotocol::V1);
            let named = named.map(Subprotocol::as_str);
            let response = websocket_response(headers, named)?;
            return Ok(Self {
                protocol: Protocol::WebSocket(subprotocol),
                response,
            });
        }
        if is_spdy(headers) {
            let known = Subprotocol::SPDY;
            let subprotocol = choose(values(headers, &STREAM_VERSION), &known)
                .ok_or_else(|| no_common(&known.map(Subprotocol::as_str)))?;
            let response = spdy_response(subprotocol.as_str());
            return Ok(Self {
                protocol: Protocol::Spdy(subprotocol),
                response,
            });
        }
        Err(not_an_upgrade())
    }

    /// Checks a request for port-forward.
    ///
    /// # Errors
    ///
    /// As [`remote_command`](Self::remote_command).
    pub fn ports(request: &Request<Incoming>) -> Result<Self, Error> {
        let headers = request.headers();
        if handshake::is_upgrade(pairs(headers)) {
            if !handshake::offers_tunnel(values(headers, &header::SEC_WEBSOCKET_PROTOCOL)) {
                return Err(no_common(&[TUNNEL_SUBPROTOCOL]));
            }
            let response = websocket_response(headers, Some(TUNNEL_SUBPROTOCOL))?;
            return Ok(Self {
                protocol: Protocol::TunnelledPorts,
                response,
            });
        }
        if is_spdy(headers) {
            if !offers(values(headers, &STREAM_VERSION))
                .any(|name| name == portforward::SUBPROTOCOL)
            {
                return Err(no_common(&[portforward::SUBPROTOCOL]));
            }
            return Ok(Self {
                protocol: Protocol::SpdyPorts,
                response: spdy_response(portforward::SUBPROTOCOL),
            });
        }
        Err(not_an_upgrade())
    }

    /// What will be spoken.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The 101.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        self.response
    }

    /// Adds what a client needs to know about a refused version.
    pub fn add_accepted_versions(response: &mut Response<Body>) {
        for subprotocol in Subprotocol::SPDY {
            response.headers_mut().append(
                ACCEPTED_VERSIONS,
                HeaderValue::from_static(subprotocol.as_str()),
            );
        }
    }
}

impl Protocol {
    /// The server-role codec of exec and attach; `None` for port-forward.
    #[must_use]
    pub fn server_codec(self, streams: StreamSet, now: Instant) -> Option<BoxCodec> {
        match self {
            Self::WebSocket(subprotocol) => {
                Some(Box::new(channel::Server::new(subprotocol, streams)))
            }
            Self::Spdy(subprotocol) => {
                Some(Box::new(spdy::ExecServer::new(subprotocol, streams, now)))
            }
            Self::SpdyPorts | Self::TunnelledPorts => None,
        }
    }
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
    let upgraded =
        match upgraded.downcast::<TokioIo<tokio_rustls::server::TlsStream<BufferedTcp>>>() {
            Ok(parts) => return Ok((Box::new(parts.io.into_inner()), parts.read_buf)),
            Err(upgraded) => upgraded,
        };
    let upgraded =
        match upgraded.downcast::<TokioIo<tokio_rustls::client::TlsStream<BufferedTcp>>>() {
            Ok(parts) => return Ok((Box::new(parts.io.into_inner()), parts.read_buf)),
            Err(upgraded) => upgraded,
        };
    Ok((Box::new(TokioIo::new(upgraded)), Bytes::new()))
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

fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
}

fn is_spdy(headers: &HeaderMap) -> bool {
    contains(headers, &header::CONNECTION, "upgrade")
        && contains(headers, &header::UPGRADE, "spdy/3.1")
}

fn contains(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    values(headers, name).any(|value| value.to_ascii_lowercase().contains(wanted))
}

/// The headers as the handshake's rules read them. A value that is no text counts as missing.
pub(crate) fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> + Clone {
    let pairs: Vec<(&str, &str)> = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    pairs.into_iter()
}

fn websocket_response(
    headers: &HeaderMap,
    subprotocol: Option<&'static str>,
) -> Result<Response<Body>, Error> {
    let accept = handshake::accept_request(pairs(headers)).map_err(|error| {
        Error::new(
            ErrorKind::Malformed,
            format!("bad WebSocket handshake: {error}"),
        )
    })?;
    let mut response = switching("websocket");
    let value = HeaderValue::from_str(&accept)
        .map_err(|error| Error::new(ErrorKind::Misuse, "accept key").with_source(error))?;
    response
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_ACCEPT, value);
    if let Some(subprotocol) = subprotocol {
        response.headers_mut().insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(subprotocol),
        );
    }
    Ok(response)
}

fn spdy_response(version: &'static str) -> Response<Body> {
    let mut response = switching("SPDY/3.1");
    response
        .headers_mut()
        .insert(STREAM_VERSION, HeaderValue::from_static(version));
    response
}

fn switching(protocol: &'static str) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(protocol));
    response
}

fn not_an_upgrade() -> Error {
    Error::new(
        ErrorKind::Malformed,
        "upgrade request required: neither a WebSocket nor a SPDY/3.1 upgrade",
    )
}

fn no_common(known: &[&str]) -> Error {
    Error::new(
        ErrorKind::Forbidden,
        format!(
            "no stream protocol version in common: this server knows [{}]",
            known.join(" ")
        ),
    )
}
