//! The signatures of Amazon SNS: <https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html>.
//!
//! The signature is in the body, over some of its fields, by the key of a certificate that the body names. A body is
//! therefore parsed before it is verified, and three things bound what a stranger gains from that: the certificate is
//! fetched only from a host of SNS, only for a topic that the endpoint lists, and through the cache of keys.
//!
//! The certificate's file has no intermediate certificates, so its chain cannot be checked. Its origin is the TLS
//! connection to the host of SNS, and it must be issued for a name of SNS.

mod message;

use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use grapnel_payload::malformed::MalformedPayload;
use grapnel_values::secret::Secret;
use http::{HeaderMap, HeaderName};
use jiff::{Timestamp, Unit};

use self::message::{Host, Message, MessageKind};
use super::{
    HandshakeReply, KeyError, KeyProblem, KeySetError, KeysWanted, Parameter, Parameters, Refusal, RequiredContext,
    Scheme,
    jwks::{KeySet, KeySource, RsaHash},
    key::BASE64,
    private_key::PrivateKey,
    proof::{Proof, ProofKind, UnsignedRequest, UnverifiedRequest},
    request::made_up,
    timestamp::recent,
};
use crate::limits::SIGNATURE_HEADER_BYTES;

/// Set by SNS if raw message delivery is on. Raw messages are not signed.
const RAW: HeaderName = HeaderName::from_static("x-amz-sns-rawdelivery");

/// The topic of a message that is signed without one.
const SAMPLE_TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:sample";

/// The signature scheme of Amazon SNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnsScheme {
    /// The ARNs of the topics whose messages are accepted. Every AWS account can make SNS sign a message, so only this
    /// list restricts the senders.
    pub topics: Vec<Box<str>>,
    /// Maximum distance of the message's time from now, in either direction.
    pub tolerance: Duration,
}

impl SnsScheme {
    /// Returns the message, if a certificate could verify it.
    fn read(&self, headers: &HeaderMap, body: &[u8]) -> Result<(Message, Host), Refusal> {
        if headers.contains_key(RAW) {
            let sentence = "SNS does not sign raw messages; turn off raw message delivery for this subscription";
            return Err(Refusal::InvalidSignature(sentence.into()));
        }
        let message = Message::read(body)?;
        if !self.topics.iter().any(|topic| **topic == *message.topic) {
            let sentence = "the TopicArn of the message is not in spec.verification.provider.topics";
            return Err(Refusal::InvalidSignature(sentence.into()));
        }
        let host = message.certificate_host()?;
        Ok((message, host))
    }
}

/// The secret of a sender is the certificate's RSA key, in PKCS #8 PEM. A body that is not a message of SNS becomes the
/// text of one.
impl ProofKind for SnsScheme {
    fn with_keys(&self, _: &[Secret]) -> Result<Box<dyn Proof>, KeyError> {
        Ok(Box::new(self.clone()))
    }

    fn sign(&self, secret: &Secret, request: &mut UnsignedRequest<'_>) -> Result<(), KeyProblem> {
        let PrivateKey::Rsa(key) = PrivateKey::read(secret)? else { return Err(KeyProblem::NotSigning) };
        let time = request.now.round(Unit::Millisecond).unwrap_or(request.now).to_string();
        let id = String::from_utf8_lossy(&made_up(&time, request.body)).into_owned();
        let topic = self.topics.first().map_or(SAMPLE_TOPIC, |topic| topic);
        let mut message = Message::wrap(request.body, topic, id)
            .ok_or(KeyProblem::Scheme("SNS sends text only, and the body is not UTF-8"))?;
        message.timestamp = time;
        let signature = PrivateKey::Rsa(key).sign(&message.signed_text())?;
        message.signature = BASE64.encode(signature);
        *request.body = message.to_json();
        Ok(())
    }

    fn needs_secrets(&self) -> bool {
        false
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter::Topics]
    }

    fn configured(&self, parameters: &Parameters) -> Option<Scheme> {
        Some(Scheme::Sns(Self { topics: parameters.topics.clone(), ..self.clone() }))
    }

    fn tolerating(&self, tolerance: Duration) -> Option<Scheme> {
        Some(Scheme::Sns(Self { tolerance, ..self.clone() }))
    }

    fn fetched_keys(&self, document: &[u8]) -> Option<Result<KeySet, KeySetError>> {
        Some(KeySet::certificate(document))
    }
}

impl Proof for SnsScheme {
    fn credential_headers(&self) -> [Option<&HeaderName>; 2] {
        [None, None]
    }

    fn needs(&self) -> RequiredContext<'_> {
        RequiredContext::Keys
    }

    fn keys_for(&self, headers: &HeaderMap, body: &[u8]) -> Result<KeysWanted, Refusal> {
        let (message, _) = self.read(headers, body)?;
        Ok(KeysWanted { source: KeySource::Certificate(message.certificate_url.into()), id: None })
    }

    fn verify(&self, request: &UnverifiedRequest<'_>) -> Result<usize, Refusal> {
        let invalid = |sentence: &str| Refusal::InvalidSignature(sentence.into());
        let (message, host) = self.read(request.headers, request.body)?;
        let hash = match &*message.signature_version {
            "1" => RsaHash::Sha1,
            "2" => RsaHash::Sha256,
            _ => return Err(invalid("the SignatureVersion of the message is neither 1 nor 2")),
        };
        let signature = Some(&message.signature).filter(|text| text.len() <= SIGNATURE_HEADER_BYTES);
        let signature = signature.and_then(|text| BASE64.decode(text).ok());
        let signature = signature.ok_or_else(|| invalid("the Signature of the message is not well-formed base64"))?;
        let keys = request.keys()?;
        if !keys.is_for_any(&host.certificate_names()) {
            return Err(invalid("the certificate at SigningCertURL is not issued for a name of SNS"));
        }
        if !keys.verifies_rsa(hash, &message.signed_text(), &signature) {
            return Err(invalid("the Signature of the message does not match its fields"));
        }
        let time: Timestamp =
            message.timestamp.parse().map_err(|_| invalid("the Timestamp of the message is not a time"))?;
        recent("the field Timestamp of the message", time.as_nanosecond(), self.tolerance, request.now)?;
        Ok(0)
    }
}

/// Returns the response to a verified message that is not an event: the confirmation of a subscription, whose URL must
/// be visited, or of the end of one. `None` when it is a notification.
///
/// # Errors
///
/// [`MalformedPayload`] when the URL does not confirm the subscription of this topic at SNS.
pub(super) fn confirmation(body: &Bytes) -> Result<Option<HandshakeReply>, MalformedPayload> {
    let Ok(message) = Message::read(body) else { return Ok(None) };
    match message.kind {
        MessageKind::Notification => Ok(None),
        MessageKind::UnsubscribeConfirmation => Ok(Some(HandshakeReply::unsubscribed())),
        MessageKind::SubscriptionConfirmation => match message.confirmation_url() {
            Some(url) => Ok(Some(HandshakeReply::after_visit(url))),
            None => {
                let sentence = "the SubscribeURL of the message does not confirm the subscription of its topic at SNS";
                Err(MalformedPayload::new(sentence))
            }
        },
    }
}

#[cfg(test)]
mod tests;
