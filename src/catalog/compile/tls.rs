//! Compiles `tls` of a target or of a token endpoint to a [`TlsIdentity`].

use std::sync::Arc;

use grapnel_api::{CertificateSource, KeyReference, Reason, SecretReference, TargetTls};

use super::{field::Field, lookup::ReferentKind};
use crate::catalog::target::{TlsIdentity, TlsProblem};

/// Compiles `tls`. `None` if something is missing or invalid.
pub(super) fn identity(tls: &Field<'_, TargetTls>) -> Option<Arc<TlsIdentity>> {
    let mut identity = TlsIdentity::default();
    // Every part is compiled, so that all problems are reported together.
    let parts = [
        tls.at("caRef", &tls.ca_ref).given().map(|source| authorities(&source, &mut identity)),
        tls.at("clientCertRef", &tls.client_cert_ref).given().map(|source| certificate(&source, &mut identity)),
        tls.at("serverName", &tls.server_name).given().map(|name| server_name(&name, &mut identity)),
    ];
    parts.iter().flatten().all(Option::is_some).then(|| Arc::new(identity))
}

fn authorities(source: &Field<'_, CertificateSource>, identity: &mut TlsIdentity) -> Option<()> {
    match (&source.config_map_ref, &source.secret_key_ref) {
        (Some(reference), None) => {
            let reference = source.at("configMapRef", reference);
            trust(&reference, ReferentKind::ConfigMap, reference.config_map()?.as_bytes(), identity)
        }
        (None, Some(reference)) => {
            let reference = source.at("secretKeyRef", reference);
            trust(&reference, ReferentKind::Secret, reference.secret()?.expose(), identity)
        }
        _ => source.fail(Reason::InvalidSpec, "exactly one of configMapRef and secretKeyRef must be set"),
    }
}

fn trust(
    reference: &Field<'_, KeyReference>,
    kind: ReferentKind,
    pem: &[u8],
    identity: &mut TlsIdentity,
) -> Option<()> {
    let KeyReference { name, key } = reference.value();
    match identity.clone().trusting(pem) {
        Ok(trusting) => *identity = trusting,
        Err(problem) => {
            let message =
                format!("key {key} of {kind} {name} {problem}; put the certificates of the authorities there");
            return reference.refuse(kind, Reason::InvalidSecret, message);
        }
    }
    Some(())
}

fn certificate(source: &Field<'_, SecretReference>, identity: &mut TlsIdentity) -> Option<()> {
    let SecretReference { name } = source.value();
    // A Secret that does not exist is reported once.
    let chain = source.secret_key(name, "tls.crt")?;
    let secret = source.secret_key(name, "tls.key")?;
    match identity.clone().showing(chain.expose(), secret.expose()) {
        Ok(showing) => *identity = showing,
        Err(problem) => {
            let subject = match problem {
                TlsProblem::Key(_) => "key tls.key of ",
                TlsProblem::Pair(_) => "",
                _ => "key tls.crt of ",
            };
            let message = format!("{subject}Secret {name}: {problem}; correct the Secret");
            return source.fail(Reason::InvalidSecret, message);
        }
    }
    Some(())
}

fn server_name(name: &Field<'_, String>, identity: &mut TlsIdentity) -> Option<()> {
    *identity = name.check(identity.clone().calling(name.value()))?;
    Some(())
}
