use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant},
};

use dockin_stream::{Event, Gate, OpenGate, Outcome, Output, Relay, StreamSet};

use crate::{
    link::{Link, Side, Weather},
    player::{Act, HangUp, Heard, Next, Player},
    protocol::{BoxCodec, Protocol},
    random::Random,
    station::{Reading, Station},
};

/// Runs `scenario` once for each seed. A failure says with which.
pub(crate) fn for_seeds(count: u64, mut scenario: impl FnMut(&mut Random)) {
    for seed in 0..count {
        let mut random = Random::new(seed);
        let run = AssertUnwindSafe(|| scenario(&mut random));
        if let Err(panic) = catch_unwind(run) {
            eprintln!("the scenario failed with seed {seed}");
            resume_unwind(panic);
        }
    }
}

/// When every simulation begins. Time is what is added to it.
#[allow(clippy::disallowed_methods, reason = "time has to start somewhere")]
pub(crate) fn beginning() -> Instant {
    static BEGINNING: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *BEGINNING.get_or_init(Instant::now)
}

/// A session as it is asked for: who speaks what to whom, and what they do.
pub(crate) struct Session {
    pub(crate) client: Protocol,
    /// What the relay speaks to the container; without it there is no relay.
    pub(crate) container: Option<Protocol>,
    pub(crate) streams: StreamSet,
    /// What the client opens when that is not what it asked for.
    pub(crate) opened: Option<StreamSet>,
    /// Both ends speak before their streams are accepted.
    pub(crate) eager: bool,
    pub(crate) client_acts: Vec<Act>,
    pub(crate) container_acts: Vec<Act>,
    pub(crate) weather: [Weather; 2],
    /// The client closes its socket at once when it has its status, as kubectl does.
    pub(crate) client_is_hasty: bool,
    /// The server closes its socket behind the last write, without lingering.
    pub(crate) server_is_hasty: bool,
    /// What goes over the client's connection is kept, to look at its frames.
    pub(crate) listen_in: bool,
}

pub(crate) const PIPES: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};
pub(crate) const TERMINAL: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: false,
    tty: true,
};

impl Session {
    /// With bad weather on both connections and a relay every other time.
    pub(crate) fn random(random: &mut Random, client: Protocol) -> Self {
        Self {
            client,
            container: random.once_in(2).then(|| random.pick(&Protocol::BOTH)),
            streams: PIPES,
            opened: None,
            eager: false,
            client_acts: Vec::new(),
            container_acts: Vec::new(),
            weather: [Weather::random(random), Weather::random(random)],
            client_is_hasty: random.once_in(2),
            server_is_hasty: false,
            listen_in: false,
        }
    }

    /// Through a relay.
    pub(crate) fn relayed(random: &mut Random, client: Protocol, container: Protocol) -> Self {
        Self {
            container: Some(container),
            ..Self::random(random, client)
        }
    }

    pub(crate) fn client_does(mut self, acts: impl IntoIterator<Item = Act>) -> Self {
        self.client_acts.extend(acts);
        self
    }

    pub(crate) fn container_does(mut self, acts: impl IntoIterator<Item = Act>) -> Self {
        self.container_acts.extend(acts);
        self
    }

    pub(crate) fn run(self, random: &mut Random) -> Ended {
        self.run_with(random, OpenGate::default())
    }

    /// Runs the session until nothing can happen any more.
    pub(crate) fn run_with<G: Gate>(self, random: &mut Random, gate: G) -> Ended {
        let start = beginning();
        let [first, second] = self.weather;
        let mut links = vec![Link::new(first, random)];
        if self.listen_in {
            links[0].listen_in(Side::Near);
            links[0].listen_in(Side::Far);
        }
        let opened = self.opened.unwrap_or(self.streams);
        let client = self.client.client(opened, random.next());
        let client = Station::new(client, 0, Side::Near);
        let front = self.client.server(self.streams, start);
        let (container, relay) = match self.container {
            None => (Station::new(front, 0, Side::Far), None),
            Some(protocol) => {
                links.push(Link::new(second, random));
                let back = protocol.client(self.streams, random.next());
                let container = protocol.server(self.streams, start);
                let relay = RelayActor::new(front, back, gate);
                (Station::new(container, 1, Side::Far), Some(relay))
            }
        };
        let mut world = World {
            now: start,
            links,
            client: Actor::new(client, self.client_acts, self.client_is_hasty),
            container: Actor::new(container, self.container_acts, self.server_is_hasty),
            relay,
        };
        world.client.station.eager = self.eager;
        world.container.station.eager = self.eager;
        world.run(random);
        world.assert_left_nothing();
        Ended {
            client: world.client.player.heard,
            container: world.container.player.heard,
            outcome: world.relay.and_then(|relay| relay.outcome),
            link: world.links.swap_remove(0),
            lasted: world.now - start,
        }
    }
}

