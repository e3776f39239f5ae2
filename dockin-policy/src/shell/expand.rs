//! Words to values, with what is known of the session. What runs for that runs here.

mod quote;
mod zsh;

use super::{
    Dialect,
    ast::Word,
    braces,
    lexer::{Parser, class},
    run::{Runner, TOO_MANY},
    session::Directory,
    value::{Out, Value},
};
pub(super) use quote::ansi_quoted;
pub(crate) use quote::unescape;
use quote::unescape_backquoted;
use zsh::Qualifiers;

/// Bytes that a word counts for, besides its own.
const WORD: usize = 16;
/// Groups of one word in which qualifiers of zsh are sought.
const MAX_GROUPS: usize = 32;

/// A field while it grows.
#[derive(Default)]
pub(super) struct Field {
    text: String,
    /// The same with a `\` before what was quoted.
    pattern: String,
    glob: bool,
    present: bool,
    /// Why something in it is not known, and where it begins and ends.
    unknown: Option<(&'static str, usize, usize)>,
}

/// Fields of one word.
pub(super) struct Fields {
    done: Vec<Value>,
    current: Field,
    /// Whether expansions are split into words.
    splits: bool,
    /// Whether what substitutions print is.
    splits_output: bool,
    separators: Option<String>,
    /// A list without elements stood between the quotes.
    vanished: bool,
    /// Bytes of what came in, and so many for each word, since somebody asked.
    bytes: usize,
}

impl Fields {
    pub(super) fn quoted(&mut self, text: &str) {
        self.current.present = true;
        self.bytes += text.len();
        self.current.text.push_str(text);
        for c in text.chars() {
            if "*?[]\\()|!-^".contains(c) {
                self.current.pattern.push('\\');
            }
            self.current.pattern.push(c);
        }
    }

    fn literal(&mut self, text: &str) {
        self.current.present = true;
        self.bytes += text.len();
        self.current.text.push_str(text);
        self.current.pattern.push_str(text);
        self.current.glob |= memchr::memchr3(b'*', b'?', b'[', text.as_bytes()).is_some();
    }

    pub(super) fn unknown(&mut self, reason: &'static str) {
        let at = self.current.text.len();
        self.current.present = true;
        self.current.unknown = Some(match self.current.unknown {
            Some((first, start, _)) => {
                use super::value::{DOWNLOADED, FOLDERS, PLAIN, VARIABLE};
                let graver = reason == DOWNLOADED || first == PLAIN;
                // Behind something else it is not what the value begins with.
                let reason = if reason == FOLDERS { VARIABLE } else { reason };
                (if graver { reason } else { first }, start, at)
            }
            None => (reason, at, at),
        });
    }

    /// The value of something that is not quoted.
    pub(super) fn expanded(&mut self, text: &str) {
        if !self.splits {
            if !text.is_empty() {
                self.literal(text);
            }
            return;
        }
        let Some(separators) = self.separators.clone() else {
            return self.unknown("the separators of words are not known");
        };
        let blank = |c: char| separators.contains(c) && c.is_ascii_whitespace();
        let other = |c: char| separators.contains(c) && !c.is_ascii_whitespace();
        let mut first = true;
        let mut rest = text;
        loop {
            let trimmed = rest.trim_start_matches(blank);
            if trimmed.len() != rest.len() && (!first || self.current.present) {
                self.finish();
            }
            first = false;
            if trimmed.is_empty() {
                return;
            }
            let end = trimmed
                .find(|c| separators.contains(c))
                .unwrap_or(trimmed.len());
            let (piece, behind) = trimmed.split_at(end);
            if !piece.is_empty() {
                self.literal(piece);
            }
            let behind_blanks = behind.trim_start_matches(blank);
            if let Some(separator) = behind_blanks.chars().next().filter(|c| other(*c)) {
                self.current.present = true;
                self.finish();
                rest = behind_blanks
                    .get(separator.len_utf8()..)
                    .unwrap_or_default();
                if rest.is_empty() {
                    return;
                }
            } else {
                rest = behind;
            }
            if rest.is_empty() {
                return;
            }
        }
    }

    /// A list was expanded, and whether it is empty.
    pub(super) const fn vanishes(&mut self, is_empty: bool) {
        self.vanished |= is_empty;
    }

