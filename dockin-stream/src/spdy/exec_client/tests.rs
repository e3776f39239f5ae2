#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
#![allow(clippy::disallowed_methods, reason = "time has to start somewhere")]

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::ExecClient;
use crate::{
    Codec, Event, ExitStatus, ProtocolError, StreamSet, Subprotocol, TerminalSize,
    spdy::{Frame, FrameDecoder, FrameEncoder, GoAwayStatus, Headers, RstStatus, StreamId},
};

const ALL: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};
const OUTPUTS: StreamSet = StreamSet {
    stdin: false,
    ..ALL
};
const SUCCESS: &[u8] = br#"{"status":"Success"}"#;

/// A server that sends frames, and what it got.
struct Server {
    client: ExecClient,
    encoder: FrameEncoder,
    decoder: FrameDecoder,
}

impl Server {
    fn new(subprotocol: Subprotocol, streams: StreamSet) -> Self {
        Self {
            client: ExecClient::new(subprotocol, streams),
            encoder: FrameEncoder::new(),
            decoder: FrameDecoder::new(),
        }
    }

    fn say(&mut self, frames: &[Frame]) -> Result<(), ProtocolError> {
        let mut bytes = BytesMut::new();
        for frame in frames {
            self.encoder.encode(frame, &mut bytes);
        }
        self.client.handle_input(Instant::now(), &mut bytes)
    }

    fn hear(&mut self) -> Vec<Frame> {
        let mut bytes = BytesMut::new();
        while let Some(part) = self.client.poll_transmit() {
            bytes.extend_from_slice(&part);
        }
        std::iter::from_fn(|| self.decoder.decode(&mut bytes).unwrap()).collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }

    fn eof(&mut self) -> Result<(), ProtocolError> {
        self.client.handle_eof(Instant::now())
    }
}

fn id(stream: u32) -> StreamId {
    StreamId::new(stream).unwrap()
}

fn data(stream: u32, bytes: &'static [u8]) -> Frame {
    Frame::Data {
        stream: id(stream),
        bytes: Bytes::from_static(bytes),
        fin: false,
    }
}

fn fin(stream: u32) -> Frame {
    Frame::Data {
        stream: id(stream),
        bytes: Bytes::new(),
        fin: true,
    }
}

fn cancel(stream: u32) -> Frame {
    Frame::RstStream {
        stream: id(stream),
        status: RstStatus::CANCEL,
    }
}

fn reply(stream: u32) -> Frame {
    Frame::SynReply {
        stream: id(stream),
        fin: false,
        headers: Headers::new(),
    }
}

fn stdout(bytes: &'static [u8]) -> Event {
    Event::Stdout(Bytes::from_static(bytes))
}

#[test]
fn all_streams_are_opened_in_one_write() {
    for (streams, names) in [
        (ALL, &["error", "stdin", "stdout", "stderr"][..]),
        (
            StreamSet { tty: true, ..ALL },
            &["error", "stdin", "stdout", "resize"],
        ),
    ] {
        let mut client = ExecClient::new(Subprotocol::V4, streams);
        let mut bytes = BytesMut::from(&client.poll_transmit().unwrap()[..]);
        assert_eq!(client.poll_transmit(), None);
        let mut decoder = FrameDecoder::new();
        let opened: Vec<String> = std::iter::from_fn(|| decoder.decode(&mut bytes).unwrap())
            .map(|frame| match frame {
                Frame::SynStream { headers, .. } => {
                    String::from_utf8(headers.get("streamtype").unwrap().to_vec()).unwrap()
                }
                frame => panic!("{frame:?}"),
            })
            .collect();
        assert_eq!(opened, names);
    }
}

#[test]
fn input_waits_for_its_stream_to_be_accepted() {
    let mut server = Server::new(Subprotocol::V4, StreamSet { tty: true, ..ALL });
    server.hear();
    server.client.send(Event::Stdin(Bytes::from_static(b"ls")));
    server.client.send(Event::Resize(TerminalSize {
        width: 80,
        height: 24,
    }));
    server.client.send(Event::HalfClose);
    assert_eq!(server.hear(), []);
    assert!(!server.client.is_ready());
    server.say(&[reply(1), reply(7), reply(3)]).unwrap();
    assert_eq!(
        server.hear(),
        [
            data(7, b"{\"Width\":80,\"Height\":24}\n"),
            data(3, b"ls"),
            fin(3)
        ]
    );
    server.say(&[reply(5)]).unwrap();
    assert!(server.client.is_ready());
}

