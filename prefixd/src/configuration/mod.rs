//! The configuration while the daemon runs: what is in force, reloading it, and changing its files through the API.
//!
//! | module | what it does |
//! |---|---|
//! | `reload` | puts files into force: all of them or none |
//! | `edit` | changes one file, through the same door |
//! | `file` | replaces a file on disk: whole or not at all |
//! | `check` | what the documents alone cannot tell |
//! | `wiring` | from the documents to what each part is given |

mod check;
mod edit;
mod file;
mod reload;
pub(crate) mod wiring;

pub use check::check;
pub use edit::{Content, Edit, EditError, OnDisk};
pub use reload::{Once, ReloadError, Reloaded, Reloader, Settled};
