use super::{
    World,
    pool_config::PoolConfig,
    pool_mode::{store_error, want},
};
use crate::{
    AllocateError, Attachment, Grant, NetworkName, Pool,
    blocks::{Clock, Goal, Names, Outcome, Share, State, Terms, converse},
    cni::{CniError, ErrorCode, Json, Request},
    lease::{After, Change, StickyKey, Timestamp},
    store::{Format, LeaseStore, Place, StoreError},
};

/// A node's share of a network's pools, with what other nodes share of them.
pub struct Shared {
    share: Box<dyn Share>,
    terms: Terms,
    pools: Vec<Pool>,
    boot: String,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Shared").field(&self.terms).finish()
    }
}

impl Shared {
    /// The share, where the configuration names a store.
    pub(super) fn open(
        world: &mut dyn World,
        config: &PoolConfig,
    ) -> Result<Option<Self>, CniError> {
        let Some(store) = &config.store else {
            return Ok(None);
        };
        let share = world.share(&config.place, store).map_err(store_error)?;
        Ok(Some(Self {
            terms: Terms {
                names: Names::new(&store.prefix, config.place.network.as_str()),
                node: share.node().to_owned(),
                session: store.session,
                block: store.block,
            },
            share,
            pools: config.pools.clone(),
            boot: world.boot_id().unwrap_or_default(),
        }))
    }

    /// The share of the network that a runtime's configuration describes, and where its leases
    /// are: for operators. In a list it is the first plugin whose `ipam` names a store.
    ///
    /// # Errors
    ///
    /// Those of the configuration, and one when no store is named.
    pub fn of_configuration(text: &[u8], world: &mut dyn World) -> Result<(Self, Place), CniError> {
        let invalid = |what: String| CniError::new(ErrorCode::INVALID_CONFIG, what);
        let config = Json::parse(text).map_err(|error| invalid(error.to_string()))?;
        let root = config.root();
        let name = root.get("name")?.string()?.unwrap_or_default();
        let network = NetworkName::parse(name).map_err(|error| invalid(error.to_string()))?;
        let listed = root.get("plugins")?;
        let plugins = listed.elements()?;
        let has_store = |config: &&Json| {
            let ipam = config.root().get("ipam");
            ipam.and_then(|it| it.get("store"))
                .is_ok_and(|it| it.is_present())
        };
        let plugins = plugins.filter_map(|plugin| plugin.value());
        let plugin = std::iter::once(&config).chain(plugins).find(has_store);
        let plugin = plugin.ok_or_else(|| invalid("no `ipam` in it has a `store`".into()))?;
        let environment = crate::cni::Environment::default();
        let request = Request::of_operator(&environment, network, plugin);
        let config = PoolConfig::read(&request, Format::Table)?;
        let shared = Self::open(world, &config)?;
        let shared = shared.ok_or_else(|| invalid("`ipam.store` is missing".into()))?;
        Ok((shared, config.place))
    }

    /// What this node knows of its share, none before it had one.
    pub(super) fn state(&mut self) -> Result<Option<State>, CniError> {
        let bytes = self.share.load().map_err(store_error)?;
        let state = bytes.map(|bytes| State::decode(&bytes)).transpose();
        state.map_err(store_error)
    }

    /// The store, the names of its keys, and the pools: for operators.
    pub fn parts(&mut self) -> (&mut dyn crate::blocks::Store, &Names, &[Pool]) {
        (self.share.store(), &self.terms.names, &self.pools)
    }

