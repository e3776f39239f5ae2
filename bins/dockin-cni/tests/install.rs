//! `dockin-cni install` into a directory.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test"
)]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

#[test]
fn plugins_and_configuration_are_put_in_their_places() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    // The neighbour that is copied is whatever lies beside the program.
    fs::create_dir(at("from")).unwrap();
    let program = at("from/dockin-cni");
    fs::copy(env!("CARGO_BIN_EXE_dockin-cni"), &program).unwrap();
    let config = r#"{"name":"webank","type":"bridge"}"#;
    fs::write(at("from/10-dockin.conf"), config).unwrap();
    fs::write(at("from/webank.conf"), config).unwrap();
    fs::write(at("from/token"), "secret").unwrap();
    let install = || {
        let mut command = Command::new(&program);
        command.arg("install");
        for (word, value) in [
            ("--bin-dir", "bin"),
            ("--networks-dir", "networks"),
            ("--network", "from/webank.conf"),
            ("--secrets-dir", "secrets"),
            ("--secret", "from/token"),
            ("--conf-dir", "conf"),
            ("--conf", "from/10-dockin.conf"),
        ] {
            command.arg(word).arg(at(value));
        }
        command.output().unwrap()
    };
    let failed = install();
    let told = String::from_utf8(failed.stderr).unwrap();
    assert!(
        !failed.status.success() && told.contains("dockin-ipam"),
        "{told}"
    );
    assert!(
        !at("conf/10-dockin.conf").exists(),
        "the runtime was told too early"
    );
    fs::write(at("from/dockin-ipam"), "ipam").unwrap();
    fs::write(at("from/dockin-ipam-store"), "store").unwrap();
    fs::write(at("from/dockin-ask"), "ask").unwrap();
    assert!(install().status.success());
    for name in [
        "bin/dockin-cni",
        "bin/dockin-bridge",
        "bin/dockin-ipam",
        "bin/dockin-ipam-store",
        "bin/dockin-ask",
        "networks/webank.conf",
    ] {
        assert!(at(name).is_file(), "{name}");
    }
    assert_eq!(
        fs::read_to_string(at("conf/10-dockin.conf")).unwrap(),
        config
    );
    let mode = fs::metadata(at("secrets/token")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let names = |of: &Path| fs::read_dir(of).unwrap().count();
    assert_eq!(names(&at("bin")), 5, "something was left beside");
    // What the runtime could not read is not installed, and what is there stays.
    for (file, wrong) in [
        ("10-dockin.conf", "{ // a remark\n}"),
        ("webank.conf", "{}"),
        ("webank.conf", r#"{"name":"a/b"}"#),
    ] {
        let place = at("from").join(file);
        fs::write(&place, wrong).unwrap();
        let failed = install();
        let told = String::from_utf8(failed.stderr).unwrap();
        assert!(!failed.status.success() && told.contains(file), "{told}");
        assert!(failed.stdout.is_empty());
        fs::write(&place, config).unwrap();
    }
    let version = Command::new(at("bin/dockin-bridge"))
        .env("CNI_COMMAND", "VERSION")
        .output();
    assert!(version.unwrap().status.success());
    assert_eq!(
        Command::new(&program)
            .args(["install", "--what"])
            .status()
            .unwrap()
            .code(),
        Some(2)
    );
}
