//! Laws of the SPDY layers, over generated input.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
#![allow(clippy::disallowed_methods, reason = "time has to start somewhere")]

use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use dockin_stream::{
    Codec, StreamSet, Subprotocol,
    portforward::{Client, Server},
    spdy::{
        ExecClient, ExecServer, Frame, FrameDecoder, FrameEncoder, GoAwayStatus, Headers,
        RstStatus, Setting, StreamId,
    },
};
use flate2::{Compress, Compression, FlushCompress};
use proptest::{collection::vec, prelude::*};

fn stream() -> impl Strategy<Value = StreamId> {
    prop_oneof![1_u32..12, 1..=0x7fff_ffff_u32].prop_map(|id| StreamId::new(id).unwrap())
}

fn headers() -> impl Strategy<Value = Headers> {
    vec(("x-[a-z0-9:_-]{0,20}", vec(any::<u8>(), 0..200)), 0..6).prop_map(|pairs| {
        pairs.iter().fold(Headers::new(), |headers, (name, value)| {
            headers.with(name, value)
        })
    })
}

fn frame() -> impl Strategy<Value = Frame> {
    let setting = (any::<u8>(), 0..0x0100_0000_u32, any::<u32>())
        .prop_map(|(flags, id, value)| Setting { flags, id, value });
    prop_oneof![
        (
            stream(),
            0..=0x7fff_ffff_u32,
            0..8_u8,
            any::<u8>(),
            any::<[bool; 2]>(),
            headers()
        )
            .prop_map(
                |(stream, associated, priority, slot, [fin, unidirectional], headers)| {
                    Frame::SynStream {
                        stream,
                        associated,
                        priority,
                        slot,
                        fin,
                        unidirectional,
                        headers,
                    }
                }
            ),
        (stream(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::SynReply {
            stream,
            fin,
            headers
        }),
        (stream(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::Headers {
            stream,
            fin,
            headers
        }),
        (stream(), 1..=u32::MAX).prop_map(|(stream, status)| Frame::RstStream {
            stream,
            status: RstStatus(status)
        }),
        (any::<bool>(), vec(setting, 0..=32))
            .prop_map(|(clear, entries)| Frame::Settings { clear, entries }),
        (1..=u32::MAX).prop_map(|id| Frame::Ping { id }),
        (0..=0x7fff_ffff_u32, any::<u32>()).prop_map(|(last_stream, status)| Frame::GoAway {
            last_stream,
            status: GoAwayStatus(status)
        }),
        (proptest::option::of(stream()), 1..=0x7fff_ffff_u32)
            .prop_map(|(stream, delta)| Frame::WindowUpdate { stream, delta }),
        (stream(), vec(any::<u8>(), 0..300), any::<bool>()).prop_map(|(stream, bytes, fin)| {
            Frame::Data {
                stream,
                bytes: bytes.into(),
                fin,
            }
        }),
    ]
}

fn encode(frames: &[Frame]) -> Vec<u8> {
    let mut encoder = FrameEncoder::new();
    let mut out = BytesMut::new();
    for frame in frames {
        encoder.encode(frame, &mut out);
    }
    out.to_vec()
}

/// Decodes `bytes` in pieces of the given sizes, and joins the pieces of DATA frames.
fn decode(bytes: &[u8], sizes: &[usize]) -> Vec<Frame> {
    let mut decoder = FrameDecoder::new();
    let mut input = BytesMut::new();
    let mut frames: Vec<Frame> = Vec::new();
    let mut rest = bytes;
    let mut sizes = sizes.iter().copied().chain(std::iter::repeat(usize::MAX));
    let mut inside = false;
    loop {
        while let Some(frame) = decoder.decode(&mut input).unwrap() {
            match (frames.last_mut(), frame) {
                (
                    Some(Frame::Data {
                        bytes: start,
                        fin: start_fin,
                        ..
                    }),
                    Frame::Data { bytes, fin, .. },
                ) if inside => {
                    *start = [&start[..], &bytes].concat().into();
                    *start_fin = fin;
                }
                (_, frame) => frames.push(frame),
            }
            inside = decoder.is_inside_data();
        }
        if rest.is_empty() {
            assert!(input.is_empty());
            assert!(!inside);
            return frames;
        }
        let (piece, behind) = rest.split_at(sizes.next().unwrap().min(rest.len()));
        input.extend_from_slice(piece);
        rest = behind;
    }
}

/// Bytes that are often nearly frames.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..400),
        (
            vec(frame(), 1..6),
            vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)
        )
            .prop_map(|(frames, flips)| {
                let mut bytes = encode(&frames);
                for (index, value) in flips {
                    let index = index.index(bytes.len());
                    bytes[index] = value;
                }
                bytes
            }),
    ]
}

