//! A client for HTTP/1.1 on one kept-alive connection, small enough to leave the processor to the server.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The largest head or body that is read; more is an error.
const LIMIT: usize = 64 * 1024 * 1024;

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    host: SocketAddr,
    buffer: Vec<u8>,
}

/// An answer; the body borrows the connection's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: &'a [u8],
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(host: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(host)
            .await
            .with_context(|| format!("connect to {host}"))?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        Ok(Self {
            stream,
            host,
            buffer: Vec::with_capacity(16 * 1024),
        })
    }

    /// Sends a JSON request and answers the status and the JSON (null for an empty body).
    ///
    /// # Errors
    /// When the connection fails or the answer is no JSON.
    pub async fn json(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, Value)> {
        let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let request = request(self.host, method, path, &body);
        let response = self
            .exchange(&request)
            .await
            .with_context(|| format!("{method} {path}"))?;
        if response.body.is_empty() {
            return Ok((response.status, Value::Null));
        }
        let json = serde_json::from_slice(response.body)
            .with_context(|| format!("read the answer to {method} {path}"))?;
        Ok((response.status, json))
    }

    /// Sends the bytes of a request and reads its answer.
    ///
    /// # Errors
    /// When the connection fails, or the answer is not framed by Content-Length.
    pub async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Response<'_>> {
        self.stream.write_all(request).await.context("send a request")?;
        self.buffer.clear();
        let head = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.fill().await?;
        };
        let (status, length) = read_head(&self.buffer[..head])?;
        while self.buffer.len() < head + length {
            self.fill().await?;
        }
        Ok(Response {
            status,
            body: &self.buffer[head..head + length],
        })
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        if self.buffer.len() > LIMIT {
            bail!("an answer of more than {LIMIT} bytes");
        }
        if self
            .stream
            .read_buf(&mut self.buffer)
            .await
            .context("read an answer")?
            == 0
        {
            bail!("the server closed the connection");
        }
        Ok(())
    }
}

/// The bytes of a request.
pub fn request(host: SocketAddr, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Status and body length.
fn read_head(head: &[u8]) -> anyhow::Result<(u16, usize)> {
    let head = str::from_utf8(head).context("a head that is not text")?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .context("no status line")?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map(|(_, value)| value.trim().parse())
        .context("an answer without Content-Length")?;
    Ok((
        status.parse().context("status")?,
        length.context("Content-Length")?,
    ))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn answers_in_pieces_are_put_together() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = vec![0; 1024];
            for pieces in [
                [
                    "HTTP/1.1 202 Accepted\r\nContent-Le",
                    "ngth: 8\r\n\r\n{\"a\"",
                    ": 1}",
                ],
                ["HTTP/1.1 422 No\r\ncontent-length: 0\r\n", "\r\n", ""],
            ] {
                assert!(stream.read(&mut seen).await.unwrap() > 0);
                for piece in pieces {
                    stream.write_all(piece.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        let mut client = Client::connect(address).await.unwrap();
        let (status, body) = client.json("POST", "/", Some(&Value::Null)).await.unwrap();
        assert_eq!((status, body["a"].as_u64()), (202, Some(1)));
        assert_eq!(client.json("GET", "/", None).await.unwrap(), (422, Value::Null));
        server.await.unwrap();
        assert!(client.json("GET", "/", None).await.is_err());
    }
}
