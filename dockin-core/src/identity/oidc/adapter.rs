use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{OidcIdentity, OidcIssuer};
use crate::{
    Error, ErrorKind,
    identity::{Authenticator, Credentials, Principal, Proof},
};

#[async_trait]
impl Authenticator for OidcIssuer {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Arc<Principal>, Error> {
        let Some(token) = &credentials.bearer else {
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                "no bearer token given",
            ));
        };
        let identity = Self::authenticate(self, token, Timestamp::now()).await?;
        Ok(Arc::new(principal(identity)))
    }
}

fn principal(identity: OidcIdentity) -> Principal {
    Principal {
        user: identity.user,
        groups: identity.groups,
        proof: Proof::Token,
    }
}
