//! The last packets that were dropped, as management tells of them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use turnpike_helpers::catalogue::protocol_name;
use turnpike_pipeline::counters::WorkerCounters;
use turnpike_pipeline::program::Program;
use turnpike_pipeline::recent::{Dropped, Headers};

use super::Daemon;
use crate::logs::now_ms;
use crate::report::RecentDrop;

impl Daemon {
    /// The last drops of every worker and the slow path, oldest first.
    pub(super) fn last_drops(&self) -> Vec<RecentDrop> {
        let gateway = self.gateway();
        let Some(gateway) = gateway.as_ref() else {
            return Vec::new();
        };
        let status = gateway.status();
        let (now, wall_ms) = (gateway.clock().now(), now_ms());
        let programs: Vec<Arc<Program>> = self.state().programs.iter().cloned().collect();
        let workers = status.workers.iter().map(|w| (Some(w.id.0), &w.counters));
        let parts = workers.chain([(None, &status.slow_path.counters)]);
        let mut all = Vec::new();
        let mut tell = |worker: Option<u8>, counters: &WorkerCounters| {
            for (number, dropped) in counters.recent.read() {
                let age_ms = now.since(dropped.at).as_millis();
                let age_ms = u64::try_from(age_ms).unwrap_or(u64::MAX);
                let told = RecentDrop {
                    worker,
                    number,
                    time_ms: wall_ms.saturating_sub(age_ms),
                    ..told(&dropped, &programs)
                };
                all.push((dropped.at, told));
            }
        };
        for (worker, counters) in parts {
            tell(worker, counters);
        }
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().map(|(_, told)| told).collect()
    }
}

/// A drop, but for who noted it and when.
fn told(dropped: &Dropped, programs: &[Arc<Program>]) -> RecentDrop {
    let judged_by = programs.iter().find(|p| p.generation == dropped.generation);
    let interface = dropped
        .in_interface
        .and_then(|id| judged_by?.interface_name(id));
    // A rule that is still there is named as it is now.
    let rule = dropped.rule.and_then(|number| {
        let mut newest_first = programs.iter().rev();
        newest_first.find_map(|program| program.lasting_rule_name(number))
    });
    let packet = dropped.packet;
    let end = |ip: IpAddr, port: Option<u16>| match port {
        Some(port) => SocketAddr::new(ip, port).to_string(),
        None => ip.to_string(),
    };
    let protocol = |headers: &Headers| {
        let number = || headers.proto.0.to_string();
        protocol_name(headers.proto).map_or_else(number, str::to_owned)
    };
    RecentDrop {
        worker: None,
        number: 0,
        time_ms: 0,
        reason: dropped.reason.label().to_owned(),
        generation: dropped.generation.0,
        rule,
        in_interface: interface.map(str::to_owned),
        connection_state: dropped.state.map(|state| state.name().to_owned()),
        protocol: packet.as_ref().map(protocol),
        src: packet.map(|p| end(p.src, p.ports.map(|(src, _)| src))),
        dst: packet.map(|p| end(p.dst, p.ports.map(|(_, dst)| dst))),
        length: packet.map(|p| p.len),
    }
}
