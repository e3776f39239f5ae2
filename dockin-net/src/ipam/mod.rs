//! Which addresses an attachment gets.
//!
//! *Static*: those that the configuration or the runtime names; nothing is remembered.
//!
//! *Pool*: the next free ones of the configured ranges; leases are kept in a
//! [`LeaseStore`], in our own form or in that of the reference's `host-local`. `ipam` knows, beside
//! the keys of the latter:
//!
//! | key | means |
//! | --- | --- |
//! | `mode` | `static` or `pool`; without it ranges make it a pool |
//! | `pools` | several pools, each with a `name` and these keys; the first that can gives |
//! | `exclude` | addresses, `first-last` or networks that are never given |
//! | `reservations` | `{address, for}`: set aside, `for` one `namespace/pod` or for nobody |
//! | `sticky` | `never`, `pod` or `workload`: who gets the same address again |
//! | `stickySeconds` | for how long after the release; for ever when absent |
//! | `coolDownSeconds` | for how long a released address is given to nobody |
//! | `collectAfterSeconds` | how young a lease survives a `GC` with an empty list; 60 |
//! | `store` | the pools are shared with other nodes: [`StoreConfig`], [`blocks`](crate::blocks) |

mod pool_config;
mod pool_mode;
mod shared_mode;
mod static_mode;
mod store_config;

pub use pool_config::DATA_DIR;
use pool_config::Mode;
use pool_mode::PoolMode;
pub use shared_mode::Shared;
use static_mode::Wanted;
pub use store_config::StoreConfig;

use crate::{
    AddressError, Attachment,
    blocks::Share,
    cni::{self, CniError, CniResult, Environment, ErrorCode, Outcome, Plugin, Request},
    lease::Timestamp,
    store::{LeaseStore, Place, StoreError},
};

/// What an address plugin touches outside itself.
pub trait World {
    /// Is the namespace at `path` the one this process runs in? A path that leads nowhere is not.
    fn is_own_namespace(&mut self, path: &str) -> bool;

    /// The time.
    fn now(&mut self) -> Timestamp;

    /// What tells this start of the machine from others, where that is known.
    fn boot_id(&mut self) -> Option<String>;

    /// Opens and locks the leases of a network.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn open(&mut self, place: &Place) -> Result<Box<dyn LeaseStore>, StoreError>;

    /// Opens a node's share of a network's pools.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; where there is none, always.
    fn share(
        &mut self,
        place: &Place,
        _config: &StoreConfig,
    ) -> Result<Box<dyn Share>, StoreError> {
        Err(StoreError::Io {
            path: place.directory.clone(),
            message: "stores of several nodes (`ipam.store`) are not in this build".into(),
        })
    }

    /// The text of a file that the configuration names.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    fn read_text(&mut self, path: &str) -> Result<String, StoreError>;
}

/// Answers one call of the address plugin.
pub fn run(environment: &Environment, stdin: &[u8], world: &mut dyn World) -> Outcome {
    let about = concat!(
        "dockin-ipam ",
        env!("CARGO_PKG_VERSION"),
        "; operators: dockin-ipam pool --help"
    );
    cni::run(environment, stdin, about, &mut Ipam { world })
}

struct Ipam<'a> {
    world: &'a mut dyn World,
}

impl Ipam<'_> {
    fn pool_mode(&mut self, request: &Request<'_>) -> Result<Option<PoolMode<'_>>, CniError> {
        Ok(match Mode::of(request)? {
            Mode::Static => None,
            Mode::Pool(format) => Some(PoolMode {
                world: self.world,
                format,
            }),
        })
    }
}

impl Plugin for Ipam<'_> {
    fn add(&mut self, request: &Request<'_>, of: &Attachment) -> Result<CniResult, CniError> {
        match self.pool_mode(request)? {
            Some(mut mode) => mode.add(request, of),
            None => Wanted::read(request).map(Wanted::into_result),
        }
    }

    fn del(&mut self, request: &Request<'_>, of: &Attachment) -> Result<(), CniError> {
        match self.pool_mode(request)? {
            Some(mut mode) => mode.del(request, of),
            None => Ok(()),
        }
    }

    fn check(&mut self, request: &Request<'_>, of: &Attachment) -> Result<(), CniError> {
        match self.pool_mode(request)? {
            Some(mut mode) => mode.check(request, of),
            None => Wanted::read(request)?.check(request, of),
        }
    }

    fn collect(&mut self, request: &Request<'_>) -> Result<(), CniError> {
        match self.pool_mode(request)? {
            Some(mut mode) => mode.collect(request),
            None => Ok(()),
        }
    }

    fn status(&mut self, request: &Request<'_>) -> Result<(), CniError> {
        match self.pool_mode(request)? {
            Some(mut mode) => mode.status(request),
            None => Ok(()),
        }
    }

    fn is_own_namespace(&mut self, path: &str) -> bool {
        self.world.is_own_namespace(path)
    }
}

/// An address in a field: the reference's code for all of them but the one kind it lets through.
fn address_error(path: &str, error: &AddressError) -> CniError {
    let code = match error {
        AddressError::MappedPrefix(_) => ErrorCode::INVALID_CONFIG,
        _ => ErrorCode::INTERNAL,
    };
    CniError::new(code, format!("`{path}`: {error}"))
}
