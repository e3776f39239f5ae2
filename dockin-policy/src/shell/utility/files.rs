//! The files that programs write and read, from their arguments.

use super::{sed_script, tar::tar_values, writers};
use crate::shell::{option::is_long, value::Value};

/// The arguments that are no options.
pub(in crate::shell) fn operands<'a>(name: &str, arguments: &'a [Value]) -> Vec<&'a Value> {
    let value_options: &[&str] = match name {
        "install" => &["-m", "-o", "-g", "--mode", "--owner", "--group"],
        "cp" | "mv" | "ln" => &["-S", "--suffix"],
        "truncate" => &["-s", "-r", "--size", "--reference"],
        "shred" => &["-n", "-s"],
        "rsync" => &["-e", "--rsh", "--exclude", "--include", "--files-from"],
        "scp" => &["-P", "-i", "-o", "-F", "-l", "-c", "-S"],
        "head" | "tail" => &["-n", "-c", "--lines", "--bytes"],
        "sort" => &["-k", "-t", "-o", "-S", "-T"],
        "cut" => &["-d", "-f", "-c", "-b"],
        "chmod" | "chown" | "chgrp" => &["--reference"],
        "dc" => &["-e", "--expression", "-f", "--file"],
        "touch" => &["-d", "-t", "-r"],
        "mkdir" => &["-m"],
        "split" => &["-b", "-C", "-l", "-n", "-a", "-t"],
        "patch" => &[
            "-i", "-p", "-d", "-o", "-r", "-B", "-F", "-D", "-V", "-Y", "-z",
        ],
        "zip" => &["-O", "-P", "-b", "-t", "-tt", "-n", "-s"],
        "wget" => &[
            "-O", "-o", "-P", "-t", "-T", "-U", "-a", "-i", "-e", "-A", "-R", "-D",
        ],
        _ => &[],
    };
    let mut found = Vec::new();
    let mut options = true;
    let mut skips = false;
    for argument in arguments {
        if std::mem::take(&mut skips) {
            continue;
        }
        match argument.known() {
            Some("--") if options => options = false,
            Some(text) if options && text.len() > 1 && text.starts_with('-') => {
                skips = value_options.contains(&text);
            }
            _ => found.push(argument),
        }
    }
    found
}

/// The files that a program writes, deletes or renames, from its arguments.
pub(in crate::shell) fn written(name: &str, arguments: &[Value]) -> Vec<Value> {
    let mut found = written_by_its_own_grammar(name, arguments);
    found.extend(writers::written_by_table(name, arguments));
    found.extend(writers::written_by_nature(name, arguments));
    found
}

