//! The configuration: what is in force, its files, changing and reloading them.

use super::extract::{Json, PathText, Query, Text, ok};
use super::identity::Principal;
use super::keys::{Key, Reply, once, replayed};
use super::{App, Failure};
use crate::configuration::{Content, Edit, Settled};
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use prefixd_api::config::{self, Config, Inventory, Playbooks};
use prefixd_api::configuration::{ConfigChanged, ConfigDocument, ConfigFile, MAX_FILE, YAML};
use prefixd_api::problem::{Code, Problem};
use prefixd_api::resource::ReloadRequest;
use serde::Deserialize;
use serde_json::Value;

/// Read the configuration files again: all of them or none.
#[utoipa::path(post, path = "/v1/config/reload", tag = "config", request_body = Option<ReloadRequest>, responses(
    (status = 200, description = "In force", body = Object),
    (status = 400, description = "Nothing changed; `errors` has every mistake with file, line and column", body = Problem),
    (status = 409, description = "Nothing changed: it switches to dry-run what is live, and not as much as expected", body = Problem),
    (status = 503, description = "Nothing changed: the store or the queue takes nothing; try again", body = Problem),
))]
pub(super) async fn reload(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    request: Option<Json<ReloadRequest>>,
) -> Result<Response, Failure> {
    let expect_count = request.and_then(|Json(request)| request.expect_count);
    let once = once(&key, reloaded);
    match app.reloader.reload(&principal.actor, expect_count, once).await? {
        Settled::Done(head) => Ok(reloaded(&head)?.into_response()),
        Settled::Recalled(recalled) => replayed(recalled),
    }
}

fn reloaded(head: &u64) -> Result<Reply, Failure> {
    Reply::json(200, &serde_json::json!({ "status": "reloaded", "head": head }))
}

macro_rules! documents {
    ($($(#[$doc:meta])* $name:ident = $path:literal, $file:expr, $shown:expr;)*) => {$(
        $(#[$doc])*
        #[utoipa::path(get, path = $path, tag = "config", responses(
            (status = 200, description = "In force; the version is the entity tag", body = ConfigDocument),
        ))]
        pub(super) async fn $name(State(app): State<App>, query: Query) -> Result<Response, Failure> {
            query.finish()?;
            let shown: fn(&Config) -> serde_json::Result<Value> = $shown;
            document(&app, $file, shown).await
        }
    )*};
}

documents! {
    /// The settings that are in force, as far as they are shown: no secrets, and not where they are kept.
    settings = "/v1/config/settings", ConfigFile::Settings, Config::shown_settings;
    /// The inventory that is in force.
    inventory = "/v1/config/inventory", ConfigFile::Inventory, |config| serde_json::to_value(&config.inventory);
    /// The playbooks that are in force.
    playbooks = "/v1/config/playbooks", ConfigFile::Playbooks, |config| serde_json::to_value(&config.playbooks);
}

async fn document(
    app: &App,
    file: ConfigFile,
    shown: fn(&Config) -> serde_json::Result<Value>,
) -> Result<Response, Failure> {
    let in_force = app.reloader.in_force();
    let version = in_force.version(file).to_owned();
    // A file that cannot be read is not the one that is in force.
    let on_disk = app.reloader.on_disk(file).await.ok();
    let told = ConfigDocument {
        file,
        differs_on_disk: on_disk.as_ref().is_none_or(|disk| disk.version != version),
        loses: match file {
            ConfigFile::Settings => Vec::new(),
            ConfigFile::Inventory | ConfigFile::Playbooks => on_disk
                .map(|disk| config::losses(&String::from_utf8_lossy(&disk.text)))
                .unwrap_or_default(),
        },
        document: shown(&in_force).map_err(|error| Failure::internal(&error))?,
        version,
    };
    Ok(tagged(ok(&told)?, &told.version))
}

/// A document that is to be in force.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewDocument<T> {
    document: T,
}

/// The body of a change, for the OpenAPI document.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the body; the document itself is the file's")]
pub(super) struct ConfigDocumentRequest {
    /// The whole document, as its GET answers it.
    #[schema(value_type = Object)]
    document: Value,
}

