//! Where each packet enters, and what is done to its frame before.

use turnpike_conntrack::tracker::Conntrack;
use turnpike_pipeline::ids::{IfaceId, PortId};
use turnpike_pipeline::program::Program;

use super::follow::{Follower, Leaving, behind};
use super::{Checksums, Entry, Input, ReplayConfig, ReplayError, Sides, checksums, frame};

/// The entries of all inputs, resolved.
#[derive(Debug)]
pub struct Feed {
    entries: Vec<Option<IfaceId>>,
    first: IfaceId,
    checksums: Checksums,
    /// If the captures are of one side.
    follower: Option<Follower>,
    undecided: u64,
}

/// A frame ready to be received.
#[derive(Debug, PartialEq, Eq)]
pub struct Fed {
    /// The interface it enters by.
    pub interface: IfaceId,
    /// The port of that interface.
    pub port: PortId,
    /// The frame.
    pub frame: Vec<u8>,
}

impl Feed {
    /// Finds the interfaces that the inputs name.
    ///
    /// # Errors
    /// One of them does not exist, or none at all does.
    pub fn new(config: &ReplayConfig, program: &Program) -> Result<Self, ReplayError> {
        let interfaces = || program.interfaces.iter();
        let entry = |input: &Input| match &input.entry {
            Entry::Auto => Ok(None),
            Entry::Interface(name) => match interfaces().find(|(_, i)| *i.name == **name) {
                Some((id, _)) => Ok(Some(id)),
                None => Err(ReplayError::UnknownInterface {
                    name: name.clone(),
                    known: interfaces()
                        .map(|(_, i)| &*i.name)
                        .collect::<Vec<_>>()
                        .join(", "),
                }),
            },
        };
        let entries = config.inputs.iter().map(entry).collect::<Result<_, _>>()?;
        let (first, _) = interfaces().next().ok_or(ReplayError::NoInterface)?;
        Ok(Self {
            entries,
            first,
            checksums: config.checksums,
            follower: match config.sides {
                Sides::Both => None,
                Sides::One => Some(Follower::default()),
            },
            undecided: 0,
        })
    }

    /// Whether two inputs may feed one interface, so that a packet's number alone does not tell
    /// which file it is of.
    pub fn is_shared(&self) -> bool {
        let fixed: Vec<IfaceId> = self.entries.iter().copied().flatten().collect();
        let auto = self.entries.len() > fixed.len();
        let twice =
            (1..fixed.len()).any(|at| fixed.iter().take(at).any(|f| fixed.get(at) == Some(f)));
        twice || auto && self.entries.len() > 1
    }

    /// Prepares a packet of an input.
    pub fn prepare(&mut self, input: usize, mut frame: Vec<u8>, program: &Program) -> Fed {
        match self.checksums {
            Checksums::Keep => {}
            Checksums::Fix => checksums::fix(&mut frame),
        }
        if let Some(follower) = &mut self.follower {
            follower.carry(&mut frame, program);
        }
        let fixed = self.entries.get(input).copied().flatten();
        let interface = fixed.unwrap_or_else(|| self.enter(&frame, program));
        let facts = program.interfaces.find(interface);
        if let Some(facts) = facts {
            frame::address_to(&mut frame, facts.mac);
            if let Some(vlan) = facts.vlan {
                frame::tag(&mut frame, vlan);
            }
        }
        Fed {
            interface,
            port: facts.map_or(PortId(0), |f| f.port),
            frame,
        }
    }

    /// Packets that entered by the first interface because nothing said where.
    pub const fn undecided(&self) -> u64 {
        self.undecided
    }

    /// Packets that were carried over into the translated view; `None` if none are to be.
    pub fn carried(&self) -> Option<u64> {
        self.follower.as_ref().map(Follower::carried)
    }

    /// Sees a packet leave.
    pub fn left(&mut self, leaving: Leaving<'_>, conntrack: &Conntrack, program: &Program) {
        if let Some(follower) = &mut self.follower {
            follower.learn(leaving, conntrack, program);
        }
    }

    /// The interface behind which the sender is.
    fn enter(&mut self, frame: &[u8], program: &Program) -> IfaceId {
        let back = frame::sender(frame).and_then(|sender| behind(program, sender));
        back.unwrap_or_else(|| {
            self.undecided += 1;
            self.first
        })
    }
}
