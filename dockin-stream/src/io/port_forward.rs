use std::{
    collections::{HashMap, VecDeque},
    fmt,
    num::NonZeroU16,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Interval, MissedTickBehavior, interval_at},
};

use super::{Endpoint, EndpointError, carried::Carried};
use crate::{
    limits,
    portforward::{ForwardId, PortForwardCodec, PortForwardEvent},
};

/// A [`PortForwardCodec`] as an [`Endpoint`] takes it.
#[derive(Debug)]
pub struct Ports<P>(pub P);

/// A port-forward session over a connection, in either role and any of its protocols, and the
/// sockets that its connections belong to. A `Stream` of what happens to them:
///
/// - [`Opened`](PortForwardEvent::Opened): as server, dial the port and [`carry`](Self::carry) or
///   [`fail`](Self::fail) the connection; what the client says meanwhile waits. As client, the
///   server has accepted.
/// - [`Failed`](PortForwardEvent::Failed) and [`Closed`](PortForwardEvent::Closed): it is over.
/// - Bytes and ends of directions are never told: they go from socket to socket.
///
/// Everything moves while the stream is polled, without tasks. Cancel-safe; nothing holds a buffer
/// while nothing is on its way.
///
/// A socket that takes nothing holds the others up only once
/// [`limits::MAX_PORT_WAITING`] bytes wait for it: the protocols have no window for one
/// connection. Each direction ends for itself.
///
/// The stream ends after the session's end, once all that came is with its sockets.
pub struct PortForward<S, P> {
    endpoint: Endpoint<S, Ports<P>>,
    carried: HashMap<ForwardId, Carried>,
    told: VecDeque<PortForwardEvent>,
    scratch: BytesMut,
    keepalive: Interval,
    /// The session is over: what came is still being written.
    over: bool,
    failure: Option<EndpointError>,
}

