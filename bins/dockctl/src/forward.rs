//! Forwarded ports: local sockets on one side, one SPDY connection to the gateway on the other.

use std::{
    collections::{HashMap, VecDeque},
    future::Future as _,
    io::{self, IoSlice},
    num::NonZeroU16,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use dockin_stream::{
    limits::{HIGH_WATER, READ_BUFFER},
    portforward::{Client, ForwardId, PortForwardEvent},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{Interval, MissedTickBehavior, interval_at},
};

use crate::failure::{Failure, chain};

/// A local port and the pod's port behind it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PortPair {
    /// 0 takes any that is free.
    pub(crate) local: u16,
    /// `1..=65_535`.
    pub(crate) remote: NonZeroU16,
}

impl PortPair {
    /// Reads `LOCAL:REMOTE`, `PORT` or `:REMOTE`.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || {
            Failure::usage(format!(
                "`{text}` is no pair of ports, write it as LOCAL:REMOTE"
            ))
        };
        let (local, remote) = text.split_once(':').unwrap_or((text, text));
        let remote: NonZeroU16 = remote.parse().map_err(|_| wrong())?;
        let local = if local.is_empty() {
            0
        } else {
            local.parse().map_err(|_| wrong())?
        };
        Ok(Self { local, remote })
    }
}

/// All forwarded connections as one future that ends when the gateway's connection does.
///
/// A connection's two directions end each for itself. The protocol has no flow control of its
/// own, so a local program that does not read holds up the others, but only once
/// [`MAX_WAITING`] bytes wait for it.
#[derive(Debug)]
pub(crate) struct Forwarder<S> {
    wire: S,
    machine: Client,
    input: BytesMut,
    output: VecDeque<Bytes>,
    listeners: Vec<(TcpListener, NonZeroU16)>,
    locals: HashMap<ForwardId, Local>,
    scratch: BytesMut,
    pings: Interval,
}

#[derive(Debug)]
struct Local {
    socket: TcpStream,
    remote: NonZeroU16,
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    /// The local program sends more.
    reading: bool,
    /// What to do once all that waits is written.
    then: Then,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Then {
    Wait,
    HalfClose,
    Close,
}

/// Bytes that wait for one local program before nothing more is read from the gateway.
const MAX_WAITING: usize = 8 * 1024 * 1024;
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Pieces in one gathered write.
const MAX_SLICES: usize = 64;

impl<S: AsyncRead + AsyncWrite + Unpin> Forwarder<S> {
    /// Forwards what `listeners` accept to their port in the pod behind `wire`.
    pub(crate) fn new(wire: S, early: Bytes, listeners: Vec<(TcpListener, NonZeroU16)>) -> Self {
        let mut pings = interval_at(tokio::time::Instant::now() + PING_INTERVAL, PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            wire,
            machine: Client::new(),
            input: BytesMut::from(early),
            output: VecDeque::new(),
            listeners,
            locals: HashMap::new(),
            scratch: BytesMut::new(),
            pings,
        }
    }

    /// Runs until the connection to the gateway ends, which is never a success.
    pub(crate) async fn run(&mut self) -> Failure {
        std::future::poll_fn(|cx| self.poll_run(cx)).await
    }

    /// Says goodbye to the gateway.
    pub(crate) async fn finish(&mut self) {
        self.machine.go_away();
        // We leave either way.
        let _broken = std::future::poll_fn(|cx| self.poll_write(cx, &mut false)).await;
    }

    fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        // What one turn puts into a queue the next one moves on; bounded for others' sake.
        for _ in 0..64 {
            let mut moved = self.poll_accept(cx);
            if self.pings.poll_tick(cx).is_ready() {
                self.machine.send_keepalive();
                moved = true;
            }
            match self.poll_gateway(cx) {
                Ok(more) => moved |= more,
                Err(failure) => return Poll::Ready(failure),
            }
            moved |= self.poll_locals(cx);
            if let Poll::Ready(Err(error)) = self.poll_write(cx, &mut moved) {
                return Poll::Ready(lost(&error));
            }
            if !moved {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        for (listener, remote) in &self.listeners {
            let Poll::Ready(accepted) = listener.poll_accept(cx) else {
                continue;
            };
            moved = true;
            let Ok((socket, _)) = accepted else { continue };
            // Without this it works, only slower.
            let _slower = socket.set_nodelay(true);
            match self.machine.open(*remote) {
                Some(id) => {
                    self.locals.insert(id, Local::new(socket, *remote));
                }
                None => eprintln!("too many connections at a time to port {remote}, one refused"),
            }
        }
        moved
    }

    /// Takes in what the gateway sends, as long as nobody is far behind.
    fn poll_gateway(&mut self, cx: &mut Context<'_>) -> Result<bool, Failure> {
        if !self.locals.values().all(Local::has_room) {
            return Ok(false);
        }
        self.input.reserve(READ_BUFFER);
        let read = std::pin::pin!(self.wire.read_buf(&mut self.input)).poll(cx);
        let now = Instant::now();
        let mut moved = false;
        if !self.input.is_empty() {
            // Also what came right behind the answer's head.
            let before = self.input.len();
            let handled = self.machine.handle_input(now, &mut self.input);
            moved = self.input.len() != before;
            handled.map_err(|error| lost(&io::Error::other(error)))?;
        }
        while let Some(event) = self.machine.poll_event() {
            self.handle_event(event);
        }
        match read {
            Poll::Pending => Ok(moved),
            Poll::Ready(Ok(0)) => Err(Failure::gateway("lost connection to pod")),
            Poll::Ready(Ok(_)) => Ok(true),
            Poll::Ready(Err(error)) => Err(lost(&error)),
        }
    }

    fn handle_event(&mut self, event: PortForwardEvent) {
        match event {
            PortForwardEvent::Data { connection, bytes } => {
                if let Some(local) = self.locals.get_mut(&connection) {
                    local.waiting_bytes += bytes.len();
                    local.waiting.push_back(bytes);
                }
            }
            PortForwardEvent::HalfClosed { connection } => {
                if let Some(local) = self.locals.get_mut(&connection) {
                    local.then = Then::HalfClose;
                }
            }
            PortForwardEvent::Closed { connection } => {
                if let Some(local) = self.locals.get_mut(&connection) {
                    local.reading = false;
                    local.then = Then::Close;
                }
            }
            PortForwardEvent::Failed {
                connection,
                message,
            } => {
                if let Some(local) = self.locals.remove(&connection) {
                    eprintln!(
                        "error forwarding to port {}: {}",
                        local.remote,
                        crate::printable::printable(&message)
                    );
                }
            }
            _ => {}
        }
    }

    fn poll_locals(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        let machine = &mut self.machine;
        let scratch = &mut self.scratch;
        self.locals.retain(|id, local| {
            // Both directions first, then the verdict.
            let read = local.poll_read(cx, *id, machine, scratch);
            let written = local.poll_write(cx, &mut moved);
            moved |= read.is_ready();
            match (read, written) {
                (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => {
                    machine.close(*id);
                    false
                }
                (_, Poll::Ready(Ok(()))) => local.then != Then::Close,
                _ => true,
            }
        });
        moved
    }

    /// Ready when nothing waits. What is written makes room for reading, so it counts as moved.
    fn poll_write(&mut self, cx: &mut Context<'_>, moved: &mut bool) -> Poll<io::Result<()>> {
        loop {
            while self.output.len() < MAX_SLICES
                && let Some(bytes) = self.machine.poll_transmit()
            {
                if !bytes.is_empty() {
                    self.output.push_back(bytes);
                }
            }
            if self.output.is_empty() {
                return Pin::new(&mut self.wire).poll_flush(cx);
            }
            let slices: Vec<_> = self
                .output
                .iter()
                .take(MAX_SLICES)
                .map(|bytes| IoSlice::new(bytes))
                .collect();
            let count = ready!(Pin::new(&mut self.wire).poll_write_vectored(cx, &slices))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *moved = true;
            consume(&mut self.output, count);
        }
    }
}

impl Local {
    const fn new(socket: TcpStream, remote: NonZeroU16) -> Self {
        Self {
            socket,
            remote,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            reading: true,
            then: Then::Wait,
        }
    }

    const fn has_room(&self) -> bool {
        self.waiting_bytes < MAX_WAITING
    }

    /// Takes what the local program sends, as long as what came before is on its way.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        id: ForwardId,
        machine: &mut Client,
        scratch: &mut BytesMut,
    ) -> Poll<io::Result<()>> {
        if !self.reading || machine.queued(id) >= HIGH_WATER {
            return Poll::Pending;
        }
        scratch.reserve(READ_BUFFER);
        let read = std::pin::pin!(self.socket.read_buf(scratch));
        if ready!(read.poll(cx))? == 0 {
            self.reading = false;
            machine.half_close(id);
        } else {
            machine.send(id, scratch.split().freeze());
        }
        Poll::Ready(Ok(()))
    }

    /// As [`Forwarder::poll_write`].
    fn poll_write(&mut self, cx: &mut Context<'_>, moved: &mut bool) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let slices: Vec<_> = self
                .waiting
                .iter()
                .take(MAX_SLICES)
                .map(|bytes| IoSlice::new(bytes))
                .collect();
            let count = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, &slices))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *moved = true;
            self.waiting_bytes = self.waiting_bytes.saturating_sub(count);
            consume(&mut self.waiting, count);
        }
        if self.then == Then::HalfClose {
            ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
            self.then = Then::Wait;
        }
        Poll::Ready(Ok(()))
    }
}

/// Takes `count` written bytes off the front of `queue`.
fn consume(queue: &mut VecDeque<Bytes>, mut count: usize) {
    while let Some(first) = queue.front_mut() {
        if count < first.len() {
            first.advance(count);
            return;
        }
        count -= first.len();
        queue.pop_front();
    }
}

fn lost(error: &io::Error) -> Failure {
    Failure::gateway(format!("lost connection to pod: {}", chain(error)))
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
