//! Programs that images have, where they stand, and which busybox runs by itself.

use super::{pattern, session::Directory, utility::base_name};

/// Folders of packaged programs.
const FOLDERS: &[&str] = &[
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/libexec",
    "/usr/lib",
    "/lib",
    "/lib64",
    "/usr/lib64",
    "/opt",
    "/snap/bin",
    "/usr/games",
    "/usr/local",
    "/usr/share",
    "/usr/libx32",
    "/lib32",
    "/etc/init.d",
    "/etc/rc.d",
    "/etc/cron.daily",
];

/// Programs that stand in `/bin` or `/usr/bin` of most images, for wildcards in a program's name.
const PROGRAMS: &[&str] = &[
    "addgroup",
    "adduser",
    "apk",
    "apt",
    "apt-get",
    "ash",
    "at",
    "awk",
    "base32",
    "base64",
    "basename",
    "bash",
    "batch",
    "busybox",
    "cat",
    "chattr",
    "chgrp",
    "chmod",
    "chown",
    "chpasswd",
    "chroot",
    "cp",
    "crontab",
    "curl",
    "cut",
    "dash",
    "date",
    "dd",
    "df",
    "diff",
    "dirname",
    "dmesg",
    "docker",
    "du",
    "echo",
    "ed",
    "egrep",
    "env",
    "expr",
    "false",
    "fdisk",
    "fgrep",
    "find",
    "flock",
    "gawk",
    "gdb",
    "git",
    "grep",
    "groupadd",
    "groupdel",
    "gunzip",
    "gzip",
    "halt",
    "head",
    "hostname",
    "id",
    "insmod",
    "install",
    "ip",
    "iptables",
    "kill",
    "killall",
    "kubectl",
    "less",
    "ln",
    "ls",
    "lsblk",
    "lsof",
    "make",
    "man",
    "mkdir",
    "mkfs",
    "mkfs.ext4",
    "mknod",
    "mkswap",
    "mktemp",
    "modprobe",
    "more",
    "mount",
    "mv",
    "nano",
    "nc",
    "ncat",
    "netstat",
    "nft",
    "nice",
    "nohup",
    "nsenter",
    "openssl",
    "parted",
    "passwd",
    "perl",
    "pgrep",
    "ping",
    "pkill",
    "poweroff",
    "printenv",
    "printf",
    "ps",
    "pwd",
    "python",
    "python3",
    "readlink",
    "realpath",
    "reboot",
    "rev",
    "rm",
    "rmdir",
    "rmmod",
    "rsync",
    "ruby",
    "scp",
    "sed",
    "seq",
    "service",
    "setsid",
    "sftp",
    "sh",
    "shred",
    "shutdown",
    "sleep",
    "sort",
    "split",
    "ssh",
    "stat",
    "strace",
    "stty",
    "su",
    "sudo",
    "swapoff",
    "sync",
    "sysctl",
    "systemctl",
    "tac",
    "tail",
    "tar",
    "tcpdump",
    "tee",
    "test",
    "timeout",
    "top",
    "touch",
    "tr",
    "true",
    "truncate",
    "umount",
    "uname",
    "uniq",
    "unlink",
    "unshare",
    "unzip",
    "uptime",
    "useradd",
    "userdel",
    "usermod",
    "vi",
    "vim",
    "watch",
    "wc",
    "wget",
    "which",
    "whoami",
    "wipefs",
    "xargs",
    "xxd",
    "yes",
    "zip",
    "zsh",
];

/// Those of them that stand in a folder for administrators.
const ADMINISTRATORS: &[&str] = &[
    "addgroup",
    "adduser",
    "chpasswd",
    "chroot",
    "fdisk",
    "groupadd",
    "groupdel",
    "halt",
    "insmod",
    "iptables",
    "mkfs",
    "mkfs.ext4",
    "mkswap",
    "modprobe",
    "nft",
    "parted",
    "poweroff",
    "reboot",
    "rmmod",
    "service",
    "shutdown",
    "swapoff",
    "sysctl",
    "tcpdump",
    "useradd",
    "userdel",
    "usermod",
    "wipefs",
];

