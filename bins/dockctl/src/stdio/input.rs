use std::{
    future::Future,
    io,
    os::fd::BorrowedFd,
    pin::pin,
    task::{Context, Poll, ready},
    thread,
};

use bytes::{Bytes, BytesMut};
use rustix::{
    buffer::spare_capacity,
    event::PollFlags,
    fs::OFlags,
    io::{Errno, read},
};
use tokio::{io::AsyncReadExt as _, net::unix::pipe, sync::mpsc};

use super::{CHUNK, DEPTH, reopen, wait};
use crate::failure::Failure;

/// What is typed or piped in.
#[derive(Debug)]
pub(crate) enum Input {
    /// From a thread, or from another part of this program.
    Chunks(mpsc::Receiver<Bytes>),
    /// Read when there is something to read.
    Awaited {
        /// A pipe or a terminal of our own.
        source: pipe::Receiver,
        /// Where the next chunk goes.
        buffer: BytesMut,
    },
}

/// Room below which a new buffer is made instead of reading in small pieces.
const READ_LOW: usize = 16 * 1024;

impl Input {
    /// Standard input.
    pub(crate) fn stdin() -> Result<Self, Failure> {
        let stdin = rustix::stdio::stdin();
        let reopened = reopen(stdin, OFlags::RDONLY);
        // A terminal reads like a pipe.
        if let Some(Ok(source)) = reopened.map(pipe::Receiver::from_owned_fd_unchecked) {
            let buffer = BytesMut::new();
            return Ok(Self::Awaited { source, buffer });
        }
        thread_reads(stdin).map(Self::Chunks)
    }

    /// The next chunk; `None` at the end.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let (source, buffer) = match self {
            Self::Chunks(chunks) => return chunks.poll_recv(cx),
            Self::Awaited { source, buffer } => (source, buffer),
        };
        if buffer.capacity() < READ_LOW {
            *buffer = BytesMut::with_capacity(CHUNK);
        }
        // Safe to drop and to begin again.
        Poll::Ready(match ready!(pin!(source.read_buf(buffer)).poll(cx)) {
            Ok(count) if count > 0 => Some(buffer.split().freeze()),
            // The terminal that hung up, like the pipe at its end.
            Ok(_) | Err(_) => None,
        })
    }
}

impl From<mpsc::Receiver<Bytes>> for Input {
    fn from(chunks: mpsc::Receiver<Bytes>) -> Self {
        Self::Chunks(chunks)
    }
}

/// Reads until the end, which closes the channel.
///
/// The thread is never waited for: it may hang in a read that nobody can interrupt, and ends with
/// the process.
fn thread_reads(source: BorrowedFd<'static>) -> Result<mpsc::Receiver<Bytes>, Failure> {
    let (sender, receiver) = mpsc::channel(DEPTH);
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            while let Ok(Some(chunk)) = read_chunk(source) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{io::Write as _, os::fd::AsFd};

    use bytes::BytesMut;
    use rustix::fs::OFlags;
    use tokio::net::unix::pipe;

    use super::{Input, read_chunk, reopen};

    #[test]
    fn the_end_of_input_is_no_chunk() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"abc").unwrap();
        drop(writer);
        assert_eq!(read_chunk(reader.as_fd()).unwrap().unwrap(), "abc");
        assert!(read_chunk(reader.as_fd()).unwrap().is_none());
    }

    #[tokio::test]
    async fn an_awaited_pipe_gives_chunks_and_its_end_and_stays_blocking_for_others() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let own = reopen(reader.as_fd(), OFlags::RDONLY).unwrap();
        let mut input = Input::Awaited {
            source: pipe::Receiver::from_owned_fd_unchecked(own).unwrap(),
            buffer: BytesMut::new(),
        };
        let flags = rustix::fs::fcntl_getfl(&reader).unwrap();
        assert!(!flags.contains(OFlags::NONBLOCK));
        writer.write_all(b"abc").unwrap();
        let mut next = async || std::future::poll_fn(|cx| input.poll_chunk(cx)).await;
        assert_eq!(next().await.unwrap(), "abc");
        writer.write_all(b"d").unwrap();
        drop(writer);
        assert_eq!(next().await.unwrap(), "d");
        assert_eq!(next().await, None);
    }
}
