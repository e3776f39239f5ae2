use super::{
    World,
    pool_config::{PoolConfig, read_place},
};
use crate::{
    AllocateError, Attachment, Beside, ContainerId, InterfaceName, Pool, Want, allocate,
    cni::{CniError, CniResult, Dns, ErrorCode, IpConfig, Request},
    lease::{After, Change, Lease, Timestamp},
    ledger::Ledger,
    store::{Format, LeaseStore, StoreError},
};

pub(super) struct PoolMode<'a> {
    pub(super) world: &'a mut dyn World,
    pub(super) format: Format,
}

impl PoolMode<'_> {
    pub(super) fn add(
        &mut self,
        request: &Request<'_>,
        of: &Attachment,
    ) -> Result<CniResult, CniError> {
        let config = PoolConfig::read(request, self.format)?;
        let dns = self.dns(&config)?;
        let now = self.world.now();
        let boot = self.boot();
        let mut store = self.world.open(&config.place).map_err(store_error)?;
        forget_last_boot(store.as_mut(), boot, &config.pools, now)?;
        let mut refusal = None;
        for pool in order(&config, store.ledger(), of, now) {
            let want = want(&config, pool, of);
            match allocate(pool, store.ledger(), &want, now) {
                Ok(grant) => {
                    store.commit(grant.changes).map_err(store_error)?;
                    let ips = grant
                        .addresses
                        .into_iter()
                        .map(|(address, gateway)| IpConfig {
                            address,
                            gateway: Some(gateway),
                            interface: None,
                        });
                    return Ok(CniResult {
                        ips: ips.collect(),
                        routes: config.routes,
                        dns,
                        ..CniResult::default()
                    });
                }
                Err(refused) => {
                    let held = matches!(refused.error, AllocateError::AlreadyHeld { .. });
                    refusal = Some(refused);
                    if held {
                        break;
                    }
                }
            }
        }
        let Some(refusal) = refusal else {
            return Err(CniError::new(
                ErrorCode::INVALID_CONFIG,
                "`ipam` has no pool",
            ));
        };
        if self.format == Format::HostLocal && !refusal.cursors.is_empty() {
            // The reference turns the sets before it finds that the rest cannot be had.
            store.commit(refusal.cursors).map_err(store_error)?;
        }
        Err(self.refused(&refusal.error))
    }

    pub(super) fn del(&mut self, request: &Request<'_>, of: &Attachment) -> Result<(), CniError> {
        // A lease goes even when the ranges it came from cannot be read any more.
        let config = PoolConfig::read(request, self.format);
        if self.format == Format::HostLocal {
            config.as_ref().map_err(CniError::clone)?;
        }
        let place = read_place(request, self.format)?;
        let pools = config.map(|config| config.pools).unwrap_or_default();
        let now = self.world.now();
        let mut store = self.world.open(&place).map_err(store_error)?;
        let changes = store
            .ledger()
            .lease_of(of)
            .map(|lease| vec![release(lease, &pools, now)]);
        match changes {
            Some(changes) => store.commit(changes).map_err(store_error),
            None => Ok(()),
        }
    }

    pub(super) fn check(&mut self, request: &Request<'_>, of: &Attachment) -> Result<(), CniError> {
        let config = PoolConfig::read(request, self.format)?;
        let store = self.world.open(&config.place).map_err(store_error)?;
        let code = self.code(ErrorCode::ATTACHMENT);
        let lease = store
            .ledger()
            .lease_of(of)
            .ok_or_else(|| CniError::new(code, format!("{of} has no lease")))?;
        let previous = request.config().get("prevResult")?;
        if self.format == Format::HostLocal || !previous.is_present() {
            return Ok(());
        }
        let previous = CniResult::decode(&previous, request.version)
            .map_err(|error| CniError::new(ErrorCode::INVALID_CONFIG, error.to_string()))?;
        for address in &lease.addresses {
            if !previous
                .ips
                .iter()
                .any(|ip| ip.address.address() == *address)
            {
                let message = format!("`prevResult` of {of} has not {address} of its lease");
                return Err(CniError::new(code, message));
            }
        }
        Ok(())
    }

    pub(super) fn collect(&mut self, request: &Request<'_>) -> Result<(), CniError> {
        let Some(valid) = read_valid(request, self.format)? else {
            return Ok(());
        };
        let pools = PoolConfig::read(request, self.format).map(|config| config.pools);
        let pools = pools.unwrap_or_default();
        let place = read_place(request, self.format)?;
        let now = self.world.now();
        let boot = self.boot();
        let mut store = self.world.open(&place).map_err(store_error)?;
        forget_last_boot(store.as_mut(), boot, &pools, now)?;
        let young = |lease: &Lease| {
            let after = pools.first().map_or(0, |pool| pool.policy().collect_after);
            self.format == Format::Log && valid.is_empty() && now < lease.since.after(after)
        };
        let is_valid = |lease: &Lease| {
            valid.iter().any(|it| {
                *it == lease.attachment
                    || lease.attachment == Attachment::of_container(it.container_id().clone())
            })
        };
        let changes: Vec<_> = store
            .ledger()
            .leases()
            .filter(|lease| !is_valid(lease) && !young(lease))
            .map(|lease| release(lease, &pools, now))
            .collect();
        if changes.is_empty() {
            return Ok(());
        }
        store.commit(changes).map_err(store_error)
    }

    pub(super) fn status(&mut self, request: &Request<'_>) -> Result<(), CniError> {
        let unavailable = |message: String| CniError::new(ErrorCode::NOT_AVAILABLE, message);
        let config = PoolConfig::read(request, self.format)?;
        let now = self.world.now();
        let store = self
            .world
            .open(&config.place)
            .map_err(|error| unavailable(error.to_string()))?;
        let mut message = String::new();
        for pool in &config.pools {
            let want = Want {
                attachment: Attachment::of_container(ContainerId::stored("")),
                sticky: None,
                requested: Vec::new(),
                beside: Beside::Nothing,
            };
            match allocate(pool, store.ledger(), &want, now) {
                Ok(_) => return Ok(()),
                Err(refusal) => message = refusal.error.to_string(),
            }
        }
        Err(unavailable(message))
    }

    fn boot(&mut self) -> Option<String> {
        match self.format {
            Format::Log => self.world.boot_id(),
            Format::HostLocal => None,
        }
    }

    fn dns(&mut self, config: &PoolConfig) -> Result<Dns, CniError> {
        match &config.resolv_conf {
            Some(path) => {
                let text = self.world.read_text(path).map_err(store_error)?;
                Ok(parse_resolv_conf(&text))
            }
            None => Ok(config.dns.clone()),
        }
    }

    /// The code for ours; the reference has one for everything.
    const fn code(&self, ours: ErrorCode) -> ErrorCode {
        match self.format {
            Format::HostLocal => ErrorCode::INTERNAL,
            Format::Log => ours,
        }
    }

    fn refused(&self, error: &AllocateError) -> CniError {
        let code = match error {
            AllocateError::AlreadyHeld { .. } => ErrorCode::ATTACHMENT,
            AllocateError::Outside(_) | AllocateError::SetAside(_) => ErrorCode::INVALID_CONFIG,
            AllocateError::Taken(_) | AllocateError::Exhausted(_) => ErrorCode::TRY_AGAIN,
        };
        CniError::new(self.code(code), error.to_string())
    }
}

