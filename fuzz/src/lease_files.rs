use std::{cell::RefCell, rc::Rc};

use dockin_net::{Disk, FileName, LeaseStore, LeaseTable, Leases, Span, StoreError, Timestamp};

/// The two files of a network's leases, whatever they hold: the first two bytes say how long the
/// table is, the rest is the journal. Every question is answered or refused.
///
/// # Panics
///
/// A law is broken.
pub fn lease_files(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (table, journal) = rest.split_at(length);
    let journal = match table.starts_with(b"DKNETTB1") {
        true => journal.to_vec(),
        false => spread(journal),
    };
    let files = Rc::new(RefCell::new([table.to_vec(), journal]));
    let Ok(store) = LeaseTable::open(Bytes(Rc::clone(&files))) else {
        return;
    };
    let _ = store.ended();
    let _ = store.page(0);
    if let Ok(span) = Span::parse("10.0.0.0/24") {
        let _ = store.first_unused(span, Timestamp(7));
    }
    // What can be read as a whole is read the same again.
    if let Ok(ledger) = store.to_ledger() {
        let again = LeaseTable::open(Bytes(files)).and_then(|store| store.to_ledger());
        assert_eq!(again.ok(), Some(ledger));
    }
}

/// A journal as long as one is made: 256 bytes for each of the two areas before its records, and
/// the rest for these.
fn spread(data: &[u8]) -> Vec<u8> {
    const AREA: usize = 32 * 1024;
    let mut journal = vec![0; 3 * AREA];
    let (first, rest) = data.split_at(data.len().min(256));
    let (second, records) = rest.split_at(rest.len().min(256));
    for (bytes, place) in [(first, 0), (second, AREA), (records, 2 * AREA)] {
        let end = place + bytes.len();
        if journal.len() < end {
            journal.resize(end, 0);
        }
        journal[place..end].copy_from_slice(bytes);
    }
    journal
}

struct Bytes(Rc<RefCell<[Vec<u8>; 2]>>);

fn place(file: FileName) -> usize {
    usize::from(file == FileName::Journal)
}

impl Disk for Bytes {
    fn length(&self, file: FileName) -> Result<Option<u64>, StoreError> {
        let length = self.0.borrow()[place(file)].len();
        Ok(u64::try_from(length).ok())
    }

    fn read(&self, file: FileName, offset: u64, into: &mut [u8]) -> Result<usize, StoreError> {
        let files = self.0.borrow();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = files[place(file)].get(offset..).unwrap_or_default();
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn write(&mut self, _: FileName, _: u64, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn sync(&mut self, _: FileName) -> Result<(), StoreError> {
        Ok(())
    }

    fn replace(&mut self, file: FileName, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.borrow_mut()[place(file)] = bytes.to_vec();
        Ok(())
    }
}
