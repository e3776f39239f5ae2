use std::collections::VecDeque;

use crate::{Event, TerminalSize, limits::MAX_RESIZE};

/// The resize channel: JSON objects, several in a message or one over several messages.
///
/// What is no size is dropped to the end of its message, and the next message starts afresh; the
/// Go servers stop listening to resizes for good there.
#[derive(Debug, Default)]
pub(super) struct ResizeReader {
    /// The beginning of an object, [`MAX_RESIZE`] bytes at most.
    partial: Vec<u8>,
    /// The rest of the message is dropped.
    skipping: bool,
}

impl ResizeReader {
    /// Takes part of a message and adds the sizes that are complete with it to `events`.
    pub(super) fn read(&mut self, mut bytes: &[u8], end: bool, events: &mut VecDeque<Event>) {
        while !bytes.is_empty() && !self.skipping {
            let room = MAX_RESIZE.saturating_sub(self.partial.len());
            let (piece, rest) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            if piece.is_empty() {
                self.skip();
                break;
            }
            self.partial.extend_from_slice(piece);
            bytes = rest;
            self.parse(events);
        }
        if end {
            self.skipping = false;
        }
    }

    fn parse(&mut self, events: &mut VecDeque<Event>) {
        let mut sizes =
            serde_json::Deserializer::from_slice(&self.partial).into_iter::<TerminalSize>();
        let mut complete = 0;
        loop {
            match sizes.next() {
                Some(Ok(size)) => {
                    events.push_back(Event::Resize(size));
                    complete = sizes.byte_offset();
                }
                Some(Err(error)) if error.is_eof() => break,
                Some(Err(_)) => {
                    self.skip();
                    return;
                }
                // White space at most is left.
                None => {
                    complete = self.partial.len();
                    break;
                }
            }
        }
        self.partial.drain(..complete.min(self.partial.len()));
    }

    fn skip(&mut self) {
        self.partial.clear();
        self.skipping = true;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::ResizeReader;
    use crate::{Event, TerminalSize, limits::MAX_RESIZE};

    fn read(messages: &[&[u8]]) -> Vec<(u16, u16)> {
        let mut reader = ResizeReader::default();
        let mut events = VecDeque::new();
        for message in messages {
            reader.read(message, true, &mut events);
            assert!(reader.partial.len() <= MAX_RESIZE);
        }
        events
            .into_iter()
            .filter_map(|event| match event {
                Event::Resize(TerminalSize { width, height }) => Some((width, height)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn objects_may_span_messages_and_share_them() {
        assert_eq!(
            read(&[
                b"{\"Width\":",
                b"80,\"Height\":24}\n{\"Width\":1,\"Height\":2} ",
                b"\n"
            ]),
            [(80, 24), (1, 2)]
        );
        let many = b"{\"Width\":7,\"Height\":8}\n".repeat(100);
        assert_eq!(read(&[&many]).len(), 100);
    }

    #[test]
    fn nonsense_costs_only_its_own_message() {
        let good = &b"{\"Width\":80,\"Height\":24}"[..];
        assert_eq!(read(&[b"nonsense", good]), [(80, 24)]);
        assert_eq!(read(&[b"{\"Width\":70000,\"Height\":1}", good]), [(80, 24)]);
        let endless = [b"{\"Width\":"[..].to_vec(), vec![b' '; 100_000]].concat();
        assert_eq!(read(&[&endless, good]), [(80, 24)]);
    }
}
