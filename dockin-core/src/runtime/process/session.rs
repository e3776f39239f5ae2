use std::{
    future::Future,
    io::{self, PipeReader, PipeWriter},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    pin::{Pin, pin},
    process::Stdio,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use dockin_stream::{Event, ExitStatus, OutputStream, StreamSet, TerminalSize};
use futures::{Sink, Stream};
use pty_process::{OwnedReadPty, OwnedWritePty, Size};
use rustix::fs::{Gid, Uid, fchown};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe::{Receiver, Sender},
    process::Command,
    time::{Sleep, sleep},
};

use super::sandbox::{EXEC, sandbox_user};
use crate::{Error, ErrorKind, reaper::SessionGuard};

/// Bytes a read may bring, and so the largest output event.
const READ_SIZE: usize = 64 * 1024;
/// Room below which a new buffer is made instead of reading in small pieces.
const READ_LOW: usize = 16 * 1024;
/// How long output may go on after the command has ended but a process it left behind still holds
/// the stream; container engines wait as bounded.
const DRAIN: Duration = Duration::from_secs(2);
/// End of transmission, what a terminal turns into the end of its input.
const VEOF: &[u8] = &[4];

/// What to run and where.
pub(super) struct Launch<'a> {
    pub(super) helper: &'a Path,
    /// Process 1 of the sandbox; 0 without one.
    pub(super) pid1: u32,
    pub(super) directory: &'a Path,
    pub(super) environment: Vec<(String, String)>,
    pub(super) argv: &'a [String],
    pub(super) streams: StreamSet,
}

/// A command that runs in the sandbox: polled straight from its pipes or terminal.
pub(super) struct ExecSession {
    input: Input,
    /// What is to be written before the next event is taken.
    pending: Bytes,
    half_close: bool,
    outputs: [Option<Output>; 2],
    /// The output to look at first, so that a busy one does not starve the other.
    first: usize,
    status: Receiver,
    status_text: Vec<u8>,
    /// The helper opens this end by its number in `/proc`: it stays until the helper has, and as
    /// long as it stays the pipe has no end.
    status_writer: Option<PipeWriter>,
    exit: Option<ExitStatus>,
    drain: Option<Pin<Box<Sleep>>>,
    done: bool,
    guard: Option<SessionGuard>,
    /// The end of the helper. When this session is dropped before, tokio reaps it.
    root: Pin<Box<dyn Future<Output = ()> + Send>>,
}

enum Input {
    Pipe(Sender),
    Terminal(OwnedWritePty),
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
    Terminal(OwnedReadPty),
}

