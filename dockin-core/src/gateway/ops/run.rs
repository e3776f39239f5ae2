//! `common-exec`, `interact-exec` and `ssh-v2`: sessions like all others.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dockin_stream::{
    Event, ExitStatus, Failure, StreamSet, io::Endpoint, upgrade::accept_websocket,
};
use futures::SinkExt as _;
use http::{HeaderMap, Request, Response, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use tokio::sync::oneshot;

use super::{
    DockinOps, Gateway, Wish,
    answer::{document, success},
};
use crate::{
    Error, ErrorKind,
    access::Verb,
    compat::{OpsRequest, Reply, TerminalServer, welcome},
    kubernetes::ExecOptions,
    service::{Body, Peer, upgraded},
    session::{Client, Collected, MAX_COLLECTED},
};

/// The container that clients name when nobody named one.
const ANY_CONTAINER: &str = "op_server";

impl Gateway {
    /// Runs a command without input and gives what it printed.
    pub(super) async fn ops_common_exec(
        self: &Arc<Self>,
        ops: &Arc<DockinOps>,
        peer: &Peer,
        wish: &Wish,
        trace: &str,
    ) -> Result<Response<Body>, Error> {
        let asked = wish.envelope(ops)?;
        let streams = StreamSet {
            stdout: true,
            stderr: true,
            ..StreamSet::default()
        };
        let argv = command(&asked, asked.flags.clone())?;
        let (told, answer) = oneshot::channel();
        let client = |_pod: &str, _user: &str, _rule: &str| Client::Request(told);
        self.ops_run(ops, peer, wish, &asked, (argv, streams), client)
            .await?;
        let collected = answer.await.map_err(|_| {
            Error::new(
                ErrorKind::Unavailable,
                "the command ended without an answer",
            )
        })?;
        Ok(spoken(collected, trace))
    }

    /// Runs a command, or a shell, with a terminal's messages.
    pub(super) async fn ops_terminal(
        self: &Arc<Self>,
        ops: &Arc<DockinOps>,
        peer: &Peer,
        wish: &Wish,
        shell: bool,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let asked = wish.envelope(ops)?;
        check_origin(request.headers())?;
        let switch = accept_websocket(request.headers())
            .map_err(|error| Error::new(ErrorKind::Malformed, error.to_string()))?;
        let tty = shell || asked.tty;
        let streams = StreamSet {
            stdin: true,
            stdout: true,
            stderr: !tty,
            tty,
        };
        let argv = if shell {
            vec![ops.shell.clone()]
        } else {
            asked.flags.clone()
        };
        let argv = command(&asked, argv)?;
        let on_upgrade = hyper::upgrade::on(&mut request);
        let size = asked.size;
        let told = on_upgrade.clone();
        let client = |pod: &str, user: &str, rule: &str| Client::Terminal {
            on_upgrade,
            size,
            welcome: if shell {
                welcome(&ops.banner, user, pod, rule, &ops.listed())
            } else {
                String::new()
            },
        };
        let run = self.ops_run(ops, peer, wish, &asked, (argv, streams), client);
        if let Err(error) = run.await {
            if error.kind() != ErrorKind::Forbidden {
                return Err(error);
            }
            // Its clients show nothing of an answer that does not switch.
            let refusal = error.message().to_owned();
            self.sessions
                .spawn(async move { tell(told, refusal).await });
        }
        Ok(switch)
    }

    /// Finds the pod, and starts a session there that is judged, written down and recorded as every
    /// other.
    async fn ops_run(
        self: &Arc<Self>,
        ops: &Arc<DockinOps>,
        peer: &Peer,
        wish: &Wish,
        asked: &OpsRequest,
        (argv, streams): (Vec<String>, StreamSet),
        client: impl FnOnce(&str, &str, &str) -> Client,
    ) -> Result<(), Error> {
        let (call, rule) = self.ops_let_in(ops, peer, wish, Some(asked)).await?;
        let place = self.ops_place(&call, &rule, asked, Verb::Exec).await?;
        let pod = &place.pod;
        let container = match asked.container.as_str() {
            "" => None,
            ANY_CONTAINER if !pod.containers.iter().any(|one| one.name == ANY_CONTAINER) => None,
            named => Some(named.to_owned()),
        };
        let options = ExecOptions {
            argv,
            streams,
            container,
        };
        let (permit, found) = self
            .permit(
                &call,
                &place.cluster,
                Verb::Exec,
                (&pod.namespace, &pod.name),
                options.container.as_deref(),
            )
            .await?;
        let client = client(&pod.name, &call.principal.user, &rule);
        let rules = ops.session_rules(&self.rules)?;
        self.start(call, (permit, found), &rules, options, client)
            .await
    }
}

/// Shows a refusal in the terminal of who is refused, and hangs up.
async fn tell(on_upgrade: OnUpgrade, refusal: String) {
    let Ok((socket, early)) = upgraded(on_upgrade).await else {
        return;
    };
    let nothing = StreamSet::default();
    let codec = TerminalServer::new(nothing, None, String::new(), Instant::now());
    let mut client = Endpoint::new(socket, codec, early);
    let refused = Event::Exit(ExitStatus::Failed(Failure {
        code: 403,
        reason: "Forbidden".to_owned(),
        message: refusal,
    }));
    let told = async {
        client.send(refused).await?;
        client.finish().await
    };
    // One that does not listen is left.
    let _told = tokio::time::timeout(HEARING, told).await;
}

/// How long somebody may take to hear that he is refused.
const HEARING: Duration = Duration::from_secs(5);

/// Refuses a page of another site that opens a terminal.
fn check_origin(headers: &HeaderMap) -> Result<(), Error> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let host = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    match (host, text(header::HOST)) {
        (Some((_, origin)), Some(host)) if origin.eq_ignore_ascii_case(host) => Ok(()),
        _ => {
            let what = "`Origin` is another site than this";
            Err(Error::new(ErrorKind::Malformed, what))
        }
    }
}

