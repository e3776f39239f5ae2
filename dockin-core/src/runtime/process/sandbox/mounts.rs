use std::{
    fs::{self, File, Permissions, create_dir_all, set_permissions},
    io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::{chdir, pivot_root},
};

use super::step;

/// Directories of the machine that a sandbox sees, read-only.
const SHARED: [&str; 9] = [
    "usr",
    "bin",
    "sbin",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "nix",
    "etc/alternatives",
];
/// Devices that do nothing to the machine.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Makes `root` the root of this mount namespace, with the machine's programs read-only and all
/// else fresh and in memory.
pub(super) fn furnish(root: &Path, pod: &str) -> Result<(), String> {
    let none = None::<&str>;
    step(
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none),
        "cannot make the mounts private",
    )?;
    tmpfs(root, "mode=755,size=256m")?;
    for name in SHARED {
        share(name, root)?;
    }
    step(sample_files(root), "cannot write the sample files")?;
    step(system_files(root, pod), "cannot write /etc")?;
    let proc = root.join("proc");
    step(create_dir_all(&proc), "cannot make /proc")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    step(
        mount(Some("proc"), &proc, Some("proc"), flags, none),
        "/proc cannot be mounted here",
    )?;
    devices(&root.join("dev"))?;

    step(chdir(root), "cannot enter the new root")?;
    // The new root goes on top of the old one, which then is taken away from below.
    step(pivot_root(".", "."), "cannot change the root")?;
    step(
        umount2(".", MntFlags::MNT_DETACH),
        "cannot leave the old root",
    )?;
    step(chdir("/"), "cannot enter the root")
}

/// The directories a person may write to, and something to look at.
pub(in super::super) fn sample_files(root: &Path) -> io::Result<()> {
    for (name, mode) in [
        ("tmp", 0o1777),
        ("var/tmp", 0o1777),
        ("run", 0o755),
        ("root", 0o700),
        ("home/app", 0o755),
        ("data", 0o755),
    ] {
        let directory = root.join(name);
        create_dir_all(&directory)?;
        set_permissions(&directory, Permissions::from_mode(mode))?;
    }
    fs::write(
        root.join("data/orders.csv"),
        "order,customer,item,amount\n\
         1001,alice,keyboard,49.90\n\
         1002,bob,monitor,219.00\n\
         1003,carol,cable,7.50\n",
    )?;
    fs::write(
        root.join("data/README"),
        "A sample pod. Everything here lives in memory and is gone when it stops.\n",
    )?;
    fs::write(
        root.join("home/app/config.yaml"),
        "server:\n  port: 8080\n  workers: 4\n",
    )
}

fn system_files(root: &Path, pod: &str) -> io::Result<()> {
    let etc = root.join("etc");
    create_dir_all(&etc)?;
    let write = |name: &str, text: String| fs::write(etc.join(name), text);
    // `app` comes first: it is the name that tools show for user 0.
    write(
        "passwd",
        "app:x:0:0:app:/root:/bin/sh\nroot:x:0:0:root:/root:/bin/sh\n\
         nobody:x:65534:65534:nobody:/:/bin/false\n"
            .to_owned(),
    )?;
    write(
        "group",
        "app:x:0:\nroot:x:0:\nnogroup:x:65534:\n".to_owned(),
    )?;
    write("hostname", format!("{pod}\n"))?;
    write(
        "hosts",
        format!("127.0.0.1 localhost {pod}\n::1 localhost\n"),
    )?;
    write(
        "nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\n".to_owned(),
    )?;
    write("profile", format!("PS1='{}'\nexport PS1\n", prompt(pod)))?;
    for name in ["resolv.conf", "ld.so.cache", "localtime"] {
        // None of them is needed to run.
        if let Ok(bytes) = fs::read(Path::new("/etc").join(name)) {
            fs::write(etc.join(name), bytes)?;
        }
    }
    Ok(())
}

/// A prompt that says the same in every shell: bash and dash both expand `$PWD`.
pub(in super::super) fn prompt(pod: &str) -> String {
    format!("app@{pod}:$PWD$ ")
}

