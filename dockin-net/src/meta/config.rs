use serde_json::{Map, Value, json};

use super::Trust;
use crate::{
    Attachment, InterfaceName,
    cni::{Args, CniError, ErrorCode, Json, Request, Version},
    resource_manager::{Attached, Question},
};

const CONF_DIR: &str = "/etc/cni/dockin/net.d";
const BIN_DIR: &str = "/opt/cni/bin";
const STATE_DIR: &str = "/var/lib/dockin/cni";
/// A day: longer than machines and resource managers are away, shorter than names are forgotten.
const ANSWER_AGE: u64 = 86_400;
const LOG_LEVELS: [&str; 5] = ["debug", "verbose", "info", "error", "panic"];
const ARGS: [&str; 7] = [
    "K8S_POD_NAME",
    "K8S_POD_NAMESPACE",
    "K8S_POD_INFRA_CONTAINER_ID",
    "K8S_POD_UID",
    "IP",
    "GATEWAY",
    "MAC",
];
/// Values of the runtime that are one interface's: two interfaces cannot have them.
const OF_THE_MASTER: [&str; 2] = ["ips", "mac"];

/// What the configuration of `dockin-cni` says.
#[derive(Clone, Debug)]
pub(super) struct MetaConfig {
    pub(super) conf_dir: String,
    pub(super) bin_dir: String,
    pub(super) state_dir: String,
    pub(super) log_file: Option<String>,
    pub(super) verbose: bool,
    pub(super) backend: Option<String>,
    pub(super) trust: Trust,
    pub(super) question: Question,
    /// For how many seconds the last answer is good.
    pub(super) answer_age: u64,
    runtime_config: Map<String, Value>,
}

impl MetaConfig {
    pub(super) fn read(request: &Request<'_>) -> Result<Self, CniError> {
        let config = request.config();
        let wrong = |error: crate::cni::FieldError| {
            CniError::new(ErrorCode::INVALID_CONFIG, error.to_string())
        };
        let text = |name| -> Result<Option<String>, CniError> {
            let field = config.get(name).map_err(wrong)?;
            let text = field.string().map_err(wrong)?;
            Ok(text.filter(|text| !text.is_empty()).map(str::to_owned))
        };
        let level = text("logLevel")?.unwrap_or_else(|| "error".into());
        if !LOG_LEVELS.contains(&level.as_str()) {
            return Err(CniError::field(
                ErrorCode::INVALID_CONFIG,
                "logLevel",
                format_args!("`{level}` is none of {}", LOG_LEVELS.join(", ")),
            ));
        }
        let args = Args::parse(&request.environment.args, &ARGS)
            .map_err(|error| CniError::new(ErrorCode::INVALID_ENVIRONMENT, error.to_string()))?;
        let arg = |key| args.value(key).unwrap_or_default().to_owned();
        let age = config.get("answerAgeSeconds").map_err(wrong)?;
        let age = age.integer().map_err(wrong)?.map(u64::try_from);
        let age = age.transpose().map_err(|_| {
            let what = "not a number of seconds";
            CniError::field(ErrorCode::INVALID_CONFIG, "answerAgeSeconds", what)
        })?;
        let runtime = config.get("runtimeConfig").map_err(wrong)?;
        runtime.members().map_err(wrong)?;
        Ok(Self {
            conf_dir: text("confDir")?.unwrap_or_else(|| CONF_DIR.into()),
            bin_dir: text("binDir")?.unwrap_or_else(|| BIN_DIR.into()),
            state_dir: text("stateDir")?.unwrap_or_else(|| STATE_DIR.into()),
            log_file: text("logFile")?,
            verbose: matches!(level.as_str(), "debug" | "verbose" | "info"),
            backend: text("backend")?,
            trust: Trust {
                authority: text("backendAuthority")?,
                identity: match (text("backendCertificate")?, text("backendKey")?) {
                    (Some(certificate), Some(key)) => Some((certificate, key)),
                    (None, None) => None,
                    _ => {
                        return Err(CniError::field(
                            ErrorCode::INVALID_CONFIG,
                            "backendCertificate",
                            "it goes together with `backendKey`",
                        ));
                    }
                },
                token: text("backendToken")?,
            },
            question: Question {
                pod: arg("K8S_POD_NAME"),
                namespace: arg("K8S_POD_NAMESPACE"),
                container_id: request.environment.container_id.clone(),
            },
            answer_age: age.unwrap_or(ANSWER_AGE),
            runtime_config: match runtime.value().map(to_value) {
                Some(Value::Object(members)) => members,
                _ => Map::new(),
            },
        })
    }