    /// What a substitution printed: split in zsh, too.
    fn printed(&mut self, text: &str) {
        let splits = std::mem::replace(&mut self.splits, self.splits_output);
        self.expanded(text);
        self.splits = splits;
    }

    /// Ends a field, if there is one.
    pub(super) fn finish(&mut self) {
        let field = std::mem::take(&mut self.current);
        if !field.present {
            return;
        }
        self.bytes += WORD;
        self.done.push(field.value());
    }
}

impl Field {
    fn value(self) -> Value {
        if let Some((reason, start, end)) = self.unknown {
            return Value::Unknown {
                reason,
                prefix: self.text.get(..start).unwrap_or_default().to_owned(),
                suffix: self.text.get(end..).unwrap_or_default().to_owned(),
            };
        }
        // The command `[` is no wildcard, nor is a bracket that nothing closes.
        let glob = self.glob
            && (self.text.contains(['*', '?', '('])
                || self.text.contains('[') && self.text.contains(']'));
        if glob {
            Value::Pattern(self.pattern)
        } else {
            Value::Known(self.text)
        }
    }
}

/// Where a text is expanded.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Mode {
    Word,
    /// Between double quotes.
    Quoted,
    /// A here-document or a calculation: as between quotes, but quotes are text.
    Text,
    /// The word behind an operator of `${ }`: blanks do not end it.
    Operand,
    /// The same where it stands for the parameter: its blanks end words.
    Spliced,
    /// The same between double quotes: quotes in it mean nothing.
    QuotedOperand,
}

