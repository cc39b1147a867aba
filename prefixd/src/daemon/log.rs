//! The log: structured lines on standard error.

use prefixd_api::config::settings::{self, LogFormat, Observability};
use std::io::IsTerminal;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Overrides the configured level with a filter such as `info,bgp=debug`.
const OVERRIDE: &str = "PREFIXD_LOG";

/// The level of the log, which a reload changes.
#[derive(Debug)]
pub struct LogLevel {
    filter: reload::Handle<EnvFilter, Registry>,
    overridden: bool,
}

impl LogLevel {
    /// From now on what this level says is logged, unless the environment says otherwise.
    pub(super) fn set(&self, level: settings::LogLevel) {
        if !self.overridden {
            // Without a subscriber there is no log to change.
            let _ = self.filter.reload(EnvFilter::new(level.as_str()));
        }
    }
}

/// Starts the log.
#[must_use]
pub fn start_log(settings: &Observability) -> LogLevel {
    let given = EnvFilter::try_from_env(OVERRIDE);
    let overridden = given.is_ok();
    let filter = given.unwrap_or_else(|_| EnvFilter::new(settings.log_level.as_str()));
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let log = tracing_subscriber::registry().with(filter);
    // A second start in one process (tests) keeps the first log.
    let _ = match settings.log_format {
        LogFormat::Json => log.with(lines.json().flatten_event(true)).try_init(),
        LogFormat::Text => log.with(lines).try_init(),
    };
    LogLevel {
        filter: handle,
        overridden,
    }
}
