use std::any::Any;

use serde_json::Value;

use super::{
    World,
    config::{Delegate, MetaConfig, delegates},
    delegation::no_plugin,
    record::Intent,
};
use crate::{
    Attachment, StoreError,
    cni::{CniError, CniResult, ErrorCode, Plugin, Request, Verb, Version},
    resource_manager::{AnswerError, Attached},
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
            Some(before) => self.undo(&config, &before.at(request))?,
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
            Err((error, begun)) => {
                self.log(&config, &format!("ADD {of}: {error}"));
                // An interface of a network that was not begun is somebody else's.
                intent.delegates.truncate(begun);
                match self.undo(&config, &intent) {
                    Ok(()) => self.remove(&config, &name)?,
                    Err(_) => self.write(&config, &name, &intent)?,
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
        let intent = intent.at(request);
        self.undo(&config, &intent)?;
        self.pod_ended(&config, request.network.as_str(), &intent);
        self.remove(&config, &name)
    }

    fn check(&mut self, request: &Request<'_>, of: &Attachment) -> Result<(), CniError> {
        let config = MetaConfig::read(request)?;
        let name = Intent::name(request.network.as_str(), of);
        let intent = self.read_intent(&config, &name)?.filter(|it| it.complete);
        let missing = || CniError::new(ErrorCode::ATTACHMENT, format!("{of} is not attached"));
        let intent = intent.ok_or_else(missing)?.at(request);
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
            } else if let Err(error) = self.undo(&config, &intent.of_the_past()) {
                failed.push(error.to_string());
            } else {
                self.remove(&config, &name)?;
            }
        }
        let network = request.network.as_str();
        let others = self.intents_of_others(&config, network)?;
        failed.extend(self.collect_delegates(&config, &kept, &others, &valid));
        let forgotten = self.forget_old_answers(&config, network, &kept);
        failed.extend(forgotten.err().map(|error| error.to_string()));
        if failed.is_empty() {
            return Ok(());
        }
        Err(CniError::new(ErrorCode::TRY_AGAIN, failed.join("; ")))
    }

    fn status(&mut self, request: &Request<'_>) -> Result<(), CniError> {
        let unavailable = |message: String| CniError::new(ErrorCode::NOT_AVAILABLE, message);
        let config = MetaConfig::read(request)?;
        let files = self.files(&config);
        let files = files.map_err(|error| unavailable(error.to_string()))?;
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
            let made = delegates(config, network, file, of, request.version)?;
            let interface = made.first().map(|it| it.interface.as_str());
            // One network names it, the other leaves it to the runtime.
            if planned
                .iter()
                .any(|it: &Delegate| Some(it.interface.as_str()) == interface)
            {
                let name = interface.unwrap_or_default().to_owned();
                let error = AnswerError::SameInterface(name);
                let message = format!("networks: {error}");
                return Err(CniError::new(ErrorCode::INVALID_CONFIG, message));
            }
            planned.extend(made);
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
            let message = format!(
                "record `{name}` in `{}` is damaged: what to undo is not known; remove the file \
                 when the pod and its interfaces are gone",
                config.state_dir
            );
            CniError::new(ErrorCode::IO, message)
        };
        Intent::parse(&text).map(Some).ok_or_else(damaged)
    }

    /// What is attached to other networks of the runtime, which may share ours.
    fn intents_of_others(
        &mut self,
        config: &MetaConfig,
        network: &str,
    ) -> Result<Vec<Intent>, CniError> {
        let names = |meta: &mut Self, prefix: &str| {
            let names = meta.world.record_names(&config.state_dir, prefix);
            names.map_err(|error| io_error(&error))
        };
        let mut others: Vec<_> = names(self, "")?
            .iter()
            .filter_map(|name| name.split('/').next())
            .filter(|other| *other != network)
            .map(str::to_owned)
            .collect();
        others.dedup();
        let mut intents = Vec::new();
        for other in others {
            for name in names(self, &format!("{other}/attachments/"))? {
                intents.extend(self.read_intent(config, &name)?);
            }
        }
        Ok(intents)
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

    pub(super) fn log(&mut self, config: &MetaConfig, line: &str) {
        if let Some(file) = &config.log_file {
            self.world.log(file, line);
        }
    }
}

pub(super) fn io_error(error: &StoreError) -> CniError {
    CniError::new(ErrorCode::IO, error.to_string())
}
