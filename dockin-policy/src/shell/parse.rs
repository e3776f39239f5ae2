//! From bytes to syntax: POSIX sh with what bash, busybox and zsh add to it.

use super::{
    Dialect, ParseError,
    ast::{
        Arm, Case, Command, For, ForHead, If, Item, Join, Kind, List, Redirect, Script, While, Word,
    },
    lexer::{Parser, assignment_end, class, is_name},
};

/// Reads a whole text; what was read before an error is kept.
pub(crate) fn parse(text: &[u8], dialect: Dialect) -> Script<'_> {
    parse_with(text, dialect, true)
}

/// The same, where `#` may be no more than a letter.
pub(crate) fn parse_with(text: &[u8], dialect: Dialect, comments: bool) -> Script<'_> {
    let mut parser = Parser::new(text, dialect);
    parser.comments = comments;
    let mut script = Script::default();
    let result = parser.list_into(&mut script.list, Stop::END, true);
    script.error = result.err();
    if script.error.is_none() && parser.at < text.len() {
        script.error = Some(parser.malformed());
    }
    script.heredocs = std::mem::take(&mut parser.heredocs);
    script.salvage = std::mem::take(&mut parser.salvage);
    script
}

/// Whether a text that can be read ends inside a here-document, or in a backslash that takes the
/// next line along.
pub(crate) fn goes_on(text: &[u8], dialect: Dialect, comments: bool) -> bool {
    let mut parser = Parser::new(text, dialect);
    parser.comments = comments;
    let _list = parser.list(Stop::END, true);
    parser.open_heredoc || parser.open_escape
}

/// What ends a list; a set of bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stop(u16);

impl Stop {
    pub(super) const END: Self = Self(0);
    pub(super) const PAREN: Self = Self(1);
    const BRACE: Self = Self(1 << 1);
    const THEN: Self = Self(1 << 2);
    const DO: Self = Self(1 << 3);
    const DONE: Self = Self(1 << 4);
    const FI: Self = Self(1 << 5);
    const ELSE: Self = Self(1 << 6);
    const ESAC: Self = Self(1 << 7);
    const FOREACH: Self = Self(1 << 8);
    /// zsh: a brace that opens the body behind a condition.
    const OPEN: Self = Self(1 << 9);

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The reserved word at the start of `rest` that ends a list.
fn closing(word: &[u8]) -> Option<Stop> {
    Some(match word {
        b"}" => Stop::BRACE,
        b"then" => Stop::THEN,
        b"do" => Stop::DO,
        b"done" => Stop::DONE,
        b"fi" => Stop::FI,
        b"else" | b"elif" => Stop::ELSE,
        b"esac" => Stop::ESAC,
        _ => return None,
    })
}

impl<'a> Parser<'a> {
    pub(super) fn list(&mut self, stop: Stop, empty: bool) -> Result<List<'a>, ParseError> {
        let mut list = List::default();
        let result = self.list_into(&mut list, stop, empty);
        match result {
            Ok(()) => Ok(list),
            Err(error) => {
                self.salvage.append(&mut list.items);
                Err(error)
            }
        }
    }

    /// Commands up to what is in `stop`, which is left, or to the end.
    fn list_into(
        &mut self,
        list: &mut List<'a>,
        stop: Stop,
        empty: bool,
    ) -> Result<(), ParseError> {
        self.deeper(|parser| parser.items(list, stop))?;
        if list.items.is_empty() && !empty && self.dialect != Dialect::Zsh {
            return Err(self.missing());
        }
        Ok(())
    }

