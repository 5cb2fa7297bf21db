//! Receives bodies, bounded in size, in time and in the memory of all bodies together.

use std::{collections::HashMap, sync::Arc};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, TRANSFER_ENCODING},
};
use http_body::Body as _;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::reject::Rejected;
use crate::{
    catalog::limits::MAX_BODY_BYTES,
    ingress::limits::{BODY_FREE_BYTES, BODY_NAMESPACE_SHARE},
};

/// Memory shared by all bodies. One namespace may use only a part of it, so that its large bodies, however slow and not
/// yet verified, leave room for others.
#[derive(Debug)]
pub(super) struct Memory {
    /// Maximum bytes of one namespace.
    part: usize,
    usage: Mutex<BufferUse>,
}

#[derive(Debug)]
struct BufferUse {
    free: usize,
    /// Bytes in use by namespace, without namespaces that use none.
    taken: HashMap<Arc<str>, usize>,
}

impl Memory {
    pub(super) fn new(bytes: usize) -> Arc<Self> {
        let part = (bytes / BODY_NAMESPACE_SHARE).max(MAX_BODY_BYTES);
        Arc::new(Self { part, usage: Mutex::new(BufferUse { free: bytes, taken: HashMap::new() }) })
    }

    fn take(&self, namespace: &Arc<str>, bytes: usize) -> bool {
        let mut usage = self.usage.lock();
        let taken = usage.taken.get(namespace).copied().unwrap_or(0).saturating_add(bytes);
        let Some(free) = usage.free.checked_sub(bytes) else { return false };
        if taken > self.part {
            return false;
        }
        usage.free = free;
        usage.taken.insert(Arc::clone(namespace), taken);
        true
    }

    fn give_back(&self, namespace: &Arc<str>, bytes: usize) {
        let mut usage = self.usage.lock();
        usage.free += bytes;
        if let Some(taken) = usage.taken.get_mut(namespace) {
            *taken = taken.saturating_sub(bytes);
            if *taken == 0 {
                usage.taken.remove(namespace);
            }
        }
    }
}

/// A body's share of the [`Memory`], released when dropped.
#[derive(Debug)]
struct Share {
    memory: Arc<Memory>,
    namespace: Arc<str>,
    bytes: usize,
}

impl Share {
    /// Grows the share to hold a body of `total` bytes.
    fn grow(&mut self, total: usize) -> Result<(), Rejected> {
        let more = total.saturating_sub(BODY_FREE_BYTES).saturating_sub(self.bytes);
        if more > 0 {
            if !self.memory.take(&self.namespace, more) {
                return Err(Rejected::Busy);
            }
            self.bytes += more;
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.memory.give_back(&self.namespace, self.bytes);
        }
    }
}

/// A received body. Its share of the memory is released when it is dropped.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _share: Share,
}

/// Rejects a body by its headers: a compressed one (the signature covers the bytes as sent, but schema and subscribers
/// would see bytes that were not signed), and one whose declared length exceeds `limit`.
pub(super) fn admit(headers: &HeaderMap, body: &Body, limit: usize) -> Result<(), Rejected> {
    for encoding in headers.get_all(CONTENT_ENCODING) {
        let identity = encoding.as_bytes();
        if !identity.is_empty() && !identity.eq_ignore_ascii_case(b"identity") {
            return Err(Rejected::UnsupportedEncoding);
        }
    }
    // Transfer codings other than `chunked` compress, too (RFC 9112 section 7), and parsers that read a list of codings
    // differently disagree about the end of the body.
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if codings.next().is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        || codings.next().is_some()
    {
        return Err(Rejected::UnsupportedEncoding);
    }
    if usize::try_from(body.size_hint().lower()).map_or(true, |declared| declared > limit) {
        return Err(Rejected::BodyTooLarge { limit });
    }
    Ok(())
}

/// Reads a body of at most `limit` bytes, sent to an endpoint of `namespace`, until `deadline`.
pub(super) async fn receive(
    body: Body,
    limit: usize,
    deadline: Instant,
    namespace: &Arc<str>,
    memory: &Arc<Memory>,
) -> Result<Received, Rejected> {
    timeout_at(deadline, collect(body, limit, namespace, memory)).await.unwrap_or(Err(Rejected::Slow))
}

