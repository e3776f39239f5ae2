//! A session over descriptors of our own: the command's pipes, or its terminal, polled straight.

use std::{
    future::Future,
    io::{self, PipeReader, PipeWriter},
    os::fd::{AsFd, OwnedFd},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use dockin_stream::{Event, ExitStatus, OutputStream, StreamSet, TerminalSize};
use futures::{Sink, Stream};
use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    termios::{Winsize, tcsetwinsize},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, unix::AsyncFd},
    net::unix::pipe::{Receiver, Sender},
    time::{Sleep, sleep},
};

use crate::{Error, ErrorKind, reaper::SessionGuard};

/// Bytes a read may bring, and so the largest output event.
const READ_SIZE: usize = 64 * 1024;
/// Room below which a new buffer is made instead of reading in small pieces.
const READ_LOW: usize = 16 * 1024;
/// Bytes a terminal gives at most in one read.
const TERMINAL_READ: usize = 4096;
/// Bytes a pipe should hold: four times the kernel's default, so that fewer turns move the same.
const PIPE_SIZE: usize = 256 * 1024;
/// How long output may go on after the command has ended but a process it left behind still holds
/// the stream; container engines wait as bounded.
const DRAIN: Duration = Duration::from_secs(2);
/// End of transmission, what a terminal turns into the end of its input. Behind an unfinished
/// line the first one only hands the line over.
const VEOF: &[u8] = &[4, 4];

/// Tells how the command ended. Polled while there is no output.
pub(super) type Ending = Pin<Box<dyn Future<Output = ExitStatus> + Send>>;

/// Our ends of what a command was started with.
pub(super) struct OwnEnds {
    input: Input,
    outputs: [Option<Output>; 2],
}

/// The command's ends: standard input, output and error. `None` is nothing at all.
pub(super) struct TheirEnds {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

/// A command that runs: polled straight from its pipes or terminal, without a task of its own.
pub(super) struct PipedSession {
    input: Input,
    /// What is to be written before the next event is taken.
    pending: Bytes,
    half_close: bool,
    /// Whether the last byte of input ended a line.
    at_line_start: bool,
    outputs: [Option<Output>; 2],
    /// The output to look at first, so that a busy one does not starve the other.
    first: usize,
    ending: Ending,
    exit: Option<ExitStatus>,
    drain: Option<Pin<Box<Sleep>>>,
    done: bool,
    guard: Option<SessionGuard>,
}

enum Input {
    Pipe(Sender),
    Terminal(Terminal),
    /// Not asked for, at its end, or the command has closed it: what comes is dropped.
    Closed,
}

struct Output {
    stream: OutputStream,
    source: Source,
    buffer: BytesMut,
}

enum Source {
    Pipe(Receiver),
    Terminal(Terminal),
}

/// Our side of a pseudo-terminal.
struct Terminal(AsyncFd<OwnedFd>);

impl OwnEnds {
    /// A pipe for every stream of `streams`, and the command's ends of them. `prepare` gets each
    /// of the latter first.
    pub(super) fn pipes(
        streams: StreamSet,
        prepare: impl Fn(&OwnedFd) -> io::Result<()>,
    ) -> io::Result<(Self, TheirEnds)> {
        let theirs = |end: OwnedFd| prepare(&end).map(|()| Some(end));
        let mut own = Self {
            input: Input::Closed,
            outputs: [None, None],
        };
        let (mut stdin, mut stdout, mut stderr) = (None, None, None);
        if streams.stdin {
            let (reader, writer) = large_pipe()?;
            stdin = theirs(reader.into())?;
            own.input = Input::Pipe(Sender::from_owned_fd(writer.into())?);
        }
        if streams.stdout {
            let (reader, writer) = large_pipe()?;
            stdout = theirs(writer.into())?;
            own.outputs[0] = Some(Output::pipe(OutputStream::Stdout, reader)?);
        }
        if streams.stderr {
            let (reader, writer) = large_pipe()?;
            stderr = theirs(writer.into())?;
            own.outputs[1] = Some(Output::pipe(OutputStream::Stderr, reader)?);
        }
        let theirs = TheirEnds {
            stdin,
            stdout,
            stderr,
        };
        Ok((own, theirs))
    }

