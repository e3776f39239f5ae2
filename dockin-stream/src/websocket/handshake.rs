//! The rules of the opening handshake, over header values that the HTTP library has read.
//!
//! Headers come as `(name, value)` pairs; names are compared without regard to case.
//!
//! Spec: RFC 6455 §4; Kubernetes `httpstream.IsUpgradeRequest` for how loosely `Connection` and
//! `Upgrade` are read.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};
use thiserror::Error;

use super::TUNNEL_SUBPROTOCOL;
use crate::{Subprotocol, offers};

/// Why a request or an answer does not open a WebSocket.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum HandshakeError {
    /// `Connection` names no upgrade, or `Upgrade` no WebSocket.
    #[error("not a websocket upgrade")]
    NotAnUpgrade,
    /// `Sec-WebSocket-Version` is not 13; the answer is 426 and names 13.
    #[error("websocket version is not 13")]
    Version,
    /// `Sec-WebSocket-Key` is missing, there twice, or not 16 bytes in base64.
    #[error("websocket key is not 16 bytes in base64")]
    Key,
    /// `Sec-WebSocket-Accept` does not belong to our key.
    #[error("websocket accept key does not match")]
    Accept,
    /// None of the subprotocols is known on the other side; the answer is 403.
    #[error("no websocket subprotocol in common")]
    Subprotocol,
}

/// Whether the headers ask for, or agree to, a WebSocket: `Connection` contains "upgrade" and
/// `Upgrade` contains "websocket", in any case and anywhere in the value, such as
/// `keep-alive, Upgrade`.
pub fn is_upgrade<'a>(headers: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> bool {
    values(headers.clone(), "connection").any(|value| contains(value, "upgrade"))
        && values(headers, "upgrade").any(|value| contains(value, "websocket"))
}

/// Checks a client's request and gives the value of `Sec-WebSocket-Accept` for the 101.
///
/// # Errors
///
/// [`HandshakeError::NotAnUpgrade`], [`HandshakeError::Version`] or [`HandshakeError::Key`].
///
/// # Example
///
/// ```
/// use dockin_stream::websocket::handshake::accept_request;
///
/// let headers = [
///     ("Connection", "keep-alive, Upgrade"),
///     ("Upgrade", "websocket"),
///     ("Sec-WebSocket-Version", "13"),
///     ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
/// ];
/// assert_eq!(accept_request(headers.into_iter())?, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// # Ok::<(), dockin_stream::websocket::handshake::HandshakeError>(())
/// ```
pub fn accept_request<'a>(
    headers: impl Iterator<Item = (&'a str, &'a str)> + Clone,
) -> Result<String, HandshakeError> {
    if !is_upgrade(headers.clone()) {
        return Err(HandshakeError::NotAnUpgrade);
    }
    if only(values(headers.clone(), "sec-websocket-version")) != Some("13") {
        return Err(HandshakeError::Version);
    }
    let key = only(values(headers, "sec-websocket-key")).ok_or(HandshakeError::Key)?;
    match STANDARD.decode(key) {
        Ok(bytes) if bytes.len() == KEY_SIZE => Ok(accept_key(key)),
        _ => Err(HandshakeError::Key),
    }
}

/// Checks a server's 101 against the `key` that was sent to it.
///
/// # Errors
///
/// [`HandshakeError::NotAnUpgrade`] or [`HandshakeError::Accept`].
pub fn check_response<'a>(
    headers: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    key: &str,
) -> Result<(), HandshakeError> {
    if !is_upgrade(headers.clone()) {
        return Err(HandshakeError::NotAnUpgrade);
    }
    if only(values(headers, "sec-websocket-accept")) != Some(&accept_key(key)) {
        return Err(HandshakeError::Accept);
    }
    Ok(())
}

/// The value of `Sec-WebSocket-Key` for 16 random bytes.
#[must_use]
pub fn request_key(random: [u8; KEY_SIZE]) -> String {
    STANDARD.encode(random)
}

/// The value of `Sec-WebSocket-Accept` for a key.
///
/// Spec: RFC 6455 §4.2.2. SHA-1 is no protection here: it shows that the server read the key.
#[must_use]
pub fn accept_key(key: &str) -> String {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(ACCEPT_GUID)
        .finalize();
    STANDARD.encode(digest)
}

/// The subprotocol for exec or attach among the values of `Sec-WebSocket-Protocol`: several
/// headers and comma lists are both legal, and the client's order decides.
///
/// `None` when the client asks for none: the session is [`Subprotocol::V1`] then, and the 101
/// must not have a `Sec-WebSocket-Protocol` header.
///
/// # Errors
///
/// [`HandshakeError::Subprotocol`] when none of those offered is known.
pub fn choose_channel<'a>(
    values: impl IntoIterator<Item = &'a str>,
) -> Result<Option<Subprotocol>, HandshakeError> {
    let mut any = false;
    let chosen = offers(values)
        .inspect(|_| any = true)
        .filter_map(Subprotocol::parse)
        .find(|subprotocol| Subprotocol::WEBSOCKET.contains(subprotocol));
    if any && chosen.is_none() {
        return Err(HandshakeError::Subprotocol);
    }
    Ok(chosen)
}

/// Whether the values of `Sec-WebSocket-Protocol` offer the port-forward tunnel.
pub fn offers_tunnel<'a>(values: impl IntoIterator<Item = &'a str>) -> bool {
    offers(values).any(|name| name == TUNNEL_SUBPROTOCOL)
}

