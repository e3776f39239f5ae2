//! `PATH`: the folders that the programs of plain names are looked for in.
//!
//! The image's own are taken for what packages filled. Others in front of them decide what a name
//! stands for: putting them there is what has to be allowed, once.

use crate::shell::{
    Dialect, known,
    run::Runner,
    session::{File, Variable},
    value::{FOLDERS, Value},
};

/// Where every image has its own programs: what stands behind is not looked at for them.
const OF_THE_SYSTEM: &[&str] = &["/bin", "/usr/bin"];

const IN_FRONT: &str = "a folder to look for programs in, in which no packaged ones stand";

/// Whether the variable says where programs are looked for, in some shell.
pub(super) fn is_one(name: &str) -> bool {
    matches!(name, "PATH" | "path")
}

impl Runner<'_> {
    /// Sets `PATH` to what has the environment's folders in it. False when it has them not, or not
    /// at a place that is known.
    pub(super) fn assign_search_path(&mut self, value: &Value, appends: bool) -> bool {
        let around = match (value, self.state.variable("PATH")) {
            (
                Value::Unknown {
                    reason,
                    prefix,
                    suffix,
                },
                _,
            ) if *reason == FOLDERS && !appends => (prefix.clone(), suffix.clone()),
            (Value::Known(text), None) if appends && !self.state.overflowed() => {
                (String::new(), text.clone())
            }
            (Value::Known(text), Some(Variable::Around(before, behind))) if appends => {
                (before.clone(), format!("{behind}{text}"))
            }
            _ => return false,
        };
        let (before, behind) = around;
        self.state.set("PATH", Variable::Around(before, behind));
        true
    }

    /// Does what the word `PATH=…` of a builtin or of a wrapper does, where its value is not known.
    /// False when it is another word.
    pub(in crate::shell) fn sets_search_path(&mut self, word: &Value) -> bool {
        let Value::Unknown {
            reason,
            prefix,
            suffix,
        } = word
        else {
            return false;
        };
        let Some(prefix) = prefix.strip_prefix("PATH=") else {
            return false;
        };
        let value = Value::Unknown {
            reason,
            prefix: prefix.to_owned(),
            suffix: suffix.clone(),
        };
        if !self.assign_search_path(&value, false) {
            self.state.set("PATH", Variable::Unknown);
        }
        true
    }

    /// Looks at what `PATH` was set to.
    pub(super) fn look_at_search_path(&mut self, name: &str, value: Variable) {
        if name == "path" {
            // In zsh it is the same as `PATH`, as a list.
            if self.dialect() == Dialect::Zsh {
                let text = match value {
                    Variable::Array(folders) => {
                        let folders: Vec<String> = folders.into_values().collect();
                        Variable::Text(folders.join(":"))
                    }
                    Variable::Text(folder) => Variable::Text(folder),
                    _ => Variable::Unknown,
                };
                self.state.set("PATH", text.clone());
                self.look_at_search_path("PATH", text);
            }
            return;
        }
        let in_front = match &value {
            Variable::Text(text) => text.as_str(),
            Variable::Around(before, _) => match before.strip_suffix(':') {
                Some(before) => before,
                None if before.is_empty() => return,
                // It is one with the first of the environment's.
                None => return self.soft_unknown(IN_FRONT),
            },
            _ => return self.unknown(FOLDERS),
        };
        let all_packaged = in_front
            .split(':')
            .take_while(|folder| !OF_THE_SYSTEM.contains(folder))
            .all(|folder| {
                folder.starts_with('/')
                    && !folder.contains('?')
                    && known::is_program_path(&self.absolute(&format!("{folder}/x")))
            });
        if !all_packaged {
            self.soft_unknown(IN_FRONT);
        }
    }

    /// The file that this session made and that stands for `program` by what `PATH` was set to.
    pub(super) fn found_in_search_path(&self, program: &str) -> Option<&File> {
        let in_folders = |folders: &str| {
            folders.split(':').find_map(|folder| match folder {
                "" => self.file_at(program),
                folder => self.file_at(&format!("{folder}/{program}")),
            })
        };
        let found = match self.state.variable("PATH")? {
            Variable::Text(text) => in_folders(text),
            Variable::Around(before, behind) => in_folders(before).or_else(|| in_folders(behind)),
            _ => None,
        };
        // Which folder is which is not always known.
        let tail = format!("/{program}");
        let is_known = matches!(
            self.state.variable("PATH"),
            Some(Variable::Text(_) | Variable::Around(..))
        );
        let is_one = |path: &str, file: &File| {
            (matches!(file, File::Program(_)) || !is_known)
                && (path.ends_with(&tail) || path == program)
        };
        found.or_else(|| {
            let mut files = self.state.files();
            files
                .find(|(path, file)| is_one(path, file))
                .map(|(_, file)| file)
        })
    }
}
