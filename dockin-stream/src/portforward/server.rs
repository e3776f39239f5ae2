use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    num::NonZeroU16,
    time::Instant,
};

use bytes::{Bytes, BytesMut};

use super::{
    DATA, ERROR, ForwardId, PORT, PortForwardEvent, REQUEST_ID,
    pair::{Pair, Pairs, Turn},
};
use crate::{
    ProtocolError,
    limits::{HIGH_WATER, MAX_PORT_FORWARD_STREAMS, STREAM_CREATION_TIMEOUT},
    spdy::{
        Connection, ConnectionEvent, GoAwayStatus, Headers, Role, RstStatus, STREAM_TYPE, StreamId,
    },
};

/// The server's side of a port-forward session: what kubelet and CRI servers speak.
///
/// # Order of calls
///
/// As for [`Codec`](crate::Codec).
pub struct Server {
    connection: Connection,
    pairs: Pairs,
    /// Streams whose other half has not come.
    halves: BTreeMap<Key, Half>,
    ended: bool,
    finished: bool,
    events: VecDeque<PortForwardEvent>,
}

/// What the two streams of a connection have in common.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Key {
    /// The `requestid` header.
    Request(Vec<u8>),
    /// Without one: the error stream's id; the data stream is the client's next.
    Stream(u32),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum StreamType {
    Error,
    Data,
}

/// One stream of a pair.
struct Half {
    stream_type: StreamType,
    stream: StreamId,
    port: NonZeroU16,
    deadline: Instant,
    /// Bytes that came before the error stream.
    early: Vec<Bytes>,
    early_len: usize,
    early_fin: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// A session right behind the 101.
    #[must_use]
    pub fn new() -> Self {
        Self {
            connection: Connection::new(Role::Server, MAX_PORT_FORWARD_STREAMS),
            pairs: Pairs::default(),
            halves: BTreeMap::new(),
            ended: false,
            finished: false,
            events: VecDeque::new(),
        }
    }

    /// Sends bytes on a connection; dropped when it is closed. See [`queued`](Self::queued).
    pub fn send(&mut self, connection: ForwardId, bytes: Bytes) {
        self.pairs.send(connection, bytes);
    }

    /// Ends our direction behind what was sent; the peer's goes on.
    pub fn half_close(&mut self, connection: ForwardId) {
        self.pairs.finish(connection);
    }

    /// Ends a connection with a text for the client, behind what was sent. No event of it
    /// follows. An empty text becomes one that says as much: nothing would mean success.
    pub fn fail(&mut self, connection: ForwardId, message: &str) {
        let message = if message.is_empty() {
            "port forwarding failed"
        } else {
            message
        };
        if let Some(mut pair) = self.pairs.remove(connection) {
            pair.flush(&mut self.connection);
            self.connection
                .send(pair.error, Bytes::copy_from_slice(message.as_bytes()));
            self.connection.reset(pair.data, RstStatus::CANCEL);
            self.connection.reset(pair.error, RstStatus::CANCEL);
        }
    }

    /// Breaks a connection off without a text: what waits is dropped, and no event of it
    /// follows.
    pub fn close(&mut self, connection: ForwardId) {
        if let Some(pair) = self.pairs.remove(connection) {
            self.connection.reset(pair.data, RstStatus::CANCEL);
            self.end_error(&pair);
        }
    }

    /// Bytes of a connection that wait for their turn on the wire. Stop reading its socket above
    /// [`HIGH_WATER`].
    #[must_use]
    pub fn queued(&self, connection: ForwardId) -> usize {
        self.pairs.queued(connection)
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
            self.handle_event(now, event);
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
        self.halves.clear();
        for connection in self.pairs.ids() {
            self.pairs.remove(connection);
            self.events
                .push_back(PortForwardEvent::Closed { connection });
        }
        if truncated {
            Err(ProtocolError::Truncated)
        } else {
            Ok(())
        }
    }

    /// Resets streams whose other half did not come within [`STREAM_CREATION_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// None: the other connections go on.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        let connection = &mut self.connection;
        self.halves.retain(|_, half| {
            let alive = now < half.deadline;
            if !alive {
                connection.reset(half.stream, RstStatus::CANCEL);
            }
            alive
        });
        Ok(())
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<PortForwardEvent> {
        self.events.pop_front()
    }

