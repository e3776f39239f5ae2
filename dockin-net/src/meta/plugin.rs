use std::any::Any;

use serde_json::Value;

use super::{
    Ran, World,
    config::{Delegate, MetaConfig, delegates},
    merge::{Part, merge},
    record::Intent,
};
use crate::{
    Attachment, StoreError,
    cni::{CniError, CniResult, Environment, ErrorCode, Json, Plugin, Request, Verb, Version},
    resource_manager::{AnswerError, Attached, read_networks},
};

pub(super) struct Meta<'a> {
    pub(super) world: &'a mut dyn World,
}

impl Plugin for Meta<'_> {
    fn add(&mut self, request: &Request<'_>, of: &Attachment) -> Result<CniResult, CniError> {
        let config = MetaConfig::read(request)?;
        let name = Intent::name(request.network.as_str(), of);
        // Two calls for one attachment would undo each other's work.
        let _alone = self.lock(&config, &name)?;
        match self.read_intent(&config, &name)? {
            Some(before) if before.complete => {
                let message = format!("{of} is attached already");
                return Err(CniError::new(ErrorCode::ATTACHMENT, message));
            }
            // A call before this one was cut off.
            Some(before) => self.undo(&config, &before)?,
            None => {}
        }
        let networks = self.networks(&config, request)?;
        let mut intent = self.plan(&config, request, of, &networks)?;
        self.write(&config, &name, &intent)?;
        match self.make(&config, &mut intent) {
            Ok(result) => {
                intent.complete = true;
                // Without this record CHECK fails and DEL works from the one before.
                if let Err(error) = self.write(&config, &name, &intent) {
                    self.undo(&config, &intent)?;
                    return Err(error);
                }
                Ok(result)
            }
            Err(error) => {
                self.log(&config, &format!("ADD {of}: {error}"));
                if self.undo(&config, &intent).is_ok() {
                    self.remove(&config, &name)?;
                }
                Err(error)
            }
        }
    }

    fn del(&mut self, request: &Request<'_>, of: &Attachment) -> Result<(), CniError> {
        // The record says what is to be undone, whatever became of the configuration.
        let config = MetaConfig::read(request).unwrap_or_else(|_| MetaConfig::salvage(request));
        let name = Intent::name(request.network.as_str(), of);
        let _alone = self.lock(&config, &name)?;
        let Some(intent) = self.read_intent(&config, &name)? else {
            return Ok(());
        };
        self.undo(&config, &intent)?;
        self.remove(&config, &name)
    }

    fn check(&mut self, request: &Request<'_>, of: &Attachment) -> Result<(), CniError> {
        let config = MetaConfig::read(request)?;
        let name = Intent::name(request.network.as_str(), of);
        let intent = self.read_intent(&config, &name)?.filter(|it| it.complete);
        let missing = || CniError::new(ErrorCode::ATTACHMENT, format!("{of} is not attached"));
        let intent = intent.ok_or_else(missing)?;
        for delegate in &intent.delegates {
            if delegate.version() >= Version::V0_4_0 {
                self.call(
                    &config,
                    &intent,
                    delegate,
                    Verb::Check,
                    delegate.result.as_ref(),
                )?;
            }
        }
        Ok(())
    }

    fn collect(&mut self, request: &Request<'_>) -> Result<(), CniError> {
        let config = MetaConfig::read(request)?;
        let valid = request.attachments_to_keep()?;
        let prefix = format!("{}/attachments/", request.network);
        let names = self.world.record_names(&config.state_dir, &prefix);
        let mut failed = Vec::new();
        let mut kept: Vec<Intent> = Vec::new();
        for name in names.map_err(|error| io_error(&error))? {
            let _alone = self.lock(&config, &name)?;
            let Some(intent) = self.read_intent(&config, &name)? else {
                continue;
            };
            let key = (intent.container_id.clone(), intent.interface.clone());
            if valid.contains(&key) {
                kept.push(intent);
            } else if let Err(error) = self.undo(&config, &intent) {
                failed.push(error.to_string());
            } else {
                self.remove(&config, &name)?;
            }
        }
        failed.extend(self.collect_delegates(&config, &kept));
        if failed.is_empty() {
            return Ok(());
        }
        Err(CniError::new(ErrorCode::TRY_AGAIN, failed.join("; ")))
    }

    fn status(&mut self, request: &Request<'_>) -> Result<(), CniError> {
        let unavailable = |message: String| CniError::new(ErrorCode::NOT_AVAILABLE, message);
        let config = MetaConfig::read(request)?;
        let files = self.files(&config)?;
        if files.is_empty() {
            return Err(unavailable(format!("`{}` has no network", config.conf_dir)));
        }
        let directories = config.directories(request);
        for file in &files {
            let chain = file.get("plugins").and_then(Value::as_array);
            let plugins = chain.map_or(std::slice::from_ref(file), Vec::as_slice);
            for plugin in plugins {
                let Some(kind) = plugin.get("type").and_then(Value::as_str) else {
                    continue;
                };
                let exec = plugin.get("driver").and_then(Value::as_str) == Some("exec");
                if kind == "bridge" && !exec && self.world.has_bridge() {
                    continue;
                }
                if self.world.find(kind, &directories).is_none() {
                    return Err(unavailable(no_plugin(kind, &directories)));
                }
            }
        }
        Ok(())
    }

    fn is_own_namespace(&mut self, path: &str) -> bool {
        self.world.is_own_namespace(path)
    }
}

