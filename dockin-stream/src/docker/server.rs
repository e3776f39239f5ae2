use std::{collections::VecDeque, fmt, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{Lane, Shape, outbox::Outbox};
use crate::{
    Codec, Event, ExitStatus, OutputStream, ProtocolError, StreamSet,
    limits::{MAX_DOCKER_ERROR, MAX_DOCKER_FRAME},
};

/// The daemon's end of attach or exec: towards `docker` and its like.
///
/// The end of the client's bytes is [`Event::HalfClose`], for a client that only closes its
/// writing side still reads: whether it went away shows when writing fails. There is no exit code
/// on the wire: it is asked for beside the stream. A failure becomes a frame of the daemon's own,
/// with a TTY a line of output, so that it is not taken for a quiet success.
pub struct Server {
    shape: Shape,
    streams: StreamSet,
    events: VecDeque<Event>,
    output: Outbox,
    stdin_ended: bool,
    eof: bool,
    finished: bool,
    close_told: bool,
}

impl Server {
    /// A session right behind the head of the answer. `streams` are those of the request; standard
    /// error is dropped when there is a TTY.
    #[must_use]
    pub fn new(streams: StreamSet) -> Self {
        let streams = streams.normalized();
        Self {
            shape: Shape::with_tty(streams.tty),
            streams,
            events: VecDeque::new(),
            output: Outbox::default(),
            stdin_ended: !streams.stdin,
            eof: false,
            finished: false,
            close_told: false,
        }
    }

    fn write(&mut self, stream: OutputStream, mut bytes: Bytes) {
        if self.shape == Shape::Raw {
            self.output.push(bytes);
            return;
        }
        while !bytes.is_empty() {
            let part = bytes.split_to(bytes.len().min(MAX_DOCKER_FRAME));
            self.write_frame(Lane::Output(stream), part);
        }
    }

    /// `payload` is at most [`MAX_DOCKER_FRAME`] bytes.
    fn write_frame(&mut self, lane: Lane, payload: Bytes) {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.output.push_copy(&lane.header(length));
        self.output.push(payload);
    }

    fn fail(&mut self, message: &str) {
        match self.shape {
            Shape::Raw => {
                self.output.push_copy(message.as_bytes());
                self.output.push_copy(b"\r\n");
            }
            Shape::Multiplexed => {
                let text = message.as_bytes();
                let text = text.get(..MAX_DOCKER_ERROR).unwrap_or(text);
                self.write_frame(Lane::SystemError, Bytes::copy_from_slice(text));
            }
        }
    }

    /// Our goodbye: nothing of the client matters any more.
    fn finish(&mut self) {
        self.finished = true;
        self.stdin_ended = true;
        if self.eof {
            self.tell_close();
        }
    }

    fn tell_close(&mut self) {
        if !self.close_told {
            self.close_told = true;
            self.events.push_back(Event::Close);
        }
    }
}

impl Codec for Server {
    fn handle_input(&mut self, _now: Instant, input: &mut BytesMut) -> Result<(), ProtocolError> {
        if self.stdin_ended {
            input.clear();
        } else if !input.is_empty() {
            self.events.push_back(Event::Stdin(input.split().freeze()));
        }
        Ok(())
    }

    fn handle_eof(&mut self, _now: Instant) -> Result<(), ProtocolError> {
        self.eof = true;
        if self.finished {
            self.tell_close();
        } else if !self.stdin_ended {
            self.stdin_ended = true;
            self.events.push_back(Event::HalfClose);
        }
        Ok(())
    }

    fn handle_timeout(&mut self, _now: Instant) -> Result<(), ProtocolError> {
        Ok(())
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn send(&mut self, event: Event) {
        if self.finished {
            return;
        }
        match event {
            Event::Stdout(bytes) if self.streams.stdout => self.write(OutputStream::Stdout, bytes),
            Event::Stderr(bytes) if self.streams.stderr => self.write(OutputStream::Stderr, bytes),
            Event::Exit(status) => {
                if let ExitStatus::Failed(failure) = &status {
                    self.fail(&failure.message);
                }
                self.finish();
            }
            Event::Close => {
                self.fail("the session was closed before its end");
                self.finish();
            }
            Event::Stdout(_)
            | Event::Stderr(_)
            | Event::Stdin(_)
            | Event::HalfClose
            | Event::Resize(_) => {}
        }
    }

    /// Nothing: the protocol has no ping.
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

    fn outlives_eof(&self) -> bool {
        !self.close_told
    }
}

impl fmt::Debug for Server {
    // Events hold what somebody types: they are not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("shape", &self.shape)
            .field("streams", &self.streams)
            .field("stdin_ended", &self.stdin_ended)
            .field("eof", &self.eof)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "time has to start somewhere")]
mod tests {
    use std::time::Instant;

    use bytes::{Bytes, BytesMut};

    use super::Server;
    use crate::{Codec, Event, ExitStatus, StreamSet};

    fn server(tty: bool) -> Server {
        Server::new(StreamSet {
            stdin: true,
            stdout: true,
            stderr: true,
            tty,
        })
    }

    fn sent(server: &mut Server) -> Vec<u8> {
        std::iter::from_fn(|| server.poll_transmit())
            .flatten()
            .collect()
    }

    #[test]
    fn the_end_of_the_clients_bytes_ends_its_input_alone() {
        let now = Instant::now();
        let mut server = server(false);
        let mut input = BytesMut::from(&b"typed"[..]);
        assert_eq!(server.handle_input(now, &mut input), Ok(()));
        assert_eq!(server.handle_eof(now), Ok(()));
        server.send(Event::Stdout(Bytes::from_static(b"late")));
        server.send(Event::Exit(ExitStatus::Exited(0)));
        server.send(Event::Stdout(Bytes::from_static(b"too late")));
        let events: Vec<Event> = std::iter::from_fn(|| server.poll_event()).collect();
        assert_eq!(
            events,
            [
                Event::Stdin(Bytes::from_static(b"typed")),
                Event::HalfClose,
                Event::Close
            ]
        );
        assert_eq!(sent(&mut server), b"\x01\0\0\0\0\0\0\x04late");
        assert!(server.is_finished());
    }

    #[test]
    fn a_failure_is_never_silent() {
        for (event, text) in [
            (
                Event::Exit(ExitStatus::internal_error("no such program")),
                &b"no such program"[..],
            ),
            (Event::Close, b"the session was closed before its end"),
        ] {
            let mut frames = server(false);
            frames.send(event.clone());
            let wire = sent(&mut frames);
            assert_eq!((wire.first(), wire.get(8..)), (Some(&3), Some(text)));
            let mut terminal = server(true);
            terminal.send(event);
            assert_eq!(sent(&mut terminal), [text, b"\r\n"].concat());
        }
    }
}
