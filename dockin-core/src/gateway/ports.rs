use std::{num::NonZeroU16, sync::Arc};

use async_trait::async_trait;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::{Call, Cluster, Gateway, STOPPING};
use crate::{
    Error, ErrorKind,
    access::{Permit, Verb},
    runtime::{PortStream, Runtime},
    service::{Body, Dial, port_forward, serve_ports},
};

mod activity;
mod judged;

use activity::{Activity, Noted};
use judged::PortJudge;

impl Gateway {
    /// Opens a port-forward session. Each connection in it is judged, and written down before it is
    /// dialled.
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
        let judge = PortJudge::new(self, &call, &permit, &found);
        if !protocol.ports().is_empty() {
            // Where none of them may be forwarded the request is refused, not each connection.
            let ports: Vec<u16> = protocol
                .ports()
                .iter()
                .copied()
                .map(NonZeroU16::get)
                .collect();
            judge.admit_any(&ports).await?;
        }
        let activity = Activity::begin();
        let runtime = Some(Arc::clone(&found.runtime));
        let dialer = Arc::new(AuditedDialer {
            judge,
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
    judge: PortJudge,
    runtime: Arc<dyn Runtime>,
    permit: Permit,
    activity: Activity,
}

#[async_trait]
impl Dial for AuditedDialer {
    async fn dial(&self, port: u16) -> Result<Box<dyn PortStream>, Error> {
        self.activity.note();
        self.judge.admit(port).await?;
        let stream = self.runtime.dial(&self.permit, port).await?;
        Ok(Box::new(Noted::new(stream, self.activity.clone())))
    }
}
