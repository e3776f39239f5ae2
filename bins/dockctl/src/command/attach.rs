use std::process::ExitCode;

use serde::Deserialize;

use super::streams::{SessionOptions, join, open};
use crate::{failure::Failure, target::Target};

/// A container whose main process to connect to.
#[derive(Debug)]
pub(crate) struct Attach {
    pub(crate) target: Target,
    pub(crate) options: SessionOptions,
}

#[derive(Deserialize)]
struct Pod {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    name: String,
    #[serde(default)]
    stdin: bool,
    #[serde(default)]
    tty: bool,
}

/// Connects; the main process's exit code is ours.
///
/// Unlike exec nothing is started, so terminal and input are what the container was made with:
/// the pod is asked first.
pub(crate) async fn run(mut attach: Attach) -> Result<ExitCode, Failure> {
    attach.options.settle_tty();
    let pod: Pod = attach
        .target
        .client()?
        .json(&attach.target.path(None))
        .await?;
    fit(&mut attach, &pod);
    let endpoint = open(&attach.target, "attach", &[], attach.options.streams()).await?;
    if attach.options.tty {
        attach
            .options
            .remark("If you don't see a command prompt, try pressing enter.");
    }
    join(endpoint, attach.options).await
}

/// Takes back what the container cannot give. A container that is not there is left to the
/// server, which names those that are.
fn fit(attach: &mut Attach, pod: &Pod) {
    let container = match &attach.target.container {
        Some(name) => pod
            .spec
            .containers
            .iter()
            .find(|container| container.name == *name),
        None => match pod.spec.containers.as_slice() {
            [only] => Some(only),
            _ => None,
        },
    };
    let Some(container) = container else { return };
    let name = &container.name;
    if attach.options.tty && !container.tty {
        attach.options.tty = false;
        attach.options.remark(&format!(
            "Unable to use a TTY - container {name} did not allocate one"
        ));
    } else if !attach.options.tty && container.tty {
        // Its output is a terminal's, so it has no standard error of its own to ask for.
        attach.options.remark(&format!(
            "container {name} has a terminal: use -it to get one on this side too"
        ));
    }
    if attach.options.stdin && !container.stdin {
        attach.options.stdin = false;
        attach.options.tty = false;
        attach
            .options
            .remark(&format!("container {name} takes no input: watching only"));
    }
}
