use bytes::{Bytes, BytesMut};

use super::{CloseCode, Decoder, Encoder, FrameError, Item, OpCode, Role, Span};
use crate::{ProtocolError, limits::MAX_WEBSOCKET_CONTROL};

/// What a [`Connection`] hands on: control frames other than Close it answers itself.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Incoming {
    /// Part of a message.
    Span(Span),
    /// The peer said goodbye, and its Close frame is answered.
    Close(CloseCode),
}

/// One end of an open WebSocket: messages in and out, pings and the closing handshake.
///
/// Only the newest unsent pong is kept, which RFC 6455 §5.5.3 allows: a peer that sends pings
/// and does not read cannot make us grow. Pongs and pings overtake queued messages, but never
/// stand inside a frame.
#[derive(Debug)]
pub struct Connection {
    decoder: Decoder,
    encoder: Encoder,
    pong: Option<Bytes>,
    ping: bool,
    /// Our Close frame is queued: nothing follows it.
    closing: bool,
    peer_closed: bool,
    /// Part of a header or control frame waits in the caller's buffer.
    partial: bool,
}

impl Connection {
    /// The end that accepted the handshake.
    #[must_use]
    pub fn server() -> Self {
        Self::new(Role::Server, Encoder::server())
    }

    /// The end that opened the handshake. See [`MaskKeys`](super::mask::MaskKeys) for the seed.
    #[must_use]
    pub fn client(mask_seed: u64) -> Self {
        Self::new(Role::Client, Encoder::client(mask_seed))
    }

