//! `interfaces`, `vlans` and `interface-lists`.
//!
//! Which device carries an interface is not in an export: each gets a placeholder that carries
//! nothing. An interface is written if it is made in the export or named by something that is
//! carried over; ports that only belong to a bridge are not.

use std::collections::{BTreeMap, BTreeSet};

use super::super::document::{Body, Element, Entry, Field, FieldValue, Part};
use super::super::settle::PLACEHOLDER;
use super::super::store::Record;
use super::rules::{MENUS, interfaces_named};
use super::words;
use super::{Mapper, routes, routing};

/// Names that stand for many interfaces, or for none.
const NO_INTERFACE: &[&str] = &[
    "all",
    "all-ethernet",
    "all-ppp",
    "all-vlan",
    "all-wireless",
    "dynamic",
    "none",
    "static",
];

/// One interface on its way to its line.
#[derive(Default)]
struct Draft<'a> {
    name: &'a str,
    records: Vec<&'a Record>,
    /// The command that named it first.
    command: Option<usize>,
    /// What it is in RouterOS.
    is: Option<String>,
}

/// Writes the three sections.
pub fn map(mapper: &mut Mapper<'_>) {
    let vlans: Vec<&Record> = mapper.records("interface vlan").iter().collect();
    let is_vlan: BTreeSet<&str> = vlans.iter().filter_map(|r| r.text("name")).collect();
    let mut drafts = made(mapper);
    for (name, command) in named(mapper) {
        let known = drafts.iter().any(|d| d.name == name) || is_vlan.contains(name);
        let one = !name.is_empty() && !name.starts_with('*') && !NO_INTERFACE.contains(&name);
        if !known && one {
            drafts.push(Draft {
                name,
                command: Some(command),
                ..Draft::default()
            });
        }
    }
    // It is the first section, with or without interfaces.
    mapper.document.section(&["interfaces"]);
    let mut addresses = addresses(mapper);
    for (number, draft) in drafts.into_iter().enumerate() {
        interface(mapper, number, draft, &mut addresses);
    }
    for record in vlans {
        vlan(mapper, record, &mut addresses);
    }
    for (interface, own) in addresses {
        for address in own {
            let reason = format!("there is no interface `{interface}` to give it to");
            mapper.report.left_out(address.element.command, reason);
        }
    }
    lists(mapper);
}

/// The interfaces that the export makes or sets.
fn made<'a>(mapper: &Mapper<'a>) -> Vec<Draft<'a>> {
    let used: BTreeSet<&str> = named(mapper).map(|(name, _)| name).collect();
    let mut drafts: Vec<Draft<'a>> = Vec::new();
    for menu in ["interface ethernet", "interface bridge"] {
        for record in mapper.records(menu) {
            let Some(name) = record.text("name") else {
                continue;
            };
            let port_of = mapper.store.bridge_ports.get(name);
            if port_of.is_some() && !used.contains(name) {
                continue;
            }
            let first = record.text("default-name").filter(|d| *d != name);
            let is = if menu == "interface bridge" {
                Some(bridge(mapper, name))
            } else {
                first.map(|first| format!("the port {first}"))
            };
            drafts.push(Draft {
                name,
                records: vec![record],
                command: None,
                is,
            });
        }
    }
    drafts
}

fn bridge(mapper: &Mapper<'_>, name: &str) -> String {
    let ports = mapper.store.bridge_ports.iter();
    let ports: Vec<&str> = ports
        .filter(|(_, bridge)| *bridge == name)
        .map(|(port, _)| port.as_str())
        .collect();
    match &*ports {
        [] => "a bridge".to_owned(),
        ports => format!("a bridge of {}", ports.join(", ")),
    }
}

