//! Keystrokes and echo become the line the shell will get, or "cannot tell".
//!
//! Two witnesses look at the same line. The [`LineEditor`] replays the keys on
//! a model of readline; the [`Screen`] reads what the container's output shows
//! behind the prompt. Neither is trusted alone: keys can be bound to anything,
//! and a program can print anything.

mod key;
mod line_editor;
mod screen;

pub use key::{Key, KeyDecoder};
pub use line_editor::{LineEditor, MAX_LINE};
pub use screen::Screen;
