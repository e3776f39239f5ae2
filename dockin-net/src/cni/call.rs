use super::{
    CniError, CniResult, Environment, ErrorCode, Field, FieldError, Json, Version, verb::Verb,
    version,
};
use crate::attachment::{Attachment, NetworkName};

/// One call that the contract allows: what a plugin gets.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) network: NetworkName,
    pub(crate) version: Version,
    config: &'a Json<'a>,
    stdin: &'a [u8],
}

impl<'a> Request<'a> {
    /// A configuration without a call, as operators name one.
    pub(crate) const fn of_operator(
        environment: &'a Environment,
        network: NetworkName,
        config: &'a Json,
    ) -> Self {
        Self {
            environment,
            network,
            version: Version::V1_1_0,
            config,
            stdin: &[],
        }
    }

    /// The variables.
    #[must_use]
    pub const fn environment(&self) -> &'a Environment {
        self.environment
    }

    /// The network's name.
    #[must_use]
    pub const fn network(&self) -> &NetworkName {
        &self.network
    }

    /// The version of the configuration, which is that of the answer.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The configuration's root.
    #[must_use]
    pub fn config(&self) -> Field<'a> {
        self.config.root()
    }

    /// The configuration as it came.
    #[must_use]
    pub const fn stdin(&self) -> &'a [u8] {
        self.stdin
    }

    /// The attachments that are to stay, container and interface, as a runtime lists them for a
    /// collection.
    pub(crate) fn attachments_to_keep(&self) -> Result<Vec<(String, String)>, CniError> {
        let mut valid = Vec::new();
        let mut present = false;
        for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
            let list = self.config().get(key)?;
            present |= list.is_present();
            for element in list.elements()? {
                let text = |name| -> Result<String, CniError> {
                    Ok(element.get(name)?.string()?.unwrap_or_default().to_owned())
                };
                valid.push((text("containerID")?, text("ifname")?));
            }
        }
        if present {
            return Ok(valid);
        }
        Err(CniError::field(
            ErrorCode::INVALID_CONFIG,
            "cni.dev/valid-attachments",
            "missing: without it every attachment would end",
        ))
    }
}

