/// A file copy that an exec stands for: `kubectl cp` and `dockctl cp` run `tar` in the container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileCopy {
    /// Which way.
    pub direction: CopyDirection,
    /// The path in the container, as it was asked for.
    pub path: String,
}

/// Which way a copy goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: in or out.
pub enum CopyDirection {
    /// Into the container.
    Upload,
    /// Out of the container.
    Download,
}

impl std::fmt::Display for CopyDirection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Upload => "upload",
            Self::Download => "download",
        })
    }
}

impl FileCopy {
    /// The copy that `argv` does, if it is one: `tar` that writes an archive to standard output
    /// or reads one from standard input, alone or as the first program of an `sh -c`.
    #[must_use]
    pub fn detect(argv: &[String]) -> Option<Self> {
        let words: Vec<&str> = match argv {
            [shell, flag, script]
                if flag == "-c" && matches!(base_name(shell), "sh" | "bash" | "ash" | "dash") =>
            {
                script
                    .split_whitespace()
                    .take_while(|word| *word != "|")
                    .collect()
            }
            _ => argv.iter().map(String::as_str).collect(),
        };
        let (program, arguments) = words.split_first()?;
        if base_name(program) != "tar" {
            return None;
        }
        let (mode, rest) = arguments.split_first()?;
        let mode = mode.trim_start_matches('-');
        if !mode.contains('f') || rest.first() != Some(&"-") {
            return None;
        }
        let operands = || rest.iter().skip(1).skip_while(|word| **word == "--");
        let changed = rest
            .iter()
            .position(|word| *word == "-C" || *word == "--directory");
        let directory = changed.and_then(|at| rest.get(at + 1)).copied();
        if mode.contains('x') {
            let path = directory.unwrap_or(".").to_owned();
            return Some(Self {
                direction: CopyDirection::Upload,
                path,
            });
        }
        if mode.contains('c') {
            let path = operands()
                .last()
                .map_or(".", |word| word.trim_matches(['\'', '"']));
            return Some(Self {
                direction: CopyDirection::Download,
                path: path.to_owned(),
            });
        }
        None
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::{CopyDirection, FileCopy};

    fn detect(words: &[&str]) -> Option<(CopyDirection, String)> {
        let argv: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        FileCopy::detect(&argv).map(|copy| (copy.direction, copy.path))
    }

    #[test]
    fn what_kubectl_cp_runs_is_a_copy() {
        let download = Some((CopyDirection::Download, "/data/x".to_owned()));
        assert_eq!(detect(&["tar", "cf", "-", "/data/x"]), download);
        assert_eq!(
            detect(&["sh", "-c", "tar cf - /data/x | tail -c+7"]),
            download
        );
        let upload = Some((CopyDirection::Upload, "/data".to_owned()));
        assert_eq!(detect(&["tar", "-xmf", "-", "-C", "/data"]), upload);
    }

    #[test]
    fn other_commands_are_none() {
        assert_eq!(detect(&["tar", "tf", "x.tar"]), None);
        assert_eq!(detect(&["cat", "cf", "-"]), None);
        assert_eq!(detect(&[]), None);
    }
}
