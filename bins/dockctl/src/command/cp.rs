use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use dockin_stream::{ExitStatus, StreamSet};
use tokio::sync::mpsc;

use super::streams::{exit_code, open, signalled};
use crate::{
    archive::{ChunkReader, ChunkWriter, Unpack, pack},
    failure::Failure,
    printable::printable,
    session::{End, Ends, Session, Signals},
    stdio::Output,
    target::{Target, pod_name},
};

/// Files to copy to or from a container.
///
/// As with `cp -R`, a destination that is a folder gets the source put into it; another one
/// becomes the source's new name. It takes a `tar` in the container.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) target: Target,
    /// On this machine.
    pub(crate) local: PathBuf,
    /// In the container.
    pub(crate) remote: String,
    /// From the container to here.
    pub(crate) download: bool,
}

/// One side of a copy as it is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    Local(PathBuf),
    Remote(RemotePlace),
}

/// `POD:PATH` or `NAMESPACE/POD:PATH`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RemotePlace {
    pub(crate) namespace: Option<String>,
    pub(crate) pod: String,
    pub(crate) path: String,
}

impl Place {
    /// A colon makes a place remote, unless the text starts as a path does.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let (Some((pod, path)), false) = (text.split_once(':'), text.starts_with(['/', '.']))
        else {
            if text.is_empty() {
                return Err(Failure::usage("a path is empty"));
            }
            return Ok(Self::Local(PathBuf::from(text)));
        };
        if path.is_empty() {
            return Err(Failure::usage(format!(
                "`{text}` has no path behind the colon"
            )));
        }
        let (namespace, pod) = match pod.split_once('/') {
            Some(("pod" | "pods" | "po", name)) => (None, name),
            Some((namespace, pod)) if !namespace.is_empty() => (Some(namespace.to_owned()), pod),
            _ => (None, pod),
        };
        Ok(Self::Remote(RemotePlace {
            namespace,
            pod: pod_name(pod)?,
            path: path.to_owned(),
        }))
    }
}

/// Copies. The whole source arrives, or there is a failure.
pub(crate) async fn run(copy: Copy) -> Result<ExitCode, Failure> {
    if copy.download {
        download(copy).await
    } else {
        upload(copy).await
    }
}

/// Chunks on their way between the session and a file thread.
const DEPTH: usize = 8;

async fn download(copy: Copy) -> Result<ExitCode, Failure> {
    let (folder, name) = split_remote(&copy.remote);
    // `./` keeps a name that starts with a dash from being an option.
    let command = ["tar", "cf", "-", "-C", &folder, &format!("./{name}")].map(str::to_owned);
    let (parent, place) = local_destination(&copy.local, &name)?;
    let unpack = Unpack::new(
        &parent,
        place.as_deref(),
        &prefix(&name),
        |warning: String| {
            eprintln!("warning: {}", printable(&warning));
        },
    )
    .map_err(|error| Failure::local(format!("cannot write to `{}`: {error}", parent.display())))?;
    let streams = StreamSet {
        stdin: false,
        stdout: true,
        stderr: true,
        tty: false,
    };
    let endpoint = open(&copy.target, "exec", &command, streams).await?;
    let (stdout, archive) = mpsc::channel(DEPTH);
    let unpacking = tokio::task::spawn_blocking(move || unpack.run(ChunkReader::new(archive)));
    let stderr = Output::stderr()?;
    let ends = Ends {
        stdin: None,
        stdout: stdout.into(),
        stderr: stderr.outlet.clone(),
    };
    let (end, _) = Session::new(endpoint, ends, None, Signals::new()?)
        .run()
        .await;
    stderr.finish().await?;
    if let End::Signalled(number) = end {
        return Ok(ExitCode::from(signalled(number)));
    }
    let unpacked = unpacking
        .await
        .map_err(|_| Failure::local("the writing thread died"))?;
    // A lost connection or a failed tar is the cause of an archive that ends early.
    match end {
        End::Exit(status) => check_tar(status)?,
        End::Lost(why) => return Err(Failure::gateway(why)),
        End::Signalled(_) | End::Disconnected | End::OutputClosed => {}
    }
    match unpacked {
        Ok(0) => Err(Failure::gateway(format!(
            "nothing came of `{}`",
            copy.remote
        ))),
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::local(format!("cannot copy: {error}"))),
    }
}

