use std::{
    io::{self, Write},
    process::ExitCode,
};

use dockin_core::percent_encode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    client::Client, failure::Failure, kubeconfig::Connection, low_args::PodFormat,
    printable::printable, table::Table, target::pods_path,
};

/// Pods to show.
#[derive(Debug)]
pub(crate) struct Get {
    pub(crate) connection: Connection,
    /// Of this namespace; without one of all.
    pub(crate) namespace: Option<String>,
    /// Only these; all when empty.
    pub(crate) names: Vec<String>,
    pub(crate) format: PodFormat,
    /// With a line of headings.
    pub(crate) headings: bool,
}

/// Shows them.
pub(crate) async fn run(get: Get) -> Result<ExitCode, Failure> {
    let client = Client::new(&get.connection)?;
    let path = pods_path(get.namespace.as_deref());
    let pods = if get.names.is_empty() {
        let mut list: Value = client.json(&path).await?;
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(pods)) => pods,
            _ => return Err(Failure::gateway("the server's answer is no list of pods")),
        }
    } else {
        let mut pods = Vec::new();
        for name in &get.names {
            pods.push(
                client
                    .json(&format!("{path}/{}", percent_encode(name)))
                    .await?,
            );
        }
        pods
    };
    let mut out = io::stdout().lock();
    print(&get, pods, Timestamp::now(), &mut out)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::output(&error))?;
    Ok(ExitCode::SUCCESS)
}

fn print(get: &Get, pods: Vec<Value>, now: Timestamp, out: &mut impl Write) -> io::Result<()> {
    match get.format {
        PodFormat::Json => {
            serde_json::to_writer_pretty(&mut *out, &document(get, pods))?;
            writeln!(out)
        }
        PodFormat::Yaml => {
            let text = serde_saphyr::to_string(&document(get, pods)).map_err(io::Error::other)?;
            out.write_all(text.as_bytes())
        }
        PodFormat::Name => {
            for pod in pods {
                let pod: Pod = serde_json::from_value(pod)?;
                writeln!(out, "pod/{}", printable(&pod.metadata.name))?;
            }
            Ok(())
        }
        PodFormat::Table | PodFormat::Wide => {
            if pods.is_empty() {
                match &get.namespace {
                    Some(namespace) => eprintln!("No resources found in {namespace} namespace."),
                    None => eprintln!("No resources found"),
                }
                return Ok(());
            }
            table(get, pods, now)?.write_to(out)
        }
    }
}

/// The pods as they came: one by itself when one was named, else a list.
fn document(get: &Get, mut pods: Vec<Value>) -> Value {
    // A list leaves out what all its items are; alone they say it.
    for pod in &mut pods {
        if let Value::Object(pod) = pod {
            pod.entry("apiVersion").or_insert_with(|| "v1".into());
            pod.entry("kind").or_insert_with(|| "Pod".into());
        }
    }
    if get.names.len() == 1
        && let Some(pod) = pods.pop()
    {
        return pod;
    }
    json!({ "apiVersion": "v1", "kind": "List", "items": pods, "metadata": {} })
}

fn table(get: &Get, pods: Vec<Value>, now: Timestamp) -> io::Result<Table> {
    let wide = get.format == PodFormat::Wide;
    let mut table = Table::new();
    if get.headings {
        let mut headings = vec!["NAME", "READY", "STATUS", "RESTARTS", "AGE"];
        if get.namespace.is_none() {
            headings.insert(0, "NAMESPACE");
        }
        if wide {
            headings.extend(["IP", "NODE", "CONTAINERS", "IMAGES"]);
        }
        table.push(headings);
    }
    for pod in pods {
        let pod: Pod = serde_json::from_value(pod)?;
        let containers = &pod.status.container_statuses;
        let ready = containers
            .iter()
            .filter(|container| container.ready)
            .count();
        let restarts: u64 = containers
            .iter()
            .map(|container| container.restart_count)
            .sum();
        let mut row = vec![
            pod.metadata.name.clone(),
            format!("{ready}/{}", pod.spec.containers.len()),
            pod.state(),
            restarts.to_string(),
            pod.metadata
                .creation_timestamp
                .map_or_else(|| "<unknown>".to_owned(), |created| age(now, created)),
        ];
        if get.namespace.is_none() {
            row.insert(0, pod.metadata.namespace.clone());
        }
        if wide {
            let none = || "<none>".to_owned();
            let list = |of: fn(&Container) -> &str| {
                pod.spec
                    .containers
                    .iter()
                    .map(of)
                    .collect::<Vec<_>>()
                    .join(",")
            };
            row.push(pod.status.pod_ip.clone().unwrap_or_else(none));
            row.push(pod.spec.node_name.clone().unwrap_or_else(none));
            row.push(list(|container| &container.name));
            row.push(list(|container| &container.image));
        }
        table.push(row);
    }
    Ok(table)
}

/// The part of a Kubernetes pod that the table shows.
#[derive(Deserialize)]
struct Pod {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: String,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
    containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    image: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    reason: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    ready: bool,
    restart_count: u64,
    state: ContainerState,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    waiting: Option<Waiting>,
    terminated: Option<Terminated>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    reason: Option<String>,
    exit_code: i32,
}

impl Pod {
    /// What kubectl calls the status: the phase, unless a container knows more.
    fn state(&self) -> String {
        if self.metadata.deletion_timestamp.is_some() {
            return "Terminating".to_owned();
        }
        for container in self.status.container_statuses.iter().rev() {
            if let Some(waiting) = &container.state.waiting
                && let Some(reason) = &waiting.reason
            {
                return reason.clone();
            }
            if let Some(terminated) = &container.state.terminated {
                return match &terminated.reason {
                    Some(reason) if !reason.is_empty() => reason.clone(),
                    _ => format!("ExitCode:{}", terminated.exit_code),
                };
            }
        }
        match &self.status.reason {
            Some(reason) if !reason.is_empty() => reason.clone(),
            _ if self.status.phase.is_empty() => "Unknown".to_owned(),
            _ => self.status.phase.clone(),
        }
    }
}

/// Time since `then` in the two units that matter, as kubectl writes it.
///
/// Spec: Kubernetes `apimachinery/pkg/util/duration.HumanDuration`.
fn age(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.as_second() - then.as_second();
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: i64, one: char, small: i64, other: char| {
        if small == 0 {
            format!("{large}{one}")
        } else {
            format!("{large}{one}{small}{other}")
        }
    };
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        two(minutes, 'm', seconds % 60, 's')
    } else if hours < 3 {
        format!("{minutes}m")
    } else if hours < 8 {
        two(hours, 'h', minutes % 60, 'm')
    } else if hours < 48 {
        format!("{hours}h")
    } else if days < 8 {
        two(days, 'd', hours % 24, 'h')
    } else if days < 365 * 2 {
        format!("{days}d")
    } else if days < 365 * 8 {
        two(days / 365, 'y', days % 365, 'd')
    } else {
        format!("{}y", days / 365)
    }
}

#[cfg(test)]
#[path = "get_tests.rs"]
mod tests;
