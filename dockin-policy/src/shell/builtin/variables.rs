//! Builtins that set variables.

use crate::shell::{
    Dialect,
    expand::Mode,
    run::{Input, Runner},
    session::{Positional, Variable},
    value::{OUTPUT, Value},
};

impl Runner<'_> {
    pub(super) fn declare(&mut self, program: &str, arguments: &[Value]) {
        let options: String = arguments
            .iter()
            .filter_map(Value::known)
            .filter(|text| text.starts_with('-') && !text.starts_with("--"))
            .collect();
        let (reference, integer) = (
            options.contains('n') && program != "export",
            options.contains('i'),
        );
        let (array, map) = (options.contains('a'), options.contains('A'));
        let changes: &[char] = if self.dialect() == Dialect::Zsh {
            &['l', 'u', 'L', 'R', 'Z']
        } else {
            &['l', 'u', 'c']
        };
        if program != "export" && options.contains(changes) {
            // What is assigned becomes something else.
            for argument in arguments.iter().filter_map(Value::known) {
                let name = argument.split(['=', '+', '[']).next().unwrap_or_default();
                if crate::shell::lexer::is_name(name.as_bytes()) {
                    self.state.doubt_constant(name);
                }
            }
        }
        let is_local = matches!(
            program,
            "local" | "declare" | "typeset" | "float" | "integer"
        );
        if is_local && !options.contains('g') && !self.calls.is_empty() {
            for argument in arguments {
                let text = match argument {
                    Value::Known(text) | Value::Pattern(text) => text,
                    Value::Unknown { prefix, .. } => prefix,
                };
                let name = text.split(['=', '+', '[']).next().unwrap_or_default();
                let is_new = !self.locals.iter().any(|(local, _)| local == name);
                if crate::shell::lexer::is_name(name.as_bytes())
                    && is_new
                    && self.locals.len() < 256
                {
                    let old = self.state.variable(name).cloned();
                    self.locals.push((name.to_owned(), old));
                }
            }
        }
        let exports =
            (program == "export" || options.contains('x')).then(|| !options.contains('n'));
        if let Some(on) = exports {
            let is_function = options.contains('f');
            for argument in arguments {
                let text = match argument {
                    Value::Known(text) | Value::Pattern(text) => text,
                    Value::Unknown { prefix, .. } => prefix,
                };
                let name = text.split(['=', '+']).next().unwrap_or_default();
                if is_function {
                    self.state.export(&format!("{name}()"), on);
                } else if text.contains('=') && self.state.is_constant(name) {
                    // It cannot be set; whether it is exported all the same is another thing.
                    self.state.doubt_constant(name);
                    self.state.export(name, on);
                } else if crate::shell::lexer::is_name(name.as_bytes()) {
                    self.state.export(name, on);
                }
            }
        }
        self.declare_each(program, arguments, reference, integer, array, map);
        if program == "readonly" || options.contains('r') {
            for argument in arguments.iter().filter_map(Value::known) {
                let name = argument.split(['=', '+', '[']).next().unwrap_or_default();
                if !name.starts_with('-') {
                    self.state.set_constant(name);
                }
            }
        }
    }

    #[expect(
        clippy::fn_params_excessive_bools,
        reason = "options of one command line"
    )]
    pub(super) fn declare_each(
        &mut self,
        program: &str,
        arguments: &[Value],
        reference: bool,
        integer: bool,
        array: bool,
        map: bool,
    ) {
        for argument in arguments {
            match argument {
                Value::Known(text) if text.starts_with(['-', '+']) => {}
                Value::Known(text) => {
                    let (name, value) = match text.split_once('=') {
                        Some((name, value)) => (name, Some(value.to_owned())),
                        None => (text.as_str(), None),
                    };
                    let (name, value) = match (name.strip_suffix('+'), value) {
                        (Some(name), Some(value)) => {
                            let Some(value) = self.appended(name, value) else {
                                continue;
                            };
                            (name.to_owned(), Some(value))
                        }
                        (_, value) => (name.to_owned(), value),
                    };
                    let value = value.as_deref();
                    if name.contains('[') {
                        match value {
                            Some(value) => {
                                let value = value.to_owned();
                                self.set_named(&name, Some(value));
                            }
                            None => self.indexes(&name),
                        }
                        continue;
                    }
                    match value {
                        Some(value) if reference => {
                            self.state.set(&name, Variable::Reference(value.to_owned()));
                        }
                        Some(value) if value.starts_with('(') && value.ends_with(')') => {
                            if map {
                                self.state.set(&name, Variable::Map(Default::default()));
                            }
                            let raw = format!("{name}={value}");
                            self.assign(raw.as_bytes());
                        }
                        Some(value) if integer || self.is_calculated(&name) => {
                            self.state.set_integer(&name);
                            let value = value.to_owned();
                            let number = self.arithmetic(value.as_bytes());
                            self.assign_number(&name, false, number);
                        }
                        Some(value) => {
                            let value = value.to_owned();
                            self.changes_what_runs(&name, Some(&value));
                            self.state.text(&name, value);
                        }
                        None if integer => self.state.set_integer(&name),
                        None if map => self.state.set(&name, Variable::Map(Default::default())),
                        None if array => self.state.set(&name, Variable::Array(Default::default())),
                        None => {
                            let keeps = self.dialect().is_small();
                            if program == "local" && !keeps {
                                self.state.set(&name, Variable::Unset);
                            }
                        }
                    }
                }
                argument if self.sets_search_path(argument) => {}
                Value::Unknown { prefix, .. } if prefix.contains('=') => {
                    let name = prefix.split('=').next().unwrap_or_default().to_owned();
                    self.changes_what_runs(&name, None);
                    self.state.set(&name, Variable::Unknown);
                }
                Value::Pattern(text) if text.contains('=') => {
                    let name = text.split('=').next().unwrap_or_default().to_owned();
                    self.state.set(&name, Variable::Unknown);
                }
                _ => {
                    let names: Vec<String> = self.state.names().map(str::to_owned).collect();
                    for name in names {
                        self.state.set(&name, Variable::Unknown);
                    }
                }
            }
        }
    }

    pub(super) fn read(&mut self, program: &str, arguments: &[Value]) {
        let told = self.read_options(program, arguments);
        let ReadOptions {
            mut names,
            array,
            raw,
            trims,
            is_partial,
            ..
        } = told;
        let line = match &mut self.stdin {
            // Of another descriptor, or not up to the end of a line.
            _ if is_partial => None,
            Input::Text(text) if program == "read" => {
                if text.is_empty() {
                    // Names that could be read to are empty now.
                    for name in &names {
                        self.set_named(name, Some(String::new()));
                    }
                    self.ends_with(Some(1));
                    return;
                }
                let (line, rest) = match text.split_once('\n') {
                    Some((line, rest)) => (line.to_owned(), rest.to_owned()),
                    None => (std::mem::take(text), String::new()),
                };
                *text = rest;
                Some(line)
            }
            Input::Text(text) => Some(std::mem::take(text)),
            _ => None,
        };
        let Some(line) = line else {
            self.status = None;
            let target = array.or_else(|| names.first().cloned());
            for name in names.iter().chain(&target) {
                self.set_named(name, None);
            }
            if let Input::Text(text) = &mut self.stdin {
                // How much of it is left is not known either.
                text.clear();
                self.stdin = Input::Unknown(OUTPUT);
            }
            if names.is_empty() {
                self.state.set(
                    if program == "read" {
                        "REPLY"
                    } else {
                        "MAPFILE"
                    },
                    Variable::Unknown,
                );
            }
            return;
        };
        if program != "read" {
            let lines = line
                .split_inclusive('\n')
                .map(|line| {
                    if trims {
                        line.trim_end_matches('\n')
                    } else {
                        line
                    }
                    .to_owned()
                })
                .enumerate()
                .collect();
            let name = names.first().map_or("MAPFILE", String::as_str).to_owned();
            self.state.set(&name, Variable::Array(lines));
            return;
        }
        let Some(separators) = self.separators() else {
            for name in names.iter().chain(&array) {
                self.set_named(name, None);
            }
            return;
        };
        let line = if raw {
            line
        } else {
            crate::shell::expand::unescape(&line)
        };
        let blank = |c: char| separators.contains(c) && c.is_ascii_whitespace();
        let line = line.trim_matches(blank);
        if let Some(array) = array {
            let words = line
                .split(|c| separators.contains(c))
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .enumerate()
                .collect();
            self.state.set(&array, Variable::Array(words));
            return;
        }
        if names.is_empty() {
            names.push("REPLY".to_owned());
        }
        let mut rest = line;
        let count = names.len();
        for (index, name) in names.iter().enumerate() {
            let word = if index + 1 == count {
                std::mem::take(&mut rest)
            } else {
                match rest.split_once(|c| separators.contains(c)) {
                    Some((word, behind)) => {
                        rest = behind.trim_start_matches(blank);
                        word
                    }
                    None => std::mem::take(&mut rest),
                }
            };
            // Of a separator at the end it depends on what is in front whether it is read.
            let is_cut = index + 1 == count && word.ends_with(|c| separators.contains(c));
            let word = (!is_cut).then(|| word.to_owned());
            self.set_named(name, word);
        }
        self.ends_with(Some(0));
    }

    /// Reads the options of `read`, `mapfile` and `readarray`, in clusters or not.
    fn read_options(&mut self, program: &str, arguments: &[Value]) -> ReadOptions {
        let mut told = ReadOptions::default();
        let reads = program == "read";
        let zsh = self.dialect() == Dialect::Zsh;
        let mut options = true;
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let Some(text) = word.known() else {
                self.unknown("a variable's name that is not known");
                continue;
            };
            if options && text == "--" {
                options = false;
                continue;
            }
            let Some(letters) = text
                .strip_prefix('-')
                .filter(|it| options && !it.is_empty())
            else {
                // zsh: `read name?prompt`
                let name = if zsh { text.split('?').next() } else { None };
                told.names.push(name.unwrap_or(text).to_owned());
                continue;
            };
            for (at, letter) in letters.char_indices() {
                let takes = if reads {
                    matches!(letter, 'a' | 'd' | 'i' | 'n' | 'N' | 'p' | 't' | 'u')
                        && !(zsh && matches!(letter, 'p' | 'n'))
                } else {
                    matches!(letter, 'd' | 'n' | 'O' | 's' | 'u' | 'C' | 'c')
                };
                told.raw |= letter == 'r';
                told.trims |= !reads && letter == 't';
                told.is_partial |= matches!(letter, 'd' | 'n' | 'N' | 'u' | 'k' | 'q')
                    // It may give up before it has read anything.
                    || reads && letter == 't'
                    || !reads && matches!(letter, 'O' | 's');
                if zsh && matches!(letter, 'A' | 'a') && reads {
                    told.takes_array = true;
                }
                if !takes {
                    continue;
                }
                let glued = letters.get(at + letter.len_utf8()..).unwrap_or_default();
                let value = if glued.is_empty() {
                    words.next().and_then(Value::known).map(str::to_owned)
                } else {
                    Some(glued.to_owned())
                };
                match (letter, value) {
                    ('a', value) => told.array = value,
                    ('C', Some(text)) => {
                        // With an index and a line behind it, once for some of the lines.
                        self.note_made_text();
                        let _out = self.text(&text);
                    }
                    ('C', None) => self.unknown("a callback that is run as a command"),
                    _ => {}
                }
                break;
            }
        }
        if told.takes_array {
            told.array = told.names.pop();
        }
        told
    }

    pub(super) fn unset(&mut self, arguments: &[Value]) {
        let has = |option: &str| arguments.iter().any(|it| it.known() == Some(option));
        let (of_functions, of_variables) = (has("-f"), has("-v"));
        let known = arguments.iter().filter_map(Value::known);
        for argument in known.filter(|it| it.contains('[') || !it.starts_with('-')) {
            let argument = argument.to_owned();
            if argument.contains('[') {
                let name = argument.split('[').next().unwrap_or_default().to_owned();
                if self.is_table(&name) {
                    self.unknown("a table of the shell that decides what names stand for");
                }
                // Of what is not there no element is sought.
                let there = !matches!(self.state.variable(&name), None | Some(Variable::Unset));
                if there {
                    self.indexes(&argument);
                    self.state.set(&name, Variable::Unknown);
                } else {
                    self.dead(|runner| runner.indexes(&argument));
                }
            } else if of_functions {
                self.state.set_function(&argument, None);
            } else {
                self.state.set(&argument, Variable::Unset);
                if self.dialect() == Dialect::Bash && !of_variables {
                    // If there is no variable of that name, which may be inherited.
                    self.doubting(|runner| runner.state.set_function(&argument, None));
                }
            }
        }
    }

    pub(super) fn set(&mut self, arguments: &[Value]) {
        let mut rest = arguments;
        let mut sets = false;
        while let Some((first, behind)) = rest.split_first() {
            match first.known() {
                Some("--" | "-") => {
                    sets = true;
                    rest = behind;
                    break;
                }
                Some("-o" | "+o") => {
                    match (first.known(), behind.first().and_then(Value::known)) {
                        (Some("-o"), Some("xtrace")) => self.traced(),
                        (Some("-o"), Some("history" | "histexpand")) => self.note_made_text(),
                        (Some("-o"), Some("keyword")) => {
                            self.unknown("an option that makes arguments assignments");
                        }
                        (sign, Some(option)) if self.dialect() == Dialect::Zsh => {
                            let option = option.to_owned();
                            self.zsh_options(&[&option], sign == Some("-o"));
                        }
                        (sign, Some("allexport")) => self.state.export_all(sign == Some("-o")),
                        _ => {}
                    }
                    rest = behind.get(1..).unwrap_or_default();
                }
                Some(option) if option.starts_with(['-', '+']) => {
                    if option.starts_with('-') && option.contains('x') {
                        self.traced();
                    }
                    if option.starts_with('-') && option.contains('H') {
                        // Older lines become part of later ones.
                        self.note_made_text();
                    }
                    if option.contains('o') && self.dialect() != Dialect::Zsh {
                        let named = behind.first().and_then(Value::known);
                        match (option.starts_with('-'), named) {
                            (true, Some("xtrace")) => self.traced(),
                            (true, Some("history" | "histexpand")) => self.note_made_text(),
                            (on, Some("allexport")) => self.state.export_all(on),
                            _ => {}
                        }
                    }
                    if self.dialect() == Dialect::Zsh && option.contains('y') {
                        self.state.set_splitting(option.starts_with('-'));
                    }
                    if option.starts_with('-') && option.contains('k') {
                        self.unknown("an option that makes arguments assignments");
                    }
                    if option.contains('a') {
                        self.state.export_all(option.starts_with('-'));
                    }
                    if option.contains('A') {
                        // An array of zsh, perhaps one of its tables.
                        self.note_made_text();
                    }
                    let named = option.contains('o') && self.dialect() != Dialect::Zsh;
                    rest = behind.get(usize::from(named)..).unwrap_or_default();
                }
                _ => {
                    sets = true;
                    break;
                }
            }
        }
        if sets {
            let words = rest.iter().map(|it| it.known().map(str::to_owned));
            let words = words.collect::<Option<Vec<_>>>();
            self.state
                .set_positional(words.map_or(Positional::Unknown, Positional::Known));
        }
    }

    pub(super) fn traced(&mut self) {
        if let Some(Variable::Text(text)) = self.state.variable("PS4") {
            let text = text.clone();
            let _text = self.text_of(text.as_bytes(), Mode::Text);
        }
    }
}

/// What `read` or `mapfile` is told.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "options of one command line")]
struct ReadOptions {
    names: Vec<String>,
    array: Option<String>,
    /// Backslashes are letters.
    raw: bool,
    /// Lines lose their ends.
    trims: bool,
    /// It does not read a line of standard input.
    is_partial: bool,
    /// zsh: the name is that of an array.
    takes_array: bool,
}
