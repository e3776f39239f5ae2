//! Adapters: the only code here that touches the machine.
#![expect(
    clippy::disallowed_methods,
    reason = "an adapter reads files and the clock, so that nothing else has to"
)]

#[cfg(feature = "exec")]
mod ask;
#[cfg(feature = "etcd")]
mod etcd;
mod file;
mod host;
mod host_local;
#[cfg(feature = "exec")]
mod http;
#[cfg(feature = "netlink")]
mod netlink;
#[cfg(feature = "exec")]
mod plugins;
mod process;
#[cfg(feature = "etcd")]
mod share;
#[cfg(feature = "etcd")]
mod store_process;
#[cfg(feature = "exec")]
mod tls;

#[cfg(feature = "exec")]
pub use ask::{ASK_LATER, answer_question};
#[cfg(feature = "etcd")]
pub use etcd::Etcd;
pub use file::FileDisk;
pub use host::{Host, networks};
pub use host_local::HostLocalStore;
#[cfg(feature = "netlink")]
pub use netlink::BridgeHost;
pub use process::answer;
#[cfg(feature = "etcd")]
pub use store_process::serve_store;

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write},
    path::Path,
};

use crate::StoreError;

fn io_error(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Io {
        path: path.display().to_string(),
        message: error.to_string(),
    }
}

/// Makes the directory and takes its lock, which goes with the file that is returned.
fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join("lock");
    let open = || {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
    };
    // All calls but the first find the directory.
    let file = match open() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::fs::create_dir_all(directory).map_err(|error| io_error(directory, &error))?;
            open()
        }
        opened => opened,
    };
    let file = file.map_err(|error| io_error(&path, &error))?;
    file.lock().map_err(|error| io_error(&path, &error))?;
    Ok(file)
}

/// Puts a file in the place of another: durable, and at every moment one or the other.
fn replace(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let path = directory.join(name);
    let beside = directory.join(format!(".{name}.new"));
    let put = || -> io::Result<()> {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        std::fs::rename(&beside, &path)
    };
    put().map_err(|error| io_error(&path, &error))
}

/// Makes the names in a directory durable.
fn sync_names(directory: &Path) -> Result<(), StoreError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| io_error(directory, &error))
}
