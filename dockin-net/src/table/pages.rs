use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use super::{
    block::{BLOCK, Block},
    disk::{Disk, FileName},
    header::Header,
    journal::{Journal, NO_RECORD, is_record, seeming_records, starts_newer},
};
use crate::store::StoreError;

/// Bytes of the journal from which on it is emptied into the table: some tens of allocations, and
/// so at most some hundred blocks that are written then. Every call reads as much.
const EMPTY_AT: usize = 32 * 1024;
/// Bytes of the journal's file that every call reads; after a longer record it is made anew.
const LONGEST: usize = 4 * EMPTY_AT;
/// Blocks kept in memory while one call reads.
const CACHED: usize = 64;
/// Blocks before the first bucket: two headers, of which the newer whole one counts.
const HEADERS: u32 = 2;

/// Blocks with a journal before them: what is committed together is there together.
#[derive(Debug)]
pub(super) struct Pages<D> {
    disk: D,
    journal: Journal,
    committed: Header,
    /// That of the call under way.
    pub(super) header: Header,
    dirty: BTreeMap<u32, Rc<Block>>,
    cache: RefCell<BTreeMap<u32, Rc<Block>>>,
    /// The generation on the disk is not known any more.
    poisoned: bool,
}

impl<D: Disk> Pages<D> {
    /// Opens the files, or makes them with `buckets` empty blocks.
    pub(super) fn open(mut disk: D, buckets: u32) -> Result<Self, StoreError> {
        if disk.length(FileName::Table)?.is_none() {
            let header = Header::new(buckets);
            let numbers = (0..buckets).map(super::bucket_block);
            let empty = Block::default();
            let image = image(&header, numbers.map(|number| (number, &empty)));
            // The journal first: a table without one is damaged, one without a table is nothing.
            disk.replace(FileName::Journal, &vec![0; EMPTY_AT])?;
            disk.replace(FileName::Table, &image)?;
        }
        let mut heads = vec![0; BLOCK * 2];
        disk.read(FileName::Table, 0, &mut heads)?;
        let headers = heads.chunks(BLOCK).filter_map(Header::decode);
        let header = headers
            .max_by_key(|header| header.generation)
            .ok_or_else(|| damaged(FileName::Table, "it does not start as one of ours"))?;
        let length = disk
            .length(FileName::Journal)?
            .ok_or_else(|| damaged(FileName::Journal, "it is missing"))?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let journal = read_journal(&disk, length, header.generation)?;
        if journal.end() == 0 && length > LONGEST {
            disk.replace(FileName::Journal, &vec![0; EMPTY_AT])?;
        }
        let committed = journal.header().cloned().unwrap_or(header);
        Ok(Self {
            disk,
            journal,
            header: committed.clone(),
            committed,
            dirty: BTreeMap::new(),
            cache: RefCell::default(),
            poisoned: false,
        })
    }

    /// A block as it is in the call under way.
    pub(super) fn read(&self, number: u32) -> Result<Rc<Block>, StoreError> {
        if let Some(block) = self.dirty.get(&number) {
            return Ok(Rc::clone(block));
        }
        let mut cache = self.cache.borrow_mut();
        if let Some(block) = cache.get(&number) {
            return Ok(Rc::clone(block));
        }
        let decoded = match self.journal.block(number) {
            Some(bytes) => Block::decode(number, bytes),
            None => {
                let mut bytes = [0; BLOCK];
                self.disk
                    .read(FileName::Table, offset(number), &mut bytes)?;
                Block::decode(number, &bytes)
            }
        };
        let block =
            Rc::new(decoded.ok_or_else(|| {
                damaged(FileName::Table, &format!("block {number} is not whole"))
            })?);
        if cache.len() >= CACHED {
            cache.clear();
        }
        cache.insert(number, Rc::clone(&block));
        Ok(block)
    }

    /// A block to change in the call under way.
    pub(super) fn write(&mut self, number: u32) -> Result<&mut Block, StoreError> {
        let block = self.read(number)?;
        self.cache.get_mut().remove(&number);
        Ok(Rc::make_mut(self.dirty.entry(number).or_insert(block)))
    }

    /// A block whose content so far does not matter.
    pub(super) fn write_new(&mut self, number: u32, block: Block) {
        self.cache.get_mut().remove(&number);
        self.dirty.insert(number, Rc::new(block));
    }

    /// Forgets the call under way.
    pub(super) fn roll_back(&mut self) {
        self.dirty.clear();
        self.header = self.committed.clone();
    }

    /// Makes the call under way durable, in one record, or forgets it.
    pub(super) fn commit(&mut self) -> Result<(), StoreError> {
        let done = self.write_record();
        match &done {
            Ok(()) => self.committed = self.header.clone(),
            Err(_) => self.header = self.committed.clone(),
        }
        self.dirty.clear();
        if done.is_ok() && self.journal.end() > EMPTY_AT {
            // The changes are durable: what fails here is done at the next commit.
            let _ = self.empty_journal();
        }
        done
    }