/// What a session left behind.
pub(crate) struct Ended {
    pub(crate) client: Heard,
    pub(crate) container: Heard,
    pub(crate) outcome: Option<Outcome>,
    /// The client's connection, with all that was sent on it.
    pub(crate) link: Link,
    pub(crate) lasted: Duration,
}

struct World<G: Gate> {
    now: Instant,
    links: Vec<Link>,
    client: Actor,
    container: Actor,
    relay: Option<RelayActor<G>>,
}

impl<G: Gate> World<G> {
    fn run(&mut self, random: &mut Random) {
        for _ in 0..MAX_TURNS {
            if self.turn(random) {
                continue;
            }
            match self.next_event() {
                Some(next) => self.now = next,
                None => return,
            }
        }
        panic!("the session does not come to rest");
    }

    /// Who is first changes from turn to turn, and sometimes one has no turn.
    fn turn(&mut self, random: &mut Random) -> bool {
        let mut moved = false;
        let first = random.below(3);
        for offset in 0..3 {
            if random.once_in(8) {
                moved = true;
                continue;
            }
            let links = &mut self.links;
            moved |= match (first + offset) % 3 {
                0 => self.client.turn(self.now, links, random),
                1 => self.container.turn(self.now, links, random),
                _ => self
                    .relay
                    .as_mut()
                    .is_some_and(|relay| relay.turn(self.now, links, random)),
            };
        }
        moved
    }

    fn next_event(&self) -> Option<Instant> {
        let relay = self.relay.as_ref().and_then(RelayActor::deadline);
        self.links
            .iter()
            .map(|link| link.next_arrival(self.now))
            .chain([self.client.deadline(), self.container.deadline(), relay])
            .flatten()
            .filter(|at| *at > self.now)
            .min()
    }

    /// Whatever happened: the vocabulary's laws hold, and when nothing moves any more every
    /// socket was given back.
    fn assert_left_nothing(&self) {
        self.client.player.heard.assert_lawful();
        self.container.player.heard.assert_lawful();
        assert!(self.client.station.is_closed(), "the client hangs");
        assert!(self.container.station.is_closed(), "the container hangs");
        if let Some(relay) = &self.relay {
            assert!(relay.client.is_closed(), "the relay keeps its client");
            assert!(relay.container.is_closed(), "the relay keeps its container");
        }
    }
}

/// Turns of a simulation, above which it goes round in circles.
const MAX_TURNS: usize = 3_000_000;

/// Somebody at the end of a session, with his connection.
struct Actor {
    station: Station,
    player: Player,
    hasty: bool,
}

