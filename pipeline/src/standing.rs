//! How a live connection stands with the program that runs: what its next packet would be treated
//! by.

use turnpike_conntrack::ids::{FlowRef, Generation};

use crate::buffer::Buffer;
use crate::outcome::OutcomeId;
use crate::plans::Plans;
use crate::stages::family::Stack;
use crate::witness::Witness;
use crate::worker::Worker;

/// What there is of an earlier judgement of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It was never judged, or its judgement was not kept.
    Unjudged,
    /// An older program judged it: its next packet is judged again.
    Outdated(Generation),
    /// It has an outcome, which counts and decides without any rule being looked at.
    Outcome,
    /// It has a plan: the rules that ask each of its packets.
    Plan,
}

impl<B: Buffer, W: Witness<B>> Worker<B, W> {
    /// How a flow of this worker stands.
    pub fn standing<F: Stack>(&self, flow: FlowRef) -> Standing {
        let cached = F::table(self.conntrack()).cached(flow);
        let id = OutcomeId(cached.outcome);
        if cached.generation == Generation(0) || id.is_none() {
            Standing::Unjudged
        } else if cached.generation != self.generation() {
            Standing::Outdated(cached.generation)
        } else if Plans::is_plan(id) {
            Standing::Plan
        } else {
            Standing::Outcome
        }
    }
}
