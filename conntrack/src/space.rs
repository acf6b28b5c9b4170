//! One port space of an address: whose each port is, and which are free.
//!
//! For each port there is an owner word: the inside endpoint that the port belongs to and how many
//! connections use it. A bitmap of ports in use makes the search for a free one fast; it is only
//! a hint, the owner word decides. A free port remembers its last owner, so that the owner may find
//! it again.

use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::eim::Mappings;
use crate::ports::Sharing;

/// The ports of a space.
pub(crate) const PORTS: usize = 1 << 16;
const WORDS: usize = PORTS / 64;
/// The bits of an owner word that count connections.
const COUNT: u64 = 0x7fff;
/// The count of a port that exactly one connection may use.
const ALONE: u64 = COUNT;
/// The bit of an owner word that says that the port is its owner's towards everybody.
const MAPPED: u64 = 0x8000;

/// Which ports a search may give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Parity {
    Any,
    /// Even or odd like this port.
    Like(u16),
}

impl Parity {
    fn mask(self) -> u64 {
        const EVEN: u64 = 0x5555_5555_5555_5555;
        match self {
            Self::Any => u64::MAX,
            Self::Like(port) if port % 2 == 0 => EVEN,
            Self::Like(_) => !EVEN,
        }
    }
}

/// One port space: 520 KiB, taken when its first port is.
#[derive(Debug)]
pub(crate) struct Space {
    /// One bit per port in use.
    used: Box<[AtomicU64]>,
    /// The inside endpoint in the high 48 bits, [`MAPPED`], and the count in the low 15.
    owners: Box<[AtomicU64]>,
    /// Which ports are whose towards everybody.
    mappings: OnceLock<Mappings>,
    /// Connections that found no port.
    exhausted: AtomicU64,
}

/// What an owner word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner(u64);

impl Owner {
    /// The inside endpoint, as 48 bits; zero if nobody ever had the port.
    pub(crate) const fn inside(self) -> u64 {
        self.0 >> 16
    }

    /// Whether no connection uses the port.
    pub(crate) const fn is_free(self) -> bool {
        self.0 & COUNT == 0
    }

    /// Whether the port is in use and its owner's towards everybody.
    pub(crate) const fn is_mapped(self) -> bool {
        self.0 & MAPPED != 0 && !self.is_free() && self.0 & COUNT != ALONE
    }

    /// The word with one more connection of `inside`, if it may have one.
    const fn claimed(self, inside: u64, sharing: Sharing) -> Option<Self> {
        let mine = self.inside() == inside;
        match sharing {
            Sharing::Exclusive if self.is_free() => Some(Self(inside << 16 | ALONE)),
            Sharing::Shared if self.is_free() => Some(Self(inside << 16 | 1)),
            Sharing::Shared if mine && self.0 & COUNT < ALONE - 1 => Some(Self(self.0 + 1)),
            Sharing::Shared | Sharing::Exclusive => None,
        }
    }
}

impl Space {
    pub(crate) fn new() -> Self {
        let zeros = |n| {
            std::iter::repeat_with(|| AtomicU64::new(0))
                .take(n)
                .collect()
        };
        Self {
            used: zeros(WORDS),
            owners: zeros(PORTS),
            mappings: OnceLock::new(),
            exhausted: AtomicU64::new(0),
        }
    }

    pub(crate) fn mappings(&self) -> &Mappings {
        self.mappings.get_or_init(Mappings::new)
    }

    /// Whose the port is.
    pub(crate) fn owner(&self, port: u16) -> Owner {
        Owner(self.owners[usize::from(port)].load(Ordering::SeqCst))
    }

    /// Makes a port its owner's towards everybody. The caller holds a claim on it.
    pub(crate) fn set_mapped(&self, port: u16) {
        self.owners[usize::from(port)].fetch_or(MAPPED, Ordering::SeqCst);
    }

    /// Makes a free port forget whose it was, unless it is taken meanwhile.
    pub(crate) fn forget(&self, port: u16, seen: Owner) -> bool {
        let owner = &self.owners[usize::from(port)];
        let forgotten = owner.compare_exchange(seen.0, 0, Ordering::SeqCst, Ordering::Relaxed);
        seen.is_free() && forgotten.is_ok()
    }

