//! Sessions with gateways, kept between commands in files that only their owner can read.

use std::{
    env,
    fs::{self, DirBuilder, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::PathBuf,
};

use dockin_core::percent_encode;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// What logging in to a gateway gave.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct SavedSession {
    /// The gateway's address.
    pub(crate) server: String,
    /// Who logged in.
    pub(crate) user: String,
    /// Bearer token.
    pub(crate) token: String,
    /// From when on it is worthless, RFC 3339.
    pub(crate) expires: jiff::Timestamp,
}

impl SavedSession {
    /// The session with the gateway at `server`, if there is one.
    pub(crate) fn load(server: &str) -> Result<Option<Self>, Failure> {
        let path = path(server)?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let path = path.display();
                return Err(Failure::local(format!(
                    "cannot read session `{path}`: {error}"
                )));
            }
        };
        // What does not read is of another version: one logs in again.
        Ok(serde_json::from_str(&text)
            .ok()
            .filter(|saved: &Self| saved.server == server))
    }

    /// Keeps it, in place of any other with the same gateway.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        let path = path(&self.server)?;
        let failed = |error: std::io::Error| {
            Failure::local(format!(
                "cannot write session `{}`: {error}",
                path.display()
            ))
        };
        let folder = path.parent().unwrap_or(&path);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
        let fresh = path.with_extension("new");
        let text = serde_json::to_string(self)
            .map_err(|error| Failure::local(format!("cannot write the session: {error}")))?;
        // Left over from a command that was killed.
        let _none = fs::remove_file(&fresh);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&fresh, &path))
            .map_err(failed)
    }

    /// Forgets the one with the gateway at `server`.
    pub(crate) fn forget(server: &str) -> Result<(), Failure> {
        let path = path(server)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Failure::local(format!(
                "cannot remove session `{}`: {error}",
                path.display()
            ))),
            _ => Ok(()),
        }
    }
}

/// Where it is kept: below `DOCKIN_HOME`, else `~/.dockin`.
fn path(server: &str) -> Result<PathBuf, Failure> {
    let home = env::var_os("DOCKIN_HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".dockin")));
    let home = home.ok_or_else(|| {
        Failure::local("there is no home directory: set DOCKIN_HOME to keep sessions")
    })?;
    Ok(home
        .join("sessions")
        .join(format!("{}.json", percent_encode(server))))
}
