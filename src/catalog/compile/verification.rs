//! Compiles `spec.verification` to a [`Verifier`].

use grapnel_api::{self, ObjectKey, Reason, Verification};
use grapnel_expression::{ExpectedType, Scope};
use grapnel_signature::{
    Algorithm, Content, Encoding, Handshake, JwtScheme, KeyForm, KeySource, Parameter, Parameters, Provider, Scheme,
    ServiceAccountScheme, Shape, SignatureScheme, TimestampSource, TokenScheme, Verifier, credentials,
    limits::DEFAULT_TOLERANCE,
};
use grapnel_values::{duration, secret::Secret};
use http::header;
use url::Url;

use super::{Options, Problems, References, endpoint::header_name};

/// The signature scheme and, for a preset, the provider.
pub(super) fn scheme(
    key: &ObjectKey,
    verification: &Verification,
    options: &Options,
    problems: &mut Problems,
) -> (Option<Scheme>, Option<&'static Provider>) {
    if let Some(preset) = &verification.provider {
        let provider = Provider::of(preset.name);
        return (preset_scheme(preset, provider, problems), Some(provider));
    }
    let scheme = if let Some(hmac) = &verification.hmac {
        hmac_scheme(hmac, problems).map(Scheme::Signature)
    } else if let Some(token) = &verification.token {
        let name = token.header.as_deref().unwrap_or("Authorization");
        header_name(name, "/spec/verification/token/header", problems).map(|header| {
            let default = (header == header::AUTHORIZATION).then(|| "Bearer".to_owned());
            let scheme = token.scheme.clone().or(default).filter(|scheme| !scheme.is_empty());
            Scheme::Token(TokenScheme { header, scheme })
        })
    } else if verification.basic.is_some() {
        Some(Scheme::Basic)
    } else if let Some(jwt) = &verification.jwt {
        self::jwt(jwt, options, problems).map(Scheme::Jwt)
    } else if let Some(accounts) = &verification.service_account {
        service_account(key, accounts, options, problems).map(Scheme::ServiceAccount)
    } else {
        Some(Scheme::None)
    };
    (scheme, None)
}

/// The scheme of a preset, with what only the endpoint knows.
fn preset_scheme(preset: &grapnel_api::Provider, provider: &Provider, problems: &mut Problems) -> Option<Scheme> {
    let mut scheme = provider.scheme();
    if let Some(text) = &preset.tolerance {
        scheme = tolerating(provider, text, scheme, problems);
    }
    let parameters = parameters(preset);
    if let Some(message) = misfit(provider, &scheme, &parameters) {
        problems.add("/spec/verification/provider", Reason::InvalidSpec, message);
        return None;
    }
    Some(scheme.configured(&parameters))
}

fn tolerating(provider: &Provider, text: &grapnel_api::GoDuration, scheme: Scheme, problems: &mut Problems) -> Scheme {
    let pointer = "/spec/verification/provider/tolerance";
    let Some(tolerance) = problems.check(pointer, duration::parse(&text.0)) else { return scheme };
    scheme.tolerating(tolerance).unwrap_or_else(|| {
        let message = format!("{} does not sign a timestamp; remove tolerance", provider.name);
        problems.add(pointer, Reason::InvalidSpec, message);
        scheme
    })
}

fn parameters(preset: &grapnel_api::Provider) -> Parameters {
    let texts = |list: &Option<Vec<String>>| list.iter().flatten().map(|text| text.as_str().into()).collect();
    Parameters {
        audiences: texts(&preset.audiences),
        emails: texts(&preset.emails),
        webhook_id: preset.webhook_id.as_deref().unwrap_or_default().into(),
    }
}

/// What is wrong with the parameters of a preset. API servers have the same rules, except older ones.
fn misfit(provider: &Provider, scheme: &Scheme, parameters: &Parameters) -> Option<String> {
    let required = scheme.parameters();
    let fields = |parameters: &mut dyn Iterator<Item = &Parameter>| {
        parameters.map(|parameter| parameter.field()).collect::<Vec<_>>().join(" and ")
    };
    if required.iter().any(|parameter| !parameters.has(*parameter)) {
        return Some(format!("{} requires {}", provider.name, fields(&mut required.iter())));
    }
    let unused = |parameter: &&Parameter| parameters.has(**parameter) && !required.contains(parameter);
    let unused = fields(&mut Parameter::ALL.iter().filter(unused));
    (!unused.is_empty()).then(|| format!("{} has no use for {unused}; remove it", provider.name))
}

