//! The form of a recording on disk.

use std::fmt;

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _,
    aead::{Aead as _, Payload},
};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// The key that recordings are encrypted with. Never shown by `Debug`.
#[derive(Clone)]
pub struct RecordingKey([u8; 32]);

impl RecordingKey {
    /// The key of 32 random bytes, which are the secret.
    #[must_use]
    pub const fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// What names the key in the files that it opens: 16 hexadecimal digits that do not tell the
    /// key.
    #[must_use]
    pub fn id(&self) -> String {
        hex(&self.short_id())
    }

    fn short_id(&self) -> [u8; 8] {
        let digest: [u8; 32] = Sha256::new()
            .chain_update(b"dockin recording key id 1\0")
            .chain_update(self.0)
            .finalize()
            .into();
        let (id, _) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
        *id
    }

    /// The cipher of one file: no two share a key, so block numbers can be the nonces.
    fn cipher(&self, salt: &[u8; 32]) -> ChaCha20Poly1305 {
        let digest = Sha256::new()
            .chain_update(b"dockin recording file key 1\0")
            .chain_update(self.0)
            .chain_update(salt)
            .finalize();
        ChaCha20Poly1305::new(&digest)
    }
}

impl fmt::Debug for RecordingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RecordingKey({})", self.id())
    }
}

/// Why a recording cannot be opened.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum SealError {
    /// The file does not begin as a recording does.
    #[error("this is no recording")]
    NoRecording,
    /// It is encrypted, and no key was given.
    #[error("the recording is encrypted with key {id}; give that key")]
    NeedsKey {
        /// The key's id.
        id: String,
    },
    /// It is encrypted with another key.
    #[error("the recording is encrypted with key {id}, the given one is {given}")]
    OtherKey {
        /// The id of the key it needs.
        id: String,
        /// The id of the key that was given.
        given: String,
    },
    /// A key was given, and it is not encrypted: whoever can write the file could have made it.
    #[error(
        "the recording is not encrypted, so the key proves nothing of it; leave the key out to read it"
    )]
    NotEncrypted,
    /// A block is not as it was written: changed, moved, or of another recording.
    #[error("block {block} of the recording is damaged")]
    Damaged {
        /// Its number, from 0.
        block: u32,
    },
    /// A block is larger than any that is written, or there are too many.
    #[error("a block of {size} bytes does not fit, limit {max}")]
    TooLarge {
        /// Its bytes.
        size: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The compressor failed.
    #[error("a block cannot be compressed")]
    Compression,
}

/// How a recording ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: whole or not.
pub enum Ending {
    /// With its last block: it is whole.
    Whole,
    /// Without it: the writer was killed, or the end was cut off. All whole blocks were read.
    CutOff {
        /// Bytes of a block that is not whole.
        rest: usize,
    },
}

/// Makes the blocks of a recording from whole lines of a cast.
///
/// ```text
/// head   magic "0x184D2A5D" │ size u32 │ "DKREC1\0\0" │ flags u32 │ key id 8 │ salt 32
/// block  magic "0x184D2A5D" │ 12   u32 │ number u32 │ bytes u32 │ flags u32 │ bytes of content
/// ```
///
/// Numbers are little endian. The magic is that of a skippable frame of Zstandard, and without a
/// key the content is a Zstandard frame: `zstd -dc FILE` is the cast. With a key the content is
/// that frame sealed with ChaCha20-Poly1305: the key of the file comes from the key and the salt,
/// the nonce is the block's number, and head and block header are authenticated. Flag 1 of the
/// head: encrypted; flag 1 of a block: the last one.
///
/// Spec: RFC 8878 §3.1.2 (skippable frames), RFC 8439 (ChaCha20-Poly1305).
pub struct Sealer {
    compressor: zstd::bulk::Compressor<'static>,
    head: Vec<u8>,
    cipher: Option<ChaCha20Poly1305>,
    next: u32,
}

