//! Reserved words.

use super::Stop;
use crate::shell::{
    Dialect, ParseError,
    lexer::{Parser, class},
};

impl<'a> Parser<'a> {
    /// The reserved word here, if there is one.
    pub(super) fn reserved(&self) -> &'a [u8] {
        self.reserved_here().0
    }

    /// The word here, if it can be a reserved one: letters and braces alone; and how long it is
    /// as it is written, where lines may go on inside it.
    pub(super) fn reserved_here(&self) -> (&'a [u8], usize) {
        let rest = self.rest();
        let length = rest
            .iter()
            .take(10)
            .take_while(|byte| {
                byte.is_ascii_lowercase() || matches!(byte, b'{' | b'}' | b'!' | b'[')
            })
            .count();
        let ends = rest.get(length).is_none_or(|byte| {
            crate::shell::lexer::class_of(*byte) & (class::END | class::BLANK) != 0
        });
        if rest.get(length) == Some(&b'\\') && rest.get(length + 1) == Some(&b'\n') {
            return reserved_over_lines(rest);
        }
        if ends {
            (rest.get(..length).unwrap_or_default(), length)
        } else {
            (&[], 0)
        }
    }

    pub(super) fn take_reserved(&mut self, word: &[u8]) -> bool {
        let (found, length) = self.reserved_here();
        if found == word {
            self.pass(length);
            return true;
        }
        false
    }

    /// Goes past a reserved word.
    pub(super) fn pass(&mut self, length: usize) {
        let written = self.slice(self.at, self.at + length);
        if written.len() > 2 && written.contains(&b'\n') {
            let lines = written.iter().filter(|byte| **byte == b'\n').count();
            self.line = self
                .line
                .saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        }
        self.at += length;
    }

    pub(super) fn expect(&mut self, word: &[u8]) -> Result<(), ParseError> {
        self.skip_newlines()?;
        if self.take_reserved(word) {
            Ok(())
        } else {
            Err(self.missing())
        }
    }

    /// Whether the dialect reserves `word`.
    pub(super) fn knows(&self, word: &[u8]) -> bool {
        match word {
            b"[[" | b"select" | b"function" => self.dialect != Dialect::Sh,
            b"repeat" | b"foreach" => self.dialect == Dialect::Zsh,
            _ => true,
        }
    }
}

/// The reserved word at the start of `rest` that ends a list.
pub(super) fn closing(word: &[u8]) -> Option<Stop> {
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

/// The reserved word that `rest` begins with, written over several lines, and its length there.
fn reserved_over_lines(rest: &[u8]) -> (&'static [u8], usize) {
    let mut word = Vec::new();
    let mut at = 0;
    loop {
        match rest.get(at..) {
            Some([b'\\', b'\n', ..]) => at += 2,
            Some([byte, ..])
                if crate::shell::lexer::class_of(*byte) & (class::END | class::BLANK) != 0 =>
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
pub(in crate::shell) const RESERVED: &[&[u8]] = &[
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
pub(super) fn opening(word: &[u8]) -> bool {
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