    fn items(&mut self, list: &mut List<'a>, stop: Stop) -> Result<(), ParseError> {
        let mut join = Join::Then;
        loop {
            self.skip_newlines()?;
            let Some(byte) = self.peek() else {
                self.end_of_text();
                return if join != Join::Then || stop != Stop::END {
                    Err(ParseError::Incomplete)
                } else {
                    Ok(())
                };
            };
            // A condition cannot be empty: a brace that it begins with is its own.
            let opens = byte == b'{' && list.items.is_empty();
            if join == Join::Then && !opens && self.at_stop(byte, stop)? {
                return Ok(());
            }
            let item = self.pipeline(join, stop)?;
            list.items.push(item);
            self.skip_blanks();
            join = Join::Then;
            match self.peek() {
                Some(b';') => {
                    if matches!(self.peek_at(1), Some(b';' | b'&' | b'|')) {
                        if stop.has(Stop::ESAC) {
                            return Ok(());
                        }
                        return Err(self.malformed());
                    }
                    self.at += 1;
                }
                Some(b'&') if self.peek_at(1) == Some(b'&') => {
                    self.at += 2;
                    join = Join::And;
                }
                Some(b'&') => {
                    self.at += 1;
                    if self.dialect == Dialect::Zsh {
                        let _disown = self.take(b"!") || self.take(b"|");
                    }
                    if let Some(last) = list.items.last_mut() {
                        last.background = true;
                    }
                }
                Some(b'|') if self.peek_at(1) == Some(b'|') => {
                    self.at += 2;
                    join = Join::Or;
                }
                Some(b'\n') | None => {}
                Some(b')') if stop.has(Stop::PAREN) => return Ok(()),
                Some(_) if self.dialect == Dialect::Zsh && self.follows_freely() => {}
                Some(byte) => {
                    // A compound command may end right before a closing word.
                    let bare = list.items.last().is_some_and(|item| {
                        !matches!(
                            item.rest.last().unwrap_or(&item.first).kind,
                            Kind::Simple { .. }
                        )
                    });
                    // zsh: a condition that ends by itself, and the command behind it.
                    if bare && self.dialect == Dialect::Zsh && stop.has(Stop::OPEN) {
                        return Ok(());
                    }
                    if !(bare && self.at_stop(byte, stop)?) {
                        return Err(self.malformed());
                    }
                }
            }
        }
    }

    /// zsh: a brace or word may follow a command that ended by itself.
    fn follows_freely(&self) -> bool {
        matches!(self.peek(), Some(b'}' | b'{')) || closing(self.reserved()).is_some()
    }

    fn at_stop(&mut self, byte: u8, stop: Stop) -> Result<bool, ParseError> {
        match byte {
            b')' if stop.has(Stop::PAREN) => Ok(true),
            b';' if stop.has(Stop::ESAC) && matches!(self.peek_at(1), Some(b';' | b'&' | b'|')) => {
                Ok(true)
            }
            b'{' if stop.has(Stop::OPEN) => Ok(true),
            b'}' if self.dialect == Dialect::Zsh && stop.has(Stop::BRACE) => Ok(true),
            b'}' | b't' | b'd' | b'f' | b'e' => {
                let word = self.reserved();
                if stop.has(Stop::FOREACH) && word == b"end" {
                    return Ok(true);
                }
                match closing(word) {
                    Some(found) if stop.has(found) => Ok(true),
                    Some(_) => Err(self.malformed()),
                    None => Ok(false),
                }
            }
            _ => Ok(false),
        }
    }

