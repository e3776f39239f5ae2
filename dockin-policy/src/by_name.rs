//! Tables that are asked by a program's name: every program of every line asks all of them.

use std::{collections::HashMap, sync::LazyLock};

use foldhash::fast::RandomState;

type Rows<T> = HashMap<&'static str, Vec<&'static T>, RandomState>;

/// The rows of a table by the names that each has.
pub(crate) struct ByName<T: 'static>(LazyLock<Rows<T>>);

impl<T> ByName<T> {
    /// `rows` is a call of [`rows`].
    pub(crate) const fn new(rows: fn() -> Rows<T>) -> Self {
        Self(LazyLock::new(rows))
    }

    /// The rows with this name, in the order of the table.
    pub(crate) fn of(&self, name: &str) -> &[&'static T] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

/// What [`ByName`] keeps of `table`, whose rows have these names.
pub(crate) fn rows<T>(
    table: &'static [T],
    names: fn(&'static T) -> &'static [&'static str],
) -> Rows<T> {
    let mut rows: Rows<T> = HashMap::default();
    for row in table {
        for name in names(row) {
            rows.entry(name).or_default().push(row);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::{ByName, rows};

    const TABLE: &[(&[&str], u8)] = &[(&["a", "b"], 1), (&["b"], 2)];
    static BY_NAME: ByName<(&[&str], u8)> = ByName::new(|| rows(TABLE, |row| row.0));

    #[test]
    fn rows_are_found_by_each_of_their_names_in_order() {
        let of = |name| -> Vec<u8> { BY_NAME.of(name).iter().map(|row| row.1).collect() };
        assert_eq!(of("a"), [1]);
        assert_eq!(of("b"), [1, 2]);
        assert!(of("c").is_empty());
    }
}
