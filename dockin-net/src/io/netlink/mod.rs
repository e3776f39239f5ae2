//! The kernel's network, over netlink.
//!
//! Messages are written by a small encoder of our own. Of the crates for rtnetlink the light ones
//! write one message a call, while an attachment is fast because its messages go to the kernel
//! together; for the packet filter there is none at all: libnftnl's bindings need C, and
//! `rustables` has a licence we cannot take. Both protocols are the same attributes in the same
//! frame, so one file of 300 lines serves them, and nothing of it is unsafe: sockets and `setns`
//! are those of `nix`.
//!
//! A call makes few trips: one to find the bridge, one that makes both ends of the pair in their
//! namespaces, one for the container's addresses and routes, one to see that the port carries
//! packets, one to announce the addresses. The socket for the container's namespace is opened while this
//! thread is in it; a socket speaks for the namespace it was opened in. The same socket hears when
//! the kernel has taken an IPv6 address into use, which it does after it has answered.

mod advertise;
mod kernel;
mod message;
mod nftables;
mod probe;
mod route;
mod socket;

use super::Host;
use crate::{
    StoreError,
    bridge::{Applied, Assigned, KernelError, KernelRoute, Link, Owner, Place, Step, World},
    cni::{Environment, Outcome},
    ipam, meta,
};

use kernel::Kernel;

/// The machine this process runs on, for bridge networks.
#[derive(Debug, Default)]
pub struct BridgeHost {
    kernel: Kernel,
}

impl World for BridgeHost {
    fn is_own_namespace(&mut self, path: &str) -> bool {
        self.kernel.is_home(path)
    }

    /// `dockin-ipam` is called and not run: it is this program's own library.
    fn allocate(
        &mut self,
        plugin: &str,
        environment: &Environment,
        stdin: &[u8],
    ) -> Result<meta::Ran, StoreError> {
        if plugin == "dockin-ipam" {
            return Ok(ran(ipam::run(environment, stdin, &mut Host)));
        }
        let directories: Vec<_> = environment.path.split(':').map(str::to_owned).collect();
        let program = meta::World::find(&mut Host, plugin, &directories);
        let program = program.ok_or_else(|| StoreError::Io {
            path: plugin.into(),
            message: format!("no such plugin in `{}`", environment.path),
        })?;
        meta::World::execute(&mut Host, &program, environment, stdin)
    }

    fn enter(&mut self, netns: &str) -> Result<bool, KernelError> {
        self.kernel.enter(netns)
    }

    fn apply(&mut self, steps: &[Step]) -> Applied {
        self.kernel.apply(steps)
    }

    fn link(&mut self, place: Place, name: &str) -> Result<Option<Link>, KernelError> {
        self.kernel.link(place, name)
    }

    fn seen(&mut self, place: Place, name: &str) -> Option<Link> {
        self.kernel.seen(place, name)
    }

    fn addresses(&mut self, place: Place, link: &Link) -> Result<Vec<Assigned>, KernelError> {
        self.kernel.addresses(place, link.index)
    }

    fn routes(&mut self) -> Result<Vec<KernelRoute>, KernelError> {
        self.kernel.routes()
    }

    fn group(&mut self, group: u32) -> Result<Vec<String>, KernelError> {
        self.kernel.group(group)
    }

    fn owners(&mut self) -> Result<Vec<Owner>, KernelError> {
        self.kernel.owners()
    }
}

/// What a library call printed, as if a program had been run.
pub(super) fn ran(outcome: Outcome) -> meta::Ran {
    meta::Ran {
        stdout: outcome.stdout.into_bytes(),
        success: outcome.exit_code == 0,
    }
}
