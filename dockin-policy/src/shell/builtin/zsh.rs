//! Builtins that only zsh has, and its options.

use crate::shell::{redirect::Streams, run::Runner, utility, value::Value};

impl Runner<'_> {
    /// Does what zsh does itself and what runs something; whether `program` is such a builtin.
    pub(super) fn zsh_builtin(
        &mut self,
        program: &str,
        arguments: &[Value],
        argv: &[Value],
        streams: &mut Streams,
    ) -> bool {
        let known: Option<Vec<&str>> = arguments.iter().map(Value::known).collect();
        match program {
            "functions" if arguments.iter().any(is_option) => {
                self.record(program, argv, streams);
                self.note_shadowed();
                true
            }
            "print" if arguments.iter().any(|it| is_option(it) && sets(it)) => {
                self.record(program, argv, streams);
                self.note_made_text();
                true
            }
            "zstyle" if arguments.iter().any(is_option) => {
                self.record(program, argv, streams);
                self.note_made_text();
                true
            }
            "zregexparse" | "zparseopts" | "strftime" | "zformat" | "sysread" | "getln"
            | "vared" | "private" | "zselect" => {
                self.record(program, argv, streams);
                self.note_made_text();
                true
            }
            "autoload" => {
                self.record(program, argv, streams);
                let is_path = |it: &Value| it.known().is_none_or(|text| text.contains('/'));
                if self.state.variable("FPATH").is_some()
                    || self.state.variable("fpath").is_some()
                    || arguments.iter().any(is_path)
                {
                    self.note_shadowed();
                }
                const PACKAGED: &[&str] = &[
                    "compinit",
                    "bashcompinit",
                    "promptinit",
                    "colors",
                    "vcs_info",
                    "zmv",
                    "zargs",
                    "add-zsh-hook",
                    "is-at-least",
                    "zcalc",
                    "run-help",
                    "edit-command-line",
                ];
                let names = known.unwrap_or_default();
                for name in names.iter().filter(|it| !it.starts_with(['-', '+'])) {
                    // Its text comes from a file.
                    let name = utility::base_name(name).to_owned();
                    let is_packaged =
                        PACKAGED.contains(&name.as_str()) && self.state.variable("fpath").is_none();
                    if !is_packaged {
                        self.state
                            .set_function(&name, Some("{ . /dev/fpath; }".to_owned()));
                    }
                }
                true
            }
            "zmodload" => {
                self.record(program, argv, streams);
                let is_packaged = |it: &Value| {
                    it.known().is_some_and(|text| {
                        text.starts_with("zsh/") || text.starts_with(['-', '+'])
                    })
                };
                // Features stand behind the module, with their kinds in front.
                let features = arguments
                    .iter()
                    .any(|it| it.known().is_some_and(|it| it.starts_with("-F")));
                let named = features && arguments.iter().any(is_packaged);
                if !(named || arguments.iter().all(is_packaged)) {
                    self.unknown("a module that is loaded from a file");
                }
                true
            }
            "zcompile" => {
                let operands = arguments
                    .iter()
                    .filter(|it| it.known().is_none_or(|it| !it.starts_with('-')));
                let told = operands.take(1).map(|it| match it {
                    Value::Known(path) if !path.ends_with(".zwc") => {
                        Value::Known(format!("{path}.zwc"))
                    }
                    other => other.clone(),
                });
                streams.writes.extend(told);
                self.record(program, argv, streams);
                true
            }
            "ztie" => {
                streams
                    .writes
                    .extend(utility::values_of(arguments, &["-f"]));
                self.record(program, argv, streams);
                true
            }
            "sched" | "zpty" | "zargs" | "zmv" | "zcp" | "zln" => {
                self.record(program, argv, streams);
                // Options and times come first; what is behind them is a command.
                for at in 0..arguments.len().min(4) {
                    let words: Option<Vec<&str>> = known
                        .as_ref()
                        .map(|words| words.get(at..).unwrap_or_default().to_vec());
                    match words {
                        Some(words) => {
                            let text = words.join(" ");
                            let _out = self.dead(|runner| runner.text(&text));
                        }
                        None => self.unknown("a command text that is not known"),
                    }
                }
                if matches!(program, "zargs" | "zmv" | "zcp" | "zln") {
                    self.unknown("a function that runs commands of its own making");
                }
                true
            }
            "zstyle" | "compdef" | "compctl" | "add-zsh-hook" | "zle"
                if arguments.iter().any(|it| {
                    it.known().is_none_or(|it| {
                        matches!(it, "-e" | "-N" | "-D" | "-C" | "-K" | "-Y" | "-F")
                            || program == "add-zsh-hook"
                    })
                }) =>
            {
                self.record(program, argv, streams);
                self.soft_unknown("code that the shell's editor runs");
                true
            }
            "sysopen" | "zftp" | "ztcp" | "zsocket" | "tcp_open" => {
                if program == "sysopen" {
                    streams.writes.extend(arguments.last().cloned());
                } else {
                    streams
                        .writes
                        .push(Value::Known("/dev/tcp/unknown/0".to_owned()));
                }
                self.record(program, argv, streams);
                true
            }
            _ => false,
        }
    }

    /// `shift 2 name`: what is left of the arrays is not known.
    pub(super) fn shift_arrays(&mut self, arguments: &[Value]) {
        for argument in arguments {
            match argument {
                Value::Known(name) if crate::shell::lexer::is_name(name.as_bytes()) => {
                    self.set_named(name, None);
                }
                Value::Known(_) => {}
                _ => self.unknown("a variable's name that is not known"),
            }
        }
    }

    /// zsh: options that change what words become.
    pub(super) fn zsh_options(&mut self, words: &[&str], on: bool) {
        for word in words {
            let plain = word.replace('_', "").to_lowercase();
            let (name, on) = match plain.strip_prefix("no") {
                Some(name) => (name, !on),
                None => (plain.as_str(), on),
            };
            match name {
                "shwordsplit" => self.state.set_splitting(on),
                "equals" if !on => {
                    self.unknown("an option that changes what words become");
                }
                "extendedglob" | "braceccl" | "pathdirs" if on => {
                    self.soft_unknown("an option that changes what words become");
                }
                "autocd" | "cdablevars" if on => {
                    self.unknown("an option that makes other words folders to go to");
                }
                "ksharrays" | "globsubst" | "rcexpandparam" | "globassign" | "kshglob"
                | "cshjunkiequotes" | "cshjunkieloops" | "ignorebraces" | "rcquotes" | "shglob"
                | "posixstrings" | "continueonerror"
                    if on =>
                {
                    self.unknown("an option that changes what words become");
                }
                _ => {}
            }
        }
    }
}

fn is_option(word: &Value) -> bool {
    word.known().is_none_or(|text| text.starts_with('-'))
}

/// Whether the option of `print` has it set a variable.
fn sets(word: &Value) -> bool {
    word.known().is_none_or(|text| text.contains('v'))
}
