use std::{
    collections::VecDeque,
    task::Waker,
    time::{Duration, Instant},
};

use crate::random::Random;

/// How a connection behaves.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// Time on the way, at least.
    pub(crate) latency: Duration,
    /// And this much more at most.
    pub(crate) jitter: Duration,
    /// Bytes that arrive together, at most: writes are cut anywhere.
    pub(crate) piece: usize,
    /// Bytes that fit between a writer and its reader, each way.
    pub(crate) buffer: usize,
    /// One piece in this many is late by up to [`STALL`].
    pub(crate) stall_once_in: usize,
    /// What arrived and was not read outlives a reset, as it does in Linux.
    pub(crate) unread_outlives_reset: bool,
    /// A box on the way forgets the connection when it was silent for this long.
    pub(crate) idle_limit: Option<Duration>,
}

/// The longest that one piece is held up.
const STALL: Duration = Duration::from_secs(2);

impl Weather {
    /// Nothing is late and nothing is cut.
    pub(crate) const CALM: Self = Self {
        latency: Duration::from_micros(100),
        jitter: Duration::ZERO,
        piece: usize::MAX,
        buffer: 1024 * 1024,
        stall_once_in: usize::MAX,
        unread_outlives_reset: true,
        idle_limit: None,
    };

    pub(crate) fn random(random: &mut Random) -> Self {
        let buffer = random.pick(&[300, 1500, 4096, 12_000]);
        Self {
            latency: random.up_to(Duration::from_millis(80)),
            jitter: random.up_to(Duration::from_millis(40)),
            // Some twenty pieces fill a buffer, so that runs stay short.
            piece: random.pick(&[7, 100, 1500, 9000, 70_000]).max(buffer / 8),
            buffer,
            stall_once_in: random.pick(&[20, 200, usize::MAX]),
            unread_outlives_reset: random.once_in(2),
            idle_limit: None,
        }
    }
}

/// Which end of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    /// The one that opened it.
    Near,
    Far,
}

impl Side {
    const fn index(self) -> usize {
        match self {
            Self::Near => 0,
            Self::Far => 1,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }
}

/// What came of a write.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Written {
    Bytes(usize),
    Full,
    Broken,
}

/// What came of a read.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Arrived {
    Bytes(Vec<u8>),
    End,
    Reset,
    /// Nothing before this time, or before the peer does something.
    Nothing(Option<Instant>),
}

/// One TCP connection with the rules of the kernel that matter here: bounded buffers, half-close,
/// and the reset that a close with unread input sends, which throws away what is on its way to
/// the peer.
#[derive(Debug)]
pub(crate) struct Link {
    weather: Weather,
    random: Random,
    ends: [End; 2],
    last_use: Option<Instant>,
    wakers: Vec<Waker>,
}

/// One side of a connection, and what is on its way to it.
#[derive(Debug, Default)]
struct End {
    flight: VecDeque<Piece>,
    in_flight: usize,
    last_arrival: Option<Instant>,
    /// No more comes behind the flight.
    ended: bool,
    reset: bool,
    closed: bool,
    /// What was sent to this side and when, when somebody listens in.
    tap: Option<Vec<(Instant, Vec<u8>)>>,
}

#[derive(Debug)]
struct Piece {
    at: Instant,
    bytes: Vec<u8>,
    taken: usize,
    end: bool,
}

impl Link {
    pub(crate) fn new(weather: Weather, random: &mut Random) -> Self {
        Self {
            weather,
            random: Random::new(random.next()),
            ends: [End::default(), End::default()],
            last_use: None,
            wakers: Vec::new(),
        }
    }

    /// From now on what is sent to `side` is written down.
    pub(crate) fn listen_in(&mut self, side: Side) {
        self.ends[side.index()].tap = Some(Vec::new());
    }

    /// What was sent to `side`, and when it left.
    pub(crate) fn heard_by(&self, side: Side) -> &[(Instant, Vec<u8>)] {
        self.ends[side.index()].tap.as_deref().unwrap_or_default()
    }

    pub(crate) fn write(&mut self, side: Side, now: Instant, bytes: &[u8]) -> Written {
        self.pass_the_idle_box(now);
        let (me, peer) = (side.index(), side.other().index());
        if self.ends[me].reset || self.ends[me].closed || self.ends[peer].ended {
            return Written::Broken;
        }
        if self.ends[peer].closed {
            // It answers with a reset.
            self.reset(side, now);
            return Written::Broken;
        }
        let room = self
            .weather
            .buffer
            .saturating_sub(self.ends[peer].in_flight);
        let accepted = room.min(bytes.len());
        if accepted == 0 {
            return Written::Full;
        }
        self.last_use = Some(now);
        let bytes = &bytes[..accepted];
        if let Some(tap) = &mut self.ends[peer].tap {
            tap.push((now, bytes.to_vec()));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let size = match self.weather.piece {
                usize::MAX => rest.len(),
                piece => self.random.between(1, piece.min(rest.len())),
            };
            let (piece, behind) = rest.split_at(size);
            rest = behind;
            self.launch(peer, now, piece.to_vec(), false);
        }
        self.wake();
        Written::Bytes(accepted)
    }

