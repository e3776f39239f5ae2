//! Options whose value is a command: one table for programs with no more to know about them.

use super::Call;
use crate::{
    by_name::{ByName, rows},
    shell::{option::long_value, value::Value},
};

/// How an option is given what it runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Runs {
    /// A text, or the name of a program.
    Text,
    /// The arguments behind it, up to a `;`.
    Rest,
}

struct Hooks {
    programs: &'static [&'static str],
    /// Long ones may be abbreviated; short ones have their value glued on or behind them.
    options: &'static [&'static str],
    runs: Runs,
}

const fn hooks(
    programs: &'static [&'static str],
    options: &'static [&'static str],
    runs: Runs,
) -> Hooks {
    Hooks {
        programs,
        options,
        runs,
    }
}

const HOOKS: &[Hooks] = &[
    hooks(&["sort"], &["--compress-program"], Runs::Text),
    hooks(
        &["start-stop-daemon"],
        &["-3", "-4", "--stdout-logger", "--stderr-logger"],
        Runs::Text,
    ),
    hooks(&["rg"], &["--pre", "--hostname-bin"], Runs::Text),
    hooks(&["ag", "ack"], &["--pager"], Runs::Text),
    hooks(
        &["fd", "fdfind"],
        &["-x", "-X", "--exec", "--exec-batch"],
        Runs::Rest,
    ),
    hooks(&["tar"], &["--rmt-command"], Runs::Text),
    hooks(&["cpio"], &["--rsh-command"], Runs::Text),
    hooks(
        &["man"],
        &["-P", "--pager", "-H", "--html", "--preprocessor"],
        Runs::Text,
    ),
    hooks(&["nano", "rnano"], &["-s", "--speller"], Runs::Text),
    hooks(
        &["git"],
        &[
            "-O",
            "--open-files-in-pager",
            "--upload-pack",
            "--receive-pack",
            "--sendmail-cmd",
            "--smtp-server",
            "--to-cmd",
            "--cc-cmd",
            "--header-cmd",
            "--httpd",
            "--access-hook",
            "--commit-filter",
            "--tag-name-filter",
            "--parent-filter",
            "--setup",
            "--config-env",
        ],
        Runs::Text,
    ),
    hooks(&["rsync"], &["-e", "--rsh", "--rsync-path"], Runs::Text),
    hooks(&["scp", "sftp"], &["-S", "-D"], Runs::Text),
    hooks(&["tcpdump"], &["-z"], Runs::Text),
    hooks(&["wget"], &["--use-askpass"], Runs::Text),
    hooks(
        &["aria2c"],
        &[
            "--on-download-complete",
            "--on-download-start",
            "--on-download-stop",
            "--on-download-error",
            "--on-bt-download-complete",
        ],
        Runs::Text,
    ),
    hooks(
        &["dpkg"],
        &["--pre-invoke", "--post-invoke", "--status-logger"],
        Runs::Text,
    ),
    hooks(&["bpftrace"], &["-c"], Runs::Text),
    hooks(&["mysql", "mariadb", "mycli"], &["--pager"], Runs::Text),
    hooks(
        &["xterm", "uxterm", "gnome-terminal", "konsole"],
        &["-e", "-x", "--"],
        Runs::Rest,
    ),
    hooks(
        &["nodemon", "watchexec"],
        &["--exec", "-x", "--"],
        Runs::Rest,
    ),
    hooks(
        &["telnetd", "getty", "agetty"],
        &["-l", "--login-program"],
        Runs::Text,
    ),
    hooks(&["ntpd"], &["-S"], Runs::Text),
    hooks(&["lynx"], &["-editor"], Runs::Text),
    hooks(
        &["rclone", "restic", "borg"],
        &["--password-command", "--rsh"],
        Runs::Text,
    ),
    hooks(&["gpg", "gpg2"], &["--photo-viewer"], Runs::Text),
    hooks(&["fzf"], &["--preview"], Runs::Text),
    hooks(&["bat", "batcat", "delta"], &["--pager"], Runs::Text),
    hooks(&["execlineb"], &["-c"], Runs::Text),
    hooks(&["dhclient"], &["-sf"], Runs::Text),
    hooks(&["wpa_cli"], &["-a"], Runs::Text),
    hooks(&["ifplugd"], &["-r"], Runs::Text),
    hooks(&["vagrant"], &["-c", "--command"], Runs::Text),
    hooks(
        &["nix-shell", "nix", "guix"],
        &["--run", "--command"],
        Runs::Text,
    ),
    hooks(&["gcloud", "aws", "az"], &["--command"], Runs::Text),
    hooks(&["flatpak"], &["--command"], Runs::Text),
    hooks(&["udhcpc", "udhcpc6"], &["-s", "--script"], Runs::Text),
    hooks(&["openvpn"], &["--up", "--down", "--route-up"], Runs::Text),
];

