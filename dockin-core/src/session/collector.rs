use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use dockin_stream::{
    Event, ExitStatus, Gate, Outcome, Relay, Transferred,
    io::{Keepalive, run_relay},
};
use futures::{Sink, Stream};
use tokio::sync::oneshot::Sender;

use super::Carried;
use crate::runtime::BoxSession;

/// Bytes of output that are kept for an answer; a command that prints more is ended. It stands in
/// memory, and once more as JSON.
pub(crate) const MAX_COLLECTED: usize = 4 * 1024 * 1024;

/// What a command without a terminal and without input said.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// Its standard output.
    pub(crate) stdout: Vec<u8>,
    /// Its standard error, and refusals.
    pub(crate) stderr: Vec<u8>,
    /// How it ended, when that is known.
    pub(crate) status: Option<ExitStatus>,
    /// It printed more than [`MAX_COLLECTED`], and was ended.
    pub(crate) too_much: bool,
}

/// A client's end that keeps what it is told, until whoever waits for it has gone.
struct Collector {
    answer: Sender<Collected>,
    collected: Collected,
    /// Who waits for our end.
    waiting: Option<Waker>,
}

/// Carries a session whose client waits for its end: see [`carry`](super::carry::carry).
pub(super) async fn collect<G, W, F>(
    answer: Sender<Collected>,
    mut container: BoxSession,
    relay: Relay<G>,
    write_down: W,
    stop: impl Future<Output = String> + Send,
) -> Carried
where
    G: Gate + Unpin,
    G::Note: Unpin,
    W: FnMut(G::Note) -> F + Unpin,
    F: Future<Output = Result<(), ExitStatus>>,
{
    let mut collector = Collector {
        answer,
        collected: Collected::default(),
        waiting: None,
    };
    let relayed = {
        let relayed = run_relay(&mut collector, &mut container, relay, write_down);
        tokio::select! {
            relayed = relayed => Ok(relayed),
            why = stop => Err(why),
        }
    };
    drop(container);
    let Collector {
        answer,
        mut collected,
        ..
    } = collector;
    let (outcome, transferred) = relayed.unwrap_or_else(|why| {
        let status = ExitStatus::internal_error(why);
        collected.status = Some(status.clone());
        (Outcome::Stopped(status), Transferred::default())
    });
    // Who asked may have gone.
    let _gone = answer.send(collected);
    Carried {
        outcome,
        transferred,
    }
}

impl Collector {
    fn keep(&mut self, event: Event) {
        let kept = self.collected.stdout.len() + self.collected.stderr.len();
        match event {
            Event::Stdout(bytes) | Event::Stderr(bytes) if bytes.len() > MAX_COLLECTED - kept => {
                self.collected.too_much = true;
                if let Some(waker) = self.waiting.take() {
                    waker.wake();
                }
            }
            Event::Stdout(bytes) => self.collected.stdout.extend_from_slice(&bytes),
            Event::Stderr(bytes) => self.collected.stderr.extend_from_slice(&bytes),
            Event::Exit(status) => self.collected.status = Some(status),
            _ => {}
        }
    }
}

impl Stream for Collector {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.collected.too_much {
            return Poll::Ready(None);
        }
        self.waiting = Some(cx.waker().clone());
        self.answer.poll_closed(cx).map(|()| None)
    }
}

impl Sink<Event> for Collector {
    type Error = Infallible;

    fn poll_ready(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, event: Event) -> Result<(), Infallible> {
        self.keep(event);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

impl Keepalive for Collector {
    // Nobody has to be told: who asked waits.
    fn send_keepalive(&mut self) {}
}
