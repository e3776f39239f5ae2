use proptest::prelude::*;

use super::{CniResult, Dns, Interface, IpConfig, ResultError, Route};
use crate::{
    Cidr, Family,
    address::from_number,
    cni::{Json, Version, version::Shape},
};

fn decode(value: &serde_json::Value, version: Version) -> Result<CniResult, ResultError> {
    let text = value.to_string();
    let json = Json::parse(text.as_bytes()).unwrap();
    CniResult::decode(&json.root(), version)
}

fn cidr() -> impl Strategy<Value = Cidr> {
    (any::<u32>(), any::<bool>(), 0_u8..=32).prop_filter_map("mapped", |(number, v4, prefix)| {
        let (family, number) = if v4 {
            (Family::V4, u128::from(number))
        } else {
            (Family::V6, (0xfd00 << 112) | u128::from(number))
        };
        Cidr::new(from_number(family, number), prefix)
    })
}

prop_compose! {
    fn route()(destination in cidr(), gateway in proptest::option::of(cidr()), mtu in 0_i64..9000,
        table in proptest::option::of(0_i64..300)) -> Route {
        Route {
            destination,
            gateway: gateway.map(Cidr::address),
            mtu,
            advmss: 0,
            priority: 0,
            table,
            scope: None,
        }
    }
}

prop_compose! {
    fn result()(ips in proptest::collection::vec((cidr(), proptest::option::of(cidr())), 0..4),
        routes in proptest::collection::vec(route(), 0..4),
        domain in proptest::option::of("[a-z]{1,8}"), mtu in proptest::option::of(1_i64..9000))
        -> CniResult {
        CniResult {
            interfaces: vec![Interface {
                name: "eth0".into(),
                mac: Some("02:00:00:00:00:01".into()),
                mtu,
                sandbox: Some("/proc/1/ns/net".into()),
                ..Interface::default()
            }],
            ips: ips.into_iter().map(|(address, gateway)| IpConfig {
                address,
                gateway: gateway.map(Cidr::address),
                interface: Some(0),
            }).collect(),
            routes,
            dns: Dns { domain, ..Dns::default() },
        }
    }
}

proptest! {
    /// In the newest version nothing is lost: `decode(encode(x)) == x`.
    #[test]
    fn the_newest_version_keeps_everything(result in result()) {
        let value = result.encode(Version::NEWEST).unwrap();
        prop_assert_eq!(decode(&value, Version::NEWEST), Ok(result));
    }

    /// What a version can say is stable: decoding and encoding again changes nothing.
    #[test]
    fn converting_twice_is_converting_once(result in result()) {
        for version in Version::ALL {
            match result.encode(version) {
                Ok(value) => {
                    let again = decode(&value, version).unwrap().encode(version).unwrap();
                    prop_assert_eq!(again, value);
                }
                Err(error) => {
                    prop_assert_eq!(error, ResultError::NoAddress(version));
                    prop_assert!(result.ips.is_empty() && version.shape() == Shape::PerFamily);
                }
            }
        }
    }
}

#[test]
fn old_versions_take_the_first_address_of_a_family_and_its_routes() {
    let text = r#"{"ips":[{"address":"10.0.0.2/24"},{"address":"10.0.1.2/24"}],
        "routes":[{"dst":"0.0.0.0/0","mtu":1400},{"dst":"::/0"}]}"#;
    let json = Json::parse(text.as_bytes()).unwrap();
    let result = CniResult::decode(&json.root(), Version::V1_0_0).unwrap();
    assert_eq!(
        result.encode(Version::V0_2_0).unwrap(),
        serde_json::json!({
            "cniVersion": "0.2.0",
            "ip4": {"ip": "10.0.0.2/24", "routes": [{"dst": "0.0.0.0/0"}]},
            "dns": {},
        })
    );
}

#[test]
fn results_of_another_shape_are_refused() {
    let value = serde_json::json!({"cniVersion": "0.4.0"});
    assert!(matches!(
        decode(&value, Version::V1_0_0),
        Err(ResultError::Version { .. })
    ));
    assert!(decode(&serde_json::json!({"cniVersion": "1.1.0"}), Version::V1_0_0).is_ok());
    assert!(decode(&serde_json::json!({}), Version::V0_4_0).is_ok());
}
