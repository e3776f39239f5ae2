use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::tungstenite::{
    Bytes, Error, Message,
    error::ProtocolError,
    protocol::{CloseFrame, frame::coding::CloseCode as TheirCloseCode},
};
use bytes::BytesMut;
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::websocket::{CloseCode, Decoder, Encoder, FrameError, Item, MessageKind, OpCode, Role};

/// The socket below a WebSocket that tungstenite has opened, as a codec wants it, so that a
/// session can be embedded in a server or a client that speaks WebSocket already:
/// `Endpoint::new(TungsteniteSocket::new(websocket, Role::Server), codec, Bytes::new())`.
///
/// `W` is a `Stream` and `Sink` of [`Message`]s: the `WebSocketStream` of `tokio-tungstenite` or
/// `async-tungstenite`. Tungstenite goes on reading and writing the connection, so that nothing
/// is lost that it has read ahead or not yet written; messages become frames in memory. It answers
/// pings itself. The price is its assembly of messages and two copies: who owns the connection
/// gives it to an [`Endpoint`](super::Endpoint) without this.
pub struct TungsteniteSocket<W> {
    websocket: W,
    /// Makes frames of what the peer sends.
    encoder: Encoder,
    frame: Bytes,
    ended: bool,
    /// Makes messages of the frames that a codec writes.
    decoder: Decoder,
    written: BytesMut,
    message: BytesMut,
    messages: VecDeque<Message>,
}

/// What a [`TungsteniteSocket`] is made of.
pub struct TungsteniteParts<W> {
    /// The WebSocket, with what it has read ahead and not yet written.
    pub websocket: W,
    /// What was received and not read: frames, the first one perhaps cut.
    pub unread: Bytes,
    /// What was written and not sent, in order.
    pub unsent: Vec<Message>,
    /// The end of what was written: part of a frame, or of a message.
    pub unfinished: Bytes,
}

impl<W> TungsteniteSocket<W>
where
    W: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin,
{
    /// Takes over an open WebSocket. `role` is ours: who accepted it is the server.
    pub fn new(websocket: W, role: Role) -> Self {
        // Seen from the codec we are the peer.
        let (encoder, peer) = match role {
            Role::Server => (Encoder::client(0), Role::Client),
            Role::Client => (Encoder::server(), Role::Server),
        };
        Self {
            websocket,
            encoder,
            frame: Bytes::new(),
            ended: false,
            decoder: Decoder::new(peer),
            written: BytesMut::new(),
            message: BytesMut::new(),
            messages: VecDeque::new(),
        }
    }

    /// Gives the WebSocket back without losing a byte.
    pub fn into_parts(mut self) -> TungsteniteParts<W> {
        let mut unread = BytesMut::from(self.frame);
        while let Some(bytes) = self.encoder.poll_transmit() {
            unread.extend_from_slice(&bytes);
        }
        self.message.unsplit(self.written);
        TungsteniteParts {
            websocket: self.websocket,
            unread: unread.freeze(),
            unsent: self.messages.into(),
            unfinished: self.message.freeze(),
        }
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Binary(bytes) => self.encoder.encode(OpCode::BINARY, &[], bytes),
            Message::Text(text) => self.encoder.encode(OpCode::TEXT, &[], text.into()),
            Message::Close(frame) => {
                let code = frame.map(|frame| u16::from(frame.code).to_be_bytes());
                let code = code.as_ref().map_or(&[][..], |code| code);
                self.encoder.encode(OpCode::Close, code, Bytes::new());
            }
            // Answered already, or asked for by nobody.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }

    /// Makes messages of what was written.
    fn decode(&mut self) -> io::Result<()> {
        let broken = |error: FrameError| io::Error::new(io::ErrorKind::InvalidData, error);
        while let Some(item) = self.decoder.decode(&mut self.written).map_err(broken)? {
            let message = match item {
                Item::Span(span) => {
                    self.message.extend_from_slice(&span.bytes);
                    if !span.end {
                        continue;
                    }
                    let bytes = std::mem::take(&mut self.message).freeze();
                    match span.kind {
                        MessageKind::Binary => Message::Binary(bytes),
                        MessageKind::Text => {
                            let text = bytes.try_into();
                            Message::Text(text.map_err(|error| {
                                io::Error::new(io::ErrorKind::InvalidData, error)
                            })?)
                        }
                    }
                }
                Item::Ping(payload) => Message::Ping(payload),
                Item::Pong(payload) => Message::Pong(payload),
                Item::Close(CloseCode(code)) => Message::Close(Some(CloseFrame {
                    code: TheirCloseCode::from(code),
                    reason: "".into(),
                })),
            };
            self.messages.push_back(message);
        }
        if self.written.is_empty() {
            // Who has nothing to say holds no buffer.
            self.written = BytesMut::new();
        }
        Ok(())
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(message) = self.messages.pop_front() {
            let closes = matches!(message, Message::Close(_));
            let sent = match Pin::new(&mut self.websocket).poll_ready(cx) {
                Poll::Pending => {
                    self.messages.push_front(message);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(())) => Pin::new(&mut self.websocket).start_send(message),
                Poll::Ready(Err(error)) => Err(error),
            };
            match sent {
                Ok(()) => {}
                // Tungstenite has answered the peer's Close frame itself.
                Err(error) if closes && is_over(&error) => {}
                Err(error) => return Poll::Ready(Err(to_io(error))),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<W> AsyncRead for TungsteniteSocket<W>
where
    W: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.frame.is_empty() {
                let count = this.frame.len().min(buffer.remaining());
                buffer.put_slice(&this.frame.split_to(count));
                return Poll::Ready(Ok(()));
            }
            if let Some(bytes) = this.encoder.poll_transmit() {
                this.frame = bytes;
                continue;
            }
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut this.websocket).poll_next(cx)) {
                Some(Ok(message)) => this.receive(message),
                Some(Err(error)) if !is_over(&error) => return Poll::Ready(Err(to_io(error))),
                Some(Err(_)) | None => this.ended = true,
            }
        }
    }
}

impl<W> AsyncWrite for TungsteniteSocket<W>
where
    W: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // What was written before decides whether there is room.
        ready!(self.poll_send(cx))?;
        self.written.extend_from_slice(bytes);
        self.decode()?;
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        match ready!(Pin::new(&mut self.websocket).poll_flush(cx)) {
            Err(error) if !is_over(&error) => Poll::Ready(Err(to_io(error))),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        match ready!(Pin::new(&mut self.websocket).poll_close(cx)) {
            Err(error) if !is_over(&error) => Poll::Ready(Err(to_io(error))),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<W> fmt::Debug for TungsteniteSocket<W> {
    // Messages are somebody's traffic: they are not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TungsteniteSocket")
            .field("ended", &self.ended)
            .field("messages", &self.messages.len())
            .finish_non_exhaustive()
    }
}

/// Whether the peer's bytes have ended, with a Close frame or without.
fn is_over(error: &Error) -> bool {
    matches!(
        error,
        Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Protocol(
                ProtocolError::ResetWithoutClosingHandshake | ProtocolError::SendAfterClosing
            )
    )
}

fn to_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error if is_over(&error) => io::Error::new(io::ErrorKind::BrokenPipe, error),
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

impl<W> fmt::Debug for TungsteniteParts<W> {
    // Messages are somebody's traffic: they are not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TungsteniteParts")
            .field("unread", &self.unread.len())
            .field("unsent", &self.unsent.len())
            .field("unfinished", &self.unfinished.len())
            .finish_non_exhaustive()
    }
}