    /// One more connection on a mapped port of `inside`; false if it is no longer that.
    pub(crate) fn join(&self, port: u16, inside: u64) -> bool {
        let owner = &self.owners[usize::from(port)];
        let joined = owner.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |seen| {
            let seen = Owner(seen);
            let next = seen.claimed(inside, Sharing::Shared);
            next.filter(|_| seen.is_mapped()).map(|next| next.0)
        });
        joined.is_ok()
    }

    pub(crate) fn claim(&self, port: u16, inside: u64, sharing: Sharing) -> bool {
        let owner = &self.owners[usize::from(port)];
        let mut seen = owner.load(Ordering::Relaxed);
        loop {
            let Some(Owner(next)) = Owner(seen).claimed(inside, sharing) else {
                return false;
            };
            match owner.compare_exchange_weak(seen, next, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        if Owner(seen).is_free() {
            self.used[usize::from(port / 64)].fetch_or(bit(port), Ordering::Release);
        }
        true
    }

    /// How many connections use `port`; one that uses it alone counts as one.
    pub(crate) fn users(&self, port: u16) -> usize {
        match self.owner(port).0 & COUNT {
            ALONE => 1,
            count => usize::try_from(count).unwrap_or(0),
        }
    }

    /// How many ports are in use.
    pub(crate) fn in_use(&self) -> usize {
        let words = self.used.iter().map(|w| w.load(Ordering::Relaxed));
        words.map(|word| word.count_ones() as usize).sum()
    }

    /// Notes a connection that found no port.
    pub(crate) fn count_exhausted(&self) {
        self.exhausted.fetch_add(1, Ordering::Relaxed);
    }

    /// How many connections found no port.
    pub(crate) fn exhausted(&self) -> u64 {
        self.exhausted.load(Ordering::Relaxed)
    }

    /// Gives one use of `port` back. The bit is cleared before the port is, and set only by who
    /// took it, so a port in use is never left out of the bitmap for good.
    pub(crate) fn release(&self, port: u16) {
        let owner = &self.owners[usize::from(port)];
        let used = &self.used[usize::from(port / 64)];
        let mut seen = owner.load(Ordering::Relaxed);
        while !Owner(seen).is_free() {
            let last = matches!(seen & COUNT, 1 | ALONE);
            let next = if last { seen & !COUNT } else { seen - 1 };
            if last {
                used.fetch_and(!bit(port), Ordering::AcqRel);
            }
            match owner.compare_exchange(seen, next, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
            if last {
                used.fetch_or(bit(port), Ordering::AcqRel);
            }
        }
    }

    /// Offers free ports of `range` to `take`, cyclically from `start`, until it takes one or has
    /// refused `tries`.
    pub(crate) fn search(
        &self,
        range: &RangeInclusive<u16>,
        start: u16,
        parity: Parity,
        mut tries: usize,
        mut take: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        let start = if range.contains(&start) {
            start
        } else {
            *range.start()
        };
        let parts = [
            start..=*range.end(),
            *range.start()..=start.saturating_sub(1),
        ];
        let count = if start == *range.start() { 1 } else { 2 };
        for part in parts.iter().take(count) {
            for word in part.start() / 64..=part.end() / 64 {
                let used = self.used[usize::from(word)].load(Ordering::Relaxed);
                let mut free = !used & parity.mask() & within(word, part);
                while free != 0 {
                    let port = word * 64 + u16::try_from(free.trailing_zeros()).unwrap_or(0);
                    free &= free - 1;
                    if take(port) {
                        return Some(port);
                    }
                    tries = tries.saturating_sub(1);
                    if tries == 0 {
                        return None;
                    }
                }
            }
        }
        None
    }
}

fn bit(port: u16) -> u64 {
    1 << (port % 64)
}

/// The bits of bitmap word `word` whose ports lie in `range`.
fn within(word: u16, range: &RangeInclusive<u16>) -> u64 {
    let low = if *range.start() / 64 == word {
        u64::MAX << (range.start() % 64)
    } else {
        u64::MAX
    };
    let high = if *range.end() / 64 == word {
        u64::MAX >> (63 - range.end() % 64)
    } else {
        u64::MAX
    };
    low & high
}
