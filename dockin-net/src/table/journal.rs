use std::{collections::BTreeMap, ops::Range};

use super::{block::Block, header::Header};

/// Records begin at multiples of this.
const ALIGNMENT: usize = 64;
/// Bytes before a record's body.
pub(super) const HEAD: usize = 20;

/// The newest content of blocks, as it was written down before it counted.
///
/// ```text
/// +-----------------+------------+-------------+------------+------------------------------+
/// | generation, u64 | index, u32 | length, u32 | CRC-32, u32| header's length, u16 | header|
/// +-----------------+------------+-------------+------------+------------------------------+
///    { block's number, u32 | length, u16 | block } …
/// ```
///
/// The file is written over from its beginning when it was emptied, and keeps its size: what
/// follows the last record is of an earlier generation, and making a record durable changes
/// nothing but its own blocks of the disk.
#[derive(Debug, Default)]
pub(super) struct Journal {
    bytes: Vec<u8>,
    blocks: BTreeMap<u32, Range<usize>>,
    header: Option<Header>,
    generation: u64,
    index: u32,
    end: usize,
}

impl Journal {
    pub(super) fn new(generation: u64) -> Self {
        Self {
            generation,
            ..Self::default()
        }
    }

    /// Reads the records of `generation`; what is wrong when that is more than a torn last one.
    pub(super) fn read(mut bytes: Vec<u8>, generation: u64) -> Result<Self, String> {
        let mut journal = Self::new(generation);
        let first = bytes.first_chunk::<HEAD>().and_then(parts);
        let newer = first.map(|(it, ..)| it).filter(|it| *it > generation);
        // A header is durable before the records that it counts: its table lost it.
        if newer.is_some_and(|newer| record(&bytes, 0, newer, 0).is_some()) {
            return Err("its records are of a newer header than the table has".into());
        }
        while let Some(body) = record(&bytes, journal.end, generation, journal.index) {
            let end = body.end;
            let content = bytes.get(body.clone()).unwrap_or_default();
            journal
                .take(content, body.start)
                .ok_or_else(|| format!("the record at byte {} has no meaning", journal.end))?;
            journal.end = end.next_multiple_of(ALIGNMENT);
            journal.index += 1;
        }
        let mut later = (journal.end..bytes.len()).step_by(ALIGNMENT).skip(1);
        // A crash tears the last record alone. When whole ones follow, something else did this,
        // and going on here would give addresses away that are in use.
        if later.any(|offset| later_record(&bytes, offset, generation, journal.index)) {
            return Err(format!(
                "no record at byte {}, and whole ones follow",
                journal.end
            ));
        }
        bytes.truncate(journal.end);
        journal.bytes = bytes;
        Ok(journal)
    }

