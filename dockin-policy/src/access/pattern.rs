//! Patterns of objects and actions, in the two readings of [`Mode`].

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};

use super::{
    Mode,
    names::{Names, number},
};

/// The byte that stands for `*` in a compiled pattern: none of UTF-8.
pub(super) const STAR: u8 = 0xff;

/// Compiled size of one regular expression, in bytes; what is larger matches as a broken one.
const REGEX_SIZE: usize = 256 * 1024;

/// A pattern by the fastest way to match it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Everything on one line: `*`.
    Any,
    /// One text.
    Literal,
    /// What starts with the text: `text*`.
    Prefix,
    /// Pieces between stars.
    Glob,
    /// A regular expression, by its number.
    Regex(u32),
    /// It does not compile. Who is asked about it is refused everything.
    Poison,
}

/// A pattern before it has a number.
#[derive(Debug)]
enum Compiled {
    /// Bytes, lower-cased, with [`STAR`]s.
    Glob(Vec<u8>),
    Regex(Regex),
    Poison,
}

/// Every different pattern of a set of rules, numbered.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    /// By the text as it was written, to see it again.
    written: Names,
    /// The kind, and the place of the compiled text in `bytes`.
    compiled: Vec<(Kind, u32, u32)>,
    bytes: Vec<u8>,
    regexes: Vec<Regex>,
}

/// A text that patterns are compared with, lower-cased.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lowered<'a> {
    text: &'a str,
    /// No star covers a line feed, so most patterns match nothing that has one.
    one_line: bool,
}

impl<'a> Lowered<'a> {
    /// Takes what [`lower`] has made.
    pub(super) fn new(text: &'a str) -> Self {
        let one_line = !text.as_bytes().contains(&b'\n');
        Self { text, one_line }
    }

    pub(super) const fn bytes(self) -> &'a [u8] {
        self.text.as_bytes()
    }
}

impl Patterns {
    pub(super) fn intern(&mut self, written: &str, mode: Mode) -> u32 {
        let id = self.written.intern(written.as_bytes());
        if (id as usize) < self.compiled.len() {
            return id;
        }
        let start = number(self.bytes.len());
        let kind = match compile(written, mode) {
            Compiled::Poison => Kind::Poison,
            Compiled::Regex(regex) => {
                self.regexes.push(regex);
                Kind::Regex(number(self.regexes.len() - 1))
            }
            Compiled::Glob(glob) => {
                let kind = match glob.iter().position(|byte| *byte == STAR) {
                    None => Kind::Literal,
                    Some(0) if glob.len() == 1 => Kind::Any,
                    Some(first) if first + 1 == glob.len() => Kind::Prefix,
                    Some(_) => Kind::Glob,
                };
                self.bytes.extend_from_slice(&glob);
                kind
            }
        };
        let length = number(self.bytes.len()) - start;
        self.compiled.push((kind, start, length));
        id
    }

    /// The pattern as it was written.
    pub(super) fn written(&self, id: u32) -> Cow<'_, str> {
        String::from_utf8_lossy(self.written.text(id))
    }

    pub(super) fn kind(&self, id: u32) -> Kind {
        self.compiled
            .get(id as usize)
            .map_or(Kind::Poison, |one| one.0)
    }

    /// Compiled bytes; empty for a regular expression.
    pub(super) fn bytes(&self, id: u32) -> &[u8] {
        let Some((_, start, length)) = self.compiled.get(id as usize) else {
            return &[];
        };
        let (start, length) = (*start as usize, *length as usize);
        self.bytes.get(start..start + length).unwrap_or_default()
    }

    /// Whether it matches. A broken pattern does: what is done about it is the caller's.
    #[inline]
    pub(super) fn matches(&self, id: u32, text: Lowered<'_>) -> bool {
        match self.kind(id) {
            Kind::Poison => true,
            Kind::Any => text.one_line,
            Kind::Literal => self.bytes(id) == text.bytes(),
            Kind::Prefix => {
                let head = self
                    .bytes(id)
                    .split_last()
                    .map_or(&[][..], |(_, head)| head);
                text.one_line && text.bytes().starts_with(head)
            }
            Kind::Glob => text.one_line && glob_matches(self.bytes(id), text.bytes()),
            Kind::Regex(number) => self
                .regexes
                .get(number as usize)
                .is_some_and(|regex| regex.is_match(text.text)),
        }
    }
}

