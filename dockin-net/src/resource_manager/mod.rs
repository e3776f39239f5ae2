//! The words of the resource manager: which networks a pod gets, and with which addresses.
//!
//! The question is `GET <backend>?podName=…`, as the predecessor asks it, with the namespace and
//! the container beside; the answer is `{code, message, data: [{type, podIp, subnetMask, gateway,
//! ifName, master}]}`. Ours adds `podName` and `namespace` to each network.

mod register;
mod service;

use std::{fmt::Write, net::IpAddr};

pub use register::{LeaseRegister, Register, RegisterError, SharedRegister};
pub use service::{Network, Response, World, answer};
use thiserror::Error;

use crate::{
    AddressError, Cidr, Family, InterfaceName, NameError,
    cni::{Field, FieldError, Json, SyntaxError},
    parse_address,
};

/// Who is asked about.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Question {
    /// The pod's name.
    pub pod: String,
    /// Its namespace.
    pub namespace: String,
    /// Its container.
    pub container_id: String,
}

impl Question {
    /// The address to get, with everything that is no letter, digit, `-`, `.`, `_` or `~` escaped.
    ///
    /// ```
    /// use dockin_net::resource_manager::Question;
    ///
    /// let question = Question { pod: "web 0".into(), ..Question::default() };
    /// assert_eq!(
    ///     question.url("http://rm/getPodMultiNetwork"),
    ///     "http://rm/getPodMultiNetwork?podName=web%200&namespace=&containerId="
    /// );
    /// ```
    #[must_use]
    pub fn url(&self, backend: &str) -> String {
        let mut url = backend.to_owned();
        let mut separator = if backend.contains('?') { '&' } else { '?' };
        for (key, value) in [
            ("podName", &self.pod),
            ("namespace", &self.namespace),
            ("containerId", &self.container_id),
        ] {
            url.push(separator);
            url.push_str(key);
            url.push('=');
            for byte in value.bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                        url.push(byte.into());
                    }
                    _ => {
                        let _ = write!(url, "%{byte:02X}");
                    }
                }
            }
            separator = '&';
        }
        url
    }

    /// Reads the answer to this question: [`read_answer`], and where a network says whose it is, it
    /// must be this pod's. The predecessor's resource manager does not say it, ours does.
    ///
    /// # Errors
    ///
    /// [`AnswerError`].
    pub fn read_answer(&self, body: &[u8]) -> Result<Vec<Attached>, AnswerError> {
        let networks = read_answer(body)?;
        let json = Json::parse(body)?;
        for network in json.root().get("data")?.elements()? {
            for (key, ours) in [("podName", &self.pod), ("namespace", &self.namespace)] {
                let field = network.get(key)?;
                let theirs = field.string()?.unwrap_or(ours);
                // Without a namespace it is the resource manager that chooses one.
                if theirs != ours && !ours.is_empty() {
                    return Err(AnswerError::OtherPod {
                        path: field.path(),
                        theirs: theirs.to_owned(),
                        ours: ours.clone(),
                    });
                }
            }
        }
        Ok(networks)
    }
}

/// One network that a pod gets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attached {
    /// The network, by the `name` in its file.
    pub network: String,
    /// The address.
    pub address: Cidr,
    /// The gateway.
    pub gateway: Option<IpAddr>,
    /// The interface in the pod; when absent that which the runtime names.
    pub interface: Option<InterfaceName>,
    /// Does the pod's default route go here?
    pub master: bool,
}

