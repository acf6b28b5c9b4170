//! What the menus hold after all commands: items with properties, in RouterOS's order.
//!
//! Commands are applied as RouterOS would, on what this file has said so far; one that means an
//! item from elsewhere changes nothing and is named in the report.

use std::collections::BTreeMap;

use super::command::{Command, Does, Verb};
use super::find::Target;
use super::foreign;
use super::lex::{Relation, Value, Word};
use super::report::Report;

/// Menus whose properties belong to the menu, not to items in it.
const SINGLE: &[&str] = &["ip firewall connection tracking"];
/// Menus whose items are there from the start, by name.
const GIVEN: &[&str] = &[
    "interface ethernet",
    "ip firewall service-port",
    "ip service",
];
/// Menus whose items are written, in their order.
const LISTS: &[&str] = &[
    "interface bridge",
    "interface list",
    "interface list member",
    "interface vlan",
    "ip address",
    "ip firewall address-list",
    "ip firewall filter",
    "ip firewall layer7-protocol",
    "ip firewall mangle",
    "ip firewall nat",
    "ip firewall raw",
    "ip route",
    "ip route rule",
    "ipv6 address",
    "ipv6 firewall address-list",
    "ipv6 firewall filter",
    "ipv6 firewall mangle",
    "ipv6 firewall nat",
    "ipv6 firewall raw",
    "ipv6 route",
    "routing rule",
    "routing table",
];
/// Where items are found that `/interface` lists together.
const INTERFACES: &[&str] = &["interface ethernet", "interface bridge", "interface vlan"];
const EVERY_INTERFACE: &str = "interface";

/// Everything that the commands leave behind.
#[derive(Debug, Clone, Default)]
pub struct Store {
    menus: BTreeMap<String, Vec<Record>>,
    /// Interfaces that are no ports of a device: name and menu (`pppoe-client`).
    pub virtual_interfaces: BTreeMap<String, String>,
    /// Bridges by the names of their ports.
    pub bridge_ports: BTreeMap<String, String>,
}

/// One item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it was made of, and what changed it since.
    pub commands: Vec<usize>,
    /// Its properties, in the order written.
    pub properties: Vec<Property>,
    /// Words that stand alone.
    pub alone: Vec<String>,
}

/// A property of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// The command that gave it.
    pub command: usize,
}

impl Record {
    /// The item that `words` make, in this command.
    pub fn new(command: usize, words: &[Word]) -> Self {
        let mut record = Self {
            commands: vec![command],
            properties: Vec::new(),
            alone: Vec::new(),
        };
        record.change(command, words);
        record
    }

    /// The value of a property as text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.property(key).map(|p| p.value.text())
    }

    /// A property.
    pub fn property(&self, key: &str) -> Option<&Property> {
        self.properties.iter().find(|p| p.key == key)
    }

    /// Whether it is disabled.
    pub fn is_disabled(&self) -> bool {
        matches!(self.text("disabled"), Some("yes" | "true"))
    }

    /// The command that made it.
    pub fn command(&self) -> usize {
        self.commands.first().copied().unwrap_or_default()
    }

    fn change(&mut self, command: usize, words: &[Word]) {
        if !self.commands.contains(&command) {
            self.commands.push(command);
        }
        for word in words {
            match (&word.key, word.value.text().strip_prefix('!')) {
                (Some(key), _) => self.set(key, word.value.clone(), command),
                (None, Some(unset)) if !unset.is_empty() => self.unset(unset),
                (None, _) => self.alone.push(word.value.text().to_owned()),
            }
        }
    }

    fn set(&mut self, key: &str, value: Value, command: usize) {
        let property = Property {
            key: key.to_owned(),
            value,
            command,
        };
        match self.properties.iter_mut().find(|p| p.key == key) {
            Some(old) => *old = property,
            None => self.properties.push(property),
        }
    }

    fn unset(&mut self, key: &str) {
        self.properties.retain(|p| p.key != key);
    }
}

