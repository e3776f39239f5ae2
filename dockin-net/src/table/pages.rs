use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use super::{
    block::{BLOCK, Block},
    copies::{self, AREAS, Areas, NO_COPY},
    disk::{Disk, FileName},
    header::Header,
    journal::{Journal, NO_RECORD, is_record, seeming_records, starts_newer},
};
use crate::store::StoreError;

/// Bytes of the journal from which on it is emptied into the table: some tens of allocations, and
/// so at most some hundred blocks that are written then. Every call reads as much.
const EMPTY_AT: usize = 32 * 1024;
/// Bytes for records in the journal's file that every call reads; after a longer record it is made
/// anew.
const LONGEST: usize = 4 * EMPTY_AT;
/// Bytes of the journal's file when it is made.
const SHORTEST: usize = AREAS + EMPTY_AT;
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
            if !is_new_journal(&disk)? {
                let message = "it is missing, and its journal was written to";
                return Err(damaged(&disk, FileName::Table, message));
            }
            let header = Header::new(buckets);
            let numbers = (0..buckets).map(super::bucket_block);
            let empty = Block::default();
            let image = image(&header, numbers.map(|number| (number, &empty)));
            // The journal first: a table without one is damaged, and a journal of zeros without a
            // table is what a crash at this place leaves.
            disk.replace(FileName::Journal, &vec![0; SHORTEST])?;
            disk.replace(FileName::Table, &image)?;
        }
        let mut heads = vec![0; BLOCK * 2];
        disk.read(FileName::Table, 0, &mut heads)?;
        let headers = heads.chunks(BLOCK).filter_map(Header::decode);
        let header = headers
            .max_by_key(|header| header.generation)
            .ok_or_else(|| damaged(&disk, FileName::Table, "it does not start as one of ours"))?;
        let length = disk
            .length(FileName::Journal)?
            .ok_or_else(|| damaged(&disk, FileName::Journal, "it is missing"))?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if header.without_copies {
            return Self::with_copies(disk, header, length);
        }
        if length < SHORTEST {
            let message = format!("it has {length} bytes, and was made with {SHORTEST}");
            return Err(damaged(&disk, FileName::Journal, &message));
        }
        let mut journal = read_journal(&disk, AREAS, length, header.generation)?;
        restore(&mut disk, &mut journal, header.generation)?;
        if journal.end() == 0 && length > AREAS + LONGEST {
            disk.replace(FileName::Journal, &vec![0; SHORTEST])?;
        }
        Ok(Self::new(disk, header, journal))
    }

    /// Opens files of the form without copies, and gives them that of now.
    fn with_copies(mut disk: D, header: Header, length: usize) -> Result<Self, StoreError> {
        let journal = read_journal(&disk, 0, length, header.generation)?;
        if length < SHORTEST {
            let last = u64::try_from(SHORTEST - 1).unwrap_or(0);
            disk.write(FileName::Journal, last, &[0])?;
            disk.sync(FileName::Journal)?;
        }
        let mut pages = Self::new(disk, header, journal);
        // Once for each of the two headers, so that no program of before takes an old one.
        pages.empty_journal()?;
        pages.empty_journal()?;
        Ok(pages)
    }

    fn new(disk: D, header: Header, journal: Journal) -> Self {
        let committed = journal.header().cloned().unwrap_or(header);
        Self {
            disk,
            journal,
            header: committed.clone(),
            committed,
            dirty: BTreeMap::new(),
            cache: RefCell::default(),
            poisoned: false,
        }
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
        let block = Rc::new(decoded.ok_or_else(|| {
            let message = format!("block {number} is not whole");
            damaged(&self.disk, FileName::Table, &message)
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
            let message = "its header could not be written";
            return Err(damaged(&self.disk, FileName::Table, message));
        }
        let blocks = self.dirty.iter().map(|(number, block)| (*number, &**block));
        let record = self.journal.record(&self.header, blocks);
        let (place, index) = (record_place(&self.journal), self.journal.due());
        if let Err(error) = self.make_durable(place, index, &record) {
            // The record may be whole on the disk: what is reported as failed must not count.
            self.disk.write(FileName::Journal, place, &NO_RECORD)?;
            self.disk
                .write(FileName::Journal, copies::place(index), &NO_COPY)?;
            self.disk.sync(FileName::Journal)?;
            return Err(error);
        }
        note_durable(&mut self.disk, &self.journal, index);
        self.journal.push(record);
        Ok(())
    }

    fn make_durable(&mut self, place: u64, index: u32, record: &[u8]) -> Result<(), StoreError> {
        let (disk, copy) = (&mut self.disk, copies::copy(record));
        disk.write(FileName::Journal, place, record)?;
        if !copies::fits(record.len()) {
            disk.sync(FileName::Journal)?;
        }
        disk.write(FileName::Journal, copies::place(index), &copy)?;
        disk.sync(FileName::Journal)
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

    pub(super) fn path(&self) -> String {
        self.disk.path(FileName::Table)
    }
}

/// Puts copies in the place of records that are not whole, and makes durable what was not.
fn restore<D: Disk>(
    disk: &mut D,
    journal: &mut Journal,
    generation: u64,
) -> Result<(), StoreError> {
    let areas = Areas::read(disk)?;
    let newer = areas.copies.iter().any(|it| it.generation > generation);
    if newer || areas.durable.iter().any(|(it, _)| *it > generation) {
        let message = "its records are of a newer header than the table has";
        return Err(damaged(disk, FileName::Journal, message));
    }
    let gone = |disk: &D, first: u32, last: u32| {
        let message = format!("records {first} to {last} were durable and are gone");
        Err(damaged(disk, FileName::Journal, &message))
    };
    for copy in areas.copies.iter().filter(|it| it.generation == generation) {
        let due = journal.due();
        if copy.index < due {
            continue;
        }
        if copy.index > due {
            return gone(disk, due, copy.index - 1);
        }
        match copy.read(disk)? {
            Some(record) => {
                disk.write(FileName::Journal, record_place(journal), &record)?;
                disk.sync(FileName::Journal)?;
                journal.push(record);
            }
            None if copy.is_behind_its_record() => return gone(disk, due, due),
            // A crash tore both before anybody was told.
            None => {}
        }
    }
    let durable = areas.durable.iter().filter(|(it, _)| *it == generation);
    let newest = durable.map(|(_, index)| *index).max();
    let last = journal.due().checked_sub(1);
    if let Some(newest) = newest.filter(|it| Some(*it) > last) {
        return gone(disk, journal.due(), newest);
    }
    if let Some(last) = last.filter(|it| Some(*it) > newest) {
        // Who wrote it was killed, perhaps before it was durable; nobody must be told of it then.
        disk.sync(FileName::Journal)?;
        note_durable(disk, journal, last);
    }
    Ok(())
}

/// Notes that a record is durable. The note itself need not be: without it the record is made
/// durable again.
fn note_durable<D: Disk>(disk: &mut D, journal: &Journal, index: u32) {
    let note = copies::note(journal.generation(), index);
    let _ = disk.write(FileName::Journal, copies::note_place(index), &note);
}

/// Where the next record goes.
fn record_place(journal: &Journal) -> u64 {
    u64::try_from(AREAS + journal.end()).unwrap_or(u64::MAX)
}

/// The journal, its records from byte `from` of the file on. Usually the beginning is read alone
/// when the file is long: what a call takes in memory does not depend on the longest record that
/// ever was.
fn read_journal<D: Disk>(
    disk: &D,
    from: usize,
    end: usize,
    generation: u64,
) -> Result<Journal, StoreError> {
    if end - from > LONGEST {
        let start = read_piece(disk, from, 2 * EMPTY_AT)?;
        let is_newer = starts_newer(&start, generation);
        // What is wrong there may be that a record was cut.
        if !is_newer
            && let Ok(journal) = Journal::read(start, generation)
            && !goes_on(disk, from + journal.end(), end, generation)?
        {
            return Ok(journal);
        }
    }
    Journal::read(read_piece(disk, from, end - from)?, generation)
        .map_err(|message| damaged(disk, FileName::Journal, &message))
}

/// Is the journal absent, or as it was made? What was ever written to it stays there in part.
fn is_new_journal<D: Disk>(disk: &D) -> Result<bool, StoreError> {
    let length = disk.length(FileName::Journal)?.unwrap_or(0);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    for start in (0..length).step_by(EMPTY_AT) {
        let piece = read_piece(disk, start, EMPTY_AT)?;
        if piece.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Does a record of this generation, which counts or whose presence is damage, begin from byte
/// `start` on?
fn goes_on<D: Disk>(
    disk: &D,
    start: usize,
    end: usize,
    generation: u64,
) -> Result<bool, StoreError> {
    for start in (start..end).step_by(EMPTY_AT) {
        let piece = read_piece(disk, start, EMPTY_AT)?;
        for (place, size) in seeming_records(&piece, generation) {
            let place = start + place;
            let fits = place.checked_add(size).is_some_and(|its| its <= end);
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

fn damaged<D: Disk>(disk: &D, file: FileName, message: &str) -> StoreError {
    StoreError::Damaged {
        path: disk.path(file),
        message: format!("{message}; `dockin-ipam pool verify` says what to do"),
    }
}
