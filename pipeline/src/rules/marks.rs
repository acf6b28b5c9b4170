//! Marks: the numbers that stand for their names, in entries and while packets are judged.
//!
//! A connection outlives programs, so a name keeps its number over reloads as long as the gateway
//! runs, whether a program uses it or not: no other name ever gets it.

use std::sync::Arc;

use crate::ids::MarkId;
use crate::policy::MarkKind;

/// The marks of one packet, as numbers; zero is no mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Marks {
    /// Its connection's.
    pub connection: u32,
    /// Its own.
    pub packet: u32,
    /// That of its way.
    pub routing: u32,
}

impl Marks {
    /// The mark of this kind.
    pub const fn of(&self, kind: MarkKind) -> u32 {
        match kind {
            MarkKind::Connection => self.connection,
            MarkKind::Packet => self.packet,
            MarkKind::Routing => self.routing,
        }
    }

    /// Sets the mark of this kind.
    pub const fn set(&mut self, kind: MarkKind, mark: u32) {
        match kind {
            MarkKind::Connection => self.connection = mark,
            MarkKind::Packet => self.packet = mark,
            MarkKind::Routing => self.routing = mark,
        }
    }
}

/// The numbers of one program's marks, and every name that ever had one.
#[derive(Debug, Clone, Default)]
pub struct MarkNumbers {
    /// By [`MarkId`].
    numbers: Box<[u32]>,
    /// By number, from one.
    names: Vec<Arc<str>>,
}

impl MarkNumbers {
    /// Numbers for the names of a program; those of the one before keep theirs.
    pub fn build(marks: &[String], previous: Option<&Self>) -> Self {
        let mut names = previous.map_or_else(Vec::new, |previous| previous.names.clone());
        let mut number = |name: &str| {
            let known = names.iter().position(|known| **known == *name);
            let index = known.unwrap_or_else(|| {
                names.push(name.into());
                names.len() - 1
            });
            u32::try_from(index + 1).unwrap_or_default()
        };
        Self {
            numbers: marks.iter().map(|name| number(name)).collect(),
            names,
        }
    }

    /// The number of a mark; zero for none.
    pub fn number(&self, mark: Option<MarkId>) -> u32 {
        let number = mark.and_then(|mark| self.numbers.get(usize::from(mark.0)));
        number.copied().unwrap_or_default()
    }

    /// The number of a name by its place in the program; zero for no such place.
    pub fn number_at(&self, place: usize) -> u32 {
        self.numbers.get(place).copied().unwrap_or_default()
    }

    /// The name that has this number.
    pub fn name(&self, number: u32) -> Option<&str> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.names.get(index).map(|name| &**name)
    }

    /// Every name that has a number.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// The number of this name, if any program had it.
    pub fn named(&self, name: &str) -> Option<u32> {
        let index = self.names.iter().position(|known| **known == *name)?;
        u32::try_from(index + 1).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_numbers_over_reloads_and_nobody_inherits_one() {
        let of = |names: &[&str], previous| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            MarkNumbers::build(&names, previous)
        };
        let first = of(&["voip", "bulk"], None);
        let second = of(&["web", "bulk"], Some(&first));
        let number = |numbers: &MarkNumbers, id| numbers.number(Some(MarkId(id)));
        assert_eq!((number(&first, 0), number(&first, 1)), (1, 2));
        assert_eq!((number(&second, 0), number(&second, 1)), (3, 2));
        assert_eq!(
            second.name(1),
            Some("voip"),
            "connections may carry it still"
        );
        assert_eq!(second.named("web"), Some(3));
        assert_eq!((second.number(None), second.name(0)), (0, None));
    }
}
