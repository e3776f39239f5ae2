use crate::{TerminalSize, limits::MAX_RESIZE};

/// Reads terminal sizes from the resize stream: JSON objects in any tokenisation, several in a
/// frame or one over several frames.
///
/// What is no size ends it for good and in silence, as in Kubernetes: the session goes on.
#[derive(Debug, Default)]
pub(super) struct ResizeStream {
    partial: Vec<u8>,
    ended: bool,
}

impl ResizeStream {
    /// Takes the next bytes and gives the sizes that are complete with them.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Vec<TerminalSize> {
        let mut sizes = Vec::new();
        if self.ended {
            return sizes;
        }
        self.partial.extend_from_slice(bytes);
        let mut objects =
            serde_json::Deserializer::from_slice(&self.partial).into_iter::<TerminalSize>();
        let mut complete = 0;
        loop {
            match objects.next() {
                Some(Ok(size)) => {
                    sizes.push(size);
                    complete = objects.byte_offset();
                }
                Some(Err(error)) => {
                    self.ended = !error.is_eof();
                    break;
                }
                // Only white space is left.
                None => {
                    complete = self.partial.len();
                    break;
                }
            }
        }
        self.partial.drain(..complete.min(self.partial.len()));
        if self.partial.len() > MAX_RESIZE {
            self.ended = true;
        }
        if self.ended {
            self.partial = Vec::new();
        }
        sizes
    }
}

#[cfg(test)]
mod tests {
    use super::ResizeStream;
    use crate::TerminalSize;

    fn size(width: u16, height: u16) -> TerminalSize {
        TerminalSize { width, height }
    }

    #[test]
    fn sizes_are_found_however_frames_cut_them() {
        let text = b" {\"Width\":80,\"Height\":24}\n{\n\"Height\" : 50 , \"Width\" :132}{\"Width\":1,\"Height\":2}\n\n";
        let expected = [size(80, 24), size(132, 50), size(1, 2)];
        for cut in 0..text.len() {
            let (first, second) = text.split_at(cut);
            let mut stream = ResizeStream::default();
            let mut sizes = stream.read(first);
            sizes.extend(stream.read(second));
            assert_eq!(sizes, expected, "cut at {cut}");
        }
        assert_eq!(ResizeStream::default().read(text), expected);
    }

    #[test]
    fn what_is_no_size_ends_the_stream_in_silence() {
        let mut stream = ResizeStream::default();
        assert_eq!(
            stream.read(b"{\"Width\":1,\"Height\":2}nonsense"),
            [size(1, 2)]
        );
        assert_eq!(stream.read(b"{\"Width\":3,\"Height\":4}"), []);
        let mut stream = ResizeStream::default();
        assert_eq!(stream.read(b"{\"Width\":70000,\"Height\":2}"), []);
        assert_eq!(stream.read(b"{\"Width\":3,\"Height\":4}"), []);
    }

    #[test]
    fn object_without_end_is_not_kept() {
        let mut stream = ResizeStream::default();
        assert_eq!(stream.read(b"{\"Width\":"), []);
        for _ in 0..1000 {
            assert_eq!(stream.read(&[b' '; 1000]), []);
            assert!(stream.partial.len() <= 1300);
        }
        assert!(stream.ended);
    }
}
