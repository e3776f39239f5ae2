//! Lists that people keep in the store, read again and again: which commands may run, and from
//! where clusters are reached.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use dockin_policy::RuleSet;
use tokio_util::sync::CancellationToken;

use super::{List, Store};
use crate::{
    Error, ErrorKind,
    policy::{Reload, Rules},
};

/// What the command lists are: Dockin-Ops' `cmd-filter-type`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: one or the other.
pub enum CommandFilter {
    /// What may run; nothing else may.
    Whitelist,
    /// What may not run; everything else may.
    Blacklist,
}

/// How lists are followed.
#[derive(Clone, Copy, Debug)]
// Exhaustive: a configuration fills it.
pub struct FollowOptions {
    /// How often they are read.
    pub every: Duration,
    /// How long they count when they cannot be read again.
    pub stale: Duration,
}

/// Judges by the command lists of `store` from now on until `stop`; `told` hears of every change.
///
/// Nothing may run before they have been read, nor when they have not been readable for
/// `options.stale`. An empty black list is taken for one that was lost: it would let everything run.
///
/// # Errors
///
/// `Misuse` when no rules can be made of empty lists. That the store is not available is told to
/// `told`, and is no reason not to start.
pub async fn follow_commands(
    store: Arc<dyn Store>,
    filter: CommandFilter,
    options: FollowOptions,
    stop: CancellationToken,
    mut told: impl FnMut(Reload) + Send + 'static,
) -> Result<Arc<Rules>, Error> {
    let rules = Rules::fixed(nothing()?);
    let mut followed = Commands {
        store,
        filter,
        stale: options.stale,
        rules: Arc::clone(&rules),
        known: None,
        read: None,
        failing: false,
    };
    followed.look(&mut told).await;
    tokio::spawn(async move {
        let pause = || tokio::time::sleep(options.every);
        while stop.run_until_cancelled(pause()).await.is_some() {
            followed.look(&mut told).await;
        }
    });
    Ok(rules)
}

struct Commands {
    store: Arc<dyn Store>,
    filter: CommandFilter,
    stale: Duration,
    rules: Arc<Rules>,
    /// The lists in force; none when nothing may run.
    known: Option<(Vec<String>, Vec<String>)>,
    read: Option<Instant>,
    failing: bool,
}

impl Commands {
    async fn look(&mut self, told: &mut impl FnMut(Reload)) {
        match self.read().await {
            Ok(lists) => {
                self.read = Some(Instant::now());
                self.failing = false;
                if self.known.as_ref() == Some(&lists) {
                    return;
                }
                match self.rule_set(&lists) {
                    Ok(set) => {
                        let set = Arc::new(set);
                        self.rules.replace(Arc::clone(&set));
                        self.known = Some(lists);
                        told(Reload::Accepted(set));
                    }
                    Err(why) => self.failed(&why, told),
                }
            }
            Err(error) => self.failed(&error.chain(), told),
        }
    }

    async fn read(&self) -> Result<(Vec<String>, Vec<String>), Error> {
        let mut raw = self.store.list(&List::RawCommands).await?;
        let mut common = self.store.list(&List::CommonCommands).await?;
        raw.sort_unstable();
        common.sort_unstable();
        if self.filter == CommandFilter::Blacklist && raw.is_empty() && common.is_empty() {
            let what = "the black list is empty, as one that was lost: put a name into `raw_cmd` \
                        or `common_cmd`";
            return Err(Error::new(ErrorKind::Unavailable, what));
        }
        Ok((raw, common))
    }

    fn rule_set(&self, (raw, common): &(Vec<String>, Vec<String>)) -> Result<RuleSet, String> {
        let kind = match self.filter {
            CommandFilter::Whitelist => "whitelist",
            CommandFilter::Blacklist => "blacklist",
        };
        RuleSet::from_redis_lists(raw, common, kind).map_err(|error| error.to_string())
    }

    /// Tells once why the lists are not followed, and once more when nothing may run any longer.
    fn failed(&mut self, why: &str, told: &mut impl FnMut(Reload)) {
        let is_over = self.read.is_none_or(|at| at.elapsed() >= self.stale);
        if !self.failing {
            told(Reload::Rejected(format!("command lists: {why}")));
        }
        self.failing = true;
        if self.known.is_some() && is_over {
            let Ok(nothing) = nothing() else { return };
            self.rules.replace(Arc::new(nothing));
            self.known = None;
            let after = self.stale.as_secs();
            told(Reload::Rejected(format!(
                "command lists: not read for {after} s, so no command may run until they are: {why}"
            )));
        }
    }
}

/// The rules by which nothing may run.
fn nothing() -> Result<RuleSet, Error> {
    RuleSet::from_redis_lists(&[], &[], "whitelist")
        .map_err(|error| Error::new(ErrorKind::Misuse, error.to_string()))
}

/// From which addresses the clusters of each rule are reached: the sets `RULE_whitelist` for the
/// names in `rule_access`.
///
/// Single addresses, as Dockin-Ops has them; what is none admits nobody. Of a rule without a list
/// nobody is admitted.
#[derive(Debug)]
pub struct RuleAddresses {
    known: ArcSwapOption<Known>,
    stale: Duration,
}

#[derive(Debug)]
struct Known {
    read: Instant,
    rules: HashMap<String, HashSet<IpAddr>>,
}

impl RuleAddresses {
    /// Reads the lists in `store`, and follows their changes until `stop`.
    pub async fn follow(
        store: Arc<dyn Store>,
        options: FollowOptions,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let lists = Arc::new(Self {
            known: ArcSwapOption::empty(),
            stale: options.stale,
        });
        lists.look(&*store).await;
        let followed = Arc::clone(&lists);
        tokio::spawn(async move {
            let pause = || tokio::time::sleep(options.every);
            while stop.run_until_cancelled(pause()).await.is_some() {
                followed.look(&*store).await;
            }
        });
        lists
    }

    /// Whether clusters of `rule` are reached from `address`.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the lists were never read, or not for longer than they count.
    pub fn admits(&self, rule: &str, address: IpAddr) -> Result<bool, Error> {
        let known = self.known.load();
        let known = known
            .as_ref()
            .filter(|known| known.read.elapsed() < self.stale);
        let Some(known) = known else {
            let what = "the lists of addresses cannot be read now; try again in a moment, or tell \
                        who keeps the gateway";
            return Err(Error::new(ErrorKind::Unavailable, what));
        };
        let listed = known.rules.get(rule);
        Ok(listed.is_some_and(|listed| listed.contains(&address.to_canonical())))
    }

    async fn look(&self, store: &dyn Store) {
        let read = Instant::now();
        match addresses(store).await {
            Ok(rules) => self.known.store(Some(Arc::new(Known { read, rules }))),
            // The store itself is loud about being lost.
            Err(error) => tracing::debug!(error = error.chain(), "addresses of rules not read"),
        }
    }
}

async fn addresses(store: &dyn Store) -> Result<HashMap<String, HashSet<IpAddr>>, Error> {
    let mut rules = HashMap::new();
    for rule in store.list(&List::Rules).await? {
        let listed = store.list(&List::Addresses(rule.clone())).await?;
        let parsed = listed.iter().filter_map(|text| {
            let address: Option<IpAddr> = text.trim().parse().ok();
            if address.is_none() {
                let address = text.escape_debug().to_string();
                tracing::debug!(rule, address, "no address in the list of a rule");
            }
            address.map(|address| address.to_canonical())
        });
        rules.insert(rule.clone(), parsed.collect());
    }
    Ok(rules)
}
