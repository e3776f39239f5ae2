use std::{
    io::{ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{FileDisk, HostLocalStore, io_error};
use crate::{
    Format, LeaseStore, LeaseTable, NetworkName, Place, StoreError, Timestamp, ipam::World,
};

/// The machine this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host;

impl World for Host {
    fn is_own_namespace(&mut self, path: &str) -> bool {
        let identity = |path| std::fs::metadata(path).map(|it| (it.dev(), it.ino()));
        identity(path).is_ok_and(|theirs| {
            identity("/proc/thread-self/ns/net").is_ok_and(|ours| theirs == ours)
        })
    }

    fn now(&mut self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Timestamp(since.map_or(0, |since| since.as_secs()))
    }

    fn boot_id(&mut self) -> Option<String> {
        let mut file = std::fs::File::open("/proc/sys/kernel/random/boot_id").ok()?;
        // 36 characters, which the kernel gives at once.
        let mut id = [0; 64];
        let length = file.read(&mut id).ok()?;
        let id = std::str::from_utf8(id.get(..length)?).ok()?;
        Some(id.trim().to_owned()).filter(|id| !id.is_empty())
    }

    fn open(&mut self, place: &Place) -> Result<Box<dyn LeaseStore>, StoreError> {
        let directory = Path::new(&place.directory).join(place.network.as_str());
        Ok(match place.format {
            Format::HostLocal => Box::new(HostLocalStore::open(&directory)?),
            Format::Table => Box::new(LeaseTable::open(FileDisk::open(&directory)?)?),
        })
    }

    #[cfg(feature = "etcd")]
    fn share(
        &mut self,
        place: &Place,
        config: &crate::ipam::StoreConfig,
    ) -> Result<Box<dyn crate::blocks::Share>, StoreError> {
        let share = super::share::FileShare::open(&place.directory, &place.network, config)?;
        Ok(Box::new(share))
    }

    fn read_text(&mut self, path: &str) -> Result<String, StoreError> {
        std::fs::read_to_string(path).map_err(|error| io_error(Path::new(path), &error))
    }
}

/// The networks that have leases in `directory`, by name; none when it is not there. Directories
/// that are not of ours are passed over: to open them would put files into them.
///
/// # Errors
///
/// [`StoreError::Io`].
pub fn networks(directory: &Path) -> Result<Vec<NetworkName>, StoreError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error(directory, &error)),
    };
    let mut networks = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| io_error(directory, &error))?;
        let name = entry.file_name().into_string().ok();
        let network = name.and_then(|name| NetworkName::parse(&name).ok());
        networks.extend(network.filter(|_| FileDisk::is_in(&entry.path())));
    }
    networks.sort();
    Ok(networks)
}
