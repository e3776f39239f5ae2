#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use proptest::prelude::*;

use super::*;
use crate::recording::CastWriter;

fn read(
    bytes: &[u8],
    piece: usize,
) -> (Option<CastHeader>, Vec<Result<CastEvent, CastError>>, bool) {
    let mut reader = CastReader::new();
    let mut events = Vec::new();
    for bytes in bytes.chunks(piece) {
        reader.feed(bytes);
        while let Some(event) = reader.poll_event().transpose() {
            events.push(event);
            if reader.header.is_none() {
                break;
            }
        }
    }
    (reader.header.clone(), events, reader.finish())
}

#[test]
fn versions_two_and_three_tell_the_same_story() {
    // The examples of the two specifications, in substance.
    let two = concat!(
        r#"{"version": 2, "width": 80, "height": 24, "timestamp": 1504467315, "title": "Demo", "env": {"TERM": "xterm-256color", "SHELL": "/bin/zsh"}}"#,
        "\n",
        r#"[0.248848, "o", "\u001b[1;31mHello\u001b[0m"]"#,
        "\n",
        r#"[1.001376, "i", "l"]"#,
        "\n",
        r#"[2.143733, "r", "90x30"]"#,
        "\n",
        r#"[3.0, "m", "here"]"#,
        "\n",
    );
    let three = concat!(
        r#"{"version": 3, "term": {"cols": 80, "rows": 24, "type": "xterm-256color"}, "timestamp": 1504467315, "title": "Demo", "env": {"SHELL": "/bin/zsh"}}"#,
        "\n",
        "# a comment\n",
        r#"[0.248848, "o", "\u001b[1;31mHello\u001b[0m"]"#,
        "\n",
        r#"[0.752528, "i", "l"]"#,
        "\n",
        r#"[1.142357, "r", "90x30"]"#,
        "\n",
        "\n",
        r#"[0.856267, "m", "here"]"#,
        "\n",
    );
    let (header, events, cut) = read(two.as_bytes(), 7);
    let (header3, events3, cut3) = read(three.as_bytes(), 1000);
    let header = header.unwrap();
    assert_eq!((header.version, header.columns, header.rows), (2, 80, 24));
    assert_eq!(
        CastHeader {
            version: 3,
            ..header
        },
        header3.unwrap()
    );
    assert_eq!((&events, cut), (&events3, cut3));
    let last = events.last().unwrap().as_ref().unwrap();
    assert_eq!(last.time, Duration::from_secs(3));
    assert_eq!(last.kind, CastKind::Marker("here".to_owned()));
}

#[test]
fn wrong_lines_are_named_and_the_rest_is_read() {
    let text = "{\"version\":3,\"term\":{\"cols\":1,\"rows\":1}}\n[0,\"o\"]\n[1,\"q\",\"new\"]\n[1,\"r\",\"ax1\"]\n[0,\"x\",\"3\"]\n[0,\"o\",\"cut";
    let (_, events, cut) = read(text.as_bytes(), 3);
    assert!(cut);
    let other = CastKind::Other {
        code: "q".to_owned(),
        data: "new".to_owned(),
    };
    let at = |kind| {
        Ok(CastEvent {
            time: Duration::from_secs(1),
            kind,
        })
    };
    assert_eq!(
        events,
        [
            Err(CastError::Event { line: 2 }),
            at(other),
            Err(CastError::Event { line: 4 }),
            at(CastKind::Exit(3)),
        ]
    );
    for (text, problem) in [
        ("hello\n", "line 1"),
        ("{\"version\":1}\n", "version 1"),
        ("{\"version\":3}\n", "`term`"),
    ] {
        let error = read(text.as_bytes(), 5).1.remove(0).unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
    }
}

proptest! {
    /// What is written is read back, however the bytes were cut on either way.
    #[test]
    fn a_session_is_read_as_it_was_written(
        text in "[ -~äλ漢😀\\r\\n\u{1b}\u{7f}]{0,60}",
        cut in 1..9_usize, piece in 1..50_usize, gaps in prop::collection::vec(0..5_000_000_u64, 60),
    ) {
        let header = CastHeader {
            version: 3,
            columns: 80,
            rows: 24,
            terminal: Some("xterm".into()),
            timestamp: Some(7),
            title: Some(text.clone()),
            command: None,
            session: Some(RecordedSession { user: text.clone(), ..RecordedSession::default() }),
        };
        let mut writer = CastWriter::new(&header);
        let mut cast = Vec::new();
        let mut time = Duration::ZERO;
        for (bytes, gap) in text.as_bytes().chunks(cut).zip(gaps.iter().cycle()) {
            time += Duration::from_micros(*gap);
            writer.output(time, bytes);
            writer.input(time, bytes);
            cast.append(&mut writer.take());
        }
        writer.marker(time, &text);
        writer.resize(time, 90, 30);
        writer.exit(time, -1);
        cast.append(&mut writer.take());
        let (found, events, open) = read(&cast, piece);
        prop_assert_eq!(found.unwrap(), header);
        prop_assert!(!open);
        let (mut output, mut input) = (String::new(), String::new());
        let events: Vec<CastEvent> = events.into_iter().map(Result::unwrap).collect();
        for event in &events {
            match &event.kind {
                CastKind::Output(text) => output.push_str(text),
                CastKind::Input(text) => input.push_str(text),
                _ => {}
            }
        }
        prop_assert_eq!((&output, &input), (&text, &text));
        let last = events.last().unwrap();
        prop_assert_eq!(&last.kind, &CastKind::Exit(-1));
        prop_assert_eq!(last.time, time);
    }

    /// No bytes panic, and any cut tells the same.
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1..20_usize) {
        let text = [b"{\"version\":3,\"term\":{\"cols\":1,\"rows\":1}}\n".to_vec(), bytes].concat();
        prop_assert_eq!(read(&text, piece), read(&text, 1000));
    }
}
