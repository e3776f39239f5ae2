#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use super::{Disk, FileName, LogStore};
use crate::{
    After, Attachment, Change, ContainerId, InterfaceName, Lease, LeaseStore, Ledger, StoreError,
    Timestamp, record,
};

const NOW: Timestamp = Timestamp(1000);

type Files = Rc<RefCell<BTreeMap<FileName, Vec<u8>>>>;

/// Files in memory that a crash may end in the middle of.
struct MemoryDisk {
    files: Files,
    /// Bytes and steps until the power goes; each byte of a write is one.
    left: Option<usize>,
}

impl MemoryDisk {
    fn new(files: &Files) -> Self {
        Self {
            files: Rc::clone(files),
            left: None,
        }
    }

    fn with_power_for(files: &Files, left: usize) -> Self {
        Self {
            files: Rc::clone(files),
            left: Some(left),
        }
    }

    /// How much of `wanted` happens before the power goes.
    fn spend(&mut self, wanted: usize) -> usize {
        let Some(left) = &mut self.left else {
            return wanted;
        };
        let spent = wanted.min(*left);
        *left -= spent;
        spent
    }
}

fn no_power() -> StoreError {
    StoreError::Io {
        path: "memory".into(),
        message: "the power is gone".into(),
    }
}

impl Disk for MemoryDisk {
    fn read(&mut self, file: FileName) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.files.borrow().get(&file).cloned())
    }

    fn write(&mut self, file: FileName, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let spent = self.spend(bytes.len());
        let mut files = self.files.borrow_mut();
        let content = files.get_mut(&file).unwrap();
        assert_eq!(content.len(), usize::try_from(offset).unwrap());
        content.extend_from_slice(&bytes[..spent]);
        if spent < bytes.len() {
            Err(no_power())
        } else {
            Ok(())
        }
    }

    fn sync(&mut self, _file: FileName) -> Result<(), StoreError> {
        if self.spend(1) == 0 {
            Err(no_power())
        } else {
            Ok(())
        }
    }

    fn truncate(&mut self, file: FileName, length: u64) -> Result<(), StoreError> {
        if self.spend(1) == 0 {
            return Err(no_power());
        }
        let length = usize::try_from(length).unwrap();
        self.files
            .borrow_mut()
            .get_mut(&file)
            .unwrap()
            .truncate(length);
        Ok(())
    }

    fn replace(&mut self, file: FileName, bytes: &[u8]) -> Result<(), StoreError> {
        if self.spend(1) == 0 {
            return Err(no_power());
        }
        self.files.borrow_mut().insert(file, bytes.to_vec());
        Ok(())
    }
}

fn attachment(number: u8) -> Attachment {
    Attachment::new(
        ContainerId::parse(&format!("c{number}")).unwrap(),
        InterfaceName::parse("eth0").unwrap(),
    )
}

fn hold(number: u8) -> Change {
    Change::Hold(Lease {
        attachment: attachment(number),
        addresses: vec![
            [10, 0, 0, number].into(),
            [0xfd00, 0, 0, 0, 0, 0, 0, number.into()].into(),
        ],
        sticky: None,
        since: NOW,
    })
}

fn release(number: u8) -> Change {
    Change::Release {
        attachment: attachment(number),
        after: After::Cool(NOW.after(60)),
    }
}

/// Six commits with a compaction between.
fn batches() -> Vec<Vec<Change>> {
    vec![
        vec![hold(1)],
        vec![hold(2), hold(3)],
        vec![release(1)],
        vec![hold(4), release(2)],
        vec![hold(5)],
        vec![release(5), hold(1)],
    ]
}

#[test]
fn what_was_committed_is_there_at_the_next_opening() {
    let files = Files::default();
    let mut ledger = Ledger::default();
    for (index, batch) in batches().into_iter().enumerate() {
        let mut store = LogStore::open(MemoryDisk::new(&files), NOW).unwrap();
        assert_eq!(*store.ledger(), ledger);
        store.commit(batch.clone()).unwrap();
        batch.into_iter().for_each(|change| ledger.apply(change));
        if index == 2 {
            store.compact().unwrap();
        }
    }
    let store = LogStore::open(MemoryDisk::new(&files), NOW).unwrap();
    assert_eq!(*store.ledger(), ledger);
    assert!(ledger.faults().is_empty());
}

