//! The shell's own edit buffer, asked for by a key of its own before Enter goes on.
//!
//! ```text
//! Enter held ──KEY──▶ shell ──ESC ] 633 ; E ; nonce ; line ; expanded BEL──▶ judged ──Enter──▶
//! ```
//!
//! What comes back is exact, but it comes from the container: a user can take the key away or
//! answer in its place. So it is believed when keys or screen say the same, and is a guess
//! otherwise; without an answer keys and screen have to do.

use crate::Dialect;

/// Asks shells for their edit buffer; the text of [`startup`](Self::startup) must be run where the
/// shell starts.
#[derive(Clone, Debug)]
pub struct BufferQuery {
    nonce: String,
}

impl BufferQuery {
    /// The key that the shell answers to; no keyboard has it.
    pub const KEY: &'static [u8] = b"\x1b[99;7~";

    /// A query whose answers carry `nonce`: letters and digits that nobody can guess, others are
    /// left out.
    #[must_use]
    pub fn new(nonce: &str) -> Self {
        Self {
            nonce: nonce.chars().filter(char::is_ascii_alphanumeric).collect(),
        }
    }

    /// What a shell has to run once, as it starts; `None` for shells without an editor of their
    /// own that can be asked.
    #[must_use]
    pub fn startup(&self, dialect: Dialect) -> Option<String> {
        let nonce = &self.nonce;
        match dialect {
            Dialect::Bash => Some(format!(
                r#"__dockin_hex() {{ local LC_ALL=C text=$1 at code; hex=; for ((at = 0; at < ${{#text}}; at++)); do printf -v code %d "'${{text:at:1}}"; printf -v code %02x $((code & 255)); hex+=$code; done; }}
__dockin_query() {{ local hex line; __dockin_hex "$READLINE_LINE"; line=$hex; __dockin_hex "$(history -p -- "$READLINE_LINE" 2>/dev/null)"; printf '\033]633;E;%s;%s;%s\007' {nonce} "$line" "$hex"; }}
bind -m emacs -x '"\e[99;7~": __dockin_query'; bind -m vi-insert -x '"\e[99;7~": __dockin_query'; bind -m vi-command -x '"\e[99;7~": __dockin_query'
"#
            )),
            Dialect::Zsh => Some(format!(
                r#"__dockin_query() {{ emulate -L zsh; setopt localoptions nomultibyte; local hex= at; for ((at = 1; at <= $#BUFFER; at++)); do hex+=$(printf %02x "'$BUFFER[at]"); done; printf '\033]633;E;%s;%s;\007' {nonce} $hex > /dev/tty; }}
zle -N __dockin_query; for map in emacs viins vicmd; do bindkey -M $map '^[[99;7~' __dockin_query; done
"#
            )),
            Dialect::Sh | Dialect::Busybox => None,
        }
    }
}

/// Finds answers in the container's output.
#[derive(Debug)]
pub(super) struct Answers {
    prefix: Vec<u8>,
    /// Bytes behind an escape that may become an answer.
    held: Vec<u8>,
    is_inside: bool,
}

/// What a shell said it holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    pub(super) line: String,
    /// With references to the history followed; empty where the shell does not tell.
    pub(super) expanded: String,
}

/// Bytes of an answer: four for each of the longest line.
const MAX_ANSWER: usize = 256 * 1024;

impl Answers {
    pub(super) fn new(query: &BufferQuery) -> Self {
        Self {
            prefix: format!("]633;E;{};", query.nonce).into_bytes(),
            held: Vec::new(),
            is_inside: false,
        }
    }

    /// Takes output; gives the last answer in it.
    pub(super) fn feed(&mut self, output: &[u8]) -> Option<Answer> {
        if !self.is_inside && memchr::memchr(0x1b, output).is_none() {
            return None;
        }
        let mut found = None;
        for byte in output {
            if *byte == 0x1b {
                self.held.clear();
                self.is_inside = true;
                continue;
            }
            if !self.is_inside {
                continue;
            }
            if *byte == 0x07 {
                found = self.answer().or(found);
                self.is_inside = false;
                self.held = Vec::new();
                continue;
            }
            self.held.push(*byte);
            let compared = self.held.len().min(self.prefix.len());
            if self.held.get(..compared) != self.prefix.get(..compared)
                || self.held.len() > MAX_ANSWER
            {
                self.is_inside = false;
                self.held = Vec::new();
            }
        }
        found
    }

    fn answer(&self) -> Option<Answer> {
        let body = self.held.strip_prefix(self.prefix.as_slice())?;
        let mut parts = body.split(|byte| *byte == b';');
        let line = unhex(parts.next()?)?;
        let expanded = parts.next().map_or(Some(String::new()), unhex)?;
        Some(Answer { line, expanded })
    }
}

fn unhex(digits: &[u8]) -> Option<String> {
    let bytes: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| {
            let text = std::str::from_utf8(pair)
                .ok()
                .filter(|text| text.len() == 2)?;
            u8::from_str_radix(text, 16).ok()
        })
        .collect();
    Some(String::from_utf8_lossy(&bytes?).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{Answers, BufferQuery};

    #[test]
    fn an_answer_is_found_however_the_output_is_cut() {
        let output = b"x\x1b[K\x1b]633;E;abc;6c73;6c73\x07$ ";
        for cut in 0..output.len() {
            let mut answers = Answers::new(&BufferQuery::new("abc"));
            let (first, second) = output.split_at(cut);
            let found = [answers.feed(first), answers.feed(second)];
            let answer = found.into_iter().flatten().next().unwrap();
            assert_eq!(
                (answer.line.as_str(), answer.expanded.as_str()),
                ("ls", "ls")
            );
        }
    }

    #[test]
    fn answers_with_another_nonce_are_none() {
        let mut answers = Answers::new(&BufferQuery::new("abc"));
        assert_eq!(answers.feed(b"\x1b]633;E;abd;6c73\x07"), None);
        assert_eq!(answers.feed(b"\x1b]633;E;abc;6c7\x07"), None);
        assert_eq!(answers.feed(b"]633;E;abc;6c73\x07"), None);
    }
}
