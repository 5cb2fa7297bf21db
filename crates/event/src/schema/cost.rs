//! The cost of validating a value against a schema.
//!
//! A schema of fifty thousand subschemas is acceptable, and so is an array of a hundred thousand elements, but
//! validating each element against each subschema would occupy a thread for minutes. The validator has no limit, so if
//! schema and value are large enough together, the steps are counted first, as if no subschema ever ended early.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

/// A schema, reduced to what determines its cost.
#[derive(Debug)]
pub(super) struct Cost {
    parts: Vec<SubschemaCost>,
    /// Steps of each part and everything below it for one value, or one byte of it, with references followed.
    sums: Vec<u64>,
}

/// A subschema, with the indexes of its parts.
#[derive(Debug, Default)]
struct SubschemaCost {
    /// Steps for the value itself.
    own: u64,
    /// Steps for each byte of a string.
    patterns: u64,
    /// Steps for each byte of a member's name.
    name_patterns: u64,
    /// Subschemas applied to the names of members.
    names: Vec<usize>,
    /// Subschemas applied to the same value.
    here: Vec<usize>,
    /// Subschemas applied to the member of a name.
    named: HashMap<String, usize>,
    /// Subschemas applied to every member.
    members: Vec<usize>,
    /// Subschemas applied to the element at an index.
    placed: Vec<usize>,
    /// Subschemas applied to every element.
    elements: Vec<usize>,
    /// The part is reached by a circular reference, for which the validator caches results.
    remembered: bool,
}

/// In the worst case, a compiled pattern takes one step for each byte of the text per this many bytes of its size,
/// because the engine visits its states.
const PATTERN_BYTES_PER_STEP: u64 = 128;

/// Maximum size of a compiled pattern that counts as one step for each byte of the text.
pub(super) const SMALL_PATTERN: usize = 1024;

/// Returns the steps that a pattern takes for each byte of the text.
fn steps_per_byte(size: usize) -> u64 {
    if size <= SMALL_PATTERN { 1 } else { u64::try_from(size).unwrap_or(u64::MAX) / PATTERN_BYTES_PER_STEP }
}

/// Steps for one value against a schema outside the document. The meta-schema has about a hundred keywords.
const OUTSIDE: u64 = 100;

/// Finds the subschemas within the schema that an object refers to.
pub(super) type References<'a, 'r> = &'r mut dyn FnMut(&'a Map<String, Value>, *const Value) -> Vec<&'a Value>;

impl Cost {
    /// Computes the cost of a schema whose depth and weight have been measured. `sizes` holds the compiled sizes of its
    /// patterns.
    pub(super) fn of<'a>(schema: &'a Value, sizes: &HashMap<&'a str, usize>, references: References<'a, '_>) -> Self {
        let mut build = Build { sizes, parts: Vec::new(), known: HashMap::new(), outside: None, references };
        build.part(schema);
        let mut cost = Self { parts: build.parts, sums: Vec::new() };
        let mut sums = vec![None; cost.parts.len()];
        cost.sums = (0..cost.parts.len()).map(|index| cost.sum(index, &mut sums)).collect();
        cost
    }

    /// Returns the steps of a part and everything below it. A part whose sum is still being computed adds nothing.
    fn sum(&self, index: usize, sums: &mut Vec<Option<u64>>) -> u64 {
        let (Some(part), Some(known)) = (self.parts.get(index), sums.get_mut(index)) else { return 0 };
        if let Some(sum) = known {
            return *sum;
        }
        *known = Some(0);
        let below = [&part.here, &part.members, &part.names, &part.placed, &part.elements].into_iter().flatten();
        let sum = below
            .chain(part.named.values())
            .fold(part.own + part.patterns + part.name_patterns, |sum, next| sum.saturating_add(self.sum(*next, sums)));
        if let Some(known) = sums.get_mut(index) {
            *known = Some(sum);
        }
        sum
    }

    /// Returns the steps of validating a value, or `None` if there are more than `most`.
    pub(super) fn count(&self, value: &Value, most: u64) -> Option<u64> {
        let mut steps = 0u64;
        let mut remembered = HashSet::new();
        let mut open = vec![(0, value)];
        while let Some((index, value)) = open.pop() {
            let Some(part) = self.parts.get(index) else { continue };
            steps = steps.saturating_add(1);
            if part.remembered && !remembered.insert((index, std::ptr::from_ref(value))) {
                continue;
            }
            let searched = |text: &str, patterns: u64| {
                patterns.saturating_mul(u64::try_from(text.len()).unwrap_or(u64::MAX).saturating_add(1))
            };
            steps = steps.saturating_add(part.own);
            open.extend(part.here.iter().map(|next| (*next, value)));
            match value {
                Value::String(text) => steps = steps.saturating_add(searched(text, part.patterns)),
                Value::Object(map) => {
                    let names = part.names.iter().filter_map(|next| self.sums.get(*next));
                    let name_patterns = names.fold(part.name_patterns, |sum, more| sum.saturating_add(*more));
                    for (name, member) in map {
                        steps = steps.saturating_add(searched(name, name_patterns));
                        open.extend(part.named.get(name).map(|next| (*next, member)));
                        open.extend(part.members.iter().map(|next| (*next, member)));
                        if steps > most {
                            return None;
                        }
                    }
                }
                Value::Array(elements) => {
                    open.extend(part.placed.iter().copied().zip(elements));
                    for element in elements {
                        open.extend(part.elements.iter().map(|next| (*next, element)));
                        // Each of these is at least one step, so there is no need to hold them all.
                        if open.len() as u64 > most {
                            return None;
                        }
                    }
                }
                _ => {}
            }
            if steps > most {
                return None;
            }
        }
        Some(steps)
    }
}

