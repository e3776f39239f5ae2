//! Words that are sought in texts.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// Words of which any may stand in a text.
pub(crate) struct Words(LazyLock<Option<AhoCorasick>>);

impl Words {
    /// `make` is a call of [`finder`].
    pub(crate) const fn new(make: fn() -> Option<AhoCorasick>) -> Self {
        Self(LazyLock::new(make))
    }

    /// Whether one of them stands in `text`, as a part of a word, too.
    pub(crate) fn any_in(&self, text: &str) -> bool {
        // What cannot be sought may stand anywhere.
        self.0.as_ref().is_none_or(|finder| finder.is_match(text))
    }
}

/// What finds any of `words`.
pub(crate) fn finder(words: &[&str]) -> Option<AhoCorasick> {
    AhoCorasick::new(words).ok()
}

/// The same, in letters of either size.
pub(crate) fn finder_of_letters(words: &[&str]) -> Option<AhoCorasick> {
    let mut builder = AhoCorasick::builder();
    builder.ascii_case_insensitive(true).build(words).ok()
}

#[cfg(test)]
mod tests {
    use super::{Words, finder, finder_of_letters};

    static WORDS: Words = Words::new(|| finder(&["stty", "bind"]));
    static LETTERS: Words = Words::new(|| finder_of_letters(&["token"]));

    #[test]
    fn any_of_them_is_found_anywhere() {
        assert!(WORDS.any_in("stty -echo") && WORDS.any_in("a; rebind"));
        assert!(!WORDS.any_in("ls") && !WORDS.any_in("") && !WORDS.any_in("STTY"));
        assert!(LETTERS.any_in("MyToken") && !LETTERS.any_in("tok"));
    }
}
