use super::Mac;
use crate::cni::{Args, CniError, Dns, ErrorCode, Field, Request, decode_dns};

/// The bridge when the configuration names none.
const BRIDGE: &str = "cni0";
/// Keys of `CNI_ARGS` that our neighbours read.
const ARGS: [&str; 7] = [
    "MAC",
    "IP",
    "GATEWAY",
    "K8S_POD_NAME",
    "K8S_POD_NAMESPACE",
    "K8S_POD_INFRA_CONTAINER_ID",
    "K8S_POD_UID",
];
/// A longer probe than this would outlast the runtime's patience, in milliseconds.
const MAX_PROBE: i64 = 3000;

/// What the configuration of a bridge network says. Keys are those of the reference's `bridge`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each key")]
pub struct BridgeConfig {
    /// `bridge`
    pub bridge: String,
    /// `isGateway`, also when `isDefaultGateway` is set: the bridge has the gateway's address.
    pub gateway: bool,
    /// `isDefaultGateway`: and the default route goes there.
    pub default_gateway: bool,
    /// `forceAddress`: replace another address of the bridge.
    pub force_address: bool,
    /// `ipMasq`
    pub masquerade: bool,
    /// `mtu`, the kernel's choice when absent or 0.
    pub mtu: Option<u32>,
    /// `hairpinMode`
    pub hairpin: bool,
    /// `promiscMode`
    pub promiscuous: bool,
    /// `vlan`, 0 for none.
    pub vlan: u16,
    /// `vlanTrunk`, in order, each once.
    pub trunk: Vec<u16>,
    /// `preserveDefaultVlan`
    pub preserve_default_vlan: bool,
    /// `portIsolation`
    pub isolated: bool,
    /// `macspoofchk`
    pub check_source: bool,
    /// `enabledad`: test IPv6 addresses before they are used.
    pub detect_first: bool,
    /// Ours, `optimisticDad`: use IPv6 addresses at once and test them meanwhile.
    pub optimistic: bool,
    /// `disableContainerInterface`: leave the container's end switched off.
    pub keep_down: bool,
    /// Ours, `conflictProbe`: how long to ask on the network who has an IPv4 address before it is
    /// used, in milliseconds; 0 for not at all.
    pub probe: u32,
    /// The hardware address of the container's end: `runtimeConfig.mac`, else `args.cni.mac`,
    /// else `MAC` of `CNI_ARGS`.
    pub mac: Option<Mac>,
    /// `ipam.type`, none for an attachment without addresses.
    pub ipam: Option<String>,
    /// `dns`, which replaces that of the address plugin.
    pub dns: Dns,
}

impl BridgeConfig {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    ///
    /// Code 7 with the field, code 4 for `CNI_ARGS`.
    pub fn read(request: &Request<'_>) -> Result<Self, CniError> {
        let config = request.config();
        let invalid = |error: crate::cni::FieldError| {
            CniError::new(ErrorCode::INVALID_CONFIG, error.to_string())
        };
        let flag = |name| -> Result<Option<bool>, CniError> {
            let field = config.get(name).map_err(invalid)?;
            field.boolean().map_err(invalid)
        };
        let on = |name| Ok::<_, CniError>(flag(name)?.unwrap_or_default());
        let number = |name| number(&config, name);
        let text = |name| -> Result<Option<String>, CniError> {
            let field = config.get(name).map_err(invalid)?;
            let text = field.string().map_err(invalid)?;
            Ok(text.filter(|it| !it.is_empty()).map(str::to_owned))
        };
        let bridge = text("bridge")?.unwrap_or_else(|| BRIDGE.into());
        crate::InterfaceName::parse(&bridge).map_err(|error| wrong("bridge", error))?;
        let vlan = number("vlan")?;
        let vlan = vlan_id("vlan", vlan, 0)?;
        let mtu = number("mtu")?;
        let mtu = u32::try_from(mtu).map_err(|_| wrong("mtu", "less than 0"))?;
        let probe = number("conflictProbe")?;
        if !(0..=MAX_PROBE).contains(&probe) {
            let limit = format_args!("{probe} milliseconds, 0 to {MAX_PROBE} are possible");
            return Err(wrong("conflictProbe", limit));
        }
        let ipam = config.get("ipam").map_err(invalid)?;
        let ipam = ipam.get("type").map_err(invalid)?;
        let ipam = ipam.string().map_err(invalid)?.filter(|it| !it.is_empty());
        if let Some(kind) = ipam.filter(|it| it.contains('/')) {
            return Err(wrong(
                "ipam.type",
                format_args!("`{kind}` is no plugin's name"),
            ));
        }
        let default_gateway = on("isDefaultGateway")?;
        let config = Self {
            bridge,
            gateway: default_gateway || on("isGateway")?,
            default_gateway,
            force_address: on("forceAddress")?,
            masquerade: on("ipMasq")?,
            mtu: Some(mtu).filter(|mtu| *mtu > 0),
            hairpin: on("hairpinMode")?,
            promiscuous: on("promiscMode")?,
            vlan,
            trunk: trunk(&config)?,
            preserve_default_vlan: flag("preserveDefaultVlan")?.unwrap_or(true),
            isolated: on("portIsolation")?,
            check_source: on("macspoofchk")?,
            detect_first: on("enabledad")?,
            optimistic: on("optimisticDad")?,
            keep_down: on("disableContainerInterface")?,
            probe: u32::try_from(probe).unwrap_or_default(),
            mac: mac(request)?,
            ipam: ipam.map(str::to_owned),
            dns: decode_dns(&config.get("dns").map_err(invalid)?).map_err(invalid)?,
        };
        config.check()?;
        Ok(config)
    }

