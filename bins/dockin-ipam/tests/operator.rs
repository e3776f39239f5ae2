//! `dockin-ipam pool`, beside the plugin on the same files.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "support/program.rs"]
mod program;

use std::fs;

use program::Program;

#[test]
fn what_the_plugin_gives_the_operator_sees() {
    let program = Program::new();
    assert!(program.add("c1").status.success());
    assert_eq!(
        program.pool(&["list"]),
        Ok("pods: 1 leases, 1 addresses held, 0 kept, 0 blocked, 0 set aside\n".into())
    );
    let shown = program.pool(&["show", "pods"]).unwrap();
    assert!(
        shown.starts_with("10.0.0.2 ") && shown.contains("held by c1/eth0"),
        "{shown}"
    );
    assert_eq!(
        program.pool(&["verify", "pods"]),
        Ok("1 leases, all fit together\n".into())
    );
}

#[test]
fn reserved_and_quarantined_addresses_are_not_given_until_released() {
    let program = Program::new();
    program.pool(&["reserve", "pods", "10.0.0.2"]).unwrap();
    program
        .pool(&["reserve", "pods", "10.0.0.3", "default/db-0"])
        .unwrap();
    program
        .pool(&["quarantine", "pods", "10.0.0.4", "3600"])
        .unwrap();
    assert!(program.pool(&["reserve", "pods", "10.0.0.2"]).is_err());
    assert_eq!(program.address("c1"), "10.0.0.5/24");
    program.pool(&["release", "pods", "10.0.0.4"]).unwrap();
    program.pool(&["release", "pods", "10.0.0.2"]).unwrap();
    assert!(program.pool(&["release", "pods", "10.0.0.2"]).is_err());
    let shown = program.pool(&["show", "pods"]).unwrap();
    assert!(shown.contains("set aside for default/db-0"), "{shown}");
    assert!(!shown.contains("10.0.0.4"), "{shown}");
}

#[test]
fn a_lease_is_taken_away_by_force_only() {
    let program = Program::new();
    program.address("c1");
    let refused = program.pool(&["release", "pods", "10.0.0.2"]).unwrap_err();
    assert!(refused.contains("held by c1/eth0"), "{refused}");
    program
        .pool(&["release", "pods", "10.0.0.2", "--force"])
        .unwrap();
    assert_eq!(program.pool(&["show", "pods"]), Ok(String::new()));
}

#[test]
fn leases_move_from_host_local_and_back() {
    let program = Program::new();
    let theirs = program.directory().join("host-local");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("10.0.0.9"), "c1\r\neth0").unwrap();
    fs::write(theirs.join("last_reserved_ip.0"), "10.0.0.9").unwrap();
    let theirs = theirs.to_str().unwrap();
    assert_eq!(
        program.pool(&["import", "pods", theirs]),
        Ok("1 leases copied\n".into())
    );
    // A second time the addresses are in use.
    assert!(program.pool(&["import", "pods", theirs]).is_err());
    assert_eq!(program.address("c2"), "10.0.0.10/24");
    let ours = program.directory().join("exported");
    program
        .pool(&["export", "pods", ours.to_str().unwrap()])
        .unwrap();
    assert_eq!(
        fs::read_to_string(ours.join("10.0.0.10")).unwrap(),
        "c2\r\neth0"
    );
    assert_eq!(
        fs::read_to_string(ours.join("last_reserved_ip.0")).unwrap(),
        "10.0.0.10"
    );
}

#[test]
fn leases_are_taken_over_from_a_list() {
    let program = Program::new();
    let list = program.directory().join("list");
    fs::write(
        &list,
        "# from the old node\n10.0.0.2 c1 eth0\n\n10.0.0.3 c2 eth0\n",
    )
    .unwrap();
    let list = list.to_str().unwrap();
    assert_eq!(
        program.pool(&["import", "pods", list]),
        Ok("2 leases copied\n".into())
    );
    assert_eq!(program.address("c3"), "10.0.0.4/24");
    fs::write(list, "10.0.0.9 c9\n").unwrap();
    let told = program.pool(&["import", "pods", list]).unwrap_err();
    assert!(told.contains("line 1"), "{told}");
}

/// Two that would have one address would both go on using it.
#[test]
fn a_list_that_gives_an_address_twice_is_refused_whole() {
    let program = Program::new();
    let list = program.directory().join("list");
    fs::write(
        &list,
        "10.0.0.3 c3 eth0\n10.0.0.2 c1 eth0\n10.0.0.2 c2 eth0\n",
    )
    .unwrap();
    let told = program.pool(&["import", "pods", list.to_str().unwrap()]);
    let told = told.unwrap_err();
    assert!(
        told.contains("10.0.0.2 is that of c1/eth0 and of c2/eth0"),
        "{told}"
    );
    assert_eq!(program.pool(&["show", "pods"]), Ok(String::new()));
}

#[test]
fn one_damaged_network_does_not_hide_the_others() {
    let program = Program::new();
    program.address("c1");
    program.pool(&["reserve", "sound", "10.9.0.2"]).unwrap();
    fs::write(program.directory().join("pods/leases.table"), "garbage").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_dockin-ipam"))
        .args([
            "pool",
            "--data-dir",
            program.directory().to_str().unwrap(),
            "list",
        ])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let (out, told) = (
        String::from_utf8(output.stdout),
        String::from_utf8(output.stderr),
    );
    assert!(out.unwrap().starts_with("sound: 0 leases"));
    let told = told.unwrap();
    assert!(
        told.contains("pods: ") && told.contains("is damaged"),
        "{told}"
    );
}

#[test]
fn what_is_not_ours_stays_as_it_is() {
    let program = Program::new();
    let theirs = program.directory().join("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("file"), "1").unwrap();
    assert_eq!(program.pool(&["list"]), Ok(String::new()));
    assert!(program.pool(&["show", "theirs"]).is_err());
    assert_eq!(fs::read_dir(&theirs).unwrap().count(), 1);
    let absent = program.directory().join("absent");
    let absent = absent.to_str().unwrap();
    for words in [["import", "pods", absent], ["export", "pods", absent]] {
        assert!(program.pool(&words).is_err(), "{words:?}");
    }
    assert!(!fs::exists(absent).unwrap() && !program.directory().join("pods").exists());
}

#[test]
fn help_is_no_error() {
    let program = Program::new();
    for words in [&["--help"][..], &["-h"], &["help"]] {
        assert!(
            program.pool(words).unwrap().starts_with("usage: "),
            "{words:?}"
        );
    }
    let of_store = std::process::Command::new(env!("CARGO_BIN_EXE_dockin-ipam"))
        .args(["pool", "--conf", "/nowhere", "--help"])
        .output()
        .unwrap();
    assert!(of_store.status.success() && of_store.stdout.starts_with(b"usage: "));
}

#[test]
fn a_mistyped_network_or_command_is_told() {
    let program = Program::new();
    let told = program.pool(&["reserve", "pdos", "10.0.0.2"]).unwrap();
    assert!(told.contains("`pdos` is a new network"), "{told}");
    let told = program.pool(&["reserve", "pods", "10.0.0.2", "a/b/c"]);
    assert!(told.unwrap_err().contains("not `namespace/pod`"));
    assert!(
        program
            .pool(&["show", "other"])
            .unwrap_err()
            .contains("no network `other`")
    );
    assert!(!program.directory().join("other").exists());
    assert!(program.pool(&["shwo"]).unwrap_err().contains("usage:"));
}
