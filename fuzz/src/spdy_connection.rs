use std::time::Instant;

use dockin_stream::{
    Event, Subprotocol, limits,
    spdy::{ExecClient, ExecServer, Frame},
};

use crate::{
    cut::pieces,
    heard::{Heard, listen, say_everything},
    script::Script,
    spdy_frame::decode,
};

/// exec over SPDY: how to cut, role and subprotocol, streams, then the peer's bytes.
///
/// What is heard does not depend on the cut, keeps the order of a session, and everything that
/// is answered is well-formed.
///
/// # Panics
///
/// A law is broken.
pub fn spdy_connection(data: &[u8]) {
    let mut script = Script::new(data);
    let seed = script.byte();
    let choice = script.byte();
    let streams = script.streams();
    let bytes = script.rest();
    let subprotocol = Subprotocol::SPDY[usize::from(choice >> 1) % Subprotocol::SPDY.len()];
    let now = Instant::now();
    if choice & 1 == 0 {
        let run = |cut: &mut dyn Iterator<Item = &[u8]>| {
            let mut server = ExecServer::new(subprotocol, streams, now);
            let heard = listen(&mut server, now, cut);
            let answered = say_everything(&mut server);
            assert!(decode([&answered[..]]).is_clean(), "malformed answer");
            heard
        };
        let whole = run(&mut std::iter::once(bytes));
        let cut = run(&mut pieces(bytes, seed));
        // Streams above the limit are refused, and one that we reset makes room for another:
        // how many were reset before the next came is a matter of time.
        if opened(bytes) <= limits::MAX_EXEC_STREAMS {
            assert_eq!(cut, whole, "depends on the cut");
        }
    } else {
        let run = |cut: &mut dyn Iterator<Item = &[u8]>| {
            let mut client = ExecClient::new(subprotocol, streams);
            let heard = listen(&mut client, now, cut);
            let answered = say_everything(&mut client);
            assert!(decode([&answered[..]]).is_clean(), "malformed answer");
            heard
        };
        let whole = run(&mut std::iter::once(bytes));
        let cut = run(&mut pieces(bytes, seed));
        check_client(&whole, &cut);
    }
}

/// A fault behind the end of a session spoils its status when both came in one read, and never
/// the other way round: what cannot be trusted as a whole is no success.
fn check_client(whole: &Heard, cut: &Heard) {
    if whole == cut {
        return;
    }
    let (whole_said, whole_exit) = split_exit(&whole.events);
    let (cut_said, cut_exit) = split_exit(&cut.events);
    assert_eq!(whole_said, cut_said, "depends on the cut");
    assert!(
        cut_exit.is_some()
            && !matches!(whole_exit, Some(Event::Exit(status)) if status.is_success()),
        "the status depends on the cut: {whole:?}, {cut:?}"
    );
}

fn split_exit(events: &[Event]) -> (&[Event], Option<&Event>) {
    match events
        .iter()
        .position(|event| matches!(event, Event::Exit(_) | Event::Close))
    {
        Some(index) => (
            &events[..index],
            Some(&events[index]).filter(|event| matches!(event, Event::Exit(_))),
        ),
        None => (events, None),
    }
}

fn opened(bytes: &[u8]) -> usize {
    decode([bytes])
        .frames
        .iter()
        .filter(|frame| matches!(frame, Frame::SynStream { .. }))
        .count()
}
