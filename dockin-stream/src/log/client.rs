use std::{collections::VecDeque, fmt, time::Instant};

use bytes::{Bytes, BytesMut};

use super::LogSubprotocol;
use crate::{
    Codec, Event, ExitStatus, ProtocolError,
    base64::Base64Reader,
    websocket::{CloseCode, Connection, Incoming, Span},
};

/// The reader's end of a log: towards an API server or a kubelet.
///
/// The log comes as [`Event::Stdout`], as it arrives, also from the middle of a message. Opcodes
/// are not looked at. A Close frame with code 1000 gives [`Event::Exit`] with code 0: the log has
/// ended. Any other end gives [`Event::Close`] alone, and something may be missing.
pub struct Client {
    connection: Connection,
    /// Present in [`LogSubprotocol::Base64`].
    base64: Option<Base64Reader>,
    events: VecDeque<Event>,
    close_told: bool,
}

impl Client {
    /// A log right behind the 101, in the subprotocol that the server chose. See
    /// [`MaskKeys`](crate::websocket::mask::MaskKeys) for the seed.
    #[must_use]
    pub fn new(subprotocol: LogSubprotocol, mask_seed: u64) -> Self {
        Self {
            connection: Connection::client(mask_seed),
            base64: match subprotocol {
                LogSubprotocol::Binary => None,
                LogSubprotocol::Base64 => Some(Base64Reader::default()),
            },
            events: VecDeque::new(),
            close_told: false,
        }
    }

    fn span(&mut self, span: Span) -> Result<(), ProtocolError> {
        let (bytes, result) = match &mut self.base64 {
            Some(reader) => reader.read(&span.bytes, span.end),
            None => (span.bytes, Ok(())),
        };
        if !bytes.is_empty() {
            self.events.push_back(Event::Stdout(bytes));
        }
        result.map_err(|error| {
            self.connection.close(CloseCode::INVALID_PAYLOAD);
            ProtocolError::Base64 {
                offset: error.offset,
            }
        })
    }

    fn tell_close(&mut self) {
        if !self.close_told {
            self.close_told = true;
            self.events.push_back(Event::Close);
        }
    }
}

impl Codec for Client {
    fn handle_input(&mut self, _now: Instant, input: &mut BytesMut) -> Result<(), ProtocolError> {
        while let Some(incoming) = self.connection.read(input)? {
            match incoming {
                Incoming::Span(span) => self.span(span)?,
                Incoming::Close(code) => {
                    if code == CloseCode::NORMAL {
                        self.events.push_back(Event::Exit(ExitStatus::Exited(0)));
                    }
                    self.tell_close();
                }
            }
        }
        Ok(())
    }

    fn handle_eof(&mut self, _now: Instant) -> Result<(), ProtocolError> {
        self.tell_close();
        self.connection.handle_eof()
    }

    fn handle_timeout(&mut self, _now: Instant) -> Result<(), ProtocolError> {
        Ok(())
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// [`Event::Close`] ends the log; a reader has nothing else to say.
    fn send(&mut self, event: Event) {
        if event == Event::Close {
            self.connection.close(CloseCode::NORMAL);
        }
    }

    fn send_keepalive(&mut self) {
        self.connection.send_keepalive();
    }

    fn poll_transmit(&mut self) -> Option<Bytes> {
        self.connection.poll_transmit()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn is_finished(&self) -> bool {
        self.connection.is_closing()
    }
}

impl fmt::Debug for Client {
    // Events hold what somebody printed: they are not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("connection", &self.connection)
            .field("base64", &self.base64)
            .finish_non_exhaustive()
    }
}
