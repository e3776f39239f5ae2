use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal},
};

use super::process_table::ProcessKey;

/// Sends `signals` to exactly that process; a process that is gone is no failure.
///
/// The descriptor pins the process before its start time is compared, so the pid cannot change
/// its owner in between. Kernels before 5.3 have no such descriptors and keep a gap of
/// microseconds.
pub(super) fn send(process: ProcessKey, signals: &[Signal]) {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(descriptor) => Some(descriptor),
        Err(Errno::NOSYS | Errno::PERM) => None,
        Err(_) => return,
    };
    if ProcessKey::of(process.pid) != Some(process) {
        return;
    }
    for signal in signals {
        let sent = match &descriptor {
            Some(descriptor) => pidfd_send_signal(descriptor, *signal),
            None => kill_process(pid, *signal),
        };
        if let Err(error) = sent
            && error != Errno::SRCH
        {
            tracing::debug!(pid = process.pid, %error, "signal not sent");
        }
    }
}
