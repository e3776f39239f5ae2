//! From syntax to the programs that would run, or what about them cannot be known.
//!
//! Every branch is taken, every loop goes round once; what a branch may have changed is not
//! known behind it. What is not followed is an [`Unknown`], never nothing.

use std::{collections::BTreeSet, ops::Range};

use super::{
    ast::{Command, CommandKind, Redirect, RedirectKind, Script, Word},
    expand::{Value, expand, expand_whole},
    parse::parse,
    parser::ParseError,
    session::SessionState,
    utility::{self, ShellRuns, base_name, hidden_code},
    wrapper::{Unwrapped, unwrap},
};

/// What a line would do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Analysis {
    /// The programs, wrappers before what they run.
    pub(crate) commands: Vec<Resolved>,
    /// What cannot be known.
    pub(crate) unknowns: Vec<Unknown>,
}

/// One program that would run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Resolved {
    /// Program and arguments; empty when a redirection stands alone.
    pub(crate) argv: Vec<Value>,
    /// Files that it writes, deletes or renames, or that its output goes to.
    pub(crate) writes: Vec<Value>,
    /// Where it stands in the line.
    pub(crate) span: Range<usize>,
}

/// Something that cannot be known before it runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Unknown {
    pub(crate) what: &'static str,
    pub(crate) span: Range<usize>,
}

/// Texts inside texts that are looked into: `sh -c "eval …"`.
const MAX_NESTING: usize = 8;
/// Programs of one line.
const MAX_COMMANDS: usize = 2000;
/// Values of a `for` that are tried one by one.
const MAX_ROUNDS: usize = 16;

/// What `text` would do in a session; the session's state is what it is behind it.
pub(crate) fn analyze_line(text: &[u8], state: &mut SessionState) -> Result<Analysis, ParseError> {
    let script = parse(text)?;
    let mut resolver = Resolver::new(state);
    resolver.script(&script);
    Ok(resolver.analysis)
}

/// What a program started without a shell would do.
pub(crate) fn analyze_argv(argv: &[String]) -> Analysis {
    let mut state = SessionState::default();
    let mut resolver = Resolver::new(&mut state);
    let argv = argv.iter().cloned().map(Value::Known).collect();
    resolver.argv(argv, Vec::new(), &Input::Inherited);
    resolver.analysis
}

/// What `script` prints, when it is no more than `echo` or `printf` of known words.
pub(super) fn constant_output(script: &Script, state: &SessionState) -> Option<String> {
    let [pipeline] = script.pipelines.as_slice() else {
        return None;
    };
    let [command] = pipeline.commands.as_slice() else {
        return None;
    };
    let CommandKind::Simple { assignments, words } = &command.kind else {
        return None;
    };
    if !assignments.is_empty() || !command.redirects.is_empty() {
        return None;
    }
    let mut scripts = Vec::new();
    let values: Vec<Value> = words
        .iter()
        .flat_map(|word| expand(word, state, &mut scripts))
        .collect();
    if !scripts.is_empty() {
        return None;
    }
    printed(&values).map(|text| text.trim_end_matches('\n').to_owned())
}

