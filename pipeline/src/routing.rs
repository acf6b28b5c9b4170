//! Policy routing: by which table the way of a packet is found.
//!
//! What is the gateway's own is found first, whatever marks and rules say, and so is what has a
//! meaning on one link only. Then the router that a `route` rule of mangle named is taken. Then, as
//! in RouterOS 7, the table that has the name of the packet's routing mark is asked; if it has no
//! route, the routing rules in their order; and the main table last. Connected prefixes are in the
//! main table alone.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::fib::{Fib, NextHop};
use crate::ids::{IfaceId, RoutingTableId};
use crate::policy::{self, RoutingAction};
use crate::rules::marks::MarkNumbers;

/// The name of the table that is asked if nothing else is said.
pub const MAIN: &str = "main";

/// The tables beside the main one, and the rules that choose between them.
#[derive(Debug, Clone, Default)]
pub struct Routing {
    tables: Box<[Table]>,
    rules: Box<[Rule]>,
    /// By the number of a mark, from zero, which is none.
    by_mark: Box<[Option<RoutingTableId>]>,
}

#[derive(Debug, Clone)]
struct Table {
    name: Box<str>,
    fib: Fib,
}

#[derive(Debug, Clone)]
struct Rule {
    src: Option<IpNet>,
    dst: Option<IpNet>,
    mark: Option<u32>,
    interface: Option<IfaceId>,
    action: RoutingAction,
}

/// A packet whose way is sought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sought {
    /// Its source, as it came.
    pub source: IpAddr,
    /// Its destination, translated if it is.
    pub destination: IpAddr,
    /// Where it came in; `None` for the gateway's own.
    pub in_interface: Option<IfaceId>,
    /// Its routing mark, as a number; zero is none.
    pub mark: u32,
    /// The router that a rule of mangle hands it to.
    pub router: Option<IpAddr>,
}

/// Where a packet goes next, and by which table that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Where it goes; `None` if no table has a route.
    pub hop: Option<NextHop>,
    /// The table; the main one for what no table decided.
    pub table: RoutingTableId,
}

impl Routing {
    /// The tables and rules of a policy; `marks` are the numbers of its marks.
    pub fn build(routing: &policy::Routing, marks: &MarkNumbers) -> Self {
        let tables = routing.tables.iter().map(|table| Table {
            name: table.name.as_str().into(),
            fib: Fib::of_routes(&table.routes),
        });
        let rules = routing.rules.iter().map(|rule| Rule {
            src: rule.src_address,
            dst: rule.dst_address,
            mark: rule.routing_mark.map(|mark| marks.number(Some(mark))),
            interface: rule.interface,
            action: rule.action,
        });
        let names = routing.tables.iter().map(|table| table.name.as_str());
        let mut by_mark = Vec::new();
        for (name, id) in std::iter::once(MAIN).chain(names).zip(0..) {
            let number = marks.named(name).and_then(|n| usize::try_from(n).ok());
            let Some(number) = number else {
                continue;
            };
            if by_mark.len() <= number {
                by_mark.resize(number + 1, None);
            }
            if let Some(place) = by_mark.get_mut(number) {
                *place = Some(RoutingTableId(id));
            }
        }
        Self {
            tables: tables.collect(),
            rules: rules.collect(),
            by_mark: by_mark.into(),
        }
    }

    /// The name of a table; `None` if there is no such table.
    pub fn name(&self, id: RoutingTableId) -> Option<&str> {
        match id.0.checked_sub(1) {
            None => Some(MAIN),
            Some(index) => self.tables.get(usize::from(index)).map(|t| &*t.name),
        }
    }

