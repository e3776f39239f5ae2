//! `dockin-cni install`: the plugins and their configuration to where a runtime looks for them.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{self, ExitCode},
};

use dockin_net::{NetworkName, cni::Json};

const USAGE: &str = "\
usage: dockin-cni install [--bin-dir DIRECTORY] [--networks-dir DIRECTORY] [--network FILE]...
                          [--secrets-dir DIRECTORY] [--secret FILE]...
                          [--conf-dir DIRECTORY] [--conf FILE]

  --bin-dir        where plugins go: dockin-cni, dockin-bridge, dockin-ipam, dockin-ipam-store,
                   dockin-ask; /opt/cni/bin
  --network        a network's file, for --networks-dir; /etc/cni/dockin/net.d
  --secret         a file that root alone may read, such as the token for the resource manager, for
                   --secrets-dir; /etc/cni/dockin
  --conf           the runtime's configuration, for --conf-dir; /etc/cni/net.d

Every file is put in its place at once, the runtime's configuration last.
";

/// The names under which this program is installed.
const NAMES: [&str; 2] = ["dockin-cni", "dockin-bridge"];
/// The programs beside it that are installed as well.
const NEIGHBOURS: [&str; 3] = ["dockin-ipam", "dockin-ipam-store", "dockin-ask"];

/// Whom a secret is for: its owner, who is root.
const SECRET: u32 = 0o600;

/// Installs as the words say.
pub(crate) fn run(words: &[String]) -> io::Result<ExitCode> {
    let mut bin_dir = PathBuf::from("/opt/cni/bin");
    let mut networks_dir = PathBuf::from("/etc/cni/dockin/net.d");
    let mut secrets_dir = PathBuf::from("/etc/cni/dockin");
    let mut conf_dir = PathBuf::from("/etc/cni/net.d");
    let (mut networks, mut secrets, mut conf) = (Vec::new(), Vec::new(), None);
    if let Some("--help" | "-h") = words.first().map(String::as_str) {
        print!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let known = matches!(
            word.as_str(),
            "--bin-dir"
                | "--networks-dir"
                | "--network"
                | "--secrets-dir"
                | "--secret"
                | "--conf-dir"
                | "--conf"
        );
        let value = match words.next() {
            Some(value) if known => PathBuf::from(value),
            _ => {
                eprint!("{USAGE}");
                return Ok(ExitCode::from(2));
            }
        };
        match word.as_str() {
            "--bin-dir" => bin_dir = value,
            "--networks-dir" => networks_dir = value,
            "--conf-dir" => conf_dir = value,
            "--network" => networks.push(value),
            "--secrets-dir" => secrets_dir = value,
            "--secret" => secrets.push(value),
            _ => conf = Some(value),
        }
    }
    for file in networks.iter().chain(&conf) {
        check(file)?;
    }
    let this = std::env::current_exe()?;
    for name in NAMES {
        put(&this, &bin_dir, name, None)?;
    }
    for name in NEIGHBOURS {
        put(&this.with_file_name(name), &bin_dir, name, None)?;
    }
    for network in &networks {
        put(network, &networks_dir, &own_name(network)?, None)?;
    }
    for secret in &secrets {
        put(secret, &secrets_dir, &own_name(secret)?, Some(SECRET))?;
    }
    // With this file the runtime begins to call what is there by now.
    if let Some(conf) = &conf {
        put(conf, &conf_dir, &own_name(conf)?, None)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A configuration that the runtime could not read would stop every pod of the node.
fn check(file: &Path) -> io::Result<()> {
    let wrong = |error: &dyn std::fmt::Display| {
        let what = format!("{}: {error}", file.display());
        io::Error::new(ErrorKind::InvalidData, what)
    };
    let text = fs::read(file).map_err(|error| wrong(&error))?;
    let config = Json::parse(&text).map_err(|error| wrong(&error))?;
    let name = config.root().get("name").and_then(|name| {
        let name = name.string()?.unwrap_or_default();
        Ok(NetworkName::parse(name).map(drop))
    });
    let name = name.map_err(|error| wrong(&error))?;
    name.map_err(|error| wrong(&format_args!("`name`: {error}")))
}

/// Copies a file beside its place and renames it: a plugin that is being run stays as it is, and
/// nobody sees half of a file.
fn put(from: &Path, directory: &Path, name: &str, mode: Option<u32>) -> io::Result<()> {
    let place = directory.join(name);
    let beside = directory.join(format!(".{name}.{}", process::id()));
    let copy = || {
        fs::create_dir_all(directory)?;
        if let Some(mode) = mode {
            // At no time may others read it.
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(mode);
            io::copy(&mut fs::File::open(from)?, &mut options.open(&beside)?)?;
        } else {
            fs::copy(from, &beside)?;
        }
        fs::File::open(&beside)?.sync_all()?;
        fs::rename(&beside, &place)
    };
    copy().map_err(|error| {
        let _ = fs::remove_file(&beside);
        let what = format!("{} to {}: {error}", from.display(), place.display());
        io::Error::new(error.kind(), what)
    })?;
    println!("{}", place.display());
    Ok(())
}

fn own_name(path: &Path) -> io::Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned)
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "a file's path ends in its name"))
}
