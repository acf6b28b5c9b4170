//! Which addresses and ports of a packet are meant, and what is told apart by them.

use std::fmt;

/// A set of a packet's addresses and ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowFields(u8);

impl FlowFields {
    /// The source address.
    pub const SRC_ADDRESS: Self = Self(1);
    /// The destination address.
    pub const DST_ADDRESS: Self = Self(2);
    /// The source port.
    pub const SRC_PORT: Self = Self(4);
    /// The destination port.
    pub const DST_PORT: Self = Self(8);

    /// These and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The sets that `per-connection-classifier` has words for.
    pub const CLASSIFIED: [(&'static str, Self); 9] = [
        ("src-address", Self::SRC_ADDRESS),
        ("dst-address", Self::DST_ADDRESS),
        ("both-addresses", Self::ADDRESSES),
        ("src-port", Self::SRC_PORT),
        ("dst-port", Self::DST_PORT),
        ("both-ports", Self::PORTS),
        ("src-address-and-port", Self::SOURCE),
        ("dst-address-and-port", Self::DESTINATION),
        (
            "both-addresses-and-ports",
            Self::ADDRESSES.with(Self::PORTS),
        ),
    ];

    /// The sets that `dst-limit` has words for.
    pub const LIMITED: [(&'static str, Self); 8] = [
        ("dst-address", Self::DST_ADDRESS),
        ("src-address", Self::SRC_ADDRESS),
        ("dst-port", Self::DST_PORT),
        ("src-port", Self::SRC_PORT),
        ("dst-address-and-port", Self::DESTINATION),
        ("src-address-and-port", Self::SOURCE),
        ("src-and-dst-addresses", Self::ADDRESSES),
        (
            "addresses-and-dst-port",
            Self::ADDRESSES.with(Self::DST_PORT),
        ),
    ];

    const ADDRESSES: Self = Self::SRC_ADDRESS.with(Self::DST_ADDRESS);
    const PORTS: Self = Self::SRC_PORT.with(Self::DST_PORT);
    const SOURCE: Self = Self::SRC_ADDRESS.with(Self::SRC_PORT);
    const DESTINATION: Self = Self::DST_ADDRESS.with(Self::DST_PORT);

    /// The word of `dst-limit` for it.
    pub(super) fn limited(self) -> &'static str {
        self.word(&Self::LIMITED)
    }

    /// Its word among `words`.
    fn word(self, words: &[(&'static str, Self)]) -> &'static str {
        let known = words.iter().find(|(_, fields)| *fields == self);
        known.map_or("?", |(word, _)| word)
    }
}

/// `per-connection-classifier`: those flows whose fields, hashed and divided by the denominator,
/// leave this remainder.
///
/// What a packet lacks, a port say, is zero. Where both ends are asked for, it makes no difference
/// which is which, so both directions of a connection that is not translated are classified alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Classifier {
    /// What is hashed.
    pub fields: FlowFields,
    /// Into how many classes; not zero.
    pub denominator: u32,
    /// Which of them, from zero.
    pub remainder: u32,
}

impl fmt::Display for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.fields.word(&FlowFields::CLASSIFIED);
        write!(f, "{fields}:{}/{}", self.denominator, self.remainder)
    }
}