impl Sealer {
    /// Begins a recording with 32 fresh random bytes; encrypted when there is a key. Gives what
    /// the file begins with.
    ///
    /// # Errors
    ///
    /// [`SealError::Compression`] when there is no memory for a compressor.
    pub fn new(key: Option<&RecordingKey>, salt: [u8; 32]) -> Result<(Self, Vec<u8>), SealError> {
        let mut compressor =
            zstd::bulk::Compressor::new(LEVEL).map_err(|_| SealError::Compression)?;
        compressor
            .include_checksum(true)
            .map_err(|_| SealError::Compression)?;
        let mut head = Vec::with_capacity(HEAD);
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&HEAD_CONTENT.to_le_bytes());
        head.extend_from_slice(NAME);
        head.extend_from_slice(&u32::from(key.is_some()).to_le_bytes());
        head.extend_from_slice(&key.map(RecordingKey::short_id).unwrap_or_default());
        head.extend_from_slice(&salt);
        let sealer = Self {
            compressor,
            cipher: key.map(|key| key.cipher(&salt)),
            head: head.clone(),
            next: 0,
        };
        Ok((sealer, head))
    }

    /// A block with `lines`, at most 4 MiB; the last one says that nothing follows.
    ///
    /// # Errors
    ///
    /// [`SealError::TooLarge`] for more, or after 2³² blocks; [`SealError::Compression`].
    pub fn seal(&mut self, lines: &[u8], last: bool) -> Result<Vec<u8>, SealError> {
        if lines.len() > MAX_BLOCK {
            return Err(SealError::TooLarge {
                size: lines.len(),
                max: MAX_BLOCK,
            });
        }
        let number = self.next;
        self.next = number.checked_add(1).ok_or(SealError::TooLarge {
            size: lines.len(),
            max: 0,
        })?;
        let frame = self
            .compressor
            .compress(lines)
            .map_err(|_| SealError::Compression)?;
        let tag = if self.cipher.is_some() { TAG } else { 0 };
        let size = u32::try_from(frame.len() + tag).map_err(|_| SealError::Compression)?;
        let mut block = block_head(number, size, u32::from(last)).to_vec();
        match &self.cipher {
            None => block.extend_from_slice(&frame),
            Some(cipher) => {
                let aad = [self.head.as_slice(), &block].concat();
                let payload = Payload {
                    msg: &frame,
                    aad: &aad,
                };
                let sealed = cipher
                    .encrypt(&nonce(number).into(), payload)
                    .map_err(|_| SealError::Compression)?;
                block.extend_from_slice(&sealed);
            }
        }
        Ok(block)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sealer(block {})", self.next)
    }
}

/// Reads a recording back from bytes that are cut anywhere. Without a key a plain cast is read, too;
/// with one, what is not encrypted is refused: nothing would show that it is the one that was made.
#[derive(Debug)]
pub struct Unsealer {
    key: Option<RecordingKey>,
    buffer: Vec<u8>,
    state: State,
    next: u32,
}

enum State {
    Head,
    Plain,
    Blocks {
        head: Vec<u8>,
        cipher: Option<Box<ChaCha20Poly1305>>,
    },
    Ended,
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Head => "Head",
            Self::Plain => "Plain",
            Self::Blocks { .. } => "Blocks",
            Self::Ended => "Ended",
        })
    }
}

impl Unsealer {
    /// A reader of encrypted recordings with their key, of others without.
    #[must_use]
    pub const fn new(key: Option<RecordingKey>) -> Self {
        Self {
            key,
            buffer: Vec::new(),
            state: State::Head,
            next: 0,
        }
    }

