use std::{collections::VecDeque, fmt, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{Demultiplexer, Item, Shape, outbox::Outbox};
use crate::{Codec, Event, ExitStatus, OutputStream, ProtocolError, StreamSet};

/// What the end of standard input becomes towards a daemon.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
// Exhaustive: these are the answers that a daemon gives to a half-closed connection.
pub enum InputEnd {
    /// The writing side is shut down, and the process reads the end of its input: exec without a
    /// TTY, and attach to a container with `StdinOnce`. Output goes on.
    Shutdown,
    /// The terminal's own end of input, `^D`. With a TTY the daemon answers a shutdown by ending
    /// the output too, and the rest of it would be lost (`T5`).
    EndOfTransmission,
    /// Nothing: a container without `StdinOnce` keeps its input open for the next client, and the
    /// daemon answers a shutdown by ending the output (moby #38457).
    Hold,
}

/// The client's end of attach or exec: towards a daemon.
///
/// The end of the connection gives [`Event::Close`], and the exit code is asked for beside the
/// stream (`GET /exec/{id}/json`). Only when the daemon itself gave up there is an
/// [`Event::Exit`] with its text. A resize is a request beside the stream too
/// ([`hijack::resize_query`](super::hijack::resize_query)).
///
/// # Half-close
///
/// [`Codec::is_finished`] becomes true with [`Event::HalfClose`] under [`InputEnd::Shutdown`]:
/// when what [`Codec::poll_transmit`] gave is written, the writing side must be shut down, and
/// reading must go on to the end of the connection.
///
/// # Example
///
/// ```
/// use std::time::Instant;
/// use bytes::{Bytes, BytesMut};
/// use dockin_stream::{Codec, Event, StreamSet, docker::{Client, InputEnd, Shape}};
///
/// let streams = StreamSet { stdin: true, stdout: true, stderr: true, tty: false };
/// let mut client = Client::new(Shape::Multiplexed, streams, InputEnd::Shutdown);
/// client.send(Event::Stdin(Bytes::from_static(b"ls\n")));
/// client.send(Event::HalfClose);
/// assert_eq!(client.poll_transmit().as_deref(), Some(&b"ls\n"[..]));
/// assert!(client.is_finished());
///
/// let mut input = BytesMut::from(&b"\x01\0\0\0\0\0\0\x02a\n"[..]);
/// client.handle_input(Instant::now(), &mut input)?;
/// assert_eq!(client.poll_event(), Some(Event::Stdout(Bytes::from_static(b"a\n"))));
/// # Ok::<(), dockin_stream::ProtocolError>(())
/// ```
pub struct Client {
    frames: Demultiplexer,
    streams: StreamSet,
    end: InputEnd,
    events: VecDeque<Event>,
    output: Outbox,
    /// Whether the last byte ended a line, where one `^D` is enough.
    at_line_start: bool,
    stdin_ended: bool,
    /// The writing side is to be shut down.
    finished: bool,
    close_told: bool,
}

impl Client {
    /// A session right behind the head of the answer. Output that `streams` does not have is
    /// dropped. [`hijack::Answer`](super::hijack::Answer) knows the shape.
    #[must_use]
    pub fn new(shape: Shape, streams: StreamSet, end: InputEnd) -> Self {
        Self {
            frames: Demultiplexer::new(shape),
            streams,
            end,
            events: VecDeque::new(),
            output: Outbox::default(),
            at_line_start: true,
            stdin_ended: !streams.stdin,
            finished: false,
            close_told: false,
        }
    }

    fn end_input(&mut self) {
        match self.end {
            InputEnd::Shutdown => self.finished = true,
            InputEnd::EndOfTransmission => {
                // Behind an unfinished line the first one only hands the line over.
                let keys: &[u8] = if self.at_line_start {
                    b"\x04"
                } else {
                    b"\x04\x04"
                };
                self.output.push_copy(keys);
            }
            InputEnd::Hold => {}
        }
        self.stdin_ended = true;
    }

    fn tell_close(&mut self) {
        if !self.close_told {
            self.close_told = true;
            self.events.push_back(Event::Close);
        }
    }
}

impl Codec for Client {
    fn handle_input(&mut self, _now: Instant, input: &mut BytesMut) -> Result<(), ProtocolError> {
        while let Some(item) = self.frames.decode(input)? {
            match item {
                Item::Output(stream, bytes) => {
                    let wanted = match stream {
                        OutputStream::Stdout => self.streams.stdout,
                        OutputStream::Stderr => self.streams.stderr,
                    };
                    if wanted {
                        self.events.push_back(stream.event(bytes));
                    }
                }
                Item::SystemError(text) => {
                    self.events
                        .push_back(Event::Exit(ExitStatus::internal_error(text)));
                    self.tell_close();
                }
            }
        }
        Ok(())
    }

    fn handle_eof(&mut self, _now: Instant) -> Result<(), ProtocolError> {
        self.tell_close();
        if self.frames.may_end() {
            Ok(())
        } else {
            Err(ProtocolError::Truncated)
        }
    }

    fn handle_timeout(&mut self, _now: Instant) -> Result<(), ProtocolError> {
        Ok(())
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn send(&mut self, event: Event) {
        match event {
            Event::Stdin(bytes) if !self.stdin_ended && !self.finished => {
                if let Some(last) = bytes.last() {
                    self.at_line_start = matches!(last, b'\n' | b'\r');
                }
                self.output.push(bytes);
            }
            Event::HalfClose if !self.stdin_ended && !self.finished => self.end_input(),
            Event::Close => self.finished = true,
            Event::Stdin(_)
            | Event::HalfClose
            | Event::Resize(_)
            | Event::Stdout(_)
            | Event::Stderr(_)
            | Event::Exit(_) => {}
        }
    }

    /// Nothing: the protocol has no ping. Use the keepalive of TCP, 30 s as Docker's own client.
    fn send_keepalive(&mut self) {}

    fn poll_transmit(&mut self) -> Option<Bytes> {
        self.output.pop()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn is_finished(&self) -> bool {
        self.finished
    }
}

impl fmt::Debug for Client {
    // Events hold what somebody types or sees: they are not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("frames", &self.frames)
            .field("streams", &self.streams)
            .field("end", &self.end)
            .field("stdin_ended", &self.stdin_ended)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "time has to start somewhere")]
mod tests {
    use std::time::Instant;

    use bytes::{Bytes, BytesMut};

    use super::{Client, InputEnd};
    use crate::{Codec, Event, ProtocolError, StreamSet, docker::Shape};

    const STREAMS: StreamSet = StreamSet {
        stdin: true,
        stdout: true,
        stderr: false,
        tty: false,
    };

    fn sent(client: &mut Client) -> Vec<u8> {
        std::iter::from_fn(|| client.poll_transmit())
            .flatten()
            .collect()
    }

    #[test]
    fn the_end_of_input_is_what_the_daemon_can_bear() {
        for (end, typed, wire, finished) in [
            (InputEnd::Shutdown, &b"ab"[..], &b"ab"[..], true),
            (InputEnd::Hold, b"ab", b"ab", false),
            (InputEnd::EndOfTransmission, b"ab", b"ab\x04\x04", false),
            (InputEnd::EndOfTransmission, b"ab\n", b"ab\n\x04", false),
            (InputEnd::EndOfTransmission, b"", b"\x04", false),
        ] {
            let mut client = Client::new(Shape::Raw, STREAMS, end);
            client.send(Event::Stdin(Bytes::from_static(typed)));
            client.send(Event::HalfClose);
            client.send(Event::HalfClose);
            client.send(Event::Stdin(Bytes::from_static(b"late")));
            assert_eq!(sent(&mut client), wire, "{end:?}");
            assert_eq!(client.is_finished(), finished, "{end:?}");
        }
    }

    #[test]
    fn output_goes_on_after_the_end_of_input() {
        let now = Instant::now();
        let mut client = Client::new(Shape::Multiplexed, STREAMS, InputEnd::Shutdown);
        client.send(Event::HalfClose);
        let mut input = BytesMut::from(&b"\x02\0\0\0\0\0\0\x01e\x01\0\0\0\0\0\0\x01o"[..]);
        assert_eq!(client.handle_input(now, &mut input), Ok(()));
        assert_eq!(client.handle_eof(now), Ok(()));
        assert_eq!(client.handle_eof(now), Ok(()));
        let events: Vec<Event> = std::iter::from_fn(|| client.poll_event()).collect();
        assert_eq!(
            events,
            [Event::Stdout(Bytes::from_static(b"o")), Event::Close]
        );
    }

    #[test]
    fn a_cut_frame_is_an_error_after_what_came_of_it() {
        let now = Instant::now();
        let mut client = Client::new(Shape::Multiplexed, STREAMS, InputEnd::Hold);
        let mut input = BytesMut::from(&b"\x01\0\0\0\0\0\0\x05o1"[..]);
        assert_eq!(client.handle_input(now, &mut input), Ok(()));
        assert_eq!(client.handle_eof(now), Err(ProtocolError::Truncated));
        assert_eq!(
            client.poll_event(),
            Some(Event::Stdout(Bytes::from_static(b"o1")))
        );
    }
}