fn jwt(jwt: &grapnel_api::Jwt, options: &Options, problems: &mut Problems) -> Option<JwtScheme> {
    let at = |field: &str| format!("/spec/verification/jwt/{field}");
    let issuer = keys_url(&jwt.issuer, &at("issuer"), options, problems);
    let keys = match &jwt.jwks_uri {
        Some(text) => keys_url(text, &at("jwksUri"), options, problems).map(|()| KeySource::Jwks(text.as_str().into())),
        None => issuer.map(|()| KeySource::Issuer(jwt.issuer.as_str().into())),
    };
    if jwt.audiences.is_empty() {
        problems.add(at("audiences"), Reason::InvalidSpec, "must name at least one audience");
        return None;
    }
    let claims = match &jwt.claims {
        // An endpoint without its rule would accept senders that it has to reject.
        Some(source) => Some(problems.expression(&at("claims"), source, Scope::Claims, ExpectedType::Bool)?),
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
fn keys_url(text: &str, pointer: &str, options: &Options, problems: &mut Problems) -> Option<()> {
    let url = problems.check(pointer, Url::parse(text))?;
    let here = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !(here && url.scheme() == "http") {
        problems.add(pointer, Reason::InvalidSpec, "must be an https URL, because it is the source of the keys");
        return None;
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        problems.add(pointer, Reason::InvalidSpec, "must have neither a username nor a fragment");
        return None;
    }
    if let Err(forbidden) = options.egress.check_url(&url) {
        problems.add(pointer, Reason::TargetForbidden, forbidden);
        return None;
    }
    Some(())
}

fn service_account(
    key: &ObjectKey,
    accounts: &grapnel_api::ServiceAccountVerification,
    options: &Options,
    problems: &mut Problems,
) -> Option<ServiceAccountScheme> {
    if !options.service_accounts {
        problems.add(
            "/spec/verification/serviceAccount",
            Reason::InvalidSpec,
            "serviceAccount requires a cluster; in standalone mode use hmac or token",
        );
        return None;
    }
    let allowed = accounts.allowed.iter().map(|account| {
        let namespace = account.namespace.as_deref().unwrap_or(&key.namespace);
        (namespace.into(), account.name.as_str().into())
    });
    Some(ServiceAccountScheme {
        audiences: accounts.audiences.iter().map(|audience| audience.as_str().into()).collect(),
        allowed: allowed.collect(),
    })
}

fn hmac_scheme(hmac: &grapnel_api::Hmac, problems: &mut Problems) -> Option<SignatureScheme> {
    let at = |field: &str| format!("/spec/verification/hmac/{field}");
    let header = header_name(&hmac.header, &at("header"), problems);
    let content =
        problems.check(at("signedContent"), Content::parse(hmac.signed_content.as_deref().unwrap_or("{body}")));
    let timestamp = hmac.timestamp_header.as_ref().map(|name| header_name(name, &at("timestampHeader"), problems));
    let id_header = hmac.id_header.as_ref().map(|name| header_name(name, &at("idHeader"), problems));
    let signed_time = content.as_ref().is_some_and(Content::uses_timestamp);
    let tolerance = match &hmac.tolerance {
        Some(tolerance) => problems.check(at("tolerance"), duration::parse(&tolerance.0)),
        None => signed_time.then_some(DEFAULT_TOLERANCE),
    };
    Some(SignatureScheme {
        header: header?,
        algorithm: match hmac.algorithm {
            grapnel_api::Algorithm::SHA1 => Algorithm::Sha1,
            grapnel_api::Algorithm::SHA256 => Algorithm::Sha256,
            grapnel_api::Algorithm::SHA512 => Algorithm::Sha512,
        },
        encoding: match hmac.encoding {
            grapnel_api::Encoding::Hex => Encoding::Hex,
            grapnel_api::Encoding::Base64 => Encoding::Base64,
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
pub(super) fn verifier(
    scheme: Scheme,
    verification: &Verification,
    references: &References<'_>,
    problems: &mut Problems,
) -> Option<Verifier> {
    let check = |secret| Verifier::new(scheme.clone(), vec![secret]).map(drop);
    let secrets = match &verification.basic {
        Some(_) => pairs(&verification.secret_refs, references, problems),
        None => references.keys(&verification.secret_refs, "/spec/verification/secretRefs", problems, check),
    };
    if secrets.is_empty() && scheme.needs_secrets() {
        return None;
    }
    problems.check("/spec/verification", Verifier::new(scheme, secrets))
}

/// The pairs of username and password that resolve.
fn pairs(
    secret_refs: &[grapnel_api::KeyReference],
    references: &References<'_>,
    problems: &mut Problems,
) -> Vec<Secret> {
    let mut pairs = Vec::new();
    for (number, reference) in secret_refs.iter().enumerate() {
        let name = &reference.name;
        let pointer = format!("/spec/verification/secretRefs/{number}");
        let username = grapnel_api::KeyReference { name: name.clone(), key: "username".into() };
        if reference.key == username.key {
            let message = "key must name the password; the username is read from the key `username`";
            problems.add(format!("{pointer}/key"), Reason::InvalidSpec, message);
            continue;
        }
        let mut value = |reference| references.secret(reference, &pointer, problems);
        // Both are resolved, so that both are reported if missing.
        let (username, password) = (value(&username), value(reference));
        let (Some(username), Some(password)) = (username, password) else { continue };
        match credentials(&username, &password) {
            Ok(pair) => pairs.push(pair),
            Err(problem) => problems.add(
                pointer,
                Reason::InvalidSecret,
                format_args!("Secret {name}: {problem}; correct the Secret"),
            ),
        }
    }
    pairs
}

/// The handshake of the sender: set by a preset; any other sender may send CloudEvents.
pub(super) fn handshake(provider: Option<&Provider>) -> Handshake {
    provider.map_or(Handshake::CloudEvents, |provider| provider.handshake)
}
