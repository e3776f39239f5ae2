//! Where a text is read: position, depth and budget, and what stands between words.
//!
//! Recursion is counted: nothing nests deeper than [`MAX_DEPTH`].

use std::{cell::Cell, rc::Rc};

use super::heredoc::Heredoc;

/// How deep anything may nest; people's lines stay below 8.
pub(crate) const MAX_DEPTH: usize = 64;

/// Why a text is no command line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ParseError {
    /// A shell would wait for more.
    Incomplete,
    /// A shell would complain.
    Malformed { offset: usize },
    /// It nests deeper than is looked at.
    TooDeep { offset: usize },
}

pub(super) struct Parser<'a> {
    pub(super) text: &'a [u8],
    pub(super) position: usize,
    depth: usize,
    /// Steps left, for this text and all inside it: what reads a text twice, as `((` does that
    /// turns out to be no arithmetic, must not do so at every depth.
    budget: Rc<Cell<usize>>,
    /// Announced and not read yet.
    pub(super) heredocs: Vec<Heredoc>,
}

const BLANKS: &[u8] = b" \t";
/// Steps that any text may take.
const STEPS: usize = 10_000;
/// Steps for each byte on top: one pass takes below 4.
const STEPS_PER_BYTE: usize = 32;

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        let budget = Rc::new(Cell::new(STEPS + STEPS_PER_BYTE * text.len()));
        Self {
            text,
            position: 0,
            depth: 0,
            budget,
            heredocs: Vec::new(),
        }
    }

    /// A parser for a text inside this one's, as deep as this one is.
    pub(super) fn inner<'b>(&self, text: &'b [u8]) -> Parser<'b> {
        let budget = Rc::clone(&self.budget);
        Parser {
            text,
            position: 0,
            depth: self.depth,
            budget,
            heredocs: Vec::new(),
        }
    }

    /// Takes `steps` from the budget.
    pub(super) fn spend(&self, steps: usize) -> Result<(), ParseError> {
        match self.budget.get().checked_sub(steps) {
            Some(left) => {
                self.budget.set(left);
                Ok(())
            }
            None => Err(ParseError::TooDeep {
                offset: self.position,
            }),
        }
    }

    pub(super) const fn malformed(&self) -> ParseError {
        ParseError::Malformed {
            offset: self.position,
        }
    }

    pub(super) fn deeper<T>(
        &mut self,
        inside: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        self.spend(1)?;
        if self.depth == MAX_DEPTH {
            return Err(ParseError::TooDeep {
                offset: self.position,
            });
        }
        self.depth += 1;
        let result = inside(self);
        self.depth -= 1;
        result
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.position).copied()
    }

    pub(super) fn starts_with(&self, what: &[u8]) -> bool {
        self.text
            .get(self.position..)
            .is_some_and(|rest| rest.starts_with(what))
    }

    pub(super) fn take(&mut self, what: &[u8]) -> bool {
        let found = self.starts_with(what);
        if found {
            self.position += what.len();
        }
        found
    }

    pub(super) fn skip_blanks(&mut self) {
        loop {
            match self.peek() {
                Some(byte) if BLANKS.contains(&byte) => self.position += 1,
                Some(b'\\') if self.starts_with(b"\\\n") => self.position += 2,
                Some(b'#') if self.at_comment() => self.skip_comment(),
                _ => return,
            }
        }
    }

    pub(super) fn at_comment(&self) -> bool {
        let before = self
            .position
            .checked_sub(1)
            .and_then(|at| self.text.get(at));
        before.is_none_or(|byte| b" \t\n;&|()".contains(byte))
    }

    pub(super) fn skip_comment(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.position += 1;
        }
    }

    pub(super) fn skip_newlines(&mut self) -> Result<(), ParseError> {
        loop {
            self.skip_blanks();
            if !self.take(b"\n") {
                return Ok(());
            }
            self.skip_heredocs()?;
        }
    }

    pub(super) fn skip_separators(&mut self) -> Result<(), ParseError> {
        loop {
            self.skip_newlines()?;
            if self.starts_with(b";;") || self.starts_with(b";&") || !self.take(b";") {
                return Ok(());
            }
        }
    }

    pub(super) fn skip_separators_once(&mut self) -> Result<(), ParseError> {
        self.skip_newlines()?;
        if !self.starts_with(b";;") {
            let _one = self.take(b";");
        }
        self.skip_newlines()
    }

    /// What is wrong when something had to stand here.
    pub(super) fn missing(&self) -> ParseError {
        if self.position >= self.text.len() {
            ParseError::Incomplete
        } else {
            self.malformed()
        }
    }
}
