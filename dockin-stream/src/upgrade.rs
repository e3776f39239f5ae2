//! The heads of an HTTP upgrade, for servers and for clients, with the types of the `http` crate.
//!
//! A server hands the request's headers to [`Accepted`] and answers with
//! [`Accepted::into_response`]; a client adds an [`Offer`] to its request and checks the answer
//! with it. Either way a [`Protocol`] comes out, and from that the codec.
//!
//! Spec: Kubernetes `httpstream` for SPDY, RFC 6455 §4 for WebSocket, `remotecommand` and
//! `portforward` for the versions.

use std::{fmt, time::Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use thiserror::Error;

use crate::{
    Codec, StreamSet, Subprotocol, channel, choose, offers, portforward,
    spdy::{self},
    websocket::{
        TUNNEL_SUBPROTOCOL,
        handshake::{self, HandshakeError, KEY_SIZE},
    },
};

/// What is spoken after the 101.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: who serves an upgrade must serve each.
pub enum Protocol {
    /// remotecommand over WebSocket channels.
    WebSocket(Subprotocol),
    /// remotecommand over SPDY streams.
    Spdy(Subprotocol),
    /// Port-forward over SPDY.
    SpdyPorts,
    /// Port-forward over SPDY inside WebSocket messages.
    TunnelledPorts,
    /// Port-forward over WebSocket channels, two for each port of the request's query.
    ChannelPorts(Subprotocol),
}

/// Why there is no upgrade.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum UpgradeError {
    /// The request asks for neither protocol; Kubernetes servers answer 400.
    #[error("upgrade request required: neither a WebSocket nor a SPDY/3.1 upgrade")]
    NotRequested,
    /// None of the versions that the client names is known; the answer is 403.
    #[error("no stream protocol version in common: this server knows [{}]", .known.join(" "))]
    NoCommonVersion {
        /// What the server knows, best first.
        known: Vec<&'static str>,
    },
    /// The WebSocket handshake is wrong; the answer is 400.
    #[error("bad WebSocket handshake: {0}")]
    Handshake(#[from] HandshakeError),
    /// The server's answer to our request is another one than 101.
    #[error("status {status} is no answer to an upgrade")]
    NotSwitched {
        /// Its status.
        status: StatusCode,
    },
    /// The server chose what was not offered: another version, or another protocol than SPDY.
    #[error("the server chose a protocol that was not offered")]
    NotOffered,
}

/// A checked request to upgrade: the protocol, and the answer that switches to it.
#[derive(Clone, Debug)]
pub struct Accepted {
    protocol: Protocol,
    head: HeaderMap,
}

impl Accepted {
    /// Checks a request for exec or attach.
    ///
    /// # Errors
    ///
    /// [`UpgradeError::NotRequested`], [`UpgradeError::NoCommonVersion`] or
    /// [`UpgradeError::Handshake`], as the Kubernetes servers answer.
    pub fn remote_command(headers: &HeaderMap) -> Result<Self, UpgradeError> {
        if handshake::is_upgrade(pairs(headers)) {
            let offered = values(headers, &header::SEC_WEBSOCKET_PROTOCOL);
            let chosen = handshake::choose_channel(offered)
                .map_err(|_| no_common(&Subprotocol::WEBSOCKET.map(Subprotocol::as_str)))?;
            // Without any offer the oldest protocol is meant, and none is named back.
            let protocol = Protocol::WebSocket(chosen.unwrap_or(Subprotocol::V1));
            return Self::websocket(headers, protocol, chosen.map(Subprotocol::as_str));
        }
        if !is_spdy(headers) {
            return Err(UpgradeError::NotRequested);
        }
        let known = Subprotocol::SPDY;
        let chosen = choose(values(headers, &STREAM_VERSION), &known)
            .ok_or_else(|| no_common(&known.map(Subprotocol::as_str)))?;
        Ok(Self::spdy(Protocol::Spdy(chosen), chosen.as_str()))
    }

    /// Checks a request for port-forward.
    ///
    /// # Errors
    ///
    /// As [`remote_command`](Self::remote_command).
    pub fn port_forward(headers: &HeaderMap) -> Result<Self, UpgradeError> {
        if handshake::is_upgrade(pairs(headers)) {
            let offered = || values(headers, &header::SEC_WEBSOCKET_PROTOCOL);
            // The tunnel has none of the channels' limits: it is taken wherever it is offered.
            if handshake::offers_tunnel(offered()) {
                let (tunnel, name) = (Protocol::TunnelledPorts, TUNNEL_SUBPROTOCOL);
                return Self::websocket(headers, tunnel, Some(name));
            }
            let chosen = portforward::channel::choose(offered()).map_err(|_| {
                let [raw, base64] = portforward::channel::SUBPROTOCOLS.map(Subprotocol::as_str);
                no_common(&[TUNNEL_SUBPROTOCOL, raw, base64])
            })?;
            // Without any offer the channels are meant, and none is named back.
            let protocol = Protocol::ChannelPorts(chosen.unwrap_or(Subprotocol::V4));
            return Self::websocket(headers, protocol, chosen.map(Subprotocol::as_str));
        }
        if !is_spdy(headers) {
            return Err(UpgradeError::NotRequested);
        }
        if !offers(values(headers, &STREAM_VERSION)).any(|name| name == portforward::SUBPROTOCOL) {
            return Err(no_common(&[portforward::SUBPROTOCOL]));
        }
        Ok(Self::spdy(Protocol::SpdyPorts, portforward::SUBPROTOCOL))
    }

    /// What will be spoken.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The 101.
    #[must_use]
    pub fn into_response<B: Default>(self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = self.head;
        response
    }

    fn websocket(
        headers: &HeaderMap,
        protocol: Protocol,
        subprotocol: Option<&'static str>,
    ) -> Result<Self, UpgradeError> {
        let accept = handshake::accept_request(pairs(headers))?;
        let mut head = switch_to("websocket");
        // Base64 is always a header's value.
        if let Ok(accept) = HeaderValue::from_str(&accept) {
            head.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(name) = subprotocol {
            head.insert(
                header::SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_static(name),
            );
        }
        Ok(Self { protocol, head })
    }

    fn spdy(protocol: Protocol, version: &'static str) -> Self {
        let mut head = switch_to("SPDY/3.1");
        head.insert(STREAM_VERSION, HeaderValue::from_static(version));
        Self { protocol, head }
    }
}

/// The 101 to a WebSocket of none of the Kubernetes protocols; it names no subprotocol.
///
/// # Errors
///
/// [`UpgradeError::Handshake`].
pub fn accept_websocket<B: Default>(headers: &HeaderMap) -> Result<Response<B>, UpgradeError> {
    let unused = Protocol::WebSocket(Subprotocol::V1);
    Ok(Accepted::websocket(headers, unused, None)?.into_response())
}

/// A client's request to upgrade.
#[derive(Clone)]
pub struct Offer {
    /// The WebSocket key; `None` for SPDY.
    key: Option<String>,
    wanted: Wanted,
}

#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// Exec or attach in one of these.
    RemoteCommand(&'static [Subprotocol]),
    Ports,
}

impl Offer {
    /// Exec or attach over WebSocket in one of `subprotocols`, best first. `random` must be new
    /// for every connection.
    #[must_use]
    pub fn websocket(random: [u8; KEY_SIZE], subprotocols: &'static [Subprotocol]) -> Self {
        Self {
            key: Some(handshake::request_key(random)),
            wanted: Wanted::RemoteCommand(subprotocols),
        }
    }

    /// Exec or attach over SPDY in one of `subprotocols`, best first.
    #[must_use]
    pub const fn spdy(subprotocols: &'static [Subprotocol]) -> Self {
        Self {
            key: None,
            wanted: Wanted::RemoteCommand(subprotocols),
        }
    }

    /// Port-forward over SPDY.
    #[must_use]
    pub const fn spdy_ports() -> Self {
        Self {
            key: None,
            wanted: Wanted::Ports,
        }
    }

    /// Adds to a request's headers what asks for the upgrade.
    pub fn add_to(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        let (subprotocols, ports): (&[Subprotocol], Option<&'static str>) = match self.wanted {
            Wanted::RemoteCommand(subprotocols) => (subprotocols, None),
            Wanted::Ports => (&[], Some(portforward::SUBPROTOCOL)),
        };
        let names = subprotocols.iter().map(|known| known.as_str());
        let names = names.chain(ports);
        let Some(key) = &self.key else {
            headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
            for name in names {
                headers.append(STREAM_VERSION, HeaderValue::from_static(name));
            }
            return;
        };
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(
            header::SEC_WEBSOCKET_VERSION,
            HeaderValue::from_static("13"),
        );
        // Base64 is always a header's value.
        if let Ok(key) = HeaderValue::from_str(key) {
            headers.insert(header::SEC_WEBSOCKET_KEY, key);
        }
        // One list: Go servers read the first header alone. The names are always a header's value.
        let list = names.collect::<Vec<_>>().join(", ");
        if let Ok(list) = HeaderValue::from_str(&list) {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, list);
        }
    }

    /// What the server agrees to.
    ///
    /// # Errors
    ///
    /// [`UpgradeError::NotSwitched`], [`UpgradeError::Handshake`] or [`UpgradeError::NotOffered`].
    pub fn check<B>(&self, response: &Response<B>) -> Result<Protocol, UpgradeError> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status();
            return Err(UpgradeError::NotSwitched { status });
        }
        let headers = response.headers();
        match &self.key {
            Some(key) => handshake::check_response(pairs(headers), key)?,
            None if is_spdy(headers) => {}
            None => return Err(UpgradeError::NotOffered),
        }
        let header = match &self.key {
            Some(_) => &header::SEC_WEBSOCKET_PROTOCOL,
            None => &STREAM_VERSION,
        };
        // Go servers name none with an empty value.
        let chosen = values(headers, header)
            .map(str::trim)
            .find(|name| !name.is_empty());
        let subprotocols = match self.wanted {
            Wanted::RemoteCommand(subprotocols) => subprotocols,
            Wanted::Ports if chosen.is_none_or(|name| name == portforward::SUBPROTOCOL) => {
                return Ok(Protocol::SpdyPorts);
            }
            Wanted::Ports => return Err(UpgradeError::NotOffered),
        };
        // A server that names none means the oldest.
        let chosen = chosen.map_or(Some(Subprotocol::V1), Subprotocol::parse);
        let chosen = chosen.filter(|chosen| subprotocols.contains(chosen));
        let chosen = chosen.ok_or(UpgradeError::NotOffered)?;
        Ok(match &self.key {
            Some(_) => Protocol::WebSocket(chosen),
            None => Protocol::Spdy(chosen),
        })
    }
}