impl Store {
    /// What `commands` leave behind; the report says which changed nothing.
    pub fn build(commands: &[Command], report: &mut Report) -> Self {
        let mut store = Self::default();
        for (index, command) in commands.iter().enumerate() {
            match &command.does {
                Does::Edit { menu, verb, words } => {
                    store.apply(index, menu, *verb, words, report);
                }
                Does::Show => report.note(index, "it shows something and changes nothing"),
                Does::Unclear(why) => report.left_out(index, why.clone()),
            }
        }
        store
    }

    /// The items of a menu.
    pub fn records(&self, menu: &str) -> &[Record] {
        self.menus.get(menu).map_or(&[], Vec::as_slice)
    }

    fn apply(&mut self, index: usize, menu: &str, verb: Verb, words: &[Word], report: &mut Report) {
        if menu.is_empty() {
            report.left_out(index, "it does not say which menu it is for");
            return;
        }
        let known = SINGLE.contains(&menu) || GIVEN.contains(&menu) || LISTS.contains(&menu);
        if !known && menu != EVERY_INTERFACE {
            self.remember(menu, verb, words);
            report.foreign(index, foreign::why(menu));
            return;
        }
        let compared = words.iter().find(|w| w.relation != Relation::Is);
        let done = match compared {
            Some(word) => Err(format!(
                "`{}` is compared here, not given a value",
                word.key.as_deref().unwrap_or_default()
            )),
            None => self.edit(index, menu, verb, words),
        };
        match done {
            Ok(None) => {}
            Ok(Some(note)) => report.note(index, note),
            Err(why) => report.left_out(index, why),
        }
    }

    /// Keeps the names of interfaces that only RouterOS makes, for the notes on what uses them.
    fn remember(&mut self, menu: &str, verb: Verb, words: &[Word]) {
        let named = |key: &str| {
            let word = words.iter().find(|w| w.key.as_deref() == Some(key));
            word.map(|w| w.value.text().to_owned())
        };
        if menu == "interface bridge port" {
            if let (Verb::Add, Some(port), Some(bridge)) =
                (verb, named("interface"), named("bridge"))
            {
                self.bridge_ports.insert(port, bridge);
            }
        } else if let (Some(kind), Some(name)) = (menu.strip_prefix("interface "), named("name")) {
            self.virtual_interfaces.insert(name, kind.to_owned());
        }
    }

    /// Changes a menu; a note if that is not quite what was written.
    fn edit(
        &mut self,
        index: usize,
        menu: &str,
        verb: Verb,
        words: &[Word],
    ) -> Result<Option<String>, String> {
        if verb == Verb::Add {
            if menu == EVERY_INTERFACE || GIVEN.contains(&menu) {
                return Err(format!("nothing can be added to /{menu}"));
            }
            return self.add(index, menu, words);
        }
        if SINGLE.contains(&menu) {
            let records = self.menus.entry(menu.to_owned()).or_default();
            match records.first_mut() {
                Some(record) => record.change(index, words),
                None => records.push(Record::new(index, words)),
            }
            return Ok(None);
        }
        let (target, rest) = target(words)?;
        let menu = self.menu_of(menu, &target);
        let records = self.menus.entry(menu.clone()).or_default();
        let mut places = target.select(records)?;
        if places.is_empty() && GIVEN.contains(&menu.as_str()) && verb != Verb::Remove {
            let name = target.name().ok_or_else(|| nothing_found(verb))?;
            records.push(given(index, name));
            places.push(records.len() - 1);
        }
        if places.is_empty() {
            return match verb {
                Verb::Remove => Ok(Some("nothing read so far is meant, so nothing goes".into())),
                Verb::Add
                | Verb::Set
                | Verb::Unset
                | Verb::Move
                | Verb::Enable
                | Verb::Disable
                | Verb::Comment => Err(nothing_found(verb)),
            };
        }
        change(index, verb, &places, rest, records)
    }

    /// The menu in which an item of `/interface` stands.
    fn menu_of(&self, menu: &str, target: &Target) -> String {
        if menu != EVERY_INTERFACE {
            return menu.to_owned();
        }
        let holds = |menu: &&&str| {
            let found = target.select(self.records(menu));
            found.is_ok_and(|places| !places.is_empty())
        };
        let found = INTERFACES.iter().find(holds);
        (*found.unwrap_or(&"interface ethernet")).to_owned()
    }

