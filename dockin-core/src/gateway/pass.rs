use std::sync::Arc;

use http::{Method, Request, Response, header};
use hyper::body::Incoming;

use super::{Call, Cluster, Gateway};
use crate::{Error, ErrorKind, Target, access::Verb, runtime::kube::KubeCluster, service::Body};

impl Gateway {
    /// Carries a request that only reads to the cluster's kube-apiserver, as the caller.
    pub(super) async fn pass_through(
        &self,
        call: &Call,
        cluster: &Cluster,
        upstream: &Arc<KubeCluster>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        if request.method() != Method::GET {
            return Err(Error::new(
                ErrorKind::Forbidden,
                format!(
                    "{} is not carried to cluster \"{}\": only reading and sessions are",
                    request.method(),
                    cluster.name()
                ),
            ));
        }
        let prefix = format!("/clusters/{}", cluster.name());
        let whole = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let path = whole.strip_prefix(prefix.as_str()).unwrap_or(whole);
        let path = if path.is_empty() { "/" } else { path };
        let mut segments = request
            .uri()
            .path()
            .split('/')
            .skip_while(|part| *part != "namespaces");
        let namespace = segments.nth(1).unwrap_or("*");
        let target = Target::namespace(cluster.name(), namespace);
        self.authorize(call, Verb::List, target).await?;
        let accept = request.headers().get(header::ACCEPT);
        upstream
            .for_principal(&call.principal)
            .read(path, accept)
            .await
    }
}
