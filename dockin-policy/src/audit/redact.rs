//! Masks secrets in text and argument lists before anything is written down.

mod name;
mod program;

use name::{is_secret_name, known_tokens};
use program::{Kind, LOGIN, Program, program};

use crate::words::{Words, finder};

/// Masks secrets in an argument list.
///
/// Masked are values of options and variables whose names speak of secrets,
/// credentials in `Authorization` headers and URLs, and the glued or following
/// value of `-p` and `-u` for programs that take a secret there. A value that
/// follows in the next argument is masked too. An argument that is a command
/// line or a statement itself, as those of `sh -c` and `psql -c` are, is read as one.
#[must_use]
pub fn redact_argv<S: AsRef<str>>(argv: &[S]) -> Vec<String> {
    let mut masker = Masker::default();
    argv.iter()
        .map(|word| {
            let word = word.as_ref();
            masker.argument(word).unwrap_or_else(|| word.to_owned())
        })
        .collect()
}

/// The same, in place.
pub(crate) fn redact_words(argv: &mut [String]) {
    let mut masker = Masker::default();
    let words = argv.iter().enumerate();
    let masked = words.filter_map(|(at, word)| Some((at, masker.argument(word)?)));
    let masked: Vec<(usize, String)> = masked.collect();
    for (at, masked) in masked {
        if let Some(word) = argv.get_mut(at) {
            *word = masked;
        }
    }
}

/// Masks secrets in a command line or any other text.
///
/// Works on blank-separated words, so that the rest of the text, broken
/// quoting included, stays as it was. Linear in the length of `text`.
///
/// ```
/// # use dockin_policy::audit::redact_text;
/// assert_eq!(redact_text("curl -u ann:s3cret https://x"), "curl -u [redacted] https://x");
/// assert_eq!(redact_text("PASSWORD='a b' ./run --token=abc"), "PASSWORD=[redacted] ./run --token=[redacted]");
/// ```
#[must_use]
pub fn redact_text(text: &str) -> String {
    masked_text(text).unwrap_or_else(|| text.to_owned())
}

/// `text` with its secrets masked, when it has any: most have none.
pub(crate) fn masked_text(text: &str) -> Option<String> {
    Masker {
        text,
        ..Masker::default()
    }
    .all_words()
}

/// What the words before say about the next one.
#[derive(Debug, Default)]
struct Masker<'a> {
    /// The program, when its name has come.
    program: Option<&'static Program>,
    next: Next,
    /// All of the words.
    text: &'a str,
    /// Whether one of [`FED`] stands among them, once somebody asked.
    is_fed: Option<bool>,
    /// Words behind the program's name that are no options.
    operands: usize,
    /// The operand from which on all are secrets.
    secret_operands: Option<usize>,
    /// The word before, without its quotes.
    before: &'a str,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Next {
    #[default]
    Plain,
    Secret,
    /// Behind `Authorization:`: the scheme, then the secret.
    Scheme,
    /// Behind `PASSWORD` in SQL: the next word in quotes.
    Quoted,
    /// Inside a private key: all that comes.
    Rest,
}

impl<'a> Masker<'a> {
    /// The text with its secrets masked, when it has any.
    fn all_words(mut self) -> Option<String> {
        let text = self.text;
        let mut output = String::new();
        // What of `text` is in the output.
        let mut copied = 0;
        let mut at = 0;
        while at < text.len() {
            let rest = text.get(at..)?;
            let blank = rest
                .find(|character: char| !is_separator(character))
                .unwrap_or(rest.len());
            let (separators, behind) = rest.split_at(blank);
            if separators
                .bytes()
                .any(|byte| matches!(byte, b';' | b'|' | b'&' | b'\n' | b'(' | b')'))
            {
                self.next_command();
            }
            at += blank;
            let (word, _) = behind.split_at(word_length(behind, self.is_secret_next()));
            if let Some(masked) = self.word(word) {
                output.push_str(text.get(copied..at)?);
                output.push_str(&masked);
                copied = at + word.len();
            }
            at += word.len();
        }
        if copied == 0 {
            return None;
        }
        output.push_str(text.get(copied..)?);
        Some(output)
    }

    /// Another command begins.
    fn next_command(&mut self) {
        let next = match self.next {
            Next::Rest => Next::Rest,
            _ => Next::Plain,
        };
        *self = Self {
            text: self.text,
            is_fed: self.is_fed,
            next,
            ..Self::default()
        };
    }

