//! What a refused user sees.

use super::approval::Settlement;
use crate::Verdict;

/// The message on a terminal: red, on a line of its own, without control characters.
///
/// The cursor may stand anywhere in the user's line, so the message starts on a
/// new row; the shell draws its next prompt below it.
pub(super) fn on_terminal(verdict: &Verdict, is_hidden: bool) -> Vec<u8> {
    format!("\r\n\x1b[31m{}\x1b[0m\r\n", message(verdict, is_hidden)).into_bytes()
}

/// What a user sees whose line was taken out of a command that is not complete.
pub(super) fn left_open() -> &'static [u8] {
    b"\x1b[31mdockin: only this line is taken out; the lines before it still wait for more, ^C drops them\x1b[0m\r\n"
}

/// The message on stderr of a session without terminal.
pub(super) fn on_stderr(verdict: &Verdict) -> Vec<u8> {
    format!("{}\n", message(verdict, false)).into_bytes()
}

/// What a user sees whose line waits, on a terminal.
pub(super) fn held_on_terminal(verdict: &Verdict, is_hidden: bool) -> Vec<u8> {
    let text = if is_hidden {
        "dockin: held: hidden input waits for a second person".to_owned()
    } else {
        held(verdict)
    };
    format!("\r\n\x1b[33m{}; ^C takes it back\x1b[0m\r\n", clean(&text)).into_bytes()
}

/// The same without a terminal.
pub(super) fn held_on_stderr(verdict: &Verdict) -> Vec<u8> {
    format!("{}\n", clean(&held(verdict))).into_bytes()
}

/// What became of it, on a terminal.
pub(super) fn settled_on_terminal(settlement: &Settlement) -> Vec<u8> {
    let color = if settlement.is_approval() { 32 } else { 31 };
    let text = clean(&format!("dockin: {settlement}"));
    format!("\x1b[{color}m{text}\x1b[0m\r\n").into_bytes()
}

/// The same without a terminal.
pub(super) fn settled_on_stderr(settlement: &Settlement) -> Vec<u8> {
    format!("{}\n", clean(&format!("dockin: {settlement}"))).into_bytes()
}

fn held(verdict: &Verdict) -> String {
    let by = verdict.rule.as_deref().unwrap_or("the rule set");
    format!(
        "dockin: held: `{}` waits for a second person, by `{by}`",
        verdict.subject
    )
}

fn message(verdict: &Verdict, is_hidden: bool) -> String {
    let text = if is_hidden {
        // The verdict may quote what was typed without echo.
        let rule = verdict.rule.as_deref().unwrap_or("the rule set");
        format!("dockin: refused: hidden input, by `{rule}`")
    } else {
        format!("dockin: refused: {verdict}")
    };
    clean(&text)
}

fn clean(text: &str) -> String {
    let mut clean: String = text
        .chars()
        .map(|character| {
            if is_hostile(character) {
                '?'
            } else {
                character
            }
        })
        .collect();
    if let Some((end, _)) = clean.char_indices().nth(MAX_MESSAGE) {
        clean.truncate(end);
        clean.push('…');
    }
    clean
}

/// Characters that move the cursor or turn the text around.
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Longest message, characters; five rows of a usual terminal.
const MAX_MESSAGE: usize = 400;
