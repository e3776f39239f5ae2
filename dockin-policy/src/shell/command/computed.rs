//! What is run and stands nowhere as it is run.
//!
//! A shell has more ways to make a word than can be followed without a mistake. So a program whose
//! name was computed is judged as what it came to, which may deny it, and never allowed for that
//! alone: that its name is this one is as good as the sum of all that led to it. The same goes for
//! texts that are run, and for names that the session gave another meaning.

use crate::shell::{ast::Word, lexer::class, run::Runner, value::Value};

/// What makes a word another than it is written; a `$` may stand between quotes.
const COMPUTES: u16 = class::DOLLAR | class::GLOB | class::BRACE | class::PROCESS | class::QUOTE;

/// Values that a text is compared with.
const MAX_COMPARED: usize = 64;

const NAME: &str = "the name of a program is computed";
const TEXT: &str = "a text that is run is computed";
const SHADOWED: &str = "a program's name that was given another meaning";

/// Whether the word is what it says, but for quotes.
pub(super) fn is_written(word: &Word<'_>) -> bool {
    if word.classes & COMPUTES == 0 || matches!(word.raw, b"[" | b"[[" | b"{" | b"{}" | b"?") {
        return true;
    }
    if word.classes & (COMPUTES & !class::QUOTE) != 0 && word.classes & class::QUOTE == 0 {
        return false;
    }
    let mut is_double = false;
    let mut bytes = word.raw.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'"' => is_double = !is_double,
            b'\'' if !is_double => {
                let _end = bytes.by_ref().find(|byte| **byte == b'\'');
            }
            b'$' | b'`' => return false,
            b'*' | b'?' | b'[' | b'{' | b'<' | b'>' | b'(' if !is_double => return false,
            _ => {}
        }
    }
    true
}

impl Runner<'_> {
    /// Notes a program whose name no word of the command says.
    pub(in crate::shell) fn note_computed_name(&mut self, program: &str) {
        if self.is_computed(program) {
            self.note_doubtful(NAME);
        }
    }

    /// The same for a name with wildcards.
    pub(in crate::shell) fn note_found_name(&mut self) {
        self.note_doubtful(NAME);
    }

    /// The same for a program that another one starts, and is told by `arguments`.
    pub(in crate::shell) fn note_inner_name(&mut self, inner: &[Value], arguments: &[Value]) {
        let Some(program) = inner.first().and_then(Value::known) else {
            return;
        };
        let told = || arguments.iter().filter_map(Value::known);
        let is_written = told().any(|text| text == program)
            || told().any(|text| {
                text.contains(program) && !self.computed.iter().any(|computed| computed == text)
            });
        if !is_written {
            self.note_doubtful(NAME);
        }
    }

    /// Notes a text that is run, when no word of the command says it.
    pub(in crate::shell) fn note_computed_text(&mut self, text: &str) {
        // Words are put together with blanks between them, or stand behind an option's letter.
        let is_part = |part: &String| {
            part == text
                || !text.is_empty() && part.ends_with(text)
                || part.contains(char::is_whitespace) && text.contains(&**part)
                || text.split_ascii_whitespace().any(|word| word == part)
        };
        if self.computed.len() > MAX_COMPARED || self.computed.iter().any(is_part) {
            self.note_doubtful(TEXT);
        }
    }

    /// Notes a text that is run, and that something wrote or printed.
    pub(in crate::shell) fn note_made_text(&mut self) {
        self.note_doubtful(TEXT);
    }

    /// Notes a name that is not what it is elsewhere.
    pub(in crate::shell) fn note_shadowed(&mut self) {
        self.note_doubtful(SHADOWED);
    }

    fn is_computed(&self, program: &str) -> bool {
        !program.is_empty() && self.computed.iter().any(|text| text == program)
    }
}
