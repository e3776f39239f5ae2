use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{catalog::Found, host_process};

/// A running container as its low-level runtime knows it.
///
/// Found from its main process: the parent of that is containerd's shim, whose working directory
/// is the container's bundle (`config.json`, and `options.json` that says which runtime keeps its
/// state where; containerd `core/runtime/v2/bundle.go`).
pub(super) struct Bundle {
    id: String,
    main_process: u32,
    /// The runtime's program.
    pub(super) program: String,
    /// The runtime's `--root`.
    pub(super) root: PathBuf,
    /// `process` of the container's `config.json`.
    process: Value,
}

/// What the shim was told of the runtime (`runc` options of containerd).
#[derive(Deserialize)]
struct Options {
    #[serde(default)]
    binary_name: String,
    root: PathBuf,
}

/// The parts of `config.json` (OCI runtime specification) that matter here.
#[derive(Deserialize)]
struct Config {
    process: Value,
    #[serde(default)]
    linux: Linux,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Linux {
    uid_mappings: Option<Vec<Value>>,
}

impl Bundle {
    /// The container's bundle; `None` when it is not of a kind that is known to work.
    pub(super) fn find(found: &Found) -> Option<Self> {
        let main_process = found.main_process?;
        // The number is as old as the catalog.
        host_process::check(main_process, &found.id).ok()?;
        let shim = parent(main_process).filter(|shim| *shim > 1)?;
        let directory = fs::read_link(format!("/proc/{shim}/cwd")).ok()?;
        Self::read(&directory, &found.id, main_process)
    }

    fn read(directory: &Path, id: &str, main_process: u32) -> Option<Self> {
        if directory.file_name()? != id {
            return None;
        }
        // In containerd's words; every namespace has a folder of its own below the root.
        let namespace = directory.parent()?.file_name()?;
        let options: Options = read_json(&directory.join("options.json"))?;
        let config: Config = read_json(&directory.join("config.json"))?;
        let program = if options.binary_name.is_empty() {
            "runc".to_owned()
        } else {
            options.binary_name
        };
        let known = matches!(
            Path::new(&program).file_name()?.to_str()?,
            "runc" | "docker-runc"
        );
        let remapped = config
            .linux
            .uid_mappings
            .is_some_and(|mappings| !mappings.is_empty());
        let root = options.root.join(namespace);
        let usable = known && !remapped && root.join(id).join("state.json").exists();
        usable.then(|| Self {
            id: id.to_owned(),
            main_process,
            program,
            root,
            process: config.process,
        })
    }

    /// The container's id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Process 1 of the container, as the host numbers it.
    pub(super) const fn main_process(&self) -> u32 {
        self.main_process
    }

    /// The description of a process like the container's own that runs `argv` with `marks` in its
    /// environment, as `docker exec` would make it (Moby `daemon/exec_linux.go`).
    pub(super) fn process(
        &self,
        argv: &[String],
        marks: Vec<(String, String)>,
        tty: bool,
    ) -> Value {
        let mut process = self.process.clone();
        let inherited = process.get("env").and_then(Value::as_array);
        let inherited = inherited.into_iter().flatten().filter_map(Value::as_str);
        let mut environment: Vec<String> = inherited.map(str::to_owned).collect();
        if tty && !environment.iter().any(|entry| entry.starts_with("TERM=")) {
            environment.push("TERM=xterm".to_owned());
        }
        for (name, value) in marks {
            environment.retain(|entry| !entry.starts_with(&format!("{name}=")));
            environment.push(format!("{name}={value}"));
        }
        if let Some(process) = process.as_object_mut() {
            process.insert("args".to_owned(), json!(argv));
            process.insert("env".to_owned(), json!(environment));
            process.insert("terminal".to_owned(), json!(tty));
            process.remove("consoleSize");
        }
        process
    }
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

fn read_json<T: for<'a> Deserialize<'a>>(file: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use std::{fs, path::Path};

    use serde_json::{Value, json};

    use super::Bundle;

    fn write(directory: &Path, options: &Value, config: &Value) {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join("options.json"), options.to_string()).unwrap();
        fs::write(directory.join("config.json"), config.to_string()).unwrap();
    }

    #[test]
    fn only_what_is_known_to_work_is_taken() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("runtime-runc");
        let directory = scratch.path().join("task/moby/abc");
        fs::create_dir_all(root.join("moby/abc")).unwrap();
        fs::write(root.join("moby/abc/state.json"), "{}").unwrap();
        let good = json!({ "binary_name": "/usr/bin/runc", "root": root });
        let config = json!({ "process": {}, "linux": {} });
        let read = |id: &str| Bundle::read(&directory, id, 7);
        write(&directory, &good, &config);
        assert_eq!(read("abc").unwrap().root, root.join("moby"));
        assert!(read("abd").is_none(), "the folder of another container");
        for (options, config) in [
            (
                json!({ "binary_name": "kata-runtime", "root": root }),
                config.clone(),
            ),
            (
                json!({ "binary_name": "runc", "root": "/nowhere" }),
                config.clone(),
            ),
            (json!({ "binary_name": "runc" }), config),
            (
                good,
                json!({ "process": {}, "linux": { "uidMappings": [{ "hostID": 1 }] } }),
            ),
        ] {
            write(&directory, &options, &config);
            assert!(read("abc").is_none(), "{options} {config}");
        }
    }

    #[test]
    fn a_process_is_the_containers_own_with_another_command() {
        let own = json!({
            "user": { "uid": 7 }, "args": ["sleep"], "cwd": "/srv", "terminal": true,
            "env": ["PATH=/bin", "DOCKIN_SESSION=forged"], "consoleSize": { "height": 1 },
            "capabilities": { "bounding": ["CAP_KILL"] }, "noNewPrivileges": true,
        });
        let bundle = Bundle {
            id: "abc".to_owned(),
            main_process: 7,
            program: "runc".to_owned(),
            root: "/run".into(),
            process: own.clone(),
        };
        let argv = ["sh".to_owned(), "-c".to_owned(), "\"".to_owned()];
        let marks = vec![("DOCKIN_SESSION".to_owned(), "1".to_owned())];
        let process = bundle.process(&argv, marks.clone(), false);
        assert_eq!(process["args"], json!(argv));
        assert_eq!(process["env"], json!(["PATH=/bin", "DOCKIN_SESSION=1"]));
        assert_eq!(process["terminal"], false);
        for kept in ["user", "cwd", "capabilities", "noNewPrivileges"] {
            assert_eq!(process[kept], own[kept], "{kept}");
        }
        assert!(process.get("consoleSize").is_none());
        let process = bundle.process(&argv, marks, true);
        assert_eq!(process["env"][1], "TERM=xterm");
    }
}
