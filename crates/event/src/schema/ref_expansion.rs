//! The size of a schema with its references followed.
//!
//! A small schema can become very large once its references are followed: sixty definitions, each of which refers to
//! the next one twice, are 2⁶⁰ subschemas. The validator caches results only for circular references, so such a schema
//! would occupy a thread practically forever. It is measured here before it is compiled.

use std::collections::{HashMap, HashSet};

use jsonschema::PatternOptions;
use serde_json::{Map, Value, json};
use url::Url;

use super::cost::{Cost, SMALL_PATTERN};
use crate::limits::{SCHEMA_PATTERN_BYTES, SCHEMA_PATTERNS_BYTES, SCHEMA_REACH, SCHEMA_WEIGHT};

/// The measurements of a schema.
#[derive(Debug)]
pub(super) struct ExpandedSchema {
    /// Some reference is circular. Whether a value is valid is still found quickly, but not where it is invalid: for
    /// that the validator follows every path through the circle.
    pub(super) recursive: bool,
    /// The cost of validating values.
    pub(super) cost: Cost,
    /// Maximum size of each of its compiled regular expressions, in bytes.
    pub(super) pattern_bytes: usize,
}

/// Measures a schema with every reference followed.
///
/// The error is a sentence that names the exceeded limit.
pub(super) fn measure(schema: &Value) -> Result<ExpandedSchema, String> {
    // The base that the validator uses for a schema without `$id`.
    let base = Url::parse("json-schema:///").map_err(|error| error.to_string())?;
    let mut walk = Walk { targets: HashMap::new(), bases: HashMap::new(), seen: HashMap::new(), recursive: false };
    walk.targets.insert(base.to_string(), schema);
    walk.collect(schema, &base);
    walk.weigh(schema, 0)?;
    let recursive = walk.recursive;
    let mut patterns = HashSet::new();
    collect_patterns(schema, &mut patterns);
    let pattern_bytes = SCHEMA_PATTERN_BYTES.min(SCHEMA_PATTERNS_BYTES / patterns.len().max(1));
    let sizes = patterns.into_iter().map(|pattern| (pattern, size(pattern, pattern_bytes))).collect();
    let cost = Cost::of(schema, &sizes, &mut |map, here| walk.references(map, here));
    Ok(ExpandedSchema { recursive, cost, pattern_bytes })
}

/// Returns the compiled size of a pattern, to a factor of two and at most `most`. The regex compiler accepts a limit
/// but does not report a size.
fn size(pattern: &str, most: usize) -> usize {
    let schema = json!({ "pattern": pattern });
    let compiles = |limit: &usize| {
        let options = PatternOptions::regex().size_limit(*limit);
        jsonschema::options().with_pattern_options(options).build(&schema).is_ok()
    };
    std::iter::successors(Some(SMALL_PATTERN), |limit| limit.checked_mul(2))
        .take_while(|limit| *limit < most)
        .find(compiles)
        .unwrap_or(most)
}

fn collect_patterns<'a>(value: &'a Value, patterns: &mut HashSet<&'a str>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| collect_patterns(element, patterns)),
        Value::Object(map) => {
            patterns.extend(map.get("pattern").and_then(Value::as_str));
            if let Some(Value::Object(by_name)) = map.get("patternProperties") {
                patterns.extend(by_name.keys().map(String::as_str));
            }
            map.values().for_each(|child| collect_patterns(child, patterns));
        }
        _ => {}
    }
}

const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

struct Walk<'a> {
    /// Subschemas by the addresses that `$id` and anchors give them.
    targets: HashMap<String, &'a Value>,
    /// The base to which an object's references are relative.
    bases: HashMap<*const Value, Url>,
    seen: HashMap<*const Value, Seen>,
    recursive: bool,
}

#[derive(Clone, Copy)]
enum Seen {
    /// On the path from the root to the current subschema.
    Open,
    /// Number of subschemas below, and the longest path through them.
    Done { weight: u64, height: usize },
}

