//! The gateway: makes its own certificates and tokens, and serves.

mod account;
mod agent;
mod config;
mod door;
mod init;
mod people;
mod resource_manager;
mod serve;
mod store;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use config::Config;
use dockin_core::{
    Error, ErrorKind,
    identity::{SharedAccounts, TokenFile},
};
use jiff::Timestamp;

// A request is a hundred small allocations: an eighth of the gateway's time in the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Policed and audited access to containers: kubectl talks to this server.
#[derive(Parser)]
#[command(name = "dockin-opserver", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a data directory: configuration, default rules, certificates.
    Init(init::Init),
    /// Give tokens to people, and take them back.
    #[command(subcommand)]
    Token(Token),
    /// Let people log in with a password, and take that back.
    #[command(subcommand)]
    Account(account::Account),
    /// Let machines become agents, and take that back.
    #[command(subcommand)]
    Agent(agent::Agent),
    /// Serve until SIGTERM or SIGINT.
    Serve(Serve),
}

#[derive(Subcommand)]
enum Token {
    /// Make a token for a user and print it. It cannot be shown again.
    Add {
        /// Data directory that `init` made.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Whose token it is.
        #[arg(long, value_name = "NAME")]
        user: String,
        /// A group of his; may be repeated.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// From when on it is worthless, such as 2030-01-31T00:00:00Z; never, without.
        #[arg(long, value_name = "TIME")]
        expires: Option<Timestamp>,
    },
    /// Take back every token of a user, also those that he made himself. It counts within a second.
    Revoke {
        #[command(flatten)]
        place: store::Commanded,
        /// Whose tokens.
        #[arg(long, value_name = "NAME")]
        user: String,
    },
}

#[derive(Args)]
struct Serve {
    #[command(flatten)]
    place: Place,
    /// Serve plain HTTP, on a loopback address only: everybody on the way could read tokens.
    #[arg(long)]
    insecure_http: bool,
    /// Redis that is shared with other gateways, such as redis://HOST:6379/0, in place of the one
    /// of the configuration; a password belongs there.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory that `init` made; its `opserver.yaml` is the configuration.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

fn main() -> ExitCode {
    dockin_core::tls::install_default();
    let outcome = match Arguments::parse().command {
        Command::Init(wanted) => init::init(&wanted),
        Command::Token(wanted) => token(wanted),
        Command::Account(wanted) => account::account(wanted),
        Command::Agent(wanted) => agent::agent(wanted),
        Command::Serve(wanted) => run(&wanted),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dockin-opserver: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

fn token(command: Token) -> Result<(), Error> {
    let tokens = |data: PathBuf| Config::load(&data.join("opserver.yaml")).map(|it| it.tokens);
    match command {
        Token::Add {
            data,
            user,
            groups,
            expires,
        } => {
            let token = TokenFile::add(&tokens(data)?, &user, &groups, expires)?;
            println!("{token}");
            eprintln!("this is the token of `{user}`; it cannot be shown again");
        }
        Token::Revoke { place, user } => {
            let config = place.config()?;
            let own = TokenFile::revoke(&config.tokens, &user);
            let shared = store::open(&config)?.map(SharedAccounts::new);
            let shared = shared.map(|shared| store::wait(shared.forget_tokens(&user)));
            let count = match (own, shared.transpose()?.unwrap_or_default()) {
                (Err(error), shared) if shared > 0 && error.kind() == ErrorKind::NotFound => shared,
                (own, shared) => own? + shared,
            };
            eprintln!("{count} of `{user}` revoked");
        }
    }
    Ok(())
}

fn run(command: &Serve) -> Result<(), Error> {
    let path = match (&command.place.config, &command.place.data) {
        (Some(file), _) => file.clone(),
        (None, Some(folder)) => folder.join("opserver.yaml"),
        (None, None) => return Err(Error::new(ErrorKind::Misuse, "give --config or --data")),
    };
    let mut config = Config::load(&path)?;
    config::override_url(&mut config.store, command.store.as_deref())?;
    if command.insecure_http {
        config = config.without_tls()?;
    }
    let level = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .init();
    store::note(&path, command.store.as_deref());
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Unavailable, "no runtime").with_source(error))?
        .block_on(serve::serve(config))
}
