//! Compiles `spec.verification` to a [`Verifier`].

use grapnel_api::{self, GoDuration, KeyReference, Reason, Verification};
use grapnel_expression::{ExpectedType, Scope};
use grapnel_signature::{
    ContentTemplate, Handshake, JwtScheme, KeyForm, KeySource, Parameter, Parameters, Provider, Scheme,
    ServiceAccountScheme, Shape, SignatureAlgorithm, SignatureEncoding, SignatureScheme, TimestampSource, TokenScheme,
    Verifier, credentials, limits::DEFAULT_TOLERANCE,
};
use grapnel_values::{duration, secret::Secret};
use http::header;
use url::Url;

use super::field::Field;

/// The signature scheme and, for a preset, the provider.
pub(super) fn scheme(verification: &Field<'_, Verification>) -> (Option<Scheme>, Option<&'static Provider>) {
    if let Some(preset) = &verification.provider {
        let provider = Provider::of(preset.name);
        return (preset_scheme(&verification.at("provider", preset), provider), Some(provider));
    }
    let scheme = if let Some(hmac) = &verification.hmac {
        hmac_scheme(&verification.at("hmac", hmac)).map(Scheme::Signature)
    } else if let Some(token) = &verification.token {
        token_scheme(&verification.at("token", token)).map(Scheme::Token)
    } else if verification.basic.is_some() {
        Some(Scheme::Basic)
    } else if let Some(jwt) = &verification.jwt {
        jwt_scheme(&verification.at("jwt", jwt)).map(Scheme::Jwt)
    } else if let Some(accounts) = &verification.service_account {
        service_account(&verification.at("serviceAccount", accounts)).map(Scheme::ServiceAccount)
    } else {
        Some(Scheme::None)
    };
    (scheme, None)
}

/// The scheme of a preset, with what only the endpoint knows.
fn preset_scheme(preset: &Field<'_, grapnel_api::Provider>, provider: &Provider) -> Option<Scheme> {
    let mut scheme = provider.scheme();
    if let Some(text) = preset.at("tolerance", &preset.tolerance).given() {
        scheme = tolerating(provider, &text, scheme);
    }
    let parameters = parameters(preset);
    match misfit(provider, &scheme, &parameters) {
        Some((Parameter::WebhookId, message)) => {
            preset.at("webhookId", &preset.webhook_id).fail(Reason::InvalidSpec, message)
        }
        Some((Parameter::Topics, message)) => preset.at("topics", &preset.topics).fail(Reason::InvalidSpec, message),
        Some((Parameter::Audiences | Parameter::Emails, message)) => preset.fail(Reason::InvalidSpec, message),
        None => Some(scheme.configured(&parameters)),
    }
}

fn tolerating(provider: &Provider, text: &Field<'_, GoDuration>, scheme: Scheme) -> Scheme {
    let Some(tolerance) = text.check(duration::parse(&text.0)) else { return scheme };
    scheme.tolerating(tolerance).unwrap_or_else(|| {
        text.problem(
            Reason::InvalidSpec,
            format_args!("{} does not sign a timestamp; remove tolerance", provider.name),
        );
        scheme
    })
}

fn parameters(preset: &grapnel_api::Provider) -> Parameters {
    let texts = |list: &Option<Vec<String>>| list.iter().flatten().map(|text| text.as_str().into()).collect();
    Parameters {
        audiences: texts(&preset.audiences),
        emails: texts(&preset.emails),
        webhook_id: preset.webhook_id.as_deref().unwrap_or_default().into(),
        topics: texts(&preset.topics),
    }
}

/// What is wrong with the parameters of a preset, and with which first. API servers have the same rules, except older ones.
fn misfit(provider: &Provider, scheme: &Scheme, parameters: &Parameters) -> Option<(Parameter, String)> {
    let required = scheme.parameters();
    let fields = |parameters: &[Parameter]| {
        parameters.iter().map(|parameter| parameter.field()).collect::<Vec<_>>().join(" and ")
    };
    if let Some(missing) = required.iter().find(|parameter| !parameters.has(**parameter)) {
        return Some((*missing, format!("{} requires {}", provider.name, fields(required))));
    }
    let unused = |parameter: &Parameter| parameters.has(*parameter) && !required.contains(parameter);
    let unused: Vec<Parameter> = Parameter::ALL.iter().copied().filter(unused).collect();
    let first = *unused.first()?;
    Some((first, format!("{} has no use for {}; remove it", provider.name, fields(&unused))))
}

