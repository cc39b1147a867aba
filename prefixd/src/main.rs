//! `prefixd`: see [`prefixd`] for the parts.

use clap::Parser;
use prefixd::arguments::Arguments;
use prefixd::daemon::{LogLevel, Shutdown};
use prefixd_api::config::{self, Config};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long blocking calls may still take at the end.
const LAST_CALLS: Duration = Duration::from_secs(1);
/// The configuration is wrong; nothing was started.
const EXIT_CONFIG: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match config::load(&arguments.config) {
        Ok(config) => config,
        Err(errors) => {
            refuse(&arguments, &errors);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    for warning in config.warnings() {
        say(&format_args!("warning: {warning}"));
    }
    if arguments.check {
        return match prefixd::daemon::check(&config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                refuse(&arguments, &error);
                ExitCode::from(EXIT_CONFIG)
            }
        };
    }
    let log = prefixd::daemon::start_log(&config.settings.observability);
    match serve(&arguments, config, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "prefixd ends");
            say(&format_args!("prefixd: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments, config: Config, log: LogLevel) -> anyhow::Result<()> {
    // What is allocated is small and of many ages: a huge page is cleared whole for a few kilobytes of it, in the middle
    // of a commit, and stays for them (docs/benchmarks.md).
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "the kernel keeps transparent huge pages: more memory is resident");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let shutdown = Shutdown::default();
        tokio::spawn(shut_down_on_signal(shutdown.clone())?);
        prefixd::daemon::run(&arguments.config, config, Arc::new(log), shutdown).await
    });
    // A look-up of a name that does not come back must not hold the end.
    runtime.shutdown_timeout(LAST_CALLS);
    ended
}

/// SIGTERM and SIGINT stop the daemon as the configuration says, SIGQUIT takes every rule from the routers: also when it
/// comes second.
fn shut_down_on_signal(shutdown: Shutdown) -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    Ok(async move {
        loop {
            let name = tokio::select! {
                _ = quit.recv() => {
                    info!(signal = "SIGQUIT", "stopping; every rule is withdrawn");
                    shutdown.ask_to_withdraw();
                    continue;
                }
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            info!(signal = name, "stopping");
            shutdown.ask();
        }
    })
}

fn refuse(arguments: &Arguments, mistakes: &config::ConfigErrors) {
    let dir = arguments.config.display();
    say(&format_args!(
        "The configuration in {dir} cannot be used; nothing was started:\n{mistakes}"
    ));
}

/// To standard error, before there is a log and for what a person must see.
#[expect(clippy::print_stderr, reason = "the one place that speaks to the terminal")]
fn say(text: &dyn std::fmt::Display) {
    eprintln!("{text}");
}
