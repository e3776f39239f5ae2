//! Where a text is read: position, depth and budget; blanks, comments and words.
//!
//! Recursion is counted: nothing nests deeper than [`MAX_DEPTH`]. A word is not taken apart here;
//! only its end is found, by reading every script inside it.

use super::{
    Dialect, ParseError,
    ast::{Heredoc, Item, Redirect, RedirectKind, Word},
    parse::Stop,
};

/// How deep anything may nest; people's lines stay below 8, scripts below 20.
pub(crate) const MAX_DEPTH: u16 = 64;
/// Pipelines of one text: the longest scripts have a tenth of it.
const MAX_PIPELINES: usize = 100_000;
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
    /// Pipelines that were read.
    pipelines: usize,
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
            pipelines: 0,
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

    /// Counts a pipeline.
    pub(super) fn count(&mut self) -> Result<(), ParseError> {
        self.pipelines += 1;
        if self.pipelines > MAX_PIPELINES {
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

    fn heredoc_bodies(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            let strips = self
                .heredocs
                .get(pending.number)
                .is_some_and(|heredoc| heredoc.strips_tabs);
            let start = self.at;
            let mut end = self.text.len();
            let mut closed = false;
            while self.at < self.text.len() {
                let rest = self.rest();
                let length = find(rest, b'\n').unwrap_or(rest.len());
                let line = rest.get(..length).unwrap_or_default();
                let line_start = self.at;
                self.at = (self.at + length + 1).min(self.text.len());
                self.line += 1;
                let shown = if strips { without_tabs(line) } else { line };
                if is_mark(shown, pending.mark) {
                    end = line_start;
                    closed = true;
                    break;
                }
            }
            self.open_heredoc |= !closed;
            let body = self.slice(start, end);
            if let Some(heredoc) = self.heredocs.get_mut(pending.number) {
                heredoc.body = body;
            }
        }
    }

    /// The here-documents from number `first` on whose texts are still to come.
    pub(super) fn unread_heredocs(&self, first: usize) -> Vec<usize> {
        let numbers = self.pending.iter().map(|pending| pending.number);
        numbers.filter(|number| *number >= first).collect()
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
                        && matches!(last, Some(b'/' | b']' | b'^' | b'~'));
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

    /// At `$` or a backquote, past what it begins.
    pub(super) fn dollar(&mut self, quoted: bool) -> Result<(), ParseError> {
        if self.take(b"`") {
            return self.backquoted();
        }
        self.at += 1;
        match self.peek() {
            Some(b'(') if self.peek_at(1) == Some(b'(') => {
                let start = self.at;
                if self.arithmetic()? {
                    return Ok(());
                }
                self.at = start + 1;
                self.substitution()
            }
            Some(b'(') => {
                self.at += 1;
                self.substitution()
            }
            Some(b'{') => {
                self.at += 1;
                self.deeper(|parser| parser.parameter(quoted))
            }
            Some(b'[') if self.dialect != Dialect::Sh => self.brackets(),
            Some(b'\'') if !quoted && self.dialect != Dialect::Sh => {
                self.at += 1;
                loop {
                    match self.peek().ok_or(ParseError::Incomplete)? {
                        b'\'' => break self.at += 1,
                        b'\\' => self.at += 2,
                        _ => self.at += 1,
                    }
                }
                Ok(())
            }
            Some(b'"') if !quoted && self.dialect == Dialect::Bash => {
                self.at += 1;
                self.double_quoted()
            }
            _ => Ok(()),
        }
    }

    /// Behind `$(` or `<(`, past the closing parenthesis.
    fn substitution(&mut self) -> Result<(), ParseError> {
        self.deeper(|parser| {
            let pending = std::mem::take(&mut parser.pending);
            parser.list(Stop::PAREN, false)?;
            if !parser.take(b")") {
                return Err(parser.missing());
            }
            let inner = std::mem::replace(&mut parser.pending, pending);
            parser.pending.extend(inner);
            Ok(())
        })
    }

    /// Behind `${`, past the brace.
    fn parameter(&mut self, quoted: bool) -> Result<(), ParseError> {
        // `${#}`, `${##}` and the like.
        if self.peek() == Some(b'#') && self.peek_at(1) == Some(b'}') {
            self.at += 2;
            return Ok(());
        }
        loop {
            match self.peek().ok_or(ParseError::Incomplete)? {
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.at += 2,
                b'\'' if !quoted => {
                    self.at += 1;
                    self.until(b'\'')?;
                }
                b'"' => {
                    self.at += 1;
                    self.double_quoted()?;
                }
                b'$' | b'`' => self.dollar(quoted)?,
                b'\n' => {
                    self.at += 1;
                    self.line += 1;
                }
                // In zsh braces pair up.
                b'{' if self.dialect == Dialect::Zsh && !quoted => {
                    self.at += 1;
                    self.deeper(|parser| parser.parameter(quoted))?;
                }
                _ => self.at += 1,
            }
        }
    }

    /// Behind a backquote, past the closing one. What is inside is read when it is run, as shells do.
    fn backquoted(&mut self) -> Result<(), ParseError> {
        loop {
            match self.peek().ok_or(ParseError::Incomplete)? {
                b'`' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.at += 2,
                b'\n' => {
                    self.at += 1;
                    self.line += 1;
                }
                _ => self.at += 1,
            }
        }
    }

    /// At `((`: past the closing `))`, or false where it is no calculation.
    pub(super) fn arithmetic(&mut self) -> Result<bool, ParseError> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                None => {
                    // What was looked ahead at is read again as commands.
                    self.spend(self.at - start)?;
                    return Ok(false);
                }
                Some(b'(') => {
                    depth += 1;
                    self.at += 1;
                }
                Some(b')') => {
                    depth = depth.saturating_sub(1);
                    if depth == 1 && self.peek_at(1) != Some(b')') {
                        self.spend(self.at - start)?;
                        return Ok(false);
                    }
                    self.at += 1;
                    if depth == 0 {
                        return Ok(true);
                    }
                }
                Some(b'\\') => self.at += 2,
                Some(b'"') => {
                    self.at += 1;
                    if let Err(error) = self.double_quoted() {
                        if matches!(error, ParseError::TooDeep { .. }) {
                            return Err(error);
                        }
                        self.spend(self.at.saturating_sub(start))?;
                        return Ok(false);
                    }
                }
                Some(b'\'') => match find(self.rest().get(1..).unwrap_or_default(), b'\'') {
                    Some(length) => self.at += length + 2,
                    None => self.at += 1,
                },
                Some(b'$') if self.peek_at(1) == Some(b'(') && self.peek_at(2) != Some(b'(') => {
                    self.at += 2;
                    match self.substitution() {
                        Ok(()) => {}
                        Err(error @ ParseError::TooDeep { .. }) => return Err(error),
                        Err(_) => {
                            self.spend(self.at.saturating_sub(start))?;
                            return Ok(false);
                        }
                    }
                }
                Some(_) => self.at += 1,
            }
        }
    }

    /// At the bracket of `$[ … ]`, past the closing one.
    fn brackets(&mut self) -> Result<(), ParseError> {
        let mut depth = 0_usize;
        loop {
            self.spend(1)?;
            match self.peek().ok_or(ParseError::Incomplete)? {
                b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b']' => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                b'$' | b'`' => self.deeper(|parser| parser.dollar(true))?,
                _ => self.at += 1,
            }
        }
    }

    /// A redirection, if one begins here.
    pub(super) fn redirect(&mut self) -> Result<Option<Redirect<'a>>, ParseError> {
        let Some(first) = self.peek() else {
            return Ok(None);
        };
        if !matches!(first, b'<' | b'>' | b'&' | b'{' | b'0'..=b'9') {
            return Ok(None);
        }
        let start = self.at;
        let mut descriptor = None;
        if first.is_ascii_digit() {
            let digits = self
                .rest()
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            if !matches!(self.peek_at(digits), Some(b'<' | b'>')) {
                return Ok(None);
            }
            descriptor = Some(self.slice(start, start + digits).iter().fold(
                0_u32,
                |number, digit| {
                    number
                        .saturating_mul(10)
                        .saturating_add(u32::from(digit - b'0'))
                },
            ));
            self.at += digits;
        } else if first == b'{' {
            let length = self.rest().iter().position(|byte| *byte == b'}');
            let Some(length) = length.filter(|length| {
                let name = self.slice(start + 1, start + length);
                is_name(name) && matches!(self.peek_at(length + 1), Some(b'<' | b'>'))
            }) else {
                return Ok(None);
            };
            self.at += length + 1;
            descriptor = Some(10);
        }
        let Some(kind) = self.redirect_kind() else {
            self.at = start;
            return Ok(None);
        };
        let operator = self.slice(start, self.at);
        if let RedirectKind::Heredoc(_) = kind {
            return self.heredoc(descriptor, operator).map(Some);
        }
        self.skip_blanks();
        let target = self.word()?;
        Ok(Some(Redirect {
            descriptor,
            operator,
            kind,
            target,
        }))
    }

    fn redirect_kind(&mut self) -> Option<RedirectKind> {
        let modern = self.dialect != Dialect::Sh;
        let process = self.peek_at(1) == Some(b'(') && modern;
        if self.peek() == Some(b'&') {
            if self.peek_at(1) == Some(b'>') && modern {
                let _both = self.take(b"&>>") || self.take(b"&>");
                return Some(RedirectKind::WriteBoth);
            }
            return None;
        }
        if process {
            return None;
        }
        Some(if self.take(b"<<<") {
            RedirectKind::HereString
        } else if self.take(b"<<") {
            RedirectKind::Heredoc(0)
        } else if self.take(b"<&") {
            RedirectKind::DuplicateIn
        } else if self.take(b">&") {
            RedirectKind::DuplicateOut
        } else if self.take(b"<>") {
            RedirectKind::ReadWrite
        } else if self.take(b">>") {
            if self.dialect == Dialect::Zsh {
                let _force = self.take(b"|") || self.take(b"!");
            }
            RedirectKind::Append
        } else if self.take(b">|")
            || self.dialect == Dialect::Zsh && self.take(b">!")
            || self.take(b">")
        {
            RedirectKind::Write
        } else if self.take(b"<") {
            RedirectKind::Read
        } else {
            return None;
        })
    }

    fn heredoc(
        &mut self,
        descriptor: Option<u32>,
        operator: &'a [u8],
    ) -> Result<Redirect<'a>, ParseError> {
        let strips_tabs = self.take(b"-");
        self.skip_blanks();
        let target = self.word()?;
        if self.pending.len() == MAX_HEREDOCS {
            return Err(ParseError::TooDeep { offset: self.at });
        }
        let number = self.heredocs.len();
        self.heredocs.push(Heredoc {
            mark: target.raw,
            body: &[],
            strips_tabs,
            quoted: target.classes & class::QUOTE != 0,
        });
        self.pending.push(Pending {
            number,
            mark: target.raw,
        });
        Ok(Redirect {
            descriptor,
            operator,
            kind: RedirectKind::Heredoc(number),
            target,
        })
    }
}