/// What Debian's static busybox runs without starting a program.
const APPLETS: &[&str] = &[
    "acpid",
    "adjtimex",
    "ar",
    "arch",
    "arp",
    "arping",
    "ascii",
    "ash",
    "awk",
    "base64",
    "basename",
    "bc",
    "blkdiscard",
    "blkid",
    "blockdev",
    "brctl",
    "bunzip2",
    "bzcat",
    "bzip2",
    "cal",
    "cat",
    "chgrp",
    "chmod",
    "chown",
    "chroot",
    "chvt",
    "clear",
    "cmp",
    "cp",
    "cpio",
    "crc32",
    "cttyhack",
    "cut",
    "date",
    "dc",
    "dd",
    "deallocvt",
    "depmod",
    "devmem",
    "df",
    "diff",
    "dirname",
    "dmesg",
    "dnsdomainname",
    "dos2unix",
    "du",
    "dumpkmap",
    "dumpleases",
    "echo",
    "egrep",
    "env",
    "expand",
    "expr",
    "factor",
    "fallocate",
    "false",
    "fatattr",
    "fdisk",
    "fgrep",
    "find",
    "findfs",
    "fold",
    "free",
    "freeramdisk",
    "fsfreeze",
    "fstrim",
    "ftpget",
    "ftpput",
    "getopt",
    "getty",
    "grep",
    "groups",
    "gunzip",
    "gzip",
    "halt",
    "head",
    "hexdump",
    "hostid",
    "hostname",
    "httpd",
    "hwclock",
    "i2cdetect",
    "i2cdump",
    "i2cget",
    "i2cset",
    "id",
    "ifconfig",
    "ifdown",
    "ifup",
    "init",
    "insmod",
    "ionice",
    "ip",
    "ipcalc",
    "ipneigh",
    "kill",
    "killall",
    "klogd",
    "last",
    "less",
    "link",
    "linux32",
    "linux64",
    "linuxrc",
    "ln",
    "loadfont",
    "loadkmap",
    "logger",
    "login",
    "logname",
    "logread",
    "losetup",
    "ls",
    "lsmod",
    "lsscsi",
    "lzcat",
    "lzma",
    "lzop",
    "md5sum",
    "mdev",
    "microcom",
    "mim",
    "mkdir",
    "mkdosfs",
    "mke2fs",
    "mkfifo",
    "mknod",
    "mkpasswd",
    "mkswap",
    "mktemp",
    "modinfo",
    "modprobe",
    "more",
    "mount",
    "mt",
    "mv",
    "nameif",
    "nbd-client",
    "nc",
    "netstat",
    "nl",
    "nologin",
    "nproc",
    "nsenter",
    "nslookup",
    "nuke",
    "od",
    "openvt",
    "partprobe",
    "paste",
    "patch",
    "pidof",
    "ping",
    "ping6",
    "pivot_root",
    "poweroff",
    "printf",
    "ps",
    "pwd",
    "rdate",
    "readlink",
    "realpath",
    "reboot",
    "renice",
    "reset",
    "resume",
    "rev",
    "rm",
    "rmdir",
    "rmmod",
    "route",
    "rpm",
    "rpm2cpio",
    "run-init",
    "run-parts",
    "sed",
    "seq",
    "setkeycodes",
    "setpriv",
    "setsid",
    "sh",
    "sha1sum",
    "sha256sum",
    "sha3sum",
    "sha512sum",
    "shred",
    "shuf",
    "sleep",
    "sort",
    "ssl_client",
    "start-stop-daemon",
    "stat",
    "strings",
    "stty",
    "svc",
    "svok",
    "swapoff",
    "swapon",
    "switch_root",
    "sync",
    "sysctl",
    "syslogd",
    "tac",
    "tail",
    "tar",
    "taskset",
    "tee",
    "telnet",
    "test",
    "tftp",
    "time",
    "timeout",
    "top",
    "touch",
    "tr",
    "traceroute",
    "traceroute6",
    "true",
    "truncate",
    "tty",
    "tunctl",
    "ubirename",
    "udhcpc",
    "udhcpc6",
    "udhcpd",
    "uevent",
    "umount",
    "uname",
    "uncompress",
    "unexpand",
    "uniq",
    "unix2dos",
    "unlink",
    "unlzma",
    "unlzop",
    "unshare",
    "unxz",
    "unzip",
    "uptime",
    "usleep",
    "uudecode",
    "uuencode",
    "vconfig",
    "vi",
    "w",
    "watch",
    "watchdog",
    "wc",
    "wget",
    "which",
    "who",
    "whoami",
    "xargs",
    "xxd",
    "xz",
    "xzcat",
    "yes",
    "zcat",
];

