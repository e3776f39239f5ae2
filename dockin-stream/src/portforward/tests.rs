#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
#![allow(clippy::disallowed_methods, reason = "time has to start somewhere")]

use std::{num::NonZeroU16, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{Client, ForwardId, PortForwardEvent, Server};
use crate::{
    limits::STREAM_CREATION_TIMEOUT,
    spdy::{Frame, FrameDecoder, FrameEncoder, Headers, RstStatus, StreamId},
};

fn port(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).unwrap()
}

/// A client and a server, joined in memory.
struct Session {
    client: Client,
    server: Server,
    at_client: Vec<PortForwardEvent>,
    at_server: Vec<PortForwardEvent>,
}

impl Session {
    fn new() -> Self {
        Self {
            client: Client::new(),
            server: Server::new(),
            at_client: Vec::new(),
            at_server: Vec::new(),
        }
    }

    /// Moves bytes until both are quiet.
    fn run(&mut self) {
        let now = Instant::now();
        loop {
            let mut moved = false;
            while let Some(bytes) = self.client.poll_transmit() {
                moved = true;
                let mut input = BytesMut::from(&bytes[..]);
                self.server.handle_input(now, &mut input).unwrap();
            }
            while let Some(bytes) = self.server.poll_transmit() {
                moved = true;
                let mut input = BytesMut::from(&bytes[..]);
                self.client.handle_input(now, &mut input).unwrap();
            }
            self.at_client
                .extend(std::iter::from_fn(|| self.client.poll_event()));
            self.at_server
                .extend(std::iter::from_fn(|| self.server.poll_event()));
            if !moved {
                return;
            }
        }
    }

    fn open(&mut self) -> (ForwardId, ForwardId) {
        let here = self.client.open(port(8080)).unwrap();
        self.run();
        let there = match self.take_server().last() {
            Some(PortForwardEvent::Opened { connection, port }) if port.get() == 8080 => {
                *connection
            }
            event => panic!("{event:?}"),
        };
        assert!(matches!(
            self.take_client()[..],
            [PortForwardEvent::Opened { connection, .. }] if connection == here
        ));
        (here, there)
    }

    fn take_client(&mut self) -> Vec<PortForwardEvent> {
        std::mem::take(&mut self.at_client)
    }

    fn take_server(&mut self) -> Vec<PortForwardEvent> {
        std::mem::take(&mut self.at_server)
    }
}

fn data(connection: ForwardId, bytes: &'static [u8]) -> PortForwardEvent {
    PortForwardEvent::Data {
        connection,
        bytes: Bytes::from_static(bytes),
    }
}

#[test]
fn answer_comes_after_the_client_has_ended_its_side() {
    let mut session = Session::new();
    let (here, there) = session.open();
    session.client.send(here, Bytes::from_static(b"request"));
    session.client.half_close(here);
    session.run();
    assert_eq!(
        session.take_server(),
        [
            data(there, b"request"),
            PortForwardEvent::HalfClosed { connection: there }
        ]
    );
    session.server.send(there, Bytes::from_static(b"answer"));
    session.server.half_close(there);
    session.run();
    assert_eq!(
        session.take_server(),
        [PortForwardEvent::Closed { connection: there }]
    );
    assert_eq!(
        session.take_client(),
        [
            data(here, b"answer"),
            PortForwardEvent::HalfClosed { connection: here },
            PortForwardEvent::Closed { connection: here },
        ]
    );
}

#[test]
fn client_may_send_after_the_server_has_ended_its_side() {
    let mut session = Session::new();
    let (here, there) = session.open();
    session.server.half_close(there);
    session.run();
    assert_eq!(
        session.take_client(),
        [PortForwardEvent::HalfClosed { connection: here }]
    );
    session.client.send(here, Bytes::from_static(b"still"));
    session.client.half_close(here);
    session.run();
    assert_eq!(
        session.take_server(),
        [
            data(there, b"still"),
            PortForwardEvent::HalfClosed { connection: there },
            PortForwardEvent::Closed { connection: there },
        ]
    );
    assert_eq!(
        session.take_client(),
        [PortForwardEvent::Closed { connection: here }]
    );
}

