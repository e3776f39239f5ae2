//! `dockin_ops`: what clients of Dockin-Ops find.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use dockin_core::{
    Error, ErrorKind,
    compat::EnvelopeKey,
    gateway::{DockinOps as Settings, OpsLabels},
};
use serde::Deserialize;

/// `dockin_ops` of the configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DockinOps {
    /// File with the key of envelopes: 16, 24 or 32 characters.
    key: PathBuf,
    /// Loopback address where they are served without TLS too; none when absent.
    #[serde(default)]
    pub(crate) listen: Option<SocketAddr>,
    /// Proxies whose `X-Real-IP` is believed.
    #[serde(default)]
    trusted_proxies: Vec<String>,
    /// Where requests for each rule may come from.
    rules: BTreeMap<String, Rule>,
    /// What `ssh-v2` runs.
    #[serde(default)]
    shell: Option<String>,
    /// File with what shells begin with.
    #[serde(default)]
    banner: Option<PathBuf>,
    /// The predecessor's lists of commands.
    #[serde(default)]
    commands: Option<Commands>,
    /// Labels that tell what `rm` shows.
    #[serde(default)]
    labels: Labels,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    whitelist: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Commands {
    filter: String,
    #[serde(default)]
    raw: Vec<String>,
    #[serde(default)]
    common: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Labels {
    subsystem: Option<String>,
    subsystem_id: Option<String>,
    subsystem_tag: Option<String>,
    dcn: Option<String>,
    pod_set: Option<String>,
}

/// The key that every client of the field has compiled in.
const PUBLIC_KEY: &[u8] = b"doc-opserver8085";

impl DockinOps {
    /// What the gateway is built with.
    ///
    /// # Errors
    ///
    /// `Misuse` that names the key and what it should be; never what the key file holds.
    pub(crate) fn settings(&self) -> Result<Settings, Error> {
        let key = read_key(&self.key)?;
        let mut settings =
            Settings::new(EnvelopeKey::new(&key)?).trusted_proxies(&self.trusted_proxies)?;
        if key == PUBLIC_KEY {
            let what = "the key of `dockin_ops` is the one that its clients have compiled in: \
                        envelopes hide nothing, passwords in them neither, without TLS";
            tracing::warn!("{what}");
        }
        if self.rules.is_empty() {
            let what = "`rules` of `dockin_ops` is empty: name at least `default`";
            return Err(Error::new(ErrorKind::Misuse, what));
        }
        for (name, rule) in &self.rules {
            settings = settings.rule(name, &rule.whitelist)?;
        }
        if let Some(shell) = &self.shell {
            settings = settings.shell(shell);
        }
        if let Some(path) = &self.banner {
            settings = settings.banner(fs::read_to_string(path).map_err(|error| {
                let message = format!("banner `{}` cannot be read", path.display());
                Error::new(ErrorKind::Misuse, message).with_source(error)
            })?);
        }
        if let Some(lists) = &self.commands {
            settings = settings.commands(&lists.raw, &lists.common, &lists.filter)?;
        }
        let default = OpsLabels::default();
        let label = |said: &Option<String>, otherwise| said.clone().unwrap_or(otherwise);
        let Labels {
            subsystem,
            subsystem_id,
            subsystem_tag,
            dcn,
            pod_set,
        } = &self.labels;
        Ok(settings.labels(OpsLabels {
            subsystem: label(subsystem, default.subsystem),
            subsystem_id: label(subsystem_id, default.subsystem_id),
            subsystem_tag: label(subsystem_tag, default.subsystem_tag),
            dcn: label(dcn, default.dcn),
            pod_set: label(pod_set, default.pod_set),
        }))
    }

    /// The paths in it.
    pub(crate) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        std::iter::once(&mut self.key).chain(&mut self.banner)
    }
}

fn read_key(path: &Path) -> Result<Vec<u8>, Error> {
    let wrong = |what: &str| {
        let message = format!("key `{}` of `dockin_ops` {what}", path.display());
        Error::new(ErrorKind::Misuse, message)
    };
    let unread = |error| wrong("cannot be read").with_source(error);
    let mode = fs::metadata(path).map_err(unread)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(wrong("can be read by others: chmod 600 it"));
    }
    let text = fs::read(path).map_err(unread)?;
    Ok(text.trim_ascii_end().to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::DockinOps;

    fn settings(text: &str, key: &str, mode: u32) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops.key");
        fs::write(&path, key).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let mut ops: DockinOps = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        for path in ops.paths() {
            *path = folder.path().join(&*path);
        }
        ops.settings().map(|_| ()).map_err(|error| error.chain())
    }

    const GOOD: &str = "key: ops.key\nrules: { default: { whitelist: [10.0.0.0/8] } }\n";
    const KEY: &str = "0123456789abcdef\n";

    #[test]
    fn all_of_it_is_understood() {
        let all = "key: ops.key\nlisten: 127.0.0.1:8084\ntrusted_proxies: [192.0.2.7]\n\
                   rules: { default: { whitelist: [10.0.0.0/8] }, prod: { whitelist: ['::/0'] } }\n\
                   shell: /bin/sh\ncommands: { filter: whitelist, raw: [top], common: [ls] }\n\
                   labels: { dcn: zone }\n";
        assert_eq!(settings(all, KEY, 0o600), Ok(()));
        assert_eq!(settings(GOOD, KEY, 0o400), Ok(()));
    }

    #[test]
    fn what_would_leave_a_hole_is_refused() {
        for (text, key, mode, words) in [
            (GOOD.to_owned(), KEY, 0o644, "chmod 600"),
            (GOOD.to_owned(), "s3cret", 0o600, "16, 24 or 32"),
            (GOOD.replace("10.0.0.0/8", ""), KEY, 0o600, "whitelist"),
            (
                GOOD.replace("10.0.0.0/8", "10.0.0.1/8"),
                KEY,
                0o600,
                "host bits",
            ),
            (
                "key: ops.key\nrules: {}\n".to_owned(),
                KEY,
                0o600,
                "`default`",
            ),
            ("rules: {}\n".to_owned(), KEY, 0o600, "key"),
            (
                format!("{GOOD}trusted_proxies: [x]\n"),
                KEY,
                0o600,
                "trusted_proxies",
            ),
            (
                format!("{GOOD}commands: {{ filter: black }}\n"),
                KEY,
                0o600,
                "blacklist",
            ),
            (format!("{GOOD}comands: 1\n"), KEY, 0o600, "comands"),
            (format!("{GOOD}banner: none.txt\n"), KEY, 0o600, "none.txt"),
        ] {
            let error = settings(&text, key, mode).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
