//! Tokens of service accounts, made and checked as an apiserver does.

#![expect(
    clippy::indexing_slicing,
    reason = "what a JSON value does not have is null, and no panic"
)]

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::apiserver::{Body, answer, failure};

/// Who may have tokens reviewed, as `system:auth-delegator` would let him.
const REVIEWER: &str = "dockin:token-reviewer";

/// The issuer of one apiserver.
pub(crate) struct ServiceAccountTokens {
    key: SigningKey,
    /// Accounts that were deleted, `NAMESPACE:NAME`: their tokens prove nothing.
    deleted: Mutex<BTreeSet<String>>,
}

impl ServiceAccountTokens {
    pub(crate) fn new() -> Self {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("random bytes");
        Self {
            key: SigningKey::from_bytes(&seed),
            deleted: Mutex::default(),
        }
    }

    /// A token of `NAMESPACE:NAME`, as `kubectl create token` gets it.
    pub(crate) fn issue(&self, account: &str, audiences: &[&str], seconds: i64) -> String {
        let now = Timestamp::now().as_second();
        let (namespace, name) = account.split_once(':').expect("NAMESPACE:NAME");
        let claims = json!({
            "aud": audiences, "exp": now + seconds, "iat": now, "nbf": now,
            "iss": "https://kubernetes.default.svc.cluster.local",
            "kubernetes.io": { "namespace": namespace, "serviceaccount": { "name": name } },
            "sub": format!("system:serviceaccount:{account}"),
        });
        let part = |value: &Value| BASE64.encode(value.to_string());
        let header = json!({ "alg": "EdDSA", "kid": "sa" });
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(signature.to_bytes()))
    }

    pub(crate) fn delete(&self, account: &str) {
        let mut deleted = self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
        deleted.insert(account.to_owned());
    }

    /// Answers `POST …/tokenreviews` of `user`.
    pub(crate) async fn answer(&self, user: &str, request: Request<Incoming>) -> Response<Body> {
        if user != REVIEWER {
            let told = format!(
                "tokenreviews.authentication.k8s.io is forbidden: User \"{user}\" cannot create \
                 resource \"tokenreviews\" in API group \"authentication.k8s.io\" at the cluster \
                 scope"
            );
            return failure(403, "Forbidden", &told, &json!({}));
        }
        let body = request.into_body().collect().await.expect("a body");
        let review: Value = serde_json::from_slice(&body.to_bytes()).expect("a review");
        let text = |name: &str| review[name].as_str().unwrap_or_default();
        assert_eq!(
            (text("apiVersion"), text("kind")),
            ("authentication.k8s.io/v1", "TokenReview")
        );
        let spec = &review["spec"];
        let token = spec["token"].as_str().unwrap_or_default();
        let status = match self.proved(token, &list(&spec["audiences"])) {
            Some(status) => status,
            None => json!({ "error": "[invalid bearer token, token lookup failed]" }),
        };
        let told = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "metadata": {}, "spec": spec, "status": status,
        });
        answer(201, &told)
    }

    fn proved(&self, token: &str, wanted: &[String]) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = Signature::from_slice(&BASE64.decode(signature).ok()?).ok()?;
        let key = self.key.verifying_key();
        key.verify(signed.as_bytes(), &signature).ok()?;
        let claims = BASE64.decode(signed.split('.').nth(1)?).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        if claims["exp"].as_i64()? <= Timestamp::now().as_second() {
            return None;
        }
        let audiences = list(&claims["aud"]);
        let common: Vec<&String> = audiences
            .iter()
            .filter(|one| wanted.contains(one))
            .collect();
        let user = claims["sub"].as_str()?;
        let account = user.strip_prefix("system:serviceaccount:")?;
        let (namespace, _) = account.split_once(':')?;
        let deleted = self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
        if common.is_empty() || deleted.contains(account) {
            return None;
        }
        Some(json!({
            "authenticated": true,
            "audiences": common,
            "user": {
                "username": user,
                "uid": "2f5a2d0e-0000-4000-8000-000000000001",
                "groups": [
                    "system:serviceaccounts",
                    format!("system:serviceaccounts:{namespace}"),
                    "system:authenticated",
                ],
            },
        }))
    }
}

fn list(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    all.filter_map(|one| one.as_str().map(str::to_owned))
        .collect()
}
