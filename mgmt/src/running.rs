//! A running gateway as management sees it.

use std::net::IpAddr;

use ipnet::IpNet;
use turnpike_conntrack::tuple::Proto;
use turnpike_pipeline::policy::TableKind;

use crate::report::{ConfigInEffect, Connections, Failed, Lists, Log, Reloaded, Rules, Status};

/// The most connections of one page.
pub const PAGE_MAX: usize = 1_000;

/// What the API asks of a gateway. Calls may block for a moment and are made off the event loop.
pub trait Running: Send + Sync + 'static {
    /// Everything that is counted, and the state of things.
    fn status(&self) -> Status;
    /// Every rule with its counters.
    fn rules(&self) -> Rules;
    /// The names of a table's chains, those without rules too.
    fn chains(&self, table: TableKind) -> Vec<String>;
    /// The address lists; with prefixes for the one called `name`.
    fn lists(&self, name: Option<&str>) -> Lists;
    /// A page of connections, from `cursor` on.
    ///
    /// # Errors
    /// A cursor that is none, or a worker that does not answer.
    fn connections(
        &self,
        filter: &ConnectionFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Connections, String>;
    /// The configuration in effect.
    fn config(&self) -> ConfigInEffect;
    /// Log lines after number `after`, at most `limit`.
    fn log(&self, after: u64, limit: usize) -> Log;
    /// Loads the configuration file again.
    ///
    /// # Errors
    /// Why the old configuration stays.
    fn reload(&self) -> Result<Reloaded, Refusal>;
}

/// Why a reload changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The file is wrong.
    Invalid(Failed),
    /// It changes what is fixed at start.
    StartOnly(Failed),
}

/// Which connections are wanted; `None` asks nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionFilter {
    /// Of this protocol.
    pub protocol: Option<Proto>,
    /// Opened from here, before translation.
    pub src: Option<IpNet>,
    /// Opened to here, before or after translation.
    pub dst: Option<IpNet>,
    /// With this port on any side, before or after translation.
    pub port: Option<u16>,
    /// In this state of its tracker.
    pub state: Option<StateName>,
}

/// A connection's state by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateName(&'static str);

impl StateName {
    /// Every name: of protocols whose tracker has no states, whether an answer has been seen; then
    /// the states of TCP.
    pub const ALL: [&'static str; 10] = [
        "new",
        "established",
        "syn-sent",
        "syn-sent2",
        "syn-received",
        "fin-wait",
        "close-wait",
        "last-ack",
        "time-wait",
        "close",
    ];

    /// The state called `text`, `None` if none is.
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| *name == text).map(Self)
    }

    /// Whether it is `text`.
    pub fn is(self, text: &str) -> bool {
        self.0 == text
    }
}

/// A connection's ends as a filter looks at them.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// The protocol.
    pub protocol: Proto,
    /// Source and destination of the first packet.
    pub original: [(IpAddr, u16); 2],
    /// Source and destination of the answer.
    pub reply: [(IpAddr, u16); 2],
}

impl ConnectionFilter {
    /// Whether a connection with these ends in this state is wanted.
    pub fn wants(&self, ends: &Ends, state: &str) -> bool {
        let within = |net: &IpNet, ip: IpAddr| net.contains(&ip);
        let [(src, _), (dst, _)] = ends.original;
        let [(answering, _), _] = ends.reply;
        let ports = ends
            .original
            .iter()
            .chain(&ends.reply)
            .map(|(_, port)| *port);
        self.protocol.is_none_or(|p| p == ends.protocol)
            && self.src.is_none_or(|net| within(&net, src))
            && self
                .dst
                .is_none_or(|net| within(&net, dst) || within(&net, answering))
            && self.port.is_none_or(|port| {
                ends.protocol.has_ports() && ports.into_iter().any(|p| p == port)
            })
            && self.state.is_none_or(|s| s.is(state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> Ends {
        let end = |ip: [u8; 4], port| (IpAddr::from(ip), port);
        Ends {
            protocol: Proto::TCP,
            original: [end([10, 0, 0, 2], 40_000), end([203, 0, 113, 2], 443)],
            reply: [end([192, 168, 88, 80], 8443), end([10, 0, 0, 2], 40_000)],
        }
    }

    fn wants(filter: ConnectionFilter) -> bool {
        filter.wants(&ends(), "established")
    }

    #[test]
    fn nothing_asked_wants_everything() {
        assert!(wants(ConnectionFilter::default()));
    }

    #[test]
    fn each_question_can_refuse() {
        let base = ConnectionFilter::default();
        let net = |text: &str| Some(text.parse().unwrap());
        assert!(wants(ConnectionFilter {
            src: net("10.0.0.0/8"),
            ..base
        }));
        assert!(!wants(ConnectionFilter {
            src: net("192.168.0.0/16"),
            ..base
        }));
        assert!(wants(ConnectionFilter {
            dst: net("203.0.113.0/24"),
            ..base
        }));
        assert!(wants(ConnectionFilter {
            dst: net("192.168.88.80/32"),
            ..base
        }));
        assert!(!wants(ConnectionFilter {
            dst: net("10.0.0.0/8"),
            ..base
        }));
        assert!(wants(ConnectionFilter {
            port: Some(8443),
            ..base
        }));
        assert!(!wants(ConnectionFilter {
            port: Some(80),
            ..base
        }));
        assert!(!wants(ConnectionFilter {
            protocol: Some(Proto::UDP),
            ..base
        }));
        assert!(wants(ConnectionFilter {
            state: StateName::named("established"),
            ..base
        }));
        assert!(!wants(ConnectionFilter {
            state: StateName::named("time-wait"),
            ..base
        }));
    }

    #[test]
    fn a_state_that_cannot_be_one_is_no_name() {
        for text in ["", "bogus", "Established", "a-state-that-is-far-too-long"] {
            assert_eq!(StateName::named(text), None, "{text}");
        }
        for name in StateName::ALL {
            assert!(StateName::named(name).is_some_and(|state| state.is(name)));
        }
    }
}
