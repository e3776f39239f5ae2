//! What Go writes is read, and what Go refuses is refused.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::{collections::BTreeMap, fmt::Write as _};

use bytes::BytesMut;
use dockin_stream::spdy::{Frame, FrameDecoder, FrameEncoder, FrameError, Headers, StreamId};
use serde_json::{Value, json};

struct Vector {
    name: String,
    group: String,
    connection: String,
    bytes: Vec<u8>,
    decoded: Value,
}

/// All vectors that are frames, in the order of the file, which is that of `seq`.
fn vectors() -> Vec<Vector> {
    let text = include_str!("vectors/spdy.json");
    let all: Vec<Value> = serde_json::from_str(text).unwrap();
    let text = |value: &Value, key: &str| value[key].as_str().unwrap().to_owned();
    all.iter()
        .filter(|vector| {
            vector["group"] != "negotiation"
                && vector["decoded"]["type"] != "HTTP"
                && vector["decoded"]["type"] != "RESULT"
        })
        .map(|vector| Vector {
            name: text(vector, "name"),
            group: text(vector, "group"),
            connection: text(vector, "connection"),
            bytes: from_hex(&text(vector, "hex")),
            decoded: vector["decoded"].clone(),
        })
        .collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn headers_json(headers: &Headers) -> Value {
    headers
        .iter()
        .map(|(name, value)| {
            let values: Vec<_> = value
                .split(|byte| *byte == 0)
                .map(String::from_utf8_lossy)
                .collect();
            (String::from_utf8_lossy(name).into_owned(), json!(values))
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// A frame in the words of the vectors.
fn frame_json(frame: &Frame) -> Value {
    match frame {
        Frame::SynStream {
            stream,
            associated,
            priority,
            slot,
            fin,
            unidirectional,
            headers,
        } => json!({
            "type": "SYN_STREAM", "stream_id": stream.value(), "associated_to": associated,
            "priority": priority, "slot": slot, "fin": fin, "unidirectional": unidirectional,
            "headers": headers_json(headers),
        }),
        Frame::SynReply {
            stream,
            fin,
            headers,
        } => json!({
            "type": "SYN_REPLY", "stream_id": stream.value(), "fin": fin,
            "headers": headers_json(headers),
        }),
        Frame::Headers {
            stream,
            fin,
            headers,
        } => json!({
            "type": "HEADERS", "stream_id": stream.value(), "fin": fin,
            "headers": headers_json(headers),
        }),
        Frame::RstStream { stream, status } => json!({
            "type": "RST_STREAM", "stream_id": stream.value(), "status": status.0,
        }),
        Frame::Settings { clear, entries } => json!({
            "type": "SETTINGS", "flags": u8::from(*clear),
            "settings": entries.iter().map(|entry| json!({
                "flag": entry.flags, "id": entry.id, "value": entry.value,
            })).collect::<Vec<_>>(),
        }),
        Frame::Ping { id } => json!({ "type": "PING", "id": id }),
        Frame::GoAway {
            last_stream,
            status,
        } => json!({
            "type": "GOAWAY", "last_good_stream_id": last_stream, "status": status.0,
        }),
        Frame::WindowUpdate { stream, delta } => json!({
            "type": "WINDOW_UPDATE", "stream_id": stream.map_or(0, |id| id.value()),
            "delta": delta,
        }),
        Frame::Data { stream, bytes, fin } => json!({
            "type": "DATA", "stream_id": stream.value(), "fin": fin, "length": bytes.len(),
            "data_hex": to_hex(bytes),
        }),
        frame => panic!("{frame:?}"),
    }
}

/// Checks every field that we know against the vector's.
fn assert_same(name: &str, frame: &Frame, expected: &Value) {
    for (key, value) in frame_json(frame).as_object().unwrap() {
        let expected = match &expected[key] {
            Value::Null if key == "settings" => &json!([]),
            expected => expected,
        };
        assert_eq!(value, expected, "{name}: {key}");
    }
}

#[test]
fn every_frame_written_by_go_is_read_and_survives_our_own_encoding() {
    let mut contexts: BTreeMap<String, (FrameDecoder, FrameEncoder, FrameDecoder)> =
        BTreeMap::new();
    let mut count = BTreeMap::<String, usize>::new();
    for vector in vectors() {
        if matches!(&vector.group[..], "alt-encoding" | "malformed") {
            continue;
        }
        *count.entry(vector.group).or_default() += 1;
        let (decoder, encoder, again) = contexts.entry(vector.connection).or_default();
        let mut input = BytesMut::from(&vector.bytes[..]);
        let frame = decoder.decode(&mut input).unwrap().unwrap();
        assert!(input.is_empty(), "{}", vector.name);
        assert_same(&vector.name, &frame, &vector.decoded);

        let mut ours = BytesMut::new();
        encoder.encode(&frame, &mut ours);
        if !matches!(vector.bytes[..4], [0x80, 3, 0, 1 | 2 | 8]) {
            assert_eq!(to_hex(&ours), to_hex(&vector.bytes), "{}", vector.name);
        }
        assert_eq!(again.decode(&mut ours), Ok(Some(frame)));
    }
    let expected = [
        ("framer", 52),
        ("k8s-session", 124),
        ("spdystream-live", 6),
        ("translator-upstream", 63),
        ("window-wrap", 40),
        ("ws-tunnelled", 11),
    ];
    let expected = expected.map(|(group, count)| (group.to_owned(), count));
    assert_eq!(count, expected.into());
}

/// Go accepts these. Each puts the stream out of step, or means nothing that a peer needs.
const STRICTER_THAN_GO: [(&str, &str); 12] = [
    (
        "malformed_ping_length_8_is_not_checked",
        "four bytes too many would be the next frame",
    ),
    (
        "malformed_rst_length_4_is_not_checked",
        "four bytes too few are taken from the next frame",
    ),
    (
        "malformed_window_update_delta_zero_accepted",
        "the spec wants 1..=2^31-1",
    ),
    ("malformed_version_2_accepted", "SPDY/2 has other layouts"),
    (
        "malformed_syn_stream_header_block_one_byte_long",
        "the surplus byte breaks the next block",
    ),
    (
        "malformed_syn_stream_header_block_one_byte_short",
        "the missing byte breaks the next block",
    ),
    (
        "malformed_data_unknown_flags_accepted",
        "a flag we do not know may change what the bytes are",
    ),
    (
        "alt_stored_no_dictionary_without_marker_0",
        "without a sync flush the next block is out of step",
    ),
    (
        "alt_duplicate_name_0",
        "the spec forbids it; two readers may take different values",
    ),
    ("alt_empty_name_0", "the spec forbids it"),
    (
        "alt_count_smaller_than_block_0",
        "what is left breaks the next block",
    ),
    (
        "alt_final_deflate_block_ends_stream_0",
        "no block can follow a final one",
    ),
];

#[test]
fn what_go_refuses_is_refused_and_so_is_what_puts_go_out_of_step() {
    let mut contexts: BTreeMap<String, Option<FrameDecoder>> = BTreeMap::new();
    let mut stricter = Vec::new();
    for vector in vectors() {
        if !matches!(&vector.group[..], "alt-encoding" | "malformed") {
            continue;
        }
        let fresh = vector.connection == "fresh";
        let context = if fresh {
            &mut Some(FrameDecoder::new())
        } else {
            contexts
                .entry(vector.connection)
                .or_insert_with(|| Some(FrameDecoder::new()))
        };
        // Behind an error there is no connection.
        let Some(decoder) = context else {
            continue;
        };
        let mut input = BytesMut::from(&vector.bytes[..]);
        let result = decoder.decode(&mut input);
        let accepted = match &result {
            Ok(Some(frame)) if input.is_empty() && !decoder.is_inside_data() => {
                if vector.decoded["result"] == "accepted" {
                    assert_same(&vector.name, frame, &vector.decoded["frame"]);
                }
                true
            }
            _ => false,
        };
        match (accepted, &vector.decoded["result"]) {
            (true, verdict) => assert_eq!(verdict, "accepted", "{}", vector.name),
            (false, verdict) if verdict == "accepted" => {
                assert!(result.is_err(), "{}: {result:?}", vector.name);
                stricter.push(vector.name);
            }
            (false, _) => {}
        }
        if result.is_err() {
            *context = None;
        }
    }
    let mut listed = STRICTER_THAN_GO.map(|(name, _)| name.to_owned());
    listed.sort();
    stricter.sort();
    assert_eq!(stricter, listed);
}

#[test]
fn verdicts_name_their_reason() {
    let verdict = |name: &str| -> FrameError {
        let vector = vectors()
            .into_iter()
            .find(|vector| vector.name == name)
            .unwrap();
        let mut input = BytesMut::from(&vector.bytes[..]);
        FrameDecoder::new().decode(&mut input).unwrap_err()
    };
    for (name, text) in [
        ("malformed_ping_id_zero", "ping id 0"),
        ("malformed_settings_count_lies", "settings of 12 bytes"),
        (
            "malformed_unknown_control_type_5",
            "unknown control frame type 5",
        ),
        (
            "malformed_version_2_accepted",
            "version 2 in a control frame, expected 3",
        ),
        (
            "malformed_syn_stream_length_below_10",
            "syn_stream of 9 bytes",
        ),
        (
            "malformed_syn_stream_1001_headers",
            "header block: 1001 headers, limit 64",
        ),
        (
            "malformed_syn_stream_bad_zlib_header",
            "header block: no sync flush at the end",
        ),
        (
            "malformed_syn_stream_forbidden_header_host",
            "header block: header `host` is not allowed",
        ),
        (
            "malformed_syn_stream_value_1MiB_plus_1",
            "header block: inflates to more than 16384 bytes",
        ),
        (
            "malformed_data_stream_zero",
            "stream id 0 is not allowed in data",
        ),
        (
            "alt_wrong_dictionary_id_0",
            "header block: dictionary 0x01020304 is not the one of spdy/3",
        ),
        (
            "alt_uppercase_name_0",
            "header block: upper-case header name",
        ),
        (
            "alt_count_larger_than_block_0",
            "header block: block ends inside a header",
        ),
        (
            "alt_count_smaller_than_block_0",
            "header block: 10 bytes behind the last header",
        ),
        (
            "alt_final_deflate_block_ends_stream_0",
            "header block: no sync flush at the end",
        ),
    ] {
        assert_eq!(verdict(name).to_string(), text, "{name}");
    }
}

/// Our blocks are the ones that the Go reader was shown and accepted.
#[test]
fn our_header_blocks_are_those_that_go_was_seen_to_accept() {
    let stream = |id| StreamId::new(id).unwrap();
    let syn = |id, name: &[u8]| Frame::SynStream {
        stream: stream(id),
        associated: 0,
        priority: 0,
        slot: 0,
        fin: false,
        unidirectional: false,
        headers: Headers::new().with("streamtype", name),
    };
    let reply = |id| Frame::SynReply {
        stream: stream(id),
        fin: false,
        headers: Headers::new(),
    };
    for (connection, frames) in [
        (
            "alt_stored_no_dictionary_with_sync_marker",
            vec![syn(1, b"stdin"), syn(3, b"stdout"), syn(5, b"stdin")],
        ),
        ("alt_stored_reply_empty", vec![reply(1), reply(3)]),
    ] {
        let mut encoder = FrameEncoder::new();
        let ours: Vec<String> = frames
            .iter()
            .map(|frame| {
                let mut out = BytesMut::new();
                encoder.encode(frame, &mut out);
                to_hex(&out)
            })
            .collect();
        let accepted: Vec<String> = vectors()
            .iter()
            .filter(|vector| vector.connection == connection)
            .inspect(|vector| assert_eq!(vector.decoded["result"], "accepted"))
            .map(|vector| to_hex(&vector.bytes))
            .collect();
        assert_eq!(ours, accepted);
    }
}
