//! JSON as runtimes write it and as the reference reads it: keys match without regard to case,
//! the last of two equal keys wins, `null` is absence. Messages name the path of the field.

use std::fmt;

use thiserror::Error;

/// Deeper nesting than this is refused: each level costs stack. A configuration has ten.
const MAX_DEPTH: usize = 1000;

/// Where and why text is not JSON.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("not JSON at byte {offset}: expected {expected}")]
pub struct SyntaxError {
    /// Bytes from the start.
    pub offset: usize,
    /// What would have been right there.
    pub expected: &'static str,
}

/// A field that is there and not of its kind.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{path}` is not {expected}")]
pub struct FieldError {
    /// Keys and indexes, such as `ipam.routes[1].dst`.
    pub path: String,
    /// The kind it should have.
    pub expected: &'static str,
}

/// One JSON value. Numbers stay as written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// As written.
    Number(String),
    /// Unescaped; what is no UTF-8 became U+FFFD.
    String(String),
    /// In order.
    Array(Vec<Self>),
    /// In order, equal keys included.
    Object(Vec<(String, Self)>),
}

impl Json {
    /// Reads one value and nothing after it.
    ///
    /// # Errors
    ///
    /// [`SyntaxError`] with the first byte that does not fit.
    pub fn parse(bytes: &[u8]) -> Result<Self, SyntaxError> {
        let mut parser = Parser { bytes, offset: 0 };
        parser.skip_space();
        let value = parser.value(0)?;
        parser.skip_space();
        if parser.offset < bytes.len() {
            return Err(parser.error("the end"));
        }
        Ok(value)
    }

    /// The root as a field without a name.
    #[must_use]
    pub fn root(&self) -> Field<'_> {
        Field {
            path: Path(String::new()),
            value: Some(self).filter(|value| **value != Self::Null),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Path(String);

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_empty() {
            "the configuration"
        } else {
            &self.0
        })
    }
}

/// A value or its absence, with the path that led there. `null` is absence.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    path: Path,
    value: Option<&'a Json>,
}

impl<'a> Field<'a> {
    /// The path, for messages.
    #[must_use]
    pub fn path(&self) -> String {
        self.path.to_string()
    }

    /// Is there anything?
    #[must_use]
    pub const fn is_present(&self) -> bool {
        self.value.is_some()
    }

    /// The field called `name`; the last one that matches without regard to case.
    ///
    /// # Errors
    ///
    /// [`FieldError`] when this is there and no object.
    pub fn get(&self, name: &str) -> Result<Self, FieldError> {
        let members = match self.value {
            None => &[],
            Some(Json::Object(members)) => members.as_slice(),
            Some(_) => return Err(self.wrong("an object")),
        };
        let mut latest = members.iter().rev();
        let found = latest.find(|(key, _)| key.eq_ignore_ascii_case(name));
        Ok(Field {
            path: self.join(found.map_or(name, |(key, _)| key)),
            value: found
                .map(|(_, value)| value)
                .filter(|value| **value != Json::Null),
        })
    }

    /// All members of an object, in order; none when absent.
    ///
    /// # Errors
    ///
    /// [`FieldError`] when this is there and no object.
    pub fn members(&self) -> Result<Vec<(&'a str, Self)>, FieldError> {
        match self.value {
            None => Ok(Vec::new()),
            Some(Json::Object(members)) => Ok(members
                .iter()
                .map(|(key, value)| {
                    let field = Field {
                        path: self.join(key),
                        value: Some(value).filter(|value| **value != Json::Null),
                    };
                    (key.as_str(), field)
                })
                .collect()),
            Some(_) => Err(self.wrong("an object")),
        }
    }

    /// All elements of a list; none when absent. A `null` among them is an absent field.
    ///
    /// # Errors
    ///
    /// [`FieldError`] when this is there and no list.
    pub fn elements(&self) -> Result<impl ExactSizeIterator<Item = Self>, FieldError> {
        let elements = match self.value {
            None => &[],
            Some(Json::Array(elements)) => elements.as_slice(),
            Some(_) => return Err(self.wrong("a list")),
        };
        // One at a time: the list of what is to stay is as long as a node has containers.
        Ok(elements.iter().enumerate().map(|(index, value)| Field {
            path: Path(format!("{}[{index}]", self.path.0)),
            value: Some(value).filter(|value| **value != Json::Null),
        }))
    }