impl Meta<'_> {
    /// The networks of the pod: those of the configuration, those the resource manager names, or
    /// while it cannot be reached those it named last.
    fn networks(
        &mut self,
        config: &MetaConfig,
        request: &Request<'_>,
    ) -> Result<Vec<Attached>, CniError> {
        let invalid = |error: AnswerError| {
            CniError::new(ErrorCode::INVALID_CONFIG, format!("networks: {error}"))
        };
        let listed = request.config().get("networks")?;
        if listed.is_present() {
            return read_networks(&listed).map_err(invalid);
        }
        let Some(backend) = &config.backend else {
            let message = "neither `backend` nor `networks` says which networks the pod gets";
            return Err(CniError::new(ErrorCode::INVALID_CONFIG, message));
        };
        let question = &config.question;
        if question.pod.is_empty() {
            let message = "`CNI_ARGS` has no K8S_POD_NAME to ask the resource manager about";
            return Err(CniError::new(ErrorCode::INVALID_ENVIRONMENT, message));
        }
        let known = format!(
            "{}/answers/{}@{}",
            request.network,
            file_name(&question.namespace),
            file_name(&question.pod)
        );
        match self.world.ask(&question.url(backend), &config.trust) {
            Ok(body) => {
                let networks = question.read_answer(&body).map_err(invalid)?;
                let text = String::from_utf8_lossy(&body);
                let written = self.world.write_record(&config.state_dir, &known, &text);
                written.map_err(|error| io_error(&error))?;
                Ok(networks)
            }
            Err(error) => {
                let before = self.world.read_record(&config.state_dir, &known);
                if error.later
                    && let Ok(Some(text)) = before
                    && let Ok(networks) = question.read_answer(text.as_bytes())
                {
                    self.log(
                        config,
                        &format!("the last answer is used: {}", error.message),
                    );
                    return Ok(networks);
                }
                let code = match error.later {
                    true => ErrorCode::TRY_AGAIN,
                    false => ErrorCode::INVALID_CONFIG,
                };
                Err(CniError::field(code, "backend", error.message))
            }
        }
    }

    /// Everything that can be wrong before anything is done.
    fn plan(
        &mut self,
        config: &MetaConfig,
        request: &Request<'_>,
        of: &Attachment,
        networks: &[Attached],
    ) -> Result<Intent, CniError> {
        let files = self.files(config)?;
        let directories = config.directories(request);
        let mut planned = Vec::new();
        for network in networks {
            let named =
                |file: &&Value| file.get("name").and_then(Value::as_str) == Some(&network.network);
            let file = files.iter().find(named).ok_or_else(|| {
                let message = format!("`{}` has no network `{}`", config.conf_dir, network.network);
                CniError::new(ErrorCode::INVALID_CONFIG, message)
            })?;
            planned.extend(delegates(config, network, file, of, request.version)?);
        }
        for delegate in &planned {
            if delegate.is_own_bridge() && self.world.has_bridge() {
                continue;
            }
            if self.world.find(delegate.kind(), &directories).is_none() {
                let message = no_plugin(delegate.kind(), &directories);
                return Err(CniError::new(ErrorCode::INVALID_CONFIG, message));
            }
        }
        Ok(Intent {
            container_id: of.container_id().as_str().to_owned(),
            interface: of.interface_text().to_owned(),
            netns: request.environment.netns.clone(),
            args: config.delegate_args(),
            directories,
            delegates: planned,
            complete: false,
        })
    }

    fn make(&mut self, config: &MetaConfig, intent: &mut Intent) -> Result<CniResult, CniError> {
        let mut parts = Vec::new();
        let mut previous: Option<Value> = None;
        for index in 0..intent.delegates.len() {
            let Some(delegate) = intent.delegates.get(index).cloned() else {
                break;
            };
            let stdout = self.call(config, intent, &delegate, Verb::Add, previous.as_ref())?;
            let (value, result) = read_result(&delegate, &stdout)?;
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
    fn undo(&mut self, config: &MetaConfig, intent: &Intent) -> Result<(), CniError> {
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

    /// Has every network's plugins collect, each told which of its interfaces are to stay.
    fn collect_delegates(&mut self, config: &MetaConfig, kept: &[Intent]) -> Vec<String> {
        let mut failed = Vec::new();
        let mut done: Vec<(String, String)> = Vec::new();
        let all = kept
            .iter()
            .flat_map(|intent| intent.delegates.iter().map(move |it| (intent, it)));
        for (intent, delegate) in all.clone() {
            let key = (delegate.network().to_owned(), delegate.kind().to_owned());
            if delegate.version() < Version::V1_1_0 || done.contains(&key) {
                continue;
            }
            let stay = all
                .clone()
                .filter(|(_, other)| other.network() == delegate.network())
                .map(|(intent, other)| {
                    serde_json::json!({
                        "containerID": intent.container_id,
                        "ifname": other.interface,
                    })
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

    fn call(
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

    /// The networks' files that can be read, in the order of their names.
    fn files(&mut self, config: &MetaConfig) -> Result<Vec<Value>, CniError> {
        let files = self.world.network_files(&config.conf_dir);
        let files = files.map_err(|error| io_error(&error))?;
        let mut readable = Vec::new();
        for (name, bytes) in files {
            match serde_json::from_slice(&bytes) {
                Ok(value) => readable.push(value),
                Err(error) => self.log(config, &format!("{name} is passed over: {error}")),
            }
        }
        Ok(readable)
    }

    fn lock(&mut self, config: &MetaConfig, name: &str) -> Result<Box<dyn Any>, CniError> {
        let locked = self.world.lock(&config.state_dir, name);
        locked.map_err(|error| io_error(&error))
    }

    fn read_intent(&mut self, config: &MetaConfig, name: &str) -> Result<Option<Intent>, CniError> {
        let text = self.world.read_record(&config.state_dir, name);
        let Some(text) = text.map_err(|error| io_error(&error))? else {
            return Ok(None);
        };
        let damaged = || {
            let message = format!("record `{name}` in `{}` is damaged", config.state_dir);
            CniError::new(ErrorCode::IO, message)
        };
        Intent::parse(&text).map(Some).ok_or_else(damaged)
    }

    fn write(&mut self, config: &MetaConfig, name: &str, intent: &Intent) -> Result<(), CniError> {
        self.world
            .write_record(&config.state_dir, name, &intent.to_text())
            .map_err(|error| io_error(&error))
    }

    fn remove(&mut self, config: &MetaConfig, name: &str) -> Result<(), CniError> {
        self.world
            .remove_record(&config.state_dir, name)
            .map_err(|error| io_error(&error))
    }

    fn log(&mut self, config: &MetaConfig, line: &str) {
        if let Some(file) = &config.log_file {
            self.world.log(file, line);
        }
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
    Ok((
        super::config::to_value(&json),
        result.map_err(|error| wrong(&error))?,
    ))
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

fn no_plugin(kind: &str, directories: &[String]) -> String {
    format!("plugin `{kind}` is in none of {}", directories.join(", "))
}

/// Text that is safe as a part of a file's name: what is not a letter, digit, `-`, `.` or `_` is
/// written as its number.
fn file_name(text: &str) -> String {
    let plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '.' | '_');
    text.chars()
        .map(|it| match plain(it) {
            true => it.to_string(),
            false => format!("%{:x}", u32::from(it)),
        })
        .collect()
}

fn io_error(error: &StoreError) -> CniError {
    CniError::new(ErrorCode::IO, error.to_string())
}
