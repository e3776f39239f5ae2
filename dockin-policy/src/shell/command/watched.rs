//! Variables whose value is run by a shell or by programs, and arrays that are a shell's own tables.

use super::search_path;
use crate::shell::{
    Dialect,
    expand::Mode,
    redirect::Streams,
    run::Runner,
    session::{File, Variable},
    utility,
    value::Value,
};

/// What becomes of a variable's value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Use {
    /// Programs load code by it.
    Loads,
    /// It is expanded when a command is traced.
    Trace,
    /// It is expanded, by a shell that starts or before a prompt.
    Expanded,
    /// The same; and it is a file's name.
    File,
    /// It is a command.
    Command,
    /// It is code or a command of which no more is known.
    Code,
    /// It is a file that the shell or a program writes.
    Written,
}

fn use_of(name: &str) -> Option<Use> {
    Some(match name {
        "LD_PRELOAD"
        | "LD_LIBRARY_PATH"
        | "LD_AUDIT"
        | "GCONV_PATH"
        | "COMPILER_PATH"
        | "GCC_EXEC_PREFIX"
        | "PYTHONPATH"
        | "PYTHONSTARTUP"
        | "PERL5LIB"
        | "PERL5OPT"
        | "NODE_OPTIONS"
        | "RUBYOPT"
        | "RUBYLIB"
        | "INPUTRC"
        | "histchars"
        | "HISTCHARS"
        | "GIT_EXEC_PATH"
        | "GIT_CONFIG_GLOBAL"
        | "GIT_CONFIG_SYSTEM"
        | "GIT_TEMPLATE_DIR"
        | "RIPGREP_CONFIG_PATH"
        | "BASH_LOADABLES_PATH" => Use::Loads,
        "ZDOTDIR" | "MODULE_PATH" => Use::Loads,
        "HISTFILE"
        | "LESSHISTFILE"
        | "MYSQL_HISTFILE"
        | "PSQL_HISTORY"
        | "SQLITE_HISTORY"
        | "PYTHON_HISTORY"
        | "NODE_REPL_HISTORY"
        | "REDISCLI_HISTFILE"
        | "GIT_TRACE"
        | "GIT_TRACE2"
        | "GIT_TRACE2_EVENT"
        | "GIT_TRACE2_PERF"
        | "GIT_TRACE_PACKET"
        | "GIT_TRACE_SETUP"
        | "GIT_TRACE_PERFORMANCE"
        | "GIT_TRACE_CURL"
        | "GIT_INDEX_FILE"
        | "SSLKEYLOGFILE"
        | "PERLIO_DEBUG"
        | "LD_DEBUG_OUTPUT" => Use::Written,
        "PERL5DB"
        | "LUA_INIT"
        | "GIT_CONFIG_PARAMETERS"
        | "ARGV0"
        | "TAR_OPTIONS"
        | "EXINIT"
        | "VIMINIT" => Use::Code,
        "PS4" | "PROMPT4" => Use::Trace,
        "PS1" | "PS2" | "PS0" | "PROMPT" | "RPROMPT" | "RPS1" | "PROMPT2" | "RPS2" | "RPROMPT2" => {
            Use::Expanded
        }
        "BASH_ENV" | "ENV" => Use::File,
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
        | "SUDO_ASKPASS"
        | "SSH_ASKPASS"
        | "GIT_SSH"
        | "GIT_PROXY_COMMAND"
        | "GIT_ASKPASS"
        | "SUDO_EDITOR"
        | "KUBE_EDITOR"
        | "SYSTEMD_PAGER"
        | "SYSTEMD_EDITOR"
        | "PSQL_PAGER"
        | "PSQL_EDITOR"
        | "RSYNC_RSH"
        | "CVS_RSH"
        | "SVN_SSH"
        | "NULLCMD"
        | "READNULLCMD" => Use::Command,
        name if name.starts_with("GIT_CONFIG_VALUE_") => Use::Command,
        "precmd_functions"
        | "preexec_functions"
        | "chpwd_functions"
        | "periodic_functions"
        | "zshexit_functions"
        | "zshaddhistory_functions" => Use::Command,
        _ => return None,
    })
}

/// Whether the session must say what such a variable was set to.
pub(in crate::shell) fn is_watched(name: &str) -> bool {
    use_of(name).is_some() || search_path::is_one(name)
}

/// Tables of a shell that can be written to like arrays.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Table {
    Aliases,
    Functions,
    Programs,
    Other,
}

