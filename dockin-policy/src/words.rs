//! Words that are sought in texts.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// Words of which any may stand in a text.
pub(crate) struct Words(LazyLock<Vec<Finder<'static>>>);

impl Words {
    /// `make` is a call of [`finders`].
    pub(crate) const fn new(make: fn() -> Vec<Finder<'static>>) -> Self {
        Self(LazyLock::new(make))
    }

    /// Whether one of them stands in `text`, as a part of a word, too.
    pub(crate) fn any_in(&self, text: &str) -> bool {
        let text = text.as_bytes();
        self.0.iter().any(|finder| finder.find(text).is_some())
    }
}

/// What finds each of `words`.
pub(crate) fn finders(words: &[&'static str]) -> Vec<Finder<'static>> {
    words.iter().map(|word| Finder::new(*word)).collect()
}

#[cfg(test)]
mod tests {
    use super::{Words, finders};

    static WORDS: Words = Words::new(|| finders(&["stty", "bind"]));

    #[test]
    fn any_of_them_is_found_anywhere() {
        assert!(WORDS.any_in("stty -echo") && WORDS.any_in("a; rebind"));
        assert!(!WORDS.any_in("ls") && !WORDS.any_in(""));
    }
}