    /// Takes the next message part off `input`; `None` when more input is needed.
    ///
    /// # Errors
    ///
    /// The peer broke the protocol; the Close frame that tells it is queued.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Incoming>, FrameError> {
        loop {
            let item = self
                .decoder
                .decode(input)
                .inspect_err(|error| self.close(error.close_code()))?;
            match item {
                Some(Item::Span(span)) => return Ok(Some(Incoming::Span(span))),
                Some(Item::Ping(payload)) => {
                    if !self.closing {
                        // A copy, so that an unsent pong does not keep a whole read buffer.
                        self.pong = Some(Bytes::copy_from_slice(&payload));
                    }
                }
                Some(Item::Pong(_)) => {}
                Some(Item::Close(code)) => {
                    self.peer_closed = true;
                    self.close(if code == CloseCode::NO_STATUS {
                        CloseCode::NORMAL
                    } else {
                        code
                    });
                    return Ok(Some(Incoming::Close(code)));
                }
                None => {
                    self.partial = !input.is_empty();
                    return Ok(None);
                }
            }
        }
    }

    /// See [`Decoder::decode_joined`].
    pub fn read_joined(
        &mut self,
        input: &mut BytesMut,
        accept: impl Fn(u8) -> bool,
    ) -> Option<(u8, Bytes)> {
        self.decoder.decode_joined(input, accept)
    }

    /// The peer's bytes have ended.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Truncated`] inside a frame or a fragmented message.
    pub fn handle_eof(&mut self) -> Result<(), ProtocolError> {
        let whole = self.peer_closed || (!self.partial && self.decoder.is_between_messages());
        self.close(CloseCode::NORMAL);
        if whole {
            Ok(())
        } else {
            Err(ProtocolError::Truncated)
        }
    }

    /// Queues one message of `prefix` and `payload`; dropped when our Close frame is queued.
    pub fn send(&mut self, opcode: OpCode, prefix: &[u8], payload: Bytes) {
        if !self.closing {
            self.encoder.encode(opcode, prefix, payload);
        }
    }

    /// Queues our Close frame, once.
    pub fn close(&mut self, code: CloseCode) {
        self.close_because(code, "");
    }

    /// Queues our Close frame with a `reason` for people, once. A reason that is too long for a
    /// control frame is cut behind a character.
    pub fn close_because(&mut self, code: CloseCode, reason: &str) {
        if !self.closing {
            let end = reason.floor_char_boundary(MAX_WEBSOCKET_CONTROL - 2);
            let reason = reason.get(..end).unwrap_or_default();
            let reason = Bytes::copy_from_slice(reason.as_bytes());
            self.encoder
                .encode(OpCode::Close, &code.0.to_be_bytes(), reason);
            self.closing = true;
        }
    }

    /// Queues a sign of life: a pong that nobody asked for from a server, a ping from a client.
    ///
    /// client-go's read deadline moves on any pong, also while its pings are stuck behind
    /// standard input that nobody reads (`T14`).
    pub fn send_keepalive(&mut self) {
        if self.closing {
            return;
        }
        match self.encoder.role() {
            Role::Server => {
                self.pong.get_or_insert_default();
            }
            Role::Client => self.ping = true,
        }
    }

    /// The next bytes for the wire.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.overtaking().or_else(|| self.encoder.poll_transmit())
    }

    /// See [`Encoder::to_copy`].
    #[must_use]
    pub const fn to_copy(&self) -> usize {
        self.encoder.to_copy()
    }

    /// See [`Encoder::poll_transmit_into`].
    pub fn poll_transmit_into(&mut self, room: &mut BytesMut) -> Option<Bytes> {
        self.overtaking()
            .or_else(|| self.encoder.poll_transmit_into(room))
    }

    /// What goes before the queue, unless a frame is on its way.
    fn overtaking(&mut self) -> Option<Bytes> {
        if self.encoder.is_inside_frame() {
            return None;
        }
        if let Some(payload) = self.pong.take() {
            return Some(self.encoder.encode_now(OpCode::Pong, &payload));
        }
        std::mem::take(&mut self.ping).then(|| self.encoder.encode_now(OpCode::Ping, &[]))
    }

    /// Whether our Close frame is queued or sent.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.closing
    }

    fn new(role: Role, encoder: Encoder) -> Self {
        Self {
            decoder: Decoder::new(role),
            encoder,
            pong: None,
            ping: false,
            closing: false,
            peer_closed: false,
            partial: false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use bytes::{Bytes, BytesMut};

    use super::{Connection, Incoming};
    use crate::{
        ProtocolError,
        websocket::{CloseCode, OpCode},
    };

    fn wire(connection: &mut Connection) -> Vec<u8> {
        std::iter::from_fn(|| connection.poll_transmit())
            .flatten()
            .collect()
    }

    #[test]
    fn only_the_newest_unsent_ping_is_answered() {
        let mut client = Connection::client(1);
        let mut input = BytesMut::new();
        for _ in 0..10_000 {
            input.extend_from_slice(b"\x89\x01a");
        }
        input.extend_from_slice(b"\x89\x01b");
        assert_eq!(client.read(&mut input), Ok(None));
        assert_eq!(wire(&mut client).len(), 2 + 4 + 1);

        let mut server = Connection::server();
        server.send_keepalive();
        assert_eq!(wire(&mut server), b"\x8a\x00");
    }

    #[test]
    fn pong_overtakes_messages_but_not_a_payload() {
        let mut server = Connection::server();
        server.send(OpCode::BINARY, &[1], Bytes::from(vec![0; 4096]));
        server.send(OpCode::BINARY, &[1], Bytes::from_static(b"x"));
        assert_eq!(server.poll_transmit().unwrap().len(), 5);
        server.send_keepalive();
        assert_eq!(server.poll_transmit().unwrap().len(), 4096);
        assert_eq!(server.poll_transmit().as_deref(), Some(&b"\x8a\x00"[..]));
        assert_eq!(
            server.poll_transmit().as_deref(),
            Some(&b"\x82\x02\x01x"[..])
        );
    }

    #[test]
    fn nothing_follows_our_close_frame() {
        let mut server = Connection::server();
        server.close(CloseCode::NORMAL);
        server.close(CloseCode::PROTOCOL);
        server.send(OpCode::BINARY, &[1], Bytes::from_static(b"late"));
        server.send_keepalive();
        assert_eq!(wire(&mut server), b"\x88\x02\x03\xe8");
    }

    #[test]
    fn a_reason_is_cut_behind_a_character_to_fit_a_control_frame() {
        let mut server = Connection::server();
        server.close_because(CloseCode::NORMAL, &"€".repeat(50));
        let wire = wire(&mut server);
        assert_eq!(wire.get(..4), Some(&b"\x88\x7d\x03\xe8"[..]));
        assert_eq!(wire.len(), 2 + 125);
    }

    #[test]
    fn close_frame_is_answered_with_its_code() {
        let mut client = Connection::client(1);
        let mut input = BytesMut::from(&b"\x88\x02\x03\xe9"[..]);
        assert_eq!(
            client.read(&mut input),
            Ok(Some(Incoming::Close(CloseCode(1001))))
        );
        let answer = wire(&mut client);
        let mut server = Connection::server();
        assert_eq!(
            server.read(&mut BytesMut::from(&answer[..])),
            Ok(Some(Incoming::Close(CloseCode(1001))))
        );
        assert_eq!(client.handle_eof(), Ok(()));
    }

    #[test]
    fn end_inside_a_frame_is_an_error() {
        for cut in [&b"\x82"[..], b"\x82\x05ab", b"\x02\x01a", b"\x89\x02a"] {
            let mut client = Connection::client(1);
            let mut input = BytesMut::from(cut);
            while client.read(&mut input).unwrap().is_some() {}
            assert_eq!(
                client.handle_eof(),
                Err(ProtocolError::Truncated),
                "{cut:02x?}"
            );
        }
    }
}
