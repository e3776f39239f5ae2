//! How the daemons of the tests end.

use std::{
    path::Path,
    process::{Child, Command},
    thread,
    time::Duration,
};

/// Tells `daemon` to end, which it may take ten seconds for, and unmounts what it leaves mounted
/// below `home`. Its containers must be gone: they outlive it.
pub(crate) fn end(daemon: &mut Child, home: &Path) {
    let _told = Command::new("kill").arg(daemon.id().to_string()).status();
    for _ in 0..40 {
        if matches!(daemon.try_wait(), Ok(Some(_))) {
            break;
        }
        thread::sleep(Duration::from_millis(250));
    }
    let _killed = daemon.kill();
    let _reaped = daemon.wait();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let below = home.display().to_string();
    for mount in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        if mount.starts_with(&below) {
            let _unmounted = Command::new("umount").arg("-l").arg(mount).status();
        }
    }
}
