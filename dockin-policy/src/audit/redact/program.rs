//! Where programs take secrets.

use crate::by_name::{ByName, rows};

/// Where one program takes secrets.
#[derive(Debug)]
pub(super) struct Program {
    names: &'static [&'static str],
    /// Options whose value is a secret: glued on, behind `=`, or the next word.
    pub(super) options: &'static [&'static str],
    /// The same, where it is glued on only.
    pub(super) glued: &'static [&'static str],
    /// The same, where it is the next word only.
    pub(super) apart: &'static [&'static str],
    /// A word, and which operand from it on is the first secret; of an empty one, from the first.
    pub(super) behind: &'static [(&'static str, usize)],
    pub(super) kind: Kind,
}

/// How else it is told secrets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Other,
    /// Letters stand in clusters: `-sSu USER:SECRET`.
    Clusters,
    /// `-p SECRET` behind the word `login`.
    Login,
    /// `-b FILE USER SECRET`, without the file with `-n`.
    Htpasswd,
    /// `USER/SECRET@HOST`.
    Slash,
    /// `NAME=SECRET`, and a secret behind the name of one.
    Store,
    /// A secret behind the name of one.
    Settings,
    /// SQL: `PASSWORD 'SECRET'`, `IDENTIFIED BY 'SECRET'`.
    Sql,
    /// Prints what it is given.
    Print,
}

const OTHER: Program = Program {
    names: &[],
    options: &[],
    glued: &[],
    apart: &[],
    behind: &[],
    kind: Kind::Other,
};

/// A program about which nothing is known.
pub(super) static UNKNOWN: Program = OTHER;

/// What `docker` is behind the word `login`.
pub(super) static LOGIN: Program = Program {
    options: &["-p"],
    ..OTHER
};

static PROGRAMS: &[Program] = &[
    Program {
        names: &[
            "mysql",
            "mysqldump",
            "mysqladmin",
            "mysqlimport",
            "mysqlshow",
            "mariadb",
            "mariadb-dump",
        ],
        glued: &["-p"],
        kind: Kind::Sql,
        ..OTHER
    },
    Program {
        names: &["7z", "7za", "7zr", "rar", "unrar"],
        glued: &["-p", "-hp"],
        ..OTHER
    },
    Program {
        names: &[
            "sshpass",
            "mongo",
            "mongosh",
            "mongodump",
            "mongorestore",
            "ldapsearch",
            "ldapmodify",
            "ldapadd",
            "ldapdelete",
            "ldapwhoami",
            "useradd",
            "usermod",
            "az",
            "twine",
            "beeline",
            "ncftp",
            "ncftpget",
            "ncftpput",
            "rabbitmqadmin",
            "elasticsearch-users",
        ],
        options: &["-p", "-w"],
        ..OTHER
    },
    Program {
        names: &["ldappasswd"],
        options: &["-w", "-s", "-a"],
        ..OTHER
    },
    Program {
        names: &["redis-cli"],
        options: &["-a"],
        behind: &[
            ("auth", 1),
            ("requirepass", 1),
            ("masterauth", 1),
            ("setuser", 2),
        ],
        ..OTHER
    },
    Program {
        names: &["htpasswd"],
        options: &["-p"],
        kind: Kind::Htpasswd,
        ..OTHER
    },
    Program {
        names: &["curl", "wget", "http", "https", "xh"],
        options: &[
            "-u",
            "-U",
            "-b",
            "-E",
            "--user",
            "--proxy-user",
            "--cookie",
            "--cert",
        ],
        kind: Kind::Clusters,
        ..OTHER
    },
    Program {
        names: &["smbclient", "rpcclient"],
        options: &["-u", "-U", "--user"],
        behind: &[("", 1)],
        ..OTHER
    },
    Program {
        names: &["lftp", "etcdctl"],
        options: &["-u", "--user"],
        ..OTHER
    },
    Program {
        names: &["zip", "unzip", "ipmitool", "sqlcmd", "bcp"],
        options: &["-P"],
        kind: Kind::Sql,
        ..OTHER
    },
    Program {
        names: &["snmpget", "snmpset", "snmpwalk", "snmpbulkwalk"],
        options: &["-A", "-X", "-c"],
        ..OTHER
    },
    Program {
        names: &["xfreerdp", "wlfreerdp", "rdesktop"],
        options: &["-p", "/p:"],
        ..OTHER
    },
    Program {
        names: &[
            "docker", "podman", "skopeo", "buildah", "helm", "oras", "nerdctl",
        ],
        kind: Kind::Login,
        ..OTHER
    },
    Program {
        names: &["openssl"],
        apart: &["-k"],
        behind: &[("passwd", 1)],
        ..OTHER
    },
    Program {
        names: &["mkpasswd"],
        behind: &[("", 0)],
        ..OTHER
    },
    Program {
        names: &["wpa_passphrase"],
        behind: &[("", 1)],
        ..OTHER
    },
    Program {
        names: &["iwconfig"],
        behind: &[("key", 1)],
        ..OTHER
    },
    Program {
        names: &["rabbitmqctl"],
        behind: &[
            ("add_user", 2),
            ("change_password", 2),
            ("authenticate_user", 2),
        ],
        ..OTHER
    },
    Program {
        names: &["sqlplus", "sqlldr", "expdp", "impdp"],
        kind: Kind::Slash,
        ..OTHER
    },
    Program {
        names: &["aws", "vault"],
        kind: Kind::Store,
        ..OTHER
    },
    Program {
        names: &["npm", "yarn", "pnpm", "nmcli", "git", "gcloud"],
        kind: Kind::Settings,
        ..OTHER
    },
    Program {
        names: &[
            "psql",
            "sqlite3",
            "clickhouse-client",
            "impala-shell",
            "hive",
            "alter",
            "create",
            "grant",
            "set",
            "update",
            "insert",
        ],
        kind: Kind::Sql,
        ..OTHER
    },
    Program {
        names: &["cqlsh"],
        options: &["-p"],
        kind: Kind::Sql,
        ..OTHER
    },
    Program {
        names: &["echo", "printf"],
        kind: Kind::Print,
        ..OTHER
    },
];

