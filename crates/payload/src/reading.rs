//! How a body is read: by its content type, or as the endpoint declares it.

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
pub enum Kind {
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
    pub fn kind(&self, content_type: Option<&str>) -> Kind {
        match self.format {
            BodyFormat::Auto => Kind::of(content_type),
            BodyFormat::Json => Kind::Json,
            BodyFormat::Form => Kind::Form,
            BodyFormat::Opaque => Kind::Opaque,
        }
    }
}

impl Kind {
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
            (None, Kind::Undeclared),
            (Some(""), Kind::Undeclared),
            (Some(" ; charset=utf-8"), Kind::Undeclared),
            (Some("application/json"), Kind::Json),
            (Some("Application/JSON; charset=utf-8"), Kind::Json),
            (Some("text/json"), Kind::Json),
            (Some("application/cloudevents+json"), Kind::Json),
            (Some("application/vnd.api+JSON;v=1"), Kind::Json),
            (Some("application/x-www-form-urlencoded; charset=UTF-8"), Kind::Form),
            (Some("text/plain"), Kind::Opaque),
            (Some("multipart/form-data; boundary=x"), Kind::Opaque),
            (Some("é"), Kind::Opaque),
            (Some("json"), Kind::Opaque),
            (Some("+js"), Kind::Opaque),
        ] {
            assert_eq!(Reading::default().kind(content_type), kind, "{content_type:?}");
        }
    }

    #[test]
    fn a_declared_format_comes_first() {
        for (format, kind) in
            [(BodyFormat::Json, Kind::Json), (BodyFormat::Form, Kind::Form), (BodyFormat::Opaque, Kind::Opaque)]
        {
            let reading = Reading { format, field: None };
            for content_type in [None, Some("application/json"), Some("text/plain")] {
                assert_eq!(reading.kind(content_type), kind, "{format:?} {content_type:?}");
            }
        }
    }
}
