//! What is written down: the audit trail, where it is sent, and recordings.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use dockin_core::{
    Error, ErrorKind,
    audit::{ExportTarget, Exporter, FileOptions, HttpTarget, SyslogAddress, SyslogTarget},
    recording::{RecordingOptions, recording_key},
    service::HttpEndpoint,
    tls,
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// The audit trail: the name of its file, or all that can be said about it.
#[derive(Debug)]
pub(crate) struct Audit {
    /// The newest file of the trail.
    pub(crate) file: PathBuf,
    /// Whether sessions go on when it cannot be written.
    pub(crate) mode: Mode,
    key: Option<PathBuf>,
    max_size: Option<Size>,
    max_age: Option<Age>,
    export: Vec<Export>,
}

/// What happens to a session that cannot be written down.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// It does not begin, and ends.
    #[default]
    Strict,
    /// It goes on.
    BestEffort,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditFields {
    file: PathBuf,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    key: Option<PathBuf>,
    #[serde(default)]
    max_size: Option<Size>,
    #[serde(default)]
    max_age: Option<Age>,
    #[serde(default)]
    export: Vec<Export>,
}

/// A receiver of the trail: a syslog server or an HTTP server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Export {
    name: String,
    #[serde(default)]
    syslog: Option<String>,
    #[serde(default)]
    url: Option<String>,
    /// PEM of the authority that signed the certificate of a tls:// or https:// server.
    #[serde(default)]
    authority: Option<PathBuf>,
    /// File with the bearer token.
    #[serde(default)]
    token_file: Option<PathBuf>,
}

/// Where sessions are recorded.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recording {
    directory: PathBuf,
    /// Whether what is typed is recorded, as far as the terminal shows it.
    #[serde(default)]
    input: bool,
    /// File of the key that encrypts them.
    #[serde(default)]
    key: Option<PathBuf>,
    #[serde(default)]
    mode: Mode,
}

/// Bytes, as `256MiB`.
#[derive(Clone, Copy, Debug)]
struct Size(u64);

/// A time, as `7d`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Age(pub(crate) Duration);

impl<'de> Deserialize<'de> for Audit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Both;

        impl<'de> Visitor<'de> for Both {
            type Value = Audit;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of a file, or `file`, `mode`, `key`, and so on")
            }

            fn visit_str<E>(self, file: &str) -> Result<Audit, E> {
                Ok(Audit {
                    file: file.into(),
                    mode: Mode::Strict,
                    key: None,
                    max_size: None,
                    max_age: None,
                    export: Vec::new(),
                })
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Audit, M::Error> {
                let fields = AuditFields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Audit {
                    file: fields.file,
                    mode: fields.mode,
                    key: fields.key,
                    max_size: fields.max_size,
                    max_age: fields.max_age,
                    export: fields.export,
                })
            }
        }

        deserializer.deserialize_any(Both)
    }
}

