//! Plain tables for the terminal, columns as wide as they need to be, and times for people.

pub(super) use crate::daytime::utc as time;

/// Rows of text under headings; the last column may be of any width.
#[derive(Debug, Default)]
pub(super) struct Table {
    headings: Vec<&'static str>,
    right: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table; columns named in `right` are numbers and go to the right.
    pub(super) fn new(headings: &[&'static str], right: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            right: right.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with one cell per heading.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as lines; only the headings if there are no rows.
    pub(super) fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|r| r.get(column));
                let cells = cells.map(|c| c.chars().count());
                let heading = self.headings.get(column).map_or(0, |h| h.len());
                cells.chain([heading]).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        let headings = self.headings.iter().map(|h| h.to_uppercase());
        self.line(&headings.collect::<Vec<_>>(), &widths, &mut text);
        for row in &self.rows {
            self.line(row, &widths, &mut text);
        }
        text
    }

    fn line(&self, cells: &[String], widths: &[usize], text: &mut String) {
        let mut line = String::new();
        for ((cell, width), heading) in cells.iter().zip(widths).zip(&self.headings) {
            let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
            if self.right.contains(heading) {
                line.push_str(&pad);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&pad);
            }
            line.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// Seconds as RouterOS prints them: `1d2h3m4s` without the parts that are zero.
pub(super) fn duration(seconds: u64) -> String {
    let parts = [
        (seconds / 86_400, 'd'),
        (seconds / 3_600 % 24, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ];
    let text: String = parts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect();
    if text.is_empty() { "0s".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_go_right() {
        let mut table = Table::new(&["name", "packets"], &["packets"]);
        table.row(vec!["a".into(), "12345678".into()]);
        table.row(vec!["longer".into(), "7".into()]);
        assert_eq!(
            table.render(),
            "NAME     PACKETS\na       12345678\nlonger         7\n"
        );
    }

    #[test]
    fn durations_leave_out_what_is_zero() {
        assert_eq!(duration(0), "0s");
        assert_eq!(duration(90_061), "1d1h1m1s");
        assert_eq!(duration(3_600), "1h");
    }
}
