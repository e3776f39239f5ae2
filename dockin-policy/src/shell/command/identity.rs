//! Which program a name stands for.

use crate::shell::{
    known, option,
    run::{Certainty, Runner},
    session::File,
    utility::{self, base_name},
    value::Value,
};

impl Runner<'_> {
    /// The name that a program is known by: behind links and copies that this session made.
    pub(super) fn identity(&self, program: &str) -> String {
        let program = program.strip_prefix('=').unwrap_or(program);
        if program.contains('/') {
            if let Some(File::Program(name)) = self.file_at(program) {
                // busybox does what it is called like.
                return if name == "busybox" {
                    base_name(program).to_owned()
                } else {
                    name.clone()
                };
            }
        } else if let Some(File::Program(name)) = self.state.file(&format!("hash:{program}")) {
            return name.clone();
        } else if let Some(File::Program(name)) = self.found_in_search_path(program) {
            return name.clone();
        }
        base_name(program).to_owned()
    }

    /// What files held that a program writes is not known any more.
    pub(super) fn forget_files(&mut self, name: &str, written: &[Value], arguments: &[Value]) {
        if self.certainty >= Certainty::Latent || self.state.files().next().is_none() {
            return;
        }
        let mut paths = written.to_vec();
        match name {
            // They write what they are told once they run.
            "vi" | "vim" | "nvim" | "nano" | "emacs" | "ed" | "ex" | "patch" | "joe" | "pico"
            | "mcedit" => paths.extend(utility::operands(name, arguments).into_iter().cloned()),
            "git" => paths.push(Value::Known(".".to_owned())),
            "gunzip" | "unxz" | "bunzip2" | "unzstd" => {
                paths.push(Value::Known(".".to_owned()));
            }
            _ => {}
        }
        for place in self.all_placed(paths) {
            let placed = match place {
                Value::Known(path) => path,
                // Anything.
                Value::Pattern(_) | Value::Unknown { .. } => String::new(),
            };
            let below = format!("{placed}/");
            let known: Vec<String> = self
                .state
                .files_from(&placed)
                .map(|(path, _)| path)
                .take_while(|path| path.starts_with(&placed))
                .filter(|path| !path.starts_with("hash:"))
                .filter(|path| placed.is_empty() || *path == placed || path.starts_with(&below))
                .map(str::to_owned)
                .collect();
            for path in known {
                self.state.set_file(&path, Some(File::Unknown));
            }
        }
    }

    /// A program that this session wrote, or that no image has.
    pub(super) fn outside_of_image(&mut self, program: &str) {
        if self.certainty == Certainty::Dead {
            return;
        }
        let is_path = program.contains('/');
        let file = if is_path {
            self.file_at(program)
        } else {
            self.found_in_search_path(program)
        };
        match file {
            Some(File::Program(name)) => {
                if name != base_name(program) {
                    self.note_shadowed();
                }
                return;
            }
            Some(File::Text(text)) => {
                // A script that is known.
                let text = text.clone();
                self.note_made_text();
                let _out = self.below(|runner| runner.text(&text));
                return;
            }
            Some(File::Unknown) => {
                return self.unknown("a program that was written in this session");
            }
            Some(File::Link(_)) | None => {}
        }
        if is_path && !known::is_program_path(&self.absolute(program)) {
            self.unknown("a program that stands where no packaged one does");
        }
    }

    /// Programs under other names: copies and links.
    pub(in crate::shell) fn links(&mut self, name: &str, arguments: &[Value]) {
        if self.certainty >= Certainty::Latent
            || !matches!(name, "ln" | "cp" | "install" | "mv" | "link")
        {
            return;
        }
        let named = utility::values_of(arguments, &["-t", "--target-directory"]);
        let named = named.first();
        let operands: Vec<&str> = utility::operands(name, arguments)
            .into_iter()
            .filter(|it| Some(*it) != named)
            .chain(named)
            .filter_map(Value::known)
            .collect();
        let operands = match operands.as_slice() {
            // The link is made where the session is.
            [one] if name == "ln" => vec![*one, base_name(one)],
            other => other.to_vec(),
        };
        let [sources @ .., target] = operands.as_slice() else {
            return;
        };
        let has = |letter: char, long: &str| {
            arguments.iter().filter_map(Value::known).any(|it| {
                option::is_long(it, long)
                    || it.starts_with('-') && !it.starts_with("--") && it.contains(letter)
            })
        };
        // Of `ln` it is `--symbolic`.
        let is_symbolic = has('s', "--symbolic-link") || name == "ln" && has('s', "--symbolic");
        let is_forced = name == "ln" && has('f', "--force") && !self.state.keeps_files();
        let links = name == "ln" || is_symbolic || has('l', "--link");
        for source in sources {
            let file = match self.file_at(source) {
                Some(file) => Some(file.clone()),
                None if known::is_program_path(&self.absolute(source)) => {
                    Some(File::Program(base_name(source).to_owned()))
                }
                // What is written to a link is written to where it leads.
                None if links => Some(File::Link(self.absolute(source))),
                None => None,
            };
            let Some(file) = file else { continue };
            let target_path = self.absolute(target);
            let below = format!("{target_path}/{}", base_name(source));
            // A symbolic link is read from the folder that it stands in.
            let seen_from = |folder: &str| match &file {
                File::Link(_) if is_symbolic && !source.starts_with(['/', '~']) => {
                    File::Link(self.absolute(&format!("{folder}/{source}")))
                }
                file => file.clone(),
            };
            let folder = match target_path.rsplit_once('/') {
                Some(("", _)) => "/",
                Some((folder, _)) => folder,
                None => ".",
            };
            for (path, file) in [
                (&target_path, seen_from(folder)),
                (&below, seen_from(&target_path)),
            ] {
                // What is there may stay: programs that copy fail, or are told not to.
                let may_stay = !is_forced && self.state.file(path).is_some_and(|old| *old != file);
                let file = if may_stay { File::Unknown } else { file };
                if !self.state.set_file(path, Some(file)) {
                    self.unknown("more files than are kept");
                }
            }
        }
    }
}
