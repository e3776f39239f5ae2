use serde::Deserialize;
use thiserror::Error;

use super::https::{HttpsUrl, UrlError};

/// What an issuer says about itself at `/.well-known/openid-configuration`.
#[derive(Clone, Debug)]
pub struct Discovery {
    pub(super) issuer: String,
    pub(super) keys: HttpsUrl,
    pub(super) authorization: Option<HttpsUrl>,
    pub(super) token: Option<HttpsUrl>,
    /// It puts its name on the answer to a login, so one without is not its own (RFC 9207).
    pub(super) names_itself: bool,
}

/// Why a document is not what the issuer says about itself.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// Not JSON, or without `issuer` or `jwks_uri`.
    #[error("the issuer's discovery document is not one")]
    Malformed,
    /// `issuer` in it is not, byte for byte, the one that was asked.
    #[error(
        "the discovery document is of another issuer; `issuer` must be the same to the last slash"
    )]
    OtherIssuer,
    /// An address in it is not `https`.
    #[error("`{field}` of the discovery document {why}")]
    Url {
        /// Which address.
        field: &'static str,
        /// What is wrong with it.
        why: UrlError,
    },
    /// It has a list of PKCE methods without the only safe one.
    #[error("the issuer does not know PKCE with S256")]
    NoPkce,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
    #[serde(default)]
    authorization_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint: Option<String>,
    #[serde(default)]
    code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Discovery {
    /// Where the document of `issuer` is.
    pub(super) fn address(issuer: &HttpsUrl) -> Result<HttpsUrl, UrlError> {
        let base = issuer.as_str().trim_end_matches('/');
        HttpsUrl::parse(&format!("{base}/.well-known/openid-configuration"))
    }

    /// Reads the document of `issuer`.
    ///
    /// # Errors
    ///
    /// [`DiscoveryError`].
    pub fn parse(issuer: &str, document: &[u8]) -> Result<Self, DiscoveryError> {
        let document: Document =
            serde_json::from_slice(document).map_err(|_| DiscoveryError::Malformed)?;
        if document.issuer != issuer {
            return Err(DiscoveryError::OtherIssuer);
        }
        let methods = document.code_challenge_methods_supported;
        if methods.is_some_and(|methods| !methods.iter().any(|method| method == "S256")) {
            return Err(DiscoveryError::NoPkce);
        }
        let url = |field, text: &str| {
            HttpsUrl::parse(text).map_err(|why| DiscoveryError::Url { field, why })
        };
        let optional = |field, text: Option<String>| text.map(|text| url(field, &text)).transpose();
        Ok(Self {
            keys: url("jwks_uri", &document.jwks_uri)?,
            authorization: optional("authorization_endpoint", document.authorization_endpoint)?,
            token: optional("token_endpoint", document.token_endpoint)?,
            names_itself: document.authorization_response_iss_parameter_supported,
            issuer: document.issuer,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde_json::{Value, json};

    use super::{Discovery, DiscoveryError};
    use crate::identity::oidc::https::{HttpsUrl, UrlError};

    const ISSUER: &str = "https://id.example.com/realm";

    fn parse(changes: &Value) -> Result<Discovery, DiscoveryError> {
        let mut document = json!({
            "issuer": ISSUER, "jwks_uri": "https://keys.example.com/jwks",
            "authorization_endpoint": "https://id.example.com/auth",
            "token_endpoint": "https://id.example.com/token",
        });
        let members = document.as_object_mut().unwrap();
        members.extend(changes.as_object().unwrap().clone());
        Discovery::parse(ISSUER, document.to_string().as_bytes())
    }

    #[test]
    fn a_document_of_somebody_else_or_without_encryption_is_refused() {
        assert_eq!(
            parse(&json!({})).unwrap().keys.as_str(),
            "https://keys.example.com/jwks"
        );
        let other = |field| {
            Some(DiscoveryError::Url {
                field,
                why: UrlError::Scheme,
            })
        };
        for (changes, why) in [
            (
                json!({"issuer": "https://id.example.com/realm/"}),
                Some(DiscoveryError::OtherIssuer),
            ),
            (
                json!({"issuer": "https://evil.example.com"}),
                Some(DiscoveryError::OtherIssuer),
            ),
            (json!({"issuer": 1}), Some(DiscoveryError::Malformed)),
            (json!({"jwks_uri": null}), Some(DiscoveryError::Malformed)),
            (
                json!({"jwks_uri": "http://keys.example.com"}),
                other("jwks_uri"),
            ),
            (
                json!({"jwks_uri": "ftp://keys.example.com"}),
                other("jwks_uri"),
            ),
            (
                json!({"token_endpoint": "http://a"}),
                other("token_endpoint"),
            ),
            (
                json!({"code_challenge_methods_supported": ["plain"]}),
                Some(DiscoveryError::NoPkce),
            ),
            (
                json!({"code_challenge_methods_supported": ["plain", "S256"]}),
                None,
            ),
        ] {
            assert_eq!(parse(&changes).err(), why, "{changes}");
        }
    }

    #[test]
    fn the_document_is_behind_the_path_of_the_issuer() {
        for issuer in [
            "https://id.example.com/realm",
            "https://id.example.com/realm/",
        ] {
            let address = Discovery::address(&HttpsUrl::parse(issuer).unwrap()).unwrap();
            let wanted = "https://id.example.com/realm/.well-known/openid-configuration";
            assert_eq!(address.as_str(), wanted);
        }
    }
}
