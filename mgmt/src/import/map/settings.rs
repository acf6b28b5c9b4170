//! Sections that are settings by name: connection tracking, layer-7 patterns, helpers, services.

use super::super::document::{Body, Entry, Field};
use super::super::store::{Property, Record};
use super::{Mapper, words};

/// Properties of connection tracking that are only shown.
const SHOWN_ONLY: &[&str] = &[
    "total-entries",
    "active-ipv4",
    "active-ipv6",
    "total-ip4-entries",
];
/// Services of RouterOS itself, which the host may have and Turnpike has not.
const OF_ROUTEROS: &[&str] = &[
    "ftp",
    "ssh",
    "telnet",
    "winbox",
    "www",
    "www-ssl",
    "reverse-proxy",
];

/// Writes `connection-tracking:`, one key a line.
pub fn tracking(mapper: &mut Mapper<'_>) {
    let menu = "ip firewall connection tracking";
    for property in mapper.records(menu).iter().flat_map(|r| &r.properties) {
        let (key, command) = (property.key.as_str(), property.command);
        if SHOWN_ONLY.contains(&key) {
            let note = format!("`{key}` is a count, not a setting");
            mapper.report.note(command, note);
            continue;
        }
        let text = property.value.text();
        let text = if key.ends_with("-timeout") {
            words::duration(text)
        } else {
            text.to_owned()
        };
        let entry = Entry::new(Some(key), Body::Word(text), &[command]);
        let section = mapper.document.section(&["connection-tracking"]);
        section.entries.push(entry);
    }
}

/// Writes `layer7-protocols:`.
pub fn layer7(mapper: &mut Mapper<'_>) {
    let menu = "ip firewall layer7-protocol";
    by_name(mapper, menu, "layer7-protocols", |_, property| {
        Some(property.value.text().to_owned())
    });
}

/// Writes `service-ports:`, where the properties of helpers have the names that they have here.
pub fn service_ports(mapper: &mut Mapper<'_>) {
    let menu = "ip firewall service-port";
    by_name(mapper, menu, "service-ports", |key, property| {
        let text = property.value.text();
        match key {
            "default-name" => None,
            _ if key.ends_with("-timeout") => Some(words::duration(text)),
            _ => Some(text.to_owned()),
        }
    });
}

/// Writes the items of a menu by their names.
fn by_name(
    mapper: &mut Mapper<'_>,
    menu: &str,
    section: &str,
    value: impl Fn(&str, &Property) -> Option<String>,
) {
    for record in mapper.records(menu) {
        let entry = match (Mapper::unreadable(record), record.property("name")) {
            (Some(reason), _) => mapper.leave_out(record, &reason),
            (None, None) => mapper.leave_out(record, "it has no `name`"),
            // Turnpike has such a key, and it would open a file of the machine it runs on.
            (None, Some(_)) if record.property("file").is_some() => {
                mapper.leave_out(record, "RouterOS has no property `file`")
            }
            (None, Some(name)) => {
                let mut fields = Vec::new();
                let own = |p: &&Property| !matches!(&*p.key, "name" | "comment");
                for property in record.properties.iter().filter(own) {
                    if let Some(text) = value(&property.key, property) {
                        fields.push(Field::essential(&property.key, text));
                    }
                }
                if let Some(comment) = record.property("comment") {
                    let text = words::text(comment.value.text());
                    fields.push(Field::separable("comment", text, comment.command));
                }
                let name = mapper.name(name.value.text(), name.command);
                Entry::new(Some(&name), Body::Mapping(fields), &record.commands)
            }
        };
        mapper.document.section(&[section]).entries.push(entry);
    }
}

/// Writes `services:`: RouterOS's `api` over TCP is here `api-ssl`, and its other services are
/// the host's.
pub fn services(mapper: &mut Mapper<'_>) {
    let records = mapper.records("ip service");
    let both = records.iter().any(|r| r.text("name") == Some("api-ssl"));
    for record in records {
        let name = record.text("name").unwrap_or_default();
        if OF_ROUTEROS.contains(&name) {
            of_routeros(mapper, name, record);
            continue;
        }
        if name == "api" {
            plain_api(mapper, record, both);
            if both || record.is_disabled() {
                continue;
            }
        }
        let entry = listener(mapper, name, record);
        mapper.document.section(&["services"]).entries.push(entry);
    }
}

fn of_routeros(mapper: &mut Mapper<'_>, name: &str, record: &Record) {
    for command in &record.commands {
        if record.is_disabled() {
            let note = format!("there is no `{name}` here to be disabled");
            mapper.report.note(*command, note);
        } else {
            let reason = format!("`{name}` is a service of RouterOS; here it would be the host's");
            mapper.report.foreign(*command, reason);
        }
    }
}

fn plain_api(mapper: &mut Mapper<'_>, record: &Record, both: bool) {
    let note = if record.is_disabled() {
        "plain TCP api is not offered, so there is nothing to disable"
    } else if both {
        "plain TCP api is not offered; what is written for `api-ssl` holds"
    } else {
        "plain TCP api is not offered; read as `api-ssl`"
    };
    for command in &record.commands {
        mapper.report.note(*command, note);
    }
}

fn listener(mapper: &mut Mapper<'_>, name: &str, record: &Record) -> Entry {
    if let Some(reason) = Mapper::unreadable(record) {
        return mapper.leave_out(record, &reason);
    }
    let mut fields = Vec::new();
    for property in &record.properties {
        let text = property.value.text();
        let nothing = text.is_empty() || (property.key == "certificate" && text == "none");
        match property.key.as_str() {
            "name" | "default-name" | "comment" => {}
            _ if nothing => {}
            // The port of the plain api is not that of the other one.
            "port" if name == "api" => {}
            "disabled" if !record.is_disabled() => {}
            "address" => {
                let prefixes: Vec<String> = text.split(',').map(words::prefix).collect();
                fields.push(Field::essential("address", prefixes.join(",")));
            }
            key => fields.push(Field::essential(key, text)),
        }
    }
    let key = if name == "api" { "api-ssl" } else { name };
    Entry::new(Some(key), Body::Mapping(fields), &record.commands)
}
