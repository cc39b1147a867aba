//! Whether what should be announced, what is held and what was told are the same.

use super::extract::{Query, ok};
use super::{App, Failure};
use axum::extract::State;
use axum::response::Response;
use prefixd_api::drift::Drift;
use prefixd_api::problem::Problem;

/// What should be announced at each neighbour against what the speaker holds and has told it. Router tables are not read.
#[utoipa::path(get, path = "/v1/drift", tag = "questions", responses((status = 200, body = Drift)))]
pub(super) async fn get(State(app): State<App>, query: Query) -> Result<Response, Failure> {
    query.finish()?;
    ok(&drift(&app, None))
}

/// Compare now, and repair what differs; the daemon does so by itself every `timers.reconciliation_interval_seconds`.
#[utoipa::path(post, path = "/v1/reconcile", tag = "control", responses(
    (status = 200, description = "Compared; what differed is repaired", body = Drift), (status = 503, body = Problem),
))]
pub(super) async fn reconcile(State(app): State<App>) -> Result<Response, Failure> {
    let found = app.engine.reconcile().await?;
    ok(&drift(&app, Some(found.missing + found.unexplained)))
}

fn drift(app: &App, repaired: Option<u64>) -> Drift {
    let (mitigations, neighbors) = app.announcer.drift();
    Drift {
        at: app.clock.now(),
        in_sync: neighbors.iter().all(|at| {
            at.missing == 0
                && at.unexplained == 0
                && at.not_advertised.is_empty()
                && at.advertised == at.desired
        }),
        mitigations,
        repaired_total: app.metrics.drift_total(),
        repaired,
        neighbors,
    }
}
