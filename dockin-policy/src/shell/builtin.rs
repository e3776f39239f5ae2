//! What shells do themselves.

use super::{
    Dialect,
    ast::Word,
    expand::Mode,
    pattern,
    redirect::Streams,
    run::{Certainty, Flow, Input, Resolved, Runner},
    session::{Directory, File, Positional, Variable},
    utility,
    value::{OUTPUT, Out, VARIABLE, Value},
};

/// Builtins that change nothing that is followed and run nothing.
const HARMLESS: &[&str] = &[
    ":", "true", "false", "times", "umask", "wait", "jobs", "fg", "bg", "disown", "suspend",
    "logout", "pwd", "dirs", "help", "type", "ulimit", "kill", "history", "caller", "bind",
    "getopts", "compgen", "complete", "compopt", "enable", "hash", "fc",
];

/// Builtins that end as it is said of them here; the others may fail.
const SURE: &[&str] = &[
    ":", "true", "false", "echo", "printf", "print", "pwd", "test", "[", "let", "eval", ".",
    "source", "command", "builtin", "exec", "return", "break", "continue", "exit",
];

/// Builtins that only zsh has.
const ZSH: &[&str] = &[
    "print",
    "autoload",
    "zstyle",
    "bindkey",
    "zmodload",
    "emulate",
    "whence",
    "where",
    "which",
    "noglob",
    "nocorrect",
    "-",
    "rehash",
    "zle",
    "zcompile",
    "r",
    "vared",
    "limit",
    "unlimit",
    "unhash",
    "float",
    "integer",
    "functions",
    "sched",
    "ztie",
    "zf_rm",
    "zf_mv",
    "zf_ln",
    "zf_mkdir",
    "zf_rmdir",
    "zf_chmod",
    "zf_chown",
    "zf_sync",
    "zsystem",
    "chdir",
];

