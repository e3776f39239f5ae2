//! Service accounts of clusters, whose tokens their own apiserver checks.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::{Authenticator, Credentials, Principal, Proof, hash_token, records::check_name};
use crate::{
    Error, ErrorKind,
    rate::Rates,
    runtime::kube::{KubeCluster, TokenReviewStatus},
};

/// Who checks tokens of service accounts: the apiserver of their cluster.
#[async_trait]
pub trait TokenReviewer: Send + Sync {
    /// Whom `token` proves to one of `audiences`.
    ///
    /// # Errors
    ///
    /// `Unavailable` when it cannot be known now. The token is not in it.
    async fn review(&self, token: &str, audiences: &[String]) -> Result<TokenReviewStatus, Error>;
}

#[async_trait]
impl TokenReviewer for KubeCluster {
    async fn review(&self, token: &str, audiences: &[String]) -> Result<TokenReviewStatus, Error> {
        self.review_token(token, audiences).await
    }
}

/// Service accounts of one cluster.
///
/// A token is sent to the cluster's apiserver when it says that it is a service account's and for
/// one of the audiences, which must be this cluster's alone; any other is left to other
/// authenticators, so that no cluster sees what is not meant for it. What the apiserver says of a
/// token counts for a minute, a no for ten seconds, and never past the token's end.
///
/// `system:serviceaccount:NS:NAME` of cluster `prod` is `prod:system:serviceaccount:NS:NAME` here,
/// and so are its groups: two clusters may have an account of one name, and none of them is to be
/// somebody in the other.
///
/// While the apiserver does not answer, nobody gets in whom it has not named lately.
pub struct ServiceAccounts {
    cluster: String,
    audiences: Vec<String>,
    reviewer: Arc<dyn TokenReviewer>,
    known: Mutex<Known>,
    by_address: Mutex<Rates>,
    places: Semaphore,
}

/// What was said of tokens, by their hash, and until when it counts.
type Known = HashMap<String, (Instant, Option<Arc<Principal>>)>;

/// What a token says of itself. Proves nothing.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(default)]
    aud: Audience,
    #[serde(default)]
    exp: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Claims {
    /// Those of a token that says that it is a service account's.
    fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || token.len() > MAX_TOKEN {
            return None;
        }
        let claims = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let claims: Self = serde_json::from_slice(&claims).ok()?;
        claims.sub.starts_with(ACCOUNT).then_some(claims)
    }

    fn audiences(&self) -> &[String] {
        match &self.aud {
            Audience::One(audience) => std::slice::from_ref(audience),
            Audience::Many(audiences) => audiences,
        }
    }
}

/// For whom a token says that it is, if it says that it is a service account's. Proves nothing.
pub(crate) fn claimed_audiences(token: &str) -> Option<Vec<String>> {
    Claims::of(token).map(|claims| claims.audiences().to_vec())
}

impl Default for Audience {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

/// How long a yes counts.
const YES: Duration = Duration::from_secs(60);
/// How long a no counts.
const NO: Duration = Duration::from_secs(10);
/// Tokens remembered at once.
const MANY: usize = 4096;
/// Tokens of one address that are sent on at once, and a second.
const FROM_ADDRESS: (f64, f64) = (50.0, 5.0);
/// Reviews at once.
const PLACES: usize = 8;
/// How long somebody waits for a place.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest token worth sending, in bytes.
const MAX_TOKEN: usize = 16 * 1024;
/// What service accounts are called.
const ACCOUNT: &str = "system:serviceaccount:";
/// What their groups are called.
const GROUP: &str = "system:serviceaccounts";

impl ServiceAccounts {
    /// The accounts of `cluster`, whose tokens are for one of `audiences` and are checked by
    /// `reviewer`.
    ///
    /// # Errors
    ///
    /// `Misuse` without an audience: tokens for the apiserver itself would count, and whoever the
    /// gateway passes them to could use them there.
    pub fn new(
        cluster: impl Into<String>,
        audiences: Vec<String>,
        reviewer: Arc<dyn TokenReviewer>,
    ) -> Result<Self, Error> {
        let cluster = cluster.into();
        if audiences.is_empty() || audiences.iter().any(String::is_empty) {
            let message = format!(
                "service accounts of cluster `{cluster}` need `audiences`: names of this gateway \
                 that tokens are made for"
            );
            return Err(Error::new(ErrorKind::Misuse, message));
        }
        if cluster == "system" {
            let what = "service accounts of a cluster called `system` would be Kubernetes' own \
                        users; call it otherwise";
            return Err(Error::new(ErrorKind::Misuse, what));
        }
        Ok(Self {
            cluster,
            audiences,
            reviewer,
            known: Mutex::default(),
            by_address: Mutex::new(Rates::new(FROM_ADDRESS.1, FROM_ADDRESS.0)),
            places: Semaphore::new(PLACES),
        })
    }

