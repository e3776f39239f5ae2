//! `dockin-cni`: several networks for one pod, made by other plugins, all or none.
//!
//! The resource manager says which networks with which addresses; each network's file says which
//! plugins make it. An intent is written down before the first of them runs. When one fails, those
//! before it are undone in reverse order. The results become one.
//!
//! | key | means |
//! | --- | --- |
//! | `backend` | where the resource manager is asked: `http://…` or `https://…` |
//! | `backendAuthority` | file of the authority whose certificate an `https` backend has |
//! | `backendCertificate`, `backendKey` | files of the certificate that we show it |
//! | `backendToken` | file of the token that we send it |
//! | `answerAgeSeconds` | how long a pod's last answer is good while the resource manager cannot be reached, from the answer or from the pod's end here, whichever is later; 86400, a day; 0: not at all |
//! | `networks` | the resource manager's `data`, for use without one |
//! | `confDir` | the networks' files; `/etc/cni/dockin/net.d` |
//! | `binDir` | where plugins are, before `CNI_PATH`; `/opt/cni/bin` |
//! | `stateDir` | intents and the last answers; `/var/lib/dockin/cni` |
//! | `driver` | of a network's file whose `type` is `bridge`: `exec` has the plugin run; without it the network is made by ourselves |
//! | `logFile`, `logLevel` | lines of what was done; `debug`, `verbose`, `info`, `error`, `panic` |
//!
//! A log file of 10 MiB becomes `<logFile>.1`, the one before that `.2`, and so up to `.3`.

mod answers;
mod config;
mod delegation;
mod merge;
mod networks;
mod plugin;
mod record;

use std::any::Any;

use plugin::Meta;

use crate::{
    StoreError,
    cni::{self, Environment, Outcome},
    lease::Timestamp,
};

/// What a plugin that was run gave.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ran {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Did it exit with 0?
    pub success: bool,
}

/// Whom we believe to be the resource manager, and why it should believe us: paths of files.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Trust {
    /// The authority of its certificate, PEM.
    pub authority: Option<String>,
    /// Our certificate and its key, PEM.
    pub identity: Option<(String, String)>,
    /// Our token.
    pub token: Option<String>,
}

/// Why the resource manager did not answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoAnswer {
    /// What happened.
    pub message: String,
    /// May it answer later?
    pub later: bool,
}

/// What `dockin-cni` touches outside itself.
pub trait World {
    /// Is the namespace at `path` the one this process runs in? A path that leads nowhere is not.
    fn is_own_namespace(&mut self, path: &str) -> bool;

    /// The time.
    fn now(&mut self) -> Timestamp;

    /// Is the container's namespace at `path` still there?
    fn has_namespace(&mut self, path: &str) -> bool;

    /// Gets a URL: the body of an answer with status 200.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`], after the tries that are worth it.
    fn ask(&mut self, url: &str, trust: &Trust) -> Result<Vec<u8>, NoAnswer>;

    /// The files of a directory that end in `.conf`, `.json` or `.conflist`, by name.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    fn network_files(&mut self, directory: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// The first of `directories` that has this plugin, as the path of the program.
    fn find(&mut self, plugin: &str, directories: &[String]) -> Option<String>;

    /// Makes a bridge network itself, as the plugin `bridge` would; `None` where that plugin has to
    /// be run.
    fn bridge(&mut self, environment: &Environment, stdin: &[u8]) -> Option<Ran> {
        let _ = (environment, stdin);
        None
    }

    /// Are bridge networks made by [`World::bridge`]?
    fn has_bridge(&self) -> bool {
        false
    }

    /// Runs a program with exactly these variables.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] when it cannot be started.
    fn execute(
        &mut self,
        program: &str,
        environment: &Environment,
        stdin: &[u8],
    ) -> Result<Ran, StoreError>;

    /// Waits until no other call works on `name`; none does until what is returned is dropped.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    fn lock(&mut self, directory: &str, name: &str) -> Result<Box<dyn Any>, StoreError>;

    /// The text of a record, none when there is no such record.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    fn read_record(&mut self, directory: &str, name: &str) -> Result<Option<String>, StoreError>;

    /// Writes a record durably, in the place of the one before.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    fn write_record(&mut self, directory: &str, name: &str, text: &str) -> Result<(), StoreError>;

    /// Removes a record; success when there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    fn remove_record(&mut self, directory: &str, name: &str) -> Result<(), StoreError>;

    /// The names of all records that start with `prefix`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    fn record_names(&mut self, directory: &str, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Appends a line to a file. What fails here fails nothing else.
    fn log(&mut self, file: &str, line: &str);
}

/// Answers one call of `dockin-cni`.
pub fn run(environment: &Environment, stdin: &[u8], world: &mut dyn World) -> Outcome {
    let about = concat!(
        "dockin-cni ",
        env!("CARGO_PKG_VERSION"),
        "; operators: dockin-cni install --help"
    );
    cni::run(environment, stdin, about, &mut Meta { world })
}
