use bytes::BytesMut;
use dockin_stream::websocket::mask::MaskKey;

use crate::{cut::pieces, script::Script};

/// Masking: how to cut, the key, where the payload lies, how often it repeats, then the payload.
///
/// Every phase, length and alignment gives what the naive loop gives, in place and while copying;
/// the key moves on by the length, and masking twice gives the payload back.
///
/// # Panics
///
/// A law is broken.
pub fn ws_mask(data: &[u8]) {
    let mut script = Script::new(data);
    let seed = script.byte();
    let key = [script.byte(), script.byte(), script.byte(), script.byte()];
    let offset = usize::from(script.byte()) % ALIGNMENTS;
    let repeat = 1 + usize::from(script.byte()) % REPEATS;
    let payload = script.rest().repeat(repeat);
    let expected = naive(key, &payload);

    check_in_place(key, offset, seed, &payload, &expected);
    check_copied(key, seed, &payload, &expected);
    // What is short is tried everywhere.
    if payload.len() <= SHORT {
        for offset in 0..ALIGNMENTS {
            for cut in 0..=payload.len() {
                check_cut(key, offset, cut, &payload, &expected);
            }
        }
    }
}

fn naive(key: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let key = key.iter().cycle();
    payload
        .iter()
        .zip(key)
        .map(|(byte, key)| byte ^ key)
        .collect()
}

fn check_in_place(key: [u8; 4], offset: usize, seed: u8, payload: &[u8], expected: &[u8]) {
    let mut memory = Memory::new(offset, payload);
    let mut mask = MaskKey::new(key);
    let mut rest = memory.payload();
    for length in pieces(payload, seed).map(<[u8]>::len) {
        let (piece, behind) = rest.split_at_mut(length);
        mask.apply(piece);
        rest = behind;
    }
    assert_eq!(memory.payload(), expected, "not what the naive loop gives");
    assert_eq!(mask.to_bytes(), rotated(key, payload.len()), "the phase");
    MaskKey::new(key).apply(memory.payload());
    assert_eq!(memory.payload(), payload, "twice is not once back");
    memory.check_surroundings();
}

fn check_copied(key: [u8; 4], seed: u8, payload: &[u8], expected: &[u8]) {
    let mut mask = MaskKey::new(key);
    let mut output = BytesMut::from(&HEAD[..]);
    for piece in pieces(payload, seed) {
        mask.extend(&mut output, piece);
    }
    let (head, copied) = output.split_at(HEAD.len());
    assert_eq!(head, HEAD, "what was there before");
    assert_eq!(copied, expected, "copied");
    assert_eq!(mask.to_bytes(), rotated(key, payload.len()), "the phase");
}

fn check_cut(key: [u8; 4], offset: usize, cut: usize, payload: &[u8], expected: &[u8]) {
    let mut memory = Memory::new(offset, payload);
    let mut mask = MaskKey::new(key);
    let (front, back) = memory.payload().split_at_mut(cut);
    mask.apply(front);
    mask.apply(back);
    assert_eq!(memory.payload(), expected, "offset {offset}, cut at {cut}");
    memory.check_surroundings();
}

fn rotated(mut key: [u8; 4], length: usize) -> [u8; 4] {
    key.rotate_left(length % 4);
    key
}

/// A payload that begins `offset` bytes behind a border of [`ALIGNMENTS`], with untouchable bytes
/// around it.
struct Memory {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Memory {
    fn new(offset: usize, payload: &[u8]) -> Self {
        let mut bytes = vec![UNTOUCHED; payload.len() + 3 * ALIGNMENTS];
        let start = bytes.as_ptr().align_offset(ALIGNMENTS) + offset;
        let end = start + payload.len();
        bytes[start..end].copy_from_slice(payload);
        Self { bytes, start, end }
    }

    fn payload(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    fn check_surroundings(&self) {
        let (before, rest) = self.bytes.split_at(self.start);
        let behind = &rest[self.end - self.start..];
        assert!(
            before.iter().chain(behind).all(|byte| *byte == UNTOUCHED),
            "outside the payload"
        );
    }
}

/// The widest vector of today, bytes.
const ALIGNMENTS: usize = 64;
/// Payloads of 4 KiB come to more than what is masked in one piece.
const REPEATS: usize = 8;
/// Short enough to try every alignment and cut.
const SHORT: usize = 40;
const UNTOUCHED: u8 = 0xa5;
const HEAD: [u8; 3] = *b"\x82\xfe\x01";
