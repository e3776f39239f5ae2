use std::{collections::VecDeque, fmt, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{
    STREAM_TYPE,
    connection::{Connection, ConnectionEvent, Role},
    frame::{GoAwayStatus, RstStatus, StreamId},
    header_block::Headers,
    stream_type::{StreamType, TypedStreams},
};
use crate::{
    Codec, Event, ExitStatus, ProtocolError, StreamSet, Subprotocol,
    limits::{HIGH_WATER, MAX_EXEC_STREAMS, STREAM_CREATION_TIMEOUT},
    resize::ResizeReader,
};

/// The server's side of exec or attach over SPDY: what kubelet and CRI servers speak.
///
/// The session is [ready](Codec::is_ready) when the client has opened the error stream, every
/// stream that was asked for, and, with a TTY from v3 on, the resize stream; their order does not
/// matter. What the client sends before that comes out of [`poll_event`](Codec::poll_event) when
/// it is ready; what is sent to it before that waits.
///
/// The end is status, FIN of every stream, GOAWAY; in v1, as its servers in the field do it, without
/// the status, so that a v1 client cannot tell a failure from success. Input that still arrives is thrown away, so
/// that the caller may linger until the client closes and no output is lost (`T1`).
pub struct ExecServer {
    connection: Connection,
    subprotocol: Subprotocol,
    expected: StreamSet,
    streams: TypedStreams,
    resize: ResizeReader,
    deadline: Instant,
    ready: bool,
    stdin_ended: bool,
    finished: bool,
    ended: bool,
    events: VecDeque<Event>,
    /// Standard input that came before the session was ready, bytes.
    early: usize,
    /// Sent by the process before the client had its streams.
    waiting: Vec<Event>,
}

impl ExecServer {
    /// A session right behind the 101. `streams` are those of the request's query; standard
    /// error is dropped when there is a TTY. The deadline for the streams counts from `now`.
    #[must_use]
    pub fn new(subprotocol: Subprotocol, streams: StreamSet, now: Instant) -> Self {
        Self {
            connection: Connection::new(Role::Server, MAX_EXEC_STREAMS),
            subprotocol,
            expected: streams.normalized(),
            streams: TypedStreams::default(),
            resize: ResizeReader::default(),
            deadline: now + STREAM_CREATION_TIMEOUT,
            ready: false,
            stdin_ended: false,
            finished: false,
            ended: false,
            events: VecDeque::new(),
            early: 0,
            waiting: Vec::new(),
        }
    }

    fn drain_connection(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            match event {
                ConnectionEvent::StreamOpened { stream, headers } => {
                    self.handle_opened(stream, &headers);
                }
                ConnectionEvent::Data { stream, bytes } => self.handle_data(stream, bytes),
                ConnectionEvent::HalfClosed { stream } | ConnectionEvent::Reset { stream, .. } => {
                    if self.streams.type_of(stream) == Some(StreamType::Stdin)
                        && self.subprotocol != Subprotocol::V1
                        && !self.stdin_ended
                    {
                        self.stdin_ended = true;
                        self.push(Event::HalfClose);
                    }
                }
                // Behind a GOAWAY the streams go on; the end of the connection is the goodbye.
                ConnectionEvent::Replied { .. }
                | ConnectionEvent::GoAway { .. }
                | ConnectionEvent::Pong => {}
            }
        }
    }

    fn handle_opened(&mut self, stream: StreamId, headers: &Headers) {
        let Some(name) = headers.get(STREAM_TYPE) else {
            self.connection.reset(stream, RstStatus::PROTOCOL_ERROR);
            return;
        };
        // What nobody asked for is accepted and ignored, as Kubernetes does.
        if let Some(stream_type) = StreamType::parse(name)
            && StreamType::expected(self.subprotocol, self.expected)
                .any(|expected| expected == stream_type)
        {
            if self.streams.id(stream_type).is_some() {
                self.connection.reset(stream, RstStatus::PROTOCOL_ERROR);
                return;
            }
            self.streams.insert(stream_type, stream);
        }
        self.connection.reply(stream);
        if !self.ready && self.missing().next().is_none() {
            self.start();
        }
    }

    fn handle_data(&mut self, stream: StreamId, bytes: Bytes) {
        match self.streams.type_of(stream) {
            Some(StreamType::Stdin) => {
                if !self.ready {
                    self.early += bytes.len();
                }
                self.push(Event::Stdin(bytes));
            }
            Some(StreamType::Resize) => {
                if !self.finished {
                    self.resize.read(&bytes, &mut self.events);
                }
            }
            Some(StreamType::Error | StreamType::Stdout | StreamType::Stderr) | None => {}
        }
    }

    /// What waits until the session is ready, bytes. Events count, too: a size of a terminal takes
    /// two bytes on the wire.
    fn kept(&self) -> usize {
        self.early + self.events.len() * size_of::<Event>()
    }

    fn push(&mut self, event: Event) {
        if !self.finished {
            self.events.push_back(event);
        }
    }

    fn missing(&self) -> impl Iterator<Item = StreamType> {
        StreamType::expected(self.subprotocol, self.expected)
            .filter(|stream_type| self.streams.id(*stream_type).is_none())
    }

    fn start(&mut self) {
        self.ready = true;
        if self.subprotocol == Subprotocol::V1 {
            // Clients of v1 wait for both before they call the session open.
            if let Some(error) = self.streams.id(StreamType::Error) {
                self.connection.reset(error, RstStatus::CANCEL);
            }
            self.finish_stream(StreamType::Stdin);
        }
        for event in std::mem::take(&mut self.waiting) {
            self.send(event);
        }
    }

    fn finish_stream(&mut self, stream_type: StreamType) {
        if let Some(stream) = self.streams.id(stream_type) {
            self.connection.finish(stream);
        }
    }

    fn send_output(&mut self, stream_type: StreamType, bytes: Bytes) {
        if let Some(stream) = self.streams.id(stream_type) {
            self.connection.send(stream, bytes);
        }
    }

    fn finish(&mut self, status: &ExitStatus, goodbye: GoAwayStatus) {
        let text = if self.subprotocol.has_exit_code() {
            status.to_json()
        } else {
            match status.to_text() {
                // Empty text would mean success.
                text if text.is_empty() && !status.is_success() => "failed".to_owned(),
                text => text,
            }
        };
        // v1 has reset its error stream: nothing is sent there.
        self.send_output(StreamType::Error, text.into());
        for stream_type in [
            StreamType::Error,
            StreamType::Stdout,
            StreamType::Stderr,
            // Go clients watch this one to leave their reading of the terminal.
            StreamType::Stdin,
            StreamType::Resize,
        ] {
            self.finish_stream(stream_type);
        }
        self.connection.go_away(goodbye);
        self.finished = true;
    }
}

