//! The connections to one apiserver: made when they are needed, kept for the next request.

use std::{
    collections::VecDeque,
    error::Error as StdError,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, Version, header, uri::Authority};
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    client::conn::http2,
    rt::{Read, Write},
};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;
use tower::BoxError;

use super::http1::{Answer, Home, Idle, Unanswered};
use crate::service::{Body, BodyError};

/// Makes connections.
pub(super) trait Dial: Send + Sync + 'static {
    /// What carries bytes.
    type Stream: Read + Write + Send + Unpin + 'static;

    /// A connection that TLS has secured, and whether HTTP/2 was chosen for it.
    fn dial(&self) -> impl Future<Output = Result<(Self::Stream, bool), BoxError>> + Send;
}

/// All connections to one apiserver. HTTP/2 where it chooses that, shared by so many requests;
/// else HTTP/1.1, one request at a time on each.
pub(super) struct Upstreams<D: Dial> {
    dial: D,
    /// Scheme and authority of every request.
    base: Uri,
    host: HeaderValue,
    sweeping: AtomicBool,
    kept: Mutex<Kept<D::Stream>>,
}

struct Kept<T: Read + Write + 'static> {
    /// The longest unused first.
    idle: VecDeque<(Instant, Idle<T>)>,
    shared: Vec<Shared>,
}

/// A connection of HTTP/2.
struct Shared {
    sender: http2::SendRequest<Body>,
    /// As many copies as there are requests, and this one.
    places: Arc<()>,
    used: Instant,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum CarryError {
    /// Nobody was there: nothing was sent.
    Connect(BoxError),
    /// The connection failed or ended before the answer.
    Sent(hyper::Error),
}

/// The body of an answer, with the place of its request.
pub(super) enum AnswerBody<T: Read + Write + 'static> {
    Http1(Answer<T>),
    Http2 { body: Incoming, _place: Arc<()> },
}

/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(60);
/// Connections of HTTP/1.1 that nobody uses.
const MAX_IDLE: usize = 256;
/// Requests on one connection of HTTP/2: what RFC 9113 §6.5.2 advises servers to allow at least.
/// Watches are requests that stay, and one too many would wait for another's end.
const STREAMS: usize = 100;
/// How often a connection of HTTP/2 is tried, so that a dead one is not kept, and how long the
/// answer may take.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// Bytes of a stream and of a connection of HTTP/2 on their way to a reader who is slow.
const WINDOW: (u32, u32) = (1024 * 1024, 4 * 1024 * 1024);

impl<D: Dial> Upstreams<D> {
    /// Connections by `dial` to the scheme and authority of `base`.
    pub(super) fn new(dial: D, base: Uri) -> Result<Arc<Self>, BoxError> {
        let mut parts = base.into_parts();
        let authority = parts.authority.ok_or("the server's URL names no host")?;
        // Who the gateway is goes into `Authorization`, and nowhere else.
        let host = authority.as_str();
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let authority: Authority = host.parse()?;
        let host = HeaderValue::from_str(authority.as_str())?;
        parts.authority = Some(authority);
        Ok(Arc::new(Self {
            dial,
            host,
            base: Uri::from_parts(parts)?,
            sweeping: AtomicBool::new(false),
            kept: Mutex::new(Kept {
                idle: VecDeque::new(),
                shared: Vec::new(),
            }),
        }))
    }

    /// Sends `request`, whose URI is a path and a query, and gives the answer once its head is
    /// there. What could not be sent because a kept connection had ended goes on another.
    pub(super) async fn send(
        self: Arc<Self>,
        mut request: Request<Body>,
    ) -> Result<Response<AnswerBody<D::Stream>>, CarryError> {
        loop {
            let (way, is_new) = match self.kept_way() {
                Some(way) => (way, false),
                None => (self.new_way().await?, true),
            };
            let Unanswered { error, unsent } = match way {
                Way::Http1(idle) => {
                    self.address_http1(&mut request);
                    match idle.send(request, &self).await {
                        Ok(answer) => return Ok(answer.map(AnswerBody::Http1)),
                        Err(failed) => failed,
                    }
                }
                Way::Http2(mut sender, place) => {
                    self.address_http2(&mut request);
                    match sender.try_send_request(request).await {
                        Ok(answer) => {
                            return Ok(answer.map(|body| AnswerBody::Http2 {
                                body,
                                _place: place,
                            }));
                        }
                        Err(failed) => failed.into(),
                    }
                }
            };
            match unsent {
                Some(unsent) if !is_new => request = unsent,
                _ => return Err(CarryError::Sent(error)),
            }
        }
    }

    /// HTTP/1.1 has the path in the first line, and the host among the headers.
    fn address_http1(&self, request: &mut Request<Body>) {
        if request.uri().scheme().is_some() {
            let path = request.uri().path_and_query().cloned();
            *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
        }
        request
            .headers_mut()
            .insert(header::HOST, self.host.clone());
        *request.version_mut() = Version::HTTP_11;
    }