impl Runner<'_> {
    /// The values that words become.
    pub(super) fn words(&mut self, words: &[Word<'_>]) -> Vec<Value> {
        let mut values = Vec::with_capacity(words.len());
        for word in words {
            self.word_into(word, &mut values, true);
        }
        values
    }

    fn word_into(&mut self, word: &Word<'_>, values: &mut Vec<Value>, braces: bool) {
        const MEANING: u16 = class::QUOTE
            | class::DOLLAR
            | class::GLOB
            | class::BRACE
            | class::TILDE
            | class::PROCESS
            | class::PAREN;
        if word.classes & MEANING == 0 {
            values.push(Value::Known(lossy(word.raw)));
            return;
        }
        let expands = !self.dialect().is_small();
        if braces && word.classes & class::BRACE != 0 && expands {
            match braces::expand_raw(word.raw) {
                Some(list) => {
                    for raw in list {
                        values.extend(self.raw_word(&raw));
                    }
                }
                None => {
                    // What is in them runs, whatever they become.
                    let _values = self.raw_word(word.raw);
                    values.push(Value::unknown("braces that become too many words"));
                }
            }
            return;
        }
        values.extend(self.raw_word(word.raw));
    }

    /// The first word of a command: zsh takes a brace there for something else.
    pub(super) fn command_word(&mut self, word: &Word<'_>) -> Vec<Value> {
        let mut values = Vec::new();
        let braces = !(self.dialect() == Dialect::Zsh && word.raw.first() == Some(&b'{'));
        if !braces && word.raw.len() > 1 {
            // zsh needs no blank behind the brace of a group.
            self.soft_unknown("a brace that may begin a group");
        }
        self.word_into(word, &mut values, braces);
        values
    }

    fn raw_word(&mut self, raw: &[u8]) -> Vec<Value> {
        let mut fields = self.fields(true);
        self.pieces(raw, Mode::Word, &mut fields);
        fields.finish();
        fields.done
    }

    fn fields(&self, splits: bool) -> Fields {
        Fields {
            done: Vec::new(),
            current: Field::default(),
            splits: splits && (self.dialect() != Dialect::Zsh || self.state.splits_words()),
            splits_output: splits,
            separators: self.separators(),
            vanished: false,
            bytes: 0,
        }
    }

    /// The one text that `raw` becomes where no words are split.
    pub(super) fn whole(&mut self, raw: &[u8], mode: Mode) -> Value {
        let mut fields = self.fields(false);
        self.pieces(raw, mode, &mut fields);
        fields.finish();
        one_of(fields.done)
    }

    /// The pattern that `raw` becomes; quoted wildcards in it are escaped.
    pub(super) fn pattern(&mut self, raw: &[u8], mode: Mode) -> Option<String> {
        let mut fields = self.fields(false);
        self.pieces(raw, mode, &mut fields);
        if fields.current.unknown.is_some() || !fields.done.is_empty() {
            return None;
        }
        Some(fields.current.pattern)
    }

    /// The text that `raw` becomes, when it is known.
    pub(super) fn text_of(&mut self, raw: &[u8], mode: Mode) -> Option<String> {
        match self.whole(raw, mode) {
            Value::Known(text) => Some(text),
            Value::Pattern(text) => Some(unescape(&text)),
            Value::Unknown { .. } => None,
        }
    }

    pub(super) fn pieces(&mut self, raw: &[u8], mode: Mode, fields: &mut Fields) {
        if !self.deeper() {
            return fields.unknown("expansions inside expansions, deeper than is looked at");
        }
        self.pieces_inside(raw, mode, fields);
        self.shallower();
    }

    fn pieces_inside(&mut self, raw: &[u8], mode: Mode, fields: &mut Fields) {
        let (mut at, mut groups) = (0, 0);
        if mode == Mode::Word && raw.first() == Some(&b'~') {
            at = self.tilde(raw, fields);
        }
        let unquoted = matches!(mode, Mode::Word | Mode::Operand | Mode::Spliced);
        while let Some(byte) = raw.get(at).copied() {
            match byte {
                b'\\' if unquoted => {
                    let rest = raw.get(at + 1..).unwrap_or_default();
                    match rest.first() {
                        Some(b'\n') => at += 2,
                        Some(_) => {
                            let length = 1 + rest
                                .iter()
                                .skip(1)
                                .take_while(|byte| matches!(byte, 0x80..=0xBF))
                                .count();
                            fields.quoted(&lossy(rest.get(..length).unwrap_or_default()));
                            at += 1 + length;
                        }
                        None => {
                            fields.quoted("\\");
                            at += 1;
                        }
                    }
                }
                b'\\' => {
                    let next = raw.get(at + 1).copied();
                    let escapes = match next {
                        Some(b'$' | b'`' | b'\\') => true,
                        Some(b'"') => matches!(mode, Mode::Quoted | Mode::QuotedOperand),
                        Some(b'}') => mode == Mode::QuotedOperand,
                        _ => false,
                    };
                    if next == Some(b'\n') {
                        at += 2;
                    } else if escapes {
                        fields.quoted(&lossy(raw.get(at + 1..at + 2).unwrap_or_default()));
                        at += 2;
                    } else {
                        fields.quoted("\\");
                        at += 1;
                    }
                }
                b'"' if mode == Mode::QuotedOperand => at += 1,
                b'\'' if unquoted => {
                    let rest = raw.get(at + 1..).unwrap_or_default();
                    let length = super::lexer::find(rest, b'\'').unwrap_or(rest.len());
                    fields.quoted(&lossy(rest.get(..length).unwrap_or_default()));
                    at += length + 2;
                }
                b'"' if unquoted => {
                    let end = extent(raw, at, self.dialect(), false);
                    let inside = raw.get(at + 1..end.saturating_sub(1)).unwrap_or_default();
                    let outer = std::mem::take(&mut fields.vanished);
                    self.pieces(inside, Mode::Quoted, fields);
                    // `"$@"` without parameters is no word.
                    if !std::mem::replace(&mut fields.vanished, outer) {
                        fields.quoted("");
                    }
                    at = end.max(at + 1);
                }
                b'$' | b'`' => {
                    if self.is_spent() {
                        return fields.unknown(TOO_MANY);
                    }
                    fields.bytes = 0;
                    let end = extent(raw, at, self.dialect(), !unquoted).max(at + 1);
                    let piece = raw.get(at..end).unwrap_or_default();
                    at = if piece.len() == 1 && byte == b'$' {
                        self.plain_parameter(raw, at, !unquoted, fields)
                    } else {
                        self.dollar(piece, !unquoted, fields);
                        end
                    };
                    if !self.spend_expanded(fields.bytes) {
                        return fields.unknown(TOO_MANY);
                    }
                }
                b'<' | b'>' | b'=' if unquoted && raw.get(at + 1) == Some(&b'(') => {
                    let starts = byte != b'=' || at == 0 && self.dialect() == Dialect::Zsh;
                    let end = if starts {
                        process_extent(raw, at, self.dialect())
                    } else {
                        None
                    };
                    match end {
                        Some(_) if self.is_spent() => return fields.unknown(TOO_MANY),
                        Some(end) => {
                            let inside = raw.get(at + 2..end - 1).unwrap_or_default();
                            self.process(byte, inside, fields);
                            at = end;
                        }
                        None => {
                            fields.literal(&lossy(&[byte]));
                            at += 1;
                        }
                    }
                }
                _ => {
                    let rest = raw.get(at..).unwrap_or_default();
                    let length = rest
                        .iter()
                        .skip(1)
                        .position(|byte| match byte {
                            b'\\' | b'$' | b'`' => true,
                            b'"' => unquoted || mode == Mode::QuotedOperand,
                            b'\'' | b'<' | b'>' | b'=' => unquoted,
                            b'(' => unquoted,
                            b':' => mode == Mode::Word,
                            _ => false,
                        })
                        .map_or(rest.len(), |length| length + 1);
                    let text = lossy(rest.get(..length).unwrap_or_default());
                    match mode {
                        Mode::Word => {
                            if rest.first() == Some(&b'(') {
                                fields.current.glob = true;
                                if self.dialect() == Dialect::Zsh {
                                    groups += 1;
                                    if groups > MAX_GROUPS {
                                        // Any of them may hold code.
                                        self.unknown(TOO_MANY);
                                        return fields.unknown(TOO_MANY);
                                    }
                                    self.glob_qualifiers(rest);
                                    if let Some(kind) = zsh::qualifiers(raw, at) {
                                        if kind == Qualifiers::Changing {
                                            fields.unknown(super::value::VARIABLE);
                                        }
                                        return;
                                    }
                                }
                            }
                            fields.literal(&text);
                        }
                        Mode::Operand => fields.literal(&text),
                        Mode::Spliced => fields.expanded(&text),
                        Mode::Quoted | Mode::QuotedOperand | Mode::Text => fields.quoted(&text),
                    }
                    at += length;
                }
            }
        }
    }

    /// `$name` and `$1`, or a dollar that means nothing: where it ends.
    fn plain_parameter(
        &mut self,
        raw: &[u8],
        at: usize,
        quoted: bool,
        fields: &mut Fields,
    ) -> usize {
        let rest = raw.get(at + 1..).unwrap_or_default();
        // A line may go on inside the name.
        let mut name: Vec<u8> = Vec::new();
        let mut length = 0;
        while let Some(byte) = rest.get(length).copied() {
            if byte == b'\\' && rest.get(length + 1) == Some(&b'\n') {
                length += 2;
                continue;
            }
            let goes_on = match name.first() {
                None => byte.is_ascii_alphanumeric() || b"_@*#?-$!".contains(&byte),
                Some(first) => {
                    (first.is_ascii_alphabetic() || *first == b'_')
                        && (byte.is_ascii_alphanumeric() || byte == b'_')
                }
            };
            if !goes_on {
                break;
            }
            name.push(byte);
            length += 1;
        }
        if self.dialect() == Dialect::Zsh
            && let Some(end) = self.zsh_parameter(&name, rest, length, quoted, fields)
        {
            return at + 1 + end;
        }
        if name.is_empty() {
            if quoted {
                fields.quoted("$");
            } else {
                fields.literal("$");
            }
            return at + 1;
        }
        self.parameter(&name, quoted, fields);
        at + 1 + length
    }

    fn dollar(&mut self, piece: &[u8], quoted: bool, fields: &mut Fields) {
        match piece {
            [b'`', inside @ .., b'`'] => {
                let text = unescape_backquoted(inside, quoted);
                self.substituted(&text, quoted, fields);
            }
            [b'$', b'(', b'(', inside @ .., b')', b')'] if is_arithmetic(piece, self.dialect()) => {
                self.calculated(inside, fields);
            }
            [b'$', b'(', inside @ .., b')'] => self.substituted(inside, quoted, fields),
            [b'$', b'[', inside @ .., b']'] => self.calculated(inside, fields),
            [b'$', b'{', inside @ .., b'}'] => self.parameter(inside, quoted, fields),
            [b'$', b'\'', inside @ .., b'\''] => fields.quoted(&ansi_quoted(inside)),
            [b'$', b'"', inside @ .., b'"'] => {
                fields.quoted("");
                self.pieces(inside, Mode::Quoted, fields);
            }
            other => fields.literal(&lossy(other)),
        }
    }

    fn calculated(&mut self, inside: &[u8], fields: &mut Fields) {
        match self.arithmetic(inside) {
            Some(number) => fields.expanded(&number.to_string()),
            None => fields.unknown(super::value::PLAIN),
        }
    }

    fn substituted(&mut self, text: &[u8], quoted: bool, fields: &mut Fields) {
        match self.substitute(text) {
            Out::Known(text) => {
                let text = text.trim_end_matches('\n');
                if quoted {
                    fields.quoted(text);
                } else {
                    fields.printed(text);
                }
            }
            Out::Unknown(reason) => fields.unknown(reason),
        }
    }

    fn process(&mut self, kind: u8, inside: &[u8], fields: &mut Fields) {
        if kind == b'>' {
            // What comes in is what the command around it writes.
            self.substitute_reading(inside);
            fields.quoted("/dev/fd/63");
            return;
        }
        let out = self.substitute(inside);
        let path = self.process_file(out, kind == b'=');
        fields.quoted(&path);
    }

    fn tilde(&mut self, raw: &[u8], fields: &mut Fields) -> usize {
        let end = raw
            .iter()
            .position(|byte| matches!(byte, b'/' | b':'))
            .unwrap_or(raw.len());
        let knows_folders = !self.dialect().is_small();
        match raw.get(1..end) {
            Some(b"") => match self.variable_text("HOME") {
                Some(home) => {
                    fields.quoted(&home);
                    end
                }
                None => {
                    fields.unknown(super::value::VARIABLE);
                    end
                }
            },
            Some(b"root") => {
                fields.quoted("/root");
                end
            }
            // The working directory, and those that it was before.
            Some(b"+") if knows_folders && self.state.variable("PWD").is_none() => {
                match self.state.directory() {
                    Directory::Known(path) => {
                        let path = path.clone();
                        fields.quoted(&path);
                    }
                    _ => fields.unknown(super::value::VARIABLE),
                }
                end
            }
            Some(name)
                if knows_folders
                    && (matches!(name, b"+" | b"-")
                        || name.last().is_some_and(u8::is_ascii_digit)
                            && name.iter().all(|byte| b"+-0123456789".contains(byte))) =>
            {
                fields.unknown(super::value::VARIABLE);
                end
            }
            // Where another user is at home, or a folder of that name is, is not known.
            Some(name) if is_user_name(name) => {
                fields.unknown(super::value::VARIABLE);
                end
            }
            _ => 0,
        }
    }
}

