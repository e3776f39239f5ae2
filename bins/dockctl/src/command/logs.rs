use std::process::ExitCode;

use http_body_util::BodyExt as _;

use crate::{
    client::Query,
    failure::{Failure, chain},
    stdio::Output,
    target::Target,
};

/// A container's output to show.
#[derive(Debug)]
pub(crate) struct Logs {
    pub(crate) target: Target,
    pub(crate) follow: bool,
    /// Lines from the end.
    pub(crate) tail: Option<u64>,
    pub(crate) timestamps: bool,
    pub(crate) since_seconds: Option<u64>,
    pub(crate) previous: bool,
}

/// Shows it, byte by byte as it comes.
pub(crate) async fn run(logs: Logs) -> Result<ExitCode, Failure> {
    let path = format!("{}{}", logs.target.path(Some("log")), query(&logs).as_str());
    let mut body = logs.target.client()?.stream(&path).await?.into_body();
    let mut stdout = Output::stdout()?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure::gateway(format!("connection to the gateway lost: {}", chain(&error)))
        })?;
        if let Ok(bytes) = frame.into_data() {
            stdout.send(bytes).await?;
        }
    }
    stdout.finish().await?;
    Ok(ExitCode::SUCCESS)
}

fn query(logs: &Logs) -> Query {
    let mut query = Query::default();
    query.add_some("container", logs.target.container.as_deref());
    for (name, wanted) in [
        ("follow", logs.follow),
        ("timestamps", logs.timestamps),
        ("previous", logs.previous),
    ] {
        if wanted {
            query.add(name, "true");
        }
    }
    query.add_some(
        "tailLines",
        logs.tail.map(|lines| lines.to_string()).as_deref(),
    );
    query.add_some(
        "sinceSeconds",
        logs.since_seconds.map(|since| since.to_string()).as_deref(),
    );
    query
}
