use std::future::ready;

use dockin_policy::access::Attributes;
use futures::StreamExt;
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use jiff::Timestamp;

use super::{Call, Cluster, Gateway, long_answer::Asked};
use crate::{
    Error, Target,
    access::Verb,
    kubernetes::LogQuery,
    runtime::LogStream,
    service::{Body, stream_body},
};

impl Gateway {
    pub(super) async fn logs(
        &self,
        call: &Call,
        cluster: &Cluster,
        namespace: &str,
        pod: &str,
        request: &Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let since = Timestamp::now();
        let query = request.uri().query().unwrap_or_default();
        let query = LogQuery::parse(query, since.as_second())?;
        let wanted = query.container.as_deref();
        let (permit, found) = self
            .permit(call, cluster, Verb::Logs, (namespace, pod), wanted)
            .await?;
        // A followed log goes on for as long as somebody reads it.
        let place = self.limiter.open(&call.principal.user, cluster.name())?;
        let log = found.runtime.logs(&permit, query.options).await?;
        let log = match query.limit_bytes {
            Some(limit) => cut(log, limit),
            None => log,
        };
        let asked = Asked {
            call: call.clone(),
            since,
            wanted: reading(permit.target(), request.uri().path()),
            runtime: Some(found.runtime),
        };
        let body = self.answers.give(stream_body(log), asked, place);
        let mut response = Response::new(body);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Ok(response)
    }
}

/// What reading a log is called.
fn reading(target: &Target, path: &str) -> Attributes {
    Attributes {
        verb: "get".to_owned(),
        resource: "pods".to_owned(),
        subresource: "log".to_owned(),
        name: target.pod.clone(),
        namespace: target.namespace.clone(),
        path: path.to_owned(),
        cluster: Some(target.cluster.clone()),
        ..Attributes::default()
    }
}

/// The first `limit` bytes.
fn cut(log: LogStream, limit: u64) -> LogStream {
    Box::pin(log.scan(limit, |left, item| {
        ready(match item {
            Ok(_) if *left == 0 => None,
            Ok(mut bytes) => {
                bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= bytes.len() as u64;
                Some(Ok(bytes))
            }
            Err(error) => Some(Err(error)),
        })
    }))
}
