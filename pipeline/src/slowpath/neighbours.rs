//! Neighbours: from an address on a link to a link address, for ARP and neighbour discovery alike.
//!
//! A pure state machine. Packets that wait are held, a few per neighbour and bounded over all;
//! what has to happen (ask, tell the workers, release, refuse) comes out as [`Event`]s.
//!
//! ```text
//!            want            heard                    REACHABLE_FOR passed
//!   (none) ───────► asking ─────────► reachable ─────────────────────────► probing
//!                     │ ASK_TRIES unanswered              heard ▲             │ ASK_TRIES
//!                     ▼                                         └─────────────┤ unanswered
//!                  refused, gone                                              ▼ gone
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use arrayvec::ArrayVec;
use hashbrown::HashMap;
use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::time::Tick;

use crate::drops::DropReason;
use crate::ids::{IfaceId, Mac};
use crate::nexthop::NEXT_HOPS_MAX;
use crate::outbox::NeighbourUpdate;

/// The most packets held for one neighbour; what comes on top is dropped.
pub const HELD_PER_NEIGHBOUR_MAX: usize = 8;

/// The most packets held over all.
pub const HELD_MAX: usize = 4_096;

/// The most neighbours asked for at one time: who scans a connected prefix cannot fill the table
/// with stations that do not exist (RFC 6583).
pub const ASKING_MAX: usize = 1_024;

/// How often a neighbour is asked before it counts as unreachable.
pub const ASK_TRIES: u8 = 3;

/// The time between two questions.
pub const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long an answer is believed before it is checked again.
pub const REACHABLE_FOR: Duration = Duration::from_secs(60);

/// A neighbour: an address on an interface's link.
pub type Key = (IfaceId, IpAddr);

/// A packet that waits, and the worker it came from.
#[derive(Debug)]
pub struct Held<B> {
    /// The finished packet.
    pub buf: B,
    /// Where it goes back to.
    pub from: WorkerId,
}

/// What has to happen.
#[derive(Debug)]
pub enum Event<B> {
    /// Ask for the neighbour's link address, on the whole link or at its last known one.
    Ask(Key, Option<Mac>),
    /// Tell every worker.
    News(NeighbourUpdate),
    /// The neighbour is known now: the packet can go to this link address.
    Release(Key, Mac, Held<B>),
    /// The packet cannot be kept, or the neighbour does not answer.
    Refuse(Key, Held<B>, DropReason),
}

/// How a link address was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// In an answer to a question, or in a question put to the gateway: worth an entry.
    Addressed,
    /// In passing: corrects an entry, makes none.
    Overheard,
}

#[derive(Debug)]
enum State<B> {
    Asking {
        held: ArrayVec<Held<B>, HELD_PER_NEIGHBOUR_MAX>,
        tries: u8,
    },
    Reachable {
        mac: Mac,
    },
    Probing {
        mac: Mac,
        tries: u8,
    },
}

#[derive(Debug)]
struct Entry<B> {
    state: State<B>,
    due: Tick,
}

/// All neighbours of the gateway.
#[derive(Debug)]
pub struct NeighbourTable<B> {
    entries: HashMap<Key, Entry<B>>,
    /// When each entry has to be looked at next; one element per entry.
    schedule: BTreeSet<(Tick, Key)>,
    held: usize,
    asking: usize,
}

impl<B> Default for NeighbourTable<B> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            schedule: BTreeSet::new(),
            held: 0,
            asking: 0,
        }
    }
}

impl<B> NeighbourTable<B> {
    /// How many packets wait.
    pub const fn held(&self) -> usize {
        self.held
    }

    /// How many neighbours are known or asked for.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no neighbour is known or asked for.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Calls `visit` with every neighbour whose link address is known.
    pub fn for_each_known(&self, mut visit: impl FnMut(Key, Mac)) {
        for (key, entry) in &self.entries {
            match entry.state {
                State::Reachable { mac } | State::Probing { mac, .. } => visit(*key, mac),
                State::Asking { .. } => {}
            }
        }
    }

