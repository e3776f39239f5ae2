//! What stands behind a name in `${ }`.

use super::{Head, Held, unset};
use crate::shell::{
    Dialect,
    expand::Mode,
    pattern::{Pattern, Steps},
    run::Runner,
    session::{Positional, Variable},
};

impl Runner<'_> {
    pub(super) fn operate(&mut self, held: Held, head: &Head<'_>, quoted: bool) -> Held {
        let mode = if quoted {
            Mode::QuotedOperand
        } else {
            Mode::Operand
        };
        let rest = head.rest;
        let empty = |held: &Held| match held {
            Held::Unset => Some(true),
            Held::Text(text) => Some(text.is_empty()),
            Held::List(texts, _) => Some(texts.iter().all(String::is_empty)),
            Held::Unknown | Held::Word(_) => None,
        };
        match rest {
            [] => held,
            [b':', b'-' | b'=', word @ ..] | [b'-' | b'=', word @ ..] => {
                let colon = rest.first() == Some(&b':');
                let assigns = rest.contains(&b'=')
                    && rest.iter().position(|byte| *byte == b'=') == Some(usize::from(colon));
                let takes = if colon { empty(&held) } else { unset(&held) };
                match takes {
                    Some(false) => held,
                    Some(true) if assigns => {
                        if head.index.is_some() {
                            // An element, perhaps of a table.
                            self.note_made_text();
                        }
                        let text = self.text_of(word, mode);
                        let value = text.clone().map_or(Variable::Unknown, Variable::Text);
                        self.state.set(&head.name, value);
                        text.map_or(Held::Unknown, Held::Text)
                    }
                    Some(true) => Held::Word(word.to_vec()),
                    None => {
                        // It may run something, whatever becomes of it.
                        let _text = self.text_of(word, mode);
                        if assigns {
                            self.state.set(&head.name, Variable::Unknown);
                        }
                        Held::Unknown
                    }
                }
            }
            [b':', b'+', word @ ..] | [b'+', word @ ..] => {
                let absent = if rest.first() == Some(&b':') {
                    empty(&held)
                } else {
                    unset(&held)
                };
                match absent {
                    Some(true) => Held::Unset,
                    Some(false) => Held::Word(word.to_vec()),
                    None => {
                        let _text = self.text_of(word, mode);
                        Held::Unknown
                    }
                }
            }
            [b':', b'?', word @ ..] | [b'?', word @ ..] => {
                let _text = self.text_of(word, mode);
                match empty(&held) {
                    Some(false) => held,
                    _ => Held::Unknown,
                }
            }
            [b'#', b'#', word @ ..] => self.trim(held, word, Side::Front, true),
            [b'#', word @ ..] => self.trim(held, word, Side::Front, false),
            [b'%', b'%', word @ ..] => self.trim(held, word, Side::Back, true),
            [b'%', word @ ..] => self.trim(held, word, Side::Back, false),
            [b'/', word @ ..] => self.replace(held, word),
            // zsh gives up there.
            b"^^" | b",," | b"^" | b"," if self.dialect() == Dialect::Zsh => Held::Unknown,
            b"^^" => held.map(|text| Some(text.to_uppercase())),
            b",," => held.map(|text| Some(text.to_lowercase())),
            b"^" => held.map(|text| Some(first_letter(text, char::to_ascii_uppercase))),
            b"," => held.map(|text| Some(first_letter(text, char::to_ascii_lowercase))),
            [b'@', operator] => self.transform(held, *operator),
            // zsh: `${x:t}` and other modifiers.
            [b':', letter, ..]
                if self.dialect() == Dialect::Zsh && letter.is_ascii_alphabetic() =>
            {
                self.changed(held, rest, mode)
            }
            [b':', b':', b'=', ..] if self.dialect() == Dialect::Zsh => {
                self.note_made_text();
                self.state.set(&head.name, Variable::Unknown);
                Held::Unknown
            }
            [b':', range @ ..] => self.substring(&head.name, held, range),
            other => self.changed(held, other, mode),
        }
    }

    pub(super) fn transform(&mut self, held: Held, operator: u8) -> Held {
        match operator {
            b'P' => match self.doubted(held) {
                // A prompt's text is expanded as if it stood in double quotes.
                Held::Text(text) => self
                    .text_of(text.as_bytes(), Mode::Quoted)
                    .map_or(Held::Unknown, Held::Text),
                held => held,
            },
            b'E' => held.map(|text| Some(crate::shell::expand::ansi_quoted(text.as_bytes()))),
            b'U' => held.map(|text| Some(text.to_uppercase())),
            b'L' => held.map(|text| Some(text.to_lowercase())),
            b'u' => held.map(|text| Some(first_letter(text, char::to_ascii_uppercase))),
            b'Q' => held.map(|text| Some(format!("'{}'", text.replace('\'', "'\\''")))),
            _ => Held::Unknown,
        }
    }

    /// A text that is expanded as a prompt, which has more than words have.
    fn doubted(&mut self, held: Held) -> Held {
        self.note_made_text();
        held
    }

    fn trim(&mut self, held: Held, word: &[u8], side: Side, longest: bool) -> Held {
        let Some(pattern) = self.pattern(word, Mode::Operand) else {
            return if held == Held::Unset {
                held
            } else {
                Held::Unknown
            };
        };
        let pattern = Pattern::new(&pattern);
        held.map(|text| {
            let text: Vec<char> = text.chars().collect();
            if text.len() > MAX_TRIMMED {
                return None;
            }
            for cut in 0..=text.len() {
                let cut = if (side == Side::Front) == longest {
                    text.len() - cut
                } else {
                    cut
                };
                let (front, back) = text.split_at(cut);
                let (taken, left) = match side {
                    Side::Front => (front, back),
                    Side::Back => (back, front),
                };
                if pattern.matches_chars(taken, &self.pattern_steps)? {
                    return Some(left.iter().collect());
                }
            }
            Some(text.into_iter().collect())
        })
    }

    pub(super) fn replace(&mut self, held: Held, word: &[u8]) -> Held {
        let (kind, word) = match word {
            [b'/', rest @ ..] => (b'/', rest),
            [kind @ (b'#' | b'%'), rest @ ..] => (*kind, rest),
            rest => (b' ', rest),
        };
        // The slash that ends the pattern is neither quoted nor inside an expansion.
        let mut end = word.len();
        let mut at = 0;
        let mut quote = None;
        while let Some(byte) = word.get(at) {
            match (quote, byte) {
                (_, b'\\') => at += 1,
                (None, b'\'' | b'"') => quote = Some(*byte),
                (Some(open), byte) if open == *byte => quote = None,
                (None, b'/') => {
                    end = at;
                    break;
                }
                _ => {}
            }
            at += 1;
        }
        let pattern = self.pattern(word.get(..end).unwrap_or_default(), Mode::Operand);
        let with = self.text_of(word.get(end + 1..).unwrap_or_default(), Mode::Operand);
        let (Some(pattern), Some(with)) = (pattern, with) else {
            return if held == Held::Unset {
                held
            } else {
                Held::Unknown
            };
        };
        let pattern = Pattern::new(&pattern);
        held.map(|text| replaced(text, &pattern, &with, kind, &self.pattern_steps))
    }

    /// What an operator makes of it that is not followed; commands in its word run.
    fn changed(&mut self, held: Held, word: &[u8], mode: Mode) -> Held {
        if held == Held::Unset && matches!(word.first(), Some(b'^' | b',' | b'~')) {
            // bash does not look at the word then.
            self.dead(|runner| runner.text_of(word, mode));
            return held;
        }
        let _text = self.text_of(word, mode);
        Held::Unknown
    }

    pub(super) fn substring(&mut self, name: &str, held: Held, range: &[u8]) -> Held {
        let colon = range.iter().position(|byte| *byte == b':');
        let (offset, length) = match colon {
            Some(at) => (range.get(..at).unwrap_or_default(), range.get(at + 1..)),
            None => (range, None),
        };
        let offset = self.arithmetic(offset);
        let length = length.map(|length| self.arithmetic(length));
        let (Some(offset), Some(length)) =
            (offset, length.map_or(Some(None), |length| length.map(Some)))
        else {
            return if held == Held::Unset {
                held
            } else {
                Held::Unknown
            };
        };
        let window = |count: usize, base: i64| -> Option<(usize, usize)> {
            let count = i64::try_from(count).ok()?;
            let start = if offset < 0 {
                count + offset
            } else {
                offset - base
            };
            let start = start.clamp(0, count);
            let end = match length {
                None => count,
                Some(length) if length < 0 => (count + length).max(start),
                Some(length) => start.saturating_add(length).min(count),
            };
            Some((
                usize::try_from(start).ok()?,
                usize::try_from(end - start).ok()?,
            ))
        };
        match held {
            Held::Text(text) => match window(text.chars().count(), 0) {
                Some((start, count)) => Held::Text(text.chars().skip(start).take(count).collect()),
                None => Held::Unknown,
            },
            // `${@:1}` counts from 1.
            Held::List(texts, joined) => {
                let positional = matches!(name, "@" | "*")
                    && matches!(self.state.positional(), Positional::Known(_));
                // `${@:0}` begins with `$0`.
                let texts = match (positional && offset == 0, &self.arg0) {
                    (false, _) => texts,
                    (true, Some(arg0)) => std::iter::once(arg0.clone()).chain(texts).collect(),
                    (true, None) => return Held::Unknown,
                };
                match window(texts.len(), i64::from(positional && offset > 0)) {
                    Some((start, count)) => {
                        Held::List(texts.into_iter().skip(start).take(count).collect(), joined)
                    }
                    None => Held::Unknown,
                }
            }
            held => held,
        }
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Side {
    Front,
    Back,
}

fn first_letter(text: &str, change: fn(&char) -> char) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map(|first| change(&first))
        .into_iter()
        .chain(characters)
        .collect()
}

/// Bytes of a text whose parts are replaced.
const MAX_REPLACED: usize = 2048;
/// Characters of a text that something is cut from.
const MAX_TRIMMED: usize = 4096;

/// `text` with what is like `pattern` replaced: once, everywhere, at the front or at the end.
fn replaced(text: &str, pattern: &Pattern, with: &str, kind: u8, steps: &Steps) -> Option<String> {
    if text.len() > MAX_REPLACED {
        return None;
    }
    let text: Vec<char> = text.chars().collect();
    let mut result = String::new();
    let mut rest = text.as_slice();
    while let Some((first, behind)) = rest.split_first() {
        // The longest that is like it.
        let shortest = if kind == b'%' { rest.len() } else { 1 };
        let mut found = None;
        for cut in (shortest..=rest.len()).rev() {
            if pattern.matches_chars(rest.get(..cut)?, steps)? {
                found = Some(cut);
                break;
            }
        }
        match found {
            Some(length) => {
                result.push_str(with);
                rest = rest.get(length..)?;
                if kind != b'/' {
                    break;
                }
            }
            None if kind == b'#' => break,
            None => {
                result.push(*first);
                rest = behind;
            }
        }
    }
    result.extend(rest);
    Some(result)
}
