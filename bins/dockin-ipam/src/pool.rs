//! `dockin-ipam pool`: words to `dockin_net::operator`, its answer to standard output.

use std::path::Path;

use dockin_net::{
    AsLedger, Format, LeaseStore, NetworkName, Place,
    io::{Host, HostLocalStore, networks},
    ipam::{DATA_DIR, World},
    operator::{Action, Command, OperatorError, act, copy, read_list, summary},
};

/// Runs the words after `pool`; the text to print.
pub(crate) fn run(words: &[String]) -> Result<String, OperatorError> {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let (directory, words) = match words.as_slice() {
        ["--data-dir", directory, words @ ..] => (*directory, words),
        words => (DATA_DIR, words),
    };
    match Command::parse(words)? {
        Command::On(network, action) => on(directory, network, &action),
        _ => list(directory),
    }
}

fn list(directory: &str) -> Result<String, OperatorError> {
    let mut text = String::new();
    for network in networks(Path::new(directory))? {
        let name = network.to_string();
        let store = open(directory, network)?;
        text += &summary(&name, &store.to_ledger()?, Host.now());
    }
    Ok(text)
}

fn on(directory: &str, network: NetworkName, action: &Action) -> Result<String, OperatorError> {
    // A name that was mistyped must not become a network.
    let known = networks(Path::new(directory))?.contains(&network);
    let changes = matches!(
        action,
        Action::Show | Action::Verify | Action::Release { .. }
    );
    if changes && !known {
        return Err(OperatorError::Usage(format!(
            "`{directory}` has no network `{network}`"
        )));
    }
    let mut store = open(directory, network)?;
    let now = Host.now();
    match action {
        Action::Import { directory } if Path::new(directory).is_file() => {
            let from = read_list(&Host.read_text(directory)?)?;
            copy(&from, store.as_mut(), now)
        }
        Action::Import { directory } => {
            let from = HostLocalStore::open(Path::new(directory))?;
            copy(from.as_ledger(), store.as_mut(), now)
        }
        Action::Export { directory } => {
            let mut to = HostLocalStore::open(Path::new(directory))?;
            copy(&store.to_ledger()?, &mut to, now)
        }
        action => act(store.as_mut(), action, now),
    }
}

fn open(directory: &str, network: NetworkName) -> Result<Box<dyn LeaseStore>, OperatorError> {
    Ok(Host.open(&Place {
        directory: directory.to_owned(),
        network,
        format: Format::Table,
    })?)
}
