//! The built program before standard input, variables and directories that are wrong: one error
//! object with its code, which names what is wrong, and no address is given.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

const VARIABLES: [(&str, &str); 5] = [
    ("CNI_COMMAND", "ADD"),
    ("CNI_CONTAINERID", "c1"),
    ("CNI_NETNS", "/run/netns/none"),
    ("CNI_IFNAME", "eth0"),
    ("CNI_PATH", "/opt/cni/bin"),
];

fn program(changed: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dockin-ipam"));
    command.env_clear().envs(VARIABLES);
    command.envs(changed.iter().copied());
    command.stdout(Stdio::piped());
    command
}

fn call(changed: &[(&str, &str)], stdin: &[u8]) -> Output {
    let mut child = program(changed).stdin(Stdio::piped()).spawn().unwrap();
    // It may have seen enough before the end.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

/// The code and the message of the only object on standard output.
fn refusal(output: &Output) -> (u64, String) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let message = object["msg"].as_str().unwrap().to_owned();
    (object["code"].as_u64().unwrap(), message)
}

fn config(directory: &Path) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "pods", "type": "bridge",
        "ipam": { "type": "dockin-ipam", "subnet": "10.0.0.0/24", "dataDir": directory },
    })
}

#[test]
fn standard_input_that_is_no_configuration_has_its_code() {
    let directory = tempfile::tempdir().unwrap();
    let good = config(directory.path()).to_string();
    let large = format!("{good}{}", " ".repeat(10_000_000));
    let invalid = [
        b"{\"name\":\"\xff\xfe\",".to_vec(),
        good.as_bytes()[1..].to_vec(),
    ]
    .concat();
    let twice = format!("{},\"name\":\"../pods\"}}", good.trim_end_matches('}'));
    for (stdin, code, words) in [
        (&b""[..], 6, "standard input"),
        (&good.as_bytes()[..good.len() - 3], 6, "standard input"),
        (large.as_bytes(), 6, "more than 1048576 bytes"),
        (b"[]", 6, "not an object"),
        (b"null", 7, "`name`"),
        (b"{\"name\":7}", 6, "`name`"),
        (b"{\"cniVersion\":1.0,\"name\":\"pods\"}", 6, "`cniVersion`"),
        (
            b"{\"cniVersion\":\"9.9.9\",\"name\":\"pods\"}",
            1,
            "`9.9.9`",
        ),
        (twice.as_bytes(), 7, "../pods"),
        (&vec![b'['; 1_000_000], 6, "less nesting"),
    ] {
        let (its, message) = refusal(&call(&[], stdin));
        assert!(its == code && message.contains(words), "{its} {message}");
    }
    // Of two equal keys the last counts, as in the reference.
    let output = call(&[], &invalid);
    assert!(output.status.success(), "{output:?}");
    let folder = program(&[])
        .stdin(File::open("/").unwrap())
        .output()
        .unwrap();
    let (code, message) = refusal(&folder);
    assert!(
        code == 5 && message.starts_with("standard input"),
        "{message}"
    );
}

