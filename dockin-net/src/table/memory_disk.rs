//! Files in memory that a crash may end in the middle of.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use super::{Disk, FileName};
use crate::StoreError;

const SECTOR: usize = 512;

/// What the system has, and what of it is on the disk.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) current: BTreeMap<FileName, Vec<u8>>,
    durable: BTreeMap<FileName, Vec<u8>>,
    pending: Vec<(FileName, usize, Vec<u8>)>,
    /// Steps until the power goes: each sector of a write is one, and everything else.
    pub(crate) power: Option<usize>,
    /// How many of the next syncs fail, while everything else goes on.
    pub(crate) failing_syncs: usize,
}

impl Files {
    /// The machine starts again: of what was not made durable, each sector is there or not, as
    /// the bits of `seed` say.
    pub(crate) fn crash(&mut self, mut seed: u64) {
        let mut files = std::mem::take(&mut self.durable);
        for (name, offset, bytes) in self.pending.drain(..) {
            let file = files.entry(name).or_default();
            let mut start = 0;
            while start < bytes.len() {
                let end = (start + SECTOR - (offset + start) % SECTOR).min(bytes.len());
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if seed >> 63 == 1 {
                    put(file, offset + start, &bytes[start..end]);
                }
                start = end;
            }
        }
        self.current.clone_from(&files);
        self.durable = files;
        self.power = None;
    }

    /// Everything reaches the disk.
    pub(crate) fn make_durable(&mut self) {
        self.durable.clone_from(&self.current);
        self.pending.clear();
    }

    /// How much of `wanted` happens before the power goes.
    fn spend(&mut self, wanted: usize) -> usize {
        let Some(power) = &mut self.power else {
            return wanted;
        };
        let spent = wanted.min(*power);
        *power -= spent;
        spent
    }

    fn step(&mut self) -> Result<(), StoreError> {
        match self.spend(1) {
            0 => Err(no_power()),
            _ => Ok(()),
        }
    }
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

fn no_power() -> StoreError {
    StoreError::Io {
        path: "memory".into(),
        message: "the power is gone".into(),
    }
}

/// A disk; others of the same files are the machine's next start.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryDisk(pub(crate) Rc<RefCell<Files>>);

impl Disk for MemoryDisk {
    fn length(&self, file: FileName) -> Result<Option<u64>, StoreError> {
        let files = self.0.borrow();
        Ok(files.current.get(&file).map(|it| it.len() as u64))
    }

    fn read(&self, file: FileName, offset: u64, into: &mut [u8]) -> Result<usize, StoreError> {
        let files = self.0.borrow();
        let offset = usize::try_from(offset).unwrap();
        let bytes = files.current[&file].get(offset..).unwrap_or_default();
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn write(&mut self, file: FileName, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let mut files = self.0.borrow_mut();
        let offset = usize::try_from(offset).unwrap();
        let sectors = files.spend(bytes.len().div_ceil(SECTOR));
        let written = &bytes[..bytes.len().min(sectors * SECTOR)];
        put(files.current.get_mut(&file).unwrap(), offset, written);
        files.pending.push((file, offset, written.to_vec()));
        if written.len() < bytes.len() {
            return Err(no_power());
        }
        Ok(())
    }

    fn sync(&mut self, file: FileName) -> Result<(), StoreError> {
        let mut files = self.0.borrow_mut();
        files.step()?;
        if files.failing_syncs > 0 {
            files.failing_syncs -= 1;
            return Err(no_power());
        }
        let content = files.current[&file].clone();
        files.durable.insert(file, content);
        files.pending.retain(|(name, _, _)| *name != file);
        Ok(())
    }

    fn replace(&mut self, file: FileName, bytes: &[u8]) -> Result<(), StoreError> {
        let mut files = self.0.borrow_mut();
        files.step()?;
        files.pending.retain(|(name, _, _)| *name != file);
        files.current.insert(file, bytes.to_vec());
        files.durable.insert(file, bytes.to_vec());
        Ok(())
    }
}
