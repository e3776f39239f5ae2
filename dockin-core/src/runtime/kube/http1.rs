//! A connection of HTTP/1.1 whose work is done by whoever asks on it.
//!
//! A client's connection is usually a task of its own, to which requests go and from which answers
//! come over channels. It has one request at a time, though, so that its work can as well be done
//! where that request waits: there is nobody to wake, and nothing goes from core to core.

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures::future::poll_fn;
use http::{Request, Response};
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    client::conn::{TrySendError, http1},
    rt::{Read, Write},
};

use crate::service::{Body, BodyError};

/// A connection without a request on it.
// Boxed: it goes from hand to hand, and is large.
pub(super) struct Idle<T: Read + Write + 'static>(Box<Ends<T>>);

struct Ends<T: Read + Write + 'static> {
    sender: http1::SendRequest<Body>,
    connection: http1::Connection<T, Body>,
}

/// Where connections go that another request can use.
pub(super) trait Home<T: Read + Write + 'static>: Send + Sync {
    /// Keeps `idle`, or drops it.
    fn keep(&self, idle: Idle<T>);
}

/// Why there is no answer, and the request where none of it was sent.
pub(super) struct Unanswered {
    pub(super) error: hyper::Error,
    pub(super) unsent: Option<Request<Body>>,
}

/// The body of an answer, which brings its connection home at its end. Dropped before that, it
/// closes the connection: the rest is on its way and cannot be called off.
pub(super) struct Answer<T: Read + Write + 'static> {
    body: Incoming,
    connection: Option<Idle<T>>,
    home: Weak<dyn Home<T>>,
}

impl<T: Read + Write + Send + Unpin + 'static> Idle<T> {
    /// The first request's connection.
    pub(super) async fn open(stream: T) -> hyper::Result<Self> {
        let (sender, connection) = http1::handshake(stream).await?;
        Ok(Self(Box::new(Ends { sender, connection })))
    }

    /// Whether another request can go on it, for all that has arrived.
    pub(super) fn is_usable(&mut self) -> bool {
        // Nobody is to be woken by it while it is idle.
        let mut quiet = Context::from_waker(Waker::noop());
        let Ends { sender, connection } = &mut *self.0;
        let open = Pin::new(connection).poll(&mut quiet).is_pending();
        open && sender.is_ready()
    }

    /// Sends `request`, which has a `Host` and no more than a path and a query, and gives the
    /// answer once its head is there.
    pub(super) async fn send(
        mut self,
        request: Request<Body>,
        home: &Arc<impl Home<T> + 'static>,
    ) -> Result<Response<Answer<T>>, Unanswered> {
        let Ends { sender, connection } = &mut *self.0;
        let mut answer = std::pin::pin!(sender.try_send_request(request));
        let head = poll_fn(|context| {
            // When it ends, the answer is there, or the error.
            let ended = Pin::new(&mut *connection).poll(context).is_ready();
            // It comes by the work of the connection alone, which wakes for both.
            let mut quiet = Context::from_waker(Waker::noop());
            let context = if ended { context } else { &mut quiet };
            answer.as_mut().poll(context)
        });
        let head = head.await?;
        let home: Weak<dyn Home<T>> = Arc::downgrade(&(Arc::clone(home) as Arc<dyn Home<T>>));
        Ok(head.map(|body| {
            let mut answer = Answer {
                body,
                connection: Some(self),
                home,
            };
            answer.go_home_at_end();
            answer
        }))
    }
}

impl From<TrySendError<Request<Body>>> for Unanswered {
    fn from(mut failed: TrySendError<Request<Body>>) -> Self {
        Self {
            unsent: failed.take_message(),
            error: failed.into_error(),
        }
    }
}

impl<T: Read + Write + Send + Unpin + 'static> Answer<T> {
    fn go_home_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.go_home();
        }
    }

    fn go_home(&mut self) {
        let Some(mut idle) = self.connection.take() else {
            return;
        };
        // A request whose body is not yet sent keeps it from being used again.
        if idle.is_usable()
            && let Some(home) = self.home.upgrade()
        {
            home.keep(idle);
        }
    }
}

impl<T: Read + Write + Send + Unpin + 'static> HttpBody for Answer<T> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut quiet = Context::from_waker(Waker::noop());
        let mut polled = Pin::new(&mut self.body).poll_frame(&mut quiet);
        if polled.is_pending() {
            let ended = match &mut self.connection {
                Some(idle) => Pin::new(&mut idle.0.connection).poll(context).is_ready(),
                None => true,
            };
            if ended {
                self.connection = None;
            }
            let context = if ended { context } else { &mut quiet };
            polled = Pin::new(&mut self.body).poll_frame(context);
        }
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.go_home_at_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.go_home();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.connection = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
