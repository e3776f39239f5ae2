//! The names and sizes of the files in a tar archive that passes by.

/// One file of an archive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ArchivedFile {
    /// Its path, as the archive has it.
    pub(crate) path: String,
    /// Its size, bytes.
    pub(crate) bytes: u64,
}

/// Reads the headers of an archive that passes in pieces; never keeps more than one of them.
///
/// What is no archive, a compressed one included, has no files. POSIX.1-1988 ustar headers, GNU
/// long names and sizes, and the paths and sizes of POSIX.1-2001 pax headers.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    state: State,
    header: Vec<u8>,
    /// Path and size from a header of its own, for the entry behind it.
    long_path: Option<String>,
    long_size: Option<u64>,
    files: Vec<ArchivedFile>,
    more: u64,
    /// Bytes of content that were announced, and bytes that passed.
    announced: u64,
    passed: u64,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Header,
    /// Bytes to pass over.
    Skip(u64),
    /// Bytes of a header's text, then bytes to pass over.
    Text { left: u64, padding: u64, kind: u8 },
    /// No archive, or one that nobody can follow any more.
    Lost,
}

impl Manifest {
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        self.passed = self.passed.saturating_add(bytes.len() as u64);
        while !bytes.is_empty() && self.state != State::Lost {
            match self.state {
                State::Header => {
                    bytes = self.collect(bytes, BLOCK);
                    if self.header.len() == BLOCK {
                        let header = std::mem::take(&mut self.header);
                        self.state = self.entry(&header).unwrap_or(State::Lost);
                    }
                }
                State::Skip(left) => {
                    let now = left.min(bytes.len() as u64);
                    bytes = rest(bytes, now);
                    self.state = after(left - now);
                }
                State::Text {
                    left,
                    padding,
                    kind,
                } => {
                    let wanted = usize::try_from(left).unwrap_or(usize::MAX);
                    bytes = self.collect(bytes, wanted);
                    if self.header.len() == wanted {
                        let text = std::mem::take(&mut self.header);
                        self.text(kind, &text);
                        self.state = after(padding);
                    }
                }
                State::Lost => {}
            }
        }
    }

    /// Bytes of all files so far, those included whose content is still to come; of what is no
    /// archive, all that passed.
    pub(crate) const fn bytes(&self) -> u64 {
        match self.state {
            State::Lost => self.passed,
            _ => self.announced,
        }
    }

    /// The files so far, and how many more there were than are kept.
    pub(crate) fn files(&self) -> (&[ArchivedFile], u64) {
        (&self.files, self.more)
    }

    fn collect<'a>(&mut self, bytes: &'a [u8], wanted: usize) -> &'a [u8] {
        let missing = wanted.saturating_sub(self.header.len()).min(bytes.len());
        let (taken, behind) = bytes.split_at(missing);
        self.header.extend_from_slice(taken);
        behind
    }

    fn entry(&mut self, header: &[u8]) -> Option<State> {
        if header.iter().all(|byte| *byte == 0) {
            return Some(State::Header);
        }
        let field = |from: usize, length: usize| header.get(from..from + length);
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        let own: u64 = field(148, 8)?.iter().map(|byte| u64::from(*byte)).sum();
        if number(field(148, 8)?)? != sum - own + 8 * u64::from(b' ') {
            return None;
        }
        let kind = *header.get(156)?;
        let is_entry = matches!(kind, 0 | b'0'..=b'7' | b'S');
        let size = number(field(124, 12)?)?;
        let size = if is_entry {
            self.long_size.take()
        } else {
            None
        }
        .unwrap_or(size);
        // Links, devices and folders have no content, whatever their size says.
        let content = if matches!(kind, b'1'..=b'6') { 0 } else { size };
        let padding = content.checked_next_multiple_of(BLOCK as u64)? - content;
        self.announced = self.announced.saturating_add(content);
        if matches!(kind, b'L' | b'x') {
            return (content <= MAX_TEXT).then_some(State::Text {
                left: content,
                padding,
                kind,
            });
        }
        if is_entry {
            let long = self.long_path.take();
            let path = long.unwrap_or_else(|| plain_path(header));
            if matches!(kind, 0 | b'0' | b'7' | b'S') {
                self.add(path, content);
            }
        }
        Some(after(content.checked_add(padding)?))
    }

    fn add(&mut self, path: String, bytes: u64) {
        if self.files.len() < MAX_FILES {
            self.files.push(ArchivedFile { path, bytes });
        } else {
            self.more += 1;
        }
    }

    /// A GNU long name, or pax records: `LENGTH KEY=VALUE` and a line feed each.
    fn text(&mut self, kind: u8, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        if kind == b'L' {
            self.long_path = Some(text.trim_end_matches('\0').to_owned());
            return;
        }
        for record in text.lines() {
            match record
                .split_once(' ')
                .and_then(|(_, pair)| pair.split_once('='))
            {
                Some(("path", path)) => self.long_path = Some(path.to_owned()),
                Some(("size", size)) => self.long_size = size.parse().ok(),
                _ => {}
            }
        }
    }
}

