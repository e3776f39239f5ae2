//! What the resource manager said last of each pod: what a pod starts with while it cannot be asked.
//!
//! An answer is good for `answerAgeSeconds`, counted from when it came or, where that is later,
//! from when the pod's attachment on this node ended: until then nobody else could have its
//! addresses. Once that is long ago the pod may have been released, and another have them.

use std::any::Any;

use serde_json::{Value, json};

use super::{
    config::MetaConfig,
    plugin::{Meta, io_error},
    record::{self, Intent},
};
use crate::{
    cni::{Args, CniError},
    lease::Timestamp,
    resource_manager::Question,
};

/// A remembered answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    /// Since when it ages; `None` in a record of an earlier version, which is no answer's.
    since: Option<Timestamp>,
    /// What the resource manager said.
    pub(super) body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let record: Value = serde_json::from_str(text).unwrap_or_default();
        let since = record.get("since").and_then(Value::as_u64);
        match (since, record.get("answer").and_then(Value::as_str)) {
            (Some(since), Some(body)) => Self {
                since: Some(Timestamp(since)),
                body: body.to_owned(),
            },
            _ => Self {
                since: None,
                body: text.to_owned(),
            },
        }
    }

    fn to_text(&self) -> String {
        let since = self.since.map(|it| it.0);
        json!({ "since": since, "answer": self.body }).to_string()
    }

    /// Seconds that it is old; `None` when that cannot be told, also after the clock was set back.
    fn age(&self, now: Timestamp) -> Option<u64> {
        now.0.checked_sub(self.since?.0)
    }

    fn is_good(&self, now: Timestamp, limit: u64) -> bool {
        self.age(now).is_some_and(|age| age < limit)
    }
}

/// The name of a pod's answer among the records.
pub(super) fn record_name(network: &str, pod: &Question) -> String {
    let (namespace, pod) = (file_name(&pod.namespace), file_name(&pod.pod));
    let file = record::file_name(format!("{namespace}@{pod}"));
    format!("{}{file}", prefix(network))
}

fn prefix(network: &str) -> String {
    format!("{network}/answers/")
}

impl Meta<'_> {
    /// Remembers an answer that came now, in the place of the one before.
    pub(super) fn remember(
        &mut self,
        config: &MetaConfig,
        name: &str,
        body: &[u8],
    ) -> Result<(), CniError> {
        let answer = Answer {
            since: Some(self.world.now()),
            body: String::from_utf8_lossy(body).into_owned(),
        };
        let _alone = self.lock_answer(config, name)?;
        let written = self
            .world
            .write_record(&config.state_dir, name, &answer.to_text());
        written.map_err(|error| io_error(&error))
    }

    /// The last answer, where there is one; why it is not good any more, in words.
    pub(super) fn recall(
        &mut self,
        config: &MetaConfig,
        name: &str,
    ) -> Option<Result<Answer, String>> {
        let text = self.world.read_record(&config.state_dir, name);
        let answer = Answer::parse(&text.ok().flatten()?);
        let now = self.world.now();
        if answer.is_good(now, config.answer_age) {
            return Some(Ok(answer));
        }
        let age = match answer.age(now) {
            Some(age) => format!("is {age} seconds old"),
            None => "has no age".to_owned(),
        };
        Some(Err(format!(
            "the last answer {age}, and `answerAgeSeconds` is {}",
            config.answer_age
        )))
    }

    /// A pod's attachment has ended just now: its answer ages from here on. That of a pod whose
    /// namespace is gone ended at some time that nobody knows, such as with the machine.
    pub(super) fn pod_ended(&mut self, config: &MetaConfig, network: &str, intent: &Intent) {
        let is_there = !intent.netns.is_empty() && self.world.has_namespace(&intent.netns);
        if !intent.complete || !is_there {
            return;
        }
        let mut renew = || -> Result<(), CniError> {
            let Some(name) = record_of(network, intent) else {
                return Ok(());
            };
            let _alone = self.lock_answer(config, &name)?;
            let text = self.world.read_record(&config.state_dir, &name);
            let Some(text) = text.map_err(|error| io_error(&error))? else {
                return Ok(());
            };
            let answer = Answer {
                since: Some(self.world.now()),
                ..Answer::parse(&text)
            };
            let written = self
                .world
                .write_record(&config.state_dir, &name, &answer.to_text());
            written.map_err(|error| io_error(&error))
        };
        if let Err(error) = renew() {
            // The attachment has ended all the same.
            self.log(config, &format!("DEL {}: {error}", intent.container_id));
        }
    }

    /// Forgets the answers that are good no more, but for those of attached pods.
    pub(super) fn forget_old_answers(
        &mut self,
        config: &MetaConfig,
        network: &str,
        attached: &[Intent],
    ) -> Result<(), CniError> {
        let attached: Vec<_> = attached
            .iter()
            .filter_map(|intent| record_of(network, intent))
            .collect();
        let names = self.world.record_names(&config.state_dir, &prefix(network));
        for name in names.map_err(|error| io_error(&error))? {
            if attached.contains(&name) {
                continue;
            }
            let _alone = self.lock_answer(config, &name)?;
            let text = self.world.read_record(&config.state_dir, &name);
            let text = text.map_err(|error| io_error(&error))?;
            let now = self.world.now();
            let is_old = |text: &String| !Answer::parse(text).is_good(now, config.answer_age);
            if text.as_ref().is_some_and(is_old) {
                let removed = self.world.remove_record(&config.state_dir, &name);
                removed.map_err(|error| io_error(&error))?;
            }
        }
        Ok(())
    }

    /// Apart from the locks of attachments, of which the caller may have one.
    fn lock_answer(&mut self, config: &MetaConfig, name: &str) -> Result<Box<dyn Any>, CniError> {
        let directory = format!("{}/answers", config.state_dir);
        let locked = self.world.lock(&directory, name);
        locked.map_err(|error| io_error(&error))
    }
}

/// The name of the answer of the pod that an attachment is of.
fn record_of(network: &str, intent: &Intent) -> Option<String> {
    let args = Args::parse(&intent.args, &[POD, NAMESPACE]).ok()?;
    let text = |key| args.value(key).map(str::to_owned);
    let pod = Question {
        pod: text(POD)?,
        namespace: text(NAMESPACE).unwrap_or_default(),
        container_id: String::new(),
    };
    Some(record_name(network, &pod))
}

const POD: &str = "K8S_POD_NAME";
const NAMESPACE: &str = "K8S_POD_NAMESPACE";

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

#[cfg(test)]
mod tests {
    use super::{Answer, Timestamp};

    #[test]
    fn an_answer_is_good_for_its_time_and_not_when_the_clock_says_nonsense() {
        let answer = Answer {
            since: Some(Timestamp(1000)),
            body: r#"{"code":0}"#.into(),
        };
        assert_eq!(Answer::parse(&answer.to_text()), answer);
        for (now, good) in [(1000, true), (1099, true), (1100, false), (999, false)] {
            assert_eq!(answer.is_good(Timestamp(now), 100), good, "{now}");
        }
        assert!(!answer.is_good(Timestamp(1000), 0));
        let earlier = Answer::parse(r#"{"code":0,"data":[]}"#);
        assert_eq!(earlier.body, r#"{"code":0,"data":[]}"#);
        assert!(!earlier.is_good(Timestamp(1000), u64::MAX));
    }
}
