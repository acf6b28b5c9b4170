//! A connection on its way to the worker that is to own it.
//!
//! A connection lives where its reply arrives. The worker that received its first packet judges
//! it: every rule is asked and counted there, once. If the reply arrives at another worker, the
//! packet goes there with all that was decided, and that worker only enters the connection. What
//! the connection holds by then, an external port and a place in the steering map, travels along,
//! and is given back wherever the packet ends.

use turnpike_conntrack::table::NewConnection;
use turnpike_conntrack::tuple::{Family, V4, V6};

use crate::rules::Edits;
use crate::stages::counting::Counted;

/// A connection that was judged and is to be entered.
#[derive(Debug)]
pub struct Opening<F: Family> {
    /// The connection.
    pub new: NewConnection<F>,
    /// Whether a rule has fasttracked it.
    pub fasttrack: bool,
    /// Whether it goes out with whatever address the gateway has there.
    pub masqueraded: bool,
    /// Its mark.
    pub mark: u32,
    /// What rules change of the packet that opens it.
    pub edits: Edits,
    /// Whether a rule asks for its label.
    pub wants_label: bool,
    /// What rules have counted it for, if another worker is to enter it.
    pub counted: Option<Counted>,
}

/// An opening of either family.
#[derive(Debug)]
pub enum AnyOpening {
    /// Of IPv4.
    V4(Opening<V4>),
    /// Of IPv6.
    V6(Opening<V6>),
}
