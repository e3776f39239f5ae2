//! Files below a folder that is not known: one that the session's own stands in.

use super::Pattern;

/// Whether a file that `below` names may be meant. The folder itself stands in nothing that is
/// protected, as the session's own does not.
pub(super) fn may_meet(pattern: &Pattern, below: &str) -> bool {
    let (named, is_folder) = match (pattern.literal(), pattern.folder()) {
        (Some(path), _) => (path, false),
        (None, Some(folder)) => (folder, true),
        (None, None) => return true,
    };
    let named: Vec<&str> = named.split('/').filter(|part| !part.is_empty()).collect();
    let parts: Vec<&str> = below.split('/').filter(|part| !part.is_empty()).collect();
    (0..named.len()).any(|start| {
        let tail = named.get(start..).unwrap_or_default();
        let reaches = if is_folder {
            parts.len() >= tail.len()
        } else {
            parts.len() == tail.len()
        };
        let alike = |(part, name): (&&str, &&str)| crate::shell::matches(part, name) != Some(false);
        let is_deep = parts.contains(&"**");
        is_deep || reaches && parts.iter().zip(tail).all(alike)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{Pattern, may_meet};

    #[test]
    fn a_file_is_meant_if_some_folder_in_front_of_it_makes_it_so() {
        let meets = |pattern: &str, below: &str| may_meet(&Pattern::new(pattern).unwrap(), below);
        assert!(meets("/etc/**", "/etc/passwd") && meets("/srv/data/**", "/data/x"));
        assert!(meets("/etc/**", "/etc") && meets("~/.bashrc", "/.bashrc"));
        assert!(meets("/etc/**", "/e?c/passwd") && meets("/a/*/b", "/x"));
        assert!(!meets("/etc/**", "/x") && !meets("/srv/data/**", "/srv/x"));
        assert!(!meets("~/.bashrc", "/.bashrc/x") && !meets("/etc/**", ""));
    }
}
