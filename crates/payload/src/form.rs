//! HTML forms (`application/x-www-form-urlencoded`).

use serde_json::{Map, Value};

use super::limits::FORM_FIELDS;

/// Parses an HTML form into an object of its first [`FORM_FIELDS`] fields; returns whether these are all.
pub(super) fn fields(body: &[u8]) -> (Value, bool) {
    let mut fields = Map::new();
    for (number, (name, value)) in form_urlencoded::parse(body).enumerate() {
        if number == FORM_FIELDS {
            return (Value::Object(fields), false);
        }
        let value = Value::String(value.into_owned());
        match fields.get_mut(&*name) {
            None => {
                fields.insert(name.into_owned(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    (Value::Object(fields), true)
}
