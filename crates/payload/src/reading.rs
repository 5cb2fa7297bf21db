//! How a body is read: by its content type, or as the endpoint declares it.
//!
//! ```
//! use grapnel_payload::reading::{BodyFormat, BodyKind, Reading};
//!
//! assert_eq!(BodyKind::of(Some("application/json; charset=utf-8")), BodyKind::Json);
//! let declared = Reading { format: BodyFormat::Form, field: None };
//! assert_eq!(declared.kind(Some("application/json")), BodyKind::Form);
//! ```

use std::sync::Arc;

/// The declared format of an endpoint's bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyFormat {
    /// The content type decides.
    #[default]
    Auto,
    /// JSON, whatever the content type.
    Json,
    /// An HTML form, whatever the content type.
    Form,
    /// Never parsed.
    Opaque,
}

/// How the bodies of an endpoint are read. The bytes are stored and delivered as received in any case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// The declared format.
    pub format: BodyFormat,
    /// The field of a form whose text is the JSON payload. A form without it is its own payload.
    pub field: Option<Arc<str>>,
}

/// The kind of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// JSON.
    Json,
    /// Not declared: JSON if it is, otherwise opaque.
    Undeclared,
    /// An HTML form.
    Form,
    /// Anything else.
    Opaque,
}

impl Reading {
    /// Returns the kind of a body with this content type.
    pub fn kind(&self, content_type: Option<&str>) -> BodyKind {
        match self.format {
            BodyFormat::Auto => BodyKind::of(content_type),
            BodyFormat::Json => BodyKind::Json,
            BodyFormat::Form => BodyKind::Form,
            BodyFormat::Opaque => BodyKind::Opaque,
        }
    }
}

impl BodyKind {
    /// Returns the kind that a content type names. `application/json`, `text/json` and every `…+json` are JSON,
    /// `application/x-www-form-urlencoded` is a form, and everything else is opaque.
    pub fn of(content_type: Option<&str>) -> Self {
        let essence = content_type.unwrap_or_default();
        let essence = essence.split_once(';').map_or(essence, |(essence, _)| essence).trim();
        let suffix = essence.len().checked_sub("+json".len()).and_then(|at| essence.get(at..));
        if essence.is_empty() {
            Self::Undeclared
        } else if ["application/json", "text/json"].iter().any(|json| essence.eq_ignore_ascii_case(json))
            || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json"))
        {
            Self::Json
        } else if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            Self::Form
        } else {
            Self::Opaque
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_decides() {
        for (content_type, kind) in [
            (None, BodyKind::Undeclared),
            (Some(""), BodyKind::Undeclared),
            (Some(" ; charset=utf-8"), BodyKind::Undeclared),
            (Some("application/json"), BodyKind::Json),
            (Some("Application/JSON; charset=utf-8"), BodyKind::Json),
            (Some("text/json"), BodyKind::Json),
            (Some("application/cloudevents+json"), BodyKind::Json),
            (Some("application/vnd.api+JSON;v=1"), BodyKind::Json),
            (Some("application/x-www-form-urlencoded; charset=UTF-8"), BodyKind::Form),
            (Some("text/plain"), BodyKind::Opaque),
            (Some("multipart/form-data; boundary=x"), BodyKind::Opaque),
            (Some("é"), BodyKind::Opaque),
            (Some("json"), BodyKind::Opaque),
            (Some("+js"), BodyKind::Opaque),
        ] {
            assert_eq!(Reading::default().kind(content_type), kind, "{content_type:?}");
        }
    }

    #[test]
    fn a_declared_format_comes_first() {
        for (format, kind) in [
            (BodyFormat::Json, BodyKind::Json),
            (BodyFormat::Form, BodyKind::Form),
            (BodyFormat::Opaque, BodyKind::Opaque),
        ] {
            let reading = Reading { format, field: None };
            for content_type in [None, Some("application/json"), Some("text/plain")] {
                assert_eq!(reading.kind(content_type), kind, "{format:?} {content_type:?}");
            }
        }
    }
}
