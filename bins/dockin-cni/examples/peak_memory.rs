//! Runs a program and prints the most memory it had, in KiB; what it prints goes to standard error.
//!
//! Small by itself: what a process had before it became another program counts as well.
#![allow(clippy::unwrap_used, reason = "a bench that cannot run has failed")]

use std::{
    env,
    process::{Command, Stdio},
};

use nix::sys::resource::{UsageWho, getrusage};

fn main() {
    let mut words = env::args_os().skip(1);
    let program = words.next().unwrap();
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::inherit());
    let output = command.output().unwrap();
    eprint!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success());
    println!(
        "{}",
        getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss()
    );
}
