//! What the tests need from the system, by the program that proves that it is there.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A program and the Debian package that brings it.
struct Need {
    program: &'static str,
    package: &'static str,
}

const NEEDS: &[Need] = &[
    Need {
        // libFuzzer is C++.
        program: "c++",
        package: "g++",
    },
    Need {
        program: "dockerd",
        package: "docker.io",
    },
    Need {
        program: "containerd",
        package: "containerd",
    },
    Need {
        program: "runc",
        package: "runc",
    },
    Need {
        program: "/usr/lib/cni/bridge",
        package: "containernetworking-plugins",
    },
    Need {
        program: "bash",
        package: "bash",
    },
    Need {
        program: "dash",
        package: "dash",
    },
    Need {
        program: "zsh",
        package: "zsh",
    },
    Need {
        program: "busybox",
        package: "busybox-static",
    },
    Need {
        program: "redis-server",
        package: "redis-server",
    },
    Need {
        program: "etcd",
        package: "etcd-server",
    },
    Need {
        program: "ip",
        package: "iproute2",
    },
    Need {
        // Debian's `portmap` runs it.
        program: "iptables",
        package: "iptables",
    },
    Need {
        program: "nft",
        package: "nftables",
    },
    Need {
        program: "openssl",
        package: "openssl",
    },
    Need {
        program: "setpriv",
        package: "util-linux",
    },
    Need {
        program: "slapd",
        package: "slapd",
    },
    Need {
        // The OpenID Connect provider, and the browser that logs in there.
        program: "node",
        package: "nodejs",
    },
    Need {
        program: "npm",
        package: "npm",
    },
    Need {
        program: "curl",
        package: "curl",
    },
];

/// Installs what is missing; without root, or off Debian, says what it is and fails.
pub(crate) fn ensure() -> Result<(), String> {
    let mut missing = missing();
    if find("kubectl").is_none() {
        // The old one of the distribution: SPDY only, a good peer all the same.
        missing.push("kubernetes-client");
    }
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
        && !Path::new("/sys/fs/cgroup/memory").exists()
        && find("cgroupfs-mount").is_none()
    {
        missing.push("cgroupfs-mount");
    }
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)?;
    let still: Vec<&str> = self::missing();
    if still.is_empty() {
        Ok(())
    } else {
        Err(format!("still missing: {}", still.join(" ")))
    }
}

/// Installs Debian's packages; without root, or off Debian, says what they are and fails.
pub(crate) fn install(missing: &[&str]) -> Result<(), String> {
    let list = missing.join(" ");
    if !is_root() {
        return Err(format!(
            "these packages are missing: {list}; run as root, or install them first"
        ));
    }
    if find("apt-get").is_none() {
        return Err(format!(
            "these are missing and there is no apt-get to install them: {list}"
        ));
    }
    eprintln!("xtask: installing {list}");
    run(Command::new("apt-get").arg("update").arg("-q"))?;
    run(Command::new("apt-get")
        .args(["install", "-y", "-q", "--no-install-recommends"])
        .args(missing)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Prints what is missing.
pub(crate) fn report() -> Result<(), String> {
    let missing = missing();
    if missing.is_empty() {
        println!("nothing is missing");
        return Ok(());
    }
    Err(format!("missing: {}", missing.join(" ")))
}

fn missing() -> Vec<&'static str> {
    NEEDS
        .iter()
        .filter(|need| find(need.program).is_none())
        .map(|need| need.package)
        .collect()
}

/// The program on PATH, or where the system keeps its daemons.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Some(PathBuf::from(program)).filter(|path| path.exists());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uid.and_then(|line| line.split_whitespace().nth(1)) == Some("0")
}

fn run(command: &mut Command) -> Result<(), String> {
    let status = command
        .status()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?} ended with {status}"))
    }
}
