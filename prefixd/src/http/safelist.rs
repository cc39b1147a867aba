//! The safelist.

use super::extract::{Json, PathText, Query, ok};
use super::identity::Principal;
use super::keys::{Done, Key, Reply};
use super::mitigations::reason;
use super::{App, Failure};
use crate::policy::{Command, Outcome, SafelistAdd};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use ipnet::IpNet;
use prefixd_api::prefix;
use prefixd_api::problem::Problem;
use prefixd_api::resource::{SafelistAnswer, SafelistEntry, SafelistList, SafelistRequest};

/// Every protected prefix: implicit, configured and added.
#[utoipa::path(get, path = "/v1/safelist", tag = "safelist", responses((status = 200, body = SafelistList)))]
pub(super) async fn list(State(app): State<App>, query: Query) -> Result<Response, Failure> {
    query.finish()?;
    let (snapshot, now) = (app.engine.snapshot(), app.clock.now());
    let added = snapshot.state.safelist.values();
    let added = added
        .filter(|entry| !entry.is_over(now))
        .map(|entry| SafelistEntry::clone(entry));
    let mut entries: Vec<SafelistEntry> = snapshot.policy.safelist().cloned().chain(added).collect();
    entries.sort_by_key(|entry| entry.prefix);
    ok(&SafelistList {
        count: entries.len(),
        entries,
    })
}

/// Protect a prefix; withdraws what it overlaps.
#[utoipa::path(post, path = "/v1/safelist", tag = "safelist", request_body = SafelistRequest, responses(
    (status = 201, description = "Added, committed", body = SafelistAnswer), (status = 400, body = Problem),
    (status = 409, description = "Another number of mitigations would be withdrawn", body = Problem),
    (status = 503, body = Problem),
))]
pub(super) async fn add(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    Json(request): Json<SafelistRequest>,
) -> Result<Response, Failure> {
    let prefix = prefix(&request.prefix)?;
    reason(&request.reason)?;
    if request.expires_at.is_some_and(|at| at <= app.clock.now()) {
        return Err(Failure::field("expires_at", "is over already"));
    }
    let command = SafelistAdd {
        prefix,
        reason: request.reason,
        expires_at: request.expires_at,
        expect_count: request.expect_count,
        actor: principal.actor,
    };
    let done = app.carry_out(
        &key,
        Command::SafelistAdd(command),
        |_, _, outcome| match outcome {
            Outcome::SafelistAdded(told) => Some(Reply::json(201, told)),
            _ => None,
        },
    );
    match done.await? {
        Done::Answered(response) => Ok(response),
        Done::Otherwise(Outcome::Refused(problem)) => Err(problem.into()),
        Done::Otherwise(other) => Err(Failure::internal(&format_args!(
            "a safelist entry came to {other:?}"
        ))),
    }
}

/// Stop protecting a prefix that was added through the API.
#[utoipa::path(delete, path = "/v1/safelist/{*prefix}", tag = "safelist", params(("prefix" = String, Path)), responses(
    (status = 204, description = "Removed, committed"), (status = 404, body = Problem),
    (status = 409, description = "It belongs to the configuration", body = Problem), (status = 503, body = Problem),
))]
pub(super) async fn remove(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    PathText(text): PathText,
) -> Result<Response, Failure> {
    let prefix = prefix(&text)?;
    let command = Command::SafelistRemove {
        prefix,
        actor: principal.actor,
    };
    let done = app.carry_out(&key, command, |_, _, outcome| match outcome {
        Outcome::SafelistRemoved => Some(Ok(Reply::empty())),
        _ => None,
    });
    match done.await? {
        Done::Answered(response) => Ok(response),
        Done::Otherwise(Outcome::Refused(problem)) => Err(problem.into()),
        Done::Otherwise(other) => Err(Failure::internal(&format_args!(
            "removing a safelist entry came to {other:?}"
        ))),
    }
}

/// A prefix that can protect something.
fn prefix(text: &str) -> Result<IpNet, Failure> {
    let wrong = |message: String| Failure::field("prefix", message);
    let prefix = prefix::parse(text).map_err(|error| wrong(error.to_string()))?;
    if prefix.trunc() != prefix {
        let meant = prefix.trunc();
        return Err(wrong(format!(
            "{prefix} has host bits set; did you mean {meant}?"
        )));
    }
    if prefix.prefix_len() == 0 {
        return Err(wrong(
            "0 bits would protect everything; use mode dry-run for that".to_owned(),
        ));
    }
    if prefix::covers_mapped(&prefix) {
        return Err(wrong(format!("{prefix} {}", prefix::COVERS_MAPPED)));
    }
    Ok(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_protects_what_it_says_or_is_refused() {
        let made = |text| prefix(text).ok().map(|prefix| prefix.to_string());
        assert_eq!(made("::ffff:203.0.113.0/120").as_deref(), Some("203.0.113.0/24"));
        assert_eq!(made("203.0.113.9").as_deref(), Some("203.0.113.9/32"));
        for text in [
            "::ffff:0:0/96",
            "::/8",
            "::/0",
            "0.0.0.0/0",
            "203.0.113.9/24",
            "::ffff:203.0.113.9/120",
            "x",
        ] {
            assert_eq!(made(text), None, "{text}");
        }
    }
}
