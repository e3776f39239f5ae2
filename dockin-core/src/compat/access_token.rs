use jiff::Zoned;
use serde::Serialize;

use super::{EnvelopeKey, IV_SIZE, request::Fields};
use crate::{Error, ErrorKind};

/// Who logged in, as Dockin-Ops writes it: what `ctrl/login` answers, and inside an envelope the
/// token of `ctrl/auth`.
///
/// The predecessor puts the clear password in it and believes whatever decrypts. Here `password` is
/// always empty, and what proves something is `secret`: the session token of the gateway, signed,
/// short-lived and revocable. User, rule and times beside it are for the client's eyes; a forged
/// envelope around nothing is nothing.
#[derive(Clone, Eq, PartialEq)]
pub struct AccessToken {
    /// Who.
    pub user: String,
    /// The rule he logged in for.
    pub rule: String,
    /// The session token.
    pub secret: String,
}

/// The keys in the predecessor's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Identity<'a> {
    user_name: &'a str,
    password: &'a str,
    rule: &'a str,
    expire: i64,
    create_time: String,
    access_token: &'a str,
}

/// Bytes of a token at most; far more than one needs.
const MAX_TOKEN: usize = 16 * 1024;

impl AccessToken {
    /// The token itself: a sealed identity that is good for `seconds` from `now`.
    ///
    /// # Errors
    ///
    /// As [`EnvelopeKey::seal`].
    pub fn seal(
        &self,
        key: &EnvelopeKey,
        iv: [u8; IV_SIZE],
        now: &Zoned,
        seconds: i64,
    ) -> Result<String, Error> {
        key.seal(iv, self.identity(&self.secret, now, seconds).as_bytes())
    }

    /// The text that `ctrl/login` answers, with `sealed`, the token, in it.
    #[must_use]
    pub fn identity(&self, sealed: &str, now: &Zoned, seconds: i64) -> String {
        let identity = Identity {
            user_name: &self.user,
            password: "",
            rule: &self.rule,
            expire: seconds,
            create_time: now.strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string(),
            access_token: sealed,
        };
        // Texts and a number are always JSON.
        serde_json::to_string(&identity).unwrap_or_default()
    }

    /// Reads what a client shows: a token of [`seal`](Self::seal), or without an envelope a
    /// credential of the gateway as it stands, for who has no other. It proves nothing yet.
    ///
    /// # Errors
    ///
    /// `Unauthenticated` when it is neither.
    pub fn open(key: &EnvelopeKey, shown: &str) -> Result<Self, Error> {
        let wrong = || {
            let what = "the access token is none of this gateway: log in again";
            Error::new(ErrorKind::Unauthenticated, what)
        };
        if shown.len() > MAX_TOKEN || !shown.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong());
        }
        if !shown.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self {
                user: String::new(),
                rule: String::new(),
                secret: shown.to_owned(),
            });
        }
        let text = key.open(shown).map_err(|_| wrong())?;
        let value = serde_json::from_slice(&text).map_err(|_| wrong())?;
        let fields = Fields::new(value).ok_or_else(wrong)?;
        let field = |name| fields.text(name).map_err(|_| wrong());
        let secret = field("accesstoken")?;
        if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong());
        }
        Ok(Self {
            user: field("username")?,
            rule: field("rule")?,
            secret,
        })
    }
}

/// Without the secret.
impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessToken")
            .field("user", &self.user)
            .field("rule", &self.rule)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use jiff::Zoned;

    use super::AccessToken;
    use crate::compat::EnvelopeKey;

    fn key() -> EnvelopeKey {
        EnvelopeKey::new(b"0123456789abcdef").unwrap()
    }

    fn now() -> Zoned {
        "2021-03-04T10:00:00.123456789+08:00[+08:00]"
            .parse()
            .unwrap()
    }

    fn token() -> AccessToken {
        AccessToken {
            user: "app".to_owned(),
            rule: "default".to_owned(),
            secret: "dks_a.b".to_owned(),
        }
    }

    /// The shape of the field, its password left out.
    #[test]
    fn an_identity_has_the_keys_of_the_field_and_no_password() {
        assert_eq!(
            token().identity("00ff", &now(), 3600),
            r#"{"userName":"app","password":"","rule":"default","expire":3600,"createTime":"2021-03-04T10:00:00.123456789+08:00","accessToken":"00ff"}"#
        );
    }

    #[test]
    fn a_sealed_token_is_read_again_and_a_bare_one_stands_for_itself() {
        let sealed = token().seal(&key(), [3; 16], &now(), 3600).unwrap();
        assert!(sealed.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(AccessToken::open(&key(), &sealed).unwrap(), token());
        let bare = AccessToken::open(&key(), "dks_a.b").unwrap();
        assert_eq!((&*bare.user, &*bare.secret), ("", "dks_a.b"));
    }

    /// H22: the key is in every client of the field, so an envelope proves nothing. What was made
    /// with it and holds no session token is not even looked at.
    #[test]
    fn h22_an_envelope_without_a_session_token_is_nothing() {
        let forged = |text: &str| key().seal([9; 16], text.as_bytes()).unwrap();
        for text in [
            r#"{"userName":"admin","password":"admin","rule":"default","expire":3600,"createTime":"2999-01-01T00:00:00Z","accessToken":""}"#,
            r#"{"userName":"dockin-opagent","expire":3600,"createTime":"2999-01-01T00:00:00Z"}"#,
            r#"{"userName":"admin","accessToken":7}"#,
            r#"{"userName":"admin","accessToken":"a b"}"#,
            "[]",
            "x",
            "",
        ] {
            let error = AccessToken::open(&key(), &forged(text)).unwrap_err();
            assert!(error.message().contains("log in again"), "{text}");
        }
        for text in ["00", "a b", "ä", "\u{7f}", &"a".repeat(20_000)] {
            assert!(AccessToken::open(&key(), text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_secret_is_not_shown() {
        let shown = format!("{:?}", token());
        assert!(shown.contains("app") && !shown.contains("dks_"), "{shown}");
    }
}
