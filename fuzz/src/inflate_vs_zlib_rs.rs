use bytes::BytesMut;
use dockin_stream::spdy::{HeaderBlockError, HeaderDecoder, HeaderEncoder, Headers};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::script::Script;

/// Header blocks of one direction: how they are made, then what they are made of.
///
/// Our decoder keeps text between two blocks and starts zlib-rs anew for each; it says what one
/// zlib stream over the life of the connection says, as far as that one has all it needs to tell.
///
/// # Panics
///
/// A law is broken.
pub fn inflate_vs_zlib_rs(data: &[u8]) {
    let mut script = Script::new(data);
    let blocks = match script.byte() % 4 {
        0 => cut_blocks(script),
        1 => written_by_us(script),
        choice => compressed(script, choice == 2),
    };
    let mut decoder = HeaderDecoder::new();
    let mut oracle = Oracle::default();
    for block in &blocks {
        let ours = decoder.decode(block);
        if !block.ends_with(&SYNC_TAIL) {
            assert_eq!(ours, Err(HeaderBlockError::Unterminated));
            return;
        }
        let theirs = oracle.read(block);
        match (&ours, &theirs) {
            (Err(error), None) => assert!(of_compression(error), "{error:?} of what is no text"),
            (Ok(headers), None) => panic!("{headers:?} of what the oracle refuses"),
            (Ok(headers), Some(text)) => {
                let read: Vec<(&[u8], &[u8])> = headers.iter().collect();
                assert!(is_proper(text), "{headers:?} must not be");
                assert_eq!(Some(read), parse(text), "another text");
            }
            (Err(HeaderBlockError::TooLong { max }), Some(text)) => {
                assert!(text.len() > *max, "{} bytes are not too long", text.len());
            }
            (Err(error), Some(text)) => {
                assert!(!of_compression(error), "{error:?} of {text:?}");
                assert!(!is_proper(text), "{error:?} of {text:?}");
            }
        }
        // Behind an error the context is out of step.
        if ours.is_err() {
            return;
        }
    }
}

/// One zlib stream for all that has come; it is asked from the start every time, because only the
/// end of a stream tells whether a block ended between two blocks of deflate.
#[derive(Default)]
struct Oracle {
    wire: Vec<u8>,
    known: usize,
}

impl Oracle {
    /// The text of the next block; `None` when it is none, or does not end where its frame does.
    fn read(&mut self, block: &[u8]) -> Option<Vec<u8>> {
        self.wire.extend_from_slice(block);
        let mut inflate = Decompress::new(true);
        let mut text = Vec::new();
        if inflate_all(&mut inflate, &self.wire, &mut text)? != Status::Ok {
            return None;
        }
        let mut end = FINAL_BLOCK.to_vec();
        end.extend(adler32(&text).to_be_bytes());
        if inflate_all(&mut inflate, &end, &mut text)? != Status::StreamEnd {
            return None;
        }
        let block_text = text.split_off(self.known);
        self.known += block_text.len();
        Some(block_text)
    }
}

/// [`Status::StreamEnd`], or [`Status::Ok`] when all of `input` was taken; `None` when it is
/// corrupt.
fn inflate_all(inflate: &mut Decompress, mut input: &[u8], text: &mut Vec<u8>) -> Option<Status> {
    loop {
        text.reserve(64 * 1024);
        let (taken, made) = (inflate.total_in(), text.len());
        let status = inflate.decompress_vec(input, text, FlushDecompress::Sync);
        input = &input[(inflate.total_in() - taken) as usize..];
        match status {
            Ok(Status::StreamEnd) => return Some(Status::StreamEnd),
            Ok(_) if input.is_empty() && text.len() < text.capacity() => return Some(Status::Ok),
            Ok(_) if inflate.total_in() == taken && text.len() == made => return None,
            Ok(_) => {}
            Err(error) => {
                error.needs_dictionary()?;
                inflate.set_dictionary(DICTIONARY).ok()?;
            }
        }
    }
}

/// RFC 1950 §8.2, the slow way.
fn adler32(text: &[u8]) -> u32 {
    let (a, b) = text.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    b << 16 | a
}

/// Whether the fault is one of the compressed bytes, not of the text in them.
const fn of_compression(error: &HeaderBlockError) -> bool {
    matches!(
        error,
        HeaderBlockError::Unterminated
            | HeaderBlockError::FinalBlock
            | HeaderBlockError::Corrupt
            | HeaderBlockError::WrongDictionary { .. }
            | HeaderBlockError::TooLong { .. }
    )
}

