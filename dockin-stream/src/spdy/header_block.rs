mod inflate;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use self::inflate::Inflate;
use super::error::HeaderBlockError;
use crate::limits::{MAX_SPDY_HEADER_VALUE, MAX_SPDY_HEADERS};

/// The headers of one SYN_STREAM, SYN_REPLY or HEADERS frame, in wire order.
///
/// Names are lower case and unique; several values of one name are one value with NUL between.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Headers(Vec<(Bytes, Bytes)>);

impl Headers {
    /// No headers: what a SYN_REPLY carries in practice.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a value. The name becomes lower case; a second value of a name joins the first.
    #[must_use]
    pub fn with(mut self, name: &str, value: &[u8]) -> Self {
        let name = name.to_ascii_lowercase();
        match self
            .0
            .iter_mut()
            .find(|(known, _)| known == name.as_bytes())
        {
            Some((_, known)) => *known = [known, value].join(&0).into(),
            None => self.0.push((name.into(), Bytes::copy_from_slice(value))),
        }
        self
    }

    /// The value of `name`, which is given in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .find(|(known, _)| *known == name.as_bytes())
            .map(|(_, value)| value)
    }

    /// Names and values in wire order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (&name[..], &value[..]))
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Writes header blocks of one direction: stored deflate blocks, so that there is no compressor,
/// no dictionary and no window, and the length of a secret never shows in a compressed length
/// (CRIME).
///
/// ```text
///  78 01        | 00 len !len | count, then per header: length, name, length, value | 00 00 00 ff ff
///  once only      stored block                                                        sync marker
/// ```
///
/// The empty stored block at the end is what Go's reader needs to find the next block in step.
#[derive(Debug, Default)]
pub struct HeaderEncoder {
    started: bool,
}

impl HeaderEncoder {
    /// An encoder at the start of a direction.
    #[must_use]
    pub const fn new() -> Self {
        Self { started: false }
    }

    /// Appends the block of `headers` to `out`.
    pub fn encode(&mut self, headers: &Headers, out: &mut BytesMut) {
        if !self.started {
            self.started = true;
            out.put_slice(&ZLIB_HEADER);
        }
        let text_len = headers
            .iter()
            .fold(4, |sum, (name, value)| sum + 8 + name.len() + value.len());
        let mut text = BytesMut::with_capacity(text_len);
        put_length(&mut text, headers.len());
        for (name, value) in headers.iter() {
            for field in [name, value] {
                put_length(&mut text, field.len());
                text.put_slice(field);
            }
        }
        for chunk in text.chunks(usize::from(u16::MAX)) {
            let length = u16::try_from(chunk.len()).unwrap_or(u16::MAX);
            out.put_u8(0);
            out.put_u16_le(length);
            out.put_u16_le(!length);
            out.put_slice(chunk);
        }
        out.put_u8(0);
        out.put_slice(&SYNC_TAIL);
    }
}

/// Reads header blocks of one direction; the compression context lives as long as the
/// connection.
///
/// After an error the context is out of step: the connection has to end.
#[derive(Debug, Default)]
pub struct HeaderDecoder {
    inflate: Inflate,
}

impl HeaderDecoder {
    /// A decoder at the start of a direction.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            inflate: Inflate::new(),
        }
    }

    /// Reads one block, which has to be exactly one frame's.
    ///
    /// # Errors
    ///
    /// Stricter than Go's reader, which accepts some blocks that put the next one out of step:
    /// see [`HeaderBlockError`].
    pub fn decode(&mut self, block: &[u8]) -> Result<Headers, HeaderBlockError> {
        if !block.ends_with(&SYNC_TAIL) {
            return Err(HeaderBlockError::Unterminated);
        }
        parse(self.inflate.inflate(block)?.into())
    }
}

fn parse(mut text: Bytes) -> Result<Headers, HeaderBlockError> {
    let count = length(&mut text)?;
    if count > MAX_SPDY_HEADERS {
        return Err(HeaderBlockError::TooManyHeaders {
            count,
            max: MAX_SPDY_HEADERS,
        });
    }
    let mut headers: Vec<(Bytes, Bytes)> = Vec::with_capacity(count);
    for _ in 0..count {
        let name = field(&mut text)?;
        let value = field(&mut text)?;
        check_name(&name)?;
        if headers.iter().any(|(known, _)| *known == name) {
            return Err(HeaderBlockError::DuplicateName);
        }
        headers.push((name, value));
    }
    if !text.is_empty() {
        return Err(HeaderBlockError::Surplus { count: text.len() });
    }
    Ok(Headers(headers))
}

