use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use thiserror::Error;

use crate::{
    Event, ProtocolError,
    docker::{Demultiplexer, Item, Shape},
};

/// Why a [`DockerLog`] ended badly.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DockerLogError<E> {
    /// The body broke off.
    #[error("body: {0}")]
    Body(#[source] E),
    /// The daemon broke its own format, or the body ended inside a frame.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The daemon says itself that it cannot go on.
    #[error("daemon: {0}")]
    Daemon(String),
}

/// What a Docker daemon's `logs` answers, in the body of an ordinary response: a `Stream` of
/// [`Event::Stdout`] and [`Event::Stderr`] over a `Stream` of the body's bytes.
///
/// Both outputs come in the order in which they were written. Nothing is kept but part of a frame
/// header.
pub struct DockerLog<B> {
    body: B,
    frames: Demultiplexer,
    input: BytesMut,
    over: bool,
}

impl<B> DockerLog<B> {
    /// The log in `body`; `shape` says whether the container has a TTY.
    pub fn new(body: B, shape: Shape) -> Self {
        Self {
            body,
            frames: Demultiplexer::new(shape),
            input: BytesMut::new(),
            over: false,
        }
    }
}

impl<B, E> DockerLog<B>
where
    B: Stream<Item = Result<Bytes, E>> + Unpin,
{
    fn poll_item(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Event>, DockerLogError<E>>> {
        loop {
            match self
                .frames
                .decode(&mut self.input)
                .map_err(ProtocolError::from)?
            {
                Some(Item::Output(stream, bytes)) => {
                    return Poll::Ready(Ok(Some(stream.event(bytes))));
                }
                Some(Item::SystemError(text)) => {
                    return Poll::Ready(Err(DockerLogError::Daemon(text)));
                }
                None => {}
            }
            if self.input.is_empty() {
                // Who waits holds no buffer.
                self.input = BytesMut::new();
            }
            match ready!(Pin::new(&mut self.body).poll_next(cx)) {
                Some(Ok(bytes)) if self.input.is_empty() => {
                    // Copies only when somebody else holds the same allocation.
                    self.input = BytesMut::from(bytes);
                }
                Some(Ok(bytes)) => self.input.extend_from_slice(&bytes),
                Some(Err(error)) => return Poll::Ready(Err(DockerLogError::Body(error))),
                None if self.frames.may_end() => return Poll::Ready(Ok(None)),
                None => return Poll::Ready(Err(ProtocolError::Truncated.into())),
            }
        }
    }
}

impl<B, E> Stream for DockerLog<B>
where
    B: Stream<Item = Result<Bytes, E>> + Unpin,
{
    type Item = Result<Event, DockerLogError<E>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let item = ready!(self.poll_item(cx)).transpose();
        self.over = !matches!(item, Some(Ok(_)));
        Poll::Ready(item)
    }
}

impl<B> fmt::Debug for DockerLog<B> {
    // Half a frame may be part of a secret: it is not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DockerLog")
            .field("frames", &self.frames)
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use std::{convert::Infallible, io};

    use bytes::Bytes;
    use futures::{StreamExt, stream};

    use super::{DockerLog, DockerLogError};
    use crate::{Event, ProtocolError, docker::Shape};

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(future)
    }

    const WIRE: &[u8] = b"\x02\0\0\0\0\0\0\x03one\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x05three";

    fn read(pieces: Vec<Bytes>) -> Vec<Result<Event, DockerLogError<Infallible>>> {
        let body = stream::iter(pieces.into_iter().map(Ok));
        block_on(DockerLog::new(body, Shape::Multiplexed).collect())
    }

    #[test]
    fn outputs_come_apart_in_order_wherever_the_body_is_cut() {
        for step in 1..=WIRE.len() {
            let pieces = WIRE.chunks(step).map(Bytes::copy_from_slice).collect();
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            for event in read(pieces) {
                match event {
                    Ok(Event::Stdout(bytes)) => stdout.extend_from_slice(&bytes),
                    Ok(Event::Stderr(bytes)) => {
                        assert!(stdout.is_empty());
                        stderr.extend_from_slice(&bytes);
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!((&stdout[..], &stderr[..]), (&b"three"[..], &b"one"[..]));
        }
    }

    #[test]
    fn a_log_that_ends_inside_a_frame_or_with_an_error_is_no_whole_log() {
        for cut in [1, 8, 10, 12, WIRE.len() - 1] {
            let last = read(vec![Bytes::copy_from_slice(&WIRE[..cut])]).pop();
            assert!(
                matches!(
                    last,
                    Some(Err(DockerLogError::Protocol(ProtocolError::Truncated)))
                ),
                "{cut}: {last:?}"
            );
        }
        let last = read(vec![Bytes::from_static(b"\x03\0\0\0\0\0\0\x04disk")]).pop();
        assert!(matches!(last, Some(Err(DockerLogError::Daemon(text))) if text == "disk"));
        let last = read(vec![Bytes::from_static(b"\x09\0\0\0\0\0\0\x04disk")]).pop();
        assert!(matches!(
            last,
            Some(Err(DockerLogError::Protocol(ProtocolError::Docker(_))))
        ));
        let body = stream::iter([Err(io::Error::other("reset"))]);
        let mut log = DockerLog::new(body, Shape::Raw);
        let first = block_on(log.next());
        assert!(matches!(first, Some(Err(DockerLogError::Body(_)))));
        assert!(block_on(log.next()).is_none());
    }
}
