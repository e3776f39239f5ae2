use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{Sink, Stream};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Sleep,
};

use super::{Endpoint, now};
use crate::{Codec, Event, ExitStatus, Gate, Outcome, Output, Relay, Transferred};

/// A connection that can be told that we live, and so be found dead.
pub trait Keepalive {
    /// Queues a pong or a ping.
    fn send_keepalive(&mut self);
}

impl<S, C> Keepalive for Endpoint<S, C>
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: Codec + Unpin,
{
    fn send_keepalive(&mut self) {
        Self::send_keepalive(self);
    }
}

/// Runs `relay` between a client and a container until the session is over.
///
/// Back-pressure is end to end: nothing is read from a side while what came before does not fit
/// into the other's queue. While a client's input waits for the container, the client gets a proof
/// of life twice a second: it keeps it from giving up (client-go does after 61 s), and it finds out
/// a client that died behind its unread input. It takes two to do that, the kernel answers the
/// first one, and a session passes two relays: within the 5 s that its processes may outlive it.
///
/// Each of the gate's notes goes to `write_down`, and nothing that follows it moves before that
/// is done. When it fails the session ends: what cannot be written down does not happen.
///
/// On return everything for the client is queued in `client`; the caller finishes it.
pub async fn run_relay<G, A, B, E1, E2, W, F>(
    client: &mut A,
    container: &mut B,
    relay: Relay<G>,
    write_down: W,
) -> (Outcome, Transferred)
where
    G: Gate + Unpin,
    G::Note: Unpin,
    A: Stream<Item = Result<Event, E1>> + Sink<Event> + Keepalive + Unpin,
    B: Stream<Item = Result<Event, E2>> + Sink<Event> + Unpin,
    W: FnMut(G::Note) -> F + Unpin,
    F: Future<Output = Result<(), ExitStatus>>,
{
    Driver {
        client,
        container,
        relay,
        write_down,
        writing: None,
        to_client: VecDeque::new(),
        to_container: VecDeque::new(),
        flush: Flush::default(),
        container_open: true,
        client_open: true,
        turn: Turn::begin(),
        gate_timer: None,
        blocked_since: None,
        blocked_timer: None,
        outcome: None,
    }
    .await
}

/// How often a client whose input waits gets a proof of life.
const BLOCKED_KEEPALIVE: Duration = Duration::from_millis(500);

struct Driver<'a, G: Gate, A, B, W, F> {
    client: &'a mut A,
    container: &'a mut B,
    relay: Relay<G>,
    write_down: W,
    writing: Option<Pin<Box<F>>>,
    to_client: VecDeque<Event>,
    to_container: VecDeque<Event>,
    flush: Flush,
    container_open: bool,
    client_open: bool,
    turn: Turn,
    gate_timer: Option<(Instant, Pin<Box<Sleep>>)>,
    /// Since when the client's input waits, or when it last got a proof of life.
    blocked_since: Option<Instant>,
    /// Stays armed when nothing waits any more: it is cheaper to let it come once in a while than
    /// to set it up and tear it down with every pause of the container.
    blocked_timer: Option<Pin<Box<Sleep>>>,
    outcome: Option<Outcome>,
}

/// What is known for one turn, until the next wake-up.
struct Turn {
    /// When it began. A turn is short, and reading the clock for every event is not.
    now: Instant,
    /// The client had nothing more, and wakes us when that changes. To ask again is to write out
    /// what is queued, piece by piece.
    client_waits: bool,
    /// The same for the container.
    container_waits: bool,
}

impl Turn {
    fn begin() -> Self {
        Self {
            now: now(),
            client_waits: false,
            container_waits: false,
        }
    }
}

/// Which sides have something that is sent but not flushed.
#[derive(Default)]
struct Flush {
    client: bool,
    container: bool,
}