/// Why an answer cannot be used.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum AnswerError {
    /// It is no JSON.
    #[error("the answer is {0}")]
    Syntax(#[from] SyntaxError),
    /// A field is of the wrong kind.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The resource manager refuses.
    #[error("the resource manager answers {code}: {message}")]
    Refused {
        /// Its code.
        code: i64,
        /// What it says.
        message: String,
    },
    /// A field holds no address.
    #[error("`{path}`: {error}")]
    Address {
        /// The field.
        path: String,
        /// What is wrong.
        error: AddressError,
    },
    /// A mask is neither dotted, nor eight hex digits, nor a length, or has holes, or is empty.
    #[error(
        "`{path}` is `{text}`: neither a mask such as 255.255.255.0 or ffffff00, nor a length from 1"
    )]
    Mask {
        /// The field.
        path: String,
        /// What it holds.
        text: String,
    },
    /// An address that no pod can have, or a gateway that does not go with it.
    #[error("`{path}` is `{address}`: {what}")]
    Unusable {
        /// The field.
        path: String,
        /// What it holds.
        address: IpAddr,
        /// What is wrong.
        what: &'static str,
    },
    /// No interface has that name.
    #[error("`{path}`: {error}")]
    Interface {
        /// The field.
        path: String,
        /// What is wrong.
        error: NameError,
    },
    /// A field is not there.
    #[error("`{0}` is missing")]
    Missing(String),
    /// It is about another pod.
    #[error("`{path}` is `{theirs}`, asked was about `{ours}`")]
    OtherPod {
        /// The field.
        path: String,
        /// What it holds.
        theirs: String,
        /// What was asked about.
        ours: String,
    },
    /// Not exactly one network is the master.
    #[error("{0} networks are `master`, it must be one")]
    Masters(usize),
    /// Two networks want the same interface.
    #[error("two networks want the interface `{0}`")]
    SameInterface(String),
}

/// Reads an answer.
///
/// # Errors
///
/// [`AnswerError`].
pub fn read_answer(body: &[u8]) -> Result<Vec<Attached>, AnswerError> {
    let json = Json::parse(body)?;
    let root = json.root();
    let code = root.get("code")?.integer()?.unwrap_or(0);
    if code != 0 {
        let message = root
            .get("message")?
            .string()?
            .unwrap_or_default()
            .to_owned();
        return Err(AnswerError::Refused { code, message });
    }
    read_networks(&root.get("data")?)
}

/// Reads the list of networks of an answer, or that of a configuration.
///
/// # Errors
///
/// [`AnswerError`], but for the first and the third kind.
pub fn read_networks(list: &Field<'_>) -> Result<Vec<Attached>, AnswerError> {
    let networks: Result<Vec<_>, _> = list.elements()?.map(|it| read_network(&it)).collect();
    let networks = networks?;
    let masters = networks.iter().filter(|network| network.master).count();
    if masters != 1 {
        return Err(AnswerError::Masters(masters));
    }
    for (index, network) in networks.iter().enumerate() {
        let mut others = networks.iter().skip(index + 1);
        if others.any(|other| other.interface == network.interface) {
            let interface = network.interface.as_ref();
            let name = interface.map_or("", InterfaceName::as_str).to_owned();
            return Err(AnswerError::SameInterface(name));
        }
    }
    Ok(networks)
}

fn read_network(field: &Field<'_>) -> Result<Attached, AnswerError> {
    let missing = |name: &str| AnswerError::Missing(format!("{}.{name}", field.path()));
    let network = field.get("type")?;
    let network = network.string()?.filter(|it| !it.is_empty());
    let pod_ip = field.get("podIp")?;
    let text = pod_ip.string()?.ok_or_else(|| missing("podIp"))?;
    let wrong = |field: &Field<'_>, error| AnswerError::Address {
        path: field.path(),
        error,
    };
    let (address, mask) = if text.contains('/') {
        let address = Cidr::parse(text).map_err(|error| wrong(&pod_ip, error))?;
        (address, pod_ip.clone())
    } else {
        let address = parse_address(text).map_err(|error| wrong(&pod_ip, error))?;
        let mask = field.get("subnetMask")?;
        let prefix = read_mask(&mask, Family::of(address))?;
        let address = Cidr::new(address, prefix).ok_or_else(|| mask_error(&mask))?;
        (address, mask)
    };
    if address.prefix() == 0 {
        // Everybody would be a neighbour.
        return Err(mask_error(&mask));
    }
    let unusable = |field: &Field<'_>, address, what| AnswerError::Unusable {
        path: field.path(),
        address,
        what,
    };
    let ip = address.address();
    if !is_one_hosts(ip) {
        return Err(unusable(&pod_ip, ip, "no address of one host"));
    }
    let gateway = field.get("gateway")?;
    let gateway = match gateway.string()?.filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            let parsed = parse_address(text).map_err(|error| wrong(&gateway, error))?;
            if Family::of(parsed) != Family::of(ip) {
                return Err(unusable(&gateway, parsed, "of another family than `podIp`"));
            }
            if parsed == ip || !is_one_hosts(parsed) {
                return Err(unusable(&gateway, parsed, "no address of another host"));
            }
            Some(parsed)
        }
    };
    let interface = field.get("ifName")?;
    Ok(Attached {
        network: network.ok_or_else(|| missing("type"))?.to_owned(),
        address,
        gateway,
        interface: match interface.string()?.filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => {
                let path = interface.path();
                let wrong = |error| AnswerError::Interface { path, error };
                Some(InterfaceName::parse(text).map_err(wrong)?)
            }
        },
        master: field.get("master")?.boolean()?.unwrap_or(false),
    })
}

