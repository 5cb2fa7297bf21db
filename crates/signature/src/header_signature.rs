//! Signatures in a header, by HMAC or by a public key, over content composed of the body and other signed values.

use std::{fmt, time::Duration};

use grapnel_values::secret::Secret;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    KeyError, KeyForm, KeyProblem, Refusal, Scheme, TimestampSource,
    content::{Message as _, PlaceholderValues},
    header_format::{Shape, SignatureShape},
    key::{self, PUBLIC_PREFIX},
    mac::{Hash, MacKeys},
    proof::{Proof, ProofKind, UnsignedRequest, UnverifiedRequest},
    public_key::{Curve, PublicKey},
    request::{header_value, made_up},
    signature_scheme::SignatureScheme,
    single,
    timestamp::{self, from_seconds, recent},
};

/// A signature scheme with its keys.
pub(super) struct SignatureVerifier {
    scheme: SignatureScheme,
    macs: Option<(Hash, MacKeys)>,
    publics: Vec<PublicKey>,
}

impl fmt::Debug for SignatureVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureVerifier").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

/// An HMAC key or a public key.
enum Key {
    Mac(zeroize::Zeroizing<Vec<u8>>),
    Public(PublicKey),
}

/// The header names that one request uses.
struct Named<'a> {
    header: &'a HeaderName,
    timestamp: Option<&'a HeaderName>,
    id: Option<&'a HeaderName>,
}

impl SignatureVerifier {
    pub(super) fn new(scheme: SignatureScheme, secrets: &[Secret]) -> Result<Self, KeyError> {
        scheme.check().map_err(|problem| problem.at(0))?;
        let (mut macs, mut publics) = (Vec::new(), Vec::new());
        for key in key::each(secrets, |secret| scheme.key(secret))? {
            match key {
                Key::Mac(key) => macs.push(key),
                Key::Public(key) => publics.push(key),
            }
        }
        let macs = match scheme.algorithm.hash() {
            Some(hash) if !macs.is_empty() => Some((hash, MacKeys::new(hash, &macs)?)),
            _ => None,
        };
        Ok(Self { scheme, macs, publics })
    }

    /// Returns which key made one of the signatures; public keys count as the first. The error means that no signature
    /// in the header could be compared with any key.
    fn matching(&self, header: &[u8], fields: PlaceholderValues<'_>) -> Result<Option<usize>, &'static str> {
        let SignatureScheme { shape, encoding, content, .. } = &self.scheme;
        let content = content.filled(fields);
        let mut compared = Err("has no well-formed signature");
        if let Some((hash, keys)) = &self.macs {
            match shape.parse(header, *encoding, SignatureShape::mac(hash.width())) {
                Ok(candidates) => match keys.matching(&content, &candidates) {
                    Some(key) => return Ok(Some(key)),
                    None => compared = Ok(None),
                },
                Err(what) => compared = Err(what),
            }
        }
        if let Some(first) = self.publics.first() {
            match shape.parse(header, *encoding, SignatureShape::public(first.curve())) {
                Ok(candidates) => {
                    let message = content.joined();
                    let verifies =
                        |key: &PublicKey| candidates.iter().any(|signature| key.verifies(&message, signature));
                    compared = Ok(self.publics.iter().any(verifies).then_some(0));
                }
                Err(what) => compared = compared.or(Err(what)),
            }
        }
        compared
    }
}

impl ProofKind for SignatureScheme {
    fn with_keys(&self, secrets: &[Secret]) -> Result<Box<dyn Proof>, KeyError> {
        Ok(Box::new(SignatureVerifier::new(self.clone(), secrets)?))
    }

    fn sign(&self, secret: &Secret, request: &mut UnsignedRequest<'_>) -> Result<(), KeyProblem> {
        // Times before 1970 make no sense for webhooks.
        let timestamp = request.now.as_second().max(0).to_string();
        let id = self.id_header.as_ref().map(|name| match request.headers.get(name) {
            Some(id) if !id.is_empty() => (name, id.as_bytes().to_vec()),
            _ => (name, made_up(&timestamp, request.body)),
        });
        let given = id.as_ref().map_or(&[][..], |(_, id)| id);
        let fields = PlaceholderValues { timestamp: timestamp.as_bytes(), id: given, body: request.body };
        let value = self.signature(secret, fields, &timestamp)?;
        let mut added: Vec<(&HeaderName, HeaderValue)> = vec![(&self.header, header_value(value.as_bytes())?)];
        if let Some(TimestampSource::Header(name)) = &self.timestamp {
            added.push((name, header_value(timestamp.as_bytes())?));
        }
        if let Some((name, id)) = &id {
            added.push((name, header_value(id)?));
        }
        for (name, value) in added {
            request.headers.insert(name, value);
        }
        Ok(())
    }

    fn tolerating(&self, tolerance: Duration) -> Option<Scheme> {
        let scheme = Self { tolerance: Some(tolerance), ..self.clone() };
        self.timestamp.is_some().then_some(Scheme::Signature(scheme))
    }

    fn time_in_body(&self) -> Option<&'static str> {
        match self.timestamp {
            Some(TimestampSource::Milliseconds(pointer)) => Some(pointer),
            _ => None,
        }
    }
}

impl Proof for SignatureVerifier {
    fn credential_headers(&self) -> [Option<&HeaderName>; 2] {
        [Some(&self.scheme.header), self.scheme.alternative.as_ref().map(|names| &names.signature)]
    }

    fn tag(&self, key: usize, text: &[u8]) -> Option<Vec<u8>> {
        self.macs.as_ref()?.1.tag(key, &[text])
    }

