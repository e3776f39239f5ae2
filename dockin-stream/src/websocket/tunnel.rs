use std::{collections::VecDeque, fmt};

use bytes::{Bytes, BytesMut};

use super::{Connection, FrameError, Incoming, MessageKind, OpCode};
use crate::{ProtocolError, limits::MAX_WEBSOCKET_FRAME};

/// The subprotocol of port-forward that carries SPDY in binary messages.
///
/// Spec: Kubernetes `portforward/constants.go`, KEP-4006.
pub const TUNNEL_SUBPROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";

/// A byte stream in binary messages: [`TUNNEL_SUBPROTOCOL`].
///
/// Message borders mean nothing, empty messages occur (Go writes a SPDY frame as up to eight
/// messages), and a Close frame is the end of the stream.
///
/// # Order of calls
///
/// After each [`handle_input`](Self::handle_input) drain [`poll_bytes`](Self::poll_bytes) and
/// [`poll_transmit`](Self::poll_transmit) until `None`.
///
/// ```
/// use bytes::{Bytes, BytesMut};
/// use dockin_stream::websocket::Tunnel;
///
/// let (mut client, mut server) = (Tunnel::client(7), Tunnel::server());
/// client.send(Bytes::from_static(b"syn"));
/// client.finish();
/// let mut wire = BytesMut::new();
/// while let Some(bytes) = client.poll_transmit() {
///     wire.extend_from_slice(&bytes);
/// }
/// server.handle_input(&mut wire)?;
/// assert_eq!(server.poll_bytes().as_deref(), Some(&b"syn"[..]));
/// assert!(server.is_eof());
/// # Ok::<(), dockin_stream::ProtocolError>(())
/// ```
pub struct Tunnel {
    connection: Connection,
    received: VecDeque<Bytes>,
    eof: bool,
}

impl Tunnel {
    /// The end that accepted the handshake.
    #[must_use]
    pub fn server() -> Self {
        Self::new(Connection::server())
    }

    /// The end that opened the handshake. See [`MaskKeys`](super::mask::MaskKeys) for the seed.
    #[must_use]
    pub fn client(mask_seed: u64) -> Self {
        Self::new(Connection::client(mask_seed))
    }

    /// Takes what it can from `input`; part of a frame header stays for the next call.
    ///
    /// # Errors
    ///
    /// The peer broke the protocol or sent text; the Close frame that tells it is queued.
    pub fn handle_input(&mut self, input: &mut BytesMut) -> Result<(), ProtocolError> {
        while let Some(incoming) = self.connection.read(input)? {
            match incoming {
                Incoming::Span(span) if span.kind == MessageKind::Text => {
                    let error = FrameError::TextInTunnel;
                    self.connection.close(error.close_code());
                    return Err(error.into());
                }
                Incoming::Span(span) => {
                    if !span.bytes.is_empty() {
                        self.received.push_back(span.bytes);
                    }
                }
                Incoming::Close(_) => self.eof = true,
            }
        }
        Ok(())
    }

    /// The connection ended, with or without a Close frame.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Truncated`] inside a message.
    pub fn handle_eof(&mut self) -> Result<(), ProtocolError> {
        self.eof = true;
        self.connection.handle_eof()
    }

    /// The next received bytes. Never empty.
    pub fn poll_bytes(&mut self) -> Option<Bytes> {
        self.received.pop_front()
    }

    /// Queues `bytes`; dropped after [`finish`](Self::finish) or the peer's goodbye.
    pub fn send(&mut self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let message = bytes.split_to(bytes.len().min(MAX_MESSAGE));
            self.connection.send(OpCode::BINARY, &[], message);
        }
    }

    /// Queues the end of our bytes. A WebSocket has no half-close: the peer answers with its end.
    pub fn finish(&mut self) {
        self.connection.close(super::CloseCode::NORMAL);
    }

    /// Queues a sign of life: a pong from a server, a ping from a client.
    pub fn send_keepalive(&mut self) {
        self.connection.send_keepalive();
    }

    /// The next bytes for the wire.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.connection.poll_transmit()
    }

    /// Whether no more bytes follow those that [`poll_bytes`](Self::poll_bytes) still has.
    #[must_use]
    pub const fn is_eof(&self) -> bool {
        self.eof
    }

    /// Whether our goodbye is queued.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.connection.is_closing()
    }

    fn new(connection: Connection) -> Self {
        Self {
            connection,
            received: VecDeque::new(),
            eof: false,
        }
    }
}

impl fmt::Debug for Tunnel {
    // Received bytes are somebody's traffic: they are not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tunnel")
            .field("connection", &self.connection)
            .field("eof", &self.eof)
            .finish_non_exhaustive()
    }
}

// 32 MiB fits every usize that this crate is built for.
const MAX_MESSAGE: usize = MAX_WEBSOCKET_FRAME as usize;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use bytes::{Bytes, BytesMut};

    use super::Tunnel;

    #[test]
    fn message_borders_mean_nothing() {
        let mut client = Tunnel::client(0);
        let wire = b"\x82\x02\x80\x03\x82\x00\x02\x01\x00\x89\x00\x80\x01\x01\x88\x02\x03\xe8";
        client.handle_input(&mut BytesMut::from(&wire[..])).unwrap();
        let bytes: Vec<u8> = std::iter::from_fn(|| client.poll_bytes())
            .flatten()
            .collect();
        assert_eq!(bytes, b"\x80\x03\x00\x01");
        assert!(client.is_eof() && client.is_finished());
        let pong = client.poll_transmit().unwrap();
        assert!(pong.starts_with(b"\x8a\x80"));
    }

    #[test]
    fn text_is_refused_with_unsupported() {
        let mut client = Tunnel::client(0);
        assert!(
            client
                .handle_input(&mut BytesMut::from(&b"\x81\x01a"[..]))
                .is_err()
        );
        let mut server = Tunnel::server();
        let mut wire = BytesMut::from(&client.poll_transmit().unwrap()[..]);
        server.handle_input(&mut wire).unwrap();
        assert_eq!(
            server.poll_transmit().as_deref(),
            Some(&b"\x88\x02\x03\xeb"[..])
        );
    }

    #[test]
    fn nothing_is_sent_after_finish() {
        let mut server = Tunnel::server();
        server.send(Bytes::from_static(b"a"));
        server.finish();
        server.send(Bytes::from_static(b"b"));
        server.send_keepalive();
        assert_eq!(
            server.poll_transmit().as_deref(),
            Some(&b"\x82\x01a\x88\x02\x03\xe8"[..])
        );
        assert_eq!(server.poll_transmit(), None);
    }
}
