use std::{collections::VecDeque, fmt, num::NonZeroU16};

use bytes::{Buf, Bytes, BytesMut};

use super::{AnnouncementError, MAX_BASE64_PORTS, MAX_RAW_PORTS, PortsError};
use crate::{
    ProtocolError, Subprotocol,
    base64::{self, Base64Reader},
    limits::MAX_BASE64_BODY,
    portforward::ForwardId,
    websocket::{CloseCode, Connection, Incoming, MessageKind, OpCode, Span},
};

/// The ports of a session over one WebSocket: what arrives on their channels, and what waits to be
/// sent. Those with something to send take turns.
pub(super) struct Lanes {
    connection: Connection,
    base64: Option<Base64Reader>,
    current: Current,
    lanes: Vec<Lane>,
    turns: VecDeque<usize>,
    /// Told once the bytes before it are given.
    failed: Option<ProtocolError>,
}

/// What is known of the message that is arriving.
#[derive(Clone, Copy)]
enum Current {
    Start,
    Channel(u8),
    Skip,
}

/// One port.
pub(super) struct Lane {
    pub(super) port: NonZeroU16,
    /// Events of it may still come.
    pub(super) open: bool,
    /// We have no more to say.
    pub(super) local_ended: bool,
    pub(super) data: Announcement,
    pub(super) error: Announcement,
    /// Failure text so far.
    pub(super) message: Vec<u8>,
    queue: VecDeque<Bytes>,
    queued: usize,
    finishing: bool,
    /// Has a place in `Lanes::turns`.
    waiting: bool,
}

/// The first message of a channel.
#[derive(Clone, Copy, Default)]
pub(super) struct Announcement {
    bytes: [u8; 2],
    len: usize,
    pub(super) done: bool,
}

/// Part of a message on a channel that exists, or the end.
#[derive(Debug)]
pub(super) enum Part {
    Body {
        channel: u8,
        /// May be empty.
        bytes: Bytes,
        /// The message is complete.
        end: bool,
    },
    Close(CloseCode),
}

impl Lanes {
    pub(super) fn new(
        connection: Connection,
        subprotocol: Subprotocol,
        ports: &[NonZeroU16],
    ) -> Result<Self, PortsError> {
        let base64 = subprotocol.is_base64();
        let max = if base64 {
            MAX_BASE64_PORTS
        } else {
            MAX_RAW_PORTS
        };
        if ports.is_empty() {
            return Err(PortsError::None);
        }
        if ports.len() > max {
            return Err(PortsError::TooMany {
                ports: ports.len(),
                max,
            });
        }
        Ok(Self {
            connection,
            base64: base64.then(Base64Reader::default),
            current: Current::Start,
            lanes: ports.iter().map(|port| Lane::new(*port)).collect(),
            turns: VecDeque::new(),
            failed: None,
        })
    }

