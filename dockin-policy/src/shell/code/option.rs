//! Options whose value is a command: one table for programs with no more to know about them.

use super::Call;
use crate::shell::{option::long_value, value::Value};

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

/// What the options of a program run, and whether one of them cannot be known.
pub(super) fn option_calls(name: &str, arguments: &[Value]) -> (Vec<Call>, bool) {
    let (mut found, mut is_hidden) = (Vec::new(), false);
    for hooks in HOOKS.iter().filter(|it| it.programs.contains(&name)) {
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
