//! Where a text is read: position, depth and budget; blanks, comments and words.
//!
//! Recursion is counted: nothing nests deeper than [`MAX_DEPTH`]. A word is not taken apart here;
//! only its end is found, by reading every script inside it.

mod nested;
mod redirect;

use super::{
    Dialect, ParseError,
    ast::{Heredoc, Item, Word},
};
pub(super) use redirect::{mark_line, without_tabs};

/// How deep anything may nest; people's lines stay below 8, scripts below 20.
pub(crate) const MAX_DEPTH: u16 = 64;
/// Commands of one text: the longest scripts have a tenth of it.
const MAX_COMMANDS: usize = 100_000;
/// Here-documents that one line may announce.
const MAX_HEREDOCS: usize = 64;
/// Steps that any text may take, and those for each byte on top: one pass takes below 4.
const STEPS: usize = 10_000;
const STEPS_PER_BYTE: usize = 16;

pub(super) mod class {
    /// Ends a word.
    pub(crate) const END: u16 = 1;
    /// Blank or tab.
    pub(crate) const BLANK: u16 = 1 << 1;
    /// `'`, `"` and `\`.
    pub(crate) const QUOTE: u16 = 1 << 2;
    /// `$` and a backquote.
    pub(crate) const DOLLAR: u16 = 1 << 3;
    /// `*`, `?` and `[`.
    pub(crate) const GLOB: u16 = 1 << 4;
    /// `{`
    pub(crate) const BRACE: u16 = 1 << 5;
    /// `~`
    pub(crate) const TILDE: u16 = 1 << 6;
    /// `=`
    pub(crate) const EQUALS: u16 = 1 << 7;
    /// `<( )`, `>( )`, zsh's `=( )`.
    pub(crate) const PROCESS: u16 = 1 << 8;
    /// A parenthesis that belongs to a word.
    pub(crate) const PAREN: u16 = 1 << 9;
    /// What must be looked at one by one while a word's end is sought.
    pub(crate) const SPECIAL: u16 = END | BLANK | QUOTE | DOLLAR;
}

const fn classes() -> [u16; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        #[expect(
            clippy::indexing_slicing,
            clippy::cast_possible_truncation,
            reason = "below 256"
        )]
        {
            table[index] = match index as u8 {
                b' ' | b'\t' => class::BLANK,
                b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>' => class::END,
                b'\'' | b'"' | b'\\' => class::QUOTE,
                b'$' | b'`' => class::DOLLAR,
                b'*' | b'?' | b'[' => class::GLOB,
                b'{' => class::BRACE,
                b'~' => class::TILDE,
                b'=' => class::EQUALS,
                _ => 0,
            };
        }
        index += 1;
    }
    table
}

static CLASSES: [u16; 256] = classes();

/// What `byte` means outside quotes.
pub(super) fn class_of(byte: u8) -> u16 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or_default()
}

/// An announced here-document.
struct Pending<'a> {
    number: usize,
    mark: &'a [u8],
}

