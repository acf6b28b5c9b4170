//! What can be asked, and how answers and errors look.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use turnpike_pipeline::policy::TableKind;

use super::{connections, drops, events, explain, lists, reload};
use crate::metrics;
use crate::report::Failed;
use crate::running::{LogWanted, Running};

/// The largest request body; nothing that is asked has one.
pub const BODY_MAX: usize = 64 * 1024;
/// The most log lines of one answer.
pub const LOG_LINES_MAX: usize = 1_000;

pub(super) type Gateway = Arc<dyn Running>;

/// Everything, for the management socket.
pub fn router(gateway: Gateway) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/config", get(config))
        .route("/v1/reload", post(reload::reload))
        .route(
            "/v1/connections",
            get(connections::list).delete(connections::flush),
        )
        .route("/v1/connections/count", get(connections::count))
        .route("/v1/events", get(events::stream))
        .route("/v1/rules", get(rules))
        .route("/v1/lists", get(all_lists))
        .route(
            "/v1/lists/{name}/entries",
            post(lists::add).delete(lists::remove),
        )
        .route("/v1/layer7", get(layer7))
        .route("/v1/drops", get(drops::list))
        .route("/v1/explain", post(explain::explain))
        .route("/v1/helpers", get(helpers))
        .route("/v1/log", get(log))
        .route("/metrics", get(metrics_text))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(gateway)
}

/// Metrics alone, for the listener that other hosts reach.
pub fn metrics_router(gateway: Gateway) -> Router {
    Router::new()
        .route("/metrics", get(metrics_text))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(gateway)
}

/// An answer that is an error.
pub(super) struct Failure(pub(super) StatusCode, pub(super) Failed);

impl Failure {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        let failed = Failed {
            error: error.into(),
            problems: Vec::new(),
        };
        Self(status, failed)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, rejection.body_text())
    }
}

/// Runs what may wait for a worker where waiting hurts nobody.
pub(super) async fn off_loop<T: Send + 'static>(
    gateway: Gateway,
    ask: impl FnOnce(&dyn Running) -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(move || ask(&*gateway))
        .await
        .map_err(|_| {
            Failure::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the question could not be answered; the gateway's log says more",
            )
        })
}

async fn answer<T: Serialize + Send + 'static>(
    gateway: Gateway,
    ask: impl FnOnce(&dyn Running) -> T + Send + 'static,
) -> Result<Json<T>, Failure> {
    off_loop(gateway, ask).await.map(Json)
}

async fn status(State(gateway): State<Gateway>) -> impl IntoResponse {
    answer(gateway, |g| g.status()).await
}

async fn layer7(State(gateway): State<Gateway>) -> impl IntoResponse {
    answer(gateway, |g| g.status().layer7).await
}

async fn config(State(gateway): State<Gateway>) -> impl IntoResponse {
    answer(gateway, |g| g.config()).await
}

async fn helpers(State(gateway): State<Gateway>) -> impl IntoResponse {
    answer(gateway, |g| g.helpers()).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleQuery {
    table: Option<String>,
    chain: Option<String>,
}

impl RuleQuery {
    /// Refuses a table that does not exist and a chain that no table asked for has.
    fn check(&self, chains: impl Fn(TableKind) -> Vec<String>) -> Result<(), String> {
        let asked = |table: &TableKind| self.table.as_deref().is_none_or(|t| t == table.name());
        let tables: Vec<TableKind> = TableKind::ALL.into_iter().filter(asked).collect();
        if let (Some(table), []) = (&self.table, &*tables) {
            let known = TableKind::ALL.map(TableKind::name).join(", ");
            return Err(format!("`{table}` is no table; there are: {known}"));
        }
        let Some(chain) = &self.chain else {
            return Ok(());
        };
        let mut known: Vec<String> = Vec::new();
        for name in tables.into_iter().flat_map(chains) {
            if !known.contains(&name) {
                known.push(name);
            }
        }
        if known.contains(chain) {
            return Ok(());
        }
        let of = self.table.as_ref().map(|t| format!(" of table {t}"));
        Err(format!(
            "`{chain}` is no chain{}; there are: {}",
            of.unwrap_or_default(),
            known.join(", ")
        ))
    }
}

async fn rules(
    State(gateway): State<Gateway>,
    query: Result<Query<RuleQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query?;
    let (query, rules) = off_loop(gateway, move |g| {
        let checked = query.check(|table| g.chains(table));
        (query, checked.map(|()| g.rules()))
    })
    .await?;
    let mut rules = rules.map_err(|message| Failure::new(StatusCode::BAD_REQUEST, message))?;
    rules.rules.retain(|rule| {
        query.table.as_ref().is_none_or(|t| *t == rule.table)
            && query.chain.as_ref().is_none_or(|c| *c == rule.chain)
    });
    Ok(Json(rules).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    name: Option<String>,
}

async fn all_lists(
    State(gateway): State<Gateway>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query?;
    let wanted = query.name.clone();
    let mut lists = off_loop(gateway, move |g| g.lists(query.name.as_deref())).await?;
    if let Some(name) = wanted {
        lists.address_lists.retain(|l| l.name == name);
        if lists.address_lists.is_empty() {
            let message = format!("no address list is called `{name}`; /v1/lists has them all");
            return Err(Failure::new(StatusCode::NOT_FOUND, message));
        }
    }
    Ok(Json(lists).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogQuery {
    after: Option<u64>,
    limit: Option<usize>,
    #[serde(rename = "match")]
    text: Option<String>,
}

async fn log(
    State(gateway): State<Gateway>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query?;
    let limit = query.limit.unwrap_or(100).clamp(1, LOG_LINES_MAX);
    let wanted = LogWanted::new(query.after.unwrap_or(0), limit, query.text.as_deref());
    let log = off_loop(gateway, move |g| g.log(&wanted)).await?;
    Ok(Json(log).into_response())
}

async fn metrics_text(State(gateway): State<Gateway>) -> Result<Response, Failure> {
    let text = off_loop(gateway, |g| metrics::render(&g.status(), &g.rules().rules)).await?;
    let text = text.map_err(|e| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    let kind = [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)];
    Ok((kind, text).into_response())
}

async fn not_found() -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        "there is nothing here; the paths are /v1/status /v1/config /v1/reload /v1/connections \
         /v1/connections/count /v1/events /v1/rules /v1/lists /v1/lists/NAME/entries /v1/drops \
         /v1/explain /v1/helpers /v1/log and /metrics",
    )
}

async fn wrong_method() -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "GET reads everything; POST is for /v1/explain, /v1/reload and /v1/lists/NAME/entries, \
         DELETE for /v1/connections and /v1/lists/NAME/entries",
    )
}
