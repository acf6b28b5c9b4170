//! Telling a witness that follows packets what comes of each rule that one is held against.
//!
//! For a witness that does not follow any, this is [`Asking`] and nothing else.

use std::net::IpAddr;

use turnpike_conntrack::limits::Limit;

use crate::buffer::Buffer;
use crate::ids::{ListId, RuleId};
use crate::policy::{ListTimeout, PacketAsk};
use crate::program::Program;
use crate::rules::{CompiledRule, Facts, Look, Observer};
use crate::stages::counting::Asking;
use crate::witness::{Looked, Waypoint, Witness};

/// Whom the evaluator tells of a packet: the stages, and the witness.
#[derive(Debug)]
pub struct Telling<'a, B, W> {
    asking: Asking<'a, B>,
    program: &'a Program,
    buf: &'a B,
    witness: &'a mut W,
    /// How many connections the rule at hand has counted, once it was asked.
    connections: Option<u32>,
}

impl<'a, B: Buffer, W: Witness<B>> Telling<'a, B, W> {
    /// Lets `asking` answer, and tells `witness` what became of it.
    pub const fn new(
        asking: Asking<'a, B>,
        program: &'a Program,
        buf: &'a B,
        witness: &'a mut W,
    ) -> Self {
        Self {
            asking,
            program,
            buf,
            witness,
            connections: None,
        }
    }

    /// What the packet answered to the matcher that did not hold.
    fn value(&mut self, rule: RuleId, failed: &str, facts: &Facts) -> Option<String> {
        let rule = self.program.rules.find(rule)?;
        let mut tests = rule.tests().iter();
        let fails = tests.find(|test| test.name() == failed && !test.holds(facts, self.program));
        if let Some(test) = fails {
            return test.value(facts, self.program);
        }
        let mut asks = rule.packet_asks().iter();
        match asks.find(|asked| asked.value.name() == failed) {
            Some(asked) => self.asking.sight().value(&asked.value),
            None => self.connections.map(|connections| connections.to_string()),
        }
    }
}

impl<B: Buffer, W: Witness<B>> Observer for Telling<'_, B, W> {
    fn looked_at(&mut self, rule: RuleId, look: Look, facts: &Facts) {
        self.asking.looked_at(rule, look, facts);
        if W::FOLLOWS {
            let value = match look {
                Look::Failed(matcher) => self.value(rule, matcher, facts),
                Look::Matched | Look::Disabled => None,
            };
            let looked = Looked { rule, look, value };
            self.witness.meets(self.buf, Waypoint::Looked(looked));
            self.connections = None;
        }
    }

    fn hears_every_look(&self) -> bool {
        W::FOLLOWS
    }

    fn matched(&mut self, id: RuleId, rule: &CompiledRule) {
        self.asking.matched(id, rule);
    }

    fn asks_lists(&mut self) {
        self.asking.asks_lists();
    }

    fn asks_label(&mut self, rule: RuleId) -> Option<bool> {
        self.asking.asks_label(rule)
    }

    fn add_to_list(&mut self, list: ListId, address: IpAddr, timeout: ListTimeout) {
        self.asking.add_to_list(list, address, timeout);
    }

    fn packet(&mut self, rule: RuleId, ask: &PacketAsk, facts: &Facts) -> Option<bool> {
        self.asking.packet(rule, ask, facts)
    }

    fn connections(&mut self, limit: Limit, source: IpAddr) -> u32 {
        let connections = self.asking.connections(limit, source);
        self.connections = Some(connections);
        connections
    }
}
