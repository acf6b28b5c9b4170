//! `routes`: static routes of both families.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use turnpike_pipeline::ids::{IfaceId, RoutingTableId};
use turnpike_pipeline::policy::{Interface, Route, Via};

use super::address::{Prefix, family_of};
use super::names::Names;
use super::section::{Keys, Section, scalar, sequence, word};
use super::value::{Switch, Text, choice};
use crate::problem::{Problems, Span};
use crate::yaml::Node;

/// The most static routes.
pub const ROUTES_MAX: usize = 65_536;

const ROUTE: Keys = Keys {
    of: "a route",
    known: &[
        "dst-address",
        "gateway",
        "type",
        "routing-table",
        "comment",
        "disabled",
    ],
    later: &[
        "distance",
        "pref-src",
        "check-gateway",
        "scope",
        "target-scope",
    ],
    elsewhere: &[],
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unicast,
    Unreachable,
    Blackhole,
}

const KINDS: &[(&str, Kind)] = &[
    ("unicast", Kind::Unicast),
    ("unreachable", Kind::Unreachable),
    ("blackhole", Kind::Blackhole),
];

/// Reads `routes:`.
pub fn decode(
    node: Option<&Node>,
    interfaces: &[Interface],
    names: &Names,
    problems: &mut Problems,
) -> Vec<(RoutingTableId, Route)> {
    let Some(list) = node.and_then(|n| sequence(n, "routes", problems)) else {
        return Vec::new();
    };
    if let Some(node) = list.get(ROUTES_MAX) {
        problems.error(node.span, format!("more than {ROUTES_MAX} routes"));
    }
    let mut seen: HashMap<(RoutingTableId, IpNet), u32> = HashMap::new();
    let mut routes = Vec::new();
    for node in list.iter().take(ROUTES_MAX) {
        let Some((table, route, span)) = one(node, interfaces, names, problems) else {
            continue;
        };
        if let Some(line) = seen.insert((table, route.destination), span.line) {
            problems.error(
                span,
                format!(
                    "a route to {} is written on line {line} already; keep one",
                    route.destination
                ),
            );
        }
        routes.push((table, route));
    }
    routes
}

/// One route, `None` if it is wrong or disabled.
fn one(
    node: &Node,
    interfaces: &[Interface],
    names: &Names,
    problems: &mut Problems,
) -> Option<(RoutingTableId, Route, Span)> {
    let section = Section::open(node, &ROUTE, problems)?;
    section.read("comment", problems, word::<Text>);
    let disabled = section.read("disabled", problems, word::<Switch>);
    let kind = section.read("type", problems, |n, problems| {
        let text = &scalar(n, problems)?.text;
        super::section::or_report(choice(text, "a type of route", KINDS), n.span, problems)
    });
    let kind = if section.field("type").is_some() {
        kind
    } else {
        Some(Kind::Unicast)
    };
    let destination_node = section.required("dst-address", "0.0.0.0/0", problems);
    let destination = destination_node.and_then(|n| word::<Prefix>(n, problems));
    let via = match (kind?, section.field("gateway")) {
        (Kind::Unicast, None) => {
            section.required("gateway", "192.0.2.1", problems);
            None
        }
        (Kind::Unicast, Some(gateway)) => {
            let resolver = Resolver { interfaces, names };
            resolver.via(gateway, destination.map(|d| d.0), problems)
        }
        (Kind::Unreachable | Kind::Blackhole, Some(gateway)) => {
            problems.error(
                gateway.span,
                "a route that leads nowhere has no gateway; remove `gateway` or `type`",
            );
            None
        }
        (Kind::Unreachable, None) => Some(Via::Unreachable),
        (Kind::Blackhole, None) => Some(Via::Blackhole),
    };
    let table = match section.field("routing-table") {
        Some(node) => names.routing_table(&scalar(node, problems)?.text, node.span, problems)?,
        None => RoutingTableId::MAIN,
    };
    let route = Route {
        destination: destination?.0,
        via: via?,
    };
    let written = disabled != Some(Switch::On);
    let span = destination_node.map_or(node.span, |n| n.span);
    written.then_some((table, route, span))
}

struct Resolver<'a> {
    interfaces: &'a [Interface],
    names: &'a Names,
}

impl Resolver<'_> {
    /// `192.0.2.1`, `fe80::1%wan` or `wan`.
    fn via(&self, node: &Node, to: Option<IpNet>, problems: &mut Problems) -> Option<Via> {
        let text = &scalar(node, problems)?.text;
        let span = node.span;
        let (address, interface) = match text.split_once('%') {
            Some((address, name)) => (address, Some(name)),
            None => (text.as_str(), None),
        };
        let Ok(gateway) = address.parse::<IpAddr>() else {
            if interface.is_some() {
                problems.error(
                    span,
                    format!("`{address}` is not an address; write, for example, fe80::1%wan"),
                );
                return None;
            }
            return self.interface_route(text, span, problems);
        };
        if let Some(to) = to
            && family_of(to.addr()) != family_of(gateway)
        {
            problems.error(
                span,
                format!("the gateway {gateway} and {to} are of different families"),
            );
            return None;
        }
        if self.owner(gateway).is_some() {
            problems.error(
                span,
                format!("{gateway} is the gateway's own address; write that of the next router"),
            );
            return None;
        }
        let on = match interface {
            Some(name) => Some(self.names.interface(name, span, problems)?),
            None => self.link(gateway),
        };
        if on.is_none() {
            problems.error(
                span,
                format!(
                    "{gateway} is on no link of this gateway; write a router on a connected \
                     prefix, or name the interface: {gateway}%wan"
                ),
            );
        }
        on.map(|iface| Via::Gateway(iface, gateway))
    }

    fn interface_route(&self, text: &str, span: Span, problems: &mut Problems) -> Option<Via> {
        if self.names.interfaces.iter().any(|n| n == text) {
            return self
                .names
                .interface(text, span, problems)
                .map(Via::Interface);
        }
        problems.error(
            span,
            format!(
                "`{text}` is neither an address nor an interface; write, for example, 192.0.2.1, \
                 fe80::1%wan or wan"
            ),
        );
        None
    }

    fn owner(&self, ip: IpAddr) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|i| i.addresses.iter().any(|net| net.addr() == ip))
    }

    /// The interface with the longest connected prefix that holds `ip`.
    fn link(&self, ip: IpAddr) -> Option<IfaceId> {
        let connected = self
            .interfaces
            .iter()
            .enumerate()
            .flat_map(|(index, i)| i.addresses.iter().map(move |net| (index, net)));
        connected
            .filter(|(_, net)| net.contains(&ip) && net.prefix_len() < net.max_prefix_len())
            .max_by_key(|(_, net)| net.prefix_len())
            .and_then(|(index, _)| u16::try_from(index).ok())
            .map(IfaceId)
    }
}
