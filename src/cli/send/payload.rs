//! The body of the event, with its id and type.

use std::{io::Read, path::PathBuf};

use anyhow::Context;
use serde_json::{Map, Value, json};

/// The source of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum BodySource {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl From<&str> for BodySource {
    fn from(text: &str) -> Self {
        if text == "-" { Self::Stdin } else { Self::File(text.into()) }
    }
}

impl BodySource {
    /// The bytes, exactly as they are.
    pub(in crate::cli) fn read(&self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Stdin => {
                let mut bytes = Vec::new();
                std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
                Ok(bytes)
            }
            Self::File(path) => std::fs::read(path).with_context(|| format!("cannot read {}", path.display())),
        }
    }
}

/// The payload that is sent by default.
pub(super) fn sample() -> Value {
    json!({ "note": "sent by grapnel send" })
}

/// The string or number at a JSON pointer (RFC 6901).
pub(super) fn get(payload: &Value, pointer: &str) -> Option<String> {
    match payload.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Sets a string at a JSON pointer, creating objects on the way. Returns false if another value is in the way.
pub(super) fn set(payload: &mut Value, pointer: &str, text: &str) -> bool {
    put(payload, pointer, Value::String(text.to_owned()))
}

/// Sets a value at a JSON pointer, in the same way.
pub(super) fn put(payload: &mut Value, pointer: &str, value: Value) -> bool {
    let mut place = payload;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let Value::Object(object) = place else { return false };
        place = object.entry(token).or_insert_with(|| Value::Object(Map::new()));
    }
    match place {
        Value::Array(_) => return false,
        Value::Object(object) if !object.is_empty() => return false,
        place => *place = value,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_where_the_pointer_says() {
        let mut payload = json!({ "a": 1, "event": { "x": true } });
        assert!(set(&mut payload, "/event/type", "t"));
        assert!(set(&mut payload, "/deep/er~1~0", "u"));
        assert!(set(&mut payload, "/a", "v"));
        assert_eq!(payload, json!({ "a": "v", "event": { "x": true, "type": "t" }, "deep": { "er/~": "u" } }));
        assert_eq!(get(&payload, "/event/type"), Some("t".into()));
        for pointer in ["/event", "/a/b", ""] {
            assert!(!set(&mut payload, pointer, "w"), "{pointer}");
        }
        assert!(!set(&mut json!([1]), "/id", "w"));
        assert_eq!(get(&payload, "/event"), None);
    }
}