#[test]
fn failed_connection_leaves_the_others() {
    let mut session = Session::new();
    let (first, first_there) = session.open();
    let (second, second_there) = session.open();
    session.server.fail(first_there, "connection refused");
    session.client.send(first, Bytes::from_static(b"lost"));
    session.client.send(second, Bytes::from_static(b"kept"));
    session.run();
    assert_eq!(session.take_server(), [data(second_there, b"kept")]);
    assert_eq!(
        session.take_client(),
        [PortForwardEvent::Failed {
            connection: first,
            message: "connection refused".to_owned()
        }]
    );
    session.client.close(second);
    session.run();
    assert_eq!(
        session.take_server(),
        [PortForwardEvent::Closed {
            connection: second_there
        }]
    );
    assert_eq!(session.take_client(), []);
    session.open();
}

#[test]
fn connections_take_turns() {
    let mut session = Session::new();
    let (bulk, _) = session.open();
    let (small, there) = session.open();
    session.client.send(bulk, vec![1; 4 * 1024 * 1024].into());
    session.client.send(small, Bytes::from_static(b"key"));
    assert_eq!(session.client.queued(bulk), 4 * 1024 * 1024);
    let mut sent = 0;
    loop {
        let bytes = session.client.poll_transmit().unwrap();
        sent += bytes.len();
        let mut input = BytesMut::from(&bytes[..]);
        session
            .server
            .handle_input(Instant::now(), &mut input)
            .unwrap();
        let events: Vec<_> = std::iter::from_fn(|| session.server.poll_event()).collect();
        if events.contains(&data(there, b"key")) {
            break;
        }
    }
    assert!(sent < 256 * 1024, "{sent}");
    assert!(session.client.queued(bulk) > 3 * 1024 * 1024);
    assert_eq!(session.client.queued(small), 0);
}

#[test]
fn bytes_sent_before_the_server_accepts_arrive() {
    let mut session = Session::new();
    let here = session.client.open(port(1)).unwrap();
    session.client.send(here, Bytes::from_static(b"early"));
    session.client.half_close(here);
    assert_eq!(session.client.queued(here), 5);
    session.run();
    let events = session.take_server();
    let PortForwardEvent::Opened { connection, .. } = events[0] else {
        panic!("{events:?}");
    };
    assert_eq!(
        events[1..],
        [
            data(connection, b"early"),
            PortForwardEvent::HalfClosed { connection }
        ]
    );
}

#[test]
fn end_of_the_session_closes_every_connection() {
    let mut session = Session::new();
    let (here, there) = session.open();
    session.client.handle_eof(Instant::now()).unwrap();
    session.server.handle_eof(Instant::now()).unwrap();
    session.run();
    assert_eq!(
        session.take_client(),
        [PortForwardEvent::Closed { connection: here }]
    );
    assert_eq!(
        session.take_server(),
        [PortForwardEvent::Closed { connection: there }]
    );
    assert_eq!(session.client.open(port(1)), None);
}

/// A client that sends frames to a server.
struct RawClient {
    server: Server,
    encoder: FrameEncoder,
    now: Instant,
}

impl RawClient {
    fn new() -> Self {
        Self {
            server: Server::new(),
            encoder: FrameEncoder::new(),
            now: Instant::now(),
        }
    }

    fn say(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        self.encoder.encode(frame, &mut bytes);
        self.server.handle_input(self.now, &mut bytes).unwrap();
    }

    fn open(&mut self, stream: u32, headers: &[(&str, &str)]) {
        let headers = headers
            .iter()
            .fold(Headers::new(), |headers, (name, value)| {
                headers.with(name, value.as_bytes())
            });
        self.say(&Frame::SynStream {
            stream: StreamId::new(stream).unwrap(),
            associated: 0,
            priority: 0,
            slot: 0,
            fin: false,
            unidirectional: false,
            headers,
        });
    }

    /// Ids of the streams that were accepted, and those that were reset.
    fn verdicts(&mut self) -> (Vec<u32>, Vec<u32>) {
        let mut bytes = BytesMut::new();
        while let Some(part) = self.server.poll_transmit() {
            bytes.extend_from_slice(&part);
        }
        let mut decoder = FrameDecoder::new();
        let (mut accepted, mut reset) = (Vec::new(), Vec::new());
        while let Some(frame) = decoder.decode(&mut bytes).unwrap() {
            match frame {
                Frame::SynReply { stream, .. } => accepted.push(stream.value()),
                Frame::RstStream {
                    stream,
                    status: RstStatus::CANCEL,
                } => reset.push(stream.value()),
                frame => panic!("{frame:?}"),
            }
        }
        (accepted, reset)
    }

