use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::percent_encode;

/// The secrets of one login: what ties the answer, the code and the token to who asked.
///
/// `Debug` shows none of them.
pub struct Challenge {
    verifier: String,
    state: String,
    nonce: String,
}

/// Why an answer to a login gives no code. What the answer says is shown only where the issuer's
/// list of errors has it.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum CallbackError {
    /// `state` is not that of this login: somebody else's answer, or an attempt to slip one in.
    #[error("the answer belongs to another login")]
    State,
    /// `iss` is another issuer, or absent from one that always sends it.
    #[error("the answer comes from another issuer")]
    Issuer,
    /// The issuer, or the person there, said no.
    #[error("the identity provider refused: {code}")]
    Refused {
        /// Its word for it, such as `access_denied`.
        code: String,
    },
    /// Neither a code nor an error, one of them twice, or not in a query's form.
    #[error("the answer has no code in it")]
    Malformed,
}

impl Challenge {
    /// The secrets of a new login, out of 96 bytes that nobody can guess.
    #[must_use]
    pub fn from_entropy(entropy: &[u8; 96]) -> Self {
        let (verifier, rest) = entropy.split_at(32);
        let (state, nonce) = rest.split_at(32);
        Self {
            verifier: URL_SAFE_NO_PAD.encode(verifier),
            state: URL_SAFE_NO_PAD.encode(state),
            nonce: URL_SAFE_NO_PAD.encode(nonce),
        }
    }

    /// What the issuer is shown of the verifier: `BASE64URL(SHA256(verifier))`, RFC 7636 §4.2.
    #[must_use]
    pub fn code_challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier.as_bytes()))
    }

    pub(super) fn verifier(&self) -> &str {
        &self.verifier
    }

    pub(super) fn state(&self) -> &str {
        &self.state
    }

    pub(super) fn nonce(&self) -> &str {
        &self.nonce
    }

    /// The code in `query`, the part behind `?` of the address that the browser was sent back to.
    ///
    /// `names_itself` says whether the issuer puts its name on every answer.
    ///
    /// # Errors
    ///
    /// [`CallbackError`]. Of an answer with a wrong `state` nothing else is looked at.
    pub fn code(
        &self,
        query: &str,
        issuer: &str,
        names_itself: bool,
    ) -> Result<String, CallbackError> {
        let [state, iss, error, code] = members(query, ["state", "iss", "error", "code"])?;
        if !state.is_some_and(|state| same(state.as_bytes(), self.state.as_bytes())) {
            return Err(CallbackError::State);
        }
        match iss {
            Some(iss) if iss == issuer => {}
            None if !names_itself => {}
            _ => return Err(CallbackError::Issuer),
        }
        if let Some(error) = error {
            let word = |c: char| c.is_ascii_lowercase() || c == '_';
            let code = if error.len() <= 64 && error.chars().all(word) {
                error
            } else {
                "without a known reason".to_owned()
            };
            return Err(CallbackError::Refused { code });
        }
        code.filter(|code| !code.is_empty())
            .ok_or(CallbackError::Malformed)
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenge")
    }
}

/// Compares without telling by its time where the difference is.
fn same(left: &[u8], right: &[u8]) -> bool {
    let different = left
        .iter()
        .zip(right)
        .fold(0, |all, (left, right)| all | (left ^ right));
    left.len() == right.len() && different == 0
}

/// The values of some members of a query, each of which may be there once.
fn members<const N: usize>(
    query: &str,
    names: [&str; N],
) -> Result<[Option<String>; N], CallbackError> {
    let mut found = [const { None }; N];
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        for (wanted, place) in names.iter().zip(&mut found) {
            if *wanted == name {
                let value = decode(value).ok_or(CallbackError::Malformed)?;
                if place.replace(value).is_some() {
                    return Err(CallbackError::Malformed);
                }
            }
        }
    }
    Ok(found)
}

/// Undoes `application/x-www-form-urlencoded`.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
                u8::try_from(value).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Members and values as `application/x-www-form-urlencoded`.
pub(super) fn form(members: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in members {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        text.push_str(&percent_encode(value));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{CallbackError, Challenge, decode, form};

    const ISSUER: &str = "https://id.example.com";

    #[test]
    fn the_challenge_is_that_of_the_standard() {
        // RFC 7636 appendix B.
        let challenge = Challenge {
            verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned(),
            state: String::new(),
            nonce: String::new(),
        };
        assert_eq!(
            challenge.code_challenge(),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn the_secrets_differ_and_are_not_shown() {
        let mut entropy = [0; 96];
        for (byte, value) in entropy.iter_mut().zip(0..) {
            *byte = value;
        }
        let challenge = Challenge::from_entropy(&entropy);
        let secrets = [challenge.verifier(), challenge.state(), challenge.nonce()];
        for secret in secrets {
            assert_eq!(secret.len(), 43);
            assert!(!format!("{challenge:?}").contains(secret));
            assert_eq!(secrets.iter().filter(|each| **each == secret).count(), 1);
        }
    }

    #[test]
    fn only_the_answer_to_this_login_gives_a_code() {
        let challenge = Challenge {
            verifier: String::new(),
            state: "st4te".to_owned(),
            nonce: String::new(),
        };
        let refused = |code: &str| CallbackError::Refused {
            code: code.to_owned(),
        };
        for (query, verdict) in [
            ("code=abc&state=st4te", Ok("abc")),
            ("state=st4te&code=a%2Bb+c&x=%zz", Ok("a+b c")),
            (
                "code=abc&state=st4te&iss=https%3A%2F%2Fid.example.com",
                Ok("abc"),
            ),
            (
                "code=abc&state=st4te&iss=https://evil.example.com",
                Err(CallbackError::Issuer),
            ),
            ("code=abc&state=st4t", Err(CallbackError::State)),
            ("code=abc&state=St4te", Err(CallbackError::State)),
            ("code=abc&state=", Err(CallbackError::State)),
            ("code=abc", Err(CallbackError::State)),
            ("error=access_denied", Err(CallbackError::State)),
            ("", Err(CallbackError::State)),
            ("state=st4te", Err(CallbackError::Malformed)),
            ("state=st4te&code=", Err(CallbackError::Malformed)),
            ("state=st4te&code=a&code=b", Err(CallbackError::Malformed)),
            (
                "state=st4te&state=st4te&code=a",
                Err(CallbackError::Malformed),
            ),
            ("state=st4te&code=%f", Err(CallbackError::Malformed)),
            ("state=st4te&code=%ff", Err(CallbackError::Malformed)),
            (
                "state=st4te&code=abc&error=access_denied",
                Err(refused("access_denied")),
            ),
            (
                "state=st4te&error=%1b[2J",
                Err(refused("without a known reason")),
            ),
        ] {
            let got = challenge.code(query, ISSUER, false);
            assert_eq!(got, verdict.map(str::to_owned), "{query}");
        }
        // Mix-up: an issuer that always says its name has not said it here.
        let got = challenge.code("code=abc&state=st4te", ISSUER, true);
        assert_eq!(got, Err(CallbackError::Issuer));
    }

    #[test]
    fn what_a_form_has_comes_back_as_it_was() {
        let value = "a b+c&d=e%\u{e4}/:?";
        let text = form(&[("x", "1"), ("y", value)]);
        let (first, second) = text.split_once('&').unwrap();
        assert_eq!(first, "x=1");
        assert_eq!(decode(second.strip_prefix("y=").unwrap()).unwrap(), value);
    }
}
