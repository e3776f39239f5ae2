//! One exec or attach, from the upgraded connection to the exit status.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use dockin_stream::{
    Codec, Event, ExitStatus, OutputStream,
    io::{Endpoint, EndpointError},
};
use futures::{Sink, Stream};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    signal::unix::{Signal, SignalKind, signal},
    time::{Interval, MissedTickBehavior, interval_at},
};

use crate::{
    escape::Escape,
    failure::{Failure, chain},
    stdio::{Input, Outlet},
    terminal::{self, ScreenModes},
};

/// The local ends of a session: descriptors, or the two sides of a tar archive.
#[derive(Debug)]
pub(crate) struct Ends {
    /// What is typed; `None` when standard input is not connected.
    pub(crate) stdin: Option<Input>,
    /// Takes standard output.
    pub(crate) stdout: Outlet,
    /// Takes standard error.
    pub(crate) stderr: Outlet,
}

/// What the local terminal is to a session that has one.
#[derive(Debug)]
pub(crate) struct Screen {
    /// Watches for the local escapes.
    pub(crate) escape: Escape,
    /// Follows what has to be undone on the screen.
    pub(crate) modes: ScreenModes,
}

/// How a session ended.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// The other side told how the process ended, or why it did not run.
    Exit(ExitStatus),
    /// The connection ended before that, for this reason. Never a success.
    Lost(String),
    /// The person typed `~.`.
    Disconnected,
    /// This process was told to end with that signal.
    Signalled(i32),
    /// Nobody reads our output any more.
    OutputClosed,
}

/// A session as one future. Nothing is read from the connection while an output has no room, and
/// nothing is read from standard input while the connection has none.
#[derive(Debug)]
pub(crate) struct Session<S, C> {
    endpoint: Endpoint<S, C>,
    ends: Ends,
    screen: Option<Screen>,
    signals: Signals,
    pings: Interval,
    turn: u32,
}

/// How often the connection is kept alive: idle limits of proxies begin at 30 s.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long our goodbye may take. All that counts is here by then.
const GOODBYE: Duration = Duration::from_millis(500);
/// Turns between two looks at signals and the clock while bytes flow.
const TURNS: u32 = 32;

enum Step {
    Remote(Option<Result<Event, EndpointError>>),
    Typed(Option<Bytes>),
    OutputClosed,
    Resized,
    Signalled(i32),
    Ping,
}

