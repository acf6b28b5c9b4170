//! A map of bounded size that forgets what has not been noted for longest.

use std::collections::HashMap;
use std::hash::Hash;

/// The most entries noted before the older half is forgotten.
pub const NOTED_MAX: usize = 1 << 18;

/// Two halves: entries are noted in the young one; when it is full, it becomes the old one, and
/// the old one's are forgotten. Nothing depends on the order of the entries.
#[derive(Debug)]
pub struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }
}

impl<K: Eq + Hash, V: Copy> Recent<K, V> {
    /// Notes a value; an earlier one of the same key no longer counts.
    pub fn note(&mut self, key: K, value: V) {
        if self.young.len() >= NOTED_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// The value noted last.
    pub fn find(&self, key: &K) -> Option<V> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_value_counts_and_the_oldest_are_forgotten() {
        let mut recent = Recent::default();
        recent.note(0, 'a');
        recent.note(0, 'b');
        assert_eq!(recent.find(&0), Some('b'));
        for key in 1..=NOTED_MAX {
            recent.note(key, 'c');
        }
        assert_eq!(recent.find(&0), Some('b'), "it is in the old half");
        for key in 0..NOTED_MAX {
            recent.note(2 * NOTED_MAX + key, 'd');
        }
        assert_eq!(recent.find(&0), None);
        assert_eq!(recent.find(&(3 * NOTED_MAX - 1)), Some('d'));
    }
}
