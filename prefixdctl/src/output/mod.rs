//! Tables for people, JSON and CSV for programs.

mod color;
mod csv;
mod table;

pub(crate) use color::{Color, Tone};

use crate::cli::Global;
use crate::failure::Failure;
use crate::page::Pages;
use clap::ValueEnum;
use prefixd_api::show::{MAX_CELL_CHARS, MAX_TEXT_CHARS, Zone, clean, is_unsafe};
use prefixd_api::time::Timestamp;
use serde::Serialize;
use serde_json::json;
use std::io::{IsTerminal, Write};

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Fits the terminal, for people
    Table,
    /// All columns, nothing cut
    Wide,
    /// An array for lists, an object for one
    Json,
    /// One object a line, as they come
    Jsonl,
    /// With a header row, UTC times and raw numbers
    Csv,
    /// One identifier a line
    Ids,
}

/// What a cell may depend on besides its row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) now: Timestamp,
    pub(crate) zone: Zone,
}

/// A column of a list.
pub(crate) struct Column<T> {
    /// Over the cells.
    pub(crate) head: &'static str,
    /// Field of the JSON, as a path with dots; the column's name in `--columns` and CSV.
    pub(crate) field: &'static str,
    pub(crate) place: Place,
    pub(crate) cell: fn(&T, View) -> Cell,
}

/// Where a column is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Always.
    Always,
    /// While there is room; the highest number leaves first.
    Room(u8),
    /// Cut to what is left.
    Rest,
    /// In `wide` only.
    Wide,
}

/// Text of a cell; numbers stand at the right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) right: bool,
    pub(crate) tone: Tone,
}

impl Cell {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            right: false,
            tone: Tone::Plain,
        }
    }

    pub(crate) fn optional(text: Option<&str>) -> Self {
        Self::text(text.unwrap_or("-"))
    }

    pub(crate) fn number(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            right: true,
            tone: Tone::Plain,
        }
    }

    pub(crate) fn toned(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

/// What lists consist of.
pub(crate) trait Row: Serialize + 'static {
    /// Name of the list in `--envelope`.
    const SCHEMA: &'static str;
    fn columns() -> &'static [Column<Self>]
    where
        Self: Sized;
    /// What `-o ids` prints and other commands accept.
    fn id(&self) -> String;
}

