//! The protocol helpers, as management tells of them.

use turnpike_engine::gateway::Gateway;
use turnpike_helpers::names::HELPER_NAMES;
use turnpike_pipeline::counters::HelperCounters;
use turnpike_pipeline::policy::ServicePort;
use turnpike_pipeline::slowpath::control::Rewrite;

use super::Daemon;
use crate::logs::now_ms;
use crate::report::{Helper, HelperCounts, HelperRewrite, HelperSession, Helpers};

/// Sessions that are shown at the most.
const SESSIONS_MAX: usize = 10_000;

/// What RouterOS lists among helpers and is a tracker.
const TRACKERS: [&str; 3] = ["udplite", "dccp", "sctp"];

impl Daemon {
    /// Every helper, what they read now, and what they have changed lately.
    pub(super) fn helper_report(&self) -> Helpers {
        let gateway = self.gateway();
        let Some(gateway) = gateway.as_ref() else {
            return Helpers::default();
        };
        // A slow path too busy to answer shows no sessions; the counters are there anyway.
        let (sessions, rewrites) = gateway
            .ask_slow_path(|slow| {
                let sessions = slow.control_sessions().take(SESSIONS_MAX);
                let sessions = sessions.map(|(reader, session)| HelperSession {
                    helper: reader.helper().to_owned(),
                    client: session.client.own.to_string(),
                    server: session.client.peer.to_string(),
                    client_outside: session.server.peer.to_string(),
                    server_inside: session.server.own.to_string(),
                });
                let rewrites: Vec<Rewrite> = slow.rewrites().cloned().collect();
                (sessions.collect(), rewrites)
            })
            .unwrap_or_default();
        let (now, wall_ms) = (gateway.clock().now(), now_ms());
        let told = |rewrite: Rewrite| {
            let age_ms = now.since(rewrite.at).as_millis();
            let sender = rewrite.session.sender(rewrite.from);
            HelperRewrite {
                time_ms: wall_ms.saturating_sub(u64::try_from(age_ms).unwrap_or(u64::MAX)),
                helper: rewrite.helper.to_owned(),
                from: sender.own.to_string(),
                to: sender.peer.to_string(),
                before: rewrite.before.escape_ascii().to_string(),
                after: rewrite.after.escape_ascii().to_string(),
            }
        };
        Helpers {
            helpers: all(gateway),
            sessions,
            expected: gateway.status().expectations.waiting as u64,
            rewrites: rewrites.into_iter().map(told).collect(),
        }
    }
}

/// Every helper with its state and what it has done.
pub fn all(gateway: &Gateway) -> Vec<Helper> {
    let program = gateway.program();
    let tracks = program.tracking.enabled;
    let status = gateway.status();
    let counters = &status.slow_path.counters;
    let helpers = program.service_ports.helpers.iter().map(|helper| {
        let at = HELPER_NAMES.iter().position(|name| *name == helper.helper);
        let counted = at.and_then(|at| counters.helpers.get(at));
        let unread = status.workers.iter().filter_map(|worker| {
            let counters = worker.counters.helpers.get(at?)?;
            Some(counters.unread.read())
        });
        let unread = unread.sum();
        Helper {
            name: helper.helper.to_owned(),
            state: state(helper, tracks).to_owned(),
            ports: ports(helper),
            counts: HelperCounts {
                unread,
                ..counted.map(counts).unwrap_or_default()
            },
        }
    });
    let trackers = TRACKERS.iter().map(|name| Helper {
        name: (*name).to_owned(),
        state: if tracks { "built-in" } else { "inactive" }.to_owned(),
        ..Helper::default()
    });
    helpers.chain(trackers).collect()
}

const fn state(helper: &ServicePort, tracks: bool) -> &'static str {
    match (helper.disabled, tracks) {
        (true, _) => "disabled",
        (false, true) => "active",
        (false, false) => "inactive",
    }
}

fn ports(helper: &ServicePort) -> Vec<u16> {
    let mut ports: Vec<u16> = helper.ports.iter().map(|(_, port)| *port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn counts(counters: &HelperCounters) -> HelperCounts {
    HelperCounts {
        reading: counters.reading.read(),
        sessions: counters.sessions.read(),
        packets: counters.packets.read(),
        announced: counters.announced.read(),
        rewrites: counters.rewrites.read(),
        refused: counters.refused.read(),
        left: counters.left.read(),
        unread: 0,
    }
}
