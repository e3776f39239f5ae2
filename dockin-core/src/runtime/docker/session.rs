use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use dockin_stream::{
    Event, ExitStatus, ProtocolError, StreamSet, TerminalSize,
    docker::{Client, InputEnd},
    io::{Endpoint, EndpointError},
};
use futures::{Sink, Stream};
use tokio::{net::UnixStream, sync::watch};

use super::daemon::Hijacked;
use crate::{Error, ErrorKind};

/// Finds out how the process ended. Polled once its output is over.
pub(super) type Ending = Pin<Box<dyn Future<Output = Result<ExitStatus, Error>> + Send>>;

/// A session over a hijacked connection, without a task of its own.
///
/// ```text
/// Output ──end of stream──▶ Ending ──status known──▶ Done
///    └──────Close, broken frame──────────────────────▲
/// ```
pub(super) struct HijackedSession {
    daemon: Endpoint<UnixStream, Client>,
    phase: Phase,
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

impl HijackedSession {
    pub(super) fn new(
        hijacked: Hijacked,
        wanted: StreamSet,
        end: InputEnd,
        ending: Ending,
        attendant: watch::Sender<Option<TerminalSize>>,
    ) -> Self {
        let codec = Client::new(hijacked.shape, wanted, end);
        Self {
            daemon: Endpoint::new(hijacked.socket, codec, hijacked.early),
            phase: Phase::Output,
            ending,
            attendant: Some(attendant),
        }
    }

    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>, Error>> {
        loop {
            return Poll::Ready(match ready!(Pin::new(&mut self.daemon).poll_next(cx)) {
                // The end of the connection; whether it was a proper one is told next.
                Some(Ok(Event::Close)) => continue,
                Some(Ok(Event::Exit(ExitStatus::Failed(failure)))) => Err(Error::new(
                    ErrorKind::Unavailable,
                    format!("docker ended the stream: {}", failure.message),
                )),
                Some(Ok(event)) => Ok(Some(event)),
                Some(Err(EndpointError::Protocol(ProtocolError::Truncated))) => Err(Error::new(
                    ErrorKind::Unavailable,
                    "docker ended the connection inside a frame",
                )),
                Some(Err(EndpointError::Protocol(error))) => Err(Error::new(
                    ErrorKind::Misbehaved,
                    "docker broke its own format",
                )
                .with_source(error)),
                // The status tells whether the process ended or the daemon went away.
                Some(Err(error)) => {
                    tracing::debug!(%error, "connection to docker broke");
                    Ok(None)
                }
                None => Ok(None),
            });
        }
    }

    /// Ends everything: nothing is read or written any more, and the attendant is told.
    fn finish(&mut self) {
        self.phase = Phase::Done;
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
                Ok(None) => this.phase = Phase::Ending,
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

/// Input for a process that does not read any more is dropped, as a pipe does: its output tells
/// the rest.
impl Sink<Event> for HijackedSession {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.phase == Phase::Output {
            let _gone = ready!(Pin::new(&mut self.daemon).poll_ready(cx));
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, event: Event) -> Result<(), Error> {
        let this = &mut *self;
        match event {
            Event::Resize(size) => {
                if let Some(attendant) = &this.attendant {
                    attendant.send_replace(Some(size));
                }
            }
            Event::Close => this.finish(),
            Event::Stdout(_) | Event::Stderr(_) | Event::Exit(_) => {
                return Err(Error::new(ErrorKind::Misuse, "a container takes no output"));
            }
            event if this.phase == Phase::Output => {
                let _gone = Pin::new(&mut this.daemon).start_send(event);
            }
            _ => {}
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.phase == Phase::Output {
            let _gone = ready!(Pin::new(&mut self.daemon).poll_flush(cx));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.as_mut().poll_flush(cx))?;
        self.finish();
        Poll::Ready(Ok(()))
    }
}
