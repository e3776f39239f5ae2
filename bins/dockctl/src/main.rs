//! `dockctl`: Dockin's command line for people.

fn main() -> std::process::ExitCode {
    dockctl_main::run()
}
