use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::LogSubprotocol;
use crate::{
    Codec, Event, ProtocolError, base64,
    limits::{MAX_BASE64_BODY, MAX_WEBSOCKET_FRAME},
    websocket::{CloseCode, Connection, Incoming, OpCode},
};

/// The writer's end of a log: towards kubectl or a browser.
///
/// [`Event::Stdout`] and [`Event::Stderr`] become messages alike: a log has one stream. The end is
/// [`Event::Exit`]: a Close frame with code 1000 for a process that ended, with 1011 for a log that
/// broke off.
///
/// # Example
///
/// ```
/// use bytes::Bytes;
/// use dockin_stream::{Codec, Event, log::{LogSubprotocol, Server}};
///
/// let mut server = Server::new(LogSubprotocol::Base64);
/// server.send(Event::Stdout(Bytes::from_static(b"line 1\n")));
/// assert_eq!(server.poll_transmit().as_deref(), Some(&b"\x81\x00\x81\x0cbGluZSAxCg=="[..]));
/// ```
#[derive(Debug)]
pub struct Server {
    connection: Connection,
    subprotocol: LogSubprotocol,
    close: Option<Event>,
    close_told: bool,
}

impl Server {
    /// A log right behind the 101. An empty message is queued first: the stream is open.
    #[must_use]
    pub fn new(subprotocol: LogSubprotocol) -> Self {
        let mut server = Self {
            connection: Connection::server(),
            subprotocol,
            close: None,
            close_told: false,
        };
        server.write(Bytes::new());
        server
    }

    fn write(&mut self, mut bytes: Bytes) {
        let max = match self.subprotocol {
            LogSubprotocol::Binary => MAX_MESSAGE,
            LogSubprotocol::Base64 => MAX_BASE64_BODY,
        };
        loop {
            let part = bytes.split_to(bytes.len().min(max));
            match self.subprotocol {
                LogSubprotocol::Binary => self.connection.send(OpCode::BINARY, &[], part),
                LogSubprotocol::Base64 => {
                    let mut text = String::new();
                    base64::encode(&part, &mut text);
                    self.connection.send(OpCode::TEXT, &[], text.into());
                }
            }
            if bytes.is_empty() {
                return;
            }
        }
    }

    fn tell_close(&mut self) {
        if !self.close_told {
            self.close_told = true;
            self.close = Some(Event::Close);
        }
    }
}

impl Codec for Server {
    fn handle_input(&mut self, _now: Instant, input: &mut BytesMut) -> Result<(), ProtocolError> {
        while let Some(incoming) = self.connection.read(input)? {
            match incoming {
                Incoming::Span(_) => {}
                Incoming::Close(_) => self.tell_close(),
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
        self.close.take()
    }

    fn send(&mut self, event: Event) {
        match event {
            Event::Stdout(bytes) | Event::Stderr(bytes) if !bytes.is_empty() => self.write(bytes),
            Event::Exit(crate::ExitStatus::Exited(_)) => self.connection.close(CloseCode::NORMAL),
            Event::Exit(_) | Event::Close => self.connection.close(CloseCode::INTERNAL),
            Event::Stdout(_)
            | Event::Stderr(_)
            | Event::Stdin(_)
            | Event::HalfClose
            | Event::Resize(_) => {}
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

// 32 MiB fits every usize that this crate is built for.
const MAX_MESSAGE: usize = MAX_WEBSOCKET_FRAME as usize;
