//! Programs that write files: one table, each with its option grammar. What needs more than a row
//! (copies, archives, `dd`, `sed`, git) stands beside it.

use super::files::values_of;
use crate::shell::value::Value;

/// Which operands are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Operands {
    None,
    All,
    First,
    Second,
    Last,
}

struct Writer {
    names: &'static [&'static str],
    /// Options whose value is the next argument, and no file that is written.
    values: &'static [&'static str],
    /// Options whose value is a file or a folder that is written.
    outputs: &'static [&'static str],
    operands: Operands,
    /// Operands count only behind one of these options or verbs; always where there are none.
    only_with: &'static [&'static str],
    /// Nothing is written behind one of these options.
    unless: &'static [&'static str],
}

const fn writer(
    names: &'static [&'static str],
    values: &'static [&'static str],
    outputs: &'static [&'static str],
    operands: Operands,
) -> Writer {
    Writer {
        names,
        values,
        outputs,
        operands,
        only_with: &[],
        unless: &[],
    }
}

impl Writer {
    const fn only_with(self, only_with: &'static [&'static str]) -> Self {
        Self { only_with, ..self }
    }

    const fn unless(self, unless: &'static [&'static str]) -> Self {
        Self { unless, ..self }
    }
}

const WRITERS: &[Writer] = &[
    // Editors write what they show once they are told to.
    writer(
        &[
            "vi", "vim", "nvim", "gvim", "rvim", "vise", "vimdiff", "elvis", "nvi",
        ],
        &[
            "-c", "--cmd", "-S", "-u", "-U", "-t", "-T", "-i", "-s", "-w", "-W",
        ],
        &["-w", "-W"],
        Operands::All,
    )
    .unless(&["-R", "-M"]),
    writer(&["ed", "red"], &["-p"], &[], Operands::All),
    writer(
        &["ex"],
        &["-c", "--cmd", "-S", "-t"],
        &["-w"],
        Operands::All,
    )
    .unless(&["-R"]),
    writer(
        &["nano", "rnano", "pico"],
        &["-T", "-r", "-s", "-Y", "-o", "-Q"],
        &[],
        Operands::All,
    )
    .unless(&["-v", "--view"]),
    writer(
        &["emacs", "emacsclient", "zile", "mg", "jmacs"],
        &["-f", "-l", "-e", "-s", "--eval", "--load", "--funcall"],
        &[],
        Operands::All,
    ),
    writer(
        &[
            "micro", "joe", "jed", "jpico", "jstar", "ne", "mcedit", "kak", "hx", "helix", "tilde",
            "dte",
        ],
        &[],
        &[],
        Operands::All,
    ),
    writer(
        &["sudoedit"],
        &["-u", "-g", "-C", "-h", "-p", "-r", "-t", "-T"],
        &[],
        Operands::All,
    ),
    writer(&["visudo"], &[], &["-f", "--file"], Operands::All).unless(&["-c", "--check"]),
    // Devices and pipes; folders, times and modes are in `ALTERERS`.
    writer(
        &["mknod", "mkfifo"],
        &["-m", "--mode"],
        &[],
        Operands::First,
    ),
    writer(
        &["lockfile", "dotlockfile", "logsave", "savelog"],
        &[],
        &[],
        Operands::First,
    ),
    writer(
        &["rename", "prename", "file-rename", "rename.ul", "mmv"],
        &[],
        &[],
        Operands::All,
    ),
    writer(
        &["mkswap", "swapoff", "swapon"],
        &["-L", "-U", "-p"],
        &[],
        Operands::All,
    ),
    writer(&["mount"], &["-t", "-o", "-L", "-U"], &[], Operands::Last),
    writer(&["umount"], &["-t", "-O"], &[], Operands::All),
    writer(
        &["losetup"],
        &["-o", "--offset", "--sizelimit"],
        &[],
        Operands::All,
    ),
    writer(
        &[
            "dos2unix", "unix2dos", "mac2unix", "unix2mac", "fromdos", "todos",
        ],
        &["-c"],
        &[],
        Operands::All,
    ),
    writer(&["yq"], &[], &[], Operands::All).only_with(&["-i", "--inplace", "--in-place"]),
    writer(&["xmlstarlet", "xml"], &[], &[], Operands::Last).only_with(&["-L", "--inplace"]),
    writer(&["crudini"], &[], &[], Operands::First).only_with(&["--set", "--del", "--merge"]),
    writer(&["clang-format"], &["-style"], &[], Operands::All).only_with(&["-i"]),
    writer(
        &["gofmt", "goimports", "shfmt", "prettier"],
        &["-i"],
        &[],
        Operands::All,
    )
    .only_with(&["-w", "--write"]),
    writer(
        &["rustfmt", "black", "isort", "autopep8"],
        &["--edition", "--config"],
        &[],
        Operands::All,
    )
    .unless(&["--check", "--diff"]),
    writer(&["indent"], &[], &["-o", "--output-file"], Operands::First),
    writer(&["ruby"], &["-e", "-r", "-I"], &[], Operands::All).only_with(&["-i"]),
    writer(
        &["convert", "mogrify", "magick", "sox"],
        &["-i"],
        &[],
        Operands::Last,
    ),
    writer(
        &["ffmpeg"],
        &["-i", "-f", "-c", "-t", "-ss", "-vf", "-af"],
        &[],
        Operands::All,
    ),
    writer(&["sftp"], &["-P", "-i", "-o", "-b"], &[], Operands::Second),
    writer(&["ranlib"], &[], &[], Operands::All),
    writer(&["ar"], &[], &["--output"], Operands::Second).unless(&["t", "p", "tv", "x"]),
    // Compressors: what they make beside a file takes nothing away from it.
    writer(
        &["zstd", "unzstd", "lz4", "unlz4", "brotli"],
        &["-T"],
        &["-o", "--output"],
        Operands::Second,
    )
    .unless(&["-c", "--stdout", "-t", "--test"]),
    writer(&["7z", "7za", "7zr", "rar"], &[], &[], Operands::Second)
        .only_with(&["a", "u", "d", "rn", "m", "mf"]),
    writer(&["unrar", "rar"], &[], &[], Operands::Last).only_with(&["x", "e"]),
    writer(&["zip"], &[], &["-O", "--out"], Operands::None),
    writer(&["pax"], &["-s", "-x", "-b"], &["-f"], Operands::Last).only_with(&["-w"]),
    writer(
        &["cpio", "bsdcpio"],
        &["-H", "-F", "-O", "-I"],
        &[],
        Operands::All,
    )
    .only_with(&["-p", "--pass-through"]),
    writer(&["dpkg", "dpkg-deb"], &[], &[], Operands::Last).only_with(&[
        "-x",
        "-X",
        "-e",
        "-R",
        "-b",
        "--extract",
        "--vextract",
        "--build",
        "--control",
    ]),
    // What is fetched.
    writer(
        &["wget"],
        &[],
        &[
            "-a",
            "--append-output",
            "--output-file",
            "--save-cookies",
            "--hsts-file",
            "--warc-file",
            "--rejected-log",
        ],
        Operands::None,
    ),
    writer(
        &["curl"],
        &[],
        &[
            "--output-dir",
            "--trace",
            "--trace-ascii",
            "--stderr",
            "--hsts",
            "--alt-svc",
            "--etag-save",
            "--libcurl",
        ],
        Operands::None,
    ),
    writer(
        &["aria2c"],
        &[],
        &["-d", "--dir", "-l", "--log"],
        Operands::None,
    ),
    writer(
        &["kubectl", "oc", "docker", "podman", "nerdctl"],
        &["-n", "--namespace", "-c", "--container", "--context"],
        &[],
        Operands::Last,
    )
    .only_with(&["cp"]),
    writer(
        &["docker", "podman", "nerdctl"],
        &[],
        &["--cidfile", "--iidfile", "--metadata-file", "--pidfile"],
        Operands::None,
    ),
    writer(
        &["aws", "gsutil", "gcloud", "rclone", "mc", "s3cmd", "az"],
        &["--profile", "--region"],
        &[],
        Operands::Last,
    )
    .only_with(&[
        "cp", "mv", "sync", "copy", "move", "copyto", "moveto", "get",
    ]),
    writer(&["etcdctl"], &[], &[], Operands::Last).only_with(&["save"]),
    // Databases.
    writer(
        &["sqlite3", "sqlite"],
        &["-separator", "-cmd", "-init"],
        &[],
        Operands::First,
    )
    .unless(&["-readonly", "--readonly", "-version", "--version"]),
    writer(
        &["mysqldump", "mariadb-dump"],
        &[],
        &["-r", "--result-file"],
        Operands::None,
    ),
    writer(
        &["pg_dump", "pg_dumpall"],
        &[],
        &["-f", "--file"],
        Operands::None,
    ),
    writer(
        &["pg_basebackup", "initdb", "pg_ctl"],
        &[],
        &["-D", "--pgdata", "-l", "--log"],
        Operands::None,
    ),
    writer(&["redis-cli"], &[], &["--rdb"], Operands::None),
    writer(&["gcore"], &[], &["-o"], Operands::None),
    writer(
        &["valgrind"],
        &[],
        &["--log-file", "--xml-file"],
        Operands::None,
    ),
    // Keys.
    writer(&["ssh-keygen"], &[], &["-f"], Operands::None).unless(&["-l", "-y", "-F", "-B"]),
    writer(&["ssh"], &[], &["-E"], Operands::None),
    writer(
        &["openssl"],
        &[],
        &[
            "-keyout",
            "-outdir",
            "-CAserial",
            "-writerand",
            "-sess_out",
            "-keylogfile",
            "-msgfile",
        ],
        Operands::None,
    ),
    writer(
        &["keytool"],
        &[],
        &["-keystore", "-file", "-destkeystore"],
        Operands::None,
    )
    .unless(&["-list", "-printcert"]),
    // Packages and builds.
    writer(
        &["pip", "pip3"],
        &[],
        &[
            "-t", "--target", "-d", "--dest", "--prefix", "--root", "--log",
        ],
        Operands::None,
    ),
    writer(&["npm", "yarn", "pnpm"], &[], &["--prefix"], Operands::None),
    writer(&["cargo"], &[], &["--root", "--target-dir"], Operands::None),
    writer(&["virtualenv"], &["-p", "--python"], &[], Operands::All),
    writer(
        &["cc", "gcc", "g++", "clang"],
        &[],
        &["-MF"],
        Operands::None,
    ),
    writer(&["ctags", "etags"], &[], &["-f"], Operands::None),
    writer(&["ldconfig"], &[], &["-C"], Operands::None),
    writer(&["screen"], &[], &["-Logfile"], Operands::None),
    writer(
        &["script"],
        &[],
        &[
            "-O",
            "--log-out",
            "-B",
            "--log-io",
            "-I",
            "--log-in",
            "-T",
            "--log-timing",
        ],
        Operands::None,
    ),
    writer(&["merge", "sdiff"], &["-L"], &[], Operands::First).unless(&["-p", "-o"]),
];

