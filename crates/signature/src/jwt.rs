//! Bearer tokens signed by an issuer: JSON Web Tokens (RFC 7519), as issued by OpenID Connect.
//!
//! Such a token identifies the caller and the audience; it does not cover the body. A request with a stolen token is
//! accepted until the token expires.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use grapnel_expression::{Expression, Inputs};
use grapnel_values::secret::Secret;
use http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    KeyError, KeyProblem, KeySetError, KeysWanted, Parameter, Parameters, Refusal, RequiredContext, Scheme,
    jwks::{JwsAlgorithm, KeySet, KeySource},
    private_key::PrivateKey,
    proof::{Proof, ProofKind, UnsignedRequest, UnverifiedRequest},
    request::sensitive,
    single,
    token::after,
};
use crate::{
    jws::{is_bearer_token, moment, object},
    limits::{JWT_BYTES, JWT_LEEWAY, JWT_LIFETIME},
};

/// Whose tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtScheme {
    /// Accepted issuers; `iss` must be one of them.
    pub issuers: Vec<Box<str>>,
    /// Accepted audiences; `aud` must contain one of them.
    pub audiences: Vec<Box<str>>,
    /// Location of the issuer's keys.
    pub keys: KeySource,
    /// Accepted subjects: a verified `email` must be one of them. Empty accepts every subject.
    pub emails: Vec<Box<str>>,
    /// Additional requirement: an expression over the claims.
    pub claims: Option<Arc<Expression>>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// Extensions that must be understood (RFC 7515, 4.1.11); none is supported.
    #[serde(default)]
    crit: Option<Value>,
}

/// A parsed token that is not verified yet.
struct Shown<'a> {
    signed: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
    header: Header,
    algorithm: JwsAlgorithm,
}

impl ProofKind for JwtScheme {
    fn with_keys(&self, _: &[Secret]) -> Result<Box<dyn Proof>, KeyError> {
        Ok(Box::new(self.clone()))
    }

    fn sign(&self, secret: &Secret, request: &mut UnsignedRequest<'_>) -> Result<(), KeyProblem> {
        let token = self.token(secret, request.now)?;
        request.headers.insert(AUTHORIZATION, sensitive(format!("Bearer {token}").as_bytes())?);
        Ok(())
    }

    fn needs_secrets(&self) -> bool {
        false
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter::Audiences, Parameter::Emails]
    }

    fn configured(&self, parameters: &Parameters) -> Option<Scheme> {
        let Parameters { audiences, emails, .. } = parameters.clone();
        Some(Scheme::Jwt(Self { audiences, emails, ..self.clone() }))
    }

    fn fetched_keys(&self, document: &[u8]) -> Option<Result<KeySet, KeySetError>> {
        Some(KeySet::jwks(document))
    }
}

impl Proof for JwtScheme {
    fn credential_headers(&self) -> [Option<&HeaderName>; 2] {
        [Some(&AUTHORIZATION), None]
    }

    fn needs(&self) -> RequiredContext<'_> {
        RequiredContext::Keys
    }

    fn keys_for(&self, headers: &HeaderMap, _: &[u8]) -> Result<KeysWanted, Refusal> {
        Ok(KeysWanted { source: self.keys.clone(), id: Shown::read(headers)?.header.kid })
    }

    fn verify(&self, request: &UnverifiedRequest<'_>) -> Result<usize, Refusal> {
        let keys = request.keys()?;
        let token = Shown::read(request.headers)?;
        let id = token.header.kid.as_deref();
        if !keys.verifies(id, token.algorithm, token.signed.as_bytes(), &token.signature) {
            return Err(invalid("the bearer token is not signed by a key of its issuer"));
        }
        let claims: Map<String, Value> =
            object(token.payload).ok_or_else(|| invalid("the bearer token's claims are not a JSON object"))?;
        self.allows(&claims, request.now)?;
        self.grants(claims).map(|()| 0)
    }
}

