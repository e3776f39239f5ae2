use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Host, http, io_error, replace, sync_names};
use crate::{
    StoreError,
    cni::Environment,
    ipam,
    meta::{NoAnswer, Ran, World},
};

/// A plugin that is written right now is tried for a second.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(50);

impl World for Host {
    fn is_own_namespace(&mut self, path: &str) -> bool {
        ipam::World::is_own_namespace(self, path)
    }

    fn ask(&mut self, url: &str) -> Result<Vec<u8>, NoAnswer> {
        http::get(url)
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
        let opened = OpenOptions::new().create(true).append(true).open(file);
        let line = line.escape_debug();
        let _ = opened.and_then(|mut file| file.write_all(format!("{now} {line}\n").as_bytes()));
    }
}

fn path(directory: &str, name: &str) -> PathBuf {
    Path::new(directory).join(name)
}