async fn upload(copy: Copy) -> Result<ExitCode, Failure> {
    let unreadable = |error: io::Error| {
        Failure::local(format!("cannot read `{}`: {error}", copy.local.display()))
    };
    copy.local.metadata().map_err(unreadable)?;
    let (folder, name) = if is_folder(&copy.target, &copy.remote).await? {
        // `.` and `..` have a name of their own somewhere.
        let name = match copy.local.file_name() {
            Some(name) => name.to_owned(),
            None => copy
                .local
                .canonicalize()
                .map_err(unreadable)?
                .file_name()
                .ok_or_else(|| Failure::usage("the root folder has no name to copy it under"))?
                .to_owned(),
        };
        (dashless(copy.remote.trim_end_matches('/')), name)
    } else {
        let (folder, name) = split_remote(&copy.remote);
        (folder, OsString::from(name))
    };
    let folder = if folder.is_empty() {
        "/".to_owned()
    } else {
        folder
    };
    // -m: times of this machine's clock mean nothing there; -p: permissions as they are here.
    let command = ["tar", "xmpf", "-", "-C", &folder].map(str::to_owned);
    let streams = StreamSet {
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
    };
    let endpoint = open(&copy.target, "exec", &command, streams).await?;
    let (archive, stdin) = mpsc::channel(DEPTH);
    let local = copy.local.clone();
    let packing = tokio::task::spawn_blocking(move || {
        pack(&local, &name, ChunkWriter::new(archive), |path| {
            let path = path.display().to_string();
            eprintln!(
                "warning: left out `{}`: it is neither file, folder nor link",
                printable(&path)
            );
        })
    });
    let stdout = Output::stdout()?;
    let stderr = Output::stderr()?;
    let ends = Ends {
        stdin: Some(stdin.into()),
        stdout: stdout.outlet.clone(),
        stderr: stderr.outlet.clone(),
    };
    let (end, _) = Session::new(endpoint, ends, None, Signals::new()?)
        .run()
        .await;
    stdout.finish().await?;
    stderr.finish().await?;
    if let End::Signalled(number) = end {
        return Ok(ExitCode::from(signalled(number)));
    }
    let packed = packing
        .await
        .map_err(|_| Failure::local("the reading thread died"))?;
    match packed {
        // The other side went away in the middle, and says why.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Failure::local(format!("cannot copy: {error}")));
        }
        Ok(()) | Err(_) => {}
    }
    match end {
        End::Exit(status) => check_tar(status)?,
        End::Lost(why) => return Err(Failure::gateway(why)),
        End::Signalled(_) | End::Disconnected | End::OutputClosed => {}
    }
    match packed {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(_) => Err(Failure::gateway(
            "tar in the container ended before the copy was whole",
        )),
    }
}

/// A failure unless the tar in the container says that all went well.
fn check_tar(status: ExitStatus) -> Result<(), Failure> {
    match status {
        ExitStatus::Exited(0) => Ok(()),
        ExitStatus::Exited(code @ (126 | 127)) => Err(Failure::gateway(format!(
            "there is no tar in the container that can be run (exit code {code}), which cp needs"
        ))),
        ExitStatus::Exited(code) => Err(Failure::gateway(format!(
            "tar in the container failed with exit code {code}"
        ))),
        failed @ ExitStatus::Failed(_) => exit_code(failed).map(|_| ()),
    }
}

/// Whether `path` is a folder in the container. A slash at the end says so without asking.
async fn is_folder(target: &Target, path: &str) -> Result<bool, Failure> {
    if path.ends_with('/') {
        return Ok(true);
    }
    let command = ["test", "-d", path].map(str::to_owned);
    let streams = StreamSet {
        stdin: false,
        stdout: true,
        stderr: true,
        tty: false,
    };
    let endpoint = open(target, "exec", &command, streams).await?;
    // Nothing it may say matters.
    let (sink, mut said) = mpsc::channel(DEPTH);
    let listening = tokio::spawn(async move { while said.recv().await.is_some() {} });
    let ends = Ends {
        stdin: None,
        stdout: sink.clone().into(),
        stderr: sink.into(),
    };
    let (end, _) = Session::new(endpoint, ends, None, Signals::new()?)
        .run()
        .await;
    // Ends with the channel; it cannot fail.
    let _ended = listening.await;
    match end {
        End::Exit(ExitStatus::Exited(code)) => Ok(code == 0),
        End::Exit(failed) => exit_code(failed).map(|_| false),
        End::Lost(why) => Err(Failure::gateway(why)),
        End::Signalled(_) | End::Disconnected | End::OutputClosed => {
            Err(Failure::gateway("interrupted"))
        }
    }
}