/// Can a host have that address on a network?
fn is_one_hosts(address: IpAddr) -> bool {
    let everyones = matches!(address, IpAddr::V4(it) if it.is_broadcast());
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || everyones)
}

/// A mask in one of the three forms; IPv6 has lengths alone.
fn read_mask(field: &Field<'_>, family: Family) -> Result<u8, AnswerError> {
    let wrong = || mask_error(field);
    if let Ok(Some(length)) = field.integer() {
        return u8::try_from(length).map_err(|_| wrong());
    }
    let text = field.string()?.unwrap_or_default();
    let digits = |from: u32| text.bytes().all(|byte| char::from(byte).is_digit(from));
    let bits = if text.contains('.') {
        match parse_address(text) {
            Ok(IpAddr::V4(mask)) => u32::from(mask),
            _ => return Err(wrong()),
        }
    } else if text.len() == 8 && digits(16) {
        u32::from_str_radix(text, 16).map_err(|_| wrong())?
    } else if digits(10) {
        return text.parse().map_err(|_| wrong());
    } else {
        return Err(wrong());
    };
    let holes = bits.leading_ones() + bits.trailing_zeros() != 32;
    if family == Family::V6 || holes {
        return Err(wrong());
    }
    u8::try_from(bits.leading_ones()).map_err(|_| wrong())
}