    fn add(&mut self, index: usize, menu: &str, words: &[Word]) -> Result<Option<String>, String> {
        let mut record = Record::new(index, words);
        let before = record.property("place-before").map(|p| p.value.clone());
        record.unset("place-before");
        let records = self.menus.entry(menu.to_owned()).or_default();
        let Some(before) = before else {
            records.push(record);
            return Ok(None);
        };
        let place = Target::read(&before)?.select(records)?;
        let place = place.first().ok_or_else(|| {
            "`place-before` names no item that was read so far, and its place in the order matters"
                .to_owned()
        })?;
        records.insert(*place, record);
        Ok(None)
    }
}

fn nothing_found(verb: Verb) -> String {
    let what = match verb {
        Verb::Move => "to move",
        Verb::Add
        | Verb::Set
        | Verb::Unset
        | Verb::Remove
        | Verb::Enable
        | Verb::Disable
        | Verb::Comment => "to change",
    };
    format!("nothing that was read so far is meant: there is nothing {what}")
}

/// An item that RouterOS has without its being added.
fn given(index: usize, name: &str) -> Record {
    let mut record = Record::new(index, &[]);
    record.set("name", Value::Plain(name.to_owned()), index);
    record.set("default-name", Value::Plain(name.to_owned()), index);
    record
}

/// What is meant, and the words behind it.
fn target(words: &[Word]) -> Result<(Target, &[Word]), String> {
    let first = words
        .first()
        .ok_or("it does not say which item is meant".to_owned())?;
    match first.key.as_deref() {
        None | Some("numbers" | ".id") => Ok((
            Target::read(&first.value)?,
            words.get(1..).unwrap_or_default(),
        )),
        Some(_) => Err("it does not say which item is meant".to_owned()),
    }
}

fn change(
    index: usize,
    verb: Verb,
    places: &[usize],
    words: &[Word],
    records: &mut Vec<Record>,
) -> Result<Option<String>, String> {
    let disabled = |value: &str| Word {
        key: Some("disabled".to_owned()),
        relation: Relation::Is,
        value: Value::Plain(value.to_owned()),
    };
    let words = match verb {
        Verb::Set | Verb::Comment => words.to_vec(),
        Verb::Enable => vec![disabled("no")],
        Verb::Disable => vec![disabled("yes")],
        Verb::Unset => {
            for place in places {
                let record = records.get_mut(*place);
                unset(record, words);
            }
            return Ok(None);
        }
        Verb::Remove => {
            let mut place = 0;
            records.retain(|_| {
                place += 1;
                !places.contains(&(place - 1))
            });
            return Ok(None);
        }
        Verb::Move => return moved(places, words, records),
        Verb::Add => return Ok(None),
    };
    for place in places {
        if let Some(record) = records.get_mut(*place) {
            record.change(index, &words);
        }
    }
    Ok(None)
}

fn unset(record: Option<&mut Record>, words: &[Word]) {
    let Some(record) = record else { return };
    for word in words {
        // `unset 0 dst-port` and `unset 0 value-name=dst-port`
        record.unset(word.value.text());
    }
}

