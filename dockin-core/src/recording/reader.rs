use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use dockin_policy::recording::{CastHeader, CastReader, Ending, RecordingKey, SealError, Unsealer};

use crate::{Error, ErrorKind};

/// A recording on disk.
#[derive(Clone, Debug)]
pub struct RecordingFile {
    /// Its session, from the file's name.
    pub session: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its size, bytes.
    pub size: u64,
    /// Whether it is encrypted, by its name.
    pub encrypted: bool,
}

/// What recordings without and with encryption are called behind the session's name.
pub(super) const PLAIN: &str = ".cast.zst";
pub(super) const SEALED: &str = ".cast.sealed";

/// The recordings in `directory`, oldest first: sessions are named by their time.
///
/// # Errors
///
/// `NotFound` and `Unavailable` when the directory cannot be read.
pub fn list_recordings(directory: &Path) -> Result<Vec<RecordingFile>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| unread(directory, error))? {
        let entry = entry.map_err(|error| unread(directory, error))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            continue;
        };
        let (session, encrypted) = match (name.strip_suffix(PLAIN), name.strip_suffix(SEALED)) {
            (Some(session), _) => (session, false),
            (None, Some(session)) => (session, true),
            (None, None) => continue,
        };
        let size = entry
            .metadata()
            .map_err(|error| unread(directory, error))?
            .len();
        found.push(RecordingFile {
            session: session.to_owned(),
            path: entry.path(),
            size,
            encrypted,
        });
    }
    found.sort_by(|one, other| one.session.cmp(&other.session));
    Ok(found)
}

/// A recording that is being read, block by block.
#[derive(Debug)]
pub struct OpenRecording {
    path: PathBuf,
    file: File,
    unsealer: Unsealer,
    piece: Vec<u8>,
}

/// Bytes read at once.
const PIECE: usize = 256 << 10;

/// Opens the recording at `path`, with the key when it is encrypted.
///
/// # Errors
///
/// `NotFound` and `Unavailable` when it cannot be opened.
pub fn open_recording(path: &Path, key: Option<RecordingKey>) -> Result<OpenRecording, Error> {
    Ok(OpenRecording {
        path: path.to_owned(),
        file: File::open(path).map_err(|error| unread(path, error))?,
        unsealer: Unsealer::new(key),
        piece: vec![0; PIECE],
    })
}

impl OpenRecording {
    /// The next lines of the cast, cut anywhere; `None` at the end.
    ///
    /// # Errors
    ///
    /// `Misuse` when the key is missing or another one, `Misbehaved` when the recording is
    /// damaged, `Unavailable` when it cannot be read.
    pub fn read(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut cast = Vec::new();
        while cast.is_empty() {
            let size = self
                .file
                .read(&mut self.piece)
                .map_err(|error| unread(&self.path, error))?;
            let bytes = self.piece.get(..size).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(None);
            }
            self.unsealer.feed(bytes, &mut cast).map_err(|error| {
                let kind = match error {
                    SealError::NeedsKey { .. } | SealError::OtherKey { .. } => ErrorKind::Misuse,
                    _ => ErrorKind::Misbehaved,
                };
                Error::new(kind, format!("`{}`: {error}", self.path.display()))
            })?;
        }
        Ok(Some(cast))
    }

    /// How it ended, when [`read`](Self::read) has given `None`.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.unsealer.finish()
    }

    /// Reads as far as the header.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and `Misbehaved` without a header.
    pub fn header(&mut self) -> Result<CastHeader, Error> {
        let mut reader = CastReader::new();
        while let Some(cast) = self.read()? {
            reader.feed(&cast);
            let header = reader.poll_header().map_err(|error| {
                let what = format!("`{}`: {error}", self.path.display());
                Error::new(ErrorKind::Misbehaved, what)
            })?;
            if let Some(header) = header {
                return Ok(header.clone());
            }
        }
        let what = format!("`{}` has no header of a cast", self.path.display());
        Err(Error::new(ErrorKind::Misbehaved, what))
    }
}

fn unread(path: &Path, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Unavailable,
    };
    Error::new(
        kind,
        format!("recording `{}` cannot be read", path.display()),
    )
    .with_source(error)
}
