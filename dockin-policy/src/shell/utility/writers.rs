//! Programs that write files: one table, each with its option grammar. What needs more than a row
//! (copies, archives, `dd`, `sed`, git) stands beside it.

mod system;
mod table;

use super::files::values_of;
use crate::{
    by_name::{ByName, rows},
    shell::value::Value,
};
pub(super) use system::written_by_nature;
use table::{ALTERERS, Operands, WRITERS, Writer};

static WRITERS_OF: ByName<Writer> = ByName::new(|| rows(WRITERS, |row| row.names));
static ALTERERS_OF: ByName<Writer> = ByName::new(|| rows(ALTERERS, |row| row.names));

/// The files that the table knows to be written.
pub(super) fn written_by_table(name: &str, arguments: &[Value]) -> Vec<Value> {
    let mut found = files_of(&WRITERS_OF, name, arguments);
    if !matches!(name, "sed" | "tar" | "git") {
        found.extend(told_outputs(name, arguments));
    }
    found
}

/// The files that are made, or whose owner, mode, times or attributes become others.
pub(in crate::shell) fn altered(name: &str, arguments: &[Value]) -> Vec<Value> {
    files_of(&ALTERERS_OF, name, arguments)
}

fn files_of(table: &ByName<Writer>, name: &str, arguments: &[Value]) -> Vec<Value> {
    let mut found = Vec::new();
    let mut any_file = false;
    for writer in table.of(name) {
        let has = |options: &[&str]| {
            let mut known = arguments.iter().filter_map(Value::known);
            known.any(|text| options.iter().any(|option| is_option(text, option)))
        };
        if has(writer.unless) {
            continue;
        }
        found.extend(values_of(arguments, writer.outputs));
        if !writer.only_with.is_empty() && !has(writer.only_with) {
            continue;
        }
        any_file |= writer.any_file;
        let operands = operands(writer, arguments);
        match writer.operands {
            Operands::None => {}
            Operands::All => found.extend(operands.into_iter().cloned()),
            Operands::First => found.extend(operands.first().map(|it| (*it).clone())),
            Operands::Second => found.extend(operands.get(1).map(|it| (*it).clone())),
            Operands::Last => {
                found.extend(
                    operands
                        .last()
                        .filter(|_| operands.len() > 1)
                        .map(|it| (*it).clone()),
                );
            }
        }
    }
    found.retain(|value| match value {
        Value::Known(_) | Value::Pattern(_) => true,
        Value::Unknown { prefix, .. } => any_file || prefix.starts_with(['/', '~']),
    });
    found
}

fn operands<'a>(writer: &Writer, arguments: &'a [Value]) -> Vec<&'a Value> {
    let mut found = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.known() {
            Some("--") => {
                found.extend(rest.by_ref());
            }
            Some(text) if text.len() > 1 && text.starts_with(['-', '+']) => {
                if writer.values.contains(&text) || writer.outputs.contains(&text) {
                    let _value = rest.next();
                }
            }
            _ => found.push(argument),
        }
    }
    found
}

/// Whether `text` is the option or verb, a cluster with it, or the option with a value behind `=`.
fn is_option(text: &str, option: &str) -> bool {
    if let Some(letter) = option.strip_prefix('-').filter(|it| it.len() == 1) {
        return text.strip_prefix('-').is_some_and(|letters| {
            letters.contains(letter) && letters.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
    }
    let glued = text.strip_prefix(option);
    glued.is_some_and(|rest| rest.is_empty() || option.starts_with("--") && rest.starts_with('='))
}

/// What stands behind `-o`, `--output` and their like, of whatever program: a path from the root or
/// from home that is given so is written.
fn told_outputs(name: &str, arguments: &[Value]) -> Vec<Value> {
    if ASIDE.contains(&name) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (at, argument) in arguments.iter().enumerate() {
        let Some(text) = argument.known() else {
            continue;
        };
        let (option, glued) = match text.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (text, None),
        };
        let value = if OUTPUTS.contains(&option) {
            match glued {
                Some(value) => Some(Value::Known(value.to_owned())),
                None => arguments.get(at + 1).cloned(),
            }
        } else {
            text.strip_prefix("-o")
                .filter(|path| path.starts_with(['/', '~']))
                .map(|path| Value::Known(path.to_owned()))
        };
        found.extend(value.filter(|value| match value {
            Value::Known(text) | Value::Pattern(text) => text.starts_with(['/', '~']),
            Value::Unknown { prefix, .. } => prefix.starts_with(['/', '~']),
        }));
    }
    found
}

/// What programs call the file that they write.
const OUTPUTS: [&str; 14] = [
    "-o",
    "-out",
    "--out",
    "--output",
    "--outfile",
    "--out-file",
    "--outdir",
    "--out-dir",
    "--output-file",
    "--output-dir",
    "--output-directory",
    "--output-document",
    "--log-file",
    "--logfile",
];

/// Programs to which `-o` is something else.
const ASIDE: [&str; 17] = [
    "ls", "dir", "vdir", "grep", "egrep", "fgrep", "zgrep", "rg", "ag", "ack", "ps", "find",
    "lsof", "test", "ssh", "scp", "sftp",
];

#[cfg(test)]
mod tests {
    use super::{altered, written_by_table};
    use crate::shell::value::Value;

    fn values(words: &str) -> (String, Vec<Value>) {
        let mut words = words.split(' ').map(str::to_owned);
        let name = words.next().unwrap_or_default();
        (name, words.map(Value::Known).collect())
    }

    fn writes(line: &str) -> bool {
        let (name, arguments) = values(line);
        written_by_table(&name, &arguments).contains(&Value::Known("/etc/x".to_owned()))
    }

    #[test]
    fn programs_that_are_told_a_file_write_it() {
        for line in [
            "vim -n /etc/x",
            "nano +3 /etc/x",
            "sudoedit -u root /etc/x",
            "mknod -m 600 /etc/x c 1 3",
            "yq e -i .a=1 /etc/x",
            "curl --trace /etc/x http://a",
            "kubectl -n a cp b:c /etc/x",
            "anything --output=/etc/x a",
            "anything -o/etc/x",
            "lz4 a /etc/x",
        ] {
            assert!(writes(line), "{line}");
        }
    }

    #[test]
    fn programs_that_only_look_write_nothing() {
        for line in [
            "view /etc/x",
            "vim -R /etc/x",
            "yq e .a /etc/x",
            "ls -o /etc/x",
            "lz4 -c a /etc/x",
            "ssh-keygen -l -f /etc/x",
            "kubectl get -f /etc/x",
            "gofmt /etc/x",
        ] {
            assert!(!writes(line), "{line}");
        }
    }

    #[test]
    fn what_a_file_is_becomes_another_and_not_what_is_in_it() {
        for line in [
            "touch -d now /etc/x",
            "mkdir -m 700 /etc/x",
            "chown a /etc/x",
        ] {
            let (name, arguments) = values(line);
            assert!(altered(&name, &arguments).contains(&Value::Known("/etc/x".to_owned())));
            assert!(!writes(line), "{line}");
        }
    }
}
