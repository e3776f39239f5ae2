#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    thread,
};

use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

use super::{ChunkReader, ChunkWriter, Unpack, pack};

/// Takes an archive apart below `parent`/`copy`; what was warned of.
fn unpack(parent: &Path, archive: &[u8]) -> std::io::Result<Vec<String>> {
    let mut warnings = Vec::new();
    Unpack::new(
        parent,
        Some(OsStr::new("copy")),
        Path::new("tree"),
        |text| warnings.push(text),
    )?
    .run(archive)?;
    Ok(warnings)
}

/// An archive of entries given as (path, kind, link target or content), without any check.
fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, kind, text) in entries {
        let mut header = Header::new_gnu();
        header
            .as_gnu_mut()
            .unwrap()
            .name
            .get_mut(..path.len())
            .unwrap()
            .copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        let content = if *kind == EntryType::Regular {
            *text
        } else {
            ""
        };
        header.set_size(content.len() as u64);
        if !text.is_empty() && *kind != EntryType::Regular {
            header
                .as_gnu_mut()
                .unwrap()
                .linkname
                .get_mut(..text.len())
                .unwrap()
                .copy_from_slice(text.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir_all(source.join("sub/deep")).unwrap();
    fs::write(source.join("run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(source.join("run"), fs::Permissions::from_mode(0o751)).unwrap();
    let large: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(source.join("sub/deep").join("n".repeat(180)), &large).unwrap();
    symlink("../run", source.join("sub/link")).unwrap();
    fs::set_permissions(source.join("sub"), fs::Permissions::from_mode(0o555)).unwrap();

    let (sender, receiver) = mpsc::channel(2);
    let from = source.clone();
    let packing = thread::spawn(move || {
        pack(
            &from,
            OsStr::new("tree"),
            ChunkWriter::new(sender),
            |path| panic!("{}", path.display()),
        )
    });
    let mut warnings = Vec::new();
    let count = Unpack::new(
        folder.path(),
        Some(OsStr::new("copy")),
        Path::new("tree"),
        |text| warnings.push(text),
    )
    .unwrap()
    .run(ChunkReader::new(receiver))
    .unwrap();
    packing.join().unwrap().unwrap();

    assert_eq!((count, warnings.len()), (6, 0));
    let copy = folder.path().join("copy");
    assert_eq!(
        fs::read(copy.join("sub/deep").join("n".repeat(180))).unwrap(),
        large
    );
    assert_eq!(
        fs::read_link(copy.join("sub/link")).unwrap(),
        Path::new("../run")
    );
    let mode = |path: &str| fs::metadata(copy.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("run"), mode("sub")), (0o751, 0o555));
    fs::set_permissions(copy.join("sub"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(source.join("sub"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_archive_cannot_lead_out_of_its_place() {
    for path in [
        "../evil",
        "tree/../../evil",
        "/evil",
        "other",
        "tree/sub/../../x",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let bytes = archive(&[(path, EntryType::Regular, "evil")]);
        let error = unpack(folder.path(), &bytes).unwrap_err();
        assert!(
            error.to_string().contains("leads out of its place"),
            "{path}: {error}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn links_that_lead_out_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let link = EntryType::Symlink;
    let bytes = archive(&[
        ("tree/a", link, "/etc/passwd"),
        ("tree/b", link, "../outside"),
        ("tree/sub/c", link, "../../outside"),
        ("tree/sub/up", link, ".."),
        ("tree/sub/d", link, "up/../outside"),
        ("tree/sub/good", link, "../file"),
    ]);
    let warnings = unpack(folder.path(), &bytes).unwrap();
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    let sub = folder.path().join("copy/sub");
    assert_eq!(
        fs::read_link(sub.join("good")).unwrap(),
        Path::new("../file")
    );
    assert!(sub.join("d").symlink_metadata().is_err());
}

#[test]
fn nothing_is_written_through_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "kept").unwrap();
    fs::create_dir(folder.path().join("copy")).unwrap();
    symlink(&outside, folder.path().join("copy/way")).unwrap();
    symlink(outside.join("file"), folder.path().join("copy/file")).unwrap();

    let through = archive(&[("tree/way/file", EntryType::Regular, "evil")]);
    assert!(unpack(folder.path(), &through).is_err());
    let over = archive(&[("tree/file", EntryType::Regular, "new")]);
    unpack(folder.path(), &over).unwrap();
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "kept");
    assert_eq!(
        fs::read_to_string(folder.path().join("copy/file")).unwrap(),
        "new"
    );
}

#[test]
fn hard_links_point_at_what_was_copied_and_devices_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = archive(&[
        ("tree/file", EntryType::Regular, "one"),
        ("tree/same", EntryType::Link, "tree/file"),
        ("tree/other", EntryType::Link, "../../etc/passwd"),
        ("tree/null", EntryType::Char, ""),
    ]);
    let warnings = unpack(folder.path(), &bytes).unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert_eq!(
        fs::read_to_string(folder.path().join("copy/same")).unwrap(),
        "one"
    );
}

#[test]
fn an_archive_that_is_cut_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = archive(&[("tree", EntryType::Regular, &"x".repeat(2000))]);
    bytes.truncate(1000);
    assert!(unpack(folder.path(), &bytes).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_writer_that_nobody_reads_is_a_broken_pipe() {
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let mut writer = ChunkWriter::new(sender);
    writer.write_all(b"x").unwrap();
    assert_eq!(
        writer.flush().unwrap_err().kind(),
        std::io::ErrorKind::BrokenPipe
    );
}
