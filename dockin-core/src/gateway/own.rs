use futures::{StreamExt, stream};
use http::{HeaderValue, Response, header};
use serde_json::json;

use super::{Call, Gateway};
use crate::{
    Error, Target,
    access::Verb,
    audit::Filter,
    kubernetes::query::Query,
    service::{self, Body, stream_body},
};

impl Gateway {
    /// The clusters in which the caller may do anything at all from where he is, and how they are.
    pub(super) async fn own_clusters(&self, call: &Call) -> Response<Body> {
        let mut names = Vec::new();
        let mut details = Vec::new();
        for cluster in self.clusters.all().iter() {
            let name = cluster.name();
            if !cluster.admits(call.client.ip())
                || !self.rule_admits(cluster, call.client.ip()).unwrap_or(false)
                || !self.authorizer.reaches(&call.principal, name).await
            {
                continue;
            }
            names.push(name.to_owned());
            let health = cluster.health();
            let state = match &health {
                None => "unknown",
                Some(health) if health.up => "up",
                Some(_) => "down",
            };
            let latency = health.as_ref().map(|health| health.latency.as_millis());
            details.push(json!({
                "name": name,
                "rule": cluster.rule(),
                "state": state,
                "version": health.as_ref().and_then(|health| health.version.clone()),
                "latency_ms": latency.and_then(|latency| u64::try_from(latency).ok()),
                "checked": health.as_ref().map(|health| health.at.to_string()),
            }));
        }
        let user = &call.principal.user;
        service::json(&json!({ "user": user, "clusters": names, "details": details }))
    }

    /// The names of the clusters in which the caller may do anything at all from where he is.
    pub(super) async fn reachable(&self, call: &Call) -> Vec<String> {
        let mut names = Vec::new();
        for cluster in self.clusters.all().iter() {
            let name = cluster.name();
            let admitted = cluster.admits(call.client.ip());
            if admitted && self.authorizer.reaches(&call.principal, name).await {
                names.push(name.to_owned());
            }
        }
        names
    }

    /// The audit trail as JSON lines: the newest `limit` (1000 unless told) that the other fields
    /// of the query take.
    pub(super) async fn own_audit(
        &self,
        call: &Call,
        query: Option<&str>,
    ) -> Result<Response<Body>, Error> {
        self.authorize(call, Verb::Audit, Target::namespace("*", "*"))
            .await?;
        let query = query.unwrap_or_default();
        let filter = Filter::parse(query)?;
        let limit = Query::parse(query)?.number("limit")?.unwrap_or(1000);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let lines = self.auditor.search(&filter, limit).await?;
        let lines = stream::iter(lines).map(Ok);
        let mut response = Response::new(stream_body(lines));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/jsonl"),
        );
        Ok(response)
    }
}