/// Collects a body. One that arrives in one piece, as most do, is not copied.
async fn collect(
    mut body: Body,
    limit: usize,
    namespace: &Arc<str>,
    memory: &Arc<Memory>,
) -> Result<Received, Rejected> {
    let mut share = Share { memory: Arc::clone(memory), namespace: Arc::clone(namespace), bytes: 0 };
    let mut first = Bytes::new();
    let mut gathered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers are not covered by the signature.
        let Ok(piece) = frame.map_err(|_| Rejected::Interrupted)?.into_data() else { continue };
        let total = first.len() + gathered.len() + piece.len();
        if total > limit {
            return Err(Rejected::BodyTooLarge { limit });
        }
        share.grow(total)?;
        if total == piece.len() {
            first = piece;
        } else {
            if !first.is_empty() {
                gathered.reserve(total);
                gathered.extend_from_slice(&std::mem::take(&mut first));
            }
            gathered.extend_from_slice(&piece);
        }
    }
    let bytes = if gathered.is_empty() { first } else { gathered.freeze() };
    Ok(Received { bytes, _share: share })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http::HeaderValue;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use proptest::prelude::*;

    use super::*;

    fn pieces(pieces: Vec<Vec<u8>>) -> Body {
        let frames = pieces.into_iter().map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
        Body::new(StreamBody::new(stream::iter(frames)))
    }

    fn read(body: Body, limit: usize, memory: &Arc<Memory>) -> Result<Received, Rejected> {
        read_of("shop", body, limit, memory)
    }

    fn read_of(namespace: &str, body: Body, limit: usize, memory: &Arc<Memory>) -> Result<Received, Rejected> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(collect(body, limit, &namespace.into(), memory))
    }

    #[test]
    fn one_piece_is_not_copied() {
        let piece = Bytes::from_static(b"{\"id\":1}");
        let received = read(Body::from(piece.clone()), 100, &Memory::new(0)).unwrap();
        assert_eq!(received.bytes.as_ptr(), piece.as_ptr());
    }

    #[test]
    fn the_limit_is_exact() {
        let memory = Memory::new(0);
        assert_eq!(read(pieces(vec![vec![1; 5], vec![2; 5]]), 10, &memory).unwrap().bytes.len(), 10);
        let refused = read(pieces(vec![vec![1; 5], vec![2; 6]]), 10, &memory).unwrap_err();
        assert!(matches!(refused, Rejected::BodyTooLarge { limit: 10 }));
    }

    #[test]
    fn memory_is_given_back() {
        let memory = Memory::new(10);
        let large = || pieces(vec![vec![0; BODY_FREE_BYTES], vec![0; 6]]);
        let first = read(large(), usize::MAX, &memory).unwrap();
        assert!(matches!(read(large(), usize::MAX, &memory), Err(Rejected::Busy)));
        assert!(
            read(pieces(vec![vec![0; BODY_FREE_BYTES]]), usize::MAX, &memory).is_ok(),
            "small ones always have room"
        );
        drop(first);
        assert!(read(large(), usize::MAX, &memory).is_ok());
        assert_eq!(memory.usage.lock().free, 10);
        assert!(memory.usage.lock().taken.is_empty());
    }

    #[test]
    fn one_namespace_does_not_get_all_memory() {
        let memory = Memory::new(3 * MAX_BODY_BYTES);
        let large = || pieces(vec![vec![0; MAX_BODY_BYTES]]);
        let first = read_of("shop", large(), usize::MAX, &memory).unwrap();
        assert!(matches!(read_of("shop", large(), usize::MAX, &memory), Err(Rejected::Busy)));
        assert!(read_of("other", large(), usize::MAX, &memory).is_ok());
        drop(first);
        assert!(read_of("shop", large(), usize::MAX, &memory).is_ok());
    }

    #[test]
    fn only_plain_bodies_are_admitted() {
        let mut headers = HeaderMap::new();
        assert!(admit(&headers, &Body::from("12345"), 5).is_ok());
        assert!(matches!(admit(&headers, &Body::from("123456"), 5), Err(Rejected::BodyTooLarge { .. })));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("Identity"));
        assert!(admit(&headers, &Body::empty(), 5).is_ok());
        headers.append(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(matches!(admit(&headers, &Body::empty(), 5), Err(Rejected::UnsupportedEncoding)));
        headers.clear();
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("Chunked"));
        assert!(admit(&headers, &Body::empty(), 5).is_ok());
        headers.append(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        assert!(matches!(admit(&headers, &Body::empty(), 5), Err(Rejected::UnsupportedEncoding)));
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("gzip, chunked"));
        assert!(matches!(admit(&headers, &Body::empty(), 5), Err(Rejected::UnsupportedEncoding)));
    }

    proptest! {
        #[test]
        fn pieces_come_out_as_they_went_in(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12)) {
            let whole: Vec<u8> = parts.concat();
            let received = read(pieces(parts), usize::MAX, &Memory::new(0)).unwrap();
            prop_assert_eq!(received.bytes.as_ref(), whole.as_slice());
        }
    }
}
