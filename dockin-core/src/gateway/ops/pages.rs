//! The pages for people: what is in force, and nothing that could be changed there.

use std::fmt::Write as _;

use http::Response;
use serde::Serialize;

use super::{DockinOps, answer::document};
use crate::service::Body;

#[derive(Serialize)]
struct Lists<'a> {
    raw: &'a [String],
    common: &'a [String],
}

/// `{"raw":[…],"common":[…]}`.
pub(super) fn command_list(ops: &DockinOps) -> Response<Body> {
    let lists = ops.commands.as_ref();
    let lists = Lists {
        raw: lists.map_or(&[], |lists| &lists.raw),
        common: lists.map_or(&[], |lists| &lists.common),
    };
    document(serde_json::to_string(&lists).unwrap_or_default())
}

/// What the configuration says, for who keeps it.
pub(super) fn overview(ops: &DockinOps, user: &str) -> String {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Dockin</title></head><body>",
    );
    let _written = write!(page, "<h1>Dockin</h1><p>{}</p>", escaped(user));
    page.push_str("<p>What is here is kept in the gateway's files.</p><h2>Rules</h2><ul>");
    for rule in ops.rules.keys() {
        let _written = write!(page, "<li>{}</li>", escaped(rule));
    }
    page.push_str("</ul>");
    if let Some(lists) = &ops.commands {
        for (name, commands) in [("raw", &lists.raw), ("common", &lists.common)] {
            let commands = escaped(&commands.join(", "));
            let filter = &lists.filter;
            let _written = write!(page, "<h2>{filter}: {name}</h2><p>{commands}</p>");
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    let _written = write!(page, "<p>Version {version}</p></body></html>");
    page
}

fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for one in text.chars() {
        match one {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::overview;
    use crate::{compat::EnvelopeKey, gateway::DockinOps};

    #[test]
    fn names_are_text_in_a_page_and_never_markup() {
        let list = ["<script>alert(1)</script>".to_owned()];
        let ops = DockinOps::new(EnvelopeKey::new(&[1; 16]).unwrap())
            .commands(&list, &[], "whitelist")
            .unwrap();
        let page = overview(&ops, "\"><img src=x>");
        assert!(
            !page.contains("<script") && !page.contains("<img"),
            "{page}"
        );
        assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
    }
}