fn check_name(name: &[u8]) -> Result<(), HeaderBlockError> {
    if name.is_empty() {
        return Err(HeaderBlockError::EmptyName);
    }
    if name.iter().any(u8::is_ascii_uppercase) {
        return Err(HeaderBlockError::UpperCaseName);
    }
    match FORBIDDEN.iter().find(|known| known.as_bytes() == name) {
        Some(name) => Err(HeaderBlockError::Forbidden { name }),
        None => Ok(()),
    }
}

fn length(text: &mut Bytes) -> Result<usize, HeaderBlockError> {
    let length = text
        .try_get_u32()
        .map_err(|_| HeaderBlockError::Truncated)?;
    usize::try_from(length).map_err(|_| HeaderBlockError::Truncated)
}

fn field(text: &mut Bytes) -> Result<Bytes, HeaderBlockError> {
    let size = length(text)?;
    if size > MAX_SPDY_HEADER_VALUE {
        return Err(HeaderBlockError::FieldTooLong {
            size,
            max: MAX_SPDY_HEADER_VALUE,
        });
    }
    if size > text.len() {
        return Err(HeaderBlockError::Truncated);
    }
    Ok(text.split_to(size))
}

fn put_length(out: &mut BytesMut, length: usize) {
    // Nothing of ours comes near 4 GiB.
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

/// Deflate, 32 KiB window, no dictionary, fastest.
const ZLIB_HEADER: [u8; 2] = [0x78, 0x01];
/// Length and inverted length of an empty stored block: what a sync flush ends with.
const SYNC_TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// Headers of HTTP/1.1 connections that Go refuses as well. `host` was replaced by `:host`.
const FORBIDDEN: [&str; 5] = [
    "connection",
    "host",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use bytes::BytesMut;
    use flate2::{Compress, Compression, FlushCompress};

    use super::{HeaderDecoder, HeaderEncoder, Headers};
    use crate::{
        limits::{MAX_SPDY_HEADER_BLOCK, MAX_SPDY_HEADERS},
        spdy::{HeaderBlockError, dictionary::DICTIONARY},
    };

    fn block(headers: &Headers) -> BytesMut {
        let mut out = BytesMut::new();
        HeaderEncoder::new().encode(headers, &mut out);
        out
    }

    fn stored(text: &[u8]) -> Vec<u8> {
        let mut deflate = Compress::new(Compression::best(), true);
        let mut out = Vec::with_capacity(text.len() + 1024);
        deflate
            .compress_vec(text, &mut out, FlushCompress::Sync)
            .unwrap();
        out
    }

    #[test]
    fn only_the_first_block_of_a_direction_has_a_zlib_header() {
        let mut encoder = HeaderEncoder::new();
        let headers = Headers::new().with("streamType", b"stdin");
        let (mut first, mut second) = (BytesMut::new(), BytesMut::new());
        encoder.encode(&headers, &mut first);
        encoder.encode(&headers, &mut second);
        assert_eq!(first.get(..2).unwrap(), [0x78, 0x01]);
        assert_eq!(first.get(2..).unwrap(), second);

        let mut decoder = HeaderDecoder::new();
        assert_eq!(decoder.decode(&first), Ok(headers.clone()));
        assert_eq!(decoder.decode(&second), Ok(headers));
    }

    #[test]
    fn values_of_one_name_are_joined_with_nul() {
        let headers = Headers::new().with("a", b"1").with("A", b"2");
        assert_eq!(headers.get("a"), Some(&b"1\x002"[..]));
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn block_that_inflates_past_the_limit_is_refused() {
        let bomb = stored(&vec![0; 16 * 1024 * 1024]);
        assert!(bomb.len() < 64 * 1024);
        assert_eq!(
            HeaderDecoder::new().decode(&bomb),
            Err(HeaderBlockError::TooLong {
                max: MAX_SPDY_HEADER_BLOCK
            })
        );
    }

    #[test]
    fn block_of_exactly_the_limit_is_read() {
        let value = vec![b'v'; 8 * 1024];
        let rest = MAX_SPDY_HEADER_BLOCK - 4 - 3 * 8 - 3 - value.len();
        let (second, third) = value.split_at(rest / 2);
        let headers = Headers::new()
            .with("a", &value)
            .with("b", second)
            .with("c", third.get(..rest - second.len()).unwrap());
        assert_eq!(HeaderDecoder::new().decode(&block(&headers)), Ok(headers));
    }

    #[test]
    fn later_blocks_refer_to_earlier_ones_and_to_the_dictionary() {
        let text = |name: &str| {
            let mut text = 1_u32.to_be_bytes().to_vec();
            for field in [name, "application/octet-stream, a value to be found again"] {
                text.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
                text.extend(field.as_bytes());
            }
            text
        };
        for with_dictionary in [false, true] {
            let mut deflate = Compress::new(Compression::best(), true);
            if with_dictionary {
                deflate.set_dictionary(&DICTIONARY).unwrap();
            }
            let mut decoder = HeaderDecoder::new();
            let mut sizes = Vec::new();
            for round in 0..200 {
                let name = format!("content-type-{round}");
                let mut block = Vec::with_capacity(1024);
                deflate
                    .compress_vec(&text(&name), &mut block, FlushCompress::Sync)
                    .unwrap();
                let headers = decoder.decode(&block).unwrap();
                assert_eq!(
                    headers.get(&name),
                    Some(&b"application/octet-stream, a value to be found again"[..])
                );
                sizes.push(block.len());
            }
            assert!(
                sizes.iter().skip(1).all(|size| *size < 40),
                "the compressor looks back: {sizes:?}"
            );
        }
    }

    #[test]
    fn block_that_ends_inside_a_deflate_block_is_refused() {
        // A stored block of 8 bytes of which 4 are there, and they look like a sync flush.
        let cut = b"\x78\x01\x00\x08\x00\xf7\xff\x00\x00\xff\xff";
        assert_eq!(
            HeaderDecoder::new().decode(cut),
            Err(HeaderBlockError::Unterminated)
        );
    }

    #[test]
    fn header_count_is_not_believed() {
        let block = stored(&u32::MAX.to_be_bytes());
        assert_eq!(
            HeaderDecoder::new().decode(&block),
            Err(HeaderBlockError::TooManyHeaders {
                count: 0xffff_ffff,
                max: MAX_SPDY_HEADERS
            })
        );
    }

    #[test]
    fn what_is_no_zlib_stream_of_a_connection_is_refused() {
        let tail = [0, 0, 0xff, 0xff];
        for (start, error) in [
            // Not even two bytes of a zlib header before the tail.
            (&b""[..], HeaderBlockError::Corrupt),
            // FDICT, and no room for its id.
            (
                b"\x78\xbb",
                HeaderBlockError::WrongDictionary { id: 0xffff },
            ),
            (
                b"\x78\xbb\x12\x34\x56\x78\x00",
                HeaderBlockError::WrongDictionary { id: 0x1234_5678 },
            ),
            // Another method, a window above 32 KiB, a wrong checksum.
            (b"\x79\x00\x00", HeaderBlockError::Corrupt),
            (b"\x88\x1c\x00", HeaderBlockError::Corrupt),
            (b"\x78\x02\x00", HeaderBlockError::Corrupt),
            // A block of the reserved type.
            (b"\x78\x01\x06\x00", HeaderBlockError::Corrupt),
            // The last block of a stream.
            (
                b"\x78\x01\x01\x04\x00\xfb\xff\x00\x00\x00\x00\x00",
                HeaderBlockError::FinalBlock,
            ),
        ] {
            let block = [start, &tail].concat();
            assert_eq!(
                HeaderDecoder::new().decode(&block),
                Err(error),
                "{block:x?}"
            );
        }
        let cut: &[&[u8]] = &[b"", b"\x78", b"\x00\x00\xff"];
        for block in cut {
            assert_eq!(
                HeaderDecoder::new().decode(block),
                Err(HeaderBlockError::Unterminated)
            );
        }
    }

    #[test]
    fn a_block_without_headers_is_empty() {
        let headers = HeaderDecoder::new().decode(&block(&Headers::new()));
        assert!(headers.is_ok_and(|headers| headers.is_empty()));
        assert!(!Headers::new().with("a", b"").is_empty());
    }
}