    /// Takes the next bytes and puts what they hold of the cast behind `cast`.
    ///
    /// # Errors
    ///
    /// What [`SealError`] says; nothing can be read after one.
    pub fn feed(&mut self, bytes: &[u8], cast: &mut Vec<u8>) -> Result<(), SealError> {
        self.buffer.extend_from_slice(bytes);
        let mut used = 0;
        let outcome = loop {
            let rest = self.buffer.get(used..).unwrap_or_default();
            match &self.state {
                State::Head => match self.open(rest) {
                    Ok(Some((state, size))) => {
                        self.state = state;
                        used += size;
                    }
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                },
                State::Plain => {
                    cast.extend_from_slice(rest);
                    used += rest.len();
                    break Ok(());
                }
                State::Blocks { head, cipher } => {
                    match block(rest, self.next, head, cipher.as_deref()) {
                        Ok(Some((mut lines, size, last))) => {
                            cast.append(&mut lines);
                            used += size;
                            self.next = self.next.wrapping_add(1);
                            if last {
                                self.state = State::Ended;
                            }
                        }
                        Ok(None) => break Ok(()),
                        Err(error) => break Err(error),
                    }
                }
                State::Ended if rest.is_empty() => break Ok(()),
                State::Ended => break Err(SealError::Damaged { block: self.next }),
            }
        };
        self.buffer.drain(..used);
        outcome
    }

    /// How the recording ended, when there are no more bytes. Of a plain cast nobody can tell.
    #[must_use]
    pub fn finish(&self) -> Ending {
        match self.state {
            State::Ended | State::Plain => Ending::Whole,
            State::Head | State::Blocks { .. } => Ending::CutOff {
                rest: self.buffer.len(),
            },
        }
    }

    /// The head of a recording, or that there is none.
    fn open(&self, bytes: &[u8]) -> Result<Option<(State, usize)>, SealError> {
        if bytes.first() == Some(&b'{') {
            return match self.key {
                None => Ok(Some((State::Plain, 0))),
                Some(_) => Err(SealError::NotEncrypted),
            };
        }
        let known = bytes.len().min(16);
        let expected = [MAGIC.as_slice(), &HEAD_CONTENT.to_le_bytes(), NAME].concat();
        if bytes.get(..known) != expected.get(..known) {
            return Err(SealError::NoRecording);
        }
        let Some((head, _)) = bytes.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let flags = number_at(head, 16);
        let id = head.get(20..28).unwrap_or_default();
        let salt: [u8; 32] = head
            .get(28..60)
            .and_then(|it| it.try_into().ok())
            .unwrap_or([0; 32]);
        let cipher = match (flags, &self.key) {
            (0, None) => None,
            (0, Some(_)) => return Err(SealError::NotEncrypted),
            (1, None) => return Err(SealError::NeedsKey { id: hex(id) }),
            (1, Some(key)) if key.short_id() != id => {
                return Err(SealError::OtherKey {
                    id: hex(id),
                    given: key.id(),
                });
            }
            (1, Some(key)) => Some(Box::new(key.cipher(&salt))),
            _ => return Err(SealError::NoRecording),
        };
        Ok(Some((
            State::Blocks {
                head: head.to_vec(),
                cipher,
            },
            HEAD,
        )))
    }
}

/// The lines of the block at the beginning of `bytes`, its size, and whether it is the last.
type Block = (Vec<u8>, usize, bool);

fn block(
    bytes: &[u8],
    number: u32,
    head: &[u8],
    cipher: Option<&ChaCha20Poly1305>,
) -> Result<Option<Block>, SealError> {
    let damaged = SealError::Damaged { block: number };
    let Some((block, rest)) = bytes.split_first_chunk::<BLOCK_HEAD>() else {
        return Ok(None);
    };
    let (size, flags) = (number_at(block, 12), number_at(block, 16));
    if *block != block_head(number, size, flags) || flags > 1 {
        return Err(damaged);
    }
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    // What cannot be compressed grows a little.
    if size > MAX_BLOCK + MAX_BLOCK / 128 + 1024 {
        return Err(SealError::TooLarge {
            size,
            max: MAX_BLOCK,
        });
    }
    let Some(content) = rest.get(..size) else {
        return Ok(None);
    };
    let opened;
    let frame = match cipher {
        None => content,
        Some(cipher) => {
            let aad = [head, block].concat();
            let payload = Payload {
                msg: content,
                aad: &aad,
            };
            opened = cipher
                .decrypt(&nonce(number).into(), payload)
                .map_err(|_| damaged.clone())?;
            opened.as_slice()
        }
    };
    let lines = zstd::bulk::decompress(frame, MAX_BLOCK).map_err(|_| damaged)?;
    Ok(Some((lines, BLOCK_HEAD + size, flags == 1)))
}

