//! Which networks a pod gets, and what the machine knows of them.

use serde_json::Value;

use super::{
    answers::record_name,
    config::MetaConfig,
    plugin::{Meta, io_error},
};
use crate::{
    cni::{CniError, ErrorCode, Request},
    resource_manager::{AnswerError, Attached, read_networks},
};

impl Meta<'_> {
    /// The networks of the pod: those of the configuration, those the resource manager names, or
    /// while it cannot be reached those it named last.
    pub(super) fn networks(
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
        let known = record_name(request.network.as_str(), question);
        match self.world.ask(&question.url(backend), &config.trust) {
            Ok(body) => {
                let networks = question.read_answer(&body).map_err(invalid)?;
                self.remember(config, &known, &body)?;
                Ok(networks)
            }
            Err(error) => {
                let mut message = error.message;
                match self.recall(config, &known).filter(|_| error.later) {
                    Some(Ok(answer)) => {
                        if let Ok(networks) = question.read_answer(answer.body.as_bytes()) {
                            self.log(config, &format!("the last answer is used: {message}"));
                            return Ok(networks);
                        }
                    }
                    Some(Err(too_old)) => message = format!("{message}; {too_old}"),
                    None => {}
                }
                let code = match error.later {
                    true => ErrorCode::TRY_AGAIN,
                    false => ErrorCode::INVALID_CONFIG,
                };
                Err(CniError::field(code, "backend", message))
            }
        }
    }

    /// The networks' files that can be read, in the order of their names.
    pub(super) fn files(&mut self, config: &MetaConfig) -> Result<Vec<Value>, CniError> {
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
}
