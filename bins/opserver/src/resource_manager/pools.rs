//! Where the addresses given are kept: files of this server, or an etcd that several share.

use dockin_core::Error;
use dockin_net::{
    Format, NetworkName, Place, StoreError, Timestamp,
    blocks::Names,
    io::{Etcd, Host},
    ipam::{self, StoreConfig},
    resource_manager::{LeaseRegister, Register, SharedRegister, World},
};

use super::config::{ResourceManager, misuse};

/// The registers of all networks, for one call each.
#[derive(Clone, Debug)]
pub(super) enum Pools {
    Directory(String),
    Shared(Box<StoreConfig>),
}

impl Pools {
    pub(super) fn open(config: &ResourceManager) -> Result<Self, Error> {
        match (config.store()?, &config.data) {
            (Some(store), _) => Ok(Self::Shared(Box::new(store))),
            (None, Some(data)) => Ok(Self::Directory(data.display().to_string())),
            (None, None) => Err(misuse("`resource_manager.data` is missing")),
        }
    }
}

impl World for Pools {
    fn now(&mut self) -> Timestamp {
        ipam::World::now(&mut Host)
    }

    fn open(&mut self, network: &str) -> Result<Box<dyn Register>, StoreError> {
        match self {
            Self::Directory(directory) => {
                let wrong = |error: dockin_net::NameError| StoreError::Io {
                    path: directory.clone(),
                    message: error.to_string(),
                };
                let place = Place {
                    directory: directory.clone(),
                    network: NetworkName::parse(network).map_err(wrong)?,
                    format: Format::Table,
                };
                let leases = ipam::World::open(&mut Host, &place)?;
                Ok(Box::new(LeaseRegister::new(leases)))
            }
            Self::Shared(config) => {
                let names = Names::new(&config.prefix, network);
                let store = Box::new(Etcd::new(config));
                Ok(Box::new(SharedRegister::new(store, names)))
            }
        }
    }
}
