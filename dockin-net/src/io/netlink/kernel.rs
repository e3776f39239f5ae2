mod act;
mod ask;

use std::{
    collections::BTreeMap,
    fs::File,
    io::ErrorKind,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
};

use nix::{errno::Errno, sys::socket::SockProtocol};

use super::{
    advertise::Advertiser,
    message::Batch,
    route::{self, Change, Pair},
    socket::{Answers, Socket, home, inside, kernel_error},
};
use crate::bridge::{Applied, Detection, KernelError, Link, Place, Step};

/// The namespaces of one call.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    home: Option<File>,
    host: Option<Socket>,
    pod: Option<(File, Socket)>,
    filter: Option<Socket>,
    advertiser: Option<Advertiser>,
    /// IPv6 was off in the container, and this call switched it on.
    ipv6_on: bool,
    /// Links as they were last seen.
    links: BTreeMap<(Place, String), Link>,
    /// The bridge that got a port: its hardware address may be another one than was seen.
    changed: Option<String>,
}

/// Messages of some steps of one place, not sent yet.
#[derive(Debug, Default)]
struct Pending {
    batch: Batch,
    place: Option<Place>,
    steps: Vec<(Step, u32)>,
}

impl Kernel {
    /// Does the path lead to the namespace that this process is in?
    pub(super) fn is_home(&mut self, path: &str) -> bool {
        let ours = self.home().ok().and_then(|home| home.metadata().ok());
        let theirs = std::fs::metadata(path).ok();
        let identity = |it: std::fs::Metadata| (it.dev(), it.ino());
        ours.is_some() && ours.map(identity) == theirs.map(identity)
    }

    /// The way back: finding it takes the kernel longer than going it.
    fn home(&mut self) -> Result<&File, KernelError> {
        if self.home.is_none() {
            self.home = Some(home()?);
        }
        self.home.as_ref().ok_or_else(not_entered)
    }

    /// Does something in the container's namespace.
    fn in_pod<T>(&mut self, act: impl FnOnce() -> T) -> Result<T, KernelError> {
        self.home()?;
        match (&self.pod, &self.home) {
            (Some((pod, _)), Some(home)) => inside(pod, home, act),
            _ => Err(not_entered()),
        }
    }

