//! Who is this? The [`Authenticator`] port and its adapters.

#[cfg(feature = "ldap")]
pub mod ldap;
#[cfg(feature = "oidc")]
pub mod oidc;
#[cfg(any(feature = "ldap", feature = "oidc"))]
mod provider;
mod token;

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
pub use token::{TokenFile, TokenRecord, hash_token, new_token};

use crate::Error;

/// Somebody who proved who he is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Principal {
    /// User name.
    pub user: String,
    /// Groups, as the authenticator knows them.
    pub groups: Vec<String>,
    /// How it was proved.
    pub proof: Proof,
}

/// How a principal proved who he is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Proof {
    /// A bearer token from the token file.
    Token,
    /// A client certificate that our authority signed.
    ClientCertificate,
}

/// What a request brings to prove who sends it.
#[derive(Clone, Default)]
pub struct Credentials {
    /// The bearer token of the `Authorization` header. Never logged.
    pub bearer: Option<String>,
    /// Common name of the verified client certificate.
    pub certificate: Option<String>,
    /// Where the connection comes from.
    pub address: Option<IpAddr>,
}

/// Tells who sends a request.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// The principal that `credentials` prove.
    ///
    /// # Errors
    ///
    /// Kind `Unauthenticated` when they prove nobody; `Unavailable` when it cannot be known now.
    async fn authenticate(&self, credentials: &Credentials) -> Result<Arc<Principal>, Error>;
}
