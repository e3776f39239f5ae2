use std::collections::BTreeSet;

use dockin_net::cni::{Args, ArgsError};

/// The keys that the plugins know, as they are in the sources of all of them.
const KNOWN: [&str; 7] = [
    "IP",
    "GATEWAY",
    "MAC",
    "K8S_POD_NAME",
    "K8S_POD_NAMESPACE",
    "K8S_POD_INFRA_CONTAINER_ID",
    "K8S_POD_UID",
];

/// `CNI_ARGS` of any text.
///
/// What is accepted is pairs with one `=` each, whose keys are known or may be ignored, and each
/// known key has its last value. What is refused says with its own words why.
///
/// # Panics
///
/// A law is broken.
pub fn cni_args(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let pairs: Vec<Vec<&str>> = text.split(';').map(|it| it.split('=').collect()).collect();
    let whole = text.is_empty() || pairs.iter().all(|pair| pair.len() == 2);
    let unknown: BTreeSet<&str> = pairs
        .iter()
        .filter_map(|pair| pair.first().copied())
        .filter(|key| !KNOWN.contains(key) && *key != "IgnoreUnknown")
        .collect();
    match Args::parse(&text, &KNOWN) {
        Ok(args) => {
            assert!(whole, "{text:?}");
            assert!(
                text.is_empty() || unknown.is_empty() || text.contains("IgnoreUnknown="),
                "{text:?}"
            );
            for key in KNOWN {
                let last = pairs.iter().rev().find(|pair| pair.first() == Some(&key));
                let last = last.and_then(|pair| pair.get(1).copied());
                assert_eq!(args.value(key), last.filter(|it| !it.is_empty()), "{key}");
            }
        }
        Err(ArgsError::Pair(pair)) => {
            assert!(!whole && text.split(';').any(|it| it == pair), "{text:?}");
        }
        Err(ArgsError::IgnoreUnknown(value)) => {
            assert!(text.contains(&format!("IgnoreUnknown={value}")), "{text:?}");
        }
        Err(ArgsError::Unknown(keys)) => {
            assert!(
                whole && unknown.iter().all(|key| keys.contains(key)),
                "{text:?}"
            );
        }
        Err(error) => panic!("{error}"),
    }
}
