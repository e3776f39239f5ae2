use flate2::{Decompress, FlushDecompress, Status};

use crate::{
    limits::MAX_SPDY_HEADER_BLOCK,
    spdy::{
        HeaderBlockError,
        dictionary::{DICTIONARY, DICTIONARY_ID},
    },
};

/// The inflating side of one direction's compression context, RFC 1950 and 1951.
///
/// A header block ends between two deflate blocks, so all that the next one may refer to is the
/// text before it. That is all that is kept, a few hundred bytes in the field: the decompressor
/// with its 32 KiB window and its tables lives for one block only.
#[derive(Debug, Default)]
pub(super) struct Inflate {
    /// The zlib header has been read.
    started: bool,
    /// The window begins with SPDY's dictionary.
    dictionary: bool,
    /// The end of the text so far, at most [`WINDOW`] bytes.
    history: Vec<u8>,
}

impl Inflate {
    pub(super) const fn new() -> Self {
        Self {
            started: false,
            dictionary: false,
            history: Vec::new(),
        }
    }

    /// The text of one block.
    pub(super) fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, HeaderBlockError> {
        let block = if self.started {
            block
        } else {
            self.start(block)?
        };
        let mut inflate = Decompress::new(false);
        let window = self.window();
        if !window.is_empty() {
            inflate
                .set_dictionary(&window)
                .map_err(|_| HeaderBlockError::Corrupt)?;
        }
        let text = decompress(&mut inflate, block)?;
        // Between two blocks this ends the stream; inside one it is something else.
        match inflate.decompress(&FINAL_BLOCK, &mut [0], FlushDecompress::Finish) {
            Ok(Status::StreamEnd) => {}
            Ok(Status::Ok | Status::BufError) | Err(_) => {
                return Err(HeaderBlockError::Unterminated);
            }
        }
        self.remember(&text);
        Ok(text)
    }

    /// Reads the zlib header; gives what is behind it.
    fn start<'a>(&mut self, block: &'a [u8]) -> Result<&'a [u8], HeaderBlockError> {
        let Some((&[method, flags], rest)) = block.split_first_chunk::<2>() else {
            return Err(HeaderBlockError::Corrupt);
        };
        let deflate = method & 0x0f == 8 && method >> 4 <= 7;
        if !deflate || u16::from_be_bytes([method, flags]) % 31 != 0 {
            return Err(HeaderBlockError::Corrupt);
        }
        self.started = true;
        if flags & 0x20 == 0 {
            return Ok(rest);
        }
        let Some((id, rest)) = rest.split_first_chunk::<4>() else {
            return Err(HeaderBlockError::Corrupt);
        };
        match u32::from_be_bytes(*id) {
            DICTIONARY_ID => {
                self.dictionary = true;
                Ok(rest)
            }
            id => Err(HeaderBlockError::WrongDictionary { id }),
        }
    }

    fn window(&self) -> Vec<u8> {
        let mut window = Vec::new();
        if self.dictionary {
            window.extend_from_slice(&DICTIONARY);
        }
        window.extend_from_slice(&self.history);
        window.drain(..window.len().saturating_sub(WINDOW));
        window
    }

    fn remember(&mut self, text: &[u8]) {
        let surplus = (self.history.len() + text.len()).saturating_sub(WINDOW);
        self.history.drain(..surplus.min(self.history.len()));
        self.history.extend_from_slice(text);
    }
}

fn decompress(inflate: &mut Decompress, block: &[u8]) -> Result<Vec<u8>, HeaderBlockError> {
    let mut text = Vec::with_capacity(FIRST_GUESS);
    let mut rest = block;
    loop {
        let (consumed, produced) = (inflate.total_in(), text.len());
        match inflate.decompress_vec(rest, &mut text, FlushDecompress::Sync) {
            Ok(Status::StreamEnd) => return Err(HeaderBlockError::FinalBlock),
            Ok(Status::Ok | Status::BufError) => {}
            Err(_) => return Err(HeaderBlockError::Corrupt),
        }
        let step = usize::try_from(inflate.total_in() - consumed).unwrap_or(usize::MAX);
        rest = rest.get(step..).ok_or(HeaderBlockError::Corrupt)?;
        if text.len() > MAX_SPDY_HEADER_BLOCK {
            return Err(HeaderBlockError::TooLong {
                max: MAX_SPDY_HEADER_BLOCK,
            });
        }
        if text.len() == text.capacity() {
            text.reserve(text.len());
        } else if rest.is_empty() {
            return Ok(text);
        } else if step == 0 && text.len() == produced {
            return Err(HeaderBlockError::Corrupt);
        }
    }
}

/// How far back deflate refers, bytes: RFC 1951 §2.
const WINDOW: usize = 32 * 1024;
/// An empty stored block that says it is the last.
const FINAL_BLOCK: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];
/// Inflated size of most blocks of the field, bytes.
const FIRST_GUESS: usize = 256;
