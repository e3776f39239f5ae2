use std::{num::NonZeroU16, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{Client, ForwardId, PortForwardEvent, Server, channel};
use crate::ProtocolError;

/// A port-forward protocol as events: what [`Codec`](crate::Codec) is for exec.
///
/// Order of calls: as there. Both ends of the three protocols are such codecs, so that what
/// carries the connections need not know which one it is.
pub trait PortForwardCodec {
    /// Opens a connection to `port`. `None` when the session is over or full, and where
    /// connections are not the caller's to open.
    fn open(&mut self, _port: NonZeroU16) -> Option<ForwardId> {
        None
    }

    /// Sends bytes on a connection; dropped when it is closed.
    fn send(&mut self, connection: ForwardId, bytes: Bytes);

    /// Ends our direction behind what was sent; the peer's goes on.
    fn half_close(&mut self, connection: ForwardId);

    /// Ends a connection behind what was sent, with a text where the protocol carries one.
    fn fail(&mut self, connection: ForwardId, message: &str);

    /// Breaks a connection off: what waits is dropped, and no event of it follows.
    fn close(&mut self, connection: ForwardId);

    /// Bytes of a connection that wait for their turn on the wire.
    fn queued(&self, connection: ForwardId) -> usize;

    /// Whether the peer may still tell that a connection has failed, also behind the end of its
    /// direction: containerd ends the bytes before it says that it could not connect.
    fn may_fail(&self, _connection: ForwardId) -> bool {
        false
    }

    /// Ends the session behind what waits on its connections.
    fn go_away(&mut self);

    /// Queues proof of life.
    fn send_keepalive(&mut self);

    /// Takes what it can from `input`.
    ///
    /// # Errors
    ///
    /// The peer broke the protocol; the session is over.
    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), ProtocolError>;

    /// The wire ended: every connection is closed.
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

    /// What happened next.
    fn poll_event(&mut self) -> Option<PortForwardEvent>;

    /// The next bytes for the wire that are encoded already: all that answers the peer, and no
    /// connection's turn.
    fn poll_answer(&mut self) -> Option<Bytes>;

    /// The next bytes for the wire.
    fn poll_transmit(&mut self) -> Option<Bytes>;

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Whether our goodbye is queued.
    fn is_finished(&self) -> bool;
}

/// The part that is the same for all four.
macro_rules! delegate {
    () => {
        fn send(&mut self, connection: ForwardId, bytes: Bytes) {
            Self::send(self, connection, bytes);
        }
        fn half_close(&mut self, connection: ForwardId) {
            Self::half_close(self, connection);
        }
        fn close(&mut self, connection: ForwardId) {
            Self::close(self, connection);
        }
        fn queued(&self, connection: ForwardId) -> usize {
            Self::queued(self, connection)
        }
        fn go_away(&mut self) {
            Self::go_away(self);
        }
        fn send_keepalive(&mut self) {
            Self::send_keepalive(self);
        }
        fn handle_input(
            &mut self,
            now: Instant,
            input: &mut BytesMut,
        ) -> Result<(), ProtocolError> {
            Self::handle_input(self, now, input)
        }
        fn handle_eof(&mut self, now: Instant) -> Result<(), ProtocolError> {
            Self::handle_eof(self, now)
        }
        fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
            Self::handle_timeout(self, now)
        }
        fn poll_event(&mut self) -> Option<PortForwardEvent> {
            Self::poll_event(self)
        }
        fn poll_answer(&mut self) -> Option<Bytes> {
            Self::poll_answer(self)
        }
        fn poll_transmit(&mut self) -> Option<Bytes> {
            Self::poll_transmit(self)
        }
        fn poll_timeout(&self) -> Option<Instant> {
            Self::poll_timeout(self)
        }
        fn is_finished(&self) -> bool {
            Self::is_finished(self)
        }
    };
}

impl PortForwardCodec for Client {
    delegate!();

    fn open(&mut self, port: NonZeroU16) -> Option<ForwardId> {
        Self::open(self, port)
    }

    fn may_fail(&self, connection: ForwardId) -> bool {
        Self::may_fail(self, connection)
    }

    fn fail(&mut self, connection: ForwardId, _message: &str) {
        Self::close(self, connection);
    }
}

impl PortForwardCodec for Server {
    delegate!();

    fn fail(&mut self, connection: ForwardId, message: &str) {
        Self::fail(self, connection, message);
    }
}

impl PortForwardCodec for channel::Client {
    delegate!();

    fn fail(&mut self, connection: ForwardId, _message: &str) {
        Self::close(self, connection);
    }
}

impl PortForwardCodec for channel::Server {
    delegate!();

    fn fail(&mut self, connection: ForwardId, message: &str) {
        Self::fail(self, connection, message);
    }
}
