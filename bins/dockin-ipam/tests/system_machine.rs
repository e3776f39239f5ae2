//! The built program with files that another machine, a failing disk or a clock has spoiled. Needs
//! root for a boot id of its own.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "support/program.rs"]
mod program;

use std::{fs, io::Write, os::unix::fs::FileExt, process::Command};

use program::{Program, address};
use serde_json::{Value, json};

/// A pool of five addresses.
fn small(program: &Program) -> Value {
    json!({"ipam": {
        "type": "dockin-ipam", "subnet": "10.0.0.0/29", "dataDir": program.directory(),
    }})
}

fn add(program: &Program, container: &str) -> Result<String, Value> {
    let child = program.start("ADD", container, &small(program));
    let output = child.wait_with_output().unwrap();
    match output.status.success() {
        true => Ok(address(&output.stdout)),
        false => Err(serde_json::from_slice(&output.stdout).unwrap()),
    }
}

#[test]
fn leases_in_a_directory_that_another_machine_has_made_hold_no_address() {
    let program = Program::new();
    for number in 0..5 {
        add(&program, &format!("theirs-{number}")).unwrap();
    }
    let refused = add(&program, "ours").unwrap_err();
    assert_eq!(refused["code"], 11, "{refused}");
    // The same directory where the kernel says that it is another start of another machine.
    let other = program.directory().join("boot_id");
    fs::write(&other, "00000000-0000-4000-8000-000000000000\n").unwrap();
    let script = format!(
        "mount --bind {} /proc/sys/kernel/random/boot_id && exec {} ",
        other.display(),
        env!("CARGO_BIN_EXE_dockin-ipam")
    );
    let mut child = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .envs([
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "ours"),
            ("CNI_NETNS", "/run/netns/none"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
        ])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut config = json!({"cniVersion": "1.1.0", "name": "pods", "type": "bridge"});
    config["ipam"] = small(&program)["ipam"].clone();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(config.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(address(&output.stdout).starts_with("10.0.0."), "{told}");
    assert!(program.pool(&["verify", "pods"]).is_ok());
}

/// A page of zeros, as a file system leaves one that lost a write: at any place in either file
/// nothing is given from what is left, or all is as it was before.
#[test]
fn a_hole_in_a_file_is_told_and_no_address_is_given_twice() {
    let program = Program::new();
    let held: Vec<_> = (0..200)
        .map(|number| program.address(&format!("c{number}")))
        .collect();
    let directory = program.directory().join("pods");
    let everything = program.pool(&["show", "pods"]).unwrap();
    let mut told = 0;
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let before = fs::read(&path).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        for (page, was) in before.chunks(4096).enumerate() {
            if was.iter().all(|byte| *byte == 0) {
                continue;
            }
            let at = u64::try_from(page).unwrap() * 4096;
            file.write_all_at(&vec![0; was.len()], at).unwrap();
            match program.pool(&["show", "pods"]) {
                Ok(shown) => assert_eq!(shown, everything, "{path:?}, page {page}"),
                Err(error) => assert!(error.contains("pool import"), "{error}"),
            }
            file.write_all_at(&vec![0; was.len()], at).unwrap();
            let output = program.add("another");
            if output.status.success() {
                let given = address(&output.stdout);
                assert!(
                    !held.contains(&given),
                    "{path:?}, page {page}: {given} twice"
                );
                let gone = program
                    .start("DEL", "another", &Value::Null)
                    .wait()
                    .unwrap();
                assert!(gone.success());
            } else {
                let error: Value = serde_json::from_slice(&output.stdout).unwrap();
                let message = error["msg"].as_str().unwrap();
                assert!(
                    message.contains("is damaged"),
                    "{path:?}, page {page}: {message}"
                );
                told += 1;
            }
            fs::write(&path, &before).unwrap();
        }
    }
    assert!(told > 0);
}
