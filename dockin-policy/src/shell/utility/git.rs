//! The files that git writes over or takes away: in a tree that its verbs do not name.

use super::files::values_of;
use crate::shell::value::{VARIABLE, Value};

/// What stands in front of git's verb, and behind it.
struct Told<'a> {
    /// Folders that it goes to, one from another.
    folders: Vec<Value>,
    tree: Option<Value>,
    verb: &'a str,
    rest: &'a [Value],
}

/// Options in front of the verb whose value is the next argument.
const VALUES: &[&str] = &[
    "-C",
    "-c",
    "--git-dir",
    "--work-tree",
    "--namespace",
    "--exec-path",
    "--config-env",
    "--super-prefix",
    "--attr-source",
];

fn told(arguments: &[Value]) -> Option<Told<'_>> {
    let (mut folders, mut tree) = (Vec::new(), None);
    let mut rest = arguments;
    loop {
        let (first, behind) = rest.split_first()?;
        rest = behind;
        let text = match first {
            Value::Known(text) => text.as_str(),
            Value::Unknown {
                prefix,
                suffix,
                reason,
            } if prefix.starts_with("--work-tree=") => {
                tree = Some(Value::Unknown {
                    reason,
                    prefix: prefix.replacen("--work-tree=", "", 1),
                    suffix: suffix.clone(),
                });
                continue;
            }
            // It may be anything: what stands behind it is read as it stands.
            _ => continue,
        };
        if !text.starts_with('-') {
            return Some(Told {
                folders,
                tree,
                verb: text,
                rest,
            });
        }
        let (option, value) = match text.split_once('=') {
            Some((option, value)) if option.starts_with("--") => {
                (option, Some(Value::Known(value.to_owned())))
            }
            _ if VALUES.contains(&text) => {
                let (value, behind) = rest.split_first()?;
                rest = behind;
                (text, Some(value.clone()))
            }
            _ => (text, None),
        };
        match (option, value) {
            ("-C", Some(value)) => folders.push(value),
            ("--work-tree", value @ Some(_)) => tree = value,
            ("-c", Some(Value::Known(setting))) => {
                if let Some((key, path)) = setting.split_once('=')
                    && key.eq_ignore_ascii_case("core.worktree")
                {
                    tree = Some(Value::Known(path.to_owned()));
                }
            }
            _ => {}
        }
    }
}

/// The files that git writes; `tree` is what its environment says of where its files are.
pub(in crate::shell) fn git_written(arguments: &[Value], tree: Option<Value>) -> Vec<Value> {
    let Some(told) = told(arguments) else {
        return Vec::new();
    };
    let start = told
        .folders
        .into_iter()
        .fold(Value::Known(".".to_owned()), |base, path| {
            join(&base, &path)
        });
    let base = match told.tree.or(tree) {
        Some(tree) => join(&start, &tree),
        None => start.clone(),
    };
    let rest = told.rest;
    let has = |words: &[&str]| {
        rest.iter()
            .take_while(|it| it.known() != Some("--"))
            .any(|it| it.known().is_some_and(|text| words.contains(&text)))
    };
    let operands = || {
        let mut options = true;
        rest.iter().filter(move |it| {
            let text = it.known().unwrap_or_default();
            let is_option = options && text.len() > 1 && text.starts_with('-');
            options &= text != "--";
            !is_option
        })
    };
    // Paths that it is told stand below both: git takes no others.
    let anywhere = Value::Pattern("**".to_owned());
    let below = |paths: Vec<&Value>| -> Vec<Value> {
        let of = |path: &&Value| {
            let path = match path {
                Value::Unknown { prefix, .. } if prefix.is_empty() => &anywhere,
                path => path,
            };
            [join(&base, path), join(&start, path)]
        };
        paths.iter().flat_map(of).collect()
    };
    let behind_dashes: Vec<&Value> = rest
        .iter()
        .skip_while(|it| it.known() != Some("--"))
        .skip(1)
        .collect();
    let mut found: Vec<Value> = values_of(rest, &["--output"])
        .iter()
        .map(|path| join(&start, path))
        .collect();
    let first = operands().next().and_then(Value::known).unwrap_or_default();
    let writes_tree = match told.verb {
        "checkout" | "switch" | "pull" | "merge" | "rebase" | "cherry-pick" | "revert" | "am"
        | "bisect" | "sparse-checkout" | "subtree" | "filter-branch" | "checkout-index"
        | "quiltimport" | "merge-index" | "merge-one-file" => true,
        "reset" => has(&["--hard", "--merge", "--keep"]),
        "clean" => !has(&["-n", "--dry-run"]),
        "stash" => !matches!(
            first,
            "list" | "show" | "drop" | "clear" | "create" | "store"
        ),
        "apply" => !has(&["--check", "--stat", "--numstat", "--summary", "--cached"]),
        "read-tree" => has(&["-u", "--reset"]),
        "restore" => !has(&["--staged", "-S"]) || has(&["--worktree", "-W"]),
        "submodule" => matches!(first, "update" | "deinit" | "add" | "foreach"),
        "lfs" => matches!(first, "checkout" | "pull"),
        _ => false,
    };
    if writes_tree {
        if told.verb == "checkout-index" {
            let prefix = values_of(rest, &["--prefix"]);
            found.extend(prefix.iter().map(|path| join(&start, path)));
        }
        let paths = match told.verb {
            "restore" | "clean" | "checkout-index" => operands().filter(is_path).collect(),
            _ => behind_dashes,
        };
        if paths.is_empty() {
            found.push(base.clone());
            found.push(join(&base, &Value::Pattern("**".to_owned())));
        } else {
            found.extend(below(paths));
        }
        return found;
    }
    match told.verb {
        "rm" | "mv" if !has(&["--cached", "-n", "--dry-run"]) => {
            found.extend(below(operands().filter(is_path).collect()));
        }
        "archive" | "format-patch" | "bugreport" | "diagnose" | "mailsplit" | "index-pack" => {
            let paths = values_of(rest, &["-o", "--output", "--output-directory"]);
            found.extend(paths.iter().map(|path| join(&start, path)));
        }
        // What only asks has one operand.
        "config"
            if operands().count() > 1 && !has(&["--get", "--get-all", "get", "list", "-l"]) =>
        {
            let paths = values_of(rest, &["-f", "--file"]);
            found.extend(paths.iter().map(|path| join(&start, path)));
            if has(&["--system"]) {
                found.push(Value::Known("/etc/gitconfig".to_owned()));
            }
        }
        "bundle" if first == "create" => {
            found.extend(operands().nth(1).map(|path| join(&start, path)));
        }
        "worktree" if matches!(first, "add" | "move" | "remove") => {
            found.extend(operands().skip(1).map(|path| join(&start, path)));
        }
        "clone" => {
            let place = operands().nth(1);
            found.push(place.map_or(start.clone(), |path| join(&start, path)));
        }
        "init" => {
            found.push(
                operands()
                    .next()
                    .map_or(base.clone(), |path| join(&start, path)),
            );
            let apart = values_of(rest, &["--separate-git-dir"]);
            found.extend(apart.iter().map(|path| join(&start, path)));
        }
        "merge-file" if !has(&["-p", "--stdout"]) => {
            found.extend(operands().next().map(|path| join(&start, path)));
        }
        "fast-export" | "fast-import" => {
            let marks = values_of(rest, &["--export-marks", "--export-pack-edges"]);
            found.extend(marks.iter().map(|path| join(&start, path)));
        }
        "credential-store" => {
            let paths = values_of(rest, &["--file"]);
            found.extend(paths.iter().map(|path| join(&start, path)));
        }
        _ => {}
    }
    found
}

