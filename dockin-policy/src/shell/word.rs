//! Words: quotes, escapes, parameters and substitutions.

use super::{
    ast::{ParameterOperator, Part, Script, Word},
    parser::{ParseError, Parser},
};

/// Where a word ends besides blanks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Delimiter {
    /// At `;`, `&`, `|`, `(`, `)`, `<`, `>` and new lines.
    Command,
    /// A pattern of `case`: as a command's.
    Pattern,
    /// In `[[ ]]`, where a regular expression may have parentheses.
    Test,
    /// At the brace that closes `${…}`.
    Brace,
}

impl Word {
    pub(super) fn text(bytes: &[u8], quoted: bool) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        Self {
            parts: vec![Part::Text { text, quoted }],
        }
    }

    /// The text, when the word is nothing but text.
    pub(super) fn literal(&self) -> Option<String> {
        self.parts
            .iter()
            .try_fold(String::new(), |mut all, part| match part {
                Part::Text { text, .. } => {
                    all.push_str(text);
                    Some(all)
                }
                _ => None,
            })
    }

    /// The same word as something whose value is not known, with the scripts in it.
    pub(super) fn opaque(self) -> Self {
        let mut scripts = Vec::new();
        collect(self, &mut scripts);
        Self {
            parts: vec![Part::Opaque { scripts }],
        }
    }
}

/// The scripts inside a word that run when it is expanded.
pub(super) fn collect(word: Word, scripts: &mut Vec<Script>) {
    let mut waiting = vec![word];
    while let Some(word) = waiting.pop() {
        for part in word.parts {
            match part {
                Part::Text { .. } => {}
                Part::Parameter { operator, .. } => waiting.extend(operator.map(|(_, word)| word)),
                Part::Substitution { script, .. } | Part::Process { script } => {
                    scripts.push(script)
                }
                Part::Opaque { scripts: inner } => scripts.extend(inner),
            }
        }
    }
}