    /// Where packets for an address may go, by the one table or another; the main one's first.
    pub fn ways<'a>(&'a self, main: &Fib, to: IpAddr) -> impl Iterator<Item = NextHop> + use<'a> {
        let by_main = main.lookup(to);
        let is_own = matches!(by_main, Some(NextHop::Local | NextHop::Broadcast(_)));
        let others = if is_own || is_link_local(to) {
            &[][..]
        } else {
            &self.tables
        };
        let others = others.iter().filter_map(move |t| t.fib.lookup(to));
        by_main.into_iter().chain(others)
    }

    /// Finds the way of a packet; `main` is the main table.
    pub fn find(&self, main: &Fib, sought: &Sought) -> Found {
        let by_main = Found {
            hop: main.lookup(sought.destination),
            table: RoutingTableId::MAIN,
        };
        let is_own = matches!(by_main.hop, Some(NextHop::Local | NextHop::Broadcast(_)));
        if is_own || is_link_local(sought.destination) {
            return by_main;
        }
        if let Some(router) = sought.router {
            return Found {
                hop: router_on_link(main, router),
                table: RoutingTableId::MAIN,
            };
        }
        let table = usize::try_from(sought.mark)
            .ok()
            .and_then(|number| *self.by_mark.get(number)?);
        if let Some(found) = table.and_then(|table| self.by_table(table, by_main, sought)) {
            return found;
        }
        let mut matching = self.rules.iter().filter(|rule| rule.matches(sought));
        let decided = matching.find_map(|rule| match rule.action {
            RoutingAction::Lookup(table) => self.by_table(table, by_main, sought),
            RoutingAction::LookupOnly(table) => {
                let found = self.by_table(table, by_main, sought);
                Some(found.unwrap_or(Found { hop: None, table }))
            }
            RoutingAction::Drop => Some(Found {
                hop: Some(NextHop::Blackhole),
                ..by_main
            }),
            RoutingAction::Unreachable => Some(Found {
                hop: Some(NextHop::Unreachable),
                ..by_main
            }),
        });
        decided.unwrap_or(by_main)
    }

    /// The way by one table, if that has one.
    fn by_table(&self, table: RoutingTableId, by_main: Found, sought: &Sought) -> Option<Found> {
        let hop = match table.0.checked_sub(1) {
            None => by_main.hop,
            Some(index) => {
                let table = self.tables.get(usize::from(index))?;
                table.fib.lookup(sought.destination)
            }
        };
        hop.map(|hop| Found {
            hop: Some(hop),
            table,
        })
    }
}

impl Rule {
    fn matches(&self, sought: &Sought) -> bool {
        self.src.is_none_or(|net| net.contains(&sought.source))
            && self.dst.is_none_or(|net| net.contains(&sought.destination))
            && self.mark.is_none_or(|mark| mark == sought.mark)
            && self
                .interface
                .is_none_or(|iface| sought.in_interface == Some(iface))
    }
}

