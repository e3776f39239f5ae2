//! Programs that run the program in their arguments, in a container, on another machine or behind
//! a verb: one table, each with its option grammar.

mod table;

use super::{Call, FILE, HOOK};
use crate::{
    by_name::{ByName, rows},
    shell::{option::is_long, value::Value},
};
use table::{RUNNERS, Runner, Runs, SWITCHES};

static RUNNERS_OF: ByName<Runner> = ByName::new(|| rows(RUNNERS, |row| row.names));

/// What a program runs by its arguments, and whether it does so in another place.
pub(super) fn runs(name: &str, arguments: &[Value]) -> Vec<(bool, Call)> {
    let mut found = Vec::new();
    for runner in RUNNERS_OF.of(name) {
        let Some(rest) = behind_verb(runner, arguments) else {
            continue;
        };
        for inner in inner(runner, rest) {
            let call = match runner.runs {
                Runs::Argv => Call::Values(inner),
                Runs::Joined => match joined(&inner) {
                    Some(text) => Call::Text("", text),
                    None => Call::Hidden("a command text that is not known"),
                },
            };
            found.push((runner.is_elsewhere, call));
        }
        let entry = crate::shell::utility::values_of(rest, &["--entrypoint"]);
        found.extend(entry.into_iter().map(|it| (true, Call::Values(vec![it]))));
    }
    found.extend(by_name(name, arguments));
    found
}

fn joined(words: &[Value]) -> Option<String> {
    let words: Option<Vec<&str>> = words.iter().map(Value::known).collect();
    words.map(|words| words.join(" "))
}

fn behind_verb<'a>(runner: &Runner, arguments: &'a [Value]) -> Option<&'a [Value]> {
    if runner.verbs.is_empty() {
        return Some(arguments);
    }
    let is_verb = |it: &Value| it.known().is_some_and(|text| runner.verbs.contains(&text));
    arguments.get(arguments.iter().position(is_verb)? + 1..)
}

/// What is run: in more than one way where an option is not known that may have a value.
fn inner(runner: &Runner, arguments: &[Value]) -> Vec<Vec<Value>> {
    let dashes = arguments.iter().position(|it| it.known() == Some("--"));
    let mut found = Vec::new();
    let mut operands = 0;
    let mut at = 0;
    let mut may_be_value = false;
    while let Some(argument) = arguments.get(at) {
        let text = argument.known().unwrap_or_default();
        if Some(at) == dashes && runner.behind_dashes && operands <= runner.operands {
            found.push(arguments.get(at + 1..).unwrap_or_default().to_vec());
            return found;
        }
        at += 1;
        if text == "--" {
            may_be_value = false;
            continue;
        }
        if text.len() > 1 && text.starts_with('-') {
            let has_value = runner.values.contains(&text);
            at += usize::from(has_value);
            may_be_value = !has_value
                && text.starts_with("--")
                && !text.contains('=')
                && !SWITCHES.contains(&text);
            continue;
        }
        if operands >= runner.operands {
            found.push(arguments.get(at - 1..).unwrap_or_default().to_vec());
        }
        if !may_be_value {
            if operands >= runner.operands {
                break;
            }
            operands += 1;
        } else if operands + 1 == runner.operands {
            // If it is an operand and no value, what is run comes next.
            let next = arguments.get(at..).unwrap_or_default();
            if next
                .first()
                .and_then(Value::known)
                .is_none_or(|it| !it.starts_with('-'))
            {
                found.push(next.to_vec());
            }
        }
        may_be_value = false;
    }
    found.retain(|inner| !inner.is_empty());
    found
}

