use std::{collections::VecDeque, time::Instant};

use bytes::{Bytes, BytesMut};
use dockin_stream::{Codec, Event, limits};

use crate::{
    link::{Arrived, Link, Side, Written},
    protocol::BoxCodec,
    random::Random,
};

/// One end of a connection: a codec and its socket, moved as the adapters of the crate move
/// them.
pub(crate) struct Station {
    codec: BoxCodec,
    link: usize,
    side: Side,
    input: BytesMut,
    /// What was read and not taken: nothing more is read before it is.
    event: Option<Event>,
    output: VecDeque<Bytes>,
    queued: usize,
    pub(crate) reading: Reading,
    writable: bool,
    pub(crate) paused: bool,
    /// Speaks before its streams are accepted.
    pub(crate) eager: bool,
    ending: Ending,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reading {
    Open,
    Ended,
    Failed,
}

/// How far the end of the connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    No,
    /// Writing what is queued.
    Draining,
    /// Our side is shut down; input is thrown away until this time.
    Lingering(Instant),
    Closed,
}

/// Bytes queued for the peer above which nothing more is said: small, so that it matters.
const HIGH_WATER: usize = 2 * 1024;

impl Station {
    pub(crate) fn new(codec: BoxCodec, link: usize, side: Side) -> Self {
        Self {
            codec,
            link,
            side,
            input: BytesMut::new(),
            event: None,
            output: VecDeque::new(),
            queued: 0,
            reading: Reading::Open,
            writable: true,
            paused: false,
            eager: false,
            ending: Ending::No,
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.queued < HIGH_WATER && self.is_ready()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.eager || self.codec.is_ready()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.codec.is_finished()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.ending == Ending::Closed
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.event.take().or_else(|| self.codec.poll_event())
    }

    pub(crate) fn send(&mut self, event: Event) {
        if self.ending == Ending::No {
            self.codec.send(event);
            self.collect();
        }
    }

    pub(crate) fn send_keepalive(&mut self) {
        self.codec.send_keepalive();
    }

    /// Says goodbye so that nothing is lost: drains, shuts down, lingers, closes.
    /// Whether that is something new.
    pub(crate) fn finish(&mut self) -> bool {
        let new = self.ending == Ending::No;
        if new {
            self.ending = Ending::Draining;
        }
        new
    }

    /// Whether everything for the peer is written.
    pub(crate) fn is_drained(&self) -> bool {
        self.output.is_empty()
    }

    /// Ends our direction behind what is written.
    pub(crate) fn shutdown(&mut self, now: Instant, links: &mut [Link]) {
        links[self.link].shutdown(self.side, now);
        self.writable = false;
    }

    /// Closes the socket as it is.
    pub(crate) fn close(&mut self, now: Instant, links: &mut [Link]) {
        links[self.link].close(self.side, now);
        self.ending = Ending::Closed;
        self.reading = Reading::Ended;
    }

    pub(crate) fn abort(&mut self, now: Instant, links: &mut [Link]) {
        links[self.link].abort(self.side, now);
        self.ending = Ending::Closed;
        self.reading = Reading::Ended;
    }

    /// Moves bytes; whether anything happened.
    pub(crate) fn advance(
        &mut self,
        now: Instant,
        links: &mut [Link],
        random: &mut Random,
    ) -> bool {
        let mut moved = false;
        if self.ending == Ending::No
            && self.reading == Reading::Open
            && self.codec.poll_timeout().is_some_and(|at| at <= now)
        {
            moved = true;
            if self.codec.handle_timeout(now).is_err() {
                self.reading = Reading::Failed;
            }
        }
        if self.event.is_none() {
            self.event = self.codec.poll_event();
        }
        let listens = self.event.is_none() && !self.paused;
        if self.ending == Ending::No && self.reading == Reading::Open && listens {
            moved |= self.read(now, links, random);
        }
        moved | self.write(now, links) | self.end(now, links)
    }

    /// The next time at which something is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.ending {
            Ending::No => self
                .codec
                .poll_timeout()
                .filter(|_| self.reading == Reading::Open),
            Ending::Lingering(until) => Some(until),
            Ending::Draining | Ending::Closed => None,
        }
    }

    fn read(&mut self, now: Instant, links: &mut [Link], random: &mut Random) -> bool {
        let max = random.pick(&[60, 4096, limits::READ_BUFFER]);
        let result = match links[self.link].read(self.side, now, max) {
            Arrived::Nothing(_) => return false,
            Arrived::Bytes(bytes) => {
                self.input.extend_from_slice(&bytes);
                let result = self.codec.handle_input(now, &mut self.input);
                // What no codec takes is part of a header or of a control frame.
                assert!(
                    result.is_err() || self.input.len() <= limits::MAX_SPDY_CONTROL + 8,
                    "{} bytes left",
                    self.input.len()
                );
                result
            }
            Arrived::End => {
                self.reading = Reading::Ended;
                self.codec.handle_eof(now)
            }
            Arrived::Reset => {
                self.reading = Reading::Failed;
                Ok(())
            }
        };
        if result.is_err() {
            self.reading = Reading::Failed;
        }
        true
    }

    fn collect(&mut self) {
        while let Some(bytes) = self.codec.poll_transmit() {
            assert!(!bytes.is_empty(), "an empty write");
            self.queued += bytes.len();
            self.output.push_back(bytes);
        }
    }

    fn write(&mut self, now: Instant, links: &mut [Link]) -> bool {
        self.collect();
        let mut moved = false;
        while self.writable
            && let Some(bytes) = self.output.front_mut()
        {
            match links[self.link].write(self.side, now, bytes) {
                Written::Full => return moved,
                Written::Broken => {
                    self.writable = false;
                }
                Written::Bytes(count) => {
                    self.queued -= count;
                    let _written = bytes.split_to(count);
                    if bytes.is_empty() {
                        self.output.pop_front();
                    }
                }
            }
            moved = true;
        }
        if !self.writable {
            self.output.clear();
            self.queued = 0;
        }
        moved
    }

    fn end(&mut self, now: Instant, links: &mut [Link]) -> bool {
        match self.ending {
            Ending::No | Ending::Closed => false,
            Ending::Draining if self.output.is_empty() => {
                self.shutdown(now, links);
                self.ending = Ending::Lingering(now + limits::LINGER);
                true
            }
            // A peer that does not read until it has written everything is not left waiting.
            Ending::Draining => matches!(
                links[self.link].read(self.side, now, limits::READ_BUFFER),
                Arrived::Bytes(_)
            ),
            Ending::Lingering(until) => {
                let over = match links[self.link].read(self.side, now, limits::READ_BUFFER) {
                    Arrived::Bytes(_) => return true,
                    Arrived::End | Arrived::Reset => true,
                    Arrived::Nothing(_) => now >= until,
                };
                if over {
                    self.close(now, links);
                }
                over
            }
        }
    }
}
