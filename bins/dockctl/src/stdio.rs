//! Standard input, output and error as channels of byte chunks, each with a thread behind it.
//!
//! Threads and blocking calls, because the alternative is worse: to await a descriptor it has to
//! be non-blocking, and that flag belongs to the open file, so our parent shell and everything
//! else on the same terminal would get it too. A thread also lets pings flow while a reader of
//! ours takes its time. Chunks are handed over without copying, as large as the wire gives them;
//! the bounded channels carry the back-pressure.

use std::{
    io::{self, IoSlice},
    os::fd::BorrowedFd,
    thread,
};

use bytes::Bytes;
use rustix::{
    buffer::spare_capacity,
    event::{PollFd, PollFlags, poll},
    io::{Errno, read, writev},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::PollSender;

use crate::failure::Failure;

/// One read from standard input, bytes: what a pipe holds.
const CHUNK: usize = 64 * 1024;
/// Chunks on their way between a thread and the session.
const DEPTH: usize = 8;
/// Chunks in one gathered write.
const GATHER: usize = 16;

/// Reads standard input until its end, which closes the channel.
///
/// The thread is never waited for: it may hang in a read that nobody can interrupt, and ends with
/// the process.
pub(crate) fn input() -> Result<mpsc::Receiver<Bytes>, Failure> {
    let (sender, receiver) = mpsc::channel(DEPTH);
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            while let Ok(Some(chunk)) = read_chunk(rustix::stdio::stdin()) {
                if sender.blocking_send(chunk).is_err() {
                    return;
                }
            }
        })
        .map_err(|error| Failure::local(format!("cannot start a thread: {error}")))?;
    Ok(receiver)
}

fn read_chunk(fd: BorrowedFd<'_>) -> io::Result<Option<Bytes>> {
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        match read(fd, spare_capacity(&mut chunk)) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(Bytes::from(chunk))),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(fd, PollFlags::IN)?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// One of the process's two outputs.
#[derive(Debug)]
pub(crate) struct Output {
    /// Takes chunks; full while the reader of our output is slow, closed when it went away.
    pub(crate) sender: PollSender<Bytes>,
    /// How the writing ended.
    ended: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    /// Writes to standard output.
    pub(crate) fn stdout() -> Result<Self, Failure> {
        Self::spawn("stdout", rustix::stdio::stdout())
    }

    /// Writes to standard error.
    pub(crate) fn stderr() -> Result<Self, Failure> {
        Self::spawn("stderr", rustix::stdio::stderr())
    }

    fn spawn(name: &str, fd: BorrowedFd<'static>) -> Result<Self, Failure> {
        let (sender, receiver) = mpsc::channel(DEPTH);
        let (tell, ended) = oneshot::channel();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // The other side may have given up waiting.
                let _unheard = tell.send(write_chunks(fd, receiver));
            })
            .map_err(|error| Failure::local(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            sender: PollSender::new(sender),
            ended,
        })
    }

    /// Hands over `chunk`, waiting for room.
    pub(crate) async fn send(&mut self, chunk: Bytes) -> Result<(), Failure> {
        let sent = match std::future::poll_fn(|cx| self.sender.poll_reserve(cx)).await {
            Ok(()) => self.sender.send_item(chunk),
            Err(error) => Err(error),
        };
        if sent.is_err() {
            return Err(self.failure().await);
        }
        Ok(())
    }

    /// Waits until everything handed over is written.
    pub(crate) async fn finish(mut self) -> Result<(), Failure> {
        self.sender.close();
        match (&mut self.ended).await {
            Ok(result) => result.map_err(|error| Failure::output(&error)),
            Err(_) => Err(Failure::local("the writing thread died")),
        }
    }

    /// Why nothing can be handed over any more.
    async fn failure(&mut self) -> Failure {
        match (&mut self.ended).await {
            Ok(Err(error)) => Failure::output(&error),
            Ok(Ok(())) | Err(_) => Failure::broken_pipe(),
        }
    }
}

fn write_chunks(fd: BorrowedFd<'_>, mut receiver: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let mut chunks = Vec::with_capacity(GATHER);
    while let Some(chunk) = receiver.blocking_recv() {
        chunks.push(chunk);
        while chunks.len() < GATHER
            && let Ok(chunk) = receiver.try_recv()
        {
            chunks.push(chunk);
        }
        write_all(fd, &chunks)?;
        chunks.clear();
    }
    Ok(())
}

fn write_all(fd: BorrowedFd<'_>, chunks: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<_> = chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
    let mut slices = slices.as_mut_slice();
    // Leading empty slices would look like a write that goes nowhere.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match writev(fd, slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut slices, count),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(fd, PollFlags::OUT)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits for a descriptor that someone else has made non-blocking.
fn wait(fd: BorrowedFd<'_>, flags: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{io::Read, os::fd::AsFd, thread};

    use bytes::Bytes;

    use super::{read_chunk, write_all};

    #[test]
    fn chunks_pass_a_pipe_smaller_than_they_are() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let chunks: Vec<_> = (0..5_u8).map(|n| Bytes::from(vec![n; 50_000])).collect();
        let expected = chunks.concat();
        let writing = thread::spawn(move || write_all(writer.as_fd(), &chunks).unwrap());
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        writing.join().unwrap();
        assert_eq!(got, expected);
    }

    #[test]
    fn a_reader_that_went_away_is_a_broken_pipe() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let error =
            write_all(writer.as_fd(), &[Bytes::new(), Bytes::from_static(b"x")]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn the_end_of_input_is_no_chunk() {
        let (reader, writer) = std::io::pipe().unwrap();
        write_all(writer.as_fd(), &[Bytes::from_static(b"abc")]).unwrap();
        drop(writer);
        assert_eq!(read_chunk(reader.as_fd()).unwrap().unwrap(), "abc");
        assert!(read_chunk(reader.as_fd()).unwrap().is_none());
    }
}
