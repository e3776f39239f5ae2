//! The table of programs that run the program in their arguments, in a place or behind a verb.

/// How what is run stands in the arguments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Runs {
    /// As arguments.
    Argv,
    /// As arguments that a shell reads joined.
    Joined,
}

pub(super) struct Runner {
    pub(super) names: &'static [&'static str],
    /// One of these stands in front of it; nothing has to, where there are none.
    pub(super) verbs: &'static [&'static str],
    /// Options whose value is the next argument.
    pub(super) values: &'static [&'static str],
    /// Its own operands, between the verb and what is run.
    pub(super) operands: usize,
    pub(super) runs: Runs,
    /// Whether it runs in another place.
    pub(super) is_elsewhere: bool,
    /// Whether what is run stands behind `--` only, where there is one.
    pub(super) behind_dashes: bool,
}

const fn here(
    names: &'static [&'static str],
    verbs: &'static [&'static str],
    values: &'static [&'static str],
) -> Runner {
    Runner {
        names,
        verbs,
        values,
        operands: 0,
        runs: Runs::Argv,
        is_elsewhere: false,
        behind_dashes: false,
    }
}

const fn elsewhere(
    names: &'static [&'static str],
    verbs: &'static [&'static str],
    values: &'static [&'static str],
    operands: usize,
) -> Runner {
    Runner {
        operands,
        is_elsewhere: true,
        ..here(names, verbs, values)
    }
}

impl Runner {
    const fn behind_dashes(self) -> Self {
        Self {
            behind_dashes: true,
            ..self
        }
    }

    const fn joined(self) -> Self {
        Self {
            runs: Runs::Joined,
            ..self
        }
    }
}

/// Options of programs that start containers which have no value, so that what stands behind them
/// is none.
pub(super) const SWITCHES: &[&str] = &[
    "--detach",
    "--disable-content-trust",
    "--init",
    "--interactive",
    "--no-deps",
    "--no-healthcheck",
    "--no-TTY",
    "--oom-kill-disable",
    "--privileged",
    "--publish-all",
    "--quiet",
    "--quiet-pull",
    "--read-only",
    "--rm",
    "--service-ports",
    "--sig-proxy",
    "--stdin",
    "--tty",
    "--use-aliases",
    "--yes",
];