fn written_by_its_own_grammar(name: &str, arguments: &[Value]) -> Vec<Value> {
    let all = || operands(name, arguments).into_iter().cloned();
    let behind = |options: &[&str]| values_of(arguments, options);
    match name {
        "tee" | "truncate" | "rm" | "rmdir" | "unlink" | "shred" | "sponge" | "fallocate"
        | "strip" => all().collect(),
        "mv" => {
            // A folder takes along what stands in it.
            let mut found: Vec<Value> = all().collect();
            let taken: Vec<Value> = found.iter().flat_map(all_below).collect();
            found.extend(taken);
            found.extend(copied(name, arguments));
            found
        }
        // They put another file in its place, and delete it.
        "gzip" | "gunzip" | "bzip2" | "bunzip2" | "xz" | "unxz" | "lzma" | "unlzma"
        | "compress" | "uncompress" | "lzop" | "pigz" | "pbzip2"
            if !has_flag(arguments, 'c', "--stdout")
                && !has_flag(arguments, 'l', "--list")
                && !has_flag(arguments, 't', "--test")
                && !has_flag(arguments, 'k', "--keep") =>
        {
            all().filter(is_told).collect()
        }
        "zstd" | "unzstd" | "lz4" if has_flag(arguments, '\0', "--rm") => all().collect(),
        "zip" if has_flag(arguments, 'm', "--move") => all().collect(),
        "zip" => all().next().into_iter().collect(),
        "7z" | "7za" | "7zr" | "rar"
            if arguments
                .iter()
                .any(|it| matches!(it.known(), Some("-sdel" | "-df" | "-dw"))) =>
        {
            all().skip(1).collect()
        }
        "7z" | "7za" | "7zr" | "unar" => arguments
            .iter()
            .filter_map(Value::known)
            .filter_map(|it| it.strip_prefix("-o"))
            .map(|folder| Value::Known(folder.to_owned()))
            .flat_map(|folder| all_below(&folder).into_iter().chain([folder]))
            .collect(),
        "objcopy" => all().next_back().into_iter().collect(),
        "script" => all().collect(),
        "split" => all().nth(1).into_iter().collect(),
        "csplit" => behind(&["-f", "--prefix"]),
        "cpio" | "bsdcpio" => {
            let mut found = behind(&["-D", "--directory", "-O", "-F", "--file"]);
            let lists = has_flag(arguments, 't', "--list")
                || has_flag(arguments, '\0', "--to-stdout")
                || has_flag(arguments, 'o', "--create");
            if has_flag(arguments, 'i', "--extract") && !lists {
                if found.is_empty() {
                    found.extend([here(), Value::Pattern("./**".to_owned())]);
                }
                if !has_flag(arguments, '\0', "--no-absolute-filenames") {
                    // Where the archive says.
                    found.push(Value::unknown("the names in an archive are not known"));
                }
            }
            found
        }
        "start-stop-daemon" => behind(&[
            "-O",
            "--output",
            "-p",
            "--pidfile",
            "-1",
            "--stdout",
            "-2",
            "--stderr",
        ]),
        "strace" | "ltrace" | "perf" | "time" => behind(&["-o", "--output"]),
        "tcpdump" | "tshark" | "dumpcap" => behind(&["-w"]),
        "gpg" | "gpg2" | "iconv" | "shuf" | "bison" | "flex" | "yacc" | "convert" | "rustc"
        | "pandoc" | "age" => behind(&["-o", "--output"]),
        "cp" | "install" | "ln" | "rsync" | "scp" | "link" => copied(name, arguments),
        "dd" => arguments
            .iter()
            .filter_map(|it| match it {
                Value::Known(text) => text
                    .strip_prefix("of=")
                    .map(|path| Value::Known(path.to_owned())),
                Value::Unknown {
                    prefix,
                    reason,
                    suffix,
                } => prefix.strip_prefix("of=").map(|path| Value::Unknown {
                    reason,
                    prefix: path.to_owned(),
                    suffix: suffix.clone(),
                }),
                Value::Pattern(text) => text
                    .strip_prefix("of=")
                    .map(|path| Value::Pattern(path.to_owned())),
            })
            .collect(),
        "sed" => sed_script::written(arguments),
        "sudo" | "doas" => edited_by_sudo(arguments),
        // The file of sudo itself.
        "visudo"
            if behind(&["-f", "--file"]).is_empty() && !has_flag(arguments, 'c', "--check") =>
        {
            vec![Value::Known("/etc/sudoers".to_owned())]
        }
        "socat" => arguments
            .iter()
            .filter_map(Value::known)
            .filter_map(|text| text.split_once(':'))
            .filter(|(kind, _)| {
                let kind = kind.to_ascii_lowercase();
                matches!(
                    kind.as_str(),
                    "open" | "creat" | "create" | "file" | "gopen"
                )
            })
            .filter_map(|(_, path)| path.split([',', '!']).next())
            .map(|path| Value::Known(path.to_owned()))
            .collect(),
        name if name.starts_with("mkfs") => all().collect(),
        "perl" => {
            let in_place = arguments
                .iter()
                .filter_map(Value::known)
                .any(|text| text.starts_with('-') && !text.starts_with("--") && text.contains('i'));
            let scripted = arguments.iter().filter_map(Value::known).any(|text| {
                text.starts_with('-') && !text.starts_with("--") && text.contains(['e', 'E'])
            });
            if in_place {
                all().skip(usize::from(!scripted)).collect()
            } else {
                Vec::new()
            }
        }
        "curl" => {
            let mut found = behind(&[
                "-o",
                "--output",
                "-D",
                "--dump-header",
                "-c",
                "--cookie-jar",
            ]);
            if has_flag(arguments, 'O', "--remote-name") {
                found.push(here());
            }
            found
        }
        "wget" => {
            let told = behind(&["-O", "--output-document", "-o", "-P", "--directory-prefix"]);
            if told.is_empty() && all().next().is_some() {
                vec![here()]
            } else {
                told
            }
        }
        "nmap" => behind(&["-oN", "-oX", "-oG", "-oS", "-oA", "--append-output"]),
        "ab" => behind(&["-e", "-g"]),
        "sensible-editor" | "editor" | "select-editor" => all().collect(),
        "mysqldump" | "mariadb-dump" => {
            let folders = behind(&["-T", "--tab"]).into_iter();
            folders
                .flat_map(|folder| all_below(&folder).into_iter().chain([folder]))
                .collect()
        }
        "less" => behind(&["-o", "--log-file", "-O", "--LOG-FILE"]),
        "ptx" if has_flag(arguments, 'G', "--traditional") => all().nth(1).into_iter().collect(),
        // Their values are glued on.
        "awk" | "gawk" => [
            "-d",
            "-o",
            "-p",
            "--dump-variables=",
            "--pretty-print=",
            "--profile=",
        ]
        .iter()
        .flat_map(|option| {
            let known = arguments.iter().filter_map(Value::known);
            known
                .filter_map(move |text| text.strip_prefix(option))
                .filter(|it| it.starts_with(['/', '~']))
        })
        .map(|path| Value::Known(path.to_owned()))
        .collect(),
        "vi" | "vim" | "nvim" => arguments
            .iter()
            .filter_map(Value::known)
            .filter_map(|text| text.strip_prefix("-V"))
            .map(|text| text.trim_start_matches(|c: char| c.is_ascii_digit()))
            .filter(|path| !path.is_empty())
            .map(|path| Value::Known(path.to_owned()))
            .collect(),
        "busybox"
            if arguments
                .first()
                .is_some_and(|it| it.known() == Some("--install")) =>
        {
            let folders = all().chain([Value::Known("/bin".to_owned())]);
            folders
                .flat_map(|folder| all_below(&folder).into_iter().chain([folder]))
                .collect()
        }
        "sort" => behind(&["-o", "--output"]),
        "gcc" | "cc" | "ld" | "go" | "openssl" => behind(&["-o", "-out"]),
        "tar" | "bsdtar" | "gtar" => {
            let creates = arguments.iter().enumerate().any(|(index, it)| {
                it.known()
                    .is_some_and(|text| writes_archive(text, index == 0))
            });
            let mut found = tar_values(arguments, 'g', "--listed-incremental");
            found.extend(tar_values(arguments, '\0', "--index-file"));
            found.extend(tar_values(arguments, '\0', "--volno-file"));
            if extracts(arguments) {
                let told = tar_values(arguments, 'C', "--directory").into_iter();
                for folder in told.chain(behind(&["--one-top-level"])) {
                    found.extend(all_below(&folder));
                    found.push(folder);
                }
            }
            if creates {
                found.extend(tar_values(arguments, 'f', "--file"));
            }
            let outside = arguments.iter().enumerate().any(|(index, it)| {
                it.known().is_some_and(|text| {
                    let is_cluster = index == 0 || text.starts_with('-') && !text.starts_with("--");
                    is_long(text, "--absolute-names") || is_cluster && text.contains('P')
                })
            });
            if !creates && outside {
                // Where the archive says.
                found.push(Value::unknown("the names in an archive are not known"));
            } else if !creates && found.is_empty() && extracts(arguments) {
                found.push(Value::Known(".".to_owned()));
            }
            found
        }
        "pax" if has_flag(arguments, 'r', "-r") && !has_flag(arguments, 'w', "-w") => {
            let unknown = Value::unknown("the names in an archive are not known");
            vec![here(), Value::Pattern("./**".to_owned()), unknown]
        }
        "unzip" => {
            let found: Vec<Value> = behind(&["-d"])
                .into_iter()
                .flat_map(|folder| all_below(&folder).into_iter().chain([folder]))
                .collect();
            let lists = arguments
                .iter()
                .filter_map(Value::known)
                .any(|it| it.starts_with('-') && it.contains(['l', 'p', 't', 'v', 'Z', 'h']));
            if found.is_empty() && !lists {
                vec![Value::Known(".".to_owned())]
            } else {
                found
            }
        }
        "find" => {
            let mut found = behind(&["-fprintf", "-fprint", "-fprint0", "-fls"]);
            if arguments.iter().any(|it| it.known() == Some("-delete")) {
                let begins = |it: &&Value| {
                    it.known()
                        .is_none_or(|text| !text.starts_with(['-', '(', '!', ')']))
                };
                for folder in arguments.iter().take_while(begins) {
                    found.extend(all_below(folder));
                    found.push(folder.clone());
                }
            }
            found
        }
        "xxd" | "uniq" => all().nth(1).into_iter().collect(),
        "patch" if has_flag(arguments, '\0', "--dry-run") => Vec::new(),
        "patch" => {
            let mut found = behind(&["-o", "--output", "-r", "--reject-file"]);
            let places = behind(&["-d", "--directory"]);
            match (all().next(), places.is_empty()) {
                (Some(file), _) => found.push(file),
                // The files that it names stand below.
                (None, true) => found.extend([here(), Value::Pattern("./**".to_owned())]),
                (None, false) => found.extend(places.iter().filter_map(all_below)),
            }
            found.extend(places);
            found
        }
        _ => Vec::new(),
    }
}

