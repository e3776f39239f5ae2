use dockin_policy::access::{Answer, Endpoint, review};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use super::{Call, Gateway};
use crate::{
    Error, ErrorKind, Target,
    access::Verb,
    access_policy::decided_by,
    service::{self, Body},
};

/// Bytes of a review, which may be a list of a thousand.
const MAX_BODY: usize = 1024 * 1024;

impl Gateway {
    /// Answers the `SubjectAccessReview` of an API server by the access rules in force, for whom
    /// they allow to ask: `createSubjectaccessreview` on the cluster.
    pub(super) async fn access_review(
        &self,
        call: &Call,
        cluster: Option<&str>,
        endpoint: Endpoint,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let Some(policy) = &self.access_policy else {
            return Err(Error::new(
                ErrorKind::NotFound,
                "the server could not find the requested resource",
            ));
        };
        let asked_for = Target::namespace(cluster.unwrap_or("*"), "*");
        self.authorize(call, Verb::Review, asked_for).await?;
        let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|error| {
            let what = format!("a review of at most {MAX_BODY} bytes is expected: {error}");
            Error::new(ErrorKind::Malformed, what)
        })?;
        let access = policy.current();
        let (rules, tenancy) = &*access;
        let (document, answers) = review(&body.to_bytes(), endpoint, cluster, tenancy, rules)
            .map_err(|error| Error::new(ErrorKind::Malformed, error.to_string()))?;
        for answer in answers.iter().filter(|answer| !answer.allowed) {
            self.review_denied(call, cluster, answer).await?;
        }
        Ok(service::json(&document))
    }

    async fn review_denied(
        &self,
        call: &Call,
        cluster: Option<&str>,
        answer: &Answer,
    ) -> Result<(), Error> {
        // Who asked is the principal of the event; whom it is about stands in the reason.
        let error = Error::new(ErrorKind::Forbidden, answer.reason.clone());
        let error = error.with_rule(decided_by(answer));
        let target = Target::namespace(cluster.unwrap_or("*"), "*");
        self.auditor
            .access_denied(call, Verb::Review, &target, &error)
            .await
    }
}