/// Options whose value is code, settings that name programs, or a library that is loaded.
const HIDDEN: &[Hidden] = &[
    (&["mutt", "neomutt"], &["-e", "-F"]),
    (&["elinks"], &["-eval"]),
    (&["gpg", "gpg2"], &["--exec-path", "--options"]),
    (&["openssl"], &["-config", "-engine", "-provider-path"]),
    (&["tshark", "wireshark"], &["-X"]),
    (&["ssh-keygen"], &["-D"]),
    (&["ssh-add"], &["-s"]),
    (&["openvpn"], &["--config"]),
    (&["ctags"], &["--options"]),
    (&["gs"], &["-dNOSAFER"]),
    (&["mpv"], &["--script"]),
    (&["redis-server"], &["--loadmodule"]),
    (&["nginx"], &["-g"]),
    (&["httpd", "apachectl", "apache2"], &["-f", "-C", "-c"]),
    (&["sshd"], &["-f", "-o"]),
    (&["sshfs"], &["-ossh_command", "-F"]),
    (
        &["latex", "pdflatex", "xelatex", "lualatex", "tex"],
        &["-shell-escape", "--shell-escape"],
    ),
    (&["xinetd", "stunnel"], &["-f"]),
];

type Hidden = (&'static [&'static str], &'static [&'static str]);

static HOOKS_OF: ByName<Hooks> = ByName::new(|| rows(HOOKS, |row| row.programs));
static HIDDEN_OF: ByName<Hidden> = ByName::new(|| rows(HIDDEN, |row| row.0));

/// Whether such an option stands among the arguments.
fn is_told_code(name: &str, arguments: &[Value]) -> bool {
    let known = || arguments.iter().filter_map(Value::known);
    // Nothing is told by an empty file.
    let is_told = |at: usize, text: &str, option: &str| {
        let glued = value_of(text, option);
        let value = glued.map(|glued| glued.or_else(|| arguments.get(at + 1)?.known()));
        value.is_some_and(|value| value != Some("/dev/null"))
    };
    let has = |options: &&[&str]| {
        arguments.iter().enumerate().any(|(at, it)| {
            it.known()
                .is_some_and(|text| options.iter().any(|option| is_told(at, text, option)))
        })
    };
    let options = HIDDEN_OF.of(name).iter();
    options.map(|(_, options)| options).any(has)
        || match name {
            // Actions of keys, and what a picture is made from.
            "fzf" => known().any(|text| {
                ["execute", "become", "reload", "transform"]
                    .iter()
                    .any(|it| text.contains(it))
            }),
            "sshfs" => {
                known().any(|text| text.starts_with("ssh_command") || text.contains(",ssh_command"))
            }
            "convert" | "magick" | "mogrify" | "identify" => {
                known().any(|text| text.starts_with("msl:") || text.starts_with('|'))
            }
            "systemctl" => {
                known().any(|text| matches!(text, "link" | "enable" | "reenable"))
                    && known().any(|text| text.contains('/'))
            }
            "supervise" | "s6-svscan" | "s6-supervise" | "svscan" => !arguments.is_empty(),
            _ => false,
        }
}

/// What the options of a program run, and whether one of them cannot be known.
pub(super) fn option_calls(name: &str, arguments: &[Value]) -> (Vec<Call>, bool) {
    let (mut found, mut is_hidden) = (Vec::new(), is_told_code(name, arguments));
    for hooks in HOOKS_OF.of(name) {
        for (index, argument) in arguments.iter().enumerate() {
            let Some(text) = argument.known() else {
                continue;
            };
            let Some(glued) = hooks.options.iter().find_map(|it| value_of(text, it)) else {
                continue;
            };
            match (hooks.runs, glued) {
                (Runs::Text, Some(value)) => found.push(Call::Text("sh", value.to_owned())),
                (Runs::Text, None) => match arguments.get(index + 1) {
                    Some(Value::Known(value)) => {
                        found.push(Call::Text("sh", value.clone()));
                    }
                    Some(_) => is_hidden = true,
                    None => {}
                },
                (Runs::Rest, glued) => {
                    let rest: Option<Vec<String>> = arguments
                        .get(index + 1..)
                        .unwrap_or_default()
                        .iter()
                        .map(|it| it.known().map(str::to_owned))
                        .take_while(|it| it.as_deref() != Some(";"))
                        .collect();
                    match rest {
                        Some(rest) => found.push(Call::Argv(
                            glued.map(str::to_owned).into_iter().chain(rest).collect(),
                        )),
                        None => is_hidden = true,
                    }
                }
            }
        }
    }
    (found, is_hidden)
}

/// Whether `text` is the option: the value that is glued to it, or none.
fn value_of<'a>(text: &'a str, option: &str) -> Option<Option<&'a str>> {
    if option == "--" {
        return (text == "--").then_some(None);
    }
    if option.starts_with("--") {
        return long_value(text, option);
    }
    let glued = text.strip_prefix(option)?;
    Some((!glued.is_empty()).then_some(glued))
}

#[cfg(test)]
mod tests {
    use super::value_of;

    #[test]
    fn an_option_is_found_however_it_is_written() {
        assert_eq!(value_of("--pager=rm x", "--pager"), Some(Some("rm x")));
        assert_eq!(value_of("--page", "--pager"), Some(None));
        assert_eq!(value_of("-Orm", "-O"), Some(Some("rm")));
        assert_eq!(value_of("-O", "-O"), Some(None));
        assert_eq!(value_of("-o", "-O"), None);
    }
}
