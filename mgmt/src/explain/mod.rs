//! What becomes of a packet, and why: told by the very stages that forward it.
//!
//! A [`Scene`] is a policy compiled on made-up ports. Each question gets a gateway of its own
//! there, with one worker and no connections, so that asking changes nothing and questions do not
//! meet. What a packet's `state` says is played first, by real packets where that can be:
//!
//! * `established`: the connection's first packet, its answer and, for TCP, the third packet of the
//!   handshake, past a gateway with the same routes and translations and no other rules, which
//!   then gets the policy's as by a reload. One with the gateway itself is entered by hand.
//! * `related`: an ICMP error is about a packet that has just passed; anything else was announced
//!   by another connection, as a helper would announce it.
//! * `invalid`: its checksum is wrong.
//! * `untracked`: connection tracking is off.

mod live;
mod play;
mod show;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Serialize, Serializer};
use turnpike_conntrack::ids::ConnState;
use turnpike_engine::explain::{Explainer, Followed, compile};
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::{IfaceId, RuleId};
use turnpike_pipeline::policy::Policy;
use turnpike_pipeline::program::Program;
use turnpike_pipeline::rules::{Facts, Look, Verdict};
use turnpike_pipeline::stages::ask::Hook;
use turnpike_pipeline::witness::{Ending, Looked, Waypoint};

use crate::words::{Words, of_frame, shown};
use play::Play;

pub use live::explain_live;

/// A packet to explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Where it comes in.
    pub in_interface: IfaceId,
    /// The packet.
    pub packet: Words,
    /// What was sent before.
    pub after: Vec<Earlier>,
}

/// A packet that was sent before another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// Where it comes in; `None` for where the route back to its source points.
    pub in_interface: Option<IfaceId>,
    /// The packet.
    pub packet: Words,
}

/// What became of a packet, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Explanation {
    /// The packet in words.
    pub packet: String,
    /// Where it came in.
    pub in_interface: String,
    /// What was sent before, and what became of it.
    pub after: Vec<String>,
    /// What it met on its way.
    pub steps: Vec<Step>,
    /// How it ended, in the words of verdict files.
    pub verdict: String,
    /// Why it was dropped or rejected, as metrics name it.
    pub reason: Option<String>,
    /// The same as a sentence.
    pub description: Option<String>,
    /// The state of its connection.
    pub connection_state: Option<String>,
    /// The rule that decided.
    pub rule: Option<RuleName>,
    /// Where it left.
    pub out_interface: Option<String>,
    /// The source it was translated to; port 0 where the protocol has none.
    #[serde(serialize_with = "endpoint")]
    pub nat_src: Option<SocketAddr>,
    /// The destination it was translated to.
    #[serde(serialize_with = "endpoint")]
    pub nat_dst: Option<SocketAddr>,
    /// The packet as it left, in words; several if it was cut up.
    pub leaves: Vec<String>,
    /// What the gateway sent because of it.
    pub answers: Vec<String>,
}

fn endpoint<S: Serializer>(endpoint: &Option<SocketAddr>, to: S) -> Result<S::Ok, S::Error> {
    endpoint
        .map(|endpoint| shown(endpoint, endpoint.port() != 0))
        .serialize(to)
}

/// Something on a packet's way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(
    tag = "step",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case"
)]
pub enum Step {
    /// Connection tracking looked at it; no state if it may open a connection.
    Tracking {
        /// The connection's state.
        state: Option<String>,
    },
    /// A chain was asked.
    Chain {
        /// The chain, as `table/chain`.
        chain: String,
        /// How the chain saw the packet.
        sees: String,
        /// What it decided.
        verdict: String,
        /// The rules that were looked at, in order.
        rules: Vec<RuleLook>,
    },
    /// Its way was looked up.
    Route {
        /// The address.
        destination: IpAddr,
        /// The interface; none for the gateway itself.
        out_interface: Option<String>,
    },
}

/// A rule, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RuleName {
    /// `table/chain/N file:line`.
    pub rule: String,
    /// Its comment.
    pub comment: String,
}

/// A rule that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RuleLook {
    /// The rule.
    #[serde(flatten)]
    pub name: RuleName,
    /// Its action, with what belongs to it.
    pub action: String,
    /// Whether it matched.
    pub matched: bool,
    /// Whether it is disabled.
    pub disabled: bool,
    /// The matcher that did not hold.
    pub failed: Option<Failed>,
}

