//! What operators ask of a network's leases: `dockin-ipam pool …` as functions.

use std::{collections::BTreeMap, fmt::Write, net::IpAddr};

use thiserror::Error;

use crate::{
    AddressError, ContainerId, InterfaceName, NameError, NetworkName, host_local,
    lease::{After, Blocked, Change, Lease, Owner, Timestamp},
    leases::{Leases, Use},
    ledger::Ledger,
    parse_address,
    store::{LeaseStore, StoreError},
};

/// How the tool is used.
pub const USAGE: &str = "\
usage: dockin-ipam pool [--data-dir DIR] COMMAND
       dockin-ipam pool --conf FILE COMMAND, where nodes share the pools in a store

  list                               every network with its counts
  show NETWORK                       every address in use or set aside
  reserve NETWORK ADDRESS [NS/POD]   set an address aside, for one pod or for nobody
  quarantine NETWORK ADDRESS SECONDS give an address to nobody for a time
  release NETWORK ADDRESS [--force]  end what is noted for an address; a lease with --force only
  verify NETWORK                     read everything and say what does not fit together
  import NETWORK DIRECTORY           take over the leases of a host-local directory
  import NETWORK FILE                take over leases from lines of ADDRESS CONTAINER INTERFACE
  export NETWORK DIRECTORY           write the leases as a host-local directory
";

/// What the operator wants.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// How the tool is used.
    Help,
    /// Every network.
    List,
    /// One network.
    On(NetworkName, Action),
}

/// What is to be done with one network.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Show every address.
    Show,
    /// Set an address aside.
    Reserve {
        /// Which one.
        address: IpAddr,
        /// For whom.
        owner: Option<Owner>,
    },
    /// Give an address to nobody for a time.
    Quarantine {
        /// Which one.
        address: IpAddr,
        /// For how long.
        seconds: u64,
    },
    /// End what is noted for an address.
    Release {
        /// Which one.
        address: IpAddr,
        /// Also a lease.
        force: bool,
    },
    /// Look for what does not fit together.
    Verify,
    /// Take over a `host-local` directory, or a list in a file.
    Import {
        /// Where it is.
        directory: String,
    },
    /// Write a `host-local` directory.
    Export {
        /// Where it will be.
        directory: String,
    },
}

/// Why the operator does not get it.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum OperatorError {
    /// The words are no command.
    #[error("{0}\n{USAGE}")]
    Usage(String),
    /// A word is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A word is no network's name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An attachment has the address.
    #[error("{address} is held by {holder}; `--force` takes it away from a running container")]
    Held {
        /// Which one.
        address: IpAddr,
        /// By whom.
        holder: String,
    },
    /// The address is in use or set aside already.
    #[error("{0} is in use or set aside already")]
    InUse(IpAddr),
    /// Nothing is noted for the address.
    #[error("nothing is noted for {0}")]
    Nothing(IpAddr),
    /// What is to be taken over gives one address to two.
    #[error("{address} is that of {one} and of {other}; one of them has to go first")]
    Twice {
        /// Which one.
        address: IpAddr,
        /// The first that has it.
        one: String,
        /// The second.
        other: String,
    },
    /// A line of a list is none.
    #[error("line {0} is not `ADDRESS CONTAINER INTERFACE`")]
    Line(usize),
    /// Something does not fit together.
    #[error("{}", .0.join("\n"))]
    Faults(Vec<String>),
    /// The leases cannot be read or written.
    #[error("{0}{advice}", advice = advice(.0))]
    Store(#[from] StoreError),
}

