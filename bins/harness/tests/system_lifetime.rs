//! Whatever is killed, and whenever: within 5 s nothing of the session is left in the container,
//! and the audit trail has what was acknowledged.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use dockin_harness::{
    Container, House, HouseOptions, Input, Program, Pty, Transport, eventually, finish, run,
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
/// How long something could still begin that should not.
const LATE: Duration = Duration::from_secs(5);
const BOTH: [Transport; 2] = [Transport::WebSocket, Transport::Spdy];

fn house() -> (House, Container) {
    let house = House::start(&HouseOptions::default());
    let container = house.docker().container(&[], &["sleep", "2147483647"]);
    (house, container)
}

/// Sessions of every kind in one container.
struct Sessions {
    terminals: Vec<Pty>,
    programs: Vec<Program>,
}

/// What the sessions run, by the last argument of the process that shows that it runs.
const MARKS: [&str; 9] = [
    "1001", "1002", "1003", "1004", "1005", "1006", "1007", "1008", "1009",
];

impl Sessions {
    fn open(house: &House, container: &Container, transport: Transport) -> Self {
        let exec = |flags: &[&str], argv: &[&str]| {
            let mut command = house.preferred(transport, &["exec"]);
            command
                .args(flags)
                .arg(container.name())
                .arg("--")
                .args(argv);
            command
        };
        let mut shell = Pty::spawn(&exec(&["-it"], &["sh"]));
        assert!(
            eventually(LIMIT, || shell.screen().contains("# ")),
            "{}",
            shell.screen()
        );
        shell.send("sleep 1001\r");
        let deaf = "trap '' HUP INT TERM; while :; do sleep 1003; done";
        let hidden = "setsid sleep 1005 & env -i sleep 1006 & sleep 1; \
                      (setsid env -i sleep 1007 > /dev/null 2>&1 &) ; sleep 1008";
        let sessions = Self {
            terminals: vec![shell, Pty::spawn(&exec(&["-it"], &["sleep", "1002"]))],
            programs: vec![
                Program::start(&mut exec(&[], &["sh", "-c", deaf]), Input::Nothing),
                Program::start(&mut exec(&["-i"], &["sleep", "1004"]), Input::Endless),
                Program::start(&mut exec(&[], &["sh", "-c", hidden]), Input::Nothing),
                Program::start(
                    &mut exec(&["-i"], &["sh", "-c", "sleep 1009; cat"]),
                    Input::Held,
                ),
            ],
        };
        let running = || {
            let processes = container.processes();
            MARKS.iter().all(|mark| {
                processes
                    .iter()
                    .any(|line| line.ends_with(&format!("sleep {mark}")))
            })
        };
        assert!(eventually(LIMIT, running), "{:#?}", container.processes());
        sessions
    }

    fn kill(&mut self) {
        self.terminals.iter_mut().for_each(Pty::kill);
        self.programs.iter_mut().for_each(Program::kill);
    }

    /// The gateway died without a word: T2, which only the client can pass. Over SPDY kubectl takes
    /// that for success (kubernetes #73056), over WebSocket it does not.
    fn all_end(self, transport: Transport) {
        match transport {
            Transport::WebSocket => self.all_fail(),
            Transport::Spdy => {
                for mut terminal in self.terminals {
                    assert!(
                        terminal.exit_code().is_some(),
                        "hangs: {}",
                        terminal.screen()
                    );
                }
                for program in self.programs {
                    let _ended = program.finish(LIMIT);
                }
            }
        }
    }

    /// T2: a lost connection is never success.
    fn all_fail(self) {
        for mut terminal in self.terminals {
            let code = terminal.exit_code();
            assert!(
                code.is_some_and(|code| code != 0),
                "{code:?}: {}",
                terminal.screen()
            );
        }
        for program in self.programs {
            let finished = program.finish(LIMIT);
            assert!(finished.code.is_some_and(|code| code != 0), "{finished:?}");
        }
    }
}

fn nothing_left(container: &Container) {
    let alone = || container.processes().len() == 1;
    assert!(
        eventually(LIMIT, alone),
        "still there: {:#?}",
        container.processes()
    );
}

fn works(house: &House, container: &Container) {
    for transport in BOTH {
        let arguments = [
            "exec",
            container.name(),
            "--",
            "sh",
            "-c",
            "echo fine; exit 3",
        ];
        let got = finish(
            &mut house.preferred(transport, &arguments),
            Input::Nothing,
            LIMIT,
        );
        assert_eq!(
            (got.code, got.text().as_str()),
            (Some(3), "fine\n"),
            "{}",
            got.stderr
        );
    }
}

