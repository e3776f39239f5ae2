#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use dockin_policy::audit::{AuditEvent, AuditKind, SessionEnd};

use super::{AuditSink as _, FileSink, Journal, Storage, read_events};
use crate::ErrorKind;

/// An event that carries `number` as its session.
fn event(number: u64) -> AuditEvent {
    AuditEvent::new(
        "2026-01-02T03:04:05Z",
        AuditKind::SessionEnd(SessionEnd::default()),
    )
    .with_session(number.to_string())
}

fn number(event: &AuditEvent) -> u64 {
    event.session.as_ref().unwrap().parse().unwrap()
}

/// `(seq, number)` of every event in the file; panics for a broken line.
fn contents(path: &Path) -> Vec<(u64, u64)> {
    let events = read_events(path).unwrap().map(|event| event.unwrap());
    events.map(|(seq, event)| (seq, number(&event))).collect()
}

#[tokio::test]
async fn events_are_numbered_on_from_where_the_file_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit/audit.jsonl");
    for round in 0..3 {
        let sink = FileSink::open(&path).unwrap();
        sink.append(event(round * 2)).await.unwrap();
        sink.append(event(round * 2 + 1)).await.unwrap();
    }
    assert_eq!(
        contents(&path),
        [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4), (6, 5)]
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
}

#[tokio::test]
async fn second_writer_is_refused_with_the_files_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let first = FileSink::open(&path).unwrap();
    let error = FileSink::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("audit.jsonl"), "{error}");
    drop(first);
    FileSink::open(&path).unwrap();
}

/// Every place at which a crash can cut the last line or two.
#[tokio::test]
async fn torn_end_is_moved_aside_wherever_it_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.jsonl");
    let sink = FileSink::open(&whole).unwrap();
    for number in 0..3 {
        sink.append(event(number)).await.unwrap();
    }
    drop(sink);
    let bytes = fs::read(&whole).unwrap();
    for cut in 0..=bytes.len() {
        let path = folder.path().join(format!("{cut}.jsonl"));
        fs::write(&path, &bytes[..cut]).unwrap();
        let kept = bytes[..cut].iter().filter(|byte| **byte == b'\n').count() as u64;
        let torn = bytes[..cut].rsplit(|byte| *byte == b'\n').next().unwrap();
        let sink = FileSink::open(&path).unwrap();
        sink.append(event(77)).await.unwrap();
        assert_eq!(
            contents(&path).last(),
            Some(&(kept + 1, 77)),
            "cut at {cut}"
        );
        assert_eq!(contents(&path).len() as u64, kept + 1, "cut at {cut}");
        let aside = fs::read(path.with_extension("jsonl.torn")).unwrap_or_default();
        let expected = if torn.is_empty() {
            vec![]
        } else {
            [torn, b"\n"].concat()
        };
        assert_eq!(aside, expected, "cut at {cut}");
    }
}

#[tokio::test]
async fn zeros_and_rubbish_after_whole_lines_are_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    FileSink::open(&path)
        .unwrap()
        .append(event(1))
        .await
        .unwrap();
    for rubbish in [
        vec![0; 200_000],
        b"{\"seq\":\n\n\nxx".to_vec(),
        b"{}\n".to_vec(),
    ] {
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&rubbish).unwrap();
        FileSink::open(&path).unwrap();
        assert_eq!(contents(&path), [(1, 1)]);
    }
}

