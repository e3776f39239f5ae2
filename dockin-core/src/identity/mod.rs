//! Who is this? The [`Authenticator`] port and its adapters.

#[cfg(feature = "gateway")]
mod account;
#[cfg(feature = "gateway")]
pub(crate) mod agent_list;
mod certificate;
mod chain;
#[cfg(feature = "gateway")]
mod directory;
#[cfg(feature = "ldap")]
pub mod ldap;
#[cfg(feature = "oidc")]
pub mod oidc;
#[cfg(feature = "gateway")]
mod password_hash;
#[cfg(feature = "gateway")]
mod passwords;
#[cfg(any(feature = "ldap", feature = "oidc"))]
mod provider;
pub(crate) mod records;
#[cfg(all(feature = "gateway", feature = "kube"))]
mod service_account;
#[cfg(feature = "gateway")]
mod session_key;
#[cfg(feature = "gateway")]
mod session_token;
#[cfg(feature = "gateway")]
mod shared_accounts;
#[cfg(feature = "gateway")]
mod shared_agents;
mod token;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

#[cfg(feature = "gateway")]
pub use account::{AccountRecord, Accounts, MAX_PASSWORD, MIN_PASSWORD};
#[cfg(feature = "gateway")]
pub use agent_list::{AgentList, AgentRecord, CertificateRecord, Invitation};
use async_trait::async_trait;
pub use certificate::{CertificateSubject, ClientCertificates};
pub use chain::{Chain, authenticate};
#[cfg(feature = "gateway")]
pub use directory::{CheckedPeople, DirectoryPerson, PeopleDirectory};
use jiff::Timestamp;
#[cfg(feature = "gateway")]
pub(crate) use passwords::network;
#[cfg(feature = "gateway")]
pub use passwords::{KnownPerson, Passwords};
#[cfg(all(feature = "gateway", feature = "kube"))]
pub(crate) use service_account::claimed_audiences;
#[cfg(all(feature = "gateway", feature = "kube"))]
pub use service_account::{ServiceAccounts, TokenReviewer};
#[cfg(feature = "gateway")]
pub use session_token::{IssuedToken, SessionTokens};
#[cfg(feature = "gateway")]
pub use shared_accounts::SharedAccounts;
#[cfg(feature = "gateway")]
pub use shared_agents::{SharedAgent, SharedAgents};
pub use token::{NewToken, TokenFile, TokenRecord, hash_token, new_token};

use crate::Error;

/// Somebody who proved who he is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Principal {
    /// User name.
    pub user: String,
    /// Groups, as the authenticator knows them.
    pub groups: Vec<String>,
    /// Tenant whose access rules count for him; the default one when none is named.
    pub tenant: Option<String>,
    /// More that is known of him, such as scopes, for API servers. Keys are lower case.
    pub extra: BTreeMap<String, Vec<String>>,
    /// Who asks, when he was allowed to act as this one.
    pub impersonator: Option<String>,
    /// How it was proved.
    pub proof: Proof,
    /// What proved it, if that can be taken back here.
    pub basis: Option<Basis>,
}

/// A credential that may be taken back here, without its secret.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Basis {
    /// A session token.
    Session {
        /// Its id.
        id: String,
        /// By what name and id a directory knows the person, who then has no account.
        entry: Option<(String, String)>,
    },
    /// A bearer token, by its SHA-256 in hex.
    Token(String),
    /// An ID token: not the gateway's own, but its person's sessions may be ended here.
    IdToken {
        /// When it was issued.
        issued: Timestamp,
    },
}

impl Principal {
    /// Somebody of no named tenant, about whom nothing more is known.
    pub fn new(user: impl Into<String>, groups: Vec<String>, proof: Proof) -> Self {
        Self {
            user: user.into(),
            groups,
            tenant: None,
            extra: BTreeMap::new(),
            impersonator: None,
            proof,
            basis: None,
        }
    }
}

/// How a principal proved who he is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Proof {
    /// A bearer token from the token file.
    Token,
    /// A session token, from logging in.
    Session,
    /// A client certificate that our authority signed.
    ClientCertificate,
    /// An ID token of an OpenID Connect provider.
    Oidc,
    /// A token of a service account, which its cluster has checked.
    ServiceAccount,
    /// It is Dockin itself.
    Internal,
}

/// What a request brings to prove who sends it.
#[derive(Clone, Default)]
pub struct Credentials {
    /// The bearer token of the `Authorization` header. Never logged.
    pub bearer: Option<String>,
    /// Whom the verified client certificate is for.
    pub certificate: Option<CertificateSubject>,
    /// Where the connection comes from.
    pub address: Option<IpAddr>,
}

/// Tells who sends a request.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// The principal that `credentials` prove; none when they are nothing this one knows, so that
    /// another may be asked.
    ///
    /// # Errors
    ///
    /// Kind `Unauthenticated` when they are of its kind and prove nobody, as a token that has
    /// expired; `Unavailable` when it cannot be known now.
    async fn authenticate(
        &self,
        credentials: &Credentials,
    ) -> Result<Option<Arc<Principal>>, Error>;

    /// Why sessions that `principal` opened at `since` have to end: what it was proved by was taken
    /// back, or whom it stood for is gone. Nothing, when there is no such reason; that a session
    /// token has expired is none.
    ///
    /// # Errors
    ///
    /// `Unavailable` when it cannot be known now.
    async fn ended(
        &self,
        _principal: &Principal,
        _since: Timestamp,
    ) -> Result<Option<String>, Error> {
        Ok(None)
    }
}