/// Where a program that copies puts its files: at the place that it is told, or, when that is a
/// folder, in it under the names that they have.
fn copied(name: &str, arguments: &[Value]) -> Vec<Value> {
    let operands = operands(name, arguments);
    // `-t DIR` names the place first.
    let named = values_of(arguments, &["-t", "--target-directory"]);
    let (places, sources) = match (named.is_empty(), operands.split_last()) {
        (false, _) => (named, operands.as_slice()),
        (true, Some((last, sources))) => (vec![(*last).clone()], sources),
        (true, None) => return Vec::new(),
    };
    let is_recursive = matches!(name, "rsync" | "scp")
        || has_flag(arguments, 'r', "--recursive")
        || has_flag(arguments, 'R', "--recursive")
        || has_flag(arguments, 'a', "--archive");
    let mut found = places.clone();
    let folders = places.iter().filter_map(|place| match place {
        Value::Known(path) => Some(path.trim_end_matches('/')),
        Value::Pattern(_) | Value::Unknown { .. } => None,
    });
    for folder in folders {
        for source in sources {
            match source {
                // `cp -r folder/. there`
                Value::Known(path) if is_recursive && path.ends_with(['.', '/']) => {
                    found.push(Value::Pattern(format!("{folder}/**")));
                }
                Value::Known(path) => {
                    let path = path.trim_end_matches('/');
                    let is_far = matches!(name, "scp" | "rsync");
                    let mut parts = path.rsplit(|c| c == '/' || is_far && c == ':');
                    let name = parts.next().unwrap_or_default();
                    found.push(Value::Known(format!("{folder}/{name}")));
                }
                Value::Pattern(path) => {
                    let name = path.rsplit('/').next().unwrap_or_default();
                    found.push(Value::Pattern(format!("{folder}/{name}")));
                }
                Value::Unknown { .. } => {}
            }
        }
    }
    found
}