    /// The reserved word here, if there is one.
    fn reserved(&self) -> &'a [u8] {
        self.reserved_here().0
    }

    /// The word here, if it can be a reserved one: letters and braces alone; and how long it is
    /// as it is written, where lines may go on inside it.
    fn reserved_here(&self) -> (&'a [u8], usize) {
        let rest = self.rest();
        let length = rest
            .iter()
            .take(10)
            .take_while(|byte| {
                byte.is_ascii_lowercase() || matches!(byte, b'{' | b'}' | b'!' | b'[')
            })
            .count();
        let ends = rest
            .get(length)
            .is_none_or(|byte| super::lexer::class_of(*byte) & (class::END | class::BLANK) != 0);
        if rest.get(length) == Some(&b'\\') && rest.get(length + 1) == Some(&b'\n') {
            return reserved_over_lines(rest);
        }
        if ends {
            (rest.get(..length).unwrap_or_default(), length)
        } else {
            (&[], 0)
        }
    }

    fn take_reserved(&mut self, word: &[u8]) -> bool {
        let (found, length) = self.reserved_here();
        if found == word {
            self.pass(length);
            return true;
        }
        false
    }

    /// Goes past a reserved word.
    fn pass(&mut self, length: usize) {
        let written = self.slice(self.at, self.at + length);
        if written.len() > 2 && written.contains(&b'\n') {
            let lines = written.iter().filter(|byte| **byte == b'\n').count();
            self.line = self
                .line
                .saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        }
        self.at += length;
    }

    fn expect(&mut self, word: &[u8]) -> Result<(), ParseError> {
        self.skip_newlines()?;
        if self.take_reserved(word) {
            Ok(())
        } else {
            Err(self.missing())
        }
    }

    fn pipeline(&mut self, join: Join, stop: Stop) -> Result<Item<'a>, ParseError> {
        self.count()?;
        let line = self.line;
        let mut negated = false;
        let mut timed = false;
        let mut coprocess = false;
        let mut coprocess_name: &[u8] = &[];
        loop {
            match self.peek() {
                Some(b'!') if self.take_reserved(b"!") => negated = !negated,
                Some(b't') if self.take_reserved(b"time") => {
                    timed = true;
                    self.skip_blanks();
                    while self.rest().starts_with(b"-p")
                        && self
                            .peek_at(2)
                            .is_none_or(|byte| byte.is_ascii_whitespace())
                    {
                        self.at += 2;
                        self.skip_blanks();
                    }
                    let _end = self.take_reserved(b"--");
                }
                Some(b'c') if self.dialect != Dialect::Sh && self.take_reserved(b"coproc") => {
                    coprocess = true;
                    self.skip_blanks();
                    // A name counts before a compound command only.
                    let start = self.at;
                    if let Ok(word) = self.word()
                        && is_name(word.raw)
                        && !opening(word.raw)
                    {
                        self.skip_blanks();
                        if matches!(self.peek(), Some(b'(')) || opening(self.reserved()) {
                            coprocess_name = word.raw;
                        } else {
                            self.at = start;
                        }
                    } else {
                        self.at = start;
                    }
                }
                _ => break,
            }
            self.skip_blanks();
        }
        let bare = matches!(self.peek(), None | Some(b'\n' | b';' | b'&' | b')'));
        let first = if bare && (negated || self.at > 0) && self.at_word_end(b"time") {
            // `time` alone measures nothing.
            self.nothing()
        } else {
            self.command(stop)?
        };
        let mut rest = Vec::new();
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'|') || self.peek_at(1) == Some(b'|') {
                break;
            }
            self.at += 1;
            let reads_errors = self.dialect != Dialect::Sh && self.take(b"&");
            self.skip_newlines()?;
            // zsh and bash allow `| ! command`, bash with a complaint at most.
            while self.take_reserved(b"!") || self.take_reserved(b"time") {
                self.skip_blanks();
            }
            rest.push(Command {
                reads_errors,
                ..self.command(stop)?
            });
        }
        Ok(Item {
            join,
            negated,
            timed,
            background: false,
            coprocess,
            coprocess_name,
            line,
            first,
            rest,
        })
    }

    fn at_word_end(&self, word: &[u8]) -> bool {
        self.slice(0, self.at).trim_ascii_end().ends_with(word)
            || self.slice(0, self.at).trim_ascii_end().ends_with(b"!")
    }

    const fn nothing(&self) -> Command<'a> {
        Command {
            kind: Kind::Simple {
                assignments: 0,
                words: Vec::new(),
            },
            redirects: Vec::new(),
            reads_errors: false,
            start: self.at,
            end: self.at,
        }
    }

    fn command(&mut self, stop: Stop) -> Result<Command<'a>, ParseError> {
        let start = self.at;
        let compound = match self.peek() {
            Some(b'(') => Some(self.deeper(Self::parenthesis)?),
            Some(b'{' | b'i' | b'w' | b'u' | b'f' | b's' | b'c' | b'[' | b'r') => {
                let (word, length) = self.reserved_here();
                if opening(word) && self.knows(word) {
                    self.pass(length);
                    Some(self.deeper(|parser| parser.compound(word, stop))?)
                } else {
                    None
                }
            }
            _ => None,
        };
        let Some(kind) = compound else {
            return self.simple(start, stop);
        };
        let mut redirects = Vec::new();
        if !matches!(kind, Kind::Function { .. }) {
            loop {
                self.skip_blanks();
                match self.redirect()? {
                    Some(redirect) => redirects.push(redirect),
                    None => break,
                }
            }
        }
        Ok(Command {
            kind,
            redirects,
            reads_errors: false,
            start,
            end: self.at,
        })
    }

    /// Whether the dialect reserves `word`.
    fn knows(&self, word: &[u8]) -> bool {
        match word {
            b"[[" | b"select" | b"function" => self.dialect != Dialect::Sh,
            b"repeat" | b"foreach" => self.dialect == Dialect::Zsh,
            _ => true,
        }
    }

    /// At `(`: a calculation, a subshell, or a function of zsh without a name.
    fn parenthesis(&mut self) -> Result<Kind<'a>, ParseError> {
        if self.peek_at(1) == Some(b'(') && self.dialect != Dialect::Sh {
            let start = self.at;
            if self.arithmetic()? {
                let inside = self.slice(start + 2, self.at.saturating_sub(2));
                return Ok(Kind::Arithmetic(inside));
            }
            self.at = start;
        }
        self.at += 1;
        if self.dialect == Dialect::Zsh {
            self.skip_blanks();
            if self.take(b")") {
                self.skip_newlines()?;
                let body = self.command(Stop::END)?;
                let list = List {
                    items: vec![self.alone(body)],
                };
                return Ok(Kind::Group(list));
            }
        }
        let body = self.list(Stop::PAREN, false)?;
        if !self.take(b")") {
            return Err(self.missing());
        }
        Ok(Kind::Subshell(body))
    }

    const fn alone(&self, command: Command<'a>) -> Item<'a> {
        Item {
            join: Join::Then,
            negated: false,
            timed: false,
            background: false,
            coprocess: false,
            coprocess_name: &[],
            line: self.line,
            first: command,
            rest: Vec::new(),
        }
    }

    /// Behind the reserved word `word`.
    fn compound(&mut self, word: &[u8], stop: Stop) -> Result<Kind<'a>, ParseError> {
        match word {
            b"{" => Ok(Kind::Group(self.braced()?)),
            b"if" => self.conditional(),
            b"while" | b"until" => {
                let open = if self.dialect == Dialect::Zsh {
                    Stop::DO.or(Stop::OPEN)
                } else {
                    Stop::DO
                };
                let condition = self.list(open, false)?;
                let body = self.body(stop)?;
                Ok(Kind::While(Box::new(While {
                    until: word == b"until",
                    condition,
                    body,
                })))
            }
            b"for" | b"select" | b"foreach" => self.for_loop(word, stop),
            b"repeat" => {
                self.skip_blanks();
                let count = self.word()?;
                let body = self.body(stop)?;
                Ok(Kind::For(Box::new(For {
                    head: ForHead::Repeat(count),
                    body,
                })))
            }
            b"case" => self.case(),
            b"[[" => self.test(),
            _ => {
                self.skip_blanks();
                let name = self.word()?;
                self.skip_blanks();
                if self.take(b"(") {
                    self.skip_blanks();
                    if !self.take(b")") {
                        return Err(self.missing());
                    }
                }
                self.function(name.raw)
            }
        }
    }

    /// Behind `{`, past the closing brace.
    fn braced(&mut self) -> Result<List<'a>, ParseError> {
        let body = self.list(Stop::BRACE, false)?;
        if !self.take(b"}") {
            return Err(self.missing());
        }
        Ok(body)
    }

    fn conditional(&mut self) -> Result<Kind<'a>, ParseError> {
        let mut clauses = Vec::new();
        let zsh = self.dialect == Dialect::Zsh;
        let head = if zsh {
            Stop::THEN.or(Stop::OPEN)
        } else {
            Stop::THEN
        };
        loop {
            let condition = self.list(head, false)?;
            self.skip_newlines()?;
            if zsh && self.peek() == Some(b'{') {
                self.at += 1;
                let body = self.braced()?;
                clauses.push((condition, body));
                self.skip_blanks();
                if self.take_reserved(b"elif") {
                    continue;
                }
                let otherwise = if self.take_reserved(b"else") {
                    self.skip_newlines()?;
                    if self.take(b"{") {
                        Some(self.braced()?)
                    } else {
                        let body = self.list(Stop::FI, false)?;
                        self.expect(b"fi")?;
                        Some(body)
                    }
                } else {
                    None
                };
                return Ok(Kind::If(Box::new(If { clauses, otherwise })));
            }
            if zsh && self.reserved() != b"then" && self.peek().is_some() {
                let item = self.pipeline(Join::Then, Stop::END)?;
                clauses.push((condition, List { items: vec![item] }));
                return Ok(Kind::If(Box::new(If {
                    clauses,
                    otherwise: None,
                })));
            }
            self.expect(b"then")?;
            let body = self.list(Stop::FI.or(Stop::ELSE), false)?;
            clauses.push((condition, body));
            if self.take_reserved(b"elif") {
                continue;
            }
            let otherwise = if self.take_reserved(b"else") {
                Some(self.list(Stop::FI, false)?)
            } else {
                None
            };
            self.expect(b"fi")?;
            return Ok(Kind::If(Box::new(If { clauses, otherwise })));
        }
    }

    /// The body of a loop: `do … done`, `{ … }`, or in zsh a command.
    fn body(&mut self, stop: Stop) -> Result<List<'a>, ParseError> {
        self.skip_blanks();
        let _separator =
            self.peek() == Some(b';') && self.peek_at(1) != Some(b';') && self.take(b";");
        self.skip_newlines()?;
        if self.take_reserved(b"do") {
            let body = self.list(Stop::DONE, false)?;
            self.expect(b"done")?;
            return Ok(body);
        }
        if self.dialect != Dialect::Sh && self.peek() == Some(b'{') {
            self.at += 1;
            return self.braced();
        }
        if self.dialect == Dialect::Zsh && self.peek().is_some() {
            let item = self.pipeline(Join::Then, stop)?;
            return Ok(List { items: vec![item] });
        }
        Err(self.missing())
    }

    fn for_loop(&mut self, word: &[u8], stop: Stop) -> Result<Kind<'a>, ParseError> {
        self.skip_blanks();
        if self.rest().starts_with(b"((") && self.dialect != Dialect::Sh {
            let start = self.at;
            if !self.arithmetic()? {
                return Err(self.missing());
            }
            let head = ForHead::Arithmetic(self.slice(start + 2, self.at.saturating_sub(2)));
            let body = self.body(stop)?;
            return Ok(Kind::For(Box::new(For { head, body })));
        }
        let name = self.word()?;
        if self.dialect == Dialect::Sh && !is_name(name.raw) {
            return Err(self.malformed());
        }
        self.skip_newlines()?;
        let mut words = None;
        if self.take_reserved(b"in") {
            let mut list = Vec::new();
            loop {
                self.skip_blanks();
                match self.peek() {
                    None => return Err(ParseError::Incomplete),
                    Some(b'\n' | b';') => break,
                    Some(b'{') if self.dialect == Dialect::Zsh && self.reserved() == b"{" => break,
                    Some(_) => list.push(self.word()?),
                }
            }
            words = Some(list);
        } else if self.dialect == Dialect::Zsh && self.take(b"(") {
            let mut list = Vec::new();
            loop {
                self.skip_newlines()?;
                match self.peek() {
                    None => return Err(ParseError::Incomplete),
                    Some(b')') => break self.at += 1,
                    Some(_) => list.push(self.word()?),
                }
            }
            words = Some(list);
        }
        let body = if word == b"foreach" {
            self.skip_blanks();
            let _separator = self.take(b";");
            let body = self.list(Stop::FOREACH, false)?;
            self.expect(b"end")?;
            body
        } else {
            self.body(stop)?
        };
        Ok(Kind::For(Box::new(For {
            head: ForHead::Words {
                name: name.raw,
                words,
                select: word == b"select",
            },
            body,
        })))
    }

    fn case(&mut self) -> Result<Kind<'a>, ParseError> {
        self.skip_blanks();
        let word = self.word()?;
        self.skip_newlines()?;
        let close: &[u8] = if self.dialect == Dialect::Zsh && self.take(b"{") {
            b"}"
        } else {
            self.expect(b"in")?;
            b"esac"
        };
        let mut arms = Vec::new();
        loop {
            self.skip_newlines()?;
            if self.take_reserved(close) {
                return Ok(Kind::Case(Box::new(Case { word, arms })));
            }
            let _open = self.take(b"(");
            let mut patterns = Vec::new();
            loop {
                self.skip_blanks();
                patterns.push(self.word()?);
                self.skip_blanks();
                if !self.take(b"|") {
                    break;
                }
            }
            if !self.take(b")") {
                return Err(self.missing());
            }
            let stop = if close == b"}" {
                Stop::ESAC.or(Stop::BRACE)
            } else {
                Stop::ESAC
            };
            let body = self.list(stop, true)?;
            let start = self.at;
            let ended = self.take(b";;&") || self.take(b";|");
            let falls = ended || self.take(b";&");
            if !(falls || self.take(b";;") || self.reserved() == close) {
                return Err(self.missing());
            }
            let end = self.slice(start, self.at);
            arms.push(Arm {
                patterns,
                body,
                falls,
                end,
            });
        }
    }

    /// `[[ … ]]`: words, operators, parentheses, none of which is a command.
    fn test(&mut self) -> Result<Kind<'a>, ParseError> {
        let mut words = Vec::new();
        let mut regex = false;
        loop {
            self.skip_newlines()?;
            if self.rest().starts_with(b"]]")
                && self.peek_at(2).is_none_or(|byte| {
                    super::lexer::class_of(byte) & (class::END | class::BLANK) != 0
                })
            {
                self.at += 2;
                if words.is_empty() {
                    return Err(self.malformed());
                }
                return Ok(Kind::Test(words));
            }
            let start = self.at;
            match self.peek() {
                None => return Err(ParseError::Incomplete),
                Some(b'&' | b'|') if self.peek_at(1) == self.peek() => self.at += 2,
                Some(_) if regex => {
                    words.push(self.regex()?);
                    regex = false;
                    continue;
                }
                Some(b'(' | b')' | b'<' | b'>') => self.at += 1,
                Some(b';' | b'&' | b'|') => return Err(self.malformed()),
                Some(_) => {
                    let word = self.word()?;
                    regex = word.raw == b"=~";
                    words.push(word);
                    continue;
                }
            }
            words.push(Word {
                raw: self.slice(start, self.at),
                classes: 0,
            });
        }
    }

    /// A regular expression, which may have parentheses and bars.
    fn regex(&mut self) -> Result<Word<'a>, ParseError> {
        let start = self.at;
        let mut classes = 0;
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\n' if depth == 0 => break,
                b'(' => depth += 1,
                b')' if depth == 0 => break,
                b')' => depth -= 1,
                b'\\' => {
                    classes |= class::QUOTE;
                    self.at += 1;
                }
                b'\'' => {
                    classes |= class::QUOTE;
                    self.at += 1;
                    self.until(b'\'')?;
                    continue;
                }
                b'"' => {
                    classes |= class::QUOTE;
                    self.at += 1;
                    self.double_quoted()?;
                    continue;
                }
                b'$' | b'`' => {
                    classes |= class::DOLLAR;
                    self.dollar(false)?;
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
        self.at = self.at.min(self.text.len());
        Ok(Word {
            raw: self.slice(start, self.at),
            classes,
        })
    }

    fn function(&mut self, name: &'a [u8]) -> Result<Kind<'a>, ParseError> {
        self.skip_newlines()?;
        if self.peek().is_none() {
            return Err(ParseError::Incomplete);
        }
        let start = self.at;
        let announced = self.heredocs.len();
        let inner = Box::new(self.command(Stop::END)?);
        let outside = self.unread_heredocs(announced);
        if matches!(inner.kind, Kind::Simple { .. }) && self.dialect == Dialect::Bash {
            return Err(ParseError::Malformed { offset: start });
        }
        Ok(Kind::Function {
            name,
            body: self.slice(start, self.at),
            outside,
            inner,
        })
    }

    /// Assignments, words and redirections.
    fn simple(&mut self, start: usize, stop: Stop) -> Result<Command<'a>, ParseError> {
        let mut assignments = 0;
        let mut words: Vec<Word<'a>> = Vec::new();
        let mut redirects: Vec<Redirect<'a>> = Vec::new();
        let mut end = self.at;
        loop {
            self.skip_blanks();
            let Some(byte) = self.peek() else { break };
            match byte {
                b'\n' | b';' | b'|' | b')' => break,
                b'&' if self.peek_at(1) != Some(b'>') || self.dialect == Dialect::Sh => break,
                b'<' | b'>' | b'&' | b'{' | b'0'..=b'9' => {
                    if let Some(redirect) = self.redirect()? {
                        redirects.push(redirect);
                        end = self.at;
                        continue;
                    }
                }
                b'(' => {
                    let Some(name) = words
                        .first()
                        .filter(|_| words.len() == 1 && assignments == 0 && redirects.is_empty())
                    else {
                        return Err(self.malformed());
                    };
                    let name = name.raw;
                    self.at += 1;
                    self.skip_blanks();
                    if !self.take(b")") {
                        return Err(self.missing());
                    }
                    let kind = self.deeper(|parser| parser.function(name))?;
                    return Ok(Command {
                        kind,
                        redirects,
                        reads_errors: false,
                        start,
                        end: self.at,
                    });
                }
                b'}' if self.dialect == Dialect::Zsh && stop.has(Stop::BRACE) => break,
                _ => {}
            }
            let word = if words.len() == assignments {
                self.first_word()?
            } else {
                self.word()?
            };
            if words.len() == assignments
                && word.classes & class::EQUALS != 0
                && assignment_end(word.raw).is_some()
            {
                assignments += 1;
            }
            words.push(word);
            end = self.at;
        }
        if words.is_empty() && redirects.is_empty() {
            return Err(self.missing());
        }
        Ok(Command {
            kind: Kind::Simple { assignments, words },
            redirects,
            reads_errors: false,
            start,
            end,
        })
    }

    /// A word that may be `name[a b]=value`, whose index may have blanks.
    fn first_word(&mut self) -> Result<Word<'a>, ParseError> {
        let start = self.at;
        let rest = self.rest();
        let name = rest
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
            .count();
        if rest.get(name) == Some(&b'[')
            && self.dialect != Dialect::Sh
            && is_name(rest.get(..name).unwrap_or_default())
            && let Some(length) = assignment_end(rest)
            && rest.get(..length).unwrap_or_default().contains(&b' ')
        {
            self.spend(length)?;
            self.at += length;
            let more = !matches!(
                self.peek(),
                None | Some(b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b')')
            );
            if more {
                self.word()?;
            }
            return Ok(Word {
                raw: self.slice(start, self.at),
                classes: class::EQUALS | class::GLOB | class::DOLLAR | class::QUOTE,
            });
        }
        self.word()
    }
}