impl<G, A, B, E1, E2, W, F> Future for Driver<'_, G, A, B, W, F>
where
    G: Gate + Unpin,
    G::Note: Unpin,
    A: Stream<Item = Result<Event, E1>> + Sink<Event> + Keepalive + Unpin,
    B: Stream<Item = Result<Event, E2>> + Sink<Event> + Unpin,
    W: FnMut(G::Note) -> F + Unpin,
    F: Future<Output = Result<(), ExitStatus>>,
{
    type Output = (Outcome, Transferred);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.turn = Turn::begin();
        // Bounds one turn, so that a busy session leaves room for others.
        let mut moved = 0;
        let mut written = 0;
        while moved < TURN_BYTES {
            this.take_outputs(cx);
            this.push_container(cx);
            this.push_client(cx);
            // Small events go out together, without waiting for any that are not here yet.
            if moved - written >= WRITE_BYTES {
                this.flush(cx);
                written = moved;
            }
            if let Some(outcome) = &this.outcome
                && this.to_client.is_empty()
                && this.writing.is_none()
            {
                let outcome = outcome.clone();
                this.flush(cx);
                return Poll::Ready((outcome, this.relay.transferred()));
            }
            match this.pull(cx) {
                Some(bytes) => moved += bytes + EVENT_BYTES,
                None => {
                    this.flush(cx);
                    this.arm_blocked_timer(cx);
                    return Poll::Pending;
                }
            }
        }
        this.flush(cx);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Bytes of events that are moved before others get their chance.
const TURN_BYTES: usize = 512 * 1024;
/// Bytes of events that go into one write, unless there are no more.
const WRITE_BYTES: usize = 32 * 1024;
/// What an event counts on top of its bytes.
const EVENT_BYTES: usize = 64;

impl<G, A, B, E1, E2, W, F> Driver<'_, G, A, B, W, F>
where
    G: Gate + Unpin,
    G::Note: Unpin,
    A: Stream<Item = Result<Event, E1>> + Sink<Event> + Keepalive + Unpin,
    B: Stream<Item = Result<Event, E2>> + Sink<Event> + Unpin,
    W: FnMut(G::Note) -> F + Unpin,
    F: Future<Output = Result<(), ExitStatus>>,
{
    /// Moves the relay's outputs to the sides' queues, up to a note that is being written.
    fn take_outputs(&mut self, cx: &mut Context<'_>) {
        loop {
            if let Some(writing) = &mut self.writing {
                match writing.as_mut().poll(cx) {
                    Poll::Pending => return,
                    Poll::Ready(Ok(())) => self.writing = None,
                    Poll::Ready(Err(status)) => {
                        self.writing = None;
                        self.to_client.push_back(Event::Exit(status.clone()));
                        self.to_container.clear();
                        self.to_container.push_back(Event::Close);
                        self.outcome = Some(Outcome::Stopped(status));
                    }
                }
            }
            if self.outcome.is_some() {
                return;
            }
            match self.relay.poll_output() {
                Output::ToContainer(event) => self.to_container.push_back(event),
                Output::ToClient(event) => self.to_client.push_back(event),
                Output::Note(note) => self.writing = Some(Box::pin((self.write_down)(note))),
                Output::Closed(outcome) => {
                    self.outcome = Some(outcome);
                    return;
                }
                Output::Wait(deadline) => {
                    let Some(deadline) = deadline else {
                        self.gate_timer = None;
                        return;
                    };
                    let (at, sleep) = self.gate_timer.get_or_insert_with(|| {
                        let sleep = tokio::time::sleep_until(deadline.into());
                        (deadline, Box::pin(sleep))
                    });
                    if *at != deadline {
                        *at = deadline;
                        sleep.as_mut().reset(deadline.into());
                    }
                    if sleep.as_mut().poll(cx).is_pending() {
                        return;
                    }
                    self.gate_timer = None;
                    self.relay.handle_timeout(now().max(deadline));
                }
            }
        }
    }

    fn push_container(&mut self, cx: &mut Context<'_>) {
        let mut failed = false;
        while self.container_open && !self.to_container.is_empty() {
            match Pin::new(&mut *self.container).poll_ready(cx) {
                Poll::Pending => break,
                Poll::Ready(Err(_)) => failed = true,
                Poll::Ready(Ok(())) => {
                    let Some(event) = self.to_container.pop_front() else {
                        break;
                    };
                    failed = Pin::new(&mut *self.container).start_send(event).is_err();
                    self.flush.container = true;
                }
            }
            if failed {
                break;
            }
        }
        if failed {
            self.lose_container_input();
        }
    }

    /// Writes what was sent to either side.
    fn flush(&mut self, cx: &mut Context<'_>) {
        if self.flush.container && self.container_open {
            match Pin::new(&mut *self.container).poll_flush(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.flush.container = false,
                Poll::Ready(Err(_)) => self.lose_container_input(),
            }
        }
        if self.flush.client && self.client_open {
            match Pin::new(&mut *self.client).poll_flush(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.flush.client = false,
                Poll::Ready(Err(_)) => self.lose_client_now(cx),
            }
        }
    }

    /// The process may have ended its input and still give output and a status: what is meant for
    /// it goes nowhere, what it says is still read.
    fn lose_container_input(&mut self) {
        self.to_container.clear();
        self.flush.container = false;
    }

    fn push_client(&mut self, cx: &mut Context<'_>) {
        let mut failed = false;
        while self.client_open && !self.to_client.is_empty() {
            match Pin::new(&mut *self.client).poll_ready(cx) {
                Poll::Pending => break,
                Poll::Ready(Err(_)) => failed = true,
                Poll::Ready(Ok(())) => {
                    let Some(event) = self.to_client.pop_front() else {
                        break;
                    };
                    failed = Pin::new(&mut *self.client).start_send(event).is_err();
                    self.flush.client = true;
                }
            }
            if failed {
                break;
            }
        }
        if failed {
            self.lose_client_now(cx);
        }
    }

    fn lose_client_now(&mut self, cx: &Context<'_>) {
        self.lose_client();
        // What the relay makes of it is taken in the next turn, and nobody else may call one.
        cx.waker().wake_by_ref();
    }

    /// Reads a side whose counterpart has room; gives the bytes of what came, `None` when nothing
    /// moved.
    fn pull(&mut self, cx: &mut Context<'_>) -> Option<usize> {
        if self.writing.is_some() || self.outcome.is_some() {
            return None;
        }
        let mut moved = None;
        if self.client_open && !self.turn.client_waits && self.to_container.is_empty() {
            match Pin::new(&mut *self.client).poll_next(cx) {
                Poll::Pending => self.turn.client_waits = true,
                Poll::Ready(Some(Ok(event))) => {
                    moved = Some(event.len());
                    self.relay.handle_client(self.turn.now, event);
                }
                Poll::Ready(Some(Err(_)) | None) => {
                    self.lose_client();
                    moved = Some(0);
                }
            }
        }
        if self.container_open && !self.turn.container_waits && self.to_client.is_empty() {
            match Pin::new(&mut *self.container).poll_next(cx) {
                Poll::Pending => self.turn.container_waits = true,
                Poll::Ready(Some(Ok(event))) => {
                    moved = Some(moved.unwrap_or(0) + event.len());
                    self.relay.handle_container(self.turn.now, event);
                }
                Poll::Ready(Some(Err(_)) | None) => {
                    self.container_open = false;
                    self.relay.handle_container_lost();
                    moved = moved.or(Some(0));
                }
            }
        }
        moved
    }

    fn lose_client(&mut self) {
        self.client_open = false;
        self.to_client.clear();
        self.flush.client = false;
        self.relay.handle_client_lost();
    }

    /// While the client's input waits, proves to it again and again that we live.
    fn arm_blocked_timer(&mut self, cx: &mut Context<'_>) {
        let blocked = self.client_open && self.outcome.is_none() && !self.to_container.is_empty();
        if !blocked {
            self.blocked_since = None;
            return;
        }
        let since = self.blocked_since.get_or_insert(self.turn.now);
        let mut due = *since + BLOCKED_KEEPALIVE;
        let sleep = self
            .blocked_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.into())));
        while sleep.as_mut().poll(cx).is_ready() {
            // It may have been set for a wait that ended before.
            let now = now();
            if now >= due {
                self.client.send_keepalive();
                self.flush.client = true;
                *since = now;
                due = now + BLOCKED_KEEPALIVE;
                cx.waker().wake_by_ref();
            }
            sleep.as_mut().reset(due.into());
        }
    }
}
