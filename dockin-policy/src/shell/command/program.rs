//! Programs of their own, and what they run in turn.

use crate::shell::{
    Dialect, known,
    redirect::Streams,
    run::{Input, Resolved, Runner},
    session::Variable,
    utility,
    value::{OUTPUT, Out, VARIABLE, Value},
    wrapper::{self, Inner},
};

/// Words that xargs reads, as far as they are kept.
const MAX_READ: usize = 64;
/// Arguments among which other programs are sought.
const MAX_ARGUMENTS: usize = 1024;

impl Runner<'_> {
    /// A program of its own.
    pub(in crate::shell) fn program(
        &mut self,
        program: &str,
        argv: Vec<Value>,
        streams: &mut Streams,
    ) -> Out {
        if !self.spend_words(argv.len()) {
            return Out::Unknown(OUTPUT);
        }
        let made = if program.contains('/') {
            self.file_at(program)
        } else {
            self.found_in_search_path(program)
        };
        let exists = known::may_exist(program) || made.is_some();
        let name = self.identity(program);
        let arguments = argv.get(1..).unwrap_or_default().to_vec();
        let mut writes = std::mem::take(&mut streams.writes);
        let mut written = utility::written(&name, &arguments);
        if name == "git" {
            written.extend(utility::git_written(&arguments, self.git_tree()));
        }
        self.forget_files(&name, &written, &arguments);
        if matches!(
            name.as_str(),
            "chmod" | "chattr" | "chown" | "chgrp" | "setfacl" | "mount" | "umount"
        ) {
            self.state.keep_files();
        }
        writes.extend(written);
        let mut reads = std::mem::take(&mut streams.reads);
        reads.extend(utility::read_by(&name, &arguments));
        let (writes, reads) = (self.all_placed(writes), self.all_placed(reads));
        let altered = utility::altered(&name, &arguments);
        let alters = self.all_placed(altered);
        // busybox runs its own without starting a program.
        let inside = self.dialect() == Dialect::Busybox
            && !program.contains('/')
            && known::is_applet(program);
        let span = self.span.clone();
        let is_loaded = std::mem::take(&mut self.is_loaded);
        self.found(Resolved {
            directory: self.state.runs_in(),
            argv: argv.clone(),
            name: name.clone(),
            writes,
            alters,
            reads,
            span,
            certainty: self.certainty,
            is_program: !inside && exists && !is_loaded,
        });
        self.ends_with((!exists).then_some(127));
        if matches!(name.as_str(), "true" | "false") {
            self.status = Some(i32::from(name == "false"));
        }
        if program.starts_with(['/', '.', '~']) || exists {
            self.outside_of_image(program);
        }
        if !exists {
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

    /// Where git's environment says that its files are.
    fn git_tree(&self) -> Option<Value> {
        match self.state.variable("GIT_WORK_TREE")? {
            Variable::Unset => None,
            Variable::Text(path) => Some(Value::Known(path.clone())),
            _ => Some(Value::unknown(VARIABLE)),
        }
    }

    pub(super) fn runs_in_turn(
        &mut self,
        name: &str,
        program: &str,
        argv: &[Value],
        arguments: &[Value],
    ) -> Out {
        if arguments.len() > MAX_ARGUMENTS {
            self.unknown("more arguments than are looked at");
            return Out::Unknown(OUTPUT);
        }
        if utility::shell(name).is_some() {
            return self.shell(name, program, arguments);
        }
        // Told `-` they read a file there, and their keys from the terminal.
        if matches!(name, "vi" | "vim" | "view" | "nvim" | "rvim" | "vimdiff")
            && !matches!(self.stdin, Input::Inherited)
            && !arguments.iter().any(|it| it.known() == Some("-"))
        {
            self.soft_unknown("keys that are no person's");
        }
        if let Some(verb) = name.strip_prefix("git-").filter(|verb| !verb.is_empty()) {
            // The programs that git keeps for its verbs.
            let inner = ["git", verb].map(|word| Value::Known(word.to_owned()));
            let inner = inner.into_iter().chain(arguments.iter().cloned()).collect();
            self.dead(|runner| runner.inner(inner));
        }
        self.runs_by_table(name, arguments);
        // Each of them is a guess.
        let computed = std::mem::take(&mut self.computed);
        for inner in wrapper::other_programs(name, arguments) {
            self.dead(|runner| runner.inner(inner));
        }
        self.computed = computed;
        let inner = wrapper::unwrap(name, argv, &self.stdin);
        if name == "xargs" {
            // What it reads is no word of the command.
            let told: &[Vec<Value>] = match &inner {
                Inner::Argv(one) => std::slice::from_ref(one),
                Inner::Several(several) => several,
                _ => &[],
            };
            let read = told.iter().flatten().filter_map(Value::known);
            let read = read.filter(|text| !arguments.iter().any(|it| it.known() == Some(*text)));
            let read: Vec<String> = read.take(MAX_READ + 1).map(str::to_owned).collect();
            if read.len() > MAX_READ {
                self.note_found_name();
            }
            self.computed.extend(read);
        }
        match inner {
            Inner::None if self.starts_shell(name, arguments) => {
                return self.below(Self::input_as_commands);
            }
            Inner::None => {}
            Inner::Argv(inner) => {
                self.note_inner_name(&inner, arguments);
                let own = arguments.len().saturating_sub(inner.len());
                let given = arguments.get(..own).unwrap_or_default().to_vec();
                return self.below(|runner| {
                    if name == "start-stop-daemon" {
                        let folder = wrapper::daemon_folder(arguments);
                        runner.change_directory(folder.as_deref());
                    }
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
                    self.note_inner_name(&inner, arguments);
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

    /// Whether a program that is told no command runs a shell, which reads what is no terminal.
    fn starts_shell(&self, name: &str, arguments: &[Value]) -> bool {
        if matches!(self.stdin, Input::Inherited) {
            return false;
        }
        match name {
            "su" | "runuser" | "login" | "script" | "unshare" | "nsenter" | "parallel" => true,
            "chroot" => utility::operands(name, arguments).len() == 1,
            "sudo" | "doas" => arguments.iter().filter_map(Value::known).any(|it| {
                matches!(it, "--shell" | "--login")
                    || it.starts_with('-') && !it.starts_with("--") && it.contains(['s', 'i'])
            }),
            _ => false,
        }
    }

    /// What a wrapper changes in the environment of what it runs.
    pub(super) fn environment(&mut self, name: &str, arguments: &[Value]) {
        if !matches!(name, "env" | "sudo" | "doas") {
            return;
        }
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let letter = if name == "env" { "-C" } else { "-D" };
            let folder = match word.known() {
                Some(option) if option == letter || option == "--chdir" => {
                    Some(words.next().and_then(Value::known).map(str::to_owned))
                }
                Some(text) => text
                    .strip_prefix("--chdir=")
                    .or_else(|| text.strip_prefix(letter))
                    .map(|folder| Some(folder.to_owned())),
                None => None,
            };
            if let Some(folder) = folder {
                self.change_directory(folder.as_deref());
                continue;
            }
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
                    if text.starts_with("BASH_FUNC_") {
                        self.unknown("a function that the environment brings");
                    }
                    if let Some((name, value)) = text.split_once('=') {
                        self.state.release(name);
                        self.state.text(name, value);
                        self.state.export(name, true);
                    }
                }
                word if self.sets_search_path(word) => self.state.export("PATH", true),
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

    pub(in crate::shell) fn inner(&mut self, inner: Vec<Value>) -> Out {
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
        self.note_computed_name(&program);
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
    pub(super) fn applet(&mut self, inner: Vec<Value>) -> Out {
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
}
