//! Asking a running gateway over its management socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::report::Failed;

/// The largest answer that is taken, in bytes.
pub const ANSWER_MAX: usize = 256 << 20;
/// How long a gateway may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no gateway answers on {path} ({source}); start one with `turnpike run`, or name its \
         socket with --socket"
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The socket belongs to somebody else.
    #[error("not allowed to ask on {0}; run as root, or as a member of the socket's group")]
    Forbidden(PathBuf),
    /// The gateway refused.
    #[error("{}", .0.error)]
    Refused(Failed),
    /// The exchange broke off.
    #[error("the gateway on {path} did not answer properly: {message}; see `turnpike log`")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What went wrong.
        message: String,
    },
}

/// A management socket to ask on; each question is a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// A client of the gateway whose socket is at `path`.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Asks for `target` and reads the answer as JSON.
    ///
    /// # Errors
    /// Nobody answers, or the answer is an error or no JSON.
    pub fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, target)
    }

    /// Asks `target` to be done and reads the answer as JSON.
    ///
    /// # Errors
    /// Nobody answers, or the answer is an error or no JSON.
    pub fn post<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        self.ask(Method::POST, target)
    }

    fn ask<T: DeserializeOwned>(&self, method: Method, target: &str) -> Result<T, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| self.broken(e))?;
        let (status, body) = runtime
            .block_on(async { tokio::time::timeout(PATIENCE, self.exchange(method, target)).await })
            .map_err(|_| self.broken("it took too long"))??;
        if !status.is_success() {
            let failed = serde_json::from_slice(&body).unwrap_or_else(|_| Failed {
                error: format!("the gateway answered {status}"),
                problems: Vec::new(),
            });
            return Err(ClientError::Refused(failed));
        }
        serde_json::from_slice(&body).map_err(|e| self.broken(e))
    }

    async fn exchange(
        &self,
        method: Method,
        target: &str,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|source| self.unreachable(source))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.broken(e))?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "turnpike")
            .body(Empty::<Bytes>::new())
            .map_err(|e| self.broken(e))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|e| self.broken(e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX)
            .collect()
            .await
            .map_err(|e| self.broken(e))?
            .to_bytes();
        driver.abort();
        Ok((status, body))
    }

    fn unreachable(&self, source: std::io::Error) -> ClientError {
        if source.kind() == std::io::ErrorKind::PermissionDenied {
            return ClientError::Forbidden(self.path.clone());
        }
        ClientError::NotRunning {
            path: self.path.clone(),
            source,
        }
    }

    fn broken(&self, message: impl std::fmt::Display) -> ClientError {
        ClientError::Broken {
            path: self.path.clone(),
            message: message.to_string(),
        }
    }
}

/// A target with a query: `?key=value&…`, values escaped, keys without a value left out.
pub fn target(path: &str, query: &[(&str, Option<String>)]) -> String {
    let mut target = path.to_owned();
    let mut separator = '?';
    for (key, value) in query {
        let Some(value) = value else { continue };
        target.push(separator);
        target.push_str(key);
        target.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                target.push(char::from(byte));
            } else {
                target.push_str(&format!("%{byte:02X}"));
            }
        }
        separator = '&';
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_escaped_and_missing_ones_left_out() {
        let text = |t: &str| Some(t.to_owned());
        assert_eq!(target("/v1/x", &[("a", None)]), "/v1/x");
        assert_eq!(
            target(
                "/v1/x",
                &[("a", text("10.0.0.0/8")), ("b", None), ("c", text("ä b"))]
            ),
            "/v1/x?a=10.0.0.0%2F8&c=%C3%A4%20b"
        );
    }
}
