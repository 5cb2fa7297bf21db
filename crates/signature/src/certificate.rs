//! Signatures by the key of a certificate that the request names, as used by PayPal:
//! <https://developer.paypal.com/api/rest/webhooks/rest/#verify-manually>.
//!
//! The signed message is `id|time|webhook id|CRC-32 of the body`. The checksum is not a digest: anyone who has seen one
//! event can construct another body with the same checksum, and send it with that event's signature while its time is
//! within the tolerance. That is a property of the sender's scheme, which a receiver cannot fix.

use std::time::Duration;

use base64::Engine;
use grapnel_values::secret::Secret;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{Timestamp, Unit};
use url::Url;

use super::{
    KeyError, KeyProblem, KeySetError, KeysWanted, Parameter, Parameters, Refusal, RequiredContext, Scheme,
    jwks::{KeySet, KeySource, RsaHash},
    key::BASE64,
    private_key::PrivateKey,
    proof::{Proof, ProofKind, UnsignedRequest, UnverifiedRequest},
    request::{header_value, made_up},
    single,
    timestamp::recent,
};
use crate::limits::SIGNATURE_HEADER_BYTES;

const ID: HeaderName = HeaderName::from_static("paypal-transmission-id");
const TIME: HeaderName = HeaderName::from_static("paypal-transmission-time");
static SIGNATURE: HeaderName = HeaderName::from_static("paypal-transmission-sig");
const CERTIFICATE: HeaderName = HeaderName::from_static("paypal-cert-url");
const ALGORITHM: HeaderName = HeaderName::from_static("paypal-auth-algo");

/// The only supported algorithm.
const RSA_SHA256: &str = "SHA256withRSA";

/// The hosts of certificates. A caller that could choose the host could choose the key.
const HOSTS: &[&str] = &["api.paypal.com", "api-m.paypal.com", "api.sandbox.paypal.com", "api-m.sandbox.paypal.com"];
const PATH: &str = "/v1/notifications/certs/";

/// The certificate URL of a request that is signed without one.
const SAMPLE_CERTIFICATE: &str = "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-00000000";

/// The signature scheme of PayPal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateScheme {
    /// The id of the webhook that receives the events, as shown by PayPal where the webhook was created.
    pub webhook_id: Box<str>,
    /// Maximum distance of the transmission time from now, in either direction.
    pub tolerance: Duration,
}

impl CertificateScheme {
    /// Returns the location of the certificate that a request names. Nothing is fetched for a request that no
    /// certificate could verify.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when the request names no certificate, or one that is not PayPal's, or when any other signed part is
    /// missing or malformed.
    fn source(headers: &HeaderMap) -> Result<KeySource, Refusal> {
        Transmission::read(headers)?;
        Self::certificate(headers)
    }

    fn certificate(headers: &HeaderMap) -> Result<KeySource, Refusal> {
        let value = single(headers, &CERTIFICATE, "certificate's URL")?;
        let url = value.to_str().ok().filter(|text| text.len() <= SIGNATURE_HEADER_BYTES).and_then(|text| {
            let url = Url::parse(text).ok()?;
            let name = url.path().strip_prefix(PATH)?;
            let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            let host = url.scheme() == "https" && url.port().is_none() && HOSTS.contains(&url.host_str()?);
            let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
            (plain && host && bare && url.fragment().is_none()).then_some(url)
        });
        url.map(|url| KeySource::Certificate(url.as_str().into())).ok_or_else(|| {
            Refusal::InvalidSignature(format!("header {CERTIFICATE} is not the URL of a certificate of PayPal's"))
        })
    }

    /// Returns the signed message.
    fn message(&self, id: &[u8], time: &[u8], body: &[u8]) -> Vec<u8> {
        [id, time, self.webhook_id.as_bytes(), crc32fast::hash(body).to_string().as_bytes()].join(&b'|')
    }
}

/// The secret of a sender is the certificate's RSA key, in PKCS #8 PEM. Existing headers for the certificate URL and the
/// id are kept.
impl ProofKind for CertificateScheme {
    fn with_keys(&self, _: &[Secret]) -> Result<Box<dyn Proof>, KeyError> {
        Ok(Box::new(self.clone()))
    }

    fn sign(&self, secret: &Secret, request: &mut UnsignedRequest<'_>) -> Result<(), KeyProblem> {
        let UnsignedRequest { headers, body, now, .. } = request;
        let time = now.round(Unit::Second).unwrap_or(*now).to_string();
        let id = match headers.get(ID) {
            Some(id) if !id.is_empty() => id.clone(),
            _ => header_value(&made_up(&time, body))?,
        };
        let PrivateKey::Rsa(key) = PrivateKey::read(secret)? else { return Err(KeyProblem::NotSigning) };
        let signature = PrivateKey::Rsa(key).sign(&self.message(id.as_bytes(), time.as_bytes(), body))?;
        headers.insert(&SIGNATURE, header_value(BASE64.encode(signature).as_bytes())?);
        headers.insert(ID, id);
        headers.insert(TIME, header_value(time.as_bytes())?);
        headers.insert(ALGORITHM, HeaderValue::from_static(RSA_SHA256));
        headers.entry(CERTIFICATE).or_insert(HeaderValue::from_static(SAMPLE_CERTIFICATE));
        Ok(())
    }

    fn needs_secrets(&self) -> bool {
        false
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter::WebhookId]
    }

    fn configured(&self, parameters: &Parameters) -> Option<Scheme> {
        Some(Scheme::Certificate(Self { webhook_id: parameters.webhook_id.clone(), ..self.clone() }))
    }

    fn tolerating(&self, tolerance: Duration) -> Option<Scheme> {
        Some(Scheme::Certificate(Self { tolerance, ..self.clone() }))
    }

    fn fetched_keys(&self, document: &[u8]) -> Option<Result<KeySet, KeySetError>> {
        Some(KeySet::certificate(document))
    }
}

