//! Tables that fit the terminal: wide columns are cut, then the least important ones left out.

use console::{Style, measure_text_width, truncate_str};

use super::painted;

/// Between two columns.
const GAP: usize = 2;

/// A column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    is_number: bool,
    /// How narrow it may get when room is short.
    width_min: Option<usize>,
    /// Which columns go first when room is shorter still: the highest number. Those of 0 stay.
    rank: u8,
}

impl Column {
    /// Makes a column of texts that stays and is never cut.
    pub(crate) const fn text(title: &'static str) -> Self {
        Self { title, is_number: false, width_min: None, rank: 0 }
    }

    /// Makes a column of numbers, aligned to the right.
    pub(crate) const fn number(title: &'static str) -> Self {
        Self { is_number: true, ..Self::text(title) }
    }

    /// Lets it be cut to this width.
    pub(crate) const fn down_to(self, width_min: usize) -> Self {
        Self { width_min: Some(width_min), ..self }
    }

    /// Lets it be left out, the highest rank first.
    pub(crate) const fn rank(self, rank: u8) -> Self {
        Self { rank, ..self }
    }
}

/// A cell: a text that is plain already, and its colour.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// Colours a cell.
    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.to_string(), style: Style::new() }
    }
}

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Makes an empty table.
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row: a cell for each column.
    pub(crate) fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        let mut cells = cells.into();
        cells.resize(self.columns.len(), Cell::from(""));
        self.rows.push(cells);
    }

    /// Says whether there are no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes it, no wider than `width`, a line each.
    pub(crate) fn render(&self, width: Option<usize>, color: bool) -> String {
        let layout = self.layout(width.unwrap_or(usize::MAX));
        let mut out = String::new();
        let title = |column: &Column| Cell::styled(column.title, Style::new().bold());
        let titles: Vec<Cell> = self.columns.iter().map(title).collect();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            for (place, &(index, room)) in layout.iter().enumerate() {
                let Cell { text, style } = &row[index];
                let text = truncate_str(text, room, "…");
                let padding = " ".repeat(room.saturating_sub(measure_text_width(&text)));
                let text = painted(&text, style, color);
                let is_last = place + 1 == layout.len();
                match (self.columns[index].is_number, is_last) {
                    (true, _) => line.extend([padding.as_str(), &text]),
                    // No spaces at the end of a line.
                    (false, true) => line.push_str(&text),
                    (false, false) => line.extend([text.as_str(), &padding]),
                }
                if !is_last {
                    line.push_str(&" ".repeat(GAP));
                }
            }
            out.push_str(line.trim_end_matches(' '));
            out.push('\n');
        }
        out
    }

    /// Decides which columns are shown, and how wide.
    fn layout(&self, width: usize) -> Vec<(usize, usize)> {
        let natural = |(index, column): (usize, &Column)| {
            let cells = self.rows.iter().map(|row| measure_text_width(&row[index].text));
            (index, cells.max().unwrap_or_default().max(column.title.len()))
        };
        let mut layout: Vec<(usize, usize)> = self.columns.iter().enumerate().map(natural).collect();
        loop {
            let fitted = self.fitted(&layout, width);
            let rank = |&(index, _): &(usize, usize)| self.columns[index].rank;
            let last = layout.iter().map(rank).max().unwrap_or_default();
            if last == 0 || total(&fitted) <= width {
                return fitted;
            }
            layout.retain(|column| rank(column) != last);
        }
    }

    /// Cuts the widest columns until they fit, or can't be cut further.
    fn fitted(&self, layout: &[(usize, usize)], width: usize) -> Vec<(usize, usize)> {
        let mut fitted = layout.to_vec();
        while total(&fitted) > width {
            let excess = total(&fitted) - width;
            let spare = |&(index, room): &(usize, usize)| {
                self.columns[index].width_min.map_or(0, |width_min| room.saturating_sub(width_min))
            };
            let Some(widest) = fitted.iter_mut().filter(|column| spare(column) > 0).max_by_key(|column| column.1)
            else {
                break;
            };
            // One at a time where two are as wide, so that they share the loss.
            widest.1 -= excess.min(spare(widest)).min((excess / 2).max(1));
        }
        fitted
    }
}

fn total(layout: &[(usize, usize)]) -> usize {
    layout.iter().map(|(_, room)| room).sum::<usize>() + GAP * layout.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let columns = [
            Column::number("PK"),
            Column::text("NAME").down_to(6),
            Column::text("AGE").rank(1),
            Column::text("ABOUT").down_to(8).rank(2),
        ];
        let mut table = Table::new(&columns);
        table.row(["7".into(), "試料の測定".into(), "3h".into(), "the quick brown fox".into()]);
        table.row([
            "1234".into(),
            Cell::styled("short", Style::new().red()),
            "12m".into(),
            "jumps over the lazy dog".into(),
        ]);
        table
    }

    #[test]
    fn columns_are_cut_and_then_left_out() {
        let wide = "  PK  NAME        AGE  ABOUT\n   7  試料の測定  3h   the quick brown fox\n1234  short       12m  jumps over the lazy dog\n";
        assert_eq!(table().render(None, false), wide);
        assert_eq!(
            table().render(Some(40), false),
            "  PK  NAME        AGE  ABOUT\n   7  試料の測定  3h   the quick brown …\n1234  short       12m  jumps over the l…\n"
        );
        assert_eq!(
            table().render(Some(24), false),
            "  PK  NAME        AGE\n   7  試料の測定  3h\n1234  short       12m\n"
        );
        assert_eq!(table().render(Some(12), false), "  PK  NAME\n   7  試料…\n1234  short\n");
        for width in 12..60 {
            for line in table().render(Some(width), true).lines() {
                assert!(measure_text_width(line) <= width, "{line:?} is wider than {width}");
            }
        }
    }

    #[test]
    fn colours_are_there_only_when_they_are_wanted() {
        assert!(!table().render(None, false).contains('\u{1b}'));
        assert!(table().render(None, true).contains("\u{1b}[31mshort\u{1b}[0m"));
    }
}
