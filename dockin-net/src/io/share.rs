use std::path::PathBuf;

use super::{io_error, replace, store_process::StoreProcess, sync_names};
use crate::{
    NetworkName, StoreError,
    blocks::{Share, Store},
    ipam::StoreConfig,
};

/// The file beside a network's leases.
const FILE: &str = "share";

/// A node's share of one network in its directory, and the store.
pub(super) struct FileShare {
    directory: PathBuf,
    store: StoreProcess,
    node: String,
}

impl FileShare {
    pub(super) fn open(
        directory: &str,
        network: &NetworkName,
        config: &StoreConfig,
    ) -> Result<Self, StoreError> {
        let directory = PathBuf::from(directory).join(network.as_str());
        std::fs::create_dir_all(&directory).map_err(|error| io_error(&directory, &error))?;
        let node = match &config.node {
            Some(node) => node.clone(),
            None => read("/proc/sys/kernel/hostname")?,
        };
        Ok(Self {
            directory,
            store: StoreProcess::new(config),
            node,
        })
    }
}

impl Share for FileShare {
    fn node(&self) -> &str {
        &self.node
    }

    fn load(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.directory.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(&path, &error)),
        }
    }

    fn save(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        replace(&self.directory, FILE, bytes)?;
        sync_names(&self.directory)
    }

    fn new_instance(&mut self) -> Result<String, StoreError> {
        read("/proc/sys/kernel/random/uuid")
    }

    fn elapsed(&mut self) -> Result<u64, StoreError> {
        let path = "/proc/uptime";
        let text = read(path)?;
        // Seconds with two decimals, also of the time that the machine slept.
        let digits: String = text.chars().take_while(|it| *it != ' ').collect();
        let parsed = digits.replace('.', "").parse::<u64>();
        let hundredths = parsed.map_err(|error| StoreError::Damaged {
            path: path.into(),
            message: error.to_string(),
        })?;
        Ok(hundredths * 10)
    }

    fn store(&mut self) -> &mut dyn Store {
        &mut self.store
    }
}

fn read(path: &str) -> Result<String, StoreError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| io_error(path.as_ref(), &error))?;
    Ok(text.trim().to_owned())
}