    pub(super) fn enter(&mut self, netns: &str) -> Result<bool, KernelError> {
        let file = match File::open(netns) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(KernelError::Other(format!("`{netns}`: {error}"))),
        };
        let socket = match Socket::open_in(&file, self.home()?) {
            Ok(socket) => socket,
            // A plain file, such as the place where a namespace was mounted until it was removed.
            Err(KernelError::Other(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        self.pod = Some((file, socket));
        Ok(true)
    }

    pub(super) fn apply(&mut self, steps: &[Step]) -> Applied {
        let mut applied = Applied::default();
        let mut pending = Pending::default();
        for step in steps {
            let placed = pending.place.is_none_or(|place| place == step.place());
            let queued = match placed {
                true => Ok(()),
                false => self.flush(&mut pending, &mut applied),
            };
            let queued = queued.and_then(|()| self.take(step, &mut pending, &mut applied));
            if let Err(failed) = queued {
                applied.failed = Some(*failed);
                return applied;
            }
        }
        if let Err(failed) = self.flush(&mut pending, &mut applied) {
            applied.failed = Some(*failed);
        }
        applied
    }

    /// Appends a step to those that are sent together, or does it at once.
    fn take(
        &mut self,
        step: &Step,
        pending: &mut Pending,
        applied: &mut Applied,
    ) -> Result<(), Box<(Step, KernelError)>> {
        let together = matches!(
            step,
            Step::MakeBridge { .. }
                | Step::RaiseBridge { .. }
                | Step::RemoveLink { .. }
                | Step::SetPort { .. }
                | Step::RaisePod { .. }
                | Step::AddAddress { .. }
                | Step::AddRoute { .. }
                | Step::UpdateNeighbour { .. }
                | Step::Announce { .. }
                | Step::AddBridgeAddress { .. }
                | Step::RemoveBridgeAddress { .. }
                | Step::MakePair { .. }
        );
        // What a port waits for is asked on the way.
        if let Step::AwaitPort { host } = step
            && pending.place == Some(Place::Host)
        {
            self.ask_port(&mut pending.batch, host)
                .map_err(|error| Box::new((step.clone(), error)))?;
        }
        // A number that is not known is asked for, and that needs what is pending to be there.
        let known = step_link(step).is_none_or(|name| {
            let key = (step.place(), name.to_owned());
            self.links.contains_key(&key)
        });
        if !(together && known) {
            self.flush(pending, applied)?;
        }
        let done = match together {
            true => self.queue(step, pending),
            false => self.act(step),
        };
        done.map_err(|error| Box::new((step.clone(), error)))?;
        if !together {
            applied.done.push(step.clone());
        }
        // What follows must not touch a pair of that name which somebody else made.
        if matches!(step, Step::MakePair { .. }) {
            self.flush(pending, applied)?;
        }
        Ok(())
    }

    fn flush(
        &mut self,
        pending: &mut Pending,
        applied: &mut Applied,
    ) -> Result<(), Box<(Step, KernelError)>> {
        let Pending {
            batch,
            place,
            steps,
        } = std::mem::take(pending);
        let (Some(place), Some((first, _))) = (place, steps.first().cloned()) else {
            return Ok(());
        };
        let sent = self
            .socket(place)
            .and_then(|socket| socket.exchange(&batch));
        let answers = sent.map_err(|error| Box::new((first, error)))?;
        self.learn(place, &answers);
        let mut failed = Vec::new();
        for (step, sequence) in steps {
            let error = answers.outcome(sequence).unwrap_or_default();
            if error == 0 || tolerated(&step, error) {
                self.learn_pair(&step);
                applied.done.push(step);
            } else {
                failed.push((step, Errno::from_raw(error)));
            }
        }
        let Some((first, error)) = failed.first() else {
            return Ok(());
        };
        // IPv6 is off in the container. Asking first would take every attachment longer.
        match first {
            Step::AddAddress { name, .. } if *error == Errno::EACCES && !self.ipv6_on => {
                let failing = |error| Box::new((first.clone(), error));
                self.switch_ipv6_on(name).map_err(failing)?;
                for (step, _) in &failed {
                    self.queue(step, pending).map_err(failing)?;
                }
                self.flush(pending, applied)
            }
            _ => Err(Box::new((first.clone(), kernel_error(*error)))),
        }
    }

    /// Remembers the links among answers.
    fn learn(&mut self, place: Place, answers: &Answers) {
        let links = answers.replies.iter().filter_map(|it| route::read_link(it));
        for (link, _) in links {
            if place == Place::Host && self.changed.as_ref() == Some(&link.name) {
                self.changed = None;
            }
            self.links.insert((place, link.name.clone()), link);
        }
    }

    /// Remembers the other end of a pair whose first end came back, which saves asking for it.
    fn learn_pair(&mut self, step: &Step) {
        let Step::MakePair {
            host,
            pod,
            bridge,
            mac,
            ..
        } = step
        else {
            return;
        };
        self.changed = Some(bridge.clone());
        // It is told before it is a port, and with a state that nobody has looked at.
        let Some(link) = self.links.get_mut(&(Place::Host, host.clone())) else {
            return;
        };
        link.operational = false;
        let other = Link {
            index: link.peer,
            name: pod.clone(),
            mac: *mac,
            peer: link.index,
            up: false,
            ..link.clone()
        };
        if other.index != 0 {
            self.links.insert((Place::Pod, pod.clone()), other);
        }
    }

    /// Asks for the port, which has the kernel look at its carrier (since Linux 6.7), and for the
    /// bridge that it changed.
    fn ask_port(&mut self, batch: &mut Batch, host: &str) -> Result<(), KernelError> {
        let bridge = self.changed.clone();
        let socket = self.socket(Place::Host)?;
        route::get_link(batch, socket.next(), host);
        if let Some(bridge) = bridge {
            route::get_link(batch, socket.next(), &bridge);
        }
        Ok(())
    }

    fn queue(&mut self, step: &Step, pending: &mut Pending) -> Result<(), KernelError> {
        let index = match step_link(step) {
            Some(name) => self.index(step.place(), name)?,
            None => 0,
        };
        let namespace = self.pod.as_ref().map(|(file, _)| file.as_raw_fd());
        let sequence = self.socket(step.place())?.next();
        pending.place = Some(step.place());
        pending.steps.push((step.clone(), sequence));
        let batch = &mut pending.batch;
        match step {
            Step::MakeBridge {
                name,
                mtu,
                mac,
                vlan_filtering,
            } => route::make_bridge(batch, sequence, name, *mtu, *mac, *vlan_filtering),
            Step::RaiseBridge {
                name,
                promiscuous,
                mac,
            } => {
                let change = match promiscuous {
                    true => Change::up().promiscuous(),
                    false => Change::up(),
                };
                let change = Change {
                    mac: *mac,
                    ..change
                };
                route::change_link(batch, sequence, name, change);
            }
            Step::MakePair {
                host,
                pod,
                mtu,
                mac,
                group,
                ..
            } => {
                let pair = Pair {
                    host,
                    pod,
                    bridge: index,
                    mtu: *mtu,
                    mac: *mac,
                    group: *group,
                    namespace: namespace.ok_or_else(not_entered)?,
                };
                route::make_pair(batch, sequence, pair);
            }
            Step::RemoveLink { name, .. } => route::remove_link(batch, sequence, name),
            Step::SetPort {
                host,
                hairpin,
                isolated,
            } => route::set_port(batch, sequence, host, *hairpin, *isolated),
            Step::RaisePod { name } => {
                let change = Change {
                    arp_notify: true,
                    ..Change::up()
                };
                route::change_link(batch, sequence, name, change);
            }
            Step::AddAddress {
                address, detection, ..
            } => route::add_address(batch, sequence, index, *address, *detection),
            Step::AddBridgeAddress { address, .. } => {
                let detection = Detection::Off;
                route::add_address(batch, sequence, index, *address, detection);
            }
            Step::RemoveBridgeAddress { address, .. } => {
                route::remove_address(batch, sequence, index, *address);
            }
            Step::AddRoute { route, .. } => route::add_route(batch, sequence, index, route),
            Step::UpdateNeighbour { address, mac, .. } => {
                route::update_neighbour(batch, sequence, index, *address, *mac);
            }
            // Setting the address it has makes the kernel tell everybody.
            Step::Announce { name, mac, .. } => {
                let change = Change {
                    mac: Some(*mac),
                    ..Change::default()
                };
                route::change_link(batch, sequence, name, change);
            }
            _ => {}
        }
        Ok(())
    }

    fn filter_socket(&mut self) -> Result<&mut Socket, KernelError> {
        opened(&mut self.filter, SockProtocol::NetlinkNetFilter)
    }

    fn socket(&mut self, place: Place) -> Result<&mut Socket, KernelError> {
        match place {
            Place::Host => opened(&mut self.host, SockProtocol::NetlinkRoute),
            Place::Pod => {
                let pod = self.pod.as_mut().map(|(_, socket)| socket);
                pod.ok_or_else(not_entered)
            }
        }
    }

    fn index(&mut self, place: Place, name: &str) -> Result<u32, KernelError> {
        if let Some(link) = self.links.get(&(place, name.to_owned())) {
            return Ok(link.index);
        }
        let link = self.link(place, name)?;
        link.map(|link| link.index)
            .ok_or_else(|| kernel_error(Errno::ENODEV))
    }
}

/// The link whose number a step's message holds.
fn step_link(step: &Step) -> Option<&str> {
    match step {
        Step::AddAddress { name, .. }
        | Step::AddRoute { name, .. }
        | Step::RaisePod { name }
        | Step::AddBridgeAddress { name, .. }
        | Step::RemoveBridgeAddress { name, .. }
        | Step::UpdateNeighbour { bridge: name, .. }
        | Step::MakePair { bridge: name, .. } => Some(name),
        _ => None,
    }
}

/// Is what the kernel says as good as done?
fn tolerated(step: &Step, error: i32) -> bool {
    let error = Errno::from_raw(error);
    match step {
        Step::MakeBridge { .. } | Step::AddBridgeAddress { .. } | Step::AddRoute { .. } => {
            error == Errno::EEXIST
        }
        Step::RemoveLink { .. } => error == Errno::ENODEV,
        Step::RemoveBridgeAddress { .. } => error == Errno::EADDRNOTAVAIL,
        // Nobody remembered it.
        Step::UpdateNeighbour { .. } => true,
        _ => false,
    }
}

fn all_good(answers: &Answers) -> Result<(), KernelError> {
    let failed = answers.outcomes.iter().find(|(_, error)| *error != 0);
    failed.map_or(Ok(()), |(_, error)| {
        Err(kernel_error(Errno::from_raw(*error)))
    })
}

fn opened(socket: &mut Option<Socket>, protocol: SockProtocol) -> Result<&mut Socket, KernelError> {
    if socket.is_none() {
        *socket = Some(Socket::open(protocol)?);
    }
    socket.as_mut().ok_or_else(not_entered)
}

fn not_entered() -> KernelError {
    KernelError::Other("the container's namespace is not open".into())
}