fn after(left: u64) -> State {
    if left == 0 {
        State::Header
    } else {
        State::Skip(left)
    }
}

fn rest(bytes: &[u8], count: u64) -> &[u8] {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    bytes.get(count..).unwrap_or_default()
}

fn plain_path(header: &[u8]) -> String {
    let text = |from: usize, to: usize| {
        let field = header.get(from..to).unwrap_or_default();
        let end = field.iter().position(|byte| *byte == 0);
        let field = field.get(..end.unwrap_or(field.len())).unwrap_or_default();
        String::from_utf8_lossy(field).into_owned()
    };
    let (name, prefix) = (text(0, 100), text(345, 500));
    // GNU's own format has other things where the prefix would be.
    if header.get(257..263) == Some(b"ustar\0") && !prefix.is_empty() {
        format!("{prefix}/{name}")
    } else {
        name
    }
}

/// Octal digits, or GNU's binary number for what is larger.
fn number(field: &[u8]) -> Option<u64> {
    if let Some((0x80, digits)) = field.split_first() {
        return digits.iter().try_fold(0_u64, |sum, byte| {
            Some(sum.checked_mul(256)? + u64::from(*byte))
        });
    }
    let text = std::str::from_utf8(field).ok()?;
    let text = text.trim_matches([' ', '\0']);
    if text.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(text, 8).ok()
}

const BLOCK: usize = 512;
/// Longest text of a header, bytes; a path has at most 4096.
const MAX_TEXT: u64 = 64 * 1024;
/// Files that are listed; a record of the audit trail has its limits.
const MAX_FILES: usize = 256;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{fs, process::Command};

    use super::Manifest;

    fn listed(archive: &[u8], piece: usize) -> Vec<(String, u64)> {
        let mut manifest = Manifest::default();
        archive.chunks(piece).for_each(|bytes| manifest.feed(bytes));
        let (files, more) = manifest.files();
        assert_eq!(more, 0);
        files
            .iter()
            .map(|file| (file.path.clone(), file.bytes))
            .collect()
    }

    /// The machine's tar in each of its formats, cut anywhere.
    #[test]
    fn files_are_listed_whatever_the_format_and_the_cuts() {
        let folder = tempfile::tempdir().unwrap();
        let long = format!("{}/{}", "d".repeat(90), "e".repeat(120));
        fs::create_dir_all(folder.path().join("d".repeat(90))).unwrap();
        let mut wanted = vec![
            ("a b".to_owned(), 3),
            ("empty".to_owned(), 0),
            (long, 70_000),
        ];
        for (path, bytes) in &wanted {
            let content = vec![b'x'; usize::try_from(*bytes).unwrap()];
            fs::write(folder.path().join(path), content).unwrap();
        }
        wanted.sort();
        for format in ["gnu", "posix", "ustar"] {
            let mut tar = Command::new("tar");
            tar.arg("-C")
                .arg(folder.path())
                .args(["--format", format, "-cf", "-"]);
            tar.args(wanted.iter().map(|(path, _)| path.as_str()).filter(|path| {
                // A name of more than 100 bytes does not fit into ustar.
                format != "ustar" || path.len() < 100
            }));
            let archive = tar.output().unwrap().stdout;
            for piece in [1, 7, 512, 4096, archive.len()] {
                let mut found = listed(&archive, piece);
                found.sort();
                let wanted: Vec<_> = wanted
                    .iter()
                    .filter(|(path, _)| format != "ustar" || path.len() < 100)
                    .cloned()
                    .collect();
                assert_eq!(found, wanted, "{format} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_file_counts_as_soon_as_it_is_announced_and_what_is_no_archive_as_it_passes() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("large"), vec![b'x'; 70_000]).unwrap();
        fs::write(folder.path().join("small"), b"abc").unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-C")
            .arg(folder.path())
            .args(["-cf", "-", "large", "small"]);
        let archive = tar.output().unwrap().stdout;
        let mut manifest = Manifest::default();
        manifest.feed(archive.get(..512).unwrap());
        assert_eq!(manifest.bytes(), 70_000);
        manifest.feed(archive.get(512..).unwrap());
        assert_eq!(manifest.bytes(), 70_003);
        let mut manifest = Manifest::default();
        manifest.feed(&[b'x'; 1000]);
        assert_eq!(manifest.bytes(), 1000);
    }

    #[test]
    fn what_is_no_archive_has_no_files() {
        assert_eq!(listed(&[b'x'; 5000], 100), []);
        assert_eq!(listed(&[0x1f, 0x8b, 8, 0], 1), []);
        assert_eq!(listed(&[0xff; 1024], 1024), []);
    }
}
