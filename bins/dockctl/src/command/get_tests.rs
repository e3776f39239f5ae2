#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Get, age, print};
use crate::{kubeconfig::KubeConfig, low_args::PodFormat};

const NOW: &str = "2026-03-01T12:00:00Z";

fn get(format: PodFormat, namespace: Option<&str>, names: &[&str]) -> Get {
    let config: KubeConfig = serde_saphyr::from_str(
        "current-context: c\nclusters: [{ name: c, cluster: { server: 'https://127.0.0.1' } }]\ncontexts: [{ name: c, context: { cluster: c, user: '' } }]\n",
    )
    .unwrap();
    Get {
        connection: config.resolve(None, None).unwrap(),
        namespace: namespace.map(str::to_owned),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        format,
        headings: true,
    }
}

fn pods() -> Vec<Value> {
    vec![
        json!({
            "metadata": { "name": "web-1", "namespace": "default", "creationTimestamp": "2026-03-01T11:55:00Z" },
            "spec": { "nodeName": "node1", "containers": [
                { "name": "app", "image": "nginx:1" }, { "name": "log", "image": "vector" } ] },
            "status": { "phase": "Running", "podIP": "10.0.0.7", "containerStatuses": [
                { "name": "app", "ready": true, "restartCount": 2, "state": { "running": {} } },
                { "name": "log", "ready": true, "restartCount": 1, "state": { "running": {} } } ] },
        }),
        json!({
            "metadata": { "name": "job", "namespace": "dev", "creationTimestamp": "2026-02-27T09:00:00Z" },
            "spec": { "containers": [{ "name": "main", "image": "busybox" }] },
            "status": { "phase": "Running", "containerStatuses": [
                { "name": "main", "ready": false, "restartCount": 0,
                  "state": { "terminated": { "exitCode": 3 } } } ] },
        }),
    ]
}

fn printed(get: &Get) -> String {
    let mut out = Vec::new();
    print(get, pods(), NOW.parse().unwrap(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn table_looks_as_kubectls() {
    assert_eq!(
        printed(&get(PodFormat::Table, Some("default"), &[])),
        "NAME    READY   STATUS       RESTARTS   AGE\n\
         web-1   2/2     Running      3          5m\n\
         job     0/1     ExitCode:3   0          2d3h\n"
    );
}

#[test]
fn wide_table_of_all_namespaces_says_where() {
    assert_eq!(
        printed(&get(PodFormat::Wide, None, &[])),
        "NAMESPACE   NAME    READY   STATUS       RESTARTS   AGE    IP         NODE     CONTAINERS   IMAGES\n\
         default     web-1   2/2     Running      3          5m     10.0.0.7   node1    app,log      nginx:1,vector\n\
         dev         job     0/1     ExitCode:3   0          2d3h   <none>     <none>   main         busybox\n"
    );
}

#[test]
fn names_and_documents_are_for_scripts() {
    assert_eq!(
        printed(&get(PodFormat::Name, None, &[])),
        "pod/web-1\npod/job\n"
    );
    let list: Value = serde_json::from_str(&printed(&get(PodFormat::Json, None, &[]))).unwrap();
    assert_eq!(list.pointer("/kind"), Some(&json!("List")));
    assert_eq!(list.pointer("/items/0/kind"), Some(&json!("Pod")));
    let yaml = printed(&get(PodFormat::Yaml, None, &[]));
    let again: Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(again, list);
}

#[test]
fn age_has_the_units_that_matter() {
    let now: Timestamp = NOW.parse().unwrap();
    for (seconds, expected) in [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (3600, "60m"),
        (4 * 3600 + 60, "4h1m"),
        (47 * 3600, "47h"),
        (3 * 86_400, "3d"),
        (400 * 86_400, "400d"),
        (3 * 365 * 86_400, "3y"),
    ] {
        let then = Timestamp::from_second(now.as_second() - seconds).unwrap();
        assert_eq!(age(now, then), expected);
    }
}
