use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::port_forward::Ports;
use crate::{Codec, ProtocolError, limits, portforward::PortForwardCodec};

/// What an [`Endpoint`](super::Endpoint) runs: time and bytes go in, events and bytes come out.
///
/// Every [`Codec`] is one. The order of calls is a codec's.
pub trait Machine {
    /// What the peer says.
    type Event;

    /// See [`Codec::handle_input`].
    ///
    /// # Errors
    ///
    /// The peer broke the protocol; the session is over.
    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), ProtocolError>;

    /// See [`Codec::handle_eof`].
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Truncated`] inside a frame.
    fn handle_eof(&mut self, now: Instant) -> Result<(), ProtocolError>;

    /// See [`Codec::handle_timeout`].
    ///
    /// # Errors
    ///
    /// The peer missed a deadline that ends the session.
    fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError>;

    /// See [`Codec::poll_event`].
    fn poll_event(&mut self) -> Option<Self::Event>;

    /// See [`Codec::send_keepalive`].
    fn send_keepalive(&mut self);

    /// The next bytes that answer what came in, and nothing else. They are never held back, but
    /// their sum decides how long a peer that does not read is listened to.
    fn poll_answer(&mut self) -> Option<Bytes>;

    /// See [`Codec::to_copy`].
    fn to_copy(&self) -> usize {
        0
    }

    /// See [`Codec::held`].
    fn held(&self) -> usize {
        0
    }

    /// The next bytes for the wire, as [`Codec::poll_transmit_into`] gives them. `queued` bytes wait
    /// there already: what can take turns waits until they are fewer.
    fn poll_transmit(&mut self, queued: usize, room: &mut BytesMut) -> Option<Bytes>;

    /// See [`Codec::poll_timeout`].
    fn poll_timeout(&self) -> Option<Instant>;

    /// See [`Codec::is_ready`].
    fn is_ready(&self) -> bool;

    /// See [`Codec::is_finished`].
    fn is_finished(&self) -> bool;

    /// See [`Codec::outlives_eof`].
    fn outlives_eof(&self) -> bool;
}

impl<C: Codec + ?Sized> Machine for C {
    type Event = crate::Event;

    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), ProtocolError> {
        Codec::handle_input(self, now, input)
    }

    fn handle_eof(&mut self, now: Instant) -> Result<(), ProtocolError> {
        Codec::handle_eof(self, now)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        Codec::handle_timeout(self, now)
    }

    fn poll_event(&mut self) -> Option<crate::Event> {
        Codec::poll_event(self)
    }

    fn send_keepalive(&mut self) {
        Codec::send_keepalive(self);
    }

    fn poll_answer(&mut self) -> Option<Bytes> {
        Codec::poll_transmit(self)
    }

    fn to_copy(&self) -> usize {
        Codec::to_copy(self)
    }

    fn held(&self) -> usize {
        Codec::held(self)
    }

    fn poll_transmit(&mut self, _queued: usize, room: &mut BytesMut) -> Option<Bytes> {
        Codec::poll_transmit_into(self, room)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Codec::poll_timeout(self)
    }

    fn is_ready(&self) -> bool {
        Codec::is_ready(self)
    }

    fn is_finished(&self) -> bool {
        Codec::is_finished(self)
    }

    fn outlives_eof(&self) -> bool {
        Codec::outlives_eof(self)
    }
}

impl<P: PortForwardCodec> Machine for Ports<P> {
    type Event = crate::portforward::PortForwardEvent;

    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), ProtocolError> {
        self.0.handle_input(now, input)
    }

    fn handle_eof(&mut self, now: Instant) -> Result<(), ProtocolError> {
        self.0.handle_eof(now)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        self.0.handle_timeout(now)
    }

    fn poll_event(&mut self) -> Option<Self::Event> {
        self.0.poll_event()
    }

    fn send_keepalive(&mut self) {
        self.0.send_keepalive();
    }

    fn poll_answer(&mut self) -> Option<Bytes> {
        self.0.poll_answer()
    }

    fn poll_transmit(&mut self, queued: usize, _room: &mut BytesMut) -> Option<Bytes> {
        if queued < limits::HIGH_WATER {
            self.0.poll_transmit()
        } else {
            self.0.poll_answer()
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    fn outlives_eof(&self) -> bool {
        false
    }
}
