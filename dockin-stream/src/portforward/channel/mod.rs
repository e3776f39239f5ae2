//! Port forwarding over a WebSocket with numbered channels (`v4.channel.k8s.io` and
//! `v4.base64.channel.k8s.io`): two channels for each port of the request's query.
//!
//! ```text
//!  port i: channel 2i    data, both ways          first message of the server on each:
//!          channel 2i+1  failure text, to client    the port, 2 bytes little endian
//!
//! raw, binary messages: channel byte, body         base64, text messages: one character
//! +---------+--------------------------+           ('0' + channel), body in padded base64
//! | channel | body                     |
//! +---------+--------------------------+
//! ```
//!
//! Each port is one TCP connection for the life of the socket, and the protocol cannot say that
//! one of them, or one direction of it, has ended: only the Close frame does, for all. So
//! [`Server`] closes the socket when the last port has no more to say, and what
//! [`Client::half_close`] ends stays open over there. [`Client`](super::Client) and the tunnel
//! have none of these limits.
//!
//! The vocabulary is [`PortForwardEvent`](super::PortForwardEvent), and connections take turns on
//! the wire.
//!
//! Spec: Kubernetes `kubelet/cri/streaming/portforward/websocket.go` (now cri-streaming).

mod client;
mod lanes;
mod server;

use std::num::NonZeroU16;

use thiserror::Error;

pub use client::Client;
pub use server::Server;

use crate::{Subprotocol, offers, websocket::handshake::HandshakeError};

/// Why ports cannot be forwarded in one session.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum PortsError {
    /// The query names none.
    #[error("no port to forward")]
    None,
    /// More than there are channels for.
    #[error("{ports} ports to forward, limit {max}")]
    TooMany {
        /// Ports asked for.
        ports: usize,
        /// Ports that the subprotocol has channels for.
        max: usize,
    },
    /// Not a decimal number from 1 to 65,535.
    #[error("`{0}` is no port")]
    Malformed(String),
}

/// Why a server's first message on a channel is not what it must be.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum AnnouncementError {
    /// The message is not 2 bytes long.
    #[error("first message of channel {channel} is not 2 bytes long")]
    Length {
        /// The channel.
        channel: u8,
    },
    /// The port is not the one that was asked for.
    #[error("channel {channel} is for port {port}, expected {expected}")]
    Port {
        /// The channel.
        channel: u8,
        /// What the server said.
        port: u16,
        /// What the query said.
        expected: NonZeroU16,
    },
}

/// The ports in the values of the query's `port` parameters: several parameters and comma lists
/// are both legal.
///
/// # Errors
///
/// [`PortsError::None`] and [`PortsError::Malformed`].
///
/// ```
/// let ports = dockin_stream::portforward::channel::parse_ports(["8080,9090", "80"])?;
/// assert_eq!(ports.iter().map(|port| port.get()).collect::<Vec<_>>(), [8080, 9090, 80]);
/// # Ok::<(), dockin_stream::portforward::channel::PortsError>(())
/// ```
pub fn parse_ports<'a>(
    values: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<NonZeroU16>, PortsError> {
    let mut ports = Vec::new();
    for text in values.into_iter().flat_map(|value| value.split(',')) {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(port) if digits => ports.push(port),
            _ => {
                return Err(PortsError::Malformed(
                    text.chars().take(MAX_QUOTED).collect(),
                ));
            }
        }
        if ports.len() > MAX_RAW_PORTS {
            break;
        }
    }
    if ports.is_empty() {
        return Err(PortsError::None);
    }
    Ok(ports)
}

/// The subprotocol among the values of `Sec-WebSocket-Protocol`: the client's order decides.
///
/// `None` when the client asks for none: the session is [`Subprotocol::V4`] then, and the 101 must
/// not have a `Sec-WebSocket-Protocol` header.
///
/// # Errors
///
/// [`HandshakeError::Subprotocol`] when none of those offered is known.
pub fn choose<'a>(
    values: impl IntoIterator<Item = &'a str>,
) -> Result<Option<Subprotocol>, HandshakeError> {
    let mut any = false;
    let chosen = offers(values)
        .inspect(|_| any = true)
        .filter_map(Subprotocol::parse)
        .find(|subprotocol| SUBPROTOCOLS.contains(subprotocol));
    if any && chosen.is_none() {
        return Err(HandshakeError::Subprotocol);
    }
    Ok(chosen)
}

/// What a server knows, best first.
pub const SUBPROTOCOLS: [Subprotocol; 2] = [Subprotocol::V4, Subprotocol::V4Base64];
/// Ports of a raw session: a channel is one byte.
pub const MAX_RAW_PORTS: usize = 128;
/// Ports of a base64 session: a channel is one ASCII character from '0' on.
pub const MAX_BASE64_PORTS: usize = 40;
/// Characters of a malformed port that an error repeats.
const MAX_QUOTED: usize = 32;

#[cfg(test)]
mod tests {
    use super::{MAX_RAW_PORTS, PortsError, choose, parse_ports};
    use crate::{Subprotocol, websocket::handshake::HandshakeError};

    #[test]
    fn what_is_no_port_is_refused() {
        assert_eq!(parse_ports([]), Err(PortsError::None));
        for text in ["", "0", "65536", "+80", "80,", "-1", "http"] {
            assert!(
                matches!(parse_ports([text]), Err(PortsError::Malformed(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn the_clients_order_decides_among_what_forwards_ports() {
        assert_eq!(choose([]), Ok(None));
        assert_eq!(
            choose([
                "v5.channel.k8s.io",
                "v4.base64.channel.k8s.io, v4.channel.k8s.io"
            ]),
            Ok(Some(Subprotocol::V4Base64))
        );
        assert_eq!(choose(["channel.k8s.io"]), Err(HandshakeError::Subprotocol));
    }

    #[test]
    fn ports_above_the_limit_are_not_read_to_their_end() {
        let many = vec!["1,2"; 10_000];
        let ports = parse_ports(many);
        assert_eq!(ports.map(|ports| ports.len()), Ok(MAX_RAW_PORTS + 1));
        // So that a session of them is refused.
        let mut named = vec!["80"; MAX_RAW_PORTS];
        assert_eq!(
            parse_ports(named.clone()).map(|ports| ports.len()),
            Ok(MAX_RAW_PORTS)
        );
        named.push("no port");
        assert_eq!(
            parse_ports(named),
            Err(PortsError::Malformed("no port".to_owned()))
        );
    }
}
