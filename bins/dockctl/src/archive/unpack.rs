use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, Mode, OFlags, fchmod, linkat, mkdirat, openat, renameat, symlinkat, unlinkat,
    },
    io::Errno,
};
use tar::{Archive, Entry, EntryType};

/// Takes a tar archive from a container apart, below one place.
///
/// The archive may be hostile: the container made it. Nothing is written outside that place, not
/// even over links that the archive or somebody else has put there, because each folder on the way
/// is opened by itself and never through a link. Devices are left out, as are links that lead
/// out. Of the permissions only the nine basic bits are taken over.
#[derive(Debug)]
pub(crate) struct Unpack<W> {
    /// The folder that holds the place.
    parent: OwnedFd,
    /// The place's name in it; `None` when the place is the folder itself.
    name: Option<OsString>,
    /// What every entry's path starts with.
    prefix: PathBuf,
    /// Folders made here, with the permissions that they get at the end.
    folders: Vec<(PathBuf, Mode)>,
    warn: W,
}

impl<W: FnMut(String)> Unpack<W> {
    /// Takes apart below `parent`/`name`. Entries that do not start with `prefix` are refused.
    ///
    /// # Errors
    ///
    /// `parent` is no folder.
    pub(crate) fn new(
        parent: &Path,
        name: Option<&OsStr>,
        prefix: &Path,
        warn: W,
    ) -> io::Result<Self> {
        let parent = openat(
            CWD,
            parent,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self {
            parent,
            name: name.map(OsStr::to_owned),
            prefix: prefix.to_owned(),
            folders: Vec::new(),
            warn,
        })
    }

    /// Reads `archive` to its end. Gives the number of entries written.
    ///
    /// # Errors
    ///
    /// The archive is broken or leads out of its place, or something cannot be written.
    pub(crate) fn run(mut self, mut archive: impl Read) -> io::Result<usize> {
        let mut count = 0;
        let mut tar = Archive::new(&mut archive);
        for entry in tar.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            let within = self.place(&path).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "the archive leads out of its place with `{}`",
                        path.display()
                    ),
                )
            })?;
            let written = self.entry(&mut entry, &within).map_err(|error| {
                io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
            })?;
            count += usize::from(written);
        }
        // What tar pads with, so that the sender is not cut off in the middle of it.
        io::copy(&mut archive, &mut io::sink())?;
        while let Some((path, mode)) = self.folders.pop() {
            // Read-only folders only now, when all is in them.
            fchmod(self.folder(&path)?, mode)?;
        }
        Ok(count)
    }

    /// Where an entry goes, seen from the folder that holds the place: only plain names.
    fn place(&self, path: &Path) -> Option<PathBuf> {
        let plain: PathBuf = normal(path)?;
        let below = plain.strip_prefix(&self.prefix).ok()?;
        let mut place: PathBuf = self.name.iter().collect();
        place.push(below);
        Some(place)
    }

    /// Whether it was written.
    fn entry(&mut self, entry: &mut Entry<'_, impl Read>, place: &Path) -> io::Result<bool> {
        let mode = Mode::from_raw_mode(entry.header().mode()? & 0o777);
        let kind = entry.header().entry_type();
        if kind == EntryType::Directory {
            self.make_folder(place, Some(mode))?;
            return Ok(true);
        }
        let (Some(folder), Some(name)) = (place.parent(), place.file_name()) else {
            return Err(io::Error::new(
                io::ErrorKind::IsADirectory,
                "the place is a folder",
            ));
        };
        // A tar that was told to leave folders out would still name what is in them.
        self.make_folder(folder, None)?;
        let folder = self.folder(folder)?;
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let size = entry.size();
                write_file(entry, size, &folder, name, mode)?;
                Ok(true)
            }
            EntryType::Symlink => {
                let Some(target) = entry.link_name()? else {
                    return Ok(false);
                };
                if !stays_inside(place, &target, usize::from(self.name.is_some())) {
                    (self.warn)(format!(
                        "left out the link `{}`: it leads out to `{}`",
                        place.display(),
                        target.display()
                    ));
                    return Ok(false);
                }
                remove(&folder, name)?;
                symlinkat(&*target, &folder, name)?;
                Ok(true)
            }
            EntryType::Link => {
                let Some(target) = entry.link_name()? else {
                    return Ok(false);
                };
                let Some(target) = self.place(&target) else {
                    (self.warn)(format!(
                        "left out `{}`: it is a link to what was not copied",
                        place.display()
                    ));
                    return Ok(false);
                };
                let (Some(from), Some(target)) = (target.parent(), target.file_name()) else {
                    return Ok(false);
                };
                let from = self.folder(from)?;
                remove(&folder, name)?;
                linkat(&from, target, &folder, name, AtFlags::empty())?;
                Ok(true)
            }
            _ => {
                (self.warn)(format!(
                    "left out `{}`: it is neither file, folder nor link",
                    place.display()
                ));
                Ok(false)
            }
        }
    }

    /// Makes a folder and those above it that are not there. Without a `mode` it is one that the
    /// archive has only implied.
    fn make_folder(&mut self, place: &Path, mode: Option<Mode>) -> io::Result<()> {
        let mut so_far = PathBuf::new();
        let mut folder = self.parent.try_clone()?;
        let count = place.components().count();
        for (index, component) in place.components().enumerate() {
            so_far.push(component);
            let wanted = mode.filter(|_| index + 1 == count);
            match mkdirat(&folder, component.as_os_str(), Mode::from_raw_mode(0o700)) {
                Ok(()) => {
                    let mode = wanted.unwrap_or(Mode::from_raw_mode(0o755));
                    self.folders.push((so_far.clone(), mode));
                }
                // Made here on the way to something in it; one that was there keeps its own.
                Err(Errno::EXIST) => {
                    let made = self.folders.iter_mut().find(|(path, _)| *path == so_far);
                    if let (Some((_, mode)), Some(wanted)) = (made, wanted) {
                        *mode = wanted;
                    }
                }
                Err(error) => return Err(error.into()),
            }
            folder = open_folder(&folder, component.as_os_str())?;
        }
        Ok(())
    }

    /// Opens a folder that is there, one name at a time.
    fn folder(&self, place: &Path) -> io::Result<OwnedFd> {
        let mut folder = self.parent.try_clone()?;
        for component in place.components() {
            folder = open_folder(&folder, component.as_os_str())?;
        }
        Ok(folder)
    }
}

