//! Mitigate now.

use super::wait::{self, WaitArgs};
use super::{action_type, sheet};
use crate::failure::Failure;
use crate::output::print;
use crate::rendered::{self, Syntax};
use crate::session::Session;
use clap::Args;
use prefixd_api::client::Error;
use prefixd_api::mitigation::MitigationRequest;
use prefixd_api::preview::MitigationPreview;
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::rule::{
    Action, ActionFields, ActionType, Dscp, MatchRequest, Ranges, RouteTarget, TextError,
};
use prefixd_api::show::{parse_si, parse_span, relative, si};
use prefixd_api::victim::Victim;
use std::time::Duration;

/// Mitigate now, inside the guardrails
#[derive(Args, Debug)]
#[command(
    visible_alias = "mitigate",
    after_help = "\
Examples:
  prefixdctl mitigations create --victim 203.0.113.66 --vector udp_flood --reason \"ticket 4711\"
  prefixdctl mit create --victim 203.0.113.66 --action discard --match \"src 198.51.100.0/24 proto tcp tcp-flags syn&!ack,rst\" --reason test
The match: src PREFIX, proto, port (either), dport, sport, icmp-type, icmp-code, tcp-flags, length, dscp, fragment,
flow-label, each with a list: udp,tcp  53,1000-2000  syn&!ack,rst  is-fragment"
)]
pub(super) struct CreateArgs {
    #[command(flatten)]
    wanted: WantedArgs,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Only show what would happen, as preview does
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Show what mitigating now would do at each neighbour; changes nothing
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl mitigations preview --victim 203.0.113.66 --vector udp_flood
  prefixdctl mit preview --victim 203.0.113.66 --action discard --protocol 17 --ports 53,123,389 -o json
Refused by a guardrail, the exit code is that of create.")]
pub(super) struct PreviewArgs {
    #[command(flatten)]
    wanted: WantedArgs,
    /// As for create; nothing keeps it
    #[arg(long, value_name = "TEXT", hide = true)]
    reason: Option<String>,
    /// Write the rules as each neighbour would get them, as a router's configuration
    #[arg(long = "as", value_name = "SYNTAX")]
    syntax: Option<Syntax>,
}

/// What belongs to an action.
#[derive(Args, Debug)]
pub(super) struct DetailArgs {
    /// Bits per second, for police: 5M, 1.2G
    #[arg(long, value_parser = parse_si, value_name = "BPS")]
    pub(super) rate: Option<u64>,
    /// Packets per second, for police instead of bits
    #[arg(long, value_parser = parse_si, value_name = "PPS", conflicts_with = "rate")]
    pub(super) rate_pps: Option<u64>,
    /// The VRF's, for redirect_vrf: 65010:100, 192.0.2.1:7
    #[arg(long, value_name = "TARGET")]
    pub(super) route_target: Option<RouteTarget>,
    /// Where redirect_ip sends it
    #[arg(long, value_name = "IP")]
    pub(super) next_hop: Option<std::net::IpAddr>,
    /// Send only a copy there
    #[arg(long, requires = "next_hop")]
    pub(super) copy: bool,
    /// The DSCP that mark sets
    #[arg(long, value_name = "DSCP")]
    pub(super) dscp: Option<Dscp>,
}

/// What is asked for.
#[derive(Args, Debug)]
struct WantedArgs {
    /// The attacked address
    #[arg(long, value_name = "IP")]
    victim: Victim,
    /// The kind of attack; manual by default
    #[arg(long, value_name = "VECTOR")]
    vector: Option<String>,
    /// mark, police, redirect_vrf, redirect_ip or discard; the playbook's by default
    #[arg(long, value_parser = action_type, value_name = "ACTION")]
    action: Option<ActionType>,
    #[command(flatten)]
    detail: DetailArgs,
    /// Have routers sample what the rules match
    #[arg(long)]
    sample: bool,
    /// How long: 10m, 1h; the playbook's by default
    #[arg(long, value_parser = parse_span, value_name = "TIME")]
    ttl: Option<Duration>,
    /// Destination ports: 53, 27015-27030
    #[arg(long, value_delimiter = ',', value_name = "PORTS")]
    ports: Vec<String>,
    /// Source ports
    #[arg(long, value_delimiter = ',', value_name = "PORTS")]
    src_ports: Vec<String>,
    /// IP protocol number
    #[arg(long, value_name = "NUMBER")]
    protocol: Option<u8>,
    /// The whole match as text, as rules are shown; see the examples
    #[arg(
        long = "match",
        value_parser = matches,
        value_name = "TEXT",
        conflicts_with_all = ["ports", "src_ports", "protocol"]
    )]
    matches: Option<Box<MatchRequest>>,
    /// A ticket or other name outside
    #[arg(long, value_name = "TEXT")]
    ticket: Option<String>,
    /// Revise the live mitigation of this victim and vector, if there is one
    #[arg(long)]
    replace: bool,
}