impl Audit {
    /// Every path in it.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let exports = self
            .export
            .iter_mut()
            .flat_map(|export| [export.authority.as_mut(), export.token_file.as_mut()]);
        let paths = [Some(&mut self.file), self.key.as_mut()];
        paths.into_iter().chain(exports).flatten()
    }

    /// Whether what needs no file is right.
    pub(super) fn check(&self) -> Result<(), Error> {
        for export in &self.export {
            let wrong = |what: &str| {
                let name = &export.name;
                Err(Error::new(
                    ErrorKind::Misuse,
                    format!("export `{name}` {what}"),
                ))
            };
            match (&export.syslog, &export.url) {
                (Some(_), Some(_)) | (None, None) => return wrong("needs `syslog` or `url`"),
                (Some(address), None) => {
                    if export.token_file.is_some() {
                        return wrong("has `token_file`, which goes with `url`");
                    }
                    let is_tls = matches!(address.parse()?, SyslogAddress::Tls(_));
                    if is_tls && export.authority.is_none() {
                        return wrong("needs `authority`, the PEM file that its certificate is of");
                    }
                    if !is_tls && export.authority.is_some() {
                        return wrong("has `authority`, which goes with tls:// and https://");
                    }
                }
                (None, Some(url)) => {
                    let Some(url) = Url::parse(url) else {
                        return wrong(
                            "has a `url` that is not https://HOST[:PORT]/PATH or http://…",
                        );
                    };
                    if url.https && export.authority.is_none() {
                        return wrong("needs `authority`, the PEM file that its certificate is of");
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn options(&self) -> FileOptions {
        let mut options = FileOptions::default();
        options.key.clone_from(&self.key);
        options.max_age = self.max_age.map(|age| age.0);
        if let Some(size) = self.max_size {
            options.max_size = size.0;
        }
        options
    }

    /// What sends the trail on.
    ///
    /// # Errors
    ///
    /// `Misuse` naming the export whose files are wrong.
    pub(crate) fn exporters(&self) -> Result<Vec<Exporter>, Error> {
        let make = |export: &Export| -> Result<Exporter, Error> {
            let target = match (&export.syslog, &export.url) {
                (Some(address), _) => {
                    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
                    let mut target = SyslogTarget::new(address.parse()?, host.trim());
                    if let Some(authority) = &export.authority {
                        let trusted = tls::certificates(authority)?;
                        target = target.with_tls(tls::client_config(&trusted, None)?)?;
                    }
                    ExportTarget::Syslog(target)
                }
                (None, Some(url)) => ExportTarget::Http(http_target(export, url)?),
                (None, None) => {
                    return Err(Error::new(ErrorKind::Misuse, "needs `syslog` or `url`"));
                }
            };
            Exporter::new(&export.name, &self.file, target)
        };
        let named = |export| {
            make(export).map_err(|error| {
                let what = format!("export `{}`: {}", export.name, error.chain());
                Error::new(error.kind(), what)
            })
        };
        self.export.iter().map(named).collect()
    }
}

fn http_target(export: &Export, url: &str) -> Result<HttpTarget, Error> {
    let url = Url::parse(url)
        .ok_or_else(|| Error::new(ErrorKind::Misuse, format!("`{url}` is no URL")))?;
    let name = format!("export {}", export.name);
    let endpoint = match (&export.authority, url.https) {
        (Some(authority), true) => {
            let config = tls::client_config(&tls::certificates(authority)?, None)?;
            HttpEndpoint::new(name, &url.address, &url.host, config)?
        }
        (None, true) => return Err(Error::new(ErrorKind::Misuse, "needs `authority`")),
        (_, false) => HttpEndpoint::plain(name, &url.address),
    };
    let token = export.token_file.as_deref().map(token).transpose()?;
    HttpTarget::new(endpoint, url.address, url.path, token)
}

fn token(path: &Path) -> Result<String, Error> {
    let text = fs::read_to_string(path).map_err(|error| {
        let what = format!("token file `{}` cannot be read", path.display());
        Error::new(ErrorKind::Misuse, what).with_source(error)
    })?;
    Ok(text.trim().to_owned())
}

struct Url {
    https: bool,
    host: String,
    /// With the port.
    address: String,
    path: String,
}

impl Url {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (https, port) = match scheme {
            "https" => (true, 443),
            "http" => (false, 80),
            _ => return None,
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.is_empty() || authority.contains('@') {
            return None;
        }
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.contains(']'));
        let address = if has_port {
            authority.to_owned()
        } else {
            format!("{authority}:{port}")
        };
        let (host, port) = address.rsplit_once(':')?;
        let _port: u16 = port.parse().ok()?;
        Some(Self {
            https,
            host: host.trim_matches(['[', ']']).to_owned(),
            path: if path.is_empty() {
                "/".to_owned()
            } else {
                path.to_owned()
            },
            address,
        })
    }
}

impl Recording {
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [Some(&mut self.directory), self.key.as_mut()]
            .into_iter()
            .flatten()
    }

    /// The same for the engine, with the key read.
    ///
    /// # Errors
    ///
    /// `Misuse` or `Unavailable` when the key cannot be read.
    pub(crate) fn options(&self) -> Result<RecordingOptions, Error> {
        let mut options = RecordingOptions::new(&self.directory);
        options.input = self.input;
        options.strict = self.mode == Mode::Strict;
        options.key = self.key.as_deref().map(recording_key).transpose()?;
        Ok(options)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
        units
            .iter()
            .find_map(|(unit, shift)| {
                let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
                number
                    .checked_shl(*shift)
                    .filter(|size| size >> shift == number && *size > 0)
            })
            .map(Size)
            .ok_or_else(|| {
                serde::de::Error::custom(format!("`{text}` is no size, write it as 256MiB"))
            })
    }
}

impl<'de> Deserialize<'de> for Age {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let units = [('s', 1), ('m', 60), ('h', 60 * 60), ('d', 24 * 60 * 60)];
        units
            .iter()
            .find_map(|(unit, seconds)| {
                let number: u64 = text.strip_suffix(*unit)?.trim().parse().ok()?;
                number.checked_mul(*seconds).filter(|seconds| *seconds > 0)
            })
            .map(|seconds| Self(Duration::from_secs(seconds)))
            .ok_or_else(|| {
                serde::de::Error::custom(format!("`{text}` is no time, write it as 12h or 7d"))
            })
    }
}
