//! Changing what a live mitigation does.

use super::create::{DetailArgs, TRIED, explain, matches, ranges, seconds, show};
use super::{action_type, sheet};
use crate::failure::Failure;
use crate::lookup;
use crate::session::Session;
use clap::Args;
use prefixd_api::operation::AdjustRequest;
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::rule::{Action, ActionType, MatchRequest, Ranges};
use prefixd_api::show::{parse_span, relative, short_id, si};
use std::time::Duration;

/// Any port, as people say it.
const ANY: &str = "any";

/// Change what a live mitigation does, without a moment in which nothing does it
#[derive(Args, Debug)]
#[command(after_help = "\
What is not named stays as it is. The new rules are at the routers before the old ones leave. From
then on neither its detectors nor its playbook change what it does; they may lengthen it.
Ports, protocol and match take the place of those of all its rules but the one for fragments.

Examples:
  prefixdctl mitigations adjust 9c01d3e4 --action discard --match \"proto udp sport 123\" --dry-run
  prefixdctl mit adjust 9c01d3e4 --rate 20M --ttl 1h --reason \"customer complains\" --yes")]
pub(super) struct AdjustArgs {
    /// Identifier, or its beginning or end
    id: String,
    /// mark, police, redirect_vrf, redirect_ip, discard or rtbh
    #[arg(long, value_parser = action_type, value_name = "ACTION")]
    action: Option<ActionType>,
    #[command(flatten)]
    detail: DetailArgs,
    /// Have routers sample what the rules match: true or false
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    sample: Option<bool>,
    /// How long from now on: 10m, 1h; also when that is shorter
    #[arg(long, value_parser = parse_span, value_name = "TIME")]
    ttl: Option<Duration>,
    /// Destination ports: 53, 27015-27030; any
    #[arg(long, value_delimiter = ',', value_name = "PORTS")]
    ports: Option<Vec<String>>,
    /// Source ports, or any
    #[arg(long, value_delimiter = ',', value_name = "PORTS")]
    src_ports: Option<Vec<String>>,
    /// IP protocol number
    #[arg(long, value_name = "NUMBER")]
    protocol: Option<u8>,
    /// The whole match as text, as for create
    #[arg(
        long = "match",
        value_parser = matches,
        value_name = "TEXT",
        conflicts_with_all = ["ports", "src_ports", "protocol"]
    )]
    matches: Option<Box<MatchRequest>>,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Only while it has this revision
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
    /// Only show what would happen at each neighbour
    #[arg(long)]
    dry_run: bool,
}

impl AdjustArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let dry_run = self.dry_run;
        if dry_run {
            session.no_rows("a preview")?;
        } else {
            session.may_change()?;
        }
        let given = self.id.clone();
        let request = self.into_request()?;
        if request.is_empty() {
            return Err(Failure::Input(
                "nothing is named: say what is to change, such as --rate, --action, --ports or --ttl"
                    .to_owned(),
            ));
        }
        let id = lookup::mitigation(session, &given).await?;
        if dry_run {
            return show(session, session.client.preview_adjust(id, &request).await?);
        }
        super::said(&request.reason)?;
        session.confirm(&format!("Adjust {}: {}?", short_id(id), asked(&request)), 1)?;
        let mitigation = session
            .client
            .adjust_mitigation(id, &request)
            .await
            .map_err(explain)?;
        session
            .out
            .one(&mitigation, |view| sheet::summary(&mitigation, view))
    }

    fn into_request(self) -> Result<AdjustRequest, Failure> {
        Ok(AdjustRequest {
            action: self.action,
            rate_bps: self.detail.rate.map(BitsPerSecond),
            rate_pps: self.detail.rate_pps,
            route_target: self.detail.route_target,
            next_hop: self.detail.next_hop,
            copy: self.detail.copy,
            dscp: self.detail.dscp,
            sample: self.sample,
            ttl_seconds: self.ttl.map(seconds).transpose()?,
            dst_ports: self.ports.as_deref().map(ports).transpose()?,
            src_ports: self.src_ports.as_deref().map(ports).transpose()?,
            protocol: self.protocol,
            matches: self.matches,
            reason: self.reason.unwrap_or_else(|| TRIED.to_owned()),
            expected_revision: self.if_revision,
        })
    }
}

fn ports(given: &[String]) -> Result<Ranges, Failure> {
    if given == [ANY] {
        return Ok(Ranges::default());
    }
    ranges(given)
}

/// What changes, in the order people say it.
fn asked(request: &AdjustRequest) -> String {
    let mut parts = Vec::new();
    if let Some(fields) = request.action() {
        parts.push(match Action::try_from(fields) {
            Ok(Action::Police { rate_bps }) => format!("police {}", si(rate_bps.0)),
            Ok(action) => action.to_string(),
            // What is left out, the mitigation may have; what does not belong, the daemon refuses.
            Err(_) => fields.action_type.to_string(),
        });
    }
    match request.sample {
        Some(true) => parts.push("sampled".to_owned()),
        Some(false) => parts.push("not sampled".to_owned()),
        None => {}
    }
    if let Some(protocol) = request.protocol {
        parts.push(format!("protocol {protocol}"));
    }
    for (what, ports) in [
        ("ports", &request.dst_ports),
        ("source ports", &request.src_ports),
    ] {
        match ports {
            Some(ports) if ports.is_empty() => parts.push(format!("any {what}")),
            Some(ports) => parts.push(format!("{what} {ports}")),
            None => {}
        }
    }
    if request.matches.is_some() {
        parts.push("another match".to_owned());
    }
    if let Some(ttl) = request.ttl_seconds {
        let ttl = Duration::from_secs(ttl.into());
        parts.push(format!("for {} from now on", relative(ttl)));
    }
    parts.join(", ")
}
