//! Bounds of signatures.

use std::time::Duration;

grapnel_values::bounds! {
    /// Longest signature header that is looked at, in bytes. Sixteen base64 SHA-512 signatures need 1.5 KiB.
    pub const SIGNATURE_HEADER_BYTES: usize = 4096;

    /// Most signatures that are tried of one header. Senders list one for each secret while they rotate, so two or three.
    pub const SIGNATURES_PER_HEADER: usize = 16;

    /// Most signatures by a public key that are tried of one header: each costs as much as thousands of hashes, for every key
    /// of the endpoint.
    pub const PUBLIC_KEY_SIGNATURES_PER_HEADER: usize = 4;

    /// Longest timestamp that is read, in decimal digits; what is larger than 64 bits counts as the largest.
    pub const TIMESTAMP_DIGITS: usize = 20;

    /// Most secrets of one endpoint or subscription: each costs a hash over the body.
    pub const SECRETS: usize = 8;

    /// Longest secret, in bytes.
    pub const SECRET_BYTES: usize = 8 * 1024;

    /// Shortest decoded Standard Webhooks secret. The specification asks senders for at least 24 bytes; half the output of
    /// SHA-256 is the least that RFC 2104 (3) lets pass as not weakening the hash.
    pub const WHSEC_MIN_BYTES: usize = 16;

    /// Longest decoded Standard Webhooks secret. The specification asks senders for at most 64 bytes.
    pub const WHSEC_MAX_BYTES: usize = 128;

    /// Longest `signedContent` template, in bytes.
    pub const SIGNED_CONTENT_BYTES: usize = 256;

    /// Most keys in a JSON Web Key Set; providers have two to ten.
    pub const REMOTE_KEYS: usize = 64;

    /// Most keys that are tried of a set when a token does not name one.
    pub const REMOTE_KEY_TRIALS: usize = 8;

    /// Longest signed token that is looked at, in bytes.
    pub const JWT_BYTES: usize = 16 * 1024;

    /// How far an issuer's clock may differ from ours.
    pub const JWT_LEEWAY: Duration = Duration::from_secs(60);

    /// How long a token is good that `grapnel send` makes.
    pub const JWT_LIFETIME: Duration = Duration::from_secs(300);

    /// How far a PayPal transmission may be from now when nothing else is said: it goes on sending for three days, and does
    /// not say whether it signs anew each time.
    pub const PAYPAL_TOLERANCE: Duration = Duration::from_secs(96 * 3600);

    /// Longest challenge that is answered with its HMAC, in bytes. X's are some 60.
    pub const CHALLENGE_BYTES: usize = 256;

    /// Longest origin of a CloudEvents sender that asks whether it may send, in bytes: a DNS name.
    pub const ORIGIN_BYTES: usize = 253;

    /// How far a signed timestamp may be from now when nothing else is said: what Stripe, Slack and the Standard Webhooks
    /// libraries use.
    pub const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);

    /// How long an event id is remembered when nothing else is said.
    pub const DEFAULT_WINDOW: Duration = Duration::from_secs(24 * 3600);
}