/// Whether `key` is one of those that `pattern` means: `keyMatchCustom` in
/// [`Mode::Compatible`]. A pattern that does not compile matches nothing here.
///
/// This reads the pattern anew each time; [`AccessRules`](super::AccessRules) does not.
#[must_use]
pub fn matches_pattern(key: &str, pattern: &str, mode: Mode) -> bool {
    let mut patterns = Patterns::default();
    let id = patterns.intern(pattern, mode);
    let key = lower(key);
    patterns.kind(id) != Kind::Poison && patterns.matches(id, Lowered::new(&key))
}

/// Lower case, character by character: the length in characters stays.
pub(super) fn lower(text: &str) -> Cow<'_, str> {
    if text
        .bytes()
        .all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
    {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.chars()
            .filter_map(|c| c.to_lowercase().next())
            .collect(),
    )
}

fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let mut pieces = glob.split(|byte| *byte == STAR);
    let head = pieces.next().unwrap_or_default();
    let tail = pieces.next_back().unwrap_or_default();
    let Some(rest) = text.strip_prefix(head) else {
        return false;
    };
    let Some(mut rest) = rest.strip_suffix(tail) else {
        return false;
    };
    // Each piece at its first place, which is always as good as a later one.
    for piece in pieces.filter(|piece| !piece.is_empty()) {
        let found = rest.windows(piece.len()).position(|window| window == piece);
        match found.and_then(|at| rest.get(at + piece.len()..)) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    true
}

fn compile(written: &str, mode: Mode) -> Compiled {
    let lowered = lower(written);
    match mode {
        Mode::Strict => compile_strict(&lowered),
        Mode::Compatible => compile_compatible(&lowered),
    }
}

/// Literal but for `*`, and for a segment `:name`, which is any one segment.
fn compile_strict(pattern: &str) -> Compiled {
    if !pattern.contains("/:") {
        return glob_of(pattern.replace('*', ".*").as_str(), |_| true);
    }
    let mut expression = String::from("^");
    for (index, segment) in pattern.split('/').enumerate() {
        if index > 0 {
            expression.push('/');
        }
        if index > 0 && segment.len() > 1 && segment.starts_with(':') {
            expression.push_str("[^/]+");
        } else {
            let pieces: Vec<String> = segment.split('*').map(regex::escape).collect();
            expression.push_str(&pieces.join(".*"));
        }
    }
    expression.push('$');
    regex_of(&expression)
}

/// `keyMatchCustom` as TKEStack has it: nothing is escaped.
fn compile_compatible(pattern: &str) -> Compiled {
    let mut expression = pattern.replace('*', ".*");
    // The last colon before something else than a slash, again and again, while there is a
    // parameter. Where there is none left to replace, the original never returns.
    while expression.contains("/:") {
        let Some(shorter) = without_last_parameter(&expression) else {
            return Compiled::Poison;
        };
        expression = shorter;
    }
    let plain = |c: char| !r"\.+?()|[]{}^$".contains(c) && c != '\n';
    match glob_of(&expression, plain) {
        Compiled::Poison => regex_of(&format!("^{}$", in_our_dialect(&expression))),
        glob => glob,
    }
}

fn without_last_parameter(expression: &str) -> Option<String> {
    let parameter = |(at, _): &(usize, &str)| {
        expression
            .get(at + 1..)
            .is_some_and(|behind| !behind.is_empty() && !behind.starts_with('/'))
    };
    let (at, _) = expression.rmatch_indices(':').find(parameter)?;
    let (before, behind) = (expression.get(..at)?, expression.get(at + 1..)?);
    let rest = behind.find('/').and_then(|slash| behind.get(slash..));
    Some(format!("{before}[^/]+{}", rest.unwrap_or_default()))
}

/// The bytes of an expression in which nothing but `.*` is special; `Poison` if there is more.
fn glob_of(expression: &str, plain: impl Fn(char) -> bool) -> Compiled {
    let mut bytes = Vec::with_capacity(expression.len());
    for (index, piece) in expression.split(".*").enumerate() {
        if index > 0 && bytes.last() != Some(&STAR) {
            bytes.push(STAR);
        }
        if !piece.chars().all(&plain) {
            return Compiled::Poison;
        }
        bytes.extend_from_slice(piece.as_bytes());
    }
    Compiled::Glob(bytes)
}

fn regex_of(expression: &str) -> Compiled {
    match RegexBuilder::new(expression).size_limit(REGEX_SIZE).build() {
        Ok(regex) => Compiled::Regex(regex),
        Err(_) => Compiled::Poison,
    }
}