/// What a plugin does behind the contract.
///
/// The contract has been kept when one of these is called: variables, names and versions are
/// checked, and the verb exists in the configuration's version.
pub trait Plugin {
    /// Makes the attachment.
    ///
    /// # Errors
    ///
    /// The error object for the runtime.
    fn add(&mut self, request: &Request<'_>, of: &Attachment) -> Result<CniResult, CniError>;

    /// Undoes the attachment; success when there is none.
    ///
    /// # Errors
    ///
    /// The error object for the runtime.
    fn del(&mut self, request: &Request<'_>, of: &Attachment) -> Result<(), CniError>;

    /// Is the attachment as it was made?
    ///
    /// # Errors
    ///
    /// The error object for the runtime.
    fn check(&mut self, request: &Request<'_>, of: &Attachment) -> Result<(), CniError>;

    /// Removes what belongs to no attachment of the request's list.
    ///
    /// # Errors
    ///
    /// The error object for the runtime.
    fn collect(&mut self, request: &Request<'_>) -> Result<(), CniError>;

    /// Could an attachment be made?
    ///
    /// # Errors
    ///
    /// Code 50 or 51.
    fn status(&mut self, request: &Request<'_>) -> Result<(), CniError>;

    /// Is the namespace at `path` the one the plugin itself runs in? A path that leads nowhere
    /// is not.
    fn is_own_namespace(&mut self, path: &str) -> bool;
}

/// What the plugin prints, and its exit code.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// One JSON object, or nothing.
    pub stdout: String,
    /// What people read.
    pub stderr: String,
    /// 0, or 1 with an error object on standard output.
    pub exit_code: u8,
}

/// Answers one call: environment and standard input in, an [`Outcome`] out.
///
/// `about` is the line for people who start the program without a command.
pub fn run(
    environment: &Environment,
    stdin: &[u8],
    about: &str,
    plugin: &mut dyn Plugin,
) -> Outcome {
    if environment.command.is_empty() {
        let versions = Version::ALL.map(Version::as_str).join(", ");
        return Outcome {
            stderr: format!("{about}\nCNI protocol versions supported: {versions}\n"),
            ..Outcome::default()
        };
    }
    let mut version = Version::NEWEST;
    match answer(environment, stdin, plugin, &mut version) {
        Ok(stdout) => Outcome {
            stdout,
            ..Outcome::default()
        },
        Err(error) => Outcome {
            stdout: error.to_json(version.as_str()),
            exit_code: 1,
            ..Outcome::default()
        },
    }
}

fn answer(
    environment: &Environment,
    stdin: &[u8],
    plugin: &mut dyn Plugin,
    answer_in: &mut Version,
) -> Result<String, CniError> {
    let Some(verb) = Verb::parse(&environment.command) else {
        return Err(CniError::new(
            ErrorCode::INVALID_ENVIRONMENT,
            format!(
                "`CNI_COMMAND` is `{}`: it must be one of {}",
                environment.command.escape_default(),
                Verb::NAMES
            ),
        ));
    };
    if verb == Verb::Version {
        return Ok(serde_json::json!({
            "cniVersion": Version::NEWEST.as_str(),
            "supportedVersions": Version::ALL.map(Version::as_str),
        })
        .to_string());
    }
    environment.check(verb)?;
    let config = Json::parse(stdin).map_err(|error| {
        CniError::new(
            ErrorCode::UNDECODABLE,
            format!("standard input: {error} of the network configuration"),
        )
    })?;
    let network = read_name(&config.root(), answer_in)?;
    let attachment = environment.attachment(verb)?;
    let request = Request {
        environment,
        network,
        version: read_version(&config.root(), verb)?,
        config: &config,
        stdin,
    };
    let guarded = matches!(verb, Verb::Add | Verb::Del) && !environment.allows_own_namespace();
    if guarded && plugin.is_own_namespace(&environment.netns) {
        return Err(CniError::field(
            ErrorCode::INVALID_NAMESPACE,
            "CNI_NETNS",
            "this is the namespace of the plugin; `CNI_NETNS_OVERRIDE=1` would allow it",
        ));
    }
    match (verb, &attachment) {
        (Verb::Add, Some(attachment)) => {
            let result = plugin.add(&request, attachment)?;
            let value = result
                .encode(request.version)
                .map_err(|error| CniError::new(ErrorCode::INTERNAL, error.to_string()))?;
            return Ok(value.to_string());
        }
        (Verb::Del, Some(attachment)) => plugin.del(&request, attachment)?,
        (Verb::Check, Some(attachment)) => plugin.check(&request, attachment)?,
        (Verb::Gc, _) => plugin.collect(&request)?,
        _ => plugin.status(&request)?,
    }
    Ok(String::new())
}

fn undecodable(error: FieldError) -> CniError {
    CniError::new(ErrorCode::UNDECODABLE, error.to_string())
}

fn read_name(root: &Field<'_>, answer_in: &mut Version) -> Result<NetworkName, CniError> {
    let version = root.get("cniVersion").map_err(undecodable)?;
    // From here on errors are told in the caller's version, where it is one of ours.
    if let Some(version) = version.string().ok().flatten().and_then(Version::parse) {
        *answer_in = version;
    }
    let name = root.get("name").map_err(undecodable)?;
    let name = name.string().map_err(undecodable)?.unwrap_or_default();
    NetworkName::parse(name)
        .map_err(|error| CniError::field(ErrorCode::INVALID_CONFIG, "name", error))
}

fn read_version(root: &Field<'_>, verb: Verb) -> Result<Version, CniError> {
    let field = root.get("cniVersion").map_err(undecodable)?;
    let text = field.string().map_err(undecodable)?.unwrap_or_default();
    let since = match verb {
        Verb::Check => Version::V0_4_0,
        Verb::Gc | Verb::Status => Version::V1_1_0,
        _ => Version::V0_1_0,
    };
    if since > Version::V0_1_0 && !version::is_numeric(text) {
        return Err(CniError::field(
            ErrorCode::UNDECODABLE,
            "cniVersion",
            format_args!("`{text}` is not a version"),
        ));
    }
    let unknown = || {
        let versions = Version::ALL.map(Version::as_str).join(", ");
        CniError::field(
            ErrorCode::INCOMPATIBLE_VERSION,
            "cniVersion",
            format_args!("`{text}` is none of {versions}"),
        )
    };
    let version = Version::parse(text).ok_or_else(unknown)?;
    if version < since {
        return Err(CniError::field(
            ErrorCode::INCOMPATIBLE_VERSION,
            "cniVersion",
            format_args!("{} came with {since}, this is {version}", verb.as_str()),
        ));
    }
    Ok(version)
}