impl Command {
    /// Reads the words after `pool`.
    ///
    /// # Errors
    ///
    /// [`OperatorError::Usage`], [`OperatorError::Address`], [`OperatorError::Name`].
    pub fn parse(words: &[&str]) -> Result<Self, OperatorError> {
        let (network, action) = match words {
            ["help" | "--help" | "-h"] => return Ok(Self::Help),
            ["list"] => return Ok(Self::List),
            ["show", network] => (network, Action::Show),
            ["reserve", network, address] => {
                let address = parse_address(address)?;
                let action = Action::Reserve {
                    address,
                    owner: None,
                };
                (network, action)
            }
            ["reserve", network, address, owner] => {
                let address = parse_address(address)?;
                let wrong = || OperatorError::Usage(format!("`{owner}` is not `namespace/pod`"));
                let owner = Some(Owner::parse(owner).ok_or_else(wrong)?);
                (network, Action::Reserve { address, owner })
            }
            ["quarantine", network, address, seconds] => {
                let address = parse_address(address)?;
                let wrong =
                    |_| OperatorError::Usage(format!("`{seconds}` is no number of seconds"));
                let seconds = seconds.parse().map_err(wrong)?;
                (network, Action::Quarantine { address, seconds })
            }
            ["release", network, address] | ["release", network, address, "--force"] => {
                let address = parse_address(address)?;
                let force = words.len() == 4;
                (network, Action::Release { address, force })
            }
            ["verify", network] => (network, Action::Verify),
            ["import", network, directory] => {
                let directory = (*directory).to_owned();
                (network, Action::Import { directory })
            }
            ["export", network, directory] => {
                let directory = (*directory).to_owned();
                (network, Action::Export { directory })
            }
            _ => {
                return Err(OperatorError::Usage(format!(
                    "no such command: {}",
                    words.join(" ")
                )));
            }
        };
        Ok(Self::On(NetworkName::parse(network)?, action))
    }
}

/// What an operator does about it.
const fn advice(error: &StoreError) -> &'static str {
    match error {
        StoreError::Damaged { .. } => {
            "\nnothing is given from damaged files, because an address could be given twice; either \
             put a copy of the network's directory from before back in its place, or move the \
             directory away, write a line `ADDRESS CONTAINER INTERFACE` for each running \
             container, and take them over with `dockin-ipam pool import NETWORK FILE`"
        }
        _ => "",
    }
}

/// One line of `list`.
#[must_use]
pub fn summary(network: &str, ledger: &Ledger, now: Timestamp) -> String {
    let count = |wanted: fn(&Use) -> bool| {
        let uses = ledger.uses().filter(|(_, it)| !it.is_over(now));
        uses.filter(|(_, it)| wanted(it)).count()
    };
    format!(
        "{network}: {} leases, {} addresses held, {} kept, {} blocked, {} set aside\n",
        ledger.leases().count(),
        count(|it| matches!(it, Use::Held(_))),
        count(|it| matches!(it, Use::Kept(..))),
        count(|it| matches!(it, Use::Blocked(..))),
        ledger.reservations().count(),
    )
}

/// Does it, but for the actions that need a second store.
///
/// # Errors
///
/// [`OperatorError`].
pub fn act(
    store: &mut dyn LeaseStore,
    action: &Action,
    now: Timestamp,
) -> Result<String, OperatorError> {
    match action {
        Action::Show => show(&store.to_ledger()?, now),
        Action::Verify => {
            let faults = store.faults()?;
            if !faults.is_empty() {
                return Err(OperatorError::Faults(faults));
            }
            Ok(format!(
                "{} leases, all fit together\n",
                store.to_ledger()?.leases().count()
            ))
        }
        Action::Reserve { address, owner } => {
            let held = store.use_of(*address, now)?.is_some();
            if held || store.reservation(*address)?.is_some() {
                return Err(OperatorError::InUse(*address));
            }
            store.commit(vec![Change::Reserve {
                address: *address,
                owner: owner.clone(),
            }])?;
            Ok(format!("{address} is set aside\n"))
        }
        Action::Quarantine { address, seconds } => {
            if store.use_of(*address, now)?.is_some() {
                return Err(OperatorError::InUse(*address));
            }
            store.commit(vec![Change::Block {
                address: *address,
                until: now.after(*seconds),
                why: Blocked::Quarantine,
            }])?;
            Ok(format!("{address} is given to nobody for {seconds} s\n"))
        }
        Action::Release { address, force } => release(store, *address, *force, now),
        Action::Import { directory } | Action::Export { directory } => Err(OperatorError::Usage(
            format!("`{directory}` needs a second store"),
        )),
    }
}

