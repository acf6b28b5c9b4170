//! One field of a packet, cut where the rules that may hold for it change.

use crate::rules::classify::dimension::{Dimension, Value};
use crate::rules::classify::sets::{Row, SetsBuilder};
use crate::rules::classify::spans::Spans;

/// Which rules of a chain may hold for each value of a field.
#[derive(Debug, Clone)]
pub struct Axis {
    dimension: Dimension,
    starts: Starts,
    /// For the values from each start to the next.
    rows: Box<[Row]>,
    /// For packets that lack the field: the rules that ask nothing of it.
    lacking: Row,
}

/// Where the rows begin: ascending, from zero.
#[derive(Debug, Clone)]
enum Starts {
    Narrow(Box<[u32]>),
    Wide(Box<[u128]>),
}

impl Axis {
    /// The axis of a dimension; `rules` says of each rule of the chain that can match at all for
    /// which values it may hold, `None` for those that do not ask. No axis if none asks.
    pub fn build<'a>(
        dimension: Dimension,
        rules: impl Iterator<Item = (u32, Option<&'a Spans>)>,
        sets: &mut SetsBuilder,
    ) -> Option<Self> {
        let mut draft = sets.draft();
        let mut changes: Vec<(u128, u32)> = Vec::new();
        let mut is_asked = false;
        for (rule, spans) in rules {
            let Some(spans) = spans else {
                draft.toggle(rule);
                continue;
            };
            is_asked = true;
            for (first, last) in spans.iter() {
                changes.push((first, rule));
                if last < dimension.last() {
                    changes.push((last + 1, rule));
                }
            }
        }
        if !is_asked {
            return None;
        }
        changes.sort_unstable();
        let lacking = sets.row(&mut draft);
        let (mut starts, mut rows) = (vec![0], vec![lacking]);
        for changed in changes.chunk_by(|(a, _), (b, _)| a == b) {
            for (_, rule) in changed {
                draft.toggle(*rule);
            }
            let row = sets.row(&mut draft);
            let start = changed.first().map_or(0, |(value, _)| *value);
            if start == 0 {
                rows = vec![row];
            } else {
                starts.push(start);
                rows.push(row);
            }
        }
        Some(Self {
            dimension,
            starts: Starts::of(&starts),
            rows: rows.into(),
            lacking,
        })
    }

    /// The rules that may hold for what a packet has here; `None` if the field is not one of its
    /// family's.
    pub fn row(&self, value: Value) -> Option<&Row> {
        match value {
            Value::Is(value) => self.rows.get(self.starts.place(value)),
            Value::Lacking => Some(&self.lacking),
            Value::OtherFamily => None,
        }
    }

    /// The field.
    pub const fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// How much memory it takes, in bytes, without the parts of its rows.
    pub fn bytes(&self) -> usize {
        let starts = match &self.starts {
            Starts::Narrow(starts) => size_of_val(&**starts),
            Starts::Wide(starts) => size_of_val(&**starts),
        };
        starts + size_of_val(&*self.rows)
    }
}

impl Starts {
    fn of(starts: &[u128]) -> Self {
        let narrow: Result<Box<[u32]>, _> = starts.iter().map(|s| u32::try_from(*s)).collect();
        narrow.map_or_else(|_| Self::Wide(starts.into()), Self::Narrow)
    }

    /// The number of the last start that is not above `value`.
    fn place(&self, value: u128) -> usize {
        let behind = match self {
            Self::Narrow(starts) => {
                let value = u32::try_from(value).unwrap_or(u32::MAX);
                starts.partition_point(|start| *start <= value)
            }
            Self::Wide(starts) => starts.partition_point(|start| *start <= value),
        };
        behind.saturating_sub(1)
    }
}