static PROGRAMS_OF: ByName<Program> = ByName::new(|| rows(PROGRAMS, |row| row.names));

/// What is known of the program that `word` names, or of the statement that it begins.
pub(super) fn program(word: &str) -> &'static Program {
    let name = word.rsplit('/').next().unwrap_or(word);
    let named = |name: &str| PROGRAMS_OF.of(name).first().copied();
    // SQL is also written in capitals.
    let in_capitals = || {
        let is_one = name.bytes().any(|byte| byte.is_ascii_uppercase());
        let lower = is_one.then(|| name.to_ascii_lowercase())?;
        named(&lower)
    };
    named(name).or_else(in_capitals).unwrap_or(&UNKNOWN)
}

impl Program {
    /// Whether the option takes a secret: what is glued to it, and nothing where that is the next
    /// word.
    pub(super) fn secret_of<'a>(&self, option: &'a str) -> Option<(&'a str, &'a str)> {
        if self.apart.contains(&option) {
            return Some((option, ""));
        }
        let glued = self.glued.iter().find_map(|name| {
            let value = option
                .strip_prefix(name)
                .filter(|value| !value.is_empty())?;
            Some((option.get(..name.len())?, value))
        });
        glued.or_else(|| {
            self.options.iter().find_map(|name| {
                let value = option.strip_prefix(name)?;
                if name.starts_with("--") && !value.is_empty() {
                    let value = value.strip_prefix('=')?;
                    return Some((option.get(..=name.len())?, value));
                }
                Some((option.get(..name.len())?, value))
            })
        })
    }

    /// Whether the last letter of a cluster takes a secret.
    pub(super) fn is_cluster(&self, option: &str) -> bool {
        let letters = option.get(1..).unwrap_or_default();
        let last = letters.chars().next_back().map(|last| format!("-{last}"));
        self.kind == Kind::Clusters
            && (2..8).contains(&letters.len())
            && letters.bytes().all(|byte| byte.is_ascii_alphabetic())
            && last.is_some_and(|last| self.options.contains(&last.as_str()))
    }
}
