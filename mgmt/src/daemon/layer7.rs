//! What a running gateway says of layer 7, in the API's words.

use turnpike_pipeline::ids::Layer7Id;
use turnpike_pipeline::policy::{Layer7Policy, Layer7Protocol};
use turnpike_pipeline::program::Program;

use crate::report;

/// What a program looks for, and what came of it; `policy` is what it was compiled from.
pub(super) fn status(program: &Program, policy: &Layer7Policy) -> report::Layer7Status {
    let layer7 = &program.layer7;
    let counters = layer7.counters();
    let sought = layer7.sought().map_or(&[][..], |s| s.protocols());
    let one = |(id, protocol): (Layer7Id, &Layer7Protocol)| report::Layer7Protocol {
        name: protocol.name.clone(),
        regexp: protocol.pattern.text().to_owned(),
        comment: protocol.comment.to_string(),
        sought: sought.contains(&id),
        found: layer7.found(id).map_or(0, |counter| counter.read()),
    };
    let mut all: Vec<_> = (0..).map(Layer7Id).zip(&policy.protocols).collect();
    let place = |id: &Layer7Id| sought.iter().position(|s| s == id).unwrap_or(usize::MAX);
    all.sort_by_key(|(id, _)| place(id));
    let missed: u64 = layer7.samples().iter().map(|s| s.missed.read()).sum();
    report::Layer7Status {
        protocols: all.into_iter().map(one).collect(),
        refused: layer7.refused().map(str::to_owned),
        open: counters.open.read(),
        open_bytes: counters.open_bytes.read(),
        opened: counters.opened.read(),
        found: counters.found.read(),
        unknown: counters.unknown.read(),
        silent: counters.silent.read(),
        unexamined: counters.unexamined.read() + missed,
        packets: counters.packets.read(),
        bytes: counters.bytes.read(),
    }
}
