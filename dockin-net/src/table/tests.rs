#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Entry, FileName, Table, memory_disk::MemoryDisk};
use crate::StoreError;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn content(table: &Table<MemoryDisk>) -> Result<Model, StoreError> {
    let mut model = Model::new();
    for bucket in 0..table.buckets() {
        for Entry { key, value } in table.entries(bucket)? {
            assert_eq!(model.insert(key, value), None, "a key is there twice");
        }
    }
    Ok(model)
}

fn open(disk: &MemoryDisk) -> Table<MemoryDisk> {
    Table::open(disk.clone()).unwrap()
}

fn key(number: u16) -> Vec<u8> {
    format!("key {number}").into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The table is a map, whatever is put, removed, rolled back and opened again.
    #[test]
    fn the_table_is_a_map(
        calls in proptest::collection::vec(
            (proptest::collection::vec((0_u16..200, proptest::option::of(0_usize..400)), 1..20),
             any::<bool>(), any::<bool>()), 1..40)) {
        let disk = MemoryDisk::default();
        let mut table = open(&disk);
        let mut model = Model::new();
        for (steps, keep, reopen) in calls {
            let mut next = model.clone();
            for (number, length) in steps {
                match length {
                    Some(length) => {
                        let value = vec![u8::try_from(number % 256).unwrap(); length];
                        table.put(&key(number), &value).unwrap();
                        next.insert(key(number), value);
                    }
                    None => {
                        table.remove(&key(number)).unwrap();
                        next.remove(&key(number));
                    }
                }
                prop_assert_eq!(table.value(&key(number)).unwrap(), next.get(&key(number)).cloned());
            }
            if keep {
                table.commit().unwrap();
                model = next;
            } else {
                table.roll_back();
            }
            if reopen {
                table = open(&disk);
            }
            prop_assert_eq!(&content(&table).unwrap(), &model);
            let bytes: usize = model.iter().map(|(key, value)| super::size(key, value)).sum();
            prop_assert_eq!(table.header().bytes, bytes as u64);
        }
    }
}

/// A history with growing, chains, removals and several emptyings of the journal.
fn history() -> Vec<Vec<(u16, Option<usize>)>> {
    let mut calls = Vec::new();
    for call in 0..160_u16 {
        let value = |number: u16| usize::from(number * 7 % 300) + 20;
        let mut steps: Vec<_> = (0..6)
            .map(|it| (call * 5 + it, Some(value(call + it))))
            .collect();
        if call % 3 == 0 {
            steps.push((call * 2, None));
        }
        calls.push(steps);
    }
    calls
}

fn apply(table: &mut Table<MemoryDisk>, model: &mut Model, steps: &[(u16, Option<usize>)]) {
    for (number, length) in steps {
        match length {
            Some(length) => {
                let value = vec![7; *length];
                table.put(&key(*number), &value).unwrap();
                model.insert(key(*number), value);
            }
            None => {
                table.remove(&key(*number)).unwrap();
                model.remove(&key(*number));
            }
        }
    }
}

/// Wherever the power goes, and whichever sectors of what was not durable reached the disk: what
/// was answered is there, what was under way is there as a whole or not at all, and the next call
/// goes on from it.
#[test]
fn a_crash_at_any_sector_loses_nothing_that_was_answered() {
    let history = history();
    let mut emptied = 0;
    for power in (0..3000).step_by(13) {
        let disk = MemoryDisk::default();
        disk.0.borrow_mut().power = Some(power);
        let mut answered = Model::new();
        let mut under_way = None;
        if let Ok(mut table) = Table::open(disk.clone()) {
            for steps in &history {
                let mut after = answered.clone();
                apply(&mut table, &mut after, steps);
                if table.commit().is_err() {
                    under_way = Some(after);
                    break;
                }
                answered = after;
            }
            emptied = emptied.max(table.header().generation);
        }
        disk.0
            .borrow_mut()
            .crash(0x9e37_79b9 * (u64::try_from(power).unwrap() + 1));
        let mut table = open(&disk);
        let found = content(&table).unwrap();
        assert!(
            found == answered || Some(&found) == under_way.as_ref(),
            "after {power} steps"
        );
        let mut next = found;
        apply(&mut table, &mut next, &[(9, Some(30)), (10, None)]);
        table.commit().unwrap();
        assert_eq!(content(&open(&disk)).unwrap(), next, "after {power} steps");
    }
    assert!(emptied > 2, "the journal was never emptied: {emptied}");
}