fn is_path(value: &&Value) -> bool {
    value.known() != Some("--")
}

/// `path` seen from `base`.
fn join(base: &Value, path: &Value) -> Value {
    let is_absolute = |text: &str| text.starts_with(['/', '~']);
    // `:/x` and `:(top)x` are words of git for the top of its tree.
    let plain = |text: &str| {
        let text = text.strip_prefix(":/").unwrap_or(text);
        match text
            .strip_prefix(":(")
            .and_then(|rest| rest.split_once(')'))
        {
            Some((_, path)) => path.to_owned(),
            None => text.to_owned(),
        }
    };
    let text_of = |value: &Value| match value {
        Value::Known(text) | Value::Pattern(text) => plain(text),
        Value::Unknown { prefix, .. } => prefix.clone(),
    };
    let text = text_of(path);
    let in_front = match base {
        _ if is_absolute(&text) => String::new(),
        Value::Known(base) => format!("{}/", base.trim_end_matches('/')),
        Value::Pattern(_) | Value::Unknown { .. } => {
            return Value::unknown(VARIABLE);
        }
    };
    let joined = format!("{in_front}{text}");
    match path {
        Value::Known(_) => Value::Known(joined),
        Value::Pattern(_) => Value::Pattern(joined),
        Value::Unknown { reason, suffix, .. } => Value::Unknown {
            reason,
            // It may begin at the root.
            prefix: if text.is_empty() { text } else { joined },
            suffix: suffix.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::git_written;
    use crate::shell::value::Value;

    fn paths(line: &str) -> Vec<String> {
        let arguments: Vec<Value> = line
            .split(' ')
            .map(|word| Value::Known(word.to_owned()))
            .collect();
        let found = git_written(&arguments, None);
        found.iter().map(Value::shown).collect()
    }

    #[test]
    fn a_verb_that_writes_its_tree_writes_all_of_it() {
        assert_eq!(paths("-C /etc checkout ."), ["/etc", "/etc/**"]);
        assert_eq!(paths("-C / -C etc reset --hard"), ["/etc", "/etc/**"]);
        assert_eq!(paths("--work-tree=/etc stash"), ["/etc", "/etc/**"]);
        assert_eq!(
            paths("-c core.worktree=/etc clean -fdx"),
            ["/etc", "/etc/**"]
        );
    }

    #[test]
    fn a_verb_that_is_told_files_writes_those() {
        assert_eq!(paths("-C /a checkout -- b"), ["/a/b", "/a/b"]);
        assert_eq!(paths("--work-tree /a rm b"), ["/a/b", "./b"]);
        assert_eq!(paths("diff --output=/etc/x"), ["/etc/x"]);
    }

    #[test]
    fn a_verb_that_asks_writes_nothing() {
        for line in [
            "-C /etc status",
            "-C /etc log -- x",
            "-C /etc stash list",
            "clean -n",
        ] {
            assert!(paths(line).is_empty(), "{line}");
        }
    }
}
