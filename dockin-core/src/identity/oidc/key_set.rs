use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

use super::{SignedToken, SigningAlgorithm, TokenError};

/// Keys of one issuer; no issuer has more.
const MAX_KEYS: usize = 64;

/// The keys of an issuer that can check a signature.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    id: Option<String>,
    algorithm: SigningAlgorithm,
    material: DecodingKey,
}

/// Why a document is not a set of keys.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum KeySetError {
    /// Not `{"keys": [ … ]}`.
    #[error("the issuer's keys are not a JWK set")]
    Malformed,
    /// More keys than any issuer has.
    #[error("the issuer has {count} keys, limit {MAX_KEYS}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// None that can check a signature that counts here.
    #[error("the issuer has no key for RS256, ES256 or EdDSA")]
    Unusable,
}

/// What a token whose signature was right says. Made by [`KeySet::verify`] alone.
#[derive(Debug)]
pub struct VerifiedToken<'a> {
    pub(super) token: &'a SignedToken<'a>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Map<String, Value>>,
}

impl KeySet {
    /// Reads a JWK set. Keys for encryption, of other kinds, or of a size that is not safe are
    /// passed over; a shared key never counts.
    ///
    /// # Errors
    ///
    /// [`KeySetError`]; `Unusable` when nothing is left.
    pub fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        let Document { keys } =
            serde_json::from_slice(document).map_err(|_| KeySetError::Malformed)?;
        if keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany { count: keys.len() });
        }
        let keys: Vec<Key> = keys.iter().filter_map(Key::parse).collect();
        if keys.is_empty() {
            return Err(KeySetError::Unusable);
        }
        Ok(Self { keys })
    }

    /// Whether a key here could have signed `token`.
    #[must_use]
    pub fn knows(&self, token: &SignedToken<'_>) -> bool {
        self.candidates(token).next().is_some()
    }

    /// Checks the signature of `token`.
    ///
    /// The key decides how: one for RSA never checks anything but RS256, whatever the header says.
    ///
    /// # Errors
    ///
    /// `UnknownKey` or `Forged`.
    pub fn verify<'a>(&self, token: &'a SignedToken<'a>) -> Result<VerifiedToken<'a>, TokenError> {
        let mut known = false;
        for key in self.candidates(token) {
            known = true;
            let algorithm = match key.algorithm {
                SigningAlgorithm::Rs256 => Algorithm::RS256,
                SigningAlgorithm::Es256 => Algorithm::ES256,
                SigningAlgorithm::EdDsa => Algorithm::EdDSA,
            };
            let message = token.message.as_bytes();
            // An error is a signature that cannot be read: as wrong as a wrong one.
            if crypto::verify(token.signature, message, &key.material, algorithm).unwrap_or(false) {
                return Ok(VerifiedToken { token });
            }
        }
        Err(if known {
            TokenError::Forged
        } else {
            TokenError::UnknownKey
        })
    }

    fn candidates(&self, token: &SignedToken<'_>) -> impl Iterator<Item = &Key> {
        let wanted = token.key_id.clone();
        let algorithm = token.algorithm;
        self.keys
            .iter()
            .filter(move |key| key.algorithm == algorithm && (wanted.is_none() || key.id == wanted))
    }
}

