//! Clients of databases and file servers: words of theirs that run programs or write files here.

use super::{CODE, Call, FILE};
use crate::shell::value::Value;

/// What a text does here when such a client reads it.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) calls: Vec<Call>,
    pub(super) writes: Vec<Value>,
}

impl Effects {
    fn runs(&mut self, text: &str) {
        self.calls.push(Call::Text("sh", text.trim().to_owned()));
    }

    fn hides(&mut self, what: &'static str) {
        self.calls.push(Call::Hidden(what));
    }

    /// A file, or a program behind a `|`.
    fn goes_to(&mut self, target: &str) {
        let target = bare(target);
        match target.strip_prefix('|') {
            Some(command) => self.runs(command),
            None if target.is_empty() || matches!(target, "stdout" | "off" | "-") => {}
            None => self.writes.push(Value::Known(target.to_owned())),
        }
    }
}

/// What the client called `name` is told by its arguments and its standard input.
pub(super) fn effects(
    name: &str,
    arguments: &[Value],
    known: &[&str],
    stdin: Option<&str>,
) -> Effects {
    let mut found = Effects::default();
    let values = |options: &[&str]| crate::shell::utility::values_of(arguments, options);
    match name {
        "psql" => {
            for text in known.iter().copied().chain(stdin) {
                postgres(text, &mut found);
            }
            for value in values(&["-o", "--output", "-L", "--log-file"]) {
                found.goes_to(value.known().unwrap_or_default());
            }
            if !values(&["-f", "--file"]).is_empty() {
                found.hides(FILE);
            }
        }
        "mysql" | "mariadb" => {
            for text in known.iter().copied().chain(stdin) {
                mysql(text, &mut found);
            }
            for value in values(&["--tee"]) {
                found.goes_to(value.known().unwrap_or_default());
            }
        }
        "sqlite" | "sqlite3" => {
            for text in known.iter().copied().chain(stdin) {
                sqlite(text, &mut found);
            }
            if known.contains(&"-init") || known.contains(&"--init") {
                found.hides(FILE);
            }
        }
        "ftp" | "sftp" | "lftp" | "tnftp" | "ncftp" => {
            let told = values(&["-e", "-c"]);
            let told = told
                .iter()
                .filter(|_| name == "lftp")
                .filter_map(Value::known);
            for text in told.chain(stdin) {
                transfer(text, &mut found);
            }
            let scripts: &[&str] = match name {
                "sftp" => &["-b"],
                "lftp" => &["-f"],
                _ => &[],
            };
            let script = values(scripts);
            if script.iter().any(|it| it.known() != Some("-")) {
                found.hides(FILE);
            }
        }
        _ => {}
    }
    found
}

/// Whether the client reads what it is to do on standard input.
pub(super) fn reads_stdin(name: &str) -> bool {
    matches!(name, "ftp" | "sftp" | "lftp" | "tnftp" | "ncftp")
}

fn bare(text: &str) -> &str {
    text.trim()
        .trim_end_matches(';')
        .trim()
        .trim_matches(['\'', '"'])
}

/// `copy … to program '…'`, `\o FILE`, `\g |command`, `\w FILE`, `\i FILE`.
fn postgres(text: &str, found: &mut Effects) {
    let lower = text.to_ascii_lowercase();
    if lower.contains("copy") {
        for (at, word) in lower.match_indices("program") {
            let behind = text.get(at + word.len()..).unwrap_or_default().trim_start();
            match behind.strip_prefix('\'').and_then(|it| it.split_once('\'')) {
                Some((command, _)) => found.runs(command),
                None if behind.starts_with(['$', 'E', 'e']) => found.hides(CODE),
                None => {}
            }
        }
    }
    let copies_out = lower.contains("copy") && (lower.contains(" to '") || lower.contains(" to /"));
    if copies_out && let Some(at) = lower.rfind(" to ") {
        let target = text.get(at + 4..).unwrap_or_default().trim_start();
        let target = target
            .trim_start_matches('\'')
            .split(['\'', ' ', ';'])
            .next();
        found.goes_to(target.unwrap_or_default());
    }
    for piece in text.split('\\').skip(1) {
        let piece = piece.lines().next().unwrap_or_default();
        let (word, rest) = piece.split_once(' ').unwrap_or((piece, ""));
        match word {
            "o" | "out" | "g" | "gx" | "w" | "write" | "s" => found.goes_to(rest),
            "i" | "ir" | "include" | "include_relative" => found.hides(FILE),
            "setenv" | "gexec" | "e" | "edit" | "ef" | "ev" => found.hides(CODE),
            "set" if rest.contains('`') => found.hides(CODE),
            _ if piece.contains('`') => found.hides(CODE),
            _ => {}
        }
    }
}

/// `pager COMMAND`, `tee FILE`, `source FILE`, `into outfile 'FILE'`.
fn mysql(text: &str, found: &mut Effects) {
    for line in text.split(['\n', ';']) {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match word.to_ascii_lowercase().as_str() {
            "pager" | "\\p" if !rest.is_empty() && word != "\\p" => found.runs(rest),
            "tee" | "\\t" => found.goes_to(rest),
            "source" | "\\." => found.hides(FILE),
            _ => {}
        }
    }
    let lower = text.to_ascii_lowercase();
    for word in ["into outfile", "into dumpfile"] {
        if let Some(at) = lower.find(word) {
            let target = text.get(at + word.len()..).unwrap_or_default().trim_start();
            let target = target
                .trim_start_matches(['\'', '"'])
                .split(['\'', '"'])
                .next();
            found.goes_to(target.unwrap_or_default());
        }
    }
}

