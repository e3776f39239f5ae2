//! Server-side tables (`meta.k8s.io/v1`), which are what `kubectl get` prints.
//!
//! Spec: Kubernetes `apimachinery/pkg/apis/meta/v1/types.go`, `Table`; the columns are those of
//! `pkg/printers/internalversion/printers.go`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::pod::{
    LIST_VERSION, Phase, idle_reason, is_ready, metadata, namespace, namespace_metadata, phase,
    pod as pod_object,
};
use crate::{
    Error, ErrorKind,
    directory::{ContainerState, Pod},
};

/// What each row of a table brings along of its object.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
// Exhaustive: `IncludeObjectPolicy` has these three.
pub enum IncludeObject {
    /// Its metadata; what kubectl uses for names and labels.
    #[default]
    Metadata,
    /// Nothing.
    None,
    /// All of it.
    Object,
}

impl IncludeObject {
    /// The policy named by the query parameter `includeObject`.
    ///
    /// # Errors
    ///
    /// `Malformed` for any other word.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            _ => Err(Error::new(
                ErrorKind::Malformed,
                "`includeObject` must be `Metadata`, `None` or `Object`",
            )),
        }
    }
}

/// Whether an `Accept` header asks for a v1 table before plain JSON, as kubectl does:
/// `application/json;as=Table;v=v1;g=meta.k8s.io,…,application/json`.
#[must_use]
pub fn wants_table(accept: &str) -> bool {
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        if !matches!(media, "application/json" | "application/*" | "*/*") {
            continue;
        }
        let (mut shape, mut version, mut group) = (None, None, None);
        for parameter in parts {
            match parameter.split_once('=') {
                Some(("as", value)) => shape = Some(value),
                Some(("v", value)) => version = Some(value),
                Some(("g", value)) => group = Some(value),
                _ => {}
            }
        }
        match (shape, version, group) {
            (Some("Table"), Some("v1"), Some("meta.k8s.io")) => return true,
            // The first range we can serve decides; other shapes and versions we cannot.
            (None, ..) => return false,
            _ => {}
        }
    }
    false
}

/// The table of `pods`. `now` is in seconds since the epoch.
#[must_use]
pub fn pods<'a>(
    pods: impl IntoIterator<Item = &'a Pod>,
    include: IncludeObject,
    now: i64,
) -> Value {
    let rows = pods
        .into_iter()
        .map(|pod| pod_row(pod, include, now))
        .collect();
    table(
        json!([
            column("Name", "name", 0, "Name of the pod."),
            column("Ready", "", 0, "Containers that run, of all the pod has."),
            column("Status", "", 0, "What the pod does now."),
            column(
                "Restarts",
                "",
                0,
                "How often its containers were started again."
            ),
            column("Age", "", 0, "Time since the pod was made."),
            column("IP", "", 1, "Address of the pod, when it has one."),
            column("Node", "", 1, "Node that it runs on."),
            column("Nominated Node", "", 1, "Not used here."),
            column("Readiness Gates", "", 1, "Not used here."),
        ]),
        rows,
    )
}

/// The table of the namespaces called `names`, each once, in order.
#[must_use]
pub fn namespaces<'a>(names: impl IntoIterator<Item = &'a str>, include: IncludeObject) -> Value {
    let names: BTreeSet<&str> = names.into_iter().collect();
    let rows = names
        .into_iter()
        .map(|name| {
            row(
                json!([name, "Active", UNKNOWN]),
                include,
                || namespace_metadata(name),
                || namespace(name),
            )
        })
        .collect();
    table(
        json!([
            column("Name", "name", 0, "Name of the namespace."),
            column("Status", "", 0, "Always active."),
            column("Age", "", 0, "Not known here."),
        ]),
        rows,
    )
}

/// `seconds` as kubectl prints ages: two units while the first is small, then one.
///
/// Spec: Kubernetes `apimachinery/pkg/util/duration/duration.go`, `HumanDuration`.
#[must_use]
pub fn human_duration(seconds: i64) -> String {
    let two = |first: i64, unit: &str, second: i64, sub: &str| {
        if second == 0 {
            format!("{first}{unit}")
        } else {
            format!("{first}{unit}{second}{sub}")
        }
    };
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        i64::MIN..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

fn pod_row(pod: &Pod, include: IncludeObject, now: i64) -> Value {
    let ready = pod
        .containers
        .iter()
        .filter(|container| is_ready(container))
        .count();
    let restarts: u32 = pod
        .containers
        .iter()
        .fold(0, |sum, container| sum.saturating_add(container.restarts));
    let age = match pod.created {
        0 => UNKNOWN.to_owned(),
        created => human_duration(now.saturating_sub(created)),
    };
    let node = if pod.node.is_empty() { NONE } else { &pod.node };
    let cells = json!([
        pod.name,
        format!("{ready}/{}", pod.containers.len()),
        pod_status(pod),
        restarts.to_string(),
        age,
        pod.ip.as_deref().unwrap_or(NONE),
        node,
        NONE,
        NONE,
    ]);
    let mut row = row(cells, include, || metadata(pod), || pod_object(pod));
    let completed = match phase(pod) {
        Phase::Succeeded => Some("The pod has completed successfully."),
        Phase::Failed => Some("The pod failed."),
        Phase::Pending | Phase::Running => None,
    };
    if let (Some(message), Some(row)) = (completed, row.as_object_mut()) {
        let condition = json!([{
            "type": "Completed",
            "status": "True",
            "reason": phase(pod).as_str(),
            "message": message,
        }]);
        row.insert("conditions".to_owned(), condition);
    }
    row
}

/// The word in the column "Status": of the first container that has one, else the phase.
fn pod_status(pod: &Pod) -> &'static str {
    let reasons = || {
        pod.containers
            .iter()
            .filter_map(|container| idle_reason(&container.state))
    };
    let running = pod
        .containers
        .iter()
        .any(|container| matches!(container.state, ContainerState::Running { .. }));
    match reasons().next() {
        Some("Completed") if running => "NotReady",
        Some(reason) => reason,
        None => phase(pod).as_str(),
    }
}

