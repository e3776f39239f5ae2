//! Which networks a pod gets, and what the machine knows of them.

use serde_json::Value;

use super::{
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