    /// A packet wants to go to a neighbour.
    pub fn want(&mut self, key: Key, packet: Held<B>, now: Tick, events: &mut Vec<Event<B>>) {
        let held_before = self.held;
        if let Some(entry) = self.entries.get_mut(&key) {
            match &mut entry.state {
                State::Asking { held, .. } => {
                    if held_before >= HELD_MAX {
                        events.push(Event::Refuse(key, packet, DropReason::NeighbourQueueFull));
                    } else if let Err(full) = held.try_push(packet) {
                        let packet = full.element();
                        events.push(Event::Refuse(key, packet, DropReason::NeighbourQueueFull));
                    } else {
                        self.held += 1;
                    }
                }
                State::Reachable { mac } | State::Probing { mac, .. } => {
                    // Who asks for a known neighbour had no room for it when it became known.
                    events.push(Event::News(known(key, *mac)));
                    events.push(Event::Release(key, *mac, packet));
                }
            }
            return;
        }
        if self.entries.len() >= NEXT_HOPS_MAX {
            events.push(Event::Refuse(key, packet, DropReason::NeighbourTableFull));
            return;
        }
        if self.held >= HELD_MAX || self.asking >= ASKING_MAX {
            events.push(Event::Refuse(key, packet, DropReason::NeighbourQueueFull));
            return;
        }
        let mut held = ArrayVec::new();
        held.push(packet);
        self.held += 1;
        self.asking += 1;
        self.put(key, State::Asking { held, tries: 1 }, now.after(ASK_EVERY));
        events.push(Event::Ask(key, None));
    }

    /// A neighbour's link address was heard.
    pub fn heard(&mut self, key: Key, mac: Mac, how: Heard, now: Tick, events: &mut Vec<Event<B>>) {
        let due = now.after(REACHABLE_FOR);
        let Some(entry) = self.entries.get_mut(&key) else {
            if how == Heard::Addressed && self.entries.len() < NEXT_HOPS_MAX {
                self.put(key, State::Reachable { mac }, due);
                events.push(Event::News(known(key, mac)));
            }
            return;
        };
        let before = std::mem::replace(&mut entry.state, State::Reachable { mac });
        self.schedule.remove(&(entry.due, key));
        entry.due = due;
        self.schedule.insert((due, key));
        match before {
            State::Asking { held, .. } => {
                events.push(Event::News(known(key, mac)));
                self.held -= held.len();
                self.asking -= 1;
                events.extend(
                    held.into_iter()
                        .map(|packet| Event::Release(key, mac, packet)),
                );
            }
            State::Reachable { mac: old } | State::Probing { mac: old, .. } => {
                if old != mac {
                    events.push(Event::News(known(key, mac)));
                }
            }
        }
    }

    /// Asks again, checks what has not been heard of for long, gives up what does not answer.
    pub fn tick(&mut self, now: Tick, events: &mut Vec<Event<B>>) {
        while let Some(&(due, key)) = self.schedule.first() {
            if due > now {
                return;
            }
            self.schedule.remove(&(due, key));
            let Some(mut entry) = self.entries.remove(&key) else {
                continue;
            };
            match &mut entry.state {
                State::Asking { tries, .. } | State::Probing { tries, .. }
                    if *tries >= ASK_TRIES =>
                {
                    self.give_up(key, entry.state, events);
                    continue;
                }
                State::Asking { tries, .. } => {
                    *tries += 1;
                    events.push(Event::Ask(key, None));
                }
                State::Probing { mac, tries } => {
                    *tries += 1;
                    events.push(Event::Ask(key, Some(*mac)));
                }
                State::Reachable { mac } => {
                    events.push(Event::Ask(key, Some(*mac)));
                    entry.state = State::Probing {
                        mac: *mac,
                        tries: 1,
                    };
                }
            }
            self.put(key, entry.state, now.after(ASK_EVERY));
        }
    }

