//! What there is to say about what is reached.

use std::collections::{BTreeMap, BTreeSet};

use turnpike_helpers::catalogue::{Rating, services_at};
use turnpike_pipeline::ids::{ChainId, RuleId};
use turnpike_pipeline::policy::{Action, Match, TableKind};
use turnpike_pipeline::rules::matchers::End;

use super::Subject;
use super::cast::{METRICS, Speech, Who};
use super::reach::{Hit, Pair, Reach, Zone, endpoint, zone};
use crate::report::{Finding, Severity};

/// Services of the catalogue by which a gateway is managed.
const MANAGEMENT: &[&str] = &[
    "ssh",
    "telnet",
    "ftp",
    "http",
    "https",
    "snmp",
    "winbox",
    "api",
    "api-ssl",
    "mac-winbox",
    METRICS,
];

/// Every finding about what is reached.
pub fn on(subject: &Subject<'_>, reach: &Reach) -> Vec<Finding> {
    let mut advice = Advice {
        subject,
        reach,
        findings: Vec::new(),
    };
    if subject.untrusted.is_empty() {
        advice.say(
            Severity::Low,
            "nobody-untrusted",
            None,
            "no interface has a default route or is in a list WAN, so everybody is taken to be \
             trusted; name the outside with --untrusted"
                .to_owned(),
        );
    }
    for (pair, hits) in &reach.hits {
        if pair.who != Who::Anybody {
            continue;
        }
        if subject.untrusted.contains(&pair.from) {
            advice.outsiders(*pair, hits);
        } else {
            advice.insiders(*pair, hits);
        }
    }
    advice.rejects();
    advice.noise();
    advice.listeners();
    advice.pointless_lists();
    advice.findings
}

struct Advice<'a> {
    subject: &'a Subject<'a>,
    reach: &'a Reach,
    findings: Vec<Finding>,
}

/// What is said of one service that strangers reach.
struct Concern {
    severity: Severity,
    advice: &'static str,
    better: &'static str,
}

