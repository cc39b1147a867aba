//! The log: structured lines on standard error.

use prefixd_api::config::settings::{LogFormat, Observability};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts the log. `PREFIXD_LOG` overrides the configured level with a filter such as `info,bgp=debug`.
pub fn start_log(settings: &Observability) {
    let filter = EnvFilter::try_from_env("PREFIXD_LOG")
        .unwrap_or_else(|_| EnvFilter::new(settings.log_level.as_str()));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first log.
    let _ = match settings.log_format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Text => log.try_init(),
    };
}
