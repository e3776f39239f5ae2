//! The table of wrappers.

/// How a wrapper is given what it runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Given {
    /// As the arguments behind so many operands of its own.
    Behind(usize),
    /// As a text for a shell, behind this option; without it nothing is run.
    TextOption,
    /// As operands joined to a text for a shell, behind so many operands of its own.
    Joined(usize),
}

pub(super) struct Wrapper {
    pub(super) names: &'static [&'static str],
    /// Options whose value is the next argument, when it is not glued on.
    pub(super) values: &'static [&'static str],
    pub(super) given: Given,
    /// `NAME=value` before the program.
    pub(super) assignments: bool,
}

pub(super) const fn wrapper(
    names: &'static [&'static str],
    values: &'static [&'static str],
    given: Given,
) -> Wrapper {
    Wrapper {
        names,
        values,
        given,
        assignments: false,
    }
}

pub(super) const WRAPPERS: &[Wrapper] = &[
    wrapper(
        &[
            "nohup",
            "setsid",
            "eatmydata",
            "catchsegv",
            "unbuffer",
            "chronic",
            "ifne",
            "cttyhack",
            "multitime",
        ],
        &[],
        Given::Behind(0),
    ),
    wrapper(
        &["fakeroot"],
        &["-l", "--lib", "-s", "-i", "-b", "--faked"],
        Given::Behind(0),
    ),
    wrapper(
        &["proxychains", "proxychains4", "torsocks", "rlwrap"],
        &["-f", "-a", "-u", "-p"],
        Given::Behind(0),
    ),
    wrapper(&["pkexec"], &["--user"], Given::Behind(0)),
    wrapper(&["perf"], &[], Given::Behind(1)),
    wrapper(&["envdir", "envuidgid"], &[], Given::Behind(1)),
    wrapper(
        &["tcpsvd", "udpsvd"],
        &["-c", "-C", "-b", "-u", "-l", "-t"],
        Given::Behind(2),
    ),
    wrapper(&["openvt"], &["-c"], Given::Behind(0)),
    wrapper(
        &["cpulimit", "trickle", "sshpass"],
        &["-l", "-c", "-d", "-u", "-p", "-f", "-e"],
        Given::Behind(0),
    ),
    wrapper(&["hyperfine"], &["-w", "-r", "-m", "-M"], Given::Joined(0)),
    wrapper(
        &["lxc-attach", "machinectl"],
        &["-n", "--name"],
        Given::Behind(0),
    ),
    Wrapper {
        names: &["env"],
        values: &["-u", "--unset", "-C", "--chdir", "-P", "-a", "--argv0"],
        given: Given::Behind(0),
        assignments: true,
    },
    Wrapper {
        names: &["sudo", "doas"],
        values: &[
            "-u",
            "--user",
            "-g",
            "--group",
            "-h",
            "--host",
            "-p",
            "--prompt",
            "-C",
            "--close-from",
            "-r",
            "--role",
            "-t",
            "--type",
            "-T",
            "--command-timeout",
            "-D",
            "--chdir",
            "-R",
            "--chroot",
            "-U",
            "--other-user",
            "-a",
        ],
        given: Given::Behind(0),
        assignments: true,
    },
    wrapper(&["nice"], &["-n", "--adjustment"], Given::Behind(0)),
    wrapper(
        &["ionice"],
        &["-c", "--class", "-n", "--classdata", "-p", "-P", "-u"],
        Given::Behind(0),
    ),
    wrapper(
        &["stdbuf"],
        &["-i", "-o", "-e", "--input", "--output", "--error"],
        Given::Behind(0),
    ),
    wrapper(
        &["timeout"],
        &["-s", "--signal", "-k", "--kill-after"],
        Given::Behind(1),
    ),
    wrapper(
        &["time"],
        &["-f", "--format", "-o", "--output"],
        Given::Behind(0),
    ),
    wrapper(
        &["chrt"],
        &[
            "-T",
            "-P",
            "-D",
            "--sched-runtime",
            "--sched-period",
            "--sched-deadline",
        ],
        Given::Behind(1),
    ),
    wrapper(&["taskset"], &[], Given::Behind(1)),
    wrapper(
        &["numactl"],
        &[
            "-C",
            "-m",
            "-N",
            "-i",
            "-p",
            "--physcpubind",
            "--membind",
            "--cpunodebind",
            "--interleave",
        ],
        Given::Behind(0),
    ),
    wrapper(&["chroot"], &["--userspec", "--groups"], Given::Behind(1)),
    wrapper(
        &["softlimit", "chpst"],
        &[
            "-a", "-b", "-c", "-d", "-e", "-f", "-l", "-m", "-n", "-o", "-p", "-r", "-s", "-t",
            "-u", "-U", "-/",
        ],
        Given::Behind(0),
    ),
    wrapper(
        &["linux32", "linux64", "i386", "i686", "x86_64", "uname26"],
        &[],
        Given::Behind(0),
    ),
    wrapper(
        &["prlimit"],
        &["-p", "--pid", "-o", "--output"],
        Given::Behind(0),
    ),
    wrapper(
        &["choom"],
        &["-n", "--adjust", "-p", "--pid"],
        Given::Behind(0),
    ),
    wrapper(&["runcon"], &["-u", "-r", "-t", "-l"], Given::Behind(1)),
    wrapper(&["cgexec"], &["-g"], Given::Behind(0)),
    wrapper(
        &["unshare"],
        &[
            "-S", "-G", "-R", "-w", "--root", "--wd", "--setuid", "--setgid",
        ],
        Given::Behind(0),
    ),
    wrapper(
        &["nsenter"],
        &["-t", "--target", "-S", "-G", "--setuid", "--setgid"],
        Given::Behind(0),
    ),
    wrapper(
        &["strace", "ltrace"],
        &[
            "-e", "-o", "-p", "-s", "-u", "-E", "-P", "-a", "-O", "-S", "-I", "-b", "-X", "-U",
        ],
        Given::Behind(0),
    ),
    wrapper(&["gdbserver"], &[], Given::Behind(1)),
    wrapper(&["valgrind"], &[], Given::Behind(0)),
    wrapper(
        &["setpriv"],
        &[
            "--reuid",
            "--regid",
            "--groups",
            "--inh-caps",
            "--ambient-caps",
            "--bounding-set",
            "--securebits",
            "--ruid",
            "--euid",
            "--rgid",
            "--egid",
        ],
        Given::Behind(0),
    ),
    wrapper(&["capsh"], &[], Given::TextOption),
    wrapper(
        &["su", "runuser"],
        &["-s", "--shell", "-g", "--group", "-G", "--supp-group", "-w"],
        Given::TextOption,
    ),
    wrapper(
        &["script"],
        &["-I", "-O", "-B", "-T", "-m", "-E", "-o"],
        Given::TextOption,
    ),
    wrapper(
        &["flock"],
        &["-w", "--timeout", "--wait", "-E", "--conflict-exit-code"],
        Given::Behind(1),
    ),
    wrapper(
        &["watch"],
        &["-n", "--interval", "-q", "--equexit", "-s", "--shotsdir"],
        Given::Joined(0),
    ),
    wrapper(
        &["ssh"],
        &[
            "-o", "-i", "-p", "-l", "-F", "-J", "-L", "-R", "-D", "-E", "-b", "-c", "-m", "-w",
            "-W", "-S", "-e", "-I", "-Q", "-B", "-O", "-P",
        ],
        Given::Joined(1),
    ),
    wrapper(
        &["parallel"],
        &["-j", "--jobs", "-a", "-I"],
        Given::Joined(0),
    ),
    wrapper(
        &["systemd-run", "systemd-inhibit", "systemd-nspawn"],
        &[
            "-u",
            "--unit",
            "-p",
            "--property",
            "--uid",
            "--gid",
            "-M",
            "--slice",
            "-D",
            "-H",
            "--on-active",
            "--on-calendar",
        ],
        Given::Behind(0),
    ),
    wrapper(
        &[
            "dbus-run-session",
            "ssh-agent",
            "daemonize",
            "xvfb-run",
            "firejail",
            "bwrap",
            "proot",
            "faketime",
            "dumb-init",
            "tini",
            "gosu",
            "su-exec",
            "setuidgid",
            "s6-setuidgid",
            "ts",
            "entr",
        ],
        &["-c", "-a", "-u", "-g"],
        Given::Behind(0),
    ),
];
