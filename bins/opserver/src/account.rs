//! `dockin-opserver account`: who can log in with a password, and whose sessions end.

use std::path::PathBuf;

use clap::Subcommand;
use dockin_core::{
    Error, ErrorKind,
    identity::{Accounts, SharedAccounts, TokenFile},
};

use crate::store::{self, Commanded, wait};

#[derive(Subcommand)]
pub(crate) enum Account {
    /// Make an account, or give the one of that name another password and other groups; reads the
    /// password from standard input. Its sessions then end.
    Add {
        #[command(flatten)]
        place: Commanded,
        /// Whose account it is.
        #[arg(long, value_name = "NAME")]
        user: String,
        /// A group of his; may be repeated.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// Tenant whose access rules count for him.
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
    },
    /// Take an account away, and with it its sessions and personal tokens.
    Remove {
        #[command(flatten)]
        place: Commanded,
        /// Whose account.
        #[arg(long, value_name = "NAME")]
        user: String,
    },
    /// End every session of somebody, and close what he has open: of an account, or of a person
    /// of the directory. Personal tokens stay.
    End {
        #[command(flatten)]
        place: Commanded,
        /// Whose sessions.
        #[arg(long, value_name = "NAME")]
        user: String,
    },
}

/// Runs one of them: on the account file, or on the store when the accounts are there.
///
/// # Errors
///
/// `Misuse` when the configuration has no accounts; those of the file or the store.
pub(crate) fn account(command: Account) -> Result<(), Error> {
    match command {
        Account::Add {
            place,
            user,
            groups,
            tenant,
        } => {
            let place = Place::of(&place)?;
            let mut password = String::new();
            std::io::stdin().read_line(&mut password).map_err(|error| {
                Error::new(ErrorKind::Unavailable, "no password on standard input")
                    .with_source(error)
            })?;
            let password = password.trim_end_matches(['\r', '\n']);
            let tenant = tenant.as_deref();
            match &place.file {
                Some(file) => Accounts::put(file, &user, &groups, tenant, password)?,
                None => {
                    let shared = place.shared()?;
                    wait(shared.put(&user, &groups, tenant, password))?;
                }
            }
            eprintln!("`{user}` can log in now: dockctl login --user {user}");
        }
        Account::Remove { place, user } => {
            let place = Place::of(&place)?;
            match (&place.file, &place.shared) {
                (Some(file), shared) => {
                    Accounts::remove(file, &user)?;
                    if let Some(shared) = shared {
                        wait(shared.forget_tokens(&user))?;
                    }
                }
                (None, _) => wait(place.shared()?.remove(&user))?,
            }
            TokenFile::forget_personal(&place.tokens, &user)?;
        }
        Account::End { place, user } => {
            let place = Place::of(&place)?;
            let known = match (&place.file, &place.shared) {
                (Some(file), shared) => {
                    let known = Accounts::end_sessions(file, &user)?;
                    match shared {
                        _ if known => {}
                        Some(shared) => wait(shared.end_stranger(&user))?,
                        None => Accounts::end_stranger(file, &user)?,
                    }
                    known
                }
                (None, _) => wait(place.shared()?.end_sessions(&user))?,
            };
            match known {
                true => eprintln!("the sessions of `{user}` are ended"),
                false => eprintln!(
                    "`{user}` has no account here; if he is of a directory his sessions are ended"
                ),
            }
        }
    }
    Ok(())
}

/// Why shared accounts cannot be had.
pub(crate) fn no_store() -> Error {
    let fix = "`accounts` says `shared: true`, so `store: redis://HOST:6379/0` is needed in the \
               configuration, or `--store`";
    Error::new(ErrorKind::Misuse, fix)
}

/// Where accounts are.
struct Place {
    file: Option<PathBuf>,
    shared: Option<SharedAccounts>,
    tokens: PathBuf,
}

impl Place {
    fn of(commanded: &Commanded) -> Result<Self, Error> {
        let config = commanded.config()?;
        let shared = store::open(&config)?.map(SharedAccounts::new);
        let accounts = config.accounts.ok_or_else(|| {
            let fix = "the configuration has no `accounts: { file: accounts.yaml, sessions: \
                       sessions }`";
            Error::new(ErrorKind::Misuse, fix)
        })?;
        Ok(Self {
            file: accounts.file,
            shared,
            tokens: config.tokens,
        })
    }

    fn shared(&self) -> Result<&SharedAccounts, Error> {
        self.shared.as_ref().ok_or_else(no_store)
    }
}
