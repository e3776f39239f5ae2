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
    /// The names of the clusters in which the caller may do anything at all.
    pub(super) async fn own_clusters(&self, call: &Call) -> Response<Body> {
        let mut names = Vec::new();
        for cluster in &self.clusters {
            if self
                .authorizer
                .reaches(&call.principal, cluster.name())
                .await
            {
                names.push(cluster.name());
            }
        }
        service::json(&json!({ "user": call.principal.user, "clusters": names }))
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