impl Advice<'_> {
    fn say(&mut self, severity: Severity, advice: &str, rule: Option<RuleId>, message: String) {
        let rule = rule.and_then(|rule| self.subject.program.rules.find(rule));
        self.findings.push(Finding {
            severity,
            advice: advice.to_owned(),
            source: rule.map(|rule| rule.source.to_string()),
            message,
        });
    }

    fn speech(&self, index: usize) -> Option<&'_ Speech> {
        self.reach.cast.speeches.get(index)
    }

    fn outsiders(&mut self, pair: Pair, hits: &BTreeMap<usize, Hit>) {
        if let Zone::Behind(iface) = pair.to
            && self.subject.untrusted.contains(&iface)
        {
            return;
        }
        let from = self.subject.name(pair.from).to_owned();
        let to = match pair.to {
            Zone::Gateway => "the gateway".to_owned(),
            Zone::Behind(_) => format!("stations behind {}", zone(self.subject, pair.to)),
        };
        let open = self.open(pair, hits, &from, &to);
        self.by_source_port(hits, &from, &to);
        // What is told together: the same concern about the same rule.
        let mut told: BTreeMap<_, (Vec<String>, &str)> = BTreeMap::new();
        for (index, hit) in hits {
            let Some(speech) = self.speech(*index) else {
                continue;
            };
            let open_anyway = open.contains(&hit.rule) && hit.translated.is_none();
            if hit.source_port.is_some() || open_anyway {
                continue;
            }
            let chosen = hit.translated.is_some() || self.names_servers(hit.rule);
            let Some(concern) = concern(speech, pair.to, hit, chosen) else {
                continue;
            };
            let rule = hit.translated.map_or(hit.rule, |(_, rule)| Some(rule));
            let key = (concern.severity, concern.advice, rule);
            let entry = told.entry(key).or_insert((Vec::new(), concern.better));
            entry.0.push(called(speech, hit));
        }
        for ((severity, advice, rule), (services, better)) in told {
            let message = format!(
                "anybody behind {from} reaches {} at {to}; {better}",
                services.join(", ")
            );
            self.say(severity, advice, rule, message);
        }
    }

    /// Ports that nobody names are reached: by which rules, or because a chain ends.
    fn open(
        &mut self,
        pair: Pair,
        hits: &BTreeMap<usize, Hit>,
        from: &str,
        to: &str,
    ) -> BTreeSet<Option<RuleId>> {
        let mut by: BTreeMap<Option<RuleId>, Vec<&str>> = BTreeMap::new();
        for (index, hit) in hits {
            let speech = self.reach.cast.speeches.get(*index);
            if let Some(speech) = speech.filter(|s| s.unnamed)
                && hit.source_port.is_none()
            {
                by.entry(hit.rule).or_default().push(&speech.name);
            }
        }
        for (rule, what) in &by {
            let what = what.join(" and ").replace("other ", "any ");
            match rule {
                Some(_) => self.say(
                    Severity::High,
                    "open",
                    *rule,
                    format!(
                        "anybody behind {from} reaches {what} port at {to}; accept only the \
                         services that are meant"
                    ),
                ),
                None => {
                    let (last, chain) = self.end_of(pair.to);
                    self.say(
                        Severity::High,
                        "accept-by-default",
                        last,
                        format!(
                            "filter/{chain} ends without a drop, so anybody behind {from} reaches \
                             {what} port at {to}; end it with `action: drop`"
                        ),
                    );
                }
            }
        }
        by.into_keys().collect()
    }

    /// The last rule of the chain that packets to this place end in, and the chain's name.
    fn end_of(&self, to: Zone) -> (Option<RuleId>, &'static str) {
        let (chain, name) = match to {
            Zone::Gateway => (ChainId(0), "input"),
            Zone::Behind(_) => (ChainId(1), "forward"),
        };
        let rules = self.subject.program.rules.chain(TableKind::Filter, chain);
        let last = rules.and_then(|mut rules| rules.next_back());
        (last.map(RuleId), name)
    }

    fn by_source_port(&mut self, hits: &BTreeMap<usize, Hit>, from: &str, to: &str) {
        let mut by: BTreeMap<(Option<RuleId>, u16), Vec<&str>> = BTreeMap::new();
        for (index, hit) in hits {
            if let (Some(port), Some(speech)) =
                (hit.source_port, self.reach.cast.speeches.get(*index))
            {
                by.entry((hit.rule, port)).or_default().push(&speech.name);
            }
        }
        for ((rule, port), services) in by {
            let message = format!(
                "whoever behind {from} sends from port {port}, which is his choice, reaches {} at \
                 {to}; accept answers by `connection-state: established` instead",
                few(&services)
            );
            self.say(Severity::High, "source-port-trusted", rule, message);
        }
    }

    /// Whether a rule accepts towards servers that it names.
    fn names_servers(&self, rule: Option<RuleId>) -> bool {
        let rule = rule.and_then(|rule| self.subject.program.rules.find(rule));
        rule.is_some_and(|rule| {
            let by_list = rule.tests().iter().any(|t| t.name() == "dst-address-list");
            by_list || rule.asked_range(End::Dst).is_some()
        })
    }

    fn insiders(&mut self, pair: Pair, hits: &BTreeMap<usize, Hit>) {
        if pair.to != Zone::Gateway {
            return;
        }
        let mut by: BTreeMap<Option<RuleId>, Vec<&str>> = BTreeMap::new();
        for (index, hit) in hits {
            let speech = self.reach.cast.speeches.get(*index);
            if let Some(speech) = speech.filter(|s| MANAGEMENT.contains(&s.service))
                && hit.source_port.is_none()
            {
                by.entry(hit.rule).or_default().push(&speech.name);
            }
        }
        let from = self.subject.name(pair.from).to_owned();
        for (rule, services) in by {
            let message = format!(
                "anybody behind {from} reaches the gateway's management ({}); accept it from named \
                 addresses only, with `src-address-list`",
                few(&services)
            );
            let place = rule.or_else(|| self.end_of(pair.to).0);
            self.say(Severity::Low, "management-open", place, message);
        }
    }

    fn rejects(&mut self) {
        for rule in self.reach.rejecting.clone() {
            self.say(
                Severity::Low,
                "reject-outside",
                Some(rule),
                "strangers are told that they are refused, and so that somebody is there; towards \
                 the outside prefer `action: drop`"
                    .to_owned(),
            );
        }
    }

    fn noise(&mut self) {
        for rule in self.reach.noisy.clone() {
            self.say(
                Severity::Low,
                "late-dns-logged",
                Some(rule),
                "late answers of name servers (udp from port 53 to a closed port) are logged here; \
                 they are noise, no attack: drop them above without `log`"
                    .to_owned(),
            );
        }
    }

    /// The gateway's own listeners that ask nobody where he comes from.
    fn listeners(&mut self) {
        let metrics = self.subject.config.services.metrics.as_ref();
        let open = metrics.filter(|m| m.allowed.iter().any(|net| net.prefix_len() == 0));
        if let Some(metrics) = open {
            let message = format!(
                "the metrics listener on port {} answers every address; name those that may ask in \
                 `services: {{ metrics: {{ address: … }} }}`",
                metrics.port
            );
            self.say(Severity::Medium, "management-address", None, message);
        }
    }

    /// Rules that accept from an address list what anybody has from the same side anyway: a knock
    /// that opens an open door.
    fn pointless_lists(&mut self) {
        let (input, forward) = (ChainId(0), ChainId(1));
        let rules = self.subject.config.policy.filter.chains.iter().enumerate();
        let mut found = Vec::new();
        for (chain, place) in rules.flat_map(|(c, chain)| chain.rules.iter().map(move |r| (c, r))) {
            let list = place.matchers.src_address_list;
            let Some(Match {
                value,
                negated: false,
            }) = list
            else {
                continue;
            };
            if place.disabled || place.action != Action::Accept || place.matchers.dst_port.is_none()
            {
                continue;
            }
            let to_gateway = chain == usize::from(input.0);
            let forwarded = chain == usize::from(forward.0);
            let Some((speech, rule)) = self.open_anyway(place, to_gateway, forwarded) else {
                continue;
            };
            found.push((place.source.clone(), value, speech, rule));
        }
        for (source, list, speech, rule) in found {
            let described = self.subject.program.lists.describe(list);
            let name = described.map_or("?", |(name, _)| name).to_owned();
            let by = rule.and_then(|rule| self.subject.program.rules.find(rule));
            let by = by.map_or("the end of the chain".to_owned(), |rule| {
                format!("the rule on line {}", rule.source.line)
            });
            self.findings.push(Finding {
                severity: Severity::Medium,
                advice: "pointless-list".to_owned(),
                source: Some(source.to_string()),
                message: format!(
                    "{by} accepts {speech} from anybody, so being in the list {name} (by a knock, \
                     say) opens nothing; narrow {by}, or remove this rule"
                ),
            });
        }
    }

    /// A service that this rule accepts from a list and that another one, or the chain's end,
    /// accepts from anybody behind an interface where this rule looks.
    fn open_anyway(
        &self,
        rule: &turnpike_pipeline::policy::Rule,
        to_gateway: bool,
        forwarded: bool,
    ) -> Option<(String, Option<RuleId>)> {
        let matchers = &rule.matchers;
        let ports = matchers.dst_port.as_ref().filter(|m| !m.negated)?;
        let asked = |pair: &Pair| {
            let interface = matchers
                .in_interface
                .is_none_or(|m| (m.value == pair.from) != m.negated);
            let list = matchers.in_interface_list.is_none_or(|m| {
                self.subject
                    .program
                    .interfaces
                    .is_member(m.value, pair.from)
                    != m.negated
            });
            let zone = match pair.to {
                Zone::Gateway => !forwarded,
                Zone::Behind(_) => !to_gateway,
            };
            pair.who == Who::Anybody && interface && list && zone
        };
        let pairs = self.reach.hits.iter().filter(|(pair, _)| asked(pair));
        let mut open = pairs.flat_map(|(_, hits)| hits).filter_map(|(index, hit)| {
            let speech = self.speech(*index)?;
            let protocol = matchers
                .protocol
                .is_none_or(|m| (m.value == speech.proto) != m.negated);
            let mut named = speech.ports.iter().flatten();
            let port = named.any(|port| ports.value.contains(*port));
            let other = hit
                .rule
                .and_then(|rule| self.subject.program.rules.find(rule));
            let itself = other.is_some_and(|other| other.source == rule.source);
            let usable = protocol && port && !itself && hit.source_port.is_none();
            usable.then(|| (speech.name.clone(), hit.rule))
        });
        open.next()
    }
}