fn want(config: &PoolConfig, pool: &Pool, of: &Attachment) -> Want {
    Want {
        attachment: of.clone(),
        sticky: of
            .interface()
            .and_then(|interface| config.sticky(pool, interface)),
        requested: config.requested.clone(),
        beside: match config.place.format {
            Format::HostLocal => Beside::OtherSets,
            Format::Log => Beside::Nothing,
        },
    }
}

/// The pools in the order they are tried: first the one that keeps an address for us or has the
/// one that was asked for.
fn order<'a>(
    config: &'a PoolConfig,
    ledger: &Ledger,
    of: &Attachment,
    now: Timestamp,
) -> Vec<&'a Pool> {
    let mut pools: Vec<_> = config.pools.iter().collect();
    pools.sort_by_key(|pool| {
        let key = of
            .interface()
            .and_then(|interface| config.sticky(pool, interface));
        let kept = key.map_or(&[][..], |key| ledger.addresses_of(&key, now));
        let asked = config.requested.iter();
        !kept
            .iter()
            .chain(asked)
            .any(|address| pool.contains(*address))
    });
    pools
}

fn release(lease: &Lease, pools: &[Pool], now: Timestamp) -> Change {
    let from = |pool: &&Pool| lease.addresses.iter().any(|it| pool.contains(*it));
    let policy = pools.iter().find(from).map(Pool::policy);
    let policy = policy.unwrap_or_default();
    let after = match (&lease.sticky, policy.cool_down) {
        (Some(_), _) => After::Keep(policy.keep.map(|seconds| now.after(seconds))),
        (None, 0) => After::Free,
        (None, seconds) => After::Cool(now.after(seconds)),
    };
    Change::Release {
        attachment: lease.attachment.clone(),
        after,
    }
}

/// After a start of the machine no container of before is there: their leases end, what owners
/// keep stays.
fn forget_last_boot(
    store: &mut dyn LeaseStore,
    boot: Option<String>,
    pools: &[Pool],
    now: Timestamp,
) -> Result<(), CniError> {
    let Some(boot) = boot.filter(|boot| store.ledger().boot() != Some(boot)) else {
        return Ok(());
    };
    let mut changes = Vec::new();
    if store.ledger().boot().is_some() {
        let ended = store.ledger().leases();
        changes.extend(ended.map(|lease| release(lease, pools, now)));
    }
    changes.push(Change::Boot(boot));
    store.commit(changes).map_err(store_error)
}

/// The attachments that are to stay; none when the runtime gives no list.
fn read_valid(request: &Request<'_>, format: Format) -> Result<Option<Vec<Attachment>>, CniError> {
    let config = request.config();
    let mut valid = Vec::new();
    let mut present = false;
    for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        let list = config.get(key)?;
        present |= list.is_present();
        for element in list.elements()? {
            let read = |name| -> Result<_, CniError> {
                Ok(element.get(name)?.string()?.unwrap_or_default())
            };
            let wrong = |error| CniError::field(ErrorCode::INVALID_CONFIG, &element.path(), error);
            let container = ContainerId::parse(read("containerID")?).map_err(wrong)?;
            let interface = InterfaceName::parse(read("ifname")?).map_err(wrong)?;
            valid.push(Attachment::new(container, interface));
        }
    }
    match (present, format) {
        (true, _) => Ok(Some(valid)),
        (false, Format::HostLocal) => Ok(None),
        (false, Format::Log) => Err(CniError::field(
            ErrorCode::INVALID_CONFIG,
            "cni.dev/valid-attachments",
            "missing: without it every lease would end",
        )),
    }
}

fn parse_resolv_conf(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let keyword = words.next().unwrap_or_default();
        let mut rest = words.map(str::to_owned);
        match keyword {
            "nameserver" => dns.nameservers.extend(rest.next()),
            "domain" => dns.domain = rest.next().or(dns.domain),
            "search" => dns.search.extend(rest),
            "options" => dns.options.extend(rest),
            _ => {}
        }
    }
    dns
}

fn store_error(error: StoreError) -> CniError {
    CniError::new(ErrorCode::IO, error.to_string())
}