/// The way to a router, which has to be on a link of the gateway's.
fn router_on_link(main: &Fib, router: IpAddr) -> Option<NextHop> {
    match main.lookup(router) {
        Some(NextHop::Neighbour {
            iface,
            gateway: None,
        }) => Some(NextHop::Neighbour {
            iface,
            gateway: Some(router),
        }),
        Some(
            NextHop::Neighbour { .. }
            | NextHop::Local
            | NextHop::Broadcast(_)
            | NextHop::Unreachable
            | NextHop::Blackhole,
        )
        | None => None,
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::MarkId;
    use crate::policy::{Policy, Route, RoutingRule, RoutingTable, Via};
    use crate::program::Program;
    use crate::testing::{compile, compile_after, gateway, ip};

    const GUEST: IfaceId = IfaceId(2);
    const A: RoutingTableId = RoutingTableId(1);
    const B: RoutingTableId = RoutingTableId(2);

    fn route(destination: &str, via: Via) -> Route {
        Route {
            destination: destination.parse().unwrap(),
            via,
        }
    }

    fn by(last: u8) -> Via {
        Via::Gateway(GUEST, IpAddr::from([10, 20, 0, last]))
    }

    /// Table `a` has a default route by 10.20.0.2, `b` one to 10/8 by 10.20.0.3; the main table has
    /// one by 203.0.113.1. The marks are `a`, `b`, `main` and `other`.
    fn policy(rules: Vec<RoutingRule>) -> Policy {
        let table = |name: &str, route| RoutingTable {
            name: name.to_owned(),
            routes: vec![route],
        };
        Policy {
            marks: ["a", "b", "main", "other"].map(str::to_owned).to_vec(),
            routing: policy::Routing {
                tables: vec![
                    table("a", route("0.0.0.0/0", by(2))),
                    table("b", route("10.0.0.0/8", by(3))),
                ],
                rules,
            },
            ..gateway()
        }
    }

    fn rule(action: RoutingAction) -> RoutingRule {
        RoutingRule {
            src_address: None,
            dst_address: None,
            routing_mark: None,
            interface: None,
            action,
        }
    }

    fn to(destination: &str) -> Sought {
        Sought {
            source: ip("192.168.88.10"),
            destination: ip(destination),
            in_interface: Some(IfaceId(0)),
            mark: 0,
            router: None,
        }
    }

    fn marked(destination: &str, mark: u16, program: &Program) -> Sought {
        Sought {
            mark: program.marks.number(Some(MarkId(mark))),
            ..to(destination)
        }
    }

    /// The last byte of the router's address, and the table.
    fn found(program: &Program, sought: &Sought) -> (Option<u8>, RoutingTableId) {
        let Found { hop, table } = program.routing.find(&program.fib, sought);
        let last = match hop {
            Some(NextHop::Neighbour {
                gateway: Some(IpAddr::V4(gateway)),
                ..
            }) => Some(gateway.octets()[3]),
            _ => None,
        };
        (last, table)
    }

    #[test]
    fn a_routing_mark_is_the_name_of_the_table_that_is_asked_first() {
        let program = compile(&policy(vec![]));
        let main = RoutingTableId::MAIN;
        assert_eq!(found(&program, &to("8.8.8.8")), (Some(1), main));
        let of = |mark, to| found(&program, &marked(to, mark, &program));
        assert_eq!(of(0, "8.8.8.8"), (Some(2), A));
        assert_eq!(of(1, "10.1.1.1"), (Some(3), B));
        assert_eq!(of(1, "8.8.8.8"), (Some(1), main), "table b has no route");
        assert_eq!(of(2, "8.8.8.8"), (Some(1), main));
        assert_eq!(of(3, "8.8.8.8"), (Some(1), main), "no table has this name");
    }

    #[test]
    fn the_gateway_is_found_whatever_table_is_asked() {
        let everywhere = rule(RoutingAction::LookupOnly(A));
        let program = compile(&policy(vec![everywhere]));
        for own in ["192.168.88.1", "203.0.113.2", "192.168.88.255"] {
            let mut sought = marked(own, 0, &program);
            sought.router = Some(ip("203.0.113.1"));
            let hop = program.routing.find(&program.fib, &sought).hop;
            assert_eq!(hop, program.fib.lookup(ip(own)), "{own}");
        }
        let link_local = Sought {
            router: Some(ip("203.0.113.1")),
            ..to("fe80::77")
        };
        let hop = program.routing.find(&program.fib, &link_local).hop;
        assert_eq!(hop, Some(NextHop::Blackhole));
    }

    #[test]
    fn an_address_may_be_reached_in_as_many_ways_as_tables_have_routes_to_it() {
        let program = compile(&policy(vec![]));
        let ways = |to| program.routing.ways(&program.fib, ip(to)).count();
        assert_eq!((ways("8.8.8.8"), ways("10.1.1.1")), (2, 3));
        assert_eq!((ways("192.168.88.1"), ways("fe80::1")), (1, 1));
    }

    #[test]
    fn lookup_goes_on_where_the_table_has_no_route_and_lookup_only_in_table_does_not() {
        let of = |actions: &[RoutingAction], to: Sought| {
            let rules = actions.iter().map(|action| rule(*action)).collect();
            found(&compile(&policy(rules)), &to)
        };
        let (lookup, only) = (RoutingAction::Lookup, RoutingAction::LookupOnly);
        let main = RoutingTableId::MAIN;
        assert_eq!(of(&[lookup(B)], to("10.1.1.1")), (Some(3), B));
        assert_eq!(of(&[lookup(B)], to("8.8.8.8")), (Some(1), main));
        assert_eq!(of(&[lookup(B), lookup(A)], to("8.8.8.8")), (Some(2), A));
        assert_eq!(of(&[only(B), lookup(A)], to("8.8.8.8")), (None, B));
        assert_eq!(of(&[only(B), lookup(A)], to("10.1.1.1")), (Some(3), B));
        assert_eq!(of(&[only(main), lookup(A)], to("8.8.8.8")), (Some(1), main));
    }

    #[test]
    fn drop_and_unreachable_end_the_search() {
        for (action, hop) in [
            (RoutingAction::Drop, NextHop::Blackhole),
            (RoutingAction::Unreachable, NextHop::Unreachable),
        ] {
            let rules = vec![rule(action), rule(RoutingAction::Lookup(A))];
            let program = compile(&policy(rules));
            let found = program.routing.find(&program.fib, &to("8.8.8.8"));
            assert_eq!(found.hop, Some(hop));
        }
    }

    #[test]
    fn a_rule_asks_for_source_destination_mark_and_interface_and_needs_all() {
        let only_a = || rule(RoutingAction::LookupOnly(A));
        let matches = |rule: RoutingRule, sought: Sought| {
            found(&compile(&policy(vec![rule])), &sought).1 == A
        };
        let src = || RoutingRule {
            src_address: Some("192.168.88.0/24".parse().unwrap()),
            ..only_a()
        };
        let sent_by = |source| Sought {
            source: ip(source),
            ..to("8.8.8.8")
        };
        assert!(matches(src(), to("8.8.8.8")));
        assert!(!matches(src(), sent_by("192.168.89.10")));
        let dst = || RoutingRule {
            dst_address: Some("8.8.0.0/16".parse().unwrap()),
            ..src()
        };
        assert!(matches(dst(), to("8.8.8.8")));
        assert!(!matches(dst(), to("8.9.8.8")));
        assert!(
            !matches(dst(), sent_by("192.168.89.10")),
            "all have to hold"
        );
        let iface = || RoutingRule {
            interface: Some(IfaceId(0)),
            ..only_a()
        };
        let in_by = |in_interface| Sought {
            in_interface,
            ..to("8.8.8.8")
        };
        assert!(matches(iface(), to("8.8.8.8")));
        assert!(!matches(iface(), in_by(Some(IfaceId(1)))));
        assert!(!matches(iface(), in_by(None)), "the gateway's own");
    }

    #[test]
    fn a_rule_that_asks_for_a_mark_is_reached_where_the_marks_table_has_no_route() {
        let rule = |mark, action| RoutingRule {
            routing_mark: Some(MarkId(mark)),
            ..rule(action)
        };
        let rules = vec![
            rule(1, RoutingAction::LookupOnly(B)),
            rule(3, RoutingAction::Lookup(A)),
        ];
        let program = compile(&policy(rules));
        let of = |mark, to| found(&program, &marked(to, mark, &program));
        assert_eq!(of(1, "8.8.8.8"), (None, B), "b only");
        assert_eq!(of(1, "10.1.1.1"), (Some(3), B));
        assert_eq!(of(3, "8.8.8.8"), (Some(2), A), "a mark that is no table");
        assert_eq!(of(0, "8.8.8.8"), (Some(2), A));
        assert_eq!(found(&program, &to("8.8.8.8")).1, RoutingTableId::MAIN);
    }

    #[test]
    fn a_router_that_mangle_names_goes_before_all_tables_and_has_to_be_on_a_link() {
        let program = compile(&policy(vec![rule(RoutingAction::Drop)]));
        let through = |router| {
            let sought = Sought {
                router: Some(ip(router)),
                ..marked("8.8.8.8", 0, &program)
            };
            found(&program, &sought).0
        };
        assert_eq!(through("10.20.0.77"), Some(77));
        assert_eq!(through("172.16.0.1"), None, "behind the default route");
        assert_eq!(through("203.0.113.2"), None, "the gateway itself");
    }

    #[test]
    fn tables_keep_their_marks_over_reloads_that_change_their_order() {
        let before = compile(&policy(vec![]));
        let mark = before.marks.number(Some(MarkId(0)));
        let mut swapped = policy(vec![]);
        swapped.routing.tables.reverse();
        swapped.marks.reverse();
        let after = compile_after(&swapped, Some(&before));
        let sought = Sought {
            mark,
            ..to("8.8.8.8")
        };
        assert_eq!(found(&before, &sought), (Some(2), A));
        assert_eq!(found(&after, &sought), (Some(2), B), "still table a");
        assert_eq!(after.routing.name(B), Some("a"));
        let names = [0, 1, 3].map(|id| after.routing.name(RoutingTableId(id)));
        assert_eq!(names, [Some("main"), Some("b"), None]);
    }
}