impl Parser<'_> {
    /// A word; it is an error when none is here.
    pub(super) fn word(&mut self, delimiter: Delimiter) -> Result<Word, ParseError> {
        let start = self.position;
        let word = self.deeper(|parser| parser.word_parts(delimiter))?;
        if self.position == start {
            Err(self.missing())
        } else {
            Ok(word)
        }
    }

    /// A word that may be empty, behind `name=`.
    pub(super) fn word_or_nothing(&mut self) -> Result<Word, ParseError> {
        self.deeper(|parser| parser.word_parts(Delimiter::Command))
    }

    fn word_parts(&mut self, delimiter: Delimiter) -> Result<Word, ParseError> {
        let mut word = Word::default();
        let mut text = Vec::new();
        let mut parentheses = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'}' if delimiter == Delimiter::Brace => break,
                b' ' | b'\t' | b'\n' if delimiter == Delimiter::Brace => {
                    text.push(byte);
                    self.position += 1;
                }
                b' ' | b'\t' | b'\n' if parentheses == 0 => break,
                b'<' | b'>' if self.text.get(self.position + 1) == Some(&b'(') => {
                    flush(&mut word, &mut text, false);
                    self.position += 2;
                    let script = self.script(&[")"])?;
                    self.position += 1;
                    word.parts.push(Part::Process { script });
                }
                b'(' if delimiter == Delimiter::Test || is_extended_glob(&text) => {
                    parentheses += 1;
                    text.push(byte);
                    self.position += 1;
                }
                b')' if parentheses > 0 => {
                    parentheses -= 1;
                    text.push(byte);
                    self.position += 1;
                }
                b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>'
                    if delimiter != Delimiter::Brace && parentheses == 0 =>
                {
                    break;
                }
                b'\\' => {
                    self.position += 1;
                    match self.peek() {
                        // A line that goes on.
                        Some(b'\n') => self.position += 1,
                        Some(escaped) => {
                            flush(&mut word, &mut text, false);
                            self.position += 1;
                            text.push(escaped);
                            self.take_continuation_bytes(&mut text);
                            flush(&mut word, &mut text, true);
                        }
                        None => return Err(ParseError::Incomplete),
                    }
                }
                b'\'' => {
                    flush(&mut word, &mut text, false);
                    self.position += 1;
                    let quoted = self.until(b'\'')?;
                    word.parts.push(text_part(&quoted, true));
                }
                b'"' => {
                    flush(&mut word, &mut text, false);
                    self.position += 1;
                    self.double_quoted(&mut word)?;
                }
                b'$' | b'`' => {
                    flush(&mut word, &mut text, false);
                    self.dollar(&mut word, false)?;
                }
                _ => {
                    text.push(byte);
                    self.position += 1;
                }
            }
        }
        flush(&mut word, &mut text, false);
        Ok(word)
    }

    /// The rest of a character that takes several bytes.
    fn take_continuation_bytes(&mut self, text: &mut Vec<u8>) {
        while let Some(byte @ 0x80..=0xBF) = self.peek() {
            text.push(byte);
            self.position += 1;
        }
    }

    fn until(&mut self, end: u8) -> Result<Vec<u8>, ParseError> {
        let rest = self.text.get(self.position..).unwrap_or_default();
        let length = rest
            .iter()
            .position(|byte| *byte == end)
            .ok_or(ParseError::Incomplete)?;
        self.position += length + 1;
        Ok(rest.get(..length).unwrap_or_default().to_vec())
    }

    /// Behind an opening double quote, past the closing one.
    fn double_quoted(&mut self, word: &mut Word) -> Result<(), ParseError> {
        // An empty string is a word, too.
        word.parts.push(text_part(b"", true));
        self.quoted_until(word, Some(b'"'))
    }

    /// A whole text as between double quotes, where quotes are text: a here-document.
    pub(super) fn double_quoted_text(&mut self) -> Result<Word, ParseError> {
        let mut word = Word::default();
        self.quoted_until(&mut word, None)?;
        Ok(word)
    }

    fn quoted_until(&mut self, word: &mut Word, end: Option<u8>) -> Result<(), ParseError> {
        let mut text = Vec::new();
        loop {
            let Some(byte) = self.peek() else {
                flush(word, &mut text, true);
                return if end.is_none() {
                    Ok(())
                } else {
                    Err(ParseError::Incomplete)
                };
            };
            match byte {
                byte if Some(byte) == end => {
                    self.position += 1;
                    flush(word, &mut text, true);
                    return Ok(());
                }
                b'\\' => {
                    self.position += 1;
                    match self.peek() {
                        Some(b'\n') => self.position += 1,
                        Some(escaped @ (b'$' | b'`' | b'"' | b'\\')) => {
                            text.push(escaped);
                            self.position += 1;
                        }
                        _ => text.push(b'\\'),
                    }
                }
                b'$' | b'`' => {
                    flush(word, &mut text, true);
                    self.dollar(word, true)?;
                }
                _ => {
                    text.push(byte);
                    self.position += 1;
                }
            }
        }
    }

    /// At `$` or a backquote.
    fn dollar(&mut self, word: &mut Word, quoted: bool) -> Result<(), ParseError> {
        if self.take(b"`") {
            let script = self.backquoted()?;
            word.parts.push(Part::Substitution { script, quoted });
            return Ok(());
        }
        if self.starts_with(b"$((") {
            let start = self.position;
            self.position += 1;
            if let Ok(scripts) = self.arithmetic() {
                word.parts.push(Part::Opaque { scripts });
                return Ok(());
            }
            self.position = start;
        }
        self.position += 1;
        match self.peek() {
            Some(b'(') => {
                self.position += 1;
                let script = self.script(&[")"])?;
                self.position += 1;
                word.parts.push(Part::Substitution { script, quoted });
            }
            Some(b'{') => {
                self.position += 1;
                let part = self.deeper(|parser| parser.parameter(quoted))?;
                word.parts.push(part);
            }
            Some(b'[') => {
                // Arithmetic of old: `$[ ]`.
                self.position += 1;
                let inside = self.until(b']')?;
                let scripts = self.scripts_in(&inside)?;
                word.parts.push(Part::Opaque { scripts });
            }
            Some(b'\'') if !quoted => {
                self.position += 1;
                let text = self.ansi_quoted()?;
                word.parts.push(text_part(&text, true));
            }
            Some(b'"') if !quoted => {
                self.position += 1;
                self.double_quoted(word)?;
            }
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'_' => {
                let name = self.name();
                word.parts.push(Part::Parameter {
                    name,
                    quoted,
                    operator: None,
                });
            }
            Some(byte) if byte.is_ascii_digit() || b"@*#?-$!".contains(&byte) => {
                self.position += 1;
                let name = char::from(byte).to_string();
                word.parts.push(Part::Parameter {
                    name,
                    quoted,
                    operator: None,
                });
            }
            _ => word.parts.push(text_part(b"$", quoted)),
        }
        Ok(())
    }

    /// Behind `${`, past the brace.
    fn parameter(&mut self, quoted: bool) -> Result<Part, ParseError> {
        let start = self.position;
        let mut name = self.name();
        if name.is_empty()
            && let Some(byte) = self.peek()
            && (byte.is_ascii_digit() || b"@*?-$".contains(&byte))
        {
            self.position += 1;
            name = char::from(byte).to_string();
        }
        let plain = !name.is_empty();
        if plain && self.take(b"}") {
            return Ok(Part::Parameter {
                name,
                quoted,
                operator: None,
            });
        }
        let operator = if !plain {
            ParameterOperator::Other
        } else if self.take(b":-") || self.take(b":=") || self.take(b"-") || self.take(b"=") {
            ParameterOperator::Default
        } else if self.take(b":+") || self.take(b"+") {
            ParameterOperator::Alternative
        } else {
            ParameterOperator::Other
        };
        if operator == ParameterOperator::Other {
            // What is done to it is not followed; what runs inside is.
            self.position = start;
        }
        let word = self.word_parts(Delimiter::Brace)?;
        if !self.take(b"}") {
            return Err(self.missing());
        }
        Ok(Part::Parameter {
            name,
            quoted,
            operator: Some((operator, word)),
        })
    }

    fn backquoted(&mut self) -> Result<Script, ParseError> {
        let mut inside = Vec::new();
        loop {
            match self.peek() {
                None => return Err(ParseError::Incomplete),
                Some(b'`') => {
                    self.position += 1;
                    break;
                }
                Some(b'\\') => {
                    self.position += 1;
                    match self.peek() {
                        Some(escaped @ (b'`' | b'\\' | b'$')) => {
                            inside.push(escaped);
                            self.position += 1;
                        }
                        _ => inside.push(b'\\'),
                    }
                }
                Some(byte) => {
                    inside.push(byte);
                    self.position += 1;
                }
            }
        }
        self.deeper(|parser| {
            let mut inner = parser.inner(&inside);
            let script = inner.script(&[])?;
            if inner.position < inside.len() {
                Err(parser.malformed())
            } else {
                Ok(script)
            }
        })
    }

    /// `((…))`: the scripts inside it.
    pub(super) fn arithmetic(&mut self) -> Result<Vec<Script>, ParseError> {
        let start = self.position;
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                None => {
                    self.spend(self.position - start)?;
                    return Err(ParseError::Incomplete);
                }
                Some(b'(') => depth += 1,
                Some(b')') => {
                    depth -= 1;
                    if depth == 1 && self.text.get(self.position + 1) != Some(&b')') {
                        return Err(self.malformed());
                    }
                    if depth == 0 {
                        break;
                    }
                }
                Some(_) => {}
            }
            self.position += 1;
        }
        self.position += 1;
        self.spend(self.position - start)?;
        let inside = self
            .text
            .get(start + 2..self.position.saturating_sub(2))
            .unwrap_or_default();
        let inside = inside.to_vec();
        self.scripts_in(&inside)
    }

    /// The scripts that run when `text` is expanded as between double quotes.
    fn scripts_in(&mut self, text: &[u8]) -> Result<Vec<Script>, ParseError> {
        let word = self.deeper(|parser| parser.inner(text).double_quoted_text())?;
        let mut scripts = Vec::new();
        collect(word, &mut scripts);
        Ok(scripts)
    }

    /// Behind `$'`, past the closing quote.
    fn ansi_quoted(&mut self) -> Result<Vec<u8>, ParseError> {
        let mut text = Vec::new();
        loop {
            let byte = self.peek().ok_or(ParseError::Incomplete)?;
            self.position += 1;
            match byte {
                b'\'' => return Ok(text),
                b'\\' => self.ansi_escape(&mut text)?,
                byte => text.push(byte),
            }
        }
    }

    fn ansi_escape(&mut self, text: &mut Vec<u8>) -> Result<(), ParseError> {
        let byte = self.peek().ok_or(ParseError::Incomplete)?;
        self.position += 1;
        match byte {
            b'n' => text.push(b'\n'),
            b't' => text.push(b'\t'),
            b'r' => text.push(b'\r'),
            b'a' => text.push(7),
            b'b' => text.push(8),
            b'e' | b'E' => text.push(27),
            b'f' => text.push(12),
            b'v' => text.push(11),
            b'c' => {
                let control = self.peek().ok_or(ParseError::Incomplete)?;
                self.position += 1;
                text.push(control & 0x1F);
            }
            b'x' => push_code(text, self.digits(16, 2), true),
            b'u' => push_code(text, self.digits(16, 4), false),
            b'U' => push_code(text, self.digits(16, 8), false),
            b'0'..=b'7' => {
                self.position -= 1;
                push_code(text, self.digits(8, 3), true);
            }
            byte => {
                if !b"\\'\"?".contains(&byte) {
                    text.push(b'\\');
                }
                text.push(byte);
            }
        }
        Ok(())
    }

    fn digits(&mut self, base: u32, most: usize) -> u32 {
        let mut value = 0_u32;
        for _ in 0..most {
            let Some(digit) = self.peek().and_then(|byte| char::from(byte).to_digit(base)) else {
                break;
            };
            value = value.wrapping_mul(base).wrapping_add(digit);
            self.position += 1;
        }
        value
    }
}

/// Adds a byte, or the character of a code point.
fn push_code(text: &mut Vec<u8>, code: u32, byte: bool) {
    if byte {
        text.push(u8::try_from(code & 0xFF).unwrap_or_default());
    } else if let Some(character) = char::from_u32(code) {
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

fn flush(word: &mut Word, text: &mut Vec<u8>, quoted: bool) {
    if !text.is_empty() {
        word.parts.push(text_part(text, quoted));
        text.clear();
    }
}

fn text_part(text: &[u8], quoted: bool) -> Part {
    Part::Text {
        text: String::from_utf8_lossy(text).into_owned(),
        quoted,
    }
}

/// Whether a parenthesis behind `text` belongs to a pattern such as `@(a|b)`.
fn is_extended_glob(text: &[u8]) -> bool {
    text.last().is_some_and(|byte| b"?*+@!".contains(byte))
}
