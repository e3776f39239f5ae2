#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use dockin_policy::recording::{CastKind, CastReader, Ending, RecordedSession};

use super::*;
use crate::recording::{list_recordings, open_recording};

fn header() -> CastHeader {
    CastHeader {
        version: 3,
        columns: 80,
        rows: 24,
        session: Some(RecordedSession {
            user: "ann".into(),
            ..RecordedSession::default()
        }),
        ..CastHeader::default()
    }
}

/// All events' kinds, and the end.
fn events(path: &Path, key: Option<RecordingKey>) -> (Vec<CastKind>, Ending) {
    let mut recording = open_recording(path, key).unwrap();
    let mut reader = CastReader::new();
    let mut kinds = Vec::new();
    while let Some(cast) = recording.read().unwrap() {
        reader.feed(&cast);
        while let Some(event) = reader.poll_event().unwrap() {
            kinds.push(event.kind);
        }
    }
    (kinds, recording.ending())
}

#[tokio::test]
async fn two_sessions_at_once_are_two_whole_recordings() {
    let folder = tempfile::tempdir().unwrap();
    let key = RecordingKey::new([4; 32]);
    for key in [None, Some(key)] {
        let directory = folder.path().join(key.is_some().to_string());
        let options = RecordingOptions {
            key: key.clone(),
            input: true,
            ..RecordingOptions::new(&directory)
        };
        let store = RecordingStore::open(options).unwrap();
        let one = store.begin("one", header()).await.unwrap();
        let two = store.begin("two", header()).await.unwrap();
        let now = Instant::now();
        for number in 0..1000 {
            one.output(now, &Bytes::from(format!("one {number} ")));
            two.output(now, &Bytes::from(format!("two {number} ")));
        }
        one.output(now, &Bytes::from("# "));
        one.input(now, b"ls\r");
        one.output(now, &Bytes::from("ls\r\nPassword: "));
        one.input(now, b"hunter2\r");
        one.resize(now, 100, 30);
        one.marker(now, "1 allow: ls".to_owned());
        let stored = one.finish(Some(7)).await.unwrap();
        two.finish(None).await.unwrap();
        let listed = list_recordings(&directory).unwrap();
        let names: Vec<_> = listed.iter().map(|it| it.session.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(
            (listed[0].size, listed[0].encrypted),
            (stored.bytes, key.is_some())
        );
        let mode = fs::metadata(&listed[0].path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        for (index, file) in listed.iter().enumerate() {
            let (kinds, ending) = events(&file.path, key.clone());
            assert_eq!(ending, Ending::Whole);
            let output: String = kinds
                .iter()
                .filter_map(|kind| match kind {
                    CastKind::Output(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            let expected: String = (0..1000)
                .map(|it| format!("{} {it} ", names[index]))
                .collect();
            assert!(output.starts_with(&expected));
            if index == 0 {
                let typed: Vec<_> = kinds
                    .iter()
                    .filter_map(|kind| match kind {
                        CastKind::Input(text) => Some(text.as_str()),
                        _ => None,
                    })
                    .collect();
                assert_eq!(typed.concat(), "ls\r[hidden input]\r");
                assert!(kinds.contains(&CastKind::Marker("1 allow: ls".into())));
                assert!(kinds.contains(&CastKind::Resize {
                    columns: 100,
                    rows: 30
                }));
                assert_eq!(kinds.last(), Some(&CastKind::Exit(7)));
            }
        }
    }
}

#[tokio::test]
async fn a_session_has_one_recording_and_one_that_cannot_be_made_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = RecordingStore::open(RecordingOptions::new(folder.path())).unwrap();
    let first = store.begin("one", header()).await.unwrap();
    let error = store.begin("one", header()).await.unwrap_err();
    assert!(error.message().contains("one.cast.zst"), "{error}");
    first.finish(None).await.unwrap();
}

/// The test runs itself as a child that records and says so, and kills it.
#[tokio::test]
async fn what_was_recorded_survives_kill_9() {
    const CHILD: &str = "DOCKIN_RECORDING_TEST_CHILD";
    let key = RecordingKey::new([4; 32]);
    if let Ok(directory) = std::env::var(CHILD) {
        let options = RecordingOptions {
            key: Some(key.clone()),
            ..RecordingOptions::new(directory)
        };
        let store = RecordingStore::open(options).unwrap();
        let recorder = store.begin("killed", header()).await.unwrap();
        for number in 0_u64.. {
            recorder.output(
                Instant::now(),
                &Bytes::from(format!("{number} ").repeat(50)),
            );
            if number % 100 == 0 {
                println!("recorded {number}");
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "recording::store::tests::what_was_recorded_survives_kill_9",
        ])
        .env(CHILD, folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = lines
        .map_while(Result::ok)
        .filter(|line| line.starts_with("recorded"))
        .take(12);
    assert_eq!(told.count(), 12);
    child.kill().unwrap();
    child.wait().unwrap();
    let file = list_recordings(folder.path()).unwrap().remove(0);
    let (kinds, ending) = events(&file.path, Some(key));
    assert!(matches!(ending, Ending::CutOff { .. }));
    assert!(kinds.len() > 50, "{}", kinds.len());
    let first = CastKind::Output("0 ".repeat(50));
    assert_eq!(kinds[0], first);
}
