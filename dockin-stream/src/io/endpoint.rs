use std::{
    collections::VecDeque,
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Instant,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{Sink, Stream};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    time::Sleep,
};

use super::{Machine, buffer, now};
use crate::{Codec, Event, ProtocolError, limits};

/// A codec whose protocol is known at run time only.
pub type BoxCodec = Box<dyn Codec + Send>;

/// Why an [`Endpoint`] ended badly.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The connection broke.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// The peer broke its protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

/// A [`Codec`] over a connection: a `Stream` of what the peer says and a `Sink` of what it is
/// told.
///
/// Cancel-safe: what was read or queued stays inside. While nothing is on its way in or out no
/// buffer is held. The stream ends after the peer's goodbye or the end of the connection; where a
/// peer that has ended its direction still listens ([`Codec::outlives_eof`]), after ours.
///
/// Once the codec has said its last word ([`Codec::is_finished`]) and that is written, the writing
/// side is shut down, and reading goes on.
///
/// Any [`Machine`] will do: port forwarding has events of its own, and
/// [`PortForward`](super::PortForward) around it.
pub struct Endpoint<S, C> {
    socket: S,
    codec: C,
    input: BytesMut,
    output: VecDeque<Bytes>,
    /// The newest output, small pieces in one.
    gathered: BytesMut,
    queued: usize,
    /// How many of them at most are answers to input.
    answers: usize,
    /// Who wants to read once they are fewer.
    impatient: Option<Waker>,
    /// Who wants to write once the codec holds less back.
    held_up: Option<Waker>,
    /// Who waits for events, to be told when a writer has read for him.
    reader: Option<Waker>,
    /// Bytes read since events were last asked for.
    ahead: usize,
    unflushed: bool,
    /// The writing side is shut down.
    shut: bool,
    reading: Reading,
    /// Why the stream ends badly, to be told behind the events that came before.
    failure: Option<EndpointError>,
    /// Why nothing more can be written. What the peer said before is still read.
    broken: Option<io::ErrorKind>,
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reading {
    Open,
    /// The peer's direction is over, in order or not.
    Ended,
    /// What the peer still sends is of no use: it broke the protocol or its time is up.
    Refused,
}

impl<S, C> Endpoint<S, C>
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: Machine + Unpin,
{
    /// Runs `codec` over `socket`. `early` are bytes that came right behind the HTTP head.
    pub fn new(socket: S, codec: C, early: Bytes) -> Self {
        Self {
            socket,
            codec,
            input: BytesMut::from(early),
            output: VecDeque::new(),
            gathered: BytesMut::new(),
            queued: 0,
            answers: 0,
            impatient: None,
            held_up: None,
            reader: None,
            ahead: 0,
            unflushed: false,
            shut: false,
            reading: Reading::Open,
            failure: None,
            broken: None,
            timer: None,
        }
    }

    /// The codec, to ask it what it knows.
    pub const fn codec(&self) -> &C {
        &self.codec
    }

    /// The codec, to tell it something. What it then has for the wire goes out with the next poll
    /// of the stream, or with a flush.
    pub const fn codec_mut(&mut self) -> &mut C {
        &mut self.codec
    }

    /// Takes the endpoint apart without losing a byte: the socket, the codec, what was read and
    /// not taken in yet, and what is queued and not written yet.
    pub fn into_parts(mut self) -> Parts<S, C> {
        self.collect();
        self.settle();
        Parts {
            unread: self.input.freeze(),
            unwritten: self.output.into(),
            socket: self.socket,
            codec: self.codec,
        }
    }

    /// Waits until the peer has set up its streams ([`Codec::is_ready`]).
    ///
    /// # Errors
    ///
    /// The peer broke the protocol, took too long, or went away.
    pub async fn ready(&mut self) -> Result<(), EndpointError> {
        std::future::poll_fn(|cx| {
            // A first turn takes in what came with the head.
            loop {
                let progress = self.advance(cx)?;
                if self.codec.is_ready() {
                    return Poll::Ready(Ok(()));
                }
                match (progress, self.reading) {
                    (Progress::Made, Reading::Open) => {}
                    (Progress::Waiting, Reading::Open) => return Poll::Pending,
                    (_, Reading::Ended | Reading::Refused) => {
                        return Poll::Ready(Err(ProtocolError::Truncated.into()));
                    }
                }
            }
        })
        .await
    }

    /// Says goodbye so that nothing is lost: writes all that is queued, ends the writing side,
    /// then takes in and drops what the peer still sends, until it ends too, for at most
    /// [`limits::LINGER`] and [`limits::LINGER_BYTES`].
    ///
    /// A close with unread input makes the kernel send a reset, which throws away output that
    /// the peer has not read yet: the commonest cause of lost tails and exit codes.
    ///
    /// # Errors
    ///
    /// The connection broke before all was written.
    pub async fn finish(&mut self) -> Result<(), EndpointError> {
        let mut scratch = BytesMut::new();
        std::future::poll_fn(|cx| {
            // A peer may read nothing before all that it has to say is written.
            if let Poll::Ready(1..) = self.poll_discard(cx, &mut scratch) {
                cx.waker().wake_by_ref();
            }
            self.poll_drain(cx)
        })
        .await?;
        if !self.shut {
            std::future::poll_fn(|cx| Pin::new(&mut self.socket).poll_shutdown(cx)).await?;
            self.shut = true;
        }
        let linger = async {
            let mut dropped = 0;
            while dropped < limits::LINGER_BYTES {
                match std::future::poll_fn(|cx| self.poll_discard(cx, &mut scratch)).await {
                    0 => break,
                    count => dropped += count,
                }
            }
        };
        // Running into the limit is no failure: all of ours was written.
        let _timed_out = tokio::time::timeout(limits::LINGER, linger).await;
        Ok(())
    }

    /// Reads and drops; 0 when the peer's direction is over.
    fn poll_discard(&mut self, cx: &mut Context<'_>, scratch: &mut BytesMut) -> Poll<usize> {
        if self.reading == Reading::Ended {
            return Poll::Ready(0);
        }
        scratch.clear();
        let Poll::Ready(result) = poll_read_buf(&mut self.socket, cx, scratch) else {
            buffer::give_back(scratch);
            return Poll::Pending;
        };
        let count = result.unwrap_or(0);
        if count == 0 {
            self.reading = Reading::Ended;
        }
        Poll::Ready(count)
    }

    /// Bytes queued for the peer and not yet written.
    pub const fn queued(&self) -> usize {
        self.queued
    }

    /// Queues proof of life for the peer.
    pub fn send_keepalive(&mut self) {
        self.codec.send_keepalive();
        self.collect();
    }

    /// One turn of the machine, and a word to who waited for what it brought.
    fn advance(&mut self, cx: &mut Context<'_>) -> Result<Progress, EndpointError> {
        let turn = self.turn(cx);
        if (self.reading != Reading::Open || self.codec.held() < limits::HIGH_WATER)
            && let Some(waker) = self.held_up.take()
        {
            waker.wake();
        }
        turn
    }

    /// Waits until the codec holds less back. What must come first is read here as well, because
    /// who writes may be who would read; but not without end while nobody takes the events.
    fn poll_accepted(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndpointError>> {
        // Reading registers this task: another one that waits for events must not sleep on.
        if let Some(reader) = self.reader.take_if(|reader| !reader.will_wake(cx.waker())) {
            reader.wake();
        }
        while self.reading == Reading::Open && self.codec.held() >= limits::HIGH_WATER {
            if self.ahead >= limits::HIGH_WATER {
                // A connection that breaks is found here meanwhile.
                self.held_up = Some(cx.waker().clone());
                return match self.poll_drain(cx) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    _ => Poll::Pending,
                };
            }
            match self.turn(cx) {
                Ok(Progress::Made) => {}
                Ok(Progress::Waiting) => {
                    self.held_up = Some(cx.waker().clone());
                    return match self.broken {
                        Some(kind) => Poll::Ready(Err(io::Error::from(kind).into())),
                        None => Poll::Pending,
                    };
                }
                // Told behind the events that came before.
                Err(error) => self.failure = Some(error),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Time, reading, writing.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<Progress, EndpointError> {
        let mut progress = Progress::Waiting;
        if self.poll_timer(cx)? {
            progress = Progress::Made;
        }
        // A peer that makes us answer and does not read would fill our memory.
        if self.reading == Reading::Open {
            if self.answers >= limits::HIGH_WATER {
                self.impatient = Some(cx.waker().clone());
            } else if self.poll_read(cx)? {
                progress = Progress::Made;
            }
        }
        self.collect();
        if self.queued > 0 || self.unflushed || (self.codec.is_finished() && !self.shut) {
            // Writing that cannot go on registers its own wake-up. When it fails the peer may
            // have said everything before it went: that is found out by reading on.
            let _failed = self.poll_drain(cx);
        }
        Ok(progress)
    }

    /// Whether something was read.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<bool, EndpointError> {
        let now = now();
        if !self.input.is_empty() {
            // Bytes behind the head, or left by the last turn.
            let before = self.input.len();
            self.take_in(now)?;
            if self.input.len() != before {
                return Ok(true);
            }
        }
        let count = match poll_read_buf(&mut self.socket, cx, &mut self.input) {
            Poll::Pending => {
                if self.input.is_empty() {
                    buffer::give_back(&mut self.input);
                }
                return Ok(false);
            }
            Poll::Ready(Ok(count)) => count,
            Poll::Ready(Err(error)) => {
                self.reading = Reading::Ended;
                return Err(error.into());
            }
        };
        if count == 0 {
            self.reading = Reading::Ended;
            self.codec.handle_eof(now)?;
        } else {
            self.ahead += count;
            self.take_in(now)?;
        }
        Ok(true)
    }

    fn take_in(&mut self, now: Instant) -> Result<(), EndpointError> {
        if let Err(error) = self.codec.handle_input(now, &mut self.input) {
            self.reading = Reading::Refused;
            self.collect();
            return Err(error.into());
        }
        let before = self.queued;
        while let Some(bytes) = self.codec.poll_answer() {
            self.queue(bytes);
        }
        self.answers += self.queued - before;
        Ok(())
    }

    /// Whether a deadline came.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Result<bool, EndpointError> {
        let Some(deadline) = self.codec.poll_timeout() else {
            self.timer = None;
            return Ok(false);
        };
        let (at, sleep) = self.timer.get_or_insert_with(|| {
            let sleep = tokio::time::sleep_until(deadline.into());
            (deadline, Box::pin(sleep))
        });
        if *at != deadline {
            *at = deadline;
            sleep.as_mut().reset(deadline.into());
        }
        if sleep.as_mut().poll(cx).is_ready() {
            self.timer = None;
            if let Err(error) = self.codec.handle_timeout(deadline) {
                self.reading = Reading::Refused;
                return Err(error.into());
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Moves what the codec has for the wire into the write queue.
    fn collect(&mut self) {
        loop {
            let to_copy = self.codec.to_copy();
            if to_copy > 0 && self.gathered.capacity() - self.gathered.len() <= to_copy.min(SMALL) {
                self.settle();
                buffer::make_room(&mut self.gathered, limits::READ_BUFFER);
            }
            let before = self.gathered.len();
            let bytes = self.codec.poll_transmit(self.queued, &mut self.gathered);
            let copied = self.gathered.len() - before;
            if copied == 0 && bytes.is_none() {
                return;
            }
            if self.broken.is_some() {
                self.gathered.truncate(before);
            } else {
                self.queued += copied;
            }
            if let Some(bytes) = bytes {
                self.queue(bytes);
            }
        }
    }

    fn queue(&mut self, bytes: Bytes) {
        if self.broken.is_some() {
            return;
        }
        self.queued += bytes.len();
        if bytes.len() < SMALL {
            if self.gathered.capacity() - self.gathered.len() < bytes.len() {
                self.settle();
            }
            buffer::make_room(&mut self.gathered, bytes.len());
            self.gathered.extend_from_slice(&bytes);
        } else {
            self.settle();
            self.output.push_back(bytes);
        }
    }

    /// Puts the gathered pieces behind what is queued.
    fn settle(&mut self) {
        if !self.gathered.is_empty() {
            self.output.push_back(self.gathered.split().freeze());
        }
    }

    /// Writes until the queue is empty and flushed. Once that failed it fails for good.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndpointError>> {
        if let Some(kind) = self.broken {
            return Poll::Ready(Err(io::Error::from(kind).into()));
        }
        let result = ready!(self.poll_write(cx));
        if let Err(error) = &result {
            self.broken = Some(error.kind());
            self.output.clear();
            self.gathered.clear();
            self.queued = 0;
            self.keep_answers();
        }
        Poll::Ready(result.map_err(EndpointError::from))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // What takes turns comes as the queue gets shorter.
            self.collect();
            self.settle();
            if self.output.is_empty() {
                break;
            }
            let count = {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let mut filled = 0;
                for (slot, bytes) in slices.iter_mut().zip(&self.output) {
                    *slot = IoSlice::new(bytes);
                    filled += 1;
                }
                let slices = slices.get(..filled).unwrap_or_default();
                ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, slices))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written(count);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
            self.unflushed = false;
            // Nothing is on its way: no buffer is held.
            buffer::give_back(&mut self.gathered);
            self.output.shrink_to(MAX_SLICES);
        }
        if self.codec.is_finished() && !self.shut {
            ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
            self.shut = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Notes that less is queued: a reader that waits for it goes on.
    fn keep_answers(&mut self) {
        self.answers = self.answers.min(self.queued);
        if self.answers < limits::HIGH_WATER
            && let Some(waker) = self.impatient.take()
        {
            waker.wake();
        }
    }

    fn written(&mut self, mut count: usize) {
        self.queued = self.queued.saturating_sub(count);
        self.keep_answers();
        while let Some(first) = self.output.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.output.pop_front();
        }
    }
}

/// What an [`Endpoint`] is made of.
pub struct Parts<S, C> {
    /// The connection.
    pub socket: S,
    /// The protocol, with all it knows.
    pub codec: C,
    /// Read, and not taken in: part of a frame, or bytes behind the protocol's end.
    pub unread: Bytes,
    /// Queued and not written, in order. A frame may be cut.
    pub unwritten: Vec<Bytes>,
}

impl<S, C> Stream for Endpoint<S, C>
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: Machine + Unpin,
{
    type Item = Result<C::Event, EndpointError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ahead = 0;
        loop {
            if let Some(event) = self.codec.poll_event() {
                return Poll::Ready(Some(Ok(event)));
            }
            let listens = self.reading == Reading::Ended && self.codec.outlives_eof();
            if self.reading != Reading::Open && !(listens && self.failure.is_none()) {
                return Poll::Ready(self.failure.take().map(Err));
            }
            match self.advance(cx) {
                Ok(Progress::Made) => {}
                // Nothing more is read: only a write tells that the peer has gone.
                Ok(Progress::Waiting) if listens && self.broken.is_some() => {
                    self.reading = Reading::Refused;
                    self.failure = self.broken.map(|kind| io::Error::from(kind).into());
                }
                // What was written may have been the last word.
                Ok(Progress::Waiting) if listens && !self.codec.outlives_eof() => {}
                Ok(Progress::Waiting) => {
                    match &mut self.reader {
                        Some(reader) => reader.clone_from(cx.waker()),
                        none => *none = Some(cx.waker().clone()),
                    }
                    return Poll::Pending;
                }
                // What was said before it is told before it.
                Err(error) => self.failure = Some(error),
            }
        }
    }
}

impl<S, C> Sink<Event> for Endpoint<S, C>
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: Codec + Unpin,
{
    type Error = EndpointError;

    fn poll_ready(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), EndpointError>> {
        if self.reading == Reading::Open && Codec::held(&self.codec) >= limits::HIGH_WATER {
            ready!(self.poll_accepted(cx))?;
        }
        if self.queued < limits::HIGH_WATER {
            return Poll::Ready(Ok(()));
        }
        let drained = self.poll_drain(cx);
        if self.queued < limits::HIGH_WATER {
            // Room again, even when not everything is written yet.
            return match drained {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Ready(Ok(())),
            };
        }
        drained
    }

    fn start_send(mut self: Pin<&mut Self>, event: Event) -> Result<(), EndpointError> {
        self.codec.send(event);
        self.collect();
        Ok(())
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), EndpointError>> {
        self.poll_drain(cx)
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), EndpointError>> {
        ready!(self.poll_drain(cx))?;
        if !self.shut {
            ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
            self.shut = true;
        }
        Poll::Ready(Ok(()))
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Progress {
    Made,
    Waiting,
}

/// Bytes below which a piece is copied together with its neighbours: a slice of its own costs the
/// kernel more than the copy.
const SMALL: usize = 1024;
/// Pieces in one gathered write; the kernel takes up to 1024, more than 64 gain nothing.
const MAX_SLICES: usize = 64;

fn poll_read_buf<S: AsyncRead + Unpin>(
    socket: &mut S,
    cx: &mut Context<'_>,
    input: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    buffer::make_room(input, limits::READ_BUFFER);
    // `read_buf` is the safe door to reading into spare capacity. Its future holds nothing
    // between polls, so that a new one each time loses nothing.
    let mut limited = input.limit(limits::READ_BUFFER);
    let read = std::pin::pin!(socket.read_buf(&mut limited));
    read.poll(cx)
}

impl<S: fmt::Debug, C: fmt::Debug> fmt::Debug for Endpoint<S, C> {
    // What is under way is somebody's traffic: it is not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Endpoint")
            .field("socket", &self.socket)
            .field("codec", &self.codec)
            .field("input", &self.input.len())
            .field("queued", &self.queued)
            .field("reading", &self.reading)
            .field("shut", &self.shut)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, C: fmt::Debug> fmt::Debug for Parts<S, C> {
    // What is under way is somebody's traffic: it is not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Parts")
            .field("socket", &self.socket)
            .field("codec", &self.codec)
            .field("unread", &self.unread.len())
            .field("unwritten", &self.unwritten.len())
            .finish_non_exhaustive()
    }
}
