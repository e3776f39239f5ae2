//! Which program a name stands for.

use crate::shell::{
    known,
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
            if let Some(File::Program(name)) = self.state.file(&self.absolute(program)) {
                // busybox does what it is called like.
                return if name == "busybox" {
                    base_name(program).to_owned()
                } else {
                    name.clone()
                };
            }
        } else if let Some(File::Program(name)) = self.state.file(&format!("hash:{program}")) {
            return name.clone();
        } else if self.state.variable("PATH").is_some() {
            // Some folder was put in front of the others.
            let tail = format!("/{program}");
            for (path, file) in self.state.files() {
                if let File::Program(name) = file
                    && (path.ends_with(&tail) || path == program)
                {
                    return name.clone();
                }
            }
        }
        base_name(program).to_owned()
    }

    /// A path below the working directory, where that is known.
    pub(super) fn placed(&self, path: Value) -> Value {
        match path {
            Value::Known(path) => Value::Known(self.absolute(&path)),
            Value::Pattern(path) if !path.starts_with('/') => Value::Pattern(self.absolute(&path)),
            Value::Unknown {
                reason,
                prefix,
                suffix,
            } if !prefix.is_empty() && prefix.contains('/') && !prefix.starts_with('/') => {
                let prefix = self.absolute(&prefix);
                Value::Unknown {
                    reason,
                    prefix,
                    suffix,
                }
            }
            other => other,
        }
    }

    /// A program that this session wrote, or that no image has.
    pub(super) fn outside_of_image(&mut self, program: &str) {
        if !program.contains('/') || self.certainty == Certainty::Dead {
            return;
        }
        let path = self.absolute(program);
        match self.state.file(&path) {
            Some(File::Program(_)) => return,
            Some(File::Text(text)) => {
                // A script that is known.
                let text = text.clone();
                let _out = self.below(|runner| runner.text(&text));
                return;
            }
            Some(File::Unknown) => {
                return self.unknown("a program that was written in this session");
            }
            None => {}
        }
        if !known::is_program_path(&path) {
            self.unknown("a program that stands where no packaged one does");
        }
    }

    /// Programs under other names: copies and links.
    pub(super) fn links(&mut self, name: &str, arguments: &[Value]) {
        if self.certainty >= Certainty::Latent
            || !matches!(name, "ln" | "cp" | "install" | "mv" | "link")
        {
            return;
        }
        let operands: Vec<&str> = utility::operands(name, arguments)
            .into_iter()
            .filter_map(Value::known)
            .collect();
        let [sources @ .., target] = operands.as_slice() else {
            return;
        };
        for source in sources {
            let file = match self.state.file(&self.absolute(source)) {
                Some(file) => Some(file.clone()),
                None if known::is_program_path(&self.absolute(source)) => {
                    Some(File::Program(base_name(source).to_owned()))
                }
                None => None,
            };
            let Some(file) = file else { continue };
            let target_path = self.absolute(target);
            let below = format!("{target_path}/{}", base_name(source));
            if !self.state.set_file(&target_path, Some(file.clone()))
                || !self.state.set_file(&below, Some(file))
            {
                self.unknown("more files than are kept");
            }
        }
    }
}
