//! The chain of records: each one's hash covers the one before.

use std::fmt;

use sha2::{Digest as _, Sha256, block_api::compress256};

/// SHA-256 of a record and of all before it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// What stands before the first record: SHA-256 of `dockin audit chain 1`.
    pub const START: Self = Self([
        0xf2, 0xad, 0x5b, 0x66, 0xb0, 0xde, 0x59, 0xe1, 0xf6, 0x4c, 0xc4, 0x70, 0x1a, 0x3e, 0x8c,
        0x26, 0x2e, 0xea, 0x74, 0x5c, 0xe1, 0x15, 0x6c, 0xcc, 0xd9, 0xd8, 0x40, 0x4e, 0x39, 0xbf,
        0x02, 0x29,
    ]);

    /// A hash from 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        from_hex(text.as_bytes()).map(Self)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash of the record `body` behind this one.
    pub(super) fn next(&self, body: &[u8]) -> Self {
        let Some((first, rest)) = body.split_first_chunk::<32>() else {
            let sha = Sha256::new().chain_update(self.0).chain_update(body);
            return Self(sha.finalize().into());
        };
        // By hand what a hasher does: most of a record's time is here, and the hasher's buffer
        // would take a tenth of it. Whole pieces are copied, never single bytes.
        let mut state = INITIAL;
        let head = [self.0, *first];
        compress256(&mut state, head.as_flattened().as_chunks().0);
        let (blocks, tail) = rest.as_chunks::<64>();
        compress256(&mut state, blocks);
        let mut last = [[0; 64]; 2];
        // The length in bits stands at the end of the block in which there is room for it.
        let count = if tail.len() < 56 { 1 } else { 2 };
        let last = last.get_mut(..count).unwrap_or_default();
        if let Some((text, padding)) = last.as_flattened_mut().split_at_mut_checked(tail.len()) {
            text.copy_from_slice(tail);
            if let Some(end) = padding.first_mut() {
                *end = 0x80;
            }
            let bits = (self.0.len() as u64 + body.len() as u64) * 8;
            if let Some(length) = padding.last_chunk_mut() {
                *length = bits.to_be_bytes();
            }
        }
        compress256(&mut state, last);
        let mut hash = [0; 32];
        for (place, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(state) {
            *place = word.to_be_bytes();
        }
        Self(hash)
    }

    /// Its lower-case hexadecimal digits.
    pub(super) fn hex(&self) -> [u8; 64] {
        let mut digits = [0; 64];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        digits
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&to_hex(&self.0))
    }
}

/// The end of a trail: where the next record goes.
///
/// ```text
/// {"seq":7,…event…,"hash":"…64 hexadecimal digits…"}\n
/// └────────┬───────┘
///        body        hash = SHA-256(hash of record 6, body)
/// ```
///
/// A value: when the lines could not be written, go on with the copy from before.
///
/// ```
/// use dockin_policy::audit::{Chain, ChainHash};
///
/// let mut chain = Chain::new(1, ChainHash::START);
/// let mut line = Vec::new();
/// chain.append(&mut line, br#"{"event":"session.end"}"#);
/// assert!(line.starts_with(br#"{"seq":1,"event":"session.end","hash":""#));
/// assert_eq!(chain.next_seq(), 2);
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Chain {
    next: u64,
    head: ChainHash,
}

impl Chain {
    /// A chain that goes on with record number `next` behind one with the hash `head`.
    #[must_use]
    pub const fn new(next: u64, head: ChainHash) -> Self {
        Self { next, head }
    }

    /// Number of the next record; the first is 1.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        self.next
    }

    /// Hash of the last record.
    #[must_use]
    pub const fn head(&self) -> ChainHash {
        self.head
    }

    /// Puts the line of `event` behind `out`, with its number, its hash and its end.
    ///
    /// `event` is a JSON object in one line; anything else makes a line that no reader takes.
    pub fn append(&mut self, out: &mut Vec<u8>, event: &[u8]) {
        let start = out.len();
        out.extend_from_slice(LINE_START);
        push_number(out, self.next);
        let fields = event.strip_prefix(b"{").unwrap_or(event);
        let fields = fields.strip_suffix(b"}").unwrap_or(fields);
        if !fields.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(fields);
        self.head = self.head.next(out.get(start..).unwrap_or_default());
        out.extend_from_slice(HASH_START);
        out.extend_from_slice(&self.head.hex());
        out.extend_from_slice(LINE_END);
        self.next = self.next.saturating_add(1);
    }
}

/// Number and hash of a record, from its line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecordHead {
    /// Its number.
    pub seq: u64,
    /// Its hash; records of an earlier version have none.
    pub hash: Option<ChainHash>,
}

impl RecordHead {
    /// Reads it from a line, with or without its newline; does not look whether the hash fits.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let line = Line::parse(line.strip_suffix(b"\n").unwrap_or(line))?;
        let hash = match line.hash {
            Some(digits) => Some(ChainHash(from_hex(digits)?)),
            None => None,
        };
        Some(Self {
            seq: line.seq,
            hash,
        })
    }
}

/// What every line starts with.
pub(super) const LINE_START: &[u8] = b"{\"seq\":";
/// What stands between a record's body and its hash.
pub(super) const HASH_START: &[u8] = b",\"hash\":\"";
/// What every line ends with.
pub(super) const LINE_END: &[u8] = b"\"}\n";

