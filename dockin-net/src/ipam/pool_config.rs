use std::net::IpAddr;

use super::{static_mode::refused, store_config::StoreConfig};
use crate::{
    Cidr, Family, InterfaceName, Pool, Range, RangeError, RangeSet, RangeSpec, Span,
    cni::{
        Args, CniError, Dns, ErrorCode, Field, FieldError, Request, Route, Shape, decode_address,
        decode_cidr, decode_dns, decode_routes,
    },
    lease::{Owner, StickyKey},
    parse_address,
    pool::{Policy, Reservation, Sticky},
    store::{Format, Place},
};

/// Where our own form is when the configuration does not say.
pub const DATA_DIR: &str = "/var/lib/dockin/ipam";
/// Where the reference's directories are when the configuration does not say.
const HOST_LOCAL_DATA_DIR: &str = "/var/lib/cni/networks";
/// Seconds; a runtime that lost its list has started its first pods again by then.
const COLLECT_AFTER: u64 = 60;

/// Keys of `CNI_ARGS` that runtimes and neighbouring plugins set for everyone.
const ARGS: [&str; 7] = [
    "IP",
    "MAC",
    "GATEWAY",
    "K8S_POD_NAMESPACE",
    "K8S_POD_NAME",
    "K8S_POD_INFRA_CONTAINER_ID",
    "K8S_POD_UID",
];
/// What the reference's `host-local` knows, and `MAC`, which it is handed and refuses.
const HOST_LOCAL_ARGS: [&str; 2] = ["IP", "MAC"];

/// What a configuration with pools says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct PoolConfig {
    pub(super) place: Place,
    pub(super) pools: Vec<Pool>,
    pub(super) requested: Vec<IpAddr>,
    pub(super) owner: Option<Owner>,
    pub(super) routes: Vec<Route>,
    pub(super) dns: Dns,
    pub(super) resolv_conf: Option<String>,
    pub(super) store: Option<StoreConfig>,
}

/// How addresses are found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    /// They are named.
    Static,
    /// They come from pools, in the form of `Format`.
    Pool(Format),
}

impl Mode {
    /// `ipam.mode` says it; else the `type` of a reference plugin; else whether there are ranges.
    pub(super) fn of(request: &Request<'_>) -> Result<Self, CniError> {
        let Ok(ipam) = request.config().get("ipam") else {
            return Ok(Self::Static);
        };
        let word = |name| {
            let field = ipam.get(name).ok()?;
            field.string().ok().flatten().map(str::to_owned)
        };
        let kind = word("type").unwrap_or_default();
        if kind == "dockin-ipam" {
            let mode = ipam.get("mode").and_then(|it| it.string().map(drop));
            let wrong =
                |error: FieldError| CniError::new(ErrorCode::INVALID_CONFIG, error.to_string());
            mode.map_err(wrong)?;
        }
        match word("mode").as_deref() {
            Some("static") => return Ok(Self::Static),
            Some("pool") if kind == "host-local" => return Ok(Self::Pool(Format::HostLocal)),
            Some("pool") => return Ok(Self::Pool(Format::Table)),
            Some(other) if kind == "dockin-ipam" => {
                let wrong = format_args!("`{other}` is neither `static` nor `pool`");
                return Err(CniError::field(
                    ErrorCode::INVALID_CONFIG,
                    "ipam.mode",
                    wrong,
                ));
            }
            _ => {}
        }
        let has = |name| ipam.get(name).is_ok_and(|field| field.is_present());
        Ok(match kind.as_str() {
            "static" => Self::Static,
            "host-local" => Self::Pool(Format::HostLocal),
            _ if has("subnet") || has("ranges") || has("pools") => Self::Pool(Format::Table),
            _ => Self::Static,
        })
    }
}

impl PoolConfig {
    pub(super) fn read(request: &Request<'_>, format: Format) -> Result<Self, CniError> {
        let config = request.config();
        let ipam = config.get("ipam")?;
        ipam.members()?;
        if !ipam.is_present() {
            return Err(CniError::new(ErrorCode::INTERNAL, "`ipam` is missing"));
        }
        let code = match format {
            Format::HostLocal => ErrorCode::INTERNAL,
            Format::Table => ErrorCode::INVALID_CONFIG,
        };
        let known: &[&str] = match format {
            Format::HostLocal => &HOST_LOCAL_ARGS,
            Format::Table => &ARGS,
        };
        let args = Args::parse(&request.environment.args, known)
            .map_err(|error| CniError::new(code, error.to_string()))?;
        let reader = Reader { code };
        let routes = decode_routes(&ipam.get("routes")?).map_err(refused)?;
        let ranges = config.get("runtimeConfig")?.get("ipRanges")?;
        let pools = reader.pools(&ipam, &ranges)?;
        reader.check_families(&pools, request)?;
        Ok(Self {
            place: read_place(request, format)?,
            pools,
            requested: reader.requested(request, &args)?,
            owner: read_owner(request, &args)?,
            routes,
            dns: decode_dns(&ipam.get("dns")?)?,
            resolv_conf: ipam
                .get("resolvConf")?
                .string()?
                .filter(|path| !path.is_empty())
                .map(str::to_owned),
            store: match format {
                Format::Table => StoreConfig::read(&ipam.get("store")?)?,
                Format::HostLocal => None,
            },
        })
    }