/// A Go regular expression as the `regex` crate reads it: Perl classes of ASCII, a brace that
/// repeats nothing, and set operators, which Go does not have.
fn in_our_dialect(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len());
    let mut in_class = false;
    let mut rest = expression;
    while let Some(c) = rest.chars().next() {
        let behind = rest.get(c.len_utf8()..).unwrap_or_default();
        let mut taken = c.len_utf8();
        match (c, in_class) {
            ('\\', _) => {
                let next = behind.chars().next();
                taken += next.map_or(0, char::len_utf8);
                match (next, in_class) {
                    (Some('d'), true) => out.push_str("0-9"),
                    (Some('w'), true) => out.push_str("0-9A-Za-z_"),
                    (Some('s'), true) => out.push_str(r"\t\n\x0c\r "),
                    (Some(class @ ('d' | 'w' | 'b')), false) => {
                        out.push_str("(?-u:\\");
                        out.push(class);
                        out.push(')');
                    }
                    (Some('s'), false) => out.push_str(r"[\t\n\x0c\r ]"),
                    (Some(next), _) => out.extend(['\\', next]),
                    (None, _) => out.push('\\'),
                }
            }
            ('[', false) => {
                in_class = true;
                out.push('[');
                // A bracket that closes at once is a member.
                for first in ['^', ']'] {
                    if rest
                        .get(taken..)
                        .is_some_and(|text| text.starts_with(first))
                    {
                        out.push_str(if first == ']' { "\\]" } else { "^" });
                        taken += 1;
                    }
                }
            }
            ('[', true) if behind.starts_with(':') => {
                let end = behind.find(":]").map_or(behind.len(), |at| at + 2);
                out.push('[');
                out.push_str(behind.get(..end).unwrap_or_default());
                taken += end;
            }
            ('[' | '&' | '~', true) => out.extend(['\\', c]),
            (']', true) => {
                in_class = false;
                out.push(']');
            }
            ('{', false) if !repeats(behind) => out.push_str(r"\{"),
            _ => out.push(c),
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

/// Whether what follows a brace makes it a repetition: `n}`, `n,}` or `n,m}`.
fn repeats(behind: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    behind.split_once('}').is_some_and(|(inside, _)| {
        let (from, to) = inside.split_once(',').unwrap_or((inside, ""));
        number(from) && (to.is_empty() || number(to))
    })
}

#[cfg(test)]
mod tests {
    use super::{Kind, Patterns, matches_pattern};
    use crate::access::Mode;

    #[test]
    fn what_is_no_regular_expression_needs_none() {
        let mut patterns = Patterns::default();
        for (written, kind) in [
            ("*", Kind::Any),
            ("**", Kind::Any),
            ("getPod", Kind::Literal),
            ("get*", Kind::Prefix),
            ("*Pod*", Kind::Glob),
            ("a.b", Kind::Regex(0)),
            ("/users/:id", Kind::Regex(1)),
            ("pod:(", Kind::Poison),
            ("/:", Kind::Poison),
        ] {
            let id = patterns.intern(written, Mode::Compatible);
            assert_eq!(patterns.kind(id), kind, "{written}");
        }
    }

    #[test]
    fn go_reads_more_braces_and_classes_as_text() {
        for (key, pattern, matches) in [
            ("a{", "a{", true),
            ("a{x}", "a{x}", true),
            ("aa", "a{2}", true),
            ("]", "[]]", true),
            ("&", "[a&&b]", true),
            ("[", "[[]", true),
            ("٣", r"\d", false),
            ("3", r"[\d]", true),
            ("b", "[[:alpha:]]", true),
        ] {
            let found = matches_pattern(key, pattern, Mode::Compatible);
            assert_eq!(found, matches, "{key} {pattern}");
        }
    }

    #[test]
    fn strict_patterns_are_literal_but_for_stars_and_named_segments() {
        for (key, pattern, matches) in [
            ("pod:axb", "pod:a.b", false),
            ("pod:a.b", "pod:a.b", true),
            ("/users/7/clusterany", "/users/:id/cluster:cls-1", false),
            ("/users/7/cluster:cls-1", "/users/:id/cluster:cls-1", true),
            ("/users//x", "/users/:id/x", false),
            ("aXbYc", "a*b*c", true),
            ("ab", "ab*b", false),
        ] {
            let found = matches_pattern(key, pattern, Mode::Strict);
            assert_eq!(found, matches, "{key} {pattern}");
        }
    }
}