/// The names and values of a text; `None` when it is cut or too long.
fn parse(mut text: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let length = |text: &mut &[u8]| {
        let (length, rest) = text.split_first_chunk::<4>()?;
        *text = rest;
        Some(u32::from_be_bytes(*length) as usize)
    };
    let mut headers = Vec::new();
    for _ in 0..length(&mut text)? {
        let mut fields = [&text[..0]; 2];
        for field in &mut fields {
            let size = length(&mut text)?;
            (*field, text) = text.split_at_checked(size)?;
        }
        let [name, value] = fields;
        headers.push((name, value));
    }
    text.is_empty().then_some(headers)
}

/// Whether nothing is wrong with a text.
fn is_proper(text: &[u8]) -> bool {
    let Some(headers) = parse(text) else {
        return false;
    };
    let mut names: Vec<&[u8]> = headers.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    headers.len() <= 64
        && names.len() == headers.len()
        && headers.iter().all(|(name, value)| {
            let forbidden = [
                "connection",
                "host",
                "keep-alive",
                "proxy-connection",
                "transfer-encoding",
            ];
            (1..=8 * 1024).contains(&name.len())
                && value.len() <= 8 * 1024
                && !name.iter().any(u8::is_ascii_uppercase)
                && !forbidden.iter().any(|known| known.as_bytes() == *name)
        })
}

/// The bytes themselves, in blocks of the length that a byte gives; an odd length gets the tail
/// of a sync flush.
fn cut_blocks(mut script: Script<'_>) -> Vec<Vec<u8>> {
    let mut blocks = Vec::new();
    while !script.is_empty() && blocks.len() < BLOCKS {
        let length = script.byte();
        let mut block = script.take(length.into()).to_vec();
        if length % 2 == 1 {
            block.extend(SYNC_TAIL);
        }
        blocks.push(block);
    }
    blocks
}

/// What our own encoder writes, damaged here and there.
fn written_by_us(mut script: Script<'_>) -> Vec<Vec<u8>> {
    let mut encoder = HeaderEncoder::new();
    let mut blocks = Vec::new();
    while !script.is_empty() && blocks.len() < BLOCKS {
        let mut headers = Headers::new();
        for _ in 0..script.byte() % 4 {
            let name = script.payload().escape_ascii().to_string();
            let value = script.payload().repeat(1 + usize::from(script.byte()));
            headers = headers.with(&name, &value);
        }
        let mut block = BytesMut::new();
        encoder.encode(&headers, &mut block);
        blocks.push(block.to_vec());
        damage(&mut script, &mut blocks);
    }
    blocks
}

/// What a compressor writes: texts that may be headers, with or without SPDY's dictionary.
fn compressed(mut script: Script<'_>, with_dictionary: bool) -> Vec<Vec<u8>> {
    let level = u32::from(script.byte()) % 10;
    let mut deflate = Compress::new(Compression::new(level), true);
    if with_dictionary {
        let dictionary = match script.byte() {
            // Another one than SPDY's.
            0 => &DICTIONARY[..100],
            _ => DICTIONARY,
        };
        deflate
            .set_dictionary(dictionary)
            .expect("nothing was compressed yet");
    }
    let mut blocks = Vec::new();
    while !script.is_empty() && blocks.len() < BLOCKS {
        let choice = script.byte();
        let mut text = Vec::new();
        if choice % 8 == 0 {
            text.extend_from_slice(&script.payload().repeat(usize::from(script.byte()) * 16));
        } else {
            let count = choice % 5;
            text.extend(u32::from(count).to_be_bytes());
            for _ in 0..count {
                for repeat in [1, 1 + usize::from(script.byte()) * 2] {
                    let field = script.payload().to_ascii_lowercase().repeat(repeat);
                    text.extend((field.len() as u32).to_be_bytes());
                    text.extend_from_slice(&field);
                }
            }
        }
        let mut block = Vec::with_capacity(2 * text.len() + 1024);
        deflate
            .compress_vec(&text, &mut block, FlushCompress::Sync)
            .expect("room enough");
        blocks.push(block);
        damage(&mut script, &mut blocks);
    }
    blocks
}

/// Changes a byte of the last block, or cuts it, if the script says so.
fn damage(script: &mut Script<'_>, blocks: &mut [Vec<u8>]) {
    let (choice, place) = (script.byte(), usize::from(script.byte()));
    if let Some(block) = blocks.last_mut() {
        let place = place % block.len().max(1);
        match (choice, block.get_mut(place)) {
            (0xf0..=0xf7, Some(byte)) => *byte ^= 1 << (choice & 7),
            (0xf8..=0xfb, _) => block.truncate(place),
            (0xfc..=0xfe, _) => block.insert(place, choice),
            _ => {}
        }
    }
}

/// The dictionary of SPDY/3; zlib-rs knows by its checksum that it is the one.
const DICTIONARY: &[u8; 1423] = include_bytes!("spdy3.dictionary");
const SYNC_TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// An empty stored block that says it is the last.
const FINAL_BLOCK: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];
/// Enough to fill the window; the oracle reads all of them again for each.
const BLOCKS: usize = 24;
