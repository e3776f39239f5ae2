//! What shells do themselves.

mod folder;
mod names;
mod start;
mod test;
mod variables;
mod zsh;

use names::{BUILTINS, HARMLESS, STARTERS, SURE, ZSH};

use super::{
    Dialect,
    command::is_run_by_calculations,
    expand::Mode,
    redirect::Streams,
    run::{Certainty, Flow, Resolved, Runner},
    session::{Directory, Positional, Variable},
    utility,
    value::{OUTPUT, Out, VARIABLE, Value},
};

/// So many of them in front of each other.
const MAX_STARTS: usize = 12;

impl Runner<'_> {
    /// Does what the shell does itself, if `program` is that.
    pub(super) fn builtin(
        &mut self,
        program: &str,
        argv: &[Value],
        streams: &mut Streams,
    ) -> Option<Out> {
        if !STARTERS.contains(&program) {
            return self.done_inside(program, argv, streams);
        }
        if self.starts == MAX_STARTS {
            self.stand_alone(streams);
            self.unknown("commands inside commands, deeper than is looked at");
            return Some(Out::Unknown(OUTPUT));
        }
        self.starts += 1;
        let out = self.done_inside(program, argv, streams);
        self.starts -= 1;
        out
    }

    /// Whether the shell does it itself.
    pub(in crate::shell) fn is_builtin(&self, name: &str) -> bool {
        BUILTINS.contains(&name) || self.dialect() == Dialect::Zsh && ZSH.contains(&name)
    }

    /// Whether the shell finds variables, and their indexes, in the builtin's arguments.
    fn sets_by_name(&self, program: &str) -> bool {
        let takes_texts = matches!(
            program,
            "eval" | "echo" | "trap" | "alias" | ":" | "true" | "false" | "history" | "bind"
        );
        self.is_builtin(program) && !takes_texts && !STARTERS.contains(&program)
    }

    /// Whether `name=text` gives something that has the name already another meaning.
    fn renames(&self, definition: &str) -> bool {
        definition.split_once('=').is_some_and(|(name, text)| {
            let is_taken = super::known::path_of(name).is_some() || self.is_builtin(name);
            is_taken && text.split_ascii_whitespace().next() != Some(name)
        })
    }

    fn done_inside(&mut self, program: &str, argv: &[Value], streams: &mut Streams) -> Option<Out> {
        let arguments = argv.get(1..).unwrap_or_default();
        let zsh = self.dialect() == Dialect::Zsh;
        let bash = !self.dialect().is_small();
        let known: Option<Vec<&str>> = arguments.iter().map(Value::known).collect();
        let before = (self.status, self.hoped);
        let has = |letter| {
            let mut words = arguments.iter().filter_map(Value::known);
            words.any(|it| it.starts_with('-') && it.contains(letter))
        };
        if zsh && program == "print" && has('v') || has('f') && has('u') && program == "typeset" {
            self.note_made_text();
        }
        if self.sets_by_name(program) && (program != "printf" || has('v')) {
            let is_run = |it: &Value| it.known().is_some_and(is_run_by_calculations);
            if arguments.iter().any(is_run) {
                self.soft_unknown("an index that runs something");
            }
        }
        self.status = Some(0);
        self.hoped = !SURE.contains(&program);
        let out = match program {
            "eval" => {
                self.stand_alone(streams);
                if std::mem::take(&mut self.absent) {
                    self.soft_unknown(VARIABLE);
                }
                if !self.computed.is_empty() {
                    self.note_made_text();
                }
                // `$?` in it is the status before; nothing to run ends well.
                match known {
                    Some(words) if words.iter().all(|word| word.trim().is_empty()) => {
                        Out::nothing()
                    }
                    Some(words) => {
                        (self.status, self.hoped) = before;
                        let words = match words.as_slice() {
                            ["--", rest @ ..] => rest,
                            all => all,
                        };
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
                if zsh {
                    // Of builtins it runs none.
                    return Some(self.in_doubt(|runner| runner.without_functions(rest, streams)));
                }
                return Some(self.without_functions(rest, streams));
            }
            "builtin" if bash => {
                let arguments = skip_options(arguments, &["--"]);
                let name = arguments.first().and_then(Value::known).unwrap_or_default();
                if BUILTINS.contains(&name) || zsh {
                    return Some(self.without_functions(arguments, streams));
                }
                // Nothing runs.
                return Some(self.in_doubt(|runner| runner.without_functions(arguments, streams)));
            }
            "noglob" | "nocorrect" if zsh => {
                if let Some(Value::Known(program)) = arguments.first() {
                    self.note_computed_name(program);
                }
                return Some(self.argv(arguments.to_vec(), streams));
            }
            "-" if zsh => {
                // Builtins and words in front of commands stay what they are.
                let rest = arguments.to_vec();
                let is_own = rest.first().and_then(Value::known).is_none_or(|name| {
                    self.is_builtin(name) || self.state.function(name).is_some()
                });
                if is_own {
                    let _out = self.maybe(|runner| runner.argv(rest, &mut Streams::default()));
                }
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
            "trap" => {
                self.record(program, argv, streams);
                self.set_trap(arguments)
            }
            "alias" => {
                self.record(program, argv, streams);
                if arguments
                    .iter()
                    .filter_map(Value::known)
                    .any(|it| self.renames(it))
                {
                    self.note_shadowed();
                }
                let everywhere = zsh
                    && arguments
                        .iter()
                        .filter_map(Value::known)
                        .any(|it| it.starts_with('-') && it.contains(['g', 's']));
                if everywhere && !arguments.is_empty() {
                    self.note_shadowed();
                }
                for argument in arguments {
                    match argument.known().map(|text| text.split_once('=')) {
                        // It is judged when it is used.
                        Some(Some((_, text))) if everywhere => {
                            // It may stand for any word, or run any file: judged here.
                            let text = text.trim_start_matches(['|', '&', ';', ' ']).to_owned();
                            let _out = self.dead(|runner| runner.text(&text));
                        }
                        Some(Some((name, text))) => {
                            if super::parse::RESERVED.contains(&name.as_bytes()) {
                                self.unknown("an alias for a word of the grammar");
                            }
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
                self.record(program, argv, streams);
                for name in arguments.iter().filter_map(Value::known) {
                    self.state.set_alias(name, None);
                }
                Out::nothing()
            }
            "export" | "declare" | "typeset" | "local" | "readonly" | "float" | "integer"
                if bash || matches!(program, "export" | "readonly" | "local") =>
            {
                let is_elsewhere = program == "local"
                    && !zsh
                    && self.calls.iter().all(|call| call.starts_with('\0'))
                    && arguments.iter().any(|it| it.shown().contains('='));
                let refers = |it: &str| it.starts_with('-') && it.contains('n');
                let is_new = zsh && arguments.iter().filter_map(Value::known).any(refers);
                // Of a function alone.
                let is_own = zsh && program == "readonly" && !self.calls.is_empty();
                if is_elsewhere || is_new || is_own {
                    // Shells complain, and some do it all the same.
                    self.in_doubt(|runner| runner.declare(program, arguments));
                } else {
                    self.declare(program, arguments);
                }
                Out::nothing()
            }
            "read" | "mapfile" | "readarray" => {
                if program == "read" || self.dialect() == Dialect::Bash {
                    self.read(program, arguments);
                } else {
                    self.in_doubt(|runner| runner.read(program, arguments));
                }
                Out::nothing()
            }
            "getopts" => {
                let name = arguments.get(1).and_then(Value::known).map(str::to_owned);
                for name in ["OPTARG".to_owned(), "OPTIND".to_owned()]
                    .into_iter()
                    .chain(name)
                {
                    self.state.set(&name, Variable::Unknown);
                }
                self.status = None;
                Out::nothing()
            }
            "wait" if bash && arguments.iter().any(|it| it.known() == Some("-p")) => {
                for name in arguments.iter().filter_map(Value::known) {
                    if !name.starts_with('-') {
                        let name = name.to_owned();
                        self.set_named(&name, None);
                    }
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
                self.unset(arguments);
                self.record(program, argv, streams);
                Out::nothing()
            }
            "shift" => {
                let count = arguments
                    .first()
                    .map_or(Some(1), |it| it.known().and_then(|text| text.parse().ok()));
                if zsh && count.is_none() {
                    self.shift_arrays(arguments);
                }
                let words = match (self.state.positional(), count) {
                    // Of fewer none is taken away.
                    (Positional::Known(words), Some(count)) if words.len() < count => {
                        self.ends_with(Some(1));
                        return Some(Out::nothing());
                    }
                    (Positional::Known(words), Some(count)) => {
                        Positional::Known(words.iter().skip(count).cloned().collect())
                    }
                    _ => Positional::Unknown,
                };
                self.state.set_positional(words);
                Out::nothing()
            }
            "set" => {
                let sets_clobber = |it: &Value| {
                    it.known().is_none_or(|text| {
                        text == "noclobber" || text.starts_with('-') && text.contains('C')
                    })
                };
                let mut options = arguments.iter().take_while(|it| it.known() != Some("--"));
                if options.any(sets_clobber) {
                    self.state.keep_files();
                }
                self.set(arguments);
                self.record(program, argv, streams);
                Out::nothing()
            }
            "cd" | "chdir" | "pushd" => {
                self.go_to(program, arguments);
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
                if program == "print" {
                    let of = |letter: char| {
                        arguments.iter().filter_map(Value::known).any(|it| {
                            it.starts_with('-') && !it.starts_with("--") && it.contains(letter)
                        })
                    };
                    if of('P') {
                        // As a prompt is expanded.
                        for text in arguments.iter().filter_map(Value::known) {
                            if text.contains(['$', '`']) {
                                let text = text.to_owned();
                                let _text = self.text_of(text.as_bytes(), Mode::Text);
                            }
                        }
                    }
                    if of('z') {
                        // It is the next line, as if somebody had typed it.
                        match &known {
                            Some(words) => {
                                let text = words
                                    .iter()
                                    .filter(|word| !word.starts_with('-'))
                                    .copied()
                                    .collect::<Vec<_>>()
                                    .join(" ");
                                let _out = self.dead(|runner| runner.text(&text));
                            }
                            None => self.unknown("a line that is not known"),
                        }
                    }
                    if of('P') || of('z') || of('f') || of('v') || of('l') {
                        return Some(Out::Unknown(OUTPUT));
                    }
                }
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
                        // An element's name looks like a wildcard.
                        if let Value::Known(name) | Value::Pattern(name) = variable {
                            self.set_named(&name.clone(), text);
                        } else {
                            self.unknown("a variable's name that is not known");
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
                self.record(program, argv, streams);
                self.hash(arguments);
                Out::nothing()
            }
            "enable" if bash => {
                self.record(program, argv, streams);
                if arguments.iter().any(|it| it.known() == Some("-f")) {
                    self.soft_unknown("a builtin that is loaded from a file");
                } else if arguments.len() > 1 {
                    self.note_shadowed();
                }
                Out::nothing()
            }
            "bind" | "bindkey" | "zle" if bash && !arguments.is_empty() => {
                self.record(program, argv, streams);
                let runs = arguments.iter().any(|it| {
                    it.known().is_none_or(|text| {
                        text.starts_with("-x")
                            || text.starts_with("-f")
                            || text.starts_with("-s")
                            || text.contains("\\C-m")
                            // Any key may be made to submit the line.
                            || program == "bind" && text.contains(':')
                            || program == "bindkey"
                                && ["accept", "execute", "edit-command", "infer"]
                                    .iter()
                                    .any(|word| text.contains(word))
                    })
                });
                if runs {
                    self.unknown("a key that is made to run something");
                }
                Out::nothing()
            }
            "compgen" | "complete" if bash => {
                self.record(program, argv, streams);
                let is_cluster = |it: &Value| {
                    it.known().is_none_or(|text| {
                        text.len() > 2
                            && text.starts_with('-')
                            && text.contains(['C', 'W', 'F', 'G', 'X', 'P', 'S'])
                    })
                };
                if arguments.iter().any(is_cluster) {
                    self.unknown("a completion that runs a command");
                }
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
                            Some(Value::Known(name)) => {
                                // A function: what it does when it is called.
                                let name = name.clone();
                                if let Some(body) = self.state.function(&name).map(str::to_owned) {
                                    let _out =
                                        self.maybe(|runner| runner.below(|it| it.text(&body)));
                                }
                            }
                            _ => self.unknown("a completion that runs a command"),
                        }
                    }
                }
                Out::Unknown(OUTPUT)
            }
            "fc" | "r" if bash && (program == "fc" || zsh) => {
                self.record(program, argv, streams);
                let lists = arguments.iter().any(|it| {
                    it.known()
                        .is_some_and(|it| it.starts_with("-l") || it == "-n")
                });
                if !lists {
                    self.unknown("a line of the history is run again");
                }
                Out::Unknown(OUTPUT)
            }
            "jobs" if bash && arguments.iter().any(|it| it.known() == Some("-x")) => {
                self.record(program, argv, streams);
                let rest = skip_options(arguments, &["-x", "--"]).to_vec();
                if let Some(Value::Known(program)) = rest.first() {
                    self.note_computed_name(program);
                }
                self.argv(rest, streams)
            }
            "history" if bash => {
                streams.writes.extend(self.history_file(arguments));
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
                self.record(program, argv, streams);
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
            name if zsh && self.zsh_builtin(name, arguments, argv, streams) => Out::Unknown(OUTPUT),
            "zf_rm" | "zf_mv" | "zf_ln" | "zf_rmdir" | "zf_chmod" | "zf_chown" if zsh => {
                let plain = program.strip_prefix("zf_").unwrap_or(program);
                streams.writes.extend(utility::written(plain, arguments));
                self.record(program, argv, streams);
                self.links(plain, arguments);
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
                        self.below(|runner| {
                            let other = arguments.iter().any(|it| {
                                matches!(it.known(), Some("sh" | "ksh" | "bash" | "csh"))
                            });
                            let before = runner.state.splits_words();
                            runner.state.set_splitting(before || other);
                            let out = runner.text(&text);
                            runner.state.set_splitting(before);
                            out
                        })
                    }
                    Some(_) => {
                        self.unknown(VARIABLE);
                        Out::nothing()
                    }
                    None => {
                        let other = arguments
                            .iter()
                            .filter_map(Value::known)
                            .find(|it| !it.starts_with('-'));
                        if other.is_some_and(|name| name != "zsh") {
                            self.state.set_splitting(true);
                        } else if other.is_some() {
                            self.state.set_splitting(false);
                        }
                        Out::nothing()
                    }
                }
            }
            "shopt" | "setopt" | "unsetopt" if bash => {
                let words = known.unwrap_or_default();
                if words
                    .iter()
                    .any(|it| it.to_ascii_lowercase().contains("clobber"))
                {
                    self.state.keep_files();
                }
                if program != "shopt" {
                    self.zsh_options(&words, program == "setopt");
                }
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
                if program == "shopt"
                    && !words.contains(&"-u")
                    && (words.contains(&"autocd") || words.contains(&"cdable_vars"))
                {
                    self.unknown("an option that makes other words folders to go to");
                }
                if program == "shopt" && words.contains(&"extdebug") {
                    self.soft_unknown("an option that changes what words become");
                }
                if program == "shopt" && words.contains(&"lastpipe") {
                    self.last_stays = !words.contains(&"-u");
                }
                self.record(program, argv, streams);
                Out::Unknown(OUTPUT)
            }
            ":" | "true" => Out::nothing(),
            name if HARMLESS.contains(&name) || zsh && ZSH.contains(&name) => {
                self.record(program, argv, streams);
                if name == "ulimit" {
                    self.state.keep_files();
                }
                match name {
                    "umask" | "wait" | "disown" | "times" => Out::nothing(),
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
    pub(super) fn record(&mut self, program: &str, argv: &[Value], streams: &mut Streams) {
        let (reads, writes) = self.taken(streams);
        let altered = utility::altered(program, argv.get(1..).unwrap_or_default());
        let alters = self.all_placed(altered);
        let span = self.span.clone();
        self.found(Resolved {
            directory: self.state.runs_in(),
            argv: argv.to_vec(),
            name: program.to_owned(),
            writes,
            alters,
            reads,
            span,
            certainty: self.certainty,
            is_program: false,
        });
    }

    /// The file that `history -w` and `history -a` write.
    fn history_file(&self, arguments: &[Value]) -> Option<Value> {
        let (first, rest) = arguments.split_first()?;
        if !matches!(first.known(), Some("-w" | "-a")) {
            return None;
        }
        rest.first()
            .cloned()
            .or_else(|| match self.state.variable("HISTFILE") {
                Some(Variable::Text(path)) => Some(Value::Known(path.clone())),
                _ => None,
            })
    }

    fn signalled(&mut self, _arguments: &[Value]) {
        self.status = None;
    }
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
