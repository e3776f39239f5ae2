use std::time::Duration;

use dockin_policy::recording::{
    CastError, CastEvent, CastHeader, CastKind, CastReader, CastWriter, EchoedInput, RecordingKey,
    SealError, Sealer, Unsealer,
};

use crate::cut::pieces;

/// A recording, as a cast, as a sealed file, and as what was typed and shown.
///
/// The first byte says how the rest is cut. Any bytes are read the same however they are cut;
/// what is written of them is read back; what is sealed is unsealed; a password typed without
/// echo is never let through.
///
/// # Panics
///
/// A law is broken.
pub fn asciicast(data: &[u8]) {
    let Some((seed, rest)) = data.split_first() else {
        return;
    };
    assert_eq!(read(rest, *seed), read(rest, u8::MAX), "cut differently");
    let (cast, ending) = unseal(rest, *seed, None);
    assert_eq!(
        unseal(rest, u8::MAX, None),
        (cast, ending),
        "unsealed differently"
    );

    let mut writer = CastWriter::new(&CastHeader::default());
    for (number, piece) in pieces(rest, *seed).enumerate() {
        writer.output(Duration::from_micros(number as u64 * 7), piece);
    }
    writer.exit(Duration::MAX, -1);
    let written = writer.take();
    let (header, events) = read(&written, *seed);
    assert!(header.is_some());
    let mut output = String::new();
    for event in &events {
        match event {
            Ok(CastEvent {
                kind: CastKind::Output(text),
                ..
            }) => output.push_str(text),
            Ok(CastEvent {
                kind: CastKind::Exit(-1),
                ..
            }) => {}
            other => panic!("{other:?} was written"),
        }
    }
    // A character that never got its end is not written.
    let shown = String::from_utf8_lossy(rest);
    let shown = shown.strip_suffix('\u{fffd}').unwrap_or(&shown);
    assert!(
        output.starts_with(shown) || shown.starts_with(&output),
        "{output:?} of {shown:?}"
    );

    let key = (*seed > 100).then(|| RecordingKey::new([*seed; 32]));
    if let Ok((mut sealer, mut file)) = Sealer::new(key.as_ref(), [3; 32]) {
        let half = written.len() / 2;
        let (one, two) = written.split_at(half);
        file.extend(sealer.seal(one, false).unwrap_or_default());
        file.extend(sealer.seal(two, true).unwrap_or_default());
        let (cast, outcome) = unseal(&file, *seed, key.as_ref());
        assert!(outcome.is_ok() && cast == written, "unsealed otherwise");
    }

    let mut echo = EchoedInput::new();
    for (number, piece) in pieces(rest, *seed).enumerate() {
        if number % 2 == 0 {
            echo.handle_output(piece);
        } else {
            echo.handle_input(Duration::ZERO, piece);
        }
    }
    let _ended = echo.handle_input(Duration::ZERO, b"\r");
    echo.handle_output(b"Password: ");
    while echo.poll_input().is_some() {}
    echo.handle_input(Duration::ZERO, b"hunter2-hunter2\r");
    echo.handle_output(b"\r\n");
    echo.finish();
    while let Some((_, bytes)) = echo.poll_input() {
        assert!(
            !bytes.windows(7).any(|bytes| bytes == b"hunter2"),
            "a password was let through"
        );
    }
}

type Events = Vec<Result<CastEvent, CastError>>;

fn read(bytes: &[u8], seed: u8) -> (Option<CastHeader>, Events) {
    let mut reader = CastReader::new();
    let mut events = Vec::new();
    for piece in pieces(bytes, seed) {
        reader.feed(piece);
        while let Some(event) = reader.poll_event().transpose() {
            let stop = matches!(
                event,
                Err(CastError::Header { .. } | CastError::Version { .. })
            );
            events.push(event);
            if stop {
                break;
            }
        }
    }
    (reader.poll_header().ok().flatten().cloned(), events)
}

fn unseal(bytes: &[u8], seed: u8, key: Option<&RecordingKey>) -> (Vec<u8>, Result<(), SealError>) {
    let mut unsealer = Unsealer::new(key.cloned());
    let mut cast = Vec::new();
    for piece in pieces(bytes, seed) {
        if let Err(error) = unsealer.feed(piece, &mut cast) {
            return (cast, Err(error));
        }
    }
    (cast, Ok(()))
}