    /// What can be read of a configuration that is invalid: where the records are, and the log.
    /// The rest has its usual value.
    pub(super) fn salvage(request: &Request<'_>) -> Self {
        let config = request.config();
        let text = |name| {
            let field = config.get(name).ok()?;
            let text = field.string().ok().flatten()?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        Self {
            conf_dir: text("confDir").unwrap_or_else(|| CONF_DIR.into()),
            bin_dir: text("binDir").unwrap_or_else(|| BIN_DIR.into()),
            state_dir: text("stateDir").unwrap_or_else(|| STATE_DIR.into()),
            log_file: text("logFile"),
            verbose: false,
            backend: None,
            trust: Trust::default(),
            question: Question::default(),
            answer_age: ANSWER_AGE,
            runtime_config: Map::new(),
        }
    }

    /// Where plugins are, in the order they are looked for.
    pub(super) fn directories(&self, request: &Request<'_>) -> Vec<String> {
        let more = request.environment.path.split(':');
        std::iter::once(self.bin_dir.as_str())
            .chain(more)
            .filter(|directory| !directory.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// `CNI_ARGS` of delegates: who the pod is, and nothing that would change its addresses.
    pub(super) fn delegate_args(&self) -> String {
        let Question {
            pod,
            namespace,
            container_id,
        } = &self.question;
        format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={pod};\
             K8S_POD_INFRA_CONTAINER_ID={container_id}"
        )
    }
}

/// One plugin to be run for one interface.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Delegate {
    /// The interface in the container.
    pub(super) interface: String,
    /// Does the default route go here?
    pub(super) master: bool,
    /// Is it the last plugin of its network, whose result is that of the network?
    pub(super) last: bool,
    /// The whole configuration on its standard input, but for `prevResult`.
    pub(super) config: Value,
    /// What its `ADD` printed.
    pub(super) result: Option<Value>,
}

impl Delegate {
    pub(super) fn kind(&self) -> &str {
        self.text("type")
    }

    /// Is it a bridge network that the file does not want another program to make?
    pub(super) fn is_own_bridge(&self) -> bool {
        self.kind() == "bridge" && self.text("driver") != "exec"
    }

    pub(super) fn network(&self) -> &str {
        self.text("name")
    }

    pub(super) fn version(&self) -> Version {
        Version::parse(self.text("cniVersion")).unwrap_or(Version::V0_1_0)
    }

