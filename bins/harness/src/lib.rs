//! Starts a whole Dockin out of its own binaries, for tests and benches: a gateway and an agent as
//! processes on loopback, in front of the Docker daemon that the environment names.
//!
//! Everything here panics with a message that says what is missing: a check that cannot run must
//! fail, not skip.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test harness fails by panicking"
)]

mod apiserver;
mod cri;
mod docker;
mod docker_api;
mod house;
mod kubectl;
mod node;
mod objects;
mod pod_watch;
mod program;
mod proxy;
mod pty;
mod redis;
mod replica;
mod server;
mod token_review;
mod wire;

pub use apiserver::{ApiServer, Credential, Seen};
pub use cri::{Cri, CriContainer, CriPod};
pub use docker::{Container, Docker};
pub use docker_api::{Asking, DockerApi, Hijacked};
pub use house::{House, HouseOptions};
pub use kubectl::{Kubectl, Transport};
pub use program::{Finished, Input, Program, finish};
pub use proxy::ConnectProxy;
pub use pty::Pty;
pub use redis::Redis;
pub use replica::{Balancer, Replica};
pub use server::{Server, binary};
pub use wire::parsed;

use std::{
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

/// Runs `command` and gives its output, whatever it was.
///
/// # Panics
///
/// The program cannot be started.
pub fn run(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Asks again and again until `check` holds; `false` when it does not within `limit`.
pub fn eventually(limit: Duration, mut check: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if check() {
            return true;
        }
        if begun.elapsed() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(50));
    }
}
