//! What only zsh makes of words.

use super::{Fields, Mode};
use crate::shell::{run::Runner, value::VARIABLE};

impl Runner<'_> {
    /// zsh: `$x[2]`, `$x:t` and `$=x`, without braces. Where it ends behind the dollar.
    pub(super) fn zsh_parameter(
        &mut self,
        name: &[u8],
        rest: &[u8],
        length: usize,
        quoted: bool,
        fields: &mut Fields,
    ) -> Option<usize> {
        if name.is_empty() {
            let flags = rest
                .iter()
                .take_while(|byte| matches!(byte, b'=' | b'~' | b'^' | b'+'))
                .count();
            let behind = rest.get(flags..)?;
            let count = behind
                .iter()
                .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
                .count();
            if flags == 0 || count == 0 {
                return None;
            }
            self.parameter(rest.get(..flags + count)?, quoted, fields);
            return Some(flags + count);
        }
        match rest.get(length) {
            Some(b'[') => {
                let mut depth = 0_usize;
                for (at, byte) in rest.iter().enumerate().skip(length) {
                    match byte {
                        b'[' => depth += 1,
                        b']' => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 {
                        let index = rest.get(length..=at)?;
                        let whole = [name, index].concat();
                        self.parameter(&whole, quoted, fields);
                        return Some(at + 1);
                    }
                }
                None
            }
            // A modifier.
            Some(b':') if rest.get(length + 1).is_some_and(u8::is_ascii_alphabetic) => {
                self.parameter(name, quoted, &mut self.fields(false));
                fields.unknown(VARIABLE);
                Some(rest.len())
            }
            _ => None,
        }
    }

    /// zsh: code in the qualifiers of a wildcard, `*(e:code:)` and `*(+function)`.
    pub(super) fn glob_qualifiers(&mut self, raw: &[u8]) {
        let Some(inside) = raw.strip_prefix(b"(").and_then(|it| it.strip_suffix(b")")) else {
            return;
        };
        for (at, byte) in inside.iter().enumerate() {
            let rest = inside.get(at + 1..).unwrap_or_default();
            let Some(open) = rest.first().copied() else {
                return;
            };
            let code: &[u8] = match (byte, open) {
                // A function that decides.
                (b'+', b'a'..=b'z' | b'A'..=b'Z' | b'_') => {
                    let end = rest
                        .iter()
                        .position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'));
                    rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
                }
                (b'e', b'|' | b'.' | b'*' | b'?' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
                    if rest.iter().skip(1).any(|other| *other == open) =>
                {
                    // Most likely alternatives, or letters.
                    self.note_made_text();
                    continue;
                }
                (b'e', b'|' | b'.' | b'*' | b'?') => continue,
                (b'e', open) if open.is_ascii_punctuation() => {
                    let close = match open {
                        b'{' => b'}',
                        b'[' => b']',
                        b'(' => b')',
                        b'<' => b'>',
                        other => other,
                    };
                    let code = rest.get(1..).unwrap_or_default();
                    let end = code.iter().rposition(|byte| *byte == close);
                    code.get(..end.unwrap_or(code.len())).unwrap_or_default()
                }
                _ => continue,
            };
            // Quotes around it are gone before it is read as a command.
            let Some(text) = self.text_of(code, Mode::Word) else {
                return self.unknown("code in a wildcard");
            };
            let _out = self.maybe(|runner| runner.below(|runner| runner.text(&text)));
            // It may make other names of those that are found.
            return self.unknown("code in a wildcard");
        }
    }
}

/// What qualifiers make of the names that a wildcard finds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Qualifiers {
    /// They choose and sort.
    Choosing,
    /// They make other words of them: modifiers, `P`.
    Changing,
}

