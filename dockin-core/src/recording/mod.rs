//! Sessions kept as films: where they go, who writes them, and how they are read back.

mod reader;
#[cfg(feature = "gateway")]
mod store;
#[cfg(feature = "gateway")]
mod writer;

use std::path::Path;

use dockin_policy::recording::RecordingKey;
pub use reader::{OpenRecording, RecordingFile, list_recordings, open_recording};
#[cfg(feature = "gateway")]
pub use store::{Recorder, RecordingOptions, RecordingStore};

use crate::{Error, audit::read_secret};

/// Reads the key of recordings from a file: 64 hexadecimal digits that nobody else may read.
///
/// # Errors
///
/// `Misuse` when it holds no key or others may read it, `NotFound` and `Unavailable` when it
/// cannot be read.
pub fn recording_key(path: &Path) -> Result<RecordingKey, Error> {
    read_secret(path, "recording key").map(RecordingKey::new)
}