impl<S, P> PortForward<S, P>
where
    S: AsyncRead + AsyncWrite + Unpin,
    P: PortForwardCodec + Unpin,
{
    /// Runs `codec` over `socket`, and proves every `keepalive` that we live. `early` are bytes
    /// that came right behind the HTTP head.
    pub fn new(socket: S, codec: P, early: Bytes, keepalive: Duration) -> Self {
        let mut interval = interval_at(tokio::time::Instant::now() + keepalive, keepalive);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            endpoint: Endpoint::new(socket, Ports(codec), early),
            carried: HashMap::new(),
            told: VecDeque::new(),
            scratch: BytesMut::new(),
            keepalive: interval,
            over: false,
            failure: None,
        }
    }

    /// As client: carries what `socket` says to `port`, and back. `None`, and `socket` is dropped,
    /// when the session is over or full.
    pub fn open(
        &mut self,
        port: NonZeroU16,
        socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Option<ForwardId> {
        if self.over {
            return None;
        }
        let id = self.codec_mut().open(port)?;
        self.carried
            .insert(id, Carried::new(port, Some(Box::new(socket))));
        Some(id)
    }

    /// As client of a protocol whose connections are open from the start: carries what `socket`
    /// says to `connection`, and back.
    pub fn adopt(
        &mut self,
        connection: ForwardId,
        port: NonZeroU16,
        socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) {
        self.carried
            .insert(connection, Carried::new(port, Some(Box::new(socket))));
    }

    /// As server: `socket` is the port that an opened connection asked for. Dropped when the
    /// connection is over already.
    pub fn carry(
        &mut self,
        connection: ForwardId,
        socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) {
        if let Some(carried) = self.carried.get_mut(&connection) {
            carried.set_socket(Box::new(socket));
        }
    }

    /// Ends a connection; `message` is for the client.
    pub fn fail(&mut self, connection: ForwardId, message: &str) {
        if self.carried.remove(&connection).is_some() {
            self.codec_mut().fail(connection, message);
        }
    }

    /// Ends every connection; `message` is for the client.
    pub fn fail_all(&mut self, message: &str) {
        for (connection, _) in self.carried.drain() {
            self.endpoint.codec_mut().0.fail(connection, message);
        }
    }

    /// How many connections are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.carried.len()
    }

    /// Whether no connection is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.carried.is_empty()
    }

    /// Ends the session behind what waits on its connections, as [`Endpoint::finish`] does.
    ///
    /// # Errors
    ///
    /// The connection broke before all was written.
    pub async fn finish(mut self) -> Result<(), EndpointError> {
        self.codec_mut().go_away();
        self.endpoint.finish().await
    }

    const fn codec_mut(&mut self) -> &mut P {
        &mut self.endpoint.codec_mut().0
    }

    fn poll_wire(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        let mut bytes = 0;
        // The sockets have their turn before much waits for them.
        while !self.over && bytes < limits::HIGH_WATER && !self.is_crowded() {
            match Pin::new(&mut self.endpoint).poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(event))) => {
                    if let PortForwardEvent::Data { bytes: data, .. } = &event {
                        bytes += data.len();
                    }
                    self.handle_event(event);
                }
                Poll::Ready(Some(Err(error))) => {
                    self.failure = Some(error);
                    self.end();
                }
                Poll::Ready(None) => self.end(),
            }
            moved = true;
        }
        let queued = self.endpoint.queued();
        // A failure to write is found out by reading.
        let drained = self.endpoint.poll_drain(cx);
        // A peer that has heard our goodbye may leave the connection open.
        if !self.over && drained.is_ready() && self.codec_mut().is_finished() {
            self.end();
            moved = true;
        }
        moved || self.endpoint.queued() < queued
    }

    fn handle_event(&mut self, event: PortForwardEvent) {
        match event {
            PortForwardEvent::Opened { connection, port } => {
                self.carried
                    .entry(connection)
                    .or_insert_with(|| Carried::new(port, None));
                self.told.push_back(event);
            }
            PortForwardEvent::Data { connection, bytes } => {
                if let Some(carried) = self.carried.get_mut(&connection) {
                    carried.push(bytes);
                }
            }
            PortForwardEvent::HalfClosed { connection } => {
                if let Some(carried) = self.carried.get_mut(&connection) {
                    carried.half_close();
                }
            }
            // What came before is written either way: a port may say something and fail then.
            PortForwardEvent::Closed { connection }
            | PortForwardEvent::Failed { connection, .. } => {
                if let Some(carried) = self.carried.get_mut(&connection) {
                    carried.close();
                }
                self.told.push_back(event);
            }
        }
    }

    fn poll_carried(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        let codec = &mut self.endpoint.codec_mut().0;
        let scratch = &mut self.scratch;
        self.carried.retain(|id, carried| {
            let over = carried.poll(cx, *id, codec, scratch, &mut moved).is_ready();
            moved |= over;
            !over
        });
        moved
    }

    fn is_crowded(&self) -> bool {
        let mut all = 0;
        for carried in self.carried.values() {
            if carried.is_crowded() {
                return true;
            }
            all += carried.waiting_bytes();
        }
        all > limits::MAX_PORTS_WAITING
    }

    /// Nothing more is heard or said on the wire.
    fn end(&mut self) {
        self.over = true;
        for carried in self.carried.values_mut() {
            carried.close();
        }
    }
}

impl<S, P> Stream for PortForward<S, P>
where
    S: AsyncRead + AsyncWrite + Unpin,
    P: PortForwardCodec + Unpin,
{
    type Item = Result<PortForwardEvent, EndpointError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        // What one turn puts into a queue the next one moves on; bounded for others' sake.
        for _ in 0..TURNS {
            let mut moved = false;
            if !this.over && this.keepalive.poll_tick(cx).is_ready() {
                this.endpoint.send_keepalive();
                moved = true;
            }
            moved |= this.poll_wire(cx);
            moved |= this.poll_carried(cx);
            if let Some(event) = this.told.pop_front() {
                // Who asks for the next one moves everything on.
                return Poll::Ready(Some(Ok(event)));
            }
            if this.over && this.carried.is_empty() {
                return Poll::Ready(this.failure.take().map(Err));
            }
            if !moved {
                // Who waits holds no buffer.
                this.scratch = BytesMut::new();
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S, P> fmt::Debug for PortForward<S, P> {
    // What waits is somebody's traffic: it is not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PortForward")
            .field("connections", &self.carried.len())
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}

/// Turns before others get their chance.
const TURNS: usize = 64;