/// The numbers of the trail have no gap, and every session that has started has a verdict for its
/// command and one start. Gives the sessions that have no end.
fn check_trail(audit: &[Value]) -> BTreeSet<String> {
    for (index, event) in audit.iter().enumerate() {
        assert_eq!(event["seq"].as_u64(), Some(index as u64 + 1), "{event}");
    }
    let sessions = |kind: &str| -> Vec<String> {
        let of_kind = audit.iter().filter(|event| event["event"] == kind);
        of_kind
            .filter_map(|event| event["session"].as_str())
            .map(str::to_owned)
            .collect()
    };
    let started: BTreeSet<String> = sessions("session.start").into_iter().collect();
    assert_eq!(
        started.len(),
        sessions("session.start").len(),
        "a session started twice"
    );
    let judged: BTreeSet<String> = sessions("command.verdict").into_iter().collect();
    assert!(
        started.is_subset(&judged),
        "a session without verdict: {audit:#?}"
    );
    let ended: BTreeSet<String> = sessions("session.end").into_iter().collect();
    assert!(
        ended.is_subset(&started),
        "an end without start: {audit:#?}"
    );
    started.difference(&ended).cloned().collect()
}

fn starts(audit: &[Value]) -> usize {
    audit
        .iter()
        .filter(|event| event["event"] == "session.start")
        .count()
}

#[test]
fn nothing_outlives_a_killed_client() {
    let (house, container) = house();
    for transport in BOTH {
        Sessions::open(&house, &container, transport).kill();
        nothing_left(&container);
    }
    assert!(
        eventually(LIMIT, || check_trail(&house.audit()).is_empty()),
        "{:#?}",
        house.audit()
    );
    assert_eq!(starts(&house.audit()), 12);
    works(&house, &container);
}

#[test]
fn nothing_outlives_a_killed_dockctl() {
    let (house, container) = house();
    let exec = |flags: &[&str], argv: &[&str]| {
        let mut command = house.dockctl();
        command
            .arg("exec")
            .args(flags)
            .arg(container.name())
            .arg("--")
            .args(argv);
        command
    };
    let mut shell = Pty::spawn(&exec(&["-it"], &["sh"]));
    assert!(
        eventually(LIMIT, || shell.screen().contains("# ")),
        "{}",
        shell.screen()
    );
    shell.send("sleep 1001\r");
    let mut plain = Program::start(&mut exec(&[], &["sleep", "1002"]), Input::Nothing);
    let mut fed = Program::start(&mut exec(&["-i"], &["sleep", "1003"]), Input::Endless);
    assert!(
        eventually(LIMIT, || container.processes().len() >= 5),
        "{:?}",
        container.processes()
    );
    shell.kill();
    plain.kill();
    fed.kill();
    nothing_left(&container);
    works(&house, &container);
}

#[test]
fn nothing_outlives_a_killed_gateway() {
    let (mut house, container) = house();
    for transport in BOTH {
        let sessions = Sessions::open(&house, &container, transport);
        let known = starts(&house.audit());
        house.gateway().kill();
        nothing_left(&container);
        sessions.all_end(transport);
        // What ran was written down before, and is still there.
        check_trail(&house.audit());
        assert_eq!(starts(&house.audit()), known);
        house.restart_gateway();
        works(&house, &container);
        check_trail(&house.audit());
    }
    assert_eq!(starts(&house.audit()), 12 + 4);
}

#[test]
fn nothing_outlives_a_killed_agent() {
    let (mut house, container) = house();
    for transport in BOTH {
        let sessions = Sessions::open(&house, &container, transport);
        house.agent().kill();
        nothing_left(&container);
        sessions.all_fail();
        let all_ended = || check_trail(&house.audit()).is_empty();
        assert!(eventually(LIMIT, all_ended), "{:#?}", house.audit());
        house.restart_agent();
        works(&house, &container);
    }
}

#[test]
fn nothing_outlives_gateway_and_agent_killed_together() {
    let (mut house, container) = house();
    let sessions = Sessions::open(&house, &container, Transport::Spdy);
    house.agent().kill();
    house.gateway().kill();
    nothing_left(&container);
    sessions.all_end(Transport::Spdy);
    house.restart_agent();
    house.restart_gateway();
    works(&house, &container);
    check_trail(&house.audit());
}

/// The child of `parent` whose command line has `word`.
fn child_of(parent: u32, word: &str) -> Option<u32> {
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let ppid: u32 = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let named = String::from_utf8_lossy(&line).contains(word);
        (ppid == parent && named).then_some(pid)
    })
}

#[test]
fn an_agent_that_starts_again_ends_what_even_its_guardian_left() {
    let (mut house, container) = house();
    let mut sessions = Sessions::open(&house, &container, Transport::WebSocket);
    let guardian = child_of(house.agent().pid(), "guardian").unwrap();
    assert!(
        run(Command::new("kill").args(["-9", &guardian.to_string()]))
            .status
            .success()
    );
    house.agent().kill();
    sessions.kill();
    house.restart_agent();
    // What has neither mark nor living parent can be known by nobody any more.
    let alone = || {
        container.processes().iter().all(|line| {
            !MARKS
                .iter()
                .any(|mark| !["1006", "1007"].contains(mark) && line.ends_with(mark))
        })
    };
    assert!(
        eventually(LIMIT, alone),
        "still there: {:#?}",
        container.processes()
    );
    works(&house, &container);
}