macro_rules! changes {
    ($($(#[$doc:meta])* $name:ident = $path:literal, $file:expr, $type:ty, $content:expr;)*) => {$(
        $(#[$doc])*
        #[utoipa::path(put, path = $path, tag = "config", request_body = ConfigDocumentRequest, params(
            ("If-Match" = Option<String>, Header, description = "The version that is changed; not needed with validate=true"),
            ("validate" = Option<bool>, Query, description = "true: only say what would become of it"),
            ("expect_count" = Option<u64>, Query, description = "How many mitigations may lose rules by a switch to dry-run; without it none may"),
        ), responses(
            (status = 200, description = "In force, committed; or checked", body = ConfigChanged),
            (status = 400, description = "Nothing changed; `errors` has every mistake", body = Problem),
            (status = 409, description = "Another file waits to come into force, this one cannot be replaced, or it switches to dry-run what is live", body = Problem),
            (status = 412, description = "The file has another version", body = Problem),
            (status = 428, description = "Without If-Match a change of somebody else could be lost", body = Problem),
            (status = 503, description = "Nothing changed: the store or the queue takes nothing; try again", body = Problem),
        ))]
        pub(super) async fn $name(
            State(app): State<App>,
            Extension(principal): Extension<Principal>,
            key: Key,
            headers: HeaderMap,
            query: Query,
            Json(request): Json<NewDocument<$type>, MAX_FILE>,
        ) -> Result<Response, Failure> {
            edit(&app, (principal, &key), &headers, query, $file, $content(request.document)).await
        }
    )*};
}

changes! {
    /// Change the inventory: checked with all other files, written, put into force; or nothing at all. The file is written
    /// anew, without its comments; what says the same already is left alone.
    set_inventory = "/v1/config/inventory", ConfigFile::Inventory, Inventory, Content::Inventory;
    /// Change the playbooks: checked with all other files, written, put into force; or nothing at all. The file is written
    /// anew, without its comments; what says the same already is left alone.
    set_playbooks = "/v1/config/playbooks", ConfigFile::Playbooks, Playbooks, Content::Playbooks;
}

/// A file of the configuration as it is on disk, byte for byte: settings, inventory or playbooks.
#[utoipa::path(get, path = "/v1/config/{file}/raw", tag = "config", params(("file" = String, Path)), responses(
    (status = 200, description = "The text; the version is the entity tag", content((String = "application/yaml"))),
    (status = 404, body = Problem), (status = 409, description = "It cannot be read", body = Problem),
))]
pub(super) async fn text(
    State(app): State<App>,
    PathText(name): PathText,
    query: Query,
) -> Result<Response, Failure> {
    query.finish()?;
    let disk = app.reloader.on_disk(file(&name)?).await?;
    let response = ([(header::CONTENT_TYPE, YAML)], disk.text).into_response();
    Ok(tagged(response, &disk.version))
}

/// Change a file of the configuration as text, byte for byte: checked with all other files, written, put into force; or nothing
/// at all.
#[utoipa::path(put, path = "/v1/config/{file}/raw", tag = "config",
    request_body(content = String, content_type = "application/yaml"), params(
        ("file" = String, Path),
        ("If-Match" = Option<String>, Header, description = "The version that is changed; not needed with validate=true"),
        ("validate" = Option<bool>, Query, description = "true: only say what would become of it"),
            ("expect_count" = Option<u64>, Query, description = "How many mitigations may lose rules by a switch to dry-run; without it none may"),
    ), responses(
        (status = 200, description = "In force, committed; or checked", body = ConfigChanged),
        (status = 400, description = "Nothing changed; `errors` has every mistake with line and column", body = Problem),
        (status = 404, body = Problem),
        (status = 409, description = "Another file waits to come into force, this one cannot be replaced, or it switches to dry-run what is live", body = Problem),
        (status = 412, description = "The file has another version", body = Problem),
        (status = 428, description = "Without If-Match a change of somebody else could be lost", body = Problem),
        (status = 503, description = "Nothing changed: the store or the queue takes nothing; try again", body = Problem),
))]
pub(super) async fn set_text(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    key: Key,
    PathText(name): PathText,
    headers: HeaderMap,
    query: Query,
    Text(text): Text<MAX_FILE>,
) -> Result<Response, Failure> {
    let file = file(&name)?;
    if text.trim().is_empty() {
        return Err(Failure::new(
            Code::RequestField,
            "the text is empty; a file without anything in it is written {}",
        ));
    }
    edit(
        &app,
        (principal, &key),
        &headers,
        query,
        file,
        Content::Text(text),
    )
    .await
}

