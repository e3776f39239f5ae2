//! A [`Store`] in a Redis that gateways share.
//!
//! Keys, beside the lists that Dockin-Ops has there (`raw_cmd`, `common_cmd`, `rule_access`,
//! `RULE_whitelist`):
//!
//! | key | type | what |
//! | --- | --- | --- |
//! | `dockin:sessions:since` | string | since when this Redis remembers what was revoked, ms |
//! | `dockin:revoked:ID` | string | a session token that was revoked, until it expires |
//! | `dockin:signer:ID` | string | the public key of a gateway's session tokens, while one may be good |
//! | `dockin:accounts` | hash | user name to account as JSON, with the hash of its password |
//! | `dockin:agents` | hash | name of an agent to it, or what invites it, as JSON; hashes alone |
//! | `dockin:agents:version` | string | another one after each change of an agent |
//! | `dockin:ended:USER` | string | from when on the sessions of one without account count, ms |
//! | `dockin:token:SHA256` | string | a personal token's record as JSON, until it expires |
//! | `dockin:tokens:USER` | hash | id to hash of his personal tokens |
//! | `dockin:count:WHAT:SHA256` | string | attempts, as the time when all are forgotten, ms |
//! | `dockin:gateways` | set | ids of gateways |
//! | `dockin:live:GATEWAY` | hash | its open sessions as JSON, for 15 s |
//!
//! Pods and nodes, when they are cached, are under the keys of Dockin-Ops, which know no namespaces
//! and clusters; so each is also under one of ours, and who is found by a name is decided there:
//!
//! | key | type | what |
//! | --- | --- | --- |
//! | `5582:p_POD_y`, `5582:n_NODE_y` | string | the object as JSON |
//! | `5582:p_u_UID` | string | the pod as JSON, for seven days |
//! | `dockin:p:POD`, `dockin:n:NODE` | hash | `CLUSTER/NAMESPACE` to the object as JSON |
//! | `dockin:cached:p:CLUSTER`, `dockin:cached:n:CLUSTER` | set | `NAMESPACE/NAME` |
//! | `dockin:lease:WHAT` | string | the gateway that does it |
//!
//! One server, or one primary with replicas and a name that follows it; no Redis Cluster, whose nodes
//! cannot run a script on keys of several slots, and no Sentinel: both are refused with what to do.
//! Redis 6 and newer, and what speaks as it does.

mod connection;
mod script;

use std::{fmt, fs, path::PathBuf, time::Duration};

use ::redis::{
    Client, ConnectionAddr, IntoConnectionInfo as _, Script, ScriptInvocation, TlsCertificates,
};
use async_trait::async_trait;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use self::connection::{CLUSTER, Connection, SENTINEL, SINCE};
use super::{
    CountKey, Lease, List, LiveSession, ObjectKind, ObjectPlace, SESSIONS_KEPT, SessionNews, Store,
};
use crate::{
    Error, ErrorKind,
    hex::hex,
    identity::{AccountRecord, SharedAgent, TokenRecord},
};

/// Where a Redis is, and how to know each other.
#[derive(Clone, Default)]
// Exhaustive: a configuration fills it.
pub struct RedisOptions {
    /// `redis://HOST:PORT/DATABASE`, `rediss://…` for TLS, or `redis+unix:///PATH`.
    pub url: String,
    /// User name, for servers with more than one.
    pub user: Option<String>,
    /// File with the password on its first line.
    pub password_file: Option<PathBuf>,
    /// PEM of the authority that signed the server's certificate; those of the system, without.
    pub authority: Option<PathBuf>,
}

/// A Redis that gateways share. Nothing is sent before somebody asks.
#[derive(Debug)]
pub struct RedisStore(Connection);

const REVOKED: &str = "dockin:revoked:";
const SIGNER: &str = "dockin:signer:";
const ACCOUNTS: &str = "dockin:accounts";
const AGENTS: &str = "dockin:agents";
const AGENTS_VERSION: &str = "dockin:agents:version";
const ENDED: &str = "dockin:ended:";
const TOKEN: &str = "dockin:token:";
const TOKENS: &str = "dockin:tokens:";
const COUNT: &str = "dockin:count:";
const GATEWAYS: &str = "dockin:gateways";
const LIVE: &str = "dockin:live:";

const LEASE: &str = "dockin:lease:";
const POD_BY_UID: &str = "5582:p_u_";
/// How long a pod is found by its uid, in seconds.
const POD_BY_UID_KEPT: u32 = 7 * 24 * 60 * 60;