    fn kind(&self) -> Kind {
        self.program.map_or(Kind::Other, |program| program.kind)
    }

    /// Whether all of the next word is a secret, blanks in its quotes included.
    fn is_secret_next(&self) -> bool {
        let is_operand = self.secret_operands.is_some_and(|it| self.operands >= it);
        self.next == Next::Secret || is_operand
    }

    /// An argument without its secrets, when it has any.
    fn argument(&mut self, word: &'a str) -> Option<String> {
        let masked = self.word(word);
        let rest = masked.as_deref().unwrap_or(word);
        if !rest.contains(char::is_whitespace) {
            return masked;
        }
        let text = Masker {
            text: rest,
            // A statement, or more of what is printed.
            program: self.program.filter(|it| it.kind == Kind::Sql),
            ..Masker::default()
        };
        text.all_words().or(masked)
    }

    /// `word` without its secret, when it has one.
    fn word(&mut self, word: &'a str) -> Option<String> {
        let bare = word.trim_matches(['"', '\'']);
        let masked = self.without_secret(word, bare);
        self.before = if masked.is_some() { MASK } else { bare };
        masked
    }

    fn without_secret(&mut self, word: &'a str, bare: &'a str) -> Option<String> {
        if !self.text.is_empty() && word.starts_with(['<', '>']) {
            return self.redirection(word);
        }
        match self.next {
            Next::Secret if !word.is_empty() => {
                self.next = Next::Plain;
                return Some(keep_quotes(word));
            }
            Next::Quoted if word.starts_with(['\'', '"']) && bare.len() < word.len() => {
                self.next = Next::Plain;
                return Some(keep_quotes(word));
            }
            Next::Rest if !word.is_empty() => return Some(MASK.to_owned()),
            Next::Scheme if !word.is_empty() => {
                let is_scheme = SCHEMES
                    .iter()
                    .any(|scheme| bare.eq_ignore_ascii_case(scheme));
                self.next = if is_scheme { Next::Secret } else { Next::Plain };
                return (!is_scheme).then(|| keep_quotes(word));
            }
            _ => {}
        }
        if let Some(masked) = self.option(word, bare) {
            return Some(masked);
        }
        if matches!(bare, "=" | ":" | ":=" | "=>") && is_secret_name(self.before) {
            self.next = Next::Secret;
            return None;
        }
        if self.before == "PRIVATE" && bare.starts_with("KEY-----") {
            self.next = Next::Rest;
            return None;
        }
        if self.program.is_none() {
            if !bare.contains('=') && !WRAPPERS.contains(&bare) && !bare.starts_with('-') {
                let known = program(bare);
                self.program = Some(known);
                let from_first = known.behind.iter().find(|(word, _)| word.is_empty());
                self.secret_operands = from_first.map(|(_, number)| *number);
            }
        } else if !bare.starts_with('-')
            && let Some(masked) = self.operand(word, bare)
        {
            return Some(masked);
        }
        let has_value = word.bytes().any(|byte| matches!(byte, b'=' | b':'));
        if has_value && let Some(masked) = assignment(word) {
            return Some(masked);
        }
        if let Some(masked) = self.header(word, bare) {
            return Some(masked);
        }
        if has_value && let Some(masked) = user_info(word) {
            return Some(masked);
        }
        let masked = if has_value { self.pairs(word) } else { None };
        known_tokens(masked.as_deref().unwrap_or(word)).or(masked)
    }

    /// What is printed into one of these is the password that it asks for.
    fn is_fed(&mut self) -> bool {
        let text = self.text;
        *self.is_fed.get_or_insert_with(|| FED.any_in(text))
    }

    /// A redirection: what a here-string feeds to who asks for a password is one.
    fn redirection(&mut self, word: &str) -> Option<String> {
        let is_secret = self.next == Next::Secret;
        self.next = Next::Plain;
        let fed = word.strip_prefix("<<<")?;
        if !is_secret && !self.is_fed() {
            return None;
        }
        if fed.is_empty() {
            self.next = Next::Secret;
            return None;
        }
        Some(format!("<<<{}", keep_quotes(fed)))
    }