fn mask_error(field: &Field<'_>) -> AnswerError {
    AnswerError::Mask {
        path: field.path(),
        text: match field.value() {
            Some(Json::String(text) | Json::Number(text)) => text.to_string(),
            _ => String::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{AnswerError, Question, read_answer};

    fn answer(ip: &str, mask: &str) -> Result<String, AnswerError> {
        let body = format!(
            r#"{{"code":0,"data":[{{"type":"dockin","podIp":"{ip}","subnetMask":{mask},
            "gateway":"","ifName":"eth0","master":true}}]}}"#
        );
        read_answer(body.as_bytes()).map(|networks| networks[0].address.to_string())
    }

    #[test]
    fn masks_are_dotted_hex_or_a_length() {
        for (ip, mask, cidr) in [
            ("192.168.1.2", "\"255.255.255.0\"", "192.168.1.2/24"),
            ("192.168.1.2", "\"ffffff00\"", "192.168.1.2/24"),
            ("192.168.1.2", "\"24\"", "192.168.1.2/24"),
            ("192.168.1.2", "24", "192.168.1.2/24"),
            ("fd00::2", "\"64\"", "fd00::2/64"),
            ("fd00::2/64", "null", "fd00::2/64"),
        ] {
            assert_eq!(answer(ip, mask).as_deref(), Ok(cidr), "{ip} {mask}");
        }
    }

    #[test]
    fn anything_else_is_an_error_and_never_the_whole_internet() {
        for (ip, mask) in [
            ("192.168.1.2", "\"\""),
            ("192.168.1.2", "null"),
            ("192.168.1.2", "\"255.0.255.0\""),
            ("192.168.1.2", "\"33\""),
            ("192.168.1.2", "33"),
            ("192.168.1.2", "-1"),
            ("192.168.1.2", "0"),
            ("192.168.1.2", "\"0\""),
            ("192.168.1.2", "\"0.0.0.0\""),
            ("192.168.1.2", "\"00000000\""),
            ("192.168.1.2/0", "null"),
            ("fd00::2", "0"),
            ("fd00::2/0", "null"),
            ("192.168.1.2", "\"fffff\""),
            ("fd00::2", "\"255.255.255.0\""),
            ("fd00::2", "\"129\""),
            ("192.168.1", "\"24\""),
        ] {
            assert!(answer(ip, mask).is_err(), "{ip} {mask}");
        }
    }

    #[test]
    fn addresses_that_no_pod_can_have_are_named_with_their_field() {
        for (ip, gateway, path) in [
            ("0.0.0.0", "", "data[0].podIp"),
            ("127.0.0.1", "", "data[0].podIp"),
            ("224.0.0.1", "", "data[0].podIp"),
            ("255.255.255.255", "", "data[0].podIp"),
            ("ff02::1", "", "data[0].podIp"),
            ("10.0.0.2", "fd00::1", "data[0].gateway"),
            ("fd00::2", "10.0.0.1", "data[0].gateway"),
            ("10.0.0.2", "10.0.0.2", "data[0].gateway"),
            ("10.0.0.2", "0.0.0.0", "data[0].gateway"),
        ] {
            let body = format!(
                r#"{{"data":[{{"type":"a","podIp":"{ip}/24","gateway":"{gateway}",
                "master":true}}]}}"#
            );
            let error = read_answer(body.as_bytes()).unwrap_err();
            let named = matches!(&error, AnswerError::Unusable { path: it, .. } if it == path);
            assert!(named, "{ip} {gateway}: {error}");
        }
    }

    #[test]
    fn exactly_one_network_is_the_master() {
        let one = r#"{"type":"a","podIp":"10.0.0.2/24","ifName":"IF","master":MASTER}"#;
        let network = |name: &str, master: &str| one.replace("IF", name).replace("MASTER", master);
        let body = |networks: &[String]| format!(r#"{{"data":[{}]}}"#, networks.join(","));
        for (networks, error) in [
            (vec![], AnswerError::Masters(0)),
            (vec![network("eth0", "false")], AnswerError::Masters(0)),
            (
                vec![network("eth0", "true"), network("eth1", "true")],
                AnswerError::Masters(2),
            ),
            (
                vec![network("eth0", "true"), network("eth0", "false")],
                AnswerError::SameInterface("eth0".into()),
            ),
        ] {
            assert_eq!(read_answer(body(&networks).as_bytes()), Err(error));
        }
    }

    #[test]
    fn an_answer_about_another_pod_is_none() {
        let question = Question {
            pod: "web-0".into(),
            namespace: "shop".into(),
            ..Question::default()
        };
        let about = |whose: &str| {
            let network = format!(r#"{{"type":"a","podIp":"10.0.0.2/24","master":true{whose}}}"#);
            question.read_answer(format!(r#"{{"data":[{network}]}}"#).as_bytes())
        };
        for whose in [
            "",
            r#","podName":"web-0""#,
            r#","podName":"web-0","namespace":"shop""#,
        ] {
            assert!(about(whose).is_ok(), "{whose}");
        }
        for whose in [
            r#","podName":"web-1""#,
            r#","podName":"web-0","namespace":"test""#,
            r#","podName":"""#,
            r#","podName":1"#,
        ] {
            assert!(about(whose).is_err(), "{whose}");
        }
    }

    #[test]
    fn a_refusal_is_passed_on() {
        assert_eq!(
            read_answer(br#"{"code":404,"message":"no such pod","data":null}"#),
            Err(AnswerError::Refused {
                code: 404,
                message: "no such pod".into()
            })
        );
    }
}