/// A service in words, with where it goes in truth.
fn called(speech: &Speech, hit: &Hit) -> String {
    match hit.translated {
        Some((to, _)) => format!("{} ({})", speech.name, endpoint(to)),
        None => speech.name.clone(),
    }
}

/// What there is to say of a service that strangers reach at a place: about the port that they
/// call, or about the one that it is translated to, whichever is worse.
fn concern(speech: &Speech, to: Zone, hit: &Hit, chosen: bool) -> Option<Concern> {
    let called = about(speech.service, speech.rating, to, chosen);
    let port = hit.translated.and_then(|((_, port), _)| port);
    let meant = port.and_then(|port| services_at(port, speech.proto).next());
    let meant = meant.and_then(|s| about(s.name, Some(s.rating), to, chosen));
    [called, meant]
        .into_iter()
        .flatten()
        .min_by_key(|concern| concern.severity)
}

/// `chosen`: a rule says which server is meant.
fn about(service: &str, rating: Option<Rating>, to: Zone, chosen: bool) -> Option<Concern> {
    let concern = |severity, advice, better| {
        Some(Concern {
            severity,
            advice,
            better,
        })
    };
    let at_gateway = to == Zone::Gateway;
    if service == "domain" && (at_gateway || !chosen) {
        return concern(
            Severity::High,
            "open-resolver",
            "an open resolver multiplies other people's attacks: answer the inside only",
        );
    }
    if service == "smtp" && at_gateway {
        return concern(
            Severity::High,
            "open-relay",
            "a relay that takes mail from anybody is found within hours: answer the inside only",
        );
    }
    if rating == Some(Rating::Unsafe) {
        return concern(
            Severity::High,
            "unsafe-service",
            "the catalogue calls it unsafe (N): close it, or let in named addresses only",
        );
    }
    if at_gateway && MANAGEMENT.contains(&service) {
        return concern(
            Severity::High,
            "management-open",
            "manage from named addresses only, with `src-address-list`",
        );
    }
    match rating? {
        Rating::Chosen if chosen && !at_gateway => None,
        Rating::Chosen => concern(
            Severity::Medium,
            "chosen-service",
            "it is safe only towards chosen servers (-): name them with `dst-address`",
        ),
        Rating::Depends => concern(
            Severity::Low,
            "depends-service",
            "whether that is safe depends on how it is used (?)",
        ),
        Rating::Safe | Rating::Unsafe => None,
    }
}

/// The first of many names.
fn few(names: &[&str]) -> String {
    const FEW: usize = 6;
    let first: Vec<&str> = names.iter().take(FEW).copied().collect();
    match names.len().saturating_sub(FEW) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
