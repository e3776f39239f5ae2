#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{fs, path::PathBuf};

use clap::{CommandFactory as _, Parser as _};

use super::{HighArgs, seconds};
use crate::{
    failure::USAGE,
    low_args::{CommandArgs, LowArgs},
};

/// A folder with a kubeconfig of two contexts.
fn kubeconfig() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    fs::write(
        &path,
        "current-context: a\n\
         clusters: [{ name: a, cluster: { server: 'https://127.0.0.1:1/clusters/a' } }, { name: b, cluster: { server: 'https://127.0.0.1:1/clusters/b' } }]\n\
         contexts: [{ name: a, context: { cluster: a, user: '', namespace: dev } }, { name: b, context: { cluster: b, user: '' } }]\n",
    )
    .unwrap();
    (folder, path)
}

/// Debug text of what a line comes to, or the error's; `$K` stands for the kubeconfig.
fn high(line: &str) -> Result<HighArgs, (u8, String)> {
    let (_folder, path) = kubeconfig();
    let path = path.to_str().unwrap();
    let words = line.split(' ').map(|word| word.replace("$K", path));
    let low = LowArgs::try_parse_from(std::iter::once("dockctl".to_owned()).chain(words))
        .map_err(|error| (u8::try_from(error.exit_code()).unwrap(), error.to_string()))?;
    HighArgs::check(low).map_err(|failure| (failure.code(), failure.to_string()))
}

#[test]
fn clap_finds_no_contradiction_in_the_arguments() {
    LowArgs::command().debug_assert();
}

#[test]
fn exec_is_read_as_kubectl_reads_it() {
    for line in [
        "exec --kubeconfig $K -it web-1 -c app -- sh -c ls",
        "exec --kubeconfig $K web-1 -it -c app -- sh -c ls",
        "--kubeconfig $K exec -i -t -c app pod/web-1 -- sh -c ls",
    ] {
        let HighArgs::Exec(exec) = high(line).unwrap() else {
            panic!("{line}")
        };
        assert_eq!(
            (exec.target.namespace.as_str(), exec.target.pod.as_str()),
            ("dev", "web-1")
        );
        assert_eq!(exec.target.container.as_deref(), Some("app"));
        assert_eq!(exec.command, ["sh", "-c", "ls"]);
        assert!(exec.options.stdin && exec.options.tty);
        assert_eq!(exec.options.escape, Some(b'~'));
    }
}

#[test]
fn options_of_the_command_are_not_ours() {
    let HighArgs::Exec(exec) = high("exec --kubeconfig $K p -- ls -l -n -- --tty").unwrap() else {
        panic!("no exec")
    };
    assert_eq!(exec.command, ["ls", "-l", "-n", "--", "--tty"]);
    assert!(!exec.options.tty);
}

#[test]
fn namespace_and_context_come_from_the_nearest_place() {
    for (line, namespace, path) in [
        ("exec --kubeconfig $K p -- ls", "dev", "/clusters/a"),
        ("exec --kubeconfig $K -n x p -- ls", "x", "/clusters/a"),
        ("-n y exec --kubeconfig $K p -- ls", "y", "/clusters/a"),
        ("-n y exec --kubeconfig $K -n x p -- ls", "x", "/clusters/a"),
        (
            "exec --kubeconfig $K --context b p -- ls",
            "default",
            "/clusters/b",
        ),
        (
            "exec --kubeconfig $K --cluster b p -- ls",
            "dev",
            "/clusters/b",
        ),
    ] {
        let HighArgs::Exec(exec) = high(line).unwrap() else {
            panic!("{line}")
        };
        assert_eq!(exec.target.namespace, namespace, "{line}");
        assert_eq!(exec.target.connection.server.path(), path, "{line}");
    }
}

#[test]
fn a_wrong_line_is_a_usage_error() {
    for line in [
        "exec --kubeconfig $K p",
        "exec --kubeconfig $K deploy/web -- ls",
        "exec --kubeconfig $K --context none p -- ls",
        "exec --kubeconfig $K -e ab p -- ls",
        "get services",
        "get --kubeconfig $K pods -A web-1",
        "cp --kubeconfig $K a b",
        "cp --kubeconfig $K p:/a q:/b",
        "port-forward --kubeconfig $K p 80:0",
        "port-forward --kubeconfig $K p",
        "logs --kubeconfig $K --since soon p",
        "audit search --file f --since soon",
        "frobnicate",
    ] {
        let (code, message) = high(line).unwrap_err();
        assert_eq!(code, USAGE, "{line}: {message}");
    }
}

#[test]
fn audit_has_an_n_of_its_own() {
    let low = LowArgs::try_parse_from(["dockctl", "audit", "tail", "-f", "-n", "7", "--file", "x"]);
    let CommandArgs::Audit(crate::low_args::AuditArgs::Tail(tail)) = low.unwrap().command else {
        panic!("no tail")
    };
    assert_eq!((tail.lines, tail.follow), (7, true));
}

#[test]
fn both_directions_of_a_copy_find_their_sides() {
    let HighArgs::Copy(copy) = high("cp --kubeconfig $K other/p:/etc/hosts .").unwrap() else {
        panic!("no copy")
    };
    assert!(copy.download);
    assert_eq!(
        (copy.target.namespace.as_str(), copy.remote.as_str()),
        ("other", "/etc/hosts")
    );
    let HighArgs::Copy(copy) = high("cp --kubeconfig $K -c app ./x p:y").unwrap() else {
        panic!("no copy")
    };
    assert!(!copy.download);
    assert_eq!(
        (copy.target.namespace.as_str(), copy.remote.as_str()),
        ("dev", "y")
    );
}

#[test]
fn durations_are_read_in_their_units() {
    for (text, expected) in [
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("7d", 604_800),
        ("0s", 0),
    ] {
        assert_eq!(seconds(text).unwrap(), expected);
    }
    for text in ["", "5", "h", "1w", "-1h", "99999999999999999999s", "1h30"] {
        assert!(seconds(text).is_err(), "{text}");
    }
}
