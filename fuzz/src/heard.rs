use std::time::Instant;

use bytes::{Bytes, BytesMut};
use dockin_stream::{Codec, Event, ExitStatus, ProtocolError};

/// What a codec made of a connection's bytes.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Heard {
    /// Payloads that follow one another on one stream are one.
    pub(crate) events: Vec<Event>,
    pub(crate) result: Result<(), ProtocolError>,
}

/// Runs `codec` to the end of the connection or to the first error.
pub(crate) fn listen<'a, C: Codec>(
    codec: &mut C,
    now: Instant,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Heard {
    let mut events = Vec::new();
    let mut input = BytesMut::new();
    let mut result = Ok(());
    for piece in pieces {
        input.extend_from_slice(piece);
        result = codec.handle_input(now, &mut input);
        drain(codec, &mut events);
        if result.is_err() {
            break;
        }
    }
    if result.is_ok() {
        result = codec.handle_eof(now);
        drain(codec, &mut events);
    }
    check_laws(&events);
    Heard { events, result }
}

/// Says all that a session can say to `codec`, ends it, and gives what it would have written.
pub(crate) fn say_everything<C: Codec>(codec: &mut C) -> Vec<u8> {
    for event in [
        Event::Stdin(Bytes::from_static(b"typed")),
        Event::Stdout(Bytes::from_static(b"printed")),
        Event::Stderr(Bytes::from_static(b"complained")),
        Event::HalfClose,
        Event::Exit(ExitStatus::Exited(3)),
        Event::Stdout(Bytes::from_static(b"too late")),
        Event::Close,
    ] {
        codec.send(event);
    }
    codec.send_keepalive();
    assert!(codec.is_finished(), "a goodbye was not queued");
    let mut wire = Vec::new();
    while let Some(bytes) = codec.poll_transmit() {
        wire.extend_from_slice(&bytes);
    }
    wire
}

fn drain<C: Codec>(codec: &mut C, events: &mut Vec<Event>) {
    while let Some(event) = codec.poll_event() {
        assert!(
            !(event.is_empty()
                && matches!(event, Event::Stdin(_) | Event::Stdout(_) | Event::Stderr(_))),
            "empty payload"
        );
        match (events.last_mut(), event) {
            (Some(Event::Stdin(known)), Event::Stdin(bytes))
            | (Some(Event::Stdout(known)), Event::Stdout(bytes))
            | (Some(Event::Stderr(known)), Event::Stderr(bytes)) => {
                *known = [&known[..], &bytes].concat().into();
            }
            (_, event) => events.push(event),
        }
    }
}

/// Nothing follows the goodbye, no output follows the status, no input follows its end.
fn check_laws(events: &[Event]) {
    for (index, event) in events.iter().enumerate() {
        let behind = &events[index + 1..];
        let none = |forbidden: fn(&Event) -> bool| {
            assert!(
                !behind.iter().any(forbidden),
                "{event:?} is followed by {behind:?}"
            );
        };
        match event {
            Event::Close => none(|_| true),
            Event::Exit(_) => none(|event| !matches!(event, Event::Close)),
            Event::HalfClose => none(|event| matches!(event, Event::Stdin(_) | Event::HalfClose)),
            _ => {}
        }
    }
}
