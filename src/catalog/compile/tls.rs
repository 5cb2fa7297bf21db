//! Compiles `tls` of a target or of a token endpoint to a [`TlsIdentity`].

use std::sync::Arc;

use grapnel_api::{KeyReference, Reason, SecretReference, TargetTls};

use super::{Problems, References};
use crate::catalog::target::{TlsIdentity, TlsProblem};

/// Compiles `tls` at `pointer`. `None` if something is missing or invalid.
pub(super) fn identity(
    tls: &TargetTls,
    pointer: &str,
    references: &References<'_>,
    problems: &mut Problems,
) -> Option<Arc<TlsIdentity>> {
    // Every part is compiled, so that all problems are reported together.
    let found = problems.count();
    let mut identity = TlsIdentity::default();
    if let Some(source) = &tls.ca_ref {
        let pointer = format!("{pointer}/caRef");
        let authorities = match (&source.config_map_ref, &source.secret_key_ref) {
            (Some(reference), None) => {
                let pointer = format!("{pointer}/configMapRef");
                let text = references.config_map(reference, &pointer, problems);
                text.map(|text| (pointer, "ConfigMap", reference, identity.clone().trusting(text.as_bytes())))
            }
            (None, Some(reference)) => {
                let pointer = format!("{pointer}/secretKeyRef");
                let secret = references.secret(reference, &pointer, problems);
                secret.map(|secret| (pointer, "Secret", reference, identity.clone().trusting(secret.expose())))
            }
            _ => {
                let message = "exactly one of configMapRef and secretKeyRef must be set";
                problems.add(pointer, Reason::InvalidSpec, message);
                None
            }
        };
        match authorities {
            Some((_, _, _, Ok(trusting))) => identity = trusting,
            Some((pointer, kind, KeyReference { name, key }, Err(problem))) => problems.add(
                pointer,
                Reason::InvalidSecret,
                format_args!("key {key} of {kind} {name} {problem}; put the certificates of the authorities there"),
            ),
            None => {}
        }
    }
    if let Some(SecretReference { name }) = &tls.client_cert_ref {
        let pointer = format!("{pointer}/clientCertRef");
        let key = |key: &str| KeyReference { name: name.clone(), key: key.into() };
        let chain = references.secret(&key("tls.crt"), &pointer, problems);
        // A Secret that does not exist is reported once.
        let secret = chain.as_ref().and_then(|_| references.secret(&key("tls.key"), &pointer, problems));
        if let (Some(chain), Some(secret)) = (chain, secret) {
            match identity.clone().showing(chain.expose(), secret.expose()) {
                Ok(showing) => identity = showing,
                Err(problem) => {
                    let subject = match problem {
                        TlsProblem::Key(_) => "key tls.key of ",
                        TlsProblem::Pair(_) => "",
                        _ => "key tls.crt of ",
                    };
                    problems.add(
                        pointer,
                        Reason::InvalidSecret,
                        format_args!("{subject}Secret {name}: {problem}; correct the Secret"),
                    );
                }
            }
        }
    }
    if let Some(name) = &tls.server_name {
        match identity.clone().calling(name) {
            Ok(calling) => identity = calling,
            Err(problem) => problems.add(format!("{pointer}/serverName"), Reason::InvalidSpec, problem),
        }
    }
    (problems.count() == found).then(|| Arc::new(identity))
}
