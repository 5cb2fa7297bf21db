//! Bodies and requests. There are many different bodies of random text, so that compression on disk gains nothing that
//! it would not gain from real webhooks.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Different bodies.
const BODIES: usize = 256;

/// Bodies with their signatures.
pub(crate) struct Payloads(Vec<(Vec<u8>, String)>);

impl Payloads {
    /// JSON bodies of [`crate::BODY_BYTES`].
    pub(crate) fn new() -> Self {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let bodies = (0..BODIES).map(|_| {
            let body = body(&mut random);
            let mut mac = Hmac::<Sha256>::new_from_slice(crate::SECRET.as_bytes()).unwrap();
            mac.update(&body);
            (body, hex::encode(mac.finalize().into_bytes()))
        });
        Self(bodies.collect())
    }

    /// One of the bodies.
    pub(crate) fn body(&self, number: usize) -> &[u8] {
        &self.0[number % BODIES].0
    }

    /// One of the bodies, and its signature.
    pub(crate) fn signed(&self, number: usize) -> (&[u8], &str) {
        let (body, signature) = &self.0[number % BODIES];
        (body, signature)
    }

    /// Writes a request to the endpoint `bench` with the event id `name-number`.
    pub(crate) fn request(&self, to: &mut Vec<u8>, name: &str, number: usize) {
        self.request_to(to, "bench", name, number);
    }

    /// The same to another endpoint.
    pub(crate) fn request_to(&self, to: &mut Vec<u8>, endpoint: &str, name: &str, number: usize) {
        let (body, signature) = &self.0[number % BODIES];
        to.clear();
        let head = format!(
            "POST /default/{endpoint} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             x-webhook-signature: {signature}\r\nx-event-id: {name}-{number}\r\n\r\n",
            body.len()
        );
        to.extend_from_slice(head.as_bytes());
        to.extend_from_slice(body);
    }
}

fn body(random: &mut u64) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (head, tail) = (br#"{"type":"bench","data":""#, br#""}"#);
    let mut body = head.to_vec();
    while body.len() < crate::BODY_BYTES - tail.len() {
        // xorshift64: good enough against a compressor.
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        body.push(ALPHABET[(*random % 64) as usize]);
    }
    body.extend_from_slice(tail);
    body
}