/// Words with a dot in front, which may be abbreviated, and functions that write files.
fn sqlite(text: &str, found: &mut Effects) {
    for line in text.lines() {
        let Some(line) = line.trim_start().strip_prefix('.') else {
            continue;
        };
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        // What only begins a word is the first that begins so.
        let is = |name: &str, least: usize| word.len() >= least && name.starts_with(word);
        let last = || {
            let mut words = rest.split_whitespace().filter(|it| !it.starts_with('-'));
            words.next_back().unwrap_or_default().to_owned()
        };
        if is("shell", 2) || is("system", 2) {
            found.runs(rest);
        } else if is("output", 1) || is("once", 2) {
            // A command behind `|` is the rest of the line.
            match rest.find('|') {
                Some(at) => found.goes_to(bare(rest.get(at..).unwrap_or_default())),
                None => found.goes_to(&last()),
            }
        } else if is("import", 2) {
            let source = bare(rest).trim_start_matches(['"', '\'']);
            if let Some(command) = source.strip_prefix('|') {
                let command = command.split(['"', '\'']).next().unwrap_or_default();
                found.runs(command);
            }
        } else if is("backup", 1)
            || is("save", 2)
            || is("clone", 2)
            || is("log", 3)
            || is("trace", 2)
            || is("cd", 2)
        {
            found.goes_to(&last());
        } else if is("read", 3) || is("load", 2) {
            match bare(rest).strip_prefix('|') {
                Some(command) => found.runs(command),
                None => found.hides(FILE),
            }
        } else if is("excel", 3) || is("www", 1) {
            found.hides(CODE);
        }
    }
    let lower = text.to_ascii_lowercase();
    for word in ["writefile(", "into '", "attach '", "attach database '"] {
        for (at, _) in lower.match_indices(word) {
            let target = text.get(at + word.len()..).unwrap_or_default();
            let target = target.trim_start_matches([' ', '\'']).split('\'').next();
            found.goes_to(target.unwrap_or_default());
        }
    }
    if ["load_extension(", "edit("]
        .iter()
        .any(|it| lower.contains(it))
    {
        found.hides(CODE);
    }
}

/// `!command`, `get THERE HERE`, `lcd FOLDER`, `source FILE`.
fn transfer(text: &str, found: &mut Effects) {
    for line in text.split(['\n', ';']) {
        let line = line.trim();
        if let Some(command) = line.strip_prefix('!') {
            if !command.trim().is_empty() {
                found.runs(command);
            }
            continue;
        }
        let mut words = line.split_whitespace();
        match words.next().unwrap_or_default() {
            "shell" => found.runs(line.strip_prefix("shell").unwrap_or_default()),
            "local" => found.runs(line.strip_prefix("local").unwrap_or_default()),
            "source" | "." => found.hides(FILE),
            "get" | "reget" | "recv" | "mget" | "get1" | "mirror" | "pget" => {
                let operands: Vec<&str> = words.filter(|it| !it.starts_with('-')).collect();
                if let [_, .., target] = operands.as_slice() {
                    found.goes_to(target);
                }
            }
            "lcd" => {
                // What is fetched from here on comes there.
                let folder = words.next().unwrap_or("~");
                found.writes.push(Value::Known(folder.to_owned()));
                found.writes.push(Value::Pattern(format!("{folder}/**")));
            }
            _ => {}
        }
        if let Some((_, command)) = line.split_once(" |") {
            found.runs(command);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Effects, effects};
    use crate::shell::{code::Call, value::Value};

    fn of(name: &str, text: &str) -> Effects {
        effects(name, &[Value::Known(text.to_owned())], &[text], Some(text))
    }

    #[test]
    fn words_that_run_programs_are_found() {
        let command = Call::Text("sh", "rm x".to_owned());
        for (name, text) in [
            ("psql", "copy a to program 'rm x'"),
            ("psql", "select 1 \\g |rm x"),
            ("mysql", "pager rm x"),
            ("sqlite3", ".sh rm x"),
            ("sqlite3", ".once '|rm x'"),
            ("sqlite3", ".import \"|rm x\" a"),
            ("sftp", "ls\n!rm x"),
            ("lftp", "open h; shell rm x"),
            ("ftp", "ls |rm x"),
        ] {
            assert!(of(name, text).calls.contains(&command), "{name} {text}");
        }
    }

    #[test]
    fn words_that_write_files_are_found() {
        let file = Value::Known("/etc/x".to_owned());
        for (name, text) in [
            ("psql", "\\copy a to '/etc/x'"),
            ("mysql", "select 1 into outfile '/etc/x'"),
            ("sqlite3", ".out /etc/x"),
            ("sqlite3", "select writefile('/etc/x', 1)"),
            ("sftp", "get a /etc/x"),
        ] {
            assert!(of(name, text).writes.contains(&file), "{name} {text}");
        }
    }

    #[test]
    fn plain_questions_do_nothing_here() {
        for (name, text) in [
            ("psql", "select * from program"),
            ("psql", "\\dt"),
            ("mysql", "select 1"),
            ("sqlite3", ".tables"),
            ("sqlite3", "select 1"),
            ("sftp", "ls -l"),
        ] {
            let found = of(name, text);
            assert!(
                found.calls.is_empty() && found.writes.is_empty(),
                "{name} {text}"
            );
        }
    }
}