impl Runner<'_> {
    /// Variables that change what runs, or are commands themselves.
    pub(in crate::shell) fn changes_what_runs(&mut self, name: &str, value: Option<&str>) {
        let Some(kind) = use_of(name) else { return };
        let Some(value) = value else {
            return self.unknown(match kind {
                Use::Written => return,
                Use::Loads => "a variable that makes programs load other code",
                _ => "a variable that is run as a command",
            });
        };
        if self.seen_values.len() < MAX_SEEN {
            self.seen_values.push((name.to_owned(), value.to_owned()));
        }
        let value = value.to_owned();
        match kind {
            Use::Loads if value.is_empty() => {}
            Use::Loads => self.unknown("a variable that makes programs load other code"),
            Use::Code if value.trim().is_empty() => {}
            Use::Code => self.unknown("a variable that is run as code"),
            Use::Trace | Use::Expanded if has_number(&value) => {
                // Prompts have characters by their numbers.
                self.unknown("a prompt that is run");
            }
            Use::Trace => {
                self.dead(|runner| runner.text_of(value.as_bytes(), Mode::Text));
            }
            Use::Expanded | Use::File => {
                if value.contains(['$', '`']) {
                    let _text = self.text_of(value.as_bytes(), Mode::Text);
                } else if kind == Use::File && !value.is_empty() {
                    self.source(&Value::Known(value));
                }
            }
            Use::Written if value.starts_with(['/', '~', '.']) => {
                self.stand_alone(&mut Streams::writing(vec![Value::Known(value)]));
            }
            Use::Written => {}
            Use::Command => {
                let command = value
                    .trim_start_matches('|')
                    .trim_start_matches('-')
                    .trim_start_matches('!')
                    .to_owned();
                let is_filled_in = name.starts_with("LESS") && value.contains('%');
                if matches!(name, "NULLCMD" | "READNULLCMD")
                    || name.ends_with("_functions")
                    || is_filled_in
                {
                    // With what a redirection gives it to read.
                    self.note_shadowed();
                }
                // Who runs it, and when, is another matter: it is judged here.
                let _out = self.dead(|runner| runner.text(&command));
                if let Some(program) = command.split_whitespace().next() {
                    self.outside_of_image(program);
                }
            }
        }
    }

    /// Looks at the watched variables that were set by `read`, `printf -v`, a loop and their like.
    pub(in crate::shell) fn look_at_watched(&mut self) {
        for (name, value) in self.state.take_watched() {
            if use_of(&name).is_none() && !search_path::is_one(&name) {
                // It was watched for what it holds.
                self.soft_unknown("a text that is run where it is calculated with");
                continue;
            }
            if search_path::is_one(&name) {
                self.look_at_search_path(&name, value);
                continue;
            }
            let texts = match value {
                Variable::Text(text) => vec![text],
                Variable::Array(texts) => texts.into_values().collect(),
                Variable::Map(texts) => texts.into_values().collect(),
                Variable::Unset | Variable::Reference(_) => Vec::new(),
                Variable::Unknown | Variable::Around(..) => {
                    if use_of(&name).is_some_and(|kind| !matches!(kind, Use::Trace | Use::Written))
                    {
                        self.unknown("a variable that is run as a command");
                    }
                    continue;
                }
            };
            for text in texts {
                let seen = self
                    .seen_values
                    .iter()
                    .any(|(other, value)| *other == name && *value == text);
                if !seen {
                    self.changes_what_runs(&name, Some(&text));
                }
            }
        }
    }

    fn table(&self, name: &str) -> Option<Table> {
        let zsh = self.dialect() == Dialect::Zsh;
        Some(match name {
            "BASH_ALIASES" if self.dialect() == Dialect::Bash => Table::Aliases,
            "BASH_CMDS" if self.dialect() == Dialect::Bash => Table::Programs,
            "aliases" if zsh => Table::Aliases,
            "functions" if zsh => Table::Functions,
            "commands" if zsh => Table::Programs,
            "galiases" | "saliases" | "dis_aliases" | "dis_functions" | "dis_galiases"
            | "dis_saliases" | "module_path" | "nameddirs" | "options" | "mapfile" | "widgets"
            | "keymaps" | "path" | "fpath"
                if zsh =>
            {
                Table::Other
            }
            _ => return None,
        })
    }

    /// Whether the array decides what names stand for.
    pub(in crate::shell) fn is_table(&self, name: &str) -> bool {
        self.table(name).is_some()
    }

    /// Sets an element of a table, if `name` is one; all of it where `index` is not known.
    pub(in crate::shell) fn set_in_table(
        &mut self,
        name: &str,
        index: Option<&str>,
        text: Option<&str>,
    ) -> bool {
        let Some(table) = self.table(name) else {
            return false;
        };
        if table == Table::Other && matches!(name, "path" | "fpath") {
            return false;
        }
        self.note_shadowed();
        let kept = match (table, index, text) {
            (Table::Aliases, Some(index), Some(text)) => {
                self.state.set_alias(index, Some(text.to_owned()))
            }
            (Table::Functions, Some(index), Some(text)) => {
                self.state.set_function(index, Some(text.to_owned()))
            }
            (Table::Programs, Some(index), Some(text)) => {
                let program = utility::base_name(text).to_owned();
                self.state
                    .set_file(&format!("hash:{index}"), Some(File::Program(program)))
            }
            _ => false,
        };
        if !kept {
            self.unknown("a table of the shell that decides what names stand for");
        }
        true
    }
}

fn has_number(prompt: &str) -> bool {
    let mut behind = prompt.split('\\').skip(1);
    behind.any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether a calculation that meets the text runs commands: in an index.
pub(in crate::shell) fn is_run_by_calculations(text: &str) -> bool {
    text.contains('[') && (text.contains("$(") || text.contains('`'))
}

/// Values of one line that were looked at.
const MAX_SEEN: usize = 64;
