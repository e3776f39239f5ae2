use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use dockin_stream::{Event, ExitStatus, StreamSet, TerminalSize};
use futures::{Sink, Stream};
use tokio::{io::AsyncWrite, net::UnixStream, sync::watch};
use tokio_util::io::poll_read_buf;

use super::{daemon::Hijacked, demux::Demux};
use crate::{Error, ErrorKind};

/// Bytes of input that wait for the daemon before `poll_ready` says no.
const INPUT_HIGH_WATER: usize = 64 * 1024;

/// What the end of the client's input becomes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum InputEnd {
    /// The write side is shut down: the process reads the end of its standard input.
    Shutdown,
    /// The terminal's own end of input, ^D. With a TTY the daemon answers a shutdown by closing
    /// the output too (Moby `stream/attach.go`), and the rest of it would be lost.
    EndOfTransmission,
    /// Nothing: attached to a container that keeps its input open for the next client, the daemon
    /// answers a shutdown by closing the output (moby #38457).
    Hold,
}

/// Finds out how the process ended. Polled once its output is over.
pub(super) type Ending = Pin<Box<dyn Future<Output = Result<ExitStatus, Error>> + Send>>;

/// A session over a hijacked connection, without a task of its own: reads, writes and splits
/// frames in the caller's poll.
///
/// ```text
/// Output ──end of stream──▶ Ending ──status known──▶ Done
///    └──────Close, broken frame──────────────────────▲
/// ```
pub(super) struct HijackedSession {
    socket: UnixStream,
    demux: Demux,
    phase: Phase,
    wanted: StreamSet,
    input: Input,
    /// Ends once the status is known; dropping it only stops asking.
    ending: Ending,
    /// Newest terminal size, for the attendant; dropping it tells him that the session is over.
    attendant: Option<watch::Sender<Option<TerminalSize>>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Output,
    Ending,
    Done,
}

struct Input {
    queue: VecDeque<Bytes>,
    queued: usize,
    end: InputEnd,
    state: InputState,
    /// Whether the last byte ended a line, where one ^D is enough.
    at_line_start: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum InputState {
    Open,
    /// To be shut down once the queue is written.
    Ending,
    /// Over, or the process does not read any more: what comes is dropped, as a pipe does.
    Closed,
}

impl HijackedSession {
    pub(super) fn new(
        hijacked: Hijacked,
        wanted: StreamSet,
        raw: bool,
        end: InputEnd,
        ending: Ending,
        attendant: watch::Sender<Option<TerminalSize>>,
    ) -> Self {
        Self {
            socket: hijacked.socket,
            demux: Demux::new(raw, hijacked.early),
            phase: Phase::Output,
            wanted,
            input: Input {
                queue: VecDeque::new(),
                queued: 0,
                end,
                state: if wanted.stdin {
                    InputState::Open
                } else {
                    InputState::Closed
                },
                at_line_start: true,
            },
            ending,
            attendant: Some(attendant),
        }
    }

    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>, Error>> {
        loop {
            while let Some((stream, bytes)) = self.demux.next()? {
                let event = stream.event(bytes);
                match event {
                    Event::Stdout(_) if self.wanted.stdout => return Poll::Ready(Ok(Some(event))),
                    Event::Stderr(_) if self.wanted.stderr => return Poll::Ready(Ok(Some(event))),
                    _ => {}
                }
            }
            let socket = Pin::new(&mut self.socket);
            match poll_read_buf(socket, cx, self.demux.spare()) {
                Poll::Ready(Ok(0)) if self.demux.may_end() => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(Error::new(
                        ErrorKind::Unavailable,
                        "docker ended the connection inside a frame",
                    )));
                }
                Poll::Ready(Ok(read)) => self.demux.filled(read),
                // The status tells whether the process ended or the daemon went away.
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "connection to docker broke");
                    return Poll::Ready(Ok(None));
                }
                Poll::Pending => {
                    self.demux.idle();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Ends everything: nothing is read or written any more, and the attendant is told.
    fn finish(&mut self) {
        self.phase = Phase::Done;
        self.input.close();
        self.attendant = None;
    }
}

impl Stream for HijackedSession {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.phase == Phase::Output {
            match ready!(this.poll_output(cx)) {
                Ok(Some(event)) => return Poll::Ready(Some(Ok(event))),
                Ok(None) => {
                    this.phase = Phase::Ending;
                    this.input.close();
                }
                Err(error) => {
                    this.finish();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        if this.phase == Phase::Ending {
            let status = ready!(this.ending.as_mut().poll(cx));
            this.phase = Phase::Done;
            return Poll::Ready(Some(status.map(Event::Exit)));
        }
        Poll::Ready(None)
    }
}

impl Sink<Event> for HijackedSession {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let this = &mut *self;
        if this.input.queued < INPUT_HIGH_WATER {
            return Poll::Ready(Ok(()));
        }
        // The caller's event must find room even when the rest has to wait.
        match this.input.poll_write(&mut this.socket, cx) {
            Poll::Pending if this.input.queued >= INPUT_HIGH_WATER => Poll::Pending,
            _ => Poll::Ready(Ok(())),
        }
    }

