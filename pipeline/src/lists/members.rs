//! Members of address lists that come and go while the gateway runs.
//!
//! One table for all lists and workers, of fixed size, without locks. What rules, operators and
//! the resolver add is found by every worker before `add` returns, and is gone at the millisecond
//! of its deadline, whenever its place is reclaimed. A member is a prefix; those of one prefix lie
//! together whatever their lists, so that one look tells in which lists an address is. Lengths of
//! prefixes that nobody ever added are not looked for: usually there are single addresses only.
//!
//! Two workers that add the same member at once may each make one. They count as one.
//! When there is no room, nothing is added and the caller is told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::time::Duration;

use arrayvec::ArrayVec;
use ipnet::IpNet;
use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::time::Tick;

use super::slots::{DEAD, Head, Home, NEVER, Slots, WORDS};
use crate::policy::ListTimeout;

/// Members there is room for; beyond about half of them, a home may be full before the table is.
pub const MEMBERS_MAX: usize = 1 << 18;

/// How often a change is tried that others are faster at.
const TRIES_MAX: usize = 64;
/// The most lists that one address is told to be in.
const LISTS_OF_ADDRESS_MAX: usize = 64;

/// A member of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The number of its list.
    pub list: u32,
    /// Which addresses it is.
    pub prefix: IpNet,
    /// When it came.
    pub created: Tick,
    /// When it goes; `None` if only somebody takes it away.
    pub deadline: Option<Tick>,
    /// What brought it.
    pub kind: MemberKind,
    /// The number of the note about it, zero for none.
    pub note: u32,
}

/// What brought a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    /// It has a timeout, or a rule added it, or it was resolved: flag D.
    Dynamic,
    /// An operator, or a rule that says `none-static`, means it to stay.
    Static,
}

/// How an addition went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It was not there.
    New,
    /// It was, and has a new deadline.
    Refreshed,
    /// It was, to stay, and stays.
    Kept,
}

/// There is no room for another member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MembersFull;

/// What is to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewMember {
    /// The number of its list.
    pub list: u32,
    /// Which addresses it is.
    pub prefix: IpNet,
    /// How long it stays.
    pub timeout: ListTimeout,
    /// The number of a note about it, zero for none.
    pub note: u32,
}

/// The members of all lists.
#[derive(Debug)]
pub struct Members {
    slots: Slots,
    live: AtomicUsize,
    /// Which prefix lengths were ever added: one bit each, IPv4 in the first word.
    lengths: [AtomicU64; 4],
}

/// A member's name in words, and where it lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    words: [u64; 3],
    home: Home,
}

impl Members {
    /// An empty table with `slots` places.
    pub fn new(slots: usize, key: HashKey) -> Self {
        Self {
            slots: Slots::new(slots, key),
            live: AtomicUsize::new(0),
            lengths: Default::default(),
        }
    }

    /// A table of its own with the members of `now`.
    pub fn apart(&self, now: Tick) -> Self {
        let copy = Self::new(self.slots.len(), self.key());
        for member in self.iter(now) {
            let timeout = match (member.deadline, member.kind) {
                (Some(deadline), _) => ListTimeout::For(deadline.since(now)),
                (None, MemberKind::Dynamic) => ListTimeout::NoneDynamic,
                (None, MemberKind::Static) => ListTimeout::NoneStatic,
            };
            let new = NewMember {
                list: member.list,
                prefix: member.prefix,
                timeout,
                note: member.note,
            };
            // There is as much room here as there.
            let _ = copy.add(&new, now);
        }
        copy
    }

    /// Whether it has no place at all.
    pub fn is_nothing(&self) -> bool {
        self.slots.len() == 0
    }

    /// The key that its places are hashed under.
    pub fn key(&self) -> HashKey {
        *self.slots.key()
    }

