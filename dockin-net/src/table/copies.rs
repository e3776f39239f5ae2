//! The newest two records of the journal a second time, and which of them were durable.
//!
//! ```text
//! | area of records 0, 2, 4 … | area of records 1, 3, 5 … | the records, one after the other
//!
//! +---------------------------------------+--------------------------------------+------+
//! | made durable: generation, u64         | record's head: generation, u64       | body |
//! |   index, u32 | 0, u32 | CRC-32, u32   |   index, length, CRC-32 | CRC-32     |      |
//! +---------------------------------------+--------------------------------------+------+
//! ```
//!
//! Nothing behind the last record says that there was one, so a page that a disk loses there looks
//! like a record that a crash tore. The copy is written with the record and made durable by the
//! same call. Its head alone says that all records before were durable; what it holds takes the
//! place of the record when that is not whole any more. A record that fits into no copy is durable
//! before its copy's head is written.
//!
//! After a record was made durable, that is noted in the area that the next one will write, so
//! that it costs no page. A note that is not there yet means that the one who wrote the record
//! was killed: whoever opens the files makes it durable before it counts.

use super::{disk::Disk, disk::FileName, journal};
use crate::store::StoreError;

/// Bytes of an area.
pub(super) const AREA: usize = 32 * 1024;
/// Bytes of the journal's file before its records.
pub(super) const AREAS: usize = 2 * AREA;

const NOTE: usize = 20;
const HEAD: usize = journal::HEAD + 4;
/// Where the copy's head is in an area.
const COPY: usize = 32;
const LONGEST: usize = AREA - COPY - HEAD;

/// Does a record of so many bytes have a copy beside the head?
pub(super) const fn fits(record: usize) -> bool {
    record <= LONGEST + journal::HEAD
}

/// Where the copy of a record is in the file.
pub(super) const fn place(index: u32) -> u64 {
    (index % 2) as u64 * AREA as u64 + COPY as u64
}

/// Where it is noted that a record is durable.
pub(super) const fn note_place(index: u32) -> u64 {
    ((index.wrapping_add(1)) % 2) as u64 * AREA as u64
}

/// The copy of a record, or its head alone.
pub(super) fn copy(record: &[u8]) -> Vec<u8> {
    let (head, body) = record.split_at_checked(journal::HEAD).unwrap_or_default();
    let mut copy = Vec::with_capacity(HEAD + body.len());
    copy.extend_from_slice(head);
    copy.extend_from_slice(&crc32fast::hash(head).to_le_bytes());
    if fits(record.len()) {
        copy.extend_from_slice(body);
    }
    copy
}

/// What overwrites the copy of a record that must not count.
pub(super) const NO_COPY: [u8; HEAD] = [0; HEAD];

/// That a record is durable.
pub(super) fn note(generation: u64, index: u32) -> Vec<u8> {
    let mut note = Vec::with_capacity(NOTE);
    note.extend_from_slice(&generation.to_le_bytes());
    note.extend_from_slice(&index.to_le_bytes());
    note.extend_from_slice(&[0; 4]);
    let checksum = crc32fast::hash(&note);
    note.extend_from_slice(&checksum.to_le_bytes());
    note
}

/// A record that was written, and its head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copied {
    pub(super) generation: u64,
    pub(super) index: u32,
    length: usize,
    head: [u8; journal::HEAD],
}

impl Copied {
    /// The record from its copy; none when that is not whole or was too long for one.
    pub(super) fn read<D: Disk>(&self, disk: &D) -> Result<Option<Vec<u8>>, StoreError> {
        if self.length > LONGEST {
            return Ok(None);
        }
        let mut record = self.head.to_vec();
        record.resize(journal::HEAD + self.length, 0);
        if let Some(body) = record.get_mut(journal::HEAD..) {
            let offset = place(self.index) + HEAD as u64;
            disk.read(FileName::Journal, offset, body)?;
        }
        let is_whole = journal::is_record(&record, self.generation);
        record.resize(journal::padded(record.len()), 0);
        Ok(is_whole.then_some(record))
    }

    /// Was the record durable before this was written?
    pub(super) const fn is_behind_its_record(&self) -> bool {
        self.length > LONGEST
    }
}

/// What both areas say, the records in their order.
#[derive(Debug, Default)]
pub(super) struct Areas {
    pub(super) copies: Vec<Copied>,
    /// Generation and index of records that were durable.
    pub(super) durable: Vec<(u64, u32)>,
}

impl Areas {
    pub(super) fn read<D: Disk>(disk: &D) -> Result<Self, StoreError> {
        let mut areas = Self::default();
        for area in [0, AREA] {
            let mut bytes = [0; COPY + HEAD];
            disk.read(FileName::Journal, area as u64, &mut bytes)?;
            areas.durable.extend(read_note(&bytes));
            areas.copies.extend(bytes.get(COPY..).and_then(read_head));
        }
        areas
            .copies
            .sort_unstable_by_key(|it| (it.generation, it.index));
        Ok(areas)
    }
}

fn read_note(bytes: &[u8]) -> Option<(u64, u32)> {
    let generation = u64::from_le_bytes(*bytes.first_chunk()?);
    let index = u32::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
    (bytes.get(..NOTE)? == note(generation, index)).then_some((generation, index))
}

fn read_head(bytes: &[u8]) -> Option<Copied> {
    let (head, rest) = bytes.split_first_chunk::<{ journal::HEAD }>()?;
    let (generation, index, length, _) = journal::parts(head)?;
    let written = u32::from_le_bytes(*rest.first_chunk()?);
    let copied = Copied {
        generation,
        index,
        length,
        head: *head,
    };
    (crc32fast::hash(head) == written).then_some(copied)
}
