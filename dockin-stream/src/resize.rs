use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{Event, limits::MAX_RESIZE};

/// A terminal's size in character cells.
///
/// On the wire: `{"Width":80,"Height":24}` and a newline, one JSON object per change.
///
/// Spec: Kubernetes `remotecommand/resize.go`, `TerminalSize`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TerminalSize {
    /// Columns, `0..=65_535`.
    #[serde(rename = "Width", alias = "width", default)]
    pub width: u16,
    /// Rows, `0..=65_535`.
    #[serde(rename = "Height", alias = "height", default)]
    pub height: u16,
}

impl TerminalSize {
    /// The JSON object with the newline that Go's encoder writes.
    #[must_use]
    pub fn to_json_line(self) -> String {
        format!("{{\"Width\":{},\"Height\":{}}}\n", self.width, self.height)
    }

    /// Reads one JSON object; `None` for anything else.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }
}

/// Reads terminal sizes as they arrive: JSON objects in any tokenisation, several in a piece or
/// one over several pieces.
///
/// What is no size ends it in silence, until [`end_message`](Self::end_message): the session goes
/// on. Go servers never listen again, also where messages would let them.
#[derive(Debug, Default)]
pub(crate) struct ResizeReader {
    /// The beginning of an object, [`MAX_RESIZE`] bytes at most.
    partial: Vec<u8>,
    ended: bool,
}

impl ResizeReader {
    /// Takes the next bytes and adds the sizes that are complete with them to `events`.
    pub(crate) fn read(&mut self, mut bytes: &[u8], events: &mut VecDeque<Event>) {
        while !bytes.is_empty() && !self.ended {
            let room = MAX_RESIZE.saturating_sub(self.partial.len());
            let (piece, rest) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            if piece.is_empty() {
                self.end();
                return;
            }
            self.partial.extend_from_slice(piece);
            bytes = rest;
            self.parse(events);
        }
    }

    /// The bytes so far were a message: what was no size cost only that one. A SPDY stream has
    /// no messages, so there it is never called.
    pub(crate) const fn end_message(&mut self) {
        self.ended = false;
    }

    fn parse(&mut self, events: &mut VecDeque<Event>) {
        // White space counts for no object, or the limit would depend on how the bytes are cut.
        let mut rest = self.partial.trim_ascii_start();
        while !rest.is_empty() {
            // The deserializer would take an array for an object.
            if !rest.starts_with(b"{") {
                return self.end();
            }
            let mut sizes = serde_json::Deserializer::from_slice(rest).into_iter::<TerminalSize>();
            match sizes.next() {
                Some(Ok(size)) => events.push_back(Event::Resize(size)),
                Some(Err(error)) if error.is_eof() || ends_in_a_number(rest) => break,
                Some(Err(_)) | None => return self.end(),
            }
            let complete = sizes.byte_offset();
            rest = rest.get(complete..).unwrap_or_default().trim_ascii_start();
        }
        self.partial.drain(..self.partial.len() - rest.len());
    }

    fn end(&mut self) {
        self.partial = Vec::new();
        self.ended = true;
    }
}

/// Whether `text` stops where only a digit is missing, as in `{"x":-`, which the deserializer calls
/// malformed and not unfinished.
fn ends_in_a_number(text: &[u8]) -> bool {
    let longer = [text, b"0"].concat();
    serde_json::from_slice::<TerminalSize>(&longer).is_err_and(|error| error.is_eof())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::{ResizeReader, TerminalSize};
    use crate::{Event, limits::MAX_RESIZE};

    fn sizes(reader: &mut ResizeReader, bytes: &[u8]) -> Vec<(u16, u16)> {
        let mut events = VecDeque::new();
        reader.read(bytes, &mut events);
        assert!(reader.partial.len() <= MAX_RESIZE);
        events
            .into_iter()
            .filter_map(|event| match event {
                Event::Resize(TerminalSize { width, height }) => Some((width, height)),
                _ => None,
            })
            .collect()
    }

    fn messages(messages: &[&[u8]]) -> Vec<(u16, u16)> {
        let mut reader = ResizeReader::default();
        let mut all = Vec::new();
        for message in messages {
            all.extend(sizes(&mut reader, message));
            reader.end_message();
        }
        all
    }

    #[test]
    fn size_survives_its_json_line() {
        let size = TerminalSize {
            width: 132,
            height: 50,
        };
        assert_eq!(
            TerminalSize::parse(size.to_json_line().as_bytes()),
            Some(size)
        );
        assert_eq!(TerminalSize::parse(b"{\"Width\":70000,\"Height\":1}"), None);
        assert_eq!(TerminalSize::parse(b"80x24"), None);
    }

    #[test]
    fn sizes_are_found_however_they_are_cut() {
        let text = [
            &[b' '; 2 * MAX_RESIZE - 10][..],
            b"{\"Width\":80,\"Height\":24}\n{\n\"Height\" : 50 , \"Width\" :132}",
            b"{\"Width\":1,\"Height\":2}\n\n",
            b"{\"x\":-0,\"y\":[8.5e+3,true],\"Width\":3,\"Height\":4}",
        ]
        .concat();
        let expected = [(80, 24), (132, 50), (1, 2), (3, 4)];
        assert_eq!(sizes(&mut ResizeReader::default(), &text), expected);
        for cut in 0..text.len() {
            let (first, second) = text.split_at(cut);
            let mut reader = ResizeReader::default();
            let mut all = sizes(&mut reader, first);
            all.extend(sizes(&mut reader, second));
            assert_eq!(all, expected, "cut at {cut}");
            assert_eq!(
                messages(&[first, second]),
                expected,
                "messages cut at {cut}"
            );
        }
        let many = b"{\"Width\":7,\"Height\":8}\n".repeat(100);
        assert_eq!(messages(&[&many]).len(), 100);
    }

    #[test]
    fn nonsense_costs_only_its_own_message() {
        let good = &b"{\"Width\":80,\"Height\":24}"[..];
        let endless = [b"{\"Width\":"[..].to_vec(), vec![b' '; 100_000]].concat();
        for bad in [
            &b"nonsense"[..],
            b"tru",
            b"-",
            b"[80,24]",
            b"{\"Width\":70000,\"Height\":1}",
            &endless,
        ] {
            assert_eq!(messages(&[bad, good]), [(80, 24)]);
        }
    }

    #[test]
    fn nonsense_ends_a_stream_without_messages_for_good() {
        for bad in [&b"nonsense"[..], b"{\"Width\":70000,\"Height\":2}"] {
            let mut reader = ResizeReader::default();
            let first = [b"{\"Width\":1,\"Height\":2}", bad].concat();
            assert_eq!(sizes(&mut reader, &first), [(1, 2)]);
            assert_eq!(sizes(&mut reader, b"{\"Width\":3,\"Height\":4}"), []);
        }
    }

    #[test]
    fn object_without_end_is_not_kept() {
        let mut reader = ResizeReader::default();
        assert_eq!(sizes(&mut reader, b"{\"Width\":"), []);
        for _ in 0..10 {
            assert_eq!(sizes(&mut reader, &[b' '; 1000]), []);
        }
        assert!(reader.ended);
    }
}
