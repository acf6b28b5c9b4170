//! What a running gateway says about itself, in the API's words.

use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use turnpike_conntrack::expect::ExpectationCounts;
use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::ports::{AddressPorts, PortSpace};
use turnpike_conntrack::tuple::Address;
use turnpike_engine::gateway::{self, Gateway};
use turnpike_engine::hugepages::Memory;
use turnpike_pipeline::counters::{Counts, PuntCause, Traffic, WorkerCounters};
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::ChainId;
use turnpike_pipeline::outbox::Found;
use turnpike_pipeline::policy::{Action, RejectWith, TableKind};
use turnpike_pipeline::program::Program;

use super::connections::row_of;
use super::reload::Pending;
use super::{Daemon, connections, helpers, layer7};
use crate::config::adding_action;
use crate::explain::explain_live;
use crate::filter::{EventFilter, Filter};
use crate::logs::Topic;
use crate::report::{
    self, ConfigInEffect, Confirmed, Connections, Count, DeviceErrors, DryRun, Explained, Helpers,
    Interface, ListChanged, Lists, Log, Pool, RecentDrop, Reloaded, Ring, Rule, Rules, SlowPath,
    Status, Worker,
};
use crate::running::{
    Asked, LogWanted, NewEntry, Refusal, ReloadOptions, Running, Unanswered, Unlisted,
};
use crate::watch::Watching;

