//! The tables of programs that write files, and of those that change what files are.

/// Which operands are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operands {
    None,
    All,
    First,
    Second,
    Last,
}

pub(super) struct Writer {
    pub(super) names: &'static [&'static str],
    /// Options whose value is the next argument, and no file that is written.
    pub(super) values: &'static [&'static str],
    /// Options whose value is a file or a folder that is written.
    pub(super) outputs: &'static [&'static str],
    pub(super) operands: Operands,
    /// Operands count only behind one of these options or verbs; always where there are none.
    pub(super) only_with: &'static [&'static str],
    /// Nothing is written behind one of these options.
    pub(super) unless: &'static [&'static str],
    /// A file of which nothing is known is one that it writes.
    pub(super) any_file: bool,
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
        any_file: false,
    }
}

/// What a person edits a file with, any file.
const fn editor(
    names: &'static [&'static str],
    values: &'static [&'static str],
    outputs: &'static [&'static str],
) -> Writer {
    Writer {
        any_file: true,
        ..writer(names, values, outputs, Operands::All)
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

pub(super) const WRITERS: &[Writer] = &[
    // Editors write what they show once they are told to.
    editor(
        &[
            "vi", "vim", "nvim", "gvim", "rvim", "vise", "vimdiff", "elvis", "nvi",
        ],
        &[
            "-c", "--cmd", "-S", "-u", "-U", "-t", "-T", "-i", "-s", "-w", "-W",
        ],
        &["-w", "-W"],
    )
    .unless(&["-R", "-M"]),
    editor(&["ed", "red"], &["-p"], &[]),
    editor(&["ex"], &["-c", "--cmd", "-S", "-t"], &["-w"]).unless(&["-R"]),
    editor(
        &["nano", "rnano", "pico"],
        &["-T", "-r", "-s", "-Y", "-o", "-Q"],
        &[],
    )
    .unless(&["-v", "--view"]),
    editor(
        &["emacs", "emacsclient", "zile", "mg", "jmacs"],
        &["-f", "-l", "-e", "-s", "--eval", "--load", "--funcall"],
        &[],
    ),
    editor(
        &[
            "micro", "joe", "jed", "jpico", "jstar", "ne", "mcedit", "kak", "hx", "helix", "tilde",
            "dte",
        ],
        &[],
        &[],
    ),
    editor(
        &["sudoedit"],
        &["-u", "-g", "-C", "-h", "-p", "-r", "-t", "-T"],
        &[],
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
pub(super) const ALTERERS: &[Writer] = &[
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
