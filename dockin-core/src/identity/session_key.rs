//! The keys by which session tokens are signed, and how they are told apart.

use std::{fmt, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::{
    Error, ErrorKind,
    audit::{make_secret, read_secret},
    hex::hex,
};

/// The Ed25519 key of one gateway, which never leaves its file.
pub(super) struct SessionKey {
    key: SigningKey,
    id: String,
}

/// Hex digits of a key's id: 128 bits of a hash, so that nobody finds another key for it.
const ID_DIGITS: usize = 32;

impl SessionKey {
    /// Reads the key at `path`, and makes it when it is not there.
    ///
    /// # Errors
    ///
    /// `Misuse` when others may read it, or it is none; `Unavailable` when it can neither be read
    /// nor made.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let seed = match read_secret(path, "session key") {
            Err(error) if error.kind() == ErrorKind::NotFound => make_secret(path, "session key")?,
            read => read?,
        };
        let key = SigningKey::from_bytes(&seed);
        let id = id_of(&key.verifying_key());
        Ok(Self { key, id })
    }

    /// What the public key is called: a hash of it.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The public key in base64url.
    pub(super) fn public(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.verifying_key().as_bytes())
    }

    pub(super) fn verifying(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> Signature {
        self.key.sign(bytes)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Whether `text` can be the id of a key.
pub(super) fn is_id(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == ID_DIGITS && text.bytes().all(digit)
}

/// The public key `text`, if it is one and `id` is its.
pub(super) fn public_key(id: &str, text: &str) -> Option<VerifyingKey> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let key = VerifyingKey::try_from(bytes.as_slice()).ok()?;
    (id_of(&key) == id).then_some(key)
}

fn id_of(key: &VerifyingKey) -> String {
    let mut id = hex(&Sha256::digest(key.as_bytes()));
    id.truncate(ID_DIGITS);
    id
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{SessionKey, is_id, public_key};

    #[test]
    fn a_public_key_is_found_by_its_own_id_alone() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| SessionKey::open(&folder.path().join(name)).unwrap();
        let (one, other) = (open("one.key"), open("other.key"));
        assert_eq!(one.id(), open("one.key").id());
        assert!(is_id(one.id()) && one.id() != other.id());
        assert_eq!(public_key(one.id(), &one.public()), Some(one.verifying()));
        for (id, text) in [
            (one.id(), other.public()),
            (one.id(), String::new()),
            (one.id(), "zz".repeat(16)),
            (one.id(), format!("{}AA", one.public())),
            ("", one.public()),
        ] {
            assert_eq!(public_key(id, &text), None, "{id} {text}");
        }
        for id in ["", "dockin", &one.id().to_uppercase()[1..], &one.public()] {
            assert!(!is_id(id), "{id}");
        }
        assert!(!format!("{one:?}").contains(&one.public()));
    }
}
