//! etcd version 3 through its JSON gateway: one `POST` a question. The gateway is part of every
//! etcd since 3.4, and needs of a plugin that runs for milliseconds neither HTTP/2 nor a runtime.
//! It refuses certificates of clients that have a CommonName: ours must be without.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    http::{exchange, split_answer},
    tls::Security,
};
use crate::{
    blocks::{Compare, Entry, Reply, Request, Store, Unanswered, Write},
    ipam::StoreConfig,
    meta::Trust,
};

/// For one question, all endpoints together.
const QUESTION: Duration = Duration::from_secs(2);
/// From the first question to the end of the last; runtimes give a plugin tens of seconds.
const DEADLINE: Duration = Duration::from_secs(5);

/// An etcd cluster.
pub struct Etcd {
    config: StoreConfig,
    trust: Trust,
    /// The endpoint that answered last.
    endpoint: usize,
    end: Option<Instant>,
    token: Option<String>,
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let endpoints = &self.config.endpoints;
        formatter.debug_tuple("Etcd").field(endpoints).finish()
    }
}

impl Etcd {
    /// Remembers where it is; nothing is asked yet.
    #[must_use]
    pub fn new(config: &StoreConfig) -> Self {
        Self {
            trust: Trust {
                authority: config.authority.clone(),
                identity: config.identity.clone(),
                token: None,
            },
            config: config.clone(),
            endpoint: 0,
            end: None,
            token: None,
        }
    }

    /// Asks one endpoint after the other until one answers. A transaction that is sent twice
    /// happens once: its conditions hold no longer then.
    fn post(&mut self, path: &str, body: &Value) -> Result<Value, Unanswered> {
        let now = Instant::now();
        let end = *self.end.get_or_insert(now + DEADLINE);
        let end = end.min(now + QUESTION);
        let count = self.config.endpoints.len();
        let mut failed = Unanswered("etcd: `ipam.store.endpoints` is empty".into());
        for left in (1..=count).rev() {
            let now = Instant::now();
            let share = end.saturating_duration_since(now) / u32::try_from(left).unwrap_or(1);
            if share.is_zero() {
                break;
            }
            match self.post_to(self.endpoint, path, body, now + share) {
                Ok(value) => return Ok(value),
                Err((message, true)) => failed = Unanswered(message),
                Err((message, false)) => return Err(Unanswered(message)),
            }
            self.endpoint = (self.endpoint + 1) % count;
        }
        Err(failed)
    }

    /// The answer, or what is wrong and whether another endpoint may do better.
    fn post_to(
        &self,
        endpoint: usize,
        path: &str,
        body: &Value,
        end: Instant,
    ) -> Result<Value, (String, bool)> {
        let url = self.config.endpoints.get(endpoint);
        let url = url.map(String::as_str).unwrap_or_default();
        let told = |what: &dyn Display| format!("etcd at `{url}`: {what}");
        let (authority, is_secret) = match url.strip_prefix("https://") {
            Some(rest) => (rest, true),
            None => (url.strip_prefix("http://").unwrap_or(url), false),
        };
        let authority = authority.trim_end_matches('/');
        let security = match is_secret {
            true => Some(Security::new(authority, &self.trust).map_err(|error| {
                // The same files have other names in the resource manager's configuration.
                let message = error.message.replace("`backend", "`ipam.store: ");
                (told(&message), false)
            })?),
            false => None,
        };
        let body = body.to_string();
        let token = match &self.token {
            Some(token) => format!("Authorization: {token}\r\n"),
            None => String::new(),
        };
        let request = format!(
            "POST /v3/{path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{token}Connection: close\r\n\r\n{body}",
            body.len()
        );
        let mut answer = Vec::new();
        exchange(authority, security.as_ref(), &request, end, &mut answer)
            .map_err(|error| (told(&error), true))?;
        let (status, body) = split_answer(&answer).map_err(|(what, _)| (told(&what), true))?;
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        match value {
            Some(value) if status == 200 => Ok(value),
            value => {
                let field = |name| value.as_ref()?.get(name)?.as_str().map(str::to_owned);
                let told_by = field("message").or_else(|| field("error"));
                // Some refusals are plain text.
                let text = || String::from_utf8_lossy(body.get(..200).unwrap_or(&body)).into();
                let message: String = told_by.unwrap_or_else(text);
                let message = format!("status {status}: {}", message.trim());
                // A member that is behind or has no leader says so with 503.
                Err((told(&message), status >= 500))
            }
        }
    }

    fn authenticate(&mut self) -> Result<(), Unanswered> {
        let (Some((user, file)), None) = (self.config.user.clone(), &self.token) else {
            return Ok(());
        };
        let wrong =
            |what: &dyn Display| Unanswered(format!("`ipam.store.passwordFile` `{file}`: {what}"));
        let password = std::fs::read_to_string(&file).map_err(|error| wrong(&error))?;
        let password = password.trim_end_matches(['\r', '\n']);
        let body = json!({"name": user, "password": password});
        let value = self.post("auth/authenticate", &body)?;
        let token = value.get("token").and_then(Value::as_str);
        let token = token.ok_or_else(|| wrong(&"etcd gave no token for it"))?;
        self.token = Some(token.to_owned());
        Ok(())
    }
}

impl Store for Etcd {
    fn ask(&mut self, request: &Request) -> Result<Reply, Unanswered> {
        self.authenticate()?;
        let (path, body) = encode(request);
        let value = self.post(path, &body)?;
        decode(request, &value)
            .ok_or_else(|| Unanswered(format!("etcd's answer is none to {request}")))
    }
}

