use std::{collections::VecDeque, fmt, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{
    connection::{Connection, ConnectionEvent, Role},
    frame::{GoAwayStatus, RstStatus, StreamId},
    stream_type::{StreamType, TypedStreams},
};
use crate::{Codec, Event, ExitStatus, ProtocolError, StreamSet, Subprotocol, limits::MAX_STATUS};

/// The client's side of exec or attach over SPDY: what a kubelet is asked with.
///
/// All streams are opened at once, without a round trip for each. Standard input waits inside
/// until the server has accepted its stream, because Go servers drop what comes earlier: take
/// input for it once [`is_ready`](Codec::is_ready), or stop while [`held`](Codec::held) says that
/// much waits, as an `Endpoint` does.
///
/// [`Event::Exit`] comes when the error stream and both outputs have ended, or with the end of
/// the connection. A connection that ends without a status gives [`Event::Close`] alone, never
/// success.
///
/// v1 has no status to give: its server resets the error stream right after the set-up. Once both
/// outputs have ended in order the exit is 0, as Go's client takes it, whatever the command's was:
/// who has to know must not offer v1.
pub struct ExecClient {
    connection: Connection,
    subprotocol: Subprotocol,
    streams: TypedStreams,
    /// What has come on the error stream.
    status: Vec<u8>,
    open: OpenStreams,
    /// A stream was reset for another reason than its end.
    broken: Option<RstStatus>,
    finished: bool,
    ended: bool,
    events: VecDeque<Event>,
}

/// The directions towards us that have not ended.
#[derive(Debug)]
struct OpenStreams {
    error: bool,
    stdout: bool,
    stderr: bool,
}

impl ExecClient {
    /// A session right behind the 101 that chose `subprotocol`; `streams` as in the request's
    /// query.
    #[must_use]
    pub fn new(subprotocol: Subprotocol, streams: StreamSet) -> Self {
        let streams = streams.normalized();
        let mut connection = Connection::new(Role::Client, 0);
        let mut typed = TypedStreams::default();
        for stream_type in StreamType::expected(subprotocol, streams) {
            if let Some(stream) = connection.open(stream_type.headers()) {
                typed.insert(stream_type, stream);
            }
        }
        Self {
            connection,
            subprotocol,
            streams: typed,
            status: Vec::new(),
            open: OpenStreams {
                error: true,
                // v1 ends its error stream at the start: without outputs only the end of the
                // connection tells.
                stdout: streams.stdout || (subprotocol == Subprotocol::V1 && !streams.stderr),
                stderr: streams.stderr,
            },
            broken: None,
            finished: false,
            ended: false,
            events: VecDeque::new(),
        }
    }

    fn drain_connection(&mut self) -> Result<(), ProtocolError> {
        while let Some(event) = self.connection.poll_event() {
            // What follows the end of the session counts for nothing, however it is cut.
            if self.finished {
                continue;
            }
            match event {
                ConnectionEvent::Data { stream, bytes } => self.handle_data(stream, bytes)?,
                ConnectionEvent::HalfClosed { stream } => self.handle_end(stream),
                ConnectionEvent::Reset { stream, status } => {
                    if status != RstStatus::CANCEL
                        && self.streams.type_of(stream) != Some(StreamType::Stdin)
                    {
                        self.broken = Some(status);
                    }
                    self.handle_end(stream);
                }
                // Behind a GOAWAY the open streams go on.
                ConnectionEvent::StreamOpened { .. }
                | ConnectionEvent::Replied { .. }
                | ConnectionEvent::GoAway { .. }
                | ConnectionEvent::Pong => {}
            }
            self.settle();
        }
        Ok(())
    }

    /// Gives the status once nothing can come before it.
    fn settle(&mut self) {
        if !self.open.error && !self.open.stdout && !self.open.stderr {
            let status = self.exit_status();
            self.exit(status);
        }
    }

    fn handle_data(&mut self, stream: StreamId, bytes: Bytes) -> Result<(), ProtocolError> {
        match self.streams.type_of(stream) {
            Some(StreamType::Stdout) => self.events.push_back(Event::Stdout(bytes)),
            Some(StreamType::Stderr) => self.events.push_back(Event::Stderr(bytes)),
            Some(StreamType::Error) => {
                let size = self.status.len() + bytes.len();
                if size > MAX_STATUS {
                    return Err(ProtocolError::TooLong {
                        what: "status",
                        size,
                        max: MAX_STATUS,
                    });
                }
                self.status.extend_from_slice(&bytes);
            }
            Some(StreamType::Stdin | StreamType::Resize) | None => {}
        }
        Ok(())
    }

    fn handle_end(&mut self, stream: StreamId) {
        match self.streams.type_of(stream) {
            Some(StreamType::Error) => self.open.error = false,
            Some(StreamType::Stdout) => self.open.stdout = false,
            Some(StreamType::Stderr) => self.open.stderr = false,
            Some(StreamType::Stdin | StreamType::Resize) | None => {}
        }
    }

    /// What the error stream said, all of it having come.
    fn exit_status(&self) -> ExitStatus {
        let status = if !self.subprotocol.has_exit_code() {
            ExitStatus::parse_text(&self.status)
        } else if self.status.is_empty() {
            ExitStatus::internal_error("error stream ended without a status")
        } else {
            ExitStatus::parse_json(&self.status)
        };
        match self.broken {
            Some(RstStatus(code)) if status.is_success() => {
                ExitStatus::internal_error(format!("stream reset with status {code}"))
            }
            _ => status,
        }
    }

    fn exit(&mut self, status: ExitStatus) {
        if !self.finished {
            self.finished = true;
            self.events.push_back(Event::Exit(status));
            self.connection.go_away(GoAwayStatus::OK);
        }
    }

    fn fail(&mut self, error: ProtocolError) -> ProtocolError {
        self.finished = true;
        self.connection.go_away(GoAwayStatus::PROTOCOL_ERROR);
        error
    }
}

impl Codec for ExecClient {
    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), ProtocolError> {
        if self.finished {
            input.clear();
            return Ok(());
        }
        let result = self.connection.handle_input(now, input);
        // Output before a malformed frame is true, but a status of which the end has not come is
        // not trusted.
        self.drain_connection().map_err(|error| self.fail(error))?;
        if self.finished {
            return Ok(());
        }
        result.map_err(|error| self.fail(error.into()))
    }

    fn handle_eof(&mut self, _now: Instant) -> Result<(), ProtocolError> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        let truncated = !self.finished && self.connection.is_inside_frame();
        // The end of the connection ends the outputs. It says nothing where no status came: not
        // even the empty text of v2 is success while an output may have been cut.
        if !truncated && !self.status.is_empty() {
            let status = self.exit_status();
            self.exit(status);
        }
        self.finished = true;
        self.events.push_back(Event::Close);
        if truncated {
            Err(ProtocolError::Truncated)
        } else {
            Ok(())
        }
    }

    fn handle_timeout(&mut self, _now: Instant) -> Result<(), ProtocolError> {
        Ok(())
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn send(&mut self, event: Event) {
        if self.finished {
            return;
        }
        match event {
            Event::Stdin(bytes) => {
                if let Some(stream) = self.streams.id(StreamType::Stdin) {
                    self.connection.send(stream, bytes);
                }
            }
            Event::HalfClose => {
                // v1 servers have closed the other direction: FIN would end nothing.
                if let Some(stream) = self.streams.id(StreamType::Stdin)
                    && self.subprotocol != Subprotocol::V1
                {
                    self.connection.finish(stream);
                }
            }
            Event::Resize(size) => {
                if let Some(stream) = self.streams.id(StreamType::Resize) {
                    self.connection.send(stream, size.to_json_line().into());
                }
            }
            Event::Close => {
                self.connection.go_away(GoAwayStatus::OK);
                self.finished = true;
            }
            Event::Stdout(_) | Event::Stderr(_) | Event::Exit(_) => {}
        }
    }

    fn send_keepalive(&mut self) {
        self.connection.ping();
    }

    fn poll_transmit(&mut self) -> Option<Bytes> {
        self.connection.poll_transmit()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn held(&self) -> usize {
        if self.finished {
            return 0;
        }
        let streams = self.streams.ids();
        streams.map(|stream| self.connection.held(stream)).sum()
    }

    /// Whether the server has answered every stream.
    fn is_ready(&self) -> bool {
        self.streams
            .ids()
            .all(|stream| self.connection.is_settled(stream))
    }

    fn is_finished(&self) -> bool {
        self.finished
    }
}

impl fmt::Debug for ExecClient {
    // Events hold what somebody sees: they are not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ExecClient")
            .field("connection", &self.connection)
            .field("subprotocol", &self.subprotocol)
            .field("streams", &self.streams)
            .field("open", &self.open)
            .field("broken", &self.broken)
            .field("finished", &self.finished)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
