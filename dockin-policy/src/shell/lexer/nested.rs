//! What nests inside words: substitutions, parameters, calculations.

use super::{Parser, find};
use crate::shell::{Dialect, ParseError, parse::Stop};

impl<'a> Parser<'a> {
    /// At `$` or a backquote, past what it begins.
    pub(in crate::shell) fn dollar(&mut self, quoted: bool) -> Result<(), ParseError> {
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
    pub(in crate::shell) fn substitution(&mut self) -> Result<(), ParseError> {
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
    pub(super) fn parameter(&mut self, quoted: bool) -> Result<(), ParseError> {
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
    pub(super) fn backquoted(&mut self) -> Result<(), ParseError> {
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
    pub(in crate::shell) fn arithmetic(&mut self) -> Result<bool, ParseError> {
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
    pub(super) fn brackets(&mut self) -> Result<(), ParseError> {
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
}