/// Programs with more to know about them.
fn by_name(name: &str, arguments: &[Value]) -> Vec<(bool, Call)> {
    let known = || -> Vec<&str> { arguments.iter().filter_map(Value::known).collect() };
    let hidden = |what| vec![(false, Call::Hidden(what))];
    match name {
        // Without a text a shell reads what comes.
        "newgrp" | "sulogin" => vec![(false, Call::Argv(vec!["sh".to_owned()]))],
        "sg" => {
            let mut operands = arguments
                .iter()
                .filter(|it| !matches!(it.known(), Some("-" | "-c" | "-l")));
            // The first is the group.
            match operands.nth(1) {
                Some(Value::Known(text)) => vec![(false, Call::Text("sh", text.clone()))],
                Some(_) => hidden("a command text that is not known"),
                None => vec![(false, Call::Argv(vec!["sh".to_owned()]))],
            }
        }
        // What is no shell gets what stands behind the user.
        "su" | "runuser" => {
            let shells = crate::shell::utility::values_of(arguments, &["-s", "--shell"]);
            let is_program = |it: &Value| {
                let name = it.known().map(crate::shell::utility::base_name);
                name.is_none_or(|name| {
                    crate::shell::utility::shell(name).is_none()
                        && !matches!(name, "nologin" | "false" | "true")
                })
            };
            let at = arguments.iter().position(|it| it.known() == Some("--"));
            let rest = at
                .and_then(|at| arguments.get(at + 1..))
                .unwrap_or_default();
            shells
                .into_iter()
                .filter(is_program)
                .map(|shell| {
                    let words = std::iter::once(shell).chain(rest.iter().cloned());
                    (false, Call::Values(words.collect()))
                })
                .collect()
        }
        "scriptlive" => hidden(FILE),
        // Each operand is a command.
        "pee" | "mispipe" => {
            let call = |text: &str| (false, Call::Text("sh", text.to_owned()));
            known().into_iter().map(call).collect()
        }
        "pppd" => {
            let is_script =
                |word: &str| matches!(word, "connect" | "disconnect" | "init" | "pty" | "welcome");
            let known = known();
            let pairs = known.windows(2).filter_map(|pair| match pair {
                [word, text] if is_script(word) => {
                    Some((false, Call::Text("sh", (*text).to_owned())))
                }
                _ => None,
            });
            pairs.collect()
        }
        "npm" | "yarn" | "pnpm" | "bun" | "composer" | "deno" => {
            let scripts = [
                "run",
                "run-script",
                "test",
                "start",
                "stop",
                "restart",
                "task",
            ];
            let verb = known().into_iter().find(|text| !text.starts_with('-'));
            if verb.is_some_and(|verb| scripts.contains(&verb)) {
                return hidden("what a build file runs cannot be judged");
            }
            call_option(arguments)
        }
        "k3s" | "k0s" | "microk8s" | "minikube" | "rke2" => {
            let at = arguments
                .iter()
                .position(|it| it.known() == Some("kubectl"));
            let inner = at.and_then(|at| arguments.get(at..)).unwrap_or_default();
            let inner: Vec<Value> = inner
                .iter()
                .filter(|it| it.known() != Some("--"))
                .cloned()
                .collect();
            if inner.is_empty() {
                return Vec::new();
            }
            vec![(true, Call::Values(inner))]
        }
        "npx" | "pnpx" => call_option(arguments),
        "cmake" => cmake(arguments),
        "apt" | "apt-get" | "aptitude" | "apt-cache" | "apt-config" | "apt-mark" => apt(arguments),
        "rpm" | "rpmspec" | "rpmbuild" => rpm(&known()),
        "yum" | "dnf" | "dnf5" | "tdnf" | "microdnf" | "zypper" => {
            let is_told = |text: &str| {
                text.starts_with("-c") && name != "zypper"
                    || is_long(text, "--config")
                    || text.contains("pluginpath")
                    || text.contains("pluginconfpath")
            };
            if known().into_iter().any(is_told) {
                hidden(HOOK)
            } else {
                Vec::new()
            }
        }
        "just" | "task" | "mage" | "scons" | "gradle" | "gradlew" | "mvn" | "tox" | "nox"
        | "invoke" | "fab" | "waf" | "bazel" | "meson" | "remake" | "bmake" | "pmake" => {
            let asks = ["--version", "--help", "-h", "-v", "-V", "--list", "-l"];
            if let [only] = known().as_slice()
                && asks.contains(only)
            {
                return Vec::new();
            }
            hidden("what a build file runs cannot be judged")
        }
        "ansible" | "ansible-playbook" | "salt" | "salt-call" | "puppet" | "chef-client" => {
            let known = known();
            if known.contains(&"--version") || known.contains(&"--help") {
                return Vec::new();
            }
            hidden("what runs on other machines cannot be judged")
        }
        "redis-cli" | "valkey-cli" if known().contains(&"--eval") => hidden(FILE),
        _ => Vec::new(),
    }
}

/// `npx -c TEXT`
fn call_option(arguments: &[Value]) -> Vec<(bool, Call)> {
    let texts = crate::shell::utility::values_of(arguments, &["-c", "--call"]);
    let call = |value: Value| match value {
        Value::Known(text) => (false, Call::Text("sh", text)),
        _ => (false, Call::Hidden("a command text that is not known")),
    };
    texts.into_iter().map(call).collect()
}

/// `cmake -E` does itself what programs of other names do.
fn cmake(arguments: &[Value]) -> Vec<(bool, Call)> {
    let known: Vec<&str> = arguments.iter().filter_map(Value::known).collect();
    if known.iter().any(|text| text.starts_with("-P")) {
        return vec![(false, Call::Hidden(FILE))];
    }
    if known.contains(&"--build") || known.contains(&"--install") {
        return vec![(
            false,
            Call::Hidden("what a build file runs cannot be judged"),
        )];
    }
    let Some(at) = arguments.iter().position(|it| it.known() == Some("-E")) else {
        return Vec::new();
    };
    let verb = arguments
        .get(at + 1)
        .and_then(Value::known)
        .unwrap_or_default();
    let rest = arguments.get(at + 2..).unwrap_or_default();
    let alike: &[&str] = match verb {
        "rm" | "remove" => &["rm"],
        "remove_directory" => &["rm", "-r"],
        "copy" | "copy_if_different" | "copy_if_newer" => &["cp"],
        "copy_directory" | "copy_directory_if_different" => &["cp", "-r"],
        "rename" => &["mv"],
        "create_symlink" => &["ln", "-s"],
        "create_hardlink" => &["ln"],
        "make_directory" => &["mkdir", "-p"],
        "touch" => &["touch"],
        "tar" => &["tar"],
        "env" => &["env"],
        "time" => &[],
        "chdir" => {
            let inner = rest.get(1..).unwrap_or_default();
            return vec![(false, Call::Values(inner.to_vec()))];
        }
        _ => return Vec::new(),
    };
    let words = alike.iter().map(|word| Value::Known((*word).to_owned()));
    let inner = words.chain(rest.iter().cloned()).collect();
    vec![(!matches!(verb, "env" | "time"), Call::Values(inner))]
}

