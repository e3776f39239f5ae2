use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Authenticator, Basis, Credentials, Principal};
use crate::{Error, ErrorKind};

/// Several authenticators, asked in their order: the first that knows a credential decides, yes
/// or no. What none of them knows proves nobody.
#[derive(Default)]
pub struct Chain(Vec<Arc<dyn Authenticator>>);

impl Chain {
    /// Asks `authenticators` in this order.
    #[must_use]
    pub const fn new(authenticators: Vec<Arc<dyn Authenticator>>) -> Self {
        Self(authenticators)
    }

    /// The principal, unless what an ID token stands for was ended after it was issued: its issuer
    /// does not know that.
    async fn unless_ended(&self, principal: Arc<Principal>) -> Result<Arc<Principal>, Error> {
        let Some(Basis::IdToken { issued }) = principal.basis else {
            return Ok(principal);
        };
        match self.ended(&principal, issued).await? {
            None => Ok(principal),
            Some(why) => {
                let message = format!("{why}; log in again");
                Err(Error::new(ErrorKind::Unauthenticated, message))
            }
        }
    }
}

#[async_trait]
impl Authenticator for Chain {
    async fn authenticate(
        &self,
        credentials: &Credentials,
    ) -> Result<Option<Arc<Principal>>, Error> {
        for one in &self.0 {
            // One that cannot tell now ends it: to go on would let another say yes or no to what
            // is not his.
            if let Some(principal) = one.authenticate(credentials).await? {
                return self.unless_ended(principal).await.map(Some);
            }
        }
        Ok(None)
    }

    async fn ended(
        &self,
        principal: &Principal,
        since: Timestamp,
    ) -> Result<Option<String>, Error> {
        for one in &self.0 {
            if let Some(why) = one.ended(principal, since).await? {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }
}

/// Asks `authenticator`, and refuses what it does not know.
///
/// # Errors
///
/// Those of `authenticator`, and `Unauthenticated` when it knows nothing of the credentials.
pub async fn authenticate(
    authenticator: &dyn Authenticator,
    credentials: &Credentials,
) -> Result<Arc<Principal>, Error> {
    authenticator
        .authenticate(credentials)
        .await?
        .ok_or_else(|| {
            let message = match credentials.bearer {
                None => {
                    "no credential is given: log in with `dockctl login`, or send a bearer token"
                }
                Some(_) => "the bearer token is not known; log in again with `dockctl login`",
            };
            Error::new(ErrorKind::Unauthenticated, message)
        })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use jiff::Timestamp;

    use super::{Chain, authenticate};
    use crate::{
        Error, ErrorKind,
        identity::{Authenticator, Basis, Credentials, Principal, Proof},
    };

    /// Knows tokens with a prefix; what is behind it decides.
    struct Prefix(&'static str);

    #[async_trait]
    impl Authenticator for Prefix {
        async fn authenticate(
            &self,
            credentials: &Credentials,
        ) -> Result<Option<Arc<Principal>>, Error> {
            let Some(rest) = credentials
                .bearer
                .as_deref()
                .and_then(|all| all.strip_prefix(self.0))
            else {
                return Ok(None);
            };
            match rest {
                "lost" => Err(Error::new(ErrorKind::Unavailable, "cannot tell")),
                "bad" => Err(Error::new(ErrorKind::Unauthenticated, "bad")),
                user => Ok(Some(Arc::new(Principal::new(
                    user,
                    Vec::new(),
                    Proof::Token,
                )))),
            }
        }
    }

    /// Says since when somebody's sessions count.
    struct Since(&'static str, Timestamp);

    #[async_trait]
    impl Authenticator for Since {
        async fn authenticate(&self, _: &Credentials) -> Result<Option<Arc<Principal>>, Error> {
            Ok(None)
        }

        async fn ended(
            &self,
            principal: &Principal,
            since: Timestamp,
        ) -> Result<Option<String>, Error> {
            let ended = principal.user == self.0 && since < self.1;
            Ok(ended.then(|| "it was ended".to_owned()))
        }
    }

    /// Knows one person, by an ID token.
    struct Issued(Timestamp);

    #[async_trait]
    impl Authenticator for Issued {
        async fn authenticate(&self, _: &Credentials) -> Result<Option<Arc<Principal>>, Error> {
            let mut principal = Principal::new("olga", Vec::new(), Proof::Oidc);
            principal.basis = Some(Basis::IdToken { issued: self.0 });
            Ok(Some(Arc::new(principal)))
        }
    }

    #[tokio::test]
    async fn an_id_token_from_before_its_person_s_end_proves_nothing() {
        let now = Timestamp::UNIX_EPOCH;
        let told = async |ended: &'static str, issued: i64| {
            let issued = Timestamp::from_millisecond(issued).unwrap_or(now);
            let chain = Chain::new(vec![Arc::new(Since(ended, now)), Arc::new(Issued(issued))]);
            let found = authenticate(&chain, &Credentials::default()).await;
            found
                .map(|one| one.user.clone())
                .map_err(|error| error.kind())
        };
        assert_eq!(told("olga", -1).await, Err(ErrorKind::Unauthenticated));
        assert_eq!(told("olga", 0).await, Ok("olga".to_owned()));
        assert_eq!(told("otto", -1).await, Ok("olga".to_owned()));
    }

    #[tokio::test]
    async fn the_first_that_knows_a_credential_decides() {
        let chain = Chain::new(vec![
            Arc::new(Prefix("a-")),
            Arc::new(Prefix("a-b-")),
            Arc::new(Prefix("")),
        ]);
        for (token, told) in [
            ("a-alice", Ok("alice")),
            ("a-b-bob", Ok("b-bob")),
            ("carol", Ok("carol")),
            ("a-bad", Err(ErrorKind::Unauthenticated)),
            // What cannot be told now is not another's to say.
            ("a-lost", Err(ErrorKind::Unavailable)),
        ] {
            let credentials = Credentials {
                bearer: Some(token.to_owned()),
                ..Credentials::default()
            };
            let found = authenticate(&chain, &credentials).await;
            let found = found
                .as_ref()
                .map(|one| one.user.as_str())
                .map_err(Error::kind);
            assert_eq!(found, told, "{token}");
        }
        let nothing = authenticate(&Chain::default(), &Credentials::default()).await;
        assert_eq!(
            nothing.map_err(|error| error.kind()),
            Err(ErrorKind::Unauthenticated)
        );
    }
}
