//! `$x`, `${x:-word}` and their like.

use super::{
    Dialect,
    expand::{Fields, Mode, lossy},
    pattern,
    run::Runner,
    session::{Positional, Variable},
    value::VARIABLE,
};

/// What a parameter stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Held {
    /// Not set here; the environment may have it all the same.
    Unset,
    Unknown,
    Text(String),
    /// The word behind an operator, expanded where it stands.
    Word(Vec<u8>),
    /// `$@`, `${a[@]}`: joined when it stands in quotes as `*`.
    List(Vec<String>, bool),
}

impl Held {
    fn map(self, change: impl Fn(&str) -> Option<String>) -> Self {
        match self {
            Self::Text(text) => change(&text).map_or(Self::Unknown, Self::Text),
            Self::List(texts, joined) => texts
                .iter()
                .map(|text| change(text))
                .collect::<Option<Vec<_>>>()
                .map_or(Self::Unknown, |texts| Self::List(texts, joined)),
            other => other,
        }
    }
}

/// A parameter's name and index, and the rest.
struct Head<'a> {
    name: String,
    index: Option<&'a [u8]>,
    rest: &'a [u8],
}

fn head(inside: &[u8]) -> Option<Head<'_>> {
    let first = *inside.first()?;
    let length = if first.is_ascii_alphabetic() || first == b'_' {
        inside
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
            .count()
    } else if first.is_ascii_digit() {
        inside
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    } else if b"@*#?-$!".contains(&first) {
        1
    } else {
        return None;
    };
    let name = lossy(inside.get(..length)?);
    let rest = inside.get(length..)?;
    if rest.first() == Some(&b'[') && (first.is_ascii_alphabetic() || first == b'_') {
        let mut depth = 0_usize;
        for (at, byte) in rest.iter().enumerate() {
            match byte {
                b'[' => depth += 1,
                b']' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(Head {
                    name,
                    index: rest.get(1..at),
                    rest: rest.get(at + 1..)?,
                });
            }
        }
        return None;
    }
    Some(Head {
        name,
        index: None,
        rest,
    })
}

