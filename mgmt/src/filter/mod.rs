//! Which connections are meant: one language for listing, counting, flushing and watching.
//!
//! A filter is a set of questions by name, each with its value as text; a connection passes if it
//! passes all of them. Names and values are RouterOS's where it has them: a list or a range where
//! one can be, `!` in front of a value for everything else. Unknown names and values that cannot be
//! are refused, with the name in the message; nothing is ignored.

mod values;

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use turnpike_conntrack::entry::Flags;
use turnpike_conntrack::events::Change;
use turnpike_conntrack::ids::{ConnState, HelperId, WorkerId};
use turnpike_conntrack::tuple::{Address, Family, Proto, Tuple};
use turnpike_conntrack::walk::{AnyConnection, Connection};
use turnpike_helpers::helper::Reader;
use turnpike_pipeline::rules::MarkNumbers;

use crate::problem::did_you_mean;
use crate::running::StateName;

/// The most values of one question.
pub const VALUES_MAX: usize = 64;

/// Every question by name, in the order in which help lists them.
pub const NAMES: [&str; 22] = [
    "src-address",
    "dst-address",
    "reply-src-address",
    "reply-dst-address",
    "any-address",
    "src-port",
    "dst-port",
    "reply-src-port",
    "reply-dst-port",
    "any-port",
    "protocol",
    "family",
    "connection-state",
    "state",
    "tcp-state",
    "connection-mark",
    "connection-nat-state",
    "flags",
    "helper",
    "timeout-less",
    "timeout-greater",
    "worker",
];

/// Which end of which tuple a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Src,
    Dst,
    ReplySrc,
    ReplyDst,
    /// Any of the four.
    Any,
}

/// Whether a question's answer is taken as it is, or turned round by `!`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sense {
    Plain,
    Negated,
}

/// A question; several values mean any of them.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ask {
    Address(End, Vec<IpNet>),
    Port(End, Vec<(u16, u16)>),
    Protocol(Vec<Proto>),
    /// 4 or 6.
    Family(Vec<u8>),
    ConnectionState(Vec<ConnState>),
    State(Vec<StateName>),
    TcpState(Vec<StateName>),
    Mark {
        value: u32,
        mask: u32,
    },
    /// By its name, which the running gateway knows.
    NamedMark(String),
    Nat(Vec<Flags>),
    Flags {
        set: Flags,
        clear: Flags,
    },
    Helper(Vec<HelperId>),
    TimeoutLess(Duration),
    TimeoutGreater(Duration),
    Worker(Vec<u8>),
}

/// Which connections are meant. The default means all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    asks: Vec<(&'static str, Sense, Ask)>,
}

impl Filter {
    /// Adds a question.
    ///
    /// # Errors
    /// A name that is none, one that was asked already, or a value that cannot be.
    pub fn ask(&mut self, name: &str, value: &str) -> Result<(), String> {
        let Some(name) = NAMES.into_iter().find(|known| *known == name) else {
            let near = did_you_mean(name, NAMES);
            let known = NAMES.join(", ");
            return Err(format!("`{name}` is no filter{near}; there are: {known}"));
        };
        if self.asks.iter().any(|(asked, ..)| *asked == name) {
            return Err(format!("{name}: given twice; write its values as one list"));
        }
        let (sense, text) = match value.strip_prefix('!') {
            // Each letter has a sign of its own.
            Some(rest) if name != "flags" => (Sense::Negated, rest),
            Some(_) | None => (Sense::Plain, value),
        };
        let ask = values::read(name, text).map_err(|message| format!("{name}: {message}"))?;
        self.asks.push((name, sense, ask));
        Ok(())
    }

    /// The filter with numbers for the names of marks.
    ///
    /// # Errors
    /// A name that no mark has.
    pub fn under(&self, marks: &MarkNumbers) -> Result<Self, String> {
        let mut asks = self.asks.clone();
        for (_, _, ask) in &mut asks {
            ask.name_marks(marks)?;
        }
        Ok(Self { asks })
    }

    /// Whether it means every connection.
    pub fn is_all(&self) -> bool {
        self.asks.is_empty()
    }

    /// Whether a connection of `worker` is meant.
    pub fn wants(&self, worker: WorkerId, connection: &AnyConnection) -> bool {
        self.asks.iter().all(|(_, sense, ask)| {
            let holds = match connection {
                AnyConnection::V4(connection) => ask.holds(worker, connection),
                AnyConnection::V6(connection) => ask.holds(worker, connection),
            };
            match sense {
                Sense::Plain => holds,
                Sense::Negated => !holds,
            }
        })
    }
}

impl Ask {
    /// Puts the number of a mark in place of its name.
    fn name_marks(&mut self, marks: &MarkNumbers) -> Result<(), String> {
        let mask = u32::MAX;
        match self {
            Self::NamedMark(name) => {
                let value = marks.named(name).ok_or_else(|| {
                    let near = did_you_mean(name, marks.names());
                    format!("connection-mark: no rule names a mark `{name}`{near}")
                })?;
                *self = Self::Mark { value, mask };
            }
            // A number may be a name; whoever writes one means that.
            Self::Mark {
                value,
                mask: u32::MAX,
            } if *value != 0 => {
                if let Some(value) = marks.named(&value.to_string()) {
                    *self = Self::Mark { value, mask };
                }
            }
            Self::Mark { .. }
            | Self::Address(..)
            | Self::Port(..)
            | Self::Protocol(_)
            | Self::Family(_)
            | Self::ConnectionState(_)
            | Self::State(_)
            | Self::TcpState(_)
            | Self::Nat(_)
            | Self::Flags { .. }
            | Self::Helper(_)
            | Self::TimeoutLess(_)
            | Self::TimeoutGreater(_)
            | Self::Worker(_) => {}
        }
        Ok(())
    }

