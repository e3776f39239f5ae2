//! OpenID Connect: bearer tokens of an issuer, and the login of a person there.
//!
//! A token is checked in three steps, each a pure function: [`SignedToken::decode`] cuts it up,
//! [`TokenRules::check`] looks at what it says about itself (so that a token of somebody else
//! never makes us ask the issuer for keys), [`KeySet::verify`] checks the signature and
//! [`TokenRules::identity`] makes a person of a token whose signature was right, and of no other.
//! [`OidcIssuer`] does these steps with keys that it fetches, keeps and renews.
//!
//! [`OidcLogin`] gets a token for a person at a command line: authorization code with PKCE, the
//! code coming back to a loopback address.
//!
//! Specs: OpenID Connect Core 1.0 §3.1.3.7, Discovery 1.0 §4; RFC 7515, 7517, 7519, 7636, 8252,
//! 8725, 9207. Claims, prefixes and required claims mean what the `--oidc-*` flags of
//! kube-apiserver mean, where [`OidcSettings`] does not say otherwise.

mod adapter;
mod claims;
mod discovery;
mod https;
mod issuer;
mod key_cache;
mod key_set;
mod login;
mod pkce;
mod settings;
mod signed_token;

pub use claims::{OidcIdentity, TokenRules};
pub use discovery::{Discovery, DiscoveryError};
pub use issuer::OidcIssuer;
pub use key_cache::{CachePolicy, KeyCache, Lookup};
pub use key_set::{KeySet, KeySetError, VerifiedToken};
pub use login::{LoginSettings, LoginTokens, OidcLogin, PendingLogin};
pub use pkce::{CallbackError, Challenge};
pub use settings::{OidcSettings, SigningAlgorithm};
pub use signed_token::{SignedToken, TokenError};

pub use self::https::UrlError;
pub use super::provider::NameError;