/// The command, with the environment that was asked for.
fn command(asked: &OpsRequest, argv: Vec<String>) -> Result<Vec<String>, Error> {
    let malformed = |what: &str| Err(Error::new(ErrorKind::Malformed, what));
    if argv.first().is_none_or(String::is_empty) {
        return malformed("`flags` names no command");
    }
    if !asked.user.is_empty() {
        return malformed("`user` is not carried: commands run as the container's user");
    }
    if !asked.work_dir.is_empty() {
        return malformed("`workDir` is not carried: change the directory in the command");
    }
    if asked.env.is_empty() {
        return Ok(argv);
    }
    let is_pair = |text: &String| {
        text.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
    };
    if !asked.env.iter().all(is_pair) {
        return malformed("`env` must be a list of `NAME=VALUE`");
    }
    // Judged with the command: an environment can make it another one.
    let mut with = vec!["env".to_owned()];
    with.extend(asked.env.iter().cloned());
    with.extend(argv);
    Ok(with)
}

/// What a command came to: its standard output, or what went wrong beside it.
fn spoken(collected: Collected, trace: &str) -> Response<Body> {
    let stdout = String::from_utf8_lossy(&collected.stdout);
    let stderr = String::from_utf8_lossy(&collected.stderr);
    let why = match &collected.status {
        Some(ExitStatus::Exited(0)) if !collected.too_much => return success(stdout),
        _ if collected.too_much => {
            format!("{stderr}the command printed more than {MAX_COLLECTED} bytes and was ended")
        }
        Some(ExitStatus::Exited(code)) => format!("{stderr}command exited with code {code}"),
        Some(ExitStatus::Failed(failure)) => format!("{stderr}{}", failure.message),
        None => format!("{stderr}the command ended without a status"),
    };
    document(Reply::failure_with(&why, trace, stdout).to_json())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use http::{HeaderMap, HeaderValue, header};

    use super::{check_origin, command};
    use crate::compat::OpsRequest;

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// H14: the environment is part of what is judged.
    #[test]
    fn h14_an_environment_is_part_of_the_command_that_is_judged() {
        let asked = OpsRequest {
            env: argv(&["LD_PRELOAD=/tmp/x.so"]),
            ..OpsRequest::default()
        };
        assert_eq!(
            command(&asked, argv(&["ls"])).unwrap(),
            argv(&["env", "LD_PRELOAD=/tmp/x.so", "ls"])
        );
        for bad in ["A", "=b", "-S=x", "A B=c"] {
            let asked = OpsRequest {
                env: argv(&[bad]),
                ..OpsRequest::default()
            };
            assert!(command(&asked, argv(&["ls"])).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_page_of_another_site_opens_no_terminal() {
        for (origin, admitted) in [
            (None, true),
            (Some("https://dockin:6443"), true),
            (Some("https://DOCKIN:6443"), true),
            (Some("https://dockin"), false),
            (Some("https://evil"), false),
            (Some("null"), false),
            (Some(""), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("dockin:6443"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(check_origin(&headers).is_ok(), admitted, "{origin:?}");
        }
    }

    #[test]
    fn what_is_not_carried_is_refused_and_not_dropped() {
        let plain = OpsRequest::default();
        assert!(command(&plain, argv(&[])).is_err());
        assert!(command(&plain, argv(&[""])).is_err());
        for asked in [
            OpsRequest {
                user: "root".to_owned(),
                ..OpsRequest::default()
            },
            OpsRequest {
                work_dir: "/data".to_owned(),
                ..OpsRequest::default()
            },
        ] {
            assert!(command(&asked, argv(&["ls"])).is_err());
        }
    }
}