impl Key {
    fn parse(members: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let verifies = |operations: &Vec<Value>| operations.iter().any(|each| each == "verify");
        let operations = members.get("key_ops").and_then(Value::as_array);
        if !operations.is_none_or(verifies) {
            return None;
        }
        let size = |name: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(text(name)?).ok()?;
            Some(bytes.len())
        };
        let (algorithm, material) = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let safe = (256..=1024).contains(&size("n")?);
                let key = DecodingKey::from_rsa_components(text("n")?, text("e")?).ok()?;
                (SigningAlgorithm::Rs256, safe.then_some(key)?)
            }
            ("EC", Some("P-256")) => {
                let safe = size("x")? == 32 && size("y")? == 32;
                let key = DecodingKey::from_ec_components(text("x")?, text("y")?).ok()?;
                (SigningAlgorithm::Es256, safe.then_some(key)?)
            }
            ("OKP", Some("Ed25519")) => {
                let safe = size("x")? == 32;
                let key = DecodingKey::from_ed_components(text("x")?).ok()?;
                (SigningAlgorithm::EdDsa, safe.then_some(key)?)
            }
            _ => return None,
        };
        // A key that is for PS256 or RS512 must not check RS256.
        if let Some(named) = members.get("alg")
            && named.as_str().and_then(SigningAlgorithm::named) != Some(algorithm)
        {
            return None;
        }
        Some(Self {
            id: text("kid").map(str::to_owned),
            algorithm,
            material,
        })
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.algorithm, self.id)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde_json::{Value, json};

    use super::{KeySet, KeySetError, MAX_KEYS};
    use crate::identity::oidc::{SignedToken, TokenError};

    /// RFC 7515 appendix A.3: ES256.
    const ES256: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

    fn es256_key() -> Value {
        json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        })
    }

    /// RFC 8037 appendix A: Ed25519.
    fn eddsa_key() -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" })
    }

    fn set(keys: &[Value]) -> Result<KeySet, KeySetError> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn with(mut key: Value, member: &str, value: Value) -> Value {
        key.as_object_mut()
            .unwrap()
            .insert(member.to_owned(), value);
        key
    }

    #[test]
    fn the_signature_of_the_standard_is_right_and_one_bit_less_is_not() {
        let keys = set(&[eddsa_key(), es256_key()]).unwrap();
        let token = SignedToken::decode(ES256).unwrap();
        assert!(keys.verify(&token).is_ok());
        for (from, to) in [
            ("DtEh", "DtEg"),
            ("6NU1Q", "6NU1"),
            ("NU1Q", "NU1R"),
            ("SISlSA", ""),
        ] {
            let forged = ES256.replace(from, to);
            if forged == ES256 {
                continue;
            }
            let token = SignedToken::decode(&forged).unwrap();
            assert_eq!(keys.verify(&token).unwrap_err(), TokenError::Forged, "{to}");
        }
        // The other key of the set is not asked, whatever the header says.
        let header = "eyJhbGciOiJFZERTQSJ9";
        let confused = ES256.replacen("eyJhbGciOiJFUzI1NiJ9", header, 1);
        let token = SignedToken::decode(&confused).unwrap();
        assert_eq!(keys.verify(&token).unwrap_err(), TokenError::Forged);
        let token = SignedToken::decode(ES256).unwrap();
        let unknown = set(&[eddsa_key()]).unwrap().verify(&token).unwrap_err();
        assert_eq!(unknown, TokenError::UnknownKey);
    }

    #[test]
    fn keys_that_must_not_check_signatures_are_passed_over() {
        let small = json!({ "kty": "RSA", "n": "AQ".repeat(64), "e": "AQAB" });
        let shared = json!({ "kty": "oct", "k": "AAAA", "alg": "HS256" });
        for key in [
            shared,
            small,
            json!({}),
            json!({ "kty": "EC", "crv": "P-384", "x": "AA", "y": "AA" }),
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "AA" }),
            with(es256_key(), "use", json!("enc")),
            with(es256_key(), "key_ops", json!(["sign"])),
            with(es256_key(), "alg", json!("ES384")),
            with(es256_key(), "alg", json!(1)),
            with(es256_key(), "alg", json!("EdDSA")),
            with(es256_key(), "x", json!("not base64!")),
        ] {
            assert_eq!(
                set(std::slice::from_ref(&key)).unwrap_err(),
                KeySetError::Unusable,
                "{key}"
            );
            // One such key spoils no other.
            let both = set(&[key, es256_key()]).unwrap();
            assert!(both.verify(&SignedToken::decode(ES256).unwrap()).is_ok());
        }
        let good = with(
            with(es256_key(), "use", json!("sig")),
            "key_ops",
            json!(["verify"]),
        );
        assert!(set(&[good]).is_ok());
    }

    #[test]
    fn what_is_no_set_of_keys_is_refused() {
        for text in ["", "{}", "[]", r#"{"keys":{}}"#, r#"{"keys":[1]}"#] {
            let got = KeySet::parse(text.as_bytes()).unwrap_err();
            assert_eq!(got, KeySetError::Malformed, "{text}");
        }
        assert_eq!(set(&[]).unwrap_err(), KeySetError::Unusable);
        let many = vec![es256_key(); MAX_KEYS + 1];
        assert_eq!(
            set(&many).unwrap_err(),
            KeySetError::TooMany {
                count: MAX_KEYS + 1
            }
        );
    }
}
