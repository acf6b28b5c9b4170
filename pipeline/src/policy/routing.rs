//! Policy routing: tables beside the main one, and the rules that say which one is asked.

use ipnet::IpNet;

use super::Route;
use crate::ids::{IfaceId, MarkId, RoutingTableId};

/// What there is beside the main routing table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routing {
    /// Tables; a [`RoutingTableId`] from one on is an index here, less one.
    pub tables: Vec<RoutingTable>,
    /// Rules, in the order in which they are asked.
    pub rules: Vec<RoutingRule>,
}

/// A routing table beside the main one: static routes alone, no connected prefix is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoutingTable {
    /// Its name, which is also the routing mark of packets that are to ask it.
    pub name: String,
    /// Its routes.
    pub routes: Vec<Route>,
}

/// What a packet has to be like, and how its way is found then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingRule {
    /// `src-address`.
    pub src_address: Option<IpNet>,
    /// `dst-address`.
    pub dst_address: Option<IpNet>,
    /// `routing-mark`.
    pub routing_mark: Option<MarkId>,
    /// `interface`: the one it came in by.
    pub interface: Option<IfaceId>,
    /// What is done.
    pub action: RoutingAction,
}

/// How the way of a packet is found that a routing rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoutingAction {
    /// `lookup`: by this table, and if that has no route, by what comes behind the rule.
    Lookup(RoutingTableId),
    /// `lookup-only-in-table`: by this table; if that has no route, there is none.
    LookupOnly(RoutingTableId),
    /// `drop`: it has none, and nobody is told.
    Drop,
    /// `unreachable`: it has none, and its sender is told.
    Unreachable,
}
