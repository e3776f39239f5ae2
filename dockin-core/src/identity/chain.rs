use std::sync::Arc;

use async_trait::async_trait;

use super::{Authenticator, Credentials, Principal};
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
                return Ok(Some(principal));
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

    use super::{Chain, authenticate};
    use crate::{
        Error, ErrorKind,
        identity::{Authenticator, Credentials, Principal, Proof},
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
