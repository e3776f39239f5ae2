//! Log following over a WebSocket: what a container printed, one way, without channels.
//!
//! ```text
//! binary.k8s.io, binary messages          base64.binary.k8s.io, text messages
//! +--------------------------+            +-----------------------+
//! | what was printed         |            | padded base64 of it   |
//! +--------------------------+            +-----------------------+
//! ```
//!
//! Message borders mean nothing, an empty first message says that the stream is open, a Close
//! frame with code 1000 is the end of the log. What the client sends is dropped.
//!
//! Spec: Kubernetes `wsstream/stream.go`.

mod client;
mod server;

pub use client::Client;
pub use server::Server;

use crate::{offers, websocket::handshake::HandshakeError};

/// A subprotocol of log following, as named in `Sec-WebSocket-Protocol`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
// Exhaustive: Kubernetes has these two.
pub enum LogSubprotocol {
    /// `binary.k8s.io`: bytes in binary messages. Also what a client gets that asks for none.
    Binary,
    /// `base64.binary.k8s.io`: base64 in text messages.
    Base64,
}

impl LogSubprotocol {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Binary => "binary.k8s.io",
            Self::Base64 => "base64.binary.k8s.io",
        }
    }

    /// The subprotocol of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Binary, Self::Base64]
            .into_iter()
            .find(|subprotocol| subprotocol.as_str() == name)
    }

    /// The subprotocol among the values of `Sec-WebSocket-Protocol`: the client's order decides.
    ///
    /// `None` when the client asks for none: the log is [`Binary`](Self::Binary) then, and the 101
    /// must not have a `Sec-WebSocket-Protocol` header.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Subprotocol`] when none of those offered is known.
    ///
    /// ```
    /// use dockin_stream::log::LogSubprotocol;
    ///
    /// let chosen = LogSubprotocol::choose(["v9.k8s.io, base64.binary.k8s.io"])?;
    /// assert_eq!(chosen, Some(LogSubprotocol::Base64));
    /// # Ok::<(), dockin_stream::websocket::handshake::HandshakeError>(())
    /// ```
    pub fn choose<'a>(
        values: impl IntoIterator<Item = &'a str>,
    ) -> Result<Option<Self>, HandshakeError> {
        let mut any = false;
        let chosen = offers(values).inspect(|_| any = true).find_map(Self::parse);
        if any && chosen.is_none() {
            return Err(HandshakeError::Subprotocol);
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::LogSubprotocol;
    use crate::websocket::handshake::HandshakeError;

    #[test]
    fn the_clients_order_decides_and_what_nobody_knows_is_refused() {
        let binary = Ok(Some(LogSubprotocol::Binary));
        assert_eq!(
            LogSubprotocol::choose(["v9, binary.k8s.io", "base64.binary.k8s.io"]),
            binary
        );
        assert_eq!(LogSubprotocol::choose([]), Ok(None));
        assert_eq!(LogSubprotocol::choose([" "]), Ok(None));
        for offered in ["v4.channel.k8s.io", "binary", "BINARY.K8S.IO"] {
            assert_eq!(
                LogSubprotocol::choose([offered]),
                Err(HandshakeError::Subprotocol),
                "{offered}"
            );
        }
    }
}
