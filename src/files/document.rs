//! YAML documents with line numbers.

use std::fmt;

use grapnel_values::{pointer::escaped, secret::Wiped};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_yaml::{Spanned, options};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize;

use crate::files::limits;

/// A document whose nodes know their lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    root: Node,
}

/// SHA-256 of a document's values, without comments and line numbers.
pub(super) type Digest = [u8; 32];

/// The lines of a document's nodes without the nodes, which may contain Secrets and take a lot of memory.
#[derive(Debug)]
pub(super) struct Lines {
    first: u32,
    /// Hashes of JSON Pointers with their lines, sorted. A collision only makes a report name another line.
    by_pointer: Box<[(u32, u32)]>,
}

/// Why a file is not valid YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// Line, from 1; 0 if it is not known.
    pub line: u64,
    /// What is wrong.
    pub message: String,
}

#[derive(Debug, Clone, PartialEq)]
struct Node {
    line: u64,
    tree: Tree,
}

#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A scalar value. Documents define Secrets too, so it is never printed, and zeroed on drop.
#[derive(Clone, PartialEq)]
struct Scalar(Value);

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
struct Entry {
    line: u64,
    key: String,
    value: Node,
}

impl Document {
    /// Parses every document of a YAML or JSON text. Aliases, depth and size are bounded; a duplicate key is an error.
    ///
    /// # Errors
    /// Returns an error with the line if the text is not valid YAML.
    pub fn parse(text: &str) -> Result<Vec<Self>, ParseError> {
        let options = options! { strict_booleans: true };
        serde_yaml::from_multiple_with_options::<Option<Node>>(text, options)
            .map(|roots| roots.into_iter().flatten().map(|root| Self { root }).collect())
            .map_err(|error| {
                let error = error.without_snippet();
                let line = error.location().map_or(0, |location| location.line());
                let mut message = error.to_string();
                if let Some((end, _)) = message.char_indices().nth(limits::PROBLEM_CHARS) {
                    message.truncate(end);
                }
                ParseError { line, message }
            })
    }

    /// The line on which the document begins.
    pub fn line(&self) -> u64 {
        self.root.line
    }

    /// The line of the node at a JSON Pointer, or of its deepest existing ancestor.
    pub fn line_of(&self, pointer: &str) -> u64 {
        let mut node = &self.root;
        let mut line = node.line;
        for part in pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            let found = match &node.tree {
                Tree::Map(entries) => {
                    entries.iter().find(|entry| entry.key == part).map(|entry| (entry.line, &entry.value))
                }
                Tree::List(items) => {
                    part.parse::<usize>().ok().and_then(|number| items.get(number)).map(|node| (node.line, node))
                }
                Tree::Scalar(_) => None,
            };
            let Some((found_line, found)) = found else { break };
            line = found_line;
            node = found;
        }
        line
    }

    /// A digest that differs for documents with different values.
    pub(super) fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        self.root.hash(&mut hasher);
        hasher.finalize().into()
    }

    /// The document as JSON.
    pub fn value(&self) -> Wiped {
        Wiped(self.root.value())
    }

    /// The objects of the document: the items of a `List`, otherwise the document itself.
    pub fn into_objects(self) -> Vec<Self> {
        let Tree::Map(entries) = &self.root.tree else { return vec![self] };
        let is_list =
            entries.iter().any(|entry| entry.key == "kind" && entry.value.tree == Tree::from(Value::from("List")));
        if !is_list {
            return vec![self];
        }
        let items = entries.iter().find(|entry| entry.key == "items");
        match items.map(|entry| &entry.value.tree) {
            Some(Tree::List(items)) => items.iter().map(|root| Self { root: root.clone() }).collect(),
            _ => vec![self],
        }
    }
}

impl Lines {
    /// The lines of a document.
    pub(super) fn of(document: &Document) -> Self {
        let mut lines = Vec::new();
        document.root.lines(FNV_OFFSET, &mut lines);
        lines.sort_unstable();
        Self { first: short(document.line()), by_pointer: lines.into() }
    }

    /// The line on which the document begins.
    pub(super) fn first(&self) -> u64 {
        self.first.into()
    }

    /// See [`Document::line_of`].
    pub(super) fn line_of(&self, pointer: &str) -> u64 {
        let mut pointer = pointer;
        loop {
            let hash = fnv(FNV_OFFSET, pointer.as_bytes());
            if let Ok(found) = self.by_pointer.binary_search_by_key(&hash, |(hash, _)| *hash)
                && let Some((_, line)) = self.by_pointer.get(found)
            {
                return (*line).into();
            }
            match pointer.rsplit_once('/') {
                Some((parent, _)) => pointer = parent,
                None => return self.first(),
            }
        }
    }
}