/// `sudo -e FILE`
fn edited_by_sudo(arguments: &[Value]) -> Vec<Value> {
    const VALUES: [&str; 9] = ["-u", "-g", "-h", "-p", "-C", "-r", "-t", "-T", "-D"];
    let mut rest = arguments.iter();
    let mut edits = false;
    while let Some(text) = rest.as_slice().first().and_then(Value::known)
        && text.starts_with('-')
    {
        edits |= matches!(text, "-e" | "--edit");
        let _option = rest.next();
        if VALUES.contains(&text) {
            let _value = rest.next();
        }
    }
    if edits {
        rest.cloned().collect()
    } else {
        Vec::new()
    }
}

/// The working directory.
fn here() -> Value {
    Value::Known(".".to_owned())
}

/// Whatever stands below a folder.
fn all_below(folder: &Value) -> Option<Value> {
    let path = folder.known()?;
    Some(Value::Pattern(format!("{}/**", path.trim_end_matches('/'))))
}

/// The files that a program reads, from its arguments: those of the usual ones.
pub(in crate::shell) fn read_by(name: &str, arguments: &[Value]) -> Vec<Value> {
    let all = || operands(name, arguments).into_iter().cloned();
    match name {
        "cat" | "less" | "more" | "head" | "tail" | "tac" | "nl" | "od" | "xxd" | "hexdump"
        | "strings" | "base64" | "base32" | "sort" | "uniq" | "cut" | "wc" | "md5sum"
        | "sha1sum" | "sha256sum" | "vi" | "vim" | "view" | "nano" | "zcat" | "gzip" | "rev"
        | "file" | "source" => all().collect(),
        "grep" | "egrep" | "fgrep" | "sed" | "awk" => all().skip(1).collect(),
        "cp" | "scp" | "rsync" | "install" | "mv" | "ln" => {
            let mut found: Vec<Value> = all().collect();
            found.pop();
            found
        }
        "dd" => arguments
            .iter()
            .filter_map(Value::known)
            .filter_map(|text| text.strip_prefix("if="))
            .map(|path| Value::Known(path.to_owned()))
            .collect(),
        "tar" | "zip" => all().skip(1).collect(),
        "curl" => arguments
            .iter()
            .filter_map(Value::known)
            .filter_map(|text| text.strip_prefix('@').or_else(|| text.strip_prefix("-d@")))
            .map(|path| Value::Known(path.to_owned()))
            .collect(),
        _ => Vec::new(),
    }
}

