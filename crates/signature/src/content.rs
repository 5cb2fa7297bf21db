//! Signed content.

use std::borrow::Cow;

use crate::limits::SIGNED_CONTENT_BYTES;

/// A template such as `{timestamp}.{body}`. It contains `{body}` exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentTemplate {
    parts: Cow<'static, [TemplatePart]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TemplatePart {
    Literal(Cow<'static, str>),
    Timestamp,
    Id,
    Body,
}

const DOT: TemplatePart = literal(".");

/// The signed content of Standard Webhooks: `id.timestamp.body`.
pub(super) const STANDARD_WEBHOOKS: &[TemplatePart] =
    &[TemplatePart::Id, DOT, TemplatePart::Timestamp, DOT, TemplatePart::Body];

/// `timestamp.body`.
pub(super) const TIMESTAMP_DOT_BODY: &[TemplatePart] = &[TemplatePart::Timestamp, DOT, TemplatePart::Body];

/// The timestamp and the body, with nothing between them.
pub(super) const TIMESTAMP_BODY: &[TemplatePart] = &[TemplatePart::Timestamp, TemplatePart::Body];

/// `v0:timestamp:body`.
pub(super) const V0_TIMESTAMP_BODY: &[TemplatePart] =
    &[literal("v0:"), TemplatePart::Timestamp, literal(":"), TemplatePart::Body];

const fn literal(text: &'static str) -> TemplatePart {
    TemplatePart::Literal(Cow::Borrowed(text))
}

/// Why a text is not a valid template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// Unknown placeholder.
    #[error("`{{{0}}}` is an unknown placeholder; known: {{body}}, {{timestamp}} and {{id}}")]
    Unknown(String),
    /// Unbalanced brace.
    #[error("`{0}` has an unmatched brace; use braces only for the placeholders {{body}}, {{timestamp}} and {{id}}")]
    Brace(String),
    /// `{body}` is missing or occurs more than once.
    #[error("`{0}` must contain {{body}} exactly once, so that the signature covers the body")]
    Body(String),
    /// The template exceeds [`SIGNED_CONTENT_BYTES`].
    #[error("the template has {0} bytes, more than the {SIGNED_CONTENT_BYTES} allowed")]
    TooLong(usize),
}

/// A signed message, provided in pieces so that bodies are not copied.
pub(super) trait Message {
    /// Calls `update` with each piece in order.
    fn feed(&self, update: impl FnMut(&[u8]));

    /// Returns the concatenated pieces, for algorithms that need the whole message at once.
    fn joined(&self) -> Vec<u8> {
        let mut length = 0;
        self.feed(|bytes| length += bytes.len());
        let mut message = Vec::with_capacity(length);
        self.feed(|bytes| message.extend_from_slice(bytes));
        message
    }
}

impl<const N: usize> Message for [&[u8]; N] {
    fn feed(&self, mut update: impl FnMut(&[u8])) {
        for piece in self {
            update(piece);
        }
    }
}

/// A template with the values of its placeholders.
pub(super) struct Filled<'a> {
    pub(super) content: &'a ContentTemplate,
    pub(super) fields: PlaceholderValues<'a>,
}

impl Message for Filled<'_> {
    fn feed(&self, mut update: impl FnMut(&[u8])) {
        let PlaceholderValues { timestamp, id, body } = self.fields;
        for part in &*self.content.parts {
            update(match part {
                TemplatePart::Literal(text) => text.as_bytes(),
                TemplatePart::Timestamp => timestamp,
                TemplatePart::Id => id,
                TemplatePart::Body => body,
            });
        }
    }
}

/// The values of the placeholders.
#[derive(Clone, Copy)]
pub(super) struct PlaceholderValues<'a> {
    pub(super) timestamp: &'a [u8],
    pub(super) id: &'a [u8],
    pub(super) body: &'a [u8],
}

impl ContentTemplate {
    /// Returns the template of the body alone.
    pub fn body() -> Self {
        Self::of(&[TemplatePart::Body])
    }

