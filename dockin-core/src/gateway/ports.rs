use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};

use super::{Call, Cluster, Gateway, STOPPING};
use crate::{
    Error, ErrorKind,
    access::{Permit, Verb},
    runtime::{PortStream, Runtime},
    service::{Body, Dial, port_forward, serve_ports},
    session::idle_message,
};

impl Gateway {
    /// Opens a port-forward session. Each connection in it is written down before it is dialled.
    pub(super) async fn ports(
        self: &Arc<Self>,
        call: Call,
        cluster: &Cluster,
        namespace: &str,
        pod: &str,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let upgrade = port_forward(&request)?;
        let target = self
            .pod_permit(&call, cluster, Verb::PortForward, (namespace, pod))
            .await?;
        let (permit, found) = target;
        let call = Arc::new(call);
        let on_upgrade = hyper::upgrade::on(&mut request);
        let protocol = upgrade.protocol();
        let activity = Activity::begin();
        let runtime = Some(Arc::clone(&found.runtime));
        let dialer = Arc::new(AuditedDialer {
            gateway: Arc::clone(self),
            call: Arc::clone(&call),
            runtime: found.runtime,
            permit: permit.clone(),
            activity: activity.clone(),
        });
        let gateway = Arc::clone(self);
        let (written, started) = oneshot::channel();
        // A task of its own: a client that goes away drops his request, and what is written down
        // as started must be written down as ended all the same.
        self.sessions.spawn(async move {
            let start = gateway.auditor.forward_started(&call, &permit).await;
            let failed = start.is_err();
            // Whoever waited for it may be gone.
            let _gone = written.send(start);
            if failed {
                return;
            }
            let live = gateway.live.begin(&call, &permit, runtime);
            let stop = async {
                tokio::select! {
                    () = gateway.cut.cancelled() => STOPPING.to_owned(),
                    why = live.ended() => why,
                    why = activity.idle(gateway.idle_timeout) => why,
                }
            };
            let end = serve_ports(on_upgrade, protocol, dialer, stop).await;
            if let Err(error) = gateway.auditor.forward_ended(&call, &permit, &end).await {
                tracing::error!(session = %permit.session(), error = error.chain(), "end not audited");
            }
        });
        started.await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Misuse, "the session could not be opened").with_source(error))
        })?;
        Ok(upgrade.into_response())
    }
}

struct AuditedDialer {
    gateway: Arc<Gateway>,
    call: Arc<Call>,
    runtime: Arc<dyn Runtime>,
    permit: Permit,
    activity: Activity,
}

#[async_trait]
impl Dial for AuditedDialer {
    async fn dial(&self, port: u16) -> Result<Box<dyn PortStream>, Error> {
        self.activity.note();
        self.gateway
            .auditor
            .port_opened(&self.call, &self.permit, port)
            .await?;
        let stream = self.runtime.dial(&self.permit, port).await?;
        Ok(Box::new(Noted {
            stream,
            activity: self.activity.clone(),
        }))
    }
}

/// When somebody last used the session.
#[derive(Clone)]
struct Activity(Arc<Mutex<Instant>>);

impl Activity {
    fn begin() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Waits until nothing was noted for `limit`; gives what to say then.
    async fn idle(&self, limit: Option<Duration>) -> String {
        let Some(limit) = limit else {
            return std::future::pending().await;
        };
        loop {
            let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(left) = limit
                .checked_sub(last.elapsed())
                .filter(|left| !left.is_zero())
            else {
                return idle_message(limit);
            };
            tokio::time::sleep(left).await;
        }
    }
}

/// A connection to a port whose every byte is noted.
struct Noted {
    stream: Box<dyn PortStream>,
    activity: Activity,
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.activity.note();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.activity.note();
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.activity.note();
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
