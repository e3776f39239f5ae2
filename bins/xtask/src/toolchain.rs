//! What `rustc` says of itself.

use std::{path::PathBuf, process::Command};

pub(crate) struct Toolchain {
    /// The triple of this machine.
    pub(crate) host: String,
    /// The major version of its LLVM.
    pub(crate) llvm: String,
    /// Where its own parts are.
    pub(crate) sysroot: PathBuf,
}

impl Toolchain {
    pub(crate) fn of_rustc() -> Result<Self, String> {
        let text = rustc(&["-vV"])?;
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .ok_or_else(|| format!("rustc does not tell its `{name}`"))
        };
        let llvm = field("LLVM version: ")?;
        Ok(Self {
            host: field("host: ")?.to_owned(),
            llvm: llvm.split('.').next().unwrap_or(llvm).to_owned(),
            sysroot: rustc(&["--print", "sysroot"])?.trim().into(),
        })
    }
}

fn rustc(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("rustc")
        .args(arguments)
        .output()
        .map_err(|error| format!("rustc: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("rustc ended with {}", output.status))
    }
}
