//! The command line of prefixd.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cli`] | global options and the command tree |
//! | [`mitigations`], [`events`], [`safelist`], [`peers`], [`stats`], [`status`], [`health`], [`reload`], [`watch`] | one resource each |
//! | [`traffic`], [`groups`], [`suppressions`], [`audit`], [`history`], [`series`], [`drift`], [`report`] | questions |
//! | [`config`] | the daemon's configuration |
//! | [`import`] | configurations of other speakers |
//! | [`completion`], [`man`], [`version`] | about the program itself |
//! | [`output`] | tables, JSON, CSV |
//! | [`session`] | the client, the way to show things, and consent |
//! | [`lookup`] | short identifiers |
//! | [`failure`], [`defect`] | what can go wrong, and the exit codes |
//!
//! Data goes to standard output, everything else to standard error.

mod audit;
mod breaker;
mod cli;
mod commands;
mod completion;
mod config;
mod control;
mod defect;
mod drift;
mod events;
mod failure;
mod groups;
mod health;
mod history;
mod import;
mod lookup;
mod man;
mod mitigations;
mod output;
mod page;
mod peers;
mod reload;
mod rendered;
mod report;
mod safelist;
mod series;
mod session;
mod sources;
mod stats;
mod status;
mod suppressions;
mod traffic;
mod version;
mod watch;

use clap::FromArgMatches;
use cli::Cli;
use failure::{Exit, Failure};
use output::Format;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let said = defect::report(&std::env::temp_dir(), &panic.to_string());
        // Nobody is left to tell when standard error is gone.
        let _ = std::io::stderr().write_all(said.as_bytes());
    }));
    ExitCode::from(guarded(run) as u8)
}

/// A panic is a defect, not the shell's 101.
fn guarded(run: impl FnOnce() -> Exit + std::panic::UnwindSafe) -> Exit {
    std::panic::catch_unwind(run).unwrap_or(Exit::Defect)
}

fn run() -> Exit {
    let matches = cli::command()
        .infer_subcommands(std::io::stdin().is_terminal())
        .try_get_matches();
    let mut cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            let wrong = error.use_stderr();
            // A reader that has seen enough of the help is no failure.
            let _ = error.print();
            return if wrong { Exit::Usage } else { Exit::Done };
        }
    };
    let format = cli.global.output;
    // Chosen here, so that it can be told when an answer is lost.
    let key = cli
        .global
        .idempotency_key
        .get_or_insert_with(prefixd_api::client::new_key)
        .clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(cli.run()),
        Err(error) => Err(Failure::Output(error)),
    };
    match done {
        Ok(()) => Exit::Done,
        Err(failure) => {
            failure.report(format);
            if matches!(failure, Failure::Unknown(_)) && !matches!(format, Format::Json | Format::Jsonl) {
                let advice = format!(
                    "To be sure that it happens once, repeat the same command with --idempotency-key {key}\n\
                     (and with --expect-count, where it said how many it is about)\n"
                );
                // Nobody is left to tell when standard error is gone.
                let _ = std::io::stderr().write_all(advice.as_bytes());
            }
            failure.exit()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_defect() {
        assert_eq!(guarded(|| panic!("as the test wants")) as u8, 70);
        assert_eq!(guarded(|| Exit::Done) as u8, 0);
    }
}