    fn start_send(mut self: Pin<&mut Self>, event: Event) -> Result<(), Error> {
        let this = &mut *self;
        match event {
            Event::Stdin(bytes) => this.input.push(bytes, &this.socket),
            Event::HalfClose => this.input.end(&this.socket),
            Event::Resize(size) => {
                if let Some(attendant) = &this.attendant {
                    attendant.send_replace(Some(size));
                }
            }
            Event::Close => this.finish(),
            Event::Stdout(_) | Event::Stderr(_) | Event::Exit(_) => {
                return Err(Error::new(ErrorKind::Misuse, "a container takes no output"));
            }
            _ => {}
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let this = &mut *self;
        ready!(this.input.poll_write(&mut this.socket, cx));
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.as_mut().poll_flush(cx))?;
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl Input {
    /// Takes bytes, and writes at once what the socket takes at once.
    fn push(&mut self, mut bytes: Bytes, socket: &UnixStream) {
        if self.state != InputState::Open {
            return;
        }
        if let Some(last) = bytes.last() {
            self.at_line_start = matches!(last, b'\n' | b'\r');
        }
        if self.queue.is_empty() {
            match socket.try_write(&bytes) {
                Ok(written) => bytes.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_gone) => return self.close(),
            }
        }
        if !bytes.is_empty() {
            self.queued += bytes.len();
            self.queue.push_back(bytes);
        }
    }

    fn end(&mut self, socket: &UnixStream) {
        if self.state != InputState::Open {
            return;
        }
        match self.end {
            InputEnd::Shutdown => self.state = InputState::Ending,
            InputEnd::Hold => self.state = InputState::Closed,
            InputEnd::EndOfTransmission => {
                // Behind an unfinished line the first one only hands the line over.
                let keys = if self.at_line_start {
                    &b"\x04"[..]
                } else {
                    b"\x04\x04"
                };
                self.push(Bytes::from_static(keys), socket);
                self.end = InputEnd::Hold;
            }
        }
    }

    /// Writes the queue, then shuts down if that was asked for.
    fn poll_write(&mut self, socket: &mut UnixStream, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(first) = self.queue.front_mut() {
            match ready!(Pin::new(&mut *socket).poll_write(cx, first)) {
                Ok(0) | Err(_) => {
                    // Whoever read this has gone; the output tells the rest.
                    self.close();
                    return Poll::Ready(());
                }
                Ok(written) => {
                    first.advance(written);
                    self.queued -= written;
                    if first.is_empty() {
                        self.queue.pop_front();
                    }
                }
            }
        }
        if self.state == InputState::Ending {
            // An error means that the other side has closed already.
            let _closed = ready!(Pin::new(socket).poll_shutdown(cx));
            self.state = InputState::Closed;
        }
        Poll::Ready(())
    }

    fn close(&mut self) {
        self.queue.clear();
        self.queued = 0;
        self.state = InputState::Closed;
    }
}