    /// Who keeps the addresses of `interface` in `pool`.
    pub(super) fn sticky(&self, pool: &Pool, interface: &InterfaceName) -> Option<StickyKey> {
        let owner = self.owner.clone()?;
        let has_ordinal = || {
            let ordinal = owner.as_str().rsplit_once('-').map(|(_, ordinal)| ordinal);
            ordinal.is_some_and(|it| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit()))
        };
        let keeps = match pool.policy().sticky {
            Sticky::Never => false,
            Sticky::Pod => true,
            Sticky::Workload => has_ordinal(),
        };
        keeps.then(|| StickyKey {
            owner: owner.clone(),
            interface: interface.clone(),
        })
    }
}

/// Where the leases are; this much is read also when the rest cannot be.
pub(super) fn read_place(request: &Request<'_>, format: Format) -> Result<Place, CniError> {
    let directory = request.config().get("ipam")?.get("dataDir")?;
    let usual = match format {
        Format::HostLocal => HOST_LOCAL_DATA_DIR,
        Format::Table => DATA_DIR,
    };
    Ok(Place {
        directory: directory
            .string()?
            .filter(|path| !path.is_empty())
            .unwrap_or(usual)
            .to_owned(),
        network: request.network.clone(),
        format,
    })
}

fn read_owner(request: &Request<'_>, args: &Args) -> Result<Option<Owner>, CniError> {
    let Some(namespace) = args.value("K8S_POD_NAMESPACE") else {
        return Ok(None);
    };
    let labels = request.config().get("args")?.get("cni")?;
    let workload = labels.get("workload")?.string()?;
    let ordinal = labels.get("ordinal")?.integer()?;
    Ok(match (workload, ordinal, args.value("K8S_POD_NAME")) {
        (Some(workload), Some(ordinal), _) => {
            Some(Owner::new(namespace, &format!("{workload}-{ordinal}")))
        }
        (_, _, Some(pod)) => Some(Owner::new(namespace, pod)),
        _ => None,
    })
}

struct Reader {
    code: ErrorCode,
}

impl Reader {
    fn wrong(&self, field: &Field<'_>, what: impl std::fmt::Display) -> CniError {
        CniError::field(self.code, &field.path(), what)
    }

    fn pools(&self, ipam: &Field<'_>, runtime: &Field<'_>) -> Result<Vec<Pool>, CniError> {
        let several = ipam.get("pools")?;
        let mut pools = Vec::new();
        for field in several.elements()? {
            let name = field.get("name")?;
            let text = name.string()?.unwrap_or_default();
            if text.is_empty() || pools.iter().any(|pool: &Pool| pool.name() == text) {
                return Err(self.wrong(&name, "each of several pools needs a name of its own"));
            }
            let sets = self.sets(&field, None)?;
            pools.push(self.pool(text, sets, &field)?);
        }
        let sets = self.sets(ipam, Some(runtime))?;
        if !sets.is_empty() {
            pools.insert(0, self.pool("", sets, ipam)?);
        }
        if pools.is_empty() {
            return Err(self.wrong(ipam, "no `subnet`, `ranges` or `pools`"));
        }
        for (index, one) in pools.iter().enumerate() {
            let others = pools.iter().skip(index + 1).flat_map(Pool::sets);
            let mut pairs = others.flat_map(|it| one.sets().iter().map(move |one| (one, it)));
            if let Some(error) = pairs.find_map(|(one, other)| one.overlap(other)) {
                return Err(self.wrong(&several, error));
            }
        }
        if self.code == ErrorCode::INTERNAL {
            // The reference gives the gateway of one range from another.
            return Ok(pools);
        }
        let ranges = pools.iter().flat_map(Pool::sets).flat_map(RangeSet::ranges);
        let gateways: Vec<_> = ranges.map(Range::gateway).collect();
        let without = |pool: Pool| pool.without_gateways(&gateways);
        Ok(pools.into_iter().map(without).collect())
    }

    fn pool(&self, name: &str, sets: Vec<RangeSet>, field: &Field<'_>) -> Result<Pool, CniError> {
        let pool = Pool::new(name, sets).map_err(|error| self.wrong(field, error))?;
        let mut excluded = Vec::new();
        for span in field.get("exclude")?.elements()? {
            let text = span.string()?.unwrap_or_default();
            excluded.push(Span::parse(text).map_err(|error| self.wrong(&span, error))?);
        }
        let mut reserved = Vec::new();
        for element in field.get("reservations")?.elements()? {
            let address = element.get("address")?;
            let owner = element.get("for")?;
            let owner_text = owner.string()?;
            reserved.push(Reservation {
                address: self.address(&address)?,
                owner: owner_text.and_then(Owner::parse),
            });
            if owner_text.is_some() && owner_text.and_then(Owner::parse).is_none() {
                return Err(self.wrong(&owner, "not `namespace/name`"));
            }
        }
        let policy = self.policy(field)?;
        Ok(pool
            .without(excluded)
            .with_reservations(reserved)
            .with_policy(policy))
    }

