//! The CNI plugin `dockin-cni`: environment and standard input to `dockin_net`, its answer to
//! standard output. Installed under the name `dockin-bridge` it is the plugin of one bridge
//! network; the `type` of the configuration says which. With the word `install` it copies itself and
//! its neighbours to where runtimes look for plugins.

mod install;

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::AsFd,
    process::ExitCode,
};

use dockin_net::{
    bridge,
    cni::Environment,
    io::{BridgeHost, Host},
    meta,
};

/// musl's own gives each size of objects pages of its own, and the kernel takes longer to find
/// those than a call takes to fill them.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// A network configuration is a few kilobytes; more than this is no configuration.
const MAX_CONFIG: u64 = 1024 * 1024;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((word, words)) if word == "install" => install::run(words),
        _ => answer(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("dockin-cni: {error}");
        ExitCode::FAILURE
    })
}

fn answer() -> std::io::Result<ExitCode> {
    let environment = Environment::read(|name| {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    });
    let mut stdin = Vec::new();
    if !matches!(environment.command.as_str(), "" | "VERSION") {
        // Without the buffer of `Stdin`, whose pages nothing else would touch.
        let input = std::io::stdin().as_fd().try_clone_to_owned()?;
        File::from(input).take(MAX_CONFIG).read_to_end(&mut stdin)?;
    }
    let outcome = match bridge::is_bridge(&stdin) {
        true => bridge::run(&environment, &stdin, &mut BridgeHost::default()),
        false => meta::run(&environment, &stdin, &mut Host),
    };
    std::io::stderr().write_all(outcome.stderr.as_bytes())?;
    let mut stdout = std::io::stdout();
    if !outcome.stdout.is_empty() {
        writeln!(stdout, "{}", outcome.stdout)?;
    }
    stdout.flush()?;
    Ok(ExitCode::from(outcome.exit_code))
}
