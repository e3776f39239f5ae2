//! What exec, attach and cp have in common: a stream to a container and what its end means.

use std::{io::Write as _, process::ExitCode};

use dockin_stream::{ExitStatus, StreamSet, Subprotocol, channel, io::Endpoint};

use crate::{
    client::{Query, Wire},
    escape::Escape,
    failure::{BROKEN_PIPE, Failure, GATEWAY},
    session::{End, Ends, Screen, Session, Signals},
    stdio::{Input, Output},
    target::Target,
    terminal::{self, RawMode, ScreenModes},
};

/// How a person is connected to a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SessionOptions {
    /// Standard input is passed on.
    pub(crate) stdin: bool,
    /// With a terminal.
    pub(crate) tty: bool,
    /// No remarks on standard error.
    pub(crate) quiet: bool,
    /// Begins a local escape, with a terminal.
    pub(crate) escape: Option<u8>,
}

impl SessionOptions {
    /// A terminal needs one on this side, and its input; without, the session goes on without,
    /// as with kubectl.
    pub(crate) fn settle_tty(&mut self) {
        if !self.tty {
            return;
        }
        if !self.stdin {
            self.tty = false;
        } else if !terminal::is_input_terminal() {
            self.tty = false;
            self.remark("Unable to use a TTY - input is not a terminal or the right kind of file");
        }
    }

    /// Says something that is neither output nor an error.
    pub(crate) fn remark(self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// The streams to ask for.
    pub(crate) const fn streams(self) -> StreamSet {
        StreamSet {
            stdin: self.stdin,
            stdout: true,
            stderr: true,
            tty: self.tty,
        }
        .normalized()
    }
}

/// Opens `subresource` (exec or attach) with `command` as a WebSocket v5 session.
pub(crate) async fn open(
    target: &Target,
    subresource: &str,
    command: &[String],
    streams: StreamSet,
) -> Result<Endpoint<Wire, channel::Client>, Failure> {
    let mut query = Query::default();
    for argument in command {
        query.add("command", argument);
    }
    query.add_some("container", target.container.as_deref());
    for (name, wanted) in [
        ("stdin", streams.stdin),
        ("stdout", streams.stdout),
        ("stderr", streams.stderr),
        ("tty", streams.tty),
    ] {
        query.add(name, if wanted { "true" } else { "false" });
    }
    let path = format!("{}{}", target.path(Some(subresource)), query.as_str());
    let upgraded = target.client()?.websocket(&path).await?;
    let seed =
        getrandom::u64().map_err(|error| Failure::local(format!("no random numbers: {error}")))?;
    let codec = channel::Client::new(Subprotocol::V5, streams, seed);
    Ok(Endpoint::new(upgraded.wire, codec, upgraded.early))
}

/// Joins a session to this process's own input, outputs and terminal until it ends.
pub(crate) async fn join(
    endpoint: Endpoint<Wire, channel::Client>,
    options: SessionOptions,
) -> Result<ExitCode, Failure> {
    let stdout = Output::stdout()?;
    let stderr = Output::stderr()?;
    let signals = Signals::new()?;
    // From here on every way out puts the terminal back.
    let raw = if options.tty {
        let raw = RawMode::enter()
            .map_err(|error| Failure::local(format!("cannot use the terminal: {error}")))?;
        Some(raw)
    } else {
        None
    };
    let screen = options.tty.then(|| Screen {
        escape: Escape::new(options.escape),
        modes: ScreenModes::default(),
    });
    let ends = Ends {
        stdin: if options.stdin {
            Some(Input::stdin()?)
        } else {
            None
        },
        stdout: stdout.outlet.clone(),
        stderr: stderr.outlet.clone(),
    };
    let (end, screen) = Session::new(endpoint, ends, screen, signals).run().await;
    let written = match end {
        // All of the output before the exit code. A person who leaves does not wait for it.
        End::Exit(_) | End::Lost(_) | End::OutputClosed => {
            match (stdout.finish().await, stderr.finish().await) {
                (Ok(()), Ok(())) => Ok(()),
                (Err(failure), _) | (_, Err(failure)) => Err(failure),
            }
        }
        End::Disconnected | End::Signalled(_) => Ok(()),
    };
    if let Some(screen) = screen {
        let undo = screen.modes.undo();
        if terminal::is_output_terminal() && !undo.is_empty() {
            // The terminal may be gone; then there is nothing to clean up.
            let _gone = std::io::stdout()
                .write_all(&undo)
                .and_then(|()| std::io::stdout().flush());
        }
    }
    drop(raw);
    written?;
    finish(end, options)
}

/// The exit code that the end of a session means.
fn finish(end: End, options: SessionOptions) -> Result<ExitCode, Failure> {
    match end {
        End::Exit(status) => exit_code(status),
        End::Lost(why) => Err(Failure::gateway(why)),
        End::Disconnected => {
            options.remark("\ndisconnected");
            Ok(ExitCode::from(GATEWAY))
        }
        End::Signalled(number) => Ok(ExitCode::from(signalled(number))),
        End::OutputClosed => Ok(ExitCode::from(BROKEN_PIPE)),
    }
}

/// 128 + signal, as a shell reports it.
pub(crate) fn signalled(number: i32) -> u8 {
    u8::try_from(number).map_or(GATEWAY, |number| number.saturating_add(128))
}

/// The exit code of the remote command, or the failure that took its place.
pub(crate) fn exit_code(status: ExitStatus) -> Result<ExitCode, Failure> {
    match status {
        ExitStatus::Exited(code) => Ok(ExitCode::from(code)),
        ExitStatus::Failed(failure) => Err(Failure::from_server(&failure.reason, &failure.message)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use dockin_stream::{ExitStatus, Failure};

    use super::{End, SessionOptions, exit_code, finish};
    use crate::failure::{DENIED, GATEWAY};

    #[test]
    fn a_denial_and_a_lost_connection_have_exit_codes_of_their_own() {
        let denied = ExitStatus::Failed(Failure {
            code: 403,
            reason: "Forbidden".to_owned(),
            message: "rule `no-rm` forbids `rm`".to_owned(),
        });
        assert_eq!(exit_code(denied).unwrap_err().code(), DENIED);
        let options = SessionOptions {
            stdin: false,
            tty: false,
            quiet: true,
            escape: None,
        };
        let lost = finish(End::Lost("lost".to_owned()), options).unwrap_err();
        assert_eq!(lost.code(), GATEWAY);
        assert_eq!(lost.message().as_deref(), Some("error: lost"));
    }

    #[test]
    fn standard_error_is_not_asked_for_with_a_terminal() {
        let mut options = SessionOptions {
            stdin: true,
            tty: true,
            quiet: true,
            escape: None,
        };
        assert!(!options.streams().stderr);
        options.tty = false;
        assert!(options.streams().stderr);
    }

    #[test]
    fn a_terminal_without_input_is_no_terminal() {
        let mut options = SessionOptions {
            stdin: false,
            tty: true,
            quiet: true,
            escape: None,
        };
        options.settle_tty();
        assert!(!options.tty);
    }
}
