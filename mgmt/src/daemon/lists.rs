//! Address lists of a running gateway: shown, and changed by operators and by the resolver.

mod hosts;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;
use turnpike_conntrack::time::Tick;
use turnpike_engine::gateway::Gateway;
use turnpike_pipeline::ids::ListId;
use turnpike_pipeline::lists::Lists as ProgramLists;
use turnpike_pipeline::lists::members::{Added, Member, MemberKind, MembersFull};
use turnpike_pipeline::policy::ListTimeout;
use turnpike_pipeline::program::Program;

use super::Daemon;
use crate::logs::now_ms;
use crate::problem::did_you_mean;
use crate::report::{AddressList, ListChanged, ListEntry, Lists};
use crate::running::{NewEntry, Unlisted};

/// The most different comments that are kept; entries beyond have none.
pub const NOTES_MAX: usize = 65_536;

/// What is said of members, by the number that the table keeps; from one.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<Vec<Arc<str>>>);

impl Notes {
    /// The number of a note; zero for none, or if there are too many.
    fn number(&self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = notes.iter().position(|note| **note == *text);
        let index = known.or_else(|| {
            (notes.len() < NOTES_MAX).then(|| {
                notes.push(text.into());
                notes.len() - 1
            })
        });
        index.map_or(0, |index| u32::try_from(index + 1).unwrap_or(0))
    }

    fn text(&self, number: u32) -> String {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = usize::try_from(number).ok().and_then(|n| n.checked_sub(1));
        let note = index.and_then(|index| notes.get(index));
        note.map_or_else(String::new, ToString::to_string)
    }
}

/// A running gateway's lists at a moment.
struct Now {
    program: Arc<Program>,
    tick: Tick,
}

impl Now {
    fn of(gateway: Option<&Gateway>) -> Option<Self> {
        let gateway = gateway?;
        Some(Self {
            program: gateway.program(),
            tick: gateway.clock().now(),
        })
    }

    fn lists(&self) -> &ProgramLists {
        &self.program.lists
    }

    fn find(&self, name: &str) -> Result<ListId, Unlisted> {
        self.lists().named(name).ok_or_else(|| {
            let all = (0..).map_while(|id| self.lists().describe(ListId(id)));
            let names: Vec<&str> = all.map(|(name, _)| name).collect();
            let near = did_you_mean(name, names);
            Unlisted::Unknown(format!(
                "no address list is called `{name}`{near}; /v1/lists has them all, and a new one \
                 is made in the configuration"
            ))
        })
    }
}

impl Daemon {
    fn now(&self) -> Option<Now> {
        Now::of(self.gateway().as_ref())
    }

    /// All lists, with what is in the one called `name`.
    pub(super) fn list_lists(&self, name: Option<&str>) -> Lists {
        let now = self.now();
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        if let Some(now) = &now {
            for member in now.lists().members().iter(now.tick) {
                *counts.entry(member.list).or_default() += 1;
            }
        }
        let state = self.state();
        let lists = state.config.policy.address_lists.iter();
        let address_lists = lists.map(|list| {
            let wanted = name == Some(list.name.as_str());
            let shown = |prefixes: &[IpNet]| -> Vec<String> {
                let prefixes = prefixes.iter().filter(|_| wanted);
                prefixes.map(ToString::to_string).collect()
            };
            let found = now
                .as_ref()
                .and_then(|now| Some((now, now.lists().named(&list.name)?)));
            let number = found.and_then(|(now, id)| now.lists().number(id));
            let members = match found.filter(|_| wanted) {
                Some((now, id)) => now.lists().members_of(id, now.tick),
                None => Vec::new(),
            };
            let entries = members.iter().zip(now.iter().cycle());
            AddressList {
                name: list.name.clone(),
                prefixes: list.prefixes.len() as u64,
                members: number.and_then(|n| counts.get(&n).copied()).unwrap_or(0),
                address: shown(&list.prefixes),
                loaded_at: wanted.then_some(state.reloads.loaded_at),
                disabled: shown(&list.disabled),
                entries: entries.map(|(m, now)| self.entry(m, now.tick)).collect(),
            }
        });
        Lists {
            address_lists: address_lists.collect(),
        }
    }