#[test]
fn status_waits_for_both_outputs_in_whatever_order_go_resets() {
    let orders = [
        [1, 3, 5],
        [1, 5, 3],
        [3, 1, 5],
        [3, 5, 1],
        [5, 1, 3],
        [5, 3, 1],
    ];
    for order in orders {
        let mut server = Server::new(Subprotocol::V4, OUTPUTS);
        server
            .say(&[
                reply(1),
                reply(3),
                reply(5),
                data(3, b"out"),
                data(1, SUCCESS),
            ])
            .unwrap();
        assert_eq!(server.events(), [stdout(b"out")]);
        let (last, first) = order.split_last().unwrap();
        for stream in first {
            server.say(&[cancel(*stream)]).unwrap();
            assert_eq!(server.events(), []);
        }
        server.say(&[cancel(*last)]).unwrap();
        assert_eq!(server.events(), [Event::Exit(ExitStatus::Exited(0))]);
        assert!(server.client.is_finished());
        server.eof().unwrap();
        server.eof().unwrap();
        assert_eq!(server.events(), [Event::Close]);
    }
}

#[test]
fn connection_that_ends_behind_a_status_gives_it() {
    let mut server = Server::new(Subprotocol::V4, OUTPUTS);
    server
        .say(&[data(3, b"out"), data(1, SUCCESS), fin(1)])
        .unwrap();
    assert_eq!(server.events(), [stdout(b"out")]);
    server.eof().unwrap();
    assert_eq!(
        server.events(),
        [Event::Exit(ExitStatus::Exited(0)), Event::Close]
    );
}

#[test]
fn connection_that_ends_without_a_status_is_never_success() {
    for subprotocol in [
        Subprotocol::V4,
        Subprotocol::V3,
        Subprotocol::V2,
        Subprotocol::V1,
    ] {
        for frames in [
            vec![],
            vec![data(3, b"half")],
            vec![data(3, b"half"), fin(3), fin(5)],
        ] {
            let mut server = Server::new(subprotocol, OUTPUTS);
            server.say(&frames).unwrap();
            server.eof().unwrap();
            let events = server.events();
            assert_eq!(events.last(), Some(&Event::Close));
            assert!(!events.iter().any(|event| matches!(event, Event::Exit(_))));
        }
    }
}

#[test]
fn empty_error_stream_is_success_in_v2_and_failure_in_v4() {
    for (subprotocol, success) in [
        (Subprotocol::V4, false),
        (Subprotocol::V3, true),
        (Subprotocol::V2, true),
    ] {
        for end in [fin, cancel] {
            let mut server = Server::new(subprotocol, OUTPUTS);
            server.say(&[end(3), end(5), end(1)]).unwrap();
            let events = server.events();
            assert!(
                matches!(events[..], [Event::Exit(ref status)] if status.is_success() == success),
                "{subprotocol:?}: {events:?}"
            );
        }
    }
}

#[test]
fn v1_ends_with_its_outputs() {
    let mut server = Server::new(Subprotocol::V1, OUTPUTS);
    server
        .say(&[reply(1), cancel(1), data(3, b"out"), cancel(3)])
        .unwrap();
    assert_eq!(server.events(), [stdout(b"out")]);
    server.say(&[cancel(5)]).unwrap();
    assert_eq!(server.events(), [Event::Exit(ExitStatus::Exited(0))]);
}

#[test]
fn stream_reset_for_another_reason_than_its_end_is_no_success() {
    let mut server = Server::new(Subprotocol::V4, OUTPUTS);
    let broken = Frame::RstStream {
        stream: id(3),
        status: RstStatus::FLOW_CONTROL_ERROR,
    };
    server
        .say(&[data(1, SUCCESS), cancel(1), broken, cancel(5)])
        .unwrap();
    assert!(matches!(
        server.events()[..],
        [Event::Exit(ref status)] if !status.is_success()
    ));
}

#[test]
fn cut_status_is_a_failure() {
    let mut server = Server::new(Subprotocol::V4, OUTPUTS);
    server.say(&[data(1, b"{\"status\":\"Succ")]).unwrap();
    server.eof().unwrap();
    assert!(matches!(
        server.events()[..],
        [Event::Exit(ref status), Event::Close] if !status.is_success()
    ));
}