fn filled() -> (MemoryDisk, Model) {
    let disk = MemoryDisk::default();
    let mut table = open(&disk);
    let mut model = Model::new();
    for steps in history().iter().take(40) {
        apply(&mut table, &mut model, steps);
        table.commit().unwrap();
    }
    table.empty_journal().unwrap();
    for steps in history().iter().skip(40).take(4) {
        apply(&mut table, &mut model, steps);
        table.commit().unwrap();
    }
    (disk, model)
}

/// A flipped bit is told, or was in bytes that mean nothing.
#[test]
fn a_flipped_bit_is_never_believed() {
    let (disk, model) = filled();
    let mut told = 0;
    for file in [FileName::Table, FileName::Journal] {
        let length = disk.0.borrow().current[&file].len();
        for index in (0..length).step_by(61) {
            disk.0.borrow_mut().current.get_mut(&file).unwrap()[index] ^= 0x10;
            let found = Table::open(disk.clone()).and_then(|table| content(&table));
            disk.0.borrow_mut().current.get_mut(&file).unwrap()[index] ^= 0x10;
            match found {
                Ok(found) => {
                    // The last record of the journal is as good as torn; its changes are gone.
                    let last = file == FileName::Journal;
                    assert!(last || found == model, "{file:?} {index}");
                }
                Err(StoreError::Damaged { .. }) => told += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(told > 100, "{told}");
}

#[test]
fn damage_before_whole_records_is_told_and_not_cut() {
    let (disk, _) = filled();
    disk.0
        .borrow_mut()
        .current
        .get_mut(&FileName::Journal)
        .unwrap()[30] ^= 1;
    assert!(matches!(Table::open(disk), Err(StoreError::Damaged { .. })));
}

#[test]
fn what_is_reported_as_failed_does_not_count() {
    let (disk, model) = filled();
    let mut table = open(&disk);
    table.put(b"new", b"value").unwrap();
    // The record is whole and not durable; then the disk works again.
    disk.0.borrow_mut().failing_syncs = 1;
    assert!(table.commit().is_err());
    assert_eq!(content(&table).unwrap(), model);
    table.put(b"other", b"value").unwrap();
    table.commit().unwrap();
    let mut after = model;
    after.insert(b"other".to_vec(), b"value".to_vec());
    assert_eq!(content(&open(&disk)).unwrap(), after);
}

#[test]
fn the_journal_of_one_large_commit_becomes_short_again() {
    let disk = MemoryDisk::default();
    let mut table = open(&disk);
    for number in 0..3000 {
        table.put(&key(number), &[1; 100]).unwrap();
    }
    table.commit().unwrap();
    assert_eq!(
        table.header().generation,
        2,
        "it went into the table at once"
    );
    assert_eq!(content(&open(&disk)).unwrap().len(), 3000);
    assert_eq!(disk.0.borrow().current[&FileName::Journal].len(), 32 * 1024);
}

#[test]
fn a_long_journal_stays_while_records_of_it_count() {
    let disk = MemoryDisk::default();
    let mut table = open(&disk);
    for number in 0..3000 {
        table.put(&key(number), &[1; 100]).unwrap();
    }
    table.commit().unwrap();
    let long = disk.0.borrow().current[&FileName::Journal].len();
    assert!(long > 128 * 1024, "{long}");
    // Where the long record was.
    for number in [3000, 3001] {
        table.put(&key(number), &[2; 100]).unwrap();
        table.commit().unwrap();
    }
    assert_eq!(content(&open(&disk)).unwrap().len(), 3002);
    let flip = || {
        let mut files = disk.0.borrow_mut();
        files.current.get_mut(&FileName::Journal).unwrap()[30] ^= 1;
    };
    flip();
    assert!(matches!(
        Table::open(disk.clone()),
        Err(StoreError::Damaged { .. })
    ));
    flip();
    open(&disk).empty_journal().unwrap();
    assert_eq!(content(&open(&disk)).unwrap().len(), 3002);
    assert_eq!(disk.0.borrow().current[&FileName::Journal].len(), 32 * 1024);
}

#[test]
fn an_entry_that_fits_into_no_block_is_refused() {
    let mut table = open(&MemoryDisk::default());
    assert!(matches!(
        table.put(b"key", &[0; 1100]),
        Err(StoreError::TooLong { max: 1012, .. })
    ));
}
