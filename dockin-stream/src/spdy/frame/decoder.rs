mod joined;

use bytes::{Buf, Bytes, BytesMut};

use super::{
    CLEAR, FIN, Frame, GoAwayStatus, Kind, RstStatus, Setting, StreamId, UNIDIRECTIONAL, VERSION,
};
use crate::{
    limits::MAX_SPDY_SETTINGS,
    spdy::{error::FrameError, header_block::HeaderDecoder},
};

/// Cuts frames out of a connection's bytes.
///
/// Control frames come when they are complete, DATA as it arrives: no frame is assembled and no
/// allocation depends on a declared length.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    headers: HeaderDecoder,
    data: Option<OpenData>,
}

/// The DATA frame whose header was read.
#[derive(Clone, Copy, Debug)]
struct OpenData {
    stream: StreamId,
    remaining: usize,
    fin: bool,
}

impl FrameDecoder {
    /// A decoder at the start of a direction.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            headers: HeaderDecoder::new(),
            data: None,
        }
    }

    /// Whether a DATA frame has begun whose end has not come. What is left of an unfinished
    /// control frame stays in the caller's buffer.
    #[must_use]
    pub const fn is_inside_data(&self) -> bool {
        self.data.is_some()
    }

    /// The next frame, or `None` until `input` has more bytes.
    ///
    /// # Errors
    ///
    /// The bytes are no frame, or break a limit; the decoder cannot go on.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if let Some(data) = self.data.take() {
            return Ok(self.span(data, input));
        }
        let Some(&[a, b, c, d, flags, length @ ..]) = input.first_chunk::<8>() else {
            return Ok(None);
        };
        let [high, middle, low] = length;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        if a & 0x80 == 0 {
            let stream = stream_id("data", u32::from_be_bytes([a, b, c, d]))?;
            check_flags("data", flags, FIN)?;
            input.advance(8);
            let data = OpenData {
                stream,
                remaining: length,
                fin: flags & FIN != 0,
            };
            return Ok(self.span(data, input));
        }
        let version = u16::from_be_bytes([a & 0x7f, b]);
        if version != VERSION {
            return Err(FrameError::Version { found: version });
        }
        let kind = Kind::new(u16::from_be_bytes([c, d]))?;
        check_flags(kind.name(), flags, kind.flags())?;
        kind.check_length(length)?;
        if input.len() < 8 + length {
            return Ok(None);
        }
        input.advance(8);
        let payload = input.split_to(length).freeze();
        self.control(kind, flags, payload).map(Some)
    }

    fn span(&mut self, mut data: OpenData, input: &mut BytesMut) -> Option<Frame> {
        if input.is_empty() && data.remaining > 0 {
            self.data = Some(data);
            return None;
        }
        let bytes = input.split_to(data.remaining.min(input.len())).freeze();
        data.remaining -= bytes.len();
        let last = data.remaining == 0;
        if !last {
            self.data = Some(data);
        }
        Some(Frame::Data {
            stream: data.stream,
            bytes,
            fin: last && data.fin,
        })
    }

    /// `payload` has a length that `Kind::check_length` accepted.
    fn control(&mut self, kind: Kind, flags: u8, payload: Bytes) -> Result<Frame, FrameError> {
        let mut fields = Fields { kind, payload };
        let fin = flags & FIN != 0;
        Ok(match kind {
            Kind::SynStream => Frame::SynStream {
                stream: fields.stream()?,
                associated: fields.u32()? & 0x7fff_ffff,
                priority: fields.u8()? >> 5,
                slot: fields.u8()?,
                fin,
                unidirectional: flags & UNIDIRECTIONAL != 0,
                headers: self.headers.decode(&fields.payload)?,
            },
            Kind::SynReply => Frame::SynReply {
                stream: fields.stream()?,
                fin,
                headers: self.headers.decode(&fields.payload)?,
            },
            Kind::Headers => Frame::Headers {
                stream: fields.stream()?,
                fin,
                headers: self.headers.decode(&fields.payload)?,
            },
            Kind::RstStream => {
                let stream = fields.stream()?;
                match fields.u32()? {
                    0 => return Err(FrameError::RstStatus),
                    status => Frame::RstStream {
                        stream,
                        status: RstStatus(status),
                    },
                }
            }
            Kind::Settings => Frame::Settings {
                clear: flags & CLEAR != 0,
                entries: fields.settings()?,
            },
            Kind::Ping => match fields.u32()? {
                0 => return Err(FrameError::PingId),
                id => Frame::Ping { id },
            },
            Kind::GoAway => {
                let last_stream = fields.u32()?;
                if last_stream > 0x7fff_ffff {
                    return Err(FrameError::StreamId {
                        frame: kind.name(),
                        id: last_stream,
                    });
                }
                Frame::GoAway {
                    last_stream,
                    status: GoAwayStatus(fields.u32()?),
                }
            }
            Kind::WindowUpdate => {
                let id = fields.u32()?;
                let stream = match id {
                    0 => None,
                    id => Some(stream_id(kind.name(), id)?),
                };
                match fields.u32()? {
                    delta @ (0 | 0x8000_0000..) => return Err(FrameError::WindowDelta { delta }),
                    delta => Frame::WindowUpdate { stream, delta },
                }
            }
        })
    }
}

/// What is left of a control frame's payload.
struct Fields {
    kind: Kind,
    payload: Bytes,
}

impl Fields {
    fn u8(&mut self) -> Result<u8, FrameError> {
        self.payload.try_get_u8().map_err(|_| self.too_short())
    }