    /// What a token that is for us says of itself; nothing for one that is not.
    fn claims(&self, token: &str) -> Option<Claims> {
        let claims = Claims::of(token)?;
        let mut audiences = claims.audiences().iter();
        audiences
            .any(|one| self.audiences.contains(one))
            .then_some(claims)
    }

    async fn review(
        &self,
        token: &str,
        claims: &Claims,
        credentials: &Credentials,
    ) -> Result<Option<Arc<Principal>>, Error> {
        let from = credentials.address.map(|address| address.to_string());
        let taken = lock(&self.by_address).take(&from.unwrap_or_default(), Instant::now());
        taken.map_err(|wait| {
            let what = "too many tokens of service accounts from this address; try again later";
            Error::new(ErrorKind::Exhausted, what).with_retry_after(wait)
        })?;
        let place = tokio::time::timeout(PATIENCE, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            let what = "too many tokens of service accounts are being checked; try again";
            return Err(Error::new(ErrorKind::Exhausted, what).with_retry_after(PATIENCE));
        };
        let status = self.reviewer.review(token, &self.audiences).await?;
        Ok(self.principal(&status, claims))
    }

    /// Whom the apiserver's answer makes of a token; nobody when any of it is odd.
    fn principal(&self, status: &TokenReviewStatus, claims: &Claims) -> Option<Arc<Principal>> {
        let TokenReviewStatus {
            authenticated,
            user,
            audiences,
            ..
        } = status;
        // An apiserver that names no audience has not looked at them.
        let ours = audiences.iter().any(|one| self.audiences.contains(one));
        let account = user.username.strip_prefix(ACCOUNT)?;
        let (namespace, name) = account.split_once(':')?;
        let whole = !namespace.is_empty() && !name.is_empty() && !name.contains(':');
        if !*authenticated || !ours || !whole || user.username != claims.sub {
            return None;
        }
        let named = |name: &str| format!("{}:{name}", self.cluster);
        let known = named(&user.username);
        check_name(&known).ok()?;
        let own = format!("{GROUP}:{namespace}");
        let groups = user.groups.iter();
        let groups = groups.filter(|group| **group == GROUP || **group == own);
        let groups = groups.map(|group| named(group)).collect();
        Some(Arc::new(Principal::new(
            known,
            groups,
            Proof::ServiceAccount,
        )))
    }

