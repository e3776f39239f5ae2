use std::sync::Arc;

use async_trait::async_trait;
use http::{Request, Response};
use hyper::body::Incoming;

use super::{Call, Cluster, Gateway};
use crate::{
    Error,
    access::{Permit, Verb},
    runtime::{PortStream, Runtime},
    service::{Body, Dial, Upgrade, serve_ports},
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
        let upgrade = Upgrade::ports(&request)?;
        let target = self
            .pod_permit(&call, cluster, Verb::PortForward, (namespace, pod))
            .await?;
        let (permit, found) = target;
        let call = Arc::new(call);
        self.auditor.forward_started(&call, &permit).await?;
        let on_upgrade = hyper::upgrade::on(&mut request);
        let protocol = upgrade.protocol();
        let dialer = Arc::new(AuditedDialer {
            gateway: Arc::clone(self),
            call: Arc::clone(&call),
            runtime: found.runtime,
            permit: permit.clone(),
        });
        let gateway = Arc::clone(self);
        self.sessions.spawn(async move {
            let served = serve_ports(on_upgrade, protocol, dialer);
            let end = gateway.cut.run_until_cancelled(served).await.unwrap_or_default();
            if let Err(error) = gateway.auditor.forward_ended(&call, &permit, &end).await {
                tracing::error!(session = %permit.session(), error = error.chain(), "end not audited");
            }
        });
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