impl ExecSession {
    pub(super) fn launch(launch: Launch<'_>, guard: SessionGuard) -> Result<Self, Error> {
        start(launch, guard).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the command cannot be started").with_source(error)
        })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.pending.is_empty() {
            let written = match &mut self.input {
                Input::Pipe(pipe) => ready!(pin!(pipe.write(&self.pending)).poll(cx)),
                Input::Terminal(pty) => ready!(pin!(pty.write(&self.pending)).poll(cx)),
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
                    self.pending = Bytes::from_static(VEOF);
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

    /// Reads `open`, then `exit <code>` or `failed <why>` from the helper.
    fn poll_status(&mut self, cx: &mut Context<'_>) -> Poll<ExitStatus> {
        if self.status_writer.is_some() && self.root.as_mut().poll(cx).is_ready() {
            self.status_writer = None;
        }
        loop {
            let read = ready!(pin!(self.status.read_buf(&mut self.status_text)).poll(cx));
            let text = String::from_utf8_lossy(&self.status_text);
            let text = match text.strip_prefix("open\n") {
                Some(rest) => {
                    self.status_writer = None;
                    rest
                }
                None => text.as_ref(),
            };
            if matches!(read, Ok(read) if read > 0) && !text.ends_with('\n') {
                continue;
            }
            return Poll::Ready(match text.trim_end().split_once(' ') {
                Some(("exit", code)) => code.parse().map_or_else(
                    |_| ExitStatus::internal_error("exit code of the command is not known"),
                    ExitStatus::Exited,
                ),
                Some(("failed", why)) => ExitStatus::internal_error(why),
                _ => ExitStatus::internal_error("the command was ended together with its sandbox"),
            });
        }
    }
}

impl Stream for ExecSession {
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
            let status = ready!(this.poll_status(cx));
            this.exit = Some(status);
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
impl Sink<Event> for ExecSession {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_write(cx).map(Ok)
    }

    fn start_send(mut self: Pin<&mut Self>, event: Event) -> Result<(), Error> {
        match event {
            Event::Stdin(bytes) => self.pending = bytes,
            Event::HalfClose => self.half_close = true,
            Event::Resize(size) => {
                if let Input::Terminal(pty) = &self.input {
                    resize(pty, size)?;
                }
            }
            Event::Close => {
                self.input = Input::Closed;
                self.guard = None;
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
    fn pipe(stream: OutputStream, pipe: Receiver) -> Self {
        Self {
            stream,
            source: Source::Pipe(pipe),
            buffer: BytesMut::new(),
        }
    }

    /// The next bytes; `None` at the end. A terminal's end is an error of input and output.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.buffer.capacity() < READ_LOW {
            self.buffer = BytesMut::with_capacity(READ_SIZE);
        }
        // Both reads are safe to drop and to begin again.
        let read = match &mut self.source {
            Source::Pipe(pipe) => ready!(pin!(pipe.read_buf(&mut self.buffer)).poll(cx)),
            Source::Terminal(pty) => ready!(pin!(pty.read_buf(&mut self.buffer)).poll(cx)),
        };
        Poll::Ready(match read {
            Ok(read) if read > 0 => Some(self.buffer.split().freeze()),
            _ => None,
        })
    }
}

fn start(launch: Launch<'_>, guard: SessionGuard) -> io::Result<ExecSession> {
    let streams = launch.streams.normalized();
    let (status, status_writer) = pipe()?;
    let mut command = Command::new(launch.helper);
    command
        .arg(EXEC)
        .arg(std::process::id().to_string())
        .arg(status_writer.as_raw_fd().to_string())
        .arg(launch.pid1.to_string())
        .arg(launch.directory)
        .arg(if streams.tty { "tty" } else { "pipe" })
        .args(launch.argv)
        .env_clear()
        .envs(launch.environment)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());

    let mut input = Input::Closed;
    let mut outputs = [None, None];
    if streams.tty {
        let (pty, pts) = pty_process::open().map_err(io::Error::other)?;
        pty.resize(Size::new(24, 80)).map_err(io::Error::other)?;
        own(pts.as_fd())?;
        command
            .stdin(clone(&pts)?)
            .stdout(clone(&pts)?)
            .stderr(clone(&pts)?);
        let (reader, writer) = pty.into_split();
        if streams.stdin {
            input = Input::Terminal(writer);
        }
        outputs = [
            Some(Output {
                stream: OutputStream::Stdout,
                source: Source::Terminal(reader),
                buffer: BytesMut::new(),
            }),
            None,
        ];
    } else {
        if streams.stdin {
            let (reader, writer) = pipe()?;
            command.stdin(reader);
            input = Input::Pipe(Sender::from_owned_fd(writer.into())?);
        }
        if streams.stdout {
            let (reader, writer) = pipe()?;
            command.stdout(writer);
            outputs[0] = Some(Output::pipe(OutputStream::Stdout, receiver(reader)?));
        }
        if streams.stderr {
            let (reader, writer) = pipe()?;
            command.stderr(writer);
            outputs[1] = Some(Output::pipe(OutputStream::Stderr, receiver(reader)?));
        }
    }

    let mut root = command.spawn()?;
    // The command's ends of the pipes live in the child only from here on.
    drop(command);
    if let Some(pid) = root.id() {
        guard.add_root(pid);
    }
    let status = receiver(status)?;
    Ok(ExecSession {
        input,
        pending: Bytes::new(),
        half_close: false,
        outputs,
        first: 0,
        status,
        status_text: Vec::new(),
        status_writer: Some(status_writer),
        exit: None,
        drain: None,
        done: false,
        guard: Some(guard),
        root: Box::pin(async move {
            let _ = root.wait().await;
        }),
    })
}

/// A pipe that the sandbox's user may also open by its name in `/proc`, as `/dev/stderr` does.
pub(super) fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    own(reader.as_fd())?;
    Ok((reader, writer))
}

pub(super) fn receiver(reader: PipeReader) -> io::Result<Receiver> {
    Receiver::from_owned_fd(reader.into())
}

fn own(descriptor: impl AsFd) -> io::Result<()> {
    match sandbox_user() {
        Some(user) => Ok(fchown(
            descriptor,
            Some(Uid::from_raw(user)),
            Some(Gid::from_raw(user)),
        )?),
        None => Ok(()),
    }
}

fn clone(descriptor: &impl AsFd) -> io::Result<OwnedFd> {
    descriptor.as_fd().try_clone_to_owned()
}

fn resize(pty: &OwnedWritePty, size: TerminalSize) -> Result<(), Error> {
    // The session may be over at the other end already.
    let _ = pty.resize(Size::new(size.height, size.width));
    Ok(())
}
