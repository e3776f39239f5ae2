//! The files that a trail consists of.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The files of the trail whose newest is at `path`, oldest first.
///
/// A full file is renamed to `STEM.FIRST.EXTENSION`, where `FIRST` is the number of its first
/// record in twelve digits or more: `audit.000000000001.jsonl` before `audit.jsonl`.
///
/// # Errors
///
/// The folder cannot be read.
pub fn trail_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = rotated(path)?;
    files.sort_unstable();
    let mut files: Vec<PathBuf> = files.into_iter().map(|(_, path)| path).collect();
    if path.try_exists()? {
        files.push(path.to_owned());
    }
    Ok(files)
}

/// Number of the first record, and path, of each full file.
fn rotated(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    let Some((stem, extension)) = parts(path) else {
        return Ok(found);
    };
    let entries = match fs::read_dir(folder(path)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let first = name.to_str().and_then(|name| {
            let digits = name
                .strip_prefix(&stem)?
                .strip_prefix('.')?
                .strip_suffix(&extension)?;
            let all = digits.len() >= 12 && digits.bytes().all(|digit| digit.is_ascii_digit());
            all.then(|| digits.parse().ok())?
        });
        if let Some(first) = first {
            found.push((first, folder(path).join(&name)));
        }
    }
    Ok(found)
}

/// What the file at `path`, whose first record has the number `first`, is called when it is full.
pub(super) fn rotated_path(path: &Path, first: u64) -> Option<PathBuf> {
    let (stem, extension) = parts(path)?;
    Some(folder(path).join(format!("{stem}.{first:012}{extension}")))
}

/// File name up to its last dot, and the rest.
fn parts(path: &Path) -> Option<(String, String)> {
    let name = path.file_name()?.to_str()?;
    Some(match name.rfind('.').filter(|dot| *dot > 0) {
        Some(dot) => {
            let (stem, extension) = name.split_at(dot);
            (stem.to_owned(), extension.to_owned())
        }
        None => (name.to_owned(), String::new()),
    })
}

pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::fs;

    use super::{rotated_path, trail_files};

    #[test]
    fn files_of_a_trail_come_in_the_order_of_their_records() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let second = rotated_path(&path, 9_999_999_999_999).unwrap();
        let first = rotated_path(&path, 20).unwrap();
        for path in [&path, &second, &first] {
            fs::write(path, "").unwrap();
        }
        for other in [
            "audit.jsonl.torn",
            "audit.12.jsonl",
            "audit.key",
            "audits.000000000001.jsonl",
        ] {
            fs::write(folder.path().join(other), "").unwrap();
        }
        assert_eq!(trail_files(&path).unwrap(), [first, second, path]);
    }
}
