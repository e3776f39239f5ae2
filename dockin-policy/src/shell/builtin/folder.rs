//! `cd` and its like.

use crate::shell::{Dialect, run::Runner, session::Variable, value::Value};

impl Runner<'_> {
    /// Goes where `cd`, `chdir` or `pushd` is told to.
    pub(super) fn go_to(&mut self, program: &str, arguments: &[Value]) {
        let zsh = self.dialect() == Dialect::Zsh;
        if program == "pushd" && arguments.iter().any(|it| it.known() == Some("-n")) {
            // It is only put on the stack.
            return;
        }
        let mut targets = arguments.iter().filter(|it| {
            it.known()
                .is_none_or(|text| !is_option(text) || text == "-")
        });
        let target = targets.next();
        // zsh puts the second in place of the first in where it is.
        let replaces = zsh && targets.next().is_some();
        // `CDPATH` has other folders to look in.
        let searches = self.state.variable("CDPATH").is_some()
            || zsh && self.state.variable("cdpath").is_some();
        match target {
            Some(Value::Known(path))
                if !replaces
                    && !is_of_stack(path)
                    && (!searches || path.starts_with(['/', '.'])) =>
            {
                let path = path.clone();
                self.change_directory(Some(&path));
            }
            None if program != "pushd" => {
                let home = match self.state.variable("HOME") {
                    None => Some("~".to_owned()),
                    Some(Variable::Text(home)) => Some(home.clone()),
                    Some(_) => None,
                };
                self.change_directory(home.as_deref());
            }
            _ => self.change_directory(None),
        }
    }
}

fn is_option(text: &str) -> bool {
    text.starts_with('-') && !is_of_stack(text)
}

/// `-`, `+1` and `-1` are folders of before.
fn is_of_stack(text: &str) -> bool {
    text == "-"
        || text
            .strip_prefix(['+', '-'])
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}
