//! Opening the WebSocket (RFC 6455 section 4.1), over TCP, TLS or a Unix socket alike.

use super::super::query::PathBuilder;
use super::super::{Client, Error, error, read_body, refusal};
use super::FeedOptions;
use reqwest::header::{
    CONNECTION, HeaderMap, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{StatusCode, Upgraded};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Longest message that is read, in bytes; a longer one ends the connection.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

pub(super) type Socket = WebSocketStream<Upgraded>;

/// Connects and subscribes, beginning after `since`. The upgrade is an ordinary request, so that a refusal arrives
/// whole, in the daemon's own words.
pub(super) async fn open(
    client: &Client,
    options: &FeedOptions,
    since: Option<String>,
) -> Result<Socket, Error> {
    let mut path = PathBuilder::new("/v1/ws/feed");
    path.add("since", since);
    path.add(
        "types",
        (!options.types.is_empty()).then(|| options.types.join(",")),
    );
    let key = generate_key();
    let mut response = client
        .feed_http
        .get(format!("{}{}", client.options.endpoint.http_base(), path.0))
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key)
        .send()
        .await
        .map_err(|error| client.unanswered(&error))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let body = read_body(&mut response).await?;
        return Err(refusal(response.status(), &body));
    }
    if !is_accepted(response.headers(), &key) {
        return Err(Error::Protocol(
            "the answer is no WebSocket handshake; is this prefixd's address?".to_owned(),
        ));
    }
    let upgraded = response
        .upgrade()
        .await
        .map_err(|error| Error::Protocol(error::chain(&error)))?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await)
}

/// Whether the other side understood the key.
fn is_accepted(headers: &HeaderMap, key: &str) -> bool {
    headers
        .get(SEC_WEBSOCKET_ACCEPT)
        .is_some_and(|accept| accept.as_bytes() == derive_accept_key(key.as_bytes()).as_bytes())
}
