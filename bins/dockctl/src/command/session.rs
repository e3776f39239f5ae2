use std::{
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use dockin_core::recording::{
    OpenRecording, RecordingFile, list_recordings, open_recording, recording_key,
};
use dockin_policy::recording::{CastEvent, CastHeader, CastKind, CastReader, Ending, RecordingKey};
use jiff::Timestamp;
use serde_json::json;

use crate::{
    failure::Failure,
    high_args::seconds,
    low_args::{AuditFormat, RecordingArgs, SessionListArgs, SessionReplayArgs},
    printable::printable,
    table::Table,
};

/// A recording to be shown, and how.
#[derive(Debug)]
pub(crate) struct Replay {
    recordings: RecordingArgs,
    session: String,
    /// Times as fast; `None` does not wait.
    speed: Option<f64>,
    from: From,
    idle: Option<Duration>,
    cast: bool,
}

/// Where a replay begins to take its time; all before is shown at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum From {
    Start,
    Command(u64),
    Time(Duration),
}

impl Replay {
    /// Checks what was written.
    pub(crate) fn check(args: SessionReplayArgs) -> Result<Self, Failure> {
        if !args.speed.is_finite() || args.speed < 0.0 {
            return Err(Failure::usage(format!(
                "speed `{}` must be 0 or more",
                args.speed
            )));
        }
        let from = match args.from.as_deref() {
            None => From::Start,
            Some(text) => match text.parse() {
                Ok(number) => From::Command(number),
                Err(_) => From::Time(Duration::from_secs(seconds(text)?)),
            },
        };
        let idle = args.idle.map(Duration::try_from_secs_f64).transpose();
        Ok(Self {
            recordings: args.recordings,
            session: args.session,
            speed: (args.speed > 0.0).then_some(args.speed),
            from,
            idle: idle.map_err(|_| Failure::usage("--idle must be 0 seconds or more"))?,
            cast: args.cast,
        })
    }
}

/// Shows what recordings there are.
pub(crate) fn list(args: &SessionListArgs) -> Result<ExitCode, Failure> {
    let key = key(&args.recordings)?;
    let files = list_recordings(&args.recordings.directory).map_err(failed)?;
    let mut out = io::stdout().lock();
    let printed = match args.output {
        AuditFormat::Table => write_table(&files, key.as_ref(), &mut out),
        AuditFormat::Json => files.iter().try_for_each(|file| {
            let line = match header(file, key.as_ref()) {
                Ok(header) => json!({
                    "session": file.session,
                    "file": file.path,
                    "bytes": file.size,
                    "encrypted": file.encrypted,
                    "time": started(&header),
                    "command": header.command,
                    "by": header.session,
                }),
                Err(failure) => json!({
                    "session": file.session,
                    "file": file.path,
                    "bytes": file.size,
                    "encrypted": file.encrypted,
                    "error": failure.to_string(),
                }),
            };
            writeln!(out, "{line}")
        }),
    };
    printed
        .and_then(|()| out.flush())
        .map_err(|error| Failure::output(&error))?;
    Ok(ExitCode::SUCCESS)
}

fn write_table(
    files: &[RecordingFile],
    key: Option<&RecordingKey>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut table = Table::new();
    table.push(["SESSION", "STARTED", "USER", "TARGET", "BYTES", "COMMAND"]);
    for file in files {
        let size = file.size.to_string();
        match header(file, key) {
            Ok(header) => {
                let session = header.session.clone().unwrap_or_default();
                let target = [
                    &session.cluster,
                    &session.namespace,
                    &session.pod,
                    &session.container,
                ];
                let target: Vec<&str> = target
                    .into_iter()
                    .map(String::as_str)
                    .filter(|part| !part.is_empty())
                    .collect();
                table.push([
                    file.session.as_str(),
                    &started(&header).unwrap_or_else(|| "-".to_owned()),
                    &session.user,
                    &target.join("/"),
                    &size,
                    header.command.as_deref().unwrap_or("-"),
                ]);
            }
            // It is there, and that must be seen.
            Err(failure) => {
                table.push([&file.session, "-", "-", "-", &size, &format!("({failure})")]);
            }
        }
    }
    table.write_to(out)
}

fn header(file: &RecordingFile, key: Option<&RecordingKey>) -> Result<CastHeader, Failure> {
    open_recording(&file.path, key.cloned())
        .and_then(|mut recording| recording.header())
        .map_err(failed)
}

fn started(header: &CastHeader) -> Option<String> {
    let seconds = i64::try_from(header.timestamp?).ok()?;
    Timestamp::from_second(seconds)
        .ok()
        .map(|time| time.to_string())
}

