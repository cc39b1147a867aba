//! The one table of routes. From it come the router, the role a request needs, and the OpenAPI document.

use super::document;
use super::gate::{self, Gate};
use super::{
    App, Failure, audit, config, control, drift, dump, events, feed, groups, history, keys, mitigations,
    operations, peers, preview, remote, reports, safelist, series, sources, status, suppressions, traffic,
};
use axum::Router;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use prefixd_api::problem::Code;
use prefixd_api::role::Role;
use std::collections::HashMap;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

/// What a request to a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: anybody may ask.
    Public,
    /// A principal with this role.
    Role(Role),
}

/// Needs by method and route.
pub(super) type Needs = HashMap<(Method, String), Need>;

#[derive(OpenApi)]
#[openapi(info(
    title = "prefixd",
    description = "DDoS mitigation: signals in, guarded BGP FlowSpec rules out. Errors are RFC 9457 problem details with stable codes."
))]
struct Document;

#[derive(Default)]
struct Table {
    router: OpenApiRouter<App>,
    needs: Needs,
}

impl Table {
    fn add(mut self, need: Need, (schemas, mut paths, handlers): UtoipaMethodRouter<App>) -> Self {
        for (path, item) in &mut paths.paths {
            for (method, operation) in [
                (Method::GET, &mut item.get),
                (Method::POST, &mut item.post),
                (Method::PUT, &mut item.put),
                (Method::DELETE, &mut item.delete),
            ] {
                let Some(operation) = operation else { continue };
                document::complete(operation, need, keys::is_kept(&method, path));
                self.needs.insert((method, path.clone()), need);
            }
        }
        self.router = self.router.routes((schemas, paths, handlers));
        self
    }
}

fn table() -> Table {
    use Need::{Public, Role as Is};
    Table {
        router: OpenApiRouter::with_openapi(Document::openapi()),
        needs: Needs::new(),
    }
    .add(Is(Role::Detector), routes!(events::send))
    .add(Is(Role::Detector), routes!(events::send_batch))
    .add(Is(Role::Viewer), routes!(events::list))
    .add(Is(Role::Viewer), routes!(events::get))
    .add(Is(Role::Viewer), routes!(events::why))
    .add(Is(Role::Viewer), routes!(mitigations::list))
    .add(Is(Role::Operator), routes!(mitigations::create))
    .add(Is(Role::Operator), routes!(preview::preview))
    .add(Is(Role::Operator), routes!(preview::withdraw))
    .add(Is(Role::Operator), routes!(preview::adjust))
    .add(Is(Role::Viewer), routes!(mitigations::get))
    .add(Is(Role::Viewer), routes!(mitigations::why))
    .add(Is(Role::Operator), routes!(mitigations::withdraw))
    .add(Is(Role::Operator), routes!(operations::withdraw))
    .add(Is(Role::Operator), routes!(operations::undo))
    .add(Is(Role::Operator), routes!(operations::confirm))
    .add(Is(Role::Operator), routes!(operations::extend))
    .add(Is(Role::Operator), routes!(operations::adjust))
    .add(Is(Role::Operator), routes!(operations::acknowledge))
    .add(Is(Role::Operator), routes!(operations::note))
    .add(Is(Role::Operator), routes!(operations::claim))
    .add(Is(Role::Operator), routes!(operations::release))
    .add(Is(Role::Viewer), routes!(safelist::list))
    .add(Is(Role::Admin), routes!(safelist::add))
    .add(Is(Role::Admin), routes!(safelist::remove))
    .add(Is(Role::Viewer), routes!(traffic::matching))
    .add(Is(Role::Viewer), routes!(groups::list))
    .add(Is(Role::Viewer), routes!(groups::get))
    .add(Is(Role::Viewer), routes!(sources::list))
    .add(Is(Role::Operator), routes!(sources::pause))
    .add(Is(Role::Operator), routes!(sources::resume))
    .add(Is(Role::Viewer), routes!(history::get))
    .add(Is(Role::Viewer), routes!(suppressions::list))
    .add(Is(Role::Operator), routes!(suppressions::add))
    .add(Is(Role::Operator), routes!(suppressions::end))
    .add(Is(Role::Viewer), routes!(audit::list))
    .add(Is(Role::Admin), routes!(audit::verify))
    .add(Is(Role::Viewer), routes!(status::stats))
    .add(Is(Role::Viewer), routes!(series::timeseries))
    .add(Is(Role::Viewer), routes!(series::pops))
    .add(Is(Role::Viewer), routes!(remote::list))
    .add(Is(Role::Viewer), routes!(remote::get))
    .add(Is(Role::Viewer), routes!(series::migrations))
    .add(Is(Role::Viewer), routes!(reports::report))
    .add(Is(Role::Viewer), routes!(drift::get))
    .add(Is(Role::Operator), routes!(drift::reconcile))
    .add(Is(Role::Viewer), routes!(peers::list))
    .add(Is(Role::Viewer), routes!(peers::get))
    .add(Is(Role::Viewer), routes!(peers::rib))
    .add(Is(Role::Operator), routes!(dump::messages))
    .add(Is(Role::Operator), routes!(peers::disable))
    .add(Is(Role::Operator), routes!(peers::enable))
    .add(Is(Role::Operator), routes!(peers::reset))
    .add(Is(Role::Operator), routes!(peers::resend))
    .add(Is(Role::Operator), routes!(peers::release))
    .add(Is(Role::Viewer), routes!(control::get))
    // Panic alone; the handler asks for an admin for everything else.
    .add(Is(Role::Operator), routes!(control::set))
    .add(Is(Role::Admin), routes!(control::reset_breaker))
    .add(Is(Role::Viewer), routes!(config::settings))
    .add(Is(Role::Viewer), routes!(config::inventory))
    .add(Is(Role::Admin), routes!(config::set_inventory))
    .add(Is(Role::Viewer), routes!(config::playbooks))
    .add(Is(Role::Admin), routes!(config::set_playbooks))
    .add(Is(Role::Admin), routes!(config::text))
    .add(Is(Role::Admin), routes!(config::set_text))
    .add(Is(Role::Admin), routes!(config::reload))
    .add(Public, routes!(status::health))
    .add(Public, routes!(status::ready))
    .add(Is(Role::Viewer), routes!(status::detail))
    .add(Is(Role::Viewer), routes!(status::metrics))
    .add(Is(Role::Viewer), routes!(status::openapi))
    .add(Is(Role::Viewer), routes!(feed::subscribe))
}

