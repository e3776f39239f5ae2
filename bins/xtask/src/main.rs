//! `cargo xtask`: what the project does to itself.
//!
//! `cargo xtask test` is the README's test command: it installs what the tests need (as root on
//! Debian), starts private servers in a temporary directory, runs everything, and stops what it
//! started.

mod bench_cni;
mod containerd;
mod coverage;
mod daemon;
mod docker;
mod fuzz;
mod kubectl;
mod node_packages;
mod packages;
mod plugins;
mod scratch;
mod steps;
mod toolchain;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  test [--keep-going]   install what is needed, start private servers, run every check
  bench [ARGUMENTS]     start private servers, then `cargo bench` with these arguments
  bench-cni [PART]...   measure the CNI plugins, one process a call, beside Debian's
  plugins               build dockin-cni and dockin-ipam as they are installed
  fuzz [SECONDS]        run libFuzzer on each wire format, 20 s unless told, and a quarter of
                        that on every other target
  coverage              which lines of dockin-stream its tests run
  servers               start the private servers and wait for Enter; prints the variables
                        under which the tests find them
  packages              say which packages are missing
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["test"] => steps::test(false),
        ["test", "--keep-going"] => steps::test(true),
        ["bench", rest @ ..] => steps::bench(rest),
        ["bench-cni", parts @ ..] => bench_cni::run(parts),
        ["plugins"] => plugins::build().map(|directory| println!("{}", directory.display())),
        ["fuzz"] => steps::fuzz(steps::FUZZ_SECONDS),
        ["fuzz", seconds] => match seconds.parse() {
            Ok(seconds) => steps::fuzz(seconds),
            Err(_) => Err(format!("`{seconds}` is no number of seconds")),
        },
        ["coverage"] => steps::coverage(),
        ["servers"] => steps::servers(),
        ["packages"] => packages::report(),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
