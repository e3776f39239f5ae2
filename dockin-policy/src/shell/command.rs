//! Simple commands: assignments, aliases, functions, builtins and programs.

use super::{
    Dialect,
    ast::{Heredoc, Redirect, Word},
    expand::Mode,
    known,
    lexer::{Parser, assignment_end},
    parse::parse,
    redirect::Streams,
    run::{Certainty, Flow, Input, Resolved, Runner, Shape},
    session::{Doubt, File, Positional, Variable},
    utility::{self, base_name},
    value::{DOWNLOADED, OUTPUT, Out, VARIABLE, Value},
    wrapper::{self, Inner},
};

/// Functions inside the same function.
const MAX_CALLS: usize = 3;

impl Runner<'_> {
    pub(super) fn simple(
        &mut self,
        assignments: usize,
        words: &[Word<'_>],
        redirects: &[Redirect<'_>],
        texts: &[Heredoc<'_>],
    ) -> Out {
        // A line may go on inside the name that is assigned to.
        let hidden = words.iter().skip(assignments).take_while(|word| {
            word.raw.contains(&b'\n') && assignment_end(&joined_name(word.raw)).is_some()
        });
        let assignments = assignments + hidden.count();
        let (assigned, words) = words.split_at(assignments.min(words.len()));
        self.substituted = false;
        if words.is_empty() {
            let mut streams = self.redirects(redirects, texts);
            self.ran_substitution = false;
            for word in assigned {
                self.assign(word.raw);
            }
            // `x=$(false)` ends as what is substituted.
            if !self.ran_substitution {
                self.ends_with(Some(0));
            }
            if assigned.is_empty() && self.dialect() == Dialect::Zsh {
                return self.null_command(streams);
            }
            self.stand_alone(&mut streams);
            self.hoped |= streams.may_fail;
            return self.deliver(Out::nothing(), &streams);
        }
        if let Some(text) = self.aliased(words) {
            return self.alias(assigned, &text, redirects, texts);
        }
        // Words are expanded before assignments count: `x=a; x=b echo $x` says `a`.
        let (argv, vanished) = self.arguments_as_written(words);
        let absent = self.absent;
        let mut streams = self.redirects(redirects, texts);
        self.absent = absent;
        if argv.is_empty() && !redirects.is_empty() && self.dialect() == Dialect::Zsh {
            return self.null_command(streams);
        }
        // For one command only, as far as it is a program.
        let mut before = Vec::with_capacity(assigned.len());
        for word in assigned {
            let raw = joined_name(word.raw);
            let name = raw.split(|byte| b"+=[".contains(byte)).next();
            let name = super::expand::lossy(name.unwrap_or_default());
            let old = self.state.variable(&name).cloned();
            before.push((name.clone(), old, self.state.is_exported(&name)));
            self.assign(word.raw);
            // What cannot be set does not get there either.
            if !self.state.is_constant(&name) {
                self.state.export(&name, true);
            }
        }
        self.absent = absent;
        let outer = streams
            .stdin
            .take()
            .map(|stdin| std::mem::replace(&mut self.stdin, stdin));
        if vanished {
            // The environment may have it.
            self.soft_unknown(VARIABLE);
        }
        let out = self.argv(argv, &mut streams);
        self.hoped |= streams.may_fail;
        if let Some(outer) = outer {
            self.stdin = outer;
        }
        self.take_back(words, before);
        self.deliver(out, &streams)
    }

    /// Takes back the assignments in front of a command, with what they had before.
    fn take_back(&mut self, words: &[Word<'_>], before: Vec<(String, Option<Variable>, bool)>) {
        let program = words.first().map(|word| word.raw).unwrap_or_default();
        let special = matches!(
            program,
            b":" | b"."
                | b"source"
                | b"break"
                | b"continue"
                | b"declare"
                | b"eval"
                | b"exec"
                | b"exit"
                | b"export"
                | b"readonly"
                | b"return"
                | b"set"
                | b"shift"
                | b"times"
                | b"trap"
                | b"typeset"
                | b"unset"
        );
        let kept = special && matches!(self.dialect(), Dialect::Sh | Dialect::Busybox);
        let is_sure = program.iter().all(|byte| !b"$`\\'\"*?[".contains(byte))
            && self
                .state
                .function(&super::expand::lossy(program))
                .is_none();
        for (name, old, exported) in before.into_iter().rev() {
            if kept && is_sure {
                // The shell's own commands keep them there.
            } else if special || !is_sure {
                if self.state.variable(&name) != old.as_ref() {
                    self.state.set(&name, Variable::Unknown);
                }
            } else {
                match old {
                    Some(old) => self.state.set(&name, old),
                    None => self.state.forget(&name),
                }
                if !exported {
                    self.state.export(&name, false);
                }
            }
        }
    }

    /// The values that the words of a command become, and whether the program's name is a variable
    /// that nobody set.
    fn arguments_as_written(&mut self, words: &[Word<'_>]) -> (Vec<Value>, bool) {
        let mut argv = Vec::with_capacity(words.len());
        self.absent = false;
        let Some((first, rest)) = words.split_first() else {
            return (argv, false);
        };
        argv.extend(self.command_word(first));
        let vanished = argv.is_empty() && is_a_variable(first.raw);
        if !is_declaration(first.raw) {
            argv.extend(self.words(rest));
            return (argv, vanished);
        }
        for word in rest {
            match assignment_end(word.raw) {
                Some(end) if word.raw.get(end) == Some(&b'(') => {
                    argv.push(Value::Known(super::expand::lossy(word.raw)));
                }
                Some(_) => {
                    let value = self.whole(word.raw, Mode::Word);
                    argv.push(match value {
                        Value::Pattern(text) => Value::Known(super::expand::unescape(&text)),
                        other => other,
                    });
                }
                None => argv.extend(self.words(std::slice::from_ref(word))),
            }
        }
        (argv, vanished)
    }

    /// Runs the text that an alias became, behind its assignments.
    fn alias(
        &mut self,
        assigned: &[Word<'_>],
        text: &str,
        redirects: &[Redirect<'_>],
        texts: &[Heredoc<'_>],
    ) -> Out {
        let mut streams = self.redirects(redirects, texts);
        self.stand_alone(&mut streams);
        let outer = streams
            .stdin
            .take()
            .map(|stdin| std::mem::replace(&mut self.stdin, stdin));
        let mut whole = String::new();
        for word in assigned {
            whole.push_str(&super::expand::lossy(word.raw));
            whole.push(' ');
        }
        whole.push_str(text);
        self.nesting += 1;
        let out = if self.nesting > 12 {
            self.unknown("aliases inside aliases");
            Out::Unknown(OUTPUT)
        } else {
            let script = parse(whole.as_bytes(), self.dialect());
            if script.error.is_some() {
                self.unknown("an alias that cannot be read");
            }
            if self.state.doubts_aliases() {
                self.unknown("an alias that may not be set");
            }
            self.script(&script, whole.as_bytes())
        };
        self.nesting -= 1;
        if let Some(outer) = outer {
            self.stdin = outer;
        }
        self.hoped |= streams.may_fail;
        self.deliver(out, &streams)
    }

    /// zsh: redirections alone are those of `cat`, or of `more` where they only read.
    fn null_command(&mut self, mut streams: Streams) -> Out {
        let name = if streams.writes.is_empty() {
            "more"
        } else {
            "cat"
        };
        let outer = streams
            .stdin
            .take()
            .map(|stdin| std::mem::replace(&mut self.stdin, stdin));
        let out = self.argv(vec![Value::Known(name.to_owned())], &mut streams);
        if let Some(outer) = outer {
            self.stdin = outer;
        }
        self.hoped |= streams.may_fail;
        self.deliver(out, &streams)
    }

    /// The text that a command becomes when its name is an alias; aliases in it are replaced, too.
    fn aliased(&self, words: &[Word<'_>]) -> Option<String> {
        let mut text = String::new();
        let mut words = words.iter();
        let mut seen: Vec<&str> = Vec::new();
        let mut more = true;
        let mut any = false;
        while more {
            let word = words.next()?;
            // A line may go on inside a name.
            let mut name = std::str::from_utf8(word.raw).ok()?.replace("\\\n", "");
            let mut rest = String::new();
            let mut found = false;
            while let Some((key, value)) = self.alias_entry(&name)
                && !seen.contains(&key)
            {
                seen.push(key);
                found = true;
                let (first, behind) = match value.split_once([' ', '\t', '\n', ';', '|', '&']) {
                    Some((first, _)) => (first, value.get(first.len()..).unwrap_or_default()),
                    None => (value.as_str(), ""),
                };
                rest = format!("{behind}{rest}");
                name = first.to_owned();
            }
            any |= found;
            text.push_str(&name);
            text.push_str(&rest);
            more = found && (rest.ends_with([' ', '\t']));
            text.push(' ');
        }
        if !any {
            return None;
        }
        for word in words {
            text.push_str(std::str::from_utf8(word.raw).ok()?);
            text.push(' ');
        }
        Some(text)
    }

    fn alias_entry(&self, name: &str) -> Option<(&str, &String)> {
        if name.is_empty() || name.contains(['\'', '"', '\\', '$']) {
            return None;
        }
        self.alias_pair(name)
    }

    /// `name=value` as it is written.
    pub(super) fn assign(&mut self, raw: &[u8]) {
        let raw = &*joined_name(raw);
        let Some(end) = assignment_end(raw) else {
            return;
        };
        let (left, value) = raw.split_at(end);
        let left = left.strip_suffix(b"=").unwrap_or(left);
        let (left, appends) = match left.strip_suffix(b"+") {
            Some(left) => (left, true),
            None => (left, false),
        };
        let open = left.iter().position(|byte| *byte == b'[');
        let name =
            String::from_utf8_lossy(left.get(..open.unwrap_or(left.len())).unwrap_or_default())
                .into_owned();
        let index = open.and_then(|open| left.get(open + 1..left.len().saturating_sub(1)));
        if let Some(list) = value.strip_prefix(b"(") {
            let list = list.strip_suffix(b")").unwrap_or(list).to_vec();
            return self.assign_list(&name, &list, appends);
        }
        let text = self.assigned_value(value);
        if self.state.is_constant(&name) {
            // Some shells end there, some only this line.
            self.unknown("a variable that cannot be set");
        }
        let name = match self.state.variable(&name) {
            Some(Variable::Reference(target)) => target.clone(),
            _ => name,
        };
        self.changes_what_runs(&name, text.as_deref());
        if self.state.is_integer(&name) && index.is_none() {
            let number = text.and_then(|text| self.arithmetic(text.as_bytes()));
            return self.assign_number(&name, false, number);
        }
        if let Some(index) = index {
            return self.assign_element(&name, index, text);
        }
        let old = match self.state.variable(&name) {
            Some(Variable::Text(old)) => Some(old.clone()),
            None | Some(Variable::Unset) => Some(String::new()),
            _ => None,
        };
        let new = match (appends, old, text) {
            (false, _, Some(text)) => Variable::Text(text),
            (true, Some(old), Some(text)) => Variable::Text(old + &text),
            _ => Variable::Unknown,
        };
        self.state.set(&name, new);
    }

    fn assigned_value(&mut self, value: &[u8]) -> Option<String> {
        match self.whole(value, Mode::Word) {
            Value::Known(text) => Some(text),
            Value::Pattern(text) => Some(super::expand::unescape(&text)),
            Value::Unknown { .. } => None,
        }
    }

    fn assign_element(&mut self, name: &str, index: &[u8], text: Option<String>) {
        let mut variable = match self.state.variable(name) {
            Some(variable) => variable.clone(),
            None => Variable::Array(std::collections::BTreeMap::new()),
        };
        match &mut variable {
            Variable::Map(map) => match (self.text_of(index, Mode::Operand), text) {
                (Some(key), Some(text)) => {
                    map.insert(key, text);
                }
                _ => variable = Variable::Unknown,
            },
            Variable::Array(array) => {
                let at = self
                    .arithmetic(index)
                    .and_then(|at| usize::try_from(at).ok());
                match (at, text) {
                    (Some(at), Some(text)) => {
                        array.insert(at, text);
                    }
                    _ => variable = Variable::Unknown,
                }
            }
            _ => {
                let _at = self.arithmetic(index);
                variable = Variable::Unknown;
            }
        }
        self.state.set(name, variable);
    }

    fn assign_list(&mut self, name: &str, list: &[u8], appends: bool) {
        let mut parser = Parser::new(list, self.dialect());
        let mut words = Vec::new();
        loop {
            if parser.skip_newlines().is_err() {
                break;
            }
            match parser.word() {
                Ok(word) => words.push(word),
                Err(_) => break,
            }
        }
        let old = self.state.variable(name).cloned();
        let is_map = matches!(old, Some(Variable::Map(_)));
        let (mut array, mut map) = match old {
            Some(Variable::Array(array)) if appends => (array, Default::default()),
            Some(Variable::Map(map)) if appends => (Default::default(), map),
            _ => (
                std::collections::BTreeMap::new(),
                std::collections::BTreeMap::new(),
            ),
        };
        let mut next = array.keys().next_back().map_or(0, |last| last + 1);
        let mut known = true;
        for word in words {
            if word.raw.first() == Some(&b'[')
                && let Some(end) = word.raw.windows(2).position(|pair| pair == b"]=")
            {
                let index = word.raw.get(1..end).unwrap_or_default();
                let text = self.assigned_value(word.raw.get(end + 2..).unwrap_or_default());
                if is_map {
                    match (self.text_of(index, Mode::Operand), text) {
                        (Some(key), Some(text)) => {
                            map.insert(key, text);
                        }
                        _ => known = false,
                    }
                } else {
                    match (
                        self.arithmetic(index)
                            .and_then(|at| usize::try_from(at).ok()),
                        text,
                    ) {
                        (Some(at), Some(text)) => {
                            array.insert(at, text);
                            next = at + 1;
                        }
                        _ => known = false,
                    }
                }
                continue;
            }
            for value in self.words(&[word]) {
                match value {
                    Value::Known(text) => {
                        array.insert(next, text);
                        next += 1;
                    }
                    _ => known = false,
                }
            }
        }
        self.state.set(
            name,
            match (known, is_map) {
                (false, _) => Variable::Unknown,
                (true, true) => Variable::Map(map),
                (true, false) => Variable::Array(array),
            },
        );
    }

    pub(super) fn assign_number(&mut self, name: &str, indexed: bool, value: Option<i64>) {
        let value = match value {
            Some(value) if !indexed => Variable::Text(value.to_string()),
            _ => Variable::Unknown,
        };
        self.state.set(name, value);
    }

    /// Variables that change what runs, or are commands themselves.
    pub(super) fn changes_what_runs(&mut self, name: &str, value: Option<&str>) {
        match name {
            "LD_PRELOAD" | "LD_LIBRARY_PATH" | "LD_AUDIT" | "GCONV_PATH" | "PYTHONPATH"
            | "PYTHONSTARTUP" | "PERL5LIB" | "PERL5OPT" | "NODE_OPTIONS" | "RUBYOPT"
            | "RUBYLIB"
                if value != Some("") =>
            {
                self.unknown("a variable that makes programs load other code");
            }
            "PS4" => {
                if let Some(value) = value {
                    let value = value.to_owned();
                    self.dead(|runner| runner.text_of(value.as_bytes(), Mode::Text));
                }
            }
            "BASH_ENV" | "ENV" | "PS1" | "PS2" | "PS0" | "PROMPT" | "RPROMPT" => {
                match value {
                    // A prompt, and the name of a file, are expanded.
                    Some(value) => {
                        if value.contains(['$', '`']) {
                            let _text = self.text_of(value.as_bytes(), Mode::Text);
                        } else if matches!(name, "BASH_ENV" | "ENV") && !value.is_empty() {
                            self.source(&Value::Known(value.to_owned()));
                        }
                    }
                    None => self.unknown("a variable that is run as a command"),
                }
            }
            "PROMPT_COMMAND"
            | "LESSOPEN"
            | "LESSCLOSE"
            | "PAGER"
            | "MANPAGER"
            | "GIT_PAGER"
            | "EDITOR"
            | "VISUAL"
            | "GIT_EDITOR"
            | "GIT_SSH_COMMAND"
            | "GIT_EXTERNAL_DIFF"
            | "FCEDIT"
            | "BROWSER"
            | "GIT_SEQUENCE_EDITOR"
            | "TAR_OPTIONS"
            | "SUDO_ASKPASS"
            | "SSH_ASKPASS" => match value {
                Some(value) => {
                    let value = value
                        .trim_start_matches('|')
                        .trim_start_matches('-')
                        .to_owned();
                    // Who runs it, and when, is another matter: it is judged here.
                    let _out = self.dead(|runner| runner.text(&value));
                }
                None => self.unknown("a variable that is run as a command"),
            },
            _ => {}
        }
    }

    /// One program with its arguments, and what it runs in turn.
    pub(super) fn argv(&mut self, argv: Vec<Value>, streams: &mut Streams) -> Out {
        if !self.spend() {
            return Out::Unknown(OUTPUT);
        }
        let Some(first) = argv.first() else {
            self.stand_alone(streams);
            return Out::nothing();
        };
        let program = match first {
            Value::Known(program)
                if self.dialect() == Dialect::Zsh
                    && program.len() > 1
                    && program.starts_with('=') =>
            {
                let name = program.trim_start_matches('=');
                known::path_of(name).unwrap_or_else(|| format!("/usr/bin/{name}"))
            }
            Value::Known(program) => program.clone(),
            Value::Pattern(pattern) => match known::program_like(pattern, self.state.directory()) {
                Some(program) => program,
                None => {
                    self.stand_alone(streams);
                    self.unknown("a program's name with wildcards");
                    return Out::Unknown(OUTPUT);
                }
            },
            Value::Unknown {
                reason,
                suffix,
                prefix,
                ..
            } => {
                let reason = *reason;
                let name = suffix.rsplit_once('/').map(|(_, name)| name.to_owned());
                let prefix = prefix.clone();
                match name.filter(|name| !name.is_empty()) {
                    // What is in front is only the way to it.
                    Some(name) => {
                        let program = format!("{prefix}?/{name}");
                        self.soft_unknown(reason);
                        program
                    }
                    None => {
                        self.stand_alone(streams);
                        if reason == DOWNLOADED {
                            self.shape(Shape::DownloadIntoShell);
                        }
                        self.unknown(reason);
                        self.status = None;
                        return Out::Unknown(OUTPUT);
                    }
                }
            }
        };
        if self.state.trap("DEBUG").is_some() && !self.calls.iter().any(|call| call == "\u{0}DEBUG")
        {
            let text = self.state.trap("DEBUG").unwrap_or_default().to_owned();
            self.calls.push("\u{0}DEBUG".to_owned());
            let _out = self.text(&text);
            self.calls.pop();
        }
        let mut argv = argv;
        if let Some(first) = argv.first_mut() {
            *first = Value::Known(program.clone());
        }
        if let Some(Value::Known(last)) = argv.last() {
            let last = last.clone();
            self.state.text("_", last);
        } else {
            self.state.set("_", Variable::Unknown);
        }
        if let Some(body) = self.state.function(&program).map(str::to_owned) {
            self.stand_alone(streams);
            return match self.state.doubt_about(&program) {
                None => self.call(&program, &body, &argv),
                Some(Doubt::Whether) => {
                    let out = self.maybe(|runner| runner.call(&program, &body, &argv));
                    let _other = self.maybe(|runner| {
                        let mut streams = Streams::default();
                        let done = runner.builtin(&program, &argv, &mut streams);
                        done.unwrap_or_else(|| runner.program(&program, argv, &mut streams))
                    });
                    out
                }
                Some(Doubt::Which) => {
                    let _out = self.maybe(|runner| runner.call(&program, &body, &argv));
                    self.unknown("a function that may be one of several");
                    Out::Unknown(OUTPUT)
                }
            };
        }
        if let Some(out) = self.builtin(&program, &argv, streams) {
            return out;
        }
        self.program(&program, argv, streams)
    }

    fn call(&mut self, name: &str, body: &str, argv: &[Value]) -> Out {
        let depth = self.calls.iter().filter(|call| *call == name).count();
        if depth >= MAX_CALLS || self.certainty == Certainty::Latent && depth > 0 {
            self.unknown("a function that calls itself");
            return Out::Unknown(OUTPUT);
        }
        self.calls.push(name.to_owned());
        let before = self.state.positional().clone();
        let arguments = arguments_of(argv);
        self.state.set_positional(arguments);
        // It was read where it was defined, with the aliases of then.
        let aliases = std::mem::take(&mut self.aliases);
        let reads_lines = std::mem::replace(&mut self.reads_lines, false);
        let loops = std::mem::take(&mut self.loops);
        let outer = std::mem::take(&mut self.locals);
        let out = self.text(body);
        for (name, old) in std::mem::replace(&mut self.locals, outer).into_iter().rev() {
            match old {
                Some(old) => self.state.set(&name, old),
                None => self.state.forget(&name),
            }
        }
        self.loops = loops;
        self.reads_lines = reads_lines;
        self.aliases = aliases;
        self.state.set_positional(before);
        if self.flow == Flow::Return {
            self.flow = Flow::Next;
        }
        self.calls.pop();
        out
    }

    /// A program of its own.
    pub(super) fn program(
        &mut self,
        program: &str,
        argv: Vec<Value>,
        streams: &mut Streams,
    ) -> Out {
        let name = self.identity(program);
        let arguments = argv.get(1..).unwrap_or_default().to_vec();
        let mut writes = std::mem::take(&mut streams.writes);
        writes.extend(utility::written(&name, &arguments));
        let mut reads = std::mem::take(&mut streams.reads);
        reads.extend(utility::read_by(&name, &arguments));
        let writes = writes.into_iter().map(|path| self.placed(path)).collect();
        let reads = reads.into_iter().map(|path| self.placed(path)).collect();
        // busybox runs its own without starting a program.
        let inside = self.dialect() == Dialect::Busybox
            && !program.contains('/')
            && known::is_applet(program);
        let span = self.span.clone();
        let is_loaded = std::mem::take(&mut self.is_loaded);
        self.found(Resolved {
            argv: argv.clone(),
            name: name.clone(),
            writes,
            reads,
            span,
            certainty: self.certainty,
            is_program: !inside && known::may_exist(program) && !is_loaded,
        });
        self.ends_with((!known::may_exist(program)).then_some(127));
        if matches!(name.as_str(), "true" | "false") {
            self.status = Some(i32::from(name == "false"));
        }
        if program.starts_with(['/', '.', '~']) || known::may_exist(program) {
            self.outside_of_image(program);
        }
        if !known::may_exist(program) {
            return Out::nothing();
        }
        if !program.contains('/')
            && known::path_of(program).is_none()
            && let Some(body) = self
                .state
                .function("command_not_found_handle")
                .map(str::to_owned)
        {
            return self.maybe(|runner| runner.call("command_not_found_handle", &body, &argv));
        }
        self.runs_in_turn(&name, program, &argv, &arguments)
    }

    fn runs_in_turn(
        &mut self,
        name: &str,
        program: &str,
        argv: &[Value],
        arguments: &[Value],
    ) -> Out {
        if utility::shell(name).is_some() {
            return self.shell(name, program, arguments);
        }
        match wrapper::unwrap(name, argv, &self.stdin) {
            Inner::None => {}
            Inner::Argv(inner) => {
                let own = arguments.len().saturating_sub(inner.len());
                let given = arguments.get(..own).unwrap_or_default().to_vec();
                return self.below(|runner| {
                    runner.environment(name, &given);
                    runner.inner(inner)
                });
            }
            Inner::Several(mut list) => {
                if self.dialect() == Dialect::Busybox {
                    // Its xargs leaves out what is empty, in some versions.
                    let empty = Value::Known(String::new());
                    for at in 0..list.len() {
                        let Some(full) = list.get(at).filter(|inner| inner.contains(&empty)) else {
                            continue;
                        };
                        let less = full.iter().filter(|value| **value != empty);
                        list.push(less.cloned().collect());
                    }
                }
                for inner in list {
                    let _out = if self.dialect() == Dialect::Busybox {
                        self.applet(inner)
                    } else {
                        self.inner(inner)
                    };
                }
                return Out::Unknown(OUTPUT);
            }
            Inner::Loaded(inner) => {
                self.is_loaded = true;
                return self.inner(inner);
            }
            Inner::Applet(inner) => return self.applet(inner),
            Inner::Text {
                shell,
                text,
                arguments,
            } => {
                return self.shell_text(shell, &text, &arguments);
            }
            Inner::Unknown(reason) => {
                self.unknown(reason);
                return Out::Unknown(OUTPUT);
            }
        }
        if name == "find" {
            self.find(arguments);
            return Out::Unknown(OUTPUT);
        }
        self.links(name, arguments);
        self.code(name, argv, arguments);
        self.emulated(name, arguments)
    }

    /// What a wrapper changes in the environment of what it runs.
    fn environment(&mut self, name: &str, arguments: &[Value]) {
        if !matches!(name, "env" | "sudo" | "doas") {
            return;
        }
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word {
                Value::Known(text)
                    if matches!(text.as_str(), "-i" | "-" | "--ignore-environment") =>
                {
                    let names: Vec<String> = self.state.names().map(str::to_owned).collect();
                    for name in names {
                        self.state.forget(&name);
                    }
                }
                Value::Known(text) if text == "-u" && name == "env" => {
                    if let Some(name) = words.next().and_then(Value::known) {
                        self.state.set(name, Variable::Unset);
                        self.state.export(name, true);
                    }
                }
                Value::Known(text) if !text.starts_with('-') => {
                    if let Some((name, value)) = text.split_once('=') {
                        self.state.release(name);
                        self.state.text(name, value);
                        self.state.export(name, true);
                    }
                }
                Value::Unknown { prefix, .. } => {
                    if let Some((name, _)) = prefix.split_once('=') {
                        self.state.release(name);
                        self.state.set(name, Variable::Unknown);
                        self.state.export(name, true);
                    }
                }
                _ => {}
            }
        }
    }

    fn inner(&mut self, inner: Vec<Value>) -> Out {
        if self.nesting == 12 {
            self.unknown("commands inside commands, deeper than is looked at");
            return Out::Unknown(OUTPUT);
        }
        self.nesting += 1;
        // A program starts programs, no functions or builtins.
        let program = match inner.first() {
            Some(Value::Known(program)) => program.clone(),
            Some(Value::Unknown { reason, suffix, .. }) => {
                match suffix.rsplit_once('/').map(|(_, name)| name.to_owned()) {
                    Some(name) if !name.is_empty() => format!("?/{name}"),
                    _ => {
                        let reason = *reason;
                        self.unknown(reason);
                        self.nesting -= 1;
                        return Out::Unknown(OUTPUT);
                    }
                }
            }
            Some(Value::Pattern(_)) | None => {
                if !inner.is_empty() {
                    self.unknown("a program's name with wildcards");
                }
                self.nesting -= 1;
                return Out::Unknown(OUTPUT);
            }
        };
        let dialect = self.dialect();
        if dialect == Dialect::Busybox {
            // The applet behind `busybox env` is started by its own name.
            self.state.set_dialect(Dialect::Sh);
        }
        let out = self.program(&program, inner, &mut Streams::default());
        self.state.set_dialect(dialect);
        self.nesting -= 1;
        out
    }

    /// `busybox NAME …`: the applet runs where busybox runs.
    fn applet(&mut self, inner: Vec<Value>) -> Out {
        let dialect = self.dialect();
        self.state.set_dialect(Dialect::Busybox);
        self.nesting += 1;
        let out = match inner.first().and_then(Value::known).map(str::to_owned) {
            Some(program) if self.nesting < 12 => {
                self.program(&program, inner, &mut Streams::default())
            }
            _ => {
                self.unknown(VARIABLE);
                Out::Unknown(OUTPUT)
            }
        };
        self.nesting -= 1;
        self.state.set_dialect(dialect);
        out
    }

    /// A text that a program hands to a shell that it starts.
    pub(super) fn shell_text(&mut self, shell: &str, text: &str, arguments: &[Value]) -> Out {
        let mut argv = vec![
            Value::Known(shell.to_owned()),
            Value::Known("-c".to_owned()),
            Value::Known(text.to_owned()),
        ];
        argv.extend(arguments.iter().cloned());
        self.inner(argv)
    }

    /// A shell: what it is told on its command line, in a file, or on standard input.
    fn shell(&mut self, name: &str, program: &str, arguments: &[Value]) -> Out {
        let Some(dialect) = utility::shell(name) else {
            return Out::Unknown(OUTPUT);
        };
        let options = utility::shell_options(arguments);
        let options = &options;
        let run = |runner: &mut Self| {
            runner.state.set_dialect(
                if runner.dialect() == Dialect::Busybox && matches!(name, "sh" | "ash" | "hush") {
                    Dialect::Busybox
                } else {
                    dialect
                },
            );
            runner.flow = Flow::Next;
            match *options {
                utility::ShellRuns::Text(Value::Known(text), rest) => {
                    let text = text.clone();
                    runner.arguments(program, rest);
                    runner.read_text(&text)
                }
                utility::ShellRuns::Text(value, _) => {
                    runner.unknown_code(value);
                    Out::Unknown(OUTPUT)
                }
                utility::ShellRuns::File(Value::Known(path), rest) => {
                    let path = path.clone();
                    let mut words = vec![Value::Known(path.clone())];
                    words.extend(rest.iter().cloned());
                    runner.arguments(&path, &words);
                    runner.source(&Value::Known(path))
                }
                utility::ShellRuns::File(value, _) => {
                    runner.unknown_code(value);
                    Out::Unknown(OUTPUT)
                }
                utility::ShellRuns::Input(rest) => {
                    let mut words = vec![Value::Known(program.to_owned())];
                    words.extend(rest.iter().cloned());
                    runner.arguments(program, &words);
                    runner.input_as_commands()
                }
                utility::ShellRuns::Nothing => Out::nothing(),
                utility::ShellRuns::Unknown => {
                    runner.unknown("a shell's arguments are not known");
                    Out::Unknown(OUTPUT)
                }
            }
        };
        let functions = dialect == Dialect::Bash && self.dialect() == Dialect::Bash;
        // The environment may have a variable that nobody exported here.
        let left = self.below(|runner| runner.state.leave_unexported(functions));
        if !left.is_empty() && self.certainty < Certainty::Dead {
            let _out = self.dead(run);
        }
        let aliases = std::mem::take(&mut self.aliases);
        let (loops, sources) = (self.loops, self.sources);
        (self.loops, self.sources) = (0, 0);
        let calls = std::mem::take(&mut self.calls);
        let out = self.below(|runner| {
            runner.state.leave_unexported(functions);
            run(runner)
        });
        (self.loops, self.sources) = (loops, sources);
        self.calls = calls;
        self.aliases = aliases;
        out
    }

    /// `$0`, `$1`, … of a shell that is started.
    fn arguments(&mut self, program: &str, words: &[Value]) {
        self.arg0 = match words.first() {
            None => Some(program.to_owned()),
            Some(value) => value.known().map(str::to_owned),
        };
        let is_one = words.first().is_none_or(|value| value.known().is_some());
        self.state.set_positional(if is_one {
            arguments_of(words)
        } else {
            Positional::Unknown
        });
    }

    fn unknown_code(&mut self, value: &Value) {
        match value {
            Value::Unknown {
                reason: DOWNLOADED, ..
            } => {
                self.shape(Shape::DownloadIntoShell);
                self.unknown(DOWNLOADED);
            }
            _ => self.unknown("a command text that is not known"),
        }
    }

    /// Commands that come on standard input.
    fn input_as_commands(&mut self) -> Out {
        match std::mem::replace(&mut self.stdin, Input::Text(String::new())) {
            Input::Inherited => {
                // The session's own: judged as it comes.
                self.stdin = Input::Inherited;
                Out::Unknown(OUTPUT)
            }
            Input::Text(text) => self.read_text(&text),
            Input::Unknown(reason) => {
                if reason == DOWNLOADED {
                    self.shape(Shape::DownloadIntoShell);
                }
                self.unknown("a shell reads commands that are not known");
                Out::Unknown(OUTPUT)
            }
        }
    }

    /// Commands in a file.
    pub(super) fn source(&mut self, path: &Value) -> Out {
        match path.known() {
            Some("/dev/stdin" | "/dev/fd/0" | "/proc/self/fd/0") => {
                return self.input_as_commands();
            }
            Some("/dev/null") => return Out::nothing(),
            _ => {}
        }
        match self.file_text(path) {
            Out::Known(text) => {
                self.sources += 1;
                let out = self.read_text(&text);
                self.sources -= 1;
                if self.flow == Flow::Return {
                    self.flow = Flow::Next;
                }
                out
            }
            Out::Unknown(reason) => {
                if reason == DOWNLOADED {
                    self.shape(Shape::DownloadIntoShell);
                }
                self.unknown("a file that is read as commands cannot be judged");
                Out::Unknown(OUTPUT)
            }
        }
    }

    /// The name that a program is known by: behind links and copies that this session made.
    fn identity(&self, program: &str) -> String {
        let program = program.strip_prefix('=').unwrap_or(program);
        if program.contains('/') {
            if let Some(File::Program(name)) = self.state.file(&self.absolute(program)) {
                // busybox does what it is called like.
                return if name == "busybox" {
                    base_name(program).to_owned()
                } else {
                    name.clone()
                };
            }
        } else if let Some(File::Program(name)) = self.state.file(&format!("hash:{program}")) {
            return name.clone();
        } else if self.state.variable("PATH").is_some() {
            // Some folder was put in front of the others.
            let tail = format!("/{program}");
            for (path, file) in self.state.files() {
                if let File::Program(name) = file
                    && (path.ends_with(&tail) || path == program)
                {
                    return name.clone();
                }
            }
        }
        base_name(program).to_owned()
    }

    /// A path below the working directory, where that is known.
    fn placed(&self, path: Value) -> Value {
        match path {
            Value::Known(path) => Value::Known(self.absolute(&path)),
            Value::Pattern(path) if !path.starts_with('/') => Value::Pattern(self.absolute(&path)),
            Value::Unknown {
                reason,
                prefix,
                suffix,
            } if !prefix.is_empty() && prefix.contains('/') && !prefix.starts_with('/') => {
                let prefix = self.absolute(&prefix);
                Value::Unknown {
                    reason,
                    prefix,
                    suffix,
                }
            }
            other => other,
        }
    }

    /// A program that this session wrote, or that no image has.
    fn outside_of_image(&mut self, program: &str) {
        if !program.contains('/') || self.certainty == Certainty::Dead {
            return;
        }
        let path = self.absolute(program);
        match self.state.file(&path) {
            Some(File::Program(_)) => return,
            Some(File::Text(text)) => {
                // A script that is known.
                let text = text.clone();
                let _out = self.below(|runner| runner.text(&text));
                return;
            }
            Some(File::Unknown) => {
                return self.unknown("a program that was written in this session");
            }
            None => {}
        }
        if !known::is_program_path(&path) {
            self.unknown("a program that stands where no packaged one does");
        }
    }

    /// Programs under other names: copies and links.
    fn links(&mut self, name: &str, arguments: &[Value]) {
        if self.certainty >= Certainty::Latent
            || !matches!(name, "ln" | "cp" | "install" | "mv" | "link")
        {
            return;
        }
        let operands: Vec<&str> = utility::operands(name, arguments)
            .into_iter()
            .filter_map(Value::known)
            .collect();
        let [sources @ .., target] = operands.as_slice() else {
            return;
        };
        for source in sources {
            let file = match self.state.file(&self.absolute(source)) {
                Some(file) => Some(file.clone()),
                None if known::is_program_path(&self.absolute(source)) => {
                    Some(File::Program(base_name(source).to_owned()))
                }
                None => None,
            };
            let Some(file) = file else { continue };
            let target_path = self.absolute(target);
            let below = format!("{target_path}/{}", base_name(source));
            if !self.state.set_file(&target_path, Some(file.clone()))
                || !self.state.set_file(&below, Some(file))
            {
                self.unknown("more files than are kept");
            }
        }
    }

    /// What `find` runs for each file.
    fn find(&mut self, arguments: &[Value]) {
        let start = arguments
            .first()
            .and_then(Value::known)
            .filter(|it| !it.starts_with('-'));
        let prefix = start.map(str::to_owned).unwrap_or_default();
        let literal_name = arguments
            .windows(2)
            .find(|pair| pair.first().and_then(Value::known) == Some("-name"))
            .and_then(|pair| pair.get(1).and_then(Value::known))
            .filter(|name| !name.contains(['*', '?', '[']))
            .map(str::to_owned);
        let only_itself = arguments.windows(2).any(|pair| {
            matches!(pair, [option, Value::Known(depth)] if option.known() == Some("-maxdepth") && depth == "0")
        });
        let mut rest = arguments;
        while let Some((first, behind)) = rest.split_first() {
            rest = behind;
            let runs = matches!(first.known(), Some("-exec" | "-execdir" | "-ok" | "-okdir"));
            if !runs {
                continue;
            }
            let end = behind
                .iter()
                .position(|it| matches!(it.known(), Some(";" | "+")))
                .unwrap_or(behind.len());
            let found = || {
                let suffix = literal_name.as_ref().map(|name| format!("/{name}"));
                Value::Unknown {
                    reason: "a file that find finds",
                    prefix: prefix.clone(),
                    suffix: suffix.unwrap_or_default(),
                }
            };
            let inner = behind
                .get(..end)
                .unwrap_or_default()
                .iter()
                .map(|value| match value.known() {
                    Some("{}") if only_itself && start.is_some() => Value::Known(prefix.clone()),
                    Some(text) if text.contains("{}") => found(),
                    _ => value.clone(),
                })
                .collect();
            let stdin = std::mem::replace(&mut self.stdin, Input::Unknown(OUTPUT));
            if let Some(name) = literal_name
                .as_ref()
                .filter(|_| !prefix.is_empty() && !only_itself)
            {
                // It may be found anywhere below; most likely it stands right there.
                let inner: Vec<Value> = inner;
                let likely = inner
                    .iter()
                    .map(|value| match value {
                        Value::Unknown { .. } => {
                            Value::Known(format!("{}/{name}", prefix.trim_end_matches('/')))
                        }
                        other => other.clone(),
                    })
                    .collect();
                self.dead(|runner| runner.inner(inner));
                let _out = self.inner(likely);
            } else {
                let _out = self.inner(inner);
            }
            self.stdin = stdin;
        }
    }

    /// What a program prints that only transforms what it is given.
    fn emulated(&mut self, name: &str, arguments: &[Value]) -> Out {
        if utility::downloads(name) {
            return Out::Unknown(DOWNLOADED);
        }
        if name == "tee" {
            let stdin = self.stdin.clone();
            let out = match stdin {
                Input::Text(text) => Out::Known(text),
                Input::Unknown(reason) => Out::Unknown(reason),
                Input::Inherited => Out::Unknown(OUTPUT),
            };
            let appends = arguments.iter().any(|it| it.known() == Some("-a"));
            let files: Vec<String> = utility::operands(name, arguments)
                .into_iter()
                .filter_map(Value::known)
                .map(str::to_owned)
                .collect();
            for file in files {
                self.write_file(&file, out.clone(), appends);
            }
            return out;
        }
        let Some(words) = arguments
            .iter()
            .map(Value::known)
            .collect::<Option<Vec<&str>>>()
        else {
            return match (&self.stdin, utility::is_filter(name)) {
                (Input::Unknown(reason), true) => Out::Unknown(reason),
                _ => Out::Unknown(OUTPUT),
            };
        };
        if matches!(name, "which" | "type")
            && let [program] = words.as_slice()
            && let Some(path) = known::path_of(program)
        {
            return Out::Known(path + "\n");
        }
        let files: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let read = |runner: &Self, path: &str| runner.file_text(&Value::Known(path.to_owned()));
        // A filter of known files is one of their text.
        let mut stdin = self.stdin.clone();
        let mut left = words.clone();
        if utility::is_filter(name)
            && let Some(last) = files.last()
            && let Out::Known(text) = read(self, last)
        {
            stdin = Input::Text(text);
            left.pop();
        }
        match stdin {
            Input::Text(text) => {
                utility::emulate(name, &left, Some(&text)).map_or(Out::Unknown(OUTPUT), |out| {
                    self.stdin = Input::Text(String::new());
                    Out::Known(out)
                })
            }
            Input::Unknown(DOWNLOADED) if utility::is_filter(name) => Out::Unknown(DOWNLOADED),
            _ => utility::emulate(name, &left, None).map_or(Out::Unknown(OUTPUT), Out::Known),
        }
    }
}

/// Builtins whose arguments are assignments.
const fn is_declaration(raw: &[u8]) -> bool {
    matches!(
        raw,
        b"export" | b"declare" | b"typeset" | b"local" | b"readonly" | b"integer" | b"float"
    )
}

/// `raw` without the ends of lines that are escaped in front of its `=`.
fn joined_name(raw: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let end = raw.iter().position(|byte| *byte == b'=');
    let (name, behind) = raw.split_at(end.unwrap_or(0));
    if !name.windows(2).any(|pair| pair == b"\\\n") {
        return raw.into();
    }
    let mut joined = Vec::with_capacity(raw.len());
    let mut rest = name;
    while let Some((byte, more)) = rest.split_first() {
        rest = match rest.strip_prefix(b"\\\n") {
            Some(more) => more,
            None => {
                joined.push(*byte);
                more
            }
        };
    }
    joined.extend_from_slice(behind);
    joined.into()
}

/// Whether a word is nothing but an expansion that may be empty.
fn is_a_variable(raw: &[u8]) -> bool {
    raw.first() == Some(&b'$') && !matches!(raw.get(1), Some(b'@' | b'*' | b'(' | b'0'..=b'9'))
}

fn arguments_of(argv: &[Value]) -> Positional {
    argv.iter()
        .skip(1)
        .map(|value| value.known().map(str::to_owned))
        .collect::<Option<Vec<_>>>()
        .map_or(Positional::Unknown, Positional::Known)
}
