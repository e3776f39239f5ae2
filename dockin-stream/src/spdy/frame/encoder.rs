use bytes::{BufMut, BytesMut};

use super::{CLEAR, FIN, Frame, Kind, MAX_DATA, StreamId, UNIDIRECTIONAL, VERSION};
use crate::spdy::header_block::{HeaderEncoder, Headers};

/// Writes frames of one direction.
#[derive(Debug, Default)]
pub struct FrameEncoder {
    headers: HeaderEncoder,
}

impl FrameEncoder {
    /// An encoder at the start of a direction.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            headers: HeaderEncoder::new(),
        }
    }

    /// Appends `frame` to `out`. A DATA payload is copied, and one above [`MAX_DATA`] becomes
    /// several frames; to send payloads without a copy see [`data_header`](Self::data_header).
    pub fn encode(&mut self, frame: &Frame, out: &mut BytesMut) {
        match frame {
            Frame::SynStream {
                stream,
                associated,
                priority,
                slot,
                fin,
                unidirectional,
                headers,
            } => {
                let flags = flag(*fin, FIN) | flag(*unidirectional, UNIDIRECTIONAL);
                self.with_headers(Kind::SynStream, flags, headers, out, |out| {
                    out.put_u32(stream.value());
                    out.put_u32(*associated);
                    out.put_u8(priority << 5);
                    out.put_u8(*slot);
                });
            }
            Frame::SynReply {
                stream,
                fin,
                headers,
            } => self.with_headers(Kind::SynReply, flag(*fin, FIN), headers, out, |out| {
                out.put_u32(stream.value());
            }),
            Frame::Headers {
                stream,
                fin,
                headers,
            } => self.with_headers(Kind::Headers, flag(*fin, FIN), headers, out, |out| {
                out.put_u32(stream.value());
            }),
            Frame::RstStream { stream, status } => {
                put_control(out, Kind::RstStream, 0, 8);
                out.put_u32(stream.value());
                out.put_u32(status.0);
            }
            Frame::Settings { clear, entries } => {
                let length = 4 + 8 * entries.len();
                put_control(out, Kind::Settings, flag(*clear, CLEAR), length);
                out.put_u32(u32::try_from(entries.len()).unwrap_or(u32::MAX));
                for entry in entries {
                    out.put_u8(entry.flags);
                    out.put_uint(u64::from(entry.id & 0x00ff_ffff), 3);
                    out.put_u32(entry.value);
                }
            }
            Frame::Ping { id } => {
                put_control(out, Kind::Ping, 0, 4);
                out.put_u32(*id);
            }
            Frame::GoAway {
                last_stream,
                status,
            } => {
                put_control(out, Kind::GoAway, 0, 8);
                out.put_u32(*last_stream);
                out.put_u32(status.0);
            }
            Frame::WindowUpdate { stream, delta } => {
                put_control(out, Kind::WindowUpdate, 0, 8);
                out.put_u32(stream.map_or(0, StreamId::value));
                out.put_u32(*delta);
            }
            Frame::Data { stream, bytes, fin } => {
                let mut rest = bytes.clone();
                loop {
                    let bytes = rest.split_to(rest.len().min(MAX_DATA));
                    let fin = *fin && rest.is_empty();
                    out.put_slice(&Self::data_header(*stream, bytes.len(), fin));
                    out.put_slice(&bytes);
                    if rest.is_empty() {
                        return;
                    }
                }
            }
        }
    }

    /// The header of a DATA frame with a payload of `length` bytes, `0..=MAX_DATA`.
    #[must_use]
    pub fn data_header(stream: StreamId, length: usize, fin: bool) -> [u8; 8] {
        let [a, b, c, d] = stream.value().to_be_bytes();
        let [.., high, middle, low] = length.to_be_bytes();
        [a, b, c, d, flag(fin, FIN), high, middle, low]
    }

    fn with_headers(
        &mut self,
        kind: Kind,
        flags: u8,
        headers: &Headers,
        out: &mut BytesMut,
        put_fields: impl FnOnce(&mut BytesMut),
    ) {
        let mut payload = BytesMut::new();
        put_fields(&mut payload);
        self.headers.encode(headers, &mut payload);
        put_control(out, kind, flags, payload.len());
        out.put_slice(&payload);
    }
}

const fn flag(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}

fn put_control(out: &mut BytesMut, kind: Kind, flags: u8, length: usize) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind as u16);
    out.put_u8(flags);
    out.put_uint(u64::try_from(length).unwrap_or(u64::MAX), 3);
}