    fn u32(&mut self) -> Result<u32, FrameError> {
        self.payload.try_get_u32().map_err(|_| self.too_short())
    }

    fn stream(&mut self) -> Result<StreamId, FrameError> {
        let id = self.u32()?;
        stream_id(self.kind.name(), id)
    }

    fn settings(&mut self) -> Result<Vec<Setting>, FrameError> {
        let length = self.payload.len();
        let count = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if count != self.payload.len() / 8 {
            return Err(FrameError::Length {
                frame: self.kind.name(),
                length,
            });
        }
        if count > MAX_SPDY_SETTINGS {
            return Err(FrameError::TooManySettings {
                count,
                max: MAX_SPDY_SETTINGS,
            });
        }
        (0..count)
            .map(|_| {
                let head = self.u32()?;
                let [flags, ..] = head.to_be_bytes();
                Ok(Setting {
                    flags,
                    id: head & 0x00ff_ffff,
                    value: self.u32()?,
                })
            })
            .collect()
    }

    fn too_short(&self) -> FrameError {
        FrameError::Length {
            frame: self.kind.name(),
            length: self.payload.len(),
        }
    }
}

fn stream_id(frame: &'static str, id: u32) -> Result<StreamId, FrameError> {
    StreamId::new(id).ok_or(FrameError::StreamId { frame, id })
}

const fn check_flags(frame: &'static str, flags: u8, allowed: u8) -> Result<(), FrameError> {
    if flags & !allowed == 0 {
        Ok(())
    } else {
        Err(FrameError::Flags { frame, flags })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use bytes::{Bytes, BytesMut};

    use super::{Frame, FrameDecoder, StreamId};
    use crate::spdy::{FrameEncoder, FrameError, MAX_DATA};

    fn decode(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
        FrameDecoder::new().decode(&mut BytesMut::from(bytes))
    }

    #[test]
    fn data_is_given_in_pieces_and_fin_comes_with_the_last() {
        let mut decoder = FrameDecoder::new();
        let mut input = BytesMut::from(&b"\x00\x00\x00\x03\x01\xff\xff\xffab"[..]);
        let stream = StreamId::new(3).unwrap();
        assert_eq!(
            decoder.decode(&mut input),
            Ok(Some(Frame::Data {
                stream,
                bytes: Bytes::from_static(b"ab"),
                fin: false
            }))
        );
        assert!(decoder.is_inside_data());
        assert_eq!(decoder.decode(&mut input), Ok(None));
        let mut rest = BytesMut::zeroed(0x00ff_fffd);
        rest.extend_from_slice(&[0x80, 3]);
        let Some(Frame::Data { bytes, fin, .. }) = decoder.decode(&mut rest).unwrap() else {
            panic!("no data");
        };
        assert_eq!((bytes.len(), fin), (0x00ff_fffd, true));
        assert_eq!(&rest[..], [0x80, 3]);
    }

    #[test]
    fn bad_control_frame_is_refused_by_its_header_alone() {
        assert_eq!(
            decode(b"\x80\x03\x00\x06\x00\x00\x00\x08"),
            Err(FrameError::Length {
                frame: "ping",
                length: 8
            })
        );
        assert_eq!(
            decode(b"\x80\x03\x00\x01\x00\xff\xff\xff"),
            Err(FrameError::ControlTooLong {
                size: 0x00ff_ffff,
                max: 65_536
            })
        );
        assert_eq!(
            decode(b"\x80\x02\x00\x06\x00\x00\x00\x04"),
            Err(FrameError::Version { found: 2 })
        );
    }

    #[test]
    fn payload_of_more_than_a_frame_becomes_two_frames() {
        let mut out = BytesMut::new();
        let frame = Frame::Data {
            stream: StreamId::new(1).unwrap(),
            bytes: vec![7; MAX_DATA + 1].into(),
            fin: true,
        };
        FrameEncoder::new().encode(&frame, &mut out);
        assert_eq!(out.len(), MAX_DATA + 1 + 16);
        assert_eq!(out.get(4..8).unwrap(), [0, 0xff, 0xff, 0xff]);
        assert_eq!(
            out.get(8 + MAX_DATA..).unwrap(),
            [0, 0, 0, 1, 1, 0, 0, 1, 7]
        );
    }

    #[test]
    fn bad_payload_of_a_control_frame_is_named() {
        let settings = |count: u32, entries: usize| {
            let length = u32::try_from(4 + 8 * entries).unwrap();
            let mut wire = b"\x80\x03\x00\x04".to_vec();
            wire.extend(length.to_be_bytes());
            wire.extend(count.to_be_bytes());
            wire.resize(wire.len() + 8 * entries, 0);
            wire
        };
        assert!(matches!(
            decode(&settings(32, 32)),
            Ok(Some(Frame::Settings { entries, .. })) if entries.len() == 32
        ));
        assert_eq!(
            decode(&settings(33, 33)),
            Err(FrameError::TooManySettings { count: 33, max: 32 })
        );
        assert_eq!(
            decode(&settings(u32::MAX, 1)),
            Err(FrameError::Length {
                frame: "settings",
                length: 12
            })
        );
        assert_eq!(
            decode(b"\x80\x03\x00\x07\x00\x00\x00\x08\xff\xff\xff\xff\x00\x00\x00\x00"),
            Err(FrameError::StreamId {
                frame: "goaway",
                id: 0xffff_ffff
            })
        );
    }
}
