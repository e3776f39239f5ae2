//! Ends every process of a session when the session ends, whatever the reason.
//!
//! Three nets, all seen from the host's `/proc`, because no single one holds everything: the
//! *mark* [`SESSION_VARIABLE`] in a process's environment (lost by `env -i`), the *descendants* of
//! the session's root processes (lost when a parent ends), and a *control group* (not always
//! allowed). What one scan proves is remembered by pid and start time.
//!
//! When the agent itself dies, its [guardian](guardian_main) does the same for all its sessions.

mod claim;
mod control_group;
mod guardian;
mod process_table;
mod signal;

use std::{
    fmt, io,
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use claim::Claim;
use control_group::ControlGroup;
pub use control_group::GroupName;
use guardian::Guardian;
pub use guardian::guardian_main;
use process_table::ProcessKey;
use tokio::sync::oneshot;

use crate::access::SessionId;

/// Environment variable that marks the processes of a session with its id.
pub const SESSION_VARIABLE: &str = "DOCKIN_SESSION";
/// Environment variable that marks the processes of an agent with its name.
pub const AGENT_VARIABLE: &str = "DOCKIN_AGENT";

/// How a [`Reaper`] works.
#[derive(Clone, Debug)]
pub struct ReaperOptions {
    /// The agent's name. Two agents of one host must not share it: each would end the other's
    /// sessions as leftovers of its own.
    pub agent: String,
    /// Time between the polite signals (HUP, TERM) and KILL.
    pub grace: Duration,
    /// Time after which the end of a session is given up; sessions promise 5 s.
    pub deadline: Duration,
    /// Whether sessions get control groups where that is allowed.
    pub control_groups: bool,
}

impl ReaperOptions {
    /// 1 s of grace, all within 4 s, with control groups.
    #[must_use]
    pub fn new(agent: impl Into<String>) -> Self {
        Self {
            agent: agent.into(),
            grace: Duration::from_secs(1),
            deadline: Duration::from_secs(4),
            control_groups: true,
        }
    }
}

/// Ends sessions' processes; one for an agent.
#[derive(Debug)]
pub struct Reaper {
    options: ReaperOptions,
    guardian: Mutex<Option<Guardian>>,
    /// Sessions whose end is under way.
    ending: Mutex<usize>,
    ended: Condvar,
}

impl Reaper {
    /// A reaper without a guardian.
    #[must_use]
    pub fn new(options: ReaperOptions) -> Arc<Self> {
        Arc::new(Self {
            options,
            guardian: Mutex::new(None),
            ending: Mutex::new(0),
            ended: Condvar::new(),
        })
    }

    /// Starts the guardian: `program guardian <agent>`, which must call [`guardian_main`].
    ///
    /// It ends what is left of every session within 5 s after this process is gone, even by
    /// `kill -9`.
    ///
    /// # Errors
    ///
    /// The program cannot be started.
    pub fn spawn_guardian(&self, program: &Path) -> io::Result<()> {
        let guardian = Guardian::spawn(program, &self.options.agent)?;
        *lock(&self.guardian) = Some(guardian);
        Ok(())
    }

    /// The variables every process of `session` must be started with.
    #[must_use]
    pub fn environment(&self, session: SessionId) -> Vec<(String, String)> {
        vec![
            (SESSION_VARIABLE.to_owned(), session.to_string()),
            (AGENT_VARIABLE.to_owned(), self.options.agent.clone()),
        ]
    }

    /// Takes charge of `session` until the guard is dropped. Call it before anything starts.
    pub fn begin(self: &Arc<Self>, session: SessionId) -> SessionGuard {
        let claim = Claim {
            marks: vec![format!("{SESSION_VARIABLE}={session}").into_bytes()],
            ..Claim::default()
        };
        SessionGuard {
            reaper: Arc::clone(self),
            session,
            claim: Mutex::new(Some(claim)),
        }
    }

    /// Ends what an earlier run of this agent left: every process with its mark. Blocks up to the
    /// deadline; call it at start, before the first session. Gives how many could not be ended.
    pub fn sweep(&self) -> usize {
        let claim = Claim {
            marks: vec![agent_mark(&self.options.agent)],
            ..Claim::default()
        };
        claim.end(&self.options)
    }

    /// Blocks until every end under way is done, at most `timeout`; for the end of the agent.
    /// Whether all are.
    pub fn wait_idle(&self, timeout: Duration) -> bool {
        let ending = lock(&self.ending);
        let (ending, _) = self
            .ended
            .wait_timeout_while(ending, timeout, |ending| *ending > 0)
            .unwrap_or_else(PoisonError::into_inner);
        *ending == 0
    }

    fn tell_guardian(&self, line: &str) {
        if let Some(guardian) = lock(&self.guardian).as_mut() {
            guardian.tell(line);
        }
    }

    fn finish(&self, session: SessionId, claim: Claim) {
        let left = claim.end(&self.options);
        if left > 0 {
            tracing::warn!(%session, left, "processes of an ended session could not be ended");
        }
        self.tell_guardian(&format!("-{session}"));
        *lock(&self.ending) -= 1;
        self.ended.notify_all();
    }
}

/// Holds a session's processes; dropping it ends them all.
///
/// The work is done in a thread of its own, so it also works while an async runtime shuts down.
#[must_use = "dropping the guard ends the session's processes"]
pub struct SessionGuard {
    reaper: Arc<Reaper>,
    session: SessionId,
    claim: Mutex<Option<Claim>>,
}

impl SessionGuard {
    /// The session it holds.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// Adds a process and all its descendants, from now on. `pid` is the host's, and the caller
    /// knows that it is still the process it means.
    ///
    /// Whether the process is there. One that has ended already is no root, but what it left is
    /// still found by its mark.
    pub fn add_root(&self, pid: u32) -> bool {
        let Some(root) = ProcessKey::of(pid).filter(|_| pid > 1) else {
            return false;
        };
        let mut claim = lock(&self.claim);
        let Some(claim) = claim.as_mut() else {
            return false;
        };
        claim.known.insert(root);
        self.reaper
            .tell_guardian(&format!("+{} {pid}", self.session));
        if self.reaper.options.control_groups {
            match ControlGroup::create(pid, &self.session.to_string()) {
                Ok(group) => {
                    self.remember(claim, &group);
                    enclose(claim, &group, root);
                }
                Err(error) => {
                    tracing::debug!(session = %self.session, %error, "no control group");
                }
            }
        }
        true
    }

    /// Makes the session's control group beside `member`, a process of the container, so that the
    /// session's first process can be started inside it. `None` where that is not allowed.
    pub fn enclose_beside(&self, member: u32) -> Option<GroupName> {
        if !self.reaper.options.control_groups {
            return None;
        }
        match ControlGroup::create_named(member, &self.session.to_string()) {
            Ok((group, name)) => {
                let mut claim = lock(&self.claim);
                self.remember(claim.as_mut()?, &group);
                Some(name)
            }
            Err(error) => {
                tracing::debug!(session = %self.session, %error, "no control group");
                None
            }
        }
    }

    fn remember(&self, claim: &mut Claim, group: &ControlGroup) {
        let directory = group.directory().display();
        let line = format!("@{} {directory}", self.session);
        if !claim.groups.contains(group) {
            self.reaper.tell_guardian(&line);
            claim.groups.push(group.clone());
        }
    }

    /// Adds every process that was or will be started with `name` set to `value`.
    pub fn add_mark(&self, name: &str, value: &str) {
        if let Some(claim) = lock(&self.claim).as_mut() {
            claim.marks.push(format!("{name}={value}").into_bytes());
        }
    }

    /// Ends all processes and waits for it, at most the reaper's deadline.
    pub async fn end(self) {
        if let Some(ended) = self.start_end() {
            // An error says that the thread is gone, and so that it has done what it could.
            let _ = ended.await;
        }
    }

    fn start_end(&self) -> Option<oneshot::Receiver<()>> {
        let claim = lock(&self.claim).take()?;
        let (done, ended) = oneshot::channel();
        *lock(&self.reaper.ending) += 1;
        let reaper = Arc::clone(&self.reaper);
        let session = self.session;
        // The claim is handed over through a slot so that it is not lost with a failed spawn.
        let slot = Arc::new(Mutex::new(Some(claim)));
        let work = {
            let slot = Arc::clone(&slot);
            move || {
                if let Some(claim) = lock(&slot).take() {
                    reaper.finish(session, claim);
                }
                let _ = done.send(());
            }
        };
        if thread::Builder::new()
            .name("dockin-reaper".to_owned())
            .spawn(work)
            .is_err()
            && let Some(claim) = lock(&slot).take()
        {
            self.reaper.finish(session, claim);
        }
        Some(ended)
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.start_end();
    }
}

impl fmt::Debug for SessionGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionGuard")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// Moves `root` into `group`, and what it started before it was in there.
fn enclose(claim: &mut Claim, group: &ControlGroup, root: ProcessKey) {
    if let Err(error) = group.add(root.pid) {
        tracing::debug!(pid = root.pid, %error, "not moved into a control group");
        return;
    }
    // Each round may miss the children of processes that were still outside.
    for _ in 0..4 {
        let inside = group.pids();
        let mut moved = false;
        for process in claim.scan() {
            if !inside.contains(&process.pid) {
                moved |= group.add(process.pid).is_ok();
            }
        }
        if !moved {
            return;
        }
    }
}

fn agent_mark(agent: &str) -> Vec<u8> {
    format!("{AGENT_VARIABLE}={agent}").into_bytes()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What a panicking thread left is still the truth: every change is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
