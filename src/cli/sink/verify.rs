//! Verifies the signatures of deliveries.

use std::sync::Arc;

use axum::http::{HeaderMap, Method, Uri, header::HOST};
use bytes::Bytes;
use grapnel_payload::{payload::Payload, reading::Reading};
use grapnel_signature::{
    CalledUrl, Handshake, HandshakeReply, KeySet, Question, Refusal, RequiredContext, VerificationContext, Verified,
    Verifier,
};
use grapnel_values::secret::Secret;
use jiff::Timestamp;
use url::Url;

use crate::cli::{
    Usage,
    data_plane::public_url,
    scheme::{self, Named, ValueTarget},
};

/// How deliveries are signed.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct VerifyArgs {
    /// Scheme of the signatures to verify: standard-webhooks, hmac-sha256-hex, or any value of `grapnel send
    /// --provider`. For discord, sendgrid and ed25519 the secret is the public key, for google and jwt a JSON Web Key
    /// Set, for paypal and amazon-sns a certificate
    #[arg(long, visible_alias = "provider", value_name = "SCHEME", env = "GRAPNEL_SINK_SCHEME", default_value = "standard-webhooks", value_parser = scheme::parse)]
    scheme: Named,

    /// URL that the sender calls, for schemes that sign it (twilio) [default: the URL of the request]
    #[arg(long, value_name = "URL", value_parser = public_url)]
    public_url: Option<Url>,

    /// Verify token of the handshake of meta; without it the handshake is not answered
    #[arg(long, value_name = "TEXT")]
    verify_token: Option<Secret>,

    // Last, because the help heading of these flags applies to all that follow.
    #[command(flatten)]
    options: scheme::SchemeOptions,
}

/// Verifies deliveries.
pub(super) struct Check {
    /// `None` if there is no secret.
    verifier: Option<Verifier>,
    keys: Option<Arc<KeySet>>,
    handshake: Handshake,
    public_url: Option<CalledUrl>,
    verify_token: Option<Secret>,
}

impl VerifyArgs {
    /// Where senders of the scheme write the type and the id.
    pub(super) fn places(&self) -> (ValueTarget, ValueTarget) {
        self.scheme.places()
    }

    pub(super) fn check(&self, secret: Option<Secret>) -> anyhow::Result<Check> {
        let useless = |error: &dyn std::fmt::Display| Usage(format!("invalid secret: {error}"));
        self.options.check(self.scheme)?;
        let (mut verifier, mut keys) = (None, None);
        if let Some(secret) = secret {
            let scheme = self.scheme.scheme(&self.options);
            keys = scheme.fetched_keys(secret.expose()).transpose().map_err(|error| useless(&error))?.map(Arc::new);
            verifier = Some(Verifier::new(scheme, vec![secret]).map_err(|error| useless(&error))?);
        }
        Ok(Check {
            verifier,
            keys,
            handshake: self.scheme.handshake(),
            public_url: self.public_url.as_ref().and_then(CalledUrl::of),
            verify_token: self.verify_token.clone(),
        })
    }
}

impl Check {
    /// The result of the verification; `None` if nothing is verified.
    pub(super) fn verify(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        body: &Bytes,
        now: Timestamp,
    ) -> Option<Result<Verified, Refusal>> {
        let verifier = self.verifier.as_ref()?;
        let evidence = match verifier.needs() {
            RequiredContext::Url => VerificationContext::Url(self.called(uri, headers)),
            RequiredContext::Keys => match (verifier.keys_for(headers, body), &self.keys) {
                (Err(refusal), _) => return Some(Err(refusal)),
                (Ok(_), Some(keys)) => VerificationContext::Keys(Arc::clone(keys)),
                (Ok(_), None) => VerificationContext::Nothing,
            },
            RequiredContext::Nothing | RequiredContext::Review(_) => VerificationContext::Nothing,
        };
        Some(verifier.verify_with(&evidence, headers, body.clone(), now))
    }

    fn called(&self, uri: &Uri, headers: &HeaderMap) -> CalledUrl {
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        match &self.public_url {
            Some(base) => {
                CalledUrl { target: format!("{}{target}", base.target.trim_end_matches('/')), ..base.clone() }
            }
            None => {
                let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
                CalledUrl { secure: false, authority: host.to_owned(), target: target.to_owned() }
            }
        }
    }

    /// The reply to a handshake with another method than POST.
    pub(super) fn question(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<HandshakeReply> {
        let question = Question {
            method,
            query: uri.query(),
            headers,
            per_minute: None,
            verify_token: self.verify_token.as_ref(),
        };
        self.handshake.answer(question, self.verifier.as_ref()?)
    }

    /// The reply, if a delivery is a handshake.
    pub(super) fn handshake(&self, content_type: Option<&str>, verified: &Verified) -> Option<HandshakeReply> {
        let payload = Payload::read(&Reading::default(), content_type, verified.body());
        self.handshake.reply(&payload, verified, self.verifier.as_ref()?).ok()?
    }
}
