//! Standard output: lines and tables.

use std::io::{self, Write};

/// Prints one line and flushes it.
///
/// # Errors
/// Returns an error if standard output is closed.
pub(super) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Prints a table.
///
/// # Errors
/// Returns an error if standard output is closed.
pub(super) fn table(titles: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    Table::new(titles, rows).print(rows)
}

/// A table, its columns two spaces apart.
#[derive(Debug, Default)]
pub(super) struct Table {
    titles: Vec<String>,
    widths: Vec<usize>,
}

impl Table {
    /// A table whose columns are as wide as their titles and the cells of these rows.
    pub(super) fn new(titles: &[&str], rows: &[Vec<String>]) -> Self {
        let mut widths: Vec<usize> = titles.iter().map(|title| width(title)).collect();
        for row in rows {
            for (most, cell) in widths.iter_mut().zip(row) {
                *most = (*most).max(width(cell));
            }
        }
        Self { titles: titles.iter().map(|title| (*title).to_owned()).collect(), widths }
    }

    /// Prints the titles and rows.
    ///
    /// # Errors
    /// Returns an error if standard output is closed.
    pub(super) fn print(&self, rows: &[Vec<String>]) -> io::Result<()> {
        self.row(&self.titles)?;
        rows.iter().try_for_each(|row| self.row(row))
    }

    /// Prints one row.
    ///
    /// # Errors
    /// Returns an error if standard output is closed.
    pub(super) fn row(&self, cells: &[String]) -> io::Result<()> {
        line(&columns(cells, &self.widths))
    }
}

/// One row, without trailing spaces.
fn columns(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, most) in cells.iter().zip(widths) {
        let cell = clean(cell);
        let padding = most.saturating_sub(width(&cell)) + 2;
        text.push_str(&cell);
        text.extend(std::iter::repeat_n(' ', padding));
    }
    text.truncate(text.trim_end().len());
    text
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Untrusted text on one line, without terminal control sequences.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The same for text of several lines.
pub(super) fn clean_lines(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// The value, or a dash for an empty table cell.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_harmless() {
        let row = ["ä".to_owned(), "\u{1b}[31mred".to_owned()];
        assert_eq!(columns(&row, &[3, 4]), "ä     [31mred");
        assert_eq!(columns(&["a".into(), String::new()], &[1, 9]), "a");
        assert_eq!(clean_lines("a\n\u{7}b"), "a\n\u{fffd}b");
        let table = Table::new(&["A", "LONG"], &[vec!["wider".into(), "x".into()]]);
        assert_eq!(columns(&table.titles, &table.widths), "A      LONG");
    }
}
