use serde::{Deserialize, Serialize};

use crate::cni::{CniError, ErrorCode, Field, Json};

/// Where the store is when the configuration does not say under which keys.
const PREFIX: &str = "/dockin/ipam";
/// Seconds.
const SESSION: u64 = 300;
/// Shorter than this, and an answer that is late ends the session.
const SHORTEST_SESSION: u64 = 10;
/// Addresses of one record of the store.
const BLOCK: u32 = 64;

/// `ipam.store`: the store that nodes share, and how a node is known there.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StoreConfig {
    /// `http://HOST:PORT` or `https://HOST:PORT`, one after the other until one answers.
    pub endpoints: Vec<String>,
    /// What keys begin with.
    pub prefix: String,
    /// The node; the machine's name when absent.
    pub node: Option<String>,
    /// For how many seconds a node that is silent may give addresses.
    pub session: u64,
    /// How many addresses a node takes at once.
    pub block: u32,
    /// The authority of the store's certificate, PEM.
    pub authority: Option<String>,
    /// Our certificate and its key, PEM.
    pub identity: Option<(String, String)>,
    /// The user, and the file with the password.
    pub user: Option<(String, String)>,
}

impl StoreConfig {
    /// Reads the fields of a JSON object, which are those of `ipam.store`.
    ///
    /// # Errors
    ///
    /// Code 7, naming the field.
    pub fn parse(text: &str) -> Result<Self, CniError> {
        let invalid = |what: String| CniError::new(ErrorCode::INVALID_CONFIG, what);
        let json = Json::parse(text.as_bytes()).map_err(|error| invalid(error.to_string()))?;
        Self::read(&json.root())?.ok_or_else(|| invalid("there is no store".into()))
    }

    /// Reads the field `store`; none when it is absent.
    pub(super) fn read(field: &Field<'_>) -> Result<Option<Self>, CniError> {
        if !field.is_present() {
            return Ok(None);
        }
        let wrong = |field: &Field<'_>, what: &str| {
            CniError::field(ErrorCode::INVALID_CONFIG, &field.path(), what)
        };
        let kind = field.get("type")?;
        if kind.string()? != Some("etcd") {
            return Err(wrong(&kind, "the only store is `etcd`"));
        }
        let text = |name: &str| -> Result<Option<String>, CniError> {
            let text = field.get(name)?.string()?.filter(|it| !it.is_empty());
            Ok(text.map(str::to_owned))
        };
        let number = |name: &str, least: u64, most: u64, usual: u64| {
            let field = field.get(name)?;
            let number = field.integer()?.map_or(Ok(usual), u64::try_from);
            let number = number.ok().filter(|it| (least..=most).contains(it));
            number.ok_or_else(|| wrong(&field, &format!("not from {least} to {most}")))
        };
        let list = field.get("endpoints")?;
        let endpoints: Vec<String> = list.strings()?.into_iter().map(str::to_owned).collect();
        for endpoint in &endpoints {
            let rest = ["https://", "http://"].iter();
            let rest = rest.filter_map(|it| endpoint.strip_prefix(it)).next();
            let host = rest.map(|it| it.strip_suffix('/').unwrap_or(it));
            let bad = |byte: u8| !byte.is_ascii_graphic() || b"/?#@".contains(&byte);
            if host.is_none_or(|it| it.is_empty() || it.bytes().any(bad)) {
                let what = format!("`{}` is no address", endpoint.escape_debug());
                return Err(wrong(&list, &what));
            }
        }
        if endpoints.is_empty() {
            return Err(wrong(&list, "missing: name at least one address of etcd"));
        }
        let pair = |one: &str, other: &str| match (text(one)?, text(other)?) {
            (None, None) => Ok(None),
            (Some(one), Some(other)) => Ok(Some((one, other))),
            _ => Err(wrong(field, &format!("`{one}` and `{other}` go together"))),
        };
        let user = pair("user", "passwordFile")?;
        if user.is_some() && endpoints.iter().any(|it| it.starts_with("http://")) {
            // A password that anyone on the way can read is nobody's.
            return Err(wrong(&list, "a password needs `https://`"));
        }
        let node = text("node")?;
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if node.as_deref().is_some_and(|it| !it.bytes().all(good)) {
            let what = "letters, digits, `-`, `.` and `_` name a node";
            return Err(wrong(&field.get("node")?, what));
        }
        let block = number("blockSize", 1, BLOCK.into(), BLOCK.into())?;
        Ok(Some(Self {
            endpoints,
            prefix: text("prefix")?.unwrap_or_else(|| PREFIX.to_owned()),
            node,
            session: number("sessionSeconds", SHORTEST_SESSION, 86_400, SESSION)?,
            block: u32::try_from(block).unwrap_or(BLOCK),
            authority: text("authority")?,
            identity: pair("certificate", "key")?,
            user,
        }))
    }
}
