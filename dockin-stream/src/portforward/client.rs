use std::{collections::VecDeque, fmt, num::NonZeroU16, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{
    DATA, ERROR, ForwardId, PORT, PortForwardEvent, REQUEST_ID,
    pair::{Pair, Pairs, Turn},
};
use crate::{
    ProtocolError,
    limits::{MAX_PORT_FORWARD_STREAMS, MAX_STATUS},
    spdy::{
        Connection, ConnectionEvent, GoAwayStatus, Headers, Role, RstStatus, STREAM_TYPE, StreamId,
    },
};

/// The client's side of a port-forward session: what `kubectl port-forward` speaks.
///
/// # Order of calls
///
/// As for [`Codec`](crate::Codec).
pub struct Client {
    connection: Connection,
    pairs: Pairs,
    /// Counts what was opened: Go clients number their requests so.
    requests: u32,
    ended: bool,
    finished: bool,
    events: VecDeque<PortForwardEvent>,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// A session right behind the 101.
    #[must_use]
    pub fn new() -> Self {
        Self {
            connection: Connection::new(Role::Client, 0),
            pairs: Pairs::default(),
            requests: 0,
            ended: false,
            finished: false,
            events: VecDeque::new(),
        }
    }

    /// Opens a connection to `port`. `None` when the session is over or has
    /// [`MAX_PORT_FORWARD_STREAMS`] streams. Bytes may be sent at once: they wait inside until
    /// the server has accepted, because Go servers drop what comes earlier.
    pub fn open(&mut self, port: NonZeroU16) -> Option<ForwardId> {
        if self.finished || self.pairs.len() >= MAX_PORT_FORWARD_STREAMS / 2 {
            return None;
        }
        let request = self.requests;
        let headers = |stream_type: &str| {
            Headers::new()
                .with(STREAM_TYPE, stream_type.as_bytes())
                .with(PORT, port.to_string().as_bytes())
                .with(REQUEST_ID, request.to_string().as_bytes())
        };
        let error = self.connection.open(headers(ERROR))?;
        let data = self.connection.open(headers(DATA))?;
        self.requests = request.wrapping_add(1);
        // We never write there; Go clients say so at once, too.
        self.connection.finish(error);
        Some(self.pairs.insert(Pair::new(port, error, data, false)))
    }

    /// Sends bytes on a connection; dropped when it is closed. See [`queued`](Self::queued).
    pub fn send(&mut self, connection: ForwardId, bytes: Bytes) {
        self.pairs.send(connection, bytes);
    }

    /// Ends our direction behind what was sent; the peer's goes on.
    pub fn half_close(&mut self, connection: ForwardId) {
        self.pairs.finish(connection);
    }

    /// Breaks a connection off: what waits is dropped, and no event of it follows.
    pub fn close(&mut self, connection: ForwardId) {
        if let Some(pair) = self.pairs.remove(connection) {
            self.reset(&pair);
        }
    }

    /// Bytes of a connection that wait for their turn on the wire. Stop reading its socket above
    /// [`HIGH_WATER`](crate::limits::HIGH_WATER).
    #[must_use]
    pub fn queued(&self, connection: ForwardId) -> usize {
        self.pairs.queued(connection)
    }

    /// Whether the server may still say that a connection has failed. containerd ends the bytes of
    /// one that it could not make before it says so.
    #[must_use]
    pub fn may_fail(&self, connection: ForwardId) -> bool {
        self.pairs.error_is_open(connection)
    }

    /// Ends the session behind what waits on its connections.
    pub fn go_away(&mut self) {
        self.finished = true;
        // Go peers read nothing behind a GOAWAY.
        self.pairs.flush(&mut self.connection);
        self.connection.go_away(GoAwayStatus::OK);
    }

    /// Queues a PING.
    pub fn send_keepalive(&mut self) {
        self.connection.ping();
    }

    /// As [`Codec::handle_input`](crate::Codec::handle_input).
    ///
    /// # Errors
    ///
    /// The peer broke the protocol; the session is over.
    pub fn handle_input(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
    ) -> Result<(), ProtocolError> {
        if self.finished {
            input.clear();
            return Ok(());
        }
        let result = self.connection.handle_input(now, input);
        while let Some(event) = self.connection.poll_event() {
            self.handle_event(event);
        }
        self.finished |= result.is_err();
        Ok(result?)
    }

    /// The connection ended: every forwarded connection is closed.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Truncated`] inside a frame.
    pub fn handle_eof(&mut self, _now: Instant) -> Result<(), ProtocolError> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        let truncated = !self.finished && self.connection.is_inside_frame();
        self.finished = true;
        for id in self.pairs.ids() {
            if let Some(pair) = self.pairs.remove(id) {
                self.end(id, &pair);
            }
        }
        if truncated {
            Err(ProtocolError::Truncated)
        } else {
            Ok(())
        }
    }

    /// As [`Codec::handle_timeout`](crate::Codec::handle_timeout); there is none yet.
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
        self.connection.poll_transmit()
    }

    /// The next bytes for the wire.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.connection.poll_transmit() {
                return Some(bytes);
            }
            if let Turn::Finished(id) = self.pairs.next_turn(&mut self.connection)? {
                self.end_if_done(id);
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Whether our goodbye is queued.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.finished
    }

    fn handle_event(&mut self, event: ConnectionEvent) {
        match event {
            ConnectionEvent::Replied { stream } => self.handle_replied(stream),
            ConnectionEvent::Data { stream, bytes } => self.handle_data(stream, bytes),
            ConnectionEvent::HalfClosed { stream } => self.handle_half_closed(stream),
            ConnectionEvent::Reset { stream, .. } => self.handle_reset(stream),
            ConnectionEvent::StreamOpened { .. }
            | ConnectionEvent::GoAway { .. }
            | ConnectionEvent::Pong => {}
        }
    }

    fn handle_replied(&mut self, stream: StreamId) {
        if let Some((connection, pair)) = self.pairs.of_stream(stream)
            && pair.data == stream
        {
            let port = pair.port;
            self.events
                .push_back(PortForwardEvent::Opened { connection, port });
            self.pairs.accept(connection);
        }
    }

    fn handle_data(&mut self, stream: StreamId, bytes: Bytes) {
        let Some((connection, pair)) = self.pairs.of_stream(stream) else {
            return;
        };
        if pair.data == stream {
            self.events
                .push_back(PortForwardEvent::Data { connection, bytes });
        } else {
            // The start of a text that never ends is enough.
            let room = MAX_STATUS.saturating_sub(pair.message.len());
            pair.message
                .extend_from_slice(bytes.get(..room).unwrap_or(&bytes));
        }
    }

    fn handle_half_closed(&mut self, stream: StreamId) {
        let Some((connection, pair)) = self.pairs.of_stream(stream) else {
            return;
        };
        if pair.data == stream {
            pair.remote_ended = true;
            self.events
                .push_back(PortForwardEvent::HalfClosed { connection });
        } else {
            pair.error_ended = true;
        }
        self.end_if_done(connection);
    }

    fn handle_reset(&mut self, stream: StreamId) {
        let Some((connection, pair)) = self.pairs.of_stream(stream) else {
            return;
        };
        if pair.data == stream {
            // The text of a failure comes before.
            pair.remote_ended = true;
            pair.local_ended = true;
            pair.error_ended = true;
        } else {
            pair.error_ended = true;
        }
        self.end_if_done(connection);
    }

    /// The server ends the error stream when it has nothing more to say: without text, and what we
    /// still say goes on; with text when the connection failed.
    fn end_if_done(&mut self, connection: ForwardId) {
        if let Some(pair) = self.pairs.find(connection)
            && pair.error_ended
            && (pair.remote_ended && pair.local_ended || !pair.message.is_empty())
            && let Some(pair) = self.pairs.remove(connection)
        {
            self.reset(&pair);
            self.end(connection, &pair);
        }
    }

    fn end(&mut self, connection: ForwardId, pair: &Pair) {
        self.events.push_back(if pair.message.is_empty() {
            PortForwardEvent::Closed { connection }
        } else {
            PortForwardEvent::Failed {
                connection,
                message: String::from_utf8_lossy(&pair.message).into_owned(),
            }
        });
    }

    /// Frees the server of what is still open.
    fn reset(&mut self, pair: &Pair) {
        self.connection.reset(pair.data, RstStatus::CANCEL);
        self.connection.reset(pair.error, RstStatus::CANCEL);
    }
}

impl fmt::Debug for Client {
    // What is under way is somebody's traffic: it is not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("connection", &self.connection)
            .field("pairs", &self.pairs.len())
            .field("ended", &self.ended)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}