fn encode(request: &Request) -> (&'static str, Value) {
    let gets = |keys: &mut dyn Iterator<Item = &str>| -> Vec<Value> {
        keys.map(|key| json!({"request_range": {"key": text(key)}}))
            .collect()
    };
    match request {
        Request::Commit(transaction) => {
            let compares = transaction.compares.iter();
            let compare: Vec<_> = compares
                .map(|compare| match compare {
                    Compare::Revision(key, revision) => json!({
                        "key": text(key), "target": "MOD", "result": "EQUAL",
                        "mod_revision": revision.to_string(),
                    }),
                    Compare::Created(key, revision) => json!({
                        "key": text(key), "target": "CREATE", "result": "EQUAL",
                        "create_revision": revision.to_string(),
                    }),
                })
                .collect();
            let writes = transaction.writes.iter();
            let success: Vec<_> = writes
                .map(|write| match write {
                    Write::Put(key, value, lease) => json!({"request_put": {
                        "key": text(key), "value": text(value),
                        "lease": lease.unwrap_or(0).to_string(),
                    }}),
                    Write::Delete(key) => json!({"request_delete_range": {"key": text(key)}}),
                })
                .collect();
            let failure = gets(&mut transaction.compares.iter().map(Compare::key));
            let body = json!({"compare": compare, "success": success, "failure": failure});
            ("kv/txn", body)
        }
        Request::Read(keys) => {
            let success = gets(&mut keys.iter().map(String::as_str));
            ("kv/txn", json!({ "success": success }))
        }
        Request::List {
            from,
            to,
            limit,
            keys_only,
        } => (
            "kv/range",
            json!({
                "key": text(from), "range_end": text(to),
                "limit": limit.to_string(), "keys_only": keys_only,
            }),
        ),
        Request::Grant { seconds } => ("lease/grant", json!({"TTL": seconds.to_string()})),
        Request::KeepAlive(lease) => ("lease/keepalive", json!({"ID": lease.to_string()})),
    }
}

fn decode(request: &Request, value: &Value) -> Option<Reply> {
    let read = |keys: &mut dyn Iterator<Item = &str>| -> Option<Reply> {
        let responses = value.get("responses").and_then(Value::as_array);
        let responses = responses.map(Vec::as_slice).unwrap_or_default();
        let mut entries = Vec::new();
        for (index, key) in keys.enumerate() {
            let range = responses.get(index)?.get("response_range")?;
            let entry = kvs(range)?.into_iter().next().map(|(_, entry)| entry);
            entries.push((key.to_owned(), entry));
        }
        Some(Reply::Read(entries))
    };
    Some(match request {
        Request::Commit(transaction) => {
            if value.get("succeeded").and_then(Value::as_bool) == Some(true) {
                return Some(Reply::Committed(number(value.get("header")?, "revision")?));
            }
            return read(&mut transaction.compares.iter().map(Compare::key));
        }
        Request::Read(keys) => return read(&mut keys.iter().map(String::as_str)),
        Request::List { .. } => {
            let more = value.get("more").and_then(Value::as_bool);
            Reply::Listed(kvs(value)?, more == Some(true))
        }
        Request::Grant { .. } => {
            let seconds = u64::try_from(number(value, "TTL")?).ok()?;
            Reply::Lease(number(value, "ID")?, seconds)
        }
        Request::KeepAlive(_) => {
            let result = value.get("result")?;
            // Without the key it is 0: the lease has ended.
            let seconds = number(result, "TTL").unwrap_or(0);
            Reply::Lease(number(result, "ID")?, u64::try_from(seconds).unwrap_or(0))
        }
    })
}

/// The entries of a range; without their values where only keys were asked for.
fn kvs(range: &Value) -> Option<Vec<(String, Entry)>> {
    let list = range.get("kvs").and_then(Value::as_array);
    let list = list.map(Vec::as_slice).unwrap_or_default();
    let entries = list.iter().map(|kv| {
        let decoded = |name: &str| {
            let text = kv.get(name).and_then(Value::as_str).unwrap_or_default();
            String::from_utf8(BASE64_STANDARD.decode(text).ok()?).ok()
        };
        let entry = Entry {
            value: decoded("value")?,
            revision: number(kv, "mod_revision")?,
            created: number(kv, "create_revision")?,
        };
        Some((decoded("key")?, entry))
    });
    entries.collect()
}

/// The gateway writes long numbers as texts.
fn number(at: &Value, name: &str) -> Option<i64> {
    at.get(name)?.as_str()?.parse().ok()
}

fn text(bytes: &str) -> String {
    BASE64_STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde_json::json;

    use super::{Reply, Request, decode};

    #[test]
    fn an_answer_that_is_none_to_the_question_is_no_answer() {
        let read = Request::Read(vec!["a".into()]);
        for value in [
            json!({}),
            json!([]),
            json!({"responses": []}),
            json!({"responses": [{"response_put": {}}]}),
            json!({"responses": [{"response_range": {"kvs": [{"key": "YQ=="}]}}]}),
            json!({"responses": [{"response_range": {"kvs": [
                {"key": "%", "mod_revision": "1", "create_revision": "1"}
            ]}}]}),
        ] {
            assert_eq!(decode(&read, &value), None, "{value}");
        }
        let value = json!({"responses": [{"response_range": {}}]});
        let absent = Reply::Read(vec![("a".into(), None)]);
        assert_eq!(decode(&read, &value), Some(absent));
        let ended = decode(&Request::KeepAlive(5), &json!({"result": {"ID": "5"}}));
        assert_eq!(ended, Some(Reply::Lease(5, 0)));
    }
}
