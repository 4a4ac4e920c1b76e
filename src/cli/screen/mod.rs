//! What commands print: tables and lines for people, JSON for programs.

pub(super) mod bars;
pub(super) mod table;
pub(super) mod text;

use std::io::{self, IsTerminal, Write};

use clap::{Args, ValueEnum};
use console::Style;
use serde_json::Value;

use self::table::Table;

/// How a command prints.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Look {
    /// Print the server's JSON, for programs
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,

    /// When to use colours; `auto` is on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = When::Auto, global = true, help_heading = "Output")]
    color: When,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum When {
    Auto,
    Always,
    Never,
}

/// Where a command prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    json: bool,
    color: bool,
    /// Columns that fit beside each other; no limit elsewhere than on a terminal.
    width: Option<usize>,
}

impl Look {
    /// Finds out what stdout is.
    pub(crate) fn screen(self) -> Screen {
        let has = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let color = match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => io::stdout().is_terminal() && !has("NO_COLOR") && !is_dumb,
        };
        // A variable that was exported says more than the terminal, and works without one.
        let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|width| *width > 0);
        let term = console::Term::stdout();
        let width = said.or_else(|| term.is_term().then(|| usize::from(term.size().1)));
        Screen { json: self.json, color, width }
    }
}

/// Prints a line of a command that people read. A command that has done what it was asked for does not look at the error: a
/// pipe that nobody reads any more takes nothing away from that, and ends no server.
pub(crate) fn say(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

/// Writes a line to stderr. That nobody can read it there takes nothing away from what the command does, and there is no
/// other place to say so.
pub fn remark(line: std::fmt::Arguments<'_>) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}

impl Screen {
    /// Says whether programs are to read the output.
    pub(crate) fn wants_json(self) -> bool {
        self.json
    }

    /// Prints JSON as the server sent it, on a line of its own.
    pub(crate) fn json(self, value: &Value) -> io::Result<()> {
        self.line(&value.to_string())
    }

    /// Prints a line. What came from a server or a file went through [`text::plain`] before.
    pub(crate) fn line(self, line: &str) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{line}")
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// Prints a table, no wider than the terminal; without rows it says so beside the output.
    pub(crate) fn table(self, table: &Table, of: &str) -> io::Result<()> {
        if table.is_empty() {
            self.note(&format!("no {of}"));
            return Ok(());
        }
        io::stdout().lock().write_all(table.render(self.width, self.color).as_bytes())
    }

    /// Prints what is known about one thing, a line each.
    pub(crate) fn pairs(self, pairs: &[(&str, String)]) -> io::Result<()> {
        let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
            let name = self.paint(&format!("{name:width$}"), Style::new().dim());
            for (index, line) in value.lines().enumerate() {
                match index {
                    0 => self.line(&format!("{name}  {line}"))?,
                    _ => self.line(&format!("{:width$}  {line}", ""))?,
                }
            }
        }
        Ok(())
    }

    /// Says something beside the output, for people alone.
    pub(crate) fn note(self, note: &str) {
        remark(format_args!("{note}"));
    }

    /// Colours a text if colours are wanted.
    pub(crate) fn paint(self, text: &str, style: Style) -> String {
        painted(text, &style, self.color)
    }
}

/// Colours a text, or not.
fn painted(text: &str, style: &Style, color: bool) -> String {
    style.clone().force_styling(color).apply_to(text).to_string()
}
