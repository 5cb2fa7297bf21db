//! The nodes of a YAML document, with their lines and their spelling.

use std::{collections::HashSet, fmt};

use grapnel_values::pointer::escaped;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_yaml::{Spanned, Tagged};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize;

use super::{
    lines::{PointerHash, short},
    parse_error::ParseError,
    spelling::Spelling,
};

/// A value with its line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct YamlNode {
    pub(super) line: u64,
    spelling: Spelling,
    pub(super) tree: Tree,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Scalar(Scalar),
    List(Vec<YamlNode>),
    Map(Vec<MappingEntry>),
}

/// A scalar value. Documents define Secrets too, so it is never printed, and zeroed on drop.
#[derive(Clone, PartialEq)]
pub(super) struct Scalar(Value);

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Scalar {
    fn drop(&mut self) {
        if let Value::String(text) = &mut self.0 {
            text.zeroize();
        }
    }
}

impl From<Value> for Tree {
    fn from(value: Value) -> Self {
        Self::Scalar(Scalar(value))
    }
}

/// A key with its line, and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MappingEntry {
    pub(super) line: u64,
    spelling: Spelling,
    pub(super) key: String,
    pub(super) value: YamlNode,
}

impl YamlNode {
    /// Checks that every YAML reader reads the node like this one.
    ///
    /// # Errors
    /// Returns the first key or value for which that is not so, with its line.
    pub(super) fn check(&self, text: &str) -> Result<(), ParseError> {
        let error = |line, message: &str| ParseError { line, message: message.into() };
        let mut keys = HashSet::new();
        match &self.tree {
            Tree::Scalar(_) => {}
            Tree::List(items) => items.iter().try_for_each(|item| item.check(text))?,
            Tree::Map(entries) => {
                for entry in entries {
                    entry.spelling.check(text).map_err(|message| error(entry.line, &message))?;
                    // The reader compares keys before they become text: `1` and `"1"` differ there.
                    if !keys.insert(entry.key.as_str()) {
                        return Err(error(
                            entry.line,
                            "the key is a duplicate of an earlier one; remove one of the two",
                        ));
                    }
                    entry.value.check(text)?;
                }
            }
        }
        self.spelling.check(text).map_err(|message| error(self.line, &message))
    }

    /// Collects the lines of all nodes below the node whose pointer has this hash.
    pub(super) fn lines(&self, pointer: PointerHash, lines: &mut Vec<(PointerHash, u32)>) {
        match &self.tree {
            Tree::Scalar(_) => {}
            Tree::List(items) => {
                for (number, item) in items.iter().enumerate() {
                    let pointer = pointer.then(format!("/{number}").as_bytes());
                    lines.push((pointer, short(item.line)));
                    item.lines(pointer, lines);
                }
            }
            Tree::Map(entries) => {
                for entry in entries {
                    let pointer = pointer.then(b"/").then(escaped(&entry.key).as_bytes());
                    lines.push((pointer, short(entry.line)));
                    entry.value.lines(pointer, lines);
                }
            }
        }
    }

    pub(super) fn hash(&self, hasher: &mut Sha256) {
        let text = |hasher: &mut Sha256, tag: u8, text: &[u8]| {
            hasher.update([tag]);
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        };
        match &self.tree {
            Tree::Scalar(Scalar(Value::String(string))) => text(hasher, b's', string.as_bytes()),
            Tree::Scalar(Scalar(other)) => text(hasher, b'v', other.to_string().as_bytes()),
            Tree::List(items) => {
                text(hasher, b'l', &(items.len() as u64).to_le_bytes());
                items.iter().for_each(|item| item.hash(hasher));
            }
            Tree::Map(entries) => {
                text(hasher, b'm', &(entries.len() as u64).to_le_bytes());
                for entry in entries {
                    text(hasher, b'k', entry.key.as_bytes());
                    entry.value.hash(hasher);
                }
            }
        }
    }

    pub(super) fn value(&self) -> Value {
        match &self.tree {
            Tree::Scalar(scalar) => scalar.0.clone(),
            Tree::List(items) => Value::Array(items.iter().map(Self::value).collect()),
            Tree::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.value())).collect::<Map<_, _>>(),
            ),
        }
    }
}

impl<'de> Deserialize<'de> for YamlNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (spelling, line, tree) = spelled(deserializer)?;
        Ok(Self { line, spelling, tree })
    }
}

/// A key as it is deserialized.
struct SpelledKey {
    spelling: Spelling,
    line: u64,
    text: String,
}

impl<'de> Deserialize<'de> for SpelledKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (spelling, line, text) = spelled(deserializer)?;
        Ok(Self { spelling, line, text })
    }
}

/// Deserializes a value with its spelling and its line.
fn spelled<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<(Spelling, u64, T), D::Error> {
    let Tagged(spanned, tag) = Tagged::<Spanned<T>>::deserialize(deserializer)?;
    Ok((Spelling::new(spanned.referenced.span(), tag.as_deref()), spanned.referenced.line(), spanned.value))
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML that JSON can express")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Value::Bool(value).into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Value::Number(value.into()).into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Value::Number(value.into()).into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Tree, E> {
        Number::from_f64(value)
            .map(|number| Value::Number(number).into())
            .ok_or_else(|| E::custom("the number must be finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Value::String(value.into()).into())
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Value::String(value).into())
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Value::Null.into())
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Value::Null.into())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(SpelledKey { spelling, line, text: key }) = access.next_key()? {
            entries.push(MappingEntry { line, spelling, key, value: access.next_value()? });
        }
        Ok(Tree::Map(entries))
    }
}
