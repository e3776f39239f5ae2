//! `dockin-ipam pool`: words to `dockin_net::operator`, its answer to standard output.

use std::{io::Write, path::Path};

use dockin_net::{
    AsLedger, Format, LeaseStore, NetworkName, Place,
    io::{Host, HostLocalStore, networks},
    ipam::{DATA_DIR, World},
    operator::{Action, Command, OperatorError, USAGE, act, copy, read_list, summary},
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
        Command::Help => Ok(USAGE.to_owned()),
        _ => list(directory),
    }
}

fn list(directory: &str) -> Result<String, OperatorError> {
    if directory != DATA_DIR && !Path::new(directory).is_dir() {
        return Err(OperatorError::Usage(format!(
            "`{directory}` is no directory"
        )));
    }
    let mut text = String::new();
    let mut faults = Vec::new();
    for network in networks(Path::new(directory))? {
        let name = network.to_string();
        let ledger = open(directory, network).and_then(|store| Ok(store.to_ledger()?));
        match ledger {
            Ok(ledger) => text += &summary(&name, &ledger, Host.now()),
            Err(error) => faults.push(format!("{name}: {error}")),
        }
    }
    if faults.is_empty() {
        return Ok(text);
    }
    // The others are told all the same.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Err(OperatorError::Faults(faults))
}

fn on(directory: &str, network: NetworkName, action: &Action) -> Result<String, OperatorError> {
    // A name that was mistyped must not become a network.
    let known = networks(Path::new(directory))?.contains(&network);
    let begins = matches!(
        action,
        Action::Reserve { .. } | Action::Quarantine { .. } | Action::Import { .. }
    );
    if !begins && !known {
        return Err(OperatorError::Usage(format!(
            "`{directory}` has no network `{network}`"
        )));
    }
    if let Action::Import { directory } = action
        && !Path::new(directory).exists()
    {
        return Err(OperatorError::Usage(format!("`{directory}` is not there")));
    }
    // To take leases over is how a network begins; the others may be mistyped.
    let note = match known || matches!(action, Action::Import { .. }) {
        true => String::new(),
        false => format!("`{network}` is a new network of `{directory}`\n"),
    };
    let mut store = open(directory, network)?;
    act_on(store.as_mut(), action).map(|text| text + &note)
}

fn act_on(store: &mut dyn LeaseStore, action: &Action) -> Result<String, OperatorError> {
    let now = Host.now();
    match action {
        Action::Import { directory } if Path::new(directory).is_file() => {
            let from = read_list(&Host.read_text(directory)?)?;
            copy(&from, store, now)
        }
        Action::Import { directory } => {
            let from = HostLocalStore::open(Path::new(directory))?;
            copy(from.as_ledger(), store, now)
        }
        Action::Export { directory } => {
            let mut to = HostLocalStore::open(Path::new(directory))?;
            copy(&store.to_ledger()?, &mut to, now)
        }
        action => act(store, action, now),
    }
}

fn open(directory: &str, network: NetworkName) -> Result<Box<dyn LeaseStore>, OperatorError> {
    Ok(Host.open(&Place {
        directory: directory.to_owned(),
        network,
        format: Format::Table,
    })?)
}
