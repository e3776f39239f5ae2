use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::json;

use super::KubeCluster;
use crate::{
    Error, ErrorKind,
    identity::{Principal, Proof},
    service::{Body, full_body},
};

/// What an apiserver says of a token.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
#[non_exhaustive]
pub struct TokenReviewStatus {
    /// Whether it proves anybody.
    pub authenticated: bool,
    /// Whom, if so.
    pub user: ReviewedUser,
    /// For which of the audiences that were asked about; none from an apiserver that knows none,
    /// and then the token may be for anybody.
    pub audiences: Vec<String>,
}

/// Whom a token proves.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
#[non_exhaustive]
pub struct ReviewedUser {
    /// User name.
    pub username: String,
    /// Groups.
    pub groups: Vec<String>,
}

/// Who asks: the gateway never does so for itself. Bind `system:auth-delegator` to this user.
const REVIEWER: &str = "dockin:token-reviewer";
/// How long an answer may take; somebody waits to get in.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const MAX_ANSWER: usize = 1024 * 1024;

impl KubeCluster {
    /// Asks the apiserver whom `token` proves to one of `audiences`, as the user
    /// `dockin:token-reviewer`, who must be allowed to create `tokenreviews`.
    ///
    /// # Errors
    ///
    /// `Unavailable` when there is no answer within 10 s, or another than a review; the token is
    /// not in it.
    ///
    /// Spec: Kubernetes `authentication.k8s.io/v1`, `TokenReview`.
    pub async fn review_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<TokenReviewStatus, Error> {
        #[derive(Deserialize)]
        struct Review {
            status: TokenReviewStatus,
        }

        let unavailable = |what: &str| {
            let message = format!("the kube-apiserver of cluster `{}` {what}", self.0.name);
            Error::new(ErrorKind::Unavailable, message)
        };
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": { "token": token, "audiences": audiences },
        });
        let reviewer = Principal::new(REVIEWER, Vec::new(), Proof::Internal);
        let runtime = self.for_principal(&Arc::new(reviewer));
        let json = HeaderValue::from_static("application/json");
        let headers =
            HeaderMap::from_iter([(header::CONTENT_TYPE, json.clone()), (header::ACCEPT, json)]);
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let ask = async {
            let body = full_body(review.to_string());
            let answer = runtime.carry(Method::POST, path, headers, body).await?;
            let status = answer.status();
            if !matches!(status, StatusCode::OK | StatusCode::CREATED) {
                let what = format!("answered a token review with {}", status.as_u16());
                return Err(unavailable(&what));
            }
            let body = read(answer.into_body()).await;
            let body = body.ok_or_else(|| unavailable("broke off in a token review"))?;
            let review: Review = serde_json::from_slice(&body)
                .map_err(|_| unavailable("answered a token review with something else"))?;
            Ok(review.status)
        };
        let answer = tokio::time::timeout(PATIENCE, ask).await;
        answer.unwrap_or_else(|_| Err(unavailable("gave no answer to a token review within 10 s")))
    }
}

/// The whole of a body that ends well and is not too long.
async fn read(mut body: Body) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > MAX_ANSWER {
            return None;
        }
        bytes.extend_from_slice(&data);
    }
    Some(bytes)
}