/// The folder of a path in the container, and the name in it; `.` for what has no name.
fn split_remote(path: &str) -> (String, String) {
    let path = match path.trim_end_matches('/') {
        "" => "/",
        trimmed => trimmed,
    };
    let (folder, name) = match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((folder, name)) => (folder, name),
        None => (".", path),
    };
    if matches!(name, "" | "." | "..") {
        return (dashless(path), ".".to_owned());
    }
    (dashless(folder), name.to_owned())
}

/// `path` so that it cannot be taken for an option.
fn dashless(path: &str) -> String {
    if path.starts_with('-') {
        format!("./{path}")
    } else {
        path.to_owned()
    }
}

/// What the names in the archive of `name` start with.
fn prefix(name: &str) -> PathBuf {
    if name == "." {
        PathBuf::new()
    } else {
        PathBuf::from(name)
    }
}

/// The folder to write to and the name in it, for what is called `name` in the container.
fn local_destination(local: &Path, name: &str) -> Result<(PathBuf, Option<OsString>), Failure> {
    if local.is_dir() {
        let place = (name != ".").then(|| OsString::from(name));
        return Ok((local.to_owned(), place));
    }
    let wrong = || Failure::usage(format!("`{}` is no place to copy to", local.display()));
    if local.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Failure::local(format!(
            "there is no folder `{}`",
            local.display()
        )));
    }
    let place: &OsStr = local.file_name().ok_or_else(wrong)?;
    let parent = match local.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok((parent.to_owned(), Some(place.to_owned())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::path::PathBuf;

    use super::{Place, RemotePlace, local_destination, split_remote};

    fn remote(namespace: Option<&str>, pod: &str, path: &str) -> Place {
        Place::Remote(RemotePlace {
            namespace: namespace.map(str::to_owned),
            pod: pod.to_owned(),
            path: path.to_owned(),
        })
    }

    #[test]
    fn a_colon_makes_a_place_remote() {
        for (text, expected) in [
            ("file", Place::Local(PathBuf::from("file"))),
            ("./a:b", Place::Local(PathBuf::from("./a:b"))),
            ("/a:b", Place::Local(PathBuf::from("/a:b"))),
            ("web-1:/etc", remote(None, "web-1", "/etc")),
            ("dev/web-1:a:b", remote(Some("dev"), "web-1", "a:b")),
            ("pod/web-1:x", remote(None, "web-1", "x")),
        ] {
            assert_eq!(Place::parse(text).unwrap(), expected);
        }
        for text in ["", "web-1:", ":/etc", "a/b/c:/etc"] {
            assert!(Place::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_remote_path_is_a_folder_and_a_name() {
        for (path, folder, name) in [
            ("/etc/hosts", "/etc", "hosts"),
            ("/etc/", "/", "etc"),
            ("hosts", ".", "hosts"),
            ("a/b", "a", "b"),
            ("/", "/", "."),
            ("/tmp/.", "/tmp/.", "."),
            ("-x/-y", "./-x", "-y"),
        ] {
            assert_eq!(
                split_remote(path),
                (folder.to_owned(), name.to_owned()),
                "{path}"
            );
        }
    }

    #[test]
    fn a_folder_gets_the_source_put_into_it() {
        let folder = tempfile::tempdir().unwrap();
        let place = |path, name| {
            let (parent, place) = local_destination(path, name).unwrap();
            (parent, place.map(|place| place.into_string().unwrap()))
        };
        let here = folder.path().to_owned();
        assert_eq!(
            place(&here, "hosts"),
            (here.clone(), Some("hosts".to_owned()))
        );
        assert_eq!(place(&here, "."), (here.clone(), None));
        assert_eq!(
            place(&here.join("new"), "hosts"),
            (here.clone(), Some("new".to_owned()))
        );
        assert!(local_destination(&here.join("none/"), "hosts").is_err());
    }
}
