//! Access to JSON text without building a tree.
//!
//! Most events need only two strings of their body. Checking the text and extracting those strings costs a fraction of
//! the time and memory of a [`serde_json::Value`].
//!
//! ```
//! use grapnel_payload::json::{FoundValue, check, find};
//!
//! let text = br#"{"data":{"id":"evt_1"}}"#;
//! assert!(check(text).is_ok() && check(b"{").is_err());
//! assert!(matches!(find(text, &["data".into(), "id".into()]), FoundValue::Text(id) if id == "evt_1"));
//! ```

use std::{borrow::Cow, fmt};

use grapnel_values::pointer::array_index;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// Checks that a text is one JSON value, exactly as parsing it into a [`serde_json::Value`] would: UTF-8, escapes,
/// number range, no trailing data, nested at most [`JSON_DEPTH`](crate::limits::JSON_DEPTH) deep.
pub fn check(text: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<Checked>(text).map(|Checked| ())
}

/// A value of any kind, parsed and discarded.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // `IgnoredAny` would skip the checks of UTF-8, surrogates, number ranges and depth.
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self, A::Error> {
        while let Some(Self) = elements.next_element()? {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while let Some((Self, Self)) = entries.next_entry()? {}
        Ok(self)
    }
}

/// The value at a location of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundValue<'a> {
    /// A non-empty string, an integer or a boolean, as text.
    Text(Cow<'a, str>),
    /// Null, a fraction, an array, an object or an empty string.
    Unusable,
    /// The document has no such location.
    Nothing,
}

impl FoundValue<'static> {
    fn string(text: &str) -> Self {
        if text.is_empty() { Self::Unusable } else { Self::Text(Cow::Owned(text.into())) }
    }
}

/// Finds the value at `path` of a text that [`check`] has accepted. The last of equal keys counts.
pub fn find(text: &[u8], path: &[Box<str>]) -> FoundValue<'static> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Seek { path }.deserialize(&mut deserializer).unwrap_or(FoundValue::Nothing)
}

/// Finds the value at `path` of a parsed document.
pub fn find_in<'a>(value: &'a serde_json::Value, path: &[Box<str>]) -> FoundValue<'a> {
    use serde_json::Value;
    let mut value = value;
    for token in path {
        let next = match value {
            Value::Object(map) => map.get(&**token),
            Value::Array(elements) => array_index(token).and_then(|index| elements.get(index)),
            _ => None,
        };
        let Some(next) = next else { return FoundValue::Nothing };
        value = next;
    }
    match value {
        Value::String(text) if !text.is_empty() => FoundValue::Text(Cow::Borrowed(text)),
        Value::Bool(flag) => FoundValue::Text(Cow::Borrowed(if *flag { "true" } else { "false" })),
        Value::Number(number) if !number.is_f64() => FoundValue::Text(Cow::Owned(number.to_string())),
        _ => FoundValue::Unusable,
    }
}

struct Seek<'a> {
    path: &'a [Box<str>],
}

