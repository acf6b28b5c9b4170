//! Conversations as transcripts: who sends what, and what tracking makes of it.
//!
//! A line is `C>S` or `S>C`, a packet in the words of its protocol, `=`, the packet's connection
//! state (or `invalid REASON`, or `reopen`), and the tracker's state after it. `wait SECONDS` lets
//! time pass, `gone` says that the connection is not found any more.

use crate::support::{plain, table, tuple};
use turnpike_conntrack::entry::Flags;
use turnpike_conntrack::ids::{Direction, FlowRef};
use turnpike_conntrack::segment::Segment;
use turnpike_conntrack::table::{Table, Tracked};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::timeouts::TrackingConfig;
use turnpike_conntrack::tuple::{Proto, Tuple, V4};

/// One conversation.
pub struct Play {
    key: Tuple<V4>,
    words: fn(&str) -> Segment,
    pub table: Table<V4>,
    pub now: Tick,
}

impl Play {
    /// Plays a script between two ends that speak `proto`, whose packets `words` reads.
    pub fn run(
        proto: Proto,
        words: fn(&str) -> Segment,
        config: &TrackingConfig,
        script: &str,
    ) -> Self {
        let mut play = Self {
            key: tuple(proto, "10.0.0.2:40000 > 198.51.100.7:443"),
            words,
            table: table(4),
            now: Tick::from_secs(100),
        };
        for line in script
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            if let Some(seconds) = line.strip_prefix("wait ") {
                let seconds = seconds.parse().expect("seconds");
                play.now = play.now.after(std::time::Duration::from_secs(seconds));
                play.table.expire(play.now, 1_000);
            } else if line == "gone" {
                assert_eq!(play.flow(), None);
            } else {
                let (packet, expected) = line.split_once(" = ").expect("an expectation");
                assert_eq!(
                    play.line(packet, config),
                    expected,
                    "at `{line}` of {script}"
                );
            }
            play.table.check_invariants().expect("invariants");
        }
        play
    }

    pub fn flow(&self) -> Option<FlowRef> {
        self.table.lookup(&self.key, self.now)
    }

    pub fn timeout_secs(&self) -> u64 {
        let id = self.flow().expect("a connection").id;
        self.table
            .connection(id, self.now)
            .expect("a connection")
            .timeout
            .as_secs()
    }

    pub fn has(&self, flag: Flags) -> bool {
        self.table
            .flags(self.flow().expect("a connection").id)
            .contains(flag)
    }

    fn line(&mut self, line: &str, config: &TrackingConfig) -> String {
        let (who, words) = line.split_once(' ').expect("who");
        let segment = (self.words)(words);
        let (direction, incoming) = match who {
            "C>S" => (Direction::Original, self.key),
            "S>C" => (Direction::Reply, self.key.inverse()),
            other => panic!("{other}"),
        };
        let found = self.table.lookup(&incoming, self.now);
        if let Some(flow) = found {
            assert_eq!(flow.direction, direction);
            match self.table.track(flow, &segment, self.now, config) {
                Tracked::Valid(state) => {
                    let tracker_state = self.table.state_name(flow.id).expect("a state");
                    return format!("{} {tracker_state}", state.name());
                }
                Tracked::Invalid(reason) => return format!("invalid {}", reason.label()),
                Tracked::Reopen => {
                    assert!(self.table.lookup(&incoming, self.now).is_none());
                    return "reopen".to_owned();
                }
            }
        }
        match self.table.admits(&incoming, &segment, config) {
            Err(reason) => format!("invalid {}", reason.label()),
            Ok(()) => {
                let id = self
                    .table
                    .commit(plain(incoming), &segment, self.now, config)
                    .expect("room");
                format!("new {}", self.table.state_name(id).expect("a state"))
            }
        }
    }
}
