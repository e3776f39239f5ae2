//! The plugins of a pod's networks: run in order, undone in reverse order.

use serde_json::Value;

use super::{
    Ran,
    config::{Delegate, MetaConfig, to_value},
    merge::{Part, merge},
    plugin::{Meta, io_error},
    record::Intent,
};
use crate::cni::{CniError, CniResult, Environment, ErrorCode, Json, Verb, Version};

impl Meta<'_> {
    /// Runs every plugin; when one fails, how many of them there is something to undo of.
    pub(super) fn make(
        &mut self,
        config: &MetaConfig,
        intent: &mut Intent,
    ) -> Result<CniResult, (CniError, usize)> {
        let mut parts = Vec::new();
        let mut previous: Option<Value> = None;
        for index in 0..intent.delegates.len() {
            let Some(delegate) = intent.delegates.get(index).cloned() else {
                break;
            };
            let added = self.call(config, intent, &delegate, Verb::Add, previous.as_ref());
            let added = added.and_then(|stdout| read_result(&delegate, &stdout));
            let (value, result) = added.map_err(|error| {
                // An interface that was there before is not ours to remove.
                let is_others = error.code() == ErrorCode::ATTACHMENT && delegate.is_own_bridge();
                (error, index + usize::from(!is_others))
            })?;
            if delegate.last {
                parts.push(Part {
                    master: delegate.master,
                    interface: delegate.interface.clone(),
                    result,
                });
                previous = None;
            } else {
                previous = Some(value.clone());
            }
            if let Some(delegate) = intent.delegates.get_mut(index) {
                delegate.result = Some(value);
            }
        }
        Ok(merge(parts, &intent.netns))
    }

    /// Undoes everything in reverse order, also after an error; the first error is told.
    pub(super) fn undo(&mut self, config: &MetaConfig, intent: &Intent) -> Result<(), CniError> {
        let mut failed = None;
        let mut of_network: Option<&Value> = None;
        for delegate in intent.delegates.iter().rev() {
            if delegate.last {
                of_network = delegate.result.as_ref();
            }
            let previous = of_network.filter(|_| delegate.version() >= Version::V0_4_0);
            if let Err(error) = self.call(config, intent, delegate, Verb::Del, previous) {
                self.log(config, &format!("DEL {}: {error}", intent.container_id));
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Has every network's plugins collect, each told which of its interfaces are to stay: those
    /// of `kept` and `others`, and what the runtime lists, should a record of it be lost.
    pub(super) fn collect_delegates(
        &mut self,
        config: &MetaConfig,
        kept: &[Intent],
        others: &[Intent],
        valid: &[(String, String)],
    ) -> Vec<String> {
        let mut failed = Vec::new();
        let mut done: Vec<(String, String)> = Vec::new();
        fn delegates(of: &[Intent]) -> impl Iterator<Item = (&Intent, &Delegate)> + Clone {
            of.iter()
                .flat_map(|intent| intent.delegates.iter().map(move |it| (intent, it)))
        }
        for (intent, delegate) in delegates(kept) {
            let key = (delegate.network().to_owned(), delegate.kind().to_owned());
            if delegate.version() < Version::V1_1_0 || done.contains(&key) {
                continue;
            }
            let ours = delegates(kept)
                .chain(delegates(others))
                .filter(|(_, other)| other.network() == delegate.network())
                .map(|(intent, other)| (&intent.container_id, &other.interface));
            let listed = valid
                .iter()
                .map(|(container, interface)| (container, interface));
            let stay = ours.chain(listed).map(|(container, interface)| {
                serde_json::json!({ "containerID": container, "ifname": interface })
            });
            let mut collecting = delegate.clone();
            if let Some(members) = collecting.config.as_object_mut() {
                members.insert("cni.dev/valid-attachments".into(), stay.collect());
            }
            if let Err(error) = self.call(config, intent, &collecting, Verb::Gc, None) {
                failed.push(error.to_string());
            }
            done.push(key);
        }
        failed
    }

    pub(super) fn call(
        &mut self,
        config: &MetaConfig,
        intent: &Intent,
        delegate: &Delegate,
        verb: Verb,
        previous: Option<&Value>,
    ) -> Result<Vec<u8>, CniError> {
        let mut stdin = delegate.config.clone();
        if let (Some(members), Some(previous)) = (stdin.as_object_mut(), previous) {
            members.insert("prevResult".into(), previous.clone());
        }
        let environment = Environment {
            command: verb.as_str().into(),
            container_id: intent.container_id.clone(),
            netns: intent.netns.clone(),
            ifname: delegate.interface.clone(),
            args: intent.args.clone(),
            path: intent.directories.join(":"),
            netns_override: String::new(),
        };
        let what = format!(
            "{} {}/{}",
            verb.as_str(),
            delegate.network(),
            delegate.kind()
        );
        if config.verbose {
            self.log(config, &format!("{what} {}", intent.container_id));
        }
        let stdin = stdin.to_string();
        let own = match delegate.is_own_bridge() {
            true => self.world.bridge(&environment, stdin.as_bytes()),
            false => None,
        };
        let ran = match own {
            Some(ran) => ran,
            None => self.execute(delegate, &environment, stdin.as_bytes())?,
        };
        if ran.success {
            return Ok(ran.stdout);
        }
        Err(delegate_error(&what, &ran.stdout))
    }

    fn execute(
        &mut self,
        delegate: &Delegate,
        environment: &Environment,
        stdin: &[u8],
    ) -> Result<Ran, CniError> {
        let directories: Vec<_> = environment.path.split(':').map(str::to_owned).collect();
        let program = self.world.find(delegate.kind(), &directories);
        let program = program.ok_or_else(|| {
            let message = no_plugin(delegate.kind(), &directories);
            CniError::new(ErrorCode::INVALID_CONFIG, message)
        })?;
        let ran = self.world.execute(&program, environment, stdin);
        ran.map_err(|error| io_error(&error))
    }
}

fn read_result(delegate: &Delegate, stdout: &[u8]) -> Result<(Value, CniResult), CniError> {
    let wrong = |error: &dyn std::fmt::Display| {
        let what = format!(
            "the result of {}/{}: {error}",
            delegate.network(),
            delegate.kind()
        );
        CniError::new(ErrorCode::UNDECODABLE, what)
    };
    let json = Json::parse(stdout).map_err(|error| wrong(&error))?;
    let result = CniResult::decode(&json.root(), delegate.version());
    Ok((to_value(&json), result.map_err(|error| wrong(&error))?))
}

/// The error object of a plugin, with its own code.
fn delegate_error(what: &str, stdout: &[u8]) -> CniError {
    let object: Value = serde_json::from_slice(stdout).unwrap_or_default();
    let code = object.get("code").and_then(Value::as_u64);
    let code = code.and_then(|code| u32::try_from(code).ok());
    let message = object.get("msg").and_then(Value::as_str);
    CniError::new(
        code.map_or(ErrorCode::INTERNAL, ErrorCode),
        format!(
            "{what}: {}",
            message.unwrap_or("it failed without an error object")
        ),
    )
}

pub(super) fn no_plugin(kind: &str, directories: &[String]) -> String {
    format!("plugin `{kind}` is in none of {}", directories.join(", "))
}