/// Whether a user or a folder may be called so behind a tilde.
fn is_user_name(name: &[u8]) -> bool {
    let starts = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    name.first().is_some_and(starts)
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte))
}

pub(super) fn lossy(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn one_of(values: Vec<Value>) -> Value {
    let mut values = values.into_iter();
    match (values.next(), values.next()) {
        (None, _) => Value::Known(String::new()),
        (Some(value), None) => value,
        (Some(first), Some(second)) => {
            // Without splitting this comes from `$@` alone.
            let mut all = vec![first, second];
            all.extend(values);
            match all.iter().map(Value::known).collect::<Option<Vec<_>>>() {
                Some(texts) => Value::Known(texts.join(" ")),
                None => Value::unknown(super::value::VARIABLE),
            }
        }
    }
}

/// Where the quote, parameter or substitution at `at` ends; `at + 1` for a lone `$` or `$name`.
fn extent(raw: &[u8], at: usize, dialect: Dialect, quoted: bool) -> usize {
    let mut parser = Parser::new(raw, dialect);
    parser.at = at;
    let result = if raw.get(at) == Some(&b'"') {
        parser.at += 1;
        parser.double_quoted()
    } else {
        parser.dollar(quoted)
    };
    match result {
        Ok(()) => parser.at.min(raw.len()),
        Err(_) => raw.len(),
    }
}

/// Where `<(…)` at `at` ends.
fn process_extent(raw: &[u8], at: usize, dialect: Dialect) -> Option<usize> {
    let mut parser = Parser::new(raw, dialect);
    parser.at = at + 2;
    parser.substitution().ok()?;
    Some(parser.at)
}

/// Whether `$((…))` is a calculation and no substitution that begins with a subshell.
fn is_arithmetic(piece: &[u8], dialect: Dialect) -> bool {
    let mut parser = Parser::new(piece, dialect);
    parser.at = 1;
    matches!(parser.arithmetic(), Ok(true)) && parser.at == piece.len()
}