/// A matcher that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failed {
    /// Its name.
    pub matcher: String,
    /// What it asks for; nothing where the rule does not say it in so many words.
    pub asks: Option<String>,
    /// What the packet has; nothing if it lacks what was asked about.
    pub has: Option<String>,
}

/// A policy that packets can be explained with.
#[derive(Debug)]
pub struct Scene<'a> {
    policy: &'a Policy,
    program: Arc<Program>,
}

impl<'a> Scene<'a> {
    /// Compiles a policy.
    pub fn new(policy: &'a Policy) -> Self {
        Self {
            policy,
            program: Arc::new(compile(policy, None)),
        }
    }

    /// The interface of this name.
    ///
    /// # Errors
    /// Says which there are.
    pub fn interface(&self, name: &str) -> Result<IfaceId, String> {
        interface_named(&self.program, name)
    }

    /// Explains a packet.
    ///
    /// # Errors
    /// A sentence: the packet cannot be had in the state that it asks for.
    pub fn explain(&self, question: &Question) -> Result<Explanation, String> {
        let packet = &question.packet;
        // A program of its own: what its rules remember, buckets and members of lists, must not be
        // what another question has left.
        let program = match packet.state {
            Some(ConnState::Untracked) => compile(&untracking(self.policy), None),
            Some(
                ConnState::New | ConnState::Established | ConnState::Related | ConnState::Invalid,
            )
            | None => compile(self.policy, None),
        };
        let mut play = Play::new(Explainer::new(Arc::new(program)));
        let mut after = Vec::new();
        for earlier in &question.after {
            after.push(play.earlier(earlier)?);
        }
        let packet = match packet.state {
            Some(ConnState::Established) => {
                play.establish(question.in_interface, packet, self.policy)?;
                packet
            }
            Some(ConnState::Related) => &play.relate(question.in_interface, packet, self.policy)?,
            Some(ConnState::New | ConnState::Invalid | ConnState::Untracked) | None => packet,
        };
        let followed = play.packet(question.in_interface, packet)?;
        let program = play.program();
        let mut explanation = explained(&program, question.in_interface, Some(packet), &followed);
        explanation.packet = packet.to_string();
        explanation.after = after;
        Ok(explanation)
    }
}

fn interface_named(program: &Program, name: &str) -> Result<IfaceId, String> {
    let mut all = program.interfaces.iter();
    let found = all.find(|(_, facts)| *facts.name == *name);
    found.map(|(id, _)| id).ok_or_else(|| {
        let names = program.interfaces.iter().map(|(_, facts)| &*facts.name);
        let names: Vec<&str> = names.collect();
        format!(
            "no interface is named `{name}`; there are: {}",
            names.join(", ")
        )
    })
}

fn untracking(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    policy.tracking.enabled = false;
    policy
}

/// What was found out about a packet, in words.
pub fn explained(
    program: &Program,
    in_interface: IfaceId,
    packet: Option<&Words>,
    followed: &Followed,
) -> Explanation {
    let name = |id: IfaceId| program.interface_name(id).unwrap_or("?").to_owned();
    let words = |frame: &[u8]| of_frame(frame).map_or_else(|| "?".to_owned(), |w| w.to_string());
    let end = followed.end;
    let reason = end.and_then(|end| end.reason);
    let rule = end.and_then(|end| end.rule);
    let (nat_src, nat_dst) = packet.map_or((None, None), |packet| translated(packet, followed));
    Explanation {
        packet: packet.map(ToString::to_string).unwrap_or_default(),
        in_interface: name(in_interface),
        after: Vec::new(),
        steps: steps(program, &followed.waypoints),
        verdict: verdict(end.map(|end| end.ending), reason).to_owned(),
        reason: reason.map(|reason| reason.label().to_owned()),
        description: reason.map(|reason| reason.describe().trim().to_owned()),
        connection_state: end.and_then(|end| end.state).map(|s| s.name().to_owned()),
        rule: rule.and_then(|rule| rule_name(program, rule)),
        out_interface: end.and_then(|end| end.out).map(name),
        nat_src,
        nat_dst,
        leaves: followed
            .left
            .iter()
            .map(|sent| words(&sent.frame))
            .collect(),
        answers: followed
            .answers
            .iter()
            .map(|sent| format!("{}, out by {}", words(&sent.frame), name(sent.interface)))
            .collect(),
    }
}

/// The word for how a packet ended. What the rules let through to the gateway itself is `local`,
/// whether or not anything there wants it.
const fn verdict(ending: Option<Ending>, reason: Option<DropReason>) -> &'static str {
    match (ending, reason) {
        (_, Some(DropReason::NoListener)) => Ending::Local.name(),
        (Some(ending), _) => ending.name(),
        // Every packet ends; were there one that did not, it would be said.
        (None, _) => "lost",
    }
}

