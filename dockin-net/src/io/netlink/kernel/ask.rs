//! What the kernel has.

use nix::errno::Errno;

use super::{
    super::{
        message::Batch,
        nftables::{self, MASQUERADE, Rule, SOURCES},
        route,
        socket::{Answers, kernel_error},
    },
    Kernel, all_good,
};
use crate::bridge::{Assigned, KernelError, KernelRoute, Link, Owner, Place};

impl Kernel {
    pub(in crate::io::netlink) fn link(
        &mut self,
        place: Place,
        name: &str,
    ) -> Result<Option<Link>, KernelError> {
        let socket = self.socket(place)?;
        let mut batch = Batch::default();
        let sequence = socket.next();
        route::get_link(&mut batch, sequence, name);
        let answers = socket.exchange(&batch)?;
        match answers.outcome(sequence).unwrap_or_default() {
            0 => {}
            error if Errno::from_raw(error) == Errno::ENODEV => return Ok(None),
            error => return Err(kernel_error(Errno::from_raw(error))),
        }
        self.learn(place, &answers);
        let found = answers.replies.iter().find_map(|it| route::read_link(it));
        // By the name it was asked for, which may be another one of its names.
        Ok(found.map(|(link, _)| {
            let key = (place, name.to_owned());
            self.links.insert(key, link.clone());
            link
        }))
    }

    /// A link as it was last seen, unless it has changed since.
    pub(in crate::io::netlink) fn seen(&self, place: Place, name: &str) -> Option<Link> {
        if place == Place::Host && self.changed.as_deref() == Some(name) {
            return None;
        }
        self.links.get(&(place, name.to_owned())).cloned()
    }

    pub(in crate::io::netlink) fn addresses(
        &mut self,
        place: Place,
        index: u32,
    ) -> Result<Vec<Assigned>, KernelError> {
        let answers = self.list(place, route::list_addresses)?;
        let all = answers
            .replies
            .iter()
            .filter_map(|it| route::read_address(it));
        Ok(all
            .filter(|(of, _)| *of == index)
            .map(|(_, it)| it)
            .collect())
    }

    pub(in crate::io::netlink) fn routes(&mut self) -> Result<Vec<KernelRoute>, KernelError> {
        let answers = self.list(Place::Pod, route::list_routes)?;
        let all = answers
            .replies
            .iter()
            .filter_map(|it| route::read_route(it));
        Ok(all.collect())
    }

    pub(in crate::io::netlink) fn group(&mut self, group: u32) -> Result<Vec<String>, KernelError> {
        let answers = self.list(Place::Host, route::list_links)?;
        let all = answers.replies.iter().filter_map(|it| route::read_link(it));
        let of_group = all.filter(|(link, of)| *of == group && link.kind == "veth");
        Ok(of_group.map(|(link, _)| link.name).collect())
    }

    pub(in crate::io::netlink) fn owners(&mut self) -> Result<Vec<Owner>, KernelError> {
        let mut owners: Vec<_> = self.rules()?.into_iter().map(|it| it.owner).collect();
        owners.sort();
        owners.dedup();
        Ok(owners)
    }

    fn list(
        &mut self,
        place: Place,
        ask: impl Fn(&mut Batch, u32),
    ) -> Result<Answers, KernelError> {
        let socket = self.socket(place)?;
        let mut batch = Batch::default();
        ask(&mut batch, socket.next());
        let answers = socket.exchange(&batch)?;
        all_good(&answers)?;
        Ok(answers)
    }

    pub(super) fn rules(&mut self) -> Result<Vec<Rule>, KernelError> {
        let socket = self.filter_socket()?;
        let mut rules = Vec::new();
        for chain in [MASQUERADE, SOURCES] {
            let mut batch = Batch::default();
            let sequence = socket.next();
            nftables::list(&mut batch, sequence, chain);
            let answers = socket.exchange(&batch)?;
            let replies = answers.replies.iter();
            rules.extend(replies.filter_map(|it| nftables::read(it, chain)));
        }
        Ok(rules)
    }
}
