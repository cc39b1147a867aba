//! Comma-separated values (RFC 4180): raw numbers, UTC times, nothing a spreadsheet would run or a terminal obey.

use super::{Column, Row, to_json};
use crate::failure::Failure;
use prefixd_api::show::clean;
use serde_json::Value;

pub(super) fn render<T: Row>(columns: &[&Column<T>], items: &[T], headers: bool) -> Result<String, Failure> {
    let mut text = String::new();
    if headers {
        push_row(&mut text, columns.iter().map(|column| column.field.to_owned()));
    }
    for item in items {
        let item = to_json(item)?;
        push_row(
            &mut text,
            columns.iter().map(|column| plain(field(&item, column.field))),
        );
    }
    Ok(text)
}

fn field<'v>(item: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(item, |value, name| &value[name])
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => {
            let harmless = clean(text, usize::MAX);
            // Before cleaning: what began with a tab begins with a space now.
            if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
                format!("'{harmless}")
            } else {
                harmless
            }
        }
        Value::Array(values) if values.iter().all(|value| !value.is_object()) => {
            values.iter().map(plain).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

fn push_row(text: &mut String, cells: impl Iterator<Item = String>) {
    for (index, cell) in cells.enumerate() {
        if index > 0 {
            text.push(',');
        }
        if cell.contains(['"', ',']) {
            text.push('"');
            text.push_str(&cell.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(&cell);
        }
    }
    text.push_str("\r\n");
}
