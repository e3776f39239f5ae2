#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Entry, FileName, Table, memory_disk::MemoryDisk};
use crate::StoreError;

/// Where the journal's records begin.
const RECORDS: usize = 64 * 1024;

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

/// What the loss of power left.
struct Crash {
    disk: MemoryDisk,
    answered: Model,
    under_way: Option<Model>,
    /// How often the journal was emptied.
    generation: u64,
}

impl Crash {
    /// Everything that was answered, and what was under way as a whole or not at all.
    fn may_have_left(&self, found: &Model) -> bool {
        *found == self.answered || Some(found) == self.under_way.as_ref()
    }
}

/// The power goes after so many steps of the disk; each sector that was not durable is there or
/// not.
fn crash(power: usize) -> Crash {
    let disk = MemoryDisk::default();
    disk.0.borrow_mut().power = Some(power);
    let mut crash = Crash {
        disk: disk.clone(),
        answered: Model::new(),
        under_way: None,
        generation: 0,
    };
    if let Ok(mut table) = Table::open(disk.clone()) {
        for steps in &history() {
            let mut after = crash.answered.clone();
            apply(&mut table, &mut after, steps);
            if table.commit().is_err() {
                crash.under_way = Some(after);
                break;
            }
            crash.answered = after;
        }
        crash.generation = table.header().generation;
    }
    let seed = 0x9e37_79b9 * (u64::try_from(power).unwrap() + 1);
    disk.0.borrow_mut().crash(seed);
    crash
}

