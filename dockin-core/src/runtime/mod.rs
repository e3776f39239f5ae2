//! Exec, attach, logs and port-forward in one container: the [`Runtime`] port and its adapters.

#[cfg(feature = "gateway")]
pub mod agent;
#[cfg(feature = "docker")]
pub mod docker;
#[cfg(feature = "kube")]
pub mod kube;
#[cfg(feature = "kube")]
mod kube_session;
#[cfg(any(feature = "docker", feature = "process"))]
mod piped;
#[cfg(feature = "process")]
pub mod process;

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use dockin_stream::{Event, StreamSet};
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Error, access::Permit};

/// Header that names the session to an agent, so that both write down the same.
pub const SESSION_HEADER: &str = "dockin-session";
/// Header that names the person to an agent, for its log.
pub const USER_HEADER: &str = "dockin-user";

/// The container's side of a session: yields `Stdout`, `Stderr` and one last `Exit`; takes
/// `Stdin`, `HalfClose`, `Resize` and `Close`.
///
/// The stream ends after `Exit`; an end without it is a lost container, never success.
/// Dropping it ends the session: every process it started is ended within 5 s.
pub trait SessionStream:
    Stream<Item = Result<Event, Error>> + Sink<Event, Error = Error> + Send
{
}

impl<T> SessionStream for T where
    T: Stream<Item = Result<Event, Error>> + Sink<Event, Error = Error> + Send
{
}

/// A boxed [`SessionStream`].
pub type BoxSession = Pin<Box<dyn SessionStream>>;

/// A connection to a port of a pod.
pub trait PortStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> PortStream for T {}

/// Log bytes as they come.
pub type LogStream = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

/// What of a log is wanted; as kubectl's query parameters say it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LogOptions {
    /// Keep sending what comes.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// An RFC 3339 time with nanoseconds and a space before each line.
    pub timestamps: bool,
    /// Not older than so many seconds.
    pub since_seconds: Option<u64>,
    /// The log of the container's run before this one.
    pub previous: bool,
}

/// Runs things in the one container that a permit's target names.
///
/// The target's container is resolved before a call; an adapter that gets none uses the pod's
/// only one.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Runs `argv`.
    ///
    /// # Errors
    ///
    /// `NotFound` without such a container, `Conflict` when it is not running, `Unavailable` when
    /// the runtime does not answer. A program that does not exist is no error here: it is an
    /// `Exit` with 126 or 127 or a failure.
    async fn exec(
        &self,
        permit: &Permit,
        argv: &[String],
        streams: StreamSet,
    ) -> Result<BoxSession, Error>;

    /// Joins the streams of the container's main process.
    ///
    /// # Errors
    ///
    /// As [`exec`](Self::exec).
    async fn attach(&self, permit: &Permit, streams: StreamSet) -> Result<BoxSession, Error>;

    /// Reads what the container's main process printed.
    ///
    /// # Errors
    ///
    /// As [`exec`](Self::exec).
    async fn logs(&self, permit: &Permit, options: LogOptions) -> Result<LogStream, Error>;

    /// Connects to `port` inside the pod's network.
    ///
    /// # Errors
    ///
    /// `Unavailable` when nothing listens there.
    async fn dial(&self, permit: &Permit, port: u16) -> Result<Box<dyn PortStream>, Error>;

    /// Why sessions that are open through it have to end: it is one that is no longer to be spoken
    /// to. Nothing, when there is no such reason.
    async fn ended(&self) -> Option<String> {
        None
    }
}
