//! Programs that write files of the system which nobody names: those of accounts, of jobs, of
//! services. From the sections FILES and OPTIONS of their man pages.

use super::is_option;
use crate::{
    by_name::{ByName, rows},
    shell::value::{PLAIN, Value},
};

struct System {
    names: &'static [&'static str],
    /// Where it ends in a slash, some file below.
    files: &'static [&'static str],
    /// It writes behind one of these options or verbs; always where there are none.
    only_with: &'static [&'static str],
    /// Nothing is written where one of these comes first, or behind `-u USER`: elsewhere it may be
    /// the value of an option.
    unless: &'static [&'static str],
}

const fn system(names: &'static [&'static str], files: &'static [&'static str]) -> System {
    System {
        names,
        files,
        only_with: &[],
        unless: &["--help", "--version"],
    }
}

impl System {
    const fn only_with(self, only_with: &'static [&'static str]) -> Self {
        Self { only_with, ..self }
    }

    const fn unless(self, unless: &'static [&'static str]) -> Self {
        Self { unless, ..self }
    }
}

const PASSWD: &str = "/etc/passwd";
const SHADOW: &str = "/etc/shadow";
const GROUP: &str = "/etc/group";
const GSHADOW: &str = "/etc/gshadow";

const SYSTEMS: &[System] = &[
    // shadow-utils, Debian's adduser, busybox. `useradd -D` alone shows its defaults and with more
    // writes them.
    system(
        &[
            "useradd", "userdel", "usermod", "newusers", "adduser", "deluser", "addgroup",
            "delgroup",
        ],
        &[
            PASSWD,
            SHADOW,
            GROUP,
            GSHADOW,
            "/etc/subuid",
            "/etc/subgid",
            "/etc/default/useradd",
        ],
    ),
    system(&["groupadd", "groupdel"], &[GROUP, GSHADOW]),
    // `groupmod -g` changes the group of users, too.
    system(&["groupmod"], &[GROUP, GSHADOW, PASSWD]),
    system(&["gpasswd", "groupmems"], &[GROUP, GSHADOW]),
    system(&["passwd"], &[PASSWD, SHADOW]).unless(&["--help", "-S", "--status"]),
    system(&["chpasswd"], &[PASSWD, SHADOW]),
    system(&["chgpasswd"], &[GROUP, GSHADOW]),
    system(&["chage"], &[PASSWD, SHADOW]).unless(&["--help", "-h", "-l", "--list"]),
    system(&["chsh", "chfn"], &[PASSWD]).unless(&["--help", "--version", "-l", "--list-shells"]),
    system(&["pwck", "grpck"], &[PASSWD, SHADOW, GROUP, GSHADOW]).unless(&[
        "--help",
        "-h",
        "-r",
        "--read-only",
    ]),
    system(&["vipw", "vigr"], &[PASSWD, SHADOW, GROUP, GSHADOW]).unless(&["--help", "-h"]),
    // Jobs of cron: of everybody who may have some.
    system(&["crontab"], &["/var/spool/cron/"]).unless(&["-l", "-V", "-T"]),
    system(&["hostnamectl"], &["/etc/hostname", "/etc/machine-info"]).only_with(&[
        "set-hostname",
        "set-icon-name",
        "set-chassis",
        "set-deployment",
        "set-location",
    ]),
    system(&["timedatectl"], &["/etc/localtime", "/etc/adjtime"])
        .only_with(&["set-timezone", "set-local-rtc"]),
    system(&["localectl"], &["/etc/locale.conf", "/etc/vconsole.conf"]).only_with(&[
        "set-locale",
        "set-keymap",
        "set-x11-keymap",
    ]),
];

static SYSTEMS_OF: ByName<System> = ByName::new(|| rows(SYSTEMS, |row| row.names));

/// The files that a program writes without being told which.
pub(in crate::shell::utility) fn written_by_nature(name: &str, arguments: &[Value]) -> Vec<Value> {
    let has = |options: &[&str]| {
        let mut known = arguments.iter().filter_map(Value::known);
        known.any(|text| options.iter().any(|option| is_option(text, option)))
    };
    let first = match arguments {
        [option, _, first, ..] if option.known() == Some("-u") => first.known(),
        arguments => arguments.first().and_then(Value::known),
    };
    let mut found: Vec<Value> = SYSTEMS_OF
        .of(name)
        .iter()
        .filter(|system| !first.is_some_and(|first| system.unless.contains(&first)))
        .filter(|system| system.only_with.is_empty() || has(system.only_with))
        .flat_map(|system| system.files)
        .map(|file| {
            if file.ends_with('/') {
                Value::Unknown {
                    reason: PLAIN,
                    prefix: (*file).to_owned(),
                    suffix: String::new(),
                }
            } else {
                Value::Known((*file).to_owned())
            }
        })
        .collect();
    if name == "update-alternatives"
        && let Some(at) = arguments
            .iter()
            .position(|it| it.known() == Some("--install"))
    {
        // The link; what it leads to stands in a folder of its own.
        found.extend(arguments.get(at + 1).cloned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::written_by_nature;
    use crate::shell::value::Value;

    fn written(line: &str) -> Vec<String> {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let arguments: Vec<Value> = words.map(|word| Value::Known(word.to_owned())).collect();
        let found = written_by_nature(name, &arguments);
        found.iter().map(Value::shown).collect()
    }

    #[test]
    fn what_keeps_accounts_writes_their_files() {
        for (line, file) in [
            ("useradd -m bob", "/etc/passwd"),
            ("usermod -aG sudo bob", "/etc/group"),
            ("usermod -c --help bob", "/etc/passwd"),
            ("adduser bob", "/etc/shadow"),
            ("addgroup bob wheel", "/etc/group"),
            ("groupmod -g 0 x", "/etc/passwd"),
            ("gpasswd -a bob sudo", "/etc/gshadow"),
            ("passwd -d root", "/etc/shadow"),
            ("chage -E -1 bob", "/etc/shadow"),
            ("chsh -s /bin/sh bob", "/etc/passwd"),
            ("vipw -s", "/etc/shadow"),
            ("timedatectl set-timezone UTC", "/etc/localtime"),
            (
                "update-alternatives --install /usr/bin/x x /opt/x 1",
                "/usr/bin/x",
            ),
        ] {
            assert!(written(line).iter().any(|path| path == file), "{line}");
        }
        assert!(!written("crontab -r").is_empty());
    }

    #[test]
    fn what_only_shows_them_writes_nothing() {
        for line in [
            "passwd -S bob",
            "chage -l bob",
            "chsh -l",
            "pwck -r",
            "crontab -l",
            "crontab -u bob -l",
            "hostnamectl status",
            "useradd --help",
            "update-alternatives --list editor",
            "getent passwd",
        ] {
            assert_eq!(written(line), Vec::<String>::new(), "{line}");
        }
    }
}