    fn remember(&self, hash: String, until: Instant, principal: Option<Arc<Principal>>) {
        let mut known = lock(&self.known);
        if known.len() >= MANY {
            let now = Instant::now();
            known.retain(|_, (until, _)| *until > now);
        }
        if known.len() >= MANY {
            known.clear();
        }
        known.insert(hash, (until, principal));
    }
}

#[async_trait]
impl Authenticator for ServiceAccounts {
    async fn authenticate(
        &self,
        credentials: &Credentials,
    ) -> Result<Option<Arc<Principal>>, Error> {
        let Some(token) = &credentials.bearer else {
            return Ok(None);
        };
        let Some(claims) = self.claims(token) else {
            return Ok(None);
        };
        let refused = |why: &str| {
            let message = format!("the token of a service account of `{}` {why}", self.cluster);
            Error::new(ErrorKind::Unauthenticated, message)
        };
        let left = claims.exp.map(|end| end - Timestamp::now().as_second());
        if left.is_some_and(|left| left <= 0) {
            return Err(refused("has expired"));
        }
        let hash = hash_token(token);
        let now = Instant::now();
        let known = lock(&self.known).get(&hash).cloned();
        let principal = match known {
            Some((until, principal)) if until > now => principal,
            _ => {
                let principal = self.review(token, &claims, credentials).await?;
                let most = if principal.is_some() { YES } else { NO };
                let left = left.and_then(|left| u64::try_from(left).ok());
                let left = left.map_or(most, Duration::from_secs);
                self.remember(hash, now + most.min(left), principal.clone());
                principal
            }
        };
        let principal = principal.ok_or_else(|| refused("is not one that its cluster knows"))?;
        Ok(Some(principal))
    }
}

impl fmt::Debug for ServiceAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccounts")
            .field("cluster", &self.cluster)
            .field("audiences", &self.audiences)
            .finish_non_exhaustive()
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::{MANY, ServiceAccounts, TokenReviewStatus, TokenReviewer};
    use crate::{
        Error, ErrorKind,
        identity::{Authenticator as _, Credentials, Principal, Proof},
    };

    const ROBOT: &str = "system:serviceaccount:ci:robot";

    /// Says of every token what it was told to.
    #[derive(Default)]
    struct Says {
        answer: Mutex<Option<Value>>,
        asked: Mutex<usize>,
    }

    #[async_trait]
    impl TokenReviewer for Says {
        async fn review(&self, _: &str, audiences: &[String]) -> Result<TokenReviewStatus, Error> {
            assert_eq!(audiences, ["dockin"]);
            *self.asked.lock().unwrap() += 1;
            let answer = self.answer.lock().unwrap().clone();
            let answer = answer.ok_or_else(|| Error::new(ErrorKind::Unavailable, "away"))?;
            Ok(serde_json::from_value(answer).unwrap())
        }
    }

    fn accounts(answer: Option<Value>) -> (ServiceAccounts, Arc<Says>) {
        let says = Arc::new(Says {
            answer: Mutex::new(answer),
            ..Says::default()
        });
        let audiences = vec!["dockin".to_owned()];
        let accounts = ServiceAccounts::new("prod", audiences, says.clone()).unwrap();
        (accounts, says)
    }

    fn good() -> Value {
        let groups = [
            "system:serviceaccounts",
            "system:serviceaccounts:ci",
            "system:serviceaccounts:kube-system",
            "system:authenticated",
            "system:masters",
        ];
        json!({
            "authenticated": true, "audiences": ["dockin"],
            "user": { "username": ROBOT, "groups": groups, "extra": { "a": ["b"] } },
        })
    }

