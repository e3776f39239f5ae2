use std::{
    fmt,
    sync::{
        Mutex as Lock, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ::redis::{
    AsyncConnectionConfig, Client, ErrorKind as RedisErrorKind, FromRedisValue, RedisError,
    ScriptInvocation, ServerErrorKind, aio::MultiplexedConnection,
};
use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::{Error, ErrorKind};

/// One connection for everybody, dialled when it is needed. Whatever goes wrong on it closes it, so
/// that a server that comes back is found by the next who asks.
pub(super) struct Connection {
    client: Client,
    /// Host and port, for messages: never a credential.
    place: String,
    state: Mutex<State>,
    lost: AtomicBool,
    told: Lock<Option<Instant>>,
    warned: AtomicBool,
    /// Why the server is none that can be used.
    unfit: OnceLock<&'static str>,
}

#[derive(Default)]
struct State {
    open: Option<MultiplexedConnection>,
    /// Counts the connections, so that who saw an old one fail does not close the new one.
    number: u64,
    failed: Option<Instant>,
}

/// How long an answer may take, and a connection.
const PATIENCE: Duration = Duration::from_secs(1);
/// After a connection that could not be made nobody tries for so long: who waits hears it at once.
const PAUSE: Duration = Duration::from_millis(250);
/// Refusals that are no loss of the connection are logged so often at most.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// What is wrong with a Redis Cluster.
pub(super) const CLUSTER: &str = "is a node of a Redis Cluster, which cannot change in one step \
                                  what is of several slots: give a Redis that is no cluster, one \
                                  primary with replicas behind a name that follows it";
/// What is wrong with a Redis Sentinel.
pub(super) const SENTINEL: &str = "is a Redis Sentinel, which keeps nothing and is not asked where \
                                   a primary is: give the primary's address, or a name that \
                                   follows it, such as that of a proxy";
/// Since when, in milliseconds since the epoch, this Redis has remembered what was revoked.
pub(super) const SINCE: &str = "dockin:sessions:since";

impl Connection {
    pub(super) fn new(client: Client) -> Self {
        let place = client.get_connection_info().addr().to_string();
        Self {
            client,
            place,
            state: Mutex::default(),
            lost: AtomicBool::new(false),
            told: Lock::new(None),
            warned: AtomicBool::new(false),
            unfit: OnceLock::new(),
        }
    }

    /// Whether the server is one that can be used, as far as that can be known now.
    ///
    /// # Errors
    ///
    /// `Misuse` when it answers, and is none.
    pub(super) async fn fits(&self) -> Result<(), Error> {
        let reached = self.connection().await;
        match (reached, self.unfit.get()) {
            (Err(_), Some(why)) => {
                let message = format!("store: the Redis at {} {why}", self.place);
                Err(Error::new(ErrorKind::Misuse, message))
            }
            _ => Ok(()),
        }
    }

    /// Runs a script, and gives what it returns.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, Error> {
        let (mut connection, number) = self.connection().await?;
        let answer = tokio::time::timeout(PATIENCE, script.invoke_async(&mut connection)).await;
        match answer {
            Ok(Ok(value)) => {
                if self.lost.swap(false, Ordering::AcqRel) {
                    tracing::info!(place = self.place, "the store is back");
                }
                Ok(value)
            }
            Ok(Err(error)) if is_refusal(&error) => {
                if error.kind() == RedisErrorKind::Server(ServerErrorKind::ReadOnly) {
                    // Another server may have this name by now.
                    self.close(number).await;
                }
                Err(self.refused(&error))
            }
            Ok(Err(error)) => {
                self.close(number).await;
                Err(self.is_lost(&said(&error)))
            }
            Err(_) => {
                self.close(number).await;
                Err(self.is_lost("it gave no answer within a second"))
            }
        }
    }

    /// Something in the store is not what was put there.
    pub(super) fn unreadable(&self, what: &str) -> Error {
        self.tell(what);
        self.unavailable(what)
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), Error> {
        let mut state = self.state.lock().await;
        if let Some(open) = &state.open {
            return Ok((open.clone(), state.number));
        }
        if state.failed.is_some_and(|at| at.elapsed() < PAUSE) {
            return Err(self.unavailable("it could not be reached a moment ago"));
        }
        let dialled = tokio::time::timeout(PATIENCE, self.dial()).await;
        let why = match dialled {
            Ok(Ok(open)) => {
                state.number += 1;
                state.failed = None;
                state.open = Some(open.clone());
                return Ok((open, state.number));
            }
            Ok(Err(error)) => said(&error),
            Err(_) => "no connection within a second".to_owned(),
        };
        state.failed = Some(Instant::now());
        Err(self.is_lost(&why))
    }

    async fn dial(&self) -> Result<MultiplexedConnection, RedisError> {
        // Time is kept here, for the whole of it.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let dialled = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        let mut open = dialled.await?;
        // Whoever may not ask is told nothing.
        let about: Result<String, _> = ::redis::cmd("INFO").query_async(&mut open).await;
        let about = about.unwrap_or_default();
        let said = |key: &str| {
            let mut lines = about.lines().filter_map(|line| line.split_once(':'));
            lines.find_map(|(name, value)| (name == key).then(|| value.trim()))
        };
        if let Some(why) = said("redis_mode").and_then(unfit) {
            let _known = self.unfit.set(why);
            return Err((RedisErrorKind::InvalidClientConfig, why).into());
        }
        // A Redis that has lost its memory begins a new one here, before anybody logs in.
        let mut begin = ::redis::cmd("SET");
        begin
            .arg(SINCE)
            .arg(Timestamp::now().as_millisecond())
            .arg("NX");
        // One that cannot be written, as a replica, may still answer.
        match begin.query_async::<()>(&mut open).await {
            Err(error) if !is_refusal(&error) => return Err(error),
            _ => {}
        }
        if let Some(policy) = said("maxmemory_policy").filter(|policy| *policy != "noeviction")
            && !self.warned.swap(true, Ordering::AcqRel)
        {
            tracing::warn!(
                place = self.place,
                policy,
                "the store may forget what was revoked when its memory is full: set \
                 `maxmemory-policy noeviction`"
            );
        }
        Ok(open)
    }

    async fn close(&self, number: u64) {
        let mut state = self.state.lock().await;
        if state.number == number {
            state.open = None;
        }
    }

    fn is_lost(&self, why: &str) -> Error {
        if !self.lost.swap(true, Ordering::AcqRel) {
            tracing::error!(
                place = self.place,
                why,
                "the store is not available: what needs it is refused until it is back"
            );
        }
        self.unavailable(why)
    }

    fn refused(&self, error: &RedisError) -> Error {
        let why = said(error);
        self.tell(&why);
        self.unavailable(&why)
    }

    fn tell(&self, why: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            tracing::error!(place = self.place, why, "the store refuses");
        }
    }

    fn unavailable(&self, why: &str) -> Error {
        let message = "what the gateways share is not available now; try again in a moment, or \
                       tell who keeps the gateway";
        let source = format!("redis at {}: {why}", self.place);
        Error::new(ErrorKind::Unavailable, message).with_source(source)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Why a server of this `redis_mode` is none that can be used.
fn unfit(mode: &str) -> Option<&'static str> {
    match mode {
        "cluster" => Some(CLUSTER),
        "sentinel" => Some(SENTINEL),
        _ => None,
    }
}

/// Whether the server answered, and the connection is good for the next question.
fn is_refusal(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        RedisErrorKind::Server(_)
            | RedisErrorKind::Extension
            | RedisErrorKind::UnexpectedReturnType
    )
}

/// What went wrong, in one line. A server's words are about keys and types: what is put into the
/// store is arguments of scripts, which it does not repeat.
fn said(error: &RedisError) -> String {
    let line = error.to_string().replace(['\n', '\r'], " ");
    line.chars().take(200).collect()
}
