//! Binary mode: attributes as headers (HTTP Protocol Binding 1.0, 3.1).

use std::{borrow::Cow, fmt::Write};

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};

use super::{Attribute, CloudEvent, PartialAttributes};
use crate::{event_data::Data, malformed::MalformedPayload};

const PREFIX: &str = "ce-";

impl<'a> CloudEvent<'a> {
    /// Returns whether headers carry an event: they name the version of the specification.
    pub fn is_binary<'h>(mut headers: impl Iterator<Item = &'h str>) -> bool {
        headers.any(|name| name == "ce-specversion")
    }

    /// Reads an event from lower-case headers and the accompanying body.
    ///
    /// # Errors
    ///
    /// [`MalformedPayload`] says what is wrong. It holds no value of the event.
    pub fn binary(
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
        content_type: Option<&'a str>,
        body: &'a [u8],
    ) -> Result<Self, MalformedPayload> {
        let mut found = PartialAttributes::default();
        for (name, value) in headers {
            // A header of that name would duplicate Content-Type.
            if let Some(name) = name.strip_prefix(PREFIX)
                && name != "datacontenttype"
            {
                found.add(Cow::Borrowed(name), Attribute::Text(decode(value)))?;
            }
        }
        found.content_type = content_type.map(Cow::Borrowed);
        let data = if body.is_empty() { Data::Nothing } else { Data::of(content_type, body) };
        found.event(|_| Ok(data))
    }

    /// Writes the attributes into headers. The data belongs in the body.
    pub fn to_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in self.attributes() {
            let name = format!("{PREFIX}{}", name.to_ascii_lowercase());
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(encode(&value))) {
                headers.insert(name, value);
            }
        }
        let content_type = match &self.content.data {
            Data::Nothing => return,
            // An absent content type means JSON (CloudEvents 1.0, datacontenttype).
            Data::Json(_) => self.content.content_type.as_deref().or(Some("application/json")),
            Data::Text(_) | Data::Bytes(_) => self.content.content_type.as_deref(),
        };
        if let Some(value) = content_type.and_then(|content_type| HeaderValue::from_str(content_type).ok()) {
            headers.insert(CONTENT_TYPE, value);
        }
    }

    /// Returns the data as a body.
    pub fn body(&self) -> &[u8] {
        self.content.data.bytes()
    }
}

/// Encodes an attribute's value for a header: percent-encodes everything except printable ASCII, and also the space, the
/// double quote and the percent sign (HTTP Protocol Binding, 3.1.3.2).
pub fn encode(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Decodes an attribute's header: strips the surrounding quotes and percent-decodes the rest (HTTP Protocol Binding,
/// 3.1.3.2). Invalid UTF-8 is replaced.
pub fn decode(value: &[u8]) -> Cow<'_, str> {
    let value = value.trim_ascii();
    let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    if quoted.is_none() && !value.contains(&b'%') {
        return String::from_utf8_lossy(value);
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = quoted.unwrap_or(value);
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (*first, after) {
            (b'\\', [escaped, after @ ..]) if quoted.is_some() => {
                decoded.push(*escaped);
                rest = after;
            }
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    rest = after;
                }
                // An invalid escape stands for itself.
                _ => decoded.push(b'%'),
            },
            (byte, _) => decoded.push(byte),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