    /// Ends the direction from `side` behind what was written.
    pub(crate) fn shutdown(&mut self, side: Side, now: Instant) {
        let peer = side.other().index();
        if !self.ends[peer].ended && !self.ends[side.index()].reset {
            self.ends[peer].ended = true;
            self.launch(peer, now, Vec::new(), true);
            self.wake();
        }
    }

    pub(crate) fn read(&mut self, side: Side, now: Instant, max: usize) -> Arrived {
        self.pass_the_idle_box(now);
        let end = &mut self.ends[side.index()];
        let mut bytes = Vec::new();
        while bytes.len() < max
            && let Some(piece) = end.flight.front_mut()
            && piece.at <= now
        {
            if piece.end {
                if bytes.is_empty() {
                    return Arrived::End;
                }
                break;
            }
            let size = (piece.bytes.len() - piece.taken).min(max - bytes.len());
            bytes.extend_from_slice(&piece.bytes[piece.taken..piece.taken + size]);
            piece.taken += size;
            if piece.taken == piece.bytes.len() {
                end.flight.pop_front();
            }
        }
        if !bytes.is_empty() {
            end.in_flight -= bytes.len();
            self.wake();
            return Arrived::Bytes(bytes);
        }
        if end.reset || end.closed {
            return Arrived::Reset;
        }
        Arrived::Nothing(end.flight.front().map(|piece| piece.at))
    }

    /// Gives the socket back. With unread input the peer gets a reset.
    pub(crate) fn close(&mut self, side: Side, now: Instant) {
        let end = &mut self.ends[side.index()];
        if end.closed {
            return;
        }
        end.closed = true;
        if end.in_flight > 0 {
            self.reset(side.other(), now);
        } else {
            self.shutdown(side, now);
        }
        self.wake();
    }

    /// Cuts the connection without a goodbye, as a crash does.
    pub(crate) fn abort(&mut self, side: Side, now: Instant) {
        self.ends[side.index()].closed = true;
        self.reset(side.other(), now);
        self.wake();
    }

    /// When something arrives that has not.
    pub(crate) fn next_arrival(&self, now: Instant) -> Option<Instant> {
        self.ends
            .iter()
            .filter_map(|end| end.flight.front())
            .map(|piece| piece.at)
            .filter(|at| *at > now)
            .min()
    }

    /// Is woken by the next thing that happens.
    #[cfg(feature = "tokio")]
    pub(crate) fn wake_later(&mut self, waker: &Waker) {
        if !self.wakers.iter().any(|known| known.will_wake(waker)) {
            self.wakers.push(waker.clone());
        }
    }

    fn wake(&mut self) {
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }

    fn launch(&mut self, to: usize, now: Instant, bytes: Vec<u8>, is_end: bool) {
        let mut at = now + self.weather.latency + self.random.up_to(self.weather.jitter);
        if self.random.once_in(self.weather.stall_once_in) {
            at += self.random.up_to(STALL);
        }
        let end = &mut self.ends[to];
        let at = end.last_arrival.map_or(at, |last| at.max(last));
        end.last_arrival = Some(at);
        end.in_flight += bytes.len();
        end.flight.push_back(Piece {
            at,
            bytes,
            taken: 0,
            end: is_end,
        });
    }

    /// `side` gets a reset: what had not arrived is gone, and perhaps what was not read, too.
    fn reset(&mut self, side: Side, now: Instant) {
        let keep_arrived = self.weather.unread_outlives_reset;
        let end = &mut self.ends[side.index()];
        end.reset = true;
        end.flight
            .retain(|piece| keep_arrived && !piece.end && piece.at <= now);
        end.in_flight = end
            .flight
            .iter()
            .map(|piece| piece.bytes.len() - piece.taken)
            .sum();
        self.wake();
    }

    fn pass_the_idle_box(&mut self, now: Instant) {
        if let (Some(limit), Some(last)) = (self.weather.idle_limit, self.last_use)
            && now.saturating_duration_since(last) > limit
        {
            for side in [Side::Near, Side::Far] {
                self.reset(side, now);
            }
        }
    }
}
