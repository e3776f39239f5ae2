use std::{
    ffi::OsStr,
    fs::{self, File, Metadata},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use tar::{Builder, EntryType, Header};

/// Writes `source` and what is below it as a tar archive, under the name `name`.
///
/// Links stay links; what is neither file, folder nor link is left out and told to `skipped`.
/// Entries belong to root, which a tar that does not run as root passes over: the ids of this
/// machine mean nothing in a container.
///
/// # Errors
///
/// A file cannot be read, or nobody takes the archive any more (`BrokenPipe`).
pub(crate) fn pack(
    source: &Path,
    name: &OsStr,
    out: impl Write,
    mut skipped: impl FnMut(&Path),
) -> io::Result<()> {
    let mut builder = Builder::new(out);
    // Depth first; the last in is the next out, so children are put in backwards.
    let mut todo = vec![(source.to_owned(), Path::new(name).to_owned())];
    while let Some((path, entry)) = todo.pop() {
        let named = |error: io::Error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                return error;
            }
            io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
        };
        // The source itself may be a link that the person means to follow, as cp -RH does.
        let metadata = if path == source {
            fs::metadata(&path)
        } else {
            path.symlink_metadata()
        };
        let metadata = metadata.map_err(named)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            let mut header = header(&metadata, EntryType::Directory);
            builder
                .append_data(&mut header, &entry, io::empty())
                .map_err(named)?;
            let mut children: Vec<_> = fs::read_dir(&path)
                .and_then(|children| {
                    children
                        .map(|child| Ok(child?.file_name()))
                        .collect::<io::Result<_>>()
                })
                .map_err(named)?;
            children.sort_unstable();
            todo.extend(
                children
                    .iter()
                    .rev()
                    .map(|child| (path.join(child), entry.join(child))),
            );
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(named)?;
            let mut header = header(&metadata, EntryType::Symlink);
            builder
                .append_link(&mut header, &entry, target)
                .map_err(named)?;
        } else if kind.is_file() {
            let file = File::open(&path).map_err(named)?;
            let metadata = file.metadata().map_err(named)?;
            let mut header = header(&metadata, EntryType::Regular);
            header.set_size(metadata.len());
            header.set_cksum();
            let exact = Exact {
                file,
                left: metadata.len(),
            };
            builder
                .append_data(&mut header, &entry, exact)
                .map_err(named)?;
        } else {
            skipped(&path);
        }
    }
    builder.into_inner()?.flush()
}

fn header(metadata: &Metadata, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(metadata.permissions().mode() & 0o7777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    let modified = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_secs());
    header.set_mtime(modified);
    header
}

/// A file of exactly the size that its header promises: a file that grows is cut there, one that
/// shrinks is an error, for the archive behind it would be out of step.
struct Exact {
    file: File,
    left: u64,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let (to, _) = buffer.split_at_mut(most);
        if to.is_empty() {
            return Ok(0);
        }
        let count = self.file.read(to)?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "became shorter while it was copied",
            ));
        }
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}