#[test]
fn file_that_never_was_an_audit_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious.txt");
    for text in ["root:x:0:0\nbin:x:1:1\n", "no newline", "{\"a\":1}\n"] {
        fs::write(&path, text).unwrap();
        assert_eq!(FileSink::open(&path).unwrap_err().kind(), ErrorKind::Misuse);
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[tokio::test]
async fn reader_follows_the_writer_and_tells_of_broken_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    assert_eq!(read_events(&path).unwrap_err().kind(), ErrorKind::NotFound);
    let sink = FileSink::open(&path).unwrap();
    let mut events = read_events(&path).unwrap();
    assert!(events.next().is_none());
    sink.append(event(5)).await.unwrap();
    assert_eq!(
        events.next().unwrap().unwrap(),
        (
            1,
            AuditEvent {
                seq: Some(1),
                ..event(5)
            }
        )
    );
    assert!(events.next().is_none());

    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"seq\":2,").unwrap();
    assert!(events.next().is_none());
    file.write_all(b"oops\n").unwrap();
    let error = events.next().unwrap().unwrap_err();
    assert!(error.message().contains("line 2"), "{error}");
    // Whatever number an event comes with, the file gives its own.
    sink.append(AuditEvent {
        seq: Some(99),
        ..event(6)
    })
    .await
    .unwrap();
    assert_eq!(
        events.next().unwrap().unwrap(),
        (
            2,
            AuditEvent {
                seq: Some(2),
                ..event(6)
            }
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_appends_are_all_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let sink = Arc::new(FileSink::open(&path).unwrap());
    let tasks: Vec<_> = (0..200)
        .map(|number| {
            let sink = Arc::clone(&sink);
            tokio::spawn(async move { sink.append(event(number)).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let contents = contents(&path);
    let numbers: BTreeSet<u64> = contents.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, (0..200).collect());
    assert!(contents.iter().map(|(seq, _)| *seq).eq(1..=200));
}

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

#[test]
fn full_disk_leaves_no_partial_line_and_later_appends_go_on() {
    let disk = SmallDisk {
        room: 30,
        bad_truncates: 1,
        ..SmallDisk::default()
    };
    let mut journal = Journal {
        storage: disk,
        end: 0,
        next: 1,
        dirty: false,
    };
    journal.append([&b"\"a\":1}"[..]].into_iter()).unwrap();
    let first = journal.storage.bytes.clone();
    assert_eq!(first, b"{\"seq\":1,\"a\":1}\n");
    // Written in part, and even the cutting fails: the rest is still there, and known.
    journal
        .append([&b"\"a\":2}"[..]; 2].into_iter())
        .unwrap_err();
    assert!(journal.dirty && journal.storage.bytes.len() == 30);
    journal.append([&b"\"a\":3}"[..]].into_iter()).unwrap_err();
    assert_eq!(journal.storage.bytes, first);
    journal.storage.room = 1000;
    journal.append([&b"\"a\":4}"[..]].into_iter()).unwrap();
    assert_eq!(
        journal.storage.bytes,
        [&first[..], b"{\"seq\":2,\"a\":4}\n"].concat()
    );
}

#[test]
fn failed_sync_takes_the_batch_back() {
    let disk = SmallDisk {
        room: 1000,
        bad_syncs: 1,
        ..SmallDisk::default()
    };
    let mut journal = Journal {
        storage: disk,
        end: 0,
        next: 1,
        dirty: false,
    };
    journal.append([&b"}"[..]; 2].into_iter()).unwrap_err();
    assert!(journal.storage.bytes.is_empty());
    journal.append([&b"}"[..]; 2].into_iter()).unwrap();
    assert_eq!(journal.storage.bytes, b"{\"seq\":1}\n{\"seq\":2}\n");
}

/// The test runs itself as a child that appends and says what was acknowledged, and kills it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_event_survives_kill_9() {
    const CHILD: &str = "DOCKIN_AUDIT_TEST_CHILD";
    if let Ok(path) = std::env::var(CHILD) {
        let sink = Arc::new(FileSink::open(path).unwrap());
        let start: u64 = std::process::id().into();
        for lane in 0..4_u64 {
            let sink = Arc::clone(&sink);
            tokio::spawn(async move {
                for number in (start * 1_000_000 + lane..).step_by(4) {
                    sink.append(event(number)).await.unwrap();
                    let mut out = io::stdout().lock();
                    out.write_all(format!("acknowledged {number}\n").as_bytes())
                        .unwrap();
                    out.flush().unwrap();
                }
            });
        }
        return std::future::pending().await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut acknowledged = BTreeSet::new();
    for round in 1..=5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "audit::file::tests::every_acknowledged_event_survives_kill_9",
            ])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        for _ in 0..round * 40 {
            out.read_line(&mut text).unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        out.read_to_string(&mut text).unwrap();
        // A last line that the kill cut off acknowledges nothing.
        let (whole, _) = text.rsplit_once('\n').unwrap();
        acknowledged.extend(
            whole
                .lines()
                .filter_map(|l| l.strip_prefix("acknowledged ")?.parse::<u64>().ok()),
        );
    }
    FileSink::open(&path)
        .unwrap()
        .append(event(0))
        .await
        .unwrap();
    let contents = contents(&path);
    assert!(
        acknowledged.len() > 400,
        "{} acknowledged",
        acknowledged.len()
    );
    let written: BTreeSet<u64> = contents.iter().map(|(_, number)| *number).collect();
    assert!(acknowledged.is_subset(&written));
    assert!(
        contents
            .iter()
            .map(|(seq, _)| *seq)
            .eq(1..=contents.len() as u64)
    );
}
