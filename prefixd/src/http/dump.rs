//! The messages of a neighbour as they go, for support.

use super::extract::{PathText, Query};
use super::{App, Failure};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use prefixd_api::problem::{Code, Problem};
use prefixd_bgp::Capture;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tracing::info;

/// Seconds when the request names none, and at most.
const SECONDS: u32 = 60;
const MAX_SECONDS: u32 = 600;
/// Bytes when the request names none, and at most.
const BYTES: u32 = 8 << 20;
const MAX_BYTES: u32 = 64 << 20;

/// What a neighbour and prefixd say to each other, as MRT records (RFC 6396, BGP4MP_ET), until the time or the bytes are
/// over or the caller hangs up.
#[utoipa::path(get, path = "/v1/peers/{name}/dump", tag = "peers", params(("name" = String, Path),
    ("seconds" = Option<u32>, Query, description = "How long, 1 to 600; 60 by default"),
    ("max_bytes" = Option<u32>, Query, description = "How much, 1024 to 67108864; 8388608 by default")),
    responses((status = 200, description = "Records follow as they come", content_type = "application/octet-stream", body = String),
        (status = 400, body = Problem), (status = 404, body = Problem), (status = 503, description = "Another dump of it goes on", body = Problem)))]
pub(super) async fn messages(
    State(app): State<App>,
    PathText(name): PathText,
    mut query: Query,
) -> Result<Response, Failure> {
    let seconds = query.number("seconds", 1..=MAX_SECONDS)?.unwrap_or(SECONDS);
    let bytes = query.number("max_bytes", 1024..=MAX_BYTES)?.unwrap_or(BYTES);
    query.finish()?;
    let lasts = Duration::from_secs(seconds.into());
    let capture = app
        .announcer
        .speaker()
        .capture(&name, lasts)
        .map_err(|_| Failure::not_found("neighbour"))?
        .map_err(|busy| Problem::new(Code::LimitQueue, busy.to_string()).with_retry_after(5))?;
    info!(target: "bgp", neighbor = %name, seconds, max_bytes = bytes, "the messages of this neighbour are dumped");
    let dump = Dump {
        app,
        name: name.clone(),
        capture,
        until: Instant::now() + lasts,
        left: bytes as usize,
        written: 0,
    };
    let body = Body::from_stream(stream::unfold(dump, Dump::next));
    let file: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{file}.mrt\""),
        ),
    ];
    Ok((headers, body).into_response())
}

struct Dump {
    app: App,
    name: String,
    capture: Capture,
    until: Instant,
    left: usize,
    written: u64,
}

impl Dump {
    /// The next records; whole ones, as long as there is room for them.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let captured = tokio::select! {
            captured = self.capture.next() => captured,
            () = sleep_until(self.until) => None,
            () = self.app.shutdown.cancelled() => None,
        }?;
        let at = self.app.announcer.at(captured.at());
        let records = captured.records(u64::try_from(at.as_micros()).unwrap_or(0));
        self.left = self.left.checked_sub(records.len())?;
        self.written += records.len() as u64;
        Some((Ok(records.into()), self))
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        let lost = self.capture.lost();
        info!(target: "bgp", neighbor = %self.name, bytes = self.written, lost, "the dump of this neighbour's messages is over");
    }
}