impl Seek<'_> {
    fn scalar<E>(self, found: impl FnOnce() -> FoundValue<'static>) -> Result<FoundValue<'static>, E> {
        Ok(if self.path.is_empty() { found() } else { FoundValue::Nothing })
    }
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = FoundValue<'static>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = FoundValue<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        self.scalar(|| FoundValue::string(if flag { "true" } else { "false" }))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        self.scalar(|| FoundValue::string(&number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        self.scalar(|| FoundValue::string(&number.to_string()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        self.scalar(|| FoundValue::Unusable)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        self.scalar(|| FoundValue::string(text))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        self.scalar(|| FoundValue::Unusable)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let wanted = self.path.split_first().map(|(token, rest)| (array_index(token), rest));
        let mut found = if wanted.is_some() { FoundValue::Nothing } else { FoundValue::Unusable };
        for position in 0.. {
            let more = match wanted {
                Some((Some(wanted), path)) if wanted == position => {
                    elements.next_element_seed(Seek { path })?.map(|there| found = there)
                }
                _ => elements.next_element::<IgnoredAny>()?.map(|_| ()),
            };
            if more.is_none() {
                break;
            }
        }
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let Some((wanted, path)) = self.path.split_first() else {
            while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(FoundValue::Unusable);
        };
        let mut found = FoundValue::Nothing;
        while let Some(here) = entries.next_key_seed(Equals(wanted))? {
            if here {
                found = entries.next_value_seed(Seek { path })?;
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Compares a key without copying it.
struct Equals<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Equals<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Equals<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use grapnel_values::pointer::JsonPointer;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::limits::JSON_DEPTH;

    fn path(pointer: &str) -> Vec<Box<str>> {
        JsonPointer::parse(pointer).unwrap().tokens().to_vec()
    }

    fn text(found: &str) -> FoundValue<'static> {
        FoundValue::Text(Cow::Owned(found.into()))
    }

    #[test]
    fn finds_what_is_there() {
        let body = br#"{"a":{"b":["x",{"c":17}],"e":""},"t":true,"n":null,"f":1.5,"m":-3,"k/~":"esc","u":"\u00e9"}"#;
        for (pointer, expected) in [
            ("/a/b/0", text("x")),
            ("/a/b/1/c", text("17")),
            ("/t", text("true")),
            ("/m", text("-3")),
            ("/k~1~0", text("esc")),
            ("/u", text("é")),
            ("/n", FoundValue::Unusable),
            ("/f", FoundValue::Unusable),
            ("/a", FoundValue::Unusable),
            ("/a/b", FoundValue::Unusable),
            ("/a/e", FoundValue::Unusable),
            ("", FoundValue::Unusable),
            ("/a/b/2", FoundValue::Nothing),
            ("/a/b/00", FoundValue::Nothing),
            ("/a/b/-", FoundValue::Nothing),
            ("/a/b/+1", FoundValue::Nothing),
            ("/t/x", FoundValue::Nothing),
            ("/missing", FoundValue::Nothing),
        ] {
            assert_eq!(find(body, &path(pointer)), expected, "{pointer}");
            let value: Value = serde_json::from_slice(body).unwrap();
            assert_eq!(find_in(&value, &path(pointer)), expected, "{pointer}");
        }
        assert_eq!(find(br#""whole""#, &[]), text("whole"));
    }

    #[test]
    fn of_equal_keys_the_last_counts() {
        assert_eq!(find(br#"{"id":"a","id":"b"}"#, &path("/id")), text("b"));
        assert_eq!(find(br#"{"e":{"id":"a"},"e":{}}"#, &path("/e/id")), FoundValue::Nothing);
        assert_eq!(find(br#"{"e":{"id":"a"},"e":1}"#, &path("/e/id")), FoundValue::Nothing);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
        assert!(check(&nested(JSON_DEPTH)).is_ok());
        assert!(check(&nested(JSON_DEPTH + 1)).is_err());
        assert!(check(&nested(100_000)).is_err());
        assert!(check(&b"[".repeat(100_000)).is_err());
        assert!(check(&br#"{"a":"#.repeat(100_000)).is_err());
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e9..1e9).prop_map(|number: f64| Value::from(number)),
            "[a-c\"\\\\\u{e9}]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec(("[a-c0-2]{0,2}", inner), 0..4)
                    .prop_map(|entries| entries.into_iter().collect::<Value>()),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_check_agrees_with_reading_a_value(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(check(&text).is_ok(), serde_json::from_slice::<Value>(&text).is_ok());
        }

        #[test]
        fn also_on_nearly_valid_texts(
            text in r#"([\[\]{},: ]|"[a\\"\u00ff]{0,3}"|\\u[dD][89c][0-9]{2}|1e400|-0|0[0-9]|null|true|[0-9.eE+-]{1,4}){0,12}"#
        ) {
            prop_assert_eq!(check(text.as_bytes()).is_ok(), serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
        }

        #[test]
        fn valid_documents_pass(value in json()) {
            prop_assert!(check(value.to_string().as_bytes()).is_ok());
        }

        #[test]
        fn seeking_agrees_with_the_tree(value in json(), pointer in "(/[a-c0-2]{0,2}){0,4}") {
            let text = value.to_string();
            prop_assert_eq!(find(text.as_bytes(), &path(&pointer)), find_in(&value, &path(&pointer)));
            prop_assert_eq!(
                find_in(&value, &path(&pointer)) == FoundValue::Nothing,
                value.pointer(&pointer).is_none()
            );
        }

        #[test]
        fn damaged_documents_never_panic(value in json(), cut in 0usize..200, pointer in "(/[a-c0-2]{0,2}){0,4}") {
            let mut text = value.to_string().into_bytes();
            text.truncate(cut);
            let _ = find(&text, &path(&pointer));
            prop_assert_eq!(check(&text).is_ok(), serde_json::from_slice::<Value>(&text).is_ok());
        }
    }
}
