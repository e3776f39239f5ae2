use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{ErrorKind as IoErrorKind, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use super::{Authenticator, Credentials, Principal, Proof};
use crate::{Error, ErrorKind};

/// A fresh bearer token: `dk_` and 32 random bytes in base64url. Only its hash is ever stored.
///
/// # Errors
///
/// `Unavailable` when the system has no randomness to give.
pub fn new_token() -> Result<String, Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the system gives no random bytes")
            .with_source(error.to_string())
    })?;
    Ok(format!("dk_{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// SHA-256 of `token` in lower-case hex, as [`TokenRecord::token_sha256`] has it.
///
/// A plain hash is enough because a token has 256 random bits: there is nothing to guess.
#[must_use]
pub fn hash_token(token: &str) -> String {
    Sha256::digest(token.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// One token of a [`TokenFile`]. A user may have several.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRecord {
    /// Whose it is.
    pub user: String,
    /// His groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What [`hash_token`] makes of it.
    pub token_sha256: String,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it proves nothing; never, without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// Bearer tokens from a YAML file: `users: [ { user, groups, token_sha256, created, expires } ]`.
///
/// Changes of the file are seen within a quarter of a second, whole or not at all: while the file
/// cannot be read, or has one bad record, the tokens of before stay in force and a warning says so.
///
/// A token is found by the SHA-256 of it, so how long a comparison takes tells nothing about it.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    tokens: RwLock<Arc<Tokens>>,
    seen: Mutex<Seen>,
}

/// How old what is known of the file may be.
const RELOAD_EVERY: Duration = Duration::from_millis(250);

/// Longest bearer token worth hashing, in bytes; ours have 46.
const MAX_TOKEN: usize = 4096;

impl TokenFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// `Misuse` when it cannot be read or has a bad record; the message names the file and the
    /// line.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        // The stamp first: a change in between then costs one more reading, not a missed one.
        let stamp = Stamp::of(&path);
        let tokens = Tokens::from_records(&path, read(&path)?)?;
        Ok(Self {
            path,
            tokens: RwLock::new(Arc::new(tokens)),
            seen: Mutex::new(Seen {
                at: Instant::now(),
                stamp,
            }),
        })
    }

    /// Gives `user` a new token, writes its hash to the file at `path` (made when it is not there),
    /// and returns the token itself: nobody can read it again.
    ///
    /// The file is replaced in one step with mode 0600; comments in it are lost.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); `Malformed` for a name that cannot be one; `Unavailable` when the
    /// file cannot be written.
    pub fn add(
        path: &Path,
        user: &str,
        groups: &[String],
        expires: Option<Timestamp>,
    ) -> Result<String, Error> {
        let token = new_token()?;
        let record = TokenRecord {
            user: user.to_owned(),
            groups: groups.to_vec(),
            token_sha256: hash_token(&token),
            created: whole_seconds(Timestamp::now()),
            expires: expires.map(whole_seconds),
        };
        check(&record).map_err(|what| Error::new(ErrorKind::Malformed, what))?;
        edit(path, |records| records.push(record))?;
        Ok(token)
    }

    /// Takes every token of `user` out of the file at `path`; says how many there were.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); `NotFound` when he has none; `Unavailable` when the file cannot be
    /// written.
    pub fn revoke(path: &Path, user: &str) -> Result<usize, Error> {
        let missing = || Error::new(ErrorKind::NotFound, format!("user `{user}` has no token"));
        if !path.exists() {
            return Err(missing());
        }
        let mut revoked = 0;
        edit(path, |records| {
            let before = records.len();
            records.retain(|record| record.user != user);
            revoked = before - records.len();
        })?;
        if revoked == 0 {
            Err(missing())
        } else {
            Ok(revoked)
        }
    }

    /// The tokens of now; reads the file again when it has changed.
    async fn current(&self) -> Arc<Tokens> {
        let mut seen = self.seen.lock().await;
        if seen.at.elapsed() >= RELOAD_EVERY {
            seen.at = Instant::now();
            let path = self.path.clone();
            let before = seen.stamp;
            let news = tokio::task::spawn_blocking(move || {
                let stamp = Stamp::of(&path);
                (stamp != before).then(|| {
                    (
                        stamp,
                        read(&path).and_then(|r| Tokens::from_records(&path, r)),
                    )
                })
            });
            match news.await {
                Ok(Some((stamp, Ok(tokens)))) => {
                    seen.stamp = stamp;
                    tracing::info!(path = %self.path.display(), "tokens reloaded");
                    *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tokens);
                }
                Ok(Some((stamp, Err(error)))) => {
                    seen.stamp = stamp;
                    tracing::warn!(
                        error = %error.chain(),
                        "tokens not reloaded, those of before stay in force"
                    );
                }
                Ok(None) => {}
                Err(_) => tracing::warn!("the reading of the token file was cut short"),
            }
        }
        Arc::clone(&self.tokens.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Authenticator for TokenFile {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Arc<Principal>, Error> {
        let refused = |why: &str| Err(Error::new(ErrorKind::Unauthenticated, why));
        let Some(token) = &credentials.bearer else {
            return refused("no bearer token given");
        };
        if token.len() > MAX_TOKEN {
            return refused("the bearer token is not known");
        }
        match self.current().await.by_hash.get(&hash_token(token)) {
            None => refused("the bearer token is not known"),
            Some(known) if known.expires.is_some_and(|end| end <= Timestamp::now()) => {
                refused("the bearer token has expired")
            }
            Some(known) => Ok(Arc::clone(&known.principal)),
        }
    }
}

#[derive(Debug)]
struct Tokens {
    by_hash: HashMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    principal: Arc<Principal>,
    expires: Option<Timestamp>,
}

impl Tokens {
    fn from_records(path: &Path, records: Vec<TokenRecord>) -> Result<Self, Error> {
        let mut by_hash = HashMap::new();
        for record in records {
            let TokenRecord {
                user,
                groups,
                token_sha256,
                expires,
                ..
            } = record;
            let principal = Arc::new(Principal {
                user,
                groups,
                proof: Proof::Token,
            });
            if let Some(other) = by_hash.insert(token_sha256, Known { principal, expires }) {
                return Err(bad_file(
                    path,
                    format!(
                        "user `{}` has a token that is given twice",
                        other.principal.user
                    ),
                ));
            }
        }
        Ok(Self { by_hash })
    }
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    stamp: Option<Stamp>,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let data = fs::metadata(path).ok()?;
        Some(Self {
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
        })
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    users: Vec<TokenRecord>,
}

fn read(path: &Path) -> Result<Vec<TokenRecord>, Error> {
    let text = fs::read_to_string(path).map_err(|error| {
        bad_file(path, "cannot be read; `dockin-opserver token add` makes it").with_source(error)
    })?;
    let document: Document = if text.lines().all(|line| line.trim_start().starts_with('#')) {
        Document::default()
    } else {
        serde_saphyr::from_str(&text).map_err(|error| {
            // The parser's own text may quote the file, and with it hashes: only the place is told.
            let line = error.location().map_or(0, |place| place.line());
            bad_file(path, format!("line {line}: not `users: [ {{ user, groups, token_sha256, created, expires }} ]`"))
        })?
    };
    for record in &document.users {
        check(record).map_err(|what| bad_file(path, what))?;
    }
    Ok(document.users)
}

fn check(record: &TokenRecord) -> Result<(), String> {
    let legal = |name: &str| {
        (1..=253).contains(&name.len())
            && !name.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    if let Some(bad) = [&record.user]
        .into_iter()
        .chain(&record.groups)
        .find(|name| !legal(name.as_str()))
    {
        return Err(format!(
            "`{}` cannot be a user or group: 1 to 253 bytes without blanks",
            bad.escape_debug()
        ));
    }
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if record.token_sha256.len() != 64 || !record.token_sha256.bytes().all(hex) {
        return Err(format!(
            "`token_sha256` of user `{}` is not 64 lower-case hex digits",
            record.user
        ));
    }
    Ok(())
}

/// Reads, changes and replaces the file, with other editors kept out meanwhile.
fn edit(path: &Path, change: impl FnOnce(&mut Vec<TokenRecord>)) -> Result<(), Error> {
    let unwritable =
        |error: std::io::Error| unavailable(path, "cannot be written").with_source(error);
    let lock = sibling(path, ".lock");
    let lock = private().truncate(false).open(&lock).map_err(unwritable)?;
    lock.lock().map_err(unwritable)?;
    let mut document = Document::default();
    if path.exists() {
        document.users = read(path)?;
    }
    change(&mut document.users);
    let yaml = serde_saphyr::to_string(&document)
        .map_err(|error| unavailable(path, "cannot be written").with_source(error.to_string()))?;
    replace(path, format!("{HEADER}{yaml}").as_bytes()).map_err(unwritable)
}

/// Puts `bytes` in place of the file in one step: after a crash it is the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let fresh = sibling(path, ".new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != IoErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private().create_new(true).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn bad_file(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Misuse,
        format!("token file `{}`: {what}", path.display()),
    )
}

fn unavailable(path: &Path, what: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("token file `{}` {what}", path.display()),
    )
}

const HEADER: &str = "# Written by `dockin-opserver token`; has hashes only, never a token.\n";

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use std::{fs, os::unix::fs::PermissionsExt as _};

    use jiff::Timestamp;

    use super::{Authenticator as _, Credentials, RELOAD_EVERY, TokenFile, hash_token, new_token};
    use crate::ErrorKind;

    fn bearer(token: &str) -> Credentials {
        Credentials {
            bearer: Some(token.to_owned()),
            ..Credentials::default()
        }
    }

    #[test]
    fn tokens_are_fresh_and_hash_to_the_known_digest() {
        let token = new_token().unwrap();
        assert_eq!((token.len(), &token[..3]), (46, "dk_"));
        assert_ne!(token, new_token().unwrap());
        assert_eq!(
            hash_token("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[tokio::test]
    async fn added_token_proves_its_user_and_is_not_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.yaml");
        let groups = ["dev".to_owned(), "@ops:#1".to_owned()];
        let token = TokenFile::add(&path, "alice", &groups, None).unwrap();
        TokenFile::add(&path, "true", &[], None).unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains(&token));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );

        let file = TokenFile::load(&path).unwrap();
        let principal = file.authenticate(&bearer(&token)).await.unwrap();
        assert_eq!(
            (principal.user.as_str(), principal.groups.as_slice()),
            ("alice", &groups[..])
        );
        for bad in ["", "dk_", &token[..45], &"x".repeat(5000)] {
            let error = file.authenticate(&bearer(bad)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        }
        assert!(file.authenticate(&Credentials::default()).await.is_err());
    }

    #[tokio::test]
    async fn expired_token_proves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.yaml");
        let past = Timestamp::from_second(1_700_000_000).unwrap();
        let token = TokenFile::add(&path, "alice", &[], Some(past)).unwrap();
        let error = TokenFile::load(&path)
            .unwrap()
            .authenticate(&bearer(&token))
            .await
            .unwrap_err();
        assert_eq!(error.message(), "the bearer token has expired");
    }

    #[tokio::test]
    async fn changes_are_seen_and_broken_files_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.yaml");
        let alice = TokenFile::add(&path, "alice", &[], None).unwrap();
        let file = TokenFile::load(&path).unwrap();
        let bob = TokenFile::add(&path, "bob", &[], None).unwrap();
        std::thread::sleep(RELOAD_EVERY);
        assert!(file.authenticate(&bearer(&bob)).await.is_ok());

        let good = fs::read_to_string(&path).unwrap();
        for broken in [
            good.replace("bob", "b b"),
            good.replace("token_sha256", "hash"),
            "[".into(),
        ] {
            fs::write(&path, broken).unwrap();
            std::thread::sleep(RELOAD_EVERY);
            assert!(file.authenticate(&bearer(&bob)).await.is_ok());
            assert!(TokenFile::load(&path).is_err());
        }

        fs::write(&path, good).unwrap();
        assert_eq!(TokenFile::revoke(&path, "bob").unwrap(), 1);
        assert!(TokenFile::revoke(&path, "bob").is_err());
        std::thread::sleep(RELOAD_EVERY);
        assert!(file.authenticate(&bearer(&bob)).await.is_err());
        assert!(file.authenticate(&bearer(&alice)).await.is_ok());
    }

    #[test]
    fn errors_name_file_and_line_and_quote_no_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.yaml");
        let hash = hash_token("secret");
        fs::write(
            &path,
            format!("users:\n- user: a\n  token_sha256: {hash}\n  made: x\n"),
        )
        .unwrap();
        let error = TokenFile::load(&path).unwrap_err();
        assert!(error.message().contains("tokens.yaml"), "{error}");
        assert!(error.message().contains("line "), "{error}");
        assert!(!error.chain().contains(&hash));
    }
}
