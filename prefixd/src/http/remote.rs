//! What is asked here of another POP.

use super::extract::{PathText, Query, answer, ok, path};
use super::keys::{self, Key};
use super::mitigations::has_ended;
use super::{App, Failure};
use axum::extract::State;
use axum::response::Response;
use prefixd_api::ids::CommandId;
use prefixd_api::mitigation::{Mitigation, WithdrawRequest};
use prefixd_api::problem::{Code, Problem};
use prefixd_api::remote::{RemoteCommand, RemoteCommandList, RemoteState};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long the caller waits for the other POP.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often is looked without a word of it.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Has the daemon of another POP withdraw what is its own. Asked for again before it has answered, what was asked first
/// stands; asked for again by the key of what is done, it is answered as before.
pub(super) async fn withdraw(
    app: &App,
    key: &Key,
    known: &Mitigation,
    request: WithdrawRequest,
    actor: String,
) -> Result<Response, Failure> {
    let key = key.claim().map(|claim| claim.name.key.to_string());
    if !known.status.is_live() {
        let done = match &key {
            Some(key) => app.store.command_done(known.mitigation_id, &actor, key).await?,
            None => None,
        };
        return match done {
            Some(done) if done.request == request => ok(known).map(|mut response| {
                keys::mark_replayed(&mut response);
                response
            }),
            Some(_) => Err(keys::mismatch()),
            None => Err(has_ended(app, known)),
        };
    }
    let command_id = CommandId::new();
    let command = RemoteCommand {
        command_id,
        state: RemoteState::Waiting,
        detail: format!(
            "{} is of POP {}, whose prefixd has not answered yet: it withdraws it as soon as it runs and reaches the database. \
             See GET /v1/commands/{command_id} (prefixdctl commands)",
            known.mitigation_id, known.pop
        ),
        mitigation_id: known.mitigation_id,
        pop: known.pop.to_string(),
        request,
        actor,
        idempotency_key: key,
        asked_at_pop: app.pop.clone(),
        asked_at: app.clock.now(),
        answered_at: None,
        problem: None,
    };
    let waits = app.store.ask(&command).await?;
    let command_id = waits.map_or(command_id, |waits| waits.command_id);
    let now = answered(app, command_id).await?;
    match now.state {
        RemoteState::Waiting => answer(202, &now),
        RemoteState::Done => {
            let stored = app.store.get_mitigation(known.mitigation_id).await?;
            ok(&stored.ok_or_else(|| Failure::not_found("mitigation"))?)
        }
        RemoteState::Refused => Err(now.problem.map_or_else(
            || Failure::from(Problem::new(Code::Internal, now.detail)),
            Failure::from,
        )),
    }
}

/// The command once it is answered, or as it is when nobody waits any longer.
async fn answered(app: &App, id: CommandId) -> Result<RemoteCommand, Failure> {
    let deadline = Instant::now() + PATIENCE;
    let mut news = app.news.clone();
    loop {
        news.mark_unchanged();
        let command = app.store.command(id).await?;
        let command = command.ok_or_else(|| Failure::not_found("command"))?;
        let now = Instant::now();
        if command.state != RemoteState::Waiting || now >= deadline {
            return Ok(command);
        }
        tokio::select! {
            Ok(()) = news.changed() => {}
            () = sleep_until(deadline.min(now + LOOK_AGAIN)) => {}
        }
    }
}

/// What was asked of other POPs lately, newest first.
#[utoipa::path(get, path = "/v1/commands", tag = "mitigations", responses((status = 200, body = RemoteCommandList)))]
pub(super) async fn list(State(app): State<App>, query: Query) -> Result<Response, Failure> {
    query.finish()?;
    let commands = app.store.commands().await?;
    ok(&RemoteCommandList {
        count: commands.len(),
        commands,
    })
}

/// How something stands that was asked of another POP.
#[utoipa::path(get, path = "/v1/commands/{id}", tag = "mitigations", params(("id" = String, Path)), responses(
    (status = 200, body = RemoteCommand), (status = 404, body = Problem),
))]
pub(super) async fn get(State(app): State<App>, PathText(id): PathText) -> Result<Response, Failure> {
    let id: CommandId = path(&id, "command")?;
    let command = app.store.command(id).await?;
    ok(&command.ok_or_else(|| Failure::not_found("command"))?)
}