impl Running for Daemon {
    fn status(&self) -> Status {
        let gateway = self.gateway();
        let (config, reloads) = {
            let state = self.state();
            let mut reloads = state.reloads;
            let left = state.pending.as_ref().map(Pending::left);
            reloads.confirm_within_seconds = left.map(|left| left.as_secs());
            (state.config.file.to_string(), reloads)
        };
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            config,
            reloads,
            log: self.log_status(gateway.as_ref()),
            event_watchers: self.events.hub.len() as u64,
            events_missed: self.events.hub.lost(),
            ..Status::default()
        };
        if let Some(gateway) = gateway.as_ref() {
            fill(&mut status, gateway);
            status.layer7 = layer7::status(&gateway.program(), &self.state().config.policy.layer7);
        }
        status
    }

    fn rules(&self) -> Rules {
        let gateway = self.gateway();
        let Some(gateway) = gateway.as_ref() else {
            return Rules::default();
        };
        for worker in (0..gateway.worker_count()).filter_map(|w| u8::try_from(w).ok()) {
            // A worker too busy to answer folds its counters within a millisecond anyway.
            let _ = gateway.ask_worker(WorkerId(worker), |w| w.fold());
        }
        let program = gateway.program();
        let rules = program.rules.iter().map(|(id, rule)| {
            let counts = program.rule_counts(id);
            Rule {
                table: rule.table.name().to_owned(),
                chain: rule.chain_name.to_string(),
                number: rule.number,
                text: rule.text.to_string(),
                action: action_name(&rule.action).to_owned(),
                comment: rule.comment.to_string(),
                disabled: rule.disabled,
                packets: counts.packets,
                bytes: counts.bytes,
                source: rule.source.to_string(),
            }
        });
        Rules {
            rules: rules.collect(),
        }
    }

    fn chains(&self, table: TableKind) -> Vec<String> {
        let built_in = table.built_in_chains().iter().copied();
        let mut names: Vec<String> = built_in.map(str::to_owned).collect();
        let gateway = self.gateway();
        let Some(program) = gateway.as_ref().map(Gateway::program) else {
            return names;
        };
        for name in (0..).map_while(|id| program.rules.chain_name(table, ChainId(id))) {
            if !names.iter().any(|known| **known == **name) {
                names.push(name.to_string());
            }
        }
        names
    }

    fn lists(&self, name: Option<&str>) -> Lists {
        self.list_lists(name)
    }

    fn add_to_list(&self, list: &str, new: &NewEntry) -> Result<ListChanged, Unlisted> {
        self.add_entries(list, new)
    }

    fn remove_from_list(&self, list: &str, prefixes: &[IpNet]) -> Result<ListChanged, Unlisted> {
        self.remove_entries(list, prefixes)
    }

    fn explain(&self, asked: &Asked) -> Result<Explained, Unanswered> {
        let gateway = self.gateway();
        let gateway = gateway.as_ref().ok_or_else(Unanswered::stopping)?;
        // A configuration and its program come into effect together.
        let (policy, program) = {
            let state = self.state();
            let program = state.programs.back().map(Arc::clone);
            (
                state.config.policy.clone(),
                program.unwrap_or_else(|| gateway.program()),
            )
        };
        let now_secs = gateway.clock().now().as_secs();
        explain_live(gateway, (&policy, &program), asked, |worker, found| {
            row_of(worker, &found.connection, now_secs, &program)
        })
    }

    fn connections(
        &self,
        filter: &Arc<Filter>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Connections, Unanswered> {
        self.ask(|gateway| connections::page(gateway, filter, cursor, limit))
    }

    fn count_connections(&self, filter: &Arc<Filter>) -> Result<u64, Unanswered> {
        self.ask(|gateway| connections::count(gateway, filter))
    }

    fn flush_connections(&self, filter: &Arc<Filter>) -> Result<u64, Unanswered> {
        let flushed = self.ask(|gateway| connections::flush(gateway, filter))?;
        let line = format!("{flushed} connections were flushed");
        self.logs.write(Topic::System, line);
        Ok(flushed)
    }

    fn watch(&self, wanted: EventFilter) -> Result<Watching, Unanswered> {
        self.ask(|gateway| self.events.watch(gateway, wanted))
    }

    fn recent_drops(&self) -> Vec<RecentDrop> {
        self.last_drops()
    }

    fn helpers(&self) -> Helpers {
        self.helper_report()
    }

    fn config(&self) -> ConfigInEffect {
        let generation = self
            .gateway()
            .as_ref()
            .map_or(0, |g| g.program().generation.0);
        let state = self.state();
        ConfigInEffect {
            file: state.config.file.to_string(),
            generation,
            yaml: state
                .config
                .tree
                .to_text()
                .unwrap_or_else(|e| format!("# cannot be shown: {e}\n")),
        }
    }

    fn log(&self, wanted: &LogWanted) -> Log {
        self.logs.read(wanted)
    }

    fn reload(&self, options: &ReloadOptions) -> Result<Reloaded, Refusal> {
        self.reload_and_log(options)
    }

    fn dry_run(&self, file: Option<&Path>) -> Result<DryRun, Refusal> {
        self.dry_run_of(file)
    }

    fn confirm_reload(&self) -> Result<Confirmed, Refusal> {
        self.keep_reload()
    }
}

impl Daemon {
    fn ask<R>(&self, ask: impl FnOnce(&Gateway) -> Result<R, Unanswered>) -> Result<R, Unanswered> {
        ask(self.gateway().as_ref().ok_or_else(Unanswered::stopping)?)
    }
}

fn fill(status: &mut Status, gateway: &Gateway) {
    let engine = gateway.status();
    let program = gateway.program();
    status.uptime_seconds = engine.uptime.as_secs();
    status.generation = program.generation.0;
    let generations = engine.workers.iter().map(|w| w.generation);
    status.adopted = generations
        .chain([engine.slow_path.generation])
        .all(|g| g == program.generation);
    status.interfaces = interfaces(&program, &engine);
    status.workers = engine.workers.iter().map(|w| worker(w, gateway)).collect();
    status.slow_path = slow_path(&engine.slow_path);
    status.memory = report::Memory {
        mbufs_in_use: engine.buffers_in_use as u64,
        mbufs: engine.buffers as u64,
        hugepages: match engine.memory {
            Memory::Huge { .. } => true,
            Memory::Ordinary => false,
        },
    };
    status.steered_connections = engine.steered as u64;
    status.expectations = expectations(&engine.expectations);
    status.helpers = helpers::all(gateway);
    status.pools = pools(&program);
    status.events_lost = engine.events_lost;
    status.notices = gateway.warnings().to_vec();
}