struct Build<'a, 'r> {
    sizes: &'r HashMap<&'a str, usize>,
    parts: Vec<SubschemaCost>,
    known: HashMap<*const Value, usize>,
    outside: Option<usize>,
    references: References<'a, 'r>,
}

/// Keywords whose values are not subschemas, even if they look like some.
const NO_SCHEMAS: [&str; 8] =
    ["$defs", "definitions", "default", "examples", "required", "dependentRequired", "type", "$comment"];

impl<'a> Build<'a, '_> {
    fn part(&mut self, schema: &'a Value) -> usize {
        let here = std::ptr::from_ref(schema);
        if let Some(index) = self.known.get(&here) {
            return *index;
        }
        let index = self.parts.len();
        self.known.insert(here, index);
        self.parts.push(SubschemaCost::default());
        let mut part = SubschemaCost { own: 1, ..SubschemaCost::default() };
        if let Value::Object(map) = schema {
            for (keyword, value) in map {
                self.keyword(&mut part, keyword, value);
            }
            let targets = (self.references)(map, here);
            if targets.is_empty() && map.keys().any(|keyword| keyword.ends_with("Ref") || keyword == "$ref") {
                part.here.push(self.outside());
            }
            for target in targets {
                let circle = self.known.contains_key(&std::ptr::from_ref(target));
                let next = self.part(target);
                // A known part may merely have been visited twice; caching it less often than the validator does
                // overestimates the cost and never underestimates it. An unfinished part shows that the reference is
                // circular.
                if circle
                    && self.parts.get(next).is_some_and(|part| part.own == 0)
                    && let Some(target) = self.parts.get_mut(next)
                {
                    target.remembered = true;
                }
                part.here.push(next);
            }
        }
        if let Some(place) = self.parts.get_mut(index) {
            part.remembered = place.remembered;
            *place = part;
        }
        index
    }

    /// Adds a schema outside the document, such as the meta-schema: it applies to everything below.
    fn outside(&mut self) -> usize {
        let next = self.parts.len();
        *self.outside.get_or_insert_with(|| {
            self.parts.push(SubschemaCost {
                own: OUTSIDE,
                members: vec![next],
                elements: vec![next],
                ..SubschemaCost::default()
            });
            next
        })
    }

    fn pattern(&self, pattern: &str) -> u64 {
        // A text without a size is not a valid pattern, and such a schema does not compile.
        self.sizes.get(pattern).map_or(1, |size| steps_per_byte(*size))
    }

    fn keyword(&mut self, part: &mut SubschemaCost, keyword: &str, value: &'a Value) {
        part.own += 1;
        match (keyword, value) {
            ("pattern", Value::String(pattern)) => part.patterns += self.pattern(pattern),
            ("format" | "contentEncoding" | "contentMediaType", _) => part.patterns += 1,
            ("enum", Value::Array(entries)) if entries.iter().all(Value::is_string) => {}
            ("enum" | "const", value) => part.own += size(value),
            ("properties", Value::Object(map)) => {
                part.own += map.len() as u64;
                for (name, schema) in map {
                    let next = self.part(schema);
                    part.named.insert(name.clone(), next);
                }
            }
            ("patternProperties", Value::Object(map)) => {
                part.name_patterns += map.keys().map(|pattern| self.pattern(pattern)).sum::<u64>();
                part.members.extend(map.values().map(|schema| self.part(schema)));
            }
            ("propertyNames", schema) => part.names.push(self.part(schema)),
            ("additionalProperties" | "unevaluatedProperties", schema) => part.members.push(self.part(schema)),
            ("prefixItems", Value::Array(schemas)) | ("items", Value::Array(schemas)) => {
                part.placed.extend(schemas.iter().map(|schema| self.part(schema)));
            }
            ("items" | "additionalItems" | "unevaluatedItems" | "contains", schema) => {
                part.elements.push(self.part(schema));
            }
            (keyword, value) if NO_SCHEMAS.contains(&keyword) => {
                part.own += value.as_array().map_or(0, |entries| entries.len() as u64);
            }
            (_, Value::Array(schemas)) => part.here.extend(schemas.iter().map(|schema| self.part(schema))),
            ("dependentSchemas" | "dependencies", Value::Object(map)) => {
                part.here.extend(map.values().map(|schema| self.part(schema)));
            }
            (_, schema @ Value::Object(_)) => part.here.push(self.part(schema)),
            _ => {}
        }
    }
}

/// Returns the number of values within a value.
fn size(value: &Value) -> u64 {
    match value {
        Value::Array(elements) => elements.iter().fold(1, |sum, element| sum + size(element)),
        Value::Object(map) => map.values().fold(1, |sum, member| sum + size(member)),
        _ => 1,
    }
}