pub(super) struct Parser<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
    pub(super) dialect: Dialect,
    pub(super) line: u32,
    pub(super) heredocs: Vec<Heredoc<'a>>,
    pub(super) salvage: Vec<Item<'a>>,
    pub(super) open_heredoc: bool,
    /// The text ends in a backslash that would take a new line along.
    pub(super) open_escape: bool,
    /// `#` begins a comment.
    pub(super) comments: bool,
    pending: Vec<Pending<'a>>,
    depth: u16,
    budget: usize,
    /// Commands that were read.
    commands: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a [u8], dialect: Dialect) -> Self {
        Self {
            text,
            at: 0,
            dialect,
            line: 0,
            heredocs: Vec::new(),
            salvage: Vec::new(),
            open_heredoc: false,
            open_escape: false,
            comments: true,
            pending: Vec::new(),
            depth: 0,
            commands: 0,
            budget: STEPS + STEPS_PER_BYTE * text.len(),
        }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn slice(&self, from: usize, to: usize) -> &'a [u8] {
        self.text.get(from..to).unwrap_or_default()
    }

    pub(super) fn take(&mut self, what: &[u8]) -> bool {
        let found = self.rest().starts_with(what);
        if found {
            self.at += what.len();
        }
        found
    }

    pub(super) const fn malformed(&self) -> ParseError {
        ParseError::Malformed { offset: self.at }
    }

    /// What is wrong when something had to stand here.
    pub(super) const fn missing(&self) -> ParseError {
        if self.at >= self.text.len() {
            ParseError::Incomplete
        } else {
            self.malformed()
        }
    }

    /// Counts a command of a pipeline.
    pub(super) fn count(&mut self) -> Result<(), ParseError> {
        self.commands += 1;
        if self.commands > MAX_COMMANDS {
            return Err(ParseError::TooDeep { offset: self.at });
        }
        Ok(())
    }

    pub(super) fn spend(&mut self, steps: usize) -> Result<(), ParseError> {
        match self.budget.checked_sub(steps) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(ParseError::TooDeep { offset: self.at }),
        }
    }

    pub(super) fn deeper<T>(
        &mut self,
        inside: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        if self.depth == MAX_DEPTH {
            return Err(ParseError::TooDeep { offset: self.at });
        }
        self.depth += 1;
        let result = inside(self);
        self.depth -= 1;
        result
    }

    /// Blanks, lines that go on, and a comment.
    pub(super) fn skip_blanks(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t') => self.at += 1,
                Some(b'\\') if self.peek_at(1) == Some(b'\n') => {
                    self.at += 2;
                    self.line += 1;
                }
                Some(b'#') if self.comments && self.at_comment() => {
                    let length = find(self.rest(), b'\n').unwrap_or(self.rest().len());
                    self.at += length;
                    return;
                }
                _ => return,
            }
        }
    }

    fn at_comment(&self) -> bool {
        self.at
            .checked_sub(1)
            .and_then(|at| self.text.get(at))
            .is_none_or(|byte| class_of(*byte) & (class::BLANK | class::END) != 0)
    }

    /// New lines, with the here-documents that begin behind the first.
    pub(super) fn skip_newlines(&mut self) -> Result<(), ParseError> {
        loop {
            self.skip_blanks();
            if !self.newline()? {
                return Ok(());
            }
        }
    }

    pub(super) fn newline(&mut self) -> Result<bool, ParseError> {
        if self.peek() != Some(b'\n') {
            return Ok(false);
        }
        self.at += 1;
        self.line += 1;
        if !self.pending.is_empty() {
            self.heredoc_bodies();
        }
        Ok(true)
    }

    /// At the end of the text here-documents end, too.
    pub(super) fn end_of_text(&mut self) {
        if !self.pending.is_empty() {
            self.heredoc_bodies();
            self.open_heredoc = true;
        }
    }

    /// A word; it is an error when none is here.
    pub(super) fn word(&mut self) -> Result<Word<'a>, ParseError> {
        let start = self.at;
        let mut classes = 0;
        loop {
            // The plain bytes of a word, and with luck all of it.
            let mut at = self.at;
            let mut stop = 0;
            while let Some(byte) = self.text.get(at) {
                let class = class_of(*byte);
                if class & class::SPECIAL != 0 {
                    stop = class;
                    break;
                }
                classes |= class;
                at += 1;
            }
            self.at = at;
            if stop & class::BLANK != 0 {
                break;
            }
            let Some(byte) = self.peek() else { break };
            if stop & class::END != 0 {
                if !self.inside_word(byte, start, &mut classes)? {
                    break;
                }
                continue;
            }
            classes |= stop;
            match byte {
                b'\\' => {
                    if self.peek_at(1) == Some(b'\n') {
                        self.line += 1;
                    }
                    self.open_escape |= self.at + 1 >= self.text.len();
                    self.at = (self.at + 2).min(self.text.len());
                }
                b'\'' => {
                    self.at += 1;
                    self.until(b'\'')?;
                }
                b'"' => {
                    self.at += 1;
                    self.double_quoted()?;
                }
                _ => self.dollar(false)?,
            }
        }
        if self.at == start {
            return Err(self.missing());
        }
        Ok(Word {
            raw: self.slice(start, self.at),
            classes,
        })
    }

    /// A byte that ends most words: parentheses of patterns, lists and substitutions do not.
    fn inside_word(
        &mut self,
        byte: u8,
        start: usize,
        classes: &mut u16,
    ) -> Result<bool, ParseError> {
        let before = self.slice(start, self.at);
        match byte {
            b'<' | b'>' if self.peek_at(1) == Some(b'(') && self.dialect != Dialect::Sh => {
                *classes |= class::PROCESS;
                self.at += 2;
                self.substitution()?;
                Ok(true)
            }
            b'(' => {
                let last = before.last().copied();
                if self.dialect == Dialect::Sh {
                    return Ok(false);
                }
                if is_assignment(before) {
                    *classes |= class::PAREN;
                    self.at += 1;
                    self.deeper(Self::array)?;
                    return Ok(true);
                }
                if before == b"=" && self.dialect == Dialect::Zsh {
                    *classes |= class::PROCESS;
                    self.at += 1;
                    self.substitution()?;
                    return Ok(true);
                }
                let pattern = matches!(last, Some(b'?' | b'*' | b'+' | b'@' | b'!'))
                    && !(before == b"!" && self.dialect == Dialect::Zsh)
                    || self.dialect == Dialect::Zsh
                        && (matches!(last, Some(b'/' | b']' | b'^' | b'~'))
                            // Qualifiers: `*.txt(om[1])`.
                            || *classes & class::GLOB != 0 && self.peek_at(1) != Some(b')'));
                if !pattern {
                    return Ok(false);
                }
                *classes |= class::PAREN | class::GLOB;
                self.at += 1;
                self.deeper(Self::pattern_list)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Behind the parenthesis of `@(a|b)`, past the closing one.
    fn pattern_list(&mut self) -> Result<(), ParseError> {
        let mut depth = 1_usize;
        loop {
            self.spend(1)?;
            match self.peek().ok_or(ParseError::Incomplete)? {
                b'(' => {
                    depth += 1;
                    self.at += 1;
                }
                b')' => {
                    depth -= 1;
                    self.at += 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                b'\\' => self.at += 2,
                b'\'' => {
                    self.at += 1;
                    self.until(b'\'')?;
                }
                b'"' => {
                    self.at += 1;
                    self.double_quoted()?;
                }
                b'$' | b'`' => self.dollar(false)?,
                _ => self.at += 1,
            }
        }
    }

    /// Behind `name=(`, past the closing parenthesis.
    fn array(&mut self) -> Result<(), ParseError> {
        loop {
            self.skip_newlines()?;
            match self.peek() {
                None => return Err(ParseError::Incomplete),
                Some(b')') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) => {
                    self.word()?;
                }
            }
        }
    }

    /// Past the next `end`.
    pub(super) fn until(&mut self, end: u8) -> Result<(), ParseError> {
        let rest = self.rest();
        let length = find(rest, end).ok_or(ParseError::Incomplete)?;
        let inside = rest.get(..length).unwrap_or_default();
        if end == b'\'' {
            self.line = self.line.saturating_add(count_lines(inside));
        }
        self.at += length + 1;
        Ok(())
    }

    /// Behind an opening double quote, past the closing one.
    pub(super) fn double_quoted(&mut self) -> Result<(), ParseError> {
        loop {
            match self.peek().ok_or(ParseError::Incomplete)? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.at += 2,
                b'$' | b'`' => self.dollar(true)?,
                b'\n' => {
                    self.at += 1;
                    self.line += 1;
                }
                _ => self.at += 1,
            }
        }
    }
}

/// Position of `byte`.
pub(super) fn find(text: &[u8], byte: u8) -> Option<usize> {
    memchr::memchr(byte, text)
}

fn count_lines(text: &[u8]) -> u32 {
    u32::try_from(memchr::memchr_iter(b'\n', text).count()).unwrap_or(u32::MAX)
}

pub(super) fn is_name(name: &[u8]) -> bool {
    name.first()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_')
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Whether `text` is `name=`, `name+=` or `name[…]=`, with nothing behind it.
fn is_assignment(text: &[u8]) -> bool {
    assignment_end(text) == Some(text.len())
}

/// Behind the `=` of an assignment that `text` begins with.
pub(super) fn assignment_end(text: &[u8]) -> Option<usize> {
    let first = text.first()?;
    if !(first.is_ascii_alphabetic() || *first == b'_') {
        return None;
    }
    let mut at = text
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
        .count();
    if text.get(at) == Some(&b'[') {
        let mut depth = 0_usize;
        loop {
            match text.get(at)? {
                b'[' => depth += 1,
                b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            at += 1;
            if depth == 0 {
                break;
            }
        }
    }
    if text.get(at) == Some(&b'+') {
        at += 1;
    }
    (text.get(at) == Some(&b'=')).then_some(at + 1)
}