impl Runner<'_> {
    /// Does what the shell does itself, if `program` is that.
    pub(super) fn builtin(
        &mut self,
        program: &str,
        argv: &[Value],
        streams: &mut Streams,
    ) -> Option<Out> {
        let arguments = argv.get(1..).unwrap_or_default();
        let zsh = self.dialect() == Dialect::Zsh;
        let bash = matches!(self.dialect(), Dialect::Bash) || zsh;
        let known: Option<Vec<&str>> = arguments.iter().map(Value::known).collect();
        let before = (self.status, self.hoped);
        self.status = Some(0);
        self.hoped = !SURE.contains(&program);
        let out = match program {
            "eval" => {
                self.stand_alone(streams);
                if std::mem::take(&mut self.absent) {
                    self.soft_unknown(VARIABLE);
                }
                // `$?` in it is the status before; nothing to run ends well.
                match known {
                    Some(words) if words.iter().all(|word| word.trim().is_empty()) => {
                        Out::nothing()
                    }
                    Some(words) => {
                        (self.status, self.hoped) = before;
                        self.read_text(&words.join(" "))
                    }
                    None => {
                        let unknown = arguments.iter().find(|it| it.known().is_none());
                        let downloaded = matches!(
                            unknown,
                            Some(Value::Unknown { reason, .. }) if *reason == super::value::DOWNLOADED
                        );
                        if downloaded {
                            self.shape(super::run::Shape::DownloadIntoShell);
                        }
                        self.unknown("a command text that is not known");
                        Out::Unknown(OUTPUT)
                    }
                }
            }
            "." | "source" => {
                self.stand_alone(streams);
                let rest = match arguments.split_first() {
                    Some((first, rest)) if first.known() == Some("--") => rest,
                    _ => arguments,
                };
                match rest.split_first() {
                    Some((path, more)) => {
                        let path = path.clone();
                        let before = self.state.positional().clone();
                        if !more.is_empty() {
                            let words = more.iter().map(|it| it.known().map(str::to_owned));
                            let words = words.collect::<Option<Vec<_>>>();
                            self.state.set_positional(
                                words.map_or(Positional::Unknown, Positional::Known),
                            );
                        }
                        let out = self.source(&path);
                        if !more.is_empty() {
                            self.state.set_positional(before);
                        }
                        out
                    }
                    None => Out::nothing(),
                }
            }
            "exec" => return Some(self.exec(arguments, streams)),
            "command" => {
                if known.as_ref().is_some_and(|words| {
                    words
                        .iter()
                        .take_while(|word| word.starts_with('-'))
                        .any(|word| word.contains(['v', 'V']))
                }) {
                    let found = known.and_then(|words| {
                        words.last().and_then(|name| super::known::path_of(name))
                    });
                    self.hoped = true;
                    return Some(
                        found.map_or(Out::Unknown(OUTPUT), |path| Out::Known(path + "\n")),
                    );
                }
                let rest = skip_options(arguments, &["-p", "--"]);
                return Some(self.without_functions(rest, streams));
            }
            "builtin" if bash => {
                return Some(self.without_functions(arguments, streams));
            }
            "noglob" | "nocorrect" if zsh => {
                return Some(self.argv(arguments.to_vec(), streams));
            }
            "-" if zsh => {
                // The program gets a dash in front of its name.
                return Some(self.renamed(arguments, streams, |name| format!("-{name}")));
            }
            "exit" | "logout"
                if self.nesting > 0 || self.certainty > Certainty::Live || program == "exit" =>
            {
                (self.status, self.hoped) = told_status(arguments, before);
                self.flow = Flow::Exit;
                Out::nothing()
            }
            "return" => {
                (self.status, self.hoped) = told_status(arguments, before);
                // Elsewhere bash complains and goes on.
                let leaves =
                    self.sources > 0 || self.calls.iter().any(|call| !call.starts_with('\0'));
                if leaves {
                    self.flow = Flow::Return;
                } else {
                    self.ends_with(None);
                }
                Out::nothing()
            }
            "break" | "continue" => {
                let levels = arguments
                    .first()
                    .and_then(Value::known)
                    .and_then(|text| text.parse().ok())
                    .unwrap_or(1);
                if self.loops == 0 {
                    self.ends_with(None);
                    self.stand_alone(streams);
                    return Some(Out::nothing());
                }
                self.flow = if program == "break" {
                    Flow::Break(levels)
                } else {
                    Flow::Continue(levels)
                };
                Out::nothing()
            }
            "trap" => self.set_trap(arguments),
            "alias" => {
                let everywhere = zsh
                    && arguments
                        .iter()
                        .filter_map(Value::known)
                        .any(|it| it.starts_with('-') && it.contains(['g', 's']));
                for argument in arguments {
                    match argument.known().map(|text| text.split_once('=')) {
                        // It is judged when it is used.
                        Some(Some((_, text))) if everywhere => {
                            // It may stand for any word, or run any file: judged here.
                            let text = text.trim_start_matches(['|', '&', ';', ' ']).to_owned();
                            let _out = self.dead(|runner| runner.text(&text));
                        }
                        Some(Some((name, text))) => {
                            if !self.state.set_alias(name, Some(text.to_owned())) {
                                self.unknown("more aliases than are kept");
                            }
                        }
                        Some(None) => {}
                        None => self.unknown("an alias that is not known"),
                    }
                }
                Out::nothing()
            }
            "unalias" => {
                for name in arguments.iter().filter_map(Value::known) {
                    self.state.set_alias(name, None);
                }
                Out::nothing()
            }
            "export" | "declare" | "typeset" | "local" | "readonly" | "float" | "integer"
                if bash || matches!(program, "export" | "readonly" | "local") =>
            {
                self.declare(program, arguments);
                Out::nothing()
            }
            "read" | "mapfile" | "readarray" => {
                self.read(program, arguments);
                Out::nothing()
            }
            "getopts" => {
                for argument in arguments.iter().filter_map(Value::known) {
                    self.state.set(argument, Variable::Unknown);
                }
                self.status = None;
                Out::nothing()
            }
            "let" if bash => {
                let mut value = None;
                for argument in arguments {
                    value = match argument {
                        Value::Known(text) => {
                            let text = text.clone();
                            self.arithmetic(text.as_bytes())
                        }
                        _ => None,
                    };
                }
                self.status = value.map(|value| i32::from(value == 0));
                Out::nothing()
            }
            "unset" => {
                for argument in arguments.iter().filter_map(Value::known) {
                    let argument = argument.to_owned();
                    if argument.contains('[') {
                        let name = argument.split('[').next().unwrap_or_default().to_owned();
                        // Of what is not there no element is sought.
                        let there =
                            !matches!(self.state.variable(&name), None | Some(Variable::Unset));
                        if there {
                            self.indexes(&argument);
                            self.state.set(&name, Variable::Unknown);
                        } else {
                            self.dead(|runner| runner.indexes(&argument));
                        }
                    } else if !argument.starts_with('-') {
                        let of_functions = arguments.iter().any(|it| it.known() == Some("-f"));
                        if !of_functions {
                            self.state.set(&argument, Variable::Unset);
                        }
                        self.state.set_function(&argument, None);
                    }
                }
                self.record(program, argv, streams);
                Out::nothing()
            }
            "shift" => {
                let count = arguments
                    .first()
                    .map_or(Some(1), |it| it.known().and_then(|text| text.parse().ok()));
                let words = match (self.state.positional(), count) {
                    (Positional::Known(words), Some(count)) => {
                        Positional::Known(words.iter().skip(count).cloned().collect())
                    }
                    _ => Positional::Unknown,
                };
                self.state.set_positional(words);
                Out::nothing()
            }
            "set" => {
                self.set(arguments);
                self.record(program, argv, streams);
                Out::nothing()
            }
            "cd" | "chdir" | "pushd" => {
                let target = arguments.iter().find(|it| {
                    it.known()
                        .is_none_or(|text| !text.starts_with('-') || text == "-")
                });
                let directory = match target {
                    Some(Value::Known(path)) if path != "-" => {
                        let path = self.absolute(path);
                        if path.starts_with('?') {
                            Directory::Unknown
                        } else {
                            Directory::Known(path)
                        }
                    }
                    _ => Directory::Unknown,
                };
                self.state.set_directory(directory);
                self.stand_alone(streams);
                // That it fails is not expected.
                self.status = Some(0);
                Out::nothing()
            }
            "popd" => {
                self.state.set_directory(Directory::Unknown);
                Out::nothing()
            }
            "[" | "test" => {
                let operands = if program == "[" {
                    arguments.split_last().map_or(arguments, |(_, rest)| rest)
                } else {
                    arguments
                };
                self.test(operands);
                Out::nothing()
            }
            "echo" | "print" if program == "echo" || zsh => {
                self.record(program, argv, streams);
                known.map_or(Out::Unknown(OUTPUT), |words| {
                    let words: Vec<&str> = if program == "print" {
                        words
                            .into_iter()
                            .filter(|word| !word.starts_with('-'))
                            .collect()
                    } else {
                        words
                    };
                    let reads = matches!(self.dialect(), Dialect::Sh | Dialect::Zsh);
                    Out::Known(utility::echo(&words, reads))
                })
            }
            "printf" => {
                self.record(program, argv, streams);
                match (arguments, known) {
                    ([Value::Known(option), variable, ..], words) if option == "-v" && bash => {
                        let text = words.and_then(|words| utility::printf(words.get(2..)?));
                        if let Some(name) = variable.known().map(str::to_owned) {
                            if name.contains('[') {
                                self.indexes(&name);
                            }
                            self.state
                                .set(&name, text.map_or(Variable::Unknown, Variable::Text));
                        }
                        Out::nothing()
                    }
                    (_, Some(words)) => {
                        utility::printf(&words).map_or(Out::Unknown(OUTPUT), Out::Known)
                    }
                    _ => Out::Unknown(OUTPUT),
                }
            }
            "hash" => {
                self.hash(arguments);
                Out::nothing()
            }
            "enable" if bash => {
                if arguments.iter().any(|it| it.known() == Some("-f")) {
                    self.soft_unknown("a builtin that is loaded from a file");
                }
                Out::nothing()
            }
            "bind" | "bindkey" | "zle" if bash && !arguments.is_empty() => {
                let runs = arguments.iter().any(|it| {
                    it.known().is_none_or(|text| {
                        text.starts_with("-x")
                            || text.contains("\\C-m")
                            || text.contains(':') && text.contains('"')
                            || text.starts_with("-s")
                    })
                });
                if runs {
                    self.unknown("a key that is made to run something");
                }
                Out::nothing()
            }
            "compgen" | "complete" if bash => {
                let mut words = arguments.iter();
                while let Some(word) = words.next() {
                    if matches!(word.known(), Some("-C" | "-W" | "-F")) {
                        match words.next() {
                            Some(Value::Known(text)) if word.known() == Some("-C") => {
                                let last =
                                    arguments.last().and_then(Value::known).unwrap_or_default();
                                let text = format!("{text} {program} {last} ''");
                                let _out = self.below(|runner| runner.text(&text));
                            }
                            Some(Value::Known(text)) if word.known() == Some("-W") => {
                                let text = text.clone();
                                let _text = self.text_of(text.as_bytes(), Mode::Text);
                            }
                            Some(Value::Known(_)) => {}
                            _ => self.unknown("a completion that runs a command"),
                        }
                    }
                }
                Out::Unknown(OUTPUT)
            }
            "fc" | "r" if bash && (program == "fc" || zsh) => {
                let lists = arguments.iter().any(|it| {
                    it.known()
                        .is_some_and(|it| it.starts_with("-l") || it == "-n")
                });
                if !lists {
                    self.unknown("a line of the history is run again");
                }
                Out::Unknown(OUTPUT)
            }
            "history" if bash => {
                self.record(program, argv, streams);
                Out::Unknown(OUTPUT)
            }
            "kill" => {
                self.record(program, argv, streams);
                self.signalled(arguments);
                Out::nothing()
            }
            "type"
                if arguments
                    .first()
                    .and_then(Value::known)
                    .is_some_and(|it| it.starts_with('-')) =>
            {
                let path = known
                    .and_then(|words| words.last().and_then(|name| super::known::path_of(name)));
                path.map_or(Out::Unknown(OUTPUT), |path| Out::Known(path + "\n"))
            }
            "pwd" => match self.state.directory() {
                Directory::Known(path) => Out::Known(format!("{path}\n")),
                _ => Out::Unknown(OUTPUT),
            },
            "false" => {
                self.status = Some(1);
                Out::nothing()
            }
            "zf_rm" | "zf_mv" | "zf_ln" | "zf_rmdir" | "zf_chmod" | "zf_chown" if zsh => {
                let plain = program.strip_prefix("zf_").unwrap_or(program);
                streams.writes.extend(utility::written(plain, arguments));
                self.record(program, argv, streams);
                Out::nothing()
            }
            "emulate" if zsh => {
                let text = arguments
                    .iter()
                    .skip_while(|it| it.known() != Some("-c"))
                    .nth(1);
                match text {
                    Some(Value::Known(text)) => {
                        let text = text.clone();
                        self.text(&text)
                    }
                    Some(_) => {
                        self.unknown(VARIABLE);
                        Out::nothing()
                    }
                    None => Out::nothing(),
                }
            }
            "shopt" | "setopt" | "unsetopt" if bash => {
                let words = known.unwrap_or_default();
                let named = words.iter().any(|word| {
                    word.replace('_', "")
                        .eq_ignore_ascii_case("interactivecomments")
                });
                if named {
                    let on = match program {
                        "shopt" => !words.contains(&"-u"),
                        name => name == "setopt",
                    };
                    self.state.set_comments(on);
                }
                if program == "shopt" && words.contains(&"lastpipe") {
                    self.last_stays = !words.contains(&"-u");
                }
                self.record(program, argv, streams);
                Out::Unknown(OUTPUT)
            }
            name if HARMLESS.contains(&name) || zsh && ZSH.contains(&name) => {
                self.record(program, argv, streams);
                match name {
                    ":" | "true" | "umask" | "wait" | "disown" | "times" => Out::nothing(),
                    _ => Out::Unknown(OUTPUT),
                }
            }
            _ => {
                self.status = None;
                self.hoped = false;
                return None;
            }
        };
        self.stand_alone(streams);
        Some(out)
    }

    /// Writes down that a builtin runs, for rules that name it.
    fn record(&mut self, program: &str, argv: &[Value], streams: &mut Streams) {
        let writes = std::mem::take(&mut streams.writes);
        let reads = std::mem::take(&mut streams.reads);
        let span = self.span.clone();
        self.found(Resolved {
            argv: argv.to_vec(),
            name: program.to_owned(),
            writes,
            reads,
            span,
            certainty: self.certainty,
            is_program: false,
        });
    }

    /// `command` and `builtin`: functions are not asked.
    fn without_functions(&mut self, argv: &[Value], streams: &mut Streams) -> Out {
        let Some(first) = argv.first() else {
            self.stand_alone(streams);
            return Out::nothing();
        };
        let Some(program) = first.known().map(str::to_owned) else {
            self.stand_alone(streams);
            self.unknown(VARIABLE);
            return Out::Unknown(OUTPUT);
        };
        if let Some(out) = self.builtin(&program, argv, streams) {
            return out;
        }
        self.program(&program, argv.to_vec(), streams)
    }

    fn exec(&mut self, arguments: &[Value], streams: &mut Streams) -> Out {
        let mut rest = arguments;
        let mut renamed: Option<Value> = None;
        let mut dashed = false;
        while let Some((first, behind)) = rest.split_first() {
            match first.known() {
                Some("-a") => {
                    renamed = behind.first().cloned();
                    rest = behind.get(1..).unwrap_or_default();
                }
                Some("-c") => rest = behind,
                Some("-l") => {
                    dashed = true;
                    rest = behind;
                }
                Some("-cl" | "-lc") => {
                    dashed = true;
                    rest = behind;
                }
                Some("-ca" | "-la" | "-cla") => {
                    renamed = behind.first().cloned();
                    rest = behind.get(1..).unwrap_or_default();
                }
                Some("--") => {
                    rest = behind;
                    break;
                }
                _ => break,
            }
        }
        if rest.is_empty() {
            self.stand_alone(streams);
            return Out::nothing();
        }
        let out = match renamed {
            Some(name) => {
                let name = name.known().map_or_else(|| "?".to_owned(), str::to_owned);
                self.renamed(rest, streams, |_| name.clone())
            }
            None if dashed => self.renamed(rest, streams, |name| format!("-{name}")),
            None => match rest.first().and_then(Value::known).map(str::to_owned) {
                // zsh takes its functions, too.
                Some(program) if self.dialect() != Dialect::Zsh => {
                    self.program(&program, rest.to_vec(), streams)
                }
                _ => self.argv(rest.to_vec(), streams),
            },
        };
        self.flow = Flow::Exit;
        out
    }

    /// A program that is told another name than its own.
    fn renamed(
        &mut self,
        argv: &[Value],
        streams: &mut Streams,
        name: impl Fn(&str) -> String,
    ) -> Out {
        let Some(program) = argv.first().and_then(Value::known).map(str::to_owned) else {
            self.stand_alone(streams);
            self.unknown("a program under another name");
            return Out::Unknown(OUTPUT);
        };
        let count = self.analysis.commands.len();
        let is_busybox = match self.state.file(&self.absolute(&program)) {
            Some(File::Program(name)) => name == "busybox",
            _ => utility::base_name(&program) == "busybox",
        };
        let out = self.program(&program, argv.to_vec(), streams);
        // busybox is what it is called.
        if is_busybox && let Some(resolved) = self.analysis.commands.get_mut(count) {
            resolved.name = utility::base_name(&name(&program)).to_owned();
        }
        if let Some(first) = self
            .analysis
            .commands
            .get_mut(count)
            .and_then(|resolved| resolved.argv.first_mut())
        {
            *first = Value::Known(name(&program));
        }
        out
    }

    fn set_trap(&mut self, arguments: &[Value]) -> Out {
        let mut words = arguments.iter().filter(|it| it.known() != Some("--"));
        let Some(text) = words.next() else {
            return Out::nothing();
        };
        let signals: Vec<String> = words
            .map(|it| {
                it.known()
                    .unwrap_or("?")
                    .trim_start_matches("SIG")
                    .to_uppercase()
            })
            .collect();
        match text {
            Value::Known(text) if text.starts_with('-') || signals.is_empty() => {
                for signal in &signals {
                    self.state.set_trap(signal, None);
                }
            }
            Value::Known(text) => {
                let text = text.clone();
                for signal in &signals {
                    if !self.state.set_trap(signal, Some(text.clone())) {
                        self.unknown("more traps than are kept");
                    }
                }
                if text.trim().is_empty() {
                    return Out::nothing();
                }
                // It is judged where it is set, since nobody sees when it runs.
                let ends = signals
                    .iter()
                    .any(|signal| matches!(signal.as_str(), "EXIT" | "0"));
                let certainty = if ends {
                    self.certainty
                } else {
                    self.certainty.max(Certainty::Maybe)
                };
                if !signals.iter().all(|signal| signal == "DEBUG") {
                    let before = std::mem::replace(&mut self.certainty, certainty);
                    let _out = self.below(|runner| runner.text(&text));
                    self.certainty = before;
                } else {
                    let _out = self.dead(|runner| runner.text(&text));
                }
            }
            _ => self.unknown("a command text that is not known"),
        }
        self.status = Some(0);
        Out::nothing()
    }

    fn signalled(&mut self, _arguments: &[Value]) {
        self.status = None;
    }

    fn declare(&mut self, program: &str, arguments: &[Value]) {
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
                if super::lexer::is_name(name.as_bytes()) && is_new && self.locals.len() < 256 {
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
                } else if super::lexer::is_name(name.as_bytes()) {
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
    fn declare_each(
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
                        Some((name, value)) => (name, Some(value)),
                        None => (text.as_str(), None),
                    };
                    let name = name.trim_end_matches('+').to_owned();
                    if name.contains('[') {
                        self.indexes(&name);
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
                        Some(value) if integer || self.state.is_integer(&name) => {
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
                            let keeps = matches!(self.dialect(), Dialect::Sh | Dialect::Busybox);
                            if program == "local" && !keeps {
                                self.state.set(&name, Variable::Unset);
                            }
                        }
                    }
                }
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

    fn read(&mut self, program: &str, arguments: &[Value]) {
        let mut names: Vec<String> = Vec::new();
        let mut array = None;
        let mut raw = false;
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.known() {
                Some("-a") => array = words.next().and_then(Value::known).map(str::to_owned),
                Some("-C") if program != "read" => match words.next() {
                    Some(Value::Known(text)) => {
                        let text = text.clone();
                        let _out = self.text(&text);
                    }
                    _ => self.unknown("a callback that is run as a command"),
                },
                Some("-t") if program != "read" => {}
                Some("-p" | "-t" | "-n" | "-N" | "-d" | "-u" | "-i" | "-c" | "-O") => {
                    words.next();
                }
                Some(option) if option.starts_with('-') => raw |= option.contains('r'),
                Some(name) => names.push(name.to_owned()),
                None => {}
            }
        }
        for name in &names {
            if name.contains('[') {
                let name = name.clone();
                self.indexes(&name);
            }
        }
        let line = match &mut self.stdin {
            Input::Text(text) if program == "read" => {
                if text.is_empty() {
                    // Names that could be read to are empty now.
                    for name in &names {
                        self.state.text(name, "");
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
                self.state.set(name, Variable::Unknown);
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
            let trims = arguments.iter().any(|it| it.known() == Some("-t"));
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
            for name in &names {
                self.state.set(name, Variable::Unknown);
            }
            return;
        };
        let line = if raw {
            line
        } else {
            super::expand::unescape(&line)
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
            self.state.text(name, word);
        }
        self.ends_with(Some(0));
    }

    fn set(&mut self, arguments: &[Value]) {
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
                        (sign, Some("allexport")) => self.state.export_all(sign == Some("-o")),
                        _ => {}
                    }
                    rest = behind.get(1..).unwrap_or_default();
                }
                Some(option) if option.starts_with(['-', '+']) => {
                    if option.starts_with('-') && option.contains('x') {
                        self.traced();
                    }
                    if option.contains('a') {
                        self.state.export_all(option.starts_with('-'));
                    }
                    rest = behind;
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

    fn traced(&mut self) {
        if let Some(Variable::Text(text)) = self.state.variable("PS4") {
            let text = text.clone();
            let _text = self.text_of(text.as_bytes(), Mode::Text);
        }
    }

    fn hash(&mut self, arguments: &[Value]) {
        let words: Vec<&str> = arguments.iter().filter_map(Value::known).collect();
        let mut pairs: Vec<(String, String)> = words
            .iter()
            .filter_map(|word| word.split_once('='))
            .map(|(name, path)| (name.to_owned(), path.to_owned()))
            .collect();
        if let ["-p", path, names @ ..] = words.as_slice() {
            pairs.extend(
                names
                    .iter()
                    .map(|name| ((*name).to_owned(), (*path).to_owned())),
            );
        }
        if words.len() != arguments.len() {
            self.unknown("a name that is made to run another program");
        }
        for (name, path) in pairs {
            let program = utility::base_name(&path).to_owned();
            if !self
                .state
                .set_file(&format!("hash:{name}"), Some(File::Program(program)))
            {
                self.unknown("a name that is made to run another program");
            }
        }
    }

    /// `test` and `[`.
    fn test(&mut self, operands: &[Value]) {
        if let [first, variable] = operands
            && first.known() == Some("-v")
            && let Some(name) = variable.known()
        {
            let name = name.to_owned();
            self.indexes(&name);
        }
        let words: Option<Vec<&str>> = operands.iter().map(Value::known).collect();
        let holds = words.and_then(|words| simple_test(&words));
        self.ends_with(holds.map(|holds| i32::from(!holds)));
    }

    /// `[[ … ]]`
    pub(super) fn test_words(&mut self, words: &[Word<'_>]) -> Option<i32> {
        let calculates = words.iter().any(|word| {
            matches!(
                word.raw,
                b"-eq" | b"-ne" | b"-lt" | b"-le" | b"-gt" | b"-ge" | b"-v"
            )
        });
        let mut texts = Vec::new();
        let mut pattern = None;
        for (index, word) in words.iter().enumerate() {
            let before = index
                .checked_sub(1)
                .and_then(|at| words.get(at))
                .map(|word| word.raw);
            if matches!(before, Some(b"==" | b"=" | b"!=")) && words.len() == 3 {
                pattern = Some(self.pattern(word.raw, Mode::Word));
                texts.push(None);
                continue;
            }
            let text = self.text_of(word.raw, Mode::Word);
            if calculates && let Some(text) = &text {
                let text = text.clone();
                if text.contains('[') {
                    self.indexes(&text);
                } else if super::lexer::is_name(text.as_bytes()) {
                    let _number = self.calculate(&text);
                }
            }
            texts.push(text);
        }
        if let (Some(pattern), [Some(left), Some(operator), _]) = (pattern, texts.as_slice()) {
            let like = pattern::matches(&pattern?, left)?;
            return Some(i32::from(like == (operator == "!=")));
        }
        let texts: Option<Vec<&str>> = texts.iter().map(Option::as_deref).collect();
        simple_test(&texts?).map(|holds| i32::from(!holds))
    }
}

/// A test of texts and numbers alone; what asks for files is not known.
fn simple_test(words: &[&str]) -> Option<bool> {
    Some(match words {
        [] => false,
        ["!", rest @ ..] => !simple_test(rest)?,
        [one] => !one.is_empty(),
        ["-n", text] => !text.is_empty(),
        ["-z", text] => text.is_empty(),
        [left, "=" | "==", right] => left == right,
        [left, "!=", right] => left != right,
        [left, operator, right] => {
            let (left, right) = (left.parse::<i64>().ok()?, right.parse::<i64>().ok()?);
            match *operator {
                "-eq" => left == right,
                "-ne" => left != right,
                "-lt" => left < right,
                "-le" => left <= right,
                "-gt" => left > right,
                "-ge" => left >= right,
                _ => return None,
            }
        }
        _ => return None,
    })
}

/// The status that `return` or `exit` is told to give, or the one before.
fn told_status(arguments: &[Value], before: (Option<i32>, bool)) -> (Option<i32>, bool) {
    match arguments.first() {
        None => before,
        Some(Value::Known(text)) => (text.parse::<i32>().ok().map(|status| status & 0xFF), false),
        Some(_) => (None, false),
    }
}

fn skip_options<'a>(arguments: &'a [Value], options: &[&str]) -> &'a [Value] {
    let mut rest = arguments;
    while let Some((first, behind)) = rest.split_first()
        && first.known().is_some_and(|text| options.contains(&text))
    {
        rest = behind;
    }
    rest
}