/// Programs that change what a file is, and not what is in it.
const ALTERERS: &[Writer] = &[
    writer(
        &["mktemp", "tempfile"],
        &[],
        &["-p", "--tmpdir"],
        Operands::All,
    ),
    writer(
        &["touch"],
        &["-d", "-t", "-r", "--date", "--reference"],
        &[],
        Operands::All,
    ),
    writer(
        &["mkdir", "zf_mkdir"],
        &["-m", "--mode"],
        &[],
        Operands::All,
    ),
    writer(
        &[
            "chmod", "chown", "chgrp", "lchown", "zf_chmod", "zf_chown", "zf_chgrp", "chattr",
            "chcon", "setcap",
        ],
        &[
            "--from", "-p", "-v", "-t", "-u", "-r", "-l", "--type", "--user", "--role", "--range",
        ],
        &[],
        Operands::All,
    ),
    writer(
        &["setfacl"],
        &[
            "-m",
            "-x",
            "-M",
            "-X",
            "--modify",
            "--remove",
            "--set",
            "--set-file",
        ],
        &[],
        Operands::All,
    )
    .unless(&["--test"]),
    writer(
        &["setfattr"],
        &["-n", "-v", "-x", "--name", "--value", "--remove"],
        &[],
        Operands::All,
    ),
    writer(&["restorecon"], &["-e"], &[], Operands::All).unless(&["-n"]),
    writer(
        &["install"],
        &["-m", "-o", "-g", "--mode", "--owner", "--group"],
        &[],
        Operands::All,
    )
    .only_with(&["-d", "--directory"]),
];

/// The files that the table knows to be written.
pub(super) fn written_by_table(name: &str, arguments: &[Value]) -> Vec<Value> {
    let mut found = files_of(WRITERS, name, arguments);
    if !matches!(name, "sed" | "tar" | "git") {
        found.extend(told_outputs(name, arguments));
    }
    found
}

/// The files that are made, or whose owner, mode, times or attributes become others.
pub(in crate::shell) fn altered(name: &str, arguments: &[Value]) -> Vec<Value> {
    files_of(ALTERERS, name, arguments)
}

fn files_of(table: &[Writer], name: &str, arguments: &[Value]) -> Vec<Value> {
    let mut found = Vec::new();
    for writer in table.iter().filter(|writer| writer.names.contains(&name)) {
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
        Value::Unknown { prefix, .. } => prefix.starts_with(['/', '~']),
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