    /// Does the bridge have to tell VLANs apart?
    #[must_use]
    pub const fn vlan_filtering(&self) -> bool {
        self.vlan != 0 || !self.trunk.is_empty()
    }

    /// What the reference refuses as well, and the one thing we do not do.
    fn check(&self) -> Result<(), CniError> {
        if self.hairpin && self.promiscuous {
            let both = "not together with `promiscMode`: packets would come back twice";
            return Err(wrong("hairpinMode", both));
        }
        if self.vlan != 0 && !self.trunk.is_empty() {
            return Err(wrong("vlanTrunk", "not together with `vlan`"));
        }
        if self.vlan_filtering() && self.gateway {
            let exec = "not together with `isGateway`; `\"driver\": \"exec\"` has the plugin do it";
            return Err(wrong("vlan", exec));
        }
        if self.keep_down && self.ipam.is_some() {
            let down = "an interface that stays off has no addresses, leave `ipam` out";
            return Err(wrong("disableContainerInterface", down));
        }
        Ok(())
    }
}

fn mac(request: &Request<'_>) -> Result<Option<Mac>, CniError> {
    let args = Args::parse(&request.environment().args, &ARGS)
        .map_err(|error| CniError::new(ErrorCode::INVALID_ENVIRONMENT, error.to_string()))?;
    let invalid =
        |error: crate::cni::FieldError| CniError::new(ErrorCode::INVALID_CONFIG, error.to_string());
    let config = request.config();
    let at = |path: &[&str]| -> Result<Option<Mac>, CniError> {
        let mut field = config.clone();
        for name in path {
            field = field.get(name).map_err(invalid)?;
        }
        let text = field.string().map_err(invalid)?.filter(|it| !it.is_empty());
        text.map(|text| Mac::parse(text).map_err(|error| wrong(&field.path(), error)))
            .transpose()
    };
    if let Some(mac) = at(&["runtimeConfig", "mac"])? {
        return Ok(Some(mac));
    }
    if let Some(mac) = at(&["args", "cni", "mac"])? {
        return Ok(Some(mac));
    }
    let text = args.value("MAC").filter(|it| !it.is_empty());
    text.map(|text| {
        Mac::parse(text)
            .map_err(|error| CniError::field(ErrorCode::INVALID_ENVIRONMENT, "CNI_ARGS", error))
    })
    .transpose()
}

fn trunk(config: &Field<'_>) -> Result<Vec<u16>, CniError> {
    let invalid =
        |error: crate::cni::FieldError| CniError::new(ErrorCode::INVALID_CONFIG, error.to_string());
    let mut ids = Vec::new();
    let list = config.get("vlanTrunk").map_err(invalid)?;
    for element in list.elements().map_err(invalid)? {
        let at = |name: &str| -> Result<Option<u16>, CniError> {
            let field = element.get(name).map_err(invalid)?;
            let id = field.integer().map_err(invalid)?;
            id.map(|id| vlan_id(&field.path(), id, 1)).transpose()
        };
        match (at("minID")?, at("maxID")?) {
            (Some(first), Some(last)) if first <= last => ids.extend(first..=last),
            (None, None) => {}
            _ => {
                let both = "`minID` and `maxID` go together, the first not above the second";
                return Err(wrong(&element.path(), both));
            }
        }
        ids.extend(at("id")?);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

fn number(config: &Field<'_>, name: &str) -> Result<i64, CniError> {
    let number = config.get(name).and_then(|field| field.integer());
    number
        .map(Option::unwrap_or_default)
        .map_err(|error| CniError::new(ErrorCode::INVALID_CONFIG, error.to_string()))
}

fn vlan_id(path: &str, id: i64, least: u16) -> Result<u16, CniError> {
    u16::try_from(id)
        .ok()
        .filter(|id| (least..=4094).contains(id))
        .ok_or_else(|| wrong(path, format_args!("{id} is no VLAN from {least} to 4094")))
}

fn wrong(field: &str, what: impl std::fmt::Display) -> CniError {
    CniError::field(ErrorCode::INVALID_CONFIG, field, what)
}