#[test]
fn a_client_killed_at_any_moment_leaves_nothing() {
    let (house, container) = house();
    for transport in BOTH {
        for delay in (0..400).step_by(20) {
            let script = "setsid sleep 1000 & sleep 1000";
            let arguments = ["exec", "-i", container.name(), "--", "sh", "-c", script];
            let mut program =
                Program::start(&mut house.preferred(transport, &arguments), Input::Endless);
            std::thread::sleep(Duration::from_millis(delay));
            program.kill();
        }
        nothing_left(&container);
        // An exec that was on its way when its client went must not start afterwards either.
        std::thread::sleep(LATE);
        nothing_left(&container);
    }
    assert!(
        eventually(LIMIT, || check_trail(&house.audit()).is_empty()),
        "{:#?}",
        house.audit()
    );
    works(&house, &container);
}

#[test]
fn gateway_and_agent_killed_at_any_moment_leave_nothing() {
    let (mut house, container) = house();
    for (round, delay) in (80..400).step_by(40).enumerate() {
        let script = "setsid sleep 1000 & sleep 1000";
        let arguments = ["exec", container.name(), "--", "sh", "-c", script];
        let transport = BOTH[round % 2];
        let mut programs: Vec<Program> = (0..3)
            .map(|_| Program::start(&mut house.preferred(transport, &arguments), Input::Nothing))
            .collect();
        std::thread::sleep(Duration::from_millis(delay));
        if round % 4 < 2 {
            house.gateway().kill();
        } else {
            house.agent().kill();
        }
        std::thread::sleep(LATE);
        nothing_left(&container);
        programs.iter_mut().for_each(Program::kill);
        house.restart_agent();
        house.restart_gateway();
        check_trail(&house.audit());
    }
    works(&house, &container);
}

#[test]
fn what_a_command_leaves_in_the_background_ends_with_its_session() {
    let (house, container) = house();
    for transport in BOTH {
        let script = "setsid sleep 1000 > /dev/null 2>&1 & sleep 1001 > /dev/null 2>&1 & exit 0";
        let arguments = ["exec", container.name(), "--", "sh", "-c", script];
        let got = finish(
            &mut house.preferred(transport, &arguments),
            Input::Nothing,
            LIMIT,
        );
        assert_eq!(got.code, Some(0), "{}", got.stderr);
        nothing_left(&container);
    }
}

#[test]
fn sessions_of_two_agents_on_one_machine_do_not_end_each_other() {
    let (one, container) = house();
    let arguments = ["exec", container.name(), "--", "sleep", "1000"];
    let mut program = Program::start(
        &mut one.preferred(Transport::WebSocket, &arguments),
        Input::Nothing,
    );
    assert!(eventually(LIMIT, || container.processes().len() == 2));
    let (mut other, _) = house();
    other.restart_agent();
    other.agent().kill();
    std::thread::sleep(LATE);
    assert!(program.is_running(), "{}", program.stderr());
    assert_eq!(container.processes().len(), 2);
}

#[test]
fn a_gateway_told_to_stop_ends_its_sessions_and_writes_that_down() {
    let (mut house, container) = house();
    let sessions = Sessions::open(&house, &container, Transport::Spdy);
    assert!(house.gateway().stop());
    nothing_left(&container);
    sessions.all_fail();
    assert_eq!(check_trail(&house.audit()), BTreeSet::new());
    house.restart_gateway();
    works(&house, &container);
}

#[test]
fn an_agent_told_to_stop_leaves_nothing() {
    let (mut house, container) = house();
    let sessions = Sessions::open(&house, &container, Transport::WebSocket);
    assert!(house.agent().stop());
    nothing_left(&container);
    sessions.all_fail();
    house.restart_agent();
    works(&house, &container);
}

#[test]
fn a_container_that_is_removed_ends_its_sessions() {
    let (house, container) = house();
    let arguments = ["exec", container.name(), "--", "sleep", "1000"];
    let programs = BOTH.map(|transport| {
        Program::start(&mut house.preferred(transport, &arguments), Input::Nothing)
    });
    assert!(eventually(LIMIT, || container.processes().len() == 3));
    drop(container);
    for program in programs {
        let finished = program.finish(LIMIT);
        assert!(finished.code.is_some_and(|code| code != 0), "{finished:?}");
    }
    assert!(
        eventually(LIMIT, || check_trail(&house.audit()).is_empty()),
        "{:#?}",
        house.audit()
    );
}
