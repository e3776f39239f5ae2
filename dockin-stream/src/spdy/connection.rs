use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use super::{
    error::FrameError,
    frame::{Frame, FrameDecoder, FrameEncoder, GoAwayStatus, MAX_DATA, RstStatus, StreamId},
    header_block::Headers,
};

/// Which end of a connection this is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: a connection has two ends.
pub enum Role {
    /// Sent the upgrade request; its streams are odd.
    Client,
    /// Answered it; its streams are even.
    Server,
}

/// What happened on a connection, in the order of the wire.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConnectionEvent {
    /// The peer opened a stream: [`reply`](Connection::reply) or
    /// [`reset`](Connection::reset) is due.
    StreamOpened {
        /// The new stream.
        stream: StreamId,
        /// What it is for.
        headers: Headers,
    },
    /// The peer accepted a stream of ours.
    Replied {
        /// The accepted stream.
        stream: StreamId,
    },
    /// Bytes of a stream, never empty.
    Data {
        /// The stream.
        stream: StreamId,
        /// The bytes.
        bytes: Bytes,
    },
    /// The peer will send nothing more on a stream; the other direction goes on.
    HalfClosed {
        /// The stream.
        stream: StreamId,
    },
    /// A stream ended in both directions. Data before it counts: Go servers end every stream so.
    Reset {
        /// The stream.
        stream: StreamId,
        /// Why.
        status: RstStatus,
    },
    /// The peer accepts no more streams. Those that are open go on.
    GoAway {
        /// Why.
        status: GoAwayStatus,
    },
    /// The echo of a [`ping`](Connection::ping).
    Pong,
}

/// One SPDY/3.1 connection as a state machine, without a socket.
///
/// ```text
///             open / SYN_STREAM            FIN sent            FIN received
///   (idle) ────────────────────▶ open ───────────────▶ half ────────────────▶ closed
///                                 │   FIN received          FIN sent             ▲
///                                 └──────────── RST in any direction ────────────┘
/// ```
///
/// What Go peers lose is kept: bytes before our reply, bytes behind a GOAWAY, bytes before a RST.
/// Bytes for a stream whose reply has not come are held back, because a Go server drops them.
/// As server nothing leaves before the client's first frame: Go clients lose what follows a 101
/// in the same segment.
///
/// # Order of calls
///
/// As for [`Codec`](crate::Codec).
pub struct Connection {
    role: Role,
    decoder: FrameDecoder,
    encoder: FrameEncoder,
    streams: BTreeMap<StreamId, Stream>,
    /// Streams of the peer that are open, and how many may be.
    peer_streams: usize,
    max_peer_streams: usize,
    /// The highest id that the peer opened, 0 for none.
    last_peer: u32,
    next_local: u32,
    next_ping: u32,
    events: VecDeque<ConnectionEvent>,
    transmit: VecDeque<Bytes>,
    /// Small frames behind `transmit`, to leave in one write.
    batch: BytesMut,
    may_transmit: bool,
    inside_frame: bool,
    going_away: bool,
    pings: u32,
    pings_since: Option<Instant>,
}

struct Stream {
    /// We may send.
    local_open: bool,
    /// The peer may send.
    remote_open: bool,
    /// The peer knows that the stream is accepted, or we do.
    replied: bool,
    /// What waits for the reply, and whether FIN is behind it.
    held: VecDeque<Bytes>,
    held_bytes: usize,
    held_fin: bool,
}

impl Connection {
    /// A connection right behind the 101. The peer may have `max_peer_streams` streams open at a
    /// time; more are refused one by one.
    #[must_use]
    pub fn new(role: Role, max_peer_streams: usize) -> Self {
        let (next_local, next_ping, may_transmit) = match role {
            Role::Client => (1, 1, true),
            Role::Server => (2, 2, false),
        };
        Self {
            role,
            decoder: FrameDecoder::new(),
            encoder: FrameEncoder::new(),
            streams: BTreeMap::new(),
            peer_streams: 0,
            max_peer_streams,
            last_peer: 0,
            next_local,
            next_ping,
            events: VecDeque::new(),
            transmit: VecDeque::new(),
            batch: BytesMut::new(),
            may_transmit,
            inside_frame: false,
            going_away: false,
            pings: 0,
            pings_since: None,
        }
    }