fn token_scheme(token: &Field<'_, grapnel_api::Token>) -> Option<TokenScheme> {
    let header = token.at("header", token.header.as_deref().unwrap_or("Authorization")).header_name()?;
    let default = (header == header::AUTHORIZATION).then(|| "Bearer".to_owned());
    let scheme = token.scheme.clone().or(default).filter(|scheme| !scheme.is_empty());
    Some(TokenScheme { header, scheme })
}

fn jwt_scheme(jwt: &Field<'_, grapnel_api::Jwt>) -> Option<JwtScheme> {
    let issuer = keys_url(&jwt.at("issuer", &jwt.issuer));
    let keys = match jwt.at("jwksUri", &jwt.jwks_uri).given() {
        Some(uri) => keys_url(&uri).map(|()| KeySource::Jwks(uri.as_str().into())),
        None => issuer.map(|()| KeySource::Issuer(jwt.issuer.as_str().into())),
    };
    if jwt.audiences.is_empty() {
        return jwt.at("audiences", &jwt.audiences).fail(Reason::InvalidSpec, "must name at least one audience");
    }
    let claims = match jwt.at("claims", &jwt.claims).given() {
        // An endpoint without its rule would accept senders that it has to reject.
        Some(rule) => Some(rule.expression(Scope::Claims, ExpectedType::Bool)?),
        None => None,
    };
    issuer?;
    Some(JwtScheme {
        issuers: vec![jwt.issuer.as_str().into()],
        audiences: jwt.audiences.iter().map(|audience| audience.as_str().into()).collect(),
        keys: keys?,
        emails: Vec::new(),
        claims,
    })
}

/// Whether keys may be fetched below a URL. It has to be https, except on this machine, because an attacker who could
/// change the response could forge signatures.
fn keys_url(field: &Field<'_, String>) -> Option<()> {
    let url = field.check(Url::parse(field))?;
    let here = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !(here && url.scheme() == "http") {
        return field.fail(Reason::InvalidSpec, "must be an https URL, because it is the source of the keys");
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return field.fail(Reason::InvalidSpec, "must have neither a username nor a fragment");
    }
    match field.options().egress.check_url(&url) {
        Ok(()) => Some(()),
        Err(forbidden) => field.fail(Reason::TargetForbidden, forbidden),
    }
}

fn service_account(accounts: &Field<'_, grapnel_api::ServiceAccountVerification>) -> Option<ServiceAccountScheme> {
    if !accounts.options().service_accounts {
        let message = "serviceAccount requires a cluster; in standalone mode use hmac or token";
        return accounts.fail(Reason::InvalidSpec, message);
    }
    let allowed = accounts.allowed.iter().map(|account| {
        let namespace = account.namespace.as_deref().unwrap_or(accounts.namespace());
        (namespace.into(), account.name.as_str().into())
    });
    Some(ServiceAccountScheme {
        audiences: accounts.audiences.iter().map(|audience| audience.as_str().into()).collect(),
        allowed: allowed.collect(),
    })
}

