//! What a screen row means to somebody who knows shells, editors and pagers.

/// What keys and screen tell about one line.
#[derive(Debug)]
pub(super) struct Reading {
    /// The text as the key model has it.
    pub(super) keys: String,
    /// The text behind the prompt, empty as well when the prompt is lost.
    pub(super) screen: String,
    /// The prompt is where it was, so an empty `screen` is an empty line.
    pub(super) has_prompt: bool,
    /// The line is what the keys say: the model could follow all of them, and nothing visible speaks against it.
    pub(super) is_sure: bool,
    /// The key model could, and the screen shows the same.
    pub(super) agrees: bool,
    /// What was typed is not shown.
    pub(super) is_hidden: bool,
}

impl Reading {
    /// Whether the screen shows the beginning of what was typed, and no more.
    pub(super) fn shows_half(&self) -> bool {
        let (shown, typed) = (self.screen.trim_end(), self.keys.trim_end());
        !shown.is_empty() && shown.len() < typed.len() && typed.starts_with(shown)
    }

    /// Takes back what the screen said: it is older than the keys.
    pub(super) fn forget(&mut self) {
        self.screen.clear();
        self.has_prompt = false;
        self.is_sure = false;
        self.agrees = false;
    }
}

/// What a row begins with that shows readline's incremental search.
pub(super) const SEARCH: &str = "(";

/// The line found by readline's incremental search, when the row shows one.
pub(super) fn searched(row: &str) -> Option<&str> {
    let search = row.strip_prefix(SEARCH)?;
    let (kind, rest) = search.split_once(")`")?;
    if !kind.ends_with("i-search") {
        return None;
    }
    rest.split_once("': ")
        .map(|(_, line)| line)
        .or_else(|| rest.strip_suffix("':"))
}

/// Cuts the row that zsh shows below the line during an incremental search.
pub(super) fn without_search(mut line: String) -> String {
    if let Some((start, last)) = line.rsplit_once('\n')
        && (last.contains("bck-i-search: ") || last.contains("fwd-i-search: "))
    {
        line.truncate(start.len());
    }
    line
}

/// Shell commands inside a line for an interpreter, a debugger or a database client.
pub(super) fn shell_escapes(line: &str) -> Vec<String> {
    let line = line.trim();
    let mut commands: Vec<String> = ESCAPES
        .iter()
        .filter_map(|escape| line.strip_prefix(escape))
        .map(|command| command.trim().to_owned())
        .collect();
    if CALLS.iter().any(|call| line.contains(call)) {
        let mut rest = line;
        while let Some((_, behind)) = rest.split_once(['"', '\''])
            && let Some(quote) = rest
                .chars()
                .nth(rest.chars().count() - behind.chars().count() - 1)
        {
            let Some((text, behind)) = behind.split_once(quote) else {
                break;
            };
            commands.push(text.to_owned());
            rest = behind;
            if commands.len() >= MAX_ESCAPES {
                break;
            }
        }
    }
    commands
}

/// How programs with a language of their own spell "run this in a shell".
const ESCAPES: [&str; 12] = [
    "!!", "!", "\\!", "shell ", "system ", ".shell ", ".system ", "sh ", ":!", "%sx ", "%system ",
    "exec ",
];
/// Calls that start programs in the usual languages.
const CALLS: [&str; 8] = [
    "system",
    "popen",
    "exec",
    "spawn",
    "subprocess",
    "call(",
    "run(",
    "`",
];
/// Quoted texts of one line that are judged.
const MAX_ESCAPES: usize = 16;

/// True for the continuation prompts that shells have by default.
pub(super) fn is_continuation_prompt(prompt: &str) -> bool {
    let Some(words) = prompt.trim().strip_suffix('>') else {
        return false;
    };
    words
        .chars()
        .all(|character| character.is_ascii_lowercase() || character == ' ')
}

/// The shell command in the command row of an editor or pager: `:!x`, `:r !x`, `!x`.
pub(super) fn escape_to_shell(row: &str) -> Option<&str> {
    let row = row.trim_start();
    if let Some(command) = row.strip_prefix('!') {
        return Some(command);
    }
    let command = row.strip_prefix(':')?;
    let (before, shell) = command.split_once('!')?;
    // `:q!` and `:w!` force; `:s/a!/b/` is text.
    let is_filter = before.is_empty()
        || before.ends_with(' ')
        || before
            .chars()
            .all(|character| character.is_ascii_digit() || ",.$%'<>+-".contains(character));
    (is_filter && !shell.trim().is_empty()).then_some(shell)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use super::*;

    #[test]
    fn a_search_shows_the_line_it_found() {
        assert_eq!(
            searched("(reverse-i-search)`srv': rm -rf /srv"),
            Some("rm -rf /srv")
        );
        assert_eq!(searched("(failed reverse-i-search)`x': ls"), Some("ls"));
        assert_eq!(searched("(venv) $ ls"), None);
    }

    #[test]
    fn continuation_prompts_are_known_by_their_form() {
        for prompt in ["> ", "quote> ", "cmdand heredoc> "] {
            assert!(is_continuation_prompt(prompt), "{prompt}");
        }
        assert!(!is_continuation_prompt("[app@pod-0 /data]$ "));
        assert!(!is_continuation_prompt(""));
    }

    #[test]
    fn commands_for_a_shell_are_found_in_other_languages() {
        assert_eq!(shell_escapes("!rm x"), ["rm x"]);
        assert_eq!(shell_escapes("shell rm x"), ["rm x"]);
        assert_eq!(shell_escapes("os.system(\"rm x\")"), ["rm x"]);
        assert!(shell_escapes("print('rm')").is_empty());
    }

    #[test]
    fn only_real_escapes_to_a_shell_are_commands() {
        assert_eq!(escape_to_shell(":!rm -rf /"), Some("rm -rf /"));
        assert_eq!(escape_to_shell(":r !ls"), Some("ls"));
        assert_eq!(escape_to_shell(":%!sort"), Some("sort"));
        assert_eq!(escape_to_shell("!ls"), Some("ls"));
        assert_eq!(escape_to_shell(":q!"), None);
        assert_eq!(escape_to_shell(":wq! file"), None);
    }
}
