//! What every provider of the table accepts and rejects, driven by the table alone.

use bytes::Bytes;
use url::Url;

use super::*;

const NOW: i64 = 1_700_000_000;

/// A request as its sender creates it.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// A sender that authenticates, with one of its schemes.
struct Prover {
    name: ProviderName,
    /// The scheme in the table.
    scheme: Scheme,
    /// The part of the scheme that applies to these keys.
    way: Scheme,
    keys: KeyPairs,
}

/// Iterates over the senders that authenticate; those with two schemes occur twice.
fn provers() -> impl Iterator<Item = Prover> {
    PROVIDERS.iter().flat_map(|provider| {
        let (name, scheme) = (provider.name, complete(provider.scheme()));
        let ways = match &scheme {
            // The proof of SNS is in the body: see `sns::tests`.
            Scheme::None | Scheme::Sns(_) => vec![],
            Scheme::SignatureOrToken(both) => {
                vec![Scheme::Signature(both.signature.clone()), Scheme::Token(both.token.clone())]
            }
            _ => vec![scheme.clone()],
        };
        ways.into_iter().map(move |way| Prover { name, scheme: scheme.clone(), keys: keys(&way), way })
    })
}

/// Returns whether the proof covers the body.
pub(super) fn covers_body(scheme: &Scheme) -> bool {
    matches!(scheme, Scheme::Signature(_) | Scheme::Url(_) | Scheme::Certificate(_))
}

fn tolerance(scheme: &Scheme) -> Option<i64> {
    match scheme {
        Scheme::Signature(scheme) => scheme.tolerance.map(|tolerance| tolerance.as_secs().try_into().unwrap()),
        Scheme::Certificate(scheme) => Some(scheme.tolerance.as_secs().try_into().unwrap()),
        _ => None,
    }
}

/// Returns whether the keys are fetched.
fn is_remote(scheme: &Scheme) -> bool {
    !scheme.needs_secrets()
}

fn signed(scheme: &Scheme, private: &Secret) -> Request {
    let mut url: Url = "https://hooks.example.com/shop/orders?a=b".parse().unwrap();
    let mut body = format!(r#"{{"type":"t","webhookTimestamp":{}}}"#, NOW * 1000).into_bytes();
    let mut headers = HeaderMap::new();
    sign_request_to(scheme, private, &mut url, &mut headers, &mut body, at(NOW)).unwrap();
    Request { url, headers, body }
}

/// A verifier with the keys that it knows or receives.
pub(super) struct Receiver {
    verifier: Verifier,
    keys: Option<std::sync::Arc<KeySet>>,
}

impl Receiver {
    fn evidence(&self, request: &Request) -> Result<VerificationContext, Refusal> {
        Ok(match self.verifier.needs() {
            RequiredContext::Url => VerificationContext::Url(CalledUrl::of(&request.url).unwrap()),
            RequiredContext::Keys => {
                self.verifier.keys_for(&request.headers, &request.body)?;
                VerificationContext::Keys(self.keys.clone().unwrap())
            }
            RequiredContext::Nothing | RequiredContext::Review(_) => VerificationContext::Nothing,
        })
    }
}

pub(super) fn judge_at(receiver: &Receiver, request: &Request, now: i64) -> &'static str {
    let verdict = receiver.evidence(request).and_then(|evidence| {
        receiver.verifier.verify_with(&evidence, &request.headers, Bytes::from(request.body.clone()), at(now))
    });
    verdict.map_or_else(|refusal| refusal.code(), |_| "ok")
}

fn judge(receiver: &Receiver, request: &Request) -> &'static str {
    judge_at(receiver, request, NOW)
}

pub(super) fn verifier(scheme: &Scheme, secrets: Vec<Secret>) -> Receiver {
    let keys = secrets.first().and_then(|document| scheme.fetched_keys(document.expose())).map(Result::unwrap);
    Receiver { verifier: Verifier::new(scheme.clone(), secrets).unwrap(), keys: keys.map(Into::into) }
}

/// Iterates over the texts that differ from one in one bit and are valid in a header.
fn flipped(value: &HeaderValue) -> impl Iterator<Item = HeaderValue> {
    let bytes = value.as_bytes().to_vec();
    (0..bytes.len() * 8).filter_map(move |bit| {
        let mut torn = bytes.clone();
        torn[bit / 8] ^= 1 << (bit % 8);
        // Hexadecimal in the other case is the same signature.
        let hexadecimal = torn.eq_ignore_ascii_case(&bytes) && hex::decode(&torn[torn.len() - 2..]).is_ok();
        // So is a value after the same word in the other case.
        let word = bytes.iter().position(|byte| *byte == b' ').unwrap_or(0);
        let same = hexadecimal || (torn[word..] == bytes[word..] && torn.eq_ignore_ascii_case(&bytes));
        HeaderValue::from_bytes(&torn).ok().filter(|_| !same)
    })
}

