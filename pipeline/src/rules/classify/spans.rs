//! Sets of numbers as sorted ranges: for which values of a field a question's answer is yes.

/// How many ranges of one rule's field an [`Index`](super::Index) keeps apart: a rule that asks for
/// more of them is a candidate for what lies in its narrowest gaps too.
pub const SPANS_MAX: usize = 4;

/// Inclusive ranges, sorted, with gaps between them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spans(Vec<(u128, u128)>);

impl Spans {
    /// No value.
    pub const NONE: Self = Self(Vec::new());

    /// The values from `first` to `last`.
    pub fn range(first: impl Into<u128>, last: impl Into<u128>) -> Self {
        Self::ranges([(first.into(), last.into())])
    }

    /// The values in any of these ranges, each from its first to its last.
    pub fn ranges(ranges: impl IntoIterator<Item = (u128, u128)>) -> Self {
        let ranges = ranges.into_iter().filter(|(first, last)| first <= last);
        let mut sorted: Vec<(u128, u128)> = ranges.collect();
        sorted.sort_unstable();
        let mut joined: Vec<(u128, u128)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match joined.last_mut() {
                Some(open) if first <= open.1.saturating_add(1) => open.1 = open.1.max(last),
                Some(_) | None => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    /// The values from 0 to `last` that are not in here.
    #[must_use]
    pub fn complement(&self, last: u128) -> Self {
        let mut outside = Vec::with_capacity(self.0.len() + 1);
        let mut next = Some(0);
        for (from, to) in &self.0 {
            if let Some(start) = next
                && start < *from
            {
                outside.push((start, from - 1));
            }
            next = to.checked_add(1);
        }
        if let Some(start) = next
            && start <= last
        {
            outside.push((start, last));
        }
        Self(outside)
    }

    /// The values in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut both = Vec::new();
        for ours in &self.0 {
            for theirs in &other.0 {
                let (first, last) = (ours.0.max(theirs.0), ours.1.min(theirs.1));
                if first <= last {
                    both.push((first, last));
                }
            }
        }
        Self(both)
    }

    /// The same values and perhaps more, in at most [`SPANS_MAX`] ranges: the widest gaps stay.
    #[must_use]
    pub fn coarse(self) -> Self {
        if self.0.len() <= SPANS_MAX {
            return self;
        }
        let gaps = self.0.windows(2).enumerate();
        let mut widest: Vec<(u128, usize)> = gaps
            .filter_map(|(n, pair)| match pair {
                [(_, left), (right, _)] => Some((right - left, n)),
                _ => None,
            })
            .collect();
        widest.sort_unstable_by_key(|(width, n)| (std::cmp::Reverse(*width), *n));
        widest.truncate(SPANS_MAX - 1);
        let stays = |n| widest.iter().any(|(_, gap)| *gap == n);
        let mut kept: Vec<(u128, u128)> = Vec::with_capacity(SPANS_MAX);
        for (n, (first, last)) in self.0.iter().enumerate() {
            match kept.last_mut() {
                Some(open) if !stays(n.wrapping_sub(1)) => open.1 = *last,
                Some(_) | None => kept.push((*first, *last)),
            }
        }
        Self(kept)
    }

    /// The ranges.
    pub fn iter(&self) -> impl Iterator<Item = (u128, u128)> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The values of `spans` from 0 to 255, and whether they are as spans have to be.
    fn values(spans: &Spans) -> Vec<u128> {
        for pair in spans.0.windows(2) {
            assert!(pair[0].1 < pair[1].0, "{spans:?}");
        }
        assert!(
            spans
                .iter()
                .all(|(first, last)| first <= last && last < 256)
        );
        (0..256)
            .filter(|v| spans.iter().any(|(first, last)| (first..=last).contains(v)))
            .collect()
    }

    prop_compose! {
        fn any_spans()(edges in proptest::collection::btree_set(0u128..256, 0..40)) -> Spans {
            let edges: Vec<u128> = edges.into_iter().collect();
            Spans::ranges(edges.chunks(2).map(|pair| (pair[0], *pair.last().unwrap())))
        }
    }

    proptest! {
        #[test]
        fn spans_are_the_sets_that_their_values_make(a in any_spans(), b in any_spans()) {
            let (in_a, in_b) = (values(&a), values(&b));
            let both: Vec<u128> = in_a.iter().copied().filter(|v| in_b.contains(v)).collect();
            prop_assert_eq!(values(&a.and(&b)), both);
            let outside: Vec<u128> = (0..256).filter(|v| !in_a.contains(v)).collect();
            prop_assert_eq!(values(&a.complement(255)), outside);
        }

        #[test]
        fn coarse_spans_lose_nothing_and_are_few(a in any_spans()) {
            let coarse = a.clone().coarse();
            let kept = values(&coarse);
            prop_assert!(values(&a).iter().all(|v| kept.contains(v)));
            prop_assert!(coarse.0.len() <= SPANS_MAX);
            prop_assert!(a.0.len() > SPANS_MAX || coarse == a);
        }
    }

    #[test]
    fn the_widest_gaps_stay() {
        let ports = [
            (22, 22),
            (25, 25),
            (80, 80),
            (443, 443),
            (500, 500),
            (8080, 8090),
        ];
        let coarse = Spans::ranges(ports).coarse();
        assert_eq!(coarse.0, [(22, 80), (443, 443), (500, 500), (8080, 8090)]);
    }

    #[test]
    fn the_whole_of_a_field_has_no_complement_and_nothing_has_the_whole() {
        let all = Spans::range(0u8, u128::MAX);
        assert_eq!(all.complement(u128::MAX), Spans::NONE);
        assert_eq!(Spans::NONE.complement(u128::MAX), all);
        let last = Spans::range(u128::MAX, u128::MAX);
        assert_eq!(last.complement(u128::MAX).0, [(0, u128::MAX - 1)]);
        assert_eq!(Spans::ranges([(1, 4), (5, 9)]).0, [(1, 9)]);
    }
}
