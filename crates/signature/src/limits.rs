//! Limits on signatures.

use std::time::Duration;

grapnel_values::bounds! {
    /// Maximum length of a signature header, in bytes. Sixteen base64 SHA-512 signatures need 1.5 KiB.
    pub const SIGNATURE_HEADER_BYTES: usize = 4096;

    /// Maximum number of signatures that are tried per header. During rotation, senders list one per secret, so two or
    /// three.
    pub const SIGNATURES_PER_HEADER: usize = 16;

    /// Maximum number of public-key signatures that are tried per header. Each costs as much as thousands of hashes,
    /// for every key of the endpoint.
    pub const PUBLIC_KEY_SIGNATURES_PER_HEADER: usize = 4;

    /// Maximum length of a timestamp, in decimal digits. A value beyond 64 bits counts as the largest.
    pub const TIMESTAMP_DIGITS: usize = 20;

    /// Maximum number of secrets of one endpoint or subscription. Each costs a hash over the body.
    pub const SECRETS: usize = 8;

    /// Maximum length of a secret, in bytes.
    pub const SECRET_BYTES: usize = 8 * 1024;

    /// Minimum length of a decoded Standard Webhooks secret, in bytes. The specification requires at least 24 from
    /// senders; half the output of SHA-256 is the least that does not weaken the hash according to RFC 2104 (3).
    pub const WHSEC_MIN_BYTES: usize = 16;

    /// Maximum length of a decoded Standard Webhooks secret, in bytes. The specification requires at most 64 from
    /// senders.
    pub const WHSEC_MAX_BYTES: usize = 128;

    /// Maximum length of a `signedContent` template, in bytes.
    pub const SIGNED_CONTENT_BYTES: usize = 256;

    /// Maximum number of keys in a JSON Web Key Set. Providers have two to ten.
    pub const REMOTE_KEYS: usize = 64;

    /// Maximum number of keys of a set that are tried when a token does not name one.
    pub const REMOTE_KEY_TRIALS: usize = 8;

    /// Maximum length of a signed token, in bytes.
    pub const JWT_BYTES: usize = 16 * 1024;

    /// Maximum difference between an issuer's clock and the local clock.
    pub const JWT_LEEWAY: Duration = Duration::from_secs(60);

    /// Lifetime of a token that `grapnel send` creates.
    pub const JWT_LIFETIME: Duration = Duration::from_secs(300);

    /// Default tolerance for the time of a PayPal transmission. PayPal retries for three days, and does not document
    /// whether it signs each attempt anew.
    pub const PAYPAL_TOLERANCE: Duration = Duration::from_secs(96 * 3600);

    /// Default tolerance for the time of a message of SNS, which is that of its publication. SNS sends a message to an
    /// HTTP endpoint again for an hour at most; a message that is older than the default deduplication window could be
    /// replayed.
    pub const SNS_TOLERANCE: Duration = DEFAULT_WINDOW;

    /// Maximum length of a URL in a message of SNS, in bytes. Those of confirmations have about 400.
    pub const SNS_URL_BYTES: usize = 2048;

    /// Maximum length of a challenge that is answered with its HMAC, in bytes. Challenges of X have about 60.
    pub const CHALLENGE_BYTES: usize = 256;

    /// Maximum length of the origin of a CloudEvents sender that asks for permission, in bytes: a DNS name.
    pub const ORIGIN_BYTES: usize = 253;

    /// Default tolerance for a signed timestamp, as in Stripe, Slack and the Standard Webhooks libraries.
    pub const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);

    /// Default deduplication window: how long an event id is remembered.
    pub const DEFAULT_WINDOW: Duration = grapnel_values::fields::DEDUPLICATION_WINDOW;
}
