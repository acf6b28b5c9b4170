//! The tree as a `serde_yaml` value, and back to text through it.

use serde_yaml::{Mapping, Value as Yaml};

use super::{Node, Value};

impl Node {
    /// The same tree as a `serde_yaml` value, every scalar a string.
    pub fn to_yaml(&self) -> Yaml {
        match &self.value {
            Value::Scalar(scalar) => Yaml::String(scalar.text.clone()),
            Value::Sequence(items) => Yaml::Sequence(items.iter().map(Self::to_yaml).collect()),
            Value::Mapping(entries) => Yaml::Mapping(
                entries
                    .iter()
                    .map(|e| (Yaml::String(e.key.clone()), e.value.to_yaml()))
                    .collect::<Mapping>(),
            ),
            Value::Refused => Yaml::Null,
        }
    }

    /// The tree as YAML text, quoted wherever a plain word would mean something else.
    ///
    /// # Errors
    /// Fails where `serde_yaml` does, which is for nothing that a tree can hold.
    pub fn to_text(&self) -> Result<String, serde_yaml::Error> {
        serde_yaml::to_string(&self.to_yaml())
    }
}
