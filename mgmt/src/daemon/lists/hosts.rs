//! Host names in address lists, resolved again and again.
//!
//! The system's resolver says nothing of how long an answer holds, so each name is asked for once a
//! minute. Its addresses are members of the list, with the name as their comment, until an answer
//! no longer has them. A name that cannot be resolved keeps the addresses it had: a gateway whose
//! resolver is dead starts, and goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::super::{Daemon, RunError};
use super::ListTimeout;
use crate::logs::Topic;

/// How often a name is resolved.
const AGAIN: Duration = Duration::from_secs(60);
/// How often it is looked whether the configuration names others.
const LOOK: Duration = Duration::from_millis(500);
/// The most addresses of one name.
const ADDRESSES_MAX: usize = 64;

/// A list and a name in it.
type Place = (String, String);
/// What names stand for.
type Known = BTreeMap<Place, BTreeSet<IpAddr>>;

/// What the names of all lists stand for, as far as it is known.
#[derive(Debug, Default)]
struct Hosts {
    known: Known,
    failed: BTreeSet<String>,
}

/// What a round of resolving comes to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Round {
    /// Addresses to be in a list, each with its name; those that are in it already, too.
    add: Vec<(Place, IpAddr)>,
    /// Addresses that no name of their list stands for any longer.
    remove: Vec<(String, IpAddr)>,
    /// What is new to say of names that cannot be resolved, or can be again.
    said: Vec<String>,
}

impl Hosts {
    fn round(
        &mut self,
        wanted: &BTreeSet<Place>,
        resolve: impl Fn(&str) -> io::Result<BTreeSet<IpAddr>>,
    ) -> Round {
        let mut round = Round::default();
        let names: BTreeSet<&str> = wanted.iter().map(|(_, host)| host.as_str()).collect();
        let mut answers = BTreeMap::new();
        for host in names {
            match resolve(host) {
                Ok(addresses) => {
                    if self.failed.remove(host) {
                        round.said.push(format!("{host} can be resolved again"));
                    }
                    answers.insert(host, addresses);
                }
                Err(error) => {
                    if self.failed.insert(host.to_owned()) {
                        round.said.push(format!(
                            "{host} cannot be resolved: {error}; its addresses stay as they are"
                        ));
                    }
                }
            }
        }
        let next: Known = wanted
            .iter()
            .map(|place| {
                let kept = || self.known.get(place).cloned().unwrap_or_default();
                let addresses = answers.get(place.1.as_str()).cloned();
                (place.clone(), addresses.unwrap_or_else(kept))
            })
            .collect();
        let is_wanted = |list: &str, ip: &IpAddr| {
            let mut of_list = next.iter().filter(|((l, _), _)| l == list);
            of_list.any(|(_, addresses)| addresses.contains(ip))
        };
        for ((list, _), addresses) in &self.known {
            let gone = addresses.iter().filter(|ip| !is_wanted(list, ip));
            round.remove.extend(gone.map(|ip| (list.clone(), *ip)));
        }
        for (place, addresses) in &next {
            round
                .add
                .extend(addresses.iter().map(|ip| (place.clone(), *ip)));
        }
        self.known = next;
        round
    }
}

fn lookup(host: &str) -> io::Result<BTreeSet<IpAddr>> {
    let found = (host, 0).to_socket_addrs()?;
    Ok(found
        .map(|address| address.ip())
        .take(ADDRESSES_MAX)
        .collect())
}

impl Daemon {
    /// Resolves host names until the gateway stops. Nobody waits for it: the resolver may take
    /// its time.
    pub(in super::super) fn resolve_hosts(self: &Arc<Self>) -> Result<(), RunError> {
        let daemon = Arc::clone(self);
        let work = move || {
            let mut hosts = Hosts::default();
            let mut last: Option<(Instant, BTreeSet<Place>)> = None;
            while !daemon.stopping.load(Ordering::Relaxed) {
                let wanted = daemon.wanted_hosts();
                let due = last
                    .as_ref()
                    .is_none_or(|(at, of)| at.elapsed() >= AGAIN || *of != wanted);
                if due {
                    let round = hosts.round(&wanted, lookup);
                    daemon.take_over_hosts(round);
                    last = Some((Instant::now(), wanted));
                }
                thread::sleep(LOOK);
            }
        };
        let thread = thread::Builder::new().name("tp-hosts".into()).spawn(work);
        thread.map(drop).map_err(|source| RunError::System {
            what: "no thread for host names",
            source,
        })
    }

