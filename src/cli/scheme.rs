//! Signature schemes by name: `grapnel send` signs with them, and `grapnel sink` verifies them.

use grapnel_signature::{
    ContentTemplate, Handshake, JwtScheme, KeyForm, KeySource, Parameter, Parameters, Provider, RequestField, Scheme,
    Shape, SignatureAlgorithm, SignatureEncoding, SignatureScheme, TimestampSource, TokenScheme,
    limits::DEFAULT_TOLERANCE, names, provider, sign_request_to,
};
use grapnel_values::{secret::Secret, suggest::suggest};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use jiff::Timestamp;
use url::Url;

use super::Usage;

/// A scheme with a name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Named {
    /// An entry of the table of providers.
    Provider(&'static Provider),
    /// An HMAC in a header, according to the options.
    Hmac(SignatureAlgorithm, SignatureEncoding),
    /// The secret itself in a header.
    Token,
    /// A username and a password.
    Basic,
    /// A JSON Web Token.
    Jwt,
    /// Standard Webhooks with an asymmetric key.
    Ed25519,
    /// No signature.
    None,
}

/// Help heading of further details.
const SIGNED: &str = "Options for jwt, google, paypal and amazon-sns";

/// The topic of messages of SNS that name none.
const SAMPLE_TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:sample";

/// Details of the plain schemes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options for hmac-… and token")]
pub(super) struct SchemeOptions {
    /// Header with the signature [default: X-Webhook-Signature]
    #[arg(long, value_name = "HEADER")]
    hmac_header: Option<HeaderName>,

    /// Text before the signature, such as sha256=
    #[arg(long, value_name = "TEXT")]
    hmac_prefix: Option<String>,

    /// Signed content, with the placeholders {body}, {timestamp} and {id} [default: {body}]
    #[arg(long, value_name = "TEMPLATE", value_parser = ContentTemplate::parse)]
    hmac_content: Option<ContentTemplate>,

    /// Header with the time of signing
    #[arg(long, value_name = "HEADER")]
    hmac_timestamp_header: Option<HeaderName>,

    /// Header with the id
    #[arg(long, value_name = "HEADER")]
    hmac_id_header: Option<HeaderName>,

    /// Header with the token [default: Authorization]
    #[arg(long, value_name = "HEADER")]
    token_header: Option<HeaderName>,

    /// Word before the token; empty for none [default: Bearer]
    #[arg(long, value_name = "WORD")]
    token_scheme: Option<String>,

    /// Issuer of the token (jwt) [default: https://issuer.example]
    #[arg(long, value_name = "URL", help_heading = SIGNED)]
    issuer: Option<String>,

    /// Audience of the token [default: grapnel]
    #[arg(long, value_name = "TEXT", help_heading = SIGNED)]
    audience: Option<String>,

    /// Email address in the token
    #[arg(long, value_name = "ADDRESS", help_heading = SIGNED)]
    email: Option<String>,

    /// Id of the webhook at PayPal [default: WEBHOOK]
    #[arg(long, value_name = "ID", help_heading = SIGNED)]
    webhook_id: Option<String>,

    /// ARN of the topic of SNS [default: arn:aws:sns:us-east-1:000000000000:sample]
    #[arg(long, value_name = "ARN", help_heading = SIGNED)]
    topic: Option<String>,
}