#[test]
fn cut_frame_is_an_error_and_no_status() {
    let mut server = Server::new(Subprotocol::V4, OUTPUTS);
    server.say(&[data(1, SUCCESS)]).unwrap();
    let mut cut = BytesMut::from(&[0, 0, 0, 3, 0, 0, 0, 9, b'x'][..]);
    server
        .client
        .handle_input(Instant::now(), &mut cut)
        .unwrap();
    assert_eq!(server.eof(), Err(ProtocolError::Truncated));
    assert_eq!(server.events(), [stdout(b"x"), Event::Close]);
}

#[test]
fn endless_status_is_refused() {
    let mut server = Server::new(Subprotocol::V4, OUTPUTS);
    server.say(&[data(1, &[b' '; 65_536])]).unwrap();
    assert!(matches!(
        server.say(&[data(1, b" ")]),
        Err(ProtocolError::TooLong { what: "status", .. })
    ));
    assert!(server.client.is_finished());
}

#[test]
fn output_before_a_malformed_frame_is_kept_without_a_status() {
    let mut server = Server::new(Subprotocol::V4, OUTPUTS);
    let frames = [data(3, b"true"), data(1, SUCCESS), fin(1), fin(3), reply(9)];
    assert!(server.say(&frames).is_err());
    assert_eq!(server.events(), [stdout(b"true")]);
    server.eof().unwrap();
    assert!(
        !server
            .events()
            .iter()
            .any(|event| matches!(event, Event::Exit(_)))
    );
}

#[test]
fn malformed_frame_behind_the_end_counts_for_nothing_however_it_is_cut() {
    let frames = [data(1, SUCCESS), fin(1), fin(3), fin(5), reply(9)];
    for pieces in [&[&frames[..]][..], &[&frames[..4], &frames[4..]]] {
        let mut server = Server::new(Subprotocol::V4, OUTPUTS);
        for piece in pieces {
            assert_eq!(server.say(piece), Ok(()));
        }
        assert_eq!(server.events(), [Event::Exit(ExitStatus::Exited(0))]);
    }
}

#[test]
fn goodbye_of_ours_is_a_goaway() {
    let mut server = Server::new(Subprotocol::V4, OUTPUTS);
    server.hear();
    server.client.send(Event::Close);
    assert_eq!(
        server.hear(),
        [Frame::GoAway {
            last_stream: 0,
            status: GoAwayStatus::OK
        }]
    );
    assert!(server.client.is_finished());
}

#[test]
fn stream_opened_by_the_server_is_refused() {
    let mut server = Server::new(Subprotocol::V4, OUTPUTS);
    server.hear();
    server
        .say(&[Frame::SynStream {
            stream: id(2),
            associated: 0,
            priority: 0,
            slot: 0,
            fin: false,
            unidirectional: false,
            headers: Headers::new(),
        }])
        .unwrap();
    assert_eq!(
        server.hear(),
        [Frame::RstStream {
            stream: id(2),
            status: RstStatus::REFUSED_STREAM
        }]
    );
}

#[test]
fn input_that_waits_for_its_stream_is_counted_until_the_server_takes_it() {
    let mut server = Server::new(Subprotocol::V4, ALL);
    server.hear();
    for _ in 0..3 {
        let piece = Bytes::from_static(b"0123456789");
        server.client.send(Event::Stdin(piece));
    }
    let held = server.client.held();
    assert!(held >= 30, "{held}");
    assert_eq!(server.hear(), []);
    server.say(&[reply(1), reply(3)]).unwrap();
    assert_eq!(server.client.held(), 0);
    let sent: usize = server
        .hear()
        .iter()
        .map(|frame| match frame {
            Frame::Data { bytes, .. } => bytes.len(),
            _ => 0,
        })
        .sum();
    assert_eq!(sent, 30);
}

#[test]
fn input_for_a_server_that_is_gone_is_held_no_more() {
    let mut server = Server::new(Subprotocol::V4, ALL);
    server
        .client
        .send(Event::Stdin(Bytes::from_static(b"typed")));
    assert!(server.client.held() > 0);
    server.eof().unwrap();
    assert_eq!(server.client.held(), 0);
}
