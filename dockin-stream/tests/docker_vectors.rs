//! What a Docker Engine 20.10 (API 1.41) and its Go demultiplexer said, read and written by our
//! side.
//!
//! Where ours says otherwise than the Go demultiplexer, and why:
//!
//! | input | Go | ours | reason |
//! |---|---|---|---|
//! | header cut by the end | success | error behind the output | a lost tail is never success |
//! | payload cut by the end | success, and the part that came is lost | the part, then an error | the same |
//! | length of 4 GiB | held in memory | given as it comes | bounded memory |
//! | unknown type | error | error with its place, on the first byte | |
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test, and a test may read the clock"
)]

use std::{collections::BTreeMap, time::Instant};

use bytes::{Bytes, BytesMut};
use dockin_stream::{
    Codec, Event, ExitStatus, OutputStream, ProtocolError, StreamSet, TerminalSize,
    docker::{
        Client, Demultiplexer, FrameError, InputEnd, Item, Lane, Server, Shape,
        hijack::{self, Answer, ExecStart},
    },
};
use serde_json::Value;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn vectors(group: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(include_str!("vectors/channels.json")).unwrap();
    all.into_iter()
        .filter(|vector| vector["group"] == group)
        .collect()
}

fn wire(vector: &Value) -> Vec<u8> {
    hex(vector["hex"].as_str().unwrap())
}

fn stream(vector: &Value) -> OutputStream {
    match vector["decoded"]["stream"].as_u64() {
        Some(2) => OutputStream::Stderr,
        _ => OutputStream::Stdout,
    }
}

/// The outputs as `io.Writer`s would have them, the daemon's own text, the verdict at the end.
fn demultiplex(
    wire: &[u8],
    step: usize,
) -> (String, String, Option<String>, Result<bool, FrameError>) {
    let mut frames = Demultiplexer::new(Shape::Multiplexed);
    let (mut stdout, mut stderr, mut said) = (String::new(), String::new(), None);
    let mut input = BytesMut::new();
    for piece in wire.chunks(step) {
        input.extend_from_slice(piece);
        loop {
            match frames.decode(&mut input) {
                Ok(Some(Item::Output(stream, bytes))) => match stream {
                    OutputStream::Stdout => stdout.push_str(std::str::from_utf8(&bytes).unwrap()),
                    OutputStream::Stderr => stderr.push_str(std::str::from_utf8(&bytes).unwrap()),
                },
                Ok(Some(Item::SystemError(text))) => said = Some(text),
                Ok(Some(other)) => panic!("{other:?}"),
                Ok(None) => break,
                Err(error) => return (stdout, stderr, said, Err(error)),
            }
        }
    }
    (stdout, stderr, said, Ok(frames.may_end()))
}

#[test]
fn every_frame_of_the_go_writer_is_read_and_written_alike() {
    let mut frames = 0;
    for vector in vectors("docker-stdcopy") {
        let decoded = &vector["decoded"];
        if decoded["type"] != "STDCOPY" {
            continue;
        }
        frames += 1;
        let wire = wire(&vector);
        let text = decoded["text"].as_str().unwrap();
        let length = u32::try_from(decoded["length"].as_u64().unwrap()).unwrap();
        for step in [1, 3, wire.len()] {
            let (stdout, stderr, said, end) = demultiplex(&wire, step);
            assert_eq!(end, Ok(true));
            match decoded["stream"].as_u64().unwrap() {
                2 => assert_eq!(stderr, text),
                3 => assert_eq!(said.as_deref(), Some(text)),
                _ => assert_eq!(stdout, text),
            }
        }
        // Type 0 is written by nobody.
        if decoded["stream"] != 0 {
            let lane = Lane::from_byte(wire[0]).unwrap();
            let again = [&lane.header(length)[..], text.as_bytes()].concat();
            assert_eq!(again, wire, "{}", vector["name"]);
        }
    }
    assert_eq!(frames, 6);
}

#[test]
fn our_demultiplexer_says_what_the_go_one_said_or_more() {
    let mut verdicts = 0;
    for vector in vectors("docker-stdcopy") {
        let (name, decoded) = (vector["name"].as_str().unwrap(), &vector["decoded"]);
        if decoded["type"] != "STDCOPY-DEMUX" {
            continue;
        }
        verdicts += 1;
        let wire = wire(&vector);
        for step in [1, 2, wire.len().max(1)] {
            let (stdout, stderr, said, end) = demultiplex(&wire, step);
            assert_eq!(stderr, decoded["stderr"].as_str().unwrap(), "{name}");
            if name != "stdcopy_demux_truncated_payload_is_silent" {
                assert_eq!(stdout, decoded["stdout"].as_str().unwrap(), "{name}");
            }
            match name {
                "stdcopy_demux_invalid_type_4" => {
                    let error = FrameError::UnknownType {
                        stream_type: 4,
                        offset: 0,
                    };
                    assert_eq!(end, Err(error));
                }
                "stdcopy_demux_systemerr_is_an_error" => {
                    assert_eq!((said.as_deref(), end), (Some("bad"), Ok(true)));
                }
                "stdcopy_demux_truncated_header_is_silent" => assert_eq!(end, Ok(false)),
                "stdcopy_demux_truncated_payload_is_silent" => {
                    assert_eq!((&*stdout, end), ("o1", Ok(false)));
                }
                _ => {
                    assert!(decoded["error"].is_null(), "{name}");
                    assert_eq!((said, end), (None, Ok(true)), "{name}");
                }
            }
        }
    }
    assert_eq!(verdicts, 9);
}