    fn holds<F: Family>(&self, worker: WorkerId, connection: &Connection<F>) -> bool {
        let (original, reply) = (&connection.pair.original, &connection.pair.reply);
        match self {
            Self::Address(end, nets) => end.any(original, reply, |(address, _)| {
                nets.iter().any(|net| net.contains(&address))
            }),
            Self::Port(end, ranges) => {
                original.proto.has_ports()
                    && end.any(original, reply, |(_, port)| {
                        ranges
                            .iter()
                            .any(|&(first, last)| (first..=last).contains(&port))
                    })
            }
            Self::Protocol(protocols) => protocols.contains(&original.proto),
            Self::Family(versions) => versions.contains(&F::VERSION),
            Self::ConnectionState(states) => states.contains(&connection_state(connection.flags)),
            Self::State(states) => states.iter().any(|s| s.is(connection.state_word())),
            Self::TcpState(states) => {
                original.proto == Proto::TCP && states.iter().any(|s| s.is(connection.state_word()))
            }
            Self::Mark { value, mask } => connection.mark & mask == value & mask,
            // Nobody has told its number: no connection is known to have it.
            Self::NamedMark(_) => false,
            Self::Nat(sides) => sides.iter().any(|side| connection.flags.contains(*side)),
            Self::Flags { set, clear } => {
                connection.flags.contains(*set)
                    && connection.flags.without(*clear) == connection.flags
            }
            Self::Helper(helpers) => {
                let reader = connection.helper.and_then(Reader::numbered);
                reader
                    .and_then(Reader::helper_id)
                    .is_some_and(|h| helpers.contains(&h))
            }
            Self::TimeoutLess(limit) => connection.timeout < *limit,
            Self::TimeoutGreater(limit) => connection.timeout > *limit,
            Self::Worker(workers) => workers.contains(&worker.0),
        }
    }
}

impl End {
    /// Whether `test` holds for the end, or for one of them.
    fn any<F: Family>(
        self,
        original: &Tuple<F>,
        reply: &Tuple<F>,
        test: impl Fn((IpAddr, u16)) -> bool,
    ) -> bool {
        let src = |tuple: &Tuple<F>| test((tuple.src.to_ip(), tuple.src_port.0));
        let dst = |tuple: &Tuple<F>| test((tuple.dst.to_ip(), tuple.dst_port.0));
        match self {
            Self::Src => src(original),
            Self::Dst => dst(original),
            Self::ReplySrc => src(reply),
            Self::ReplyDst => dst(reply),
            Self::Any => src(original) || dst(original) || src(reply) || dst(reply),
        }
    }
}

/// The state that the connection's next packet from its opener would have in a rule.
fn connection_state(flags: Flags) -> ConnState {
    if flags.contains(Flags::SEEN_REPLY) {
        ConnState::Established
    } else if flags.contains(Flags::EXPECTED) {
        ConnState::Related
    } else {
        ConnState::New
    }
}

/// Which events are meant: what happened, and to which connections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFilter {
    /// Names of changes; empty for all.
    changes: Vec<&'static str>,
    connections: Filter,
}

impl EventFilter {
    /// What changes are called.
    const CHANGES: [&'static str; 3] = ["new", "update", "destroy"];

    /// Adds a question: `event`, or one about the connection.
    ///
    /// # Errors
    /// A name that is none, one that was asked already, or a value that cannot be.
    pub fn ask(&mut self, name: &str, value: &str) -> Result<(), String> {
        if name != "event" {
            return self.connections.ask(name, value);
        }
        if !self.changes.is_empty() {
            return Err("event: given twice; write its values as one list".to_owned());
        }
        self.changes = values::list(value, |word| {
            let known = Self::CHANGES.into_iter().find(|change| *change == word);
            known.ok_or_else(|| {
                let known = Self::CHANGES.join(", ");
                format!("`{word}` is no event; there are: {known}")
            })
        })
        .map_err(|message| format!("event: {message}"))?;
        Ok(())
    }

    /// The filter with numbers for the names of marks.
    ///
    /// # Errors
    /// A name that no mark has.
    pub fn under(&self, marks: &MarkNumbers) -> Result<Self, String> {
        Ok(Self {
            changes: self.changes.clone(),
            connections: self.connections.under(marks)?,
        })
    }

    /// Whether this change of a connection of `worker` is meant.
    pub fn wants(&self, worker: WorkerId, change: Change, connection: &AnyConnection) -> bool {
        (self.changes.is_empty() || self.changes.contains(&change.name()))
            && self.connections.wants(worker, connection)
    }
}

#[cfg(test)]
mod tests;
