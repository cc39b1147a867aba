//! Global options and the command tree.

use crate::failure::Failure;
use crate::output::{Color, Format};
use crate::session::Session;
use crate::{
    audit, breaker, commands, completion, config, control, drift, events, groups, health, history, import,
    man, mitigations, peers, reload, report, safelist, series, sources, stats, status, suppressions, traffic,
    version, watch,
};
use clap::{Args, CommandFactory, Parser, Subcommand};
use prefixd_api::client::Endpoint;
use prefixd_api::show::parse_span;
use std::path::PathBuf;
use std::time::Duration;

/// Looks at and changes what prefixd announces.
///
/// prefixd turns attack reports into BGP FlowSpec rules. prefixdctl talks to its API over TCP, TLS or a Unix socket. Data goes to standard output, everything else to standard error.
#[derive(Debug, Parser)]
#[command(
    name = "prefixdctl",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "\
Exit codes:
   0 done                      7 conflict: changed, ended, exists
   1 other failure             8 role not allowed
   2 could not connect         9 rate limited
   3 not signed in            10 partly done
   4 not found                13 not confirmed, or read-only
   5 input not valid          20 degraded, 21 down (status --exit-code)
   6 a guardrail said no      64 wrong usage, 70 defect
  11 what should be the same differs (audit verify, drift --exit-code)
  12 --wait: done, but neighbours were not told in time

Examples:
  prefixdctl status
  prefixdctl mitigations list --status active -o json"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// API address: http://HOST:PORT, https://HOST or unix:/PATH. Default: the local socket, then http://127.0.0.1:8080
    #[arg(
        short,
        long,
        global = true,
        env = "PREFIXD_API",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub(crate) api: Option<Endpoint>,
    /// Read the token from a file, or from standard input with -
    #[arg(
        long,
        global = true,
        env = "PREFIXD_TOKEN_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// Allow plain http to another machine
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) insecure: bool,
    /// Form of the output
    #[arg(
        short,
        long,
        global = true,
        env = "PREFIXD_OUTPUT",
        hide_env_values = true,
        value_enum,
        default_value = "table",
        value_name = "FMT"
    )]
    pub(crate) output: Format,
    /// Columns of table, wide and csv, in this order
    #[arg(
        long,
        global = true,
        value_delimiter = ',',
        value_name = "A,B,C",
        hide_short_help = true
    )]
    pub(crate) columns: Vec<String>,
    /// No header line
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) no_headers: bool,
    /// Do not fit tables to the terminal
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) no_trunc: bool,
    /// With -o json: lists as {"schema","items","next_cursor","truncated"}
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) envelope: bool,
    /// Begins the Idempotency-Key of each change: the same command with the same key changes things once
    #[arg(
        long,
        global = true,
        env = "PREFIXD_IDEMPOTENCY_KEY",
        hide_env_values = true,
        value_name = "KEY",
        value_parser = key,
        hide_short_help = true
    )]
    pub(crate) idempotency_key: Option<String>,
    /// Only errors on standard error
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Change without asking
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// Fail instead of asking
    #[arg(long, global = true, env = "PREFIXD_NO_INPUT",
        hide_env_values = true, value_parser = clap::builder::BoolishValueParser::new(), num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", hide_short_help = true)]
    pub(crate) no_input: bool,
    /// Refuse every command that changes something
    #[arg(long, global = true, env = "PREFIXD_READONLY",
        hide_env_values = true, value_parser = clap::builder::BoolishValueParser::new(), num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", hide_short_help = true)]
    pub(crate) readonly: bool,
    /// When to colour: NO_COLOR and CLICOLOR_FORCE are honoured by auto
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        hide_short_help = true
    )]
    pub(crate) color: Color,
    /// Times in UTC (the default)
    #[arg(long, global = true, conflicts_with = "local", hide_short_help = true)]
    pub(crate) utc: bool,
    /// Times in the zone of this session
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) local: bool,
    /// Longest wait for an answer
    #[arg(long, global = true, value_parser = parse_span, default_value = "10s", value_name = "TIME", hide_short_help = true)]
    pub(crate) request_timeout: Duration,
    /// How often a read is repeated after a failure that may pass
    #[arg(
        long,
        global = true,
        default_value_t = 3,
        value_name = "N",
        hide_short_help = true
    )]
    pub(crate) retries: u32,
}

