//! Shells that are started, and commands in files.

use super::arguments_of;
use crate::shell::{
    Dialect,
    run::{Certainty, Flow, Input, Runner, Shape},
    session::Positional,
    utility,
    value::{DOWNLOADED, OUTPUT, Out, Value},
};

impl Runner<'_> {
    /// A text that a program hands to a shell that it starts.
    pub(in crate::shell) fn shell_text(
        &mut self,
        shell: &str,
        text: &str,
        arguments: &[Value],
    ) -> Out {
        let mut argv = vec![
            Value::Known(shell.to_owned()),
            Value::Known("-c".to_owned()),
            Value::Known(text.to_owned()),
        ];
        argv.extend(arguments.iter().cloned());
        self.inner(argv)
    }

    /// A shell: what it is told on its command line, in a file, or on standard input.
    pub(super) fn shell(&mut self, name: &str, program: &str, arguments: &[Value]) -> Out {
        let Some(dialect) = utility::shell(name) else {
            return Out::Unknown(OUTPUT);
        };
        let options = utility::shell_options(arguments);
        let options = &options;
        for (option, file) in arguments.iter().zip(arguments.iter().skip(1)) {
            // What it reads before anything else.
            if matches!(option.known(), Some("--rcfile" | "--init-file"))
                && file.known() != Some("/dev/null")
            {
                let _out = self.below(|runner| runner.source(file));
            }
        }
        for file in self.startup_files(name, dialect, arguments, options) {
            let _out = self.below(|runner| runner.source(&file));
        }
        let run = |runner: &mut Self| {
            runner.state.set_dialect(
                if runner.dialect() == Dialect::Busybox && matches!(name, "sh" | "ash" | "hush") {
                    Dialect::Busybox
                } else {
                    dialect
                },
            );
            runner.flow = Flow::Next;
            if dialect == Dialect::Zsh {
                let splits = arguments.iter().filter_map(Value::known).any(|it| {
                    it.replace('_', "").eq_ignore_ascii_case("shwordsplit") || it == "-y"
                });
                runner.state.set_splitting(splits);
            }
            match *options {
                utility::ShellRuns::Text(Value::Known(text), rest) => {
                    let text = text.clone();
                    runner.note_computed_text(&text);
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
        let splits = self.state.splits_words();
        let aliases = std::mem::take(&mut self.aliases);
        let (loops, sources) = (self.loops, self.sources);
        (self.loops, self.sources) = (0, 0);
        let calls = std::mem::take(&mut self.calls);
        let out = self.below(|runner| {
            runner.state.leave_unexported(functions);
            run(runner)
        });
        self.state.set_splitting(splits);
        (self.loops, self.sources) = (loops, sources);
        self.calls = calls;
        self.aliases = aliases;
        out
    }

    /// The files in the home folder that a shell reads first, as far as the session wrote them.
    fn startup_files(
        &self,
        name: &str,
        dialect: Dialect,
        arguments: &[Value],
        runs: &utility::ShellRuns<'_>,
    ) -> Vec<Value> {
        let options = arguments.iter().filter_map(Value::known);
        let mut options = options.take_while(|it| it.starts_with('-'));
        let reads_more = name.starts_with('-')
            || matches!(runs, utility::ShellRuns::Input(_))
            || options
                .any(|it| it == "--login" || !it.starts_with("--") && it.contains(['l', 'i']));
        let files: &[&str] = match (dialect, reads_more) {
            (Dialect::Zsh, false) => &[".zshenv"],
            (Dialect::Zsh, true) => &[".zshenv", ".zprofile", ".zshrc", ".zlogin", ".zlogout"],
            (_, false) => &[],
            (Dialect::Bash, true) => &[
                ".bashrc",
                ".bash_profile",
                ".bash_login",
                ".profile",
                ".bash_logout",
                ".kshrc",
                ".mkshrc",
            ],
            (_, true) => &[".profile"],
        };
        // Which folder is the home one is not always known.
        let is_one = |path: &str| {
            let (_, file) = path.rsplit_once('/').unwrap_or(("", path));
            files.contains(&file)
        };
        let written = self.state.files().filter(|(path, _)| is_one(path));
        written
            .map(|(path, _)| Value::Known(path.to_owned()))
            .collect()
    }

    /// `$0`, `$1`, … of a shell that is started.
    pub(super) fn arguments(&mut self, program: &str, words: &[Value]) {
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

    pub(super) fn unknown_code(&mut self, value: &Value) {
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
    pub(in crate::shell) fn input_as_commands(&mut self) -> Out {
        match std::mem::replace(&mut self.stdin, Input::Text(String::new())) {
            Input::Inherited => {
                // The session's own: judged as it comes.
                self.stdin = Input::Inherited;
                Out::Unknown(OUTPUT)
            }
            Input::Text(text) => {
                if !self.written.contains(&text) {
                    self.note_made_text();
                }
                self.read_text(&text)
            }
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
    pub(in crate::shell) fn source(&mut self, path: &Value) -> Out {
        match path.known() {
            Some("/dev/stdin" | "/dev/fd/0" | "/proc/self/fd/0") => {
                return self.input_as_commands();
            }
            Some("/dev/null") => return Out::nothing(),
            _ => {}
        }
        match self.file_text(path) {
            Out::Known(text) => {
                self.note_made_text();
                self.sources += 1;
                let out = self.in_function(|runner| runner.read_text(&text));
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
}
