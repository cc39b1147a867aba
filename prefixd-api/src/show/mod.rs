//! How values are shown to people and read from them, the same in the command line and the console.

mod csv;
mod id;
mod number;
mod text;
mod time;

pub use csv::csv;
pub use id::{MIN_ID_CHARS, id_matches, short_id};
pub use number::{NumberError, confidence, count, parse_si, percent, short_count, si, si_unit};
pub use text::{MAX_CELL_CHARS, MAX_TEXT_CHARS, clean, is_unsafe};
pub use time::{MomentError, Zone, absolute, both, exact, parse_moment, parse_span, relative, remaining};
