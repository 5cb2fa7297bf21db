//! `spec.verification` to a [`Verifier`].

use http::header;

use super::{Options, Problems, References, endpoint::header_name};
use crate::{
    api::{self, ObjectKey, Reason, Verification},
    rules::{
        duration, limits,
        signature::{
            Algorithm, Content, Encoding, HmacScheme, KeyForm, Provider, Scheme, ServiceAccountScheme, Shape,
            TimestampSource, TokenScheme, Verifier, provider,
        },
    },
};

/// The signature scheme and, for a preset, the provider.
pub(super) fn scheme(
    key: &ObjectKey,
    verification: &Verification,
    options: &Options,
    problems: &mut Problems,
) -> (Option<Scheme>, Option<&'static Provider>) {
    if let Some(preset) = &verification.provider {
        let Some(provider) = provider(preset.name.as_str()) else {
            problems.add("/spec/verification/provider/name", Reason::InvalidSpec, "this provider is not known");
            return (None, None);
        };
        let mut scheme = provider.scheme();
        if let Some(tolerance) = &preset.tolerance {
            let pointer = "/spec/verification/provider/tolerance";
            let tolerance = problems.check(pointer, duration::parse(&tolerance.0));
            match &mut scheme {
                Scheme::Hmac(hmac) if hmac.timestamp.is_some() => hmac.tolerance = tolerance.or(hmac.tolerance),
                _ => problems.add(
                    pointer,
                    Reason::InvalidSpec,
                    format_args!("{} signs no timestamp, so there is nothing to tolerate; remove it", provider.name),
                ),
            }
        }
        return (Some(scheme), Some(provider));
    }
    let scheme = if let Some(hmac) = &verification.hmac {
        hmac_scheme(hmac, problems).map(Scheme::Hmac)
    } else if let Some(token) = &verification.token {
        let name = token.header.as_deref().unwrap_or("Authorization");
        header_name(name, "/spec/verification/token/header", problems).map(|header| {
            let default = (header == header::AUTHORIZATION).then(|| "Bearer".to_owned());
            let scheme = token.scheme.clone().or(default).filter(|scheme| !scheme.is_empty());
            Scheme::Token(TokenScheme { header, scheme })
        })
    } else if let Some(accounts) = &verification.service_account {
        service_account(key, accounts, options, problems).map(Scheme::ServiceAccount)
    } else {
        Some(Scheme::None)
    };
    (scheme, None)
}

fn service_account(
    key: &ObjectKey,
    accounts: &api::ServiceAccountVerification,
    options: &Options,
    problems: &mut Problems,
) -> Option<ServiceAccountScheme> {
    if !options.service_accounts {
        problems.add(
            "/spec/verification/serviceAccount",
            Reason::InvalidSpec,
            "needs a cluster, which says whose a token is; without one use hmac or token",
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

fn hmac_scheme(hmac: &api::Hmac, problems: &mut Problems) -> Option<HmacScheme> {
    let at = |field: &str| format!("/spec/verification/hmac/{field}");
    let header = header_name(&hmac.header, &at("header"), problems);
    let content =
        problems.check(at("signedContent"), Content::parse(hmac.signed_content.as_deref().unwrap_or("{body}")));
    let timestamp = hmac.timestamp_header.as_ref().map(|name| header_name(name, &at("timestampHeader"), problems));
    let id_header = hmac.id_header.as_ref().map(|name| header_name(name, &at("idHeader"), problems));
    let signed_time = content.as_ref().is_some_and(Content::uses_timestamp);
    let tolerance = match &hmac.tolerance {
        Some(tolerance) => problems.check(at("tolerance"), duration::parse(&tolerance.0)),
        None => signed_time.then_some(limits::DEFAULT_TOLERANCE),
    };
    Some(HmacScheme {
        header: header?,
        algorithm: match hmac.algorithm {
            api::Algorithm::SHA1 => Algorithm::Sha1,
            api::Algorithm::SHA256 => Algorithm::Sha256,
            api::Algorithm::SHA512 => Algorithm::Sha512,
        },
        encoding: match hmac.encoding {
            api::Encoding::Hex => Encoding::Hex,
            api::Encoding::Base64 => Encoding::Base64,
        },
        shape: Shape::Prefixed(hmac.prefix.clone().unwrap_or_default()),
        content: content?,
        timestamp: match timestamp {
            Some(name) => Some(TimestampSource::Header(name?)),
            None => None,
        },
        id_header: match id_header {
            Some(name) => Some(name?),
            None => None,
        },
        tolerance,
        key_form: KeyForm::Raw,
    })
}

/// Resolves the secrets and prepares the keys. Those that resolve are used; none at all is a problem that keeps the
/// endpoint from being served.
pub(super) fn verifier(
    scheme: Scheme,
    verification: &Verification,
    references: &References<'_>,
    problems: &mut Problems,
) -> Option<Verifier> {
    let without_secret = matches!(scheme, Scheme::None | Scheme::ServiceAccount(_));
    let secrets = references.keys(&verification.secret_refs, "/spec/verification/secretRefs", problems, |secret| {
        Verifier::new(scheme.clone(), vec![secret]).map(drop)
    });
    if secrets.is_empty() && !without_secret {
        return None;
    }
    problems.check("/spec/verification", Verifier::new(scheme, secrets))
}
