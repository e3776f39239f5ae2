use serde_json::{Value, json};

use super::config::Delegate;
use crate::{Attachment, cni::Request, hash::hash};

/// What was about to be done for an attachment, written before the first plugin is run. `DEL`
/// works from it when the configuration and the resource manager are gone.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Intent {
    pub(super) container_id: String,
    pub(super) interface: String,
    pub(super) netns: String,
    pub(super) args: String,
    pub(super) directories: Vec<String>,
    pub(super) delegates: Vec<Delegate>,
    /// Did every plugin answer?
    pub(super) complete: bool,
}

impl Intent {
    /// The name of the record of an attachment.
    pub(super) fn name(network: &str, of: &Attachment) -> String {
        let container = of.container_id().as_str();
        let file = file_name(format!("{container}@{}", of.interface_text()));
        format!("{network}/attachments/{file}")
    }

    /// With the namespace that the runtime names now: none says that it is gone, and what is at its
    /// path by now is another one's.
    pub(super) fn at(self, request: &Request<'_>) -> Self {
        let netns = request.environment().netns.clone();
        Self { netns, ..self }
    }

    /// As nobody knows any more where it was. The path of a process may lead to another process,
    /// and so into another pod, when that one has ended.
    pub(super) fn of_the_past(self) -> Self {
        let netns = match self.netns.starts_with("/proc/") {
            true => String::new(),
            false => self.netns,
        };
        Self { netns, ..self }
    }

    pub(super) fn to_text(&self) -> String {
        let delegates: Vec<_> = self
            .delegates
            .iter()
            .map(|it| {
                json!({
                    "interface": it.interface,
                    "master": it.master,
                    "last": it.last,
                    "config": it.config,
                    "result": it.result,
                })
            })
            .collect();
        json!({
            "containerId": self.container_id,
            "interface": self.interface,
            "netns": self.netns,
            "args": self.args,
            "directories": self.directories,
            "complete": self.complete,
            "delegates": delegates,
        })
        .to_string()
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let text = |value: &Value, key| Some(value.get(key)?.as_str()?.to_owned());
        let delegates = value.get("delegates")?.as_array()?.iter();
        let delegates = delegates.map(|it| {
            Some(Delegate {
                interface: text(it, "interface")?,
                master: it.get("master")?.as_bool()?,
                last: it.get("last")?.as_bool()?,
                config: it.get("config")?.clone(),
                result: it.get("result").filter(|it| !it.is_null()).cloned(),
            })
        });
        let directories = value.get("directories")?.as_array()?.iter();
        Some(Self {
            container_id: text(&value, "containerId")?,
            interface: text(&value, "interface")?,
            netns: text(&value, "netns")?,
            args: text(&value, "args")?,
            directories: directories
                .map(|it| it.as_str().map(str::to_owned))
                .collect::<Option<_>>()?,
            complete: value.get("complete")?.as_bool()?,
            delegates: delegates.collect::<Option<_>>()?,
        })
    }
}

/// `text` as the name of a record's file. A file system gives 255 bytes to a name, of which some
/// are for writing it anew; of a longer text its number stands for the rest.
pub(super) fn file_name(text: String) -> String {
    if text.len() <= LONGEST {
        return text;
    }
    let start: String = text.chars().take(KEPT).collect();
    format!("{start}~{:016x}", hash(&[text.as_bytes()]))
}

/// Bytes of the longest name.
const LONGEST: usize = 240;
/// Characters that are kept of a longer one; an interface's name alone may have some of several
/// bytes.
const KEPT: usize = 200;

#[cfg(test)]
mod tests {
    use super::{LONGEST, file_name};

    #[test]
    fn a_long_name_becomes_a_files_and_stays_its_own() {
        let long = |end: &str| "c".repeat(1000) + end;
        let names = ["@eth0", "@eth1", "é@eth0"].map(|end| file_name(long(end)));
        assert!(names.iter().all(|name| name.len() <= LONGEST), "{names:?}");
        assert_ne!(names[0], names[1]);
        assert_eq!(file_name(long("@eth0")), names[0]);
        assert_eq!(file_name("c1@eth0".into()), "c1@eth0");
    }
}