    fn events(&mut self) -> Vec<PortForwardEvent> {
        std::iter::from_fn(|| self.server.poll_event()).collect()
    }
}

#[test]
fn ports_and_headers_out_of_range_reset_their_stream_alone() {
    let mut client = RawClient::new();
    for (index, headers) in [
        &[("streamtype", "data"), ("port", "0"), ("requestid", "0")][..],
        &[
            ("streamtype", "data"),
            ("port", "65536"),
            ("requestid", "0"),
        ],
        &[("streamtype", "data"), ("port", "+80"), ("requestid", "0")],
        &[("streamtype", "data"), ("port", ""), ("requestid", "0")],
        &[("streamtype", "data"), ("requestid", "0")],
        &[("streamtype", "stdin"), ("port", "80"), ("requestid", "0")],
        &[("port", "80"), ("requestid", "0")],
        &[
            ("streamtype", "data"),
            ("port", "65535"),
            ("requestid", "0"),
        ],
        &[
            ("streamtype", "data"),
            ("port", "65535"),
            ("requestid", "0"),
        ],
        &[
            ("streamtype", "error"),
            ("port", "65535"),
            ("requestid", "0"),
        ],
    ]
    .into_iter()
    .enumerate()
    {
        client.open(u32::try_from(index).unwrap() * 2 + 1, headers);
    }
    assert_eq!(
        client.verdicts(),
        (vec![15, 19], vec![1, 3, 5, 7, 9, 11, 13, 17])
    );
    assert!(matches!(
        client.events()[..],
        [PortForwardEvent::Opened { port, .. }] if port.get() == 65_535
    ));
}

#[test]
fn streams_without_a_request_id_pair_by_their_numbers() {
    let mut client = RawClient::new();
    client.open(1, &[("streamtype", "error"), ("port", "1")]);
    client.open(5, &[("streamtype", "error"), ("port", "2")]);
    client.open(7, &[("streamtype", "data"), ("port", "2")]);
    let events = client.events();
    assert!(matches!(
        events[..],
        [PortForwardEvent::Opened { port, .. }] if port.get() == 2
    ));
}

#[test]
fn data_stream_that_comes_first_keeps_its_bytes() {
    let mut client = RawClient::new();
    client.open(
        1,
        &[("streamtype", "data"), ("port", "1"), ("requestid", "x")],
    );
    client.say(&Frame::Data {
        stream: StreamId::new(1).unwrap(),
        bytes: Bytes::from_static(b"early"),
        fin: true,
    });
    assert_eq!(client.events(), []);
    client.open(
        3,
        &[("streamtype", "error"), ("port", "1"), ("requestid", "x")],
    );
    let events = client.events();
    let PortForwardEvent::Opened { connection, .. } = events[0] else {
        panic!("{events:?}");
    };
    assert_eq!(
        events[1..],
        [
            data(connection, b"early"),
            PortForwardEvent::HalfClosed { connection }
        ]
    );
}

#[test]
fn half_a_pair_is_reset_when_its_time_is_over() {
    let mut client = RawClient::new();
    client.open(
        1,
        &[("streamtype", "error"), ("port", "1"), ("requestid", "x")],
    );
    let deadline = client.server.poll_timeout().unwrap();
    assert_eq!(deadline, client.now + STREAM_CREATION_TIMEOUT);
    client.server.handle_timeout(client.now).unwrap();
    assert_eq!(client.server.poll_timeout(), Some(deadline));
    client.server.handle_timeout(deadline).unwrap();
    assert_eq!(client.server.poll_timeout(), None);
    assert_eq!(client.verdicts(), (vec![1], vec![1]));
}

#[test]
fn goodbye_comes_behind_what_was_sent() {
    let mut session = Session::new();
    let (here, there) = session.open();
    session
        .server
        .send(there, Bytes::from(vec![7; 1024 * 1024]));
    session.server.half_close(there);
    session.server.go_away();
    assert!(session.server.is_finished());
    session.run();
    let got: usize = session
        .take_client()
        .iter()
        .map(|event| match event {
            PortForwardEvent::Data { connection, bytes } if *connection == here => bytes.len(),
            _ => 0,
        })
        .sum();
    assert_eq!(got, 1024 * 1024);
}

