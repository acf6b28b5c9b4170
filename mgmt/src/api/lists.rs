//! `/v1/lists/NAME/entries`: addresses added to a list, and taken out of it.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use serde::Deserialize;
use turnpike_pipeline::policy::ListTimeout;

use super::connections::bad;
use super::routes::{Failure, Gateway, off_loop};
use crate::config::address::Addresses;
use crate::config::section::Word;
use crate::config::value::Text;
use crate::running::{NewEntry, Unlisted};

/// The most prefixes that one request changes.
pub const PREFIXES_MAX: usize = 128;

impl From<Unlisted> for Failure {
    fn from(unlisted: Unlisted) -> Self {
        match unlisted {
            Unlisted::Unknown(error) => Self::new(StatusCode::NOT_FOUND, error),
            Unlisted::Configured(error) => Self::new(StatusCode::CONFLICT, error),
            Unlisted::NotNow(error) => Self::new(StatusCode::SERVICE_UNAVAILABLE, error),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Adding {
    address: String,
    timeout: Option<String>,
    comment: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Removing {
    address: String,
}

pub(super) async fn add(
    State(gateway): State<Gateway>,
    Path(list): Path<String>,
    query: Result<Query<Adding>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query?;
    let timeout = match &query.timeout {
        // As in RouterOS: what an operator adds without a timeout is there to stay.
        None => ListTimeout::NoneStatic,
        Some(text) => ListTimeout::read(text).map_err(|e| bad(format!("timeout: {e}")))?,
    };
    let comment = Text::read(query.comment.as_deref().unwrap_or_default());
    let new = NewEntry {
        prefixes: prefixes(&query.address)?,
        timeout,
        comment: comment.map_err(|e| bad(format!("comment: {e}")))?.0,
    };
    let changed = off_loop(gateway, move |g| g.add_to_list(&list, &new)).await??;
    Ok(Json(changed).into_response())
}

pub(super) async fn remove(
    State(gateway): State<Gateway>,
    Path(list): Path<String>,
    query: Result<Query<Removing>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query?;
    let prefixes = prefixes(&query.address)?;
    let changed = off_loop(gateway, move |g| g.remove_from_list(&list, &prefixes)).await??;
    Ok(Json(changed).into_response())
}

/// An address, a prefix or a range as prefixes.
fn prefixes(text: &str) -> Result<Vec<IpNet>, Failure> {
    let prefixes = Addresses::read(text).map_err(bad)?.prefixes();
    if prefixes.len() > PREFIXES_MAX {
        return Err(bad(format!(
            "`{text}` is {} prefixes; one request changes {PREFIXES_MAX} at the most",
            prefixes.len()
        )));
    }
    Ok(prefixes)
}
