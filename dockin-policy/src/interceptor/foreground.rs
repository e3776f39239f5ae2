//! A belief about which program reads what is typed next.

use std::collections::BTreeSet;

/// Which programs the last line started, as far as the verdict tells.
///
/// Beliefs only soften: they excuse lines that cannot be parsed while a program
/// with a language of its own reads them, and keys inside an editor. A line that
/// a rule names is refused whatever the belief.
#[derive(Debug, Default)]
pub(super) struct Foreground {
    programs: BTreeSet<String>,
    /// The shell's prompt when a program that reads lines was started.
    shell_prompt: Option<String>,
    /// The prompt of the line that started the programs.
    start_prompt: String,
    /// The user switched the echo off; from then on hidden lines are commands.
    echo_off: bool,
    /// A program was started that may read what is typed.
    has_started_readers: bool,
}

impl Foreground {
    /// The programs `argv` lists started at `prompt`.
    pub(super) fn start(&mut self, programs: &[Vec<String>], prompt: &str) {
        self.programs = programs
            .iter()
            .filter_map(|argv| argv.first())
            .take(MAX_PROGRAMS)
            .map(|name| base_name(name).to_owned())
            .collect();
        for argv in programs {
            if argv.first().is_some_and(|name| base_name(name) == "stty") {
                self.echo_off = argv
                    .iter()
                    .any(|word| word == "-echo" || word == "raw" || word.contains(':'));
            }
        }
        prompt.clone_into(&mut self.start_prompt);
        self.shell_prompt = self.runs(&LINE_READERS).then(|| prompt.to_owned());
    }

    /// A prompt was drawn; the shell is back when it is the shell's own.
    pub(super) fn see_prompt(&mut self, prompt: &str) {
        if self.shell_prompt.as_deref() == Some(prompt) {
            self.shell_prompt = None;
        }
    }

    /// Whether any line so far started a program that may read what is typed.
    pub(super) fn has_started_readers(&self) -> bool {
        self.has_started_readers
    }

    /// Looks at a line that goes on.
    pub(super) fn see_line(&mut self, line: &str) {
        // Hooks, functions and other names for programs start something later.
        let is_plain = line.chars().all(|c| {
            c.is_alphanumeric()
                || matches!(
                    c,
                    ' ' | '_' | '-' | '.' | '/' | ':' | ',' | '+' | '@' | '%' | '\'' | '"'
                )
        });
        let name = line.split_whitespace().next();
        self.has_started_readers |= !is_plain || name.is_some_and(|it| !NEVER_READ.contains(&it));
    }

    pub(super) fn start_prompt(&self) -> &str {
        &self.start_prompt
    }

    /// True while lines probably go to a program that is not a shell.
    pub(super) fn is_other_language(&self) -> bool {
        self.shell_prompt.is_some()
    }

    /// True when the program on the alternate screen is one that was judged at its start.
    ///
    /// Only when nothing else was started with it that could have switched the screen.
    pub(super) fn is_full_screen(&self) -> bool {
        self.runs(&FULL_SCREEN)
            && self.programs.iter().all(|program| {
                let program = program.as_str();
                FULL_SCREEN.contains(&program) || FEEDERS.contains(&program)
            })
    }

    /// True when hidden input may be a secret that a program asked for.
    pub(super) fn may_ask_for_secret(&self) -> bool {
        !self.echo_off && self.runs(&SECRET_ASKERS)
    }

    /// True when the user switched the echo off and no program asks for a secret.
    pub(super) fn hides_commands(&self) -> bool {
        self.echo_off && !self.runs(&SECRET_ASKERS)
    }

    pub(super) fn is_echo_off(&self) -> bool {
        self.echo_off
    }

    fn runs(&self, names: &[&str]) -> bool {
        self.programs.iter().any(|program| {
            let stem = program
                .trim_end_matches(|character: char| character.is_ascii_digit() || character == '.');
            names.contains(&program.as_str()) || names.contains(&stem)
        })
    }
}

fn base_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// Programs that people start a full-screen program with, and that print nothing of their choice
/// to the screen while they do.
const FEEDERS: [&str; 16] = [
    "sudo",
    "doas",
    "env",
    "nice",
    "ls",
    "ps",
    "grep",
    "find",
    "dmesg",
    "journalctl",
    "git",
    "sort",
    "df",
    "du",
    "mount",
    "history",
];
/// Programs that never read what is typed, whatever their arguments are.
const NEVER_READ: [&str; 13] = [
    "cd", "echo", "printf", "pwd", "ls", "mkdir", "touch", "id", "whoami", "date", "ps", "df", "du",
];
/// Programs of a line that are remembered.
const MAX_PROGRAMS: usize = 256;
/// Programs that read lines which are not shell commands.
const LINE_READERS: [&str; 35] = [
    "python",
    "node",
    "ruby",
    "irb",
    "perl",
    "php",
    "lua",
    "ghci",
    "jshell",
    "scala",
    "R",
    "octave",
    "bc",
    "dc",
    "ed",
    "ex",
    "gdb",
    "sqlite",
    "mysql",
    "mariadb",
    "psql",
    "mongo",
    "mongosh",
    "redis-cli",
    "tclsh",
    "expect",
    "ftp",
    "sftp",
    "telnet",
    "cat",
    "awk",
    "read",
    "ipython",
    "gnuplot",
    "more",
];
/// Programs that take the whole screen and do not start a shell of their own there.
const FULL_SCREEN: [&str; 30] = [
    "vi",
    "vim",
    "nvim",
    "view",
    "vimdiff",
    "rvim",
    "nano",
    "pico",
    "emacs",
    "mg",
    "micro",
    "hx",
    "joe",
    "less",
    "more",
    "most",
    "man",
    "top",
    "htop",
    "btop",
    "atop",
    "iotop",
    "watch",
    "git",
    "systemctl",
    "journalctl",
    "mc",
    "ncdu",
    "tig",
    "nmtui",
];
/// Programs that ask for a secret with the echo off.
const SECRET_ASKERS: [&str; 26] = [
    "sudo",
    "su",
    "doas",
    "ssh",
    "scp",
    "sftp",
    "passwd",
    "mysql",
    "mariadb",
    "mysqldump",
    "psql",
    "pg_dump",
    "mongo",
    "mongosh",
    "redis-cli",
    "docker",
    "podman",
    "git",
    "kinit",
    "gpg",
    "openssl",
    "htpasswd",
    "vault",
    "read",
    "ssh-keygen",
    "ldapsearch",
];