/// Shows a recording as it happened, or prints it.
pub(crate) fn replay(replay: &Replay) -> Result<ExitCode, Failure> {
    let path = find(&replay.recordings.directory, &replay.session)?;
    let mut recording = open_recording(&path, key(&replay.recordings)?).map_err(failed)?;
    let mut out = io::stdout().lock();
    if replay.cast {
        print_cast(&mut recording, &mut out)?;
    } else {
        let terminal = io::stdout().is_terminal();
        let mut player = Player::new(replay, &mut out);
        let played = player.play(&mut recording);
        if terminal {
            // Whatever the session left: colours off, cursor shown.
            let _gone = out.write_all(b"\x1b[0m\x1b[?25h\x1b[?1049l\r\n");
        }
        played?;
    }
    out.flush().map_err(|error| Failure::output(&error))?;
    if let Ending::CutOff { rest } = recording.ending() {
        eprintln!(
            "note: the recording was cut off ({rest} bytes of a block are left): the gateway was \
             killed, or the session goes on"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The cast as a plain file has it, up to its last whole line.
fn print_cast(recording: &mut OpenRecording, out: &mut impl Write) -> Result<(), Failure> {
    let mut open: Vec<u8> = Vec::new();
    while let Some(mut cast) = recording.read().map_err(failed)? {
        open.append(&mut cast);
        let whole = open
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let rest = open.split_off(whole);
        out.write_all(&open)
            .map_err(|error| Failure::output(&error))?;
        open = rest;
    }
    Ok(())
}

struct Player<'a, W> {
    replay: &'a Replay,
    out: &'a mut W,
    /// Whether it takes its time now.
    timed: bool,
    /// When the last event was.
    last: Duration,
    markers: u64,
}

impl<'a, W: Write> Player<'a, W> {
    fn new(replay: &'a Replay, out: &'a mut W) -> Self {
        Self {
            replay,
            out,
            timed: replay.from == From::Start,
            last: Duration::ZERO,
            markers: 0,
        }
    }

    fn play(&mut self, recording: &mut OpenRecording) -> Result<(), Failure> {
        let mut reader = CastReader::new();
        while let Some(cast) = recording.read().map_err(failed)? {
            reader.feed(&cast);
            loop {
                match reader.poll_event() {
                    Ok(Some(event)) => self.show(&event)?,
                    Ok(None) => break,
                    Err(error) => return Err(Failure::local(error.to_string())),
                }
            }
        }
        if let (From::Command(number), false) = (self.replay.from, self.timed) {
            return Err(Failure::local(format!(
                "there is no command {number}: the session has {}",
                self.markers
            )));
        }
        Ok(())
    }

    fn show(&mut self, event: &CastEvent) -> Result<(), Failure> {
        if matches!(event.kind, CastKind::Marker(_)) {
            self.markers += 1;
        }
        let begun = match self.replay.from {
            From::Start => true,
            From::Command(number) => self.markers >= number,
            From::Time(time) => event.time >= time,
        };
        if begun && !self.timed {
            self.timed = true;
            self.last = event.time;
        }
        let gap = event.time.saturating_sub(self.last);
        self.last = event.time;
        if let (true, Some(speed)) = (self.timed, self.replay.speed) {
            let gap = self.replay.idle.map_or(gap, |idle| gap.min(idle));
            if !gap.is_zero() {
                self.out.flush().map_err(|error| Failure::output(&error))?;
                thread::sleep(
                    Duration::try_from_secs_f64(gap.as_secs_f64() / speed).unwrap_or(gap),
                );
            }
        }
        if let CastKind::Output(text) = &event.kind {
            self.out
                .write_all(text.as_bytes())
                .map_err(|error| Failure::output(&error))?;
        }
        Ok(())
    }
}

/// The recording of a session, or the file of that name.
fn find(directory: &Path, session: &str) -> Result<PathBuf, Failure> {
    let path = Path::new(session);
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let files = list_recordings(directory).map_err(failed)?;
    let mut found = files
        .into_iter()
        .filter(|file| file.session.starts_with(session));
    match (found.next(), found.next()) {
        (Some(file), None) => Ok(file.path),
        (Some(_), Some(_)) => Err(Failure::local(format!(
            "`{}` are the first digits of several sessions, give more of them",
            printable(session)
        ))),
        (None, _) => Err(Failure::local(format!(
            "there is no recording of session `{}` in `{}`",
            printable(session),
            directory.display()
        ))),
    }
}

fn key(args: &RecordingArgs) -> Result<Option<RecordingKey>, Failure> {
    args.key
        .as_deref()
        .map(recording_key)
        .transpose()
        .map_err(failed)
}

fn failed(error: dockin_core::Error) -> Failure {
    Failure::local(error.chain())
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use std::fs;

    use dockin_policy::recording::{CastWriter, RecordedSession, Sealer};

    use super::*;

    fn cast() -> Vec<u8> {
        let header = CastHeader {
            version: 3,
            columns: 80,
            rows: 24,
            timestamp: Some(1_700_000_000),
            command: Some("sh".to_owned()),
            session: Some(RecordedSession {
                user: "ann\x1b".to_owned(),
                pod: "web".to_owned(),
                ..RecordedSession::default()
            }),
            ..CastHeader::default()
        };
        let mut cast = CastWriter::new(&header);
        for second in 1..=4_u64 {
            let time = Duration::from_secs(second * 1000);
            cast.marker(time, &format!("{second} allow: x"));
            cast.output(time, format!("out{second} ").as_bytes());
        }
        cast.take()
    }

    fn seal(path: &Path, key: Option<&RecordingKey>, whole: bool) {
        let (mut sealer, mut file) = Sealer::new(key, [1; 32]).unwrap();
        file.extend(sealer.seal(&cast(), whole).unwrap());
        fs::write(path, file).unwrap();
    }

    fn args(directory: &Path) -> SessionReplayArgs {
        SessionReplayArgs {
            recordings: RecordingArgs {
                directory: directory.to_owned(),
                key: None,
            },
            session: "one".to_owned(),
            speed: 0.0,
            from: None,
            idle: None,
            cast: false,
        }
    }

    fn shown(args: SessionReplayArgs) -> Result<String, Failure> {
        let replay = Replay::check(args)?;
        let path = find(&replay.recordings.directory, &replay.session)?;
        let mut recording = open_recording(&path, key(&replay.recordings)?).map_err(failed)?;
        let mut out = Vec::new();
        if replay.cast {
            print_cast(&mut recording, &mut out)?;
        } else {
            Player::new(&replay, &mut out).play(&mut recording)?;
        }
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_replay_shows_all_and_waits_only_from_where_it_was_asked() {
        let folder = tempfile::tempdir().unwrap();
        seal(&folder.path().join("one.cast.zst"), None, true);
        assert_eq!(shown(args(folder.path())).unwrap(), "out1 out2 out3 out4 ");
        // A thousand seconds between events: this would not end if it waited for those before.
        for from in ["4", "4000s"] {
            let from = SessionReplayArgs {
                speed: 1.0,
                from: Some(from.to_owned()),
                ..args(folder.path())
            };
            assert_eq!(shown(from).unwrap(), "out1 out2 out3 out4 ");
        }
        let idle = SessionReplayArgs {
            speed: 1.0,
            idle: Some(0.001),
            ..args(folder.path())
        };
        assert_eq!(shown(idle).unwrap(), "out1 out2 out3 out4 ");
        let beyond = SessionReplayArgs {
            from: Some("9".to_owned()),
            ..args(folder.path())
        };
        assert!(shown(beyond).unwrap_err().to_string().contains("has 4"));
        let printed = SessionReplayArgs {
            cast: true,
            ..args(folder.path())
        };
        assert_eq!(shown(printed).unwrap().into_bytes(), cast());
    }

    #[test]
    fn keys_and_names_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let secret = RecordingKey::new([0xab; 32]);
        seal(&folder.path().join("one.cast.sealed"), Some(&secret), true);
        let error = shown(args(folder.path())).unwrap_err().to_string();
        assert!(error.contains("encrypted with key"), "{error}");
        let file = folder.path().join("key");
        fs::write(&file, "ab".repeat(32)).unwrap();
        let mut with_key = args(folder.path());
        with_key.recordings.key = Some(file.clone());
        let error = shown(with_key).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        std::os::unix::fs::symlink(&file, folder.path().join("link")).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let mut with_key = args(folder.path());
        with_key.recordings.key = Some(file);
        assert!(shown(with_key).unwrap().ends_with("out4 "));
        let other = SessionReplayArgs {
            session: "two".to_owned(),
            ..args(folder.path())
        };
        assert!(shown(other).unwrap_err().to_string().contains("`two`"));
        let fast = SessionReplayArgs {
            speed: f64::NAN,
            ..args(folder.path())
        };
        assert!(shown(fast).is_err());
    }

    #[test]
    fn a_list_names_what_cannot_be_opened_and_is_safe_to_read() {
        let folder = tempfile::tempdir().unwrap();
        seal(&folder.path().join("one.cast.zst"), None, false);
        seal(
            &folder.path().join("two.cast.sealed"),
            Some(&RecordingKey::new([1; 32])),
            true,
        );
        fs::write(folder.path().join("notes.txt"), "x").unwrap();
        let files = list_recordings(folder.path()).unwrap();
        let mut out = Vec::new();
        write_table(&files, None, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(
            lines[1].contains("one   ") && lines[1].contains("2023-11-14T22:13:20Z"),
            "{text}"
        );
        assert!(
            lines[1].contains("ann\\x1b") && lines[1].ends_with("sh"),
            "{text}"
        );
        assert!(lines[2].contains("encrypted with key"), "{text}");
    }
}