/// One recorded connection.
#[derive(Default)]
struct Recorded {
    request: String,
    answer: String,
    /// What the client typed.
    typed: Vec<u8>,
    /// Output as it was on the wire; payloads that the vectors cut are filled in.
    wire: Vec<u8>,
    /// Output by frame; one of a TTY has no stream.
    frames: Vec<(Option<OutputStream>, Vec<u8>)>,
    resizes: Vec<String>,
    half_closed: bool,
    end: String,
    bytes: u64,
    exit_code: Option<u64>,
}

fn recorded() -> BTreeMap<String, Recorded> {
    let mut all: BTreeMap<String, Recorded> = BTreeMap::new();
    let mut objects = 0;
    for vector in vectors("docker-live") {
        objects += 1;
        let connection = vector["connection"].as_str().unwrap();
        let name = connection.split(':').next().unwrap();
        let session = all.entry(name.to_owned()).or_default();
        let decoded = &vector["decoded"];
        let mut wire = wire(&vector);
        match (
            decoded["type"].as_str().unwrap(),
            vector["direction"].as_str().unwrap(),
        ) {
            ("HTTP", direction) => {
                let head = String::from_utf8(wire).unwrap();
                match direction {
                    _ if decoded["status"] == 200 => session.resizes.push(head),
                    "client->server" => session.request = head,
                    _ => session.answer = head,
                }
            }
            ("RAW", "client->server") => session.typed.extend(wire),
            ("RAW", _) => {
                session.wire.extend(&wire);
                session.frames.push((None, wire));
            }
            ("STDCOPY", _) => {
                let length = usize::try_from(decoded["length"].as_u64().unwrap()).unwrap();
                if !decoded["hex_truncated_to_bytes"].is_null() {
                    wire.resize(8 + length, b'a');
                }
                assert_eq!(wire.len(), 8 + length);
                session.wire.extend(&wire);
                session
                    .frames
                    .push((Some(stream(&vector)), wire[8..].to_vec()));
            }
            ("RESULT", _) => {
                if let Some(end) = decoded["stream_end"].as_str() {
                    session.end = end.to_owned();
                    session.half_closed = decoded["half_closed_by_client"].as_bool().unwrap();
                    session.bytes = decoded["bytes"].as_u64().unwrap();
                } else {
                    session.exit_code = decoded["ExitCode"].as_u64();
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(objects, 56);
    all
}

fn headers(head: &str) -> Vec<(&str, &str)> {
    head.lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": "))
        .collect()
}

/// Whether the process had a TTY, and its streams, by the request.
fn asked(session: &Recorded) -> (bool, StreamSet) {
    let (head, body) = session.request.split_once("\r\n\r\n").unwrap();
    let target = head.split(' ').nth(1).unwrap();
    let everything = StreamSet {
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
    };
    if let Some((_, query)) = target.split_once("/attach?") {
        let streams = hijack::parse_attach_query(query, false);
        assert_eq!(hijack::attach_query(streams), query);
        assert_eq!(streams, everything);
        return (false, streams);
    }
    let start = ExecStart::parse(body.as_bytes()).unwrap();
    // Python's spaces in the recorded one.
    assert_eq!(start.to_json(), body.replace(' ', ""));
    assert!(!start.detach);
    let tty = start.tty;
    (tty, StreamSet { tty, ..everything }.normalized())
}

fn events(codec: &mut impl Codec) -> Vec<Event> {
    std::iter::from_fn(|| codec.poll_event()).collect()
}

fn sent(codec: &mut impl Codec) -> Vec<u8> {
    std::iter::from_fn(|| codec.poll_transmit())
        .flatten()
        .collect()
}

fn joined(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    for event in events {
        match (all.last_mut(), event) {
            (Some(Event::Stdout(last)), Event::Stdout(next))
            | (Some(Event::Stderr(last)), Event::Stderr(next)) => {
                *last = [&last[..], &next[..]].concat().into();
            }
            (_, event) => all.push(event),
        }
    }
    all
}

#[test]
fn heads_of_recorded_sessions_are_read_and_written_alike() {
    let all = recorded();
    for (name, session) in &all {
        if session.request.is_empty() {
            // Logs: frames in a chunked answer, and no stream.
            assert_eq!(name, "docker_logs");
            let refused = Answer::parse(200, headers(&session.answer).into_iter(), false);
            assert_eq!(refused, Err(hijack::HijackError::NotHijacked));
            continue;
        }
        let (tty, _) = asked(session);
        let status = session.answer.split(' ').nth(1).unwrap().parse().unwrap();
        let answer = Answer::parse(status, headers(&session.answer).into_iter(), tty).unwrap();
        assert_eq!(answer.shape, Shape::with_tty(tty), "{name}");
        let upgrade = hijack::is_upgrade(headers(&session.request).into_iter());
        assert_eq!(answer.upgraded, upgrade, "{name}");
        assert_eq!(upgrade, name != "docker_exec_no_upgrade_header", "{name}");
        for (header, value) in hijack::REQUEST_HEADERS {
            let line = format!("\r\n{header}: {value}\r\n");
            assert_eq!(session.request.contains(&line), upgrade, "{name}");
        }
        // Behind ours the daemon tells its versions.
        let ours = answer.to_head(41);
        assert!(
            session.answer.starts_with(ours.trim_end_matches("\r\n")),
            "{name}: {ours:?} {:?}",
            session.answer
        );
    }
    // The answer alone was recorded; what the process then said of its terminal is 43 rows of 132.
    let [answer] = &all["docker_exec_resize"].resizes[..] else {
        panic!("one resize was recorded");
    };
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
    let size = TerminalSize {
        width: 132,
        height: 43,
    };
    assert_eq!(hijack::resize_query(size), "h=43&w=132");
    assert_eq!(all["docker_exec_resize"].wire, b"43 132\r\n");
    assert_eq!(all.len(), 9);
}

#[test]
fn our_client_reads_what_the_daemon_sent() {
    let now = Instant::now();
    for (name, session) in recorded() {
        if session.request.is_empty() {
            continue;
        }
        let (tty, streams) = asked(&session);
        let mut expected = joined(session.frames.iter().map(|(stream, bytes)| {
            stream
                .unwrap_or(OutputStream::Stdout)
                .event(Bytes::copy_from_slice(bytes))
        }));
        expected.push(Event::Close);
        assert_eq!(session.end, "EOF");
        assert_eq!(session.bytes, session.wire.len() as u64, "{name}");
        for step in [1, 7, 4096, session.wire.len()] {
            let mut client = Client::new(Shape::with_tty(tty), streams, InputEnd::Shutdown);
            client.send(Event::Stdin(session.typed.clone().into()));
            if session.half_closed {
                client.send(Event::HalfClose);
            }
            assert_eq!(sent(&mut client), session.typed, "never framed");
            assert_eq!(client.is_finished(), session.half_closed);
            let mut heard = Vec::new();
            let mut input = BytesMut::new();
            for piece in session.wire.chunks(step) {
                input.extend_from_slice(piece);
                client.handle_input(now, &mut input).unwrap();
                heard.extend(events(&mut client));
            }
            assert_eq!(client.handle_eof(now), Ok(()));
            heard.extend(events(&mut client));
            assert_eq!(joined(heard), expected, "{name} in steps of {step}");
        }
    }
}

#[test]
fn our_server_writes_what_the_daemon_sent() {
    let now = Instant::now();
    for (name, session) in recorded() {
        if session.request.is_empty() {
            continue;
        }
        let (_, streams) = asked(&session);
        let mut server = Server::new(streams);
        let mut input = BytesMut::from(&session.typed[..]);
        server.handle_input(now, &mut input).unwrap();
        if session.half_closed {
            assert_eq!(server.handle_eof(now), Ok(()));
        }
        let mut expected = Vec::new();
        if !session.typed.is_empty() {
            expected.push(Event::Stdin(session.typed.clone().into()));
        }
        if session.half_closed {
            expected.push(Event::HalfClose);
        }
        assert_eq!(events(&mut server), expected, "{name}");
        for (stream, bytes) in &session.frames {
            let stream = stream.unwrap_or(OutputStream::Stdout);
            server.send(stream.event(Bytes::copy_from_slice(bytes)));
        }
        let code = u8::try_from(session.exit_code.unwrap_or(0)).unwrap();
        server.send(Event::Exit(ExitStatus::Exited(code)));
        assert_eq!(sent(&mut server), session.wire, "{name}");
        assert!(server.is_finished());
    }
}

/// `logs` come in an HTTP body, which somebody else has put together.
#[test]
fn frames_of_logs_are_read_without_a_hijack() {
    let session = &recorded()["docker_logs"];
    for step in [1, session.wire.len()] {
        let (stdout, stderr, said, end) = demultiplex(&session.wire, step);
        assert_eq!((&*stdout, &*stderr), ("l1\n", "l2\n"));
        assert_eq!((said, end), (None, Ok(true)));
    }
    let mut client = Client::new(
        Shape::Multiplexed,
        StreamSet {
            stderr: true,
            ..StreamSet::default()
        },
        InputEnd::Hold,
    );
    let mut input = BytesMut::from(&session.wire[..session.wire.len() - 1]);
    client.handle_input(Instant::now(), &mut input).unwrap();
    assert_eq!(
        events(&mut client),
        [Event::Stderr(Bytes::from_static(b"l2"))]
    );
    assert_eq!(
        client.handle_eof(Instant::now()),
        Err(ProtocolError::Truncated)
    );
}