/// Whether `line` is the end mark that is written as `raw`, quotes and all.
fn is_mark(line: &[u8], raw: &[u8]) -> bool {
    if line == raw {
        return !raw.iter().any(|byte| matches!(byte, b'\'' | b'"' | b'\\'));
    }
    let mut line = line.iter();
    let mut quote = None;
    let mut raw = raw.iter().copied().peekable();
    while let Some(byte) = raw.next() {
        let byte = match (quote, byte) {
            (None, b'\'' | b'"') => {
                quote = Some(byte);
                continue;
            }
            (Some(open), close) if open == close => {
                quote = None;
                continue;
            }
            (None, b'$') if matches!(raw.peek(), Some(b'\'' | b'"')) => continue,
            (None, b'\\') => match raw.next() {
                Some(escaped) => escaped,
                None => break,
            },
            (_, byte) => byte,
        };
        if line.next() != Some(&byte) {
            return false;
        }
    }
    line.next().is_none()
}

/// The line that ends a here-document whose end mark is written as `raw`.
pub(super) fn mark_line(raw: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(raw.len());
    let mut quote = None;
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), close) if open == close => quote = None,
            (None, b'$') if matches!(bytes.peek(), Some(b'\'' | b'"')) => {}
            (None, b'\\') => line.extend(bytes.next()),
            (_, byte) => line.push(byte),
        }
    }
    line
}

pub(super) fn without_tabs(mut line: &[u8]) -> &[u8] {
    while let [b'\t', behind @ ..] = line {
        line = behind;
    }
    line
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
