use std::{
    io::{self, Write},
    process::ExitCode,
};

use serde::Deserialize;

use crate::{
    client::Client, failure::Failure, kubeconfig::Connection, low_args::AuditFormat,
    printable::printable_json, table::Table,
};

/// The sessions that are open now, and how to show them.
#[derive(Debug)]
pub(crate) struct SessionLive {
    pub(crate) connection: Connection,
    pub(crate) output: AuditFormat,
}

#[derive(Deserialize)]
struct Answer {
    sessions: Vec<serde_json::Value>,
}

/// Shows them, oldest first.
pub(crate) async fn run(live: SessionLive) -> Result<ExitCode, Failure> {
    let client = Client::new(&live.connection)?;
    let text = client.own_text("/dockin/v1/sessions").await?;
    let answer: Answer = serde_json::from_str(&text)
        .map_err(|_| Failure::gateway("the server's answer is no list of sessions"))?;
    let mut out = io::stdout().lock();
    write(&answer.sessions, live.output, &mut out)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::output(&error))?;
    Ok(ExitCode::SUCCESS)
}

fn write(
    sessions: &[serde_json::Value],
    format: AuditFormat,
    out: &mut impl Write,
) -> io::Result<()> {
    if format == AuditFormat::Json {
        return sessions
            .iter()
            .try_for_each(|one| writeln!(out, "{}", printable_json(&one.to_string())));
    }
    let mut table = Table::new();
    table.push(["SESSION", "SINCE", "USER", "FROM", "VERB", "TARGET"]);
    for session in sessions {
        let field = |name: &str| session.get(name).and_then(|value| value.as_str());
        let target: Vec<&str> = ["cluster", "namespace", "pod", "container"]
            .into_iter()
            .filter_map(field)
            .collect();
        let shown = |name: &str| field(name).unwrap_or("-");
        table.push([
            shown("id"),
            shown("since"),
            shown("user"),
            shown("client"),
            shown("verb"),
            &target.join("/"),
        ]);
    }
    table.write_to(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde_json::json;

    use super::write;
    use crate::low_args::AuditFormat;

    #[test]
    fn a_row_says_who_is_where_since_when() {
        let sessions = [json!({
            "id": "0199", "user": "al\u{1b}ice", "verb": "port-forward", "cluster": "prod",
            "namespace": "shop", "pod": "web-0", "container": null, "client": "192.0.2.1:4000",
            "since": "2026-01-31T12:00:00Z", "gateway": "g",
        })];
        let mut table = Vec::new();
        write(&sessions, AuditFormat::Table, &mut table).unwrap();
        let table = String::from_utf8(table).unwrap();
        assert!(table.contains("prod/shop/web-0\n"), "{table}");
        assert!(table.contains("al\\x1bice"), "{table}");
        let mut lines = Vec::new();
        write(&sessions, AuditFormat::Json, &mut lines).unwrap();
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&lines).unwrap(),
            *sessions.first().unwrap()
        );
    }
}
