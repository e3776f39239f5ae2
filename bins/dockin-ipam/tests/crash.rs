//! Real processes on one pool: many at once, and killed at random moments.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "support/program.rs"]
mod program;

use std::{collections::BTreeMap, thread::sleep, time::Duration};

use program::{Program, address};
use serde_json::{Value, json};

#[test]
fn a_hundred_at_once_get_a_hundred_addresses() {
    let program = Program::new();
    let children: Vec<_> = (0..100)
        .map(|number| program.start("ADD", &format!("c{number}"), &Value::Null))
        .collect();
    let mut holders = BTreeMap::new();
    for (number, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        let twice = holders.insert(address(&output.stdout), number);
        assert_eq!(twice, None);
    }
    assert_eq!(holders.len(), 100);
}

/// Killed anywhere, a call leaves a lease or none. Those that were answered stay, nothing is
/// given twice, and one collection removes the rest.
#[test]
fn killed_calls_give_nothing_twice_and_lose_nothing() {
    let program = Program::new();
    let mut answered = BTreeMap::new();
    let mut killed = 0;
    for round in 0..300_u64 {
        let container = format!("c{round}");
        let mut child = program.start("ADD", &container, &Value::Null);
        // From before the program reads its configuration to after it has answered.
        // Every fifth may finish, however slow the machine is.
        if round % 5 > 0 {
            sleep(Duration::from_micros(round * 37 % 5000));
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        if output.stdout.is_empty() {
            killed += 1;
        } else {
            let before = answered.insert(address(&output.stdout), container.clone());
            assert_eq!(before, None, "given twice");
        }
        if round % 3 == 0 {
            let done = program.start("DEL", &container, &Value::Null);
            assert!(done.wait_with_output().unwrap().status.success());
            answered.retain(|_, holder| *holder != container);
        }
    }
    assert!(killed > 0 && !answered.is_empty(), "{killed} killed of 300");
    program.pool(&["verify", "pods"]).unwrap();
    let valid: Vec<_> = answered
        .values()
        .map(|container| json!({"containerID": container, "ifname": "eth0"}))
        .collect();
    let list = json!({"cni.dev/valid-attachments": valid});
    let done = program.start("GC", "", &list).wait_with_output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stdout)
    );
    let shown = program.pool(&["show", "pods"]).unwrap();
    let mut held: Vec<_> = shown
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    held.sort_unstable();
    let mut wanted: Vec<_> = answered
        .keys()
        .map(|it| it.trim_end_matches("/24"))
        .collect();
    wanted.sort_unstable();
    assert_eq!(held, wanted);
}