/// The OpenAPI document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    document::finish(table().router.into_openapi())
}

/// All routes behind the gate.
pub fn router(app: App) -> Router {
    let Table { router, mut needs } = table();
    let (router, document) = router.split_for_parts();
    let viewer =
        utoipa_swagger_ui::SwaggerUi::new("/docs").url("/docs/openapi.json", document::finish(document));
    for path in ["/docs", "/docs/", "/docs/{*rest}", "/docs/openapi.json"] {
        needs.insert((Method::GET, path.to_owned()), Need::Role(Role::Viewer));
    }
    let gate = Gate::new(app.clone(), needs);
    behind(gate, router.with_state(app).merge(viewer))
}

/// `GET /metrics` alone, for anybody: who may reach the address is the network's to say.
pub(super) fn metrics_router(app: App) -> Router {
    let needs = Needs::from([((Method::GET, "/metrics".to_owned()), Need::Public)]);
    let gate = Gate::new(app.clone(), needs);
    let router = Router::new()
        .route("/metrics", axum::routing::get(status::metrics))
        .with_state(app);
    behind(gate, router)
}

/// What every router has around its routes.
fn behind(gate: Gate, router: Router) -> Router {
    router
        .fallback(|| async { Failure::not_found("route") })
        .method_not_allowed_fallback(|| async {
            Failure::new(
                Code::MethodNotAllowed,
                "this route knows other methods; /docs lists them",
            )
        })
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(gate, gate::pass))
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    Failure::internal(&format_args!("a handler panicked: {text}")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole contract in one place: a route that is added, or whose need changes, changes this table too.
    #[test]
    fn every_route_has_the_role_it_should_have() {
        let mut lines: Vec<String> = table()
            .needs
            .iter()
            .map(|((method, path), need)| match need {
                Need::Public => format!("{path} {method} public"),
                Need::Role(role) => format!("{path} {method} {role}"),
            })
            .collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "/metrics GET viewer",
                "/v1/audit GET viewer",
                "/v1/audit/verify GET admin",
                "/v1/breaker/reset POST admin",
                "/v1/commands GET viewer",
                "/v1/commands/{id} GET viewer",
                "/v1/config/inventory GET viewer",
                "/v1/config/inventory PUT admin",
                "/v1/config/playbooks GET viewer",
                "/v1/config/playbooks PUT admin",
                "/v1/config/reload POST admin",
                "/v1/config/settings GET viewer",
                "/v1/config/{file}/raw GET admin",
                "/v1/config/{file}/raw PUT admin",
                "/v1/control GET viewer",
                "/v1/control PUT operator",
                "/v1/drift GET viewer",
                "/v1/events GET viewer",
                "/v1/events POST detector",
                "/v1/events/batch POST detector",
                "/v1/events/{id} GET viewer",
                "/v1/events/{id}/why GET viewer",
                "/v1/groups GET viewer",
                "/v1/groups/{id} GET viewer",
                "/v1/health GET public",
                "/v1/health/detail GET viewer",
                "/v1/health/ready GET public",
                "/v1/ip/{ip}/history GET viewer",
                "/v1/match GET viewer",
                "/v1/migrations GET viewer",
                "/v1/mitigations GET viewer",
                "/v1/mitigations POST operator",
                "/v1/mitigations/acknowledge POST operator",
                "/v1/mitigations/preview POST operator",
                "/v1/mitigations/withdraw POST operator",
                "/v1/mitigations/{id} GET viewer",
                "/v1/mitigations/{id}/adjust POST operator",
                "/v1/mitigations/{id}/adjust/preview POST operator",
                "/v1/mitigations/{id}/claim POST operator",
                "/v1/mitigations/{id}/confirm POST operator",
                "/v1/mitigations/{id}/extend POST operator",
                "/v1/mitigations/{id}/notes POST operator",
                "/v1/mitigations/{id}/release POST operator",
                "/v1/mitigations/{id}/undo POST operator",
                "/v1/mitigations/{id}/why GET viewer",
                "/v1/mitigations/{id}/withdraw POST operator",
                "/v1/mitigations/{id}/withdraw/preview POST operator",
                "/v1/openapi.json GET viewer",
                "/v1/peers GET viewer",
                "/v1/peers/{name} GET viewer",
                "/v1/peers/{name}/disable POST operator",
                "/v1/peers/{name}/dump GET operator",
                "/v1/peers/{name}/enable POST operator",
                "/v1/peers/{name}/release POST operator",
                "/v1/peers/{name}/resend POST operator",
                "/v1/peers/{name}/reset POST operator",
                "/v1/peers/{name}/rib GET viewer",
                "/v1/pops GET viewer",
                "/v1/reconcile POST operator",
                "/v1/reports/incident GET viewer",
                "/v1/safelist GET viewer",
                "/v1/safelist POST admin",
                "/v1/safelist/{*prefix} DELETE admin",
                "/v1/sources GET viewer",
                "/v1/sources/{name}/pause POST operator",
                "/v1/sources/{name}/resume POST operator",
                "/v1/stats GET viewer",
                "/v1/stats/timeseries GET viewer",
                "/v1/suppressions GET viewer",
                "/v1/suppressions POST operator",
                "/v1/suppressions/{id} DELETE operator",
                "/v1/ws/feed GET viewer",
            ]
        );
    }

    /// docs/openapi.json is this document. `PREFIXD_UPDATE=1 cargo test -p prefixd openapi` writes it anew.
    #[test]
    fn the_openapi_document_is_checked_in() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        let made = openapi().to_pretty_json().unwrap() + "\n";
        if std::env::var_os("PREFIXD_UPDATE").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        let checked_in = std::fs::read_to_string(path).unwrap();
        assert!(
            made == checked_in,
            "docs/openapi.json is not the document of these routes; update it with PREFIXD_UPDATE=1"
        );
    }
}