fn table(columns: Value, rows: Vec<Value>) -> Value {
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": { "resourceVersion": LIST_VERSION },
        "columnDefinitions": columns,
        "rows": rows,
    })
}

fn column(name: &str, format: &str, priority: u8, description: &str) -> Value {
    json!({
        "name": name,
        "type": "string",
        "format": format,
        "description": description,
        "priority": priority,
    })
}

fn row(
    cells: Value,
    include: IncludeObject,
    metadata: impl FnOnce() -> Value,
    object: impl FnOnce() -> Value,
) -> Value {
    match include {
        IncludeObject::None => json!({ "cells": cells }),
        IncludeObject::Object => json!({ "cells": cells, "object": object() }),
        IncludeObject::Metadata => json!({
            "cells": cells,
            "object": {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata(),
            },
        }),
    }
}

const NONE: &str = "<none>";
const UNKNOWN: &str = "<unknown>";

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use serde_json::json;

    use super::{
        super::pod::tests::web, IncludeObject, human_duration, namespaces, pods, wants_table,
    };
    use crate::directory::ContainerState;

    #[test]
    fn kubectl_is_recognised_and_plain_clients_are_not() {
        let kubectl = concat!(
            "application/json;as=Table;v=v1;g=meta.k8s.io,",
            "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
        );
        assert!(wants_table(kubectl));
        assert!(wants_table(
            "application/json; as=Table; g=meta.k8s.io; v=v1"
        ));
        for plain in [
            "",
            "*/*",
            "application/json",
            "application/json, application/json;as=Table;v=v1;g=meta.k8s.io",
            "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            "application/yaml;as=Table;v=v1;g=meta.k8s.io",
        ] {
            assert!(!wants_table(plain), "{plain}");
        }
    }

    #[test]
    fn row_has_the_cells_of_the_apiserver_and_what_was_asked_of_the_object() {
        let web = web();
        let table = pods([&web], IncludeObject::Metadata, 1_700_000_090);
        assert_eq!(
            table["rows"][0]["cells"],
            json!([
                "web-0", "2/2", "Running", "2", "90s", "10.0.0.7", "node1", "<none>", "<none>"
            ])
        );
        assert_eq!(
            table["columnDefinitions"].as_array().unwrap().len(),
            table["rows"][0]["cells"].as_array().unwrap().len()
        );
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        let whole = pods([&web], IncludeObject::Object, 0);
        assert_eq!(whole["rows"][0]["object"]["kind"], "Pod");
        let bare = pods([&web], IncludeObject::None, 0);
        assert!(bare["rows"][0].get("object").is_none());
    }

    #[test]
    fn status_column_tells_of_the_container_that_does_not_run() {
        let status = |states: [ContainerState; 2]| {
            let mut pod = web();
            for (container, state) in pod.containers.iter_mut().zip(states) {
                container.state = state;
            }
            pods([&pod], IncludeObject::None, 0)["rows"][0]["cells"][2].clone()
        };
        let ended = |exit_code| ContainerState::Terminated {
            exit_code,
            started: 1,
            finished: 2,
        };
        let running = ContainerState::Running { started: 1 };
        assert_eq!(
            status([running.clone(), ContainerState::Waiting]),
            "Waiting"
        );
        assert_eq!(status([running.clone(), ended(0)]), "NotReady");
        assert_eq!(status([ended(1), running]), "Error");
        assert_eq!(status([ended(0), ended(0)]), "Completed");
    }

    #[test]
    fn ages_are_rounded_as_kubectl_rounds_them() {
        for (seconds, expected) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (691_200, "8d"),
            (63_071_999, "729d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_288_000, "8y"),
            (i64::MAX, "292471208677y"),
        ] {
            assert_eq!(human_duration(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn namespaces_are_listed_once_and_in_order() {
        let table = namespaces(["dev", "default", "dev"], IncludeObject::Metadata);
        let cells: Vec<_> = table["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| &r["cells"])
            .collect();
        assert_eq!(
            cells,
            [
                &json!(["default", "Active", "<unknown>"]),
                &json!(["dev", "Active", "<unknown>"])
            ]
        );
    }
}
