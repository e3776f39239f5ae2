use super::{
    World,
    pool_config::{PoolConfig, read_place},
    shared_mode::Shared,
};
use crate::{
    AllocateError, Attachment, Beside, ContainerId, Grant, InterfaceName, Pool, Refusal, Want,
    allocate,
    blocks::State,
    cni::{CniError, CniResult, Dns, ErrorCode, IpConfig, Request, Route},
    lease::{After, Change, Lease, Timestamp},
    store::{Format, LeaseStore, StoreError},
};

/// Leases that end in one record when many do: so much memory a call may take.
const BATCH: usize = 8;

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
        note_boot(store.as_mut(), boot)?;
        if let Some(mut shared) = Shared::open(self.world, &config)? {
            let state = shared.state()?;
            while sweep(store.as_mut(), &config.pools, now, state.as_ref())? {}
            let granted = shared.grant(&config, store.as_mut(), of, now)?;
            return granted
                .map(|grant| result(config.routes, dns, grant))
                .map_err(|error| self.refused(&error));
        }
        let granted = loop {
            let granted = self.choose(&config, store.as_ref(), of, now)?;
            // Addresses of before the machine's start are given when there are no others.
            let exhausted = matches!(&granted, Err(refusal) if refusal.is_exhausted());
            if !exhausted || !sweep(store.as_mut(), &config.pools, now, None)? {
                break granted;
            }
        };
        match granted {
            Ok(grant) => {
                let mut changes = swept(store.as_ref(), &config.pools, now, None)?;
                changes.extend(grant.changes.iter().cloned());
                store.commit(changes).map_err(store_error)?;
                Ok(result(config.routes, dns, grant))
            }
            Err(refusal) => {
                if self.format == Format::HostLocal && !refusal.cursors.is_empty() {
                    // The reference turns the sets before it finds that the rest cannot be had.
                    store.commit(refusal.cursors).map_err(store_error)?;
                }
                Err(self.refused(&refusal.error))
            }
        }
    }

    /// What the first pool gives that gives something, or why the last one does not.
    fn choose(
        &self,
        config: &PoolConfig,
        leases: &dyn LeaseStore,
        of: &Attachment,
        now: Timestamp,
    ) -> Result<Result<Grant, Refusal>, CniError> {
        let mut refusal = None;
        for pool in order(config, leases, of, now).map_err(store_error)? {
            let want = want(config, pool, of);
            match allocate(pool, leases, &want, now) {
                Ok(grant) => return Ok(Ok(grant)),
                Err(refused) => {
                    let held = matches!(refused.error, AllocateError::AlreadyHeld { .. });
                    refusal = Some(refused);
                    if held {
                        break;
                    }
                }
            }
        }
        refusal
            .map(Err)
            .ok_or_else(|| CniError::new(ErrorCode::INVALID_CONFIG, "`ipam` has no pool"))
    }

    pub(super) fn del(&mut self, request: &Request<'_>, of: &Attachment) -> Result<(), CniError> {
        // A lease goes even when the ranges it came from cannot be read any more.
        let config = PoolConfig::read(request, self.format);
        if self.format == Format::HostLocal {
            config.as_ref().map_err(CniError::clone)?;
        }
        let place = read_place(request, self.format)?;
        let now = self.world.now();
        let mut store = self.world.open(&place).map_err(store_error)?;
        let Some(lease) = store.lease_of(of).map_err(store_error)? else {
            return Ok(());
        };
        let mut shared = match &config {
            Ok(config) => Shared::open(self.world, config)?,
            Err(_) => None,
        };
        let state = shared.as_mut().map(Shared::state).transpose()?.flatten();
        let pools = config.map(|config| config.pools).unwrap_or_default();
        let changes = vec![release(&lease, &pools, now, state.as_ref())];
        store.commit(changes).map_err(store_error)?;
        match (shared, lease.sticky) {
            (Some(mut shared), Some(key)) if state.is_some() => {
                shared.let_go(key, store.as_mut(), now)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check(&mut self, request: &Request<'_>, of: &Attachment) -> Result<(), CniError> {
        let config = PoolConfig::read(request, self.format)?;
        let store = self.world.open(&config.place).map_err(store_error)?;
        let code = self.code(ErrorCode::ATTACHMENT);
        let lease = store
            .lease_of(of)
            .map_err(store_error)?
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
        let config = PoolConfig::read(request, self.format);
        let mut shared = match &config {
            Ok(config) => Shared::open(self.world, config)?,
            Err(_) => None,
        };
        let pools = config.map(|config| config.pools).unwrap_or_default();
        let place = read_place(request, self.format)?;
        let now = self.world.now();
        let boot = self.boot();
        let mut store = self.world.open(&place).map_err(store_error)?;
        note_boot(store.as_mut(), boot)?;
        let state = shared.as_mut().map(Shared::state).transpose()?.flatten();
        let state = state.as_ref();
        while sweep(store.as_mut(), &pools, now, state)? {}
        let after = pools.first().map_or(0, |pool| pool.policy().collect_after);
        let young = |lease: &Lease| {
            self.format == Format::Table && valid.is_empty() && now < lease.since.after(after)
        };
        let is_valid = |lease: &Lease| match lease.attachment.interface() {
            Some(interface) => {
                let attachment = (lease.attachment.container_id().as_str(), interface.as_str());
                valid.binary_search(&attachment).is_ok()
            }
            None => {
                let container = lease.attachment.container_id().as_str();
                valid.iter().any(|(it, _)| *it == container)
            }
        };
        let mut from = Some(0);
        let mut changes = Vec::new();
        while let Some(place) = from {
            let page = store.page(place).map_err(store_error)?;
            let gone = page.leases.iter();
            let gone = gone.filter(|lease| !is_valid(lease) && !young(lease));
            changes.extend(gone.map(|lease| release(lease, &pools, now, state)));
            from = page.next;
            while changes.len() >= BATCH || from.is_none() && !changes.is_empty() {
                let rest = changes.split_off(changes.len().min(BATCH));
                let batch = std::mem::replace(&mut changes, rest);
                store.commit(batch).map_err(store_error)?;
            }
        }
        match shared {
            // A store that gives no answer is told later: here everything is collected.
            Some(mut shared) => match shared.keep(store.as_mut(), now) {
                Err(error) if error.code() != ErrorCode::TRY_AGAIN => Err(error),
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }

    pub(super) fn status(&mut self, request: &Request<'_>) -> Result<(), CniError> {
        let unavailable = |message: String| CniError::new(ErrorCode::NOT_AVAILABLE, message);
        let config = PoolConfig::read(request, self.format)?;
        let now = self.world.now();
        let mut store = self
            .world
            .open(&config.place)
            .map_err(|error| unavailable(error.to_string()))?;
        if let Some(mut shared) = Shared::open(self.world, &config)? {
            return match shared.keep(store.as_mut(), now) {
                Err(error) if !shared.is_valid(now)? => Err(unavailable(error.to_string())),
                _ => Ok(()),
            };
        }
        let mut message = String::new();
        for pool in &config.pools {
            let want = Want {
                attachment: Attachment::of_container(ContainerId::stored("")),
                sticky: None,
                requested: Vec::new(),
                beside: Beside::Nothing,
            };
            match allocate(pool, store.as_ref(), &want, now) {
                Ok(_) => return Ok(()),
                // What ended with the machine's last start is given when it is needed.
                Err(refusal)
                    if refusal.is_exhausted() && store.ended().is_ok_and(|page| page.is_some()) =>
                {
                    return Ok(());
                }
                Err(refusal) => message = refusal.error.to_string(),
            }
        }
        Err(unavailable(message))
    }

    fn boot(&mut self) -> Option<String> {
        match self.format {
            Format::Table => self.world.boot_id(),
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
            Format::Table => ours,
        }
    }

    fn refused(&self, error: &AllocateError) -> CniError {
        let code = match error {
            AllocateError::AlreadyHeld { .. } => ErrorCode::ATTACHMENT,
            AllocateError::Outside(_) | AllocateError::SetAside(_) => ErrorCode::INVALID_CONFIG,
            AllocateError::Taken(_) | AllocateError::Exhausted(_) => ErrorCode::TRY_AGAIN,
            AllocateError::Store(_) => ErrorCode::IO,
        };
        CniError::new(self.code(code), error.to_string())
    }
}

fn result(routes: Vec<Route>, dns: Dns, grant: Grant) -> CniResult {
    let ips = grant
        .addresses
        .into_iter()
        .map(|(address, gateway)| IpConfig {
            address,
            gateway: Some(gateway),
            interface: None,
        });
    CniResult {
        ips: ips.collect(),
        routes,
        dns,
        ..CniResult::default()
    }
}

pub(super) fn want(config: &PoolConfig, pool: &Pool, of: &Attachment) -> Want {
    Want {
        attachment: of.clone(),
        sticky: of
            .interface()
            .and_then(|interface| config.sticky(pool, interface)),
        requested: config.requested.clone(),
        beside: match config.place.format {
            Format::HostLocal => Beside::OtherSets,
            Format::Table => Beside::Nothing,
        },
    }
}

/// The pools in the order they are tried: first the one that keeps an address for us or has the
/// one that was asked for.
fn order<'a>(
    config: &'a PoolConfig,
    leases: &dyn LeaseStore,
    of: &Attachment,
    now: Timestamp,
) -> Result<Vec<&'a Pool>, StoreError> {
    let mut first = Vec::new();
    let mut others = Vec::new();
    for pool in &config.pools {
        let key = of
            .interface()
            .and_then(|interface| config.sticky(pool, interface));
        let kept = match key {
            Some(key) => leases.addresses_of(&key, now)?,
            None => Vec::new(),
        };
        let mut ours = kept.iter().chain(&config.requested);
        match ours.any(|address| pool.contains(*address)) {
            true => first.push(pool),
            false => others.push(pool),
        }
    }
    first.append(&mut others);
    Ok(first)
}

/// The end of a lease. In a pool that is shared with other nodes, sticky keys that are at this
/// node keep their addresses until the others are told.
fn release(lease: &Lease, pools: &[Pool], now: Timestamp, shared: Option<&State>) -> Change {
    let from = |pool: &&Pool| lease.addresses.iter().any(|it| pool.contains(*it));
    let policy = pools.iter().find(from).map(Pool::policy);
    let policy = policy.unwrap_or_default();
    let here = |key| shared.is_none_or(|state| state.has(key));
    let sticky = lease.sticky.as_ref().filter(|key| here(key));
    let after = match (sticky, policy.cool_down) {
        (Some(_), _) if shared.is_some() => After::Keep(None),
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
fn note_boot(store: &mut dyn LeaseStore, boot: Option<String>) -> Result<(), CniError> {
    match boot {
        Some(boot) if store.boot().map_err(store_error)?.as_ref() != Some(&boot) => {
            store.commit(vec![Change::Boot(boot)]).map_err(store_error)
        }
        _ => Ok(()),
    }
}

/// The end of some leases of before the machine's start; nothing when none are left.
fn swept(
    store: &dyn LeaseStore,
    pools: &[Pool],
    now: Timestamp,
    shared: Option<&State>,
) -> Result<Vec<Change>, CniError> {
    let Some(page) = store.ended().map_err(store_error)? else {
        return Ok(Vec::new());
    };
    let ended = page
        .leases
        .iter()
        .map(|lease| release(lease, pools, now, shared));
    Ok(ended.chain([Change::Swept(page.next)]).collect())
}

/// Ends some leases of before the machine's start; were there any to look for?
fn sweep(
    store: &mut dyn LeaseStore,
    pools: &[Pool],
    now: Timestamp,
    shared: Option<&State>,
) -> Result<bool, CniError> {
    let changes = swept(store, pools, now, shared)?;
    if changes.is_empty() {
        return Ok(false);
    }
    store.commit(changes).map_err(store_error)?;
    Ok(true)
}

/// The attachments that are to stay, container and interface, sorted; none when the runtime gives
/// no list.
fn read_valid<'a>(
    request: &Request<'a>,
    format: Format,
) -> Result<Option<Vec<(&'a str, &'a str)>>, CniError> {
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
            let (container, interface) = (read("containerID")?, read("ifname")?);
            ContainerId::parse(container).map_err(wrong)?;
            InterfaceName::parse(interface).map_err(wrong)?;
            valid.push((container, interface));
        }
    }
    valid.sort_unstable();
    match (present, format) {
        (true, _) => Ok(Some(valid)),
        (false, Format::HostLocal) => Ok(None),
        (false, Format::Table) => Err(CniError::field(
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

pub(super) fn store_error(error: StoreError) -> CniError {
    CniError::new(ErrorCode::IO, error.to_string())
}
