//! `$x`, `${x:-word}` and their like.

mod operator;

use super::{
    Dialect,
    expand::{Fields, Mode, lossy},
    run::Runner,
    session::{Positional, Variable},
    value::{FOLDERS, PLAIN, VARIABLE},
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
            Held::Unknown if self.is_number(inside) => fields.unknown(PLAIN),
            Held::Unknown if inside == b"PATH" => self.search_path(fields),
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
                if *byte == b'~' {
                    // It is a pattern, which may have code in it.
                    self.note_made_text();
                }
                inside = inside.get(1..).unwrap_or_default();
            }
            if inside.first() == Some(&b'(') {
                return self.zsh_flags(inside, quoted);
            }
            if inside.first() == Some(&b'$') || inside.first() == Some(&b'"') {
                // An expansion inside runs, whatever becomes of it.
                let _text = self.text_of(inside, Mode::Operand);
                return Held::Unknown;
            }
            // Without a name there is only the word: `${:-word}`.
            if let [b':', b'-' | b'=', word @ ..] | [b'-', word @ ..] = inside {
                return Held::Word(word.to_vec());
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
            // There is always something, which is not empty.
            ("PATH", [b':', b'+', word @ ..] | [b'+', word @ ..])
                if self.has_search_path_of_environment() =>
            {
                Held::Word(word.to_vec())
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
        if flags.contains(['P', 'e', '%', '~']) {
            self.note_made_text();
        }
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
                'e' | '%' => match held {
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
            Some(Variable::Unknown | Variable::Reference(_) | Variable::Around(..)) => {
                return self.index_only(index, Held::Unknown);
            }
            None if self.state.overflowed() => return self.index_only(index, Held::Unknown),
            None => {
                let mut held = self.preset(name);
                if held == Held::Unset {
                    self.absent = true;
                    self.asked_environment = true;
                    if self.inherits {
                        held = Held::Unknown;
                    }
                }
                return self.index_only(index, held);
            }
            Some(variable) => variable,
        };
        self.asked_environment |= self.state.is_inherited(name);
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

    /// Whether the parameter holds a number, whatever it is.
    fn is_number(&self, inside: &[u8]) -> bool {
        match inside {
            b"$" | b"?" | b"#" | b"!" => true,
            b"RANDOM" | b"SRANDOM" | b"SECONDS" | b"EPOCHSECONDS" | b"EPOCHREALTIME"
            | b"LINENO" | b"PPID" | b"BASHPID" | b"UID" | b"EUID" => {
                self.state.variable(&lossy(inside)).is_none()
            }
            _ => false,
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

    /// Whether `PATH` has what the environment has.
    fn has_search_path_of_environment(&self) -> bool {
        match self.state.variable("PATH") {
            None => !self.state.overflowed(),
            Some(variable) => matches!(variable, Variable::Around(..)),
        }
    }

    /// `$PATH` that is not known: at its ends it may be.
    fn search_path(&self, fields: &mut Fields) {
        match self.state.variable("PATH") {
            Some(Variable::Around(before, behind)) => {
                fields.quoted(before);
                fields.unknown(FOLDERS);
                fields.quoted(behind);
            }
            None if !self.state.overflowed() => fields.unknown(FOLDERS),
            _ => fields.unknown(VARIABLE),
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