impl JwtScheme {
    /// Checks that signed claims are those of a permitted caller.
    fn allows(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<(), Refusal> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let one_of = |several: &[Box<str>], text: &str| several.iter().any(|one| **one == *text);
        if !text("iss").is_some_and(|issuer| one_of(&self.issuers, issuer)) {
            return Err(invalid("the bearer token was issued by another issuer"));
        }
        let for_us = match claims.get("aud") {
            Some(Value::String(audience)) => one_of(&self.audiences, audience),
            Some(Value::Array(audiences)) => {
                audiences.iter().filter_map(Value::as_str).any(|audience| one_of(&self.audiences, audience))
            }
            _ => false,
        };
        if !for_us {
            return Err(invalid("the bearer token has another audience; request one for an audience of this endpoint"));
        }
        self.belongs(claims)?;
        let time = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(seconds) => Ok(Some(moment(seconds))),
                None => Err(invalid("a time in the bearer token is not a number")),
            },
        };
        let Some(expires) = time("exp")? else {
            return Err(invalid("the bearer token has no exp claim"));
        };
        if expires.checked_add(JWT_LEEWAY).is_ok_and(|end| end <= now) {
            return Err(Refusal::StaleTimestamp("the bearer token has expired; request a new one".into()));
        }
        for begins in [time("nbf")?, time("iat")?].into_iter().flatten() {
            if begins.checked_sub(JWT_LEEWAY).is_ok_and(|begin| begin > now) {
                return Err(Refusal::StaleTimestamp("the bearer token is not valid yet".into()));
            }
        }
        Ok(())
    }

    /// Checks the endpoint's own rule. A rule that fails to evaluate rejects the request.
    fn grants(&self, claims: Map<String, Value>) -> Result<(), Refusal> {
        let Some(rule) = &self.claims else { return Ok(()) };
        let claims = Value::Object(claims);
        match rule.test(&Inputs { claims: Some(&claims), ..Inputs::default() }) {
            Ok(true) => Ok(()),
            Ok(false) => Err(invalid("the bearer token's claims do not match the endpoint's claims expression")),
            Err(error) => Err(Refusal::InvalidSignature(format!(
                "the endpoint's claims expression failed for this token: {error}"
            ))),
        }
    }

    /// Creates a token of the first issuer for the first audience and the first permitted caller. The secret is either
    /// such a token already, or a private key in PKCS #8 PEM: RSA, P-256 or Ed25519.
    fn token(&self, secret: &Secret, now: Timestamp) -> Result<String, KeyProblem> {
        let text = std::str::from_utf8(secret.expose()).map_err(|_| KeyProblem::NotSigning)?.trim();
        if !text.starts_with("-----BEGIN") && text.matches('.').count() == 2 && is_bearer_token(text) {
            return Ok(text.to_owned());
        }
        let key = PrivateKey::read(secret)?;
        let issued = now.as_second().max(0);
        let mut claims = json!({
            "iss": self.issuers.first(),
            "aud": self.audiences.first(),
            "sub": self.emails.first().map_or("grapnel-send", |email| email),
            "iat": issued,
            "exp": issued.saturating_add(JWT_LIFETIME.as_secs().try_into().unwrap_or(i64::MAX)),
        });
        if let (Some(email), Value::Object(claims)) = (self.emails.first(), &mut claims) {
            claims.insert("email".into(), (**email).into());
            claims.insert("email_verified".into(), true.into());
        }
        let header = json!({ "alg": key.algorithm(), "typ": "JWT" });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = key.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn belongs(&self, claims: &Map<String, Value>) -> Result<(), Refusal> {
        if self.emails.is_empty() {
            return Ok(());
        }
        // Some issuers write the flag as text.
        let verified = match claims.get("email_verified") {
            Some(Value::Bool(verified)) => *verified,
            Some(Value::String(text)) => text == "true",
            _ => false,
        };
        let email = claims.get("email").and_then(Value::as_str).filter(|_| verified);
        if email.is_some_and(|email| self.emails.iter().any(|known| **known == *email)) {
            Ok(())
        } else {
            Err(invalid("the bearer token's identity is not allowed at this endpoint"))
        }
    }
}

impl<'a> Shown<'a> {
    fn read(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let value = single(headers, &AUTHORIZATION, "bearer token")?;
        let malformed =
            || invalid("header authorization does not hold `Bearer` and one signed JSON Web Token after it");
        let token = after(value.as_bytes(), "Bearer")
            .and_then(|token| std::str::from_utf8(token.trim_ascii_end()).ok())
            .filter(|token| token.len() <= JWT_BYTES && is_bearer_token(token))
            .ok_or_else(malformed)?;
        let (signed, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (header, payload) = signed.split_once('.').ok_or_else(malformed)?;
        let signature =
            URL_SAFE_NO_PAD.decode(signature).ok().filter(|bytes| !bytes.is_empty()).ok_or_else(malformed)?;
        let header: Header = object(header).ok_or_else(malformed)?;
        if header.crit.is_some() {
            return Err(invalid("the bearer token has an unsupported critical header (crit)"));
        }
        let algorithm = JwsAlgorithm::named(&header.alg).ok_or_else(|| {
            invalid("the bearer token is not signed with RS, PS or ES 256 or 384, RS or PS 512, or EdDSA")
        })?;
        Ok(Self { signed, payload, signature, header, algorithm })
    }
}

fn invalid(sentence: &str) -> Refusal {
    Refusal::InvalidSignature(sentence.into())
}
