use std::{
    cell::OnceCell,
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{io_error, lock, replace, sync_names};
use crate::{
    StoreError,
    table::{Disk, FileName},
};

/// Files of the form before the table.
const EARLIER: [&str; 2] = ["leases.log", "leases.snapshot"];

/// The two files of a [`LeaseTable`](crate::LeaseTable) in a directory, locked while this lives.
#[derive(Debug)]
pub struct FileDisk {
    directory: PathBuf,
    table: OnceCell<File>,
    journal: OnceCell<File>,
    _lock: File,
}

impl FileDisk {
    /// Makes the directory when it is not there, and waits for its lock.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`], and [`StoreError::Earlier`] when there are only files of a version
    /// before this one.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let disk = Self {
            _lock: lock(directory)?,
            directory: directory.into(),
            table: OnceCell::new(),
            journal: OnceCell::new(),
        };
        if disk.file(FileName::Table)?.is_none() {
            let earlier = EARLIER.iter().map(|name| directory.join(name));
            if let Some(path) = earlier.into_iter().find(|path| path.exists()) {
                let path = path.display().to_string();
                return Err(StoreError::Earlier { path });
            }
        }
        Ok(disk)
    }

    /// Are there files of ours in a directory, of this version or one before?
    pub(super) fn is_in(directory: &Path) -> bool {
        let ours = [FileName::Table, FileName::Journal].map(FileName::as_str);
        let names = ours.iter().chain(&EARLIER);
        names.into_iter().any(|name| directory.join(name).exists())
    }

    fn path(&self, file: FileName) -> PathBuf {
        self.directory.join(file.as_str())
    }

    const fn cell(&self, file: FileName) -> &OnceCell<File> {
        match file {
            FileName::Table => &self.table,
            FileName::Journal => &self.journal,
        }
    }

    /// The file, none when it is not there.
    fn file(&self, name: FileName) -> Result<Option<&File>, StoreError> {
        if let Some(file) = self.cell(name).get() {
            return Ok(Some(file));
        }
        let path = self.path(name);
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Ok(Some(self.cell(name).get_or_init(|| file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(&path, &error)),
        }
    }

    fn with<T>(
        &self,
        name: FileName,
        act: impl FnOnce(&File) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        let wrong = |error| io_error(&self.path(name), &error);
        let file = self.file(name)?;
        let file = file.ok_or_else(|| wrong(ErrorKind::NotFound.into()))?;
        act(file).map_err(wrong)
    }
}

impl Disk for FileDisk {
    fn path(&self, file: FileName) -> String {
        Self::path(self, file).display().to_string()
    }

    fn length(&self, file: FileName) -> Result<Option<u64>, StoreError> {
        if self.file(file)?.is_none() {
            return Ok(None);
        }
        self.with(file, |file| Ok(file.metadata()?.len())).map(Some)
    }

    fn read(&self, file: FileName, offset: u64, into: &mut [u8]) -> Result<usize, StoreError> {
        self.with(file, |file| {
            let mut count = 0;
            while let Some(rest) = into.get_mut(count..).filter(|rest| !rest.is_empty()) {
                let at = offset + u64::try_from(count).unwrap_or(u64::MAX);
                match file.read_at(rest, at) {
                    Ok(0) => break,
                    Ok(more) => count += more,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(count)
        })
    }

    fn write(&mut self, file: FileName, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.with(file, |file| file.write_all_at(bytes, offset))
    }

    fn sync(&mut self, file: FileName) -> Result<(), StoreError> {
        self.with(file, File::sync_data)
    }

    fn replace(&mut self, file: FileName, bytes: &[u8]) -> Result<(), StoreError> {
        match file {
            FileName::Table => self.table = OnceCell::new(),
            FileName::Journal => self.journal = OnceCell::new(),
        }
        replace(&self.directory, file.as_str(), bytes)?;
        sync_names(&self.directory)
    }
}
