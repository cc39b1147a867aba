//! Where the daemon listens.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// The address of a daemon: `http://HOST:PORT`, `https://HOST[:PORT]` or `unix:/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP listener.
    Tcp {
        /// Whether it speaks TLS.
        tls: bool,
        /// Name or address, IPv6 without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket; the caller is known by its process.
    Unix(PathBuf),
}

/// The text names no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an API address such as http://127.0.0.1:8080, https://prefixd.example.net or unix:/run/prefixd/prefixd.sock"
)]
pub struct EndpointError(String);

impl Endpoint {
    /// Whether requests and tokens cross a network in clear text.
    #[must_use]
    pub fn is_clear_text(&self) -> bool {
        match self {
            Self::Tcp { tls: false, host, .. } => {
                host != "localhost"
                    && !host
                        .parse::<IpAddr>()
                        .is_ok_and(|address| address.to_canonical().is_loopback())
            }
            Self::Tcp { tls: true, .. } | Self::Unix(_) => false,
        }
    }

    /// What request paths are appended to.
    pub(super) fn http_base(&self) -> String {
        match self {
            Self::Tcp { tls, host, port } => {
                let scheme = if *tls { "https" } else { "http" };
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                format!("{scheme}://{open}{host}{close}:{port}")
            }
            Self::Unix(_) => "http://localhost".to_owned(),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || EndpointError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
            return if path.is_absolute() {
                Ok(Self::Unix(path))
            } else {
                Err(refused())
            };
        }
        let url = reqwest::Url::parse(text).map_err(|_| refused())?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(refused()),
        };
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err(refused());
        }
        let host = url.host_str().ok_or_else(refused)?;
        Ok(Self::Tcp {
            tls,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default().ok_or_else(refused)?,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { .. } => f.write_str(&self.http_base()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for (text, shown) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
            ("https://prefixd.example.net", "https://prefixd.example.net:443"),
            ("unix:/run/prefixd/prefixd.sock", "unix:/run/prefixd/prefixd.sock"),
            ("unix:///run/p.sock", "unix:/run/p.sock"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "127.0.0.1:8080",
            "ftp://x",
            "unix:",
            "unix:x",
            "http://a/b",
            "http://u:p@a",
            "http://a?b",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn clear_text_is_for_this_machine() {
        let clear = |text: &str| text.parse::<Endpoint>().unwrap().is_clear_text();
        assert!(clear("http://192.0.2.1:8080") && clear("http://prefixd.example.net"));
        assert!(!clear("http://127.0.0.1") && !clear("http://[::1]") && !clear("http://localhost:1"));
        assert!(!clear("https://192.0.2.1") && !clear("unix:/x"));
    }
}