/// `move 5 0`, `move [find …] destination=0`.
fn moved(
    places: &[usize],
    words: &[Word],
    records: &mut Vec<Record>,
) -> Result<Option<String>, String> {
    let destination = words
        .first()
        .filter(|w| matches!(w.key.as_deref(), None | Some("destination")));
    let to = match destination {
        Some(word) => {
            let found = Target::read(&word.value)?.select(records)?;
            *found
                .first()
                .ok_or("its destination is no item that was read so far".to_owned())?
        }
        None => records.len(),
    };
    let (mut going, mut staying, mut before) = (Vec::new(), Vec::new(), 0);
    for (place, record) in std::mem::take(records).into_iter().enumerate() {
        if places.contains(&place) {
            going.push(record);
        } else {
            before += usize::from(place < to);
            staying.push(record);
        }
    }
    let behind = staying.split_off(before.min(staying.len()));
    *records = [staying, going, behind].concat();
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{command, lex};

    fn store(text: &str) -> (Store, Report) {
        let (found, mut tail) = lex::statements(text);
        let commands = command::commands(found, &mut tail);
        let mut report = Report::new("t.rsc", &commands);
        (Store::build(&commands, &mut report), report)
    }

    fn comments(text: &str) -> Vec<String> {
        let (store, report) = store(&format!("/ip firewall filter\n{text}"));
        assert_eq!(report.count().left_out, 0, "{report}");
        let records = store.records("ip firewall filter");
        let shown = |r: &Record| {
            let comment = r.text("comment").unwrap_or_default();
            format!("{comment}{}", if r.is_disabled() { " off" } else { "" })
        };
        records.iter().map(shown).collect()
    }

    const THREE: &str = "add comment=a\nadd comment=b\nadd comment=c\n";

    #[test]
    fn items_are_changed_removed_and_moved_as_routeros_does() {
        let after = |command: &str| comments(&format!("{THREE}{command}"));
        assert_eq!(after("set [find comment=b] comment=x"), ["a", "x", "c"]);
        assert_eq!(after("set 0,2 comment=x"), ["x", "b", "x"]);
        assert_eq!(after("set numbers=1 comment=x"), ["a", "x", "c"]);
        assert_eq!(after("remove [find comment=b]"), ["a", "c"]);
        assert_eq!(after("remove 0,1"), ["c"]);
        assert_eq!(after("remove [find]"), [""; 0]);
        assert_eq!(after("disable [find comment~\"^b\"]"), ["a", "b off", "c"]);
        assert_eq!(after("disable 0\nenable 0"), ["a", "b", "c"]);
        assert_eq!(after("move 2 0"), ["c", "a", "b"]);
        assert_eq!(after("move 0 2"), ["b", "a", "c"]);
        assert_eq!(after("move 0"), ["b", "c", "a"]);
        assert_eq!(
            after("move [find comment=c] destination=[find comment=b]"),
            ["a", "c", "b"]
        );
        assert_eq!(after("comment 1 comment=x"), ["a", "x", "c"]);
        assert_eq!(after("unset 1 comment"), ["a", "", "c"]);
        assert_eq!(after("set 1 !comment"), ["a", "", "c"]);
    }

    #[test]
    fn a_new_item_can_have_a_place() {
        let after = |command: &str| comments(&format!("{THREE}{command}"));
        assert_eq!(after("add comment=x place-before=0"), ["x", "a", "b", "c"]);
        assert_eq!(
            after("add comment=x place-before=[find comment=c]"),
            ["a", "b", "x", "c"]
        );
    }

    #[test]
    fn what_is_not_there_cannot_be_changed_and_is_named() {
        for command in [
            "set 0 comment=x",
            "set [find comment=y] comment=x",
            "set comment=x",
            "add comment=x place-before=0",
            "set *1 comment=x",
            "move 0 1",
        ] {
            let (_, report) = store(&format!("/ip firewall filter\n{command}"));
            assert_eq!(report.count().left_out, 1, "{command}: {report}");
        }
        let (_, report) = store("/ip firewall filter remove [find dynamic=no comment=x]");
        assert_eq!(report.count().noted, 1, "{report}");
    }

    #[test]
    fn ports_are_known_by_their_first_names() {
        let (store, report) = store(
            "/interface ethernet\nset [ find default-name=ether1 ] name=wan mtu=1400\n\
             set wan comment=x\n/interface set wan disabled=yes\n/interface set ether9 comment=y",
        );
        assert_eq!(report.count().mapped, 4, "{report}");
        let records = store.records("interface ethernet");
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].text("name"), Some("wan"));
        assert_eq!(records[0].text("default-name"), Some("ether1"));
        assert_eq!(records[0].text("comment"), Some("x"));
        assert!(records[0].is_disabled());
        assert_eq!(records[1].text("name"), Some("ether9"));
    }
}
