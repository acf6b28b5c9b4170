//! Address lists: named sets of addresses that a rule asks for by [`ListId`].
//!
//! A list has what the configuration says, which a program is compiled with ([`prefixes`]), and
//! what came while the gateway runs, which all programs share ([`members`]). A list may hold both
//! families. A name keeps its number as long as the gateway runs, so members outlive programs.

pub mod members;
pub mod prefixes;
mod slots;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::time::Tick;

use crate::ids::ListId;
use crate::policy::{AddressList, ListTimeout};
use members::{Added, MEMBERS_MAX, Member, Members, MembersFull, NewMember};
use prefixes::PrefixSet;

/// Every address list of a program.
#[derive(Debug, Clone)]
pub struct Lists {
    lists: Box<[List]>,
    /// Every name that ever had a number, by number.
    names: Vec<Arc<str>>,
    members: Arc<Members>,
}

#[derive(Debug, Clone)]
struct List {
    number: u32,
    prefixes: PrefixSet,
    timed: Box<[(IpNet, Duration)]>,
}

impl Lists {
    /// Builds the sets; a [`ListId`] is an index into `lists`. Members go on from `previous`;
    /// where there are none yet, their table is hashed under `key`.
    pub fn build(lists: &[AddressList], previous: Option<&Self>, key: HashKey) -> Self {
        let mut names = previous.map_or_else(Vec::new, |previous| previous.names.clone());
        let mut number = |name: &str| {
            let known = names.iter().position(|known| **known == *name);
            let index = known.unwrap_or_else(|| {
                names.push(name.into());
                names.len() - 1
            });
            u32::try_from(index).unwrap_or(u32::MAX)
        };
        let built: Box<[List]> = lists
            .iter()
            .map(|list| List {
                number: number(&list.name),
                prefixes: PrefixSet::build(&list.prefixes),
                timed: list.timed.as_slice().into(),
            })
            .collect();
        let known = previous.map(|previous| &previous.members);
        let members = match known.filter(|members| !members.is_nothing()) {
            Some(members) => Arc::clone(members),
            // No rule can ask for a list, and nothing can be added to one.
            None if built.is_empty() => Arc::new(Members::new(0, key)),
            None => Arc::new(Members::new(MEMBERS_MAX, key)),
        };
        Self {
            lists: built,
            names,
            members,
        }
    }

    /// Whether `ip` is in the list at `now`; a list that does not exist contains nothing.
    pub fn contains(&self, id: ListId, ip: IpAddr, now: Tick) -> bool {
        self.find(id).is_some_and(|list| {
            list.prefixes.contains(ip) || self.members.contains(list.number, ip, now)
        })
    }

    /// Adds an address to a list, or refreshes it.
    pub fn add(
        &self,
        id: ListId,
        ip: IpAddr,
        timeout: ListTimeout,
        now: Tick,
    ) -> Result<Added, MembersFull> {
        let list = self.find(id).ok_or(MembersFull)?.number;
        let new = NewMember {
            list,
            prefix: ip.into(),
            timeout,
            note: 0,
        };
        self.members.add(&new, now)
    }

    /// The same lists with the members that they have at `now`, which nobody else changes.
    #[must_use]
    pub fn apart(&self, now: Tick) -> Self {
        Self {
            members: Arc::new(self.members.apart(now)),
            ..self.clone()
        }
    }

    /// What all programs share.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Adds the entries with a `timeout` that `previous` has not. For whoever publishes the
    /// program. Returns how many entries there was no room for.
    pub fn enter(&self, previous: Option<&Self>, now: Tick) -> usize {
        let mut refused = 0;
        for list in &self.lists {
            let before = previous.and_then(|p| p.lists.iter().find(|l| l.number == list.number));
            let before = before.map_or(&[][..], |list| &list.timed);
            for entry in list.timed.iter().filter(|entry| !before.contains(entry)) {
                let new = NewMember {
                    list: list.number,
                    prefix: entry.0.trunc(),
                    timeout: ListTimeout::For(entry.1),
                    note: 0,
                };
                refused += usize::from(self.members.add(&new, now).is_err());
            }
        }
        refused
    }

    /// Takes away the members of lists that are no more. Not before every worker has these lists,
    /// and not while others may come back.
    pub fn forget_gone(&self, now: Tick) {
        let keeps = |number| self.lists.iter().any(|list| list.number == number);
        self.members.sweep(0, usize::MAX, now, keeps);
    }

    /// The number of a list, which it keeps over reloads.
    pub fn number(&self, id: ListId) -> Option<u32> {
        Some(self.find(id)?.number)
    }

    /// Adds what an operator, or the resolver, wants in a list.
    pub fn add_member(
        &self,
        id: ListId,
        prefix: IpNet,
        timeout: ListTimeout,
        note: u32,
        now: Tick,
    ) -> Result<Added, MembersFull> {
        let list = self.number(id).ok_or(MembersFull)?;
        let new = NewMember {
            list,
            prefix: prefix.trunc(),
            timeout,
            note,
        };
        self.members.add(&new, now)
    }

    /// The members of a list that have not expired, each once, by address.
    pub fn members_of(&self, id: ListId, now: Tick) -> Vec<Member> {
        let Some(number) = self.number(id) else {
            return Vec::new();
        };
        let all = self.members.iter(now);
        let mut found: Vec<Member> = all.filter(|member| member.list == number).collect();
        found.sort_unstable_by_key(|member| (member.prefix, member.created));
        found.dedup_by_key(|member| member.prefix);
        found
    }

