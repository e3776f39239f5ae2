use std::{
    any::Any,
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Host, ask, io_error, replace, sync_names};
use crate::{
    StoreError, Timestamp,
    cni::Environment,
    ipam,
    meta::{NoAnswer, Ran, Trust, World},
};

/// A plugin that is written right now is tried for a second.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// Attachments are locked by the number of their name: few wait for another one's.
const LOCKS: u32 = 64;
/// Bytes of a log file, and how many full ones are kept.
const MAX_LOG: u64 = 10 * 1024 * 1024;
const LOGS: u32 = 3;

impl World for Host {
    fn is_own_namespace(&mut self, path: &str) -> bool {
        ipam::World::is_own_namespace(self, path)
    }

    fn now(&mut self) -> Timestamp {
        ipam::World::now(self)
    }

    fn has_namespace(&mut self, path: &str) -> bool {
        Path::new(path).exists()
    }

    fn ask(&mut self, url: &str, trust: &Trust) -> Result<Vec<u8>, NoAnswer> {
        ask::ask(url, trust)
    }

    fn network_files(&mut self, directory: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let directory = Path::new(directory);
        let wrong = |error| io_error(directory, &error);
        let mut files = Vec::new();
        for entry in fs::read_dir(directory).map_err(wrong)? {
            let path = entry.map_err(wrong)?.path();
            let kind = path.extension().and_then(|it| it.to_str());
            if matches!(kind, Some("conf" | "json" | "conflist")) && path.is_file() {
                let content = fs::read(&path).map_err(|error| io_error(&path, &error))?;
                let name = path
                    .file_name()
                    .map(|name| name.to_string_lossy().into_owned());
                files.push((name.unwrap_or_default(), content));
            }
        }
        files.sort();
        Ok(files)
    }

    fn find(&mut self, plugin: &str, directories: &[String]) -> Option<String> {
        let paths = directories.iter().map(|it| Path::new(it).join(plugin));
        let mut found = paths.filter(|path| path.is_file());
        found.next().map(|path| path.display().to_string())
    }

    #[cfg(feature = "netlink")]
    fn bridge(&mut self, environment: &Environment, stdin: &[u8]) -> Option<Ran> {
        let mut machine = super::BridgeHost::default();
        Some(super::netlink::ran(crate::bridge::run(
            environment,
            stdin,
            &mut machine,
        )))
    }

    #[cfg(feature = "netlink")]
    fn has_bridge(&self) -> bool {
        true
    }

    fn execute(
        &mut self,
        program: &str,
        environment: &Environment,
        stdin: &[u8],
    ) -> Result<Ran, StoreError> {
        let wrong = |error| io_error(Path::new(program), &error);
        let mut command = Command::new(program);
        command
            .envs([
                ("CNI_COMMAND", &environment.command),
                ("CNI_CONTAINERID", &environment.container_id),
                ("CNI_NETNS", &environment.netns),
                ("CNI_IFNAME", &environment.ifname),
                ("CNI_ARGS", &environment.args),
                ("CNI_PATH", &environment.path),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // A plugin that is being copied into its place can be run in a moment.
        let mut tries = 1;
        let mut child = loop {
            match command.spawn() {
                Err(error)
                    if error.kind() == ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES =>
                {
                    sleep(BUSY_PAUSE);
                    tries += 1;
                }
                spawned => break spawned.map_err(wrong)?,
            }
        };
        if let Some(mut pipe) = child.stdin.take() {
            match pipe.write_all(stdin) {
                // It may answer without reading everything.
                Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(wrong(error)),
                _ => {}
            }
        }
        let output = child.wait_with_output().map_err(wrong)?;
        Ok(Ran {
            stdout: output.stdout,
            success: output.status.success(),
        })
    }

    fn lock(&mut self, directory: &str, name: &str) -> Result<Box<dyn Any>, StoreError> {
        // Files of locks cannot be removed without a race, so there is a fixed number of them.
        let number = crc32fast::hash(name.as_bytes()) % LOCKS;
        let directory = Path::new(directory).join("locks").join(number.to_string());
        Ok(Box::new(super::lock(&directory)?))
    }

    fn read_record(&mut self, directory: &str, name: &str) -> Result<Option<String>, StoreError> {
        let path = path(directory, name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(&path, &error)),
        }
    }

    fn write_record(&mut self, directory: &str, name: &str, text: &str) -> Result<(), StoreError> {
        let path = path(directory, name);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io_error(&path, &ErrorKind::InvalidInput.into()));
        };
        fs::create_dir_all(parent).map_err(|error| io_error(parent, &error))?;
        replace(parent, &name.to_string_lossy(), text.as_bytes())?;
        sync_names(parent)
    }

    fn remove_record(&mut self, directory: &str, name: &str) -> Result<(), StoreError> {
        let path = path(directory, name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error(&path, &error)),
            _ => Ok(()),
        }
    }

    fn record_names(&mut self, directory: &str, prefix: &str) -> Result<Vec<String>, StoreError> {
        let path = path(directory, prefix);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error(&path, &error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| io_error(&path, &error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // What starts with a dot is a record that was not finished.
            if !name.starts_with('.') {
                names.push(format!("{prefix}{name}"));
            }
        }
        names.sort();
        Ok(names)
    }

    fn log(&mut self, file: &str, line: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |it| it.as_secs());
        let line = format!("{now} {}\n", line.escape_debug());
        // What cannot be logged fails nothing else.
        let _ = append(Path::new(file), line.as_bytes(), MAX_LOG);
    }
}

/// Appends to a file, which makes room when it is full: `file` becomes `file.1`, that `file.2`.
fn append(path: &Path, line: &[u8], max: u64) -> io::Result<()> {
    let open = || OpenOptions::new().create(true).append(true).open(path);
    let mut file = open()?;
    if file.metadata()?.len() >= max {
        // Others do the same: whoever has the lock and still finds the full file turns it.
        file.lock()?;
        let here = fs::metadata(path).map(|it| it.ino()).ok();
        if here == Some(file.metadata()?.ino()) {
            let numbered = |number: u32| format!("{}.{number}", path.display());
            for number in (1..LOGS).rev() {
                let _ = fs::rename(numbered(number), numbered(number + 1));
            }
            fs::rename(path, numbered(1))?;
        }
        file = open()?;
    }
    file.write_all(line)
}

fn path(directory: &str, name: &str) -> PathBuf {
    Path::new(directory).join(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::append;

    #[test]
    fn a_full_log_is_turned_and_three_of_them_are_kept() {
        let name = format!("dockin-log-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("log");
        for number in 0..60 {
            append(&path, format!("line {number:04}\n").as_bytes(), 100).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["log", "log.1", "log.2", "log.3"]);
        let older = fs::read_to_string(directory.join("log.1")).unwrap();
        let newer = fs::read_to_string(&path).unwrap();
        assert!(
            newer.ends_with("line 0059\n") && older < newer,
            "{older}{newer}"
        );
        fs::remove_dir_all(directory).unwrap();
    }
}
