//! A sender that signs or sends a token, depending on the secret: neither substitutes for the other.

use super::*;
use crate::limits::SECRETS;

const TOKEN: &str = "glpat-the-secret-token";
const OTHER: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const NOW: i64 = 1_700_000_000;

fn gitlab(secrets: &[&str]) -> Verifier {
    verifier("GitLab", secrets)
}

/// Returns the headers of a GitLab request with these two secrets. GitLab sends both headers when both are set.
fn sent(signing: Option<&str>, token: Option<&str>) -> HeaderMap {
    let scheme = provider("GitLab").unwrap().scheme();
    let mut headers = HeaderMap::new();
    for secret in [signing, token].into_iter().flatten() {
        sign_request(&scheme, &secret.into(), &mut headers, &mut b"{}".to_vec(), at(NOW)).unwrap();
    }
    headers
}

fn judge(verifier: &Verifier, headers: &HeaderMap) -> &'static str {
    judge_body(verifier, headers, "{}")
}

fn judge_body(verifier: &Verifier, headers: &HeaderMap, body: &'static str) -> &'static str {
    verifier.verify(headers, body.into(), at(NOW)).map_or_else(|refusal| refusal.code(), |_| "ok")
}

#[test]
fn the_secret_says_which_headers_are_made() {
    let names = |headers: HeaderMap| {
        let mut names: Vec<_> = headers.keys().map(HeaderName::to_string).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(sent(Some(STANDARD_SECRET), None)), "webhook-id webhook-signature webhook-timestamp");
    assert_eq!(names(sent(None, Some(TOKEN))), "x-gitlab-token");
}

/// The Standard Webhooks example is valid for it.
#[test]
fn a_signing_token_is_that_of_standard_webhooks() {
    let time = STANDARD_TIME.to_string();
    let pairs = [("webhook-id", STANDARD_ID), ("webhook-timestamp", &time), ("webhook-signature", STANDARD_SIGNATURE)];
    let verifier = gitlab(&[STANDARD_SECRET]);
    assert_eq!(code(&verifier, &pairs, STANDARD_BODY, at(STANDARD_TIME)), "ok");
    assert_eq!(code(&verifier, &pairs, STANDARD_BODY, at(STANDARD_TIME + 301)), "stale_timestamp");
    assert_eq!(code(&verifier, &pairs, "{}", at(STANDARD_TIME)), "invalid_signature");
}

#[test]
fn with_one_kind_of_secret_the_other_header_counts_for_nothing() {
    let (signed, shown) = (sent(Some(STANDARD_SECRET), None), sent(None, Some(TOKEN)));
    let both = sent(Some(STANDARD_SECRET), Some(TOKEN));
    let forged = sent(Some(OTHER), Some(TOKEN));

    let signing = gitlab(&[STANDARD_SECRET]);
    assert_eq!(judge(&signing, &signed), "ok");
    assert_eq!(judge(&signing, &both), "ok");
    assert_eq!(judge(&signing, &shown), "missing_signature");
    assert_eq!(judge(&signing, &forged), "invalid_signature");

    let token = gitlab(&[TOKEN]);
    assert_eq!(judge(&token, &shown), "ok");
    assert_eq!(judge(&token, &both), "ok");
    assert_eq!(judge(&token, &forged), "ok", "nothing is known by which to judge the signature");
    assert_eq!(judge(&token, &signed), "missing_signature");
}

#[test]
fn with_both_a_signature_is_never_made_up_for_by_the_token() {
    for secrets in [[STANDARD_SECRET, TOKEN], [TOKEN, STANDARD_SECRET]] {
        let verifier = gitlab(&secrets);
        assert_eq!(judge(&verifier, &sent(Some(STANDARD_SECRET), None)), "ok");
        assert_eq!(judge(&verifier, &sent(None, Some(TOKEN))), "ok");
        let both = sent(Some(STANDARD_SECRET), Some(TOKEN));
        assert_eq!(judge(&verifier, &both), "ok");
        // The signature decides if there is one.
        assert_eq!(judge(&verifier, &sent(Some(STANDARD_SECRET), Some("another"))), "ok");
        assert_eq!(judge(&verifier, &sent(Some(OTHER), Some(TOKEN))), "invalid_signature");
        assert_eq!(judge_body(&verifier, &both, "[]"), "invalid_signature");
        for signature in ["", " ", "v1", "v1,AAAA", "v2,AAAA"] {
            let mut torn = both.clone();
            torn.insert("webhook-signature", HeaderValue::from_static(signature));
            assert_eq!(judge(&verifier, &torn), "invalid_signature", "{signature:?}");
        }
        let mut torn = both.clone();
        torn.remove("webhook-id");
        assert_eq!(judge(&verifier, &torn), "missing_signature");
        let stale = verifier.verify(&both, "{}".into(), at(NOW + 301)).unwrap_err();
        assert_eq!(stale.code(), "stale_timestamp");
        assert_eq!(judge(&verifier, &sent(None, Some("another"))), "invalid_signature");
        assert_eq!(judge(&verifier, &HeaderMap::new()), "missing_signature");
    }
}

#[test]
fn a_secret_of_one_kind_is_never_one_of_the_other() {
    // The signing secret sent as a token, as by a sender that confuses the two.
    for secrets in [&[STANDARD_SECRET][..], &[STANDARD_SECRET, TOKEN], &[&format!(" {STANDARD_SECRET}\n")]] {
        let verifier = gitlab(secrets);
        let pairs = [("x-gitlab-token", STANDARD_SECRET)];
        assert_ne!(code(&verifier, &pairs, "{}", at(NOW)), "ok", "{secrets:?}");
    }
    // The base64 alone is a signing secret elsewhere; here it is a token, and signs nothing.
    let bare = STANDARD_SECRET.strip_prefix("whsec_").unwrap();
    assert_eq!(judge(&gitlab(&[bare]), &sent(Some(STANDARD_SECRET), None)), "missing_signature");
    assert_eq!(judge(&gitlab(&[bare]), &sent(None, Some(bare))), "ok");
    // A malformed signing secret is not a token either.
    for spoilt in ["whsec_AAAA", "whsec_not base64", "whsec_"] {
        assert!(Verifier::new(provider("GitLab").unwrap().scheme(), vec![spoilt.into()]).is_err(), "{spoilt}");
    }
}

#[test]
fn errors_name_a_secret_by_its_place_among_all() {
    let error = |secrets: &[&str]| {
        let secrets = secrets.iter().map(|secret| Secret::from(*secret)).collect();
        Verifier::new(provider("GitLab").unwrap().scheme(), secrets).unwrap_err()
    };
    assert_eq!(error(&[TOKEN, STANDARD_SECRET, "whsec_AAAA"]).to_string()[..9], *"secret 3:");
    assert_eq!(error(&[STANDARD_SECRET, ""]).to_string(), "secret 2: it is empty");
    assert_eq!(error(&[]).problem, KeyProblem::NoSecrets);
    let many = [[TOKEN, STANDARD_SECRET]; SECRETS];
    let problem = KeyProblem::TooMany(2 * SECRETS);
    assert_eq!(error(many.as_flattened()).problem, problem, "the bound holds for both together");
}

#[test]
fn both_headers_are_credentials_whatever_the_secret() {
    for secrets in [&[STANDARD_SECRET][..], &[TOKEN], &[STANDARD_SECRET, TOKEN]] {
        let verifier = gitlab(secrets);
        let names: Vec<_> = verifier.credential_headers().map(HeaderName::as_str).collect();
        assert_eq!(names, ["webhook-signature", "x-gitlab-token"]);
    }
}