    fn token(changes: &Value) -> String {
        let exp = Timestamp::now().as_second() + 600;
        let mut claims = json!({ "sub": ROBOT, "aud": ["dockin"], "exp": exp });
        for (name, value) in changes.as_object().unwrap() {
            claims
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), value.clone());
        }
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    async fn ask(accounts: &ServiceAccounts, token: &str) -> Result<Option<Arc<Principal>>, Error> {
        let credentials = Credentials {
            bearer: Some(token.to_owned()),
            ..Credentials::default()
        };
        let told = accounts.authenticate(&credentials).await;
        if let Err(error) = &told {
            assert!(!error.chain().contains(token), "{error}");
        }
        told
    }

    #[tokio::test]
    async fn an_account_is_one_of_its_cluster_and_no_administrator() {
        let (accounts, says) = accounts(Some(good()));
        let robot = ask(&accounts, &token(&json!({}))).await.unwrap().unwrap();
        assert_eq!(robot.user, format!("prod:{ROBOT}"));
        let groups = [
            "prod:system:serviceaccounts",
            "prod:system:serviceaccounts:ci",
        ];
        assert_eq!(robot.groups, groups);
        assert_eq!(robot.proof, Proof::ServiceAccount);
        // The same token is not asked about again for a while; another one is.
        ask(&accounts, &token(&json!({}))).await.unwrap();
        assert_eq!(*says.asked.lock().unwrap(), 1);
        ask(&accounts, &token(&json!({ "jti": "x" })))
            .await
            .unwrap();
        assert_eq!(*says.asked.lock().unwrap(), 2);
    }

    #[tokio::test]
    async fn tokens_for_others_are_not_sent_anywhere() {
        let (accounts, says) = accounts(Some(good()));
        for foreign in [
            token(&json!({ "aud": ["https://kubernetes.default.svc"] })),
            token(&json!({ "aud": "other" })),
            token(&json!({ "aud": null })),
            token(&json!({ "sub": "alice" })),
            token(&json!({ "sub": "system:node:n1" })),
            "dk_AAAA".to_owned(),
            "a.b".to_owned(),
            "a.b.c".to_owned(),
            format!("{}.d", token(&json!({}))),
            "x".repeat(20_000),
            String::new(),
        ] {
            assert_eq!(ask(&accounts, &foreign).await.unwrap(), None, "{foreign}");
        }
        assert_eq!(*says.asked.lock().unwrap(), 0);
    }

    #[tokio::test]
    async fn what_the_cluster_does_not_say_clearly_proves_nobody() {
        let user = |name: &str| json!({ "username": name, "groups": [] });
        for (field, value) in [
            ("authenticated", json!(false)),
            // It has not looked for whom the token is.
            ("audiences", json!([])),
            ("audiences", json!(["other"])),
            ("user", user("")),
            ("user", user("admin")),
            ("user", user("system:serviceaccount:ci:other")),
            ("user", user("system:serviceaccount:ci")),
            ("user", user("system:admin")),
        ] {
            let mut answer = good();
            answer
                .as_object_mut()
                .unwrap()
                .insert(field.to_owned(), value.clone());
            let (accounts, says) = accounts(Some(answer));
            for _ in 0..2 {
                let error = ask(&accounts, &token(&json!({}))).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{field} {value}");
            }
            assert_eq!(*says.asked.lock().unwrap(), 1);
        }
        let (accounts, says) = accounts(Some(good()));
        let past = json!({ "exp": Timestamp::now().as_second() - 1 });
        let error = ask(&accounts, &token(&past)).await.unwrap_err();
        assert!(error.message().contains("expired"), "{error}");
        assert_eq!(*says.asked.lock().unwrap(), 0);
    }

    #[tokio::test]
    async fn a_cluster_that_is_away_lets_in_whom_it_has_named_lately_and_nobody_else() {
        let (accounts, says) = accounts(Some(good()));
        let (old, new) = (token(&json!({})), token(&json!({ "jti": "x" })));
        ask(&accounts, &old).await.unwrap();
        *says.answer.lock().unwrap() = None;
        assert!(ask(&accounts, &old).await.unwrap().is_some());
        let error = ask(&accounts, &new).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        // It is asked again as soon as it is back.
        *says.answer.lock().unwrap() = Some(good());
        assert!(ask(&accounts, &new).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn made_up_tokens_are_bounded_in_what_they_cost() {
        let (accounts, says) = accounts(Some(json!({ "authenticated": false })));
        let mut waits = 0;
        for number in 0..200 {
            let made_up = token(&json!({ "jti": number }));
            let error = ask(&accounts, &made_up).await.unwrap_err();
            waits += usize::from(error.kind() == ErrorKind::Exhausted);
        }
        assert!(waits >= 100, "{waits}");
        assert!(*says.asked.lock().unwrap() <= 100);
        let soon = std::time::Instant::now() + super::YES;
        for number in 0..2 * MANY {
            accounts.remember(number.to_string(), soon, None);
        }
        assert!(accounts.known.lock().unwrap().len() <= MANY);
        assert!(ServiceAccounts::new("prod", Vec::new(), says).is_err());
    }
}