impl Runner<'_> {
    /// What stands between the braces of `${ }`, or behind the dollar of `$x`.
    pub(super) fn parameter(&mut self, inside: &[u8], quoted: bool, fields: &mut Fields) {
        let held = self.held_by(inside, quoted);
        match held {
            Held::Unset => {
                // Between quotes nothing is a word, too.
                if quoted {
                    fields.quoted("");
                }
            }
            Held::Unknown => fields.unknown(VARIABLE),
            Held::Text(text) if quoted => fields.quoted(&text),
            Held::Text(text) => fields.expanded(&text),
            // Braces of a value are expanded there.
            Held::Word(word) if self.dialect() == Dialect::Zsh && word.contains(&b'{') => {
                let _text = self.text_of(&word, Mode::Operand);
                fields.unknown(VARIABLE);
            }
            Held::Word(word) if quoted => {
                fields.quoted("");
                self.pieces(&word, Mode::QuotedOperand, fields);
            }
            Held::Word(word) => self.pieces(&word, Mode::Spliced, fields),
            Held::List(texts, true) if quoted => {
                let separator = self
                    .separators()
                    .and_then(|separators| separators.chars().next())
                    .map_or(String::new(), String::from);
                fields.quoted(&texts.join(&separator));
            }
            Held::List(texts, _) => {
                fields.vanishes(texts.is_empty());
                for (index, text) in texts.iter().enumerate() {
                    if index > 0 {
                        fields.finish();
                    }
                    if quoted {
                        fields.quoted(text);
                    } else {
                        fields.expanded(text);
                    }
                }
            }
        }
    }

    fn held_by(&mut self, inside: &[u8], quoted: bool) -> Held {
        let zsh = self.dialect() == Dialect::Zsh;
        let mut inside = inside;
        let mut splits = false;
        if zsh {
            while let Some(byte @ (b'=' | b'~' | b'^')) = inside.first() {
                splits |= *byte == b'=';
                inside = inside.get(1..).unwrap_or_default();
            }
            if inside.first() == Some(&b'(') {
                return self.zsh_flags(inside, quoted);
            }
            if inside.first() == Some(&b'$') || inside.first() == Some(&b'"') {
                return Held::Unknown;
            }
        }
        // `${#x}` is a length, `${#}` the number of parameters.
        if let [b'#', rest @ ..] = inside
            && !rest.is_empty()
            && let Some(head) = head(rest)
            && head.rest.is_empty()
        {
            return match self.lookup(&head.name, head.index) {
                Held::Text(text) => Held::Text(text.chars().count().to_string()),
                Held::List(texts, _) => Held::Text(texts.len().to_string()),
                Held::Unset => Held::Text("0".to_owned()),
                Held::Unknown | Held::Word(_) => Held::Unknown,
            };
        }
        if let [b'!', rest @ ..] = inside
            && !rest.is_empty()
            && let Some(head) = head(rest)
        {
            return self.indirect(&head, quoted);
        }
        let Some(head) = head(inside) else {
            return Held::Unknown;
        };
        let held = self.lookup(&head.name, head.index);
        let held = match (head.name.as_str(), head.rest) {
            // Absolute paths begin alike.
            ("HOME" | "PWD" | "OLDPWD" | "PATH" | "SHELL", b":0:1")
                if self.state.variable(&head.name).is_none() =>
            {
                Held::Text("/".to_owned())
            }
            ("HOME", rest) if !rest.is_empty() && self.state.variable("HOME").is_none() => {
                let _held = self.operate(held, &head, quoted);
                Held::Unknown
            }
            _ => self.operate(held, &head, quoted),
        };
        match held {
            Held::Text(text) if splits => {
                Held::List(text.split_whitespace().map(str::to_owned).collect(), false)
            }
            held => held,
        }
    }

    fn indirect(&mut self, head: &Head<'_>, quoted: bool) -> Held {
        // `${!prefix*}` and `${!array[@]}` list names.
        if matches!(head.rest, b"*" | b"@") {
            let names = self
                .state
                .names()
                .filter(|name| name.starts_with(&head.name));
            return Held::List(names.map(str::to_owned).collect(), head.rest == b"*");
        }
        if matches!(head.index, Some(b"@" | b"*")) {
            return match self.state.variable(&head.name) {
                Some(Variable::Array(array)) => {
                    Held::List(array.keys().map(usize::to_string).collect(), false)
                }
                Some(Variable::Map(map)) => Held::List(map.keys().cloned().collect(), false),
                _ => Held::Unknown,
            };
        }
        if let Some(Variable::Reference(name)) = self.state.variable(&head.name) {
            return Held::Text(name.clone());
        }
        match self.lookup(&head.name, head.index) {
            Held::Text(name) => {
                let Some(target) =
                    self::head(name.as_bytes()).filter(|target| target.rest.is_empty())
                else {
                    return Held::Unknown;
                };
                let held = self.lookup(&target.name, target.index);
                let head = Head {
                    name: target.name,
                    index: target.index,
                    rest: head.rest,
                };
                self.operate(held, &head, quoted)
            }
            // Without a name it is an error: the command does not run.
            _ => Held::Unknown,
        }
    }

    fn zsh_flags(&mut self, inside: &[u8], quoted: bool) -> Held {
        let Some(end) = inside.iter().position(|byte| *byte == b')') else {
            return Held::Unknown;
        };
        let flags = lossy(inside.get(1..end).unwrap_or_default());
        let held = self.held_by(inside.get(end + 1..).unwrap_or_default(), quoted);
        let mut held = match held {
            Held::Word(word) => self
                .text_of(&word, Mode::Operand)
                .map_or(Held::Unknown, Held::Text),
            held => held,
        };
        let mut flags = flags.chars().peekable();
        while let Some(flag) = flags.next() {
            held = match flag {
                'U' => held.map(|text| Some(text.to_uppercase())),
                'L' => held.map(|text| Some(text.to_lowercase())),
                'Q' => held.map(|text| Some(text.replace(['\'', '"', '\\'], ""))),
                '@' => held,
                'f' => split_by(held, "\n"),
                'z' => split_by(held, " "),
                's' => {
                    let Some(mark) = flags.next() else {
                        return Held::Unknown;
                    };
                    let close = if mark == '(' { ')' } else { mark };
                    let separator: String = flags.by_ref().take_while(|c| *c != close).collect();
                    split_by(held, &separator)
                }
                'j' => {
                    let Some(mark) = flags.next() else {
                        return Held::Unknown;
                    };
                    let close = if mark == '(' { ')' } else { mark };
                    let separator: String = flags.by_ref().take_while(|c| *c != close).collect();
                    match held {
                        Held::List(texts, _) => Held::Text(texts.join(&separator)),
                        held => held,
                    }
                }
                'P' => match held {
                    Held::Text(name) => self.lookup(&name, None),
                    _ => Held::Unknown,
                },
                'e' => match held {
                    Held::Text(text) => self
                        .text_of(text.as_bytes(), Mode::Text)
                        .map_or(Held::Unknown, Held::Text),
                    _ => Held::Unknown,
                },
                _ => return Held::Unknown,
            };
        }
        held
    }

    /// What a name, perhaps with an index, holds.
    pub(super) fn lookup(&mut self, name: &str, index: Option<&[u8]>) -> Held {
        if let Some(held) = self.special(name) {
            return held;
        }
        let mut name = name.to_owned();
        for _ in 0..4 {
            match self.state.variable(&name) {
                Some(Variable::Reference(target)) => name = target.clone(),
                _ => break,
            }
        }
        if let Some(target) = head(name.as_bytes())
            && target.index.is_some()
            && target.rest.is_empty()
        {
            let index = target.index.map(<[u8]>::to_vec);
            return self.element(&target.name, index.as_deref());
        }
        self.element(&name, index)
    }

    fn element(&mut self, name: &str, index: Option<&[u8]>) -> Held {
        let zsh = self.dialect() == Dialect::Zsh;
        let variable = match self.state.variable(name).cloned() {
            Some(Variable::Unset) => return self.index_only(index, Held::Unset),
            Some(Variable::Unknown | Variable::Reference(_)) => {
                return self.index_only(index, Held::Unknown);
            }
            None if self.state.overflowed() => return self.index_only(index, Held::Unknown),
            None => {
                let held = self.preset(name);
                self.absent |= held == Held::Unset;
                return self.index_only(index, held);
            }
            Some(variable) => variable,
        };
        match (variable, index) {
            (Variable::Text(text), None) => Held::Text(text),
            (Variable::Text(text), Some(b"@" | b"*")) => Held::List(vec![text], false),
            (Variable::Text(text), Some(index)) => match self.arithmetic(index) {
                Some(0) if !zsh => Held::Text(text),
                Some(-1) if !zsh => Held::Text(text),
                Some(_) if !zsh => Held::Unset,
                _ => Held::Unknown,
            },
            (Variable::Array(array), None) if zsh => {
                Held::List(array.into_values().collect(), false)
            }
            (Variable::Array(array), None) => {
                array.get(&0).cloned().map_or(Held::Unset, Held::Text)
            }
            (Variable::Array(array), Some(mark @ (b"@" | b"*"))) => {
                Held::List(array.into_values().collect(), mark == b"*")
            }
            (Variable::Array(array), Some(index)) => match self.arithmetic(index) {
                Some(at) => {
                    let last = array.keys().next_back().map_or(0, |last| last + 1);
                    let at = if at < 0 {
                        i64::try_from(last).unwrap_or_default() + at
                    } else {
                        at - i64::from(zsh)
                    };
                    usize::try_from(at)
                        .ok()
                        .and_then(|at| array.get(&at).cloned())
                        .map_or(Held::Unset, Held::Text)
                }
                None => Held::Unknown,
            },
            (Variable::Map(map), None) if zsh => Held::List(map.into_values().collect(), false),
            (Variable::Map(map), None) => map.get("0").cloned().map_or(Held::Unset, Held::Text),
            (Variable::Map(map), Some(mark @ (b"@" | b"*"))) => {
                Held::List(map.into_values().collect(), mark == b"*")
            }
            (Variable::Map(map), Some(index)) => match self.text_of(index, Mode::Operand) {
                Some(key) => map.get(&key).cloned().map_or(Held::Unset, Held::Text),
                None => Held::Unknown,
            },
            _ => Held::Unknown,
        }
    }

    /// An index runs its commands whatever it is the index of.
    fn index_only(&mut self, index: Option<&[u8]>, held: Held) -> Held {
        // No elements are no word, but in zsh an empty one.
        if let Some(mark @ (b"@" | b"*")) = index
            && held == Held::Unset
            && self.dialect() != Dialect::Zsh
        {
            return Held::List(Vec::new(), mark == b"*");
        }
        if let Some(index) = index
            && !matches!(index, b"@" | b"*")
        {
            let _number = self.arithmetic(index);
        }
        held
    }

    /// What shells have without being told.
    fn preset(&self, name: &str) -> Held {
        match name {
            "IFS" => Held::Text(" \t\n".to_owned()),
            "SHELL" => Held::Text("/bin/bash".to_owned()),
            "HOME" => Held::Text("~".to_owned()),
            name if is_of_the_environment(name) => Held::Unknown,
            "UID" | "EUID" | "RANDOM" | "SECONDS" | "LINENO" | "BASH" | "BASH_VERSION" | "PPID"
            | "HOSTTYPE" | "OSTYPE" | "MACHTYPE" | "COLUMNS" | "LINES" | "HISTFILE"
            | "HISTSIZE" | "PS1" | "PS2" | "PS4" | "BASHPID" | "EPOCHSECONDS" | "EPOCHREALTIME"
            | "GROUPS" | "BASHOPTS" | "SHELLOPTS" | "OPTIND" | "COMP_WORDBREAKS" | "DIRSTACK" => {
                Held::Unknown
            }
            _ => Held::Unset,
        }
    }

    fn special(&self, name: &str) -> Option<Held> {
        let positional = self.state.positional();
        Some(match name {
            "@" | "*" => match positional {
                Positional::Known(words) => Held::List(words.clone(), name == "*"),
                Positional::Unknown => Held::Unknown,
            },
            "#" => match positional {
                Positional::Known(words) => Held::Text(words.len().to_string()),
                Positional::Unknown => Held::Unknown,
            },
            "0" => self.arg0.clone().map_or(Held::Unknown, Held::Text),
            "?" => self
                .status
                .filter(|_| !self.hoped && !self.substituted)
                .map_or(Held::Unknown, |status| Held::Text(status.to_string())),
            "$" | "!" | "-" => Held::Unknown,
            name if name.bytes().all(|byte| byte.is_ascii_digit()) => match positional {
                Positional::Known(words) => name
                    .parse::<usize>()
                    .ok()
                    .and_then(|number| words.get(number.checked_sub(1)?).cloned())
                    .map_or(Held::Unset, Held::Text),
                Positional::Unknown => Held::Unknown,
            },
            _ => return None,
        })
    }

    fn operate(&mut self, held: Held, head: &Head<'_>, quoted: bool) -> Held {
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
            [b'^', b'^', ..] => held.map(|text| Some(text.to_uppercase())),
            [b',', b',', ..] => held.map(|text| Some(text.to_lowercase())),
            [b'^', ..] => held.map(|text| Some(first_letter(text, char::to_ascii_uppercase))),
            [b',', ..] => held.map(|text| Some(first_letter(text, char::to_ascii_lowercase))),
            [b'~', ..] => Held::Unknown,
            [b'@', operator] => self.transform(held, *operator),
            [b':', range @ ..] => self.substring(held, range),
            _ => Held::Unknown,
        }
    }

    fn transform(&mut self, held: Held, operator: u8) -> Held {
        match operator {
            b'P' => match held {
                // A prompt's text is expanded as if it stood in double quotes.
                Held::Text(text) => self
                    .text_of(text.as_bytes(), Mode::Quoted)
                    .map_or(Held::Unknown, Held::Text),
                held => held,
            },
            b'E' => held.map(|text| Some(super::expand::ansi_quoted(text.as_bytes()))),
            b'U' => held.map(|text| Some(text.to_uppercase())),
            b'L' => held.map(|text| Some(text.to_lowercase())),
            b'u' => held.map(|text| Some(first_letter(text, char::to_ascii_uppercase))),
            b'Q' => held.map(|text| Some(format!("'{}'", text.replace('\'', "'\\''")))),
            _ => Held::Unknown,
        }
    }

    fn trim(&mut self, held: Held, word: &[u8], side: Side, longest: bool) -> Held {
        let Some(pattern) = self.pattern(word, Mode::Operand) else {
            return if held == Held::Unset {
                held
            } else {
                Held::Unknown
            };
        };
        held.map(|text| {
            let mut cuts: Vec<usize> = text
                .char_indices()
                .map(|(at, _)| at)
                .chain([text.len()])
                .collect();
            if (side == Side::Front) == longest {
                cuts.reverse();
            }
            if cuts.len() > 4096 {
                return None;
            }
            for cut in cuts {
                let (front, back) = text.split_at(cut);
                let (taken, left) = match side {
                    Side::Front => (front, back),
                    Side::Back => (back, front),
                };
                if pattern::matches(&pattern, taken)? {
                    return Some(left.to_owned());
                }
            }
            Some(text.to_owned())
        })
    }

    fn replace(&mut self, held: Held, word: &[u8]) -> Held {
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
        held.map(|text| replaced(text, &pattern, &with, kind))
    }

    fn substring(&mut self, held: Held, range: &[u8]) -> Held {
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
                let positional =
                    matches!(self.state.positional(), Positional::Known(words) if *words == texts);
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

    /// The separators of words, when they are known.
    pub(super) fn separators(&self) -> Option<String> {
        match self.state.variable("IFS") {
            None | Some(Variable::Unset) => Some(" \t\n".to_owned()),
            Some(Variable::Text(text)) => Some(text.clone()),
            Some(_) => None,
        }
    }

    /// A variable's text, when it is known.
    pub(super) fn variable_text(&mut self, name: &str) -> Option<String> {
        match self.lookup(name, None) {
            Held::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Variables that nearly every environment has, and programs get.
pub(super) fn is_of_the_environment(name: &str) -> bool {
    matches!(
        name,
        "PATH"
            | "PWD"
            | "OLDPWD"
            | "USER"
            | "LOGNAME"
            | "HOSTNAME"
            | "TERM"
            | "LANG"
            | "SHLVL"
            | "EDITOR"
            | "PAGER"
            | "VISUAL"
            | "TMPDIR"
            | "LS_COLORS"
            | "MAIL"
            | "KUBERNETES_SERVICE_HOST"
            | "HOME"
            | "SHELL"
    )
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Side {
    Front,
    Back,
}

const fn unset(held: &Held) -> Option<bool> {
    match held {
        Held::Unset => Some(true),
        Held::Text(_) => Some(false),
        Held::List(texts, _) => Some(texts.is_empty()),
        Held::Unknown | Held::Word(_) => None,
    }
}

fn split_by(held: Held, separator: &str) -> Held {
    match held {
        Held::Text(text) if !separator.is_empty() => Held::List(
            text.split(separator)
                .filter(|piece| !piece.is_empty())
                .map(str::to_owned)
                .collect(),
            false,
        ),
        held => held,
    }
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

/// `text` with what is like `pattern` replaced: once, everywhere, at the front or at the end.
fn replaced(text: &str, pattern: &str, with: &str, kind: u8) -> Option<String> {
    if text.len() > MAX_REPLACED {
        return None;
    }
    let mut result = String::new();
    let mut rest = text;
    loop {
        let longest = |from: &str| -> Option<Option<usize>> {
            let mut cuts: Vec<usize> = from.char_indices().map(|(at, _)| at).skip(1).collect();
            cuts.push(from.len());
            for cut in cuts.into_iter().rev().filter(|cut| *cut > 0) {
                if kind == b'%' && cut != from.len() {
                    continue;
                }
                if pattern::matches(pattern, from.get(..cut)?)? {
                    return Some(Some(cut));
                }
            }
            Some(None)
        };
        match longest(rest)? {
            Some(length) => {
                result.push_str(with);
                rest = rest.get(length..)?;
                if kind != b'/' {
                    result.push_str(rest);
                    return Some(result);
                }
            }
            None => {
                let Some(c) = rest.chars().next() else {
                    return Some(result);
                };
                if kind == b'#' {
                    result.push_str(rest);
                    return Some(result);
                }
                result.push(c);
                rest = rest.get(c.len_utf8()..)?;
            }
        }
        if rest.is_empty() {
            return Some(result);
        }
    }
}
