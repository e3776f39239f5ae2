//! Answers that are given for long: watches, followed logs, whatever a proxied service streams. Each
//! ends, for its client with an error, when what it stands on is taken away.

use std::{
    collections::HashMap,
    mem,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use dockin_policy::access::Attributes;
use futures::task::AtomicWaker;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use jiff::Timestamp;

use super::{Call, limits::OpenRequest};
use crate::{
    Error, ErrorKind,
    runtime::Runtime,
    service::{Body, BodyError},
};

/// The answers that are being given, but for those that are there at once and in one piece: they
/// cost nothing for it.
#[derive(Default)]
pub(super) struct LongAnswers {
    open: Mutex<HashMap<u64, Arc<OpenAnswer>>>,
    next: AtomicU64,
}

/// To what request an answer is given.
pub(super) struct Asked {
    pub(super) call: Call,
    /// When it was asked.
    pub(super) since: Timestamp,
    pub(super) wanted: Attributes,
    /// What runs the pod that is read from.
    pub(super) runtime: Option<Arc<dyn Runtime>>,
}

/// An answer that is being given.
pub(super) struct OpenAnswer {
    pub(super) asked: Asked,
    entered: Instant,
    why: OnceLock<String>,
    body: AtomicWaker,
}

/// How long an answer is given before it counts as a long one.
const SHORT: Duration = Duration::from_millis(500);

impl LongAnswers {
    /// The answer `body` to what was `asked`, which keeps its `place` until it has ended.
    pub(super) fn give(self: &Arc<Self>, body: Body, asked: Asked, place: OpenRequest) -> Body {
        let answer = Answer {
            body,
            answers: Arc::clone(self),
            state: State::Fresh(asked),
            _place: place,
        };
        answer.boxed_unsync()
    }

    /// The answers that are long ones by now.
    pub(super) fn here(&self) -> Vec<Arc<OpenAnswer>> {
        let open = self.open();
        let long = open.values().filter(|one| one.entered.elapsed() >= SHORT);
        long.cloned().collect()
    }

    fn enter(&self, asked: Asked) -> (u64, Arc<OpenAnswer>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let answer = Arc::new(OpenAnswer {
            asked,
            entered: Instant::now(),
            why: OnceLock::new(),
            body: AtomicWaker::new(),
        });
        self.open().insert(id, Arc::clone(&answer));
        (id, answer)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<OpenAnswer>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenAnswer {
    /// Ends the answer; says whether nobody has before.
    pub(super) fn order(&self, why: String) -> bool {
        let first = self.why.set(why).is_ok();
        self.body.wake();
        first
    }
}

/// The body of an answer.
struct Answer {
    body: Body,
    answers: Arc<LongAnswers>,
    state: State,
    _place: OpenRequest,
}

enum State {
    /// Nothing of it was given yet.
    Fresh(Asked),
    /// A piece of it was given.
    Begun(Asked),
    Entered(u64, Arc<OpenAnswer>),
    /// It was ended.
    Over,
}

impl Answer {
    /// Enters the answer where it can be ended when it has to wait, or comes in pieces, unless it
    /// is there.
    fn went_on(&mut self, is_waiting: bool, context: &Context<'_>) {
        self.state = match mem::replace(&mut self.state, State::Over) {
            State::Fresh(asked) if !is_waiting => State::Begun(asked),
            State::Fresh(asked) | State::Begun(asked) => {
                let (id, open) = self.answers.enter(asked);
                open.body.register(context.waker());
                State::Entered(id, open)
            }
            state => state,
        };
    }

    fn leave(&mut self) {
        if let State::Entered(id, _) = mem::replace(&mut self.state, State::Over) {
            self.answers.open().remove(&id);
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &self.state {
            State::Fresh(_) | State::Begun(_) => {}
            State::Entered(_, open) => {
                // First the waker: what is ordered in between wakes it.
                open.body.register(context.waker());
                if let Some(why) = open.why.get() {
                    let message = format!("the answer was ended: {why}");
                    self.leave();
                    let error = Error::new(ErrorKind::Unauthenticated, message);
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
            State::Over => return Poll::Ready(None),
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if !matches!(polled, Poll::Ready(None)) {
            self.went_on(polled.is_pending(), context);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use std::{net::SocketAddr, sync::Arc, time::Duration};

    use bytes::Bytes;
    use dockin_policy::access::Attributes;
    use futures::{StreamExt as _, channel::mpsc, poll};
    use http_body_util::BodyExt as _;
    use jiff::Timestamp;

    use super::{Asked, LongAnswers, SHORT};
    use crate::{
        gateway::{
            Call,
            limits::{Limiter, RequestLimits},
        },
        identity::{Principal, Proof},
        service::{Body, stream_body},
    };

    fn asked() -> Asked {
        Asked {
            call: Call {
                principal: Arc::new(Principal::new("alice", Vec::new(), Proof::Session)),
                client: SocketAddr::from(([192, 0, 2, 1], 4000)),
                kubectl: None,
                spdy: false,
            },
            since: Timestamp::now(),
            wanted: Attributes::default(),
            runtime: None,
        }
    }

    /// A body to which `send` gives what it has, and which ends with it.
    fn body() -> (mpsc::UnboundedSender<Bytes>, Body) {
        let (send, receive) = mpsc::unbounded();
        (send, stream_body(receive.map(Ok)))
    }

    #[tokio::test]
    async fn what_is_there_at_once_is_never_entered_and_gives_its_place_back() {
        let (answers, limiter) = (Arc::<LongAnswers>::default(), limiter());
        let (send, body) = body();
        send.unbounded_send(Bytes::from_static(b"all")).unwrap();
        drop(send);
        let place = limiter.open("alice", "c").unwrap();
        assert!(limiter.open("alice", "c").is_err());
        let given = answers.give(body, asked(), place).collect().await.unwrap();
        assert_eq!(given.to_bytes(), "all");
        assert_eq!(answers.next.load(std::sync::atomic::Ordering::Relaxed), 0);
        assert!(limiter.open("alice", "c").is_ok());
    }

    #[tokio::test]
    async fn one_that_waits_ends_with_an_error_when_it_is_told_to() {
        let (answers, limiter) = (Arc::<LongAnswers>::default(), limiter());
        let (send, body) = body();
        let place = limiter.open("alice", "c").unwrap();
        let mut body = answers.give(body, asked(), place);
        assert!(poll!(body.frame()).is_pending());
        assert!(answers.here().is_empty(), "it has not waited for long");
        tokio::time::sleep(SHORT + Duration::from_millis(10)).await;
        send.unbounded_send(Bytes::from_static(b"one")).unwrap();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "one");

        let reader = tokio::spawn(async move { (body.frame().await, body.frame().await) });
        tokio::task::yield_now().await;
        let long = answers.here();
        assert_eq!(long.len(), 1);
        assert!(long[0].order("its token was revoked".to_owned()));
        assert!(!long[0].order("its account is gone".to_owned()));
        let (ended, after) = reader.await.unwrap();
        let error = ended.unwrap().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the answer was ended: its token was revoked"
        );
        assert!(after.is_none());
        assert!(answers.open().is_empty());
        assert!(limiter.open("alice", "c").is_ok());
    }

    #[tokio::test]
    async fn one_that_always_has_more_ends_too() {
        let (answers, limiter) = (Arc::<LongAnswers>::default(), limiter());
        let endless = futures::stream::repeat_with(|| Ok(Bytes::from_static(b"more")));
        let place = limiter.open("alice", "c").unwrap();
        let mut body = answers.give(stream_body(endless), asked(), place);
        for _ in 0..2 {
            assert!(body.frame().await.unwrap().is_ok());
        }
        tokio::time::sleep(SHORT + Duration::from_millis(10)).await;
        assert!(answers.here()[0].order("its token was revoked".to_owned()));
        assert!(body.frame().await.unwrap().is_err());
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn one_that_its_client_leaves_is_forgotten() {
        let (answers, limiter) = (Arc::<LongAnswers>::default(), limiter());
        let (_send, body) = body();
        let place = limiter.open("alice", "c").unwrap();
        let mut body = answers.give(body, asked(), place);
        assert!(poll!(body.frame()).is_pending());
        assert_eq!(answers.open().len(), 1);
        drop(body);
        assert!(answers.open().is_empty());
    }

    fn limiter() -> Limiter {
        Limiter::new(RequestLimits {
            open: 1,
            ..RequestLimits::default()
        })
    }
}
