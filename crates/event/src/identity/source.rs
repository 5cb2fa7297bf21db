//! Sources: where the type and the id of an event are read from.

use std::{fmt, sync::Arc};

use grapnel_expression::Expression;
use grapnel_values::pointer::JsonPointer;
use http::HeaderName;

/// Where the id of an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdOrigin {
    /// The source that the endpoint declares.
    Declared,
    /// The default source with this index.
    Default(usize),
    /// The event itself: a CloudEvent, or an event that has been accepted before.
    Event,
    /// No source gives an id, so Grapnel generated one (UUIDv7). The event is never a duplicate.
    Generated,
}

/// A location in a request that a value is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A request header.
    Header(HeaderName),
    /// A location in the body, which must hold a non-empty string, an integer or a boolean.
    Pointer(JsonPointer),
    /// A constant for every event.
    Value(String),
    /// The result of an expression, which must be a non-empty string, an integer or a boolean.
    Expression(Arc<Expression>),
    /// The digest of the body: `sha256-` and the first 32 hexadecimal digits of its SHA-256, so that the same bytes
    /// have the same id.
    Digest,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header {name}"),
            Self::Pointer(pointer) => write!(f, "{pointer} of the body"),
            Self::Value(_) => f.write_str("a fixed value"),
            Self::Expression(_) => f.write_str("an expression"),
            Self::Digest => f.write_str("the digest of the body"),
        }
    }
}

/// The sources of one value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The source declared for the endpoint. A request without its value is malformed.
    pub explicit: Option<Source>,
    /// The sources tried in order when none is declared. One without a usable value is passed over.
    pub defaults: Arc<[Source]>,
    /// Headers hidden from expressions, in addition to the general credentials: those of the endpoint's own
    /// verification.
    pub hidden: Vec<HeaderName>,
}

impl Sources {
    /// Returns the source of a value with this origin, if it comes from one.
    pub(super) fn source(&self, origin: IdOrigin) -> Option<&Source> {
        match origin {
            IdOrigin::Declared => self.explicit.as_ref(),
            IdOrigin::Default(index) => self.defaults.get(index),
            IdOrigin::Event | IdOrigin::Generated => None,
        }
    }

    /// Says where ids come from, in order of precedence.
    pub fn describe_ids(&self) -> String {
        if let Some(source) = &self.explicit {
            return source.to_string();
        }
        let mut described: String = self.defaults.iter().map(|source| format!("{source}, ")).collect();
        described.push_str("else generated");
        described
    }
}
