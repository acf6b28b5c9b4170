//! `interfaces`, `vlans` and `interface-lists`.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use turnpike_pipeline::ids::{INTERFACES_MAX, IfaceId, PORTS_MAX, PortId};
use turnpike_pipeline::policy::{Interface, InterfaceList};

use super::address::AddressWithPrefix;
use super::names::Names;
use super::section::{Keys, Section, Word, items, mapping, or_report, scalar, word};
use super::value::{Name, Text, number, printable};
use crate::problem::{Problems, Span};
use crate::yaml::{Entry, Node};

/// The smallest MTU an interface may have: what every IPv4 host must take.
pub const MTU_MIN: u16 = 576;
/// The largest MTU an interface may have.
pub const MTU_MAX: u16 = 9600;
/// The MTU where none is written.
pub const MTU_DEFAULT: u16 = 1500;
/// The most addresses one interface can have.
pub const ADDRESSES_MAX: usize = 64;
/// The list that holds every interface without being written.
pub const ALL_INTERFACES: &str = "all";

const INTERFACE: Keys = Keys {
    of: "an interface",
    known: &["device", "address", "mtu", "comment"],
    later: &["host", "vrf", "disabled", "vlan-filtering"],
    elsewhere: &[],
};

const VLAN: Keys = Keys {
    of: "a VLAN",
    known: &["interface", "vlan-id", "address", "mtu", "comment"],
    later: &["host", "vrf", "disabled"],
    elsewhere: &[],
};

/// A device that the engine opens as a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The interface's name.
    pub name: String,
    /// A PCI address or a vdev string, as DPDK takes it.
    pub device: String,
    /// The largest IP packet of the port; `None` leaves what the device has.
    pub mtu: Option<u16>,
    /// Where it was written.
    pub span: Span,
}

/// Interfaces with the devices that carry them.
#[derive(Debug, Clone, Default)]
pub struct Decoded {
    /// Ports first, then VLANs; the index is the [`IfaceId`].
    pub interfaces: Vec<Interface>,
    /// By [`PortId`].
    pub devices: Vec<Device>,
}

/// Reads `interfaces:` and `vlans:`.
pub fn decode(
    interfaces: Option<&Node>,
    vlans: Option<&Node>,
    names: &mut Names,
    problems: &mut Problems,
) -> Decoded {
    let mut reader = Reader {
        out: Decoded::default(),
        vlans_seen: HashMap::new(),
        addresses: HashMap::new(),
        problems,
    };
    match interfaces {
        Some(node) => {
            let entries = mapping(node, "`interfaces`", reader.problems).unwrap_or_default();
            if entries.is_empty() {
                reader.problems.error(node.span, NO_INTERFACES);
            }
            for entry in entries {
                reader.interface(entry, names);
            }
        }
        None => reader.problems.error(Span::START, NO_INTERFACES),
    }
    let ports = names.interfaces.clone();
    if let Some(node) = vlans {
        for entry in mapping(node, "`vlans`", reader.problems).unwrap_or_default() {
            reader.vlan(entry, &ports, names);
        }
    }
    reader.out
}

const NO_INTERFACES: &str = "the gateway has no interfaces; write, for example, `interfaces: \
                             { lan: { device: \"net_af_packet0,iface=eth1\", address: \
                             [192.168.88.1/24] } }`";

struct Reader<'p> {
    out: Decoded,
    vlans_seen: HashMap<(PortId, u16), String>,
    addresses: HashMap<IpAddr, String>,
    problems: &'p mut Problems,
}

