use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// Prefix of the names of the control groups made here.
const PREFIX: &str = "dockin-";

/// The control group of a session by name, relative to its container's: `pids:dockin-1`, or without
/// a controller in version 2. As runc's `exec --cgroup` takes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupName {
    controller: &'static str,
    name: String,
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.controller {
            "" => f.write_str(&self.name),
            controller => write!(f, "{controller}:{}", self.name),
        }
    }
}

/// A control group of one session: processes inherit it and cannot leave it by forking.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ControlGroup {
    directory: PathBuf,
}

impl ControlGroup {
    /// Makes the group `dockin-<session>` below the group that `pid` is in.
    ///
    /// # Errors
    ///
    /// No hierarchy is mounted, or it does not allow this user to make groups; both are normal.
    pub(super) fn create(pid: u32, session: &str) -> io::Result<Self> {
        Self::create_named(pid, session).map(|(group, _)| group)
    }

    /// As [`create`](Self::create), with the name.
    pub(super) fn create_named(pid: u32, session: &str) -> io::Result<(Self, GroupName)> {
        let (controller, parent) = own_directory(pid)?;
        let name = format!("{PREFIX}{session}");
        let named = |directory| {
            let name = name.clone();
            (Self { directory }, GroupName { controller, name })
        };
        // A root that an earlier root's group already holds.
        if parent.file_name().is_some_and(|last| *last == *name) {
            return Ok(named(parent));
        }
        let directory = parent.join(&name);
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(named(directory)),
        }
    }

    /// A group that another process made; `None` when the path is not that of such a group.
    pub(super) fn reopen(directory: &str) -> Option<Self> {
        let directory = PathBuf::from(directory);
        let name = directory.file_name()?.to_str()?;
        (name.starts_with(PREFIX) && directory.is_absolute()).then_some(Self { directory })
    }

    /// Where it is.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Moves a process in, with all its threads.
    ///
    /// # Errors
    ///
    /// It is gone, or may not be moved.
    pub(super) fn add(&self, pid: u32) -> io::Result<()> {
        fs::write(self.directory.join("cgroup.procs"), pid.to_string())
    }

    /// The processes in it and in groups below it.
    pub(super) fn pids(&self) -> Vec<u32> {
        let mut pids = Vec::new();
        for directory in self.tree() {
            let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            let listed = text.lines().filter_map(|line| line.parse::<u32>().ok());
            // 0 stands for a process of a pid namespace that is not ours.
            pids.extend(listed.filter(|pid| *pid != 0));
        }
        pids
    }

    /// Lets the kernel kill all members at once; only version 2 can.
    pub(super) fn kill(&self) {
        let file = self.directory.join("cgroup.kill");
        if file.exists() {
            let _ = fs::write(file, "1");
        }
    }

    /// Removes it and groups below it. Whether it is gone; members that are still alive keep it.
    pub(super) fn remove(&self) -> bool {
        for directory in self.tree().into_iter().rev() {
            let _ = fs::remove_dir(directory);
        }
        !self.directory.exists()
    }

    /// Itself and all groups below, parents first.
    fn tree(&self) -> Vec<PathBuf> {
        let mut tree = vec![self.directory.clone()];
        let mut next = 0;
        while let Some(directory) = tree.get(next).cloned() {
            next += 1;
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            tree.extend(
                entries
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|entry| entry.path()),
            );
        }
        tree
    }
}

/// The directory of the group that `pid` is in, in the hierarchy that is best for the purpose.
fn own_directory(pid: u32) -> io::Result<(&'static str, PathBuf)> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    locate(&mounts, &groups)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no control group hierarchy"))
}

/// Version 2 only when it is the whole tree: beside version 1 its hierarchy is seldom delegated
/// to anybody, and `pids` is a hierarchy that every container engine uses.
fn locate(mounts: &str, groups: &str) -> Option<(&'static str, PathBuf)> {
    let wanted = ["pids", "name=systemd", "freezer", ""];
    wanted.into_iter().find_map(|controller| {
        let path = groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next()?;
            let path = fields.next()?;
            controllers
                .split(',')
                .any(|name| name == controller)
                .then_some(path)
        })?;
        let (root, mount_point) = mounts.lines().find_map(|line| mount(line, controller))?;
        let below = if root == "/" {
            path
        } else {
            path.strip_prefix(root)?
        };
        // A group outside of our control group namespace.
        if below.split('/').any(|part| part == "..") {
            return None;
        }
        let directory = Path::new(mount_point).join(below.trim_start_matches('/'));
        Some((controller, directory))
    })
}

/// Root and mount point of the line when it mounts the hierarchy of `controller`, which is empty
/// for version 2.
fn mount<'a>(line: &'a str, controller: &str) -> Option<(&'a str, &'a str)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (root, mount_point) = (mount.next()?, mount.next()?);
    let mut filesystem = filesystem.split(' ');
    let kind = filesystem.next()?;
    let options = filesystem.nth(1)?;
    let fits = match controller {
        "" => kind == "cgroup2",
        _ => kind == "cgroup" && options.split(',').any(|option| option == controller),
    };
    fits.then_some((root, mount_point))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{ControlGroup, locate};

    const V1: &str = "31 29 0:28 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        32 29 0:29 / /sys/fs/cgroup/pids rw,relatime shared:3 - cgroup cgroup rw,pids\n\
        33 29 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    const V2: &str = "33 29 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw,nsdelegate\n";

    #[test]
    fn the_pids_hierarchy_is_taken_where_versions_are_mixed() {
        let groups = "8:pids:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/\n";
        let path = locate(V1, groups);
        let expected = PathBuf::from("/sys/fs/cgroup/pids/docker/abc");
        assert_eq!(path, Some(("pids", expected)));
    }

    #[test]
    fn the_unified_tree_is_taken_where_it_is_alone() {
        let groups = "0::/user.slice/session-1.scope\n";
        let path = locate(V2, groups);
        assert_eq!(
            path,
            Some((
                "",
                PathBuf::from("/sys/fs/cgroup/user.slice/session-1.scope")
            ))
        );
        assert_eq!(locate(V2, "0::/../outside\n"), None);
        assert_eq!(locate("", groups), None);
    }

    #[test]
    fn only_groups_of_ours_are_reopened() {
        assert!(ControlGroup::reopen("/sys/fs/cgroup/pids/dockin-1").is_some());
        assert!(ControlGroup::reopen("/sys/fs/cgroup/pids/docker").is_none());
        assert!(ControlGroup::reopen("dockin-1").is_none());
    }
}
