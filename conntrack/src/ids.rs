//! Small identifiers that cross crates.

use std::num::{NonZeroU8, NonZeroU16};

/// A worker: one pinned core, one flow shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WorkerId(pub u8);

/// The most workers one gateway can have.
pub const WORKERS_MAX: usize = 64;

/// A program generation: which compiled rule set judged something. Zero means "never judged".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u32);

/// A connection's place in its shard's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u32);

/// A protocol helper's number; the `helpers` crate gives the numbers their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HelperId(NonZeroU8);

impl HelperId {
    /// The helper with this number; zero is none.
    pub const fn new(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0.get()
    }
}

/// The most layer-7 labels that ever have a number.
pub const LABELS_MAX: usize = 16_384;

/// A layer-7 label's number: which protocol the payload was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelId(NonZeroU16);

impl LabelId {
    /// The label with this number; zero is none, and so is one above [`LABELS_MAX`].
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) if (number.get() as usize) <= LABELS_MAX => Some(Self(number)),
            Some(_) | None => None,
        }
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0.get()
    }
}

/// Which of a connection's two flows a packet belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Direction {
    /// From the side that opened the connection.
    Original = 0,
    /// Towards the side that opened the connection.
    Reply = 1,
}

impl Direction {
    /// The other direction.
    pub const fn flip(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }

    /// 0 for original, 1 for reply.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// One flow of a connection: what a lookup by tuple finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowRef {
    /// The connection.
    pub id: FlowId,
    /// Which of its two tuples was found.
    pub direction: Direction,
}

/// The connection states a rule can ask for, under RouterOS's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ConnState {
    /// The first direction only has been seen so far.
    New = 0,
    /// Both directions have been seen.
    Established = 1,
    /// Opened by, or an error about, another connection.
    Related = 2,
    /// Fits no connection and may not open one.
    Invalid = 3,
    /// Taken out of tracking by a raw rule, or tracking is off.
    Untracked = 4,
}

impl ConnState {
    /// Every state, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::New,
        Self::Established,
        Self::Related,
        Self::Invalid,
        Self::Untracked,
    ];

    /// RouterOS's word for this state.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Established => "established",
            Self::Related => "related",
            Self::Invalid => "invalid",
            Self::Untracked => "untracked",
        }
    }
}
