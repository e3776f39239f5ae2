//! The key that signs checkpoints, kept in a file.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use dockin_policy::audit::SigningKey;

use crate::{Error, ErrorKind, hex::hex};

/// Reads the signing key of `path`, or makes one: 64 hexadecimal digits, mode 0600. Its public
/// half lies beside it as `PATH.pub`, for those who verify.
///
/// # Errors
///
/// `Misuse` when the file holds no key or others may read it, `Unavailable` when it can neither be
/// read nor made.
pub fn signing_key(path: &Path) -> Result<SigningKey, Error> {
    let seed = match read_secret(path, "audit key") {
        Err(error) if error.kind() == ErrorKind::NotFound => make_secret(path, "audit key")?,
        read => read?,
    };
    let key = SigningKey::from_seed(&seed);
    let public = public_path(path);
    let text = format!("{}\n", key.public());
    if fs::read_to_string(&public).is_ok_and(|found| found == text) {
        return Ok(key);
    }
    fs::write(&public, text).map_err(|error| unread(&public, error))?;
    Ok(key)
}

/// Reads 32 secret bytes from a file of 64 hexadecimal digits; `what` names it in messages.
///
/// # Errors
///
/// `Misuse` when it does not hold them or others may read it, `NotFound` and `Unavailable` when it
/// cannot be read.
pub(crate) fn read_secret(path: &Path, what: &str) -> Result<[u8; 32], Error> {
    let shown = path.display();
    let unread = |error: io::Error| {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, format!("{what} `{shown}` cannot be read")).with_source(error)
    };
    let text = fs::read_to_string(path).map_err(unread)?;
    let mode = fs::metadata(path).map_err(unread)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Error::new(
            ErrorKind::Misuse,
            format!("{what} `{shown}` can be read by others: chmod 600 {shown}"),
        ));
    }
    seed(text.trim()).ok_or_else(|| {
        Error::new(
            ErrorKind::Misuse,
            format!(
                "{what} `{shown}` has not 64 hexadecimal digits; `openssl rand -hex 32` makes them"
            ),
        )
    })
}

/// Where the public half of the key at `path` lies.
#[must_use]
pub fn public_path(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// Makes 32 secret bytes and keeps them in the file that [`read_secret`] reads; `what` names it in
/// messages.
///
/// # Errors
///
/// `Unavailable` when the file cannot be made, or there is no randomness.
pub(crate) fn make_secret(path: &Path, what: &str) -> Result<[u8; 32], Error> {
    let unmade = |error: io::Error| {
        let message = format!("{what} `{}` cannot be made", path.display());
        Error::new(ErrorKind::Unavailable, message).with_source(error)
    };
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| {
        let message = format!("no randomness for the {what}");
        Error::new(ErrorKind::Unavailable, message).with_source(error.to_string())
    })?;
    let digits = hex(&seed);
    let mut fresh: OsString = path.as_os_str().to_owned();
    fresh.push(".new");
    // Half a key from a crash is no key.
    let _none = fs::remove_file(&fresh);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(unmade)?;
    file.write_all(format!("{digits}\n").as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&fresh, path))
        .map_err(unmade)?;
    Ok(seed)
}

fn seed(text: &str) -> Option<[u8; 32]> {
    let mut seed = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in seed.iter_mut().enumerate() {
        let digits = text.get(index * 2..index * 2 + 2)?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(seed)
}

fn unread(path: &Path, error: io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("audit key `{}` cannot be read or made", path.display()),
    )
    .with_source(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::{public_path, signing_key};

    #[test]
    fn a_key_is_made_once_and_kept_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.key");
        let made = signing_key(&path).unwrap();
        assert_eq!(signing_key(&path).unwrap().public(), made.public());
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let public = fs::read_to_string(public_path(&path)).unwrap();
        assert_eq!(public.parse(), Ok(made.public()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(
            signing_key(&path)
                .unwrap_err()
                .message()
                .contains("chmod 600")
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        let error = signing_key(&path).unwrap_err();
        assert!(error.message().contains("64 hexadecimal"), "{error}");
        assert!(!error.chain().contains("short"));
    }
}
