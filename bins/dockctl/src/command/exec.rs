use std::process::ExitCode;

use super::streams::{SessionOptions, join, open};
use crate::{failure::Failure, target::Target};

/// A command to run in a container.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) target: Target,
    pub(crate) options: SessionOptions,
    /// Program and arguments; never empty.
    pub(crate) command: Vec<String>,
}

/// Runs it; its exit code is ours.
pub(crate) async fn run(mut exec: Exec) -> Result<ExitCode, Failure> {
    exec.options.settle_tty();
    let endpoint = open(&exec.target, "exec", &exec.command, exec.options.streams()).await?;
    join(endpoint, exec.options).await
}
