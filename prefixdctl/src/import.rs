//! Taking over the configuration of another speaker.
//!
//! | module | what it holds |
//! |---|---|
//! | [`document`] | TOML, YAML and JSON as one tree, out of which settings are taken |
//! | [`gobgp`] | what GoBGP's settings mean for prefixd |
//! | [`peer`] | the same for one neighbour or peer group |
//! | [`reasons`] | why a setting has no equivalent |
//! | [`bgp`] | the section that is written |

mod bgp;
mod document;
mod gobgp;
mod peer;
mod reasons;

use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{Format, Output, print};
use crate::session::read_text;
use bgp::Rtbh;
use clap::{Args, Subcommand, ValueEnum};
use document::Finding;
use gobgp::Imported;
use prefixd_api::show::{MAX_TEXT_CHARS, clean};
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// More than any configuration that a person keeps.
const MAX_BYTES: u64 = 8 << 20;

/// Take over the configuration of another BGP speaker
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl import gobgp /etc/gobgp/gobgp.conf
  prefixdctl import gobgp gobgpd.yaml -o json")]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Gobgp(GobgpArgs),
}

impl ImportArgs {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        match self.command {
            Command::Gobgp(args) => args.run(global),
        }
    }
}

/// Write the bgp section of prefixd.yaml that equals a configuration of gobgpd
///
/// The section goes to standard output, what could not be taken over to standard error: each setting with its path and the reason. Nothing is asked of a daemon and nothing is changed. Passwords are never printed.
///
/// Exit code 0: everything that has a meaning for prefixd was taken over. 10: some settings have no equivalent. 5: the file is not one that gobgpd would start with.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl import gobgp gobgpd.conf --rtbh-next-hop 192.0.2.254 --rtbh-next-hop-v6 100::1
  prefixdctl import gobgp --format yaml - -o json")]
struct GobgpArgs {
    /// The configuration of gobgpd, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Its language; default: by the name of the file, otherwise toml, as gobgpd has it
    #[arg(long, value_enum, value_name = "LANG")]
    format: Option<Language>,
    /// Where the routers discard IPv4: take ipv4-unicast over, for blackhole routes
    #[arg(long, value_name = "IPV4")]
    rtbh_next_hop: Option<Ipv4Addr>,
    /// Where the routers discard IPv6: take ipv6-unicast over, for blackhole routes
    #[arg(long, value_name = "IPV6")]
    rtbh_next_hop_v6: Option<Ipv6Addr>,
}

/// What gobgpd reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    Toml,
    Yaml,
    Json,
}

impl Language {
    fn of(file: &Path) -> Self {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml") => Self::Yaml,
            Some("json") => Self::Json,
            _ => Self::Toml,
        }
    }
}

impl GobgpArgs {
    fn run(self, global: &Global) -> Result<(), Failure> {
        if matches!(global.output, Format::Csv | Format::Ids) {
            return Err(Failure::Usage(
                "a configuration has no rows: use -o table, json or jsonl".to_owned(),
            ));
        }
        let text = read_text(&self.file, MAX_BYTES)?;
        let language = self.format.unwrap_or_else(|| Language::of(&self.file));
        let rtbh = Rtbh {
            next_hop: self.rtbh_next_hop,
            next_hop_v6: self.rtbh_next_hop_v6,
        };
        let imported = document::read(&text, language)
            .and_then(|document| gobgp::import(document, rtbh))
            .map_err(|reason| Failure::Input(format!("{}: {reason}", self.file.display())))?;
        match global.output {
            Format::Json | Format::Jsonl => Output::new(global).sheet(&imported, |_| String::new())?,
            Format::Table | Format::Wide | Format::Csv | Format::Ids => {
                print(&imported.bgp.to_yaml())?;
                // What is missing is no chatter: --quiet keeps it.
                say(&imported, global.quiet);
            }
        }
        match imported.no_equivalent.len() {
            0 => Ok(()),
            missing => Err(Failure::Incomplete { missing }),
        }
    }
}

fn say(imported: &Imported, quiet: bool) {
    let mut text = listed("No equivalent in prefixd:", &imported.no_equivalent);
    if !quiet {
        text.push_str(&listed("Not needed by prefixd:", &imported.not_needed));
        if !imported.notes.is_empty() {
            text.push_str("Look at:\n");
        }
        for note in &imported.notes {
            text.push_str(&format!("  {}\n", clean(note, MAX_TEXT_CHARS)));
        }
    }
    // Nobody is left to tell when standard error is gone.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The findings, those with the same reason together.
fn listed(title: &str, findings: &[Finding]) -> String {
    let mut groups: Vec<(&str, Vec<&Finding>)> = Vec::new();
    for finding in findings {
        match groups.iter_mut().find(|(why, _)| *why == finding.why) {
            Some((_, group)) => group.push(finding),
            None => groups.push((finding.why, vec![finding])),
        }
    }
    let mut text = String::new();
    for (why, group) in groups {
        if text.is_empty() {
            text = format!("{title}\n");
        }
        for Finding { path, value, .. } in group {
            let line = clean(&format!("{path} = {value}"), MAX_TEXT_CHARS);
            text.push_str(&format!("  {line}\n"));
        }
        text.push_str(&format!("    {why}\n"));
    }
    text
}