    /// A word that is no option.
    fn operand(&mut self, word: &str, bare: &str) -> Option<String> {
        if word.is_empty() || bare.is_empty() {
            return None;
        }
        let number = self.operands;
        self.operands += 1;
        if self.secret_operands.is_some_and(|first| number >= first) {
            return Some(keep_quotes(word));
        }
        let behind = self.program.map_or([].as_slice(), |it| it.behind);
        let begins = behind.iter().find(|it| it.0.eq_ignore_ascii_case(bare));
        if let Some((_, further)) = begins {
            self.secret_operands = Some(number + further);
        }
        match self.kind() {
            Kind::Print => {
                if is_secret_name(bare) {
                    self.next = Next::Secret;
                }
                (!bare.starts_with(['<', '>']) && self.is_fed()).then(|| keep_quotes(word))
            }
            Kind::Login if bare == "login" => {
                self.program = Some(&LOGIN);
                None
            }
            Kind::Slash => {
                let (user, rest) = word.split_once('/')?;
                let host = rest
                    .rfind('@')
                    .and_then(|at| rest.get(at..))
                    .unwrap_or_default();
                Some(format!("{user}/{MASK}{host}"))
            }
            Kind::Store | Kind::Settings => {
                if let Some((name, _)) = word.split_once('=')
                    && self.kind() == Kind::Store
                {
                    return Some(format!("{name}={MASK}{}", closing_quote(word)));
                }
                let name = bare.rsplit(['/', ':', '.']).next().unwrap_or_default();
                if is_secret_name(name) || bare == "login" && self.kind() == Kind::Store {
                    self.next = Next::Secret;
                }
                None
            }
            Kind::Sql => {
                if bare.eq_ignore_ascii_case("password") || bare.eq_ignore_ascii_case("identified")
                {
                    self.next = Next::Quoted;
                }
                None
            }
            _ => None,
        }
    }

    /// Values inside of a word whose names speak of secrets: parameters of a URL, fields of
    /// JSON, parts of a list.
    fn pairs(&mut self, word: &str) -> Option<String> {
        let mut output = String::new();
        let mut is_masked = false;
        let mut rest = word;
        while let Some(at) = rest.find(['=', ':']) {
            let (before, behind) = rest.split_at(at);
            let (separator, value) = behind.split_at(1);
            output.push_str(before);
            output.push_str(separator);
            rest = value;
            let name = before.trim_end_matches(['"', '\'', '\\']);
            let name = name
                .rsplit(|character: char| {
                    !character.is_alphanumeric() && !matches!(character, '_' | '-' | '.')
                })
                .next()
                .unwrap_or_default();
            if !is_secret_name(name) || value.starts_with("//") {
                continue;
            }
            let opening = value.trim_start_matches(['"', '\'', '\\']);
            let (quotes, value) = value.split_at(value.len() - opening.len());
            let end = value.find(['&', ',', ';', '"', '\'', '\\', '}', ')', ' ']);
            let (secret, behind) = value.split_at(end.unwrap_or(value.len()));
            if secret.is_empty() {
                // `"password":` and then the value as a word of its own.
                if behind.is_empty() && separator == ":" {
                    self.next = Next::Secret;
                }
                continue;
            }
            output.push_str(quotes);
            output.push_str(MASK);
            is_masked = true;
            rest = behind;
        }
        output.push_str(rest);
        is_masked.then_some(output)
    }

    fn option(&mut self, word: &str, bare: &str) -> Option<String> {
        if let Some(name) = bare.strip_prefix("--") {
            if let Some(literal) = name.strip_prefix("from-literal=") {
                let literal = literal.split('=').next().unwrap_or_default();
                return Some(format!(
                    "--from-literal={literal}={MASK}{}",
                    closing_quote(word)
                ));
            }
            if name.contains('=') {
                if let Some((option, _)) = self.program.and_then(|it| it.secret_of(bare)) {
                    return Some(format!("{option}{MASK}{}", closing_quote(word)));
                }
                return assignment(word);
            }
            let known = self.program.and_then(|it| it.secret_of(bare));
            if is_secret_name(name) || known.is_some() {
                self.next = Next::Secret;
            }
            return None;
        }
        if !bare.starts_with(['-', '/']) {
            return None;
        }
        let name = bare.trim_start_matches('-');
        if name.len() > 1 && !bare.contains(['=', '/']) && is_secret_name(name) {
            self.next = Next::Secret;
            return None;
        }
        let program = self.program?;
        if program.kind == Kind::Htpasswd && bare.contains('b') {
            // `htpasswd -b FILE USER SECRET`, without the file with `-n`.
            self.secret_operands = Some(2 - usize::from(bare.contains('n')));
        }
        match program.secret_of(bare) {
            Some((_, "")) => self.next = Next::Secret,
            Some((option, _)) => return Some(format!("{option}{MASK}{}", closing_quote(word))),
            None if program.is_cluster(bare) => self.next = Next::Secret,
            None => {}
        }
        None
    }

