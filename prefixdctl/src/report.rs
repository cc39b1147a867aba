//! Reports for tickets and customers.

use crate::failure::Failure;
use crate::lookup;
use crate::mitigations::address_or_prefix;
use crate::output::print;
use crate::session::Session;
use clap::{Args, Subcommand};
use ipnet::IpNet;
use prefixd_api::client::ReportQuery;
use prefixd_api::show::{clean, parse_moment};
use prefixd_api::time::Timestamp;

/// Reports for tickets and customers
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl report incident --ip 203.0.113.10
  prefixdctl report incident --customer acme --since yesterday -o json")]
pub(crate) struct ReportArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Incident(IncidentArgs),
}

impl ReportArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.command {
            Command::Incident(args) => args.run(session).await,
        }
    }
}

/// Write what happened as Markdown: who reported what, peaks, what was done, by whom and why
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl report incident --ip 203.0.113.10
  prefixdctl report incident --group 9c01d3e4 -o json")]
struct IncidentArgs {
    /// Of this address, or any in this prefix
    #[arg(long, value_parser = address_or_prefix, value_name = "IP|PREFIX")]
    ip: Option<IpNet>,
    /// Of this customer
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// Of this signal group: its identifier, or the beginning or end of it
    #[arg(long, value_name = "ID")]
    group: Option<String>,
    /// Of this POP; of all by default
    #[arg(long, value_name = "POP")]
    pop: Option<String>,
    /// From when on: 1h, 13:40, yesterday or 2026-11-20T22:00Z; a day by default
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Up to when; now by default
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl IncidentArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.no_rows("a report")?;
        let group_id = match &self.group {
            Some(typed) => Some(lookup::group(session, typed).await?),
            None => None,
        };
        let query = ReportQuery {
            ip: self.ip,
            customer_id: self.customer,
            group_id,
            pop: self.pop,
            start: moment(session, self.since.as_deref())?,
            end: moment(session, self.until.as_deref())?,
        };
        if session.out.is_for_people() {
            let text = session.client.incident_markdown(&query).await?;
            let lines = text.lines().map(|line| clean(line, usize::MAX) + "\n");
            return print(&lines.collect::<String>());
        }
        let report = session.client.incident(&query).await?;
        session.out.sheet(&report, |_| String::new())
    }
}

fn moment(session: &Session, text: Option<&str>) -> Result<Option<Timestamp>, Failure> {
    let view = session.out.view();
    text.map(|text| parse_moment(text, view.now, view.zone))
        .transpose()
        .map_err(|error| Failure::Input(error.to_string()))
}
