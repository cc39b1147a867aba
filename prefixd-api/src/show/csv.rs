//! Comma-separated values (RFC 4180): raw numbers, UTC times, nothing a spreadsheet would run or a terminal obey.

use super::clean;
use serde_json::Value;

/// A header line, when wanted, and a line for each item; a column is a field of the item as a path with dots.
#[must_use]
pub fn csv(columns: &[&str], items: &[Value], headers: bool) -> String {
    let mut text = String::new();
    if headers {
        push_row(&mut text, columns.iter().map(|column| (*column).to_owned()));
    }
    for item in items {
        push_row(&mut text, columns.iter().map(|column| plain(field(item, column))));
    }
    text
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
        other => clean(&other.to_string(), usize::MAX),
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_sheet_computes_and_no_terminal_obeys_it() {
        let item = json!({
            "source": "=HYPERLINK(\"http://x\")", "scope": {"victim": "203.0.113.10"}, "bps": 1_200_000_000u64,
            "ports": [53, 80], "names": ["@a", "b"], "note": "\u{1b}[2Ja,\nb", "none": null, "claims": [{"a": "\u{202e}"}],
        });
        let columns = [
            "source",
            "scope.victim",
            "bps",
            "ports",
            "names",
            "note",
            "none",
            "claims",
            "scope.nobody",
        ];
        assert_eq!(
            csv(&columns, &[item], true),
            "source,scope.victim,bps,ports,names,note,none,claims,scope.nobody\r\n\
             \"'=HYPERLINK(\"\"http://x\"\")\",203.0.113.10,1200000000,53 80,'@a b,\"\u{fffd}[2Ja, b\",,\
             \"[{\"\"a\"\":\"\"\u{fffd}\"\"}]\",\r\n"
        );
        assert_eq!(csv(&["a"], &[json!({"a": "\t=1"})], false), "' =1\r\n");
    }
}
