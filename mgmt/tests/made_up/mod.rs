//! A gateway that is made up, for the management API to serve.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ipnet::IpNet;
use turnpike_mgmt::filter::{EventFilter, Filter};
use turnpike_mgmt::report::{
    AddressList, ConfigInEffect, ConfigProblem, Confirmed, Connection, Connections, DryRun,
    Explained, Failed, Helper, Helpers, Layer7Status, ListChanged, Lists, Log, LogLine, RecentDrop,
    Reloaded, Rule, Rules, Status,
};
use turnpike_mgmt::running::{
    Asked, LogWanted, NewEntry, Refusal, ReloadOptions, Running, Unanswered, Unlisted,
};
use turnpike_mgmt::watch::{Hub, Watching};
use turnpike_pipeline::policy::TableKind;

/// Lines that wait for one watcher here.
const QUEUE: usize = 64;

/// Reloads fail twice, each in its way, then work.
pub struct MadeUp {
    reloads: AtomicU32,
    pub hub: Arc<Hub>,
}

impl Default for MadeUp {
    fn default() -> Self {
        Self {
            reloads: AtomicU32::new(0),
            hub: Hub::new(QUEUE, |missed| format!("missed {missed}\n").into()),
        }
    }
}

impl Running for MadeUp {
    fn status(&self) -> Status {
        Status {
            version: "9.9.9".into(),
            layer7: Layer7Status {
                opened: 12,
                ..Layer7Status::default()
            },
            ..Status::default()
        }
    }

    fn rules(&self) -> Rules {
        let rule = |table: &str, chain: &str| Rule {
            table: table.into(),
            chain: chain.into(),
            number: 1,
            packets: 5,
            ..Rule::default()
        };
        Rules {
            rules: vec![rule("filter", "input"), rule("nat", "srcnat")],
        }
    }

    fn helpers(&self) -> Helpers {
        Helpers {
            helpers: vec![Helper {
                name: "ftp".into(),
                ports: vec![21],
                ..Helper::default()
            }],
            ..Helpers::default()
        }
    }

    fn chains(&self, table: TableKind) -> Vec<String> {
        let mut names: Vec<String> = table
            .built_in_chains()
            .iter()
            .map(|n| (*n).into())
            .collect();
        if table == TableKind::Filter {
            names.push("guests".into());
        }
        names
    }

    fn lists(&self, name: Option<&str>) -> Lists {
        Lists {
            address_lists: vec![AddressList {
                name: "trusted".into(),
                prefixes: 1,
                address: name.map(|_| "10.0.0.0/8".to_owned()).into_iter().collect(),
                ..AddressList::default()
            }],
        }
    }

    fn add_to_list(&self, list: &str, new: &NewEntry) -> Result<ListChanged, Unlisted> {
        if list != "trusted" {
            return Err(Unlisted::Unknown(format!("no list is called `{list}`")));
        }
        Ok(ListChanged {
            list: list.to_owned(),
            address: new.prefixes.iter().map(ToString::to_string).collect(),
            result: format!("{:?} {}", new.timeout, new.comment),
        })
    }

    fn remove_from_list(&self, list: &str, prefixes: &[IpNet]) -> Result<ListChanged, Unlisted> {
        if prefixes.len() > 1 {
            return Err(Unlisted::Configured("it is configured".to_owned()));
        }
        Ok(ListChanged {
            list: list.to_owned(),
            address: prefixes.iter().map(ToString::to_string).collect(),
            result: "removed".to_owned(),
        })
    }

    fn connections(
        &self,
        filter: &Arc<Filter>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Connections, Unanswered> {
        if cursor == Some("bad") {
            return Err(Unanswered::Wrong("that is no cursor".into()));
        }
        let row = Connection {
            protocol: format!("{filter:?}"),
            state: limit.to_string(),
            ..Connection::default()
        };
        Ok(Connections {
            connections: vec![row],
            next: cursor.is_none().then(|| "1".to_owned()),
        })
    }

    fn count_connections(&self, filter: &Arc<Filter>) -> Result<u64, Unanswered> {
        if filter.is_all() {
            return Ok(7);
        }
        Err(Unanswered::NotNow("worker 3 is busy".into()))
    }

    fn flush_connections(&self, filter: &Arc<Filter>) -> Result<u64, Unanswered> {
        Ok(if filter.is_all() { 7 } else { 2 })
    }

    fn watch(&self, wanted: EventFilter) -> Result<Watching, Unanswered> {
        self.hub.enter(wanted).ok_or_else(Unanswered::stopping)
    }

    fn explain(&self, asked: &Asked) -> Result<Explained, Unanswered> {
        if asked.packet.contains("state") {
            return Err(Unanswered::Wrong("packet: leave `state` out".into()));
        }
        Ok(Explained {
            text: format!("{asked:?}"),
            ..Explained::default()
        })
    }

    fn recent_drops(&self) -> Vec<RecentDrop> {
        let dropped = |number: u64, reason: &str, src: &str| RecentDrop {
            worker: Some(0),
            number,
            reason: reason.into(),
            rule: Some("filter/input/2 gw.yaml:7".into()),
            in_interface: Some("wan".into()),
            protocol: Some("udp".into()),
            src: Some(src.into()),
            dst: Some("203.0.113.2:53".into()),
            ..RecentDrop::default()
        };
        vec![
            dropped(0, "filter-rule", "198.51.100.7:4000"),
            dropped(1, "filter-rule", "[2001:db8::7]:4000"),
            dropped(2, "no-route", "198.51.100.8:4001"),
        ]
    }

    fn config(&self) -> ConfigInEffect {
        ConfigInEffect::default()
    }

    fn log(&self, wanted: &LogWanted) -> Log {
        let drop = LogLine {
            message: "API Drop: input".into(),
            ..LogLine::default()
        };
        Log {
            last: wanted.after + wanted.limit as u64,
            lines: Vec::from_iter(wanted.wants(&drop).then_some(drop)),
            ..Log::default()
        }
    }

    fn dry_run(&self, file: Option<&Path>) -> Result<DryRun, Refusal> {
        Ok(DryRun {
            config: file.map_or("its own".to_owned(), |file| file.display().to_string()),
            ..DryRun::default()
        })
    }

    fn confirm_reload(&self) -> Result<Confirmed, Refusal> {
        Err(Refusal::NotNow(Failed {
            error: "no reload waits".into(),
            problems: Vec::new(),
        }))
    }

    fn reload(&self, options: &ReloadOptions) -> Result<Reloaded, Refusal> {
        let failed = |error: &str| Failed {
            error: error.into(),
            problems: vec![ConfigProblem {
                file: "gw.yaml".into(),
                line: 3,
                column: 7,
                severity: "error".into(),
                message: "wrong".into(),
            }],
        };
        match self.reloads.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Refusal::Invalid(failed("the configuration is wrong"))),
            1 => Err(Refusal::StartOnly(failed("engine.workers cannot change"))),
            _ => Ok(Reloaded {
                generation: 2,
                ended: options.cut_refused.is_on().then_some(7),
                confirm_within_seconds: options.confirm_within.map(|within| within.as_secs()),
                ..Reloaded::default()
            }),
        }
    }
}