    /// Our side of a terminal, 24 by 80 until the first [`Event::Resize`].
    pub(super) fn terminal(streams: StreamSet, controller: &OwnedFd) -> io::Result<Self> {
        let reader = Terminal::new(controller)?;
        reader.resize(TerminalSize {
            width: 80,
            height: 24,
        });
        let input = if streams.stdin {
            Input::Terminal(Terminal::new(controller)?)
        } else {
            Input::Closed
        };
        let output = Output {
            stream: OutputStream::Stdout,
            source: Source::Terminal(reader),
            buffer: BytesMut::new(),
        };
        Ok(Self {
            input,
            outputs: [Some(output), None],
        })
    }
}

impl PipedSession {
    /// The session of a command that was started with the other ends of `own`. Its processes end
    /// with `guard`, which ends with the session.
    pub(super) fn new(own: OwnEnds, ending: Ending, guard: SessionGuard) -> Self {
        Self {
            input: own.input,
            pending: Bytes::new(),
            half_close: false,
            at_line_start: true,
            outputs: own.outputs,
            first: 0,
            ending,
            exit: None,
            drain: None,
            done: false,
            guard: Some(guard),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.pending.is_empty() {
            let written = match &mut self.input {
                Input::Pipe(pipe) => ready!(pin!(pipe.write(&self.pending)).poll(cx)),
                Input::Terminal(terminal) => ready!(pin!(terminal.write(&self.pending)).poll(cx)),
                Input::Closed => Ok(self.pending.len()),
            };
            match written {
                Ok(written) if written > 0 => self.pending.advance(written),
                // It reads no more. That is its right, as with any pipe.
                Ok(_) | Err(_) => self.input = Input::Closed,
            }
        }
        if std::mem::take(&mut self.half_close) {
            match self.input {
                Input::Terminal(_) => {
                    let count = if self.at_line_start { 1 } else { 2 };
                    self.pending = Bytes::from_static(VEOF).slice(..count);
                    return self.poll_write(cx);
                }
                Input::Pipe(_) | Input::Closed => self.input = Input::Closed,
            }
        }
        Poll::Ready(())
    }

    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        for index in [self.first, 1 - self.first] {
            let Some(slot) = self.outputs.get_mut(index) else {
                continue;
            };
            let Some(output) = slot else { continue };
            match output.poll_read(cx) {
                Poll::Ready(Some(bytes)) => {
                    self.first = 1 - index;
                    return Poll::Ready(output.stream.event(bytes));
                }
                Poll::Ready(None) => *slot = None,
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }
}

impl Stream for PipedSession {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(None);
        }
        let drained = this
            .drain
            .as_mut()
            .is_some_and(|drain| drain.as_mut().poll(cx).is_ready());
        if !drained && let Poll::Ready(event) = this.poll_output(cx) {
            return Poll::Ready(Some(Ok(event)));
        }
        if this.exit.is_none() {
            this.exit = Some(ready!(this.ending.as_mut().poll(cx)));
        }
        let open = this.outputs.iter().any(Option::is_some);
        if open && !drained {
            let drain = this.drain.get_or_insert_with(|| Box::pin(sleep(DRAIN)));
            ready!(drain.as_mut().poll(cx));
        }
        this.done = true;
        Poll::Ready(this.exit.take().map(|status| Ok(Event::Exit(status))))
    }
}

/// Stdin goes to the pipe or terminal. The end of input closes a pipe; a terminal gets `^D`, which
/// counts as the end only at the start of a line and only while it is in line mode.
impl Sink<Event> for PipedSession {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_write(cx).map(Ok)
    }

    fn start_send(mut self: Pin<&mut Self>, event: Event) -> Result<(), Error> {
        match event {
            Event::Stdin(bytes) => {
                if let Some(last) = bytes.last() {
                    self.at_line_start = matches!(last, b'\n' | b'\r');
                }
                self.pending = bytes;
            }
            Event::HalfClose => self.half_close = true,
            Event::Resize(size) => {
                if let Input::Terminal(terminal) = &self.input {
                    terminal.resize(size);
                }
            }
            Event::Close => {
                self.input = Input::Closed;
                self.guard = None;
                self.done = true;
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::Misuse,
                    "output and exit events come from the command, they are not sent to it",
                ));
            }
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_write(cx).map(Ok)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.half_close = true;
        self.poll_write(cx).map(Ok)
    }
}

impl Output {
    fn pipe(stream: OutputStream, reader: PipeReader) -> io::Result<Self> {
        Ok(Self {
            stream,
            source: Source::Pipe(Receiver::from_owned_fd(reader.into())?),
            buffer: BytesMut::new(),
        })
    }

    /// The next bytes; `None` at the end. A terminal's end is an error of input and output.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.buffer.capacity() < READ_LOW {
            self.buffer = BytesMut::with_capacity(READ_SIZE);
        }
        // Both reads are safe to drop and to begin again.
        let read = match &mut self.source {
            Source::Pipe(pipe) => ready!(pin!(pipe.read_buf(&mut self.buffer)).poll(cx)),
            Source::Terminal(terminal) => {
                ready!(pin!(terminal.read_buf(&mut self.buffer)).poll(cx))
            }
        };
        Poll::Ready(match read {
            Ok(read) if read > 0 => Some(self.buffer.split().freeze()),
            _ => None,
        })
    }
}

impl Terminal {
    fn new(controller: &OwnedFd) -> io::Result<Self> {
        let controller = controller.try_clone()?;
        fcntl_setfl(&controller, fcntl_getfl(&controller)? | OFlags::NONBLOCK)?;
        watch(controller).map(Self)
    }

    fn resize(&self, size: TerminalSize) {
        let size = Winsize {
            ws_row: size.height,
            ws_col: size.width,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // The session may be over at the other end already.
        let _gone = tcsetwinsize(self.0.as_fd(), size);
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            let room = buffer.initialize_unfilled_to(TERMINAL_READ.min(buffer.remaining()));
            match ready.try_io(|terminal| Ok(rustix::io::read(terminal, room)?)) {
                Ok(read) => {
                    buffer.advance(read?);
                    return Poll::Ready(Ok(()));
                }
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            let written = ready.try_io(|terminal| Ok(rustix::io::write(terminal, bytes)?));
            if let Ok(written) = written {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Lets tokio tell when `descriptor` is ready.
#[expect(
    deprecated,
    reason = "its fault is with types that give another descriptor later or close theirs early; \
              an `OwnedFd` does neither, and the replacement is unsafe to call"
)]
pub(super) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor)
}

fn large_pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    // A user may be over his share of the kernel's pipe memory; the default size does as well.
    let _smaller = rustix::pipe::fcntl_setpipe_size(&writer, PIPE_SIZE);
    Ok((reader, writer))
}