/// Where a value of the event is written.
#[derive(Debug, Clone)]
pub(super) enum ValueTarget {
    /// In a header; the value may also be in the body, at the pointer.
    Header { name: HeaderName, pointer: Option<&'static str> },
    /// In the body, at a JSON pointer.
    Body(&'static str),
    /// The scheme has no place for it.
    Nowhere,
}

/// A scheme with its secret.
pub(super) enum SendSigning {
    Nothing,
    Scheme(Box<Scheme>, Secret),
}

/// The names other than those of providers.
const PLAIN: [&str; 11] = [
    "hmac-sha1-hex",
    "hmac-sha1-base64",
    "hmac-sha256-hex",
    "hmac-sha256-base64",
    "hmac-sha512-hex",
    "hmac-sha512-base64",
    "token",
    "basic",
    "jwt",
    "ed25519",
    "none",
];

/// Parses a name; case, `-` and `_` are ignored.
pub(super) fn parse(text: &str) -> Result<Named, String> {
    let plain = simplified(text);
    if let Some(row) = names().find(|name| simplified(name) == plain).and_then(provider) {
        return Ok(Named::Provider(row));
    }
    let named = match plain.as_str() {
        "hmacsha1hex" => Named::Hmac(SignatureAlgorithm::Sha1, SignatureEncoding::Hex),
        "hmacsha1base64" => Named::Hmac(SignatureAlgorithm::Sha1, SignatureEncoding::Base64),
        "hmacsha256hex" => Named::Hmac(SignatureAlgorithm::Sha256, SignatureEncoding::Hex),
        "hmacsha256base64" => Named::Hmac(SignatureAlgorithm::Sha256, SignatureEncoding::Base64),
        "hmacsha512hex" => Named::Hmac(SignatureAlgorithm::Sha512, SignatureEncoding::Hex),
        "hmacsha512base64" => Named::Hmac(SignatureAlgorithm::Sha512, SignatureEncoding::Base64),
        "token" => Named::Token,
        "basic" => Named::Basic,
        "jwt" => Named::Jwt,
        "ed25519" => Named::Ed25519,
        "none" => Named::None,
        _ => {
            let near = suggest(text, names().chain(PLAIN));
            let near = near.map(|near| format!("did you mean {near}? ")).unwrap_or_default();
            let known = names().chain(PLAIN).collect::<Vec<_>>().join(", ");
            return Err(format!("{near}known values: {known}"));
        }
    };
    Ok(named)
}

fn simplified(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).collect::<String>().to_lowercase()
}

impl Named {
    /// The operator's description of the scheme.
    pub(super) fn scheme(self, options: &SchemeOptions) -> Scheme {
        match self {
            Self::Provider(row) => options.complete(row.scheme()),
            Self::Jwt => {
                let issuer = options.issuer.as_deref().unwrap_or("https://issuer.example");
                options.complete(Scheme::Jwt(JwtScheme {
                    issuers: vec![issuer.into()],
                    audiences: Vec::new(),
                    keys: KeySource::Issuer(issuer.into()),
                    emails: Vec::new(),
                    claims: None,
                }))
            }
            Self::Hmac(algorithm, encoding) => Scheme::Signature(options.hmac(algorithm, encoding)),
            Self::Token => Scheme::Token(TokenScheme {
                header: options.token_header.clone().unwrap_or(AUTHORIZATION),
                scheme: Some(options.token_scheme.as_deref().unwrap_or("Bearer").to_owned())
                    .filter(|word| !word.is_empty()),
            }),
            Self::Basic => Scheme::Basic,
            Self::Ed25519 => match provider("StandardWebhooks").map(Provider::scheme) {
                Some(Scheme::Signature(scheme)) => Scheme::Signature(SignatureScheme {
                    algorithm: SignatureAlgorithm::Ed25519,
                    key_form: KeyForm::PublicKey,
                    ..scheme
                }),
                _ => Scheme::None,
            },
            Self::None => Scheme::None,
        }
    }

    /// The name of the provider, if it is one.
    pub(super) fn provider(self) -> Option<&'static str> {
        match self {
            Self::Provider(row) => Some(row.name.as_str()),
            _ => None,
        }
    }

    /// The handshake of a sender with this scheme.
    pub(super) fn handshake(self) -> Handshake {
        match self {
            Self::Provider(row) => row.handshake,
            Self::Hmac(..) | Self::Token | Self::Basic | Self::Jwt | Self::None => Handshake::CloudEvents,
            Self::Ed25519 => Handshake::None,
        }
    }

