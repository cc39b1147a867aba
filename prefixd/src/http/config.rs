//! The configuration.

use super::extract::{Json, ok};
use super::identity::Principal;
use super::{App, Failure};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use prefixd_api::problem::Problem;
use prefixd_api::resource::ReloadRequest;

/// Read the configuration files again: all of them or none.
#[utoipa::path(post, path = "/v1/config/reload", tag = "config", request_body = Option<ReloadRequest>, responses(
    (status = 200, description = "In force", body = Object),
    (status = 400, description = "Nothing changed; the detail names file, line and column", body = Problem),
    (status = 409, description = "Nothing changed: it switches to dry-run what is live, and not as much as expected", body = Problem),
    (status = 503, description = "Nothing changed: the store or the queue takes nothing; try again", body = Problem),
))]
pub(super) async fn reload(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    request: Option<Json<ReloadRequest>>,
) -> Result<Response, Failure> {
    let expect_count = request.and_then(|Json(request)| request.expect_count);
    let head = (app.reload)(principal.actor, expect_count).await?;
    ok(&serde_json::json!({ "status": "reloaded", "head": head }))
}