/// Cut off anywhere, the ledger is that before or after the commit that was under way, never
/// between and never another; a commit that was answered is there.
#[test]
fn a_crash_at_any_byte_loses_nothing_that_was_answered() {
    let mut finished = false;
    for power in 0.. {
        let files = Files::default();
        let mut answered = Ledger::default();
        let mut under_way = None;
        if let Ok(mut store) = LogStore::open(MemoryDisk::with_power_for(&files, power), NOW) {
            for (index, batch) in batches().into_iter().enumerate() {
                let mut after = answered.clone();
                batch.iter().cloned().for_each(|change| after.apply(change));
                if store.commit(batch).is_err() {
                    under_way = Some(after);
                    break;
                }
                answered = after;
                if index == 2 && store.compact().is_err() {
                    break;
                }
                finished = index == 5;
            }
        }
        let store = LogStore::open(MemoryDisk::new(&files), NOW).unwrap();
        let found = store.ledger();
        assert!(
            *found == answered || Some(found) == under_way.as_ref(),
            "after {power} steps: {found:?}"
        );
        // And the next one can go on.
        let mut store = store;
        store.commit(vec![hold(9)]).unwrap();
        let before = store.ledger().clone();
        assert_eq!(
            *LogStore::open(MemoryDisk::new(&files), NOW)
                .unwrap()
                .ledger(),
            before
        );
        if finished {
            break;
        }
    }
    assert!(finished);
}

/// A file system may leave zeros where the record was to be.
#[test]
fn a_tail_of_zeros_is_cut() {
    let files = Files::default();
    let mut store = LogStore::open(MemoryDisk::new(&files), NOW).unwrap();
    store.commit(vec![hold(1)]).unwrap();
    let before = store.ledger().clone();
    let tail = vec![0; 100];
    files
        .borrow_mut()
        .get_mut(&FileName::Log)
        .unwrap()
        .extend(tail);
    let store = LogStore::open(MemoryDisk::new(&files), NOW).unwrap();
    assert_eq!(*store.ledger(), before);
}

#[test]
fn damage_before_whole_records_is_told_and_not_cut() {
    let files = Files::default();
    let mut store = LogStore::open(MemoryDisk::new(&files), NOW).unwrap();
    store.commit(vec![hold(1)]).unwrap();
    store.commit(vec![hold(2)]).unwrap();
    files.borrow_mut().get_mut(&FileName::Log).unwrap()[30] ^= 1;
    assert!(matches!(
        LogStore::open(MemoryDisk::new(&files), NOW),
        Err(StoreError::Damaged { .. })
    ));
}

#[test]
fn a_snapshot_with_a_flipped_bit_is_told() {
    let files = Files::default();
    let mut store = LogStore::open(MemoryDisk::new(&files), NOW).unwrap();
    store.commit(vec![hold(1)]).unwrap();
    store.compact().unwrap();
    let length = files.borrow()[&FileName::Snapshot].len();
    for index in 0..length {
        let whole = files.borrow()[&FileName::Snapshot].clone();
        files.borrow_mut().get_mut(&FileName::Snapshot).unwrap()[index] ^= 0x10;
        let opened = LogStore::open(MemoryDisk::new(&files), NOW);
        assert!(opened.is_err(), "byte {index}");
        files.borrow_mut().insert(FileName::Snapshot, whole);
    }
}

#[test]
fn a_long_log_becomes_a_snapshot() {
    let files = Files::default();
    let mut store = LogStore::open(MemoryDisk::new(&files), NOW).unwrap();
    let many: Vec<_> = (0..5000).map(|_| hold(1)).collect();
    for _ in 0..2 {
        store.commit(many.clone()).unwrap();
    }
    assert!(files.borrow()[&FileName::Log].len() < 100);
    let again = LogStore::open(MemoryDisk::new(&files), NOW).unwrap();
    assert_eq!(again.ledger(), store.ledger());
    assert!(record::encode(&many).len() > 100_000);
}
