//! What gateways behind one address share.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use dockin_core::{
    Error, ErrorKind,
    store::{
        CommandFilter, FollowOptions,
        redis::{RedisOptions, RedisStore},
    },
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::Age;

/// The store: its URL, or all that can be said about it.
pub(crate) struct Store {
    redis: RedisOptions,
    commands: Option<Commands>,
    rule_addresses: bool,
    object_cache: bool,
    every: Age,
    stale: Age,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    url: String,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    password_file: Option<PathBuf>,
    #[serde(default)]
    authority: Option<PathBuf>,
    /// Judge commands by the lists in the store, in place of the rule file.
    #[serde(default)]
    commands: Option<Commands>,
    /// Let clusters with a rule be reached from the addresses in the store alone.
    #[serde(default)]
    rule_addresses: bool,
    /// Keep pods and nodes of all clusters in the store.
    #[serde(default)]
    object_cache: bool,
    /// How often lists are read.
    #[serde(default = "often")]
    lists_every: Age,
    /// How long lists count that cannot be read again.
    #[serde(default = "long")]
    lists_stale: Age,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Commands {
    Whitelist,
    Blacklist,
}

const fn often() -> Age {
    Age(Duration::from_secs(5))
}

const fn long() -> Age {
    Age(Duration::from_secs(5 * 60))
}

impl Store {
    /// The store at `url`, and nothing more.
    pub(super) fn at(url: &str) -> Self {
        Self {
            redis: RedisOptions {
                url: url.to_owned(),
                ..RedisOptions::default()
            },
            commands: None,
            rule_addresses: false,
            object_cache: false,
            every: often(),
            stale: long(),
        }
    }

    /// The same at another URL. It comes from a command line, which everybody on the machine can
    /// read.
    ///
    /// # Errors
    ///
    /// `Misuse` when it has a password in it.
    pub(super) fn replace_url(&mut self, url: &str) -> Result<(), Error> {
        let authority = url.split("://").nth(1).unwrap_or_default();
        let authority = authority.split('/').next().unwrap_or_default();
        if authority.contains('@') || url.contains("pass=") {
            let fix = "`--store` has a password in it, which everybody on this machine can read: \
                       put `store: { url, password_file }` into the configuration";
            return Err(Error::new(ErrorKind::Misuse, fix));
        }
        url.clone_into(&mut self.redis.url);
        Ok(())
    }

    /// Opens it.
    ///
    /// # Errors
    ///
    /// `Misuse` when its URL is none, or a file cannot be read.
    pub(crate) fn open(&self) -> Result<Arc<RedisStore>, Error> {
        RedisStore::open(&self.redis).map(Arc::new)
    }

    /// What the command lists in it are, if they judge.
    pub(crate) fn commands(&self) -> Option<CommandFilter> {
        self.commands.map(|commands| match commands {
            Commands::Whitelist => CommandFilter::Whitelist,
            Commands::Blacklist => CommandFilter::Blacklist,
        })
    }

    /// Whether its lists of addresses count.
    pub(crate) const fn has_rule_addresses(&self) -> bool {
        self.rule_addresses
    }

    /// Whether pods and nodes are kept in it.
    pub(crate) const fn has_object_cache(&self) -> bool {
        self.object_cache
    }

    /// How its lists are followed.
    pub(crate) const fn follow(&self) -> FollowOptions {
        FollowOptions {
            every: self.every.0,
            stale: self.stale.0,
        }
    }

    /// How long what was read of it counts when it cannot be read again.
    pub(crate) const fn stale(&self) -> Duration {
        self.stale.0
    }

    /// The Redis itself, without a secret.
    pub(crate) fn place(&self) -> &str {
        let authority = self.redis.url.split("://").nth(1).unwrap_or_default();
        authority.rsplit('@').next().unwrap_or_default()
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        if self.every.0.is_zero() || self.stale.0 <= self.every.0 {
            let what = "`lists_stale` must be longer than `lists_every`, and that at least 1s";
            return Err(Error::new(ErrorKind::Misuse, what));
        }
        Ok(())
    }

    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let RedisOptions {
            password_file,
            authority,
            ..
        } = &mut self.redis;
        password_file.iter_mut().chain(authority)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("redis", &self.redis)
            .finish_non_exhaustive()
    }
}

impl<'de> Deserialize<'de> for Store {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Both;

        impl<'de> Visitor<'de> for Both {
            type Value = Store;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a URL such as redis://HOST:6379/0, or `url`, and so on")
            }

            fn visit_str<E>(self, url: &str) -> Result<Store, E> {
                Ok(Store::at(url))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Store, A::Error> {
                let fields = Fields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Store {
                    redis: RedisOptions {
                        url: fields.url,
                        user: fields.user,
                        password_file: fields.password_file,
                        authority: fields.authority,
                    },
                    commands: fields.commands,
                    rule_addresses: fields.rule_addresses,
                    object_cache: fields.object_cache,
                    every: fields.lists_every,
                    stale: fields.lists_stale,
                })
            }
        }

        deserializer.deserialize_any(Both)
    }
}

/// Puts the URL of `--store` into the configuration.
///
/// # Errors
///
/// `Misuse` when it has a password in it.
pub(crate) fn override_url(store: &mut Option<Store>, url: Option<&str>) -> Result<(), Error> {
    let Some(url) = url else { return Ok(()) };
    store.get_or_insert_with(|| Store::at(url)).replace_url(url)
}

/// Puts paths of a configuration in `base` right.
pub(super) fn resolve(store: &mut Option<Store>, base: &Path) {
    for path in store.iter_mut().flat_map(Store::paths) {
        *path = base.join(&*path);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::path::Path;

    use super::{Store, override_url, resolve};

    #[test]
    fn a_password_is_neither_shown_nor_taken_from_the_command_line() {
        let text = "{ url: 'redis://:hunter2@redis:6379/1', authority: ca.pem }";
        let mut store: Option<Store> = Some(serde_saphyr::from_str(text).unwrap());
        assert!(!format!("{store:?}").contains("hunter2"));
        for url in [
            "redis://:hunter2@redis:6379",
            "redis+unix:///run/redis.sock?pass=hunter2",
        ] {
            let error = override_url(&mut store, Some(url)).unwrap_err().chain();
            assert!(
                error.contains("password_file") && !error.contains("hunter2"),
                "{error}"
            );
        }
        override_url(&mut store, Some("rediss://other:6379")).unwrap();
        resolve(&mut store, Path::new("/etc/dockin"));
        let shown = format!("{store:?}");
        assert!(shown.contains("/etc/dockin/ca.pem"), "{shown}");
    }

    #[test]
    fn what_is_no_store_is_refused_without_its_secrets() {
        for (text, words) in [
            ("'http://redis:6379'", "redis://HOST:6379/0"),
            ("'redis://:hunter2@redis:port'", "redis://HOST:6379/0"),
            ("'rediss://redis:6379/#insecure'", "redis://HOST:6379/0"),
            ("{ url: 'redis://redis', authority: ca.pem }", "rediss://"),
            ("{ url: 'redis://redis', password_file: none }", "`none`"),
        ] {
            let store: Store = serde_saphyr::from_str(text).unwrap();
            let error = store.open().unwrap_err().chain();
            assert!(
                error.contains(words) && !error.contains("hunter2"),
                "{error}"
            );
        }
        let store: Store =
            serde_saphyr::from_str("{ url: 'redis://redis', lists_every: 10m }").unwrap();
        assert!(store.check().is_err());
        assert!(serde_saphyr::from_str::<Store>("{ url: 'redis://redis', lists: [] }").is_err());
    }
}
