//! Where clicks are posted to.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, bail};
use url::Url;

/// Where ingest takes clicks, unless the URL names another path.
const PATH: &str = "/v1/clicks";
const HTTP_PORT: u16 = 80;

/// A server, and the path on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAddress {
    /// `HOST:PORT`, as the `Host` header has it.
    pub(super) authority: String,
    /// The path, with what follows it.
    pub(super) path: String,
}

impl HttpAddress {
    /// Whether a target's text means HTTP.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("http://") || text.starts_with("https://")
    }

    /// Reads `http://HOST:PORT[/PATH]`; without a path it is `/v1/clicks`.
    pub fn parse(text: &str) -> Result<Self> {
        let form = || format!("`{text}` should be http://HOST:PORT[{PATH}]");
        let url = Url::parse(text).with_context(form)?;
        if url.scheme() != "http" {
            bail!("clicks are generated over plain http only: {}", form());
        }
        let host = url.host_str().with_context(form)?;
        let path = if url.path() == "/" { PATH } else { url.path() };
        let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
        Ok(Self { authority: format!("{host}:{}", url.port().unwrap_or(HTTP_PORT)), path: format!("{path}{query}") })
    }

    /// The socket's address.
    pub(super) fn resolve(&self) -> Result<SocketAddr> {
        let action = || format!("cannot find {}", self.authority);
        self.authority.to_socket_addrs().with_context(action)?.next().with_context(action)
    }
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_path_may_be_left_out() {
        let check = |text: &str, expected: &str| assert_eq!(HttpAddress::parse(text).unwrap().to_string(), expected);
        check("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/clicks");
        check("http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1/clicks");
        check("http://localhost/in?x=1", "http://localhost:80/in?x=1");
        check("http://[::1]:81", "http://[::1]:81/v1/clicks");
    }

    #[test]
    fn https_is_refused() {
        let message = HttpAddress::parse("https://127.0.0.1").unwrap_err().to_string();
        assert!(message.contains("plain http only"), "{message}");
    }
}
