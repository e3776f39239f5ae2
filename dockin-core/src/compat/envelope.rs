use std::fmt;

use aws_lc_rs::{
    cipher::{
        AES_128, AES_192, AES_256, Algorithm, DecryptingKey, DecryptionContext, EncryptingKey,
        EncryptionContext, UnboundCipherKey,
    },
    iv::FixedLength,
};

use crate::{Error, ErrorKind, hex::hex};

/// The key under which requests, passwords and tokens travel.
///
/// ```text
/// lower-case hex of  ┌────────────┬──────────────────────┐
///                    │ IV, 16     │ AES-CFB128 of a text │   no padding, no authentication
///                    └────────────┴──────────────────────┘
/// ```
///
/// Nothing authenticates the text: that it decrypts proves nothing about who wrote it, also with a
/// secret key. The clients of the field have one and the same key compiled in.
#[derive(Clone)]
pub struct EnvelopeKey {
    bytes: Vec<u8>,
    algorithm: &'static Algorithm,
}

/// Random bytes before every text.
pub const IV_SIZE: usize = 16;
/// Hex digits of one envelope at most: a command line and an environment, far below what HTTP
/// servers take as a query.
const MAX_DIGITS: usize = 256 * 1024;

impl EnvelopeKey {
    /// The key of these bytes: AES-128, AES-192 or AES-256 by their number.
    ///
    /// # Errors
    ///
    /// `Misuse` for any other number than 16, 24 and 32.
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        let algorithm = match bytes.len() {
            16 => &AES_128,
            24 => &AES_192,
            32 => &AES_256,
            count => {
                let message = format!("an envelope key has 16, 24 or 32 bytes, not {count}");
                return Err(Error::new(ErrorKind::Misuse, message));
            }
        };
        Ok(Self {
            bytes: bytes.to_vec(),
            algorithm,
        })
    }

    /// Seals `text`; `iv` must be new and unpredictable for each.
    ///
    /// # Errors
    ///
    /// `Misuse` when the cipher is not to be had.
    pub fn seal(&self, iv: [u8; IV_SIZE], text: &[u8]) -> Result<String, Error> {
        let mut sealed = text.to_vec();
        self.unbound()
            .and_then(|key| EncryptingKey::cfb128(key).ok())
            .and_then(|key| {
                let context = EncryptionContext::Iv128(FixedLength::from(iv));
                key.less_safe_encrypt(&mut sealed, context).ok()
            })
            .ok_or_else(|| Error::new(ErrorKind::Misuse, "an envelope cannot be sealed"))?;
        Ok(hex(&iv) + &hex(&sealed))
    }

    /// The text of an envelope, perhaps a meaningless one: see above.
    ///
    /// # Errors
    ///
    /// `Malformed` when `sealed` is not the hex of at least 16 bytes, or too long. It is not quoted.
    pub fn open(&self, sealed: &str) -> Result<Vec<u8>, Error> {
        let wrong = |what: &str| Error::new(ErrorKind::Malformed, format!("the envelope {what}"));
        if sealed.len() > MAX_DIGITS {
            return Err(wrong("is longer than 128 KiB"));
        }
        let bytes = from_hex(sealed).ok_or_else(|| wrong("is not hexadecimal"))?;
        let (iv, text) = bytes
            .split_first_chunk::<IV_SIZE>()
            .ok_or_else(|| wrong("has fewer than 16 bytes"))?;
        let mut text = text.to_vec();
        self.unbound()
            .and_then(|key| DecryptingKey::cfb128(key).ok())
            .and_then(|key| {
                let context = DecryptionContext::Iv128(FixedLength::from(iv));
                key.decrypt(&mut text, context).ok().map(|_| ())
            })
            .ok_or_else(|| wrong("cannot be opened"))?;
        Ok(text)
    }

    fn unbound(&self) -> Option<UnboundCipherKey> {
        UnboundCipherKey::new(self.algorithm, &self.bytes).ok()
    }
}

/// Without the key.
impl fmt::Debug for EnvelopeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvelopeKey").finish_non_exhaustive()
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? * 16 + digit(*low)?);
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{EnvelopeKey, IV_SIZE};

    /// The key that clients of the field have compiled in.
    const KEY: &[u8] = b"doc-opserver8085";

    fn iv() -> [u8; IV_SIZE] {
        std::array::from_fn(|number| u8::try_from(number).unwrap())
    }

    /// What the predecessor's programs make of these texts with the IV 00 to 0f.
    #[test]
    fn envelopes_are_those_of_the_field() {
        let key = EnvelopeKey::new(KEY).unwrap();
        for (text, sealed) in [
            (
                &br#"{"name":"web-0"}"#[..],
                "000102030405060708090a0b0c0d0e0f8c780a8d2a5c3551dbf8d35030a8df4c",
            ),
            (
                b"0123456789abcdef0123456789",
                "000102030405060708090a0b0c0d0e0fc76b56df730c215cc1b6d7507efc98576db3cc5b4407c54fc04e",
            ),
            (b"", "000102030405060708090a0b0c0d0e0f"),
        ] {
            assert_eq!(key.seal(iv(), text).unwrap(), sealed);
            assert_eq!(key.open(sealed).unwrap(), text);
            assert_eq!(key.open(&sealed.to_uppercase()).unwrap(), text);
        }
    }

    #[test]
    fn what_is_no_envelope_is_refused_and_not_quoted() {
        let key = EnvelopeKey::new(KEY).unwrap();
        let short = "00".repeat(15);
        let long = "0".repeat(super::MAX_DIGITS + 2);
        for text in ["", "0", "zz", "s3cret", "é0", &short, &long] {
            let error = key.open(text).unwrap_err();
            assert!(!error.chain().contains("s3cret"), "{error}");
        }
        for count in [0, 15, 17, 33] {
            assert!(EnvelopeKey::new(&vec![1; count]).is_err(), "{count}");
        }
        let shown = format!("{key:?}");
        assert!(!shown.contains("100") && !shown.contains("doc"), "{shown}");
    }

    #[test]
    fn another_key_reads_nothing() {
        let other = EnvelopeKey::new(&[7; 32]).unwrap();
        let sealed = EnvelopeKey::new(KEY).unwrap().seal(iv(), b"{}").unwrap();
        assert_ne!(other.open(&sealed).unwrap(), b"{}");
    }
}
