//! Names that speak of secrets, and tokens that are told by how they begin.

use super::MASK;
use crate::words::{Words, finder_of_letters};

/// Tokens that are told by how they begin, whatever stands before them.
pub(super) fn known_tokens(word: &str) -> Option<String> {
    let mut output = String::new();
    let (mut copied, mut at, mut inside) = (0, 0, false);
    while let Some(rest) = word.get(at..).filter(|rest| rest.len() >= SHORTEST_TOKEN) {
        let Some(first) = rest.chars().next() else {
            break;
        };
        let is_token = |character: char| {
            character.is_ascii_alphanumeric()
                || matches!(character, '_' | '-' | '.' | '+' | '/' | '=')
        };
        if !inside && TOKENS.iter().any(|prefix| rest.starts_with(prefix)) {
            let length = rest
                .find(|character| !is_token(character))
                .unwrap_or(rest.len());
            if length >= SHORTEST_TOKEN {
                output.push_str(word.get(copied..at)?);
                output.push_str(MASK);
                at += length;
                copied = at;
                inside = true;
                continue;
            }
        }
        inside = first.is_ascii_alphanumeric();
        at += first.len_utf8();
    }
    if copied == 0 {
        return None;
    }
    output.push_str(word.get(copied..)?);
    Some(output)
}

/// Characters of the shortest token, prefix included.
const SHORTEST_TOKEN: usize = 20;

pub(super) fn is_secret_name(text: &str) -> bool {
    let fold = |byte: &u8| match byte {
        b'-' => b'_',
        byte => byte.to_ascii_lowercase(),
    };
    let name = text.as_bytes();
    let is = |text: &[u8], word: &str| text.iter().map(fold).eq(word.bytes());
    let begins = |at: usize, part: &str| {
        name.get(at..at + part.len())
            .is_some_and(|text| is(text, part))
    };
    SECRET_PARTS.any_in(text)
        || SECRET_WORDS.iter().any(|word| {
            let Some(at) = name.len().checked_sub(word.len()) else {
                return false;
            };
            let before = at.checked_sub(1).and_then(|before| name.get(before));
            begins(at, word) && before.is_none_or(|before| fold(before) == b'_')
        })
}

/// What tokens of well-known services begin with.
const TOKENS: [&str; 20] = [
    "AKIA",
    "ASIA",
    "AIza",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "sk-",
    "sk_live_",
    "hvs.",
    "dckr_pat_",
    "npm_",
    "pypi-",
    "eyJ",
    "SG.",
];
static SECRET_PARTS: Words = Words::new(|| {
    finder_of_letters(&[
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "credential",
        "private_key",
        "private-key",
        "api_key",
        "api-key",
        "apikey",
        "bearer",
        "access_key",
        "access-key",
        "accesskey",
        "sshpass",
        "storepass",
        "keypass",
    ])
});
const SECRET_WORDS: [&str; 6] = ["pass", "pwd", "pw", "auth", "pgpassword", "mysql_pwd"];