    /// The string, or `None` when absent.
    ///
    /// # Errors
    ///
    /// [`FieldError`] when this is there and no string.
    pub fn string(&self) -> Result<Option<&'a str>, FieldError> {
        match self.value {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong("a string")),
        }
    }

    /// The whole number, or `None` when absent. `1.0` and `1e2` are not whole numbers here.
    ///
    /// # Errors
    ///
    /// [`FieldError`] when this is there and no whole number of 64 bits.
    pub fn integer(&self) -> Result<Option<i64>, FieldError> {
        match self.value {
            None => Ok(None),
            Some(Json::Number(text)) => text
                .parse()
                .map(Some)
                .map_err(|_| self.wrong("a whole number")),
            Some(_) => Err(self.wrong("a whole number")),
        }
    }

    /// The truth value, or `None` when absent.
    ///
    /// # Errors
    ///
    /// [`FieldError`] when this is there and neither `true` nor `false`.
    pub fn boolean(&self) -> Result<Option<bool>, FieldError> {
        match self.value {
            None => Ok(None),
            Some(Json::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong("true or false")),
        }
    }

    /// A list of strings; a `null` among them is an empty one, as in the reference.
    ///
    /// # Errors
    ///
    /// [`FieldError`] when this is no list or holds something else.
    pub fn strings(&self) -> Result<Vec<&'a str>, FieldError> {
        self.elements()?
            .map(|element| Ok(element.string()?.unwrap_or_default()))
            .collect()
    }

    /// The value itself.
    #[must_use]
    pub const fn value(&self) -> Option<&'a Json> {
        self.value
    }

    fn wrong(&self, expected: &'static str) -> FieldError {
        FieldError {
            path: self.path(),
            expected,
        }
    }

    fn join(&self, name: &str) -> Path {
        Path(if self.path.0.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path.0)
        })
    }
}

struct Parser<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<Json, SyntaxError> {
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

    fn object(&mut self, depth: usize) -> Result<Json, SyntaxError> {
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

    fn array(&mut self, depth: usize) -> Result<Json, SyntaxError> {
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

    fn string(&mut self) -> Result<String, SyntaxError> {
        self.offset += 1;
        // Most strings are as they are written.
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        let plain = rest.iter().position(special).unwrap_or(rest.len());
        let mut text = rest.get(..plain).unwrap_or_default().to_vec();
        self.offset += plain;
        loop {
            match self.next() {
                Some(b'"') => return Ok(String::from_utf8(text).unwrap_or_else(|error| {
                    String::from_utf8_lossy(error.as_bytes()).into_owned()
                })),
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

    fn number(&mut self) -> Result<Json, SyntaxError> {
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
        Ok(Json::Number(String::from_utf8_lossy(text).into_owned()))
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

    fn word(&mut self, word: &'static str, value: Json) -> Result<Json, SyntaxError> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Json;

    #[test]
    fn the_last_of_two_keys_wins_without_regard_to_case() {
        let value = Json::parse(br#"{"name":"a","NAME":"b"}"#).unwrap();
        let name = value.root().get("Name").unwrap();
        assert_eq!(name.string().unwrap(), Some("b"));
    }

    #[test]
    fn a_wrong_kind_is_told_with_its_path() {
        let value = Json::parse(br#"{"ipam":{"routes":[{"dst":7}]}}"#).unwrap();
        let routes = value.root().get("ipam").unwrap().get("routes").unwrap();
        let route = routes.elements().unwrap().next().unwrap();
        let error = route.get("dst").unwrap().string().unwrap_err();
        assert_eq!(error.to_string(), "`ipam.routes[0].dst` is not a string");
    }

    #[test]
    fn deep_nesting_passes_and_bottomless_nesting_does_not() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Json::parse(nested(200).as_bytes()).is_ok());
        assert!(Json::parse(nested(100_000).as_bytes()).is_err());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            "{",
            "{}x",
            "{\"a\":1,}",
            "[1,]",
            "01",
            "1.",
            "\"\\x\"",
            "\"\n\"",
            "\u{feff}{}",
            "{//c\n}",
            "nul",
        ] {
            assert!(Json::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    proptest! {
        /// What serde_json reads, we read, and no bytes panic.
        #[test]
        fn agrees_with_another_reader(text in "[\\[\\]{}\",:0-9.eE+\\-a-d \\\\ntrufls]{0,24}") {
            let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            let ours = Json::parse(text.as_bytes()).is_ok();
            // serde_json refuses numbers past its range and lone surrogates; we keep them.
            prop_assert!(ours || !theirs);
        }
    }
}
