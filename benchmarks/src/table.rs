//! A table of text cells, as plain text, Markdown or CSV.

/// Which side of a column its cells keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Names.
    Left,
    /// Numbers.
    Right,
}

/// A table of text cells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    columns: Vec<(Vec<String>, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without columns.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column; a line break in `heading` sets a second line in plain text and a space
    /// elsewhere. Columns are added before rows.
    #[must_use]
    pub fn column(mut self, heading: &str, align: Align) -> Self {
        self.columns.push((heading.lines().map(str::to_owned).collect(), align));
        self
    }

    /// Adds a row. Cells beyond the columns are dropped, missing ones are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut cells: Vec<_> = cells.into_iter().collect();
        cells.resize(self.columns.len(), String::new());
        self.rows.push(cells);
    }

    /// Aligned columns for a terminal, two spaces apart, with a rule under the headings.
    #[must_use]
    pub fn to_text(&self) -> String {
        let widths: Vec<_> = (0..self.columns.len()).map(|at| self.width(at)).collect();
        let lines = self.columns.iter().map(|(heading, _)| heading.len()).max().unwrap_or(0);
        let mut text = String::new();
        for line in 0..lines {
            let cell = |(heading, _): &(Vec<String>, Align)| {
                heading.get(line).map_or("", String::as_str).to_owned()
            };
            self.push_line(&mut text, &widths, self.columns.iter().map(cell));
        }
        let rule = widths.iter().map(|&width| "-".repeat(width));
        self.push_line(&mut text, &widths, rule);
        for row in &self.rows {
            self.push_line(&mut text, &widths, row.iter().cloned());
        }
        text
    }

    /// A table of GitHub's Markdown; `|` in a cell is escaped.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let escape = |cell: &str| cell.replace('|', "\\|").replace('\n', " ");
        let headings = self.columns.iter().map(|(heading, _)| escape(&heading.join(" ")));
        let rule = self.columns.iter().map(|(_, align)| match align {
            Align::Left => ":--".to_owned(),
            Align::Right => "--:".to_owned(),
        });
        let mut text = line(headings.collect()) + &line(rule.collect());
        for row in &self.rows {
            text += &line(row.iter().map(|cell| escape(cell)).collect());
        }
        text
    }

    /// Comma-separated values as RFC 4180 has them, with a line of headings.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let line = |cells: Vec<String>| cells.join(",") + "\r\n";
        let quote = |cell: &str| {
            if cell.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", cell.replace('"', "\"\""))
            } else {
                cell.to_owned()
            }
        };
        let mut text = line(self.columns.iter().map(|(h, _)| quote(&h.join(" "))).collect());
        for row in &self.rows {
            text += &line(row.iter().map(|cell| quote(cell)).collect());
        }
        text
    }

    fn width(&self, at: usize) -> usize {
        let headings = self.columns[at].0.iter();
        let cells = self.rows.iter().map(|row| &row[at]);
        headings.chain(cells).map(|cell| cell.chars().count()).max().unwrap_or(0)
    }

    fn push_line(&self, text: &mut String, widths: &[usize], cells: impl Iterator<Item = String>) {
        let mut line = String::new();
        for ((cell, &width), (_, align)) in cells.zip(widths).zip(&self.columns) {
            let space = " ".repeat(width.saturating_sub(cell.chars().count()));
            match align {
                Align::Left => line += &format!("{cell}{space}  "),
                Align::Right => line += &format!("{space}{cell}  "),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table =
            Table::new().column("variant", Align::Left).column("acc@1\n%", Align::Right);
        table.row(["a|b".to_owned(), "9.1".to_owned()]);
        table.row(["longer, name".to_owned(), "10.25".to_owned()]);
        table
    }

    #[test]
    fn text_is_aligned_by_characters() {
        let expect = "\
variant       acc@1
                  %
------------  -----
a|b             9.1
longer, name  10.25
";
        assert_eq!(sample().to_text(), expect);
    }

    #[test]
    fn markdown_escapes_the_bar() {
        let expect =
            "| variant | acc@1 % |\n| :-- | --: |\n| a\\|b | 9.1 |\n| longer, name | 10.25 |\n";
        assert_eq!(sample().to_markdown(), expect);
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let mut table = sample();
        table.row(["say \"x\"".to_owned()]);
        let expect =
            "variant,acc@1 %\r\na|b,9.1\r\n\"longer, name\",10.25\r\n\"say \"\"x\"\"\",\r\n";
        assert_eq!(table.to_csv(), expect);
    }
}