/// Bytes of a personal token's record: names have 253 bytes at most, and a note 100.
const MAX_TOKEN: usize = 8 * 1024;
/// Bytes of a public key in base64url, and of a time.
const MAX_SHORT: usize = 64;
/// Bytes of an account: two hundred groups of the longest names.
const MAX_ACCOUNT: usize = 64 * 1024;
/// Bytes of an agent: two certificates and an invitation.
const MAX_AGENT: usize = 8 * 1024;
/// Agents, and bytes of them.
const MAX_AGENTS: (usize, usize) = (50_000, 64 * 1024 * 1024);
/// Bytes of all sessions: some forty thousand.
const MAX_SESSIONS: usize = 16 * 1024 * 1024;
/// Members of a list.
const MAX_MEMBERS: usize = 20_000;
/// Bytes of a list.
const MAX_LIST: usize = 1024 * 1024;
/// Cached objects of a cluster, and bytes of their names.
const MAX_CACHED: (usize, usize) = (500_000, 128 * 1024 * 1024);
/// How far the clocks of two gateways may be apart, in seconds.
const SKEW: i64 = 60;

impl RedisStore {
    /// The Redis that `options` describe.
    ///
    /// # Errors
    ///
    /// `Misuse` when the URL is none, or a file cannot be read; neither is quoted when it has a
    /// secret.
    pub fn open(options: &RedisOptions) -> Result<Self, Error> {
        let misuse = |what: &str| Error::new(ErrorKind::Misuse, format!("store: {what}"));
        let scheme = options.url.split("://").next().unwrap_or_default();
        for (word, why) in [("cluster", CLUSTER), ("sentinel", SENTINEL)] {
            if scheme.contains(word) {
                return Err(misuse(&format!("what the URL names {why}")));
            }
        }
        let shape = "the URL is not as `redis://HOST:6379/0`, `rediss://…` or `redis+unix:///PATH`";
        if options.url.contains('#') {
            // `#insecure` would switch the check of the certificate off.
            return Err(misuse(shape));
        }
        let info = options.url.as_str().into_connection_info();
        let mut info = info.map_err(|_| misuse(shape))?;
        let mut settings = info.redis_settings().clone().set_skip_set_lib_name();
        if let Some(user) = &options.user {
            settings = settings.set_username(user);
        }
        if let Some(file) = &options.password_file {
            let text = fs::read_to_string(file).map_err(|error| {
                misuse(&format!(
                    "password file `{}` cannot be read",
                    file.display()
                ))
                .with_source(error)
            })?;
            let password = text.lines().next().unwrap_or_default();
            if password.is_empty() {
                return Err(misuse(&format!(
                    "password file `{}` is empty",
                    file.display()
                )));
            }
            settings = settings.set_password(password);
        }
        info = info.set_redis_settings(settings);
        let over_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let client = match &options.authority {
            None => Client::open(info),
            Some(_) if !over_tls => {
                return Err(misuse(
                    "`authority` is for URLs that begin with `rediss://`",
                ));
            }
            Some(file) => {
                let authority = fs::read(file).map_err(|error| {
                    misuse(&format!("authority `{}` cannot be read", file.display()))
                        .with_source(error)
                })?;
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(authority),
                };
                Client::build_with_tls(info, certificates)
            }
        };
        let client = client.map_err(|error| misuse("cannot be used").with_source(error))?;
        Ok(Self(Connection::new(client)))
    }

    fn record(&self, json: &str) -> Result<TokenRecord, Error> {
        self.parsed(json, "a personal token's record is none")
    }

    /// Whether the server is one that can be used: that it does not answer now is no reason that it
    /// is not.
    ///
    /// # Errors
    ///
    /// `Misuse` when it is of a Redis Cluster, or a Sentinel; the message says what to give.
    pub async fn check(&self) -> Result<(), Error> {
        self.0.fits().await
    }

    fn shared_agent(&self, json: &str) -> Result<SharedAgent, Error> {
        let one: SharedAgent = self.parsed(json, "an agent's record is none")?;
        let agent = one.agent.as_ref().map(|agent| &agent.name);
        let invited = one.invitation.as_ref().map(|invited| &invited.name);
        if agent
            .into_iter()
            .chain(invited)
            .any(|name| *name != one.name)
        {
            return Err(self.0.unreadable("an agent's record is another's"));
        }
        Ok(one)
    }

    fn parsed<T: DeserializeOwned>(&self, json: &str, what: &str) -> Result<T, Error> {
        serde_json::from_str(json).map_err(|_| self.0.unreadable(what))
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn revoke_session(&self, id: &str, until: Timestamp) -> Result<(), Error> {
        let seconds = until.as_second() - Timestamp::now().as_second() + SKEW;
        let mut call = script::REVOKE.key(format!("{REVOKED}{id}"));
        self.0.run(call.arg(seconds.max(SKEW))).await
    }

    async fn is_session_revoked(&self, id: &str, issued: Timestamp) -> Result<bool, Error> {
        let mut call = script::IS_REVOKED.key(SINCE);
        call.key(format!("{REVOKED}{id}"))
            .arg(Timestamp::now().as_millisecond())
            .arg(issued.as_millisecond());
        let answer: i64 = self.0.run(&call).await?;
        Ok(answer != 0)
    }

    async fn publish_signer(&self, id: &str, public: &str, until: Timestamp) -> Result<(), Error> {
        let seconds = until.as_second() - Timestamp::now().as_second() + SKEW;
        let mut call = script::PUBLISH_SIGNER.key(format!("{SIGNER}{id}"));
        self.0.run(call.arg(public).arg(seconds.max(SKEW))).await
    }

    async fn signer(&self, id: &str) -> Result<Option<String>, Error> {
        let mut call = script::TEXT.key(format!("{SIGNER}{id}"));
        self.0.run(call.arg(MAX_SHORT)).await
    }

    async fn account(&self, user: &str) -> Result<Option<(AccountRecord, String)>, Error> {
        let mut call = script::ACCOUNT.key(ACCOUNTS);
        let found: Vec<String> = self.0.run(call.arg(user).arg(MAX_ACCOUNT)).await?;
        let [json, version] = found.as_slice() else {
            return Ok(None);
        };
        let record: AccountRecord = self.parsed(json, "an account's record is none")?;
        if record.user != user {
            return Err(self.0.unreadable("an account's record is another's"));
        }
        Ok(Some((record, version.clone())))
    }

    async fn change_account(
        &self,
        user: &str,
        version: Option<&str>,
        account: Option<&AccountRecord>,
    ) -> Result<bool, Error> {
        let json = account.map(serde_json::to_string).transpose();
        let json = json.map_err(|error| {
            Error::new(ErrorKind::Misuse, "an account that is no JSON").with_source(error)
        })?;
        let json = json.unwrap_or_default();
        if json.len() > MAX_ACCOUNT {
            let message = format!("the account of `{user}` has too many groups; take some out");
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        let mut call = script::CHANGE.key(ACCOUNTS);
        let call = call.arg(user).arg(version.unwrap_or_default()).arg(json);
        Ok(self.0.run::<i64>(call).await? != 0)
    }

    async fn agents(
        &self,
        known: Option<&str>,
    ) -> Result<Option<(String, Vec<SharedAgent>)>, Error> {
        let mut call = script::AGENTS.key(AGENTS);
        call.key(AGENTS_VERSION)
            .arg(known.unwrap_or_default())
            .arg(MAX_AGENTS.0)
            .arg(MAX_AGENTS.1);
        let found: Vec<String> = self.0.run(&call).await?;
        let Some((version, all)) = found.split_first() else {
            return Err(self.0.unreadable("the agents have no version"));
        };
        if let [same] = all
            && same == "="
        {
            return Ok(None);
        }
        let parse = |json: &String| self.shared_agent(json);
        let agents: Result<Vec<SharedAgent>, Error> = all.iter().map(parse).collect();
        Ok(Some((version.clone(), agents?)))
    }

    async fn agent(&self, name: &str) -> Result<Option<(SharedAgent, String)>, Error> {
        let mut call = script::ACCOUNT.key(AGENTS);
        let found: Vec<String> = self.0.run(call.arg(name).arg(MAX_AGENT)).await?;
        let [json, version] = found.as_slice() else {
            return Ok(None);
        };
        let agent = self.shared_agent(json)?;
        if agent.name != name {
            return Err(self.0.unreadable("an agent's record is another's"));
        }
        Ok(Some((agent, version.clone())))
    }

    async fn change_agent(
        &self,
        name: &str,
        version: Option<&str>,
        agent: Option<&SharedAgent>,
    ) -> Result<bool, Error> {
        let json = agent.map(serde_json::to_string).transpose();
        let json = json.map_err(|error| {
            Error::new(ErrorKind::Misuse, "an agent that is no JSON").with_source(error)
        })?;
        let mut call = script::CHANGE.key(AGENTS);
        let call = call.key(AGENTS_VERSION).arg(name);
        let call = call
            .arg(version.unwrap_or_default())
            .arg(json.unwrap_or_default());
        Ok(self.0.run::<i64>(call).await? != 0)
    }

    async fn end_user(&self, user: &str, from: Timestamp, kept: Duration) -> Result<(), Error> {
        let mut call = script::END_USER.key(format!("{ENDED}{user}"));
        let call = call.arg(from.as_millisecond()).arg(kept.as_secs().max(1));
        self.0.run(call).await
    }

    async fn user_ended(&self, user: &str) -> Result<Option<Timestamp>, Error> {
        let mut call = script::TEXT.key(format!("{ENDED}{user}"));
        let found: Option<String> = self.0.run(call.arg(MAX_SHORT)).await?;
        let Some(found) = found else {
            return Ok(None);
        };
        let time = found.parse().ok();
        let time = time.and_then(|time| Timestamp::from_millisecond(time).ok());
        let unreadable = || {
            self.0
                .unreadable("the end of somebody's sessions is no time")
        };
        time.map(Some).ok_or_else(unreadable)
    }

    async fn add_token(&self, record: &TokenRecord, most: usize) -> Result<bool, Error> {
        let malformed = || Error::new(ErrorKind::Misuse, "a shared token has an id and an end");
        let (id, expires) = record
            .personal
            .as_ref()
            .zip(record.expires)
            .ok_or_else(malformed)?;
        let json = serde_json::to_string(record).map_err(|error| malformed().with_source(error))?;
        let seconds = expires.as_second() - Timestamp::now().as_second();
        let mut call = script::ADD_TOKEN.key(format!("{TOKEN}{}", record.token_sha256));
        call.key(format!("{TOKENS}{}", record.user))
            .arg(json)
            .arg(seconds.max(1))
            .arg(id)
            .arg(&record.token_sha256)
            .arg(most)
            .arg(TOKEN);
        let added: i64 = self.0.run(&call).await?;
        Ok(added != 0)
    }

    async fn token(&self, token_sha256: &str) -> Result<Option<TokenRecord>, Error> {
        let mut call = script::TEXT.key(format!("{TOKEN}{token_sha256}"));
        let found: Option<String> = self.0.run(call.arg(MAX_TOKEN)).await?;
        let Some(json) = found else {
            return Ok(None);
        };
        let record = self.record(&json)?;
        if record.token_sha256 != token_sha256 || record.personal.is_none() {
            return Err(self.0.unreadable("a personal token's record is another's"));
        }
        Ok(Some(record))
    }

    async fn tokens_of(&self, user: &str) -> Result<Vec<TokenRecord>, Error> {
        let mut call = script::TOKENS_OF.key(format!("{TOKENS}{user}"));
        let found: Vec<String> = self.0.run(call.arg(MAX_TOKEN).arg(TOKEN)).await?;
        let records: Result<Vec<_>, _> = found.iter().map(|json| self.record(json)).collect();
        let mut records = records?;
        records.retain(|record| record.user == user);
        Ok(records)
    }

    async fn remove_token(&self, user: &str, id: &str) -> Result<bool, Error> {
        let mut call = script::REMOVE_TOKEN.key(format!("{TOKENS}{user}"));
        let removed: i64 = self.0.run(call.arg(id).arg(TOKEN)).await?;
        Ok(removed != 0)
    }

    async fn count(&self, key: &CountKey<'_>) -> Result<Option<Duration>, Error> {
        let mut call = script::COUNT.key(count_key(key));
        let call = call.arg(milliseconds(key.every)).arg(key.burst);
        let wait: u64 = self.0.run(call).await?;
        Ok((wait > 0).then(|| Duration::from_millis(wait)))
    }

    async fn uncount(&self, key: &CountKey<'_>) -> Result<(), Error> {
        let mut call = script::UNCOUNT.key(count_key(key));
        self.0.run(call.arg(milliseconds(key.every))).await
    }

    async fn tell_sessions(&self, gateway: &str, news: &SessionNews) -> Result<bool, Error> {
        let mut call = script::TELL_SESSIONS.key(GATEWAYS);
        call.key(format!("{LIVE}{gateway}"))
            .arg(gateway)
            .arg(milliseconds(SESSIONS_KEPT))
            .arg(u8::from(news.afresh))
            .arg(news.opened.len())
            .arg(news.open);
        for session in &news.opened {
            let json = serde_json::to_string(session).map_err(|error| {
                Error::new(ErrorKind::Misuse, "a session that is no JSON").with_source(error)
            })?;
            call.arg(&session.id).arg(json);
        }
        for id in &news.ended {
            call.arg(id);
        }
        let same: i64 = self.0.run(&call).await?;
        Ok(same != 0)
    }

    async fn sessions(&self) -> Result<Vec<LiveSession>, Error> {
        let mut call = script::SESSIONS.key(GATEWAYS);
        let found: Vec<String> = self.0.run(call.arg(LIVE).arg(MAX_SESSIONS)).await?;
        let parse = |json: &String| self.parsed(json, "a session's record is none");
        found.iter().map(parse).collect()
    }

    async fn list(&self, list: &List) -> Result<Vec<String>, Error> {
        let mut call = script::LIST.key(list_key(list));
        self.0.run(call.arg(MAX_MEMBERS).arg(MAX_LIST)).await
    }

    async fn change_list(
        &self,
        list: &List,
        add: &[String],
        remove: &[String],
    ) -> Result<(), Error> {
        let mut call = script::CHANGE_LIST.key(list_key(list));
        call.arg(add.len());
        for member in add.iter().chain(remove) {
            call.arg(member);
        }
        self.0.run(&call).await
    }

    async fn lease(&self, what: &str, who: &str, time: Duration) -> Result<Lease, Error> {
        let mut call = script::LEASE.key(format!("{LEASE}{what}"));
        let holder: u8 = self.0.run(call.arg(who).arg(milliseconds(time))).await?;
        Ok(match holder {
            0 => Lease::Others,
            1 => Lease::Kept,
            _ => Lease::Taken,
        })
    }

    async fn cache_object(
        &self,
        place: &ObjectPlace<'_>,
        uid: &str,
        json: &str,
    ) -> Result<(), Error> {
        let mut call = about_object(&script::CACHE_OBJECT, place);
        if place.kind == ObjectKind::Pod && !uid.is_empty() {
            call.key(format!("{POD_BY_UID}{uid}"));
        }
        call.arg(json).arg(POD_BY_UID_KEPT);
        self.0.run(&call).await
    }

    async fn uncache_object(&self, place: &ObjectPlace<'_>) -> Result<(), Error> {
        let mut call = about_object(&script::UNCACHE_OBJECT, place);
        call.arg(match place.kind {
            ObjectKind::Pod => POD_BY_UID,
            ObjectKind::Node => "",
        });
        self.0.run(&call).await
    }

    async fn cached_objects(
        &self,
        kind: ObjectKind,
        cluster: &str,
    ) -> Result<Vec<(String, String)>, Error> {
        let mut call = script::LIST.key(cached_key(kind, cluster));
        let found: Vec<String> = self.0.run(call.arg(MAX_CACHED.0).arg(MAX_CACHED.1)).await?;
        let parted = found.iter().filter_map(|member| member.split_once('/'));
        let owned = parted.map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
        Ok(owned.collect())
    }
}

impl fmt::Debug for RedisOptions {
    /// Without the URL, which may have a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("user", &self.user)
            .field("password_file", &self.password_file)
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

/// What somebody typed as his name may be his password: only a hash of it is kept.
fn count_key(key: &CountKey<'_>) -> String {
    let hash = hex(&Sha256::digest(key.whom.as_bytes()));
    format!("{COUNT}{}:{hash}", key.what)
}

/// All of its name, the one that is found by it, and all of its cluster.
/// A script with what both of these begin with: the keys of an object, and where it is.
fn about_object<'a>(script: &'a Script, place: &ObjectPlace<'_>) -> ScriptInvocation<'a> {
    let mut call = script.prepare_invoke();
    for key in object_keys(place) {
        call.key(key);
    }
    let ObjectPlace {
        cluster,
        namespace,
        name,
        ..
    } = place;
    call.arg(format!("{cluster}/{namespace}"))
        .arg(format!("{namespace}/{name}"));
    call
}

fn object_keys(place: &ObjectPlace<'_>) -> [String; 3] {
    let (letter, name) = (letter(place.kind), place.name);
    [
        format!("dockin:{letter}:{name}"),
        format!("5582:{letter}_{name}_y"),
        cached_key(place.kind, place.cluster),
    ]
}

fn cached_key(kind: ObjectKind, cluster: &str) -> String {
    format!("dockin:cached:{}:{cluster}", letter(kind))
}

const fn letter(kind: ObjectKind) -> char {
    match kind {
        ObjectKind::Pod => 'p',
        ObjectKind::Node => 'n',
    }
}

fn list_key(list: &List) -> String {
    match list {
        List::RawCommands => "raw_cmd".to_owned(),
        List::CommonCommands => "common_cmd".to_owned(),
        List::Rules => "rule_access".to_owned(),
        List::Addresses(rule) => format!("{rule}_whitelist"),
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
