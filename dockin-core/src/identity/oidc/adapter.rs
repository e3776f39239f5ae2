use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::OidcIssuer;
use crate::{
    Error,
    identity::{Authenticator, Basis, Credentials, Principal, Proof},
};

#[async_trait]
impl Authenticator for OidcIssuer {
    async fn authenticate(
        &self,
        credentials: &Credentials,
    ) -> Result<Option<Arc<Principal>>, Error> {
        // A token of another kind is for another authenticator.
        let Some(token) = credentials
            .bearer
            .as_ref()
            .filter(|token| self.is_of(token))
        else {
            return Ok(None);
        };
        let identity = Self::authenticate(self, token, Timestamp::now()).await?;
        let mut principal = Principal::new(identity.user, identity.groups, Proof::Oidc);
        principal.tenant = identity.tenant;
        principal.basis = Some(Basis::IdToken {
            issued: identity.issued,
        });
        Ok(Some(Arc::new(principal)))
    }
}
