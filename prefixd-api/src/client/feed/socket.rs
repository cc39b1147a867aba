//! Opening the WebSocket, over TCP, TLS or a Unix socket alike.

use super::super::query::PathBuilder;
use super::super::{Endpoint, Error, bearer, error, refusal};
use super::FeedOptions;
use crate::client::Client;
use reqwest::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Longest message that is read, in bytes; a longer one ends the connection.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<Box<dyn Stream>>>;

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects and subscribes, beginning after `since`.
pub(super) async fn open(
    client: &Client,
    options: &FeedOptions,
    since: Option<u64>,
) -> Result<Socket, Error> {
    let request = request(client, options, since)?;
    let endpoint = &client.options.endpoint;
    let unreachable = |error: std::io::Error| Error::Connect {
        endpoint: endpoint.to_string(),
        why: error::chain(&error),
    };
    let stream: Box<dyn Stream> = match endpoint {
        Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(unreachable)?),
        Endpoint::Tcp { host, port, .. } => {
            let stream = TcpStream::connect((host.as_str(), *port))
                .await
                .map_err(unreachable)?;
            stream.set_nodelay(true).map_err(unreachable)?;
            Box::new(stream)
        }
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    match tokio_tungstenite::client_async_tls_with_config(request, stream, Some(config), None).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            Err(refusal(response.status(), body))
        }
        Err(error @ (tungstenite::Error::Io(_) | tungstenite::Error::Tls(_))) => Err(Error::Connect {
            endpoint: endpoint.to_string(),
            why: error::chain(&error),
        }),
        Err(error) => Err(Error::Protocol(error::chain(&error))),
    }
}

fn request(client: &Client, options: &FeedOptions, since: Option<u64>) -> Result<Request, Error> {
    let mut url = PathBuilder::new(&format!("{}/v1/ws/feed", client.options.endpoint.feed_base()));
    url.add("since", since);
    url.add(
        "types",
        (!options.types.is_empty()).then(|| options.types.join(",")),
    );
    let mut request = url
        .0
        .into_client_request()
        .map_err(|error| Error::Setup(error::chain(&error)))?;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(client.options.user_agent));
    if let Some(token) = &client.options.token {
        headers.insert(AUTHORIZATION, bearer(token)?);
    }
    Ok(request)
}
