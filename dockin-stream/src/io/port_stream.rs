use std::{
    collections::VecDeque,
    fmt, io,
    num::NonZeroU16,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker, ready},
};

use bytes::Bytes;
use futures::{Stream, task::AtomicWaker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Endpoint, port_forward::Ports};
use crate::{
    limits,
    portforward::{ForwardId, PortForwardCodec, PortForwardEvent},
};

/// One connection to one port over a port-forward session of its own, as the byte stream that it
/// is: `AsyncRead + AsyncWrite`, without a task.
///
/// Whether the port could be reached shows only later: a failure is an error of reading, with the
/// server's message. Bytes may be written at once, and shutting down ends our direction alone. A
/// session that ends before the port has ended its direction is an error of reading, too: what
/// came may be cut.
///
/// Both halves may be used from different tasks.
pub struct PortStream<S, P> {
    endpoint: Endpoint<S, Ports<P>>,
    connection: ForwardId,
    received: VecDeque<Bytes>,
    received_bytes: usize,
    /// The port has said something: it was reached.
    reached: bool,
    end: End,
    /// The connection takes nothing more.
    gone: bool,
    /// The wire takes nothing more.
    broken: bool,
    /// Bytes were taken since all of them were last known to be on the wire.
    unflushed: bool,
    wakers: Arc<Wakers>,
    waker: Waker,
}

/// What is known of the port's direction.
#[derive(Debug)]
enum End {
    Open,
    Ended,
    /// To be told behind what was received.
    Failed(Option<io::Error>),
}

/// Whatever happens on the wire concerns the reader and the writer alike.
#[derive(Default)]
struct Wakers {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.reader.wake();
        self.writer.wake();
    }
}

impl<S, P> PortStream<S, P>
where
    S: AsyncRead + AsyncWrite + Unpin,
    P: PortForwardCodec + Unpin,
{
    /// Opens the connection to `port` in a new session of `codec` over `socket`. `early` are bytes
    /// that came right behind the HTTP head. `None` when `codec` opens no connection.
    pub fn open(socket: S, mut codec: P, early: Bytes, port: NonZeroU16) -> Option<Self> {
        let connection = codec.open(port)?;
        let wakers = Arc::new(Wakers::default());
        Some(Self {
            endpoint: Endpoint::new(socket, Ports(codec), early),
            connection,
            received: VecDeque::new(),
            received_bytes: 0,
            reached: false,
            end: End::Open,
            gone: false,
            broken: false,
            unflushed: false,
            waker: Waker::from(Arc::clone(&wakers)),
            wakers,
        })
    }

    /// Queues proof of life.
    pub fn send_keepalive(&mut self) {
        self.endpoint.send_keepalive();
    }

    const fn codec_mut(&mut self) -> &mut P {
        &mut self.endpoint.codec_mut().0
    }

    /// Moves both directions on the wire, whoever asks: an answer to what is written may have to
    /// be read before more can be written.
    fn poll_wire(&mut self) {
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        while !self.gone && self.received_bytes < limits::HIGH_WATER {
            match Pin::new(&mut self.endpoint).poll_next(&mut cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(event))) => self.handle_event(event),
                Poll::Ready(Some(Err(error))) => self.lose(io::Error::other(error)),
                Poll::Ready(None) => self.lose(cut()),
            }
            // The other half may have waited for this.
            self.wakers.reader.wake();
        }
        // Once writing has failed, what the port said before is still read.
        self.broken |= matches!(self.endpoint.poll_drain(&mut cx), Poll::Ready(Err(_)));
    }

    fn handle_event(&mut self, event: PortForwardEvent) {
        match event {
            PortForwardEvent::Data { bytes, .. } => {
                self.reached = true;
                self.received_bytes += bytes.len();
                self.received.push_back(bytes);
            }
            PortForwardEvent::HalfClosed { .. } => self.end = End::Ended,
            PortForwardEvent::Closed { .. } => self.lose(cut()),
            PortForwardEvent::Failed { message, .. } => {
                if !self.reached {
                    // Its end was none.
                    self.end = End::Open;
                }
                self.lose(io::Error::other(message));
            }
            PortForwardEvent::Opened { .. } => {}
        }
    }

    fn lose(&mut self, error: io::Error) {
        self.gone = true;
        if matches!(self.end, End::Open) {
            self.end = End::Failed(Some(error));
        }
    }

    /// Ready when there is room for more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wakers.writer.register(cx.waker());
        self.poll_wire();
        if self.gone || self.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let connection = self.connection;
        let waits = self.endpoint.queued() + self.codec_mut().queued(connection);
        if waits < limits::HIGH_WATER {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }
}

impl<S, P> AsyncRead for PortStream<S, P>
where
    S: AsyncRead + AsyncWrite + Unpin,
    P: PortForwardCodec + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.wakers.reader.register(cx.waker());
        if this.received.is_empty() {
            this.poll_wire();
        }
        let before = buffer.remaining();
        while buffer.remaining() > 0
            && let Some(bytes) = this.received.front_mut()
        {
            let count = bytes.len().min(buffer.remaining());
            buffer.put_slice(&bytes.split_to(count));
            if bytes.is_empty() {
                this.received.pop_front();
            }
        }
        let count = before - buffer.remaining();
        if count > 0 || before == 0 {
            this.received_bytes -= count;
            return Poll::Ready(Ok(()));
        }
        let connection = this.connection;
        let uncertain = !this.reached && !this.gone && this.codec_mut().may_fail(connection);
        match &mut this.end {
            End::Open => Poll::Pending,
            // Perhaps it was not reached at all: that is told behind the end.
            End::Ended if uncertain => Poll::Pending,
            End::Ended => Poll::Ready(Ok(())),
            End::Failed(error) => Poll::Ready(Err(error.take().unwrap_or_else(cut))),
        }
    }
}

impl<S, P> AsyncWrite for PortStream<S, P>
where
    S: AsyncRead + AsyncWrite + Unpin,
    P: PortForwardCodec + Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(cx))?;
        let part = bytes.get(..limits::READ_BUFFER).unwrap_or(bytes);
        let connection = self.connection;
        self.codec_mut()
            .send(connection, Bytes::copy_from_slice(part));
        self.unflushed = true;
        self.poll_wire();
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wakers.writer.register(cx.waker());
        self.poll_wire();
        let connection = self.connection;
        let waits = self.codec_mut().queued(connection) > 0 || self.endpoint.queued() > 0;
        // What waited on a connection that is lost is queued nowhere any more.
        let lost = self.unflushed && (self.broken || matches!(self.end, End::Failed(_)));
        if lost || (waits && (self.gone || self.broken)) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if waits {
            return Poll::Pending;
        }
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connection = self.connection;
        self.codec_mut().half_close(connection);
        self.poll_flush(cx)
    }
}

impl<S, P> fmt::Debug for PortStream<S, P> {
    // What was received is somebody's traffic: it is not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PortStream")
            .field("connection", &self.connection)
            .field("received", &self.received_bytes)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

fn cut() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionReset,
        "port-forward session ended before the port did",
    )
}
