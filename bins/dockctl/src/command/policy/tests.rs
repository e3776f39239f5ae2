#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{fs, process::ExitCode};

use clap::Parser as _;

use super::{cases, explain};
use crate::{
    failure::{DENIED, Failure},
    low_args::{CommandArgs, LowArgs, PolicyArgs},
};

const RULES: &str = "
name: ports
rules:
  - { id: no-ssh, effect: forbid, ports: [22], message: no shell goes past us }
  - { id: guests, effect: forbid, ports: ['*'], groups: [guests] }
  - { id: no-rm, effect: forbid, commands: [rm] }
";

/// Runs `dockctl policy` with these files in a folder of their own.
fn run(files: &[(&str, &str)], words: &[&str]) -> Result<(ExitCode, String), Failure> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let place = |word: &&str| {
        let is_file = files.iter().any(|(name, _)| name == word);
        if is_file {
            folder.path().join(word).display().to_string()
        } else {
            (*word).to_owned()
        }
    };
    let words: Vec<String> = ["dockctl", "policy"]
        .iter()
        .chain(words)
        .map(place)
        .collect();
    let args = LowArgs::try_parse_from(words).map_err(|error| Failure::local(error.to_string()))?;
    let mut out = Vec::new();
    let code = match args.command {
        CommandArgs::Policy(PolicyArgs::Explain(args)) => explain(args, &mut out)?,
        CommandArgs::Policy(PolicyArgs::Test(args)) => cases::test(&args, &mut out)?,
        _ => unreachable!("no other words are tested"),
    };
    Ok((code, String::from_utf8(out).unwrap()))
}

#[test]
fn a_port_is_explained_as_a_line_is() {
    let explained = |words: &[&str]| {
        let words = [&["explain", "--rules", "rules.yaml"], words].concat();
        run(&[("rules.yaml", RULES)], &words).unwrap()
    };
    let (code, text) = explained(&["--port", "22"]);
    assert_eq!(code, ExitCode::from(DENIED));
    assert_eq!(
        text,
        "decision   deny\nrule       no-ssh\n\
         reason     `port 22` refused by rule `no-ssh`: no shell goes past us\ntoken      22\n"
    );
    let (code, text) = explained(&["--port", "80"]);
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(
        text.starts_with("decision   allow\nrule       -\n"),
        "{text}"
    );
    let (code, text) = explained(&["--port", "80", "--group", "guests"]);
    assert_eq!(code, ExitCode::from(DENIED));
    assert!(text.contains("guests"), "{text}");
    let (code, text) = explained(&["rm x"]);
    assert_eq!(code, ExitCode::from(DENIED));
    assert!(text.contains("no-rm"), "{text}");
}

#[test]
fn a_line_and_a_port_are_not_explained_at_once_nor_is_neither() {
    for words in [
        &["--port", "22", "ls"][..],
        &[],
        &["--port", "0"],
        &["--port", "65536"],
        &["--port", "ssh"],
    ] {
        let words = [&["explain", "--rules", "rules.yaml"], words].concat();
        assert!(run(&[("rules.yaml", RULES)], &words).is_err(), "{words:?}");
    }
}

#[test]
fn cases_may_be_of_ports() {
    let tested = |cases: &str| {
        let cases = format!("rules: rules.yaml\ncases:\n{cases}");
        let files = [("rules.yaml", RULES), ("cases.yaml", cases.as_str())];
        run(&files, &["test", "cases.yaml"])
    };
    let (code, text) = tested(
        "  - { port: 22, expect: deny, rule: no-ssh }\n  - { port: 80, expect: allow }\n  \
         - { port: 80, expect: deny, groups: [guests] }\n  - { line: rm x, expect: deny }\n",
    )
    .unwrap();
    assert_eq!(
        (code, text.as_str()),
        (ExitCode::SUCCESS, "4 cases, 0 wrong\n")
    );
    let (code, text) = tested("  - { port: 22, expect: allow }\n").unwrap();
    assert_eq!(code, ExitCode::FAILURE);
    assert!(
        text.starts_with("port 22: expected allow, got deny (`port 22` refused by rule `no-ssh`"),
        "{text}"
    );
    for (wrong, words) in [
        ("  - { expect: allow }\n", "case 1 has to have"),
        (
            "  - { line: ls, port: 22, expect: allow }\n",
            "case 1 has to have",
        ),
        ("  - { port: 0, expect: allow }\n", "line 3"),
        ("  - { port: 65536, expect: allow }\n", "line 3"),
    ] {
        let told = tested(wrong).err().map(|error| error.to_string());
        assert!(
            told.as_ref().is_some_and(|told| told.contains(words)),
            "{wrong}{told:?}"
        );
    }
}