proptest! {
    /// `decode(encode(x)) == x`, however the bytes are cut.
    #[test]
    fn frames_survive_their_encoding_and_any_cut(
        frames in vec(frame(), 0..12),
        sizes in vec(1..40_usize, 0..200),
    ) {
        prop_assert_eq!(decode(&encode(&frames), &sizes), frames);
    }

    /// No bytes panic, whatever machine reads them; memory is bounded by the input.
    #[test]
    fn no_bytes_panic(bytes in hostile(), size in 1..50_usize) {
        let now = Instant::now();
        let streams = StreamSet { stdin: true, stdout: true, stderr: true, tty: false };
        let mut server = ExecServer::new(Subprotocol::V4, streams, now);
        let mut client = ExecClient::new(Subprotocol::V4, streams);
        let (mut forward_server, mut forward_client) = (Server::new(), Client::new());
        forward_client.open(80.try_into().unwrap());
        let mut inputs: [BytesMut; 4] = Default::default();
        for piece in bytes.chunks(size) {
            for input in &mut inputs {
                input.extend_from_slice(piece);
            }
            let [first, second, third, fourth] = &mut inputs;
            let _ = server.handle_input(now, first);
            let _ = client.handle_input(now, second);
            let _ = forward_server.handle_input(now, third);
            let _ = forward_client.handle_input(now, fourth);
            while server.poll_event().is_some() || server.poll_transmit().is_some() {}
            while client.poll_event().is_some() || client.poll_transmit().is_some() {}
            while forward_server.poll_event().is_some()
                || forward_server.poll_transmit().is_some() {}
            while forward_client.poll_event().is_some()
                || forward_client.poll_transmit().is_some() {}
        }
        let _ = server.handle_eof(now);
        let _ = client.handle_eof(now);
        let _ = forward_server.handle_eof(now);
        let _ = forward_client.handle_eof(now);
    }

    /// What any zlib writer makes of header blocks is read back, in one context.
    #[test]
    fn blocks_of_any_compressor_are_read(blocks in vec(headers(), 1..20), level in 0..=9_u32) {
        let mut deflate = Compress::new(Compression::new(level), true);
        let mut decoder = FrameDecoder::new();
        for headers in blocks {
            let mut text = BytesMut::new();
            text.put_u32(u32::try_from(headers.len()).unwrap());
            for (name, value) in headers.iter() {
                for field in [name, value] {
                    text.put_u32(u32::try_from(field.len()).unwrap());
                    text.put_slice(field);
                }
            }
            let mut block = Vec::with_capacity(8 * 1024);
            deflate.compress_vec(&text, &mut block, FlushCompress::Sync).unwrap();
            let mut input = BytesMut::new();
            input.put_u32(0x8003_0002);
            input.put_u32(u32::try_from(block.len() + 4).unwrap());
            input.put_u32(1);
            input.put_slice(&block);
            let stream = StreamId::new(1).unwrap();
            prop_assert_eq!(
                decoder.decode(&mut input),
                Ok(Some(Frame::SynReply { stream, fin: false, headers }))
            );
        }
    }
}

#[test]
fn declared_length_allocates_nothing() {
    let mut decoder = FrameDecoder::new();
    let mut input = BytesMut::from(&b"\x00\x00\x00\x01\x00\xff\xff\xff"[..]);
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert!(input.capacity() < 64);
    let payload = Bytes::from_static(b"x");
    input.extend_from_slice(&payload);
    assert!(matches!(
        decoder.decode(&mut input),
        Ok(Some(Frame::Data { bytes, fin: false, .. })) if bytes == payload
    ));
}
