use std::io::{self, Write};

use crate::printable::printable;

/// Plain columns as kubectl prints them: upper-case headings, three spaces between, no frame.
///
/// Cells are made safe for a terminal when they are added. A table may be written in parts: later
/// rows keep to the widths of the ones before.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
    widest: usize,
}

impl Table {
    /// A table without headings yet.
    pub(crate) const fn new() -> Self {
        Self {
            rows: Vec::new(),
            widths: Vec::new(),
            widest: usize::MAX,
        }
    }

    /// Columns are at most this wide: a longer cell moves the rest of its row only. Nothing is
    /// ever cut.
    pub(crate) const fn with_widest(mut self, widest: usize) -> Self {
        self.widest = widest;
        self
    }

    /// Adds a row; the first one may be headings.
    pub(crate) fn push<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let row: Vec<_> = cells
            .into_iter()
            .map(|cell| printable(cell.as_ref()).into_owned())
            .collect();
        if self.widths.len() < row.len() {
            self.widths.resize(row.len(), 0);
        }
        for (width, cell) in self.widths.iter_mut().zip(&row) {
            *width = cell.chars().count().min(self.widest).max(*width);
        }
        self.rows.push(row);
    }

    /// Writes the rows added since the last time; the last column is as long as it is.
    pub(crate) fn write_to(&mut self, out: &mut impl Write) -> io::Result<()> {
        for row in self.rows.drain(..) {
            let mut line = String::new();
            for (index, (cell, width)) in row.iter().zip(&self.widths).enumerate() {
                line.push_str(cell);
                if index + 1 < row.len() {
                    let padding = width.saturating_sub(cell.chars().count()) + 3;
                    line.extend(std::iter::repeat_n(' ', padding));
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::Table;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new();
        table.push(["NAME", "READY", "AGE"]);
        table.push(["web-1", "1/1", "5m"]);
        table.push(["a-much-longer-name", "0/1", "\x1b[31m"]);
        let mut out = Vec::new();
        table.write_to(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "NAME                 READY   AGE\n\
             web-1                1/1     5m\n\
             a-much-longer-name   0/1     \\x1b[31m\n"
        );
    }

    #[test]
    fn a_long_cell_moves_only_its_own_row() {
        let mut table = Table::new().with_widest(4);
        table.push(["ab", "x"]);
        table.push(["much too long", "y"]);
        let mut out = Vec::new();
        table.write_to(&mut out).unwrap();
        table.push(["c", "z"]);
        table.write_to(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "ab     x\nmuch too long   y\nc      z\n"
        );
    }
}