    /// Parses a template of at most [`SIGNED_CONTENT_BYTES`].
    ///
    /// # Errors
    ///
    /// [`ContentError`] says what is wrong.
    pub fn parse(template: &str) -> Result<Self, ContentError> {
        if template.len() > SIGNED_CONTENT_BYTES {
            return Err(ContentError::TooLong(template.len()));
        }
        let brace = || ContentError::Brace(template.into());
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(brace)?;
            if literal.contains('}') || name.contains('{') {
                return Err(brace());
            }
            if !literal.is_empty() {
                parts.push(TemplatePart::Literal(literal.to_owned().into()));
            }
            parts.push(match name {
                "timestamp" => TemplatePart::Timestamp,
                "id" => TemplatePart::Id,
                "body" => TemplatePart::Body,
                other => return Err(ContentError::Unknown(other.into())),
            });
            rest = after;
        }
        if rest.contains('}') {
            return Err(brace());
        }
        if !rest.is_empty() {
            parts.push(TemplatePart::Literal(rest.to_owned().into()));
        }
        if parts.iter().filter(|part| **part == TemplatePart::Body).count() != 1 {
            return Err(ContentError::Body(template.into()));
        }
        Ok(Self { parts: parts.into() })
    }

    /// Creates a template from parts that contain the body exactly once.
    pub(super) const fn of(parts: &'static [TemplatePart]) -> Self {
        Self { parts: Cow::Borrowed(parts) }
    }

    /// Returns whether the time of signing is signed.
    pub fn uses_timestamp(&self) -> bool {
        self.parts.contains(&TemplatePart::Timestamp)
    }

    /// Returns whether the id is signed.
    pub fn uses_id(&self) -> bool {
        self.parts.contains(&TemplatePart::Id)
    }

    /// Fills in the placeholders.
    pub(super) fn filled<'a>(&'a self, fields: PlaceholderValues<'a>) -> Filled<'a> {
        Filled { content: self, fields }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(template: &str) -> String {
        let mut text = Vec::new();
        let fields = PlaceholderValues { timestamp: b"TS", id: b"ID", body: b"BODY" };
        ContentTemplate::parse(template).unwrap().filled(fields).feed(|bytes| text.extend_from_slice(bytes));
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn placeholders_are_filled() {
        assert_eq!(filled("{body}"), "BODY");
        assert_eq!(filled("v0:{timestamp}:{body}"), "v0:TS:BODY");
        assert_eq!(filled("{id}.{timestamp}.{body}"), "ID.TS.BODY");
        assert_eq!(filled("{body}{timestamp}{timestamp}!"), "BODYTSTS!");
        assert!(ContentTemplate::parse("{timestamp}{body}").unwrap().uses_timestamp());
        assert!(!ContentTemplate::parse("{id}{body}").unwrap().uses_timestamp());
        assert!(ContentTemplate::parse("{id}{body}").unwrap().uses_id());
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(ContentTemplate::parse("{url}{body}"), Err(ContentError::Unknown("url".into())));
        let sentence = ContentError::Unknown("url".into()).to_string();
        assert_eq!(sentence, "`{url}` is an unknown placeholder; known: {body}, {timestamp} and {id}");
        for template in ["{body", "body}", "{body}}", "{{body}}", "{body}{", "}{body}", "{a{body}"] {
            assert!(matches!(ContentTemplate::parse(template), Err(ContentError::Brace(_))), "{template}");
        }
        for template in ["", "{timestamp}", "{body}{body}", "body"] {
            assert!(matches!(ContentTemplate::parse(template), Err(ContentError::Body(_))), "{template}");
        }
        assert!(matches!(ContentTemplate::parse(&"a".repeat(257)), Err(ContentError::TooLong(257))));
    }

    proptest! {
        #[test]
        fn nothing_panics(template in "([{}a.]|\\{body\\}|\\{id\\}|\\PC){0,10}") {
            let _ = ContentTemplate::parse(&template);
        }
    }
}