    /// The next bytes for the wire that are encoded already: what answers the client, and no
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
                self.finish_error(id);
                self.end_if_done(id);
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.halves.values().map(|half| half.deadline).min()
    }

    /// Whether our goodbye is queued.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.finished
    }

    fn handle_event(&mut self, now: Instant, event: ConnectionEvent) {
        match event {
            ConnectionEvent::StreamOpened { stream, headers } => {
                if self.handle_opened(now, stream, &headers).is_none() {
                    self.connection.reset(stream, RstStatus::CANCEL);
                }
            }
            ConnectionEvent::Data { stream, bytes } => self.handle_data(stream, bytes),
            ConnectionEvent::HalfClosed { stream } => self.handle_half_closed(stream),
            ConnectionEvent::Reset { stream, .. } => self.handle_reset(stream),
            ConnectionEvent::Replied { .. }
            | ConnectionEvent::GoAway { .. }
            | ConnectionEvent::Pong => {}
        }
    }

    /// `None` refuses the stream.
    fn handle_opened(&mut self, now: Instant, stream: StreamId, headers: &Headers) -> Option<()> {
        let stream_type = match headers.get(STREAM_TYPE)? {
            name if name == ERROR.as_bytes() => StreamType::Error,
            name if name == DATA.as_bytes() => StreamType::Data,
            _ => return None,
        };
        let port = parse_port(headers.get(PORT)?)?;
        let key = match (headers.get(REQUEST_ID), stream_type) {
            (Some(request), _) if request.len() > MAX_REQUEST_ID => return None,
            (Some(request), _) if !request.is_empty() => Key::Request(request.to_vec()),
            (_, StreamType::Error) => Key::Stream(stream.value()),
            (_, StreamType::Data) => Key::Stream(stream.value().checked_sub(2)?),
        };
        let half = Half {
            stream_type,
            stream,
            port,
            deadline: now + STREAM_CREATION_TIMEOUT,
            early: Vec::new(),
            early_len: 0,
            early_fin: false,
        };
        match self.halves.remove(&key) {
            None => {
                self.connection.reply(stream);
                self.halves.insert(key, half);
            }
            Some(first) if first.stream_type == stream_type => {
                self.halves.insert(key, first);
                return None;
            }
            Some(first) if first.port != port => {
                self.connection.reset(first.stream, RstStatus::CANCEL);
                return None;
            }
            Some(first) => {
                self.connection.reply(stream);
                match stream_type {
                    StreamType::Data => self.join(&first, half),
                    StreamType::Error => self.join(&half, first),
                }
            }
        }
        Some(())
    }

    fn join(&mut self, error: &Half, data: Half) {
        let mut pair = Pair::new(data.port, error.stream, data.stream, true);
        pair.remote_ended = data.early_fin;
        let connection = self.pairs.insert(pair);
        self.events.push_back(PortForwardEvent::Opened {
            connection,
            port: data.port,
        });
        for bytes in data.early {
            self.events
                .push_back(PortForwardEvent::Data { connection, bytes });
        }
        if data.early_fin {
            self.events
                .push_back(PortForwardEvent::HalfClosed { connection });
        }
    }

    fn handle_data(&mut self, stream: StreamId, bytes: Bytes) {
        if let Some((connection, pair)) = self.pairs.of_stream(stream) {
            // Clients have nothing to say on the error stream.
            if pair.data == stream {
                self.events
                    .push_back(PortForwardEvent::Data { connection, bytes });
            }
        } else if let Some(half) = self.half_of(stream)
            && half.stream_type == StreamType::Data
        {
            half.early_len += bytes.len();
            half.early.push(bytes);
            if half.early_len > HIGH_WATER {
                self.forget_half(stream);
                self.connection.reset(stream, RstStatus::FLOW_CONTROL_ERROR);
            }
        }
    }

    fn handle_half_closed(&mut self, stream: StreamId) {
        if let Some((connection, pair)) = self.pairs.of_stream(stream) {
            if pair.data == stream {
                pair.remote_ended = true;
                self.events
                    .push_back(PortForwardEvent::HalfClosed { connection });
                self.end_if_done(connection);
            }
        } else if let Some(half) = self.half_of(stream) {
            half.early_fin = true;
        }
    }

    fn handle_reset(&mut self, stream: StreamId) {
        if let Some((connection, pair)) = self.pairs.of_stream(stream) {
            // A client that is not interested in errors may still want the bytes.
            if pair.data == stream
                && let Some(pair) = self.pairs.remove(connection)
            {
                self.end_error(&pair);
                self.events
                    .push_back(PortForwardEvent::Closed { connection });
            }
        } else {
            self.forget_half(stream);
        }
    }

    fn end_if_done(&mut self, connection: ForwardId) {
        if let Some(pair) = self.pairs.find(connection)
            && pair.remote_ended
            && pair.local_ended
            && let Some(pair) = self.pairs.remove(connection)
        {
            self.end_error(&pair);
            self.events
                .push_back(PortForwardEvent::Closed { connection });
        }
    }

    /// kubectl up to 1.31 closes its side only once the error stream has ended, and so would wait
    /// for ever on a port that has said its last word. After that word nothing can fail any more.
    fn finish_error(&mut self, connection: ForwardId) {
        if let Some(pair) = self.pairs.find(connection) {
            self.connection.finish(pair.error);
        }
    }

    /// Go clients wait for the end of the error stream before they free a connection.
    fn end_error(&mut self, pair: &Pair) {
        self.connection.finish(pair.error);
        self.connection.reset(pair.error, RstStatus::CANCEL);
    }

    fn half_of(&mut self, stream: StreamId) -> Option<&mut Half> {
        self.halves.values_mut().find(|half| half.stream == stream)
    }

    fn forget_half(&mut self, stream: StreamId) {
        self.halves.retain(|_, half| half.stream != stream);
    }
}

/// Decimal digits, `1..=65_535`.
fn parse_port(text: &[u8]) -> Option<NonZeroU16> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `requestid`, bytes. Clients of the field count from 0.
const MAX_REQUEST_ID: usize = 128;

impl fmt::Debug for Server {
    // What is under way is somebody's traffic: it is not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("connection", &self.connection)
            .field("pairs", &self.pairs.len())
            .field("halves", &self.halves.len())
            .field("ended", &self.ended)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}
