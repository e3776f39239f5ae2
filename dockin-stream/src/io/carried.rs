use std::{
    collections::VecDeque,
    future::Future as _,
    io::{self, IoSlice},
    num::NonZeroU16,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    time::Sleep,
};

use crate::{
    limits,
    portforward::{ForwardId, PortForwardCodec},
};

/// A connection of any kind.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The own end of one forwarded connection: a socket to a port or from a program, and what waits
/// for it.
pub(super) struct Carried {
    /// `None` until somebody has dialled.
    socket: Option<Box<dyn Io>>,
    port: NonZeroU16,
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    /// The socket may say more.
    reading: bool,
    unflushed: bool,
    then: Then,
    /// How long what waits for the socket is kept after the connection was closed.
    linger: Option<Pin<Box<Sleep>>>,
}

/// What to do once all that waits is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Then {
    Wait,
    HalfClose,
    Close,
}

impl Carried {
    pub(super) fn new(port: NonZeroU16, socket: Option<Box<dyn Io>>) -> Self {
        Self {
            socket,
            port,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            reading: true,
            unflushed: false,
            then: Then::Wait,
            linger: None,
        }
    }

    pub(super) fn set_socket(&mut self, socket: Box<dyn Io>) {
        self.socket = Some(socket);
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        self.waiting_bytes += bytes.len();
        self.waiting.push_back(bytes);
    }

    pub(super) fn half_close(&mut self) {
        if self.then == Then::Wait {
            self.then = Then::HalfClose;
        }
    }

    /// What waits is still written, for at most [`limits::LINGER`].
    pub(super) fn close(&mut self) {
        if self.then != Then::Close {
            self.reading = false;
            self.then = Then::Close;
            self.linger = Some(Box::pin(tokio::time::sleep(limits::LINGER)));
        }
    }

    pub(super) const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Whether the session waits for this socket: one that is closed holds nobody up.
    pub(super) fn is_crowded(&self) -> bool {
        self.then != Then::Close && self.waiting_bytes > limits::MAX_PORT_WAITING
    }

    /// Moves both directions. Ready when the connection is over here.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        id: ForwardId,
        codec: &mut impl PortForwardCodec,
        scratch: &mut BytesMut,
        moved: &mut bool,
    ) -> Poll<()> {
        if self.socket.is_none() {
            return if self.then == Then::Close {
                Poll::Ready(())
            } else {
                Poll::Pending
            };
        }
        match self.poll_read(cx, id, codec, scratch) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => *moved = true,
            Poll::Ready(Err(error)) => {
                let message = format!("connection to port {} lost: {error}", self.port);
                codec.fail(id, &message);
                return Poll::Ready(());
            }
        }
        match self.poll_write(cx, moved) {
            Poll::Ready(Ok(())) if self.then == Then::Close => return Poll::Ready(()),
            Poll::Ready(Ok(())) | Poll::Pending => {}
            // A socket that takes nothing may still say something.
            Poll::Ready(Err(_)) => {
                self.waiting.clear();
                self.waiting_bytes = 0;
                if !self.reading {
                    codec.close(id);
                    return Poll::Ready(());
                }
                // What it is told from now on goes nowhere, too.
                if self.then == Then::HalfClose {
                    self.then = Then::Wait;
                }
            }
        }
        match &mut self.linger {
            Some(linger) => linger.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    /// Takes what the socket says, as long as what came before is on its way.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        id: ForwardId,
        codec: &mut impl PortForwardCodec,
        scratch: &mut BytesMut,
    ) -> Poll<io::Result<()>> {
        let Some(socket) = &mut self.socket else {
            return Poll::Pending;
        };
        if !self.reading || codec.queued(id) >= limits::HIGH_WATER {
            return Poll::Pending;
        }
        scratch.reserve(limits::READ_BUFFER);
        let mut limited = (&mut *scratch).limit(limits::READ_BUFFER);
        let read = std::pin::pin!(socket.read_buf(&mut limited));
        if ready!(read.poll(cx))? == 0 {
            self.reading = false;
            codec.half_close(id);
        } else {
            codec.send(id, scratch.split().freeze());
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, moved: &mut bool) -> Poll<io::Result<()>> {
        let Some(socket) = &mut self.socket else {
            return Poll::Pending;
        };
        while !self.waiting.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut filled = 0;
            for (slot, bytes) in slices.iter_mut().zip(&self.waiting) {
                *slot = IoSlice::new(bytes);
                filled += 1;
            }
            let slices = slices.get(..filled).unwrap_or_default();
            let mut count = ready!(Pin::new(&mut *socket).poll_write_vectored(cx, slices))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *moved = true;
            self.unflushed = true;
            self.waiting_bytes = self.waiting_bytes.saturating_sub(count);
            while let Some(first) = self.waiting.front_mut() {
                if count < first.len() {
                    first.advance(count);
                    break;
                }
                count -= first.len();
                self.waiting.pop_front();
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut *socket).poll_flush(cx))?;
            self.unflushed = false;
        }
        if self.then != Then::Wait {
            ready!(Pin::new(socket).poll_shutdown(cx))?;
            if self.then == Then::HalfClose {
                self.then = Then::Wait;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Pieces in one gathered write.
const MAX_SLICES: usize = 64;