/// Every interface that something names which is carried over, in the order of sections.
fn named<'a>(mapper: &Mapper<'a>) -> impl Iterator<Item = (&'a str, usize)> + use<'a> {
    let of = |menu: &'static str, key: &'static str| {
        let records = mapper.records(menu).iter();
        records.filter_map(move |r| r.property(key).map(|p| (p.value.text(), p.command)))
    };
    of("ip address", "interface")
        .chain(of("ipv6 address", "interface"))
        .chain(of("interface vlan", "interface"))
        .chain(of("interface list member", "interface"))
        .chain(interfaces_named(mapper))
        .chain(routes::interfaces_named(mapper))
        .chain(routing::interfaces_named(mapper))
}

type Addresses = BTreeMap<String, Vec<Address>>;

/// An address with what its item says about it.
struct Address {
    element: Element,
    comment: Option<String>,
}

/// The addresses of every interface.
fn addresses(mapper: &mut Mapper<'_>) -> Addresses {
    let mut found = Addresses::new();
    for (menu, family) in MENUS {
        for record in mapper.records(&format!("{menu} address")) {
            match address(mapper, record, family) {
                Ok(Some((interface, address))) => {
                    found.entry(interface).or_default().push(address);
                }
                Ok(None) => {}
                Err(reason) => {
                    mapper.leave_out(record, &reason);
                }
            }
        }
    }
    found
}

/// One address and its interface; `None` if it is disabled.
fn address(
    mapper: &mut Mapper<'_>,
    record: &Record,
    family: &str,
) -> Result<Option<(String, Address)>, String> {
    if let Some(reason) = Mapper::unreadable(record) {
        return Err(reason);
    }
    let computed = |key: &str| matches!(record.text(key), Some(v) if !matches!(v, "" | "no"));
    for key in ["from-pool", "eui-64"] {
        if computed(key) {
            return Err(format!(
                "`{key}` makes the address when RouterOS runs; write it whole"
            ));
        }
    }
    let read = [
        "address",
        "interface",
        "comment",
        "disabled",
        "network",
        "netmask",
        "from-pool",
        "eui-64",
    ];
    mapper.passed_over(record, &read);
    let written = record.property("address").ok_or("it has no `address`")?;
    let interface = record.text("interface").ok_or("it has no `interface`")?;
    let mut text = written.value.text().to_owned();
    if !text.contains('/') {
        let bits = match (record.text("netmask"), family) {
            (Some(mask), _) => prefix_length(mask).ok_or("its `netmask` is none")?,
            (None, "ipv4") => 32,
            (None, _) => 64,
        };
        text = format!("{text}/{bits}");
        let note = format!("read as {text}");
        mapper.report.note(written.command, note);
    }
    let network = record.text("network").filter(|n| !n.is_empty());
    let own = words::prefix(&text);
    let own = own.split('/').next().unwrap_or_default();
    if let Some(network) = network.filter(|n| *n != own && family == "ipv4") {
        let note = format!("the other end, {network}, has to be reached by a route");
        mapper.report.note(record.command(), note);
    }
    let command = record.command();
    if record.is_disabled() {
        let note = format!("{text} is disabled, and not written");
        mapper.report.note(command, note);
        return Ok(None);
    }
    let comment = remark(&text, record);
    let element = Element { text, command };
    Ok(Some((interface.to_owned(), Address { element, comment })))
}

/// The comment of something that is one word of a line here.
fn remark(what: &str, record: &Record) -> Option<String> {
    let comment = record.text("comment").map(words::text)?;
    (!comment.is_empty()).then(|| format!("{what}: {comment}"))
}

fn prefix_length(mask: &str) -> Option<u8> {
    let mask: std::net::Ipv4Addr = mask.parse().ok()?;
    ipnet::ipv4_mask_to_prefix(mask).ok()
}

fn interface(mapper: &mut Mapper<'_>, number: usize, draft: Draft<'_>, addresses: &mut Addresses) {
    let mut commands: Vec<usize> = Vec::new();
    let mut fields = vec![Field::essential(
        "device",
        format!("{PLACEHOLDER}{number},no-rx=1"),
    )];
    let own = addresses.remove(draft.name).unwrap_or_default();
    let remarks = address_field(own, &mut fields);
    let read = [
        "name",
        "default-name",
        "mtu",
        "comment",
        "disabled",
        "vlan-id",
        "interface",
    ];
    for record in &draft.records {
        commands.extend(&record.commands);
        if let Some(mtu) = record.property("mtu").filter(|p| p.value.text() != "auto") {
            fields.push(Field::separable("mtu", mtu.value.text(), mtu.command));
        }
        Mapper::remarks(record, &mut fields);
        mapper.passed_over(record, &read);
    }
    let first = draft
        .command
        .or(commands.first().copied())
        .unwrap_or_default();
    let name = mapper.name(draft.name, first);
    let mut entry = Entry::new(Some(&name), Body::Mapping(fields), &commands);
    entry.comments.extend(draft.is);
    entry.comments.extend(remarks);
    if let Some(kind) = mapper.store.virtual_interfaces.get(draft.name) {
        entry
            .comments
            .push(format!("made by /interface {kind} in RouterOS"));
    }
    mapper.document.section(&["interfaces"]).entries.push(entry);
}

/// Adds the addresses to an interface; what they say is returned.
fn address_field(addresses: Vec<Address>, fields: &mut Vec<Field>) -> Vec<String> {
    let (elements, remarks): (Vec<Element>, Vec<Option<String>>) = addresses
        .into_iter()
        .map(|a| (a.element, a.comment))
        .unzip();
    if let Some(first) = elements.first() {
        let command = first.command;
        fields.push(Field {
            key: "address".to_owned(),
            value: FieldValue::List(elements),
            part: Part::Separable(command),
        });
    }
    remarks.into_iter().flatten().collect()
}

fn vlan(mapper: &mut Mapper<'_>, record: &Record, addresses: &mut Addresses) {
    let own = record.text("name").and_then(|n| addresses.remove(n));
    let entry = match (Mapper::unreadable(record), record.property("name")) {
        (Some(reason), _) => mapper.leave_out(record, &reason),
        (None, None) => mapper.leave_out(record, "it has no `name`"),
        (None, Some(name)) => {
            let mut fields = Vec::new();
            for key in ["interface", "vlan-id"] {
                if let Some(property) = record.property(key) {
                    let value = mapper.name(property.value.text(), property.command);
                    fields.push(Field::essential(key, value));
                }
            }
            let remarks = address_field(own.unwrap_or_default(), &mut fields);
            if let Some(mtu) = record.property("mtu") {
                fields.push(Field::separable("mtu", mtu.value.text(), mtu.command));
            }
            Mapper::remarks(record, &mut fields);
            let read = ["name", "interface", "vlan-id", "mtu", "comment", "disabled"];
            mapper.passed_over(record, &read);
            let name = mapper.name(name.value.text(), name.command);
            let mut entry = Entry::new(Some(&name), Body::Mapping(fields), &record.commands);
            entry.comments.extend(remarks);
            entry
        }
    };
    mapper.document.section(&["vlans"]).entries.push(entry);
}

/// `interface-lists`, with what lists include and exclude worked out.
fn lists(mapper: &mut Mapper<'_>) {
    let records = mapper.records("interface list");
    let mut members: BTreeMap<&str, Vec<Element>> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    let mut remarks: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for name in records.iter().filter_map(|r| r.text("name")) {
        order.push(name);
    }
    for record in mapper.records("interface list member") {
        if let Some(reason) = Mapper::unreadable(record) {
            mapper.leave_out(record, &reason);
            continue;
        }
        mapper.passed_over(record, &["list", "interface", "comment", "disabled"]);
        let named = |key| record.text(key).filter(|name| !name.is_empty());
        let (Some(list), Some(interface)) = (named("list"), named("interface")) else {
            mapper.leave_out(record, "it does not say which interface is in which list");
            continue;
        };
        if !order.contains(&list) {
            order.push(list);
        }
        let command = record.command();
        if record.is_disabled() {
            let note = "the member is disabled, and not written";
            mapper.report.note(command, note);
            members.entry(list).or_default();
            continue;
        }
        let text = mapper.name(interface, command);
        let said = remarks.entry(list).or_default();
        said.extend(remark(&text, record));
        let element = Element { text, command };
        members.entry(list).or_default().push(element);
    }
    let without_others = records.iter().filter(|r| combined(r).next().is_none());
    let plain: BTreeSet<&str> = without_others.filter_map(|r| r.text("name")).collect();
    for list in order {
        let record = records.iter().find(|r| r.text("name") == Some(list));
        let mut own = members.get(list).cloned().unwrap_or_default();
        if let Some(record) = record {
            mapper.passed_over(record, &["name", "comment", "include", "exclude"]);
            if let Some(other) = combined(record).find(|other| !plain.contains(other)) {
                let reason = format!("`{other}` is no list of interfaces alone");
                let entry = mapper.leave_out(record, &reason);
                let section = mapper.document.section(&["interface-lists"]);
                section.entries.push(entry);
                continue;
            }
            combine(record, &members, &mut own);
        }
        let commands = record.map_or(&[][..], |r| r.commands.as_slice());
        let first = commands.first().copied();
        let first = first.or(own.first().map(|e| e.command)).unwrap_or_default();
        let name = mapper.name(list, first);
        let mut entry = Entry::new(Some(&name), Body::List(own), commands);
        let comment = record.and_then(|r| r.text("comment")).map(words::text);
        entry.comments.extend(comment.filter(|c| !c.is_empty()));
        entry
            .comments
            .extend(remarks.remove(list).unwrap_or_default());
        let section = mapper.document.section(&["interface-lists"]);
        section.entries.push(entry);
    }
}

/// The lists that a list includes or excludes; nothing that an export names is `dynamic`, so to
/// exclude that changes nothing.
fn combined(record: &Record) -> impl Iterator<Item = &str> {
    let named = ["include", "exclude"].map(|key| (key, record.text(key).unwrap_or_default()));
    named.into_iter().flat_map(|(key, names)| {
        let names = names.split(',').filter(|name| !name.is_empty());
        names.filter(move |name| (key, *name) != ("exclude", "dynamic"))
    })
}

/// `include` and `exclude` of a list, one level deep, as most exports have them.
fn combine(record: &Record, members: &BTreeMap<&str, Vec<Element>>, own: &mut Vec<Element>) {
    let lists = |key: &str| {
        let text = record.text(key).unwrap_or_default();
        let names: Vec<&str> = text.split(',').filter(|n| !n.is_empty()).collect();
        names.into_iter().filter_map(|n| members.get(n)).flatten()
    };
    let command = record.command();
    let mut more: Vec<Element> = lists("include")
        .map(|e| Element {
            text: e.text.clone(),
            command,
        })
        .collect();
    let without: BTreeSet<&str> = lists("exclude").map(|e| e.text.as_str()).collect();
    more.retain(|e| !without.contains(e.text.as_str()) && own.iter().all(|o| o.text != e.text));
    own.append(&mut more);
}
