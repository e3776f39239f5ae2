use std::sync::Arc;

use async_trait::async_trait;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::{Call, Cluster, Gateway};
use crate::{
    Error, ErrorKind,
    access::{Permit, Verb},
    runtime::{PortStream, Runtime},
    service::{Body, Dial, port_forward, serve_ports},
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
        let dialer = Arc::new(AuditedDialer {
            gateway: Arc::clone(self),
            call: Arc::clone(&call),
            runtime: found.runtime,
            permit: permit.clone(),
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
            let served = serve_ports(on_upgrade, protocol, dialer);
            let end = gateway.cut.run_until_cancelled(served).await.unwrap_or_default();
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
}

#[async_trait]
impl Dial for AuditedDialer {
    async fn dial(&self, port: u16) -> Result<Box<dyn PortStream>, Error> {
        self.gateway
            .auditor
            .port_opened(&self.call, &self.permit, port)
            .await?;
        self.runtime.dial(&self.permit, port).await
    }
}