    fn wanted_hosts(&self) -> BTreeSet<Place> {
        let state = self.state();
        let lists = state.config.policy.address_lists.iter();
        lists
            .flat_map(|list| {
                list.hosts
                    .iter()
                    .map(|host| (list.name.clone(), host.clone()))
            })
            .collect()
    }

    fn take_over_hosts(&self, round: Round) {
        for line in round.said {
            self.logs.write(Topic::System, line);
        }
        let Some(now) = self.now() else { return };
        for (list, ip) in round.remove {
            if let Some(number) = now
                .lists()
                .named(&list)
                .and_then(|id| now.lists().number(id))
            {
                now.lists().members().remove(number, ip.into(), now.tick);
            }
        }
        let mut refused = 0;
        for ((list, host), ip) in round.add {
            let note = self.notes.number(&host);
            let stay = ListTimeout::NoneDynamic;
            let Some(id) = now.lists().named(&list) else {
                continue;
            };
            let added = now.lists().add_member(id, ip.into(), stay, note, now.tick);
            refused += usize::from(added.is_err());
        }
        if refused > 0 {
            let line = format!("there is no room for {refused} addresses of host names");
            self.logs.write(Topic::System, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(last: &[u8]) -> BTreeSet<IpAddr> {
        last.iter().map(|n| IpAddr::from([192, 0, 2, *n])).collect()
    }

    fn place(list: &str, host: &str) -> Place {
        (list.to_owned(), host.to_owned())
    }

    fn dead(_: &str) -> io::Result<BTreeSet<IpAddr>> {
        Err(io::Error::other("nobody answers"))
    }

    #[test]
    fn what_an_answer_no_longer_has_is_removed_and_the_rest_is_added() {
        let wanted = BTreeSet::from([place("vpn", "a.example")]);
        let mut hosts = Hosts::default();
        let first = hosts.round(&wanted, |_| Ok(ips(&[1, 2])));
        assert_eq!((first.add.len(), first.remove.len()), (2, 0));
        let second = hosts.round(&wanted, |_| Ok(ips(&[2, 3])));
        assert_eq!(second.remove, [("vpn".to_owned(), [192, 0, 2, 1].into())]);
        assert_eq!(second.add.len(), 2);
    }

    #[test]
    fn an_address_that_another_name_of_the_list_stands_for_stays() {
        let both = BTreeSet::from([place("vpn", "a.example"), place("vpn", "b.example")]);
        let mut hosts = Hosts::default();
        hosts.round(&both, |_| Ok(ips(&[1])));
        let one = BTreeSet::from([place("vpn", "b.example")]);
        assert_eq!(hosts.round(&one, |_| Ok(ips(&[1]))).remove, []);
        let none = hosts.round(&BTreeSet::new(), dead);
        assert_eq!(none.remove, [("vpn".to_owned(), [192, 0, 2, 1].into())]);
    }

    #[test]
    fn a_dead_resolver_takes_nothing_away_and_is_spoken_of_once() {
        let wanted = BTreeSet::from([place("vpn", "a.example")]);
        let mut hosts = Hosts::default();
        let round = hosts.round(&wanted, dead);
        assert_eq!((round.add.len(), round.said.len()), (0, 1));
        assert_eq!(hosts.round(&wanted, dead), Round::default());
        let alive = hosts.round(&wanted, |_| Ok(ips(&[1])));
        assert_eq!((alive.add.len(), alive.said.len()), (1, 1));
        let again = hosts.round(&wanted, dead);
        assert_eq!((again.add.len(), again.remove.len()), (1, 0));
    }
}
