//! Files of records about people: read whole or not at all, replaced in one step, followed.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind as IoErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Mutex;

use crate::{Error, ErrorKind, stamp::Stamp};

/// What a YAML file has in it.
pub(super) trait Records: Default + Serialize + DeserializeOwned {
    /// What the file is called in messages.
    const WHAT: &'static str;
    /// How it is made, for who has none.
    const MAKER: &'static str;
    /// Its shape, for who got it wrong.
    const SHAPE: &'static str;
    /// A comment on top of it.
    const HEADER: &'static str;

    /// Checks every record.
    ///
    /// # Errors
    ///
    /// What is wrong with which.
    fn check(&self) -> Result<(), String>;
}

/// Reads and checks the file at `path`.
///
/// # Errors
///
/// `Misuse` when it cannot be read or has a bad record, naming the file and the line, and quoting
/// nothing of it.
pub(super) fn read<R: Records>(path: &Path) -> Result<R, Error> {
    let bad = |what: String| {
        let message = format!("{} `{}`: {what}", R::WHAT, path.display());
        Error::new(ErrorKind::Misuse, message)
    };
    let text = fs::read_to_string(path)
        .map_err(|error| bad(format!("cannot be read; {}", R::MAKER)).with_source(error))?;
    let records: R = if text.lines().all(|line| line.trim_start().starts_with('#')) {
        R::default()
    } else {
        serde_saphyr::from_str(&text).map_err(|error| {
            // The parser's own text may quote the file, and with it hashes: only the place is told.
            let line = error.location().map_or(0, |place| place.line());
            bad(format!("line {line}: not `{}`", R::SHAPE))
        })?
    };
    records.check().map_err(bad)?;
    Ok(records)
}

/// Reads, changes and replaces the file, with other editors kept out meanwhile. It is made, for
/// its owner alone, when it is not there; comments in it are lost.
///
/// # Errors
///
/// As [`read`], and what `change` says; `Unavailable` when it cannot be written.
pub(super) fn edit<R: Records, T>(
    path: &Path,
    change: impl FnOnce(&mut R) -> Result<T, Error>,
) -> Result<T, Error> {
    let unavailable = || {
        let message = format!("{} `{}` cannot be written", R::WHAT, path.display());
        Error::new(ErrorKind::Unavailable, message)
    };
    let unwritable = |error: std::io::Error| unavailable().with_source(error);
    let lock = sibling(path, ".lock");
    let lock = private().truncate(false).open(&lock).map_err(unwritable)?;
    lock.lock().map_err(unwritable)?;
    let mut records = if path.exists() {
        read(path)?
    } else {
        R::default()
    };
    let outcome = change(&mut records)?;
    records
        .check()
        .map_err(|what| Error::new(ErrorKind::Malformed, what))?;
    let yaml = serde_saphyr::to_string(&records)
        .map_err(|error| unavailable().with_source(error.to_string()))?;
    replace(path, format!("{}{yaml}", R::HEADER).as_bytes()).map_err(unwritable)?;
    Ok(outcome)
}

/// Checks a name of a person or a group.
///
/// # Errors
///
/// That it cannot be one.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let legal = (1..=253).contains(&name.len())
        && !name.chars().any(|c| c.is_control() || c.is_whitespace());
    match legal {
        true => Ok(()),
        false => Err(format!(
            "`{}` cannot be a user or group: 1 to 253 bytes without blanks",
            name.escape_debug()
        )),
    }
}

pub(super) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// What is made of a file, and made again when the file changes.
///
/// Changes are seen within a quarter of a second, whole or not at all: while the file is wrong
/// what was made of it before stays, and a warning says so.
#[derive(Debug)]
pub(super) struct Followed<T> {
    path: PathBuf,
    make: fn(&Path) -> Result<T, Error>,
    value: RwLock<Arc<T>>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    stamp: Option<Stamp>,
}

/// How old what is known of a file may be.
pub(super) const RELOAD_EVERY: Duration = Duration::from_millis(250);

impl<T: Send + Sync + 'static> Followed<T> {
    /// What `make` makes of the file at `path`.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub(super) fn load(
        path: impl Into<PathBuf>,
        make: fn(&Path) -> Result<T, Error>,
    ) -> Result<Self, Error> {
        let path = path.into();
        // The stamp first: a change in between then costs one more reading, not a missed one.
        let stamp = Stamp::of(&path);
        let value = make(&path)?;
        Ok(Self {
            path,
            make,
            value: RwLock::new(Arc::new(value)),
            seen: Mutex::new(Seen {
                at: Instant::now(),
                stamp,
            }),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What there is now; reads the file again when it has changed.
    pub(super) async fn current(&self) -> Arc<T> {
        let mut seen = self.seen.lock().await;
        if seen.at.elapsed() >= RELOAD_EVERY {
            self.reload(&mut seen).await;
        }
        drop(seen);
        Arc::clone(&self.value.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file again if it has changed, however lately somebody looked.
    pub(super) async fn look(&self) {
        self.reload(&mut *self.seen.lock().await).await;
    }

    async fn reload(&self, seen: &mut Seen) {
        seen.at = Instant::now();
        let (path, make, before) = (self.path.clone(), self.make, seen.stamp);
        let news = tokio::task::spawn_blocking(move || {
            let stamp = Stamp::of(&path);
            (stamp != before).then(|| (stamp, make(&path)))
        });
        match news.await {
            Ok(Some((stamp, Ok(value)))) => {
                seen.stamp = stamp;
                tracing::info!(path = %self.path.display(), "reloaded");
                *self.value.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
            }
            Ok(Some((stamp, Err(error)))) => {
                seen.stamp = stamp;
                tracing::warn!(
                    error = %error.chain(),
                    "not reloaded, what was there before stays in force"
                );
            }
            Ok(None) => {}
            Err(_) => tracing::warn!(path = %self.path.display(), "reading was cut short"),
        }
    }
}

/// Puts `bytes` in place of the file in one step: after a crash it is the old one or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
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