fn block_head(number: u32, size: u32, flags: u32) -> [u8; BLOCK_HEAD] {
    let mut head = [0; BLOCK_HEAD];
    let fields = [u32::from_le_bytes(MAGIC), 12, number, size, flags];
    for (place, field) in head.as_chunks_mut::<4>().0.iter_mut().zip(fields) {
        *place = field.to_le_bytes();
    }
    head
}

fn number_at(bytes: &[u8], at: usize) -> u32 {
    let field = bytes
        .get(at..at + 4)
        .and_then(|field| field.try_into().ok());
    u32::from_le_bytes(field.unwrap_or_default())
}

fn nonce(number: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    for (place, byte) in nonce.iter_mut().zip(number.to_le_bytes()) {
        *place = byte;
    }
    nonce
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A skippable frame of Zstandard, 0x184D2A5D.
const MAGIC: [u8; 4] = [0x5d, 0x2a, 0x4d, 0x18];
const NAME: &[u8; 8] = b"DKREC1\0\0";
/// Bytes of the head behind its size.
const HEAD_CONTENT: u32 = 52;
const HEAD: usize = 60;
const BLOCK_HEAD: usize = 20;
const TAG: usize = 16;
/// Most bytes of lines in a block.
const MAX_BLOCK: usize = 4 << 20;
/// Terminal output is dull: more effort gains little.
const LEVEL: i32 = 1;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use proptest::prelude::*;

    use super::*;

    fn sealed(key: Option<&RecordingKey>, blocks: &[&[u8]], last: bool) -> Vec<u8> {
        let (mut sealer, mut file) = Sealer::new(key, [9; 32]).unwrap();
        for block in blocks {
            file.extend(sealer.seal(block, false).unwrap());
        }
        if last {
            file.extend(sealer.seal(b"", true).unwrap());
        }
        file
    }

    fn unsealed(
        key: Option<&RecordingKey>,
        file: &[u8],
        piece: usize,
    ) -> (Vec<u8>, Result<Ending, SealError>) {
        let mut unsealer = Unsealer::new(key.cloned());
        let mut cast = Vec::new();
        for bytes in file.chunks(piece) {
            if let Err(error) = unsealer.feed(bytes, &mut cast) {
                return (cast, Err(error));
            }
        }
        (cast, Ok(unsealer.finish()))
    }

    /// Who can write the file cannot put a cast of his own in its place.
    #[test]
    fn with_a_key_only_what_is_encrypted_is_read() {
        let key = RecordingKey::new([5; 32]);
        let lines = b"{\"version\":2}\n[0.1,\"o\",\"forged\"]\n".as_slice();
        for file in [lines.to_vec(), sealed(None, &[lines], true)] {
            let refused = (Vec::new(), Err(SealError::NotEncrypted));
            assert_eq!(unsealed(Some(&key), &file, 7), refused);
            assert_eq!(unsealed(None, &file, 7).0, lines);
        }
    }

    fn keys() -> [Option<RecordingKey>; 2] {
        [None, Some(RecordingKey::new([5; 32]))]
    }

    #[test]
    fn without_a_key_any_zstandard_reader_gives_the_cast() {
        let file = sealed(None, &[b"one\n", b"two\n"], true);
        assert_eq!(zstd::decode_all(file.as_slice()).unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn wrong_keys_are_refused_by_name() {
        let [_, key] = keys();
        let key = key.unwrap();
        let file = sealed(Some(&key), &[b"secret secret\n"], true);
        assert!(!file.windows(6).any(|bytes| bytes == b"secret"));
        let id = key.id();
        assert_eq!(
            unsealed(None, &file, 5).1,
            Err(SealError::NeedsKey { id: id.clone() })
        );
        let other = RecordingKey::new([6; 32]);
        let error = unsealed(Some(&other), &file, 5).1.unwrap_err();
        assert_eq!(
            error,
            SealError::OtherKey {
                id,
                given: other.id()
            }
        );
        assert!(!format!("{key:?}{error}").contains("0505"));
        assert_eq!(
            unsealed(None, b"root:x:0:0", 3).1,
            Err(SealError::NoRecording)
        );
        assert_eq!(unsealed(None, b"{\"version\":3}", 3).0, b"{\"version\":3}");
    }

    #[test]
    fn blocks_cannot_change_places() {
        for key in keys() {
            let (mut sealer, head) = Sealer::new(key.as_ref(), [9; 32]).unwrap();
            let first = sealer.seal(b"one\n", false).unwrap();
            let second = sealer.seal(b"two\n", true).unwrap();
            let swapped = [head, second, first].concat();
            let (cast, outcome) = unsealed(key.as_ref(), &swapped, 1000);
            assert_eq!(
                (cast, outcome),
                (vec![], Err(SealError::Damaged { block: 0 }))
            );
        }
    }

    #[test]
    fn a_cut_recording_is_read_up_to_its_last_whole_block() {
        for key in keys() {
            let file = sealed(key.as_ref(), &[b"one\n", b"two\n"], true);
            let short = file.len() - 1;
            let (cast, ending) = unsealed(key.as_ref(), file.get(..short).unwrap(), 7);
            assert_eq!(cast, b"one\ntwo\n");
            assert!(matches!(ending, Ok(Ending::CutOff { rest: 1.. })));
            let open = sealed(key.as_ref(), &[b"one\n"], false);
            let expected = (b"one\n".to_vec(), Ok(Ending::CutOff { rest: 0 }));
            assert_eq!(unsealed(key.as_ref(), &open, 1), expected);
        }
    }

    proptest! {
        /// What is sealed is unsealed, however it is cut.
        #[test]
        fn a_recording_is_read_as_it_was_written(
            blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4),
            piece in 1..100_usize, with_key in any::<bool>(),
        ) {
            let key = with_key.then(|| RecordingKey::new([1; 32]));
            let parts: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
            let file = sealed(key.as_ref(), &parts, true);
            let expected = (blocks.concat(), Ok(Ending::Whole));
            prop_assert_eq!(unsealed(key.as_ref(), &file, piece), expected);
        }

        /// One changed byte is an error or a cut, never another cast; no bytes panic. Without a key
        /// the bytes that mean nothing (RFC 8878 §3.1.1.1.1.3: a bit of each frame) may change.
        #[test]
        fn no_byte_changes_unseen(
            at in any::<prop::sample::Index>(), other in 1_u8.., with_key in any::<bool>(),
        ) {
            let key = with_key.then(|| RecordingKey::new([1; 32]));
            let lines = b"[0.1,\"o\",\"some output\"]\n".as_slice();
            let mut file = sealed(key.as_ref(), &[lines, lines], true);
            // Without a key the salt and the key's id mean nothing.
            let idle = if with_key { 0..0 } else { 20..60 };
            let at = at.index(file.len() - idle.len());
            let at = if at < idle.start { at } else { at + idle.len() };
            *file.get_mut(at).unwrap() ^= other;
            // That would be a plain cast, which nothing proves.
            prop_assume!(file.first() != Some(&b'{'));
            let (cast, outcome) = unsealed(key.as_ref(), &file, 1000);
            prop_assert!(lines.repeat(2).starts_with(&cast));
            if outcome == Ok(Ending::Whole) {
                prop_assert!(!with_key && cast == lines.repeat(2), "{at}");
            }
        }
    }
}