impl<S, C> Session<S, C>
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: Codec + Unpin,
{
    /// A session over `endpoint` that ends on `signals`. With a `screen` the terminal's size goes
    /// out before anything else.
    pub(crate) fn new(
        endpoint: Endpoint<S, C>,
        ends: Ends,
        screen: Option<Screen>,
        signals: Signals,
    ) -> Self {
        let mut pings = interval_at(tokio::time::Instant::now() + PING_INTERVAL, PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            endpoint,
            ends,
            screen,
            signals,
            pings,
            turn: 0,
        }
    }

    /// Runs to the end. What was received is handed over to the ends, in order, before this
    /// returns; the caller waits until they are written. The screen comes back for its clean-up.
    pub(crate) async fn run(mut self) -> (End, Option<Screen>) {
        self.send_size();
        let end = loop {
            match std::future::poll_fn(|cx| self.poll_step(cx)).await {
                Step::Remote(event) => {
                    if let Some(end) = self.remote(event) {
                        break end;
                    }
                }
                Step::Typed(chunk) => {
                    if self.typed(chunk) {
                        break End::Disconnected;
                    }
                }
                Step::OutputClosed => break End::OutputClosed,
                Step::Resized => self.send_size(),
                Step::Signalled(number) => break End::Signalled(number),
                Step::Ping => self.endpoint.send_keepalive(),
            }
        };
        self.send(Event::Close);
        let goodbye = std::future::poll_fn(|cx| Pin::new(&mut self.endpoint).poll_close(cx));
        // The session is over either way.
        let _late_or_broken = tokio::time::timeout(GOODBYE, goodbye).await;
        (end, self.screen)
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.turn = self.turn.wrapping_add(1);
        if self.turn.is_multiple_of(TURNS)
            && let Poll::Ready(step) = self.poll_rare(cx)
        {
            return Poll::Ready(step);
        }
        // By turns, so that neither direction starves the other.
        if self.turn.is_multiple_of(2) {
            if let Poll::Ready(step) = self.poll_typed(cx) {
                return Poll::Ready(step);
            }
            if let Poll::Ready(step) = self.poll_remote(cx) {
                return Poll::Ready(step);
            }
        } else {
            if let Poll::Ready(step) = self.poll_remote(cx) {
                return Poll::Ready(step);
            }
            if let Poll::Ready(step) = self.poll_typed(cx) {
                return Poll::Ready(step);
            }
        }
        self.poll_rare(cx)
    }

    fn poll_remote(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let mut room = true;
        for end in [&mut self.ends.stdout, &mut self.ends.stderr] {
            match end.poll_reserve(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Step::OutputClosed),
                Poll::Pending => room = false,
            }
        }
        if room {
            // Also writes what is queued.
            return Pin::new(&mut self.endpoint).poll_next(cx).map(Step::Remote);
        }
        if let Poll::Ready(Err(_)) = Pin::new(&mut self.endpoint).poll_flush(cx) {
            self.ends.stdin = None;
        }
        Poll::Pending
    }

    fn poll_typed(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let Some(stdin) = &mut self.ends.stdin else {
            return Poll::Pending;
        };
        match Pin::new(&mut self.endpoint).poll_ready(cx) {
            Poll::Ready(Ok(())) => stdin.poll_chunk(cx).map(Step::Typed),
            // The other side may have ended and still have output and a status for us: what is
            // typed goes nowhere, what it says is still read.
            Poll::Ready(Err(_)) => {
                self.ends.stdin = None;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_rare(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        if let Poll::Ready(step) = self.signals.poll(cx) {
            return Poll::Ready(step);
        }
        self.pings.poll_tick(cx).map(|_| Step::Ping)
    }

    /// The end, once the exit status is here or can no longer come.
    fn remote(&mut self, event: Option<Result<Event, EndpointError>>) -> Option<End> {
        let lost = "connection to the gateway lost before the exit status";
        let (stream, bytes) = match event {
            Some(Ok(Event::Stdout(bytes))) => (OutputStream::Stdout, bytes),
            Some(Ok(Event::Stderr(bytes))) => (OutputStream::Stderr, bytes),
            Some(Ok(Event::Exit(status))) => return Some(End::Exit(status)),
            Some(Ok(Event::Close)) | None => return Some(End::Lost(lost.to_owned())),
            Some(Ok(_)) => return None,
            // An end in the middle says no more than that; rustls's text is a lecture.
            Some(Err(EndpointError::Io(error))) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Some(End::Lost(lost.to_owned()));
            }
            Some(Err(error)) => return Some(End::Lost(format!("{lost}: {}", chain(&error)))),
        };
        if let Some(screen) = &mut self.screen {
            screen.modes.watch(&bytes);
        }
        let end = match stream {
            OutputStream::Stdout => &mut self.ends.stdout,
            OutputStream::Stderr => &mut self.ends.stderr,
        };
        // Room was reserved; an end that has closed since is noticed at the next turn.
        let _noticed_later = end.send_item(bytes);
        None
    }

    /// Whether the person wants to leave.
    fn typed(&mut self, chunk: Option<Bytes>) -> bool {
        let Some(chunk) = chunk else {
            self.ends.stdin = None;
            self.send(Event::HalfClose);
            return false;
        };
        let Some(screen) = &mut self.screen else {
            self.send(Event::Stdin(chunk));
            return false;
        };
        let typed = screen.escape.take(chunk);
        if typed.help {
            // Raw mode: each line needs its own carriage return.
            eprint!(
                "\r\nescapes, at the start of a line:\r\n ~.  disconnect\r\n ~?  this help\r\n ~~  send a ~\r\n"
            );
        }
        if !typed.forward.is_empty() {
            self.send(Event::Stdin(typed.forward));
        }
        typed.disconnect
    }

    fn send_size(&mut self) {
        if self.screen.is_some()
            && let Some(size) = terminal::size()
        {
            self.send(Event::Resize(size));
        }
    }

    fn send(&mut self, event: Event) {
        // A broken connection is noticed by the reading side, which has the cause.
        let _noticed_by_reading = Pin::new(&mut self.endpoint).start_send(event);
    }
}

/// The signals that a session answers to. From when this is made they no longer end the process,
/// so it comes before raw mode.
#[derive(Debug)]
pub(crate) struct Signals {
    resized: Signal,
    /// The signals that end us, so that the terminal is put back first.
    ending: [(i32, Signal); 4],
}

impl Signals {
    /// Awaits them from now on.
    pub(crate) fn new() -> Result<Self, Failure> {
        Self::install().map_err(|error| Failure::local(format!("cannot await signals: {error}")))
    }

    fn install() -> io::Result<Self> {
        let ending = |kind: SignalKind| -> io::Result<(i32, Signal)> {
            Ok((kind.as_raw_value(), signal(kind)?))
        };
        Ok(Self {
            resized: signal(SignalKind::window_change())?,
            ending: [
                ending(SignalKind::hangup())?,
                ending(SignalKind::interrupt())?,
                ending(SignalKind::quit())?,
                ending(SignalKind::terminate())?,
            ],
        })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        for (number, signal) in &mut self.ending {
            if signal.poll_recv(cx).is_ready() {
                return Poll::Ready(Step::Signalled(*number));
            }
        }
        self.resized.poll_recv(cx).map(|_| Step::Resized)
    }
}

#[cfg(test)]
mod tests;