/// Without the key, which a peer must have read to answer.
impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

impl Protocol {
    /// The server's codec of exec and attach; `None` for port-forward.
    #[must_use]
    pub fn server_codec(self, streams: StreamSet, now: Instant) -> Option<Box<dyn Codec + Send>> {
        match self {
            Self::WebSocket(subprotocol) => {
                Some(Box::new(channel::Server::new(subprotocol, streams)))
            }
            Self::Spdy(subprotocol) => {
                Some(Box::new(spdy::ExecServer::new(subprotocol, streams, now)))
            }
            Self::SpdyPorts | Self::TunnelledPorts | Self::ChannelPorts(_) => None,
        }
    }

    /// The client's codec of exec and attach; `None` for port-forward. `seed` must differ between
    /// connections.
    #[must_use]
    pub fn client_codec(self, streams: StreamSet, seed: u64) -> Option<Box<dyn Codec + Send>> {
        match self {
            Self::WebSocket(subprotocol) => {
                Some(Box::new(channel::Client::new(subprotocol, streams, seed)))
            }
            Self::Spdy(subprotocol) => Some(Box::new(spdy::ExecClient::new(subprotocol, streams))),
            Self::SpdyPorts | Self::TunnelledPorts | Self::ChannelPorts(_) => None,
        }
    }
}

/// The header that names versions over SPDY, in requests and answers.
pub const STREAM_VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// The headers as text pairs; a value that is no text counts as missing.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> + Clone {
    let pairs = headers.iter();
    let pairs = pairs.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    // The map's own iterator cannot be cloned.
    pairs.collect::<Vec<_>>().into_iter()
}

fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter();
    values.filter_map(|value| value.to_str().ok())
}

fn is_spdy(headers: &HeaderMap) -> bool {
    let contains = |name: &HeaderName, wanted: &str| {
        values(headers, name).any(|value| value.to_ascii_lowercase().contains(wanted))
    };
    contains(&header::CONNECTION, "upgrade") && contains(&header::UPGRADE, "spdy/3.1")
}

fn switch_to(protocol: &'static str) -> HeaderMap {
    let mut head = HeaderMap::new();
    head.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    head.insert(header::UPGRADE, HeaderValue::from_static(protocol));
    head
}

fn no_common(known: &[&'static str]) -> UpgradeError {
    let known = known.to_vec();
    UpgradeError::NoCommonVersion { known }
}

#[cfg(test)]
mod tests;