#[test]
fn numbers_and_words_that_are_wrong_are_named_by_their_field() {
    let directory = tempfile::tempdir().unwrap();
    for (key, value, words) in [
        ("coolDownSeconds", json!(-1), "ipam.coolDownSeconds"),
        ("coolDownSeconds", json!(1e30), "ipam.coolDownSeconds"),
        ("stickySeconds", json!("5"), "ipam.stickySeconds"),
        ("sticky", json!("always"), "ipam.sticky"),
        ("mode", json!("pol"), "ipam.mode"),
        ("mode", json!(7), "ipam.mode"),
        ("exclude", json!(["10.0.0.9-10.0.0.2"]), "ipam.exclude[0]"),
        (
            "reservations",
            json!([{"address": "x"}]),
            "ipam.reservations[0].address",
        ),
        ("gateway", json!("10.0.0.256"), "ipam.gateway"),
        ("gateway", json!("fd00::1"), "ipam.gateway"),
        ("rangeStart", json!("10.0.1.1"), "rangeStart"),
        ("ranges", json!([[]]), "ipam.ranges[0]"),
        ("ranges", json!({}), "ipam.ranges"),
        ("routes", json!([{"gw": "10.0.0.1"}]), "ipam.routes[0]"),
        ("store", json!({"type": "redis"}), "ipam.store.type"),
        ("dataDir", json!([]), "ipam.dataDir"),
    ] {
        let mut config = config(directory.path());
        config["ipam"][key] = value;
        let output = call(&[], config.to_string().as_bytes());
        assert!(!output.status.success(), "{key}: {output:?}");
        let (code, message) = refusal(&output);
        assert!(message.contains(words), "{key}: {code} {message}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "{key}");
    }
}

#[test]
fn variables_that_are_wrong_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let stdin = config(directory.path()).to_string();
    for (name, value, code) in [
        ("CNI_COMMAND", "add", 4),
        ("CNI_CONTAINERID", "", 4),
        ("CNI_CONTAINERID", "../c1", 4),
        ("CNI_NETNS", "", 4),
        ("CNI_IFNAME", "a-name-of-16-byt", 4),
        ("CNI_IFNAME", "..", 4),
        ("CNI_IFNAME", "a/b", 4),
        ("CNI_PATH", "", 4),
        ("CNI_ARGS", "IP", 7),
        ("CNI_ARGS", "IP=1=2", 7),
        ("CNI_ARGS", "IP=10.0.0.300", 7),
        ("CNI_ARGS", "COLOUR=red", 7),
        ("CNI_ARGS", "IgnoreUnknown=maybe", 7),
    ] {
        let (its, message) = refusal(&call(&[(name, value)], stdin.as_bytes()));
        assert!(
            its == code && message.contains(name),
            "{name}={value}: {its} {message}"
        );
    }
    // An end needs less than a beginning: what is wrong there must not keep the address.
    for (name, value) in [
        ("CNI_NETNS", ""),
        ("CNI_ARGS", "IP"),
        ("CNI_ARGS", "COLOUR=red"),
    ] {
        let output = call(&[("CNI_COMMAND", "DEL"), (name, value)], stdin.as_bytes());
        assert!(
            output.status.success() && output.stdout.is_empty(),
            "{name}: {output:?}"
        );
    }
}

#[test]
fn directories_that_cannot_be_used_are_told_and_nothing_is_given() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("file"), "").unwrap();
    for (name, kind) in [
        ("lock", "lock"),
        ("table", "leases.table"),
        ("earlier", "leases.log"),
    ] {
        fs::create_dir_all(at(name).join("pods").join(kind)).unwrap();
    }
    fs::create_dir(at("link")).unwrap();
    std::os::unix::fs::symlink("/nowhere/at/all", at("link/pods")).unwrap();
    for name in ["file", "lock", "table", "earlier", "link"] {
        let stdin = config(&at(name)).to_string();
        for verb in ["ADD", "DEL"] {
            let refused = refusal(&call(&[("CNI_COMMAND", verb)], stdin.as_bytes()));
            let (code, message) = refused;
            assert_eq!(code, 5, "{verb} {name}: {message}");
            assert!(message.contains(at(name).to_str().unwrap()), "{message}");
        }
    }
    // What lies beside is nobody's business, and leads elsewhere where the operator says so.
    fs::create_dir_all(at("beside/pods")).unwrap();
    fs::write(at("beside/pods/README"), "").unwrap();
    fs::create_dir_all(at("real")).unwrap();
    fs::create_dir_all(at("linked")).unwrap();
    std::os::unix::fs::symlink(at("real"), at("linked/pods")).unwrap();
    for name in ["beside", "linked"] {
        let output = call(&[], config(&at(name)).to_string().as_bytes());
        assert!(output.status.success(), "{name}: {output:?}");
    }
}

/// The leases are in two files; without one of them nobody knows who has what.
#[test]
fn a_file_that_is_gone_is_told_and_no_address_is_given_twice() {
    for gone in ["leases.table", "leases.journal"] {
        let directory = tempfile::tempdir().unwrap();
        let stdin = config(directory.path()).to_string();
        assert!(call(&[], stdin.as_bytes()).status.success());
        fs::remove_file(directory.path().join("pods").join(gone)).unwrap();
        let refused = call(&[("CNI_CONTAINERID", "c2")], stdin.as_bytes());
        let (code, message) = refusal(&refused);
        assert!(code == 5 && message.contains(gone), "{code} {message}");
    }
}
