//! Selects the headers that are stored with an event.

use bytes::{Bytes, BytesMut};
use grapnel_event::dead_letter;
use grapnel_payload::headers::{is_credential, is_framing};
use grapnel_signature::Verifier;
use http::{HeaderMap, HeaderName, header::CONNECTION};

use crate::ingress::limits::{STORED_HEADER_BYTES, STORED_HEADERS};

/// The headers of a request that are stored: no credentials of the sender, no hop-by-hop headers, and no headers that
/// only Grapnel writes. At most [`STORED_HEADERS`] and [`STORED_HEADER_BYTES`]; headers that do not fit are left out.
pub(super) fn stored(headers: &HeaderMap, verifier: &Verifier) -> Vec<(Box<str>, Bytes)> {
    let wanted = |name: &HeaderName| {
        !is_framing(name)
            && !is_credential(name)
            && !dead_letter::is_header(name.as_str())
            && !verifier.credential_headers().any(|credential| credential == name)
            && !is_named_by_connection(headers, name)
    };
    let mut room = STORED_HEADER_BYTES;
    let mut values = BytesMut::with_capacity(headers.iter().map(|(_, value)| value.len()).sum::<usize>().min(room));
    headers
        .iter()
        .filter(|(name, _)| wanted(name))
        .filter_map(|(name, value)| {
            room = room.checked_sub(name.as_str().len() + value.len())?;
            values.extend_from_slice(value.as_bytes());
            Some((Box::from(name.as_str()), values.split().freeze()))
        })
        .take(STORED_HEADERS)
        .collect()
}

/// `Connection` may name further hop-by-hop headers.
fn is_named_by_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|names| names.split(',').any(|named| named.trim().eq_ignore_ascii_case(name.as_str())))
}