    fn header(&mut self, word: &str, bare: &str) -> Option<String> {
        if bare.eq_ignore_ascii_case("bearer") {
            self.next = Next::Secret;
            return None;
        }
        let (name, value) = bare.split_once(':')?;
        let name = name.to_ascii_lowercase();
        if !HEADERS.iter().any(|header| name.ends_with(header)) {
            return None;
        }
        if value.trim().is_empty() {
            self.next = if name.ends_with("authorization") {
                Next::Scheme
            } else {
                Next::Secret
            };
            return None;
        }
        let colon = word.find(':')?;
        let head = word.get(..=colon)?;
        Some(format!("{head}{MASK}{}", closing_quote(word)))
    }
}

/// `NAME=value`, with or without dashes, when the name speaks of secrets.
fn assignment(word: &str) -> Option<String> {
    let (name, value) = word.split_once('=')?;
    let bare = name.trim_matches(['"', '\'', '-']);
    // `-e PASSWORD=x`, `env:TOKEN=x` and the like: only the last part is the name.
    let bare = bare
        .rsplit(|character: char| {
            !character.is_alphanumeric() && !matches!(character, '_' | '-' | '.')
        })
        .next()?;
    if value.is_empty() || !is_secret_name(bare) {
        return None;
    }
    // The opening quote may stand before the name.
    let tail = if word.starts_with(['"', '\'']) {
        closing_quote(word)
    } else {
        ""
    };
    Some(format!("{name}={MASK}{tail}"))
}

/// `scheme://user:secret@host`.
fn user_info(word: &str) -> Option<String> {
    let start = word.find("://")? + 3;
    let (head, rest) = word.split_at(start);
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let at = rest.get(..authority)?.rfind('@')?;
    Some(format!("{head}{MASK}{}", rest.get(at..)?))
}

fn keep_quotes(word: &str) -> String {
    let opening = if word.starts_with('"') {
        "\""
    } else if word.starts_with('\'') {
        "'"
    } else {
        ""
    };
    let closing = if opening.is_empty() || word.len() > 1 {
        closing_quote(word)
    } else {
        ""
    };
    format!("{opening}{MASK}{closing}")
}

fn closing_quote(word: &str) -> &'static str {
    match word.chars().next_back() {
        Some('"') => "\"",
        Some('\'') => "'",
        _ => "",
    }
}

/// Bytes of the next word: up to a separator outside quotes. A quoted part that
/// is an argument of its own is split at blanks, so that headers are seen, unless it is a secret.
fn word_length(text: &str, is_secret: bool) -> usize {
    let mut quote = None;
    let mut value = false;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match (quote, character) {
            (None, '\\') => escaped = true,
            (None, '"' | '\'') => {
                quote = Some(character);
                value = is_secret || at > 0;
            }
            (Some(open), _) if character == open => quote = None,
            (None, _) if is_separator(character) => return at,
            (Some(_), _) if character.is_whitespace() && !value => return at,
            _ => {
                if character == '=' {
                    value = true;
                }
            }
        }
    }
    text.len()
}

fn is_separator(character: char) -> bool {
    character.is_whitespace() || matches!(character, ';' | '|' | '&' | '(' | ')')
}

/// What stands in the place of a secret.
const MASK: &str = "[redacted]";
const SCHEMES: [&str; 6] = ["basic", "bearer", "digest", "negotiate", "token", "apikey"];
const HEADERS: [&str; 7] = [
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "x-auth-token",
    "cookie",
    "-token",
    "-secret",
];
const WRAPPERS: [&str; 12] = [
    "sudo", "env", "exec", "nohup", "time", "nice", "command", "doas", "stdbuf", "setsid",
    "export", "then",
];
/// Programs that read a password from their input.
static FED: Words = Words::new(|| {
    finder(&[
        "chpasswd",
        "--with-token",
        "--auth-token",
        "passwd --stdin",
        "--password-stdin",
        "sudo -S",
        "sudo -kS",
        "cryptsetup",
        "kinit",
    ])
});
#[cfg(test)]
mod tests;