impl<'a> Walk<'a> {
    fn collect(&mut self, value: &'a Value, base: &Url) {
        match value {
            Value::Array(elements) => elements.iter().for_each(|element| self.collect(element, base)),
            Value::Object(map) => {
                let text = |key: &str| map.get(key).and_then(Value::as_str);
                let mut base = base.clone();
                // Draft 4 calls it `id`.
                if let Some(id) = text("$id").or_else(|| text("id"))
                    && let Ok(own) = base.join(id)
                {
                    self.targets.insert(own.as_str().trim_end_matches('#').to_owned(), value);
                    if own.fragment().is_none_or(str::is_empty) {
                        base = own;
                        base.set_fragment(None);
                    }
                }
                for anchor in ["$anchor", "$dynamicAnchor"].into_iter().filter_map(text) {
                    self.targets.insert(format!("{base}#{anchor}"), value);
                }
                if REFERENCES.iter().any(|key| map.contains_key(*key)) {
                    self.bases.insert(std::ptr::from_ref(value), base.clone());
                }
                map.values().for_each(|child| self.collect(child, &base));
            }
            _ => {}
        }
    }

    /// Returns the number of subschemas from here on and the longest path through them, with references followed.
    fn weigh(&mut self, value: &'a Value, depth: usize) -> Result<(u64, usize), String> {
        let too_deep = || format!("its references are nested more than {SCHEMA_REACH} levels deep");
        if depth > SCHEMA_REACH {
            return Err(too_deep());
        }
        let (children, map): (Vec<&'a Value>, Option<&'a Map<String, Value>>) = match value {
            Value::Array(elements) => (elements.iter().collect(), None),
            // Definitions are applied only through references to them. Only at the root is it certain that these are
            // definitions, and not properties of that name.
            Value::Object(map) if depth == 0 => (
                map.iter().filter(|(key, _)| !DEFINITIONS.contains(&key.as_str())).map(|(_, child)| child).collect(),
                Some(map),
            ),
            Value::Object(map) => (map.values().collect(), Some(map)),
            _ => return Ok((0, 0)),
        };
        let here = std::ptr::from_ref(value);
        match self.seen.get(&here) {
            Some(Seen::Open) => {
                self.recursive = true;
                return Ok((1, 0));
            }
            Some(Seen::Done { height, .. }) if depth + height > SCHEMA_REACH => return Err(too_deep()),
            Some(Seen::Done { weight, height }) => return Ok((*weight, *height)),
            None => {}
        }
        self.seen.insert(here, Seen::Open);
        let targets = map.map(|map| self.references(map, here)).unwrap_or_default();
        let (mut weight, mut height) = (1u64, 0);
        for next in children.into_iter().chain(targets) {
            let (below, levels) = self.weigh(next, depth + 1)?;
            weight = weight.saturating_add(below);
            height = height.max(levels + 1);
        }
        // These examine everything beside them again.
        let unevaluated = |map: &Map<_, _>| map.keys().any(|key: &String| key.starts_with("unevaluated"));
        if map.is_some_and(unevaluated) {
            weight = weight.saturating_mul(2);
        }
        if weight > SCHEMA_WEIGHT {
            return Err(format!(
                "its expanded references exceed {SCHEMA_WEIGHT} subschemas; reduce repeated references"
            ));
        }
        self.seen.insert(here, Seen::Done { weight, height });
        Ok((weight, height))
    }

