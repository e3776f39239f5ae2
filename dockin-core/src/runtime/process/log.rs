use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use dockin_stream::OutputStream;
use futures::stream;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::runtime::{LogOptions, LogStream};

/// What is kept of a main process's output: 1 MiB, far more than a demo prints in a day.
const CAPACITY: usize = 1024 * 1024;
/// A line longer than this is cut into several, as container engines do: 16 KiB.
const MAX_LINE: usize = 16 * 1024;

/// The last lines that the main process printed.
#[derive(Debug)]
pub(super) struct Log {
    ring: Mutex<Ring>,
    /// Sequence number of the next line.
    next: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
    next: u64,
    ended: bool,
    /// Begun lines of standard output and standard error.
    partial: [BytesMut; 2],
}

#[derive(Clone, Debug)]
struct Line {
    sequence: u64,
    time: Timestamp,
    /// With the newline, when it had one.
    text: Bytes,
}

impl Log {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            ring: Mutex::default(),
            next: watch::Sender::new(0),
        })
    }

    /// Adds what was read from a stream.
    pub(super) fn push(&self, stream: OutputStream, bytes: &[u8], now: Timestamp) {
        let next = {
            let mut ring = self.lock();
            ring.push(stream, bytes, now);
            ring.next
        };
        self.next.send_replace(next);
    }

    /// The main process has ended; lines without a newline are lines now.
    pub(super) fn end(&self, now: Timestamp) {
        let next = {
            let mut ring = self.lock();
            ring.end(now);
            ring.next
        };
        // Also without a new line: followers must wake up.
        self.next.send_replace(next);
    }

    /// The lines that `options` ask for.
    pub(super) fn read(self: &Arc<Self>, options: LogOptions, now: Timestamp) -> LogStream {
        let since = options
            .since_seconds
            .and_then(|seconds| i64::try_from(seconds).ok())
            .and_then(|seconds| Timestamp::from_second(now.as_second() - seconds).ok());
        let first = self.lock().first(options.tail, since);
        let reader = Reader {
            log: Arc::clone(self),
            next: first,
            timestamps: options.timestamps,
            follow: options.follow,
            news: self.next.subscribe(),
        };
        Box::pin(stream::unfold(reader, |mut reader| async move {
            let bytes = reader.read().await?;
            Some((Ok(bytes), reader))
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn push(&mut self, stream: OutputStream, bytes: &[u8], now: Timestamp) {
        let [stdout, stderr] = &mut self.partial;
        let partial = match stream {
            OutputStream::Stdout => stdout,
            OutputStream::Stderr => stderr,
        };
        let mut whole = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for chunk in piece.chunks(MAX_LINE) {
                partial.extend_from_slice(chunk);
                if chunk.ends_with(b"\n") || partial.len() >= MAX_LINE {
                    whole.push(partial.split().freeze());
                }
            }
        }
        whole.into_iter().for_each(|text| self.add(text, now));
    }

    fn add(&mut self, text: Bytes, time: Timestamp) {
        self.bytes += text.len();
        self.lines.push_back(Line {
            sequence: self.next,
            time,
            text,
        });
        self.next += 1;
        while self.bytes > CAPACITY
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= oldest.text.len();
        }
    }

    fn end(&mut self, now: Timestamp) {
        for partial in std::mem::take(&mut self.partial) {
            if !partial.is_empty() {
                self.add(partial.freeze(), now);
            }
        }
        self.ended = true;
    }

    /// Sequence number of the first line wanted.
    fn first(&self, tail: Option<u64>, since: Option<Timestamp>) -> u64 {
        let oldest = self.next - self.lines.len() as u64;
        let by_tail = tail.map_or(oldest, |tail| self.next.saturating_sub(tail).max(oldest));
        let by_time = since.map_or(oldest, |since| {
            self.lines
                .iter()
                .find(|line| line.time >= since)
                .map_or(self.next, |l| l.sequence)
        });
        by_tail.max(by_time)
    }
}

struct Reader {
    log: Arc<Log>,
    next: u64,
    timestamps: bool,
    follow: bool,
    news: watch::Receiver<u64>,
}

impl Reader {
    /// The next lines, about 64 KiB at most; `None` at the end.
    async fn read(&mut self) -> Option<Bytes> {
        loop {
            self.news.mark_unchanged();
            let (text, ended) = self.take();
            if !text.is_empty() {
                return Some(text);
            }
            if ended || !self.follow || self.news.changed().await.is_err() {
                return None;
            }
        }
    }

    fn take(&mut self) -> (Bytes, bool) {
        let ring = self.log.lock();
        let mut text = BytesMut::new();
        let next = self.next;
        for line in ring.lines.iter().filter(|line| line.sequence >= next) {
            if self.timestamps {
                text.extend_from_slice(format!("{:.9} ", line.time).as_bytes());
            }
            text.extend_from_slice(&line.text);
            self.next = line.sequence + 1;
            if text.len() >= 64 * 1024 {
                break;
            }
        }
        (text.freeze(), ring.ended)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use bytes::BytesMut;
    use dockin_stream::OutputStream;
    use futures::StreamExt;
    use jiff::Timestamp;

    use super::{CAPACITY, Log};
    use crate::runtime::LogOptions;

    fn read(log: &std::sync::Arc<Log>, options: LogOptions) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let parts: Vec<_> = runtime.block_on(log.read(options, at(100)).collect());
        let mut all = BytesMut::new();
        parts
            .into_iter()
            .for_each(|part| all.extend_from_slice(&part.unwrap()));
        String::from_utf8(all.to_vec()).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn tail_since_and_timestamps_select_and_decorate() {
        let log = Log::new();
        log.push(OutputStream::Stdout, b"one\ntw", at(10));
        log.push(OutputStream::Stderr, b"err\n", at(20));
        log.push(OutputStream::Stdout, b"o\nthree", at(95));
        let default = LogOptions::default();
        assert_eq!(read(&log, default), "one\nerr\ntwo\n");
        assert_eq!(
            read(
                &log,
                LogOptions {
                    tail: Some(1),
                    ..default
                }
            ),
            "two\n"
        );
        assert_eq!(
            read(
                &log,
                LogOptions {
                    tail: Some(0),
                    ..default
                }
            ),
            ""
        );
        assert_eq!(
            read(
                &log,
                LogOptions {
                    since_seconds: Some(10),
                    ..default
                }
            ),
            "two\n"
        );
        let stamped = read(
            &log,
            LogOptions {
                tail: Some(1),
                timestamps: true,
                ..default
            },
        );
        assert_eq!(stamped, "1970-01-01T00:01:35.000000000Z two\n");
        log.end(at(96));
        assert_eq!(
            read(
                &log,
                LogOptions {
                    tail: Some(1),
                    follow: true,
                    ..default
                }
            ),
            "three"
        );
    }

    #[test]
    fn the_oldest_lines_make_room() {
        let log = Log::new();
        let line = [b'x'; 1023];
        for _ in 0..CAPACITY / 512 {
            log.push(OutputStream::Stdout, &line, at(1));
            log.push(OutputStream::Stdout, b"\n", at(1));
        }
        assert_eq!(read(&log, LogOptions::default()).len(), CAPACITY);
    }
}
