use std::borrow::Cow;

use super::{Json, SyntaxError};

/// Deeper nesting than this is refused: each level costs stack. A configuration has ten.
const MAX_DEPTH: usize = 1000;

/// Where in the text we are.
pub(super) struct Parser<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Parser<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// One value and nothing after it.
    pub(super) fn document(&mut self) -> Result<Json<'a>, SyntaxError> {
        self.skip_space();
        let value = self.value(0)?;
        self.skip_space();
        match self.offset < self.bytes.len() {
            true => Err(self.error("the end")),
            false => Ok(value),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, SyntaxError> {
        if depth > MAX_DEPTH {
            return Err(self.error("less nesting"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => Err(self.error("a value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, SyntaxError> {
        self.offset += 1;
        // Of an attachment to stay there are many, and they have two.
        let mut members = Vec::with_capacity(2);
        self.skip_space();
        if self.take(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.error("a key"));
            }
            let key = self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return Err(self.error("`:`"));
            }
            self.skip_space();
            members.push((key, self.value(depth + 1)?));
            self.skip_space();
            if self.take(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.take(b',') {
                return Err(self.error("`,` or `}`"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json<'a>, SyntaxError> {
        self.offset += 1;
        let mut elements = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(Json::Array(elements));
        }
        loop {
            self.skip_space();
            elements.push(self.value(depth + 1)?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Json::Array(elements));
            }
            if !self.take(b',') {
                return Err(self.error("`,` or `]`"));
            }
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        self.offset += 1;
        // Most strings are as they are written.
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        let plain = rest.iter().position(special).unwrap_or(rest.len());
        let plain = rest.get(..plain).unwrap_or_default();
        self.offset += plain.len();
        if self.take(b'"') {
            return Ok(String::from_utf8_lossy(plain));
        }
        let mut text = plain.to_vec();
        loop {
            match self.next() {
                Some(b'"') => return Ok(String::from_utf8_lossy(&text).into_owned().into()),
                Some(b'\\') => {
                    let character = self.escape()?;
                    let mut buffer = [0; 4];
                    text.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
                }
                Some(byte) if byte >= 0x20 => text.push(byte),
                _ => return Err(self.error("the rest of a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        Ok(match self.next() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.hex()?;
                if !(0xD800..0xDC00).contains(&first) {
                    return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                // A high surrogate: with its low half one character, alone a replacement.
                let before = self.offset;
                if self.take(b'\\') && self.take(b'u') {
                    let second = self.hex()?;
                    if (0xDC00..0xE000).contains(&second) {
                        let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                        return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                }
                self.offset = before;
                char::REPLACEMENT_CHARACTER
            }
            _ => return Err(self.error("an escape")),
        })
    }

    fn hex(&mut self) -> Result<u32, SyntaxError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self
                .next()
                .and_then(|byte| char::from(byte).to_digit(16))
                .ok_or_else(|| self.error("four hex digits"))?;
            code = code * 16 + digit;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Json<'a>, SyntaxError> {
        let start = self.offset;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        let text = self.bytes.get(start..self.offset).unwrap_or_default();
        Ok(Json::Number(String::from_utf8_lossy(text)))
    }

    fn digits(&mut self) -> Result<(), SyntaxError> {
        let start = self.offset;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.offset += 1;
        }
        if self.offset == start {
            return Err(self.error("a digit"));
        }
        Ok(())
    }

    fn word(&mut self, word: &'static str, value: Json<'a>) -> Result<Json<'a>, SyntaxError> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(self.error(word));
        }
        self.offset += word.len();
        Ok(value)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.offset).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.offset += 1;
        Some(byte)
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.offset += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.offset += 1;
        }
    }

    const fn error(&self, expected: &'static str) -> SyntaxError {
        SyntaxError {
            offset: self.offset,
            expected,
        }
    }
}