fn open_folder(parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// Writes a file beside its name and then gives it the name, so that what is there is whole, and
/// a link of that name is replaced, not followed.
fn write_file(
    content: &mut impl Read,
    size: u64,
    folder: &OwnedFd,
    name: &OsStr,
    mode: Mode,
) -> io::Result<()> {
    // Not made of the name, which may be as long as a name can be.
    let scratch = format!(".dockctl-{}", std::process::id());
    remove(folder, OsStr::new(&scratch))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(folder, &scratch, flags, Mode::from_raw_mode(0o600))?);
    let written = io::copy(content, &mut file)
        .and_then(|copied| {
            // The tar reader takes an archive that ends here for one that is whole.
            if copied == size {
                Ok(())
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        })
        .and_then(|()| Ok(fchmod(&file, mode)?))
        .and_then(|()| Ok(renameat(folder, &scratch, folder, name)?));
    if written.is_err() {
        // The error that matters is the first.
        let _second = remove(folder, OsStr::new(&scratch));
    }
    written
}

/// Removes a file or link, if it is there.
fn remove(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// `path` without `.`; nothing when it is absolute, has `..` or a NUL.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) if !name.as_bytes().contains(&0) => plain.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(plain)
}

/// Whether a link at `place` to `target` leads to below the copied place, whose own depth in
/// `place` is `top`.
///
/// `..` counts only at the start: behind a name it could go up from wherever another link leads.
fn stays_inside(place: &Path, target: &Path, top: usize) -> bool {
    let mut up = 0;
    let mut down = false;
    for component in target.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if !down => up += 1,
            Component::Normal(_) => down = true,
            _ => return false,
        }
    }
    let depth = place.components().count().saturating_sub(1 + top);
    // The place itself may be a link only to itself or below, which is to nothing.
    place.components().count() > top && up <= depth
}