    fn text(&self, key: &str) -> &str {
        self.config
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// The plugins that make one attachment to `attached.network`, whose file is `file`.
///
/// The file's `ipam` is replaced by the address that was decided. The routes are the file's, else
/// a default route when this is the master.
///
/// # Errors
///
/// Code 7, with the file's name.
pub(super) fn delegates(
    config: &MetaConfig,
    attached: &Attached,
    file: &Value,
    of: &Attachment,
    outer: Version,
) -> Result<Vec<Delegate>, CniError> {
    let wrong = |what: &str| {
        CniError::new(
            ErrorCode::INVALID_CONFIG,
            format!("network `{}`: {what}", attached.network),
        )
    };
    let plugins = match file.get("plugins") {
        Some(Value::Array(plugins)) if !plugins.is_empty() => plugins.clone(),
        Some(_) => return Err(wrong("`plugins` is no list of plugins")),
        None => vec![file.clone()],
    };
    let version = match file.get("cniVersion") {
        None => outer.as_str(),
        Some(version) => version
            .as_str()
            .filter(|version| Version::parse(version).is_some())
            .ok_or_else(|| wrong("`cniVersion` is none that we speak"))?,
    };
    let interface = attached.interface.as_ref().or_else(|| of.interface());
    let interface = interface.map_or("", InterfaceName::as_str);
    let count = plugins.len();
    let mut delegates = Vec::with_capacity(count);
    for (index, plugin) in plugins.into_iter().enumerate() {
        let Value::Object(mut plugin) = plugin else {
            return Err(wrong("a plugin is no object"));
        };
        plugin.insert("name".into(), attached.network.clone().into());
        plugin.insert("cniVersion".into(), version.into());
        let kind = plugin
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if kind.is_empty() || kind.contains('/') {
            return Err(wrong("`type` names no plugin"));
        }
        let outside = attached
            .gateway
            .filter(|it| !attached.address.contains(*it));
        if let (Some(gateway), true, "bridge", None) =
            (outside, attached.master, kind, file.get("routes"))
        {
            return Err(wrong(&format!(
                "`gateway` {gateway} is not in the network of {}, and without `routes` there is no \
                 way to it",
                attached.address
            )));
        }
        if kind == "dockin-cni" {
            return Err(wrong("`type` is `dockin-cni`, which would run itself"));
        }
        match plugin.get("driver") {
            None => {}
            Some(Value::String(driver)) if driver == "exec" || driver == "netlink" => {}
            Some(_) => return Err(wrong("`driver` is neither `exec` nor `netlink`")),
        }
        if index == 0 {
            let ipam = ipam(
                attached,
                file,
                plugin.get("dns").or_else(|| file.get("dns")),
            );
            plugin.insert("ipam".into(), ipam);
        }
        let wanted = runtime_config(config, attached.master, plugin.get("capabilities"));
        if wanted.is_empty() {
            plugin.remove("runtimeConfig");
        } else {
            plugin.insert("runtimeConfig".into(), wanted.into());
        }
        delegates.push(Delegate {
            interface: interface.to_owned(),
            master: attached.master,
            last: index + 1 == count,
            config: plugin.into(),
            result: None,
        });
    }
    Ok(delegates)
}

fn ipam(attached: &Attached, file: &Value, dns: Option<&Value>) -> Value {
    let mut address = Map::new();
    address.insert("address".into(), attached.address.to_string().into());
    if let Some(gateway) = attached.gateway {
        address.insert("gateway".into(), gateway.to_string().into());
    }
    let mut ipam = Map::new();
    ipam.insert("type".into(), "dockin-ipam".into());
    ipam.insert("mode".into(), "static".into());
    ipam.insert("addresses".into(), json!([address]));
    match (file.get("routes"), attached.gateway) {
        (Some(routes), _) => {
            ipam.insert("routes".into(), routes.clone());
        }
        (None, Some(gateway)) if attached.master => {
            let everywhere = if gateway.is_ipv4() {
                "0.0.0.0/0"
            } else {
                "::/0"
            };
            let route = json!({"dst": everywhere, "gw": gateway.to_string()});
            ipam.insert("routes".into(), json!([route]));
        }
        _ => {}
    }
    if let Some(dns) = dns {
        ipam.insert("dns".into(), dns.clone());
    }
    ipam.into()
}

/// The runtime's values that a plugin declares to want.
fn runtime_config(
    config: &MetaConfig,
    master: bool,
    capabilities: Option<&Value>,
) -> Map<String, Value> {
    let wants = |key: &str| {
        let declared = capabilities
            .and_then(|it| it.get(key))
            .and_then(Value::as_bool);
        declared == Some(true) && (master || !OF_THE_MASTER.contains(&key))
    };
    config
        .runtime_config
        .iter()
        .filter(|(key, _)| wants(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The same value for the library that writes JSON.
pub(super) fn to_value(json: &Json<'_>) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => (*value).into(),
        Json::Number(text) => text.parse().map_or(Value::Null, Value::Number),
        Json::String(text) => text.as_ref().into(),
        Json::Array(elements) => elements.iter().map(to_value).collect(),
        Json::Object(members) => members
            .iter()
            .map(|(key, value)| (key.to_string(), to_value(value)))
            .collect(),
    }
}
