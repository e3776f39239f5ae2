//! The directory of the reference's `host-local`: one file an address, named by it, which holds
//! the container and the interface, and `last_reserved_ip.<set>` for each set.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    Attachment, Ledger,
    lease::{Change, Lease, Timestamp},
};

const CURSOR: &str = "last_reserved_ip.";

/// What is to be done to a file of the directory.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FileStep {
    /// It has this content.
    Write {
        /// Its name.
        name: String,
        /// What it holds.
        content: String,
    },
    /// It is gone.
    Remove {
        /// Its name.
        name: String,
    },
}

/// Reads the directory's files, as pairs of name and content.
///
/// A file that a crash left empty holds no lease. What is no address and no cursor is passed over.
#[must_use]
pub fn read<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Ledger {
    let mut ledger = Ledger::default();
    let mut held: BTreeMap<Attachment, Vec<IpAddr>> = BTreeMap::new();
    for (name, content) in files {
        if let Some(set) = name.strip_prefix(CURSOR) {
            if let Ok(address) = content.trim().parse() {
                let set = set.to_owned();
                ledger.apply(&Change::Cursor { set, address });
            }
        } else if let Ok(address) = name.parse()
            && let Some(attachment) = read_owner(content)
        {
            held.entry(attachment).or_default().push(address);
        }
    }
    for (attachment, addresses) in held {
        ledger.apply(&Change::Hold(Lease {
            attachment,
            addresses,
            sticky: None,
            since: Timestamp(0),
        }));
    }
    ledger
}

fn read_owner(content: &str) -> Option<Attachment> {
    let mut lines = content.trim().lines().map(str::trim);
    let container = lines.next().filter(|line| !line.is_empty())?;
    Some(Attachment::stored(container, lines.next().unwrap_or("")))
}

/// The files that make the directory of `before` that of `after`; removals come first.
#[must_use]
pub fn steps(before: &Ledger, after: &Ledger, cursors: &[Change]) -> Vec<FileStep> {
    let old = files(before);
    let new = files(after);
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    let mut steps: Vec<_> = gone
        .map(|name| FileStep::Remove { name: name.clone() })
        .collect();
    for (name, content) in new {
        if old.get(&name) != Some(&content) {
            steps.push(FileStep::Write { name, content });
        }
    }
    for change in cursors {
        if let Change::Cursor { set, address } = change {
            steps.push(FileStep::Write {
                name: format!("{CURSOR}{set}"),
                content: address.to_string(),
            });
        }
    }
    steps
}

/// The files of all leases.
#[must_use]
pub fn files(ledger: &Ledger) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for lease in ledger.leases() {
        let container = lease.attachment.container_id().as_str();
        let content = match lease.attachment.interface() {
            Some(interface) => format!("{container}\r\n{}", interface.as_str()),
            None => container.to_owned(),
        };
        for address in &lease.addresses {
            files.insert(address.to_string(), content.clone());
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::{FileStep, files, read, steps};

    #[test]
    fn a_directory_reads_back() {
        let ledger = read([
            ("10.1.2.5", "c1\r\neth0"),
            ("fd00::5", "c1\r\neth0"),
            ("10.1.2.6", "old"),
            ("10.1.2.7", ""),
            ("lock", ""),
            ("last_reserved_ip.0", "10.1.2.6"),
            ("last_reserved_ip.1", "zzz"),
        ]);
        assert_eq!(ledger.leases().count(), 2);
        let cursors: Vec<_> = ledger.cursors().collect();
        assert_eq!(cursors, [("0", "10.1.2.6".parse().unwrap())]);
        let names: Vec<_> = files(&ledger).into_keys().collect();
        assert_eq!(names, ["10.1.2.5", "10.1.2.6", "fd00::5"]);
        assert_eq!(
            steps(&ledger, &read([("10.1.2.6", "old")]), &[]),
            ["10.1.2.5", "fd00::5"].map(|name| FileStep::Remove { name: name.into() })
        );
    }
}
