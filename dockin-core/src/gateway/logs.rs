use std::future::ready;

use futures::StreamExt;
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;

use super::{Call, Cluster, Gateway};
use crate::{
    Error,
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
        let now = jiff::Timestamp::now().as_second();
        let query = LogQuery::parse(request.uri().query().unwrap_or_default(), now)?;
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
        let log = log.inspect(move |_| {
            let _until_the_end = &place;
        });
        let mut response = Response::new(stream_body(log));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Ok(response)
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