    /// How many places are taken, by members that have expired too.
    pub fn taken(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Adds a member, or gives the one that is there another deadline. One that never expires
    /// stays as it is.
    pub fn add(&self, new: &NewMember, now: Tick) -> Result<Added, MembersFull> {
        if self.is_nothing() {
            return Err(MembersFull);
        }
        let place = self.place(new.list, new.prefix);
        let (deadline, kind) = match new.timeout {
            ListTimeout::For(timeout) => (deadline(now, timeout), MemberKind::Dynamic),
            ListTimeout::NoneDynamic => (NEVER, MemberKind::Dynamic),
            ListTimeout::NoneStatic => (NEVER, MemberKind::Static),
        };
        let now_ms = now.as_millis();
        for _ in 0..TRIES_MAX {
            if let Some(added) = self.refresh(&place, deadline, now_ms) {
                return Ok(added);
            }
            let (at, head) = self.room(place.home, now_ms).ok_or(MembersFull)?;
            if !self.slots.seize(at, head) {
                continue;
            }
            if head.is_free() {
                self.live.fetch_add(1, Ordering::Relaxed);
            }
            self.note_length(new.prefix);
            let [high, low, name] = place.words;
            let words = [high, low, name, now.as_micros(), origin(kind, new.note)];
            self.slots
                .publish((at, head), place.home.print, &words, deadline);
            // Before the packet that brought it leaves: no answer finds a worker that does not
            // find the member.
            fence(Ordering::SeqCst);
            return Ok(Added::New);
        }
        Err(MembersFull)
    }

    /// Takes a member away; whether it was there.
    pub fn remove(&self, list: u32, prefix: IpNet, now: Tick) -> bool {
        if self.is_nothing() {
            return false;
        }
        let place = self.place(list, prefix);
        let mut was_there = false;
        for at in Slots::places(place.home) {
            for _ in 0..TRIES_MAX {
                let Some((head, deadline)) = self.found(at, &place) else {
                    break;
                };
                if self.reclaim(at, head, deadline) {
                    was_there |= now.as_millis() < deadline;
                    break;
                }
            }
        }
        fence(Ordering::SeqCst);
        was_there
    }

    /// Whether an address is in a list.
    pub fn contains(&self, list: u32, ip: IpAddr, now: Tick) -> bool {
        self.each_of(ip, now, |of| {
            if of == list {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .is_break()
    }

    /// A number that says in which lists an address is: zero for none, the same one for the same
    /// lists. `None` if they are too many to tell.
    pub fn lists_of(&self, ip: IpAddr, now: Tick) -> Option<u64> {
        let mut lists = ArrayVec::<u32, LISTS_OF_ADDRESS_MAX>::new();
        let all_told = self.each_of(ip, now, |list| {
            if !lists.contains(&list) && lists.try_push(list).is_err() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        // Zero is for none.
        let number = |list: &u32| self.slots.key().words(u64::from(*list), 1).max(1);
        all_told.is_continue().then(|| {
            let each = lists.iter().map(number);
            each.fold(0, u64::wrapping_add)
        })
    }

    /// Every member that has not expired. One that two workers have made may come twice.
    pub fn iter(&self, now: Tick) -> impl Iterator<Item = Member> {
        let now_ms = now.as_millis();
        (0..self.slots.len()).filter_map(move |at| {
            let head = Some(self.slots.head(at)).filter(|head| head.is_taken())?;
            let (words, deadline) = self.slots.read(at, head)?;
            (now_ms < deadline).then(|| member(&words, deadline))?
        })
    }

    /// Gives back the places of members that have expired, or whose list `keeps` does not know;
    /// looks at `budget` places from `from` on and returns where to go on.
    pub fn sweep(
        &self,
        from: usize,
        budget: usize,
        now: Tick,
        keeps: impl Fn(u32) -> bool,
    ) -> usize {
        if self.taken() == 0 {
            return from;
        }
        let slots = self.slots.len();
        for at in (0..budget.min(slots)).map(|n| (from + n) % slots) {
            let head = self.slots.head(at);
            if !head.is_taken() {
                continue;
            }
            if let Some((words, deadline)) = self.slots.read(at, head)
                && (deadline <= now.as_millis() || !keeps(list_of(words[2])))
            {
                self.reclaim(at, head, deadline);
            }
        }
        (from + budget) % slots
    }

    /// Tells each list that `ip` is in, perhaps more than once.
    fn each_of(
        &self,
        ip: IpAddr,
        now: Tick,
        mut tell: impl FnMut(u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if self.taken() == 0 {
            return ControlFlow::Continue(());
        }
        for length in self.lengths(ip) {
            let Ok(prefix) = IpNet::new(ip, length) else {
                continue;
            };
            let wanted = self.place(0, prefix.trunc());
            for at in Slots::places(wanted.home) {
                let head = self.slots.head(at);
                if !head.is_taken() || !head.has_print(wanted.home.print) {
                    continue;
                }
                let Some((words, deadline)) = self.slots.read(at, head) else {
                    continue;
                };
                let [high, low, name, ..] = words;
                let same = [high, low, without_list(name)] == wanted.words;
                if same && now.as_millis() < deadline {
                    tell(list_of(name))?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn place(&self, list: u32, prefix: IpNet) -> Place {
        let (bits, version) = match prefix {
            IpNet::V4(p) => (u128::from(p.network().to_bits()), 4),
            IpNet::V6(p) => (p.network().to_bits(), 6),
        };
        let length = u64::from(prefix.prefix_len()) << 8 | version;
        let [high, low] = [bits >> 64, bits & u128::from(u64::MAX)].map(half);
        Place {
            words: [high, low, u64::from(list) << 32 | length],
            home: self.slots.home([high, low, length]),
        }
    }

    /// The head and the deadline of the member at `at`, if it is this one.
    fn found(&self, at: usize, place: &Place) -> Option<(Head, u64)> {
        let head = self.slots.head(at);
        if !head.is_taken() || !head.has_print(place.home.print) {
            return None;
        }
        let ([high, low, name, ..], deadline) = self.slots.read(at, head)?;
        ([high, low, name] == place.words && deadline != DEAD).then_some((head, deadline))
    }

    /// Gives a member that is there, and has not expired, another deadline.
    fn refresh(&self, place: &Place, to: u64, now_ms: u64) -> Option<Added> {
        let mut done = None;
        for at in Slots::places(place.home) {
            for _ in 0..TRIES_MAX {
                let Some((head, from)) = self.found(at, place) else {
                    break;
                };
                if from <= now_ms {
                    break;
                }
                if from == NEVER {
                    done = Some(Added::Kept);
                    break;
                }
                if self.slots.set_deadline(at, head, from, to) {
                    done = done.or(Some(Added::Refreshed));
                    break;
                }
            }
        }
        done
    }

    /// A place of a home that is free, or whose member has expired.
    fn room(&self, home: Home, now_ms: u64) -> Option<(usize, Head)> {
        let mut places = Slots::places(home).map(|at| (at, self.slots.head(at)));
        let free = places.clone().find(|(_, head)| head.is_free());
        free.or_else(|| {
            places.find(|(at, head)| {
                head.is_taken()
                    && self.slots.read(*at, *head).is_some_and(|(_, deadline)| {
                        deadline <= now_ms && self.kill(*at, *head, deadline)
                    })
            })
        })
    }

    /// Says that nobody is to give a member another deadline; whether it had this one.
    fn kill(&self, at: usize, head: Head, deadline: u64) -> bool {
        deadline == DEAD || self.slots.set_deadline(at, head, deadline, DEAD)
    }

    /// Frees the place of a member, unless it has another deadline by now.
    fn reclaim(&self, at: usize, head: Head, deadline: u64) -> bool {
        if !self.kill(at, head, deadline) {
            return false;
        }
        if self.slots.seize(at, head) {
            self.slots.free(at, head);
            self.live.fetch_sub(1, Ordering::Relaxed);
        }
        true
    }

    fn note_length(&self, prefix: IpNet) {
        let (word, bit) = length_bit(prefix);
        let word = &self.lengths[word];
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::SeqCst);
        }
    }

    /// The prefix lengths that an address may be a member by.
    fn lengths(&self, ip: IpAddr) -> impl Iterator<Item = u8> {
        let words = match ip {
            IpAddr::V4(_) => 0..1,
            IpAddr::V6(_) => 1..4,
        };
        let first = words.start;
        words.flat_map(move |word| {
            let mut left = self.lengths[word].load(Ordering::Relaxed);
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                (left != 0).then(|| {
                    left &= left - 1;
                    u8::try_from((word - first) * 64).unwrap_or(0) + u8::try_from(bit).unwrap_or(0)
                })
            })
        })
    }
}

/// The word and the bit of a prefix length.
fn length_bit(prefix: IpNet) -> (usize, u64) {
    let length = usize::from(prefix.prefix_len());
    match prefix {
        IpNet::V4(_) => (0, 1 << length),
        IpNet::V6(_) => (1 + length / 64, 1 << (length % 64)),
    }
}

/// The last millisecond in which it is there, and one.
fn deadline(now: Tick, timeout: Duration) -> u64 {
    now.after(timeout).as_millis().clamp(DEAD + 1, NEVER - 1)
}

/// The low half of a number that has no other.
fn half(wide: u128) -> u64 {
    u64::try_from(wide).unwrap_or(u64::MAX)
}

fn list_of(name: u64) -> u32 {
    u32::try_from(name >> 32).unwrap_or(u32::MAX)
}

const fn without_list(name: u64) -> u64 {
    name & 0xffff_ffff
}

fn origin(kind: MemberKind, note: u32) -> u64 {
    let kind = match kind {
        MemberKind::Dynamic => 0,
        MemberKind::Static => 1,
    };
    kind << 32 | u64::from(note)
}

/// A member from its words.
fn member(words: &[u64; WORDS], deadline: u64) -> Option<Member> {
    let [high, low, name, created, origin] = *words;
    let address = match name & 0xff {
        4 => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(low).ok()?)),
        _ => IpAddr::V6(Ipv6Addr::from_bits(
            u128::from(high) << 64 | u128::from(low),
        )),
    };
    let length = u8::try_from(name >> 8 & 0xff).ok()?;
    Some(Member {
        list: list_of(name),
        prefix: IpNet::new(address, length).ok()?,
        created: Tick::from_micros(created),
        deadline: (deadline != NEVER).then(|| Tick::from_millis(deadline)),
        kind: if origin >> 32 == 0 {
            MemberKind::Dynamic
        } else {
            MemberKind::Static
        },
        note: u32::try_from(origin & 0xffff_ffff).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests;