/// What `echo` or `printf` with these arguments prints.
fn printed(argv: &[Value]) -> Option<String> {
    let words: Vec<&str> = argv.iter().map(Value::known).collect::<Option<_>>()?;
    let (program, arguments) = words.split_first()?;
    match base_name(program) {
        "echo" => {
            let (newline, arguments) = match arguments {
                ["-n", rest @ ..] => (false, rest),
                [option, ..] if option.starts_with("-e") || option.starts_with("-ne") => {
                    return None;
                }
                all => (true, all),
            };
            let text = arguments.join(" ");
            // Some shells' echo reads escapes.
            (!text.contains('\\')).then(|| if newline { text + "\n" } else { text })
        }
        "printf" => {
            let (format, rest) = arguments.split_first()?;
            let format = format.replace("\\n", "\n");
            match (format.as_str(), rest) {
                ("%s", [one]) => Some((*one).to_owned()),
                ("%s\n", lines) => Some(lines.iter().map(|line| format!("{line}\n")).collect()),
                (text, []) if !text.contains(['%', '\\']) => Some(text.to_owned()),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What a command finds on its standard input.
#[derive(Clone, Debug)]
enum Input {
    /// What the session has: judged as it comes.
    Inherited,
    /// This text.
    Text(String),
    /// The output of something, or a file.
    Unknown,
}

struct Resolver<'a> {
    state: &'a mut SessionState,
    analysis: Analysis,
    nesting: usize,
    span: Range<usize>,
    defining: BTreeSet<String>,
}

impl<'a> Resolver<'a> {
    const fn new(state: &'a mut SessionState) -> Self {
        let analysis = Analysis {
            commands: Vec::new(),
            unknowns: Vec::new(),
        };
        Self {
            state,
            analysis,
            nesting: 0,
            span: 0..0,
            defining: BTreeSet::new(),
        }
    }

    fn unknown(&mut self, what: &'static str) {
        if self.analysis.unknowns.len() < MAX_COMMANDS {
            self.analysis.unknowns.push(Unknown {
                what,
                span: self.span.clone(),
            });
        }
    }

    fn script(&mut self, script: &Script) {
        for pipeline in &script.pipelines {
            if pipeline.conditional || pipeline.commands.len() > 1 {
                self.guarded(|resolver| resolver.pipeline(&pipeline.commands));
            } else {
                self.pipeline(&pipeline.commands);
            }
        }
    }

    /// Runs something that may not run, or not in this shell: what it changes is not known
    /// behind it.
    fn guarded(&mut self, inside: impl FnOnce(&mut Self)) {
        let before = self.state.variables.clone();
        let directory = self.state.directory.clone();
        inside(self);
        for (name, value) in &mut self.state.variables {
            if before.get(name) != Some(value) {
                *value = None;
            }
        }
        for name in before.into_keys() {
            // What was removed may still be there.
            self.state.variables.entry(name).or_insert(None);
        }
        if self.state.directory != directory {
            self.state.directory = None;
        }
    }

    fn pipeline(&mut self, commands: &[Command]) {
        let mut input = Input::Inherited;
        for command in commands {
            let output = self.command(command, &input);
            input = output.map_or(Input::Unknown, Input::Text);
        }
    }

    /// Gives what the command prints, when that is known.
    fn command(&mut self, command: &Command, input: &Input) -> Option<String> {
        if self.nesting == 0 {
            self.span = command.span.clone();
        }
        if self.analysis.commands.len() >= MAX_COMMANDS {
            self.unknown("more commands than are looked at");
            return None;
        }
        let (writes, redirected) = self.redirects(&command.redirects);
        let input = redirected.as_ref().unwrap_or(input);
        match &command.kind {
            CommandKind::Simple { assignments, words } => {
                self.simple(assignments, words, writes, input)
            }
            CommandKind::Compound {
                parts,
                words,
                variable,
            } => {
                self.stand_alone(writes);
                self.compound(parts, words, variable.as_deref(), input);
                None
            }
            CommandKind::Function { name, body } => {
                self.stand_alone(writes);
                self.defining.insert(name.clone());
                self.guarded(|resolver| resolver.script(body));
                self.defining.remove(name);
                self.state.define(name);
                None
            }
            CommandKind::Test { words } => {
                self.stand_alone(writes);
                for value in self.values(words) {
                    self.index(value.shown());
                }
                None
            }
        }
    }

    /// Files that are written with no program of their own to judge.
    fn stand_alone(&mut self, writes: Vec<Value>) {
        if !writes.is_empty() {
            let span = self.span.clone();
            self.analysis.commands.push(Resolved {
                argv: Vec::new(),
                writes,
                span,
            });
        }
    }

    fn redirects(&mut self, redirects: &[Redirect]) -> (Vec<Value>, Option<Input>) {
        let mut writes = Vec::new();
        let mut input = None;
        for redirect in redirects {
            let text = self.whole(&redirect.target);
            let value = || {
                let unknown = Value::Unknown("the name of a file is not known");
                text.clone().map_or(unknown, Value::Known)
            };
            match redirect.kind {
                RedirectKind::Write => writes.push(value()),
                RedirectKind::Read => {
                    // Reading from there opens a connection.
                    if text.as_deref().is_none_or(|path| path.starts_with("/dev/")) {
                        writes.push(value());
                    }
                    input = Some(Input::Unknown);
                }
                RedirectKind::Duplicate => {
                    let descriptor = text.as_deref().is_some_and(|text| {
                        text.bytes()
                            .all(|byte| byte.is_ascii_digit() || byte == b'-')
                    });
                    if !descriptor {
                        writes.push(value());
                    }
                }
                RedirectKind::Text => input = Some(text.map_or(Input::Unknown, Input::Text)),
            }
        }
        (writes, input)
    }

    fn compound(
        &mut self,
        parts: &[Script],
        words: &[Word],
        variable: Option<&str>,
        _input: &Input,
    ) {
        let values = self.values(words);
        self.guarded(|resolver| {
            let Some(variable) = variable else {
                for part in parts {
                    resolver.guarded(|resolver| resolver.script(part));
                }
                return;
            };
            let known: Option<Vec<&str>> = values.iter().map(Value::known).collect();
            match known {
                Some(known) if !known.is_empty() && known.len() <= MAX_ROUNDS => {
                    for value in known {
                        resolver.state.set(variable, Some(value.to_owned()));
                        parts.iter().for_each(|part| resolver.script(part));
                    }
                }
                _ => {
                    resolver.state.set(variable, None);
                    parts.iter().for_each(|part| resolver.script(part));
                }
            }
        });
    }

    fn simple(
        &mut self,
        assignments: &[(String, Word)],
        words: &[Word],
        writes: Vec<Value>,
        input: &Input,
    ) -> Option<String> {
        for (name, word) in assignments {
            let value = self.whole(word);
            self.index(value.as_deref().unwrap_or_default());
            self.assigned(name, value.as_deref());
            if words.is_empty() {
                self.state.set(name, value);
            }
        }
        let mut argv = self.values(words);
        if argv.is_empty() {
            if !words.is_empty() {
                self.unknown("a command that may be empty");
            }
            self.stand_alone(writes);
            return None;
        }
        for value in &argv {
            self.index(value.shown());
        }
        self.expand_aliases(words, &mut argv);
        let output = printed(&argv).filter(|_| writes.is_empty());
        self.argv(argv, writes, input);
        output
    }

    /// An alias stands for its text, in a word that is not quoted.
    fn expand_aliases(&mut self, words: &[Word], argv: &mut Vec<Value>) {
        let unquoted = words.first().is_some_and(|word| {
            matches!(
                word.parts.as_slice(),
                [super::ast::Part::Text { quoted: false, .. }]
            )
        });
        let mut seen = BTreeSet::new();
        while unquoted
            && let Some(name) = argv.first().and_then(Value::known).map(str::to_owned)
            && let Some(text) = self.state.aliases.get(&name).cloned()
            && seen.insert(name)
        {
            let words = text
                .split_whitespace()
                .map(|word| Value::Known(word.to_owned()));
            argv.splice(..1, words);
            if text.contains(|c: char| ";|&$`<>()'\"\\\n{}".contains(c)) {
                // More than words: what it is as a text counts as well.
                self.text(&text);
            }
        }
    }

    /// An index such as `a[$(…)]` runs its command wherever the shell calculates with it.
    fn index(&mut self, text: &str) {
        if text.contains("[$(") || text.contains("[`") {
            self.unknown("an index that runs a command");
        }
    }

    /// Variables that change what runs, or are commands themselves.
    fn assigned(&mut self, name: &str, value: Option<&str>) {
        match name {
            "LD_PRELOAD" | "LD_LIBRARY_PATH" | "LD_AUDIT" | "GCONV_PATH" | "PYTHONPATH"
            | "PERL5LIB" | "PERL5OPT" | "NODE_OPTIONS" | "RUBYOPT" => {
                self.unknown("a variable that makes programs load other code");
            }
            "PROMPT_COMMAND" | "PS0" | "PS1" | "PS2" | "PS4" | "BASH_ENV" | "ENV" | "LESSOPEN"
            | "LESSCLOSE" | "PAGER" | "MANPAGER" | "GIT_PAGER" | "EDITOR" | "VISUAL"
            | "GIT_EDITOR" | "GIT_SSH_COMMAND" | "GIT_EXTERNAL_DIFF" | "FCEDIT" | "BROWSER"
            | "SHELL" => match value {
                Some(value) if name.starts_with("PS") && !value.contains(['$', '`']) => {}
                Some(value) => self.text(value),
                None => self.unknown("a variable that is run as a command"),
            },
            _ => {}
        }
    }

    fn values(&mut self, words: &[Word]) -> Vec<Value> {
        let mut scripts = Vec::new();
        let values = words
            .iter()
            .flat_map(|word| expand(word, self.state, &mut scripts))
            .collect();
        self.scripts(&scripts);
        values
    }

    fn whole(&mut self, word: &Word) -> Option<String> {
        let mut scripts = Vec::new();
        let text = expand_whole(word, self.state, &mut scripts);
        self.scripts(&scripts);
        text
    }

    fn scripts(&mut self, scripts: &[Script]) {
        for script in scripts {
            self.guarded(|resolver| resolver.nested(|resolver| resolver.script(script)));
        }
    }

    fn nested(&mut self, inside: impl FnOnce(&mut Self)) {
        if self.nesting == MAX_NESTING {
            self.unknown("commands inside commands, deeper than is looked at");
            return;
        }
        self.nesting += 1;
        inside(self);
        self.nesting -= 1;
    }

    /// A text that a shell is given.
    fn text(&mut self, text: &str) {
        match parse(text.as_bytes()) {
            Ok(script) => self.nested(|resolver| resolver.script(&script)),
            Err(_) => self.unknown("a command text that cannot be read"),
        }
    }

    /// One program with its arguments, and what it runs in turn.
    fn argv(&mut self, argv: Vec<Value>, mut writes: Vec<Value>, input: &Input) {
        let program = match argv.first() {
            Some(Value::Known(program)) => program.clone(),
            Some(Value::Pattern(_)) => {
                self.stand_alone(writes);
                return self.unknown("a program's name with wildcards");
            }
            Some(Value::Unknown(reason)) => {
                let reason = *reason;
                self.stand_alone(writes);
                return self.unknown(reason);
            }
            None => return self.stand_alone(writes),
        };
        if program.is_empty() {
            self.stand_alone(writes);
            return self.unknown("a command that is empty");
        }
        if self.defining.contains(&program) {
            self.unknown("a function that calls itself");
        }
        let name = base_name(&program).trim_start_matches('=').to_owned();
        let arguments = argv.get(1..).unwrap_or_default().to_vec();
        writes.extend(utility::written(&name, &arguments).into_iter().cloned());
        if name == "dd" {
            let output = arguments
                .iter()
                .filter_map(Value::known)
                .find_map(|it| it.strip_prefix("of="));
            writes.extend(output.map(|path| Value::Known(path.to_owned())));
        }
        let span = self.span.clone();
        self.analysis.commands.push(Resolved {
            argv: argv.clone(),
            writes,
            span,
        });
        if self.state.functions.contains(&program) {
            return;
        }
        if self.builtin(&name, &arguments) {
            return;
        }
        if utility::shell(&name).is_some() {
            return self.shell(&arguments, input);
        }
        match unwrap(&name, &argv) {
            Unwrapped::Nothing => {}
            Unwrapped::Argv(inner) => {
                return self.nested(|resolver| resolver.argv(inner, Vec::new(), input));
            }
            Unwrapped::Text(text) => return self.text(&text),
            Unwrapped::Unknown(reason) => return self.unknown(reason),
        }
        if name == "find" {
            self.find(&arguments);
        }
        if matches!(input, Input::Text(_) | Input::Unknown)
            && matches!(
                utility::stdin_program(&argv),
                Some(utility::StdinProgram::Interpreter(_))
            )
        {
            self.unknown("code for an interpreter cannot be judged");
        }
        if let Some(reason) = hidden_code(&name, &arguments) {
            self.unknown(reason);
        }
    }

    fn shell(&mut self, arguments: &[Value], input: &Input) {
        match utility::shell_runs(arguments) {
            ShellRuns::Text(Value::Known(text)) => self.text(text),
            ShellRuns::Text(_) => self.unknown("a command text that is not known"),
            ShellRuns::File => self.unknown("a script file cannot be judged"),
            ShellRuns::Input => match input {
                // The session's own: judged as it comes.
                Input::Inherited => {}
                Input::Text(text) => self.text(text),
                Input::Unknown => self.unknown("a shell reads commands that are not known"),
            },
            ShellRuns::Nothing => {}
            ShellRuns::Unknown => self.unknown("a shell's arguments are not known"),
        }
    }

    /// What `find` runs for each file.
    fn find(&mut self, arguments: &[Value]) {
        let mut rest = arguments;
        while let Some((first, behind)) = rest.split_first() {
            rest = behind;
            let runs = matches!(first.known(), Some("-exec" | "-execdir" | "-ok" | "-okdir"));
            if !runs {
                continue;
            }
            let end = behind
                .iter()
                .position(|it| matches!(it.known(), Some(";" | "+")));
            let inner = behind
                .get(..end.unwrap_or(behind.len()))
                .unwrap_or_default();
            let inner: Vec<Value> = inner
                .iter()
                .map(|value| match value.known() {
                    Some(text) if text.contains("{}") => Value::Unknown("a file that find finds"),
                    _ => value.clone(),
                })
                .collect();
            self.nested(|resolver| resolver.argv(inner, Vec::new(), &Input::Unknown));
        }
    }

    /// Whether the shell itself does it, and all is said.
    fn builtin(&mut self, name: &str, arguments: &[Value]) -> bool {
        let known: Option<Vec<&str>> = arguments.iter().map(Value::known).collect();
        match name {
            "eval" => match known {
                Some(words) => self.text(&words.join(" ")),
                None => self.unknown("a command text that is not known"),
            },
            "." | "source" => self.unknown("a file that is read as commands cannot be judged"),
            "trap" => match arguments.iter().find(|it| it.known() != Some("--")) {
                Some(Value::Known(text)) if text.starts_with('-') || arguments.len() == 1 => {}
                Some(Value::Known(text)) => self.text(text),
                Some(_) => self.unknown("a command text that is not known"),
                None => {}
            },
            "alias" => {
                for argument in arguments {
                    match argument.known().map(|text| text.split_once('=')) {
                        // It is judged when it is used.
                        Some(Some((name, text))) => {
                            if !self.state.alias(name, text.to_owned()) {
                                self.unknown("more aliases than are kept");
                            }
                        }
                        Some(None) => {}
                        None => self.unknown("an alias that is not known"),
                    }
                }
            }
            "export" | "declare" | "typeset" | "local" | "readonly" => {
                let reference = arguments.iter().filter_map(Value::known).any(|it| {
                    it.starts_with('-')
                        && !it.starts_with("--")
                        && it.contains('n')
                        && name != "export"
                });
                if reference {
                    self.unknown("a variable that stands for another");
                }
                for argument in arguments {
                    match argument.known().map(|text| (text, text.split_once('='))) {
                        Some((_, Some((name, value)))) => {
                            self.assigned(name, Some(value));
                            self.state.set(name, Some(value.to_owned()));
                        }
                        Some(_) => {}
                        None => self
                            .state
                            .variables
                            .values_mut()
                            .for_each(|value| *value = None),
                    }
                }
            }
            "read" | "mapfile" | "readarray" | "getopts" | "let" => {
                for argument in arguments.iter().filter_map(Value::known) {
                    self.state
                        .set(argument.split('=').next().unwrap_or(argument), None);
                }
                if arguments.iter().any(|it| it.known() == Some("-C")) {
                    self.unknown("a callback that is run as a command");
                }
            }
            "printf" if arguments.first().and_then(Value::known) == Some("-v") => {
                if let Some(variable) = arguments.get(1).and_then(Value::known) {
                    self.state.set(variable, None);
                }
            }
            "unset" => {
                for argument in arguments.iter().filter_map(Value::known) {
                    self.state.variables.remove(argument);
                    self.state.functions.remove(argument);
                }
            }
            "cd" | "chdir" | "pushd" => {
                self.state.directory = match arguments {
                    [Value::Known(path)] if path.starts_with('/') => Some(path.clone()),
                    [Value::Known(path)] if !path.starts_with(['-', '~']) => self
                        .state
                        .directory
                        .as_ref()
                        .map(|from| format!("{from}/{path}")),
                    _ => None,
                };
            }
            "popd" => self.state.directory = None,
            "hash"
                if arguments
                    .iter()
                    .filter_map(Value::known)
                    .any(|it| it == "-p" || it.contains('=')) =>
            {
                self.unknown("a name that is made to run another program");
            }
            "enable" if arguments.iter().any(|it| it.known() == Some("-f")) => {
                self.unknown("a builtin that is loaded from a file");
            }
            "bind" if !arguments.is_empty() => self.unknown("a key that is made to run something"),
            "compgen" | "complete" => {
                let runs = arguments
                    .iter()
                    .any(|it| matches!(it.known(), Some("-C" | "-F" | "-W")));
                if runs {
                    self.unknown("a completion that runs a command");
                }
            }
            "fc" => {
                let lists = arguments
                    .iter()
                    .any(|it| it.known().is_some_and(|it| it.starts_with("-l")));
                if !lists {
                    self.unknown("a line of the history is run again");
                }
            }
            _ => return false,
        }
        true
    }
}