#[test]
fn what_is_signed_is_accepted_and_secrets_rotate() {
    for Prover { name, scheme, keys, .. } in provers() {
        let request = signed(&scheme, &keys.private);
        assert_eq!(judge(&verifier(&scheme, vec![keys.public.clone()]), &request), "ok", "{name}");
        if !is_remote(&scheme) {
            let both = verifier(&scheme, vec![keys.other_public.clone(), keys.public.clone()]);
            assert_eq!(judge(&both, &request), "ok", "{name}");
            assert_eq!(judge(&both, &signed(&scheme, &keys.other_private)), "ok", "{name}");
        }
        let other = verifier(&scheme, vec![keys.other_public]);
        assert_eq!(judge(&other, &request), "invalid_signature", "{name}");
    }
}

#[test]
fn a_flipped_bit_of_the_body_is_refused() {
    for Prover { name, scheme, keys, .. } in provers().filter(|prover| covers_body(&prover.way)) {
        let verifier = verifier(&scheme, vec![keys.public]);
        let request = signed(&scheme, &keys.private);
        for bit in 0..request.body.len() * 8 {
            let mut torn = request.clone();
            torn.body[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(judge(&verifier, &torn), "invalid_signature", "{name}, bit {bit}");
        }
        for body in [&request.body[1..], b"", &[&request.body[..], b"\n"].concat()] {
            let torn = Request { body: body.to_vec(), ..request.clone() };
            assert_eq!(judge(&verifier, &torn), "invalid_signature", "{name}");
        }
    }
}

#[test]
fn a_flipped_bit_of_any_signed_header_is_refused() {
    for Prover { name, scheme, keys, .. } in provers() {
        let verifier = verifier(&scheme, vec![keys.public]);
        let request = signed(&scheme, &keys.private);
        assert!(!request.headers.is_empty(), "{name}");
        // The location of a certificate is not signed; it is restricted instead.
        for (header, value) in request.headers.iter().filter(|(header, _)| *header != "paypal-cert-url") {
            for torn in flipped(value) {
                let mut request = request.clone();
                let shown = format!("{name}: {header}: {torn:?}");
                request.headers.insert(header, torn);
                assert_eq!(judge(&verifier, &request), "invalid_signature", "{shown}");
            }
        }
    }
}

#[test]
fn a_flipped_bit_of_the_key_is_refused() {
    // A certificate has many bytes besides its key.
    for Prover { name, scheme, way, keys } in provers().filter(|prover| !is_remote(&prover.scheme)) {
        let request = signed(&scheme, &keys.private);
        let public = keys.public.expose();
        for bit in 0..public.len() * 8 {
            let mut torn = public.to_vec();
            torn[bit / 8] ^= 1 << (bit % 8);
            let same = torn.eq_ignore_ascii_case(public) && hex::decode(public).is_ok();
            let unread = matches!(&way, Scheme::Signature(scheme) if scheme.key_form == KeyForm::WhsecBase64)
                && bit / 8 < "whsec_".len();
            // Bytes that are not a key are rejected when the endpoint is read.
            if let Ok(verifier) = Verifier::new(scheme.clone(), vec![torn.into()])
                && let receiver = (Receiver { verifier, keys: None })
                && !same
                && !unread
            {
                assert_eq!(judge(&receiver, &request), "invalid_signature", "{name}, bit {bit}");
            }
        }
    }
}

#[test]
fn headers_must_be_there_once_and_hold_something() {
    for Prover { name, scheme, keys, .. } in provers() {
        let verifier = verifier(&scheme, vec![keys.public]);
        let request = signed(&scheme, &keys.private);
        for (header, value) in &request.headers {
            let mut torn = request.clone();
            torn.headers.remove(header);
            assert_eq!(judge(&verifier, &torn), "missing_signature", "{name} without {header}");
            for empty in ["", " "] {
                torn.headers.insert(header, HeaderValue::from_static(empty));
                assert_eq!(judge(&verifier, &torn), "invalid_signature", "{name} with an empty {header}");
            }
            let mut torn = request.clone();
            torn.headers.append(header, value.clone());
            assert_eq!(judge(&verifier, &torn), "invalid_signature", "{name} with {header} twice");
        }
        let mut bare = request.clone();
        bare.headers.clear();
        assert_eq!(judge(&verifier, &bare), "missing_signature", "{name}");
    }
}

#[test]
fn ten_thousand_signatures_in_one_header_are_refused() {
    for Prover { name, scheme, keys, .. } in provers() {
        let verifier = verifier(&scheme, vec![keys.public]);
        let request = signed(&scheme, &keys.private);
        for header in verifier.verifier.credential_headers().filter(|header| request.headers.contains_key(*header)) {
            let value = request.headers[header].to_str().unwrap();
            for separator in [" ", ",", ", ", ""] {
                let mut torn = request.clone();
                torn.headers.insert(header, vec![value; 10_000].join(separator).parse().unwrap());
                assert_eq!(judge(&verifier, &torn), "invalid_signature", "{name}, {separator:?}");
            }
        }
    }
}

#[test]
fn another_time_is_stale() {
    let mut with_time = 0;
    // Tokens carry their own expiry: see `tokens`.
    for Prover { name, scheme, way, keys } in provers().filter(|prover| !matches!(prover.way, Scheme::Jwt(_))) {
        let verifier = verifier(&scheme, vec![keys.public]);
        let request = signed(&scheme, &keys.private);
        let Some(tolerance) = tolerance(&way) else {
            assert_eq!(judge_at(&verifier, &request, NOW + 1_000_000), "ok", "{name} signs no time");
            continue;
        };
        with_time += 1;
        for now in [NOW - tolerance, NOW + tolerance] {
            assert_eq!(judge_at(&verifier, &request, now), "ok", "{name}");
        }
        for now in [NOW - tolerance - 1, NOW + tolerance + 1, 0, 200_000_000_000] {
            assert_eq!(judge_at(&verifier, &request, now), "stale_timestamp", "{name}");
        }
        // Without the secret, a caller learns nothing about the clock.
        let forged = signed(&scheme, &keys.other_private);
        assert_eq!(judge_at(&verifier, &forged, NOW + tolerance + 1), "invalid_signature", "{name}");
    }
    assert!(with_time >= 9, "only {with_time} senders sign a time");
}

/// Senders that sign in the same way, under header names that the other accepts.
const ALIKE: &[(&str, &str)] = &[
    ("StandardWebhooks", "GitLab"),
    ("GitLab", "StandardWebhooks"),
    // Svix accepts the headers of Standard Webhooks, but not vice versa.
    ("StandardWebhooks", "Svix"),
    ("GitLab", "Svix"),
];

#[test]
fn the_signature_of_another_sender_is_refused() {
    for sender in provers() {
        let from = sender.name;
        let request = signed(&sender.scheme, &sender.keys.private);
        for receiver in provers() {
            let to = receiver.name;
            let alike = is_alike(&sender.way, &receiver.way);
            if sender.way == receiver.way || alike && ALIKE.contains(&(from.as_str(), to.as_str())) {
                continue;
            }
            // The same secret, if both have secrets of the same form.
            let verifier = verifier(&receiver.scheme, vec![receiver.keys.public]);
            assert_ne!(judge(&verifier, &request), "ok", "{from} to {to}");
            // Its proof under the header names of the other.
            let mut moved = request.clone();
            let own = signed(&receiver.scheme, &receiver.keys.private);
            for name in own.headers.keys() {
                let proof = request.headers.values().max_by_key(|value| value.len()).unwrap();
                moved.headers.insert(name, proof.clone());
            }
            if !alike {
                assert_ne!(judge(&verifier, &moved), "ok", "{from} as {to}");
            }
        }
    }
}

/// Returns whether two schemes differ only in the names of their headers, so that the proof of one is valid under the
/// names of the other.
fn is_alike(one: &Scheme, other: &Scheme) -> bool {
    match (one, other) {
        (Scheme::Signature(one), Scheme::Signature(other)) => {
            (one.algorithm, one.encoding, &one.shape, &one.content)
                == (other.algorithm, other.encoding, &other.shape, &other.content)
        }
        (Scheme::Token(_), Scheme::Token(_)) => true,
        _ => false,
    }
}

#[test]
fn other_evidence_does_not_help() {
    let review = Review { username: "system:serviceaccount:a:b".into(), audiences: Vec::new().into() };
    for Prover { name, scheme, keys, .. } in provers() {
        let verifier = verifier(&scheme, vec![keys.public]).verifier;
        let verdict = verifier.verify_with(
            &VerificationContext::Review(review.clone()),
            &HeaderMap::new(),
            Bytes::new(),
            at(NOW),
        );
        assert!(verdict.is_err(), "{name}");
        if !matches!(verifier.needs(), RequiredContext::Nothing) {
            let request = signed(&scheme, &keys.private);
            assert!(
                verifier.verify(&request.headers, request.body.into(), at(NOW)).is_err(),
                "{name} without its evidence"
            );
        }
    }
}

#[test]
fn nothing_secret_is_printed() {
    for Prover { name, scheme, keys, .. } in provers() {
        let Receiver { verifier, keys: known } = verifier(&scheme, vec![keys.public.clone()]);
        let request = signed(&scheme, &keys.other_private);
        let evidence = known.map_or(VerificationContext::Nothing, VerificationContext::Keys);
        let body = Bytes::from(request.body.clone());
        let refusal = verifier.verify_with(&evidence, &request.headers, body, at(NOW)).unwrap_err();
        let printed = format!("{verifier:?} {refusal} {refusal:?} {evidence:?}");
        assert!(!printed.contains(std::str::from_utf8(keys.public.expose()).unwrap()), "{name}: {printed}");
        for value in
            request.headers.values().filter(|value| value.len() > 30 && !value.as_bytes().starts_with(b"https"))
        {
            assert!(!printed.contains(value.to_str().unwrap()), "{name}: {printed}");
        }
    }
}