impl Proof for CertificateScheme {
    fn credential_headers(&self) -> [Option<&HeaderName>; 2] {
        [Some(&SIGNATURE), None]
    }

    fn needs(&self) -> RequiredContext<'_> {
        RequiredContext::Keys
    }

    fn keys_for(&self, headers: &HeaderMap, _: &[u8]) -> Result<KeysWanted, Refusal> {
        Ok(KeysWanted { source: Self::source(headers)?, id: None })
    }

    fn verify(&self, request: &UnverifiedRequest<'_>) -> Result<usize, Refusal> {
        let Transmission { signature, id, time, moment } = Transmission::read(request.headers)?;
        if !request.keys()?.verifies_rsa(RsaHash::Sha256, &self.message(id, time, request.body), &signature) {
            let sentence = format!("the signature in header {SIGNATURE} does not match this body and webhook id");
            return Err(Refusal::InvalidSignature(sentence));
        }
        recent(&format!("header {TIME}"), moment.as_nanosecond(), self.tolerance, request.now)?;
        Ok(0)
    }
}

/// The headers of a request, except that of the certificate.
struct Transmission<'a> {
    signature: Vec<u8>,
    id: &'a [u8],
    time: &'a [u8],
    moment: Timestamp,
}

impl<'a> Transmission<'a> {
    fn read(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let invalid = |sentence: String| Refusal::InvalidSignature(sentence);
        let signature = single(headers, &SIGNATURE, "signature")?.as_bytes();
        let id = single(headers, &ID, "id")?.as_bytes();
        let time = single(headers, &TIME, "timestamp")?.as_bytes();
        if single(headers, &ALGORITHM, "algorithm")?.as_bytes() != RSA_SHA256.as_bytes() {
            return Err(invalid(format!("header {ALGORITHM} is not {RSA_SHA256}")));
        }
        if signature.len() > SIGNATURE_HEADER_BYTES {
            return Err(invalid(format!("header {SIGNATURE} is too long")));
        }
        let signature = BASE64
            .decode(signature)
            .map_err(|_| invalid(format!("header {SIGNATURE} has no well-formed signature")))?;
        let moment = std::str::from_utf8(time).ok().and_then(|time| time.parse().ok()).ok_or_else(|| {
            invalid(format!("the timestamp in header {TIME} is not a time such as 2026-01-31T12:00:00Z"))
        })?;
        Ok(Self { signature, id, time, moment })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_fetched_for_what_no_certificate_could_help() {
        let whole = HeaderMap::from_iter(
            [
                (SIGNATURE.clone(), "eHg="),
                (ID, "1"),
                (TIME, "2026-01-31T12:00:00Z"),
                (ALGORITHM, RSA_SHA256),
                (CERTIFICATE, SAMPLE_CERTIFICATE),
            ]
            .map(|(name, value)| (name, HeaderValue::from_static(value))),
        );
        assert!(CertificateScheme::source(&whole).is_ok());
        for name in whole.keys() {
            let mut lacking = whole.clone();
            lacking.remove(name);
            assert_eq!(CertificateScheme::source(&lacking).unwrap_err().code(), "missing_signature", "{name}");
            for wrong in ["", "%%"].into_iter().filter(|wrong| *name != ID || wrong.is_empty()) {
                let mut headers = whole.clone();
                headers.insert(name, HeaderValue::from_static(wrong));
                let refusal = CertificateScheme::source(&headers).unwrap_err();
                assert_eq!(refusal.code(), "invalid_signature", "{name}: {wrong}");
                assert!(refusal.to_string().contains(name.as_str()), "{refusal}");
            }
        }
    }

    #[test]
    fn only_certificates_of_paypal_are_fetched() {
        let source = |text: &str| {
            let headers = HeaderMap::from_iter([(CERTIFICATE, text.parse().unwrap())]);
            CertificateScheme::certificate(&headers)
        };
        for right in [
            "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-1d93a270",
            "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77",
            "https://API.paypal.com:443/v1/notifications/certs/CERT-1",
        ] {
            assert!(matches!(source(right), Ok(KeySource::Certificate(_))), "{right}");
        }
        for wrong in [
            "",
            "http://api.paypal.com/v1/notifications/certs/CERT-1",
            "https://api.paypal.com.evil.example/v1/notifications/certs/CERT-1",
            "https://evil.example/v1/notifications/certs/CERT-1",
            "https://www.paypal.com/v1/notifications/certs/CERT-1",
            "https://api.paypal.com@evil.example/v1/notifications/certs/CERT-1",
            "https://a@api.paypal.com/v1/notifications/certs/CERT-1",
            "https://api.paypal.com:8443/v1/notifications/certs/CERT-1",
            "https://api.paypal.com/v1/notifications/certs/",
            "https://api.paypal.com/v1/notifications/certs/../../oauth2/token",
            "https://api.paypal.com/v1/notifications/certs/%2e%2e",
            "https://api.paypal.com/v1/notifications/certs/CERT-1?a=b",
            "https://api.paypal.com/v1/notifications/certs/CERT-1#a",
            "https://api.paypal.com\\@evil.example/v1/notifications/certs/CERT-1",
            "file:///etc/passwd",
            "https://127.0.0.1/v1/notifications/certs/CERT-1",
        ] {
            assert_eq!(source(wrong).unwrap_err().code(), "invalid_signature", "{wrong}");
        }
        assert_eq!(CertificateScheme::certificate(&HeaderMap::new()).unwrap_err().code(), "missing_signature");
    }
}
