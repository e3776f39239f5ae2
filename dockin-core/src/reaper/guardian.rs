use std::{
    collections::HashMap,
    env,
    io::{self, BufRead, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use nix::sys::signal::{SigSet, Signal};
use rustix::process::setsid;

use super::{
    AGENT_VARIABLE, ReaperOptions, SESSION_VARIABLE, agent_mark, claim::Claim,
    control_group::ControlGroup, process_table::ProcessKey,
};

/// The agent's end of its guardian.
///
/// One line a message: `+<session> <pid>` a root, `@<session> <directory>` a control group,
/// `-<session>` all ended. The end of the pipe is the end of the agent.
#[derive(Debug)]
pub(super) struct Guardian {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Guardian {
    pub(super) fn spawn(program: &Path, agent: &str) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(["guardian", agent])
            // It must not look like a process of a session.
            .env_remove(SESSION_VARIABLE)
            .env_remove(AGENT_VARIABLE)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    pub(super) fn tell(&mut self, line: &str) {
        let Some(pipe) = &mut self.pipe else { return };
        if let Err(error) = pipe.write_all(format!("{line}\n").as_bytes()) {
            tracing::warn!(%error, "the guardian is gone: a crash of the agent may leave processes");
            self.pipe = None;
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // It scans once and exits; a zombie until then is nobody's harm.
        self.pipe = None;
        let _ = self.child.try_wait();
    }
}

/// The guardian process: waits on its standard input for the end of the agent, then ends what is
/// left of its sessions, within 5 s.
///
/// A binary calls it first thing when its first argument is `guardian`, with the second one. The
/// result is the exit code.
#[must_use]
pub fn guardian_main(agent: &str) -> u8 {
    // A terminal's ^C and the service manager's TERM are for the agent; the end of the pipe tells.
    let _ = setsid();
    let mut ignored = SigSet::empty();
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGQUIT,
    ] {
        ignored.add(signal);
    }
    let _ = ignored.thread_block();
    let _ = env::set_current_dir("/");

    let mut sessions = Sessions::default();
    for line in io::stdin().lock().lines() {
        match line {
            Ok(line) => sessions.hear(&line),
            Err(_) => break,
        }
    }
    let mut claim = Claim {
        marks: vec![agent_mark(agent)],
        ..Claim::default()
    };
    for (_, session) in sessions.open {
        claim.known.extend(session.known);
        claim.groups.extend(session.groups);
    }
    let options = ReaperOptions {
        grace: Duration::from_millis(500),
        deadline: Duration::from_millis(4500),
        ..ReaperOptions::new(agent)
    };
    u8::from(claim.end(&options) > 0)
}

/// What the guardian has heard of sessions that have not ended.
#[derive(Debug, Default)]
struct Sessions {
    open: HashMap<String, Claim>,
}

impl Sessions {
    fn hear(&mut self, line: &str) {
        let mut letters = line.chars();
        let kind = letters.next();
        let (session, rest) = letters
            .as_str()
            .split_once(' ')
            .unwrap_or((letters.as_str(), ""));
        match kind {
            Some('+') => {
                let root = rest.parse().ok().and_then(ProcessKey::of);
                self.open
                    .entry(session.to_owned())
                    .or_default()
                    .known
                    .extend(root);
            }
            Some('@') => {
                let groups = &mut self.open.entry(session.to_owned()).or_default().groups;
                groups.extend(ControlGroup::reopen(rest).filter(|group| !groups.contains(group)));
            }
            Some('-') => {
                self.open.remove(session);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sessions;

    #[test]
    fn an_ended_session_is_forgotten() {
        let mut sessions = Sessions::default();
        sessions.hear(&format!("+a {}", std::process::id()));
        sessions.hear("@a /sys/fs/cgroup/dockin-a");
        sessions.hear("@a /sys/fs/cgroup");
        sessions.hear("+b 4000000000");
        sessions.hear("nonsense");
        sessions.hear("");
        let heard = sessions
            .open
            .get("a")
            .map(|claim| (claim.known.len(), claim.groups.len()));
        assert_eq!(heard, Some((1, 1)));
        sessions.hear("-a");
        assert!(!sessions.open.contains_key("a"));
    }
}
