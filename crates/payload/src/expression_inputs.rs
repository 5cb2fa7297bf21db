//! Headers and attributes as expressions see them.

use std::borrow::Cow;

use grapnel_expression as expression;

use super::cloudevents::{self, CloudEvent};

/// Returns headers as expressions see them: attributes of CloudEvents are decoded, and invalid UTF-8 is replaced.
pub fn expression_headers<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    let mut joined: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
    for (name, value) in headers {
        let attribute = name.starts_with("ce-");
        let value = if attribute { cloudevents::decode(value) } else { String::from_utf8_lossy(value) };
        match joined.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => {
                let values = values.to_mut();
                values.push_str(", ");
                values.push_str(&value);
            }
            None => joined.push((Cow::Borrowed(name), value)),
        }
    }
    joined
}

/// Adds the attributes of a CloudEvent in the body to the headers that expressions see, under their header names.
/// Expressions therefore do not depend on the mode in which an event arrives.
pub fn add_attributes(inputs: &mut expression::Inputs<'_>, event: &CloudEvent<'_>) {
    let attributes = event
        .attributes()
        .map(|(name, value)| (Cow::Owned(format!("ce-{}", name.to_ascii_lowercase())), Cow::Owned(value.into_owned())));
    let attributes: Vec<(Cow<'static, str>, Cow<'static, str>)> = attributes.collect();
    let is_set = |known: &str| known.starts_with("ce-") && attributes.iter().any(|(name, _)| name == known);
    inputs.headers.retain(|(known, _)| !is_set(known));
    inputs.headers.extend(attributes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_see_each_header_once() {
        let headers: [(&str, &[u8]); 5] = [
            ("x-github-event", b"push"),
            ("accept", b"a"),
            ("x-odd", b"caf\xe9"),
            ("ce-subject", b"a%20b"),
            ("accept", b"b"),
        ];
        let expected =
            [("x-github-event", "push"), ("accept", "a, b"), ("x-odd", "caf\u{fffd}"), ("ce-subject", "a b")];
        assert_eq!(expression_headers(headers), expected.map(|(name, value)| (name.into(), value.into())));
    }
}