/// The reserved word that `rest` begins with, written over several lines, and its length there.
fn reserved_over_lines(rest: &[u8]) -> (&'static [u8], usize) {
    let mut word = Vec::new();
    let mut at = 0;
    loop {
        match rest.get(at..) {
            Some([b'\\', b'\n', ..]) => at += 2,
            Some([byte, ..])
                if super::lexer::class_of(*byte) & (class::END | class::BLANK) != 0 =>
            {
                break;
            }
            Some([byte, ..]) if word.len() < 10 => {
                word.push(*byte);
                at += 1;
            }
            Some([]) | None => break,
            Some(_) => return (&[], 0),
        }
    }
    RESERVED
        .iter()
        .find(|reserved| **reserved == word)
        .map_or((&[], 0), |reserved| (*reserved, at))
}

/// Words that mean something where a command begins, or inside a compound one.
pub(super) const RESERVED: &[&[u8]] = &[
    b"!",
    b"{",
    b"}",
    b"[[",
    b"case",
    b"coproc",
    b"do",
    b"done",
    b"elif",
    b"else",
    b"end",
    b"esac",
    b"fi",
    b"for",
    b"foreach",
    b"function",
    b"if",
    b"in",
    b"repeat",
    b"select",
    b"then",
    b"time",
    b"until",
    b"while",
];

/// Whether a compound command begins with `word`.
fn opening(word: &[u8]) -> bool {
    matches!(
        word,
        b"{" | b"if"
            | b"while"
            | b"until"
            | b"for"
            | b"select"
            | b"foreach"
            | b"case"
            | b"[["
            | b"function"
            | b"repeat"
    )
}