fn devices(dev: &Path) -> Result<(), String> {
    let none = None::<&str>;
    step(create_dir_all(dev), "cannot make /dev")?;
    tmpfs(dev, "mode=755,size=64k")?;
    for name in DEVICES {
        let (source, target) = (Path::new("/dev").join(name), dev.join(name));
        step(
            File::create(&target),
            format_args!("cannot make {}", source.display()),
        )?;
        step(
            mount(Some(&source), &target, none, MsFlags::MS_BIND, none),
            format_args!("cannot bind {}", source.display()),
        )?;
    }
    let pts = dev.join("pts");
    step(create_dir_all(&pts), "cannot make /dev/pts")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    step(
        mount(
            Some("devpts"),
            &pts,
            Some("devpts"),
            flags,
            Some("newinstance,ptmxmode=0666"),
        ),
        "cannot mount /dev/pts",
    )?;
    let shm = dev.join("shm");
    step(create_dir_all(&shm), "cannot make /dev/shm")?;
    tmpfs(&shm, "mode=1777,size=64m")?;
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        step(
            symlink(target, dev.join(name)),
            format_args!("cannot link /dev/{name}"),
        )?;
    }
    Ok(())
}

fn tmpfs(target: &Path, options: &str) -> Result<(), String> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    step(
        mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options)),
        format_args!("cannot mount a tmpfs on `{}`", target.display()),
    )
}

/// Shows the machine's `/name` under `root`: a link stays a link, as on merged-usr systems.
fn share(name: &str, root: &Path) -> Result<(), String> {
    let (source, target) = (Path::new("/").join(name), root.join(name));
    let Ok(metadata) = fs::symlink_metadata(&source) else {
        return Ok(());
    };
    if metadata.is_symlink() {
        let to = step(
            fs::read_link(&source),
            format_args!("cannot read `/{name}`"),
        )?;
        return step(symlink(to, target), format_args!("cannot link `/{name}`"));
    }
    step(
        create_dir_all(&target),
        format_args!("cannot make `/{name}`"),
    )?;
    let none = None::<&str>;
    // Recursive: the kernel does not let a less privileged namespace look below a mount.
    step(
        mount(
            Some(&source),
            &target,
            none,
            MsFlags::MS_BIND | MsFlags::MS_REC,
            none,
        ),
        format_args!("cannot bind `/{name}`"),
    )?;
    let mounts = step(
        fs::read_to_string("/proc/self/mountinfo"),
        "cannot read the mounts",
    )?;
    for (point, noexec) in mounts_below(&mounts, &target) {
        let mut flags = MsFlags::MS_REMOUNT
            | MsFlags::MS_BIND
            | MsFlags::MS_RDONLY
            | MsFlags::MS_NOSUID
            | MsFlags::MS_NODEV;
        // A flag of the machine's mount is locked: a remount that clears it is refused.
        if noexec {
            flags |= MsFlags::MS_NOEXEC;
        }
        step(
            mount(none, &point, none, flags, none),
            format_args!("cannot make `{}` read-only", point.display()),
        )?;
    }
    Ok(())
}

/// Mount points at and below `top`, and whether programs may not run from them.
fn mounts_below(mountinfo: &str, top: &Path) -> Vec<(PathBuf, bool)> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(4);
            let point = PathBuf::from(unescape(fields.next()?));
            let noexec = fields.next()?.split(',').any(|option| option == "noexec");
            point.starts_with(top).then_some((point, noexec))
        })
        .collect()
}

/// Undoes the kernel's octal escapes of blanks and backslashes.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (code, after.get(3..)) {
            (Some(code), Some(next)) => {
                plain.push(char::from(code));
                rest = next;
            }
            _ => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::mounts_below;

    #[test]
    fn nested_mounts_are_found_with_their_locked_flag() {
        let mountinfo = "1 0 8:1 / / rw - ext4 /dev/vda rw\n\
            2 1 8:1 /usr /r/usr rw,relatime - ext4 /dev/vda rw\n\
            3 2 8:2 / /r/usr/my\\040disk rw,nosuid,noexec - ext4 /dev/vdb rw\n\
            4 1 8:2 / /r/usrlocal rw - ext4 /dev/vdb rw\n";
        let found = mounts_below(mountinfo, Path::new("/r/usr"));
        let expected = [
            (PathBuf::from("/r/usr"), false),
            (PathBuf::from("/r/usr/my disk"), true),
        ];
        assert_eq!(found, expected);
    }
}
