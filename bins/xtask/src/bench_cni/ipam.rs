//! Addresses alone: `dockin-ipam` beside `static` and `host-local`.

use super::{Call, Programs, Row, call, percentile};
use crate::scratch::Scratch;

/// Calls of each in the comparison of one durable exec.
const ROUNDS: usize = 200;

pub(super) fn rows(programs: &Programs) -> Result<Vec<Row>, String> {
    let scratch = Scratch::new()?;
    let config = |kind: &str, ipam: &str| {
        format!(
            r#"{{"cniVersion":"1.0.0","name":"bench","type":"bridge","ipam":{{"type":"{kind}",{ipam}}}}}"#
        )
    };
    let directory = scratch.path().join("leases");
    let ranges = format!(
        r#""subnet":"10.0.0.0/12","dataDir":"{}""#,
        directory.display()
    );
    let ours = config("dockin-ipam", &ranges);
    let theirs = config("static", r#""addresses":[{"address":"10.0.0.2/12"}]"#);
    let (mut of_ours, mut of_theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for (program, stdin, times) in [
            (programs.ours.join("dockin-ipam"), &ours, &mut of_ours),
            (programs.debian.join("static"), &theirs, &mut of_theirs),
        ] {
            let (taken, _) = call(&Call {
                program: &program,
                verb: "ADD",
                container: &format!("c{round}"),
                netns: "/run/netns/none",
                args: "",
                stdin,
            })?;
            times.push(taken.as_secs_f64() * 1e3);
        }
    }
    let row = |what: &str, part| Row {
        what: what.into(),
        measured: percentile(&of_ours, part),
        floor: percentile(&of_theirs, part),
        unit: "ms",
        must: None,
        at_most: None,
    };
    Ok(vec![
        row("durable ADD, beside static that stores nothing", 0.5),
        row("the same, p99", 0.99),
    ])
}
