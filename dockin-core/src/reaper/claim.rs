use std::{
    collections::HashSet,
    process,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    ReaperOptions,
    control_group::ControlGroup,
    process_table::{ProcessKey, ProcessTable, has_mark},
    signal,
};

/// Scans without a find after which nothing is left: a process that was being forked during the
/// first is seen by the second.
const EMPTY_SCANS: u32 = 2;
/// Rounds of stopping before the kill; each must find what the last one's processes forked.
const STOP_ROUNDS: u32 = 8;

/// What proves that a process belongs to a session or an agent, and all processes found by it.
#[derive(Debug, Default)]
pub(super) struct Claim {
    /// `NAME=value` in the environment it was started with.
    pub(super) marks: Vec<Vec<u8>>,
    /// Roots, and everything that was ever proven: its parent may be gone at the next scan.
    pub(super) known: HashSet<ProcessKey>,
    /// Control groups that only hold what belongs.
    pub(super) groups: Vec<ControlGroup>,
}

impl Claim {
    /// Ends everything that belongs: first politely, after the grace period by force, until
    /// nothing is left or the deadline has come. Gives how many are left.
    pub(super) fn end(mut self, options: &ReaperOptions) -> usize {
        let began = Instant::now();
        let mut asked = HashSet::new();
        let mut empty = 0;
        let mut pause = Duration::from_millis(10);
        let left = loop {
            let members = self.scan();
            empty = if members.is_empty() { empty + 1 } else { 0 };
            let elapsed = began.elapsed();
            if empty >= EMPTY_SCANS || elapsed >= options.deadline {
                break members.len();
            }
            if elapsed >= options.grace && !members.is_empty() {
                self.kill(members);
            } else {
                for process in members {
                    if asked.insert(process) {
                        // A stopped process sees its end only once it goes on.
                        signal::send(process, &[Signal::HUP, Signal::CONT, Signal::TERM]);
                    }
                }
            }
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(80));
        };
        while !self.groups.iter().all(ControlGroup::remove) && began.elapsed() < options.deadline {
            sleep(Duration::from_millis(20));
        }
        left
    }

    /// Stops all until none is new, so that nobody forks away from the kill that follows.
    fn kill(&mut self, mut members: HashSet<ProcessKey>) {
        let mut stopped = HashSet::new();
        for _ in 0..STOP_ROUNDS {
            let mut grown = false;
            for process in &members {
                if stopped.insert(*process) {
                    grown = true;
                    signal::send(*process, &[Signal::STOP]);
                }
            }
            if !grown {
                break;
            }
            members = self.scan();
        }
        for group in &self.groups {
            group.kill();
        }
        for process in stopped {
            signal::send(process, &[Signal::KILL]);
        }
    }

    /// The living processes that belong, never process 1, this process or its ancestors.
    pub(super) fn scan(&mut self) -> HashSet<ProcessKey> {
        let table = match ProcessTable::read() {
            Ok(table) => table,
            Err(error) => {
                tracing::warn!(%error, "processes cannot be listed");
                return HashSet::new();
            }
        };
        let mut spared = table.with_ancestors(process::id());
        spared.extend(table.alive().filter(|process| process.pid == 1));
        let grouped: HashSet<u32> = self.groups.iter().flat_map(ControlGroup::pids).collect();
        for process in table.alive() {
            if !spared.contains(&process)
                && !self.known.contains(&process)
                && (grouped.contains(&process.pid) || has_mark(process, &self.marks))
            {
                self.known.insert(process);
            }
        }
        table.add_descendants(&mut self.known, &spared);
        // The dead are forgotten; their children are known by now.
        let alive: HashSet<ProcessKey> = table.alive().collect();
        self.known
            .retain(|process| alive.contains(process) && !spared.contains(process));
        self.known.clone()
    }
}