impl Reader<'_> {
    fn interface(&mut self, entry: &Entry, names: &mut Names) {
        let name = self.name(entry, names);
        let section = Section::open(&entry.value, &INTERFACE, self.problems);
        let index = self.out.devices.len();
        if index >= PORTS_MAX {
            self.problems.error(
                entry.key_span,
                format!(
                    "more than {PORTS_MAX} interfaces with devices; a gateway has at most that"
                ),
            );
        }
        let port = PortId(u8::try_from(index).unwrap_or(u8::MAX));
        let written = section.and_then(|s| s.read("mtu", self.problems, mtu));
        let mtu = written.unwrap_or(MTU_DEFAULT);
        let device = section
            .and_then(|s| s.required("device", "\"net_af_packet0,iface=eth1\"", self.problems));
        let text = device.and_then(|node| self.device(node));
        let addresses = self.common(section, &name, mtu);
        self.out.interfaces.push(Interface {
            name: name.clone(),
            port,
            vlan: None,
            addresses,
            mtu,
        });
        self.out.devices.push(Device {
            name: name.clone(),
            device: text.unwrap_or_default(),
            mtu: written,
            span: device.map_or(entry.key_span, |d| d.span),
        });
        // Even a bad interface has its name, so that what mentions it is not an error as well.
        names.interfaces.push(name);
    }

    fn vlan(&mut self, entry: &Entry, ports: &[String], names: &mut Names) {
        let name = self.name(entry, names);
        let Some(section) = Section::open(&entry.value, &VLAN, self.problems) else {
            return;
        };
        let parent = section
            .required("interface", "lan", self.problems)
            .and_then(|n| self.parent(n, ports, names));
        let id_node = section.required("vlan-id", "20", self.problems);
        let id = id_node.and_then(|n| {
            let text = &scalar(n, self.problems)?.text;
            let id = or_report(number(text, 1, 4094), n.span, self.problems)?;
            u16::try_from(id).ok()
        });
        let carrier = parent.and_then(|p| self.out.interfaces.get(usize::from(p.0)));
        let (port, carrier_mtu) = carrier.map_or((PortId(0), MTU_DEFAULT), |c| (c.port, c.mtu));
        let mtu_read = section.read("mtu", self.problems, mtu);
        let mtu = mtu_read.unwrap_or(carrier_mtu);
        if mtu > carrier_mtu
            && let Some(node) = section.field("mtu")
        {
            self.problems.error(
                node.span,
                format!(
                    "mtu {mtu} is more than its interface carries; write {carrier_mtu} or less"
                ),
            );
        }
        if let (Some(_), Some(id), Some(node)) = (parent, id, id_node)
            && let Some(other) = self.vlans_seen.insert((port, id), name.clone())
        {
            self.problems.error(
                node.span,
                format!("`{other}` has vlan-id {id} on the same interface; choose another"),
            );
        }
        let addresses = self.common(Some(section), &name, mtu);
        if self.out.interfaces.len() >= INTERFACES_MAX {
            self.problems.error(
                entry.key_span,
                format!("more than {INTERFACES_MAX} interfaces; a gateway has at most that"),
            );
            return;
        }
        self.out.interfaces.push(Interface {
            name: name.clone(),
            port,
            vlan: id,
            addresses,
            mtu,
        });
        names.interfaces.push(name);
    }

    /// The interface that carries a VLAN: one with a device.
    fn parent(&mut self, node: &Node, ports: &[String], names: &Names) -> Option<IfaceId> {
        let text = &scalar(node, self.problems)?.text;
        let id = names.interface(text, node.span, self.problems)?;
        if usize::from(id.0) >= ports.len() {
            self.problems.error(
                node.span,
                format!("`{text}` is itself a VLAN; name the interface with the device"),
            );
            return None;
        }
        Some(id)
    }

    fn name(&mut self, entry: &Entry, names: &Names) -> String {
        or_report(Name::read(&entry.key), entry.key_span, self.problems);
        if names.interfaces.contains(&entry.key) {
            self.problems.error(
                entry.key_span,
                format!("two interfaces are called `{}`; rename one", entry.key),
            );
        }
        entry.key.clone()
    }

    /// What interfaces and VLANs share: addresses and the comment.
    fn common(&mut self, section: Option<Section<'_>>, name: &str, mtu: u16) -> Vec<IpNet> {
        let Some(section) = section else {
            return Vec::new();
        };
        section.read("comment", self.problems, word::<Text>);
        let Some(node) = section.field("address") else {
            return Vec::new();
        };
        let found = items(node, self.problems).unwrap_or_default();
        if found.len() > ADDRESSES_MAX {
            self.problems.error(
                node.span,
                format!(
                    "{} addresses; an interface has at most {ADDRESSES_MAX}",
                    found.len()
                ),
            );
        }
        let mut addresses = Vec::new();
        for item in found {
            let read = AddressWithPrefix::read(item.text).and_then(|a| usable(a.0, mtu));
            let Some(net) = or_report(read, item.span, self.problems) else {
                continue;
            };
            if let Some(other) = self.addresses.insert(net.addr(), name.to_owned()) {
                self.problems.error(
                    item.span,
                    format!(
                        "{} is an address of `{other}` already; remove one",
                        net.addr()
                    ),
                );
                continue;
            }
            addresses.push(net);
        }
        addresses
    }

    fn device(&mut self, node: &Node) -> Option<String> {
        let text = &scalar(node, self.problems)?.text;
        let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
        if !plain {
            self.problems.error(
                node.span,
                format!(
                    "`{}` is no device; write a PCI address (0000:3b:00.0) or a vdev \
                     (net_af_packet0,iface=eth1) in quotes",
                    printable(text)
                ),
            );
            return None;
        }
        let own = |device: &str| device.split(',').next().map(str::to_owned);
        let twin = self
            .out
            .devices
            .iter()
            .find(|d| own(&d.device) == own(text));
        if let Some(twin) = twin {
            self.problems.error(
                node.span,
                format!(
                    "`{}` uses the device `{}` already; give each interface its own",
                    twin.name,
                    own(text).unwrap_or_default()
                ),
            );
        }
        Some(text.clone())
    }
}

