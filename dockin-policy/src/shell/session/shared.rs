//! What copies of a session have in common until one of them changes it.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

/// A value that is copied when it is written to, and not when it is cloned: each line is judged in
/// a copy of its session, and most lines set next to nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Shared<T>(Arc<T>);

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}
