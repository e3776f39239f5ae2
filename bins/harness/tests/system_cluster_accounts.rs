//! Service accounts of clusters that come and go.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{fs, time::Duration};

use dockin_harness::{ApiServer, Credential, House, HouseOptions, eventually};
use serde_json::Value;

/// Far more than anything here takes; what is not over by then hangs.
const LIMIT: Duration = Duration::from_secs(60);
const ROBOT: &str = "prod:system:serviceaccount:ci:robot";

/// Whom the gateway takes a token for, or what it says in place of that.
fn who(house: &House, token: &str) -> Result<String, String> {
    let (status, told) = house.send("GET", "/dockin/v1/clusters", token, &Value::Null);
    match status {
        200 => Ok(told["user"].as_str().unwrap_or_default().to_owned()),
        code => Err(format!(
            "{code}: {}",
            told["message"].as_str().unwrap_or_default()
        )),
    }
}

#[test]
fn service_accounts_come_with_their_cluster_and_go_with_it() {
    let trail = "audit: audit/audit.jsonl";
    let every = "identity: { service_accounts: [ { cluster: '*', \
                 audiences: ['dockin-{cluster}'] } ] }";
    let mut house = House::start(&HouseOptions {
        edits: vec![(
            trail.to_owned(),
            format!("{trail}\nclusters_directory: clusters\n{every}"),
        )],
        prepare: Some(|data| fs::create_dir(data.join("clusters")).unwrap()),
        access: vec![format!(
            "{{ users: ['{ROBOT}'], verbs: ['*'], clusters: [local], namespaces: [default] }}"
        )],
        ..HouseOptions::default()
    });
    let apiserver = ApiServer::start(&mut house);
    let reviews = || {
        let seen = apiserver.seen().into_iter();
        seen.filter(|one| one.path.ends_with("/tokenreviews"))
            .count()
    };
    let token = apiserver.service_account_token("ci:robot", &["dockin-prod"], 600);
    let unknown = who(&house, &token).unwrap_err();
    assert!(unknown.starts_with("401: "), "{unknown}");

    let folder = house.data().join("clusters");
    fs::write(
        folder.join(".coming"),
        apiserver.kubeconfig(Credential::Token),
    )
    .unwrap();
    fs::rename(folder.join(".coming"), folder.join("prod.yaml")).unwrap();
    let known = || who(&house, &token) == Ok(ROBOT.to_owned());
    assert!(eventually(LIMIT, known), "{:?}", who(&house, &token));
    assert_eq!(reviews(), 1);

    // For another cluster, for two, for none of them, and for the agents' one.
    for audiences in [
        &["dockin-test"][..],
        &["dockin-prod", "dockin-test"],
        &["dockin-"],
        &["dockin"],
        &["dockin-local"],
    ] {
        let other = apiserver.service_account_token("ci:robot", audiences, 600);
        let told = who(&house, &other).unwrap_err();
        assert!(told.contains("not known"), "{audiences:?}: {told}");
    }
    assert_eq!(reviews(), 1);

    fs::remove_file(folder.join("prod.yaml")).unwrap();
    let gone = || who(&house, &token).is_err_and(|told| told.starts_with("401: "));
    assert!(eventually(LIMIT, gone), "{:?}", who(&house, &token));
}
