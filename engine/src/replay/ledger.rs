//! Who is told of every packet's end, and the verdict lines that come of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use turnpike_pipeline::buffer::{Buffer, HeapBuffer};
use turnpike_pipeline::ids::IfaceId;
use turnpike_pipeline::program::Program;
use turnpike_pipeline::witness::{End, Ending, Witness};

use super::ReplayError;
use super::output::{OutputDir, VerdictLine};

/// The ends that the worker and the slow path report, in one order.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Rc<RefCell<Vec<(u64, End)>>>);

impl Recorder {
    /// Notes the end of the packet with this token; zero is a packet of the gateway's own.
    pub fn note(&self, token: u64, end: End) {
        if token != 0 {
            self.0.borrow_mut().push((token, end));
        }
    }

    /// Whether the end of this packet, other than being held, has been noted.
    pub fn has_ended(&self, token: u64) -> bool {
        let ends = self.0.borrow();
        ends.iter()
            .any(|(of, end)| *of == token && end.ending != Ending::Held)
    }

    fn take(&self) -> Vec<(u64, End)> {
        self.0.take()
    }
}

impl Witness<HeapBuffer> for Recorder {
    fn end(&mut self, buf: &HeapBuffer, end: &End) {
        self.note(buf.token(), *end);
    }
}

/// Where a packet came from, as its verdict lines say it.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The interface it was fed to.
    pub interface: IfaceId,
    /// Its number in its file.
    pub index: u64,
    /// The number of its input.
    pub input: usize,
}

/// The packets without a last verdict, and the counts of those with one.
#[derive(Debug, Default)]
pub struct Ledger {
    open: BTreeMap<u64, (Origin, Option<End>)>,
    verdicts: BTreeMap<&'static str, u64>,
}

impl Ledger {
    /// Opens the account of a packet about to be fed.
    pub fn open(&mut self, token: u64, origin: Origin) {
        self.open.insert(token, (origin, None));
    }

    /// Writes a line for each end the recorder has noted.
    ///
    /// `files` has the name of each input if lines have to tell it.
    pub fn settle(
        &mut self,
        recorder: &Recorder,
        program: &Program,
        files: Option<&[String]>,
        output: &mut OutputDir,
    ) -> Result<(), ReplayError> {
        for (token, end) in recorder.take() {
            let Some((origin, before)) = self.open.remove(&token) else {
                continue;
            };
            if end.ending == Ending::Held {
                self.open.insert(token, (origin, Some(end)));
                if before.is_some() {
                    continue;
                }
            } else {
                *self.verdicts.entry(end.ending.name()).or_default() += 1;
            }
            let name = |id: IfaceId| program.interface_name(id);
            // What was known when the packet was held still holds when it is let go.
            let state = end.state.or(before.and_then(|b| b.state));
            let rule = end.rule.or(before.and_then(|b| b.rule));
            output.verdict(&VerdictLine {
                interface: name(origin.interface).unwrap_or_default(),
                index: origin.index,
                verdict: end.ending.name(),
                reason: end.reason.map(|r| r.label()),
                out: end.out.and_then(name),
                connection_state: state.map(|s| s.name()),
                rule: rule.and_then(|r| program.rule_name(r)),
                file: files.and_then(|f| f.get(origin.input)).map(String::as_str),
            })?;
        }
        Ok(())
    }

    /// The packets by their last verdict, those still held included.
    pub fn verdicts(&self) -> BTreeMap<&'static str, u64> {
        let mut verdicts = self.verdicts.clone();
        let held = self.open.values().filter(|(_, end)| end.is_some()).count() as u64;
        if held > 0 {
            verdicts.insert(Ending::Held.name(), held);
        }
        verdicts
    }

    /// The packets of which nothing was ever said.
    pub fn unexplained(&self) -> u64 {
        self.open.values().filter(|(_, end)| end.is_none()).count() as u64
    }
}