fn mtu(node: &Node, problems: &mut Problems) -> Option<u16> {
    let text = &scalar(node, problems)?.text;
    let value = number(text, u64::from(MTU_MIN), u64::from(MTU_MAX));
    or_report(value, node.span, problems).and_then(|n| u16::try_from(n).ok())
}

/// Whether an interface can have this address.
fn usable(net: IpNet, mtu: u16) -> Result<IpNet, String> {
    let ip = net.addr();
    let special = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast();
    if special || ip == IpAddr::from([255; 4]) {
        return Err(format!(
            "{ip} cannot be an interface's address; write a unicast address"
        ));
    }
    if let IpNet::V4(v4) = net
        && v4.prefix_len() < 31
        && (v4.addr() == v4.network() || v4.addr() == v4.broadcast())
    {
        return Err(format!(
            "{ip} is the network or broadcast address of {}; write a host's address",
            v4.trunc()
        ));
    }
    if matches!(net, IpNet::V6(_)) && mtu < 1280 {
        return Err(format!(
            "IPv6 needs an mtu of 1280 and this interface has {mtu}; raise `mtu` or remove {net}"
        ));
    }
    Ok(net)
}

/// Reads `interface-lists:`; [`ALL_INTERFACES`] is always there, first.
pub fn decode_lists(
    node: Option<&Node>,
    names: &mut Names,
    problems: &mut Problems,
) -> Vec<InterfaceList> {
    let every = (0..names.interfaces.len()).filter_map(|i| u16::try_from(i).ok());
    let mut lists = vec![InterfaceList {
        name: ALL_INTERFACES.to_owned(),
        members: every.map(IfaceId).collect(),
    }];
    let entries = node
        .and_then(|n| mapping(n, "`interface-lists`", problems))
        .unwrap_or_default();
    for entry in entries {
        or_report(Name::read(&entry.key), entry.key_span, problems);
        if entry.key == ALL_INTERFACES {
            problems.error(
                entry.key_span,
                "the list `all` is built in and holds every interface; choose another name",
            );
            continue;
        }
        if names.interfaces.contains(&entry.key) {
            problems.error(
                entry.key_span,
                format!(
                    "`{}` is an interface; choose another name for the list",
                    entry.key
                ),
            );
        }
        let mut members: Vec<IfaceId> = items(&entry.value, problems)
            .unwrap_or_default()
            .into_iter()
            .filter(|item| !item.text.is_empty())
            .filter_map(|item| names.interface(item.text, item.span, problems))
            .collect();
        members.sort_unstable();
        members.dedup();
        lists.push(InterfaceList {
            name: entry.key.clone(),
            members,
        });
    }
    names.interface_lists = lists.iter().map(|l| l.name.clone()).collect();
    lists
}
