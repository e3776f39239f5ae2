use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::{io_error, lock, replace, sync_names};
use crate::{
    AsLedger, Change, LeaseStore, Ledger, Page, StoreError,
    host_local::{self, FileStep},
};

/// A directory of the reference's `host-local`, locked as it locks it.
#[derive(Debug)]
pub struct HostLocalStore {
    directory: PathBuf,
    ledger: Ledger,
    _lock: File,
}

impl HostLocalStore {
    /// Makes the directory when it is not there, waits for its lock and reads it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let lock = lock(directory)?;
        let files = read(directory).map_err(|error| io_error(directory, &error))?;
        Ok(Self {
            directory: directory.into(),
            ledger: host_local::read(files.iter().map(|(a, b)| (a.as_str(), b.as_str()))),
            _lock: lock,
        })
    }
}

fn read(directory: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && name != "lock"
            && entry.file_type()?.is_file()
        {
            let content = std::fs::read(entry.path())?;
            files.insert(name, String::from_utf8_lossy(&content).into_owned());
        }
    }
    Ok(files)
}

impl AsLedger for HostLocalStore {
    fn as_ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl LeaseStore for HostLocalStore {
    fn page(&self, _from: u32) -> Result<Page, StoreError> {
        let leases = self.ledger.leases().cloned().collect();
        Ok(Page { leases, next: None })
    }

    fn to_ledger(&self) -> Result<Ledger, StoreError> {
        Ok(self.ledger.clone())
    }

    fn commit(&mut self, changes: Vec<Change>) -> Result<(), StoreError> {
        let mut after = self.ledger.clone();
        for change in &changes {
            after.apply(change);
        }
        for step in host_local::steps(&self.ledger, &after, &changes) {
            match step {
                FileStep::Write { name, content } => {
                    replace(&self.directory, &name, content.as_bytes())?;
                }
                FileStep::Remove { name } => {
                    let path = self.directory.join(name);
                    match std::fs::remove_file(&path) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => {
                            return Err(io_error(&path, &error));
                        }
                        _ => {}
                    }
                }
            }
        }
        sync_names(&self.directory)?;
        self.ledger = after;
        Ok(())
    }
}