/// How this run shows things.
pub(crate) struct Output {
    pub(crate) format: Format,
    columns: Vec<String>,
    headers: bool,
    envelope: bool,
    width: Option<usize>,
    colored: bool,
    zone: Zone,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self {
            format: global.output,
            columns: global.columns.clone(),
            headers: !global.no_headers,
            envelope: global.envelope,
            width: if global.no_trunc { None } else { width(terminal) },
            colored: global.color.is_on(terminal),
            zone: if global.local { Zone::Local } else { Zone::Utc },
        }
    }

    /// Now and the zone, for cells.
    pub(crate) fn view(&self) -> View {
        View {
            now: Timestamp::wall_clock(),
            zone: self.zone,
        }
    }

    /// Whether a person reads it.
    pub(crate) fn is_for_people(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// Prints a list.
    pub(crate) fn list<T: Row>(&self, pages: &Pages<T>) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table | Format::Wide => self.table(&pages.items, self.view())?,
            Format::Csv => csv::render(&self.chosen(|_| true)?, &pages.items, self.headers)?,
            Format::Json if self.envelope => pretty(&json!({
                "schema": format!("prefixd.v1/{}", T::SCHEMA),
                "items": to_json(&pages.items)?,
                "next_cursor": pages.next_cursor,
                "truncated": pages.next_cursor.is_some(),
            }))?,
            Format::Json => pretty(&pages.items)?,
            Format::Jsonl => pages.items.iter().map(line).collect::<Result<_, _>>()?,
            Format::Ids => pages.items.iter().map(id_line).collect(),
        };
        print(&text)
    }

    /// Prints one thing: `sheet` for people, the row for programs.
    pub(crate) fn one<T: Row>(&self, item: &T, sheet: impl FnOnce(View) -> String) -> Result<(), Failure> {
        self.one_with(item, item, sheet)
    }

    /// The same, where JSON has more than the row.
    pub(crate) fn one_with<T: Row>(
        &self,
        item: &T,
        whole: &impl Serialize,
        sheet: impl FnOnce(View) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Csv => print(&csv::render(
                &self.chosen(|_| true)?,
                std::slice::from_ref(item),
                self.headers,
            )?),
            Format::Ids => print(&id_line(item)),
            Format::Table | Format::Wide | Format::Json | Format::Jsonl => self.sheet(whole, sheet),
        }
    }

    /// Prints something that has no rows.
    pub(crate) fn sheet(
        &self,
        item: &impl Serialize,
        sheet: impl FnOnce(View) -> String,
    ) -> Result<(), Failure> {
        print(&match self.format {
            Format::Json => pretty(item)?,
            Format::Jsonl => line(item)?,
            Format::Table | Format::Wide | Format::Csv | Format::Ids => sheet(self.view()),
        })
    }

    /// A table, fitted unless `wide`.
    pub(crate) fn table<T: Row>(&self, items: &[T], view: View) -> Result<String, Failure> {
        let wide = self.format == Format::Wide;
        let columns = self.chosen(|place| wide || place != Place::Wide)?;
        let rows = items
            .iter()
            .map(|item| {
                columns
                    .iter()
                    .map(|column| safe((column.cell)(item, view)))
                    .collect()
            })
            .collect();
        let heads = columns.iter().map(|column| (column.head, column.place)).collect();
        Ok(table::render(
            heads,
            rows,
            table::Layout {
                width: if wide { None } else { self.width },
                headers: self.headers,
                colored: self.colored,
                may_drop: self.columns.is_empty(),
            },
        ))
    }

    /// The columns asked for, or the usual ones.
    fn chosen<T: Row>(&self, usual: impl Fn(Place) -> bool) -> Result<Vec<&'static Column<T>>, Failure> {
        let all = T::columns();
        if self.columns.is_empty() {
            return Ok(all.iter().filter(|column| usual(column.place)).collect());
        }
        self.columns
            .iter()
            .map(|name| {
                all.iter()
                    .find(|column| column.field == name || column.head.eq_ignore_ascii_case(name))
                    .ok_or_else(|| {
                        let known: Vec<_> = all.iter().map(|column| column.field).collect();
                        Failure::Usage(format!("{name:?} is no column; known: {}", known.join(", ")))
                    })
            })
            .collect()
    }

    #[cfg(test)]
    pub(crate) fn for_test(format: Format, width: Option<usize>) -> Self {
        Self {
            format,
            columns: Vec::new(),
            headers: true,
            envelope: false,
            width,
            colored: false,
            zone: Zone::Utc,
        }
    }
}

/// Labels and values under each other; values are cleaned.
pub(crate) fn sheet_of(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    pairs
        .iter()
        .map(|(label, value)| format!("{label:width$}  {}\n", clean(value, MAX_TEXT_CHARS)))
        .collect()
}

/// Writes to standard output at once.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// One object on one line.
pub(crate) fn line(item: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(item)
        .map(|text| escaped(&text) + "\n")
        .map_err(|error| Failure::Output(error.into()))
}

fn id_line<T: Row>(item: &T) -> String {
    clean(&item.id(), MAX_CELL_CHARS) + "\n"
}

/// JSON in which what a terminal would obey, or a reader not see, is written as `\\uXXXX`: to a program it is the same.
/// Outside of its strings JSON has no such characters but line breaks.
pub(crate) fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for letter in json.chars() {
        if is_unsafe(letter) && letter != '\n' {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(letter);
        }
    }
    out
}

/// Text of several lines in which nothing is left that a terminal would obey.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if is_unsafe(letter) && letter != '\n' {
                '\u{fffd}'
            } else {
                letter
            }
        })
        .collect()
}

fn pretty(item: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(item)
        .map(|text| escaped(&text) + "\n")
        .map_err(|error| Failure::Output(error.into()))
}

fn to_json(item: &impl Serialize) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(item).map_err(|error| Failure::Output(error.into()))
}

fn safe(cell: Cell) -> Cell {
    Cell {
        text: clean(&cell.text, MAX_CELL_CHARS),
        ..cell
    }
}

/// Columns of the terminal; none when nothing needs to fit.
fn width(terminal: bool) -> Option<usize> {
    let told = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    let asked = || {
        crossterm::terminal::size()
            .ok()
            .map(|(columns, _)| usize::from(columns))
    };
    told.or_else(|| terminal.then(asked).flatten())
        .filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests;