    /// The list called `name`.
    pub fn named(&self, name: &str) -> Option<ListId> {
        let mut all = (0..).map(ListId).zip(&self.lists);
        all.find(|(_, list)| self.name_of(list.number) == Some(name))
            .map(|(id, _)| id)
    }

    /// The list's name and how many different prefixes the configuration gives it, `None` if there
    /// is no such list.
    pub fn describe(&self, id: ListId) -> Option<(&str, usize)> {
        let list = self.find(id)?;
        Some((self.name_of(list.number)?, list.prefixes.len()))
    }

    /// How many lists there are.
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    fn find(&self, id: ListId) -> Option<&List> {
        self.lists.get(usize::from(id.0))
    }

    fn name_of(&self, number: u32) -> Option<&str> {
        self.names
            .get(usize::try_from(number).ok()?)
            .map(|name| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HashKey = HashKey([
        0x0123_4567_89ab_cdef,
        0x1032_5476_98ba_dcfe,
        0x5555_aaaa_3333_cccc,
        0x0f1e_2d3c_4b5a_6978,
    ]);
    const NOW: Tick = Tick::from_secs(100);

    fn named(name: &str, prefixes: &[&str]) -> AddressList {
        AddressList {
            name: name.to_owned(),
            prefixes: prefixes.iter().map(|p| p.parse().unwrap()).collect(),
            ..AddressList::default()
        }
    }

    fn list(prefixes: &[&str]) -> Lists {
        Lists::build(&[named("trusted", prefixes)], None, KEY)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_list_holds_both_families_and_keeps_them_apart() {
        let lists = list(&["10.5.101.0/24", "2001:db8:fade::/64"]);
        let contains = |text| lists.contains(ListId(0), ip(text), NOW);
        assert!(contains("10.5.101.255"));
        assert!(!contains("10.5.102.0"));
        assert!(contains("2001:db8:fade::1"));
        assert!(!contains("2001:db8:fadf::1"));
        assert!(!contains("::ffff:10.5.101.1"));
    }

    #[test]
    fn a_prefix_with_host_bits_is_its_network() {
        let lists = list(&["192.168.88.7/24"]);
        assert!(lists.contains(ListId(0), ip("192.168.88.200"), NOW));
    }

    #[test]
    fn a_list_that_does_not_exist_contains_nothing_and_takes_nothing() {
        let lists = list(&["0.0.0.0/0"]);
        assert!(!lists.contains(ListId(1), ip("10.0.0.1"), NOW));
        let added = lists.add(ListId(1), ip("10.0.0.1"), ListTimeout::NoneDynamic, NOW);
        assert_eq!(added, Err(MembersFull));
    }

    #[test]
    fn the_whole_of_a_family_is_not_the_whole_of_the_other() {
        let lists = list(&["0.0.0.0/0"]);
        assert!(lists.contains(ListId(0), ip("0.0.0.0"), NOW));
        assert!(lists.contains(ListId(0), ip("255.255.255.255"), NOW));
        assert!(!lists.contains(ListId(0), ip("::"), NOW));
    }

    #[test]
    fn a_list_says_its_name_and_how_many_prefixes_it_holds() {
        let lists = list(&["10.0.0.0/8", "10.0.0.1/8", "::1/128"]);
        assert_eq!(lists.describe(ListId(0)), Some(("trusted", 2)));
        assert_eq!(lists.describe(ListId(1)), None);
        assert_eq!(lists.named("trusted"), Some(ListId(0)));
    }

    #[test]
    fn members_outlive_a_program_by_the_name_of_their_list() {
        let first = Lists::build(&[named("a", &[]), named("b", &[])], None, KEY);
        let stay = ListTimeout::NoneDynamic;
        first.add(ListId(0), ip("10.0.0.1"), stay, NOW).unwrap();
        first.add(ListId(1), ip("10.0.0.2"), stay, NOW).unwrap();
        let second = Lists::build(&[named("c", &[]), named("b", &[])], Some(&first), KEY);
        assert!(!second.contains(ListId(0), ip("10.0.0.1"), NOW));
        assert!(second.contains(ListId(1), ip("10.0.0.2"), NOW));
        second.enter(Some(&first), NOW);
        assert_eq!(
            second.members().taken(),
            2,
            "who has the old lists asks them still"
        );
        second.forget_gone(NOW);
        assert_eq!(second.members().taken(), 1, "a is no more");
    }

    #[test]
    fn an_entry_with_a_timeout_begins_once_and_a_reload_does_not_begin_it_again() {
        let timed = |seconds| {
            let mut list = named("a", &[]);
            let entry = ("10.0.0.0/30".parse().unwrap(), Duration::from_secs(seconds));
            list.timed = vec![entry];
            list
        };
        let first = Lists::build(&[timed(10)], None, KEY);
        assert_eq!(first.enter(None, NOW), 0);
        let later = NOW.after(Duration::from_secs(6));
        let second = Lists::build(&[timed(10)], Some(&first), KEY);
        second.enter(Some(&first), later);
        let contains = |lists: &Lists, seconds| {
            lists.contains(
                ListId(0),
                ip("10.0.0.3"),
                NOW.after(Duration::from_secs(seconds)),
            )
        };
        assert!(contains(&second, 9));
        assert!(!contains(&second, 10));
        let third = Lists::build(&[timed(11)], Some(&second), KEY);
        third.enter(Some(&second), later);
        assert!(contains(&third, 16), "it is another entry");
    }
}