/// What the packet's source and destination became.
fn translated(packet: &Words, followed: &Followed) -> (Option<SocketAddr>, Option<SocketAddr>) {
    let left = followed.left.first().and_then(|sent| of_frame(&sent.frame));
    let (src, dst) = match left {
        Some(left) => (left.src, left.dst),
        None => {
            // It did not leave: its destination is what the last chain saw.
            let seen = followed
                .waypoints
                .iter()
                .rev()
                .find_map(|waypoint| match waypoint {
                    Waypoint::Asked(_, facts) => Some(facts),
                    Waypoint::Tracked(_)
                    | Waypoint::Looked(_)
                    | Waypoint::Decided(..)
                    | Waypoint::Routed(..) => None,
                });
            let dst = seen.map(|facts| SocketAddr::new(facts.dst, facts.dst_port.unwrap_or(0)));
            (packet.src, dst.unwrap_or(packet.dst))
        }
    };
    let changed = |now: SocketAddr, before: SocketAddr| (now != before).then_some(now);
    (changed(src, packet.src), changed(dst, packet.dst))
}

fn steps(program: &Program, waypoints: &[Waypoint]) -> Vec<Step> {
    let mut steps = Vec::new();
    for waypoint in waypoints {
        match waypoint {
            Waypoint::Tracked(state) => steps.push(Step::Tracking {
                state: state.map(|state| state.name().to_owned()),
            }),
            Waypoint::Asked(hook, facts) => steps.push(Step::Chain {
                chain: chain_name(program, *hook),
                sees: sees(facts),
                verdict: String::new(),
                rules: Vec::new(),
            }),
            Waypoint::Looked(looked) => {
                if let Some(Step::Chain { rules, .. }) = steps.last_mut() {
                    rules.extend(rule_look(program, looked));
                }
            }
            Waypoint::Decided(_, decision) => {
                if let Some(Step::Chain { verdict, .. }) = steps.last_mut() {
                    decision_word(decision.verdict).clone_into(verdict);
                }
            }
            Waypoint::Routed(destination, out) => steps.push(Step::Route {
                destination: *destination,
                out_interface: out
                    .and_then(|id| program.interface_name(id))
                    .map(str::to_owned),
            }),
        }
    }
    steps
}

fn chain_name(program: &Program, hook: Hook) -> String {
    let (table, chain) = hook.chain();
    let name = program.rules.chain_name(table, chain);
    format!("{}/{}", table.name(), name.map_or("?", |name| &**name))
}

/// A packet's endpoints as a chain sees them.
fn sees(facts: &Facts) -> String {
    let end = |ip: IpAddr, port: Option<u16>| match port {
        Some(port) => SocketAddr::new(ip, port).to_string(),
        None => ip.to_string(),
    };
    let (src, dst) = (
        end(facts.src, facts.src_port),
        end(facts.dst, facts.dst_port),
    );
    format!("{src} > {dst}")
}

fn rule_name(program: &Program, rule: RuleId) -> Option<RuleName> {
    let rule = program.rules.find(rule)?;
    Some(RuleName {
        rule: rule.to_string(),
        comment: rule.comment.to_string(),
    })
}

fn rule_look(program: &Program, looked: &Looked) -> Option<RuleLook> {
    let rule = program.rules.find(looked.rule)?;
    let failed = match looked.look {
        Look::Failed(matcher) => Some(Failed {
            matcher: matcher.to_owned(),
            asks: show::property(&rule.text, matcher),
            has: looked.value.clone(),
        }),
        Look::Matched | Look::Disabled => None,
    };
    Some(RuleLook {
        name: rule_name(program, looked.rule)?,
        action: show::action(&rule.text),
        matched: looked.look == Look::Matched,
        disabled: looked.look == Look::Disabled,
        failed,
    })
}

const fn decision_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "accept",
        Verdict::Drop => "drop",
        Verdict::Reject(_) => "reject",
        Verdict::NoTrack => "notrack",
        Verdict::SrcNat(_) => "src-nat",
        Verdict::Masquerade(_) => "masquerade",
        Verdict::DstNat(_) => "dst-nat",
        Verdict::Redirect(_) => "redirect",
        Verdict::EndpointIndependent(_) => "endpoint-independent-nat",
        Verdict::Same(..) => "same",
        Verdict::Netmap(_) => "netmap",
    }
}