    /// The JSON pointer of the time of signing in the body, in milliseconds since 1970, if the scheme has one.
    pub(super) fn time_in_body(self) -> Option<&'static str> {
        match self {
            Self::Provider(row) => row.scheme().time_in_body(),
            _ => None,
        }
    }

    /// Prepares signing.
    ///
    /// # Errors
    /// Returns an error if a required secret is missing, or it is not valid for this scheme.
    pub(super) fn signing(self, options: &SchemeOptions, secret: Option<Secret>) -> anyhow::Result<SendSigning> {
        options.check(self)?;
        let scheme = self.scheme(options);
        if scheme == Scheme::None {
            return Ok(SendSigning::Nothing);
        }
        let Some(secret) = secret else {
            return Err(Usage::error("set a secret to sign with: --secret-file, --secret-env or --secret"));
        };
        let signing = SendSigning::Scheme(Box::new(scheme), secret);
        // Contradictions are found before anything is sent.
        let mut nowhere = Url::parse("http://localhost/")?;
        signing.sign(&mut nowhere, &mut HeaderMap::new(), &mut Vec::new(), Timestamp::UNIX_EPOCH)?;
        Ok(signing)
    }

    /// The places of the type and the id of an event.
    pub(super) fn places(self) -> (ValueTarget, ValueTarget) {
        let header = |name| ValueTarget::Header { name: HeaderName::from_static(name), pointer: None };
        let first = |places: &'static [RequestField], otherwise| match places.first() {
            Some(RequestField::Header(name)) => HeaderName::try_from(*name)
                .map_or(ValueTarget::Nowhere, |name| ValueTarget::Header { name, pointer: None }),
            Some(RequestField::Pointer(pointer)) => ValueTarget::Body(pointer),
            // Where the operator looks by default.
            None => otherwise,
        };
        match self {
            Self::Provider(row) => (first(row.kinds, ValueTarget::Body("/type")), first(row.ids, header("ce-id"))),
            Self::Ed25519 => (ValueTarget::Body("/type"), header("webhook-id")),
            Self::Hmac(..) | Self::Token | Self::Basic | Self::Jwt | Self::None => (
                ValueTarget::Header { name: HeaderName::from_static("ce-type"), pointer: Some("/type") },
                ValueTarget::Header { name: HeaderName::from_static("ce-id"), pointer: Some("/id") },
            ),
        }
    }

    /// Headers of every event: those that a CloudEvent in binary mode requires besides type and id (CloudEvents HTTP
    /// protocol binding 1.0, 3.1).
    pub(super) fn constant_headers(self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Self::Hmac(..) | Self::Token | Self::Basic | Self::Jwt | Self::None = self {
            headers.insert("ce-specversion", HeaderValue::from_static("1.0"));
            headers.insert("ce-source", HeaderValue::from_static("grapnel-send"));
        }
        headers
    }
}

impl SchemeOptions {
    /// Checks that every given option applies to this scheme.
    ///
    /// # Errors
    /// Returns [`Usage`], which names the option and the schemes that it applies to.
    pub(super) fn check(&self, named: Named) -> anyhow::Result<()> {
        const HMAC: &str = "the hmac-… schemes";
        const TOKENS: &str = "jwt and google";
        let hmac = matches!(named, Named::Hmac(..));
        let token = matches!(named, Named::Token);
        let jwt = matches!(named, Named::Jwt);
        let takes = |parameter| matches!(named, Named::Provider(row) if row.scheme().parameters().contains(&parameter));
        let options = [
            ("--hmac-header", self.hmac_header.is_some(), hmac, HMAC),
            ("--hmac-prefix", self.hmac_prefix.is_some(), hmac, HMAC),
            ("--hmac-content", self.hmac_content.is_some(), hmac, HMAC),
            ("--hmac-timestamp-header", self.hmac_timestamp_header.is_some(), hmac, HMAC),
            ("--hmac-id-header", self.hmac_id_header.is_some(), hmac, HMAC),
            ("--token-header", self.token_header.is_some(), token, "token"),
            ("--token-scheme", self.token_scheme.is_some(), token, "token"),
            ("--issuer", self.issuer.is_some(), jwt, "jwt"),
            ("--audience", self.audience.is_some(), jwt || takes(Parameter::Audiences), TOKENS),
            ("--email", self.email.is_some(), jwt || takes(Parameter::Emails), TOKENS),
            ("--webhook-id", self.webhook_id.is_some(), takes(Parameter::WebhookId), "paypal"),
            ("--topic", self.topic.is_some(), takes(Parameter::Topics), "amazon-sns"),
        ];
        match options.into_iter().find(|(_, given, applies, _)| *given && !applies) {
            Some((option, .., whose)) => Err(Usage::error(format!("{option} applies only to {whose}; remove it"))),
            None => Ok(()),
        }
    }

