//! Who is told of every packet's end, and the verdict lines that come of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use turnpike_pipeline::buffer::{Buffer, HeapBuffer};
use turnpike_pipeline::ids::IfaceId;
use turnpike_pipeline::witness::{End, Ending, Witness};

use super::ReplayError;

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

    /// How many ends have been noted since the ledger last looked.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Takes back the ends of packets that were consumed, of those noted from place `from` on.
    pub fn withdraw_consumed(&self, from: usize) -> Vec<u64> {
        let mut ends = self.0.borrow_mut();
        let from = from.min(ends.len());
        let late = ends.split_off(from);
        let (consumed, other): (Vec<_>, Vec<_>) = late
            .into_iter()
            .partition(|(_, end)| end.ending == Ending::Consumed);
        ends.extend(other);
        consumed.into_iter().map(|(token, _)| token).collect()
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

/// Tokens of packets put together from fragments have this bit; those of captured packets count
/// from one and never reach it.
const WHOLE: u64 = 1 << 63;

/// The packets without a last verdict, and the counts of those with one.
#[derive(Debug, Default)]
pub struct Ledger {
    open: BTreeMap<u64, (Origin, Option<End>)>,
    /// The fragments of each packet that was put together and is not decided yet.
    wholes: BTreeMap<u64, Vec<u64>>,
    joined: u64,
    verdicts: BTreeMap<&'static str, u64>,
}

impl Ledger {
    /// Opens the account of a packet about to be fed.
    pub fn open(&mut self, token: u64, origin: Origin) {
        self.open.insert(token, (origin, None));
    }

    /// Makes these fragments share the fate of the packet they became, whose token it gives.
    pub fn join(&mut self, fragments: Vec<u64>) -> u64 {
        let token = WHOLE | self.joined;
        self.joined += 1;
        self.wholes.insert(token, fragments);
        token
    }

    /// Writes a line for each end the recorder has noted, by way of `write`.
    ///
    /// # Errors
    /// What `write` answers.
    pub fn settle(
        &mut self,
        recorder: &Recorder,
        mut write: impl FnMut(Origin, &End) -> Result<(), ReplayError>,
    ) -> Result<(), ReplayError> {
        for (token, end) in recorder.take() {
            if token & WHOLE == 0 {
                self.ended(token, &end, &mut write)?;
                continue;
            }
            let fragments = self.wholes.remove(&token).unwrap_or_default();
            for fragment in &fragments {
                self.ended(*fragment, &end, &mut write)?;
            }
            if end.ending == Ending::Held {
                self.wholes.insert(token, fragments);
            }
        }
        Ok(())
    }

    fn ended(
        &mut self,
        token: u64,
        end: &End,
        write: &mut impl FnMut(Origin, &End) -> Result<(), ReplayError>,
    ) -> Result<(), ReplayError> {
        let Some((origin, before)) = self.open.remove(&token) else {
            return Ok(());
        };
        // What was known when the packet was held still holds when it is let go.
        let end = End {
            state: end.state.or(before.and_then(|b| b.state)),
            rule: end.rule.or(before.and_then(|b| b.rule)),
            ..*end
        };
        if end.ending == Ending::Held {
            self.open.insert(token, (origin, Some(end)));
            if before.is_some() {
                return Ok(());
            }
        } else {
            *self.verdicts.entry(end.ending.name()).or_default() += 1;
        }
        write(origin, &end)
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

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_conntrack::ids::ConnState;
    use turnpike_pipeline::drops::DropReason;
    use turnpike_pipeline::ids::RuleId;

    const HELD: End = End::bare(Ending::Held, None);
    const ACCEPT: End = End::bare(Ending::Accept, None);
    const CONSUMED: End = End::bare(Ending::Consumed, None);

    fn opened(packets: u64) -> (Ledger, Recorder) {
        let mut ledger = Ledger::default();
        for index in 1..=packets {
            let interface = IfaceId(0);
            ledger.open(
                index,
                Origin {
                    interface,
                    index,
                    input: 0,
                },
            );
        }
        (ledger, Recorder::default())
    }

    fn lines(ledger: &mut Ledger, recorder: &Recorder) -> Vec<(u64, Ending)> {
        let mut lines = Vec::new();
        ledger
            .settle(recorder, |origin, end| {
                lines.push((origin.index, end.ending));
                Ok(())
            })
            .unwrap();
        lines
    }

    #[test]
    fn a_held_packet_has_one_line_more_and_keeps_what_was_known() {
        let (mut ledger, recorder) = opened(1);
        let known = End {
            state: Some(ConnState::New),
            rule: Some(RuleId(4)),
            ..HELD
        };
        recorder.note(1, known);
        recorder.note(1, HELD);
        assert_eq!(lines(&mut ledger, &recorder), [(1, Ending::Held)]);
        assert_eq!(ledger.verdicts().get("held"), Some(&1));
        recorder.note(1, ACCEPT);
        let mut last = None;
        let note = |_, end: &End| {
            last = Some(*end);
            Ok(())
        };
        ledger.settle(&recorder, note).unwrap();
        assert_eq!(
            last,
            Some(End {
                ending: Ending::Accept,
                ..known
            })
        );
        assert_eq!(ledger.verdicts(), BTreeMap::from([("accept", 1)]));
    }

    #[test]
    fn fragments_share_the_fate_of_the_packet_they_became() {
        let (mut ledger, recorder) = opened(3);
        recorder.note(1, HELD);
        recorder.note(2, HELD);
        let noted = recorder.len();
        recorder.note(1, CONSUMED);
        recorder.note(
            3,
            End::bare(Ending::Drop, Some(DropReason::FragmentInvalid)),
        );
        recorder.note(2, CONSUMED);
        let whole = ledger.join(recorder.withdraw_consumed(noted));
        recorder.note(whole, HELD);
        let held = [(1, Ending::Held), (2, Ending::Held), (3, Ending::Drop)];
        assert_eq!(lines(&mut ledger, &recorder), held);
        recorder.note(whole, ACCEPT);
        let accepted = [(1, Ending::Accept), (2, Ending::Accept)];
        assert_eq!(lines(&mut ledger, &recorder), accepted);
        assert_eq!(ledger.unexplained(), 0);
    }

    #[test]
    fn packets_of_the_gateway_and_ended_ones_have_no_line() {
        let (mut ledger, recorder) = opened(1);
        recorder.note(0, ACCEPT);
        recorder.note(1, ACCEPT);
        recorder.note(1, ACCEPT);
        assert_eq!(lines(&mut ledger, &recorder), [(1, Ending::Accept)]);
    }

    #[test]
    fn a_packet_of_which_nothing_is_said_is_unexplained() {
        let (mut ledger, recorder) = opened(2);
        recorder.note(2, ACCEPT);
        lines(&mut ledger, &recorder);
        assert_eq!(ledger.unexplained(), 1);
    }
}
