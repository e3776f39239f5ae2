use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::{Event, ProtocolError};

/// Which way an event travels, seen from the session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: a session has two ends.
pub enum Direction {
    /// Towards the process: stdin, resize, half-close.
    ToContainer,
    /// Towards the person: stdout, stderr, exit.
    ToClient,
}

/// One connection's protocol as events: bytes in, events out; events in, bytes out.
///
/// The same trait serves both roles. A server-role codec yields `Stdin`, `Resize`, `HalfClose`,
/// `Close` and takes `Stdout`, `Stderr`, `Exit`, `Close`; a client-role codec the reverse.
///
/// # Order of calls
///
/// After each `handle_*` drain [`poll_event`](Self::poll_event) until `None`, then
/// [`poll_transmit`](Self::poll_transmit) until `None`, then sleep until input, an event to
/// send, or [`poll_timeout`](Self::poll_timeout). After an error drain `poll_transmit` (it may
/// hold a Close or GOAWAY that names the fault) and drop the connection.
pub trait Codec {
    /// Takes what it can from `input`; what is left (part of a frame header) stays for the next
    /// call. Payloads are split off, not copied.
    ///
    /// # Errors
    ///
    /// The peer broke the protocol; the session is over.
    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), ProtocolError>;

    /// The peer ended its side of the connection; `input` had been drained before.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Truncated`] inside a frame.
    fn handle_eof(&mut self, now: Instant) -> Result<(), ProtocolError>;

    /// Time has come to [`poll_timeout`](Self::poll_timeout).
    ///
    /// # Errors
    ///
    /// The peer missed a deadline that ends the session.
    fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError>;

    /// The next thing that the peer said.
    fn poll_event(&mut self) -> Option<Event>;

    /// Queues `event` for the peer. Events that the protocol or the negotiated streams cannot
    /// carry are dropped (a resize without a TTY, output after `Exit`).
    fn send(&mut self, event: Event);

    /// Queues proof of life: an unsolicited pong, a ping.
    fn send_keepalive(&mut self);

    /// The next bytes for the wire, in order.
    fn poll_transmit(&mut self) -> Option<Bytes>;

    /// What of the queue has to be copied on its way out, bytes at most: see
    /// [`poll_transmit_into`](Self::poll_transmit_into).
    fn to_copy(&self) -> usize {
        0
    }

    /// As [`poll_transmit`](Self::poll_transmit), but what has to be copied anyway (a WebSocket
    /// client masks) may be appended to `room`, as much of it as fits there without growing it:
    /// so it is copied once, into a buffer that the caller uses again and again. What is appended
    /// comes before the bytes given. Nothing is left when nothing is appended and none are given,
    /// unless [`to_copy`](Self::to_copy) says that there was too little room.
    fn poll_transmit_into(&mut self, room: &mut BytesMut) -> Option<Bytes> {
        let _no_copy = room;
        self.poll_transmit()
    }

    /// Bytes that were [sent](Self::send) and wait inside until the peer takes them:
    /// [`poll_transmit`](Self::poll_transmit) does not give them yet. Above
    /// [`HIGH_WATER`](crate::limits::HIGH_WATER) nothing more should be sent before the peer has
    /// been heard.
    fn held(&self) -> usize {
        0
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Whether the peer has set up all it asked for, so that the process may start.
    fn is_ready(&self) -> bool;

    /// Whether our goodbye is queued: after [`poll_transmit`](Self::poll_transmit) is drained
    /// the writing side may be shut down.
    fn is_finished(&self) -> bool;

    /// Whether a peer that has ended its direction may still listen: asked after
    /// [`handle_eof`](Self::handle_eof). Where the end of the bytes is the end of the session, as
    /// in most protocols, never.
    fn outlives_eof(&self) -> bool {
        false
    }
}

impl<C: Codec + ?Sized> Codec for Box<C> {
    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), ProtocolError> {
        (**self).handle_input(now, input)
    }
    fn handle_eof(&mut self, now: Instant) -> Result<(), ProtocolError> {
        (**self).handle_eof(now)
    }
    fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        (**self).handle_timeout(now)
    }
    fn poll_event(&mut self) -> Option<Event> {
        (**self).poll_event()
    }
    fn send(&mut self, event: Event) {
        (**self).send(event);
    }
    fn send_keepalive(&mut self) {
        (**self).send_keepalive();
    }
    fn poll_transmit(&mut self) -> Option<Bytes> {
        (**self).poll_transmit()
    }
    fn to_copy(&self) -> usize {
        (**self).to_copy()
    }
    fn held(&self) -> usize {
        (**self).held()
    }
    fn poll_transmit_into(&mut self, room: &mut BytesMut) -> Option<Bytes> {
        (**self).poll_transmit_into(room)
    }
    fn poll_timeout(&self) -> Option<Instant> {
        (**self).poll_timeout()
    }
    fn is_ready(&self) -> bool {
        (**self).is_ready()
    }
    fn is_finished(&self) -> bool {
        (**self).is_finished()
    }
    fn outlives_eof(&self) -> bool {
        (**self).outlives_eof()
    }
}