    fn write_record(&mut self) -> Result<(), StoreError> {
        if self.poisoned {
            return Err(damaged(FileName::Table, "its header could not be written"));
        }
        let blocks = self.dirty.iter().map(|(number, block)| (*number, &**block));
        let record = self.journal.record(&self.header, blocks);
        let end = u64::try_from(self.journal.end()).unwrap_or(u64::MAX);
        let written = self
            .disk
            .write(FileName::Journal, end, &record)
            .and_then(|()| self.disk.sync(FileName::Journal));
        if let Err(error) = written {
            // The record may be whole on the disk: what is reported as failed must not count.
            self.disk.write(FileName::Journal, end, &NO_RECORD)?;
            self.disk.sync(FileName::Journal)?;
            return Err(error);
        }
        self.journal.push(record);
        Ok(())
    }

    /// Puts what the journal holds into the table.
    ///
    /// The table's blocks are durable before the header says so, and the header is durable before
    /// the journal is written over. The other header is that of before.
    pub(super) fn empty_journal(&mut self) -> Result<(), StoreError> {
        for (number, bytes) in self.journal.blocks() {
            let mut block = [0; BLOCK];
            if let Some(place) = block.get_mut(..bytes.len()) {
                place.copy_from_slice(bytes);
            }
            self.disk.write(FileName::Table, offset(number), &block)?;
        }
        self.disk.sync(FileName::Table)?;
        let header = Header {
            generation: self.committed.generation + 1,
            ..self.committed.clone()
        };
        self.poisoned = true;
        self.disk
            .write(FileName::Table, slot(&header), &header_block(&header))?;
        self.disk.sync(FileName::Table)?;
        self.poisoned = false;
        // A file that grew long stays so until somebody opens it: those who write long records
        // write many.
        self.journal = Journal::new(header.generation);
        self.header = header.clone();
        self.committed = header;
        Ok(())
    }

    pub(super) fn into_disk(self) -> D {
        self.disk
    }
}

/// The journal, of which usually the beginning is read alone when the file is long: what a call
/// takes in memory does not depend on the longest record that ever was.
fn read_journal<D: Disk>(disk: &D, length: usize, generation: u64) -> Result<Journal, StoreError> {
    if length > LONGEST {
        let start = read_piece(disk, 0, 2 * EMPTY_AT)?;
        let is_newer = starts_newer(&start, generation);
        // What is wrong there may be that a record was cut.
        if !is_newer
            && let Ok(journal) = Journal::read(start, generation)
            && !goes_on(disk, journal.end(), length, generation)?
        {
            return Ok(journal);
        }
    }
    Journal::read(read_piece(disk, 0, length)?, generation)
        .map_err(|message| damaged(FileName::Journal, &message))
}

/// Does a record of this generation, which counts or whose presence is damage, begin from byte
/// `start` on?
fn goes_on<D: Disk>(
    disk: &D,
    start: usize,
    length: usize,
    generation: u64,
) -> Result<bool, StoreError> {
    for start in (start..length).step_by(EMPTY_AT) {
        let piece = read_piece(disk, start, EMPTY_AT)?;
        for (place, size) in seeming_records(&piece, generation) {
            let place = start + place;
            let fits = place.checked_add(size).is_some_and(|end| end <= length);
            // A long one is not looked at twice.
            if fits && (size > LONGEST || is_record(&read_piece(disk, place, size)?, generation)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn read_piece<D: Disk>(disk: &D, start: usize, length: usize) -> Result<Vec<u8>, StoreError> {
    let mut piece = vec![0; length];
    let offset = u64::try_from(start).unwrap_or(u64::MAX);
    let count = disk.read(FileName::Journal, offset, &mut piece)?;
    piece.truncate(count);
    Ok(piece)
}

fn image<'a>(header: &Header, blocks: impl Iterator<Item = (u32, &'a Block)>) -> Vec<u8> {
    let mut image = Vec::new();
    let mut put = |offset: u64, bytes: &[u8]| {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        if image.len() < start + BLOCK {
            image.resize(start + BLOCK, 0);
        }
        if let Some(place) = image.get_mut(start..start + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(slot(header), &header_block(header));
    for (number, block) in blocks {
        put(offset(number), &block.encode(number));
    }
    image
}

fn header_block(header: &Header) -> Vec<u8> {
    let mut block = header.encode();
    block.resize(BLOCK, 0);
    block
}

fn slot(header: &Header) -> u64 {
    header.generation % u64::from(HEADERS) * 1024
}

fn offset(number: u32) -> u64 {
    u64::from(number) * 1024
}

fn damaged(file: FileName, message: &str) -> StoreError {
    StoreError::Damaged {
        path: file.as_str().into(),
        message: message.into(),
    }
}