    /// Addresses for an attachment, written down.
    pub(super) fn grant(
        &mut self,
        config: &PoolConfig,
        leases: &mut dyn LeaseStore,
        of: &Attachment,
        now: Timestamp,
    ) -> Result<Result<Grant, AllocateError>, CniError> {
        let wants = config.pools.iter().map(|pool| want(config, pool, of));
        let goal = Goal::Add(wants.collect());
        let (outcome, state) = self.converse(goal, leases, now)?;
        let grant = match outcome {
            Outcome::Granted(grant) => grant,
            Outcome::Refused(error) => return Ok(Err(error)),
            outcome => return Err(refused(outcome)),
        };
        leases.commit(grant.changes.clone()).map_err(store_error)?;
        // What took too long is not said: by now the address may be somebody else's.
        let elapsed = self.share.elapsed().map_err(store_error)?;
        let boot = &self.boot;
        if !state.is_valid(Clock { now, elapsed, boot }) {
            let attachment = of.clone();
            let after = After::Keep(None);
            let change = Change::Release { attachment, after };
            leases.commit(vec![change]).map_err(store_error)?;
            let message = "the node's session ended meanwhile".to_owned();
            return Err(refused(Outcome::Unavailable(message)));
        }
        Ok(Ok(grant))
    }

    /// Tells the other nodes that a sticky key is not here any more. When the store gives no
    /// answer that is told later, and the same pod can be here again meanwhile.
    pub(super) fn let_go(
        &mut self,
        key: StickyKey,
        leases: &mut dyn LeaseStore,
        now: Timestamp,
    ) -> Result<(), CniError> {
        self.converse(Goal::Release(key), leases, now).map(drop)
    }

    /// Renews the session and gives back what is not needed.
    ///
    /// # Errors
    ///
    /// The store gives no answer, or the node's files cannot be written.
    pub fn keep(&mut self, leases: &mut dyn LeaseStore, now: Timestamp) -> Result<(), CniError> {
        match self.converse(Goal::Sync { expire: true }, leases, now)?.0 {
            Outcome::Done => Ok(()),
            outcome => Err(refused(outcome)),
        }
    }

    /// May this node give addresses for a while?
    pub(super) fn is_valid(&mut self, now: Timestamp) -> Result<bool, CniError> {
        let state = self.state()?;
        let elapsed = self.share.elapsed().map_err(store_error)?;
        let boot = &self.boot;
        let clock = Clock { now, elapsed, boot };
        Ok(state.is_some_and(|state| state.is_valid(clock)))
    }

    fn converse(
        &mut self,
        goal: Goal,
        leases: &mut dyn LeaseStore,
        now: Timestamp,
    ) -> Result<(Outcome, State), CniError> {
        if self.state()?.is_none() && has_leases(leases).map_err(store_error)? {
            // They are of a time when the addresses were all ours, and may be another node's now.
            return Err(CniError::field(
                ErrorCode::INVALID_CONFIG,
                "ipam.store",
                "the node has leases from before the pools were shared; let their pods end first, \
                 or use another `dataDir`",
            ));
        }
        let share = self.share.as_mut();
        let when = (now, self.boot.as_str());
        converse(&self.terms, &self.pools, goal, leases, share, when).map_err(store_error)
    }
}

fn has_leases(leases: &dyn LeaseStore) -> Result<bool, StoreError> {
    let mut from = Some(0);
    while let Some(place) = from {
        let page = leases.page(place)?;
        if !page.leases.is_empty() {
            return Ok(true);
        }
        from = page.next;
    }
    Ok(false)
}

fn refused(outcome: Outcome) -> CniError {
    let later = |message: String| CniError::new(ErrorCode::TRY_AGAIN, message);
    match outcome {
        Outcome::Exhausted(pool) => later(format!(
            "no address is free in {pool}; other nodes are asked for theirs"
        )),
        Outcome::Elsewhere(key, node) => later(format!(
            "the addresses of {} are at node `{node}`, which has not said that the pod is gone",
            key.owner
        )),
        Outcome::NameTaken(node) => CniError::field(
            ErrorCode::INVALID_CONFIG,
            "ipam.store.node",
            format_args!("another machine has a session as `{node}`"),
        ),
        Outcome::Damaged(message) => CniError::new(ErrorCode::IO, message),
        Outcome::Unavailable(message) => later(message),
        Outcome::Granted(_) | Outcome::Refused(_) | Outcome::Done => {
            later("the conversation ended with another answer".into())
        }
    }
}
