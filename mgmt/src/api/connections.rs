//! `/v1/connections`: listing, counting and ending connections.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::routes::{Failure, Gateway, off_loop};
use crate::config::section::Word;
use crate::config::value::{Switch, number};
use crate::filter::Filter;
use crate::report::{Counted, Flushed};
use crate::running::{PAGE_MAX, Unanswered};

/// A query as it stands: names and values.
pub(super) type Pairs = Vec<(String, String)>;

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Wrong(error) => Self::new(StatusCode::BAD_REQUEST, error),
            Unanswered::NotNow(error) => Self::new(StatusCode::SERVICE_UNAVAILABLE, error),
        }
    }
}

/// What a query says besides its filter.
struct Asked {
    filter: Arc<Filter>,
    /// Values of the other names that are known, in their order.
    others: Vec<Option<String>>,
}

/// Splits a query into the values of `others` and a filter.
fn read(query: Pairs, others: &[&str]) -> Result<Asked, Failure> {
    let mut filter = Filter::default();
    let mut values: Vec<Option<String>> = vec![None; others.len()];
    for (name, value) in query {
        let other = others.iter().position(|other| *other == name);
        match other.and_then(|at| values.get_mut(at)) {
            Some(place @ None) => *place = Some(value),
            Some(Some(_)) => return Err(bad(format!("{name}: given twice"))),
            None => filter.ask(&name, &value).map_err(bad)?,
        }
    }
    Ok(Asked {
        filter: Arc::new(filter),
        others: values,
    })
}

pub(super) fn bad(message: String) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, message)
}

pub(super) async fn list(
    State(gateway): State<Gateway>,
    query: Result<Query<Pairs>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query?;
    let Asked { filter, mut others } = read(query, &["cursor", "limit"])?;
    let limit = match others.pop().flatten() {
        Some(text) => number(&text, 1, u64::MAX).map_err(|e| bad(format!("limit: {e}")))?,
        None => PAGE_MAX as u64,
    };
    let limit = usize::try_from(limit).unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let cursor = others.pop().flatten();
    let page = off_loop(gateway, move |g| {
        g.connections(&filter, cursor.as_deref(), limit)
    })
    .await??;
    Ok(Json(page).into_response())
}

pub(super) async fn count(
    State(gateway): State<Gateway>,
    query: Result<Query<Pairs>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query?;
    let Asked { filter, .. } = read(query, &[])?;
    let count = off_loop(gateway, move |g| g.count_connections(&filter)).await??;
    Ok(Json(Counted { count }).into_response())
}

pub(super) async fn flush(
    State(gateway): State<Gateway>,
    query: Result<Query<Pairs>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query?;
    let Asked { filter, mut others } = read(query, &["all"])?;
    let all = match others.pop().flatten() {
        Some(text) => Switch::read(&text).map_err(|e| bad(format!("all: {e}")))?,
        None => Switch::Off,
    };
    if filter.is_all() && !all.is_on() {
        let message = "this would end every connection; name a filter, or say all=yes";
        return Err(bad(message.to_owned()));
    }
    if !filter.is_all() && all.is_on() {
        let message = "all: it stands alone; leave it out to end what the filter names";
        return Err(bad(message.to_owned()));
    }
    let flushed = off_loop(gateway, move |g| g.flush_connections(&filter)).await??;
    Ok(Json(Flushed { flushed }).into_response())
}
