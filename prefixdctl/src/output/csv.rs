//! Lists as comma-separated values.

use super::{Column, Row, to_json};
use crate::failure::Failure;
use prefixd_api::show::csv;

pub(super) fn render<T: Row>(columns: &[&Column<T>], items: &[T], headers: bool) -> Result<String, Failure> {
    let columns: Vec<&str> = columns.iter().map(|column| column.field).collect();
    let items: Vec<_> = items.iter().map(to_json).collect::<Result<_, _>>()?;
    Ok(csv(&columns, &items, headers))
}
