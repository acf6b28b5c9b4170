//! What a rule asks of the label of a packet's connection.

use std::sync::Arc;

use turnpike_helpers::layer7::Pattern;

use crate::ids::Layer7Id;

/// A protocol that connections are looked through for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer7Protocol {
    /// Its name.
    pub name: String,
    /// What it looks like.
    pub pattern: Pattern,
    /// The comment, empty when there is none.
    pub comment: Arc<str>,
}

/// `p2p`: one of several protocols.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerToPeer {
    /// The group's name.
    pub group: &'static str,
    /// Its protocols, as far as the configuration has them.
    pub protocols: Box<[Layer7Id]>,
}

/// `layer7-fail`: what a rule makes of a connection that there was no room to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layer7Fail {
    /// `open`: the rule does not stop it. One that refuses does not match, any other does.
    Open,
    /// `closed`: the rule does not let it through. One that refuses matches, no other does.
    Closed,
}

impl Layer7Fail {
    /// The word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}