async fn edit(
    app: &App,
    (principal, key): (Principal, &Key),
    headers: &HeaderMap,
    mut query: Query,
    file: ConfigFile,
    content: Content,
) -> Result<Response, Failure> {
    let validate_only = query.one_of("validate", &[("true", true), ("false", false)])?;
    let expect_count = query.number("expect_count", 0..=u64::MAX)?;
    query.finish()?;
    let validate_only = validate_only.unwrap_or(false);
    let expected = versions(headers)?;
    if expected.is_none() && !validate_only {
        return Err(Failure::new(
            Code::RequestPrecondition,
            "send If-Match with the version that you changed (the ETag of its GET): without it a change of somebody else could \
             be lost",
        ));
    }
    let edit = Edit {
        file,
        content,
        expected,
        expect_count,
        validate_only,
        actor: principal.actor,
    };
    match app.reloader.edit(edit, once(key, changed)).await? {
        Settled::Done(told) => {
            let response = changed(&told)?.into_response();
            // The tag of what is there, which after a mere check is what was there before.
            Ok(if told.validated_only {
                response
            } else {
                tagged(response, &told.version)
            })
        }
        Settled::Recalled(recalled) => replayed(recalled),
    }
}

fn changed(told: &ConfigChanged) -> Result<Reply, Failure> {
    Reply::json(200, told)
}

fn file(name: &str) -> Result<ConfigFile, Failure> {
    name.parse()
        .map_err(|error: String| Failure::new(Code::NotFound, error))
}

/// The versions that If-Match names (RFC 9110 section 13.1.1). Weak tags never match; `*` names none, so that it would
/// protect nothing.
fn versions(headers: &HeaderMap) -> Result<Option<Vec<String>>, Failure> {
    let mut tags = Vec::new();
    let mut is_there = false;
    for value in headers.get_all(header::IF_MATCH) {
        is_there = true;
        let text = value
            .to_str()
            .map_err(|_| Failure::field("If-Match", "has characters that no version has"))?;
        for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            if tag == "*" {
                return Err(Failure::new(
                    Code::RequestPrecondition,
                    "If-Match: * names no version, so a change of somebody else could be lost; send the ETag of its GET",
                ));
            }
            if !tag.starts_with("W/") {
                tags.push(tag.trim_matches('"').to_owned());
            }
        }
    }
    Ok(is_there.then_some(tags))
}

/// With the version as a strong entity tag: it is the hash of every byte.
fn tagged(mut response: Response, version: &str) -> Response {
    if let Ok(tag) = HeaderValue::try_from(format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_names_versions_and_never_any() {
        let given = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::IF_MATCH, HeaderValue::from_static(value));
            }
            versions(&headers).map_err(|failure| failure.into_problem().code)
        };
        assert_eq!(given(&[]), Ok(None));
        assert_eq!(given(&["\"ab\""]), Ok(Some(vec!["ab".to_owned()])));
        assert_eq!(
            given(&["ab"]),
            Ok(Some(vec!["ab".to_owned()])),
            "as a person types it"
        );
        assert_eq!(
            given(&["\"ab\", W/\"cd\"", "\"ef\""]),
            Ok(Some(vec!["ab".to_owned(), "ef".to_owned()]))
        );
        assert_eq!(given(&["W/\"cd\""]), Ok(Some(Vec::new())), "matches nothing");
        assert_eq!(given(&["\"ab\", *"]), Err("request.precondition".to_owned()));
    }
}