    /// Returns the subschemas within the schema that an object refers to. The compiler reports references out of the
    /// schema.
    fn references(&mut self, map: &'a Map<String, Value>, here: *const Value) -> Vec<&'a Value> {
        // The target of a dynamic reference depends on the path that led to it, and may lie on that path.
        self.recursive |= map.contains_key("$dynamicRef");
        let Some(base) = self.bases.get(&here) else { return Vec::new() };
        let resolve = |key: &&str| {
            let reference = map.get(*key)?.as_str()?;
            let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
            let mut address = base.join(document).ok()?;
            address.set_fragment(None);
            if fragment.is_empty() {
                self.targets.get(address.as_str()).copied()
            } else if fragment.starts_with('/') {
                self.targets.get(address.as_str())?.pointer(&percent_decoded(fragment)?)
            } else {
                self.targets.get(&format!("{address}#{fragment}")).copied()
            }
        };
        REFERENCES.iter().filter_map(resolve).collect()
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut decoded = [0];
            hex::decode_to_slice([rest.next()?, rest.next()?], &mut decoded).ok()?;
            bytes.extend(decoded);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds `count` definitions, each of which uses the next one as `link` says.
    fn chain(count: usize, link: impl Fn(String) -> Value) -> Value {
        let mut definitions: Map<_, _> =
            (0..count).map(|n| (format!("d{n}"), link(format!("#/$defs/d{}", n + 1)))).collect();
        definitions.insert(format!("d{count}"), json!({ "type": "integer" }));
        json!({ "$ref": "#/$defs/d0", "$defs": definitions })
    }

    #[test]
    fn doubling_is_refused_wherever_it_hides() {
        let doubled = |link: fn(String) -> Value| measure(&chain(40, link)).unwrap_err();
        for error in [
            doubled(|next| json!({ "allOf": [{ "$ref": next }, { "$ref": next }] })),
            doubled(|next| json!({ "properties": { "a": { "$ref": next } }, "items": { "$ref": next } })),
            doubled(|next| json!({ "if": { "$ref": next }, "then": { "$dynamicRef": next } })),
            doubled(|next| json!({ "$ref": next, "unevaluatedProperties": false })),
        ] {
            assert!(error.contains("expanded references exceed"), "{error}");
        }
        let by_name = (0..40).map(|n| {
            let next = format!("https://example.com/d{}", n + 1);
            json!({ "$id": format!("d{n}"), "allOf": [{ "$ref": next }, { "$ref": next.rsplit('/').next() }] })
        });
        let bundled = json!({ "$id": "https://example.com/root", "$ref": "d0", "$defs": by_name.collect::<Vec<_>>() });
        assert!(measure(&bundled).unwrap_err().contains("expanded references exceed"));
        let by_anchor = (0..40).map(|n| {
            let next = format!("#d{}", n + 1);
            json!({ "$anchor": format!("d{n}"), "allOf": [{ "$ref": next }, { "$ref": next }] })
        });
        let anchored = json!({ "$ref": "#d0", "$defs": by_anchor.collect::<Vec<_>>() });
        assert!(measure(&anchored).unwrap_err().contains("expanded references exceed"));
    }

    /// Published schemas define much that one event does not use: GitHub's pull requests weigh 20 thousand, while their
    /// definitions, each counted separately, exceed the limit.
    #[test]
    fn definitions_weigh_only_where_they_are_referred_to() {
        for definitions in ["$defs", "definitions"] {
            let doubled = chain(15, |next| {
                let next = next.replace("$defs", definitions);
                json!({ "allOf": [{ "$ref": next }, { "$ref": next }] })
            });
            let mut apart = json!({ "type": "object" });
            apart[definitions] = doubled["$defs"].clone();
            assert!(measure(&apart).is_ok());
            let mut used = apart.clone();
            used["$ref"] = format!("#/{definitions}/d0").into();
            assert!(measure(&used).unwrap_err().contains("expanded references exceed"));
            // A property of that name is not a keyword.
            let mut property = json!({ "properties": {} });
            property["properties"][definitions] = json!({ "$ref": format!("#/{definitions}/d0") });
            property[definitions] = doubled["$defs"].clone();
            assert!(measure(&property).unwrap_err().contains("expanded references exceed"));
        }
    }

    #[test]
    fn endless_chains_are_refused() {
        let error = measure(&chain(200, |next| json!({ "$ref": next }))).unwrap_err();
        assert!(error.contains("levels deep"), "{error}");
        // The same holds when the far end was measured first.
        let mut schema = chain(60, |next| json!({ "allOf": [{ "$ref": next }] }));
        schema["$defs"]["a"] = json!({ "$ref": "#/$defs/d30" });
        assert!(measure(&schema).is_err());
    }

    #[test]
    fn ordinary_schemas_pass() {
        let measure = |schema: &Value| measure(schema).map(|unfolded| unfolded.recursive);
        let single = chain(20, |next| json!({ "properties": { "a": { "$ref": next } } }));
        assert_eq!(measure(&single), Ok(false));
        let tree = json!({ "properties": { "left": { "$ref": "#" }, "right": { "$ref": "#" } } });
        assert_eq!(measure(&tree), Ok(true));
        let apart = json!({ "$ref": "#/$defs/a~1b", "$defs": { "a/b": { "$ref": "#/$defs/missing" } } });
        assert_eq!(measure(&apart), Ok(false));
        let escaped = json!({ "$ref": "#/$defs/a%20b", "$defs": { "a b": { "$ref": "#/$defs/a%20b" } } });
        assert_eq!(measure(&escaped), Ok(true));
        let dynamic = json!({ "$dynamicRef": "#node" });
        assert_eq!(measure(&dynamic), Ok(true));
        assert_eq!(measure(&json!(true)), Ok(false));
    }
}
