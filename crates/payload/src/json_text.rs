//! JSON text that becomes a tree when it is needed.

use std::sync::OnceLock;

use bytes::Bytes;
use grapnel_values::pointer::JsonPointer;
use serde_json::Value;

use super::{
    event_data::Data,
    json::{self, FoundValue},
    lenient,
};

/// When a text is parsed into a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parse {
    /// When it is read, in the same pass that checks it.
    Now,
    /// When the tree is needed, if ever. Reading only checks the text.
    WhenNeeded,
}

/// A well-formed JSON text, parsed into a [`Value`] on first use.
#[derive(Clone, Default)]
pub struct JsonText {
    /// The bytes that it was read from, or what stands for them.
    source: Bytes,
    /// The strict text, which may be a repaired one. Empty if nothing can be read.
    text: Bytes,
    value: OnceLock<Value>,
    flaw: Option<String>,
}

impl JsonText {
    /// Null, without a text.
    pub(super) fn null() -> Self {
        Self { value: OnceLock::from(Value::Null), ..Self::default() }
    }

    /// Reads a text strictly, or else what can be read of it: at worst null. The flaw says what is not JSON.
    pub(super) fn read(parse: Parse, content_type: Option<&str>, source: &Bytes) -> Self {
        if source.is_empty() {
            return Self { flaw: Some("the body is empty, but a JSON value was expected".into()), ..Self::null() };
        }
        let text = source.slice_ref(lenient::without_bom(source));
        let read = Self { source: source.clone(), ..Self::default() };
        let error = match strict(parse, &text) {
            Ok(value) => return Self { text, value, ..read },
            Err(error) => error,
        };
        let flaw = Some(format!("the body is not valid JSON: {error}"));
        match lenient::repair(content_type, source) {
            Some(text) => Self { text: text.into(), flaw, ..read },
            None => Self { value: OnceLock::from(Value::Null), flaw, ..read },
        }
    }

    /// The same text, with another flaw.
    pub(super) fn with_flaw(self, flaw: Option<String>) -> Self {
        Self { flaw, ..self }
    }

    /// The same text, with its repaired form as the source if the source is not JSON. For text that is not a body, and
    /// so is not passed on as received.
    pub(super) fn with_json_source(self) -> Self {
        if self.flaw.is_none() || matches!(Data::json(&self.source), Data::Json(_)) {
            return self;
        }
        Self { source: self.text.clone(), ..self }
    }

    /// The bytes that it was read from.
    pub(super) fn source(&self) -> &[u8] {
        &self.source
    }

    /// Why the text is not JSON; `None` if it is.
    pub(super) fn flaw(&self) -> Option<&str> {
        self.flaw.as_deref()
    }

    /// Whether nothing of the text can be read.
    pub(super) fn is_unreadable(&self) -> bool {
        self.flaw.is_some() && self.text.is_empty()
    }

    pub(super) fn value(&self) -> &Value {
        // The text has passed the same parser, so the default is never used.
        self.value.get_or_init(|| serde_json::from_slice(&self.text).unwrap_or_default())
    }

    pub(super) fn parsed(&self) -> Option<&Value> {
        self.value.get()
    }

    /// Finds the value at a location, in the tree if there is one and otherwise in the text.
    pub(super) fn find(&self, pointer: &JsonPointer) -> FoundValue<'_> {
        match self.value.get() {
            Some(value) => json::find_in(value, pointer.tokens()),
            None => json::find(&self.text, pointer.tokens()),
        }
    }

    /// The text without the blanks around it (RFC 8259, 2), if it is strict JSON as received.
    pub fn strict(&self) -> Option<&str> {
        let strict = self.flaw.is_none().then(|| std::str::from_utf8(&self.text).ok()).flatten();
        strict.map(|text| text.trim_matches([' ', '\t', '\n', '\r'])).filter(|text| !text.is_empty())
    }
}

/// Checks a text, and parses it if that is to happen now.
fn strict(parse: Parse, text: &[u8]) -> Result<OnceLock<Value>, serde_json::Error> {
    match parse {
        Parse::Now => serde_json::from_slice::<Value>(text).map(OnceLock::from),
        Parse::WhenNeeded => json::check(text).map(|()| OnceLock::new()),
    }
}
