use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use dockin_stream::{Event, OutputStream, StreamSet};
use futures::{Sink, Stream, stream};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::main_process::MainEvent;
use crate::Error;

/// The main process's output from now on. Its standard input is not open, so what is sent is
/// dropped; a client that is too slow loses output rather than stopping the pod.
pub(super) struct AttachSession {
    events: Pin<Box<dyn Stream<Item = MainEvent> + Send>>,
    streams: StreamSet,
}

impl AttachSession {
    pub(super) fn new(events: Receiver<MainEvent>, streams: StreamSet) -> Self {
        let events = stream::unfold(events, |mut events| async move {
            loop {
                match events.recv().await {
                    Ok(event) => return Some((event, events)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        Self {
            events: Box::pin(events),
            streams: streams.normalized(),
        }
    }
}

impl Stream for AttachSession {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            return Poll::Ready(match ready!(self.events.as_mut().poll_next(cx)) {
                Some(MainEvent::Output(stream, bytes)) => {
                    let wanted = match stream {
                        OutputStream::Stdout => self.streams.stdout,
                        OutputStream::Stderr => self.streams.stderr,
                    };
                    if !wanted {
                        continue;
                    }
                    Some(Ok(stream.event(bytes)))
                }
                Some(MainEvent::Exit(status)) => {
                    self.events = Box::pin(stream::empty());
                    Some(Ok(Event::Exit(status)))
                }
                None => None,
            });
        }
    }
}

impl Sink<Event> for AttachSession {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, event: Event) -> Result<(), Error> {
        if event == Event::Close {
            self.events = Box::pin(stream::empty());
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }
}
