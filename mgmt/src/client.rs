//! Asking a running gateway over its management socket.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Collected, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::report::Failed;

/// The largest answer that is taken, in bytes.
pub const ANSWER_MAX: usize = 256 << 20;
/// How long a gateway may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The longest line of a stream, in bytes.
pub const LINE_MAX: usize = 1 << 20;

const TOO_LONG: &str = "it took too long";

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
    patience: Duration,
}

impl Client {
    /// A client of the gateway whose socket is at `path`.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            patience: PATIENCE,
        }
    }

    /// The same client, which waits so long for an answer.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
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

    /// Asks for what `target` names to be ended and reads the answer as JSON.
    ///
    /// # Errors
    /// Nobody answers, or the answer is an error or no JSON.
    pub fn delete<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        self.ask(Method::DELETE, target)
    }

    /// Asks for `target` and hands over each line of the answer as it comes, until `take` breaks
    /// off or the gateway ends the answer.
    ///
    /// # Errors
    /// Nobody answers, the answer is an error, or it breaks off in the middle.
    pub fn stream(
        &self,
        target: &str,
        take: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        self.runtime()?.block_on(self.follow(target, take))
    }

    async fn follow(
        &self,
        target: &str,
        mut take: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let asking = tokio::time::timeout(self.patience, self.send(Method::GET, target));
        let response = asking.await.map_err(|_| self.broken(TOO_LONG))??;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            let body = self.whole(body).await?;
            return Err(refusal(status, &body));
        }
        let mut unread: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| self.broken(e))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            unread.extend_from_slice(&data);
            while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = unread.drain(..=end).collect();
                if take(String::from_utf8_lossy(&line).trim_end()).is_break() {
                    return Ok(());
                }
            }
            if unread.len() > LINE_MAX {
                return Err(self.broken("a line of its answer is too long"));
            }
        }
        Ok(())
    }

    fn runtime(&self) -> Result<tokio::runtime::Runtime, ClientError> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| self.broken(e))
    }

    fn ask<T: DeserializeOwned>(&self, method: Method, target: &str) -> Result<T, ClientError> {
        let (status, body) = self
            .runtime()?
            .block_on(async {
                tokio::time::timeout(self.patience, self.exchange(method, target)).await
            })
            .map_err(|_| self.broken(TOO_LONG))??;
        if !status.is_success() {
            return Err(refusal(status, &body));
        }
        serde_json::from_slice(&body).map_err(|e| self.broken(e))
    }

    async fn exchange(
        &self,
        method: Method,
        target: &str,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let response = self.send(method, target).await?;
        let status = response.status();
        Ok((status, self.whole(response.into_body()).await?))
    }

    async fn whole(&self, body: Incoming) -> Result<Bytes, ClientError> {
        let body = Limited::new(body, ANSWER_MAX).collect().await;
        body.map(Collected::to_bytes).map_err(|e| self.broken(e))
    }

    /// Sends a request; the runtime drives its connection for as long as it is in use.
    async fn send(&self, method: Method, target: &str) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|source| self.unreachable(source))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.broken(e))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "turnpike")
            .body(Empty::<Bytes>::new())
            .map_err(|e| self.broken(e))?;
        sender
            .send_request(request)
            .await
            .map_err(|e| self.broken(e))
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

fn refusal(status: StatusCode, body: &[u8]) -> ClientError {
    let failed = serde_json::from_slice(body).unwrap_or_else(|_| Failed {
        error: format!("the gateway answered {status}"),
        problems: Vec::new(),
    });
    ClientError::Refused(failed)
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
        target.push_str(&escaped(value));
        separator = '&';
    }
    target
}

/// A value as a part of a target.
pub fn escaped(value: &str) -> String {
    let mut escaped = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
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
