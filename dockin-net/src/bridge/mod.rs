//! A bridge network made by ourselves: what the reference's `bridge` plugin makes, without a
//! second program.
//!
//! A call reads what is there, makes a [plan](plan()) of [`Step`]s and has the [`World`] carry it
//! out; when a step fails, those before it are undone in reverse order. Nothing is written down:
//! the pair's name on the host is a function of network, container and interface, its link group
//! one of the network, and packet filter rules carry their [`Owner`], so `DEL` and `GC` find
//! everything after a crash as well.
//!
//! The configuration is that of the reference ([`BridgeConfig`] has the keys). What differs:
//!
//! - the address plugin runs first and the container's end gets a hardware address that belongs to
//!   its address, unless one is given;
//! - IPv6 addresses are usable at once, untested as in the reference, because the address plugin
//!   gives each once; `optimisticDad` has the kernel test them meanwhile (RFC 4429), `enabledad`
//!   waits for the test and fails when somebody else has the address; the link-local address that the
//!   kernel makes is tested after `ADD`, also beside IPv4 alone;
//! - neighbours that remember the address under another hardware address are told;
//! - `conflictProbe` asks on the network who has an IPv4 address before it is used (RFC 5227);
//! - `ipMasq` and `macspoofchk` are rules of nftables in tables of their own, called `dockin`;
//! - `vlan` or `vlanTrunk` together with `isGateway` is refused: `"driver": "exec"` has it done.

mod check;
mod config;
mod link;
mod mac;
mod plan;
mod plugin;
mod step;

pub use config::BridgeConfig;
pub use link::{Assigned, KernelRoute, Link, Place};
pub use mac::{Mac, MacError};
pub use plan::{Names, complete, plan};
pub use step::{Detection, Owner, Step};

use plugin::Bridge;
use thiserror::Error;

use crate::{
    StoreError,
    cni::{self, Environment, Json, Outcome},
    meta::Ran,
};

/// Why the kernel did not do something.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum KernelError {
    /// It is there already.
    #[error("it is there already")]
    Exists,
    /// This process may not.
    #[error("not allowed: the plugin must run as root with CAP_NET_ADMIN")]
    Denied,
    /// The kernel was built without it.
    #[error("this kernel cannot do it")]
    Unsupported,
    /// Somebody else has the address.
    #[error("{0} has the address")]
    Taken(Mac),
    /// The kernel's test found the address elsewhere.
    #[error("somebody else has the address")]
    Duplicate,
    /// It did not happen in time.
    #[error("it did not happen in {0} milliseconds")]
    TooLate(u32),
    /// Everything else the kernel says.
    #[error("{0}")]
    Other(String),
}

/// What became of a list of steps.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Applied {
    /// Those that were done, in order. After a failure some behind the failed one may be among
    /// them: steps are sent to the kernel together.
    pub done: Vec<Step>,
    /// The first that failed.
    pub failed: Option<(Step, KernelError)>,
}

/// What a bridge network touches outside itself.
pub trait World {
    /// Is the namespace at `path` the one this process runs in? A path that leads nowhere is not.
    fn is_own_namespace(&mut self, path: &str) -> bool;

    /// Runs an address plugin with exactly these variables.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] when there is none of that name, or it cannot be started.
    fn allocate(
        &mut self,
        plugin: &str,
        environment: &Environment,
        stdin: &[u8],
    ) -> Result<Ran, StoreError>;

    /// Opens the container's namespace for the calls to come; false when the path leads nowhere.
    ///
    /// # Errors
    ///
    /// [`KernelError`].
    fn enter(&mut self, netns: &str) -> Result<bool, KernelError>;

    /// Carries out steps in order, at least up to the first that fails.
    fn apply(&mut self, steps: &[Step]) -> Applied;

    /// An interface without its addresses, `None` when there is none of that name.
    ///
    /// # Errors
    ///
    /// [`KernelError`].
    fn link(&mut self, place: Place, name: &str) -> Result<Option<Link>, KernelError>;

    /// An interface as this call has seen it last, which for what this call made is as it is;
    /// `None` when it was not seen since this call changed it.
    fn seen(&mut self, place: Place, name: &str) -> Option<Link>;

    /// The addresses of an interface.
    ///
    /// # Errors
    ///
    /// [`KernelError`].
    fn addresses(&mut self, place: Place, link: &Link) -> Result<Vec<Assigned>, KernelError>;

    /// The routes of the container.
    ///
    /// # Errors
    ///
    /// [`KernelError`].
    fn routes(&mut self) -> Result<Vec<KernelRoute>, KernelError>;

    /// The names of the host's interfaces in a link group.
    ///
    /// # Errors
    ///
    /// [`KernelError`].
    fn group(&mut self, group: u32) -> Result<Vec<String>, KernelError>;

    /// The owners of our packet filter rules.
    ///
    /// # Errors
    ///
    /// [`KernelError`].
    fn owners(&mut self) -> Result<Vec<Owner>, KernelError>;
}

/// Is this the configuration of a bridge network, and not of `dockin-cni`? The `type` is `bridge`
/// or `dockin-bridge`, the names under which the program is installed.
#[must_use]
pub fn is_bridge(stdin: &[u8]) -> bool {
    let Ok(config) = Json::parse(stdin) else {
        return false;
    };
    let root = config.root();
    let kind = root.get("type").and_then(|field| field.string());
    matches!(kind, Ok(Some("bridge" | "dockin-bridge")))
}

/// Answers one call for a bridge network.
pub fn run(environment: &Environment, stdin: &[u8], world: &mut dyn World) -> Outcome {
    let about = concat!("dockin-bridge ", env!("CARGO_PKG_VERSION"));
    cni::run(environment, stdin, about, &mut Bridge { world })
}
