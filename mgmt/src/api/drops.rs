//! `/v1/drops`: how many packets were dropped for each reason, and the last of them.

use std::net::IpAddr;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use turnpike_pipeline::drops::DropReason;

use super::routes::{Failure, Gateway, off_loop};
use crate::report::{DropCount, Drops, RecentDrop, Status};

/// The most dropped packets of one answer.
pub const RECENT_MAX: usize = 10_000;

/// Which dropped packets are wanted; all that is said has to hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Wanted {
    reason: Option<String>,
    rule: Option<String>,
    in_interface: Option<String>,
    protocol: Option<String>,
    address: Option<IpAddr>,
    port: Option<u16>,
    limit: Option<usize>,
}

impl Wanted {
    fn check(&self) -> Result<(), Failure> {
        let Some(reason) = &self.reason else {
            return Ok(());
        };
        if DropReason::ALL.iter().any(|known| known.label() == reason) {
            return Ok(());
        }
        let message = format!("`{reason}` is no drop reason; /v1/drops lists them");
        Err(Failure::new(StatusCode::BAD_REQUEST, message))
    }

    fn admits(&self, dropped: &RecentDrop) -> bool {
        let is = |wanted: &Option<String>, found: Option<&String>| {
            wanted.is_none() || wanted.as_ref() == found
        };
        let ends = [&dropped.src, &dropped.dst];
        let ends = || ends.into_iter().flatten();
        is(&self.reason, Some(&dropped.reason))
            && is(&self.in_interface, dropped.in_interface.as_ref())
            && is(&self.protocol, dropped.protocol.as_ref())
            && self.rule.as_ref().is_none_or(|wanted| {
                let mut named = dropped.rule.iter().flat_map(|rule| rule.split(' '));
                named.any(|word| word == wanted) || dropped.rule.as_ref() == Some(wanted)
            })
            && self
                .address
                .is_none_or(|wanted| ends().any(|end| endpoint(end).0 == Some(wanted)))
            && self
                .port
                .is_none_or(|wanted| ends().any(|end| endpoint(end).1 == Some(wanted)))
    }
}

/// The address and the port of an endpoint as it is written.
fn endpoint(text: &str) -> (Option<IpAddr>, Option<u16>) {
    match text.parse::<std::net::SocketAddr>() {
        Ok(both) => (Some(both.ip()), Some(both.port())),
        Err(_) => (text.parse().ok(), None),
    }
}

pub(super) async fn list(
    State(gateway): State<Gateway>,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Drops>, Failure> {
    let Query(wanted) = query?;
    wanted.check()?;
    let limit = wanted.limit.unwrap_or(100).min(RECENT_MAX);
    let drops = off_loop(gateway, move |g| {
        let mut recent = g.recent_drops();
        recent.retain(|dropped| wanted.admits(dropped));
        let surplus = recent.len().saturating_sub(limit);
        Drops {
            drops: drops_of(&g.status()),
            recent: recent.split_off(surplus),
        }
    });
    drops.await.map(Json)
}

/// Drops of all cores together, by reason.
pub fn drops_of(status: &Status) -> Vec<DropCount> {
    let each = status.workers.iter().map(|w| &w.drops);
    let all = || each.clone().chain([&status.slow_path.drops]).flatten();
    let drops = DropReason::ALL.iter().map(|reason| DropCount {
        reason: reason.label().to_owned(),
        description: reason.describe().trim().to_owned(),
        packets: all()
            .filter(|c| c.name == reason.label())
            .map(|c| c.packets)
            .sum(),
    });
    drops.collect()
}