    /// Forgets every neighbour for which `keep` is false: its interface or prefix is gone.
    pub fn retain(&mut self, mut keep: impl FnMut(&Key) -> bool, events: &mut Vec<Event<B>>) {
        let gone: BTreeSet<Key> = self.entries.keys().filter(|k| !keep(k)).copied().collect();
        for key in gone {
            if let Some(entry) = self.entries.remove(&key) {
                self.schedule.remove(&(entry.due, key));
                self.give_up(key, entry.state, events);
            }
        }
    }

    fn give_up(&mut self, key: Key, state: State<B>, events: &mut Vec<Event<B>>) {
        match state {
            State::Asking { held, .. } => {
                self.held -= held.len();
                self.asking -= 1;
                let refuse = |p| Event::Refuse(key, p, DropReason::NeighbourUnreachable);
                events.extend(held.into_iter().map(refuse));
            }
            State::Reachable { .. } | State::Probing { .. } => {
                let (interface, address) = key;
                events.push(Event::News(NeighbourUpdate {
                    interface,
                    address,
                    mac: None,
                }));
            }
        }
    }

    fn put(&mut self, key: Key, state: State<B>, due: Tick) {
        self.schedule.insert((due, key));
        self.entries.insert(key, Entry { state, due });
    }
}

const fn known((interface, address): Key, mac: Mac) -> NeighbourUpdate {
    NeighbourUpdate {
        interface,
        address,
        mac: Some(mac),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn key(last: u8) -> Key {
        (IfaceId(0), IpAddr::from([10, 0, 0, last]))
    }

    fn packet(n: u32) -> Held<u32> {
        Held {
            buf: n,
            from: WorkerId(0),
        }
    }

    struct Rig {
        table: NeighbourTable<u32>,
        events: Vec<Event<u32>>,
    }

    impl Rig {
        fn new() -> Self {
            Self {
                table: NeighbourTable::default(),
                events: Vec::new(),
            }
        }

        fn want(&mut self, last: u8, n: u32, secs: u64) {
            self.table.want(
                key(last),
                packet(n),
                Tick::from_secs(secs),
                &mut self.events,
            );
        }

        fn heard(&mut self, last: u8, mac: Mac, how: Heard, secs: u64) {
            self.table
                .heard(key(last), mac, how, Tick::from_secs(secs), &mut self.events);
        }

        fn tick(&mut self, secs: u64) {
            self.table.tick(Tick::from_secs(secs), &mut self.events);
        }

        fn words(&mut self) -> Vec<String> {
            self.events
                .drain(..)
                .map(|e| match e {
                    Event::Ask(_, None) => "ask".to_owned(),
                    Event::Ask(_, Some(_)) => "probe".to_owned(),
                    Event::News(NeighbourUpdate { mac: Some(_), .. }) => "known".to_owned(),
                    Event::News(NeighbourUpdate { mac: None, .. }) => "gone".to_owned(),
                    Event::Release(_, _, p) => format!("release {}", p.buf),
                    Event::Refuse(_, p, reason) => format!("refuse {} {}", p.buf, reason.label()),
                })
                .collect()
        }
    }

    #[test]
    fn a_packet_waits_for_the_answer_and_leaves_in_order() {
        let mut rig = Rig::new();
        rig.want(1, 10, 0);
        rig.want(1, 11, 0);
        assert_eq!(rig.words(), ["ask"]);
        assert_eq!(rig.table.held(), 2);
        rig.heard(1, MAC, Heard::Addressed, 0);
        assert_eq!(rig.words(), ["known", "release 10", "release 11"]);
        assert_eq!(rig.table.held(), 0);
        rig.want(1, 12, 1);
        assert_eq!(rig.words(), ["known", "release 12"]);
    }

    #[test]
    fn three_questions_without_an_answer_refuse_what_waited() {
        let mut rig = Rig::new();
        rig.want(1, 10, 0);
        for second in 1..=3 {
            rig.tick(second);
        }
        assert_eq!(
            rig.words(),
            ["ask", "ask", "ask", "refuse 10 neighbour-unreachable"]
        );
        assert!(rig.table.is_empty());
        assert_eq!(rig.table.held(), 0);
    }

    #[test]
    fn a_silent_neighbour_is_probed_where_it_was_and_then_gone() {
        let mut rig = Rig::new();
        rig.heard(1, MAC, Heard::Addressed, 0);
        rig.tick(59);
        assert_eq!(rig.words(), ["known"]);
        for second in 60..=63 {
            rig.tick(second);
        }
        assert_eq!(rig.words(), ["probe", "probe", "probe", "gone"]);
    }

    #[test]
    fn an_answer_to_a_probe_is_not_news_unless_the_address_changed() {
        let mut rig = Rig::new();
        rig.heard(1, MAC, Heard::Addressed, 0);
        rig.tick(60);
        rig.heard(1, MAC, Heard::Addressed, 60);
        assert_eq!(rig.words(), ["known", "probe"]);
        rig.heard(1, OTHER, Heard::Overheard, 61);
        assert_eq!(rig.words(), ["known"]);
    }

    #[test]
    fn what_is_overheard_makes_no_entry() {
        let mut rig = Rig::new();
        rig.heard(1, MAC, Heard::Overheard, 0);
        assert!(rig.table.is_empty());
        assert_eq!(rig.words(), Vec::<String>::new());
    }

    #[test]
    fn the_ninth_packet_for_a_neighbour_is_refused() {
        let mut rig = Rig::new();
        for n in 0..9 {
            rig.want(1, n, 0);
        }
        assert_eq!(rig.words(), ["ask", "refuse 8 neighbour-queue-full"]);
        assert_eq!(rig.table.held(), 8);
    }

    #[test]
    fn a_full_table_refuses_and_keeps_what_it_has() {
        let mut rig = Rig::new();
        for n in 0..u16::try_from(NEXT_HOPS_MAX).unwrap() {
            let [a, b] = n.to_be_bytes();
            let key = (IfaceId(0), IpAddr::from([10, 1, a, b]));
            rig.table
                .heard(key, MAC, Heard::Addressed, Tick::default(), &mut rig.events);
        }
        rig.events.clear();
        rig.want(1, 1, 0);
        assert_eq!(rig.words(), ["refuse 1 neighbour-table-full"]);
        assert_eq!(rig.table.len(), NEXT_HOPS_MAX);
    }

    #[test]
    fn a_scan_is_asked_for_up_to_a_limit_and_leaves_nothing_behind() {
        let mut rig = Rig::new();
        for n in 0..2_000_u16 {
            let [a, b] = n.to_be_bytes();
            let key = (IfaceId(0), IpAddr::from([10, 1, a, b]));
            rig.table
                .want(key, packet(1), Tick::default(), &mut rig.events);
        }
        let refused = rig
            .words()
            .iter()
            .filter(|w| w.ends_with("neighbour-queue-full"))
            .count();
        assert_eq!((rig.table.len(), refused), (ASKING_MAX, 2_000 - ASKING_MAX));
        for second in 1..=3 {
            rig.tick(second);
        }
        assert!(rig.table.is_empty());
        rig.words();
        rig.want(1, 7, 4);
        assert_eq!(rig.words(), ["ask"]);
    }

    #[test]
    fn an_interface_that_goes_takes_its_neighbours_and_their_packets_along() {
        let mut rig = Rig::new();
        rig.heard(1, MAC, Heard::Addressed, 0);
        rig.want(2, 7, 0);
        rig.words();
        rig.table.retain(|_| false, &mut rig.events);
        assert_eq!(rig.words(), ["gone", "refuse 7 neighbour-unreachable"]);
        assert!(rig.table.schedule.is_empty());
    }
}
