//! Redirections and here-documents.

use super::{MAX_HEREDOCS, Parser, Pending, class, find, is_name};
use crate::shell::{
    Dialect, ParseError,
    ast::{Heredoc, Redirect, RedirectKind},
};

impl<'a> Parser<'a> {
    pub(super) fn heredoc_bodies(&mut self) {
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
    pub(in crate::shell) fn unread_heredocs(&self, first: usize) -> Vec<usize> {
        let numbers = self.pending.iter().map(|pending| pending.number);
        numbers.filter(|number| *number >= first).collect()
    }

    /// A redirection, if one begins here.
    pub(in crate::shell) fn redirect(&mut self) -> Result<Option<Redirect<'a>>, ParseError> {
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
            // No further than a name goes: every brace of a line may be the first of a word.
            let inside = self.rest().get(1..).unwrap_or_default();
            let length = 1 + inside
                .iter()
                .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
                .count();
            let is_descriptor = is_name(self.slice(start + 1, start + length))
                && self.peek_at(length) == Some(b'}')
                && matches!(self.peek_at(length + 1), Some(b'<' | b'>'));
            if !is_descriptor {
                return Ok(None);
            }
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

    /// zsh: `|` or `!` behind the operator writes over a file whatever the options say.
    fn forced(&mut self) {
        if self.dialect == Dialect::Zsh {
            let _force = self.take(b"|") || self.take(b"!");
        }
    }

    pub(super) fn redirect_kind(&mut self) -> Option<RedirectKind> {
        let modern = self.dialect != Dialect::Sh;
        let process = self.peek_at(1) == Some(b'(') && modern;
        if self.peek() == Some(b'&') {
            if self.peek_at(1) == Some(b'>') && modern {
                let _both = self.take(b"&>>") || self.take(b"&>");
                self.forced();
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
            self.forced();
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

    pub(super) fn heredoc(
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
pub(in crate::shell) fn mark_line(raw: &[u8]) -> Vec<u8> {
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

pub(in crate::shell) fn without_tabs(mut line: &[u8]) -> &[u8] {
    while let [b'\t', behind @ ..] = line {
        line = behind;
    }
    line
}
