//! A folder of stand-in programs that write down what they are called with.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use dockin_policy::Dialect;
use tempfile::TempDir;

/// Programs that do nothing here. No shell of the test has them built in.
pub(crate) const STAND_INS: &[&str] = &[
    "kubectl",
    "docker",
    "helm",
    "crictl",
    "systemctl",
    "etcdctl",
    "terraform",
    "mkfs.xfs",
];

/// Programs that are written down and do what they do.
pub(crate) const REAL: &[&str] = &[
    "env", "nohup", "timeout", "nice", "xargs", "find", "setsid", "stdbuf", "cat", "tr", "sed",
    "head", "cut", "rev", "seq", "tee", "base64", "basename", "dirname", "grep", "sort", "ls",
];

/// Shells, written down under the name that they are called by.
pub(crate) const SHELLS: &[&str] = &["sh", "bash", "dash", "zsh"];

pub(crate) struct Sandbox {
    root: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let dash = find("dash");
        let write = |name: &str, shell: &Path, behind: &str| {
            let path = bin.join(name);
            // One write for one call: what runs at the same time does not mix.
            let text = format!(
                "#!{}\nprintf '%s\\037' {name} \"$@\" '\u{1e}' >>{}\n{behind}\n",
                shell.display(),
                root.path().join("log").display(),
            );
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        let status = format!(
            "read -r status <{}\nexit $status",
            root.path().join("status").display()
        );
        for name in STAND_INS {
            write(name, &dash, &status);
        }
        for name in REAL {
            write(
                name,
                &dash,
                &format!("exec {} \"$@\"", find(name).display()),
            );
        }
        let bash = find("bash");
        for name in SHELLS {
            // What a shell is called as is its `$0`; bash hands on functions that are exported.
            let shell = find(name);
            write(
                name,
                &bash,
                &format!("exec -a {name} {} \"$@\"", shell.display()),
            );
        }
        Self { root }
    }

    /// What `line` runs in the shell of `dialect`: every program, in the order of their starts.
    pub(crate) fn run(&self, dialect: Dialect, line: &str, succeeds: bool) -> Vec<Vec<String>> {
        let path = |name: &str| self.root.path().join(name);
        fs::write(path("log"), "").unwrap();
        fs::write(path("status"), if succeeds { "0\n" } else { "1\n" }).unwrap();
        let work = path("work");
        let _old = fs::remove_dir_all(&work);
        fs::create_dir_all(work.join("sub")).unwrap();
        for name in ["a.txt", "b.txt", "c d.log", "sub/e.txt"] {
            fs::write(work.join(name), format!("in {name}\n")).unwrap();
        }
        let (shell, options): (&str, &[&str]) = match dialect {
            Dialect::Sh => ("dash", &["-c"]),
            Dialect::Busybox => ("busybox", &["sh", "-c"]),
            // From a file it reads line by line, as at a terminal.
            Dialect::Zsh => ("zsh", &["-f"]),
            _ => ("bash", &["-O", "expand_aliases", "-c"]),
        };
        fs::write(path("line"), line).unwrap();
        let told = if dialect == Dialect::Zsh {
            path("line").into_os_string()
        } else {
            line.into()
        };
        // Output is read to its end, and everything that the line starts holds it open as its
        // descriptor 9: whatever runs behind the shell's back has ended then, too.
        let output = Command::new(find("dash"))
            .args(["-c", "exec \"$@\" 9>&1", "dash"])
            .arg(find("timeout"))
            .arg("10")
            .arg(find(shell))
            .args(options)
            .arg(told)
            .current_dir(&work)
            .env_clear()
            .env("PATH", path("bin"))
            .env("HOME", &work)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_ne!(
            output.status.code(),
            Some(124),
            "it goes on for ever: {line:?}"
        );
        let log = String::from_utf8_lossy(&fs::read(path("log")).unwrap()).into_owned();
        log.split_terminator("\u{1f}\u{1e}\u{1f}")
            .map(|call| call.split('\u{1f}').map(str::to_owned).collect())
            .collect()
    }
}

/// The real program.
fn find(name: &str) -> PathBuf {
    std::env::var("PATH")
        .unwrap()
        .split(':')
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("`{name}` is missing; `cargo xtask test` installs it"))
}