fn hmac_scheme(hmac: &Field<'_, grapnel_api::Hmac>) -> Option<SignatureScheme> {
    let header = hmac.at("header", &hmac.header).header_name();
    let signed = hmac.at("signedContent", hmac.signed_content.as_deref().unwrap_or("{body}"));
    let content = signed.check(ContentTemplate::parse(&signed));
    let timestamp = hmac.at("timestampHeader", &hmac.timestamp_header).given().map(|name| name.header_name());
    let id_header = hmac.at("idHeader", &hmac.id_header).given().map(|name| name.header_name());
    let signed_time = content.as_ref().is_some_and(ContentTemplate::uses_timestamp);
    let tolerance = match hmac.at("tolerance", &hmac.tolerance).given() {
        Some(tolerance) => tolerance.check(duration::parse(&tolerance.0)),
        None => signed_time.then_some(DEFAULT_TOLERANCE),
    };
    Some(SignatureScheme {
        header: header?,
        algorithm: match hmac.algorithm {
            grapnel_api::Algorithm::SHA1 => SignatureAlgorithm::Sha1,
            grapnel_api::Algorithm::SHA256 => SignatureAlgorithm::Sha256,
            grapnel_api::Algorithm::SHA512 => SignatureAlgorithm::Sha512,
        },
        encoding: match hmac.encoding {
            grapnel_api::Encoding::Hex => SignatureEncoding::Hex,
            grapnel_api::Encoding::Base64 => SignatureEncoding::Base64,
        },
        shape: Shape::Prefixed(hmac.prefix.clone().unwrap_or_default().into()),
        content: content?,
        timestamp: match timestamp {
            Some(name) => Some(TimestampSource::Header(name?)),
            None => None,
        },
        id_header: match id_header {
            Some(name) => Some(name?),
            None => None,
        },
        alternative: None,
        tolerance,
        key_form: KeyForm::Raw,
    })
}

/// Resolves the secrets and prepares the keys. Keys that resolve are used; if none does, the endpoint is not served.
pub(super) fn verifier(scheme: Option<Scheme>, verification: &Field<'_, Verification>) -> Option<Verifier> {
    if !verification.options().verifies {
        return verification.check(Verifier::new(Scheme::None, Vec::new()));
    }
    let references = verification.at("secretRefs", &verification.secret_refs);
    let Some(scheme) = scheme else {
        // Missing Secrets are reported together with what is wrong with the scheme.
        for reference in references.items() {
            reference.secret();
        }
        return None;
    };
    let secrets = match &verification.basic {
        Some(_) => references.items().filter_map(|reference| pair(&reference)).collect(),
        None => references.keys(|secret| Verifier::new(scheme.clone(), vec![secret]).map(drop)),
    };
    if secrets.is_empty() && scheme.needs_secrets() {
        return None;
    }
    verification.check(Verifier::new(scheme, secrets))
}

/// The pair of username and password in a Secret.
fn pair(reference: &Field<'_, KeyReference>) -> Option<Secret> {
    const USERNAME: &str = "username";
    let KeyReference { name, key } = reference.value();
    if key == USERNAME {
        let message = "key must name the password; the username is read from the key `username`";
        return reference.at("key", key).fail(Reason::InvalidSpec, message);
    }
    // Both are resolved, so that both are reported if missing.
    let (username, password) = (reference.secret_key(name, USERNAME), reference.secret());
    match credentials(username?, password?) {
        Ok(pair) => Some(pair),
        Err(problem) => {
            reference.fail(Reason::InvalidSecret, format_args!("Secret {name}: {problem}; correct the Secret"))
        }
    }
}

/// The token that the sender must show in its handshake. An endpoint whose token does not resolve is served, because
/// the sender has registered long ago in most cases, but answers no handshake.
pub(super) fn verify_token(verification: &Field<'_, Verification>) -> Option<Secret> {
    let preset = verification.at("provider", verification.provider.as_ref()?);
    let reference = preset.at("verifyToken", &preset.verify_token).given();
    let takes = matches!(Provider::of(preset.name).handshake, Handshake::MetaChallenge);
    match (reference, takes) {
        (Some(_), true) if !verification.options().verifies => None,
        (Some(reference), true) => reference.secret().cloned(),
        (None, true) => preset
            .at("verifyToken", &preset.verify_token)
            .fail(Reason::InvalidSpec, format_args!("{} requires verifyToken", preset.name)),
        (Some(reference), false) => {
            reference.fail(Reason::InvalidSpec, format_args!("{} has no use for verifyToken; remove it", preset.name))
        }
        (None, false) => None,
    }
}

/// The handshake of the sender: set by a preset; any other sender may send CloudEvents.
pub(super) fn handshake(provider: Option<&Provider>) -> Handshake {
    provider.map_or(Handshake::CloudEvents, |provider| provider.handshake)
}