impl Actor {
    fn new(station: Station, acts: Vec<Act>, hasty: bool) -> Self {
        Self {
            station,
            player: Player::new(acts),
            hasty,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        [self.station.deadline(), self.player.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    fn turn(&mut self, now: Instant, links: &mut [Link], random: &mut Random) -> bool {
        if self.station.is_closed() {
            return false;
        }
        let mut moved = self.station.advance(now, links, random);
        while let Some(event) = self.station.poll_event() {
            self.player.hear(now, event);
            moved = true;
        }
        if self.station.reading != Reading::Open {
            self.player.lose();
        }
        moved | self.act(now, links) | self.leave(now, links)
    }

    fn act(&mut self, now: Instant, links: &mut [Link]) -> bool {
        let mut moved = false;
        // One that cannot speak can still hang up, so he is asked when there is room alone.
        while self.station.has_room() || self.player.heard.over {
            match self.player.next(now) {
                Next::Say(event) => self.station.send(event),
                Next::Keepalive => self.station.send_keepalive(),
                Next::Reading(reading) => self.station.paused = !reading,
                Next::HangUp(HangUp::Fin) => self.station.shutdown(now, links),
                Next::HangUp(HangUp::Close) => self.station.close(now, links),
                Next::HangUp(HangUp::Reset) => self.station.abort(now, links),
                Next::Wait | Next::Done => return moved,
            }
            moved = true;
        }
        moved
    }

    /// Everything is said and heard: the socket is given back.
    fn leave(&mut self, now: Instant, links: &mut [Link]) -> bool {
        if !self.player.heard.over && !self.station.is_finished() {
            return false;
        }
        if self.hasty && (self.player.heard.over || self.station.is_drained()) {
            self.station.close(now, links);
            return true;
        }
        if !self.station.is_finished() {
            self.station.send(Event::Close);
        }
        self.station.finish()
    }
}

/// The relay with a connection on each side, moved as `io::run_relay` moves it.
struct RelayActor<G: Gate> {
    client: Station,
    container: Station,
    relay: Relay<G>,
    to_client: Vec<Event>,
    to_container: Vec<Event>,
    deadline: Option<Instant>,
    outcome: Option<Outcome>,
}

impl<G: Gate> RelayActor<G> {
    fn new(front: BoxCodec, back: BoxCodec, gate: G) -> Self {
        Self {
            client: Station::new(front, 0, Side::Far),
            container: Station::new(back, 1, Side::Near),
            relay: Relay::new(gate),
            to_client: Vec::new(),
            to_container: Vec::new(),
            deadline: None,
            outcome: None,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        [
            self.client.deadline(),
            self.container.deadline(),
            self.deadline,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn turn(&mut self, now: Instant, links: &mut [Link], random: &mut Random) -> bool {
        let mut moved = self.client.advance(now, links, random);
        moved |= self.container.advance(now, links, random);
        if self.outcome.is_none() && self.deadline.is_some_and(|at| at <= now) {
            self.relay.handle_timeout(now);
            moved = true;
        }
        moved |= self.pull(now);
        self.take_outputs();
        moved | self.push()
    }

    /// A side is heard when what it said before has gone on.
    fn pull(&mut self, now: Instant) -> bool {
        let mut moved = false;
        // A session begins when its client has made its streams, or failed to.
        let begun = self.client.is_ready() || self.client.reading != Reading::Open;
        if self.outcome.is_some() || !begun {
            return false;
        }
        if self.to_container.is_empty() && self.container.is_ready() {
            if let Some(event) = self.client.poll_event() {
                self.relay.handle_client(now, event);
                moved = true;
            } else if self.client.reading != Reading::Open {
                self.to_client.clear();
                self.relay.handle_client_lost();
                moved = true;
            }
        }
        if self.to_client.is_empty() {
            if let Some(event) = self.container.poll_event() {
                self.relay.handle_container(now, event);
                moved = true;
            } else if self.container.reading != Reading::Open {
                self.relay.handle_container_lost();
                moved = true;
            }
        }
        moved
    }

    fn take_outputs(&mut self) {
        while self.outcome.is_none() {
            match self.relay.poll_output() {
                Output::ToClient(event) => self.to_client.push(event),
                Output::ToContainer(event) => self.to_container.push(event),
                Output::Note(_) => {}
                Output::Closed(outcome) => self.outcome = Some(outcome),
                Output::Wait(deadline) => {
                    self.deadline = deadline;
                    return;
                }
                other => panic!(
                    "the relay wants something new: {}",
                    std::any::type_name_of_val(&other)
                ),
            }
        }
    }

    fn push(&mut self) -> bool {
        let mut moved = false;
        while self.client.has_room() && !self.to_client.is_empty() {
            self.client.send(self.to_client.remove(0));
            moved = true;
        }
        while self.container.has_room() && !self.to_container.is_empty() {
            self.container.send(self.to_container.remove(0));
            moved = true;
        }
        if self.outcome.is_some() && self.to_client.is_empty() {
            moved |= self.client.finish() | self.container.finish();
        }
        moved
    }
}
