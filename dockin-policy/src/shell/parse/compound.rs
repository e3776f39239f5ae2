//! Compound commands.

use super::Stop;
use crate::shell::{
    Dialect, ParseError,
    ast::{Arm, Case, For, ForHead, If, Join, Kind, List, While, Word},
    lexer::{Parser, class, is_name},
};

impl<'a> Parser<'a> {
    /// At `(`: a calculation, a subshell, or a function of zsh without a name.
    pub(super) fn parenthesis(&mut self) -> Result<Kind<'a>, ParseError> {
        // In the small shells these are two subshells.
        if self.peek_at(1) == Some(b'(') && !self.dialect.is_small() {
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

    /// Behind the reserved word `word`.
    pub(super) fn compound(&mut self, word: &[u8], stop: Stop) -> Result<Kind<'a>, ParseError> {
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
                if self.dialect == Dialect::Zsh
                    && !matches!(self.peek(), None | Some(b'(' | b'{' | b'\n' | b';' | b'#'))
                {
                    // Several names for one function.
                    return Err(self.malformed());
                }
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
    pub(super) fn braced(&mut self) -> Result<List<'a>, ParseError> {
        let body = self.list(Stop::BRACE, false)?;
        if !self.take(b"}") {
            return Err(self.missing());
        }
        Ok(body)
    }

    pub(super) fn conditional(&mut self) -> Result<Kind<'a>, ParseError> {
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
    pub(super) fn body(&mut self, stop: Stop) -> Result<List<'a>, ParseError> {
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

    pub(super) fn for_loop(&mut self, word: &[u8], stop: Stop) -> Result<Kind<'a>, ParseError> {
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

    pub(super) fn case(&mut self) -> Result<Kind<'a>, ParseError> {
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
    pub(super) fn test(&mut self) -> Result<Kind<'a>, ParseError> {
        let mut words = Vec::new();
        let mut regex = false;
        loop {
            self.skip_newlines()?;
            if self.rest().starts_with(b"]]")
                && self.peek_at(2).is_none_or(|byte| {
                    crate::shell::lexer::class_of(byte) & (class::END | class::BLANK) != 0
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
                Some(b'(' | b')') => self.at += 1,
                Some(b'<' | b'>') if self.peek_at(1) != Some(b'(') => self.at += 1,
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
    pub(super) fn regex(&mut self) -> Result<Word<'a>, ParseError> {
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

    pub(super) fn function(&mut self, name: &'a [u8]) -> Result<Kind<'a>, ParseError> {
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
}
