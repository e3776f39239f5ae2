//! The CNI plugin `dockin-cni`: environment and standard input to `dockin_net`, its answer to
//! standard output. Installed under the name `dockin-bridge` it is the plugin of one bridge
//! network; the `type` of the configuration says which. With the word `install` it copies itself and
//! its neighbours to where runtimes look for plugins.

mod install;

use std::process::ExitCode;

use dockin_net::{
    bridge,
    io::{self, BridgeHost, Host},
    meta,
};

/// musl's own gives each size of objects pages of its own, and the kernel takes longer to find
/// those than a call takes to fill them.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((word, words)) if word == "install" => install::run(words),
        _ => io::answer(|environment, stdin| match bridge::is_bridge(stdin) {
            true => bridge::run(environment, stdin, &mut BridgeHost::default()),
            false => meta::run(environment, stdin, &mut Host),
        }),
    };
    done.unwrap_or_else(|error| {
        eprintln!("dockin-cni: {error}");
        ExitCode::FAILURE
    })
}
