use std::{collections::VecDeque, fmt, num::NonZeroU16, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{
    AnnouncementError, PortsError,
    lanes::{Lanes, Part},
};
use crate::{
    ProtocolError, Subprotocol,
    limits::MAX_STATUS,
    portforward::{ForwardId, PortForwardEvent},
    websocket::{CloseCode, Connection},
};

/// The client's side of a port-forward session over numbered channels.
///
/// [`PortForwardEvent::Opened`] comes when the server has announced the port on its data channel;
/// bytes may be sent before. That a port has ended is told for all at once, by the server's Close
/// frame; a failure is told for the port it is about.
///
/// # Order of calls
///
/// As for [`Codec`](crate::Codec).
pub struct Client {
    lanes: Lanes,
    ended: bool,
    events: VecDeque<PortForwardEvent>,
}

impl Client {
    /// A session right behind the 101, in the subprotocol that the server chose, for the ports of
    /// the request's query in its order. See [`MaskKeys`](crate::websocket::mask::MaskKeys) for
    /// the seed.
    ///
    /// # Errors
    ///
    /// [`PortsError::None`] or [`PortsError::TooMany`].
    pub fn new(
        subprotocol: Subprotocol,
        ports: &[NonZeroU16],
        mask_seed: u64,
    ) -> Result<Self, PortsError> {
        Ok(Self {
            lanes: Lanes::new(Connection::client(mask_seed), subprotocol, ports)?,
            ended: false,
            events: VecDeque::new(),
        })
    }

    /// The connections in the order of the ports, and the ports.
    pub fn connections(&self) -> impl Iterator<Item = (ForwardId, NonZeroU16)> {
        self.lanes.iter().map(|(id, lane)| (id, lane.port))
    }

    /// Sends bytes to a port; dropped when it is closed. See [`queued`](Self::queued).
    pub fn send(&mut self, connection: ForwardId, bytes: Bytes) {
        self.lanes.send(connection, bytes);
    }

    /// Nothing more is sent to the port. The protocol cannot say so: over there the direction
    /// stays open until the session ends.
    pub fn half_close(&mut self, connection: ForwardId) {
        self.lanes.finish(connection);
    }

    /// Gives a port up: what waits is dropped, and no event of it follows. The session ends with
    /// the last of them.
    pub fn close(&mut self, connection: ForwardId) {
        self.lanes.end(connection);
        self.close_behind_the_last();
    }

    /// Bytes for a port that wait for their turn on the wire. Stop reading its socket above
    /// [`HIGH_WATER`](crate::limits::HIGH_WATER).
    #[must_use]
    pub fn queued(&self, connection: ForwardId) -> usize {
        self.lanes.queued(connection)
    }

    /// Ends the session behind what waits on its ports.
    pub fn go_away(&mut self) {
        self.lanes.close(CloseCode::NORMAL);
    }

    /// Queues a ping.
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
                Part::Body {
                    channel,
                    bytes,
                    end,
                } => self.body(channel, bytes, end).inspect_err(|_| {
                    self.lanes.connection().close(CloseCode::PROTOCOL);
                })?,
                Part::Close(code) => self.end_all(code == CloseCode::NORMAL),
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
        self.end_all(false);
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

    /// The next bytes for the wire that are encoded already: what answers the server, and no
    /// connection's turn.
    pub fn poll_answer(&mut self) -> Option<Bytes> {
        self.lanes.connection().poll_transmit()
    }

    /// The next bytes for the wire.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
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

    fn body(&mut self, channel: u8, bytes: Bytes, end: bool) -> Result<(), AnnouncementError> {
        let (connection, data) = Lanes::of_channel(channel);
        let Some(lane) = self.lanes.find(connection) else {
            return Ok(());
        };
        let announcement = if data {
            &mut lane.data
        } else {
            &mut lane.error
        };
        if !announcement.done {
            let announced = announcement.take(channel, &bytes, end, lane.port)?;
            if announced && data && lane.open {
                let port = lane.port;
                self.events
                    .push_back(PortForwardEvent::Opened { connection, port });
            }
            return Ok(());
        }
        if !lane.open {
            return Ok(());
        }
        if data {
            if !bytes.is_empty() {
                self.events
                    .push_back(PortForwardEvent::Data { connection, bytes });
            }
            return Ok(());
        }
        // The start of a text that never ends is enough.
        let room = MAX_STATUS.saturating_sub(lane.message.len());
        lane.message
            .extend_from_slice(bytes.get(..room).unwrap_or(&bytes));
        if end && !lane.message.is_empty() {
            let message = std::mem::take(&mut lane.message);
            self.lanes.end(connection);
            self.events.push_back(PortForwardEvent::Failed {
                connection,
                message: String::from_utf8_lossy(&message).into_owned(),
            });
            self.close_behind_the_last();
        }
        Ok(())
    }

    fn close_behind_the_last(&mut self) {
        if self.lanes.all_ended() {
            self.lanes.connection().close(CloseCode::NORMAL);
        }
    }

    fn end_all(&mut self, cleanly: bool) {
        for connection in self.lanes.end_all() {
            if cleanly {
                self.events
                    .push_back(PortForwardEvent::HalfClosed { connection });
            }
            self.events
                .push_back(PortForwardEvent::Closed { connection });
        }
    }
}

impl fmt::Debug for Client {
    // What is under way is somebody's traffic: it is not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("lanes", &self.lanes)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
