use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

use super::{NameError, SigningAlgorithm};

/// Longest token in bytes: more does not fit into a header of most servers.
pub(super) const MAX_TOKEN: usize = 16 * 1024;

/// Why a token proves nobody. Nothing of the token is in the message.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum TokenError {
    /// More than 16 KiB.
    #[error("the token has {size} bytes, limit {MAX_TOKEN}")]
    TooLong {
        /// Bytes it has.
        size: usize,
    },
    /// Not three parts of base64url with JSON objects in the first two.
    #[error("the token is not a signed JWT")]
    Malformed,
    /// `none`, a shared key, or one that the settings leave out.
    #[error("the token is signed in a way that does not count here")]
    Algorithm,
    /// `typ` names another kind of token, such as a logout token.
    #[error("the token is of a kind that proves nobody")]
    Kind,
    /// `crit` demands what is not known here.
    #[error("the token demands extensions that are not known here")]
    Critical,
    /// `iss` is not the issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// `aud` has none of the audiences.
    #[error("the token is for another audience")]
    Audience,
    /// `azp` is somebody else, or absent where several audiences make it needed.
    #[error("the token was given to another client")]
    AuthorizedParty,
    /// `exp` has passed.
    #[error("the token has expired; log in again")]
    Expired,
    /// `nbf` is to come.
    #[error("the token is not valid yet")]
    NotYet,
    /// `iat` is to come: the issuer's clock or the token is wrong.
    #[error("the token is from the future; are the clocks right?")]
    FromTheFuture,
    /// A claim is not there.
    #[error("the token has no claim `{claim}`")]
    Missing {
        /// Its name.
        claim: String,
    },
    /// A claim is not of the type it must have, or a required one has another text.
    #[error("claim `{claim}` of the token is not as it must be")]
    Claim {
        /// Its name.
        claim: String,
    },
    /// `email` is the user name, and `email_verified` is not true.
    #[error("the token's email address is not verified")]
    EmailNotVerified,
    /// The user name or a group cannot be one here.
    #[error("claim `{claim}` of the token {why}")]
    Name {
        /// The claim that it came from.
        claim: String,
        /// What is wrong with it.
        why: NameError,
    },
    /// More groups than anybody has.
    #[error("the token has {count} groups, limit {max}")]
    Groups {
        /// Groups it has.
        count: usize,
        /// Groups allowed.
        max: usize,
    },
    /// `nonce` is not that of the login.
    #[error("the token belongs to another login")]
    Nonce,
    /// No key of the issuer has that id.
    #[error("the token is signed with a key that the issuer does not have")]
    UnknownKey,
    /// The signature is not that key's.
    #[error("the token's signature is wrong")]
    Forged,
}

/// A token cut up. What it says is not proved.
#[derive(Debug)]
pub struct SignedToken<'a> {
    pub(super) algorithm: SigningAlgorithm,
    pub(super) key_id: Option<String>,
    pub(super) claims: Map<String, Value>,
    /// What is signed: the first two parts with the point between.
    pub(super) message: &'a str,
    pub(super) signature: &'a str,
}

/// What of a header counts. Keys that a token brings along (`jwk`, `jku`, `x5c`, `x5u`) do not.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

impl<'a> SignedToken<'a> {
    /// Cuts up a token in JWS compact serialization.
    ///
    /// # Errors
    ///
    /// `TooLong`, `Malformed`, `Algorithm`, `Kind` or `Critical`.
    pub fn decode(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN {
            return Err(TokenError::TooLong { size: text.len() });
        }
        let (message, signature) = text.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        if payload.contains('.') {
            return Err(TokenError::Malformed);
        }
        let header: Header = json(header)?;
        let algorithm = SigningAlgorithm::named(&header.alg).ok_or(TokenError::Algorithm)?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        // RFC 8725 §3.11: a token made for something else must not count here.
        let kind = header.typ.as_deref().map(str::to_ascii_lowercase);
        let kind = kind
            .as_deref()
            .map(|kind| kind.trim_start_matches("application/"));
        if !matches!(kind, None | Some("jwt" | "at+jwt")) {
            return Err(TokenError::Kind);
        }
        Ok(Self {
            algorithm,
            key_id: header.kid,
            claims: json(payload)?,
            message,
            signature,
        })
    }

    /// The issuer that any JWT names, whatever else is wrong with it.
    pub(super) fn claimed_issuer(text: &str) -> Option<String> {
        if text.len() > MAX_TOKEN {
            return None;
        }
        let payload = text.split('.').nth(1)?;
        let claims: Map<String, Value> = json(payload).ok()?;
        claims.get("iss").and_then(Value::as_str).map(str::to_owned)
    }
}

fn json<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, TokenError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed)
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::{MAX_TOKEN, SignedToken, TokenError};

    fn token(header: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", part(header), part("{}"), part("signature"))
    }

    #[test]
    fn what_is_no_signed_jwt_is_told_so_without_being_shown() {
        let good = token(r#"{"alg":"RS256"}"#);
        assert!(SignedToken::decode(&good).is_ok());
        for text in [
            "",
            ".",
            "..",
            "...",
            "a.b.c",
            &good.replace('.', ""),
            &format!("{good}.e30"),
            &format!("e30.{good}"),
            &good.replacen('e', "=", 1),
            &format!(" {good}"),
            &token("[]"),
            &token(r#"{"alg":1}"#),
            &token(r#"{"alg":"RS256""#),
            &token(r#"{"kid":"a"}"#),
            "dk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            let got = SignedToken::decode(text).err();
            assert_eq!(got, Some(TokenError::Malformed), "{text}");
        }
        let long = "a".repeat(MAX_TOKEN + 1);
        let got = SignedToken::decode(&long).err();
        assert_eq!(
            got,
            Some(TokenError::TooLong {
                size: MAX_TOKEN + 1
            })
        );
    }

    #[test]
    fn headers_that_weaken_a_token_are_refused() {
        for (header, why) in [
            (r#"{"alg":"none"}"#, TokenError::Algorithm),
            (r#"{"alg":"NONE"}"#, TokenError::Algorithm),
            (r#"{"alg":"nOnE"}"#, TokenError::Algorithm),
            (r#"{"alg":""}"#, TokenError::Algorithm),
            (r#"{"alg":"HS256"}"#, TokenError::Algorithm),
            (r#"{"alg":"RS512"}"#, TokenError::Algorithm),
            (
                r#"{"alg":"RS256","crit":["b64"],"b64":false}"#,
                TokenError::Critical,
            ),
            (r#"{"alg":"RS256","crit":[]}"#, TokenError::Critical),
            (r#"{"alg":"RS256","typ":"logout+jwt"}"#, TokenError::Kind),
            (r#"{"alg":"RS256","typ":"dpop+jwt"}"#, TokenError::Kind),
        ] {
            assert_eq!(
                SignedToken::decode(&token(header)).err(),
                Some(why),
                "{header}"
            );
        }
        for kind in ["JWT", "jwt", "at+jwt", "application/at+jwt"] {
            let header = format!(r#"{{"alg":"ES256","typ":"{kind}"}}"#);
            assert!(SignedToken::decode(&token(&header)).is_ok(), "{kind}");
        }
    }
}