    fn hmac(&self, algorithm: SignatureAlgorithm, encoding: SignatureEncoding) -> SignatureScheme {
        SignatureScheme {
            header: self.hmac_header.clone().unwrap_or(HeaderName::from_static("x-webhook-signature")),
            algorithm,
            encoding,
            shape: Shape::Prefixed(self.hmac_prefix.clone().unwrap_or_default().into()),
            content: self.hmac_content.clone().unwrap_or_else(ContentTemplate::body),
            timestamp: self.hmac_timestamp_header.clone().map(TimestampSource::Header),
            id_header: self.hmac_id_header.clone(),
            alternative: None,
            tolerance: self.hmac_timestamp_header.as_ref().map(|_| DEFAULT_TOLERANCE),
            key_form: KeyForm::Raw,
        }
    }

    /// Adds the parts of a provider's scheme that only a receiver knows.
    fn complete(&self, scheme: Scheme) -> Scheme {
        scheme.configured(&Parameters {
            audiences: vec![self.audience.as_deref().unwrap_or("grapnel").into()],
            emails: self.email.iter().map(|email| email.as_str().into()).collect(),
            webhook_id: self.webhook_id.as_deref().unwrap_or("WEBHOOK").into(),
            topics: vec![self.topic.as_deref().unwrap_or(SAMPLE_TOPIC).into()],
        })
    }

    /// A header that has to contain the id in addition to its place.
    pub(super) fn id_header(&self) -> Option<&HeaderName> {
        self.hmac_id_header.as_ref()
    }
}

impl SendSigning {
    /// Adds the signature headers, and any parameters that the scheme requires in the URL.
    ///
    /// # Errors
    /// Returns an error if the secret cannot be used with this event.
    pub(super) fn sign(
        &self,
        url: &mut Url,
        headers: &mut HeaderMap,
        body: &mut Vec<u8>,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Scheme(scheme, secret) => Ok(sign_request_to(scheme, secret, url, headers, body, now)
                .map_err(|error| Usage(format!("invalid secret: {error}")))?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_forgiving() {
        for name in ["GitHub", "github", "git-hub"] {
            assert!(matches!(parse(name), Ok(Named::Provider(row)) if row.name == "GitHub"), "{name}");
        }
        for name in ["standard-webhooks", "StandardWebhooks", "standard_webhooks"] {
            assert!(matches!(parse(name), Ok(Named::Provider(row)) if row.name == "StandardWebhooks"), "{name}");
        }
        assert!(matches!(
            parse("HMAC-SHA512-base64"),
            Ok(Named::Hmac(SignatureAlgorithm::Sha512, SignatureEncoding::Base64))
        ));
        for name in names().chain(PLAIN) {
            for spelling in [name.to_owned(), name.to_lowercase(), kebab(name)] {
                assert!(parse(&spelling).is_ok(), "{spelling}");
            }
        }
        let error = parse("gitbuh").unwrap_err();
        assert!(error.starts_with("did you mean GitHub? known values: GitHub, GitLab,"), "{error}");
        assert!(parse("somebody").unwrap_err().starts_with("known values: GitHub, "));
    }

    /// `StandardWebhooks` as `standard-webhooks`.
    fn kebab(name: &str) -> String {
        let mut text = String::new();
        for letter in name.chars() {
            if letter.is_uppercase() && !text.is_empty() {
                text.push('-');
            }
            text.extend(letter.to_lowercase());
        }
        text
    }

    #[test]
    fn every_provider_has_places_that_can_be_filled() {
        for name in names() {
            let (kind, id) = parse(name).unwrap().places();
            assert!(!matches!(kind, ValueTarget::Nowhere), "{name}");
            assert!(!matches!(id, ValueTarget::Nowhere), "{name}");
        }
    }
}
