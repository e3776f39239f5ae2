//! Files as a tar stream and back, on threads that do blocking file work.
//!
//! What comes out of a container is not trusted: see [`unpack`].

mod pack;
mod unpack;

use std::io::{self, Read, Write};

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

pub(crate) use self::{pack::pack, unpack::Unpack};

/// Chunks handed over, as bytes to read.
#[derive(Debug)]
pub(crate) struct ChunkReader {
    chunks: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl ChunkReader {
    pub(crate) const fn new(chunks: mpsc::Receiver<Bytes>) -> Self {
        Self {
            chunks,
            current: Bytes::new(),
        }
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        let (to, _) = buffer.split_at_mut(count);
        self.current.copy_to_slice(to);
        Ok(count)
    }
}

/// Bytes written, handed over as chunks.
#[derive(Debug)]
pub(crate) struct ChunkWriter {
    chunks: mpsc::Sender<Bytes>,
    current: Vec<u8>,
}

/// One chunk, bytes.
const CHUNK: usize = 64 * 1024;

impl ChunkWriter {
    pub(crate) fn new(chunks: mpsc::Sender<Bytes>) -> Self {
        Self {
            chunks,
            current: Vec::with_capacity(CHUNK),
        }
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK - self.current.len().min(CHUNK);
        let (now, _) = bytes.split_at(room.min(bytes.len()));
        self.current.extend_from_slice(now);
        if self.current.len() >= CHUNK {
            self.flush()?;
        }
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.current.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.current, Vec::with_capacity(CHUNK));
        self.chunks
            .blocking_send(Bytes::from(chunk))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

#[cfg(test)]
mod tests;
