//! The configuration.

use super::extract::ok;
use super::identity::Principal;
use super::{App, Failure};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use prefixd_api::problem::Problem;

/// Read the configuration files again: all of them or none.
#[utoipa::path(post, path = "/v1/config/reload", tag = "config", responses(
    (status = 200, description = "In force", body = Object),
    (status = 400, description = "Nothing changed; the detail names file, line and column", body = Problem),
    (status = 503, description = "Nothing changed: the store or the queue takes nothing; try again", body = Problem),
))]
pub(super) async fn reload(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
) -> Result<Response, Failure> {
    let head = (app.reload)(principal.actor).await?;
    ok(&serde_json::json!({ "status": "reloaded", "head": head }))
}
