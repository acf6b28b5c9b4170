//! Names and what they stand for, so that every mention of one is checked the same way.

use ipnet::IpNet;
use turnpike_pipeline::ids::{
    IfaceId, InterfaceListId, Layer7Id, ListId, MARKS_MAX, MarkId, RoutingTableId,
};
use turnpike_pipeline::routing::MAIN;

use super::firewall::NO_MARK;
use super::section::{Word, or_report};
use super::value::Name;
use crate::problem::{Problems, Span, did_you_mean};

/// The names that a configuration defines, in the order of their identifiers.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Interfaces, ports first, then VLANs.
    pub interfaces: Vec<String>,
    /// Interface lists.
    pub interface_lists: Vec<String>,
    /// Address lists.
    pub address_lists: Vec<String>,
    /// Layer-7 protocols.
    pub layer7: Vec<String>,
    /// Marks of packets, connections and ways.
    pub marks: Vec<String>,
    /// The addresses of the interfaces, with the prefixes that are on their links.
    pub links: Vec<IpNet>,
    /// Routing tables beside the main one.
    pub routing_tables: Vec<String>,
    /// Routing marks that routing rules ask for.
    pub ruled_marks: Vec<String>,
}

impl Names {
    /// The interface called `name`; an error at `span` if there is none.
    pub fn interface(&self, name: &str, span: Span, problems: &mut Problems) -> Option<IfaceId> {
        if let Some(index) = index_of(&self.interfaces, name) {
            return Some(IfaceId(index));
        }
        let hint = if index_of(&self.interface_lists, name).is_some() {
            format!(
                "; `{name}` is a list of interfaces: use in-interface-list or out-interface-list"
            )
        } else {
            defined(name, &self.interfaces, "interfaces:")
        };
        problems.error(span, format!("no interface is called `{name}`{hint}"));
        None
    }

    /// The interface list called `name`; an error at `span` if there is none.
    pub fn interface_list(
        &self,
        name: &str,
        span: Span,
        problems: &mut Problems,
    ) -> Option<InterfaceListId> {
        if let Some(index) = index_of(&self.interface_lists, name) {
            return Some(InterfaceListId(index));
        }
        let hint = if index_of(&self.interfaces, name).is_some() {
            format!("; `{name}` is an interface: use in-interface or out-interface")
        } else {
            defined(name, &self.interface_lists, "interface-lists:")
        };
        problems.error(span, format!("no interface list is called `{name}`{hint}"));
        None
    }

    /// The address list called `name`; an error at `span` if there is none.
    pub fn address_list(&self, name: &str, span: Span, problems: &mut Problems) -> Option<ListId> {
        if let Some(index) = index_of(&self.address_lists, name) {
            return Some(ListId(index));
        }
        let hint = defined(name, &self.address_lists, "address-lists:");
        problems.error(span, format!("no address list is called `{name}`{hint}"));
        None
    }

    /// The routing table called `name`; an error at `span` if there is none.
    pub fn routing_table(
        &self,
        name: &str,
        span: Span,
        problems: &mut Problems,
    ) -> Option<RoutingTableId> {
        if name == MAIN {
            return Some(RoutingTableId::MAIN);
        }
        if let Some(index) = index_of(&self.routing_tables, name) {
            return Some(RoutingTableId(index + 1));
        }
        let hint = defined(name, &self.routing_tables, "routing-tables:");
        problems.error(span, format!("no routing table is called `{name}`{hint}"));
        None
    }

    /// Whether a routing mark leads anywhere: it is the name of a table, or a routing rule asks.
    pub fn leads_somewhere(&self, mark: &str) -> bool {
        let mut names = self.routing_tables.iter().chain(&self.ruled_marks);
        mark == MAIN || names.any(|name| name == mark)
    }

    /// Makes room for a mark; one too many is reported where it is used.
    pub fn add_mark(&mut self, name: &str) {
        let new = name != NO_MARK
            && Name::read(name).is_ok()
            && self.marks.len() < MARKS_MAX
            && !self.marks.iter().any(|known| known == name);
        if new {
            self.marks.push(name.to_owned());
        }
    }

    /// The layer-7 protocol called `name`.
    pub fn layer7_id(&self, name: &str) -> Option<Layer7Id> {
        index_of(&self.layer7, name).map(Layer7Id)
    }

    /// The same; an error at `span` if there is none.
    pub fn layer7(&self, name: &str, span: Span, problems: &mut Problems) -> Option<Layer7Id> {
        let found = self.layer7_id(name);
        if found.is_none() {
            let hint = defined(name, &self.layer7, "layer7-protocols:");
            problems.error(
                span,
                format!("no layer-7 protocol is called `{name}`{hint}"),
            );
        }
        found
    }

    /// The mark called `name`, `Some(None)` for `no-mark`; an error at `span` if it cannot be one.
    pub fn mark(&self, name: &str, span: Span, problems: &mut Problems) -> Option<Option<MarkId>> {
        if name == NO_MARK {
            return Some(None);
        }
        or_report(Name::read(name), span, problems)?;
        let index = index_of(&self.marks, name);
        if index.is_none() {
            problems.error(span, format!("more than {MARKS_MAX} different marks"));
        }
        Some(Some(MarkId(index?)))
    }
}

fn index_of(names: &[String], name: &str) -> Option<u16> {
    let index = names.iter().position(|n| n == name)?;
    u16::try_from(index).ok()
}

fn defined(name: &str, names: &[String], section: &str) -> String {
    let near = did_you_mean(name, names.iter().map(String::as_str));
    match names {
        [] => format!("; define it under `{section}`"),
        _ if !near.is_empty() => near,
        [only] => format!("; `{section}` has only {only}"),
        many if many.len() <= 8 => format!("; `{section}` has {}", many.join(", ")),
        many => format!("; none of the {} under `{section}` is", many.len()),
    }
}
