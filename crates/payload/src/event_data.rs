//! The data of an event in its original form: the body, or a part of it.
//!
//! ```
//! use grapnel_payload::event_data::Data;
//!
//! assert!(matches!(Data::of(Some("text/plain"), b"hello"), Data::Text(text) if text == "hello"));
//! assert!(matches!(Data::of(Some("application/json"), b" [1] "), Data::Json(json) if json == "[1]"));
//! assert!(matches!(Data::of(Some("application/json"), b"[1"), Data::Text(text) if text == "[1"), "no JSON");
//! ```

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{lenient, reading::BodyKind};

/// The data of an event.
#[derive(Debug, Clone)]
pub struct Content<'a> {
    /// The content type, if known.
    pub content_type: Option<Cow<'a, str>>,
    /// The data itself.
    pub data: Data<'a>,
}

/// Data in its original form.
#[derive(Debug, Clone)]
pub enum Data<'a> {
    /// A CloudEvent without data.
    Nothing,
    /// A JSON text without surrounding blanks: numbers, the order of keys and duplicate keys are preserved.
    Json(Cow<'a, str>),
    /// Other text.
    Text(Cow<'a, str>),
    /// Binary data.
    Bytes(Cow<'a, [u8]>),
}

impl<'a> Data<'a> {
    /// Classifies a body by its content type.
    pub fn of(content_type: Option<&str>, body: &'a [u8]) -> Self {
        match BodyKind::of(content_type) {
            BodyKind::Json | BodyKind::Undeclared => Self::json(body),
            BodyKind::Form | BodyKind::Opaque => Self::plain(body),
        }
    }

    /// Classifies a body that should be JSON. JSON is returned without a byte order mark.
    pub fn json(body: &'a [u8]) -> Self {
        // JSON is never empty: there is no data, as in a CloudEvent that consists of headers only.
        if body.is_empty() {
            return Self::Nothing;
        }
        match serde_json::from_slice::<&RawValue>(lenient::without_bom(body)) {
            Ok(json) => Self::Json(Cow::Borrowed(json.get())),
            Err(_) => Self::plain(body),
        }
    }

    /// The bytes of the data.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Nothing => b"",
            Self::Json(text) | Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// Classifies a body that is not JSON.
    pub fn plain(body: &'a [u8]) -> Self {
        match std::str::from_utf8(body) {
            Ok(text) => Self::Text(Cow::Borrowed(text)),
            Err(_) => Self::Bytes(Cow::Borrowed(body)),
        }
    }
}

/// [`Data`] that shares memory with the body that it is a part of.
#[derive(Debug, Clone)]
pub enum SharedData {
    /// No data.
    Nothing,
    /// A JSON text.
    Json(Bytes),
    /// Other text.
    Text(Bytes),
    /// Binary data.
    Bytes(Bytes),
}

impl SharedData {
    /// Shares what `data` borrows from `body`, and takes over what it owns.
    pub fn of(data: Data<'_>, body: &Bytes) -> Self {
        let share = |bytes: Cow<'_, [u8]>| match bytes {
            Cow::Borrowed(bytes) => body.slice_ref(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        };
        match data {
            Data::Nothing => Self::Nothing,
            Data::Json(json) => Self::Json(share(into_bytes(json))),
            Data::Text(text) => Self::Text(share(into_bytes(text))),
            Data::Bytes(bytes) => Self::Bytes(share(bytes)),
        }
    }

    /// Copies data.
    pub(super) fn copy(data: &Data<'_>) -> Self {
        match data {
            Data::Nothing => Self::Nothing,
            Data::Json(json) => Self::Json(Bytes::copy_from_slice(json.as_bytes())),
            Data::Text(text) => Self::Text(Bytes::copy_from_slice(text.as_bytes())),
            Data::Bytes(bytes) => Self::Bytes(Bytes::copy_from_slice(bytes)),
        }
    }

    /// The bytes of the data.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Nothing => b"",
            Self::Json(bytes) | Self::Text(bytes) | Self::Bytes(bytes) => bytes,
        }
    }

    /// The data, borrowed.
    pub fn borrowed(&self) -> Data<'_> {
        match self {
            Self::Nothing => Data::Nothing,
            Self::Json(json) => Data::Json(String::from_utf8_lossy(json)),
            Self::Text(text) => Data::Text(String::from_utf8_lossy(text)),
            Self::Bytes(bytes) => Data::Bytes(Cow::Borrowed(bytes)),
        }
    }
}

fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}
