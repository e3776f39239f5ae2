use std::fmt;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use bytes::Bytes;

/// Decodes padded standard base64 as it arrives: what is complete is given at once, so that no
/// message is ever assembled.
///
/// The verdict and the bytes before it do not depend on how the text is cut.
#[derive(Default)]
pub(crate) struct Base64Reader {
    /// The last 1 to 4 characters: padding stands in the last four alone.
    pending: [u8; 4],
    len: usize,
    /// Characters of this text taken before `pending`.
    offset: u64,
}

/// Text that is not padded standard base64; `offset` is where its group of four begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Base64Error {
    pub(crate) offset: u64,
}

impl Base64Reader {
    /// Takes the next characters; with `end` the text is complete and the next one begins.
    ///
    /// The bytes are right also when there is an error: they stand before it.
    pub(crate) fn read(&mut self, text: &[u8], end: bool) -> (Bytes, Result<(), Base64Error>) {
        let mut output = Vec::with_capacity((self.len + text.len()) / 4 * 3 + 3);
        let result = self.decode(text, end, &mut output);
        if end || result.is_err() {
            *self = Self::default();
        }
        (output.into(), result)
    }

    fn decode(&mut self, text: &[u8], end: bool, output: &mut Vec<u8>) -> Result<(), Base64Error> {
        // Fill the group that was begun; it is given only when it is known not to be the last.
        let missing = (self.pending.len() - self.len) % 4;
        let (head, text) = text.split_at_checked(missing).unwrap_or((text, &[]));
        self.hold(head);
        if !text.is_empty() {
            // INVARIANT: `pending` is empty or has 4 characters.
            self.flush(output)?;
            // 1 to 4 stay behind.
            let whole = (text.len() - 1) / 4 * 4;
            let (whole, rest) = text.split_at_checked(whole).unwrap_or((text, &[]));
            self.groups(whole, output)?;
            self.hold(rest);
        }
        if end && self.len > 0 {
            let last = self.pending.get(..self.len).unwrap_or_default();
            let before = output.len();
            if STANDARD.decode_vec(last, output).is_err() {
                output.truncate(before);
                return Err(Base64Error {
                    offset: self.offset,
                });
            }
        }
        Ok(())
    }

    fn hold(&mut self, text: &[u8]) {
        for (slot, character) in self.pending.iter_mut().skip(self.len).zip(text) {
            *slot = *character;
        }
        self.len += text.len();
    }

    fn flush(&mut self, output: &mut Vec<u8>) -> Result<(), Base64Error> {
        if self.len > 0 {
            let group = self.pending;
            self.len = 0;
            self.groups(&group, output)?;
        }
        Ok(())
    }

    /// Whole groups, none of them the last.
    fn groups(&mut self, text: &[u8], output: &mut Vec<u8>) -> Result<(), Base64Error> {
        let before = output.len();
        if STANDARD_NO_PAD.decode_vec(text, output).is_ok() {
            self.offset += text.len() as u64;
            return Ok(());
        }
        output.truncate(before);
        for group in text.chunks(4) {
            let before = output.len();
            if STANDARD_NO_PAD.decode_vec(group, output).is_err() {
                output.truncate(before);
                break;
            }
            self.offset += group.len() as u64;
        }
        Err(Base64Error {
            offset: self.offset,
        })
    }
}

impl fmt::Debug for Base64Reader {
    // What is half decoded may be what somebody types: it is not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Base64Reader")
            .field("offset", &self.offset)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Characters for `bytes`, padded.
pub(crate) fn encode(bytes: &[u8], text: &mut String) {
    STANDARD.encode_string(bytes, text);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use base64::{Engine, engine::general_purpose::STANDARD};
    use proptest::prelude::*;

    use super::{Base64Error, Base64Reader};

    fn read(pieces: &[&[u8]]) -> (Vec<u8>, Result<(), Base64Error>) {
        let mut reader = Base64Reader::default();
        let mut all = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            let (bytes, result) = reader.read(piece, at + 1 == pieces.len());
            all.extend_from_slice(&bytes);
            if result.is_err() {
                return (all, result);
            }
        }
        (all, Ok(()))
    }

    #[test]
    fn every_fault_is_found_at_its_group_wherever_the_text_is_cut() {
        for (text, good, offset) in [
            (&b"AAA"[..], &b""[..], 0),
            (b"YWJj!AAA", b"abc", 4),
            (b"YWJjYQ==YWJj", b"abc", 4),
            (b"YWJjYWJjY", b"abcabc", 8),
            (b"YWJjYR==", b"abc", 4),
            (b"YQ=", b"", 0),
            (b"Y===", b"", 0),
            (b"=", b"", 0),
            (b"YWJj\n", b"abc", 4),
        ] {
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let (head, rest) = text.split_at(first);
                    let (middle, tail) = rest.split_at(second - first);
                    assert_eq!(
                        read(&[head, middle, tail]),
                        (good.to_vec(), Err(Base64Error { offset })),
                        "{} cut at {first} and {second}",
                        text.escape_ascii()
                    );
                }
            }
        }
    }

    #[test]
    fn one_text_ends_before_the_next() {
        let mut reader = Base64Reader::default();
        for text in ["YQ==", "", "YWI=", "YWJj"] {
            let (bytes, result) = reader.read(text.as_bytes(), true);
            assert_eq!(bytes, STANDARD.decode(text).unwrap());
            assert_eq!(result, Ok(()));
        }
    }

    proptest! {
        /// Reading in pieces gives what reading at once gives, and the same verdict.
        #[test]
        fn pieces_and_whole_agree(
            text in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..100).prop_map(|bytes| STANDARD.encode(bytes)),
                "[A-Za-z0-9+/=]{0,40}",
                "[AQ=!]{0,16}",
            ],
            size in 1_usize..20,
        ) {
            let mut pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            pieces.push(b"");
            let (bytes, result) = read(&pieces);
            prop_assert_eq!((bytes.clone(), result), read(&[text.as_bytes()]));
            match STANDARD.decode(&text) {
                Ok(whole) => prop_assert_eq!((bytes, result), (whole, Ok(()))),
                Err(_) => prop_assert!(result.is_err()),
            }
        }
    }
}
