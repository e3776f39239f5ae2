use bytes::Bytes;
use dockin_stream::StreamSet;

/// Reads small decisions off the front of an input; 0 and nothing when it is used up.
pub(crate) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    pub(crate) const fn bool(&mut self, bits: &mut u8) -> bool {
        let bit = *bits & 1 == 1;
        *bits >>= 1;
        bit
    }

    pub(crate) fn streams(&mut self) -> StreamSet {
        let mut bits = self.byte();
        StreamSet {
            stdin: self.bool(&mut bits),
            stdout: self.bool(&mut bits),
            stderr: self.bool(&mut bits),
            tty: self.bool(&mut bits),
        }
    }

    /// 1 to 16 bytes, the length decided by the first.
    pub(crate) fn payload(&mut self) -> Bytes {
        let length = 1 + usize::from(self.byte() % 16);
        let taken = self.take(length);
        if taken.is_empty() {
            Bytes::from_static(b"x")
        } else {
            Bytes::copy_from_slice(taken)
        }
    }

    /// `length` bytes, or what is left.
    pub(crate) fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) const fn rest(self) -> &'a [u8] {
        self.0
    }
}
