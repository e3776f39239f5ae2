use std::{fs, io};

/// Makes sure that `pid`, as the daemon gave it, is a process of `container` here too.
///
/// It need not be: the number may have been given to another process since, and an agent that
/// does not share the host's process namespace sees an unrelated process under it, or none.
///
/// # Errors
///
/// It is none, or cannot be told.
pub(super) fn check(pid: u32, container: &str) -> io::Result<()> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    if !container.is_empty() && groups.contains(container) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "process {pid} is not in the container's control group"
    )))
}
