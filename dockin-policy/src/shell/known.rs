//! Programs that images have, where they stand, and which busybox runs by itself.

mod table;

use super::{
    pattern::{Pattern, Steps},
    session::Directory,
    utility::base_name,
};
use table::{ADMINISTRATORS, APPLETS, FOLDERS, PROGRAMS};

/// Whether busybox runs it by itself. Its `env` and other wrappers start what they run.
pub(super) fn is_applet(name: &str) -> bool {
    APPLETS.binary_search(&name).is_ok()
}

/// Whether a program may be called so: what no file is called like is not found.
pub(super) fn may_exist(program: &str) -> bool {
    let name = base_name(program);
    let plausible = |c: char| c.is_ascii_alphanumeric() || "._+-@?~:[".contains(c);
    if name.is_empty() || matches!(program, "." | "..") {
        return false;
    }
    if let Some((folder, _)) = program.rsplit_once('/') {
        return folder.chars().all(|c| c == '/' || plausible(c));
    }
    if name.starts_with('-') || name.len() == 1 && !matches!(name, "w" | "R" | "[") {
        return false;
    }
    program.chars().all(plausible)
}

/// Where the program stands in most images.
pub(super) fn path_of(name: &str) -> Option<String> {
    if name.contains('/') || PROGRAMS.binary_search(&name).is_err() {
        return None;
    }
    let folder = if ADMINISTRATORS.contains(&name) {
        "/usr/sbin"
    } else {
        "/usr/bin"
    };
    Some(format!("{folder}/{name}"))
}

/// Whether an absolute path names what a package may have put there.
pub(super) fn is_program_path(path: &str) -> bool {
    if path.starts_with('?') || path.contains('?') {
        return true;
    }
    let path = path.strip_prefix("/proc/self/root").unwrap_or(path);
    // A relative path that climbs to the root.
    let climbed = path.trim_start_matches("../");
    let absolute = if climbed.len() < path.len() {
        format!("/{climbed}")
    } else {
        path.to_owned()
    };
    FOLDERS.iter().any(|folder| {
        absolute
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
    })
}

/// The programs that a name with wildcards may become: the first is what it most likely becomes.
/// None when `steps` do not suffice to find them.
pub(super) fn programs_like(pattern: &str, directory: &Directory, steps: &Steps) -> Vec<String> {
    found_like(pattern, directory, steps).unwrap_or_default()
}

fn found_like(pattern: &str, directory: &Directory, steps: &Steps) -> Option<Vec<String>> {
    let (folder, name) = match pattern.rsplit_once('/') {
        Some((folder, name)) => (Some(folder), name),
        None => (None, pattern),
    };
    let folder = folder?;
    let folders = ["/bin", "/usr/bin", "/usr/sbin", "/sbin", "/usr/local/bin"];
    let inside = if let Some(rest) = folder.strip_prefix("./").or((folder == ".").then_some("")) {
        match directory {
            Directory::Known(path) if rest.is_empty() => Some(path.as_str()),
            _ => None,
        }
    } else {
        let folder = Pattern::new(folder);
        folders
            .iter()
            .copied()
            .find(|known| folder.matches(known, steps) == Some(true))
    }?;
    if !folders.contains(&inside) {
        return None;
    }
    let name = Pattern::new(name);
    let mut placed = Vec::new();
    for found in PROGRAMS {
        if name.matches(found, steps)? {
            placed.push(if folder == "." {
                format!("./{found}")
            } else {
                format!("{inside}/{found}")
            });
        }
    }
    Some(placed)
}

#[cfg(test)]
mod tests {
    use super::{APPLETS, PROGRAMS, may_exist, programs_like};
    use crate::shell::{pattern::Steps, session::Directory};

    #[test]
    fn the_tables_are_sorted() {
        assert!(APPLETS.is_sorted());
        assert!(PROGRAMS.is_sorted());
    }

    #[test]
    fn names_that_no_program_has_are_not_found() {
        for name in ["rm", "mkfs.ext4", "/bin/rm", "g++", "w", "[", "python3.11"] {
            assert!(may_exist(name), "{name}");
        }
        for name in ["", "r\u{200b}m", "rm -rf", "{rm,x}", "x", "ｒｍ"] {
            assert!(!may_exist(name), "{name}");
        }
    }

    #[test]
    fn wildcards_become_the_programs_that_are_like_them() {
        let start = Directory::Start;
        let first = |pattern: &str, directory: &Directory| {
            programs_like(pattern, directory, &Steps::default())
                .into_iter()
                .next()
        };
        assert_eq!(first("/?in/rm", &start).as_deref(), Some("/bin/rm"));
        assert_eq!(first("/bin/r[m]", &start).as_deref(), Some("/bin/rm"));
        let bin = Directory::Known("/bin".to_owned());
        assert_eq!(first("./r?", &bin).as_deref(), Some("./rm"));
        assert_eq!(first("r?", &start), None);
        // Which of them is there depends on the image.
        let found = programs_like("./r*", &bin, &Steps::default());
        assert!(found.contains(&"./rm".to_owned()));
    }
}
