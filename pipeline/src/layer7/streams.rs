//! Streams: the connections that are being looked at, in bounded memory.
//!
//! A connection is begun with when its first sample comes, and done with when a pattern was found,
//! when all that is looked at was read, or when nothing came for [`IDLE_MAX`]. When there are too
//! many, the one that has been silent for longest is given up, and its owner told so: rules say
//! what is to become of such a connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use turnpike_conntrack::ids::{FlowId, WorkerId};
use turnpike_conntrack::labels::Examined;
use turnpike_conntrack::time::Tick;
use turnpike_helpers::layer7::{PACKETS_MAX, Progress, Reader, Reading};

use crate::layer7::samples::{Sample, Sampled};
use crate::layer7::{Layer7Program, Sought};

/// The most connections that are looked at at one time.
pub const STREAMS_MAX: usize = 65_536;

/// The most memory that they take, in bytes.
pub const STREAM_BYTES_MAX: usize = 64 << 20;

/// How long a connection may be silent and still be looked at.
pub const IDLE_MAX: Duration = Duration::from_secs(60);

/// How many silent connections are given up in one turn.
const EXPIRE_MAX: usize = 256;

/// What looking at a connection came to, for the worker that owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Examination {
    /// The connection.
    pub connection: Sampled,
    /// What it came to.
    pub examined: Examined,
}

/// A connection's place: its worker, family and place there.
type Key = (WorkerId, u8, FlowId);

#[derive(Debug)]
struct Stream {
    reading: Reading,
    connection: Sampled,
    seen: Tick,
    /// Its key among those in the order of their silence.
    turn: u64,
}

/// The connections that are being looked at.
#[derive(Debug, Default)]
pub struct Streams {
    sought: Option<Arc<Sought>>,
    reader: Option<Reader>,
    open: BTreeMap<Key, Stream>,
    /// The one that has been silent for longest first.
    by_silence: BTreeMap<u64, Key>,
    turns: u64,
}

impl Streams {
    /// Looks for what a program does from now on; what was begun with other patterns ends.
    pub fn adopt(&mut self, layer7: &Layer7Program) {
        let same = match (&self.sought, layer7.sought()) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if same {
            return;
        }
        self.open.clear();
        self.by_silence.clear();
        self.sought = layer7.sought().map(Arc::clone);
        self.reader = self
            .sought
            .as_ref()
            .and_then(|sought| Reader::new(sought.patterns()).ok());
        self.count_open(layer7);
    }

    /// How many connections are being looked at.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Reads a sample of a connection of `owner`; `tell` hears what it came to, and of another
    /// connection that had to be given up for it.
    pub fn read(
        &mut self,
        owner: WorkerId,
        sample: &Sample,
        (now, layer7): (Tick, &Layer7Program),
        mut tell: impl FnMut(WorkerId, Examination),
    ) {
        let key = key(owner, sample.connection);
        if sample.nth == 0 {
            // Another connection has come to this place.
            self.close(key);
            if !self.begin(key, sample.connection, now, layer7, &mut tell) {
                layer7.counters().unexamined.add(1);
                let connection = sample.connection;
                let examined = Examined::NoRoom;
                tell(
                    owner,
                    Examination {
                        connection,
                        examined,
                    },
                );
                return;
            }
        }
        let examined = self.go_on(key, sample, now, layer7);
        self.count_open(layer7);
        if let Some(examined) = examined {
            let connection = sample.connection;
            tell(
                owner,
                Examination {
                    connection,
                    examined,
                },
            );
        }
    }

    /// Gives up connections that have fallen silent.
    pub fn expire(&mut self, now: Tick, layer7: &Layer7Program) {
        for _ in 0..EXPIRE_MAX {
            let Some((_, key)) = self.by_silence.first_key_value() else {
                break;
            };
            let key = *key;
            let silent = |stream: &Stream| now.since(stream.seen) >= IDLE_MAX;
            if !self.open.get(&key).is_none_or(silent) {
                break;
            }
            self.close(key);
            layer7.counters().silent.add(1);
        }
        self.count_open(layer7);
    }