    /// In the order of the query.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ForwardId, &Lane)> {
        (0..).map(ForwardId).zip(&self.lanes)
    }

    pub(super) fn find(&mut self, id: ForwardId) -> Option<&mut Lane> {
        self.lanes.get_mut(index(id))
    }

    /// The port of a channel, and whether the channel is its data.
    pub(super) fn of_channel(channel: u8) -> (ForwardId, bool) {
        (ForwardId(u32::from(channel / 2)), channel.is_multiple_of(2))
    }

    pub(super) fn queued(&self, id: ForwardId) -> usize {
        self.lanes.get(index(id)).map_or(0, |lane| lane.queued)
    }

    pub(super) fn send(&mut self, id: ForwardId, bytes: Bytes) {
        if let Some(lane) = self.lanes.get_mut(index(id))
            && lane.open
            && !lane.finishing
            && !bytes.is_empty()
        {
            lane.queued += bytes.len();
            lane.queue.push_back(bytes);
            self.take_turn(index(id));
        }
    }

    /// Our direction ends behind what waits.
    pub(super) fn finish(&mut self, id: ForwardId) {
        if let Some(lane) = self.lanes.get_mut(index(id))
            && lane.open
            && !lane.finishing
        {
            lane.finishing = true;
            self.take_turn(index(id));
        }
    }

    /// Nothing more of this port is heard, and what waits is dropped.
    pub(super) fn end(&mut self, id: ForwardId) {
        if let Some(lane) = self.lanes.get_mut(index(id)) {
            lane.open = false;
            lane.local_ended = true;
            lane.queue.clear();
            lane.queued = 0;
        }
    }

    /// Ends every port; those that were open.
    pub(super) fn end_all(&mut self) -> Vec<ForwardId> {
        let open: Vec<ForwardId> = self
            .iter()
            .filter(|(_, lane)| lane.open)
            .map(|(id, _)| id)
            .collect();
        for id in &open {
            self.end(*id);
        }
        open
    }

    /// Whether no port has anything more to say.
    pub(super) fn all_silent(&self) -> bool {
        self.lanes.iter().all(|lane| lane.local_ended)
    }

    /// Whether no port is open.
    pub(super) fn all_ended(&self) -> bool {
        !self.lanes.iter().any(|lane| lane.open)
    }

    /// Sends all that waits on `id`, out of turn.
    pub(super) fn flush(&mut self, id: ForwardId) {
        let Some(lane) = self.lanes.get_mut(index(id)) else {
            return;
        };
        lane.queued = 0;
        lane.local_ended |= lane.finishing;
        let queue = std::mem::take(&mut lane.queue);
        let channel = channel(index(id), true);
        for bytes in queue {
            self.write(channel, bytes);
        }
    }

    /// Sends all that waits, then our Close frame.
    pub(super) fn close(&mut self, code: CloseCode) {
        let ids: Vec<ForwardId> = self.iter().map(|(id, _)| id).collect();
        for id in ids {
            self.flush(id);
        }
        self.connection.close(code);
    }

    /// One message, or several when `bytes` are more than one takes; an empty one for none.
    pub(super) fn write(&mut self, channel: u8, mut bytes: Bytes) {
        loop {
            let part = bytes.split_to(bytes.len().min(MAX_BODY));
            if self.base64.is_some() {
                let mut text = String::with_capacity(part.len().div_ceil(3) * 4);
                base64::encode(&part, &mut text);
                self.connection
                    .send(OpCode::TEXT, &[b'0'.wrapping_add(channel)], text.into());
            } else {
                self.connection.send(OpCode::BINARY, &[channel], part);
            }
            if bytes.is_empty() {
                return;
            }
        }
    }

    /// The next part; `None` when more input is needed.
    pub(super) fn read(&mut self, input: &mut BytesMut) -> Result<Option<Part>, ProtocolError> {
        loop {
            if let Some(error) = &self.failed {
                self.connection.close(CloseCode::INVALID_PAYLOAD);
                return Err(error.clone());
            }
            let part = match self.connection.read(input)? {
                None => return Ok(None),
                Some(Incoming::Close(code)) => Some(Part::Close(code)),
                Some(Incoming::Span(span)) => self.part(span),
            };
            if part.is_some() {
                return Ok(part);
            }
        }
    }

    pub(super) const fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(super) const fn is_closing(&self) -> bool {
        self.connection.is_closing()
    }

    /// The next bytes for the wire: what is encoded, then a turn.
    pub(super) fn poll_transmit(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.connection.poll_transmit() {
                return Some(bytes);
            }
            self.next_turn()?;
        }
    }

    fn part(&mut self, span: Span) -> Option<Part> {
        let Span {
            kind,
            mut bytes,
            end,
        } = span;
        if let Current::Start = self.current {
            // As in the channels of exec, text is nothing in a raw session.
            let first = bytes.first().copied();
            let channel = match (&self.base64, kind) {
                (Some(_), _) => first.and_then(|character| character.checked_sub(b'0')),
                (None, MessageKind::Binary) => first,
                (None, MessageKind::Text) => None,
            };
            self.current = match channel {
                Some(channel) if usize::from(channel) < self.lanes.len() * 2 => {
                    bytes.advance(1);
                    Current::Channel(channel)
                }
                _ => Current::Skip,
            };
        }
        let current = self.current;
        if end {
            self.current = Current::Start;
        }
        let Current::Channel(channel) = current else {
            return None;
        };
        let bytes = match &mut self.base64 {
            None => bytes,
            Some(reader) => {
                let (bytes, result) = reader.read(&bytes, end);
                if let Err(error) = result {
                    self.failed = Some(ProtocolError::Base64 {
                        offset: error.offset,
                    });
                }
                bytes
            }
        };
        Some(Part::Body {
            channel,
            bytes,
            end: end && self.failed.is_none(),
        })
    }

    fn take_turn(&mut self, index: usize) {
        if let Some(lane) = self.lanes.get_mut(index)
            && !lane.waiting
        {
            lane.waiting = true;
            self.turns.push_back(index);
        }
    }

    fn next_turn(&mut self) -> Option<()> {
        let index = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(index)?;
        lane.waiting = false;
        let next = lane.queue.pop_front().map(|mut first| {
            let part = first.split_to(first.len().min(MAX_BODY));
            lane.queued -= part.len();
            if !first.is_empty() {
                lane.queue.push_front(first);
            }
            part
        });
        if !lane.queue.is_empty() {
            self.take_turn(index);
        } else if lane.finishing {
            lane.local_ended = true;
        }
        if let Some(part) = next {
            self.write(channel(index, true), part);
        }
        Some(())
    }
}

impl Lane {
    fn new(port: NonZeroU16) -> Self {
        Self {
            port,
            open: true,
            local_ended: false,
            data: Announcement::default(),
            error: Announcement::default(),
            message: Vec::new(),
            queue: VecDeque::new(),
            queued: 0,
            finishing: false,
            waiting: false,
        }
    }
}

impl Announcement {
    /// Takes part of the message; whether it is complete and right. Empty messages do not count.
    pub(super) fn take(
        &mut self,
        channel: u8,
        bytes: &[u8],
        end: bool,
        expected: NonZeroU16,
    ) -> Result<bool, AnnouncementError> {
        for byte in bytes {
            let slot = self
                .bytes
                .get_mut(self.len)
                .ok_or(AnnouncementError::Length { channel })?;
            *slot = *byte;
            self.len += 1;
        }
        if !end || self.len == 0 {
            return Ok(false);
        }
        if self.len < self.bytes.len() {
            return Err(AnnouncementError::Length { channel });
        }
        let port = u16::from_le_bytes(self.bytes);
        if port != expected.get() {
            return Err(AnnouncementError::Port {
                channel,
                port,
                expected,
            });
        }
        self.done = true;
        Ok(true)
    }
}

/// The channel of a port's data or of its failure text.
pub(super) fn channel(index: usize, data: bool) -> u8 {
    // INVARIANT: there are at most MAX_RAW_PORTS ports.
    u8::try_from(index * 2).unwrap_or(u8::MAX - 1) | u8::from(!data)
}

pub(super) fn index(id: ForwardId) -> usize {
    usize::try_from(id.0).unwrap_or(usize::MAX)
}

/// Bytes of one port in a message, and before another has its turn.
const MAX_BODY: usize = MAX_BASE64_BODY;

impl fmt::Debug for Lanes {
    // What is under way is somebody's traffic: it is not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Lanes")
            .field("connection", &self.connection)
            .field("lanes", &self.lanes.len())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
