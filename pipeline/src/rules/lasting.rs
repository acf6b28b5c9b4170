//! Numbers that rules keep over reloads.
//!
//! A [`RuleId`] is a place in one program. A connection outlives programs, so its entry names the
//! rule that admitted it by a number that no other rule ever gets.

use turnpike_conntrack::entry::NONE;

use crate::ids::RuleId;

/// The lasting numbers of one program's rules.
#[derive(Debug, Clone, Default)]
pub struct Lasting {
    /// By place.
    numbers: Box<[u32]>,
    /// The same, by number.
    places: Box<[(u32, RuleId)]>,
    next: u32,
}

impl Lasting {
    /// Numbers for the rules of a program, of which `carry` says what each was in the one before.
    pub fn build(carry: &[Option<RuleId>], previous: Option<&Self>) -> Self {
        let mut next = previous.map_or(0, |previous| previous.next);
        let numbers: Box<[u32]> = carry
            .iter()
            .map(|from| {
                let kept = from.and_then(|from| previous?.number(from));
                kept.unwrap_or_else(|| {
                    let number = next;
                    next = next.saturating_add(1);
                    number
                })
            })
            .collect();
        let mut places: Vec<_> = numbers.iter().copied().zip((0..).map(RuleId)).collect();
        places.sort_unstable();
        Self {
            numbers,
            places: places.into(),
            next,
        }
    }

    /// Leaves out the numbers that another program has given: the next new rule gets none of them.
    pub fn leave_out(&mut self, other: &Self) {
        self.next = self.next.max(other.next);
    }

    /// The number of a rule; `None` for no such rule.
    pub fn number(&self, rule: RuleId) -> Option<u32> {
        let number = *self.numbers.get(usize::try_from(rule.0).ok()?)?;
        // After four thousand million rules there are no numbers left.
        (number != NONE).then_some(number)
    }

    /// The rule that has this number, if it is still there.
    pub fn rule(&self, number: u32) -> Option<RuleId> {
        let at = self
            .places
            .binary_search_by_key(&number, |(n, _)| *n)
            .ok()?;
        self.places.get(at).map(|(_, rule)| *rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(lasting: &Lasting, rules: u32) -> Vec<Option<u32>> {
        (0..rules).map(|n| lasting.number(RuleId(n))).collect()
    }

    #[test]
    fn a_rule_keeps_its_number_wherever_it_moves_and_no_other_gets_it() {
        let first = Lasting::build(&[None, None, None], None);
        assert_eq!(numbers(&first, 4), [Some(0), Some(1), Some(2), None]);
        let moved = Lasting::build(&[None, Some(RuleId(2)), Some(RuleId(0))], Some(&first));
        assert_eq!(numbers(&moved, 3), [Some(3), Some(2), Some(0)]);
        assert_eq!(moved.rule(2), Some(RuleId(1)));
        assert_eq!(moved.rule(1), None, "it is gone");
        let last = Lasting::build(&[None], Some(&moved));
        assert_eq!(numbers(&last, 1), [Some(4)]);
    }

    #[test]
    fn a_program_that_comes_back_gives_no_number_twice() {
        let first = Lasting::build(&[None, None], None);
        let tried = Lasting::build(&[Some(RuleId(0)), None], Some(&first));
        assert_eq!(tried.number(RuleId(1)), Some(2));
        let mut back = Lasting::build(&[Some(RuleId(0)), Some(RuleId(1))], Some(&first));
        back.leave_out(&tried);
        assert_eq!(numbers(&back, 2), [Some(0), Some(1)]);
        let last = Lasting::build(&[None], Some(&back));
        assert_eq!(numbers(&last, 1), [Some(3)], "2 was another's");
    }

    #[test]
    fn no_rule_has_the_number_that_stands_for_none() {
        let worn_out = Lasting {
            next: NONE,
            ..Lasting::default()
        };
        let last = Lasting::build(&[None, None], Some(&worn_out));
        assert_eq!(numbers(&last, 2), [None, None]);
    }
}
