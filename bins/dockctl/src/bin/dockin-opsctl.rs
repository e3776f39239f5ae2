//! `dockin-opsctl`: the same program as `dockctl`, under the name that scripts use.

fn main() -> std::process::ExitCode {
    dockctl_main::run()
}