fn release(
    store: &mut dyn LeaseStore,
    address: IpAddr,
    force: bool,
    now: Timestamp,
) -> Result<String, OperatorError> {
    let mut changes = Vec::new();
    match store.use_of(address, now)? {
        Some(Use::Held(attachment)) if force => changes.push(Change::Release {
            attachment,
            after: After::Free,
        }),
        Some(Use::Held(attachment)) => {
            let holder = attachment.to_string();
            return Err(OperatorError::Held { address, holder });
        }
        Some(Use::Kept(key, _)) => changes.push(Change::Forget(key)),
        Some(Use::Blocked(..)) => changes.push(Change::Unblock(address)),
        None => {}
    }
    if store.reservation(address)?.is_some() {
        changes.push(Change::Unreserve(address));
    }
    if changes.is_empty() {
        return Err(OperatorError::Nothing(address));
    }
    store.commit(changes)?;
    Ok(format!("{address} is free\n"))
}

/// Reads leases from lines of address, container and interface; empty lines and those that start
/// with `#` are passed over.
///
/// # Errors
///
/// [`OperatorError::Line`], and [`OperatorError::Address`] or [`OperatorError::Name`].
pub fn read_list(text: &str) -> Result<Ledger, OperatorError> {
    let mut files = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace();
        let Some(address) = words.next().filter(|word| !word.starts_with('#')) else {
            continue;
        };
        let (Some(container), Some(interface), None) = (words.next(), words.next(), words.next())
        else {
            return Err(OperatorError::Line(index + 1));
        };
        parse_address(address)?;
        ContainerId::parse(container)?;
        InterfaceName::parse(interface)?;
        files.push((address, format!("{container}\r\n{interface}")));
    }
    let files = files
        .iter()
        .map(|(name, content)| (*name, content.as_str()));
    Ok(host_local::read(files))
}

/// Puts the leases of `from` into `to`, all or none.
///
/// # Errors
///
/// [`OperatorError::InUse`] when `to` has one of the addresses, [`OperatorError::Twice`] when two
/// leases of `from` have the same, [`OperatorError::Store`].
pub fn copy(
    from: &Ledger,
    to: &mut dyn LeaseStore,
    now: Timestamp,
) -> Result<String, OperatorError> {
    let leases: Vec<Lease> = from.leases().cloned().collect();
    let mut holders = BTreeMap::new();
    for lease in &leases {
        for address in &lease.addresses {
            if to.use_of(*address, now)?.is_some() {
                return Err(OperatorError::InUse(*address));
            }
            if let Some(one) = holders.insert(*address, &lease.attachment) {
                return Err(OperatorError::Twice {
                    address: *address,
                    one: one.to_string(),
                    other: lease.attachment.to_string(),
                });
            }
        }
    }
    let count = leases.len();
    let since = |lease: Lease| Lease {
        since: lease.since.max(now),
        ..lease
    };
    let mut changes: Vec<_> = leases.into_iter().map(since).map(Change::Hold).collect();
    changes.extend(from.cursors().map(|(set, address)| Change::Cursor {
        set: set.to_owned(),
        address,
    }));
    if !changes.is_empty() {
        to.commit(changes)?;
    }
    Ok(format!("{count} leases copied\n"))
}

fn show(ledger: &Ledger, now: Timestamp) -> Result<String, OperatorError> {
    let mut text = String::new();
    for (address, it) in ledger.uses().filter(|(_, it)| !it.is_over(now)) {
        let left = |until: Timestamp| until.0.saturating_sub(now.0);
        let line = match it {
            Use::Held(attachment) => {
                let lease = ledger.lease_of(attachment)?;
                let sticky = lease.and_then(|lease| lease.sticky);
                let owner = sticky.map(|key| format!(" of {}", key.owner));
                format!("held by {attachment}{}", owner.unwrap_or_default())
            }
            Use::Kept(key, None) => format!("kept for {}", key.owner),
            Use::Kept(key, Some(until)) => format!("kept for {}, {} s", key.owner, left(*until)),
            Use::Blocked(Blocked::CoolDown, until) => format!("cooling down, {} s", left(*until)),
            Use::Blocked(Blocked::Quarantine, until) => {
                format!("in quarantine, {} s", left(*until))
            }
        };
        let _ = writeln!(text, "{address:<39} {line}");
    }
    for (address, owner) in ledger.reservations() {
        let owner = owner.map_or("nobody", Owner::as_str);
        let _ = writeln!(text, "{address:<39} set aside for {owner}");
    }
    Ok(text)
}
