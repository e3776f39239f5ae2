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

use dockin_policy::audit::{
    AuditEvent, AuditKind, Finding, Problem, SessionEnd, TrailReport, TrailVerifier,
};

use super::{AuditSink as _, FileOptions, FileSink, Filter};
use crate::{
    ErrorKind,
    audit::{read_events, read_head, trail_files},
};

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

/// The numbers of all sessions in the trail; panics for a broken line.
fn contents(path: &Path) -> Vec<u64> {
    let files = trail_files(path).unwrap();
    let events = files
        .iter()
        .flat_map(|file| read_events(file).unwrap())
        .map(|event| event.unwrap().1);
    events
        .filter(|event| event.session.is_some())
        .map(|event| number(&event))
        .collect()
}

/// What an auditor finds offline.
fn verify(path: &Path) -> (TrailReport, Vec<Finding>) {
    let key = fs::read_to_string(path.parent().unwrap().join("audit.key.pub")).unwrap();
    let mut verifier = TrailVerifier::new([key.parse().unwrap()], read_head(path));
    for file in trail_files(path).unwrap() {
        verifier.begin_file();
        verifier.feed(&fs::read(file).unwrap());
    }
    verifier.finish()
}

/// A trail that never loses its place, with files that are full soon.
fn small_files(path: &Path) -> FileSink {
    let options = FileOptions {
        max_size: 2000,
        ..FileOptions::default()
    };
    FileSink::open_with(path, &options).unwrap()
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
    assert_eq!(contents(&path), [0, 1, 2, 3, 4, 5]);
    let (report, findings) = verify(&path);
    assert_eq!(findings, []);
    // Each time the trail was opened, written to twice, and closed with a signature.
    assert_eq!(
        (report.records, report.checkpoints, report.closed),
        (12, 3, true)
    );
    assert_eq!((report.first, report.signed_through), (Some(1), Some(12)));
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
    for number in 0..2 {
        sink.append(event(number)).await.unwrap();
    }
    // As a kill leaves it: without the signature of a close.
    let bytes = fs::read(&whole).unwrap();
    drop(sink);
    for cut in 0..=bytes.len() {
        let path = folder.path().join(format!("{cut}.jsonl"));
        fs::write(&path, &bytes[..cut]).unwrap();
        let lines = bytes[..cut].iter().filter(|byte| **byte == b'\n').count() as u64;
        let torn = bytes[..cut].rsplit(|byte| *byte == b'\n').next().unwrap();
        let before = verify(&path);
        assert_eq!((before.0.torn_bytes, before.1), (torn.len() as u64, vec![]));
        let sink = FileSink::open(&path).unwrap();
        sink.append(event(77)).await.unwrap();
        drop(sink);
        let mut expected: Vec<u64> = (0..lines.saturating_sub(1)).collect();
        expected.push(77);
        assert_eq!(contents(&path), expected, "cut at {cut}");
        let (report, findings) = verify(&path);
        assert_eq!(findings, [], "cut at {cut}");
        assert_eq!(report.last.unwrap().0, lines + 3, "cut at {cut}");
        let aside = fs::read(path.with_extension("jsonl.torn")).unwrap_or_default();
        let expected = if torn.is_empty() {
            vec![]
        } else {
            [torn, b"\n"].concat()
        };
        assert_eq!(aside, expected, "cut at {cut}");
        let opened = fs::read_to_string(&path).unwrap();
        let told = opened.contains(&format!("\"torn_bytes\":{}", torn.len()));
        assert_eq!(told, !torn.is_empty(), "cut at {cut}: {opened}");
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
        assert_eq!(contents(&path), [1]);
        assert_eq!(verify(&path).1, []);
    }
}

#[tokio::test]
async fn full_files_are_renamed_and_the_chain_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    for round in 0..4 {
        let sink = small_files(&path);
        for number in 0..25 {
            sink.append(event(round * 25 + number)).await.unwrap();
        }
        let filter = Filter {
            session: Some((round * 25).to_string()),
            ..Filter::default()
        };
        let found = sink.search(&filter, 10).await.unwrap();
        assert_eq!(found.len(), 1);
        let newest = sink.search(&Filter::default(), 30).await.unwrap();
        assert_eq!(
            newest.len(),
            30.min(usize::try_from(verify(&path).0.records).unwrap())
        );
    }
    assert!(trail_files(&path).unwrap().len() > 5);
    assert!(contents(&path).into_iter().eq(0..100));
    let (report, findings) = verify(&path);
    assert_eq!(findings, []);
    assert_eq!(
        (report.closed, report.signed_through),
        (true, report.last.map(|last| last.0))
    );
    // A file in the middle is gone: found. The newest ones are gone: found by the signed head.
    let files = trail_files(&path).unwrap();
    let kept = fs::read(&files[2]).unwrap();
    fs::remove_file(&files[2]).unwrap();
    assert!(matches!(
        verify(&path).1[0].problem,
        Problem::Missing { .. }
    ));
    fs::write(&files[2], kept).unwrap();
    files[3..]
        .iter()
        .for_each(|file| fs::remove_file(file).unwrap());
    assert!(matches!(
        verify(&path).1[0].problem,
        Problem::Truncated { .. }
    ));
    // And it stays found when the trail goes on.
    small_files(&path).append(event(0)).await.unwrap();
    assert!(matches!(
        verify(&path).1[0].problem,
        Problem::Truncated { .. }
    ));
}

