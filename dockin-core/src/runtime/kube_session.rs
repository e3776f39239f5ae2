use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use dockin_stream::{
    Event,
    io::{BoxCodec, Endpoint, EndpointError},
};
use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Error, ErrorKind};

/// A session over a kube-apiserver.
///
/// An apiserver passes the end of a connection on, but not every container runtime ends the process
/// with it: containerd 1.6 leaves it running. On a terminal the process can be asked to go, as its
/// person would: by an interrupt and the end of input.
pub(super) struct KubeSession<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    /// `None` only once it is dropped.
    endpoint: Option<Endpoint<S, BoxCodec>>,
    cluster: String,
    /// The process has a terminal that we type into, and is not the container's own.
    takes_keys: bool,
    /// The process has ended, or the connection has.
    over: bool,
}

/// `^C` `^D`.
const GO: &[u8] = b"\x03\x04";
/// How long a process may take to go, and the way to it to be blocked.
const GOODBYE: Duration = Duration::from_secs(2);

impl<S> KubeSession<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    /// A session of `cluster` over `endpoint`. `takes_keys` says that its process has a terminal with
    /// input and should end with the session.
    pub(super) fn new(endpoint: Endpoint<S, BoxCodec>, cluster: &str, takes_keys: bool) -> Self {
        Self {
            endpoint: Some(endpoint),
            cluster: cluster.to_owned(),
            takes_keys,
            over: false,
        }
    }

    fn endpoint(&mut self) -> Result<Pin<&mut Endpoint<S, BoxCodec>>, Error> {
        let endpoint = self.endpoint.as_mut();
        endpoint
            .map(Pin::new)
            .ok_or_else(|| Error::new(ErrorKind::Misuse, "the session is closed"))
    }

    fn broken(&self, error: EndpointError) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!("connection to cluster `{}` broke", self.cluster),
        )
        .with_source(error)
    }
}

impl<S> Stream for KubeSession<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.endpoint()?.poll_next(cx));
        self.over |= !matches!(&item, Some(Ok(event)) if !matches!(event, Event::Exit(_)));
        Poll::Ready(item.map(|item| item.map_err(|error| self.broken(error))))
    }
}

impl<S> Sink<Event> for KubeSession<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let ready = ready!(self.endpoint()?.poll_ready(cx));
        Poll::Ready(ready.map_err(|error| self.broken(error)))
    }

    fn start_send(mut self: Pin<&mut Self>, event: Event) -> Result<(), Error> {
        if matches!(event, Event::Close) && self.takes_keys {
            // Said when the session is dropped, behind the keys.
            return Ok(());
        }
        let sent = self.endpoint()?.start_send(event);
        sent.map_err(|error| self.broken(error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let flushed = ready!(self.endpoint()?.poll_flush(cx));
        Poll::Ready(flushed.map_err(|error| self.broken(error)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let closed = ready!(self.endpoint()?.poll_close(cx));
        Poll::Ready(closed.map_err(|error| self.broken(error)))
    }
}

impl<S> Drop for KubeSession<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    fn drop(&mut self) {
        let Some(mut endpoint) = self.endpoint.take() else {
            return;
        };
        if self.over || !self.takes_keys {
            return;
        }
        // Without a runtime there is nobody left who could say anything.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            let gone = async {
                endpoint.send(Event::Stdin(Bytes::from_static(GO))).await?;
                // A connection that ends now may end before its server has passed the keys on.
                while let Some(event) = endpoint.next().await {
                    if matches!(event?, Event::Exit(_)) {
                        break;
                    }
                }
                Ok::<(), EndpointError>(())
            };
            if let Ok(Err(error)) = tokio::time::timeout(GOODBYE, gone).await {
                tracing::debug!(%error, "terminal not told to end");
            }
            let closed = async {
                endpoint.send(Event::Close).await?;
                endpoint.finish().await
            };
            if let Ok(Err(error)) = tokio::time::timeout(GOODBYE, closed).await {
                tracing::debug!(%error, "session not closed");
            }
        });
    }
}
