//! `/v1/explain`: what would become of a packet that came now.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::connections::bad;
use super::routes::{Failure, Gateway, off_loop};
use crate::config::tests::AFTER_MAX;
use crate::report::Explained;
use crate::running::Asked;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Wanted {
    in_interface: String,
    packet: String,
    /// Packets that come before it, one a line.
    after: Option<String>,
}

pub(super) async fn explain(
    State(gateway): State<Gateway>,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Explained>, Failure> {
    let Query(wanted) = query?;
    let after: Vec<String> = wanted
        .after
        .iter()
        .flat_map(|a| a.lines())
        .map(str::to_owned)
        .collect();
    if after.len() > AFTER_MAX {
        return Err(bad(format!(
            "after: at most {AFTER_MAX} packets come before one"
        )));
    }
    let asked = Asked {
        in_interface: wanted.in_interface,
        packet: wanted.packet,
        after,
    };
    let explained = off_loop(gateway, move |g| g.explain(&asked)).await?;
    Ok(Json(explained?))
}