    /// Begins with a connection; whether there is room for it.
    fn begin(
        &mut self,
        key: Key,
        connection: Sampled,
        now: Tick,
        layer7: &Layer7Program,
        tell: &mut impl FnMut(WorkerId, Examination),
    ) -> bool {
        while self.open.len() >= self.room() {
            let Some((_, oldest)) = self.by_silence.first_key_value() else {
                return false;
            };
            let oldest = *oldest;
            if let Some(given_up) = self.close(oldest) {
                layer7.counters().unexamined.add(1);
                let examination = Examination {
                    connection: given_up.connection,
                    examined: Examined::NoRoom,
                };
                tell(oldest.0, examination);
            }
        }
        let Some(Ok(reading)) = self.reader.as_ref().map(Reader::open) else {
            return false;
        };
        let turn = self.next_turn(key);
        let stream = Stream {
            reading,
            connection,
            seen: now,
            turn,
        };
        self.open.insert(key, stream);
        layer7.counters().opened.add(1);
        true
    }

    /// Reads on; what it came to, if that is known now.
    fn go_on(
        &mut self,
        key: Key,
        sample: &Sample,
        now: Tick,
        layer7: &Layer7Program,
    ) -> Option<Examined> {
        let counters = layer7.counters();
        let turn = self.next_turn(key);
        let (Some(reader), Some(stream)) = (&mut self.reader, self.open.get_mut(&key)) else {
            // It was given up, or begun with for other patterns.
            self.by_silence.remove(&turn);
            return Some(Examined::Nothing);
        };
        self.by_silence.remove(&stream.turn);
        (stream.turn, stream.seen) = (turn, now);
        counters.packets.add(1);
        counters.bytes.add(sample.payload().len() as u64);
        let is_last = sample.nth + 1 >= PACKETS_MAX;
        match reader.read(&mut stream.reading, sample.payload()) {
            Progress::Found(place) => {
                self.close(key);
                Some(self.label(place, layer7))
            }
            Progress::Full => {
                self.close(key);
                counters.unknown.add(1);
                Some(Examined::Nothing)
            }
            Progress::More if is_last => {
                // The worker has counted, too.
                self.close(key);
                counters.unknown.add(1);
                None
            }
            Progress::More => None,
        }
    }

    fn label(&self, place: usize, layer7: &Layer7Program) -> Examined {
        let sought = self.sought.as_ref();
        let label = sought.and_then(|sought| sought.label(place));
        let protocol = sought.and_then(|sought| sought.protocols().get(place));
        layer7.counters().found.add(1);
        if let Some(counter) = protocol.and_then(|protocol| layer7.found(*protocol)) {
            counter.add(1);
        }
        label.map_or(Examined::Nothing, Examined::Found)
    }

    fn next_turn(&mut self, key: Key) -> u64 {
        self.turns += 1;
        self.by_silence.insert(self.turns, key);
        self.turns
    }

    fn close(&mut self, key: Key) -> Option<Stream> {
        let stream = self.open.remove(&key)?;
        self.by_silence.remove(&stream.turn);
        Some(stream)
    }

    /// How many connections there is room for.
    fn room(&self) -> usize {
        let each = self.reading_bytes().max(1);
        (STREAM_BYTES_MAX / each).clamp(1, STREAMS_MAX)
    }

    fn reading_bytes(&self) -> usize {
        let sought = self.sought.as_ref();
        sought.map_or(0, |sought| sought.patterns().reading_bytes())
    }

    fn count_open(&self, layer7: &Layer7Program) {
        let open = self.open.len();
        layer7.counters().open.set(open as u64);
        let bytes = open * self.reading_bytes();
        layer7.counters().open_bytes.set(bytes as u64);
    }
}

const fn key(owner: WorkerId, connection: Sampled) -> Key {
    match connection {
        Sampled::V4(id, _) => (owner, 4, id),
        Sampled::V6(id, _) => (owner, 6, id),
    }
}