/// Wherever the power goes, and whichever sectors of what was not durable reached the disk: what
/// was answered is there, what was under way is there as a whole or not at all, and the next call
/// goes on from it.
#[test]
fn a_crash_at_any_sector_loses_nothing_that_was_answered() {
    let mut emptied = 0;
    for power in (0..3000).step_by(13) {
        let crash = crash(power);
        emptied = emptied.max(crash.generation);
        let mut table = open(&crash.disk);
        let found = content(&table).unwrap();
        assert!(crash.may_have_left(&found), "after {power} steps");
        let mut next = found;
        apply(&mut table, &mut next, &[(9, Some(30)), (10, None)]);
        table.commit().unwrap();
        let kept = content(&open(&crash.disk)).unwrap();
        assert_eq!(kept, next, "after {power} steps");
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

/// What is found after bytes of a file were changed, and the files as they were again.
fn found_after(
    disk: &MemoryDisk,
    file: FileName,
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<Model, StoreError> {
    let before = disk.0.borrow().current.clone();
    change(disk.0.borrow_mut().current.get_mut(&file).unwrap());
    let found = Table::open(disk.clone()).and_then(|table| content(&table));
    disk.0.borrow_mut().current = before;
    found
}

fn is_damage(found: &Result<Model, StoreError>) -> bool {
    matches!(found, Err(StoreError::Damaged { .. }))
}

/// A flipped bit is told, or was in bytes that mean nothing or are there twice.
#[test]
fn a_flipped_bit_is_never_believed() {
    let (disk, model) = filled();
    let mut told = 0;
    for file in [FileName::Table, FileName::Journal] {
        let length = disk.0.borrow().current[&file].len();
        for index in (0..length).step_by(61) {
            match found_after(&disk, file, |bytes| bytes[index] ^= 0x10) {
                Ok(found) => assert_eq!(found, model, "{file:?} {index}"),
                Err(StoreError::Damaged { .. }) => told += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(told > 100, "{told}");
}

/// After each of many commits, any page or sector of the journal is zeros, noise, or what it was
/// at any time before: everything that was answered is there, or the damage is told.
#[test]
fn a_lost_page_of_the_journal_loses_nothing_in_silence() {
    let disk = MemoryDisk::default();
    let mut table = open(&disk);
    let mut model = Model::new();
    let mut earlier: Vec<Vec<u8>> = Vec::new();
    let (mut healed, mut told) = (0, 0);
    for (number, steps) in history().iter().take(16).enumerate() {
        // One of them with more than fits into a copy.
        let many: Vec<_> = (500..600).map(|it| (it, Some(300))).collect();
        let steps = if number == 9 { &many } else { steps };
        apply(&mut table, &mut model, steps);
        table.commit().unwrap();
        let now = disk.0.borrow().current[&FileName::Journal].clone();
        for size in [512, 4096] {
            for start in (0..now.len()).step_by(size) {
                let end = (start + size).min(now.len());
                let page = &now[start..end];
                let was = earlier.last().and_then(|it| it.get(start..end));
                // Old content is looked at with the pages.
                if size == 512 && was == Some(page) {
                    continue;
                }
                let mut others: Vec<Vec<u8>> = vec![vec![0; page.len()], vec![0xa5; page.len()]];
                let before = earlier.iter().rev().take(4);
                others.extend(before.filter_map(|it| Some(it.get(start..end)?.to_vec())));
                others.retain(|other| other != page);
                others.sort_unstable();
                others.dedup();
                for other in others {
                    let put = |bytes: &mut Vec<u8>| bytes[start..end].copy_from_slice(&other);
                    let found = found_after(&disk, FileName::Journal, put);
                    if is_damage(&found) {
                        told += 1;
                    } else {
                        assert_eq!(found.as_ref(), Ok(&model), "commit {number}, byte {start}");
                        healed += 1;
                    }
                }
            }
        }
        earlier.push(now);
    }
    assert!(told > 50 && healed > 200, "{told} told, {healed} healed");
}

/// The power goes in the middle of a commit, each sector of it there or not, and a page of before
/// is lost as well.
#[test]
fn a_crash_and_a_lost_page_lose_nothing_in_silence() {
    let (mut healed, mut told) = (0, 0);
    for power in (40..1200).step_by(11) {
        let crash = crash(power);
        let disk = &crash.disk;
        let length = disk.0.borrow().current[&FileName::Journal].len();
        for start in (0..length).step_by(4096) {
            let end = (start + 4096).min(length);
            let zeros = |bytes: &mut Vec<u8>| bytes[start..end].fill(0);
            let found = found_after(disk, FileName::Journal, zeros);
            if is_damage(&found) {
                told += 1;
                continue;
            }
            assert!(
                crash.may_have_left(&found.unwrap()),
                "after {power} steps, byte {start}"
            );
            healed += 1;
        }
    }
    assert!(told > 50 && healed > 200, "{told} told, {healed} healed");
}

#[test]
fn a_copy_takes_the_place_of_its_record_for_good() {
    let (disk, model) = filled();
    let journal = disk.0.borrow().current[&FileName::Journal].clone();
    let generation = open(&disk).header().generation.to_le_bytes();
    let places: Vec<_> = (RECORDS..journal.len()).step_by(64).collect();
    let last = places
        .into_iter()
        .rfind(|at| journal[*at..].starts_with(&generation));
    let last = last.unwrap();
    disk.0
        .borrow_mut()
        .current
        .get_mut(&FileName::Journal)
        .unwrap()[last..]
        .fill(0);
    assert_eq!(content(&open(&disk)).unwrap(), model);
    // The copy is not needed a second time.
    disk.0
        .borrow_mut()
        .current
        .get_mut(&FileName::Journal)
        .unwrap()[..RECORDS]
        .fill(0);
    assert_eq!(content(&open(&disk)).unwrap(), model);
}

/// Whoever writes a record may be killed at any moment of it, and the next one who opens the files
/// tells what they hold: that stays so when the power goes then.
#[test]
fn what_a_killed_writer_left_does_not_go_once_somebody_was_told() {
    let mut told = [0; 2];
    for power in 0..24 {
        for seed in [3, 1 << 40, u64::MAX] {
            let (disk, model) = filled();
            let mut after = model.clone();
            let mut table = open(&disk);
            apply(
                &mut table,
                &mut after,
                &[(900, Some(400)), (901, Some(800))],
            );
            disk.0.borrow_mut().power = Some(power);
            let answered = table.commit().is_ok();
            disk.0.borrow_mut().power = None;
            let found = content(&open(&disk)).unwrap();
            assert!(
                found == after || (!answered && found == model),
                "after {power} steps"
            );
            told[usize::from(found == after)] += usize::from(!answered);
            disk.0.borrow_mut().crash(seed);
            assert_eq!(content(&open(&disk)).unwrap(), found, "after {power} steps");
        }
    }
    assert!(told.iter().all(|it| *it > 5), "{told:?}");
}

#[test]
fn files_of_the_form_without_copies_are_taken_over_whole() {
    // The number of bytes of a header without a text, before its checksum.
    const HEADER: usize = 46;
    let mut interrupted = 0;
    for power in (0..120).map(Some).chain([None]) {
        let (disk, model) = filled();
        {
            let mut files = disk.0.borrow_mut();
            let journal = files.current.get_mut(&FileName::Journal).unwrap();
            journal.drain(..RECORDS);
            let table = files.current.get_mut(&FileName::Table).unwrap();
            for head in table[..2048].chunks_mut(1024) {
                if head.starts_with(b"DKNETTB2") {
                    head[7] = b'1';
                    let checksum = crc32fast::hash(&head[..HEADER]).to_le_bytes();
                    head[HEADER..HEADER + 4].copy_from_slice(&checksum);
                }
            }
            files.make_durable();
            files.power = power;
        }
        let opened = Table::open(disk.clone());
        interrupted += usize::from(opened.is_err());
        drop(opened);
        disk.0
            .borrow_mut()
            .crash(power.unwrap_or(0) as u64 * 0x9e37_79b9);
        let mut table = open(&disk);
        assert_eq!(content(&table).unwrap(), model, "after {power:?} steps");
        let mut after = model;
        apply(&mut table, &mut after, &[(9, Some(30))]);
        table.commit().unwrap();
        assert_eq!(content(&open(&disk)).unwrap(), after);
    }
    assert!(interrupted > 20 && interrupted < 120, "{interrupted}");
}

#[test]
fn a_journal_that_was_cut_short_is_told() {
    let (disk, _) = filled();
    for length in [0, 100, RECORDS, RECORDS + 100] {
        let found = found_after(&disk, FileName::Journal, |bytes| bytes.truncate(length));
        assert!(is_damage(&found), "{length} bytes");
    }
}

#[test]
fn a_table_that_is_gone_is_not_begun_anew() {
    let (disk, _) = filled();
    disk.0.borrow_mut().current.remove(&FileName::Table);
    let refused = Table::open(disk);
    assert!(matches!(refused, Err(StoreError::Damaged { .. })));
    // What a crash leaves that made the journal and not yet the table.
    let new = MemoryDisk::default();
    let zeros = vec![0; RECORDS + 32 * 1024];
    new.0.borrow_mut().current.insert(FileName::Journal, zeros);
    assert!(content(&open(&new)).unwrap().is_empty());
}

#[test]
fn damage_before_whole_records_is_told_and_not_cut() {
    let (disk, _) = filled();
    disk.0
        .borrow_mut()
        .current
        .get_mut(&FileName::Journal)
        .unwrap()[RECORDS + 30] ^= 1;
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
    assert_eq!(disk.0.borrow().current[&FileName::Journal].len(), 96 * 1024);
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
    assert!(long > 192 * 1024, "{long}");
    // Where the long record was.
    for number in [3000, 3001] {
        table.put(&key(number), &[2; 100]).unwrap();
        table.commit().unwrap();
    }
    assert_eq!(content(&open(&disk)).unwrap().len(), 3002);
    let flip = || {
        let mut files = disk.0.borrow_mut();
        files.current.get_mut(&FileName::Journal).unwrap()[RECORDS + 30] ^= 1;
    };
    flip();
    assert!(matches!(
        Table::open(disk.clone()),
        Err(StoreError::Damaged { .. })
    ));
    flip();
    open(&disk).empty_journal().unwrap();
    assert_eq!(content(&open(&disk)).unwrap().len(), 3002);
    assert_eq!(disk.0.borrow().current[&FileName::Journal].len(), 96 * 1024);
}

#[test]
fn an_entry_that_fits_into_no_block_is_refused() {
    let mut table = open(&MemoryDisk::default());
    assert!(matches!(
        table.put(b"key", &[0; 1100]),
        Err(StoreError::TooLong { max: 1012, .. })
    ));
}