    /// HTTP/2 makes its pseudo-headers of the whole URI.
    fn address_http2(&self, request: &mut Request<Body>) {
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = request.uri().path_and_query().cloned();
        // INVARIANT: the base has a scheme and an authority, and every URI a path.
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        request.headers_mut().remove(header::HOST);
        *request.version_mut() = Version::HTTP_2;
    }

    /// A way over a connection that is there.
    fn kept_way(&self) -> Option<Way<D::Stream>> {
        loop {
            let mut kept = self.kept();
            if let Some(way) = kept.shared_way() {
                return Some(way);
            }
            let (_, mut idle) = kept.idle.pop_back()?;
            // Looking at it may end it, which takes its time.
            drop(kept);
            if idle.is_usable() {
                return Some(Way::Http1(idle));
            }
        }
    }

    /// A way over a new connection, or over one that somebody else has made meanwhile.
    async fn new_way(self: &Arc<Self>) -> Result<Way<D::Stream>, CarryError> {
        let (stream, is_http2) = self.dial.dial().await.map_err(CarryError::Connect)?;
        self.sweep();
        if !is_http2 {
            let idle = Idle::open(stream).await.map_err(CarryError::Sent)?;
            return Ok(Way::Http1(idle));
        }
        if let Some(way) = self.kept().shared_way() {
            return Ok(way);
        }
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1)
            .initial_stream_window_size(WINDOW.0)
            .initial_connection_window_size(WINDOW.1)
            .handshake(stream)
            .await
            .map_err(CarryError::Sent)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to an apiserver ended");
            }
        });
        let shared = Shared {
            sender,
            places: Arc::default(),
            used: Instant::now(),
        };
        let way = Way::Http2(shared.sender.clone(), Arc::clone(&shared.places));
        self.kept().shared.push(shared);
        Ok(way)
    }

    /// Has unused connections closed from now on.
    fn sweep(self: &Arc<Self>) {
        if self.sweeping.swap(true, Ordering::Relaxed) {
            return;
        }
        let swept = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(IDLE / 4).await;
                let Some(swept) = swept.upgrade() else { return };
                let unused = swept.kept().unused(Instant::now());
                drop(unused);
            }
        });
    }

    fn kept(&self) -> MutexGuard<'_, Kept<D::Stream>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Dial> Home<D::Stream> for Upstreams<D> {
    fn keep(&self, idle: Idle<D::Stream>) {
        let mut kept = self.kept();
        kept.idle.push_back((Instant::now(), idle));
        let oldest = match kept.idle.len() > MAX_IDLE {
            true => kept.idle.pop_front(),
            false => None,
        };
        drop(kept);
        drop(oldest);
    }
}

impl<T: Read + Write + 'static> Kept<T> {
    /// A way over a connection of HTTP/2 that has room.
    fn shared_way(&mut self) -> Option<Way<T>> {
        self.shared.retain(|shared| !shared.sender.is_closed());
        // The first that has room, so that those behind it are left in the end.
        let mut with_room = self.shared.iter_mut();
        let shared = with_room.find(|shared| Arc::strong_count(&shared.places) <= STREAMS)?;
        shared.used = Instant::now();
        let place = Arc::clone(&shared.places);
        Some(Way::Http2(shared.sender.clone(), place))
    }

    /// Takes out what nobody has used for so long.
    fn unused(&mut self, now: Instant) -> (Vec<Idle<T>>, Vec<Shared>) {
        let is_old = |since: Instant| now.saturating_duration_since(since) >= IDLE;
        let old = self.idle.iter().take_while(|(since, _)| is_old(*since));
        let old = old.count();
        let idle = self.idle.drain(..old).map(|(_, idle)| idle).collect();
        let shared = self.shared.extract_if(.., |shared| {
            Arc::strong_count(&shared.places) == 1 && is_old(shared.used)
        });
        (idle, shared.collect())
    }
}

/// A connection for one request.
enum Way<T: Read + Write + 'static> {
    Http1(Idle<T>),
    Http2(http2::SendRequest<Body>, Arc<()>),
}

impl CarryError {
    /// Whether nothing was sent, because there was nobody to send it to.
    pub(super) const fn never_connected(&self) -> bool {
        matches!(self, Self::Connect(_))
    }
}

impl fmt::Display for CarryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(_) => f.write_str("no connection"),
            Self::Sent(_) => f.write_str("the connection ended before the answer"),
        }
    }
}

impl StdError for CarryError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Connect(error) => Some(&**error),
            Self::Sent(error) => Some(error),
        }
    }
}

impl<T: Read + Write + Send + Unpin + 'static> HttpBody for AnswerBody<T> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Http1(answer) => Pin::new(answer).poll_frame(context),
            Self::Http2 { body, .. } => {
                let frame = ready!(Pin::new(body).poll_frame(context));
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(answer) => answer.is_end_stream(),
            Self::Http2 { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(answer) => answer.size_hint(),
            Self::Http2 { body, .. } => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests;