    fn policy(&self, field: &Field<'_>) -> Result<Policy, CniError> {
        let sticky = field.get("sticky")?;
        Ok(Policy {
            sticky: match sticky.string()? {
                None | Some("never") => Sticky::Never,
                Some("pod") => Sticky::Pod,
                Some("workload") => Sticky::Workload,
                Some(_) => return Err(self.wrong(&sticky, "none of `never`, `pod`, `workload`")),
            },
            keep: self.seconds(&field.get("stickySeconds")?)?,
            cool_down: self.seconds(&field.get("coolDownSeconds")?)?.unwrap_or(0),
            collect_after: self
                .seconds(&field.get("collectAfterSeconds")?)?
                .unwrap_or(COLLECT_AFTER),
        })
    }

    fn seconds(&self, field: &Field<'_>) -> Result<Option<u64>, CniError> {
        let number = field.integer()?.map(u64::try_from);
        number
            .transpose()
            .map_err(|_| self.wrong(field, "not a number of seconds"))
    }

    fn sets(&self, at: &Field<'_>, first: Option<&Field<'_>>) -> Result<Vec<RangeSet>, CniError> {
        let mut sets = Vec::new();
        let ranges = at.get("ranges")?;
        for list in first.into_iter().chain([&ranges]) {
            if std::ptr::eq(list, &ranges) && at.get("subnet")?.is_present() {
                let range = self.range(at)?;
                sets.push(RangeSet::new(vec![range]).map_err(|error| self.wrong(at, error))?);
            }
            for set in list.elements()? {
                let ranges: Result<Vec<_>, _> = set.elements()?.map(|it| self.range(&it)).collect();
                sets.push(RangeSet::new(ranges?).map_err(|error| self.wrong(&set, error))?);
            }
        }
        Ok(sets)
    }

    fn range(&self, field: &Field<'_>) -> Result<Range, CniError> {
        let address = |name| decode_address(&field.get(name)?).map_err(refused);
        let subnet = field.get("subnet")?;
        let spec = RangeSpec {
            subnet: match subnet.is_present() {
                true => Some(decode_cidr(&subnet).map_err(refused)?),
                false => None,
            },
            first: address("rangeStart")?,
            last: address("rangeEnd")?,
            gateway: address("gateway")?,
        };
        let range = Range::new(&spec).map_err(|error: RangeError| self.wrong(field, error))?;
        if self.code != ErrorCode::INTERNAL && Family::of(range.gateway()) != range.family() {
            let gateway = field.get("gateway")?;
            return Err(self.wrong(&gateway, "of another family than the subnet"));
        }
        Ok(range)
    }

    /// One address of a family is all that a result of 0.1.0 or 0.2.0 can say.
    fn check_families(&self, pools: &[Pool], request: &Request<'_>) -> Result<(), CniError> {
        let count = |pool: &Pool, family| {
            let same = |set: &&RangeSet| set.family() == family;
            pool.sets().iter().filter(same).count()
        };
        let several = |pool: &&Pool| count(pool, Family::V4).max(count(pool, Family::V6)) > 1;
        if request.version.shape() == Shape::PerFamily && pools.iter().any(|pool| several(&pool)) {
            let version = request.version;
            let what = format_args!("version {version} has room for one address of a family");
            return Err(CniError::field(self.code, "ipam.ranges", what));
        }
        Ok(())
    }

    /// Addresses that the runtime asks for; a prefix is not needed. The capability `ips` replaces
    /// `args.cni.ips`, which replaces `IP` of `CNI_ARGS`. In the reference they add up.
    fn requested(&self, request: &Request<'_>, args: &Args) -> Result<Vec<IpAddr>, CniError> {
        let config = request.config();
        let add_up = self.code == ErrorCode::INTERNAL;
        let mut requested = Vec::new();
        if let Some(text) = args.value("IP") {
            // The reference takes one address here.
            for text in text.splitn(if add_up { 1 } else { usize::MAX }, ',') {
                let address = parse_either(text.trim())
                    .map_err(|error| CniError::field(self.code, "CNI_ARGS: IP", error))?;
                requested.push(address);
            }
        }
        for list in [
            config.get("args")?.get("cni")?.get("ips")?,
            config.get("runtimeConfig")?.get("ips")?,
        ] {
            let addresses: Result<Vec<_>, _> =
                list.elements()?.map(|it| self.address(&it)).collect();
            let mut addresses = addresses?;
            if !add_up && !addresses.is_empty() {
                requested.clear();
            }
            requested.append(&mut addresses);
        }
        requested.dedup();
        Ok(requested)
    }

    fn address(&self, field: &Field<'_>) -> Result<IpAddr, CniError> {
        parse_either(field.string()?.unwrap_or_default()).map_err(|error| self.wrong(field, error))
    }
}

/// An address, with or without a prefix.
fn parse_either(text: &str) -> Result<IpAddr, crate::AddressError> {
    if text.contains('/') {
        return Cidr::parse(text).map(Cidr::address);
    }
    parse_address(text)
}
