use std::{fmt, num::NonZeroU16, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{Client, ForwardId, PortForwardCodec, PortForwardEvent, Server};
use crate::{ProtocolError, websocket::Tunnel};

/// Port forwarding over SPDY inside the messages of a WebSocket
/// ([`TUNNEL_SUBPROTOCOL`](crate::websocket::TUNNEL_SUBPROTOCOL)), whose borders mean nothing.
pub struct Tunnelled<P> {
    inner: P,
    tunnel: Tunnel,
    /// SPDY bytes that are part of a frame header.
    frames: BytesMut,
}

impl Tunnelled<Client> {
    /// The client's end. See [`MaskKeys`](crate::websocket::mask::MaskKeys) for the seed.
    #[must_use]
    pub fn client(mask_seed: u64) -> Self {
        Self::new(Client::new(), Tunnel::client(mask_seed))
    }
}

impl Tunnelled<Server> {
    /// The server's end.
    #[must_use]
    pub fn server() -> Self {
        Self::new(Server::new(), Tunnel::server())
    }
}

impl<P: PortForwardCodec> Tunnelled<P> {
    fn new(inner: P, tunnel: Tunnel) -> Self {
        Self {
            inner,
            tunnel,
            frames: BytesMut::new(),
        }
    }

    fn take_in(&mut self, now: Instant) -> Result<(), ProtocolError> {
        while let Some(bytes) = self.tunnel.poll_bytes() {
            self.frames.extend_from_slice(&bytes);
        }
        self.inner.handle_input(now, &mut self.frames)?;
        if self.frames.is_empty() {
            self.frames = BytesMut::new();
        }
        if self.tunnel.is_eof() {
            self.inner.handle_eof(now)?;
        }
        Ok(())
    }
}

impl<P: PortForwardCodec> PortForwardCodec for Tunnelled<P> {
    fn open(&mut self, port: NonZeroU16) -> Option<ForwardId> {
        self.inner.open(port)
    }

    fn send(&mut self, connection: ForwardId, bytes: Bytes) {
        self.inner.send(connection, bytes);
    }

    fn half_close(&mut self, connection: ForwardId) {
        self.inner.half_close(connection);
    }

    fn fail(&mut self, connection: ForwardId, message: &str) {
        self.inner.fail(connection, message);
    }

    fn close(&mut self, connection: ForwardId) {
        self.inner.close(connection);
    }

    fn queued(&self, connection: ForwardId) -> usize {
        self.inner.queued(connection)
    }

    fn may_fail(&self, connection: ForwardId) -> bool {
        self.inner.may_fail(connection)
    }

    fn go_away(&mut self) {
        self.inner.go_away();
    }

    fn send_keepalive(&mut self) {
        self.tunnel.send_keepalive();
    }

    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), ProtocolError> {
        let opened = self.tunnel.handle_input(input);
        // What came before a fault came.
        self.take_in(now)?;
        opened
    }

    fn handle_eof(&mut self, now: Instant) -> Result<(), ProtocolError> {
        let inside_message = self.tunnel.handle_eof();
        self.inner.handle_eof(now)?;
        inside_message
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        self.inner.handle_timeout(now)
    }

    fn poll_event(&mut self) -> Option<PortForwardEvent> {
        self.inner.poll_event()
    }

    fn poll_answer(&mut self) -> Option<Bytes> {
        while let Some(bytes) = self.inner.poll_answer() {
            self.tunnel.send(bytes);
        }
        self.tunnel.poll_transmit()
    }

    fn poll_transmit(&mut self) -> Option<Bytes> {
        if let Some(bytes) = self.tunnel.poll_transmit() {
            return Some(bytes);
        }
        if let Some(bytes) = self.inner.poll_transmit() {
            self.tunnel.send(bytes);
        } else if self.inner.is_finished() {
            self.tunnel.finish();
        }
        self.tunnel.poll_transmit()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.inner.poll_timeout()
    }

    fn is_finished(&self) -> bool {
        self.tunnel.is_finished()
    }
}

impl<P: fmt::Debug> fmt::Debug for Tunnelled<P> {
    // What is under way is somebody's traffic: it is not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tunnelled")
            .field("inner", &self.inner)
            .field("tunnel", &self.tunnel)
            .finish_non_exhaustive()
    }
}
