//! Signed checkpoints: Ed25519 over the number and the hash of a record.

use std::{fmt, str::FromStr};

use ed25519_dalek::Signer as _;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    ChainHash, Checkpoint,
    chain::{from_hex, to_hex},
};

/// The key that signs checkpoints. Never shown by `Debug`.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key that follows from 32 random bytes, which are the secret.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// What verifies its signatures.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs that record `through` has the hash `head`, and with it every record before.
    #[must_use]
    pub fn sign(&self, through: u64, head: ChainHash) -> SignedHead {
        let signature = self.0.sign(&statement(through, head));
        SignedHead {
            through,
            head: head.to_string(),
            key: self.public().to_string(),
            signature: to_hex(&signature.to_bytes()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey({})", self.public())
    }
}

/// The public half of a [`SigningKey`]; as text 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PublicKey([u8; 32]);

/// A text that is no public key.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("a public key has 64 hexadecimal digits, this text has {length} characters")]
pub struct PublicKeyError {
    /// Characters of the text.
    length: usize,
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&to_hex(&self.0))
    }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        let text = text.trim();
        from_hex(text.as_bytes()).map(Self).ok_or(PublicKeyError {
            length: text.chars().count(),
        })
    }
}

/// A signature over the newest record of a trail, kept beside it: a trail that ends earlier was
/// cut off.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SignedHead {
    /// Number of the record.
    pub through: u64,
    /// Its hash, lower-case hex.
    pub head: String,
    /// Public key, lower-case hex.
    pub key: String,
    /// Ed25519 signature, lower-case hex.
    pub signature: String,
}

impl SignedHead {
    /// The same as details of a checkpoint.
    #[must_use]
    pub fn into_checkpoint(self, closing: bool) -> Checkpoint {
        Checkpoint {
            through: self.through,
            head: self.head,
            key: self.key,
            signature: self.signature,
            closing,
        }
    }

    /// The key it names, when it has signed this.
    #[must_use]
    pub fn signer(&self) -> Option<PublicKey> {
        signer(self.through, &self.head, &self.key, &self.signature)
    }
}

impl Checkpoint {
    /// The key it names, when it has signed this.
    #[must_use]
    pub fn signer(&self) -> Option<PublicKey> {
        signer(self.through, &self.head, &self.key, &self.signature)
    }
}

fn signer(through: u64, head: &str, key: &str, signature: &str) -> Option<PublicKey> {
    let key: PublicKey = key.parse().ok()?;
    let head = ChainHash::parse(head)?;
    let signature = ed25519_dalek::Signature::from_bytes(&from_hex(signature.as_bytes())?);
    let verifying = ed25519_dalek::VerifyingKey::from_bytes(&key.0).ok()?;
    verifying
        .verify_strict(&statement(through, head), &signature)
        .ok()?;
    Some(key)
}

/// What is signed: it can be taken for nothing else that a key may sign.
fn statement(through: u64, head: ChainHash) -> [u8; CONTEXT.len() + 40] {
    let mut statement = [0; CONTEXT.len() + 40];
    let parts = CONTEXT.iter().copied();
    let parts = parts.chain(through.to_be_bytes()).chain(*head.as_bytes());
    for (place, byte) in statement.iter_mut().zip(parts) {
        *place = byte;
    }
    statement
}

const CONTEXT: &[u8] = b"dockin audit checkpoint 1\0";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn a_signature_holds_for_its_record_only() {
        let key = SigningKey::from_seed(&[7; 32]);
        let head = key.sign(12, ChainHash::START);
        assert_eq!(head.signer(), Some(key.public()));
        let other = SigningKey::from_seed(&[8; 32]);
        for wrong in [
            SignedHead {
                through: 13,
                ..head.clone()
            },
            SignedHead {
                head: "00".repeat(32),
                ..head.clone()
            },
            SignedHead {
                key: other.public().to_string(),
                ..head.clone()
            },
            SignedHead {
                key: String::new(),
                ..head.clone()
            },
            SignedHead {
                signature: "0".repeat(128),
                ..head.clone()
            },
            SignedHead {
                signature: "zz".to_owned(),
                ..head
            },
        ] {
            assert_eq!(wrong.signer(), None, "{wrong:?}");
        }
    }

    #[test]
    fn keys_are_read_as_they_are_written_and_the_secret_is_not_shown() {
        let key = SigningKey::from_seed(&[7; 32]);
        assert_eq!(key.public().to_string().parse(), Ok(key.public()));
        assert!(
            "abc"
                .parse::<PublicKey>()
                .unwrap_err()
                .to_string()
                .contains("64")
        );
        assert!(!format!("{key:?}").contains("0707"));
    }
}
