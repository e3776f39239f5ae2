//! The rules of the channels one by one, where the recorded sessions do not show them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test, and a test may read the clock"
)]

use std::time::Instant;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use dockin_stream::{
    Codec, Event, ExitStatus, ProtocolError, StreamSet, Subprotocol, TerminalSize,
    channel::{Client, Server},
    limits,
    websocket::FrameError,
};

const STREAMS: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};
const CLOSE_NORMAL: &[u8] = b"\x88\x02\x03\xe8";

/// A masked frame with a key of zeros, as a client may send it.
fn from_client(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = from_server(first, payload);
    let header = frame.len() - payload.len();
    frame[1] |= 0x80;
    frame.splice(header..header, [0; 4]);
    frame
}

fn from_server(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(short as u8),
        medium @ 126..=0xffff => {
            frame.push(126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

fn feed(codec: &mut impl Codec, wire: &[u8]) -> Result<Vec<Event>, ProtocolError> {
    codec.handle_input(Instant::now(), &mut BytesMut::from(wire))?;
    Ok(std::iter::from_fn(|| codec.poll_event()).collect())
}

fn sent(codec: &mut impl Codec) -> Vec<u8> {
    std::iter::from_fn(|| codec.poll_transmit())
        .flatten()
        .collect()
}

fn server(subprotocol: Subprotocol) -> Server {
    let mut server = Server::new(subprotocol, STREAMS);
    sent(&mut server);
    server
}

/// What a client says, as a server reads it.
fn read_by_server(subprotocol: Subprotocol, client: &mut Client) -> Vec<Event> {
    feed(&mut server(subprotocol), &sent(client)).unwrap()
}

#[test]
fn first_message_is_empty_on_the_lowest_channel_the_server_writes() {
    for (stdout, stderr, tty, channel) in [
        (true, true, false, 1),
        (false, true, false, 2),
        (false, false, false, 3),
        // A TTY has no standard error.
        (false, true, true, 3),
    ] {
        let streams = StreamSet {
            stdin: true,
            stdout,
            stderr,
            tty,
        };
        let mut raw = Server::new(Subprotocol::V4, streams);
        assert_eq!(sent(&mut raw), [0x82, 1, channel]);
        let mut base64 = Server::new(Subprotocol::V4Base64, streams);
        assert_eq!(sent(&mut base64), [0x81, 1, b'0' + channel]);
    }
}

#[test]
fn stdin_is_given_on_before_its_message_is_complete() {
    let mut server = server(Subprotocol::V5);
    let wire = from_client(0x82, b"\0hello world");
    assert_eq!(
        feed(&mut server, &wire[..9]).unwrap(),
        [Event::Stdin(b"he"[..].into())]
    );
    assert_eq!(
        feed(&mut server, &wire[9..]).unwrap(),
        [Event::Stdin(b"llo world"[..].into())]
    );
}

#[test]
fn control_frame_between_fragments_leaves_stdin_whole() {
    let mut server = server(Subprotocol::V5);
    let wire = [
        from_client(0x02, b""),
        from_client(0x00, b"\0a"),
        from_client(0x89, b"hb"),
        from_client(0x80, b"b"),
    ]
    .concat();
    assert_eq!(
        feed(&mut server, &wire).unwrap(),
        [Event::Stdin(b"a"[..].into()), Event::Stdin(b"b"[..].into())]
    );
    assert_eq!(sent(&mut server), b"\x8a\x02hb");
}

/// `T15`: the Go translator stops for good on the second one.
#[test]
fn a_thousand_resizes_without_a_terminal_are_ignored() {
    let mut server = server(Subprotocol::V5);
    let mut wire = from_client(0x82, b"\x04{\"Width\":80,\"Height\":24}\n").repeat(1000);
    wire.extend(from_client(0x82, b"\0a"));
    assert_eq!(
        feed(&mut server, &wire).unwrap(),
        [Event::Stdin(b"a"[..].into())]
    );

    let mut client = Client::new(Subprotocol::V5, STREAMS, 1);
    client.send(Event::Resize(TerminalSize {
        width: 80,
        height: 24,
    }));
    assert_eq!(client.poll_transmit(), None);
}

#[test]
fn streams_that_were_not_asked_for_carry_nothing() {
    let streams = StreamSet {
        stdout: true,
        ..StreamSet::default()
    };
    let mut server = Server::new(Subprotocol::V5, streams);
    sent(&mut server);
    let wire = [from_client(0x82, b"\0a"), from_client(0x82, b"\xff\0")].concat();
    assert_eq!(feed(&mut server, &wire).unwrap(), []);
    server.send(Event::Stderr(b"e"[..].into()));
    assert_eq!(sent(&mut server), b"");

    let mut client = Client::new(Subprotocol::V5, streams, 1);
    client.send(Event::Stdin(b"a"[..].into()));
    client.send(Event::HalfClose);
    assert_eq!(client.poll_transmit(), None);
    assert_eq!(
        feed(&mut client, b"\x82\x02\x02e\x82\x02\x01o").unwrap(),
        [Event::Stdout(b"o"[..].into())]
    );
}

#[test]
fn pings_that_are_never_drained_leave_one_pong() {
    let mut server = server(Subprotocol::V5);
    for round in 0..1000_u16 {
        let wire = from_client(0x89, &round.to_be_bytes()).repeat(10);
        assert_eq!(feed(&mut server, &wire).unwrap(), []);
    }
    assert_eq!(sent(&mut server), [0x8a, 2, 0x03, 0xe7]);
}

#[test]
fn malformed_close_signal_ends_the_session_with_1002() {
    for (signal, error) in [
        (&b"\xff"[..], FrameError::CloseSignalLength),
        (b"\xff\0\0", FrameError::CloseSignalLength),
        (b"\xff\x05", FrameError::CloseSignalChannel { channel: 5 }),
        (b"\xff\xff", FrameError::CloseSignalChannel { channel: 255 }),
    ] {
        let mut v5 = server(Subprotocol::V5);
        assert_eq!(feed(&mut v5, &from_client(0x82, signal)), Err(error.into()));
        v5.send(Event::Stdout(b"late"[..].into()));
        assert_eq!(sent(&mut v5), b"\x88\x02\x03\xea");
        // Just a channel that does not exist.
        assert_eq!(
            feed(&mut server(Subprotocol::V4), &from_client(0x82, signal)),
            Ok(vec![])
        );
    }
}

#[test]
fn half_close_is_said_in_v5_alone_and_ends_input_in_all() {
    for subprotocol in Subprotocol::WEBSOCKET {
        let mut client = Client::new(subprotocol, STREAMS, 1);
        client.send(Event::Stdin(b"a"[..].into()));
        client.send(Event::HalfClose);
        client.send(Event::HalfClose);
        client.send(Event::Stdin(b"late"[..].into()));
        let mut expected = vec![Event::Stdin(b"a"[..].into())];
        if subprotocol == Subprotocol::V5 {
            expected.push(Event::HalfClose);
        }
        assert_eq!(read_by_server(subprotocol, &mut client), expected);
    }
}

/// `T20`.
#[test]
fn nothing_is_sent_behind_a_close_frame() {
    let mut server = server(Subprotocol::V5);
    let wire = [from_client(0x88, b"\x03\xe8"), from_client(0x82, b"\0late")].concat();
    assert_eq!(feed(&mut server, &wire).unwrap(), [Event::Close]);
    server.send(Event::Stdout(b"late"[..].into()));
    server.send(Event::Exit(ExitStatus::Exited(0)));
    server.send_keepalive();
    assert_eq!(sent(&mut server), CLOSE_NORMAL);
    assert_eq!(server.handle_eof(Instant::now()), Ok(()));
    assert_eq!(server.poll_event(), None);
}

#[test]
fn input_behind_our_goodbye_is_read_for_the_peers_goodbye_alone() {
    let mut server = server(Subprotocol::V5);
    server.send(Event::Exit(ExitStatus::Exited(0)));
    let wire = [
        from_client(0x82, b"\0late"),
        from_client(0x89, b"hb"),
        from_client(0x82, b"\xff\0"),
        from_client(0x88, b"\x03\xe8"),
    ]
    .concat();
    assert_eq!(feed(&mut server, &wire).unwrap(), [Event::Close]);
    let sent = sent(&mut server);
    assert!(sent.ends_with(CLOSE_NORMAL));
    assert!(!sent.windows(2).any(|window| window == b"hb"));
}

/// `T2`: client-go takes Close 1000 without a status for success.
#[test]
fn server_that_closes_without_a_status_does_not_say_normal() {
    let mut server = server(Subprotocol::V5);
    server.send(Event::Close);
    assert!(server.is_finished());
    assert_eq!(sent(&mut server), b"\x88\x02\x03\xf3");
}

#[test]
fn end_of_the_connection_is_a_close() {
    let now = Instant::now();
    let mut server = server(Subprotocol::V5);
    assert_eq!(server.handle_eof(now), Ok(()));
    assert_eq!(server.poll_event(), Some(Event::Close));
    assert!(server.is_finished());

    let mut client = Client::new(Subprotocol::V4, STREAMS, 1);
    assert_eq!(
        feed(&mut client, b"\x82\x05\x01ab").unwrap(),
        [Event::Stdout(b"ab"[..].into())]
    );
    assert_eq!(client.handle_eof(now), Err(ProtocolError::Truncated));
    assert_eq!(client.poll_event(), Some(Event::Close));
    assert_eq!(client.poll_event(), None);
}

#[test]
fn status_may_come_in_pieces_and_only_once() {
    let mut client = Client::new(Subprotocol::V5, STREAMS, 1);
    let wire = [
        from_server(0x82, b"\x03"),
        from_server(0x82, b"\x03{\"metadata\":{},"),
        from_server(0x02, b"\x03\"status\":"),
        from_server(0x80, b"\"Success\"}"),
        from_server(0x82, b"\x03{\"status\":\"Failure\"}"),
        from_server(0x82, b"\x01late"),
        CLOSE_NORMAL.to_vec(),
    ]
    .concat();
    assert_eq!(
        feed(&mut client, &wire).unwrap(),
        [Event::Exit(ExitStatus::Exited(0)), Event::Close]
    );
}

#[test]
fn status_in_countless_pieces_is_read_at_the_end() {
    let mut client = Client::new(Subprotocol::V5, STREAMS, 1);
    let status = ExitStatus::Exited(7);
    for byte in status.to_json().bytes() {
        assert_eq!(
            feed(&mut client, &from_server(0x82, &[3, byte])),
            Ok(vec![])
        );
    }
    assert_eq!(
        feed(&mut client, CLOSE_NORMAL).unwrap(),
        [Event::Exit(status), Event::Close]
    );
}

#[test]
fn missing_or_broken_status_is_never_success() {
    let close_alone = CLOSE_NORMAL.to_vec();
    let cut = [
        from_server(0x82, b"\x03{\"status\":\"Succ"),
        CLOSE_NORMAL.to_vec(),
    ]
    .concat();
    let nonsense = [from_server(0x82, b"\x03Success"), CLOSE_NORMAL.to_vec()].concat();
    for wire in [close_alone, cut, nonsense] {
        let mut client = Client::new(Subprotocol::V4, STREAMS, 1);
        let events = feed(&mut client, &wire).unwrap();
        assert_eq!(events.last(), Some(&Event::Close));
        assert!(
            !events
                .iter()
                .any(|event| matches!(event, Event::Exit(status) if status.is_success()))
        );
    }
    let mut v1 = Client::new(Subprotocol::V1, STREAMS, 1);
    assert_eq!(feed(&mut v1, b"\x88\x02\x03\xf3").unwrap(), [Event::Close]);
}

/// v1 takes the server's goodbye for success, but the answer to our own is no status.
#[test]
fn the_answer_to_our_own_goodbye_is_no_success_in_v1() {
    for subprotocol in [Subprotocol::V1, Subprotocol::V1Base64] {
        let mut client = Client::new(subprotocol, STREAMS, 1);
        let normal = feed(&mut client, CLOSE_NORMAL).unwrap();
        assert_eq!(normal, [Event::Exit(ExitStatus::Exited(0)), Event::Close]);

        let mut client = Client::new(subprotocol, STREAMS, 1);
        client.send(Event::Close);
        assert_eq!(feed(&mut client, CLOSE_NORMAL).unwrap(), [Event::Close]);
    }
}

#[test]
fn status_above_its_limit_ends_the_session_with_1009() {
    let mut client = Client::new(Subprotocol::V4, STREAMS, 1);
    let part = from_server(0x82, &[&b"\x03"[..], &[b' '; 30_001]].concat());
    assert_eq!(feed(&mut client, &part.repeat(2)), Ok(vec![]));
    assert!(matches!(
        feed(&mut client, &part),
        Err(ProtocolError::TooLong {
            what: "status",
            size: 90_003,
            max: limits::MAX_STATUS
        })
    ));
    let mut reader = server(Subprotocol::V4);
    feed(&mut reader, &sent(&mut client)).unwrap();
    assert_eq!(sent(&mut reader), b"\x88\x02\x03\xf1");
}

#[test]
fn text_in_a_raw_protocol_is_dropped_whatever_it_begins_with() {
    let mut server = server(Subprotocol::V5);
    let wire = [
        from_client(0x81, b"0abc"),
        from_client(0x81, b"\0abc"),
        from_client(0x01, b"\xff"),
        from_client(0x80, b"\0"),
        from_client(0x82, b"\0a"),
    ]
    .concat();
    assert_eq!(
        feed(&mut server, &wire).unwrap(),
        [Event::Stdin(b"a"[..].into())]
    );
}

#[test]
fn bad_base64_costs_only_its_own_message() {
    let mut server = server(Subprotocol::V4Base64);
    let wire = [
        from_client(0x81, b"0!!!"),
        from_client(0x81, b"0YQ"),
        from_client(0x81, b"9YQ=="),
        from_client(0x81, b"xYQ=="),
        from_client(0x81, b""),
        from_client(0x81, b"0"),
        from_client(0x01, b"0"),
        from_client(0x00, b"Y"),
        from_client(0x80, b"Q=="),
        // The Go servers do not look at the opcode here either.
        from_client(0x82, b"0Yg=="),
    ]
    .concat();
    assert_eq!(
        feed(&mut server, &wire).unwrap(),
        [Event::Stdin(b"a"[..].into()), Event::Stdin(b"b"[..].into())]
    );
}

#[test]
fn base64_message_above_its_limit_ends_the_session_with_1009() {
    let mut server = server(Subprotocol::V4Base64);
    let fragment = vec![b'A'; 1024 * 1024];
    feed(&mut server, &from_client(0x01, b"0")).unwrap();
    for _ in 0..4 {
        feed(&mut server, &from_client(0x00, &fragment)).unwrap();
    }
    assert!(matches!(
        feed(&mut server, &from_client(0x00, b"A")),
        Err(ProtocolError::TooLong {
            what: "base64 message",
            ..
        })
    ));
    assert_eq!(sent(&mut server), b"\x88\x02\x03\xf1");
}

#[test]
fn base64_output_is_cut_into_messages_the_peer_takes() {
    let body: Bytes = (0..=255_u8)
        .cycle()
        .take(5 * 1024 * 1024)
        .collect::<Vec<_>>()
        .into();
    let mut server = server(Subprotocol::V4Base64);
    server.send(Event::Stdout(body.clone()));
    let mut client = Client::new(Subprotocol::V4Base64, STREAMS, 1);
    let output: Vec<u8> = feed(&mut client, &sent(&mut server))
        .unwrap()
        .into_iter()
        .flat_map(|event| match event {
            Event::Stdout(bytes) => bytes,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(output == body);
}

#[test]
fn one_output_event_is_one_message_up_to_the_frame_limit() {
    let mut server = server(Subprotocol::V4);
    let body = Bytes::from(vec![7; limits::MAX_WEBSOCKET_FRAME as usize]);
    server.send(Event::Stdout(body.slice(1..)));
    assert_eq!(
        server.poll_transmit().as_deref(),
        Some(&b"\x82\x7f\0\0\0\0\x02\0\0\0\x01"[..])
    );
    assert_eq!(server.poll_transmit().unwrap().as_ptr(), body[1..].as_ptr());
    assert_eq!(server.poll_transmit(), None);
    server.send(Event::Stdout(body));
    assert!(sent(&mut server).ends_with(b"\x82\x02\x01\x07"));
}

#[test]
fn client_sends_stdin_in_messages_of_32_kib() {
    let mut client = Client::new(Subprotocol::V5, STREAMS, 1);
    client.send(Event::Stdin(vec![b'x'; 100_000].into()));
    let mut server = server(Subprotocol::V5);
    let lengths: Vec<usize> = feed(&mut server, &sent(&mut client))
        .unwrap()
        .iter()
        .map(Event::len)
        .collect();
    assert_eq!(lengths, [32_768, 32_768, 32_768, 1696]);
}

#[test]
fn v1_tells_failure_as_text_and_success_by_nothing() {
    for (subprotocol, text) in [
        (
            Subprotocol::V1,
            "command terminated with non-zero exit code: exit status 3".to_owned(),
        ),
        (
            Subprotocol::V1Base64,
            STANDARD.encode("command terminated with non-zero exit code: exit status 3"),
        ),
    ] {
        let mut failed = server(subprotocol);
        failed.send(Event::Exit(ExitStatus::Exited(3)));
        let wire = sent(&mut failed);
        assert!(
            wire.windows(text.len())
                .any(|window| window == text.as_bytes())
        );
        assert!(wire.ends_with(CLOSE_NORMAL));
        let mut succeeded = server(subprotocol);
        succeeded.send(Event::Exit(ExitStatus::Exited(0)));
        assert_eq!(sent(&mut succeeded), CLOSE_NORMAL);
    }
}

#[test]
fn what_is_typed_is_not_in_the_debug_text() {
    let mut server = server(Subprotocol::V4Base64);
    server
        .handle_input(
            Instant::now(),
            &mut BytesMut::from(
                &[from_client(0x81, b"0cGFzcw=="), from_client(0x01, b"0cGFz")].concat()[..],
            ),
        )
        .unwrap();
    server.send(Event::Stdout(b"pass"[..].into()));
    let shown = format!("{server:?}");
    assert!(
        !shown.contains("pass") && !shown.contains("cGFz"),
        "{shown}"
    );
}
