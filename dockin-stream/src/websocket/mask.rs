//! XOR masking, fast without `unsafe`.
//!
//! Byte by byte with an index modulo 4 runs at 1 GB/s. Whole words let the compiler use vector
//! registers, and `pulp` has the same loop compiled for the widest ones that the processor turns
//! out to have: what is built for every x86-64 alone would use 16 bytes at a time.

use bytes::BytesMut;
use pulp::Arch;

/// A mask key and where in it the next byte stands.
///
/// Spec: RFC 6455 §5.3.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MaskKey([u8; 4]);

impl MaskKey {
    /// The key of a frame, before its first payload byte.
    #[must_use]
    pub const fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// The key as it stands in the header of a frame that begins here.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 4] {
        self.0
    }

    /// Masks or unmasks `payload` in place, and moves on by its length: the next call goes on
    /// where this one ended, so a payload may come in any pieces.
    pub fn apply(&mut self, payload: &mut [u8]) {
        let [a, b, c, d] = self.0;
        let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (words, tail) = payload.as_chunks_mut::<8>();
        if words.len() < WIDE {
            xor(words, wide);
        } else {
            Arch::new().dispatch(
                // The loop has to become part of what is compiled for the processor found.
                #[inline(always)]
                || xor(words, wide),
            );
        }
        for (byte, key) in tail.iter_mut().zip([a, b, c, d, a, b, c]) {
            *byte ^= key;
        }
        // 8 is a multiple of the key's length: only the tail moves the phase.
        self.0.rotate_left(tail.len() % 4);
    }

    /// Appends `payload` to `output`, masked. Copies and masks in pieces that stay in the
    /// first-level cache, so memory is passed over once.
    pub fn extend(&mut self, output: &mut BytesMut, payload: &[u8]) {
        for piece in payload.chunks(PIECE) {
            let start = output.len();
            output.extend_from_slice(piece);
            if let Some(copied) = output.get_mut(start..) {
                self.apply(copied);
            }
        }
    }
}

#[inline(always)]
fn xor(words: &mut [[u8; 8]], wide: u64) {
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
}

/// Words from which asking for the processor's features costs less than it gains.
const WIDE: usize = 32;

/// Makes a new key for every frame from one seed.
///
/// RFC 6455 §10.3 wants keys that a web page cannot predict, because a page that chooses the
/// bytes could otherwise make an intermediary take them for HTTP. What we send comes from a
/// terminal or a relay, not from a page, and TLS carries it: masking gives no secrecy, so a small
/// generator seeded once per connection (SplitMix64) is enough, and this crate needs no
/// randomness of its own.
#[derive(Clone)]
pub struct MaskKeys(u64);

impl MaskKeys {
    /// Keys that follow from `seed`; give every connection another one.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next frame's key.
    pub const fn next_key(&mut self) -> MaskKey {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [a, b, c, d, ..] = (mixed ^ (mixed >> 31)).to_le_bytes();
        MaskKey([a, b, c, d])
    }
}

impl std::fmt::Debug for MaskKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("MaskKeys").finish_non_exhaustive()
    }
}

const PIECE: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "a failed index is a failed test")]

    use bytes::BytesMut;

    use super::{MaskKey, MaskKeys, PIECE};

    fn naive(key: [u8; 4], payload: &[u8]) -> Vec<u8> {
        payload
            .iter()
            .enumerate()
            .map(|(at, byte)| byte ^ key[at % 4])
            .collect()
    }

    #[test]
    fn every_length_and_phase_equals_the_naive_loop() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let payload: Vec<u8> = (0..=255).cycle().take(600).collect();
        // Around the lengths from which wide registers are used, in either part.
        for length in (0..100).chain(255..270).chain(520..540) {
            for cut in 0..=length {
                let mut masked = payload[..length].to_vec();
                let mut mask = MaskKey::new(key);
                let (head, tail) = masked.split_at_mut(cut);
                mask.apply(head);
                mask.apply(tail);
                assert_eq!(
                    masked,
                    naive(key, &payload[..length]),
                    "{length} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn masking_while_copying_equals_masking_in_place() {
        let key = [1, 2, 3, 4];
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5] {
            let payload = vec![0x5a; length];
            let mut output = BytesMut::from(&b"head"[..]);
            let mut mask = MaskKey::new(key);
            mask.extend(&mut output, &payload[..length / 3]);
            mask.extend(&mut output, &payload[length / 3..]);
            assert_eq!(output[..4], *b"head");
            assert_eq!(output[4..], naive(key, &payload));
        }
    }

    #[test]
    fn one_seed_gives_one_sequence_of_different_keys() {
        let (mut one, mut same) = (MaskKeys::new(7), MaskKeys::new(7));
        let first = one.next_key();
        assert_eq!(first, same.next_key());
        assert_ne!(first, one.next_key());
        assert_ne!(first, MaskKeys::new(8).next_key());
    }
}
