//! Neighbours.

use super::extract::{Json, PathText, Query, ok};
use super::identity::Principal;
use super::keys::{Done, Key, Reply};
use super::mitigations::reason;
use super::{App, Failure};
use crate::announce::RibFilter;
use crate::policy::{Command, Outcome, PeerCommand};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use prefixd_api::family::AfiSafi;
use prefixd_api::peer::{PeerDetail, PeerDisabled, PeerOrder, PeerOrderRequest, RibList};
use prefixd_api::problem::Problem;
use prefixd_api::resource::{PeerList, UnknownState};

/// All neighbours.
#[utoipa::path(get, path = "/v1/peers", tag = "peers", responses((status = 200, body = PeerList)))]
pub(super) async fn list(State(app): State<App>, query: Query) -> Result<Response, Failure> {
    query.finish()?;
    let peers = app.announcer.peers();
    ok(&PeerList {
        count: peers.len(),
        peers,
    })
}

/// One neighbour: session, capabilities, history, last NOTIFICATIONs.
#[utoipa::path(get, path = "/v1/peers/{name}", tag = "peers", params(("name" = String, Path)),
    responses((status = 200, body = PeerDetail), (status = 404, body = Problem)))]
pub(super) async fn get(
    State(app): State<App>,
    PathText(name): PathText,
    query: Query,
) -> Result<Response, Failure> {
    query.finish()?;
    ok(&detail(&app, &name)?)
}

/// What a neighbour should hold and was told, rule by rule.
#[utoipa::path(get, path = "/v1/peers/{name}/rib", tag = "peers", params(("name" = String, Path),
    ("state" = Option<String>, Query, description = "Any of these, separated by commas"),
    ("afi_safi" = Option<AfiSafi>, Query, description = "Of this family"),
    ("limit" = Option<u16>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = RibList), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn rib(
    State(app): State<App>,
    PathText(name): PathText,
    mut query: Query,
) -> Result<Response, Failure> {
    let states = query.text("state")?.unwrap_or_default();
    let states = states
        .split(',')
        .filter(|state| !state.is_empty())
        .map(str::parse);
    let which = RibFilter {
        states: states
            .collect::<Result<_, UnknownState>>()
            .map_err(|error| Failure::field("state", error.to_string()))?,
        family: query.value("afi_safi")?,
    };
    let (limit, cursor) = (query.limit()?, query.text("cursor")?);
    query.finish()?;
    let is_ours = |cursor: &str| {
        cursor.split_once(':').is_some_and(|(family, key)| {
            family.parse::<AfiSafi>().is_ok() && key.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    };
    if cursor.as_deref().is_some_and(|cursor| !is_ours(cursor)) {
        return Err(Failure::field(
            "cursor",
            "is not the next_cursor of a page of this list",
        ));
    }
    let page = app.announcer.rib(&name, &which, cursor.as_deref(), limit.into());
    ok(&page.ok_or_else(|| Failure::not_found("neighbour"))?)
}

macro_rules! orders {
    ($($(#[$doc:meta])* $name:ident = $path:literal, $order:expr;)*) => {$(
        $(#[$doc])*
        #[utoipa::path(post, path = $path, tag = "peers", params(("name" = String, Path)),
            request_body = PeerOrderRequest, responses(
                (status = 200, description = "Ordered, committed", body = PeerDetail), (status = 400, body = Problem),
                (status = 404, body = Problem), (status = 409, description = "It is disabled", body = Problem),
                (status = 503, body = Problem),
        ))]
        pub(super) async fn $name(
            State(app): State<App>,
            Extension(principal): Extension<Principal>,
            key: Key,
            PathText(name): PathText,
            Json(request): Json<PeerOrderRequest>,
        ) -> Result<Response, Failure> {
            order(&app, principal, &key, name, $order, request).await
        }
    )*};
}

orders! {
    /// Take every rule from a neighbour, end its session and make no other until it is enabled; restarts included.
    disable = "/v1/peers/{name}/disable", PeerOrder::Disable;
    /// Let a disabled neighbour have sessions and rules again.
    enable = "/v1/peers/{name}/enable", PeerOrder::Enable;
    /// End the session with a neighbour and make it anew, at once.
    reset = "/v1/peers/{name}/reset", PeerOrder::Reset;
    /// Send a neighbour every rule again; without a session that happens when it comes up.
    resend = "/v1/peers/{name}/resend", PeerOrder::Resend;
    /// Try rules again that are held back because they ended the session, or the one named: alone, after all others,
    /// and after a quiet time where the session ended in silence.
    release = "/v1/peers/{name}/release", PeerOrder::Release;
}

async fn order(
    app: &App,
    principal: Principal,
    key: &Key,
    neighbor: String,
    order: PeerOrder,
    request: PeerOrderRequest,
) -> Result<Response, Failure> {
    reason(&request.reason)?;
    detail(app, &neighbor)?;
    if let Some(nlri) = &request.nlri {
        if order != PeerOrder::Release {
            return Err(Failure::field("nlri", "belongs to release alone"));
        }
        if app.announcer.held_back(&neighbor, nlri).is_empty() {
            return Err(Failure::not_found(
                "rule that this neighbour is not told because its session ended",
            ));
        }
    }
    if let Some(family) = request.afi_safi {
        if order != PeerOrder::Resend {
            return Err(Failure::field("afi_safi", "belongs to resend alone"));
        }
        if !app.announcer.has_family(&neighbor, family) {
            let what = format!("{neighbor} is not configured for {family}");
            return Err(Failure::field("afi_safi", &what));
        }
    }
    let command = PeerCommand {
        neighbor: neighbor.clone(),
        order,
        nlri: request.nlri,
        family: request.afi_safi,
        reason: request.reason,
        actor: principal.actor,
    };
    let done = app.carry_out(
        key,
        Command::Peer(command),
        move |app, state, outcome| match outcome {
            Outcome::PeerOrdered => Some(detail(app, &neighbor).and_then(|mut detail| {
                // With a key it is answered before the speaker is told.
                detail.peer.disabled = state.disabled.get(&*neighbor).map(|by| PeerDisabled::clone(by));
                Reply::json(200, &detail)
            })),
            _ => None,
        },
    );
    match done.await? {
        Done::Answered(response) => Ok(response),
        Done::Otherwise(Outcome::Refused(problem)) => Err(problem.into()),
        Done::Otherwise(other) => Err(Failure::internal(&format_args!(
            "an order to a neighbour came to {other:?}"
        ))),
    }
}

fn detail(app: &App, name: &str) -> Result<PeerDetail, Failure> {
    app.announcer
        .peer_detail(name)
        .ok_or_else(|| Failure::not_found("neighbour"))
}
