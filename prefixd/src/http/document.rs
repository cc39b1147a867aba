//! What the OpenAPI document says of every route alike, so that no route has to repeat it, or can forget it.

use super::keys;
use super::routes::Need;
use prefixd_api::problem::PROBLEM_JSON;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Required, Response, ResponseBuilder};

/// Completes what a route says of itself: who may ask, how anything can be refused, and the form of a refusal.
pub(super) fn complete(operation: &mut Operation, need: Need, takes_key: bool) {
    let who = match need {
        Need::Public => "public".to_owned(),
        Need::Role(role) => role.to_string(),
    };
    operation
        .extensions
        .get_or_insert_with(Extensions::default)
        .insert("x-role".to_owned(), who.into());
    let mut refusals = vec![(
        "500",
        "A defect: nothing was done; the log has the cause under the request id",
    )];
    if matches!(need, Need::Role(_)) {
        refusals.push(("401", "Nobody we know: no credentials, or wrong ones"));
        refusals.push(("403", "Somebody who may not ask for this"));
        refusals.push((
            "503",
            "The store is away or the daemon stops: whether it was done is not known; look before asking again",
        ));
    }
    if operation.request_body.is_some() {
        refusals.push(("413", "The body is too long"));
        refusals.push(("415", "The body is of another type"));
    }
    if takes_key {
        let key = ParameterBuilder::new()
            .name(keys::KEY.as_str())
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "Carry this out once, however often it is sent: within 24 hours the same key gets the answer that was kept",
            ))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)));
        operation
            .parameters
            .get_or_insert_default()
            .push(RefOr::T(key.build()));
        refusals.push(("422", "The Idempotency-Key was used for another request"));
        refusals.push(("409", "Done before; the answer was too long to be kept"));
    }
    let has_parameters = operation.parameters.as_ref().is_some_and(|all| !all.is_empty());
    if operation.request_body.is_some() || has_parameters {
        refusals.push(("400", "Not well formed, or a field out of range"));
    }
    let responses = &mut operation.responses.responses;
    for (status, description) in refusals {
        let refused = responses.entry(status.to_owned());
        let refused = refused.and_modify(|response| {
            if let RefOr::T(response) = response {
                or_problem(response);
            }
        });
        refused.or_insert_with(|| RefOr::T(problem(description)));
    }
    for (status, response) in responses {
        if let RefOr::T(response) = response
            && !status.starts_with('2')
            && let Some(content) = response.content.shift_remove("application/json")
        {
            response.content.insert(PROBLEM_JSON.to_owned(), content);
        }
    }
}

/// The router writes `{*rest}` for what may contain slashes; OpenAPI (3.1, 4.8.8) knows only `{rest}`.
pub(super) fn finish(mut document: OpenApi) -> OpenApi {
    document.paths.paths = std::mem::take(&mut document.paths.paths)
        .into_iter()
        .map(|(path, item)| (path.replace("{*", "{"), item))
        .collect();
    document
}

/// A refusal that a route answers with more than a problem is a mere one where it comes from what all routes share.
fn or_problem(response: &mut Response) {
    let problem = RefOr::from(Ref::from_schema_name("Problem"));
    for content in response.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        if let Some(own) = content.schema.take_if(|own| *own != problem) {
            let either = AnyOfBuilder::new().item(own).item(problem.clone());
            content.schema = Some(RefOr::T(Schema::AnyOf(either.build())));
        }
    }
}

fn problem(description: &str) -> Response {
    let schema = Ref::from_schema_name("Problem");
    ResponseBuilder::new()
        .description(description)
        .content(PROBLEM_JSON, Content::new(Some(schema)))
        .build()
}

#[cfg(test)]
mod tests {
    use crate::http::routes::openapi;
    use utoipa::openapi::RefOr;

    #[test]
    fn every_route_says_how_it_may_refuse_and_in_which_form() {
        let document = openapi();
        for (path, item) in &document.paths.paths {
            assert!(!path.contains('*'), "{path}");
            let operations = [&item.get, &item.post, &item.put, &item.delete];
            for operation in operations.into_iter().flatten() {
                let responses = &operation.responses.responses;
                let known = |status: &str| responses.contains_key(status);
                assert!(known("500"), "{path}");
                assert_eq!(operation.request_body.is_some(), known("415"), "{path}");
                for (status, response) in responses {
                    let RefOr::T(response) = response else { continue };
                    let is_problem = response.content.contains_key("application/problem+json");
                    let has_body = !response.content.is_empty();
                    assert_eq!(
                        is_problem,
                        has_body && !status.starts_with('2'),
                        "{path} {status}"
                    );
                }
            }
        }
        let reports = document.paths.paths["/v1/events"].post.as_ref().unwrap();
        let refused = serde_json::to_value(&reports.responses.responses["422"]).unwrap();
        let of = |name: &str| serde_json::json!({ "$ref": format!("#/components/schemas/{name}") });
        assert_eq!(
            refused["content"]["application/problem+json"]["schema"],
            serde_json::json!({ "anyOf": [of("RefusedEvent"), of("Problem")] })
        );
        let switched = &document.paths.paths["/v1/safelist/{prefix}"].delete;
        assert!(switched.is_some());
    }
}
