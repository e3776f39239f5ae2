use std::{collections::VecDeque, fmt, num::NonZeroU16, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{
    PortsError,
    lanes::{self, Lanes, Part},
};
use crate::{
    ProtocolError, Subprotocol,
    portforward::{ForwardId, PortForwardEvent},
    websocket::{CloseCode, Connection},
};

/// The server's side of a port-forward session over numbered channels: what kubelet and CRI
/// servers speak with clients older than the tunnel.
///
/// Every port of the query is opened at once. When the last of them has no more to say, by
/// [`half_close`](Self::half_close), [`fail`](Self::fail) or [`close`](Self::close), the socket is
/// closed: the protocol has no other way to say it.
///
/// # Order of calls
///
/// As for [`Codec`](crate::Codec).
///
/// # Example
///
/// ```
/// use std::num::NonZeroU16;
/// use dockin_stream::{Subprotocol, portforward::{PortForwardEvent, channel::Server}};
///
/// let mut server = Server::new(Subprotocol::V4, &[NonZeroU16::new(8080).unwrap()])?;
/// assert!(matches!(server.poll_event(), Some(PortForwardEvent::Opened { .. })));
/// // The port on both of its channels.
/// let wire = server.poll_transmit();
/// assert_eq!(wire.as_deref(), Some(&b"\x82\x03\x00\x90\x1f\x82\x03\x01\x90\x1f"[..]));
/// # Ok::<(), dockin_stream::portforward::channel::PortsError>(())
/// ```
pub struct Server {
    lanes: Lanes,
    ended: bool,
    events: VecDeque<PortForwardEvent>,
}

impl Server {
    /// A session right behind the 101, in one of [`SUBPROTOCOLS`](super::SUBPROTOCOLS), for the
    /// ports of the request's query.
    ///
    /// # Errors
    ///
    /// [`PortsError::None`] or [`PortsError::TooMany`]: the request must be refused, so make this
    /// before the 101 is sent.
    pub fn new(subprotocol: Subprotocol, ports: &[NonZeroU16]) -> Result<Self, PortsError> {
        let mut lanes = Lanes::new(Connection::server(), subprotocol, ports)?;
        let mut events = VecDeque::new();
        for (index, port) in ports.iter().enumerate() {
            let announcement = Bytes::copy_from_slice(&port.get().to_le_bytes());
            lanes.write(lanes::channel(index, true), announcement.clone());
            lanes.write(lanes::channel(index, false), announcement);
        }
        for (connection, lane) in lanes.iter() {
            let port = lane.port;
            events.push_back(PortForwardEvent::Opened { connection, port });
        }
        Ok(Self {
            lanes,
            ended: false,
            events,
        })
    }

    /// Sends bytes of a port; dropped when it is closed. See [`queued`](Self::queued).
    pub fn send(&mut self, connection: ForwardId, bytes: Bytes) {
        self.lanes.send(connection, bytes);
    }

    /// The port has no more to say behind what was sent. What the client says goes on, as long as
    /// another port has something to say.
    pub fn half_close(&mut self, connection: ForwardId) {
        self.lanes.finish(connection);
    }

    /// Ends a port with a text for the client, behind what was sent. No event of it follows. An
    /// empty text becomes one that says as much.
    pub fn fail(&mut self, connection: ForwardId, message: &str) {
        let message = if message.is_empty() {
            "port forwarding failed"
        } else {
            message
        };
        if !self.lanes.find(connection).is_some_and(|lane| lane.open) {
            return;
        }
        self.lanes.flush(connection);
        let text = Bytes::copy_from_slice(message.as_bytes());
        let channel = lanes::channel(lanes::index(connection), false);
        self.lanes.write(channel, text);
        self.lanes.end(connection);
    }

    /// Breaks a port off: what waits is dropped, and no event of it follows.
    pub fn close(&mut self, connection: ForwardId) {
        self.lanes.end(connection);
    }

    /// Bytes of a port that wait for their turn on the wire. Stop reading its socket above
    /// [`HIGH_WATER`](crate::limits::HIGH_WATER).
    #[must_use]
    pub fn queued(&self, connection: ForwardId) -> usize {
        self.lanes.queued(connection)
    }

    /// Ends the session behind what waits on its ports.
    pub fn go_away(&mut self) {
        self.lanes.close(CloseCode::NORMAL);
    }

    /// Queues a sign of life.
    pub fn send_keepalive(&mut self) {
        self.lanes.connection().send_keepalive();
    }

    /// As [`Codec::handle_input`](crate::Codec::handle_input).
    ///
    /// # Errors
    ///
    /// The peer broke the protocol; the session is over.
    pub fn handle_input(
        &mut self,
        _now: Instant,
        input: &mut BytesMut,
    ) -> Result<(), ProtocolError> {
        while let Some(part) = self.lanes.read(input)? {
            match part {
                Part::Body { channel, bytes, .. } => {
                    let (connection, data) = Lanes::of_channel(channel);
                    // After our goodbye input is read only to find the client's.
                    if data
                        && !bytes.is_empty()
                        && !self.lanes.is_closing()
                        && self.lanes.find(connection).is_some_and(|lane| lane.open)
                    {
                        self.events
                            .push_back(PortForwardEvent::Data { connection, bytes });
                    }
                }
                Part::Close(_) => self.end_all(),
            }
        }
        Ok(())
    }

    /// The connection ended: every port is closed.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Truncated`] inside a message.
    pub fn handle_eof(&mut self, _now: Instant) -> Result<(), ProtocolError> {
        self.end_all();
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        self.lanes.connection().handle_eof()
    }

    /// As [`Codec::handle_timeout`](crate::Codec::handle_timeout); there is none.
    ///
    /// # Errors
    ///
    /// None.
    pub fn handle_timeout(&mut self, _now: Instant) -> Result<(), ProtocolError> {
        Ok(())
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<PortForwardEvent> {
        self.events.pop_front()
    }

    /// The next bytes for the wire that are encoded already: what answers the client, and no
    /// connection's turn.
    pub fn poll_answer(&mut self) -> Option<Bytes> {
        self.lanes.connection().poll_transmit()
    }

    /// The next bytes for the wire.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        let bytes = self.lanes.poll_transmit();
        if bytes.is_some() || self.lanes.is_closing() || !self.lanes.all_silent() {
            return bytes;
        }
        self.lanes.close(CloseCode::NORMAL);
        self.end_all();
        self.lanes.poll_transmit()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Whether our goodbye is queued.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.lanes.is_closing()
    }

    fn end_all(&mut self) {
        for connection in self.lanes.end_all() {
            self.events
                .push_back(PortForwardEvent::Closed { connection });
        }
    }
}

impl fmt::Debug for Server {
    // What is under way is somebody's traffic: it is not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("lanes", &self.lanes)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
