//! From bytes to syntax: POSIX sh with what bash, busybox and zsh add to it.

mod compound;
mod reserved;

use super::{
    Dialect, ParseError,
    ast::{Command, Item, Join, Kind, List, Redirect, Script, Word},
    lexer::{Parser, assignment_end, class, is_name},
};
pub(super) use reserved::RESERVED;
use reserved::{closing, opening};

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
                    if self.rest().starts_with(b"--")
                        && self
                            .peek_at(2)
                            .is_none_or(|byte| byte.is_ascii_whitespace())
                    {
                        self.at += 2;
                        self.skip_blanks();
                    }
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
        let bare = match self.peek() {
            Some(b'&') => self.dialect == Dialect::Sh || self.peek_at(1) != Some(b'>'),
            next => matches!(next, None | Some(b'\n' | b';' | b')')),
        };
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
            self.count()?;
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
                b'}' if self.dialect == Dialect::Zsh && self.reserved() == b"}" => {
                    return Err(self.malformed());
                }
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