/// The qualifiers that end the word `raw` from `at` on, as zshexpn has them; `None` when they run
/// code or are none: what is a pattern stays one.
pub(super) fn qualifiers(raw: &[u8], at: usize) -> Option<Qualifiers> {
    // With `KSH_GLOB` these are patterns.
    if matches!(
        at.checked_sub(1).and_then(|at| raw.get(at)),
        Some(b'@' | b'+' | b'!')
    ) {
        return None;
    }
    let mut rest = raw.get(at..)?.strip_prefix(b"(")?.strip_suffix(b")")?;
    let mut kind = Qualifiers::Choosing;
    while let Some((letter, behind)) = rest.split_first() {
        rest = match letter {
            b'/' | b'F' | b'.' | b'@' | b'=' | b'p' | b'*' | b'r' | b'w' | b'x' | b'A' | b'I'
            | b'E' | b'R' | b'W' | b'X' | b's' | b'S' | b't' | b'^' | b'-' | b'M' | b'T' | b'N'
            | b'D' | b'n' | b'U' | b'G' | b',' => behind,
            b'%' => match behind {
                [b'b' | b'c', behind @ ..] => behind,
                _ => behind,
            },
            // Sorted by code, too: `oe` and `o+`.
            b'o' | b'O' => match behind {
                [
                    b'n' | b'L' | b'l' | b'a' | b'm' | b'c' | b'd' | b'N',
                    behind @ ..,
                ] => behind,
                _ => return None,
            },
            b'Y' | b'd' => number(behind)?,
            b'l' => number(signed(behind))?,
            b'L' => match behind {
                [
                    b'k' | b'K' | b'm' | b'M' | b'p' | b'P' | b'g' | b'G' | b't' | b'T',
                    behind @ ..,
                ] => number(signed(behind))?,
                _ => number(signed(behind))?,
            },
            b'a' | b'm' | b'c' => match behind {
                [b'M' | b'w' | b'h' | b'm' | b's' | b'd', behind @ ..] => number(signed(behind))?,
                _ => number(signed(behind))?,
            },
            b'u' | b'g' => number(behind).or_else(|| delimited(behind))?,
            b'f' => match behind {
                [b'=' | b'+' | b'-', behind @ ..] => number(behind)?,
                _ => number(behind).or_else(|| delimited(behind))?,
            },
            b'[' => {
                let end = behind.iter().position(|byte| *byte == b']')?;
                let index = behind.get(..end)?;
                let plain = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b',' | b'-');
                if index.is_empty() || !index.iter().all(plain) {
                    return None;
                }
                behind.get(end + 1..)?
            }
            b'P' => {
                kind = Qualifiers::Changing;
                delimited(behind)?
            }
            // Modifiers, up to the end.
            b':' => return Some(Qualifiers::Changing),
            _ => return None,
        };
    }
    Some(kind)
}

fn signed(text: &[u8]) -> &[u8] {
    match text {
        [b'+' | b'-', behind @ ..] => behind,
        text => text,
    }
}

/// Behind digits, of which there must be one.
fn number(text: &[u8]) -> Option<&[u8]> {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.get(length..).filter(|_| length > 0)
}

/// Behind a text between two of the same byte or a pair of brackets, without anything that is
/// expanded, or that is text elsewhere and a pattern here.
fn delimited(text: &[u8]) -> Option<&[u8]> {
    let (open, behind) = text.split_first()?;
    let close = match open {
        b'{' => b'}',
        b'[' => b']',
        b'(' => b')',
        b'<' => b'>',
        other if other.is_ascii_punctuation() => *other,
        _ => return None,
    };
    let end = behind.iter().position(|byte| *byte == close)?;
    let plain = |byte: &u8| !b"$`\\'\"|()~".contains(byte);
    if !behind.get(..end)?.iter().all(plain) || !plain(open) {
        return None;
    }
    behind.get(end + 1..)
}

#[cfg(test)]
mod tests {
    use super::{Qualifiers, qualifiers};

    fn kind(word: &str) -> Option<Qualifiers> {
        qualifiers(word.as_bytes(), word.find('(').unwrap_or_default())
    }

    #[test]
    fn qualifiers_that_choose_are_told_from_code() {
        for word in [
            "*(.)",
            "*.txt(om[1])",
            "*(N)",
            "*(/N)",
            "*(.L+10)",
            "*(Lk-3)",
            "*(mh-1)",
            "*(u:root:)",
            "*(u0)",
            "*(f644)",
            "*(f:u+w,o-r:)",
            "*(@)",
            "*(^/)",
            "*(.,@)",
            "*(Oc[1,3])",
            "*([-1])",
            "*(Y2)",
            "*(%b)",
        ] {
            assert_eq!(kind(word), Some(Qualifiers::Choosing), "{word}");
        }
        for word in ["*(:t)", "*(.:s/a/b/)", "*(P:-rf:)"] {
            assert_eq!(kind(word), Some(Qualifiers::Changing), "{word}");
        }
        for word in [
            "*(e:rm x:)",
            "*(+rm)",
            "*(oe:rm x:)",
            "*(o+rm)",
            "*(#qe:rm:)",
            "*(#q.)",
            "*(a|b)",
            "@(N)",
            "*(u:$(rm x):)",
            "*([rm])",
            "*(om[1)",
            "*(.)x",
        ] {
            assert_eq!(kind(word), None, "{word}");
        }
    }
}
