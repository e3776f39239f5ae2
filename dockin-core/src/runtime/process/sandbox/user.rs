use std::fs;

use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{SigSet, Signal},
    unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid},
};
use rustix::{
    process::{DumpableBehavior, set_dumpable_behavior},
    thread::{
        CapabilitiesSecureBits, CapabilitySet, CapabilitySets, remove_capability_from_bounding_set,
        set_capabilities, set_capabilities_secure_bits, set_no_new_privs,
    },
};

use super::step;

/// `nobody`: who a sandbox's processes are for the machine when the agent is root.
const NOBODY: u32 = 65_534;

/// The user id that the sandbox's processes have on this machine, when it is not the agent's own.
pub(crate) fn sandbox_user() -> Option<u32> {
    geteuid().is_root().then_some(NOBODY)
}

/// Gives up root for good. Root inside a sandbox must not be root for the machine: many files
/// of `/proc` and `/sys` ask for the user id only.
pub(super) fn leave_root() -> Result<(), String> {
    if let Some(user) = sandbox_user() {
        step(setgroups(&[]), "cannot leave the groups")?;
        let group = Gid::from_raw(user);
        step(setresgid(group, group, group), "cannot become group nobody")?;
        let user = Uid::from_raw(user);
        step(setresuid(user, user, user), "cannot become nobody")?;
        // A change of user makes /proc/self root's, and the id maps are written there.
        step(
            set_dumpable_behavior(DumpableBehavior::Dumpable),
            "cannot be seen in /proc",
        )?;
    }
    Ok(())
}

/// Makes the namespaces of a sandbox, with this user as root in them.
pub(super) fn make_namespaces() -> Result<(), String> {
    let (user, group) = (geteuid(), nix::unistd::getegid());
    step(
        unshare(CloneFlags::CLONE_NEWUSER),
        "user namespaces are not allowed here",
    )?;
    // The kernel wants this before an unprivileged group map.
    step(
        fs::write("/proc/self/setgroups", "deny"),
        "cannot deny setgroups",
    )?;
    step(
        fs::write("/proc/self/uid_map", format!("0 {user} 1")),
        "cannot map the user",
    )?;
    step(
        fs::write("/proc/self/gid_map", format!("0 {group} 1")),
        "cannot map the group",
    )?;
    let others = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    step(unshare(others), "namespaces are not allowed here")
}

/// Gives up every capability for this process and all it starts. Without this, root in the
/// sandbox could make the machine's directories writable again.
pub(super) fn drop_capabilities() -> Result<(), String> {
    step(set_no_new_privs(true), "cannot set no_new_privs")?;
    let bits = CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::NO_ROOT_LOCKED;
    step(
        set_capabilities_secure_bits(bits),
        "cannot set the secure bits",
    )?;
    for capability in CapabilitySet::all().iter() {
        // A kernel older than this list does not know the last ones.
        let _ = remove_capability_from_bounding_set(capability);
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    step(
        set_capabilities(None, none),
        "cannot give up the capabilities",
    )
}

/// Leaves the polite signals pending for this process and all it starts, until
/// [`receive_signals`].
///
/// Helpers end when what they watch has ended; dying earlier would lose its exit code and set its
/// orphans free. They still die of KILL.
pub(super) fn outlive_signals() -> Result<(), String> {
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
    ] {
        set.add(signal);
    }
    step(set.thread_block(), "cannot block signals")
}

/// Lets every signal through, whatever the helpers or the agent block.
pub(super) fn receive_signals() -> Result<(), String> {
    step(SigSet::empty().thread_set_mask(), "cannot unblock signals")
}
