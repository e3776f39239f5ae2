use std::net::IpAddr;

use crate::{
    Attachment, Cidr, Family,
    cni::{
        Args, CniError, CniResult, ErrorCode, Field, IpConfig, Json, Request, ResultError, Shape,
        decode_address, decode_dns, decode_routes,
    },
    parse_address,
};

/// The keys of `CNI_ARGS` that this mode reads.
const ARGS: [&str; 2] = ["IP", "GATEWAY"];

/// What the configuration and the runtime ask for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Wanted {
    result: CniResult,
}

/// An address before its text is read: a bad one may yet be replaced by another source.
struct Candidate {
    path: String,
    text: String,
    gateway: Option<IpAddr>,
}

impl Wanted {
    /// Reads every source of addresses.
    ///
    /// The capability `ips` replaces `args.cni.ips`, which replaces the configuration's
    /// `addresses` together with `IP` of `CNI_ARGS`; an empty list replaces nothing. A source of
    /// the runtime is checked even when another replaces it.
    pub(super) fn read(request: &Request<'_>) -> Result<Self, CniError> {
        let config = request.config();
        let ipam = config.get("ipam")?;
        ipam.members()?;
        for key in ["type", "name"] {
            ipam.get(key)?.string()?;
        }
        let mut candidates = read_addresses(&ipam)?;
        let routes = decode_routes(&ipam.get("routes")?).map_err(refused)?;
        let dns = decode_dns(&ipam.get("dns")?)?;
        let in_args = config.get("args")?.get("cni")?.get("ips")?;
        let from_args = read_list(&in_args)?;
        let capability = config.get("runtimeConfig")?.get("ips")?;
        let from_capability = read_list(&capability)?;
        if !ipam.is_present() {
            return Err(CniError::new(ErrorCode::INTERNAL, "`ipam` is missing"));
        }
        read_cni_args(&request.environment.args, &mut candidates)?;
        for candidate in from_args.iter().chain(&from_capability) {
            candidate.cidr()?;
        }
        for replacement in [from_args, from_capability] {
            if !replacement.is_empty() {
                candidates = replacement;
            }
        }
        let mut ips = Vec::with_capacity(candidates.len());
        for candidate in &candidates {
            ips.push(IpConfig {
                address: candidate.cidr()?,
                gateway: candidate.gateway,
                interface: None,
            });
        }
        check_one_per_family(&ips, request)?;
        let result = CniResult {
            ips,
            routes,
            dns,
            ..CniResult::default()
        };
        Ok(Self { result })
    }

    /// The answer to `ADD`.
    pub(super) fn into_result(self) -> CniResult {
        self.result
    }

    /// Does `prevResult` hold every address, each with its gateway?
    ///
    /// One that lists no addresses at all says nothing about them.
    pub(super) fn check(&self, request: &Request<'_>, of: &Attachment) -> Result<(), CniError> {
        let config = request.config();
        decode_dns(&config.get("dns")?)?;
        let previous = config.get("prevResult")?;
        previous.members()?;
        if !previous.is_present() {
            return Err(CniError::new(
                ErrorCode::INTERNAL,
                "`prevResult` is missing, CHECK compares with it",
            ));
        }
        let previous = CniResult::decode(&previous, request.version).map_err(refused)?;
        for ip in &self.result.ips {
            let address = ip.address.address();
            let found = previous
                .ips
                .iter()
                .find(|it| it.address.address() == address);
            let held = match (found, ip.gateway) {
                (None, _) => previous.ips.is_empty(),
                (Some(_), None) => true,
                (Some(found), gateway) => found.gateway == gateway,
            };
            if !held {
                return Err(CniError::new(
                    ErrorCode::INTERNAL,
                    format!(
                        "`prevResult` of {of} has not {} with its gateway",
                        ip.address
                    ),
                ));
            }
        }
        Ok(())
    }
}

impl Candidate {
    fn cidr(&self) -> Result<Cidr, CniError> {
        Cidr::parse(&self.text).map_err(|error| super::address_error(&self.path, &error))
    }
}

fn read_addresses(ipam: &Field<'_>) -> Result<Vec<Candidate>, CniError> {
    let mut candidates = Vec::new();
    for element in ipam.get("addresses")?.elements()? {
        let mut text = "";
        for (key, field) in element.members()? {
            // Meta plugins that print the reference's own structures add a second key, `Address`,
            // which holds the address taken apart. The text is what counts.
            if key == "Address" && !matches!(field.value(), Some(Json::String(_))) {
                field.members()?;
            } else if key.eq_ignore_ascii_case("address") {
                text = field.string()?.unwrap_or_default();
            }
        }
        candidates.push(Candidate {
            path: format!("{}.address", element.path()),
            text: text.to_owned(),
            gateway: decode_address(&element.get("gateway")?).map_err(refused)?,
        });
    }
    Ok(candidates)
}

fn read_list(field: &Field<'_>) -> Result<Vec<Candidate>, CniError> {
    let texts = field.strings()?.into_iter().enumerate();
    Ok(texts
        .map(|(index, text)| Candidate {
            path: format!("{}[{index}]", field.path()),
            text: text.to_owned(),
            gateway: None,
        })
        .collect())
}

/// Adds the addresses of `IP`, then gives each gateway of `GATEWAY` to the added addresses whose
/// network it is in. Addresses of the configuration keep the gateway they have.
fn read_cni_args(text: &str, candidates: &mut Vec<Candidate>) -> Result<(), CniError> {
    let args = Args::parse(text, &ARGS)
        .map_err(|error| CniError::new(ErrorCode::INTERNAL, error.to_string()))?;
    let configured = candidates.len();
    for text in args
        .value("IP")
        .into_iter()
        .flat_map(|list| list.split(','))
    {
        let candidate = Candidate {
            path: "CNI_ARGS: IP".into(),
            text: text.trim().to_owned(),
            gateway: None,
        };
        candidate.cidr()?;
        candidates.push(candidate);
    }
    for text in args
        .value("GATEWAY")
        .into_iter()
        .flat_map(|list| list.split(','))
    {
        let gateway = parse_address(text.trim())
            .map_err(|error| super::address_error("CNI_ARGS: GATEWAY", &error))?;
        for candidate in candidates.iter_mut().skip(configured) {
            if candidate.cidr()?.contains(gateway) {
                candidate.gateway = Some(gateway);
            }
        }
    }
    Ok(())
}

fn check_one_per_family(ips: &[IpConfig], request: &Request<'_>) -> Result<(), CniError> {
    let count = |family| {
        ips.iter()
            .filter(|ip| ip.address.family() == family)
            .count()
    };
    let most = count(Family::V4).max(count(Family::V6));
    if most > 1 && request.version.shape() == Shape::PerFamily {
        return Err(CniError::new(
            ErrorCode::INTERNAL,
            format!(
                "{most} addresses of one family: version {} has room for one",
                request.version
            ),
        ));
    }
    Ok(())
}

pub(super) fn refused(error: ResultError) -> CniError {
    match error {
        ResultError::Address { path, error } => super::address_error(&path, &error),
        ResultError::Missing(_) => CniError::new(ErrorCode::INVALID_CONFIG, error.to_string()),
        _ => CniError::new(ErrorCode::INTERNAL, error.to_string()),
    }
}
