//! Simple commands: assignments, aliases, functions, builtins and programs.

mod alias;
mod assign;
mod computed;
mod identity;
mod output;
mod program;
mod search_path;
mod shell;
mod watched;

use super::{
    Dialect,
    ast::{Heredoc, Redirect, Word},
    expand::Mode,
    known,
    lexer::assignment_end,
    redirect::Streams,
    run::{Certainty, Flow, Runner, Shape},
    session::{Doubt, Positional, Variable},
    value::{DOWNLOADED, OUTPUT, Out, VARIABLE, Value},
};
use assign::joined_name;
use computed::is_written;
pub(super) use watched::{is_run_by_calculations, is_watched};

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
        let before = (!redirects.is_empty()).then(|| self.descriptors.clone());
        let out = self.simple_command(assignments, words, redirects, texts);
        // `exec` leaves them open.
        if let Some(before) = before
            && !std::mem::take(&mut self.keeps_descriptors)
        {
            self.descriptors = before;
        }
        self.look_at_watched();
        out
    }

    fn simple_command(
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
        self.before_command();
        if words.is_empty() {
            let mut streams = self.redirects(redirects, texts);
            self.ran_substitution = false;
            self.redirected_run(streams.may_fail, |runner| {
                for word in assigned {
                    runner.assign(word.raw);
                }
            });
            // `x=$(false)` ends as what is substituted.
            if !self.ran_substitution {
                self.ends_with(Some(0));
                // What cannot be calculated, or must be set, ends the line.
                self.hoped = assigned.iter().any(|word| {
                    word.raw.contains(&b'?') || word.raw.windows(2).any(|it| it == b"((")
                });
            }
            if assigned.is_empty() && self.dialect() == Dialect::Zsh {
                return self.null_command(streams);
            }
            self.stand_alone(&mut streams);
            self.hoped |= streams.may_fail;
            return self.deliver(Out::nothing(), &streams);
        }
        if let Some((text, names)) = self.aliased(words) {
            return self.alias(assigned, words, (&text, names), redirects, texts);
        }
        // Words are expanded before assignments count: `x=a; x=b echo $x` says `a`.
        let (argv, vanished, computed) = self.arguments_as_written(words);
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
        self.has_input = outer.is_some();
        self.keeps_input = false;
        let outer_computed = std::mem::replace(&mut self.computed, computed);
        let out = self.redirected_run(streams.may_fail, |runner| runner.argv(argv, &mut streams));
        self.computed = outer_computed;
        self.hoped |= streams.may_fail;
        if let Some(outer) = outer
            && !std::mem::take(&mut self.keeps_input)
        {
            self.stdin = outer;
        }
        self.take_back(words, before);
        self.deliver(out, &streams)
    }

    /// Runs the trap that comes before every command, and its words.
    fn before_command(&mut self) {
        if self.calls.iter().any(|call| call == "\u{0}DEBUG") {
            return;
        }
        let Some(text) = self.state.trap("DEBUG").map(str::to_owned) else {
            return;
        };
        self.calls.push("\u{0}DEBUG".to_owned());
        // Of the small shells none knows it, and in bash functions do not.
        let before = (self.status, self.hoped);
        self.in_doubt(|runner| {
            let _out = runner.text(&text);
        });
        (self.status, self.hoped) = before;
        self.calls.pop();
    }

    /// The values that the words of a command become, whether the program's name is a variable
    /// that nobody set, and which of the values no word says.
    fn arguments_as_written(&mut self, words: &[Word<'_>]) -> (Vec<Value>, bool, Vec<String>) {
        let mut argv = Vec::with_capacity(words.len());
        self.absent = false;
        let mut computed = Vec::new();
        let Some((first, rest)) = words.split_first() else {
            return (argv, false, computed);
        };
        argv.extend(self.command_word(first));
        if !is_written(first) {
            computed.extend(texts_of(&argv));
            // Also if it is nothing: elsewhere it may be something.
            if argv.first().is_none_or(|first| first.known().is_some()) {
                self.note_found_name();
            }
        }
        let vanished = argv.is_empty() && is_a_variable(first.raw);
        if !is_declaration(first.raw) {
            if rest.iter().all(is_written) {
                argv.extend(self.words(rest));
                return (argv, vanished, computed);
            }
            for word in rest {
                let values = self.words(std::slice::from_ref(word));
                if !is_written(word) {
                    computed.extend(texts_of(&values));
                    if values.is_empty() && starts_others(first.raw) {
                        // The next word is the program.
                        self.note_found_name();
                    }
                }
                argv.extend(values);
            }
            return (argv, vanished, computed);
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
        (argv, vanished, computed)
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
            Value::Pattern(pattern) => {
                let directory = self.state.directory();
                let found = known::programs_like(pattern, directory, &self.pattern_steps);
                let mut found = found.into_iter();
                let Some(program) = found.next() else {
                    self.stand_alone(streams);
                    self.unknown("a program's name with wildcards");
                    return Out::Unknown(OUTPUT);
                };
                // Another image may have another of them first.
                for other in found {
                    if self.is_spent() {
                        break;
                    }
                    let mut inner = argv.clone();
                    if let Some(first) = inner.first_mut() {
                        *first = Value::Known(other.clone());
                    }
                    self.dead(|runner| runner.program(&other, inner, &mut Streams::default()));
                }
                self.note_found_name();
                program
            }
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
            if known::path_of(&program).is_some() || self.is_builtin(&program) {
                self.note_shadowed();
            }
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
        let out = self.in_function(|runner| runner.text(body));
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
}

/// Builtins that run the command in their arguments.
const fn starts_others(raw: &[u8]) -> bool {
    matches!(
        raw,
        b"command" | b"builtin" | b"exec" | b"eval" | b"noglob" | b"nocorrect" | b"-"
    )
}

/// What is surely the text of one of the values.
fn texts_of(values: &[Value]) -> impl Iterator<Item = String> {
    values.iter().filter_map(Value::known).map(str::to_owned)
}

/// Builtins whose arguments are assignments.
const fn is_declaration(raw: &[u8]) -> bool {
    matches!(
        raw,
        b"export" | b"declare" | b"typeset" | b"local" | b"readonly" | b"integer" | b"float"
    )
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
