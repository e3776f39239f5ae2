//! Builtins that start something, now or later.

use crate::shell::{
    Dialect,
    redirect::Streams,
    run::{Certainty, Flow, Input, Runner},
    session::File,
    utility,
    value::{OUTPUT, Out, VARIABLE, Value},
};

impl Runner<'_> {
    /// `command` and `builtin`: functions are not asked.
    pub(super) fn without_functions(&mut self, argv: &[Value], streams: &mut Streams) -> Out {
        let Some(first) = argv.first() else {
            self.stand_alone(streams);
            return Out::nothing();
        };
        let Some(program) = first.known().map(str::to_owned) else {
            self.stand_alone(streams);
            self.unknown(VARIABLE);
            return Out::Unknown(OUTPUT);
        };
        self.note_computed_name(&program);
        if let Some(out) = self.builtin(&program, argv, streams) {
            return out;
        }
        self.program(&program, argv.to_vec(), streams)
    }

    pub(super) fn exec(&mut self, arguments: &[Value], streams: &mut Streams) -> Out {
        let mut rest = arguments;
        let mut renamed: Option<Value> = None;
        let mut dashed = false;
        while let Some((first, behind)) = rest.split_first() {
            match first.known() {
                Some("--") => {
                    rest = behind;
                    break;
                }
                Some(option) if option.len() > 1 && option.starts_with('-') => {
                    rest = behind;
                    let (letters, name) = match option.split_once('a') {
                        Some((letters, glued)) => (letters, Some(glued)),
                        None => (option, None),
                    };
                    dashed |= letters.contains('l');
                    if let Some(glued) = name {
                        if glued.is_empty() {
                            renamed = rest.first().cloned();
                            rest = rest.get(1..).unwrap_or_default();
                        } else {
                            renamed = Some(Value::Known(glued.to_owned()));
                        }
                    }
                }
                _ => break,
            }
        }
        if rest.is_empty() {
            self.stand_alone(streams);
            self.keeps_descriptors = true;
            if self.has_input {
                self.keeps_input = true;
                if self.nesting == 0 && !matches!(self.stdin, Input::Inherited) {
                    // A shell that reads its commands there goes on with these.
                    let stdin = self.stdin.clone();
                    let _out = self.maybe(|runner| runner.below(Self::input_as_commands));
                    self.stdin = stdin;
                }
            }
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
    pub(super) fn renamed(
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
        let is_busybox = match self.file_at(&program) {
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

    pub(super) fn set_trap(&mut self, arguments: &[Value]) -> Out {
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
                self.note_computed_text(&text);
                let first = text
                    .split([' ', '\t', '\n', ';'])
                    .next()
                    .unwrap_or_default();
                let is_plain = first.is_empty()
                    || crate::shell::known::path_of(first).is_some()
                    || self.is_builtin(first)
                    || first.contains('=');
                if !is_plain {
                    // It is another thing by then, perhaps.
                    self.note_shadowed();
                }
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
                    // What it writes is written later, if ever.
                    self.in_doubt(|runner| {
                        let _out = runner.below(|runner| runner.text(&text));
                    });
                    self.certainty = before;
                } else {
                    let _out = self.dead(|runner| runner.text(&text));
                }
            }
            _ => self.unknown("a command text that is not known"),
        }
        // There may be no such signal.
        self.ends_with(None);
        if signals
            .iter()
            .any(|signal| matches!(signal.as_str(), "EXIT" | "0"))
        {
            // It prints in the end.
            return Out::Unknown(OUTPUT);
        }
        Out::nothing()
    }

    pub(super) fn hash(&mut self, arguments: &[Value]) {
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
        let gives = |word: &&str| word.contains('=') || word.starts_with('-') && word.contains('p');
        if words.iter().any(gives) {
            self.note_shadowed();
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
}
