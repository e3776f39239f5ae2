use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{io_error, lock, replace, sync_names};
use crate::{
    StoreError,
    log_store::{Disk, FileName},
};

/// The two files of a [`LogStore`](crate::LogStore) in a directory, locked while this lives.
#[derive(Debug)]
pub struct FileDisk {
    directory: PathBuf,
    log: Option<File>,
    _lock: File,
}

impl FileDisk {
    /// Makes the directory when it is not there, and waits for its lock.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            _lock: lock(directory)?,
            directory: directory.into(),
            log: None,
        })
    }

    fn path(&self, file: FileName) -> PathBuf {
        self.directory.join(file.as_str())
    }

    fn with<T>(
        &mut self,
        name: FileName,
        act: impl FnOnce(&File) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        let path = self.path(name);
        let opened = match self.log.take() {
            Some(file) if name == FileName::Log => Ok(file),
            _ => OpenOptions::new().read(true).write(true).open(&path),
        };
        let file = opened.map_err(|error| io_error(&path, &error))?;
        let done = act(&file).map_err(|error| io_error(&path, &error));
        if name == FileName::Log {
            self.log = Some(file);
        }
        done
    }
}

impl Disk for FileDisk {
    fn read(&mut self, file: FileName) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(file);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(&path, &error)),
        }
    }

    fn write(&mut self, file: FileName, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.with(file, |file| file.write_all_at(bytes, offset))
    }

    fn sync(&mut self, file: FileName) -> Result<(), StoreError> {
        self.with(file, File::sync_data)
    }

    fn truncate(&mut self, file: FileName, length: u64) -> Result<(), StoreError> {
        self.with(file, |file| file.set_len(length))
    }

    fn replace(&mut self, file: FileName, bytes: &[u8]) -> Result<(), StoreError> {
        if file == FileName::Log {
            self.log = None;
        }
        replace(&self.directory, file.as_str(), bytes)?;
        sync_names(&self.directory)
    }
}