#[test]
fn an_empty_failure_still_says_that_it_is_one() {
    let mut session = Session::new();
    let (here, there) = session.open();
    session.server.fail(there, "");
    session.run();
    assert_eq!(
        session.take_client(),
        [PortForwardEvent::Failed {
            connection: here,
            message: "port forwarding failed".to_owned()
        }]
    );
}

#[test]
fn a_server_that_breaks_a_connection_off_says_nothing_and_drops_what_waits() {
    let mut session = Session::new();
    let (here, there) = session.open();
    session.server.send(there, Bytes::from_static(b"waits"));
    session.server.close(there);
    session.run();
    assert_eq!(
        session.take_client(),
        [PortForwardEvent::Closed { connection: here }]
    );
    // What comes for it now concerns nobody.
    session.client.send(here, Bytes::from_static(b"late"));
    session.server.close(there);
    session.run();
    assert_eq!(session.take_server(), []);
}

fn syn(stream: u32, stream_type: &str, port: &str, request: &str) -> Frame {
    Frame::SynStream {
        stream: StreamId::new(stream).unwrap(),
        associated: 0,
        priority: 0,
        slot: 0,
        fin: false,
        unidirectional: false,
        headers: Headers::new()
            .with("streamtype", stream_type.as_bytes())
            .with("port", port.as_bytes())
            .with("requestid", request.as_bytes()),
    }
}

/// What a server answers to frames that no client of ours sends.
fn answers(frames: &[Frame]) -> (Vec<Frame>, Vec<PortForwardEvent>) {
    let mut server = Server::new();
    let (mut encoder, mut wire) = (FrameEncoder::new(), BytesMut::new());
    for frame in frames {
        encoder.encode(frame, &mut wire);
    }
    server.handle_input(Instant::now(), &mut wire).unwrap();
    let mut wire: BytesMut = std::iter::from_fn(|| server.poll_transmit())
        .flatten()
        .collect();
    let mut decoder = FrameDecoder::new();
    let answers = std::iter::from_fn(|| decoder.decode(&mut wire).unwrap()).collect();
    (
        answers,
        std::iter::from_fn(|| server.poll_event()).collect(),
    )
}

fn resets(answers: &[Frame]) -> Vec<(u32, RstStatus)> {
    let resets = answers.iter().filter_map(|frame| match frame {
        Frame::RstStream { stream, status } => Some((stream.value(), *status)),
        _ => None,
    });
    resets.collect()
}

#[test]
fn streams_of_one_request_with_two_ports_are_both_reset() {
    let (answers, events) = answers(&[syn(1, "error", "80", "0"), syn(3, "data", "81", "0")]);
    assert_eq!(
        resets(&answers),
        [(1, RstStatus::CANCEL), (3, RstStatus::CANCEL)]
    );
    assert_eq!(events, []);
}

#[test]
fn data_that_waits_for_its_error_stream_is_kept_up_to_a_limit() {
    let early = |count: usize| {
        let mut frames = vec![syn(1, "data", "80", "0")];
        frames.extend((0..count).map(|_| Frame::Data {
            stream: StreamId::new(1).unwrap(),
            bytes: vec![b'x'; 64 * 1024].into(),
            fin: false,
        }));
        frames.push(syn(3, "error", "80", "0"));
        answers(&frames)
    };
    let (answers, events) = early(4);
    assert_eq!(resets(&answers), []);
    assert!(matches!(events[0], PortForwardEvent::Opened { .. }));
    assert_eq!(events.len(), 5);
    let (answers, events) = early(5);
    assert_eq!(resets(&answers), [(1, RstStatus::FLOW_CONTROL_ERROR)]);
    assert_eq!(events, []);
}

#[test]
fn the_end_of_a_session_is_told_once() {
    let now = Instant::now();
    let mut session = Session::new();
    let (here, there) = session.open();
    for _ in 0..2 {
        assert_eq!(session.client.handle_eof(now), Ok(()));
        assert_eq!(session.server.handle_eof(now), Ok(()));
        assert_eq!(session.client.handle_timeout(now), Ok(()));
    }
    session.run();
    let closed = |connection| [PortForwardEvent::Closed { connection }];
    assert_eq!(session.take_client(), closed(here));
    assert_eq!(session.take_server(), closed(there));
}