fn expectations(engine: &gateway::Expectations) -> report::Expectations {
    let ExpectationCounts {
        created,
        matched,
        fulfilled,
        expired,
        orphaned,
        replaced,
        withdrawn,
        refused,
    } = engine.counts;
    report::Expectations {
        waiting: engine.waiting as u64,
        limit: engine.limit as u64,
        created,
        matched,
        fulfilled,
        expired,
        orphaned,
        replaced,
        withdrawn,
        refused,
    }
}

/// The most pools that are told of: whoever has more looks at those that are fullest.
const POOLS_MAX: usize = 256;

fn pools(program: &Program) -> Vec<Pool> {
    let v4 = program.pools4.iter().map(|(a, ports)| (a.to_ip(), ports));
    let v6 = program.pools6.iter().map(|(a, ports)| (a.to_ip(), ports));
    let spaces = v4.chain(v6).flat_map(|(address, ports)| {
        PortSpace::ALL.map(|space| Pool {
            address: address.to_string(),
            protocol: space.name().to_owned(),
            in_use: ports.in_use(space) as u64,
            size: AddressPorts::size(space) as u64,
            exhausted: ports.exhausted(space),
        })
    });
    let mut pools: Vec<Pool> = spaces
        .filter(|pool| pool.in_use > 0 || pool.exhausted > 0)
        .collect();
    pools.sort_by_key(|pool| std::cmp::Reverse((pool.exhausted, pool.in_use)));
    pools.truncate(POOLS_MAX);
    pools
}

fn interfaces(program: &Program, engine: &gateway::Status) -> Vec<Interface> {
    let one = |(id, iface): (_, &turnpike_pipeline::interfaces::InterfaceFacts)| {
        let port = engine.ports.get(usize::from(iface.port.0));
        let (received, sent) = program.interface_counts(id);
        Interface {
            name: iface.name.to_string(),
            device: port.map_or_else(String::new, |p| p.device.clone()),
            driver: port.map_or_else(String::new, |p| p.driver.clone()),
            vlan_id: iface.vlan,
            mac_address: iface.mac.to_string(),
            address: iface.addresses.iter().map(ToString::to_string).collect(),
            mtu: iface.mtu,
            running: port.is_some_and(|p| p.link.up),
            rx: traffic(received),
            tx: traffic(sent),
            distributor: port.map_or_else(String::new, |p| p.distributor.name().to_owned()),
            mismatches: port.map_or(0, |p| p.mismatches),
            device_errors: port.filter(|_| iface.vlan.is_none()).map(|p| DeviceErrors {
                rx_missed: p.stats.rx_missed,
                rx_errors: p.stats.rx_errors,
                rx_no_buffer: p.stats.rx_no_buffer,
                tx_errors: p.stats.tx_errors,
            }),
        }
    };
    program.interfaces.iter().map(one).collect()
}

/// What only the worker itself can tell.
#[derive(Default)]
struct Tables {
    connections: u64,
    room: u64,
    expired: u64,
    evicted: u64,
}

