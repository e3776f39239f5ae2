#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::io;

use dockin_policy::audit::{Chain, ChainHash, RecordHead, SigningKey, TrailOpened, TrailVerifier};

use super::{Journal, Storage};

/// A disk that takes `room` bytes in all, and on which every call in `bad_syncs` fails.
#[derive(Default)]
struct SmallDisk {
    bytes: Vec<u8>,
    room: usize,
    bad_syncs: usize,
    bad_truncates: usize,
}

impl Storage for SmallDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = self.room.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        if room < bytes.len() {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        fail_first(&mut self.bad_syncs)
    }

    fn truncate(&mut self, size: u64) -> io::Result<()> {
        fail_first(&mut self.bad_truncates)?;
        self.bytes.truncate(usize::try_from(size).unwrap());
        Ok(())
    }
}

fn fail_first(times: &mut usize) -> io::Result<()> {
    if *times == 0 {
        return Ok(());
    }
    *times -= 1;
    Err(io::Error::other("bad disk"))
}

fn journal(disk: SmallDisk) -> Journal<SmallDisk> {
    let key = SigningKey::from_seed(&[1; 32]);
    Journal::new(
        disk,
        0,
        Chain::new(1, ChainHash::START),
        key,
        TrailOpened::default(),
    )
}

/// Numbers of all records; panics when they are not as they were written.
fn numbers(journal: &Journal<SmallDisk>) -> Vec<u64> {
    let mut verifier = TrailVerifier::new([], None);
    verifier.begin_file();
    verifier.feed(&journal.storage.bytes);
    assert_eq!(verifier.finish().1, []);
    let lines = journal.storage.bytes.split_inclusive(|byte| *byte == b'\n');
    lines
        .map(|line| RecordHead::parse(line).unwrap().seq)
        .collect()
}

#[test]
fn full_disk_leaves_no_partial_line_and_later_appends_go_on() {
    let mut journal = journal(SmallDisk {
        room: 700,
        bad_truncates: 1,
        ..SmallDisk::default()
    });
    journal.append([&b"{\"a\":1}"[..]].into_iter()).unwrap();
    let first = journal.storage.bytes.clone();
    assert_eq!(numbers(&journal), [1, 2]);
    // Written in part, and even the cutting fails: the rest is still there, and known.
    let large = [b'x'; 600];
    journal.append([&large[..]; 2].into_iter()).unwrap_err();
    assert!(journal.dirty && journal.storage.bytes.len() == 700);
    journal.append([&large[..]].into_iter()).unwrap_err();
    assert_eq!(journal.storage.bytes, first);
    journal.storage.room = 100_000;
    journal.append([&b"{\"a\":4}"[..]].into_iter()).unwrap();
    assert_eq!(numbers(&journal), [1, 2, 3]);
}

#[test]
fn failed_sync_takes_the_batch_back() {
    let mut journal = journal(SmallDisk {
        room: 100_000,
        bad_syncs: 1,
        ..SmallDisk::default()
    });
    journal.append([&b"{}"[..]; 2].into_iter()).unwrap_err();
    assert!(journal.storage.bytes.is_empty());
    journal.append([&b"{}"[..]; 2].into_iter()).unwrap();
    assert_eq!(numbers(&journal), [1, 2, 3]);
}

#[test]
fn every_ten_thousand_records_one_signs_those_before() {
    let mut journal = journal(SmallDisk {
        room: 100_000_000,
        ..SmallDisk::default()
    });
    for _ in 0..400 {
        journal
            .append([&b"{\"a\":1}"[..]; 100].into_iter())
            .unwrap();
    }
    journal.sign(true).unwrap();
    let mut verifier = TrailVerifier::new([], Some(journal.head()));
    verifier.begin_file();
    verifier.feed(&journal.storage.bytes);
    let (report, findings) = verifier.finish();
    assert_eq!(findings, []);
    assert_eq!((report.checkpoints, report.closed), (4 + 1, true));
}