pub(super) const RUNNERS: &[Runner] = &[
    elsewhere(
        &[
            "docker",
            "podman",
            "nerdctl",
            "docker-compose",
            "podman-compose",
            "buildah",
        ],
        &["exec", "run", "create"],
        &[
            "-e",
            "--env",
            "-u",
            "--user",
            "-w",
            "--workdir",
            "-v",
            "--volume",
            "--name",
            "-p",
            "--publish",
            "--network",
            "--net",
            "--entrypoint",
            "-h",
            "--hostname",
            "-l",
            "--label",
            "--mount",
            "-m",
            "--memory",
            "-c",
            "-a",
            "--attach",
            "--cpus",
            "--env-file",
            "--pid",
            "--ipc",
            "--restart",
            "--cap-add",
            "--cap-drop",
            "--device",
            "--add-host",
            "--dns",
            "--platform",
            "--pull",
            "--security-opt",
            "--log-driver",
            "--index",
            "--detach-keys",
        ],
        1,
    ),
    elsewhere(
        &["crictl"],
        &["exec"],
        &["-r", "--runtime-endpoint", "-i", "--timeout"],
        1,
    ),
    elsewhere(
        &["runc", "crun", "youki"],
        &["exec"],
        &[
            "-e",
            "--env",
            "-u",
            "--user",
            "-g",
            "-p",
            "--process",
            "--cwd",
            "--pid-file",
            "--console-socket",
            "-c",
            "--cap",
        ],
        1,
    ),
    elsewhere(
        &["ctr"],
        &["exec"],
        &["--exec-id", "--cwd", "--user", "--fifo-dir", "--log-uri"],
        1,
    ),
    elsewhere(
        &["ctr"],
        &["run"],
        &["--env", "--mount", "--cwd", "--user"],
        2,
    ),
    elsewhere(
        &["lxc", "incus"],
        &["exec"],
        &["--env", "--user", "--group", "--cwd", "--mode"],
        1,
    )
    .behind_dashes(),
    elsewhere(
        &["apptainer", "singularity"],
        &["exec", "run"],
        &["-B", "--bind", "--pwd", "-W", "-H", "--env"],
        1,
    ),
    elsewhere(&["nomad"], &["exec"], &["-task", "-job"], 1),
    elsewhere(
        &["kubectl", "oc"],
        &["exec", "run", "rsh"],
        &[
            "-c",
            "--container",
            "-n",
            "--namespace",
            "-f",
            "--filename",
            "--pod-running-timeout",
            "--image",
            "--context",
            "--kubeconfig",
            "-s",
            "--server",
            "--as",
            "--token",
            "-l",
            "--labels",
            "--env",
            "--overrides",
            "--restart",
            "--port",
        ],
        1,
    )
    .behind_dashes(),
    elsewhere(&["kubectl", "oc"], &["debug", "create"], &[], usize::MAX).behind_dashes(),
    elsewhere(
        &["machinectl"],
        &["shell"],
        &["-E", "--setenv", "--uid", "-M"],
        1,
    ),
    elsewhere(&["rsh", "remsh", "rlogin"], &[], &["-l", "-k", "-p"], 1).joined(),
    elsewhere(
        &["mosh"],
        &[],
        &["-p", "--port", "--ssh", "--client", "--server"],
        1,
    )
    .behind_dashes(),
    elsewhere(
        &["pdsh", "clush", "dsh"],
        &[],
        &["-w", "-l", "-f", "-g", "-m", "-x", "-R"],
        0,
    )
    .joined(),
    elsewhere(&["minikube"], &["ssh"], &["-p"], 0).joined(),
    here(
        &["npx", "bunx", "pnpx", "uvx"],
        &[],
        &["-p", "--package", "-w", "--workspace", "--from", "--with"],
    ),
    here(
        &["npm"],
        &["exec", "x"],
        &["-p", "--package", "-w", "--workspace"],
    ),
    here(&["yarn"], &["dlx", "exec"], &["-p", "--package"]),
    here(
        &["pnpm"],
        &["exec", "dlx"],
        &["-C", "--dir", "--filter", "-F", "--package"],
    ),
    here(
        &[
            "bun", "uv", "poetry", "pipenv", "pipx", "rye", "pdm", "hatch",
        ],
        &["run", "x"],
        &[],
    ),
    here(
        &["bundle", "asdf", "rbenv", "pyenv", "nodenv", "mise", "opam"],
        &["exec"],
        &[],
    ),
    here(
        &["conda", "mamba", "micromamba"],
        &["run"],
        &["-n", "--name", "-p", "--prefix"],
    ),
    Runner {
        operands: 1,
        ..here(&["direnv"], &["exec"], &[])
    },
    here(&["inotifyd"], &[], &[]),
    here(&["nix"], &["run", "develop", "shell"], &[]).behind_dashes(),
    here(
        &["mpirun", "mpiexec", "srun"],
        &[],
        &["-n", "-np", "-c", "-N", "-H", "--host", "-w"],
    ),
    here(&["aa-exec"], &[], &["-p", "--profile", "-n", "--namespace"]),
    here(&["fakechroot", "nocache", "dotenv"], &[], &["-f"]),
    here(&["uclampset"], &[], &["-m", "-M", "-p"]),
    here(&["coresched"], &["exec", "new"], &["-t", "-s", "-d"]).behind_dashes(),
    // With options it has no operand of its own.
    elsewhere(&["runcon"], &[], &["-u", "-r", "-t", "-l"], 0),
    here(
        &["systemd-cat"],
        &[],
        &["-t", "-p", "--identifier", "--priority"],
    ),
    elsewhere(
        &["systemd-inhibit"],
        &[],
        &["--what", "--who", "--why", "--mode"],
        0,
    ),
    here(
        &["systemd-socket-activate"],
        &[],
        &["-l", "--listen", "-E", "--setenv", "--fdname"],
    ),
    here(
        &["dbus-launch", "catatonit", "watchexec", "daemon", "zrun"],
        &[],
        &["-n", "-u", "-o", "-w", "-e"],
    ),
    Runner {
        operands: 1,
        ..here(&["dtach", "abduco"], &["-c", "-n", "-A"], &["-e", "-r"])
    },
    here(&["zellij"], &["run"], &["-d", "-n", "--name"]).behind_dashes(),
    Runner {
        operands: 1,
        ..here(&["s6-envdir"], &[], &[])
    },
    elsewhere(
        &["autossh", "plink", "dbclient"],
        &[],
        &["-M", "-p", "-P", "-i", "-l", "-o", "-pw", "-L", "-R", "-D"],
        1,
    )
    .joined(),
];