fn worker(status: &gateway::WorkerStatus, gateway: &Gateway) -> Worker {
    let tables = gateway.ask_worker(status.id, |worker| {
        let (v4, v6) = (&worker.conntrack().v4, &worker.conntrack().v6);
        Tables {
            connections: (v4.len() + v6.len()) as u64,
            room: (v4.capacity() + v6.capacity()) as u64,
            expired: v4.expired() + v6.expired(),
            evicted: v4.evicted() + v6.evicted(),
        }
    });
    // A worker that is too busy to answer is shown without its tables.
    let tables = tables.unwrap_or_default();
    let counters = &*status.counters;
    Worker {
        worker: u16::from(status.id.0),
        core: u32::try_from(status.core).unwrap_or(u32::MAX),
        generation: status.generation.0,
        connections: tables.connections,
        connections_max: tables.room,
        expired: tables.expired,
        evicted: tables.evicted,
        rx: read(&counters.received),
        tx: read(&counters.sent),
        generated: counters.generated.read(),
        copies: counters.copies.read(),
        fragments_made: counters.fragments_made.read(),
        consumed: counters.consumed.read(),
        to_host: counters.to_host.read(),
        handed_over: counters.handed_over_in_all(),
        handovers: Found::ALL
            .iter()
            .map(|found| count(found.label(), counters.handed_over(*found).read()))
            .collect(),
        taken_over: counters.taken_over.read(),
        unremembered: counters.unremembered.read(),
        members_refused: counters.members_refused.read(),
        held: counters.held.read(),
        dropped: counters.dropped_in_all(),
        busy_polls: status.load.busy_turns,
        idle_polls: status.load.turns.saturating_sub(status.load.busy_turns),
        punted: PuntCause::ALL
            .iter()
            .map(|cause| count(cause.label(), counters.punted(*cause).read()))
            .collect(),
        drops: drops(counters),
        rings: [
            ("handover", status.handover_waiting),
            ("slow-path", status.punts_waiting),
            ("return", status.messages_waiting),
        ]
        .map(|(name, used)| Ring {
            name: name.to_owned(),
            used: used as u64,
        })
        .into(),
    }
}

fn slow_path(status: &gateway::SlowPathStatus) -> SlowPath {
    let counters = &*status.counters;
    SlowPath {
        core: status.core.and_then(|c| u32::try_from(c).ok()),
        generation: status.generation.0,
        generated: counters.generated.read(),
        consumed: counters.consumed.read(),
        fragments_made: counters.fragments_made.read(),
        to_host: counters.to_host.read(),
        held: counters.held.read(),
        dropped: counters.dropped_in_all(),
        answers_suppressed: counters.answers_suppressed.read(),
        busy_polls: status.load.busy_turns,
        idle_polls: status.load.turns.saturating_sub(status.load.busy_turns),
        drops: drops(counters),
    }
}

fn drops(counters: &WorkerCounters) -> Vec<Count> {
    let each = DropReason::ALL.iter();
    each.map(|reason| count(reason.label(), counters.dropped(*reason).read()))
        .collect()
}

fn count(name: &str, packets: u64) -> Count {
    Count {
        name: name.to_owned(),
        packets,
    }
}

fn read(counted: &Traffic) -> report::Traffic {
    traffic(counted.read())
}

fn traffic(counts: Counts) -> report::Traffic {
    report::Traffic {
        packets: counts.packets,
        bytes: counts.bytes,
    }
}

/// The word of an action in the configuration.
fn action_name(action: &Action) -> &'static str {
    match action {
        Action::Accept => "accept",
        Action::Drop => "drop",
        Action::Reject(RejectWith::Tarpit) => "tarpit",
        Action::Reject(RejectWith::Icmp(_) | RejectWith::TcpReset) => "reject",
        Action::Log(_) => "log",
        Action::Passthrough => "passthrough",
        Action::Jump(_) => "jump",
        Action::Return => "return",
        Action::NoTrack => "notrack",
        Action::Fasttrack => "fasttrack-connection",
        Action::SrcNat(_) => "src-nat",
        Action::Masquerade(_) => "masquerade",
        Action::DstNat(_) => "dst-nat",
        Action::Redirect(_) => "redirect",
        Action::EndpointIndependent(_) => "endpoint-independent-nat",
        Action::Same(..) => "same",
        Action::Netmap(_) => "netmap",
        Action::AddToList(end, ..) => adding_action(*end),
        Action::Edit(edit, _) => edit.action(),
        Action::Sniff(sniff) => sniff.form.action(),
    }
}
