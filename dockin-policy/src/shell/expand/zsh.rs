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
                    return self.unknown("code in a wildcard");
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
            return;
        }
    }
}
