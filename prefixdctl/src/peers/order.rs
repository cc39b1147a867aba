//! Orders to a neighbour.

use super::show;
use crate::failure::Failure;
use crate::mitigations::explain;
use crate::session::Session;
use clap::Args;
use prefixd_api::family::AfiSafi;
use prefixd_api::peer::{PeerOrder, PeerOrderRequest};
use prefixd_api::resource::PeerState;
use prefixd_api::show::count;

macro_rules! orders {
    ($($(#[$meta:meta])* $name:ident = $order:expr;)*) => {$(
        #[derive(Args, Debug)]
        $(#[$meta])*
        pub(super) struct $name {
            /// Its name in the configuration
            name: String,
            /// Why, for the journal; disable and reset tell it to the router too
            #[arg(long, value_name = "TEXT")]
            reason: String,
        }

        impl $name {
            pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
                let request = PeerOrderRequest {
                    reason: self.reason,
                    ..PeerOrderRequest::default()
                };
                order(session, &self.name, $order, request).await
            }
        }
    )*};
}

orders! {
    /// Take every rule from a neighbour and keep it without a session until it is enabled
    #[command(after_help = "\
It stays disabled across restarts and reloads of the daemon.

Examples:
  prefixdctl peers disable edge1 --reason \"line card is replaced\"
  prefixdctl peers disable edge1 --reason INC-4711 --yes")]
    DisableArgs = PeerOrder::Disable;
    /// Let a disabled neighbour have its session and rules again
    #[command(after_help = "\
Examples:
  prefixdctl peers enable edge1 --reason \"line card works\"
  prefixdctl peers enable edge1 --reason INC-4711 -o json")]
    EnableArgs = PeerOrder::Enable;
    /// End the session with a neighbour and make it anew
    #[command(after_help = "\
The router drops the rules with the session and gets them again with the next one, a moment later.

Examples:
  prefixdctl peers reset edge1 --reason \"maximum-prefix was raised\"
  prefixdctl peers reset edge1 --reason INC-4711 --yes")]
    ResetArgs = PeerOrder::Reset;
}

/// Send a neighbour every rule again, without touching the session
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl peers resend edge1 --reason \"rules are missing on the router\"
  prefixdctl peers resend edge1 --family ipv6-flowspec --reason INC-4711 -o json")]
pub(super) struct ResendArgs {
    /// Its name in the configuration
    name: String,
    /// The one family, as afi_safi has it; all of them when absent
    #[arg(long, value_name = "FAMILY")]
    family: Option<AfiSafi>,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl ResendArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let request = PeerOrderRequest {
            reason: self.reason,
            afi_safi: self.family,
            ..PeerOrderRequest::default()
        };
        order(session, &self.name, PeerOrder::Resend, request).await
    }
}

/// Try rules again that are held back because they ended the session
#[derive(Args, Debug)]
#[command(after_help = "\
The router gets them alone, after everything else. One that ends the session again is held back for longer.
`prefixdctl peers show NAME` lists them with the router's words.

Examples:
  prefixdctl peers release edge1 --reason \"the router was upgraded\"
  prefixdctl peers release edge1 --nlri 0b012001020304068135 --reason INC-4711")]
pub(super) struct ReleaseArgs {
    /// Its name in the configuration
    name: String,
    /// The one rule, as `peers show` has it; all of them when absent
    #[arg(long, value_name = "HEX")]
    nlri: Option<String>,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl ReleaseArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let request = PeerOrderRequest {
            reason: self.reason,
            nlri: self.nlri,
            ..PeerOrderRequest::default()
        };
        order(session, &self.name, PeerOrder::Release, request).await
    }
}

async fn order(
    session: &Session,
    name: &str,
    order: PeerOrder,
    request: PeerOrderRequest,
) -> Result<(), Failure> {
    session.may_change()?;
    if request.reason.trim().is_empty() {
        return Err(Failure::Input(
            "the reason is empty: say why, for the journal".to_owned(),
        ));
    }
    if session.will_ask() {
        let what = match order {
            PeerOrder::Disable => Some("Take every rule from it and end its session until it is enabled?"),
            PeerOrder::Reset => Some("End its session? It is without rules until the next one is up."),
            PeerOrder::Release => Some("Try rules again that ended its session? They may end it once more."),
            PeerOrder::Enable | PeerOrder::Resend => None,
        };
        if let Some(what) = what {
            let peer = session.client.peer(name).await?.value.peer;
            let rules = count(peer.rules_advertised);
            session.confirm(&format!("{name} is {} with {rules} rules. {what}", peer.state), 1)?;
        }
    }
    let detail = session
        .client
        .order_peer(name, order, &request)
        .await
        .map_err(explain)?;
    let is_up = detail.peer.state == PeerState::Established;
    session.note(&match order {
        PeerOrder::Disable if is_up => {
            format!("{name} is disabled: its rules are being taken back, then its session ends")
        }
        PeerOrder::Disable => format!("{name} is disabled"),
        PeerOrder::Enable => format!("{name} is enabled"),
        PeerOrder::Reset => format!("{name}: the session is made anew"),
        PeerOrder::Release if is_up => format!("{name}: the rules are tried again, after everything else"),
        PeerOrder::Release => format!("{name} has no session: the rules are tried when it comes up"),
        PeerOrder::Resend if is_up => match request.afi_safi {
            Some(family) if !detail.peer.families.contains(&family.to_string()) => {
                format!("{name} did not agree on {family} in this session: nothing is sent")
            }
            Some(family) => format!("{name}: every rule of {family} is sent again"),
            None => format!("{name}: every rule is sent again"),
        },
        PeerOrder::Resend => format!("{name} has no session: every rule is sent when it comes up"),
    });
    show(session, &detail)
}