/// The values of options: behind them, glued on, in a cluster, or behind an abbreviation.
pub(in crate::shell) fn values_of(arguments: &[Value], options: &[&str]) -> Vec<Value> {
    let mut found = Vec::new();
    for (index, argument) in arguments.iter().enumerate() {
        let Some(text) = argument.known() else {
            // `--output=$x`
            if let Value::Unknown {
                prefix,
                suffix,
                reason,
            } = argument
                && let Some((_, path)) = prefix
                    .split_once('=')
                    .filter(|(name, _)| options.contains(name))
            {
                found.push(Value::Unknown {
                    reason,
                    prefix: path.to_owned(),
                    suffix: suffix.clone(),
                });
            }
            continue;
        };
        // A whole word first: `-out` is no `-o`.
        let glued = if options.contains(&text) {
            Some("")
        } else {
            options.iter().find_map(|option| glued_value(text, option))
        };
        match glued {
            Some("") => found.extend(arguments.get(index + 1).cloned()),
            Some(path) => found.push(Value::Known(path.to_owned())),
            None => {}
        }
    }
    found
}

/// What stands behind the option in `text`: nothing where the next argument is its value.
fn glued_value<'a>(text: &'a str, option: &str) -> Option<&'a str> {
    if option.starts_with("--") {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        return is_long(name, option).then_some(value);
    }
    let letter = option.strip_prefix('-')?;
    let letters = text.strip_prefix('-').filter(|it| !it.starts_with('-'))?;
    if letter.len() > 1 {
        // One dash and a word: `-fprint`.
        return (letters == letter).then_some("");
    }
    let at = letters.find(letter)?;
    letters
        .get(..at)?
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric())
        .then(|| letters.get(at + 1..))?
}

/// Whether something of the path is known.
fn is_told(path: &Value) -> bool {
    !matches!(path, Value::Unknown { prefix, suffix, .. } if prefix.is_empty() && suffix.is_empty())
}

fn has_flag(arguments: &[Value], letter: char, long: &str) -> bool {
    arguments.iter().filter_map(Value::known).any(|text| {
        is_long(text, long)
            || text.starts_with('-') && !text.starts_with("--") && text.contains(letter)
    })
}

/// Whether tar is told by this argument to write an archive: by `c`, `r`, `u` or `A`.
fn writes_archive(text: &str, is_first: bool) -> bool {
    const LONG: [&str; 6] = [
        "--create",
        "--append",
        "--update",
        "--catenate",
        "--concatenate",
        "--delete",
    ];
    if text.starts_with("--") {
        return LONG.iter().any(|long| is_long(text, long));
    }
    // What is glued to `f` is the archive.
    let cluster = text.split_inclusive(['f', 'C']).next().unwrap_or_default();
    (is_first || text.starts_with('-'))
        && cluster.contains(['c', 'r', 'u', 'A'])
        && !cluster.contains(['x', 't', 'd', '/'])
}

/// Whether tar is told to take files out of an archive.
fn extracts(arguments: &[Value]) -> bool {
    arguments.iter().enumerate().any(|(index, it)| {
        it.known().is_some_and(|text| {
            ["--extract", "--get"]
                .iter()
                .any(|long| is_long(text, long))
                || (index == 0 || text.starts_with('-') && !text.starts_with("--"))
                    && text.contains('x')
        })
    })
}