    fn entry(&self, member: &Member, now: Tick) -> ListEntry {
        let age = now.since(member.created).as_secs();
        ListEntry {
            address: shown(member.prefix),
            flags: match member.kind {
                MemberKind::Dynamic => "D".to_owned(),
                MemberKind::Static => String::new(),
            },
            created_at: (now_ms() / 1_000).saturating_sub(age),
            timeout_seconds: member.deadline.map(|deadline| {
                let left = deadline.since(now);
                // What is left of a second counts as one: zero would be gone.
                left.as_secs() + u64::from(left.subsec_nanos() > 0)
            }),
            comment: self.notes.text(member.note),
        }
    }

    /// Adds addresses to a list, for an operator.
    pub(super) fn add_entries(&self, list: &str, new: &NewEntry) -> Result<ListChanged, Unlisted> {
        let now = self.now().ok_or_else(stopping)?;
        let id = now.find(list)?;
        let note = self.notes.number(&new.comment);
        let mut result = Added::Kept;
        for prefix in &new.prefixes {
            let added = now
                .lists()
                .add_member(id, *prefix, new.timeout, note, now.tick);
            match added {
                Ok(Added::New) => result = Added::New,
                Ok(Added::Refreshed) if result == Added::Kept => result = Added::Refreshed,
                Ok(Added::Refreshed | Added::Kept) => {}
                Err(MembersFull) => {
                    return Err(Unlisted::NotNow(format!(
                        "there is no room for {prefix}; what was added before it stays; put \
                         prefixes that last into the configuration"
                    )));
                }
            }
        }
        Ok(ListChanged {
            list: list.to_owned(),
            address: new.prefixes.iter().copied().map(shown).collect(),
            result: match result {
                Added::New => "added",
                Added::Refreshed => "refreshed",
                Added::Kept => "kept",
            }
            .to_owned(),
        })
    }

    /// Takes addresses out of a list, for an operator.
    pub(super) fn remove_entries(
        &self,
        list: &str,
        prefixes: &[IpNet],
    ) -> Result<ListChanged, Unlisted> {
        let now = self.now().ok_or_else(stopping)?;
        let id = now.find(list)?;
        let number = now.lists().number(id).unwrap_or(u32::MAX);
        let members = now.lists().members();
        let removed = prefixes
            .iter()
            .filter(|prefix| members.remove(number, **prefix, now.tick))
            .count();
        if removed == prefixes.len() {
            return Ok(ListChanged {
                list: list.to_owned(),
                address: prefixes.iter().copied().map(shown).collect(),
                result: "removed".to_owned(),
            });
        }
        let missing = prefixes.len() - removed;
        let configured = {
            let state = self.state();
            let lists = &state.config.policy.address_lists;
            let list = lists.iter().find(|known| known.name == list);
            list.is_some_and(|list| prefixes.iter().any(|p| list.prefixes.contains(p)))
        };
        if configured {
            return Err(Unlisted::Configured(format!(
                "{} is in the configuration; remove it there, and reload",
                counted(missing)
            )));
        }
        Err(Unlisted::Unknown(format!(
            "{} is no entry of `{list}`; `turnpike lists show {list}` has them all",
            counted(missing)
        )))
    }
}

fn counted(missing: usize) -> String {
    match missing {
        1 => "the address".to_owned(),
        many => format!("each of {many} prefixes"),
    }
}

fn stopping() -> Unlisted {
    Unlisted::NotNow("the gateway is stopping".to_owned())
}

/// A prefix, or the address if it is but one.
fn shown(prefix: IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() {
        return prefix.addr().to_string();
    }
    prefix.to_string()
}