const FNV_OFFSET: u32 = 0x811c_9dc5;

/// FNV-1a, continued from `hash`.
fn fnv(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn short(line: u64) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

impl Node {
    /// Collects the lines of all nodes below the node whose pointer has this hash.
    fn lines(&self, pointer: u32, lines: &mut Vec<(u32, u32)>) {
        match &self.tree {
            Tree::Scalar(_) => {}
            Tree::List(items) => {
                for (number, item) in items.iter().enumerate() {
                    let pointer = fnv(pointer, format!("/{number}").as_bytes());
                    lines.push((pointer, short(item.line)));
                    item.lines(pointer, lines);
                }
            }
            Tree::Map(entries) => {
                for entry in entries {
                    let pointer = fnv(fnv(pointer, b"/"), escaped(&entry.key).as_bytes());
                    lines.push((pointer, short(entry.line)));
                    entry.value.lines(pointer, lines);
                }
            }
        }
    }

    fn hash(&self, hasher: &mut Sha256) {
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

    fn value(&self) -> Value {
        match &self.tree {
            Tree::Scalar(scalar) => scalar.0.clone(),
            Tree::List(items) => Value::Array(items.iter().map(Self::value).collect()),
            Tree::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.value())).collect::<Map<_, _>>(),
            ),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Tree>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), tree: spanned.value })
    }
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
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            entries.push(Entry { line: key.referenced.line(), key: key.value, value: access.next_value()? });
        }
        Ok(Tree::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_node_knows_its_line() {
        let text = "# a comment\na: 1\nb:\n  - x\n  - c: true\n    d: [1, 2.5, null]\n---\n{\"json\": \"too\"}\n";
        let documents = Document::parse(text).unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].value().0, json!({ "a": 1, "b": ["x", { "c": true, "d": [1, 2.5, null] }] }));
        assert_eq!(documents[0].line_of("/a"), 2);
        assert_eq!(documents[0].line_of("/b/1/c"), 5);
        assert_eq!(documents[0].line_of("/b/1/d/0"), 6);
        assert_eq!(documents[0].line_of("/b/1/absent/deeper"), 5, "the deepest node that exists");
        assert_eq!(documents[1].value().0, json!({ "json": "too" }));
        assert_eq!(documents[1].line(), 8);
    }

    #[test]
    fn lines_are_known_without_the_document() {
        let text = "a: 1\nb:\n  - x\n  - c/d~e: true\n    f: [1, 2]\n";
        let document = Document::parse(text).unwrap().remove(0);
        let lines = Lines::of(&document);
        assert_eq!(lines.first(), 1);
        let (deep, absent) = ("/b/1/c~1d~0e", ["/b/1/absent/deeper", "/b/7", "/absent", "", "/a/x"]);
        for pointer in ["/a", "/b", "/b/0", "/b/1", deep, "/b/1/f", "/b/1/f/1"].into_iter().chain(absent) {
            assert_eq!(lines.line_of(pointer), document.line_of(pointer), "{pointer}");
        }
        assert_eq!(lines.line_of(deep), 4);
    }

    #[test]
    fn digests_tell_values_and_nothing_else_apart() {
        let digest = |text| Document::parse(text).unwrap().remove(0).digest();
        assert_eq!(digest("a: [1, x]"), digest("# why\na:\n  - 1\n  - \"x\"\n"));
        for other in ["a: [1, y]", "a: [1x]", "a: ['1', x]", "a: {1: x}", "b: [1, x]", "a: [1, x]\nb: 1", "a: [[1, x]]"]
        {
            assert_ne!(digest("a: [1, x]"), digest(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_line() {
        let error = Document::parse("a: 1\nb: [1,\nc: }\n").unwrap_err();
        assert!(error.line >= 2, "{error:?}");
        let twice = Document::parse("a: 1\na: 2\n").unwrap_err();
        assert!(twice.message.contains("duplicate"), "{twice:?}");
        assert_eq!(twice.line, 2);
    }

    #[test]
    fn bombs_and_depth_are_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let alias = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", alias.trim_end_matches(", ")));
        }
        assert!(Document::parse(&bomb).is_err());
        assert!(Document::parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn a_list_is_its_items() {
        let text = "kind: List\napiVersion: v1\nitems:\n- kind: Secret\n- kind: ConfigMap\n";
        let documents = Document::parse(text).unwrap();
        let objects: Vec<_> = documents.into_iter().flat_map(Document::into_objects).collect();
        assert_eq!(objects.iter().map(Document::line).collect::<Vec<_>>(), [4, 5]);
    }
}
