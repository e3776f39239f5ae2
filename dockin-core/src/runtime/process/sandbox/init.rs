use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio, exit},
    thread,
};

use nix::{
    errno::Errno,
    sys::wait::{WaitStatus, wait},
    unistd::sethostname,
};
use rustix::process::{Signal, set_parent_process_death_signal, setsid};

use super::{PID1, READY_LINE, mounts, step, text, user};

/// Makes the namespaces and process 1, and waits for its end.
pub(super) fn init(arguments: &[OsString]) -> Result<u8, String> {
    step(setsid(), "cannot leave the terminal")?;
    user::leave_root()?;
    user::make_namespaces()?;
    // Standard input, whose end is the agent's end, is for process 1.
    let mut child = step(
        Command::new("/proc/self/exe")
            .arg0("dockin-init")
            .arg(PID1)
            .args(arguments)
            .spawn(),
        "cannot start process 1",
    )?;
    let status = step(child.wait(), "cannot wait for process 1")?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(137))
}

/// Process 1: furnishes the sandbox, then runs the main process and reaps.
pub(super) fn pid1(arguments: &[OsString]) -> Result<u8, String> {
    step(
        set_parent_process_death_signal(Some(Signal::KILL)),
        "cannot follow the parent",
    )?;
    let root = Path::new(text(arguments, 0)?);
    let pod = text(arguments, 1)?;
    // This is still the machine's /proc, and knows the machine's pid.
    let pid = step(fs::read_link("/proc/self"), "/proc cannot be read")?;
    mounts::furnish(root, pod)?;
    step(sethostname(pod), "cannot set the host name")?;
    user::drop_capabilities()?;
    let command = arguments.get(2..).unwrap_or_default();
    main_process(&pid.to_string_lossy(), command, Path::new("/data"))
}

/// The main process without namespaces, in `<root>/data`.
pub(super) fn plain(arguments: &[OsString]) -> Result<u8, String> {
    step(setsid(), "cannot leave the terminal")?;
    user::leave_root()?;
    let root = Path::new(text(arguments, 0)?);
    step(
        nix::sys::prctl::set_child_subreaper(true),
        "cannot adopt orphans",
    )?;
    let pid = std::process::id().to_string();
    main_process(
        &pid,
        arguments.get(2..).unwrap_or_default(),
        &root.join("data"),
    )
}

fn main_process(pid: &str, command: &[OsString], directory: &Path) -> Result<u8, String> {
    user::receive_signals()?;
    let [program, arguments @ ..] = command else {
        return Err("the main process has no command".to_owned());
    };
    let mut stdout = io::stdout();
    step(
        writeln!(stdout, "{READY_LINE} {pid}").and_then(|()| stdout.flush()),
        "cannot tell that the sandbox is ready",
    )?;
    let child = step(
        Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .process_group(0)
            .spawn(),
        "cannot start the main process",
    )?;
    let main = child.id();
    step(
        thread::Builder::new().spawn(|| {
            // The pipe ends when the agent does.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            exit(137);
        }),
        "cannot watch the agent",
    )?;
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if is(pid, main) => {
                return Ok(u8::try_from(code & 0xff).unwrap_or(u8::MAX));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if is(pid, main) => {
                return Ok(u8::try_from(128 + signal as i32).unwrap_or(u8::MAX));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(format!("cannot wait: {error}")),
        }
    }
}

fn is(pid: nix::unistd::Pid, main: u32) -> bool {
    u32::try_from(pid.as_raw()) == Ok(main)
}