/// Settings of apt that are commands.
fn apt(arguments: &[Value]) -> Vec<(bool, Call)> {
    let values = |options: &[&str]| crate::shell::utility::values_of(arguments, options);
    let mut found = Vec::new();
    for setting in values(&["-o", "--option"]) {
        let Value::Known(setting) = setting else {
            found.push((false, Call::Hidden(HOOK)));
            continue;
        };
        let setting = setting.trim_start_matches('=');
        let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
        let key = key.to_ascii_lowercase();
        if [
            "invoke",
            "pre-install-pkgs",
            "proxy-auto-detect",
            "proxyautodetect",
            "dpkg::chroot",
        ]
        .iter()
        .any(|part| key.contains(part))
        {
            found.push((false, Call::Text("/bin/sh", value.to_owned())));
        } else if key.starts_with("dir::bin") || key.starts_with("dpkg::tools") {
            found.push((false, Call::Argv(vec![value.to_owned()])));
        } else if key.starts_with("dir") || key.starts_with("dpkg::options") || key == "rootdir" {
            found.push((false, Call::Hidden(HOOK)));
        }
    }
    if !values(&["-c", "--config-file"]).is_empty() {
        found.push((false, Call::Hidden(HOOK)));
    }
    found
}

/// Macros of rpm: `%(…)` is run, `%{lua:…}` is code.
fn rpm(known: &[&str]) -> Vec<(bool, Call)> {
    let mut found = Vec::new();
    for text in known {
        for piece in text.split("%(").skip(1) {
            let inside = piece.rsplit_once(')').map_or(piece, |(inside, _)| inside);
            found.push((false, Call::Text("/bin/sh", inside.to_owned())));
        }
        let is_file = ["--rcfile", "--macros", "--load", "--pipe", "--predefine"]
            .iter()
            .any(|option| text.split('=').next() == Some(*option));
        if text.contains("%{lua:") || text.contains("%{load:") || is_file {
            found.push((false, Call::Hidden(HOOK)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::runs;
    use crate::shell::{code::Call, value::Value};

    fn inner(line: &str) -> Vec<String> {
        let mut words = line.split(' ').map(|word| Value::Known(word.to_owned()));
        let name = words.next().and_then(|it| it.known().map(str::to_owned));
        let arguments: Vec<Value> = words.collect();
        let calls = runs(&name.unwrap_or_default(), &arguments);
        let shown = calls.iter().map(|(_, call)| match call {
            Call::Values(words) => {
                let words: Vec<String> = words.iter().map(Value::shown).collect();
                words.join(" ")
            }
            Call::Argv(words) => words.join(" "),
            Call::Text(_, text) => text.clone(),
            Call::Hidden(_) => "?".to_owned(),
        });
        shown.collect()
    }

    #[test]
    fn what_is_run_stands_behind_the_programs_own_arguments() {
        for line in [
            "kubectl exec p rm -r x",
            "kubectl -n a exec -it p -c d -- rm -r x",
            "kubectl debug node/x -it --image=y -- rm -r x",
            "kubectl run a --image=b -- rm -r x",
            "docker-compose exec -T a rm -r x",
            "runc exec -u 0 a rm -r x",
            "ctr -n k8s.io t exec --exec-id a b rm -r x",
            "ctr run img id rm -r x",
            "machinectl shell a rm -r x",
            "rsh -l a h rm -r x",
            "mosh --ssh=x h -- rm -r x",
            "npx -p a rm -r x",
            "npm exec -- rm -r x",
            "cmake -E rm -r x",
            "docker run --rm a rm -r x",
        ] {
            assert_eq!(inner(line), ["rm -r x"], "{line}");
        }
    }

    #[test]
    fn an_option_that_is_not_known_may_have_a_value_or_not() {
        assert!(inner("docker run --gpus all a rm x").contains(&"rm x".to_owned()));
        assert!(inner("docker run --odd a rm x").contains(&"rm x".to_owned()));
    }

    #[test]
    fn what_runs_nothing_is_left_alone() {
        for line in [
            "kubectl get pods",
            "docker ps",
            "npm install",
            "cmake .",
            "apt-get -y install x",
        ] {
            assert!(inner(line).is_empty(), "{line}");
        }
    }
}