/// Whether busybox runs it by itself. Its `env` and other wrappers start what they run.
pub(super) fn is_applet(name: &str) -> bool {
    APPLETS.binary_search(&name).is_ok()
}

/// Whether a program may be called so: what no file is called like is not found.
pub(super) fn may_exist(program: &str) -> bool {
    let name = base_name(program);
    let plausible = |c: char| c.is_ascii_alphanumeric() || "._+-@?~:[".contains(c);
    let is_path = program.contains('/');
    if name.is_empty() || matches!(program, "." | "..") {
        return false;
    }
    if !is_path && (name.starts_with('-') || name.len() == 1 && !matches!(name, "w" | "[")) {
        return false;
    }
    program.chars().all(|c| c == '/' || plausible(c))
}

/// Where the program stands in most images.
pub(super) fn path_of(name: &str) -> Option<String> {
    if name.contains('/') || PROGRAMS.binary_search(&name).is_err() {
        return None;
    }
    let folder = if ADMINISTRATORS.contains(&name) {
        "/usr/sbin"
    } else {
        "/usr/bin"
    };
    Some(format!("{folder}/{name}"))
}

/// Whether an absolute path names what a package may have put there.
pub(super) fn is_program_path(path: &str) -> bool {
    if path.starts_with('?') || path.contains('?') {
        return true;
    }
    let path = path.strip_prefix("/proc/self/root").unwrap_or(path);
    // A relative path that climbs to the root.
    let climbed = path.trim_start_matches("../");
    let absolute = if climbed.len() < path.len() {
        format!("/{climbed}")
    } else {
        path.to_owned()
    };
    FOLDERS.iter().any(|folder| {
        absolute
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
    })
}

/// The program that a name with wildcards becomes, when that is plain.
pub(super) fn program_like(pattern: &str, directory: &Directory) -> Option<String> {
    let (folder, name) = match pattern.rsplit_once('/') {
        Some((folder, name)) => (Some(folder), name),
        None => (None, pattern),
    };
    let folder = folder?;
    let folders = ["/bin", "/usr/bin", "/usr/sbin", "/sbin", "/usr/local/bin"];
    let inside = if let Some(rest) = folder.strip_prefix("./").or((folder == ".").then_some("")) {
        match directory {
            Directory::Known(path) if rest.is_empty() => Some(path.as_str()),
            _ => None,
        }
    } else {
        folders
            .iter()
            .copied()
            .find(|known| pattern::matches(folder, known) == Some(true))
    }?;
    if !folders.contains(&inside) {
        return None;
    }
    let found = PROGRAMS
        .iter()
        .find(|program| pattern::matches(name, program) == Some(true))?;
    Some(if folder == "." {
        format!("./{found}")
    } else {
        format!("{inside}/{found}")
    })
}

#[cfg(test)]
mod tests {
    use super::{APPLETS, PROGRAMS, may_exist, program_like};
    use crate::shell::session::Directory;

    #[test]
    fn the_tables_are_sorted() {
        assert!(APPLETS.is_sorted());
        assert!(PROGRAMS.is_sorted());
    }

    #[test]
    fn names_that_no_program_has_are_not_found() {
        for name in ["rm", "mkfs.ext4", "/bin/rm", "g++", "w", "[", "python3.11"] {
            assert!(may_exist(name), "{name}");
        }
        for name in ["", "r\u{200b}m", "rm -rf", "{rm,x}", "x", "ｒｍ"] {
            assert!(!may_exist(name), "{name}");
        }
    }

    #[test]
    fn wildcards_become_the_first_program_that_is_like_them() {
        let start = Directory::Start;
        assert_eq!(program_like("/?in/rm", &start).as_deref(), Some("/bin/rm"));
        assert_eq!(
            program_like("/bin/r[m]", &start).as_deref(),
            Some("/bin/rm")
        );
        let bin = Directory::Known("/bin".to_owned());
        assert_eq!(program_like("./r?", &bin).as_deref(), Some("./rm"));
        assert_eq!(program_like("r?", &start), None);
    }
}