impl CreateArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let reason = self.reason.unwrap_or_else(|| TRIED.to_owned());
        if self.dry_run {
            return preview(session, self.wanted.into_request(reason)?).await;
        }
        session.may_change()?;
        let victim = self.wanted.victim;
        let request = self.wanted.into_request(reason)?;
        session.confirm(&format!("Mitigate {victim} now: {}?", asked(&request)), 1)?;
        let mitigation = session
            .client
            .create_mitigation(&request)
            .await
            .map_err(explain)?;
        let (mitigation, told) = match self.wait.until() {
            None => (mitigation, Ok(())),
            Some(until) => wait::announced(session, mitigation.mitigation_id, until).await?,
        };
        session
            .out
            .one(&mitigation, |view| sheet::summary(&mitigation, view))?;
        told
    }
}

impl PreviewArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let reason = self.reason.unwrap_or_else(|| TRIED.to_owned());
        let request = self.wanted.into_request(reason)?;
        let Some(syntax) = self.syntax else {
            return preview(session, request).await;
        };
        session.no_rendering()?;
        let preview = session.client.preview_mitigation(&request).await?;
        print(&syntax.write(&rendered::of_preview(&preview)))?;
        refused(preview)
    }
}

/// The reason of a request that is only tried; the daemon wants one and keeps none.
pub(super) const TRIED: &str = "preview";

async fn preview(session: &Session, request: MitigationRequest) -> Result<(), Failure> {
    session.no_rows("a preview")?;
    let preview = session.client.preview_mitigation(&request).await?;
    show(session, preview)
}

/// Shows a preview; what would be refused is a failure.
pub(super) fn show(session: &Session, preview: MitigationPreview) -> Result<(), Failure> {
    session
        .out
        .sheet(&preview, |view| sheet::preview(&preview, view))?;
    refused(preview)
}

fn refused(preview: MitigationPreview) -> Result<(), Failure> {
    match preview.problem {
        Some(problem) => Err(Error::Problem(Box::new(problem)).into()),
        None => Ok(()),
    }
}

impl WantedArgs {
    fn into_request(self, reason: String) -> Result<MitigationRequest, Failure> {
        Ok(MitigationRequest {
            victim_ip: self.victim.to_string(),
            vector: self.vector,
            action: self.action,
            rate_bps: self.detail.rate.map(BitsPerSecond),
            rate_pps: self.detail.rate_pps,
            route_target: self.detail.route_target,
            next_hop: self.detail.next_hop,
            copy: self.detail.copy,
            dscp: self.detail.dscp,
            sample: self.sample,
            ttl_seconds: self.ttl.map(seconds).transpose()?,
            dst_ports: ranges(&self.ports)?,
            src_ports: ranges(&self.src_ports)?,
            protocol: self.protocol,
            matches: self.matches,
            reason,
            external_ref: self.ticket,
            replace: self.replace,
        })
    }
}

/// Whether the daemon may have done what it was asked for.
pub(super) fn may_have_happened(error: &Error) -> bool {
    match error {
        Error::Timeout { .. } | Error::Protocol(_) | Error::Form(_) => true,
        Error::Setup(_) | Error::Connect { .. } | Error::Problem(_) => false,
    }
}

/// A change without an answer may have happened.
pub(crate) fn explain(error: Error) -> Failure {
    if may_have_happened(&error) {
        Failure::Unknown(error)
    } else {
        error.into()
    }
}

/// What was asked for, in the order people say it; the playbook decides the rest.
fn asked(request: &MitigationRequest) -> String {
    let action = asked_action(request);
    let ttl = request.ttl_seconds.map_or_else(
        || "for the playbook's time".to_owned(),
        |ttl| format!("for {}", relative(Duration::from_secs(ttl.into()))),
    );
    let sample = if request.sample { ", sampled" } else { "" };
    format!(
        "{action}{sample} against {}, {ttl}",
        request.vector.as_deref().unwrap_or("manual")
    )
}

fn asked_action(request: &MitigationRequest) -> String {
    let Some(action_type) = request.action else {
        return match (request.rate_bps, request.rate_pps) {
            (Some(rate), _) => format!("the playbook's action, {}", si(rate.0)),
            (None, Some(rate)) => format!("the playbook's action, {} packets/s", si(rate)),
            (None, None) => "the playbook's action".to_owned(),
        };
    };
    let fields = ActionFields {
        action_type,
        rate_bps: request.rate_bps,
        rate_pps: request.rate_pps,
        route_target: request.route_target,
        next_hop: request.next_hop,
        copy: request.copy,
        dscp: request.dscp,
    };
    match Action::try_from(fields) {
        Ok(Action::Police { rate_bps }) => format!("police {}", si(rate_bps.0)),
        Ok(action) => action.to_string(),
        // What is left out, the playbook may have; what does not belong, the daemon refuses.
        Err(_) => action_type.to_string(),
    }
}

/// Whole seconds that the API carries.
pub(super) fn seconds(span: Duration) -> Result<u32, Failure> {
    u32::try_from(span.as_secs()).map_err(|_| Failure::Input(format!("{}s is too long", span.as_secs())))
}

pub(super) fn matches(text: &str) -> Result<Box<MatchRequest>, TextError> {
    text.parse().map(Box::new)
}

pub(super) fn ranges(ports: &[String]) -> Result<Ranges, Failure> {
    serde_json::from_value(ports.into()).map_err(|error| Failure::Input(format!("ports: {error}")))
}