/// The server's choice in a 101: `None` for a missing or an empty header, which Go servers send
/// when nothing was asked for.
///
/// # Errors
///
/// [`HandshakeError::Subprotocol`] when it is none of `offered`.
pub fn chosen_channel(
    value: Option<&str>,
    offered: &[Subprotocol],
) -> Result<Option<Subprotocol>, HandshakeError> {
    match value.map(str::trim) {
        None | Some("") => Ok(None),
        Some(name) => Subprotocol::parse(name)
            .filter(|subprotocol| offered.contains(subprotocol))
            .map(Some)
            .ok_or(HandshakeError::Subprotocol),
    }
}

fn values<'a>(
    headers: impl Iterator<Item = (&'a str, &'a str)>,
    name: &'static str,
) -> impl Iterator<Item = &'a str> {
    headers
        .filter(move |(header, _)| header.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// The one value; `None` when there are none or several.
fn only<'a>(mut values: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

fn contains(value: &str, word: &str) -> bool {
    value
        .as_bytes()
        .windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

/// Random bytes in a key.
pub const KEY_SIZE: usize = 16;
/// RFC 6455 §1.3.
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::{
        HandshakeError, accept_key, accept_request, check_response, choose_channel, chosen_channel,
        offers_tunnel, request_key,
    };
    use crate::Subprotocol;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn request<'a>(
        connection: &'a str,
        upgrade: &'a str,
        version: &'a str,
        key: &'a str,
    ) -> Result<String, HandshakeError> {
        accept_request(
            [
                ("connection", connection),
                ("UPGRADE", upgrade),
                ("Sec-WebSocket-Version", version),
                ("sec-websocket-key", key),
            ]
            .into_iter(),
        )
    }

    #[test]
    fn request_with_every_rule_kept_is_accepted() {
        for connection in ["Upgrade", "keep-alive, Upgrade", "uPgRaDe,close"] {
            assert!(
                request(connection, "WebSocket", "13", KEY).is_ok(),
                "{connection}"
            );
        }
        assert_eq!(
            accept_key(&request_key(*b"the sample nonce")),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn each_broken_rule_has_its_error() {
        for (connection, upgrade, version, key, error) in [
            (
                "close",
                "websocket",
                "13",
                KEY,
                HandshakeError::NotAnUpgrade,
            ),
            ("", "websocket", "13", KEY, HandshakeError::NotAnUpgrade),
            (
                "Upgrade",
                "SPDY/3.1",
                "13",
                KEY,
                HandshakeError::NotAnUpgrade,
            ),
            ("Upgrade", "websocket", "8", KEY, HandshakeError::Version),
            ("Upgrade", "websocket", "13", "", HandshakeError::Key),
            (
                "Upgrade",
                "websocket",
                "13",
                "c2hvcnQ=",
                HandshakeError::Key,
            ),
            ("Upgrade", "websocket", "13", "!!!", HandshakeError::Key),
            // 14 bytes and 2 bytes, each with its padding.
            (
                "Upgrade",
                "websocket",
                "13",
                "dGhlIHNhbXBsZSBub50=ZjQ=",
                HandshakeError::Key,
            ),
        ] {
            assert_eq!(request(connection, upgrade, version, key), Err(error));
        }
        let twice = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
            ("Sec-WebSocket-Key", KEY),
        ];
        assert_eq!(accept_request(twice.into_iter()), Err(HandshakeError::Key));
    }

    #[test]
    fn response_must_answer_our_key() {
        let response = |accept| {
            [
                ("Connection", "Upgrade"),
                ("Upgrade", "websocket"),
                ("Sec-WebSocket-Accept", accept),
            ]
        };
        assert_eq!(
            check_response(response("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=").into_iter(), KEY),
            Ok(())
        );
        assert_eq!(
            check_response(response("AAAA").into_iter(), KEY),
            Err(HandshakeError::Accept)
        );
        let no_upgrade = [("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")];
        assert_eq!(
            check_response(no_upgrade.into_iter(), KEY),
            Err(HandshakeError::NotAnUpgrade)
        );
    }

    #[test]
    fn subprotocols_come_in_lists_and_in_several_headers() {
        assert_eq!(
            choose_channel(["v9.channel.k8s.io, v4.channel.k8s.io", "v5.channel.k8s.io"]),
            Ok(Some(Subprotocol::V4))
        );
        assert_eq!(choose_channel([]), Ok(None));
        assert_eq!(choose_channel([""]), Ok(None));
        // SPDY only.
        assert_eq!(
            choose_channel(["v3.channel.k8s.io"]),
            Err(HandshakeError::Subprotocol)
        );
        assert!(offers_tunnel([
            "v4.channel.k8s.io",
            "SPDY/3.1+portforward.k8s.io"
        ]));
        assert!(!offers_tunnel(["v4.channel.k8s.io"]));
    }

    #[test]
    fn empty_choice_of_a_go_server_is_tolerated() {
        let offered = [Subprotocol::V5, Subprotocol::V4];
        assert_eq!(chosen_channel(Some(""), &offered), Ok(None));
        assert_eq!(chosen_channel(None, &offered), Ok(None));
        assert_eq!(
            chosen_channel(Some("v4.channel.k8s.io"), &offered),
            Ok(Some(Subprotocol::V4))
        );
        assert_eq!(
            chosen_channel(Some("channel.k8s.io"), &offered),
            Err(HandshakeError::Subprotocol)
        );
    }
}
