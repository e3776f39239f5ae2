//! The node agent: serves this machine's containers to gateways.

mod config;
mod door;
mod enrol;
mod serve;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use config::Config;
use dockin_core::{Error, ErrorKind};

/// Serves the containers of this machine to Dockin gateways.
#[derive(Parser)]
#[command(
    name = "dockin-opagent",
    version,
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    /// Configuration file; `dockin-opserver init` makes one for each agent.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Become the agent of a gateway that has invited this machine.
    Enrol(enrol::Enrol),
    #[command(flatten)]
    Internal(Internal),
}

/// What the agent starts itself as.
#[derive(Subcommand)]
enum Internal {
    /// Ends what is left of the agent's sessions when the agent is gone.
    #[command(hide = true)]
    Guardian {
        /// Name of the agent.
        agent: String,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Some(Command::Internal(internal)) => return serve::internal(internal),
        Some(Command::Enrol(wanted)) => enrol_with(&wanted),
        None => run(arguments.config),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dockin-opagent: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

fn enrol_with(wanted: &enrol::Enrol) -> Result<(), Error> {
    dockin_core::tls::install_default();
    runtime()?.block_on(enrol::enrol(wanted))
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Unavailable, "no runtime").with_source(error))
}

fn run(config: Option<PathBuf>) -> Result<(), Error> {
    dockin_core::tls::install_default();
    let path = config.ok_or_else(|| Error::new(ErrorKind::Misuse, "give --config"))?;
    let config = Config::load(&path)?;
    let level = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .init();
    runtime()?.block_on(serve::serve(config))
}
