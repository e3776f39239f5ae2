use std::{collections::HashSet, fs, io};

/// One process, safe against reuse of its pid: the pid and the start time together.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct ProcessKey {
    /// Process id as this process sees it.
    pub(super) pid: u32,
    /// Start, in clock ticks since boot: field 22 of `/proc/<pid>/stat`.
    start: u64,
}

impl ProcessKey {
    /// The process that has `pid` now; `None` when there is none or only its zombie.
    pub(super) fn of(pid: u32) -> Option<Self> {
        Row::read(pid).filter(|row| row.alive).map(|row| row.key)
    }
}

/// A view of `/proc` at about one moment. A process that starts while it is read may be missing,
/// so whoever wants to be sure reads again.
#[derive(Debug, Default)]
pub(super) struct ProcessTable {
    rows: Vec<Row>,
}

impl ProcessTable {
    /// Reads `/proc`.
    ///
    /// # Errors
    ///
    /// `/proc` cannot be listed.
    pub(super) fn read() -> io::Result<Self> {
        let mut rows = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Ok(entry) = entry else { continue };
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            rows.extend(pid.and_then(Row::read));
        }
        Ok(Self { rows })
    }

    /// Every process that is not a zombie.
    pub(super) fn alive(&self) -> impl Iterator<Item = ProcessKey> + '_ {
        self.rows.iter().filter(|row| row.alive).map(|row| row.key)
    }

    /// Adds to `set` the living descendants of its members, except those in `spared` and below.
    pub(super) fn add_descendants(
        &self,
        set: &mut HashSet<ProcessKey>,
        spared: &HashSet<ProcessKey>,
    ) {
        let mut parents: HashSet<u32> = self
            .rows
            .iter()
            .filter(|row| set.contains(&row.key) && !spared.contains(&row.key))
            .map(|row| row.key.pid)
            .collect();
        loop {
            let mut grown = false;
            for row in &self.rows {
                if parents.contains(&row.parent)
                    && !spared.contains(&row.key)
                    && parents.insert(row.key.pid)
                {
                    grown = true;
                    if row.alive {
                        set.insert(row.key);
                    }
                }
            }
            if !grown {
                return;
            }
        }
    }

    /// The process `pid` and its ancestors, up to process 1.
    pub(super) fn with_ancestors(&self, pid: u32) -> HashSet<ProcessKey> {
        let mut line = HashSet::new();
        let mut next = pid;
        while let Some(row) = self.rows.iter().find(|row| row.key.pid == next) {
            if !line.insert(row.key) {
                break;
            }
            next = row.parent;
        }
        line
    }
}

/// Whether the environment `process` was started with has one of `marks` (`NAME=value`).
///
/// What cannot be read, as another user's process, has none.
pub(super) fn has_mark(process: ProcessKey, marks: &[Vec<u8>]) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{}/environ", process.pid)) else {
        return false;
    };
    environment
        .split(|byte| *byte == 0)
        .any(|entry| marks.iter().any(|mark| mark == entry))
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Row {
    key: ProcessKey,
    parent: u32,
    alive: bool,
}

impl Row {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Reads `stat`: the name in parentheses may itself hold spaces and parentheses.
    fn parse(pid: u32, stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        // Fields 20 and 22 of the line; state was 3 and parent 4.
        let threads: u32 = fields.nth(15)?.parse().ok()?;
        let start = fields.nth(1)?.parse().ok()?;
        Some(Self {
            key: ProcessKey { pid, start },
            parent,
            // A main thread may end before the others do.
            alive: !matches!(state, "Z" | "X" | "x") || threads > 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{ProcessKey, ProcessTable, Row};

    fn row(pid: u32, parent: u32) -> Row {
        Row {
            key: ProcessKey {
                pid,
                start: u64::from(pid),
            },
            parent,
            alive: true,
        }
    }

    fn pids(set: &HashSet<ProcessKey>) -> Vec<u32> {
        let mut pids: Vec<u32> = set.iter().map(|key| key.pid).collect();
        pids.sort_unstable();
        pids
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) R 1 (b) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 2";
        let read = Row::parse(7, stat);
        assert_eq!(
            read,
            Some(Row {
                key: ProcessKey {
                    pid: 7,
                    start: 4242
                },
                parent: 3,
                alive: true
            })
        );
        assert_eq!(Row::parse(7, "7 (sh) S 3"), None);
        assert_eq!(Row::parse(7, ""), None);
    }

    #[test]
    fn descendants_are_found_in_any_order_and_stop_at_the_spared() {
        let table = ProcessTable {
            rows: vec![row(30, 20), row(20, 10), row(10, 1), row(1, 0), row(40, 30)],
        };
        let mut set = HashSet::from([row(10, 1).key]);
        table.add_descendants(&mut set, &HashSet::from([row(30, 20).key]));
        assert_eq!(pids(&set), [10, 20]);
        table.add_descendants(&mut set, &HashSet::new());
        assert_eq!(pids(&set), [10, 20, 30, 40]);
        assert_eq!(pids(&table.with_ancestors(20)), [1, 10, 20]);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let table = ProcessTable {
            rows: vec![row(10, 1), row(20, 10)],
        };
        let mut set = HashSet::from([ProcessKey { pid: 10, start: 1 }]);
        table.add_descendants(&mut set, &HashSet::new());
        assert_eq!(pids(&set), [10]);
    }
}