    fn verify(&self, request: &UnverifiedRequest<'_>) -> Result<usize, Refusal> {
        let scheme = &self.scheme;
        let UnverifiedRequest { headers, body, now, .. } = *request;
        let Named { header, timestamp, id } = scheme.named(headers);
        let signature = single(headers, header, "signature")?.as_bytes();
        let time = match timestamp {
            Some(name) => Some((name, single(headers, name, "timestamp")?.as_bytes())),
            None => None,
        };
        let id = match id {
            Some(name) => single(headers, name, "id")?.as_bytes(),
            None => &[],
        };
        let malformed = |what: &str| Refusal::InvalidSignature(format!("header {header} {what}"));
        let in_header = scheme.shape.timestamp(signature).map_err(malformed)?;
        let time = match (&scheme.timestamp, in_header) {
            (Some(TimestampSource::InSignature), None) => return Err(malformed("has no timestamp")),
            (Some(TimestampSource::InSignature), Some(text)) => Some((header, text)),
            _ => time,
        };
        let seconds = match time {
            Some((name, text)) => Some((
                name,
                timestamp::number(text).ok_or_else(|| {
                    let sentence = format!("the timestamp in header {name} is not a number of seconds since 1970");
                    Refusal::InvalidSignature(sentence)
                })?,
            )),
            None => None,
        };
        let fields = PlaceholderValues { timestamp: time.map_or(&[][..], |(_, text)| text), id, body };
        let key = self.matching(signature, fields).map_err(malformed)?;
        let Some(key) = key else {
            let sentence = format!("no signature in header {header} matches this body with any configured secret");
            return Err(Refusal::InvalidSignature(sentence));
        };
        match (&scheme.timestamp, seconds, scheme.tolerance) {
            (Some(TimestampSource::Milliseconds(pointer)), _, Some(tolerance)) => {
                timestamp::recent_in_body(pointer, body, tolerance, now)?;
            }
            (_, Some((name, seconds)), Some(tolerance)) => {
                recent(&format!("header {name}"), from_seconds(seconds), tolerance, now)?;
            }
            _ => {}
        }
        Ok(key)
    }
}

impl SignatureScheme {
    /// Returns the header names that a request uses.
    fn named<'a>(&'a self, headers: &HeaderMap) -> Named<'a> {
        match &self.alternative {
            Some(other) if !headers.contains_key(&self.header) && headers.contains_key(&other.signature) => {
                Named { header: &other.signature, timestamp: Some(&other.timestamp), id: Some(&other.id) }
            }
            _ => Named {
                header: &self.header,
                timestamp: match &self.timestamp {
                    Some(TimestampSource::Header(name)) => Some(name),
                    Some(TimestampSource::InSignature | TimestampSource::Milliseconds(_)) | None => None,
                },
                id: self.id_header.as_ref(),
            },
        }
    }

    /// Returns the key of a secret.
    fn key(&self, secret: &Secret) -> Result<Key, KeyProblem> {
        match self.algorithm.curve() {
            Some(curve) => curve.key(secret).map(Key::Public),
            None if self.key_form == KeyForm::WhsecBase64 && secret.expose().starts_with(PUBLIC_PREFIX.as_bytes()) => {
                Curve::Ed25519.key(secret).map(Key::Public)
            }
            None => self.key_form.key(secret).map(Key::Mac),
        }
    }

    /// Rejects contradictions, which would otherwise reject every request or, worse, verify less than intended.
    fn check(&self) -> Result<(), KeyProblem> {
        let in_signature = self.timestamp == Some(TimestampSource::InSignature);
        let in_body = matches!(self.timestamp, Some(TimestampSource::Milliseconds(_)));
        let has_key = matches!(self.shape, Shape::Pairs { timestamp: Some(_), .. });
        let problem = if self.content.uses_timestamp() && (self.timestamp.is_none() || in_body) {
            "the signed content has {timestamp}, but no header is named to take it from"
        } else if self.content.uses_id() && self.id_header.is_none() {
            "the signed content has {id}, but no header is named to take it from"
        } else if in_signature && !has_key {
            "the timestamp is to be in the signature header, but nothing says under which key"
        } else if self.tolerance.is_some() && self.timestamp.is_none() {
            "there is a tolerance, but no timestamp to compare with it"
        } else {
            return Ok(());
        };
        Err(KeyProblem::Scheme(problem))
    }

    /// Returns the signature that one secret makes, as written in the header. The secret is the private key for a
    /// public-key algorithm, and for Standard Webhooks if it begins with `whsk_`.
    pub(super) fn signature(
        &self,
        secret: &Secret,
        fields: PlaceholderValues<'_>,
        timestamp: &str,
    ) -> Result<String, KeyProblem> {
        self.check()?;
        let content = self.content.filled(fields);
        let private = self.key_form == KeyForm::WhsecBase64 && secret.expose().starts_with(b"whsk_");
        let (signature, public) = match (self.algorithm.curve(), self.algorithm.hash()) {
            (Some(curve), _) => (curve.sign(secret, &content.joined())?, true),
            _ if private => (Curve::Ed25519.sign(secret, &content.joined())?, true),
            (None, Some(hash)) => {
                let keys = MacKeys::new(hash, &[self.key_form.key(secret)?]).map_err(|error| error.problem)?;
                (keys.tag(0, &content).unwrap_or_default(), false)
            }
            (None, None) => (Vec::new(), false),
        };
        Ok(self.shape.compose(&self.encoding.encode(&signature), timestamp, public))
    }
}