/// A line taken apart, without its newline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) seq: u64,
    /// All before the hash.
    pub(super) body: &'a [u8],
    /// The digits of the hash, when it has one.
    pub(super) hash: Option<&'a [u8]>,
    /// What stands behind the number.
    pub(super) behind_seq: &'a [u8],
}

impl<'a> Line<'a> {
    /// Takes `line` apart, which has no newline any more.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_prefix(LINE_START)?;
        let mut seq: u64 = 0;
        let mut digits = 0;
        for byte in rest {
            let value = byte.wrapping_sub(b'0');
            if value > 9 {
                break;
            }
            // 19 digits always fit.
            seq = if digits < 19 {
                seq * 10 + u64::from(value)
            } else {
                seq.checked_mul(10)?.checked_add(u64::from(value))?
            };
            digits += 1;
        }
        let behind_seq = rest.get(digits..)?;
        // One number has one spelling.
        if digits == 0 || (rest.first() == Some(&b'0') && digits > 1) {
            return None;
        }
        let hashed = line
            .len()
            .checked_sub(HASH_START.len() + 64 + 2)
            .and_then(|end| {
                let (body, tail) = line.split_at_checked(end)?;
                let tail = tail.strip_prefix(HASH_START)?;
                let hash = tail.strip_suffix(b"\"}")?;
                Some((body, hash))
            });
        match hashed {
            Some((body, hash)) => Some(Self {
                seq,
                body,
                hash: Some(hash),
                behind_seq,
            }),
            None if line.ends_with(b"}") => Some(Self {
                seq,
                body: line,
                hash: None,
                behind_seq,
            }),
            None => None,
        }
    }

    /// Whether the record speaks of the trail itself: its code begins `AUD-`.
    ///
    /// A quote inside of a JSON string is escaped, so nothing that a person typed looks so.
    pub(super) fn is_control(&self) -> bool {
        let Some(rest) = self.behind_seq.strip_prefix(b",\"time\":\"") else {
            return false;
        };
        let Some(end) = memchr::memchr(b'"', rest) else {
            return false;
        };
        rest.get(end..)
            .is_some_and(|rest| rest.starts_with(b"\",\"code\":\"AUD-"))
    }
}

/// Lower-case hexadecimal digits of `bytes`.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .map(char::from)
        .collect()
}

/// Exactly `N` bytes from lower-case hexadecimal digits.
pub(super) fn from_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    if pairs.len() != N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(bytes)
}

/// The state that SHA-256 begins with. Spec: FIPS 180-4 §5.3.3.
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Without a branch or a table, so that the compiler makes many digits at once.
const fn digit(value: u8) -> u8 {
    let letter = (value > 9) as u8;
    b'0' + value + letter * (b'a' - b'0' - 10)
}

const fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut rest = number;
    let mut length = 0;
    for place in digits.iter_mut().rev() {
        // A remainder of 10 is one digit.
        *place = digit(u8::try_from(rest % 10).unwrap_or(0));
        rest /= 10;
        length += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - length..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn the_chain_starts_with_the_hash_of_its_name() {
        let start: [u8; 32] = Sha256::digest(b"dockin audit chain 1").into();
        assert_eq!(ChainHash::START.to_string(), to_hex(&start));
    }

    #[test]
    fn a_line_is_taken_apart_as_it_was_put_together() {
        for number in [1, 9, 10, 12_345, u64::MAX - 1] {
            let mut chain = Chain::new(number, ChainHash::START);
            let mut out = b"before".to_vec();
            chain.append(&mut out, b"{\"a\":1}");
            let line = out
                .strip_prefix(b"before")
                .unwrap()
                .strip_suffix(b"\n")
                .unwrap();
            let parsed = Line::parse(line).unwrap();
            assert_eq!(parsed.seq, number);
            assert_eq!(
                parsed.body,
                format!("{{\"seq\":{number},\"a\":1").as_bytes()
            );
            assert_eq!(parsed.hash.unwrap(), chain.head().hex());
            assert_eq!(ChainHash::START.next(parsed.body), chain.head());
        }
    }

    #[test]
    fn the_hash_is_sha_256_of_the_one_before_and_the_body() {
        let body: Vec<u8> = (0..=255).cycle().take(400).collect();
        for length in 0..body.len() {
            let body = body.get(..length).unwrap();
            let sha = Sha256::new()
                .chain_update(ChainHash::START.0)
                .chain_update(body);
            let expected: [u8; 32] = sha.finalize().into();
            assert_eq!(ChainHash::START.next(body).0, expected, "{length} bytes");
        }
        let hash = ChainHash::START;
        assert_eq!(hash.hex(), hash.to_string().as_bytes());
    }

    #[test]
    fn numbers_have_one_spelling() {
        for line in [
            "{\"seq\":01,\"a\":1}",
            "{\"seq\":,\"a\":1}",
            "{\"seq\":99999999999999999999}",
        ] {
            assert!(Line::parse(line.as_bytes()).is_none(), "{line}");
        }
        assert_eq!(Line::parse(b"{\"seq\":0}").unwrap().seq, 0);
    }
}
