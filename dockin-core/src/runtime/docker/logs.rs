use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use hyper::body::{Body, Incoming};

use super::{catalog::Found, daemon::Daemon, demux::Demux};
use crate::{
    Error, ErrorKind,
    runtime::{LogOptions, LogStream},
};

/// Opens the log of a container: both outputs, in the order in which they were written.
pub(super) async fn logs(
    daemon: &Daemon,
    found: &Found,
    options: LogOptions,
) -> Result<LogStream, Error> {
    let mut path = format!(
        "/containers/{}/logs?stdout=1&stderr=1&follow={}&timestamps={}",
        found.id,
        u8::from(options.follow),
        u8::from(options.timestamps),
    );
    if let Some(lines) = options.tail {
        path.push_str(&format!("&tail={lines}"));
    }
    if let Some(seconds) = options.since_seconds {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        path.push_str(&format!("&since={}", now.saturating_sub(seconds)));
    }
    let response = daemon
        .stream(&path)
        .await
        .map_err(|error| found.explain(error))?;
    let demux = Demux::new(found.tty, BytesMut::new());
    Ok(Box::pin(LogBody {
        body: response.into_body(),
        demux,
        over: false,
    }))
}

struct LogBody {
    body: Incoming,
    demux: Demux,
    over: bool,
}

impl Stream for LogBody {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        loop {
            match this.demux.next() {
                Ok(Some((_, bytes))) => return Poll::Ready(Some(Ok(bytes))),
                Ok(None) => {}
                Err(error) => {
                    this.over = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            match std::task::ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        this.demux.push(bytes);
                    }
                }
                None if this.demux.may_end() => {
                    this.over = true;
                    return Poll::Ready(None);
                }
                None => {
                    this.over = true;
                    let text = "docker ended the log inside a frame";
                    return Poll::Ready(Some(Err(Error::new(ErrorKind::Unavailable, text))));
                }
                Some(Err(error)) => {
                    this.over = true;
                    let text = "lost the connection to docker inside the log";
                    let error = Error::new(ErrorKind::Unavailable, text).with_source(error);
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}
