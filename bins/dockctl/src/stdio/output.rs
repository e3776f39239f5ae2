use std::{
    io::{self, IoSlice},
    os::fd::{BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    thread,
};

use bytes::{Buf as _, Bytes};
use rustix::{
    event::PollFlags,
    fs::OFlags,
    io::{Errno, write, writev},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{PollSendError, PollSender};

use super::{DEPTH, reopen, wait};
use crate::failure::Failure;

/// Chunks in one gathered write.
const GATHER: usize = 16;

/// One of the process's two outputs.
#[derive(Debug)]
pub(crate) struct Output {
    /// Takes chunks.
    pub(crate) outlet: Outlet,
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
        let waiting = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&waiting);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // The other side may have given up waiting.
                let _unheard = tell.send(write_chunks(fd, receiver, &counter));
            })
            .map_err(|error| Failure::local(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            outlet: Outlet {
                sender: PollSender::new(sender),
                direct: reopen(fd, OFlags::WRONLY).map(Arc::new),
                waiting,
            },
            ended,
        })
    }

    /// Hands over `chunk`, waiting for room.
    pub(crate) async fn send(&mut self, chunk: Bytes) -> Result<(), Failure> {
        let sent = match std::future::poll_fn(|cx| self.outlet.poll_reserve(cx)).await {
            Ok(()) => self.outlet.send_item(chunk),
            Err(error) => Err(error),
        };
        if sent.is_err() {
            return Err(self.failure().await);
        }
        Ok(())
    }

    /// Waits until everything handed over is written.
    pub(crate) async fn finish(mut self) -> Result<(), Failure> {
        self.outlet.sender.close();
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

/// The way to an output. While the thread has nothing to do, short chunks do not pass it: that
/// saves a keystroke's echo two changes of thread.
#[derive(Clone, Debug)]
pub(crate) struct Outlet {
    /// Full while the reader of our output is slow, closed when it went away.
    sender: PollSender<Bytes>,
    /// The output once more, non-blocking; `None` where that cannot be had.
    direct: Option<Arc<OwnedFd>>,
    /// Chunks that the thread has not written yet.
    waiting: Arc<AtomicUsize>,
}

/// Bytes up to which a chunk is written at once: what every pipe takes whole or not at all.
const SHORT: usize = 4096;

impl Outlet {
    /// Waits for room. An error means that nobody reads our output any more.
    pub(crate) fn poll_reserve(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), PollSendError<Bytes>>> {
        self.sender.poll_reserve(cx)
    }

    /// Takes a chunk for which there is room.
    pub(crate) fn send_item(&mut self, mut chunk: Bytes) -> Result<(), PollSendError<Bytes>> {
        if chunk.len() <= SHORT
            && let Some(direct) = &self.direct
            && self.waiting.load(Ordering::Acquire) == 0
        {
            // An error is met again, and told, by the thread.
            let written = write(direct, &chunk).unwrap_or(0);
            chunk.advance(written);
            if chunk.is_empty() {
                return Ok(());
            }
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.sender.send_item(chunk)
    }
}

impl From<mpsc::Sender<Bytes>> for Outlet {
    fn from(sender: mpsc::Sender<Bytes>) -> Self {
        Self {
            sender: PollSender::new(sender),
            direct: None,
            waiting: Arc::default(),
        }
    }
}

fn write_chunks(
    fd: BorrowedFd<'_>,
    mut receiver: mpsc::Receiver<Bytes>,
    waiting: &AtomicUsize,
) -> io::Result<()> {
    let mut chunks = Vec::with_capacity(GATHER);
    while let Some(chunk) = receiver.blocking_recv() {
        chunks.push(chunk);
        while chunks.len() < GATHER
            && let Ok(chunk) = receiver.try_recv()
        {
            chunks.push(chunk);
        }
        write_all(fd, &chunks)?;
        waiting.fetch_sub(chunks.len(), Ordering::Release);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{
        io::Read,
        os::fd::{AsFd, OwnedFd},
        sync::Arc,
        thread,
    };

    use bytes::Bytes;
    use rustix::fs::OFlags;
    use tokio::sync::mpsc;

    use super::{Outlet, reopen, write_all, write_chunks};

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
    fn short_chunks_never_overtake_long_ones() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        let (sender, receiver) = mpsc::channel(1);
        let mut outlet = Outlet::from(sender);
        outlet.direct = reopen(writer.as_fd(), OFlags::WRONLY).map(Arc::new);
        assert!(outlet.direct.is_some());
        let counter = Arc::clone(&outlet.waiting);
        let writing = thread::spawn(move || write_chunks(writer.as_fd(), receiver, &counter));
        let sizes = [1, 100_000, 2, 3, 70_000, 4096, 4097, 1, 1];
        let chunks: Vec<Bytes> = (0_u8..)
            .zip(sizes)
            .map(|(n, size)| vec![n; size].into())
            .collect();
        let expected = chunks.concat();
        let sending = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(async {
                for _ in 0..20 {
                    for chunk in &chunks {
                        std::future::poll_fn(|cx| outlet.poll_reserve(cx))
                            .await
                            .unwrap();
                        outlet.send_item(chunk.clone()).unwrap();
                    }
                }
            });
        });
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        sending.join().unwrap();
        writing.join().unwrap().unwrap();
        assert_eq!(got.len(), expected.len() * 20);
        assert!(got.chunks(expected.len()).all(|round| round == expected));
    }
}