impl Codec for ExecServer {
    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), ProtocolError> {
        if self.finished {
            input.clear();
            return Ok(());
        }
        let result = self.connection.handle_input(now, input);
        self.drain_connection();
        if result.is_err() {
            self.finished = true;
        } else if !self.ready && self.kept() > HIGH_WATER {
            // Nobody reads it yet, and clients of the field open all their streams first.
            let error = ProtocolError::TooLong {
                what: "input before the streams",
                size: self.kept(),
                max: HIGH_WATER,
            };
            let status = ExitStatus::internal_error(error.to_string());
            self.finish(&status, GoAwayStatus::PROTOCOL_ERROR);
            return Err(error);
        }
        Ok(result?)
    }

    fn handle_eof(&mut self, _now: Instant) -> Result<(), ProtocolError> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        self.push(Event::Close);
        if self.finished || !self.connection.is_inside_frame() {
            Ok(())
        } else {
            Err(ProtocolError::Truncated)
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let missing: Vec<&str> = self.missing().map(StreamType::as_str).collect();
        let error = ProtocolError::StreamsMissing {
            seconds: STREAM_CREATION_TIMEOUT.as_secs(),
            missing: missing.join(", "),
        };
        // A Go client takes a connection that just ends for success.
        let status = ExitStatus::internal_error(error.to_string());
        self.finish(&status, GoAwayStatus::PROTOCOL_ERROR);
        Err(error)
    }

    fn poll_event(&mut self) -> Option<Event> {
        if self.ready || self.ended {
            self.events.pop_front()
        } else {
            None
        }
    }

    fn send(&mut self, event: Event) {
        if self.finished {
            return;
        }
        if !self.ready {
            if !matches!(event, Event::Close) {
                self.waiting.push(event);
                return;
            }
            self.waiting.clear();
        }
        match event {
            Event::Stdout(bytes) => self.send_output(StreamType::Stdout, bytes),
            Event::Stderr(bytes) => self.send_output(StreamType::Stderr, bytes),
            Event::Exit(status) => self.finish(&status, GoAwayStatus::OK),
            // Without a status Go clients would report success.
            Event::Close => self.finish(
                &ExitStatus::connection_lost("container"),
                GoAwayStatus::INTERNAL_ERROR,
            ),
            Event::Stdin(_) | Event::Resize(_) | Event::HalfClose => {}
        }
    }

    fn send_keepalive(&mut self) {
        self.connection.ping();
    }

    fn poll_transmit(&mut self) -> Option<Bytes> {
        self.connection.poll_transmit()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (!self.ready && !self.finished && !self.ended).then_some(self.deadline)
    }

    fn is_ready(&self) -> bool {
        self.ready
    }

    fn is_finished(&self) -> bool {
        self.finished
    }
}

impl fmt::Debug for ExecServer {
    // Events hold what somebody types: they are not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ExecServer")
            .field("connection", &self.connection)
            .field("subprotocol", &self.subprotocol)
            .field("expected", &self.expected)
            .field("streams", &self.streams)
            .field("ready", &self.ready)
            .field("stdin_ended", &self.stdin_ended)
            .field("finished", &self.finished)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