    fn take(&mut self, mut body: &[u8], mut offset: usize) -> Option<()> {
        let (length, rest) = body.split_first_chunk::<2>()?;
        let (header, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        self.header = Some(Header::decode(header)?);
        offset += 2 + header.len();
        body = rest;
        while !body.is_empty() {
            let (number, rest) = body.split_first_chunk::<4>()?;
            let (length, rest) = rest.split_first_chunk::<2>()?;
            let length = usize::from(u16::from_le_bytes(*length));
            let start = offset + 6;
            self.blocks
                .insert(u32::from_le_bytes(*number), start..start + length);
            offset = start + length;
            body = rest.get(length..)?;
        }
        Some(())
    }

    /// The record of these blocks, zeros up to the next one included.
    pub(super) fn record<'a>(
        &self,
        header: &Header,
        blocks: impl IntoIterator<Item = (u32, &'a Block)>,
    ) -> Vec<u8> {
        let mut record = vec![0; HEAD];
        let header = header.encode();
        record.extend_from_slice(&length(&header));
        record.extend_from_slice(&header);
        for (number, block) in blocks {
            let block = block.encode(number);
            record.extend_from_slice(&number.to_le_bytes());
            record.extend_from_slice(&length(&block));
            record.extend_from_slice(&block);
        }
        let body = u32::try_from(record.len() - HEAD).unwrap_or(u32::MAX);
        let mut head = Vec::with_capacity(HEAD);
        head.extend_from_slice(&self.generation.to_le_bytes());
        head.extend_from_slice(&self.index.to_le_bytes());
        head.extend_from_slice(&body.to_le_bytes());
        let checksum = checksum(&head, record.get(HEAD..).unwrap_or_default());
        head.extend_from_slice(&checksum.to_le_bytes());
        if let Some(place) = record.get_mut(..HEAD) {
            place.copy_from_slice(&head);
        }
        record.resize(padded(record.len()), 0);
        record
    }

    /// Counts a record that was made durable at [`end`](Self::end).
    pub(super) fn push(&mut self, mut record: Vec<u8>) {
        let used = record.get(12..16).and_then(|it| it.first_chunk());
        let used = used.map_or(0, |it| u32::from_le_bytes(*it));
        let used = usize::try_from(used).unwrap_or(0);
        // What was just encoded has a meaning.
        let body = record.get(HEAD..HEAD + used).unwrap_or_default();
        let _ = self.take(body, self.end + HEAD);
        self.end += record.len();
        self.index += 1;
        let before = self.end - record.len();
        match before {
            0 => self.bytes = record,
            _ => {
                self.bytes.resize(before, 0);
                self.bytes.append(&mut record);
            }
        }
    }

    /// Where the next record goes.
    pub(super) const fn end(&self) -> usize {
        self.end
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// The index of the next record.
    pub(super) const fn due(&self) -> u32 {
        self.index
    }

    pub(super) const fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// The newest content of a block, when the table has an older one.
    pub(super) fn block(&self, number: u32) -> Option<&[u8]> {
        self.bytes.get(self.blocks.get(&number)?.clone())
    }

    pub(super) fn blocks(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.blocks.iter().filter_map(|(number, range)| {
            let bytes = self.bytes.get(range.clone())?;
            Some((*number, bytes))
        })
    }
}

/// Bytes of a record with the zeros up to the next one.
pub(super) const fn padded(record: usize) -> usize {
    record.next_multiple_of(ALIGNMENT)
}

/// What overwrites the head of a record that must not count.
pub(super) const NO_RECORD: [u8; HEAD] = [0; HEAD];

/// Where in `bytes`, which are a part of the file from a multiple of the alignment on, a record of
/// `generation` seems to begin, and how many bytes it would have.
pub(super) fn seeming_records(
    bytes: &[u8],
    generation: u64,
) -> impl Iterator<Item = (usize, usize)> {
    let places = bytes.chunks(ALIGNMENT).enumerate();
    places.filter_map(move |(number, place)| {
        let (is_generation, _, length, _) = parts(place.first_chunk()?)?;
        let ours = is_generation == generation;
        ours.then(|| (number * ALIGNMENT, HEAD.saturating_add(length)))
    })
}

/// Does the file that starts with `bytes` seem to start with a record of a later generation?
pub(super) fn starts_newer(bytes: &[u8], generation: u64) -> bool {
    let first = bytes.first_chunk().and_then(parts);
    first.is_some_and(|(it, ..)| it > generation)
}

/// Is this a whole record of `generation`?
pub(super) fn is_record(bytes: &[u8], generation: u64) -> bool {
    let index = bytes.first_chunk().and_then(parts).map(|(_, it, ..)| it);
    index.is_some_and(|index| record(bytes, 0, generation, index).is_some())
}

/// The body of the record at `offset`, when it is whole and the one that is due.
fn record(bytes: &[u8], offset: usize, generation: u64, index: u32) -> Option<Range<usize>> {
    let rest = bytes.get(offset..)?;
    let head = rest.first_chunk::<HEAD>()?;
    let (is_generation, is_index, length, written) = parts(head)?;
    if is_generation != generation || is_index != index {
        return None;
    }
    let body = rest.get(HEAD..)?.get(..length)?;
    let right = checksum(head.get(..16)?, body) == written;
    right.then(|| offset + HEAD..offset + HEAD + length)
}

fn later_record(bytes: &[u8], offset: usize, generation: u64, index: u32) -> bool {
    let head = bytes.get(offset..).and_then(|it| it.first_chunk::<HEAD>());
    let parts = head.and_then(parts);
    parts.is_some_and(|(is_generation, is_index, _, _)| {
        let is_later = is_generation == generation && is_index > index;
        is_later && record(bytes, offset, generation, is_index).is_some()
    })
}

pub(super) fn parts(head: &[u8; HEAD]) -> Option<(u64, u32, usize, u32)> {
    let number = |at: usize| Some(u32::from_le_bytes(*head.get(at..)?.first_chunk()?));
    let generation = u64::from_le_bytes(*head.first_chunk()?);
    let length = usize::try_from(number(12)?).ok()?;
    Some((generation, number(8)?, length, number(16)?))
}

fn checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(body);
    hasher.finalize()
}

/// Blocks and headers are shorter than 64 KiB.
fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes()
}