/// Numbers are put behind it, and the daemon takes 128 characters.
fn key(text: &str) -> Result<String, String> {
    let is_plain = |letter: char| letter.is_ascii_graphic() && !"\"#".contains(letter);
    if text.is_empty() || text.len() > 100 || !text.chars().all(is_plain) {
        return Err("a key has 1 to 100 letters, digits and signs, neither quote nor #".to_owned());
    }
    Ok(text.to_owned())
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    Status(status::StatusArgs),
    Health(health::HealthArgs),
    #[command(visible_alias = "mit")]
    Mitigations(mitigations::MitigationsArgs),
    #[command(visible_alias = "ev")]
    Events(events::EventsArgs),
    #[command(visible_alias = "sl")]
    Safelist(safelist::SafelistArgs),
    Match(traffic::MatchArgs),
    #[command(visible_alias = "grp")]
    Groups(groups::GroupsArgs),
    #[command(visible_alias = "ip")]
    History(history::HistoryArgs),
    Suppressions(suppressions::SuppressionsArgs),
    Sources(sources::SourcesArgs),
    Audit(audit::AuditArgs),
    Peers(peers::PeersArgs),
    Panic(control::PanicArgs),
    Hold(control::HoldArgs),
    Resume(control::ResumeArgs),
    Control(control::ControlArgs),
    Drift(drift::DriftArgs),
    Report(report::ReportArgs),
    Timeseries(series::TimeseriesArgs),
    Pops(series::PopsArgs),
    Commands(commands::CommandsArgs),
    Migrations(series::MigrationsArgs),
    Breaker(breaker::BreakerArgs),
    Stats(stats::StatsArgs),
    #[command(visible_alias = "cfg")]
    Config(config::ConfigArgs),
    Reload(reload::ReloadArgs),
    Watch(watch::WatchArgs),
    Import(import::ImportArgs),
    Completion(completion::CompletionArgs),
    Man(man::ManArgs),
    Version(version::VersionArgs),
}

impl Cli {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let session = || Session::open(&self.global);
        match self.command {
            Command::Status(args) => args.run(&session()?).await,
            Command::Health(args) => args.run(&session()?).await,
            Command::Mitigations(args) => args.run(&session()?).await,
            Command::Events(args) => args.run(&session()?).await,
            Command::Safelist(args) => args.run(&session()?).await,
            Command::Match(args) => args.run(&session()?).await,
            Command::Groups(args) => args.run(&session()?).await,
            Command::History(args) => args.run(&session()?).await,
            Command::Sources(args) => args.run(&session()?).await,
            Command::Suppressions(args) => args.run(&session()?).await,
            Command::Audit(args) => args.run(&session()?).await,
            Command::Peers(args) => args.run(&session()?).await,
            Command::Panic(args) => args.run(&session()?).await,
            Command::Hold(args) => args.run(&session()?).await,
            Command::Resume(args) => args.run(&session()?).await,
            Command::Control(args) => args.run(&session()?).await,
            Command::Drift(args) => args.run(&session()?).await,
            Command::Report(args) => args.run(&session()?).await,
            Command::Timeseries(args) => args.run(&session()?).await,
            Command::Pops(args) => args.run(&session()?).await,
            Command::Commands(args) => args.run(&session()?).await,
            Command::Migrations(args) => args.run(&session()?).await,
            Command::Breaker(args) => args.run(&session()?).await,
            Command::Stats(args) => args.run(&session()?).await,
            Command::Config(args) => args.run(&session()?).await,
            Command::Reload(args) => args.run(&session()?).await,
            Command::Watch(args) => args.run(&session()?).await,
            Command::Import(args) => args.run(&self.global),
            Command::Completion(args) => args.run(),
            Command::Man(args) => args.run(),
            Command::Version(args) => args.run(&session()?).await,
        }
    }
}

/// The whole command tree.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests;
