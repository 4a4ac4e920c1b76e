//! Lines of values as a table, and their columns of numbers as a plot.

use super::plot::{Plot, Series};

/// Rows and columns that are shown.
const ROWS_MAX: usize = 100;
const COLUMNS_MAX: usize = 24;
/// Rows that are read for the plot.
const PLOTTED_ROWS_MAX: usize = 200_000;
/// Columns that are plotted: as many as the look has lines for.
const SERIES_MAX: usize = 4;
/// Characters of a value that are shown.
const CHARS_MAX: usize = 200;

/// What is shown of a table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) header: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    /// How many rows there are in what was read.
    pub(super) total: String,
    /// Whether more rows or columns are there than are shown.
    pub(super) is_cut: bool,
    pub(super) plot: Option<Plot>,
}

/// Takes lines of values apart; `None` when there is no row of them.
pub(super) fn of(head: &[u8], delimiter: u8, is_whole: bool) -> Option<Table> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .from_reader(head);
    let mut rows: Vec<csv::ByteRecord> =
        reader.byte_records().take(PLOTTED_ROWS_MAX + 1).map_while(Result::ok).collect();
    if !is_whole {
        // It is cut somewhere.
        rows.pop();
    }
    let has_header = rows.first().is_some_and(|first| !first.iter().any(|value| number(value).is_some()));
    let columns = rows.iter().take(ROWS_MAX).map(csv::ByteRecord::len).max()?;
    let header = match has_header {
        true => texts(&rows.remove(0)),
        false => (1..=columns.min(COLUMNS_MAX)).map(|place| place.to_string()).collect(),
    };
    Some(Table {
        rows: rows.iter().take(ROWS_MAX).map(texts).collect(),
        total: crate::server::pages::show::count(i64::try_from(rows.len()).unwrap_or(i64::MAX)),
        is_cut: rows.len() > ROWS_MAX || columns > COLUMNS_MAX,
        plot: plot(&header, &rows),
        header,
    })
}

fn texts(record: &csv::ByteRecord) -> Vec<String> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).chars().take(CHARS_MAX).collect();
    record.iter().take(COLUMNS_MAX).map(text).collect()
}

/// Reads a number that can be drawn.
fn number(value: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
    number.is_finite().then_some(number)
}

/// Plots the columns of numbers over the first of them, if that grows; else over the number of the row.
fn plot(header: &[String], rows: &[csv::ByteRecord]) -> Option<Plot> {
    const ROWS_MIN: usize = 3;
    if rows.len() < ROWS_MIN {
        return None;
    }
    let column =
        |place: usize| -> Vec<Option<f64>> { rows.iter().map(|row| row.get(place).and_then(number)).collect() };
    let mut numeric: Vec<(String, Vec<Option<f64>>)> = Vec::new();
    for (place, name) in header.iter().enumerate() {
        let values = column(place);
        let count = values.iter().flatten().count();
        // A column of numbers may have gaps, but not mostly.
        if count >= ROWS_MIN && count * 2 > values.len() {
            numeric.push((name.clone(), values));
        }
        if numeric.len() > SERIES_MAX {
            break;
        }
    }
    let grows = |values: &[Option<f64>]| {
        values.iter().all(Option::is_some) && values.windows(2).all(|two| matches!(two, [a, b] if a < b))
    };
    let (x_name, x) = match numeric.first() {
        Some((_, values)) if numeric.len() > 1 && grows(values) => {
            let (name, values) = numeric.remove(0);
            (name, values.into_iter().flatten().collect())
        }
        Some(_) => ("row".to_owned(), (1..=rows.len()).map(|row| row as f64).collect::<Vec<f64>>()),
        None => return None,
    };
    numeric.truncate(SERIES_MAX);
    let series = numeric.into_iter().map(|(name, values)| {
        let points = x.iter().copied().zip(values).filter_map(|(x, y)| Some((x, y?)));
        Series { name, points: points.collect() }
    });
    Plot::of(x_name, series.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_its_header_its_rows_and_its_plot() {
        let text = "time,signal,note\n0,1.5,a\n1,2.5,\"b, c\"\n2,,<b>\n3,4,d\n";
        let table = of(text.as_bytes(), b',', true).unwrap();
        assert_eq!(table.header, ["time", "signal", "note"]);
        assert_eq!(table.rows[1], ["1", "2.5", "b, c"]);
        assert_eq!((table.total.as_str(), table.is_cut), ("4", false));
        let plot = table.plot.unwrap();
        assert_eq!(plot.x_name, "time");
        assert_eq!(plot.lines.iter().map(|line| line.name.as_str()).collect::<Vec<_>>(), ["signal"]);
    }

    #[test]
    fn numbers_alone_have_no_header_and_are_plotted_by_row() {
        let table = of(b"3;1\n1;2\n2;3\n", b';', true).unwrap();
        assert_eq!(table.header, ["1", "2"]);
        let plot = table.plot.unwrap();
        assert_eq!((plot.x_name.as_str(), plot.lines.len()), ("row", 2));
    }

    #[test]
    fn what_is_cut_loses_its_last_row_and_nothing_panics() {
        let table = of(b"a,b\n1,2\n3,4\n5", b',', false).unwrap();
        assert_eq!(table.rows.len(), 2);
        for text in ["", "\n\n", "a", "\"", "\"a\n\n,,", "a,b\n\"x"] {
            drop(of(text.as_bytes(), b',', true));
            drop(of(text.as_bytes(), b',', false));
        }
        let wide = vec!["1"; 500].join(",");
        assert!(of(format!("{wide}\n{wide}\n{wide}").as_bytes(), b',', true).unwrap().is_cut);
    }
}
