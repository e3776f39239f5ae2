use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use crate::failure::Failure;

/// Puts `token` into the file at `path`, which only its owner can read, in one step: a reader sees
/// the old token or the new one. What was there, a link too, is replaced and not written through.
pub(super) fn write(path: &Path, token: &str) -> Result<(), Failure> {
    replace(path, token).map_err(|error| {
        Failure::local(format!(
            "cannot write token file `{}`: {error}",
            path.display()
        ))
    })
}

fn replace(path: &Path, token: &str) -> io::Result<()> {
    let mut scratch = path.as_os_str().to_owned();
    scratch.push(format!(".{}.new", std::process::id()));
    let scratch = Path::new(&scratch);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(scratch)?;
    let written = file
        .write_all(token.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(scratch, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _left = fs::remove_file(scratch);
    }
    written?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::write;

    #[test]
    fn a_token_is_for_its_owner_whatever_was_there_before() {
        let folder = tempfile::tempdir().unwrap();
        let (path, public) = (folder.path().join("token"), folder.path().join("public"));
        fs::write(&public, "old").unwrap();
        fs::set_permissions(&public, fs::Permissions::from_mode(0o666)).unwrap();
        std::os::unix::fs::symlink(&public, &path).unwrap();
        write(&path, "s3cret").unwrap();
        let kind = fs::symlink_metadata(&path).unwrap();
        assert_eq!(
            (kind.is_file(), kind.permissions().mode() & 0o777),
            (true, 0o600)
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "s3cret\n");
        assert_eq!(fs::read_to_string(&public).unwrap(), "old");
        write(&path, "n3w").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "n3w\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_failure_names_the_file_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        // A folder cannot be replaced by a file.
        let error = write(folder.path(), "s3cret").unwrap_err().to_string();
        let name = folder.path().display().to_string();
        assert!(
            error.contains(&name) && !error.contains("s3cret"),
            "{error}"
        );
        let left = fs::read_dir(folder.path().parent().unwrap()).unwrap();
        let base = folder
            .path()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let names: Vec<String> = left
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        assert!(
            !names
                .iter()
                .any(|name| name.starts_with(&base) && name.ends_with(".new"))
        );
    }
}