    /// Takes whole control frames and whatever there is of DATA frames; the rest of `input`
    /// stays.
    ///
    /// # Errors
    ///
    /// The peer broke the protocol. A GOAWAY that says so is queued, and `input` is worthless.
    pub fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), FrameError> {
        let result = self.handle_frames(now, input);
        if result.is_err() {
            self.inside_frame = false;
            self.go_away(GoAwayStatus::PROTOCOL_ERROR);
            input.clear();
        }
        result
    }

    /// Whether the input so far ends inside a frame, where no connection may end.
    #[must_use]
    pub const fn is_inside_frame(&self) -> bool {
        self.inside_frame
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<ConnectionEvent> {
        self.events.pop_front()
    }

    /// The next bytes for the wire.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        if !self.may_transmit {
            return None;
        }
        self.transmit
            .pop_front()
            .or_else(|| (!self.batch.is_empty()).then(|| self.batch.split().freeze()))
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has something.
    #[must_use]
    pub fn has_transmit(&self) -> bool {
        self.may_transmit && !(self.transmit.is_empty() && self.batch.is_empty())
    }

    /// Opens a stream. `None` behind our GOAWAY or when the ids are used up.
    pub fn open(&mut self, headers: Headers) -> Option<StreamId> {
        if self.going_away {
            return None;
        }
        let stream = StreamId::new(self.next_local)?;
        self.next_local += 2;
        self.streams.insert(
            stream,
            Stream {
                local_open: true,
                remote_open: true,
                replied: false,
                held: VecDeque::new(),
                held_bytes: 0,
                held_fin: false,
            },
        );
        self.put(&Frame::SynStream {
            stream,
            associated: 0,
            priority: 0,
            slot: 0,
            fin: false,
            unidirectional: false,
            headers,
        });
        Some(stream)
    }

    /// Accepts a stream of the peer.
    pub fn reply(&mut self, stream: StreamId) {
        let Some(state) = self.streams.get_mut(&stream) else {
            return;
        };
        if !state.replied {
            state.replied = true;
            // A unidirectional stream has no reply.
            if state.local_open {
                self.put(&Frame::SynReply {
                    stream,
                    fin: false,
                    headers: Headers::new(),
                });
            }
            self.flush_held(stream);
        }
    }

    /// Sends bytes on a stream; dropped when it is closed or our side of it is.
    pub fn send(&mut self, stream: StreamId, bytes: Bytes) {
        match self.streams.get_mut(&stream) {
            Some(state) if state.local_open && !state.held_fin && !bytes.is_empty() => {
                if state.replied {
                    self.put_data(stream, bytes);
                } else {
                    state.held_bytes += bytes.len() + HELD_PIECE;
                    state.held.push_back(bytes);
                }
            }
            _ => {}
        }
    }

    /// Ends our side of a stream behind what was sent.
    pub fn finish(&mut self, stream: StreamId) {
        let Some(state) = self.streams.get_mut(&stream) else {
            return;
        };
        if !state.replied {
            state.held_fin = true;
        } else if state.local_open {
            state.local_open = false;
            let header = FrameEncoder::data_header(stream, 0, true);
            self.batch.extend_from_slice(&header);
            self.forget_if_closed(stream);
        }
    }

    /// Ends a stream in both directions. What waits for its reply is dropped.
    pub fn reset(&mut self, stream: StreamId, status: RstStatus) {
        if self.forget(stream) {
            self.put(&Frame::RstStream { stream, status });
        }
    }

    /// Asks for an echo. Nothing as server before the client's first frame.
    pub fn ping(&mut self) {
        if self.may_transmit && !self.going_away {
            self.put(&Frame::Ping { id: self.next_ping });
            self.next_ping = match self.next_ping.checked_add(2) {
                Some(id) => id,
                None if self.role == Role::Client => 1,
                None => 2,
            };
        }
    }

    /// Says goodbye, once: the peer's new streams are ignored from here on.
    pub fn go_away(&mut self, status: GoAwayStatus) {
        if !self.going_away {
            self.going_away = true;
            // Nothing follows that a Go client could lose.
            self.may_transmit = true;
            self.put(&Frame::GoAway {
                last_stream: self.last_peer,
                status,
            });
        }
    }

    /// What of a stream waits for the peer's reply: its bytes, and what keeping them costs.
    #[must_use]
    pub fn held(&self, stream: StreamId) -> usize {
        self.streams
            .get(&stream)
            .map_or(0, |state| state.held_bytes)
    }

    /// Whether a stream is neither reset nor closed in both directions.
    #[must_use]
    pub fn is_open(&self, stream: StreamId) -> bool {
        self.streams.contains_key(&stream)
    }

    /// Whether the peer has accepted a stream of ours, or it is gone.
    #[must_use]
    pub fn is_settled(&self, stream: StreamId) -> bool {
        self.streams.get(&stream).is_none_or(|state| state.replied)
    }

    fn handle_frames(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), FrameError> {
        loop {
            while let Some((stream, bytes)) = self.decoder.decode_joined(input) {
                self.may_transmit = true;
                self.handle_data(stream, bytes, false)?;
            }
            let Some(frame) = self.decoder.decode(input)? else {
                break;
            };
            self.may_transmit = true;
            self.handle_frame(now, frame)?;
        }
        self.inside_frame = !input.is_empty() || self.decoder.is_inside_data();
        Ok(())
    }

    fn handle_frame(&mut self, now: Instant, frame: Frame) -> Result<(), FrameError> {
        match frame {
            Frame::SynStream {
                stream,
                fin,
                unidirectional,
                headers,
                ..
            } => self.handle_open(stream, fin, unidirectional, headers),
            Frame::SynReply { stream, fin, .. } => self.handle_reply(stream, fin),
            Frame::Headers { stream, fin, .. } => self.handle_data(stream, Bytes::new(), fin),
            Frame::Data { stream, bytes, fin } => self.handle_data(stream, bytes, fin),
            Frame::RstStream { stream, status } => {
                self.check_known(stream)?;
                if self.forget(stream) {
                    self.events
                        .push_back(ConnectionEvent::Reset { stream, status });
                }
                Ok(())
            }
            Frame::Ping { id } => self.handle_ping(now, id),
            Frame::GoAway { status, .. } => {
                self.events.push_back(ConnectionEvent::GoAway { status });
                Ok(())
            }
            Frame::Settings { .. } | Frame::WindowUpdate { .. } => Ok(()),
        }
    }

    fn handle_open(
        &mut self,
        stream: StreamId,
        fin: bool,
        unidirectional: bool,
        headers: Headers,
    ) -> Result<(), FrameError> {
        let id = stream.value();
        if stream.is_client() == (self.role == Role::Client) {
            return Err(FrameError::StreamParity { stream: id });
        }
        if id <= self.last_peer {
            return Err(FrameError::StreamOrder {
                stream: id,
                last: self.last_peer,
            });
        }
        self.last_peer = id;
        if self.going_away {
            return Ok(());
        }
        if self.peer_streams >= self.max_peer_streams {
            self.put(&Frame::RstStream {
                stream,
                status: RstStatus::REFUSED_STREAM,
            });
            return Ok(());
        }
        self.peer_streams += 1;
        self.streams.insert(
            stream,
            Stream {
                local_open: !unidirectional,
                remote_open: true,
                replied: false,
                held: VecDeque::new(),
                held_bytes: 0,
                held_fin: false,
            },
        );
        self.events
            .push_back(ConnectionEvent::StreamOpened { stream, headers });
        if fin {
            self.half_closed(stream);
        }
        Ok(())
    }

    fn handle_reply(&mut self, stream: StreamId, fin: bool) -> Result<(), FrameError> {
        if stream.is_client() != (self.role == Role::Client) {
            return Err(FrameError::StreamParity {
                stream: stream.value(),
            });
        }
        self.check_known(stream)?;
        // A Go server may reset a stream before it replies to it.
        let Some(state) = self.streams.get_mut(&stream) else {
            return Ok(());
        };
        if state.replied {
            return Err(FrameError::SecondReply {
                stream: stream.value(),
            });
        }
        state.replied = true;
        self.events.push_back(ConnectionEvent::Replied { stream });
        self.flush_held(stream);
        if fin {
            self.half_closed(stream);
        }
        Ok(())
    }

    fn handle_data(&mut self, stream: StreamId, bytes: Bytes, fin: bool) -> Result<(), FrameError> {
        self.check_known(stream)?;
        // Go writes on after its own FIN, and a reset of ours crosses data on its way.
        if self
            .streams
            .get(&stream)
            .is_some_and(|state| state.remote_open)
        {
            if !bytes.is_empty() {
                self.events
                    .push_back(ConnectionEvent::Data { stream, bytes });
            }
            if fin {
                self.half_closed(stream);
            }
        }
        Ok(())
    }

    fn handle_ping(&mut self, now: Instant, id: u32) -> Result<(), FrameError> {
        if (id % 2 == 1) == (self.role == Role::Client) {
            self.events.push_back(ConnectionEvent::Pong);
            return Ok(());
        }
        let recent = self
            .pings_since
            .is_some_and(|since| now.saturating_duration_since(since) < PING_WINDOW);
        if !recent {
            self.pings_since = Some(now);
            self.pings = 0;
        }
        self.pings += 1;
        if self.pings > MAX_PINGS {
            return Err(FrameError::PingFlood { max: MAX_PINGS });
        }
        if !self.going_away {
            self.put(&Frame::Ping { id });
        }
        Ok(())
    }

    /// Streams that were open once are known: frames for them cross our goodbye on the way.
    fn check_known(&self, stream: StreamId) -> Result<(), FrameError> {
        let id = stream.value();
        let known = if stream.is_client() == (self.role == Role::Client) {
            id < self.next_local
        } else {
            id <= self.last_peer
        };
        if known {
            Ok(())
        } else {
            Err(FrameError::UnknownStream { stream: id })
        }
    }

    fn half_closed(&mut self, stream: StreamId) {
        if let Some(state) = self.streams.get_mut(&stream) {
            state.remote_open = false;
            self.events
                .push_back(ConnectionEvent::HalfClosed { stream });
            self.forget_if_closed(stream);
        }
    }

    fn flush_held(&mut self, stream: StreamId) {
        let Some(state) = self.streams.get_mut(&stream) else {
            return;
        };
        let (held, fin) = (std::mem::take(&mut state.held), state.held_fin);
        state.held_bytes = 0;
        for bytes in held {
            self.put_data(stream, bytes);
        }
        if fin {
            self.finish(stream);
        }
    }

    fn forget_if_closed(&mut self, stream: StreamId) {
        if self
            .streams
            .get(&stream)
            .is_some_and(|state| !state.local_open && !state.remote_open)
        {
            self.forget(stream);
        }
    }

    fn forget(&mut self, stream: StreamId) -> bool {
        let known = self.streams.remove(&stream).is_some();
        if known && stream.is_client() != (self.role == Role::Client) {
            self.peer_streams -= 1;
        }
        known
    }

    fn put(&mut self, frame: &Frame) {
        self.encoder.encode(frame, &mut self.batch);
    }

    fn put_data(&mut self, stream: StreamId, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let part = bytes.split_to(bytes.len().min(MAX_DATA));
            let header = FrameEncoder::data_header(stream, part.len(), false);
            let copied = if part.len() <= COPY_MAX {
                part.len()
            } else {
                0
            };
            if self.batch.capacity() - self.batch.len() < header.len() + copied {
                // What has left is used again; nothing is allocated for a header alone.
                self.batch.reserve(ROOM.max(header.len() + copied));
            }
            self.batch.extend_from_slice(&header);
            if part.len() <= COPY_MAX {
                self.batch.extend_from_slice(&part);
            } else {
                self.transmit.push_back(self.batch.split().freeze());
                self.transmit.push_back(part);
            }
        }
    }
}

/// Payloads up to this many bytes are copied behind their header: one buffer costs less than two.
const COPY_MAX: usize = 1024;
/// What a piece that waits for a reply costs on top of its bytes.
const HELD_PIECE: usize = 64;
/// Bytes of headers and small payloads that one allocation holds at least.
const ROOM: usize = 1024;
/// PINGs of the peer that are echoed within [`PING_WINDOW`]. Clients of the field send one in 5 s.
const MAX_PINGS: u32 = 100;
const PING_WINDOW: Duration = Duration::from_secs(1);

impl fmt::Debug for Connection {
    // What is under way is what somebody types or sees: it is not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("role", &self.role)
            .field("streams", &self.streams.len())
            .field("last_peer", &self.last_peer)
            .field("events", &self.events.len())
            .field("transmit", &self.transmit.len())
            .field("may_transmit", &self.may_transmit)
            .field("inside_frame", &self.inside_frame)
            .field("going_away", &self.going_away)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