#[tokio::test]
async fn a_kill_between_the_two_renames_of_a_rotation_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let sink = FileSink::open(&path).unwrap();
    sink.append(event(1)).await.unwrap();
    drop(sink);
    fs::rename(&path, folder.path().join("audit.000000000001.jsonl")).unwrap();
    fs::write(folder.path().join("audit.jsonl.next"), "").unwrap();
    let sink = small_files(&path);
    for number in 2..20 {
        sink.append(event(number)).await.unwrap();
    }
    drop(sink);
    assert!(contents(&path).into_iter().eq(1..20));
    assert_eq!(verify(&path).1, []);
}

#[tokio::test]
async fn records_of_before_the_chain_are_read_searched_and_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut old = Vec::new();
    for number in 1..=3 {
        let event = AuditEvent {
            seq: Some(number),
            ..event(number)
        };
        serde_json::to_writer(&mut old, &event).unwrap();
        old.push(b'\n');
    }
    fs::write(&path, &old).unwrap();
    let sink = FileSink::open(&path).unwrap();
    sink.append(event(4)).await.unwrap();
    assert_eq!(sink.search(&Filter::default(), 3).await.unwrap().len(), 3);
    drop(sink);
    assert_eq!(contents(&path), [1, 2, 3, 4]);
    let (report, findings) = verify(&path);
    assert_eq!(findings, []);
    assert_eq!((report.unchained, report.unsealed), (3, 0));
    let changed = fs::read_to_string(&path)
        .unwrap()
        .replacen("\"2\"", "\"7\"", 1);
    fs::write(&path, changed).unwrap();
    assert_eq!(verify(&path).1[0].problem, Problem::SealBroken);
}

/// A file system of 256 KiB of its own, gone with the test.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k,mode=700", "none"])
            .arg(folder.path())
            .status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "a small file system must be mounted: run the tests as root"
        );
        Self(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount")
            .arg("--lazy")
            .arg(self.0.path())
            .status();
    }
}

#[tokio::test]
async fn full_disk_refuses_records_keeps_the_acknowledged_and_goes_on_when_there_is_room() {
    let disk = SmallDisk::mount();
    let path = disk.0.path().join("audit.jsonl");
    let sink = FileSink::open(&path).unwrap();
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    let mut number = 0;
    while refused < 20 {
        number += 1;
        match sink.append(event(number)).await {
            Ok(()) => acknowledged.push(number),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable);
                assert!(error.message().contains("audit.jsonl"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    assert_eq!(contents(&path), acknowledged);
    assert_eq!(verify(&path).1, []);
    let grown = Command::new("mount")
        .args(["-o", "remount,size=1m"])
        .arg(disk.0.path())
        .status()
        .unwrap();
    assert!(grown.success());
    sink.append(event(1_000_000)).await.unwrap();
    acknowledged.push(1_000_000);
    drop(sink);
    assert_eq!(contents(&path), acknowledged);
    let (report, findings) = verify(&path);
    assert_eq!((findings, report.closed), (vec![], true));
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
    let (_, opened) = events.next().unwrap().unwrap();
    assert!(
        matches!(opened.kind, AuditKind::TrailOpened(_)),
        "{opened:?}"
    );
    assert_eq!(
        events.next().unwrap().unwrap(),
        (
            2,
            AuditEvent {
                seq: Some(2),
                ..event(5)
            }
        )
    );
    assert!(events.next().is_none());

    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"seq\":3,").unwrap();
    assert!(events.next().is_none());
    file.write_all(b"oops\n").unwrap();
    let error = events.next().unwrap().unwrap_err();
    assert!(error.message().contains("line 3"), "{error}");
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
            3,
            AuditEvent {
                seq: Some(3),
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
    drop(sink);
    let numbers: BTreeSet<u64> = contents(&path).into_iter().collect();
    assert_eq!(numbers, (0..200).collect());
    let (report, findings) = verify(&path);
    assert_eq!((findings, report.records), (vec![], 202));
}

/// The test runs itself as a child that appends and says what was acknowledged, and kills it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_event_survives_kill_9() {
    const CHILD: &str = "DOCKIN_AUDIT_TEST_CHILD";
    if let Ok(path) = std::env::var(CHILD) {
        let sink = Arc::new(small_files(Path::new(&path)));
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
        // An auditor who comes right now finds nothing wrong either.
        assert_eq!(verify(&path).1, []);
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
    assert!(
        acknowledged.len() > 400,
        "{} acknowledged",
        acknowledged.len()
    );
    let written: BTreeSet<u64> = contents(&path).into_iter().collect();
    assert!(acknowledged.is_subset(&written));
    assert!(trail_files(&path).unwrap().len() > 20);
    assert_eq!(verify(&path).1, []);
}
